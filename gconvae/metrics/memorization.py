"""Whether generated clouds repeat training clouds: how far both and real ones are from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae.clouds import as_sample
from gconvae.metrics import vectors
from gconvae.metrics.geometry import check_alike, resolved, wrapped
from gconvae.metrics.vectors import Embedder
from gconvae.schema import CloudSchema

__all__ = ["CopyTest", "copy_test", "nearest_distances"]

Array = NDArray[np.float64]


class CopyTest(NamedTuple):
    """Distances to the nearest training cloud, of generated and of real clouds.

    Attributes:
        generated: Those of generated clouds, shape (G,), no unit.
        real: Those of real clouds that the model was not trained on, shape (R,).
        p_value: Of the hypothesis that both are draws of one distribution (Kolmogorov and
            Smirnov, two-sided).
    """

    generated: Array
    real: Array
    p_value: float

    def __str__(self) -> str:
        """Medians and p-value in one line."""
        medians = [float(np.median(part)) for part in (self.generated, self.real)]
        return (
            f"median distance to the nearest training cloud: generated {medians[0]:.3f}, "
            f"real {medians[1]:.3f}, p = {self.p_value:.2g}"
        )


def copy_test(
    generated: Any,
    real: Any,
    training: Any,
    *,
    schema: CloudSchema | None = None,
    embedding: Embedder | None = None,
    seed: int = 0,
) -> CopyTest:
    """Compares how close generated and held-out real clouds come to training clouds.

    A model that repeats its training clouds makes clouds that lie closer to them than real ones;
    one whose clouds lie farther off misses what real clouds have. The row ``memorization``
    of :func:`gconvae.metrics.compare` is the chance that a generated cloud is the closer one, with
    error and floor; here are the distances themselves, and a test of all of their distribution.

    Args:
        generated: Clouds, in any form that ``compare`` takes.
        real: Likewise; none of them a training cloud.
        training: Likewise.
        schema: What the features are; None = what a sample says of itself, else made from the
            numbers of ``training``.
        embedding: What distances are between, as in ``compare``; None = the features of the
            bundled classifier for clouds that it knows, else those of a network trained on
            ``training``.
        seed: Of that network.
    Raises:
        ValueError: If a sample is not made of finite clouds, their schemas differ, or
            ``embedding`` fails.
    References:
        | A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan, Chaudhuri and
          Dasgupta, 2020), arXiv:2004.05675
    Example:
        >>> import torch
        >>> points = torch.rand(60, 25, 3, generator=torch.Generator().manual_seed(0))
        >>> found = copy_test(points[:20], points[20:40], points)
        >>> float(found.generated.max()) < 1e-3, found.p_value > 0.05
        (True, True)
    """
    from scipy.stats import ks_2samp

    samples = {"training": training, "generated": generated, "real": real}
    near = _nearest(samples, schema, embedding, seed)
    return CopyTest(**near, p_value=float(ks_2samp(near["generated"], near["real"]).pvalue))


def nearest_distances(
    sample: Any,
    training: Any,
    *,
    schema: CloudSchema | None = None,
    embedding: Embedder | None = None,
    seed: int = 0,
) -> Array:
    """Distance of each cloud to the nearest training cloud, between vectors of an embedding.

    Args:
        sample: Clouds, in any form that ``compare`` takes.
        training: Likewise.
        schema: As in :func:`copy_test`.
        embedding: Likewise.
        seed: Likewise.
    Returns:
        Shape (B,), Euclidean distances; no unit.
    Raises:
        ValueError: As :func:`copy_test`.
    """
    samples = {"training": training, "sample": sample}
    return _nearest(samples, schema, embedding, seed)["sample"]


def _nearest(
    inputs: Mapping[str, Any],
    schema: CloudSchema | None,
    embedder: Embedder | None,
    seed: int,
) -> dict[str, Array]:
    """Distances of the clouds of all samples to the first one's."""
    from scipy.spatial import KDTree

    samples = {name: as_sample(sample, name, schema) for name, sample in inputs.items()}
    check_alike(samples, schema)
    common = resolved(samples) if schema is None else schema
    samples = wrapped(samples, common)
    training = samples.pop("training")
    embedding = vectors.user_embedding(embedder, common, training.points[training.mask])
    if embedding is None:
        embedding = vectors.trained(training, common, seed)
    tree = KDTree(embedding.embed(training))
    return {
        name: np.asarray(tree.query(embedding.embed(sample))[0], dtype=np.float64)
        for name, sample in samples.items()
    }

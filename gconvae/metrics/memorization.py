"""Whether generated clouds repeat training clouds: how far both and real ones are from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gconvae.clouds import as_sample
from gconvae.metrics.classifier import features as embedding

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


def copy_test(generated: Any, real: Any, training: Any) -> CopyTest:
    """Compares how close generated and held-out real clouds come to training clouds.

    A model that repeats its training clouds makes clouds that lie closer to them than real ones;
    one whose clouds lie farther off misses what real clouds have. The row ``memorization``
    of :func:`gconvae.metrics.compare` is the chance that a generated cloud is the closer one, with
    error and floor; here are the distances themselves, and a test of all of their distribution.

    Args:
        generated: Clouds that the bundled classifier knows, in any form that ``compare`` takes.
        real: Likewise; none of them a training cloud.
        training: Likewise.
    Raises:
        ValueError: If a sample is not made of finite clouds of 3 features.
    References:
        | A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan, Chaudhuri and
          Dasgupta, 2020), arXiv:2004.05675
    Example:
        >>> import torch
        >>> points = 27 * torch.rand(60, 25, 3, generator=torch.Generator().manual_seed(0))
        >>> found = copy_test(points[:20], points[20:40], points)
        >>> float(found.generated.max()) < 1e-3, found.p_value > 0.05
        (True, True)
    """
    from scipy.stats import ks_2samp

    made, held_out = (nearest_distances(part, training) for part in (generated, real))
    return CopyTest(made, held_out, float(ks_2samp(made, held_out).pvalue))


def nearest_distances(sample: Any, training: Any) -> Array:
    """Distance of each cloud to the nearest training cloud, between features of the reference.

    Args:
        sample: Clouds that the bundled classifier knows, in any form that ``compare`` takes.
        training: Likewise.
    Returns:
        Shape (B,), Euclidean distances of feature vectors; no unit.
    Raises:
        ValueError: If a sample is not made of finite clouds of 3 features.
    """
    from scipy.spatial import KDTree

    vectors = []
    for name, part in (("sample", sample), ("training", training)):
        points, mask, _ = as_sample(part, name)
        vectors.append(embedding(points, mask).double().cpu().numpy())
    distances, _ = KDTree(vectors[1]).query(vectors[0])
    return np.asarray(distances, dtype=np.float64)

"""What makes vectors of clouds: the caller's embedding, a bundled classifier, a trained one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.metrics import classifier
from gconvae.metrics.jets import classifier as jet_classifier
from gconvae.metrics.resampling import Array
from gconvae.metrics.trained_embedding import trained_embedding
from gconvae.schema import CloudSchema

__all__ = ["EMBEDDINGS", "Embedder", "Embedding", "user_embedding", "trained"]

EMBEDDINGS = OWN, BUNDLED, TRAINED = "own embedding", "embedding", "trained embedding"
"""What the rows of an embedding are called."""

Embedder = Callable[[Tensor, Tensor], Any]
"""Vectors (B, E) of clouds: padded points (B, N, F) in data units and their mask (B, N)."""


class Embedding(NamedTuple):
    """What makes vectors of clouds.

    Attributes:
        name: What its rows are called, one of ``EMBEDDINGS``.
        embed: Clouds to vectors (B, E).
    """

    name: str
    embed: Callable[[Clouds], Array]


def user_embedding(
    embedder: Embedder | None, schema: CloudSchema, nodes: Tensor
) -> Embedding | None:
    """The caller's embedding, else that of a bundled classifier which knows the clouds.

    Args:
        embedder: Of the caller, or None.
        schema: What the features are.
        nodes: Real nodes of real clouds, shape (P, F).
    Returns:
        None where a network has to be trained, see :func:`trained`.
    """
    if embedder is not None:
        return Embedding(OWN, partial(_own_vectors, embedder))
    if classifier.knows(schema, nodes):
        return Embedding(BUNDLED, partial(_bundled_vectors, classifier.features))
    if jet_classifier.knows(schema):
        return Embedding(BUNDLED, partial(_bundled_vectors, jet_classifier.features))
    return None


def trained(real: Clouds, schema: CloudSchema, seed: int) -> Embedding:
    """A network trained on these clouds, see :func:`gconvae.metrics.trained_embedding`."""
    return Embedding(TRAINED, trained_embedding(real, schema, seed))


def _bundled_vectors(features: Callable[[Any, Any], Tensor], sample: Clouds) -> Array:
    return features(sample.points, sample.mask).double().cpu().numpy()  # (B, D)


def _own_vectors(embedder: Embedder, sample: Clouds) -> Array:
    """What the caller's function makes of clouds, checked, shape (B, E)."""
    try:
        with torch.no_grad():
            outputs = embedder(sample.points, sample.mask)
    except Exception as error:  # whatever it raises is its own
        raise ValueError(f"embedding raised {type(error).__name__}: {error}") from error
    try:
        if isinstance(outputs, Tensor):
            outputs = outputs.detach().cpu().double().numpy()
        vectors = np.asarray(outputs, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"embedding must return numbers, got {type(outputs).__name__}: {error}"
        ) from error
    if vectors.ndim != 2 or len(vectors) != sample.num_clouds or not vectors.shape[1]:
        raise ValueError(
            f"embedding must return shape (clouds, columns) for {sample.num_clouds} clouds, "
            f"got {vectors.shape}"
        )
    if not np.isfinite(vectors).all():
        raise ValueError("embedding must return finite numbers, got NaN or infinity")
    return vectors

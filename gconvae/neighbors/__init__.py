"""Nearest neighbours and kNN graphs of many clouds at once, on several backends."""

from __future__ import annotations

from gconvae.neighbors.dense import squared_distance
from gconvae.neighbors.knn import Neighbors, knn
from gconvae.neighbors.search import (
    BACKENDS,
    DenseSearchWarning,
    knn_graph,
    nearest,
    nearest_both,
    nearest_padded,
    resolve_backend,
)

__all__ = [
    "BACKENDS",
    "DenseSearchWarning",
    "Neighbors",
    "knn",
    "knn_graph",
    "nearest",
    "nearest_both",
    "nearest_padded",
    "resolve_backend",
    "squared_distance",
]

"""Nearest neighbours and kNN graphs of many clouds at once, on several backends."""

from __future__ import annotations

from gconvae.neighbors.backends import BACKENDS, DenseSearchWarning, resolve_backend
from gconvae.neighbors.dense import squared_distance
from gconvae.neighbors.knn import Neighbors, knn, knn_graph, knn_padded
from gconvae.neighbors.search import nearest, nearest_both, nearest_padded

__all__ = [
    "BACKENDS",
    "DenseSearchWarning",
    "Neighbors",
    "knn",
    "knn_graph",
    "knn_padded",
    "nearest",
    "nearest_both",
    "nearest_padded",
    "resolve_backend",
    "squared_distance",
]

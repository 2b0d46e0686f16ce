"""Which search runs for a choice of backend."""

from __future__ import annotations

import functools
import warnings
from typing import Literal

import torch

from gconvae.neighbors import native, trees
from gconvae.plain import did_you_mean

__all__ = [
    "AUTO_CROSSING",
    "BACKENDS",
    "DenseSearchWarning",
    "Search",
    "check_backend",
    "check_norm",
    "resolve_backend",
]

BACKENDS = ("torch-cluster", "dense", "native", "auto")
"""Choices of the neighbour search; ``auto`` takes the fastest one that can run."""

Search = Literal["torch-cluster", "dense", "native"]

AUTO_CROSSING = 350
"""Nodes of a cloud from which ``auto`` prefers k-d trees, where nothing can be compiled.

Time of trees over time of dense, ``nearest_padded``, 8 and 100 uniform clouds, F = 2 and 3, one
core of an x86 CPU: 4 at 25 nodes, 2.5 at 100, 1.5 at 200, 0.8-1.4 at 300, 0.9-1.0 at 400, 0.5 at
1000. Where many queries tie exactly, and are searched twice, the crossing lies above 1000.
"""


class DenseSearchWarning(UserWarning):
    """The search that was asked for cannot be used; the dense search does the work."""


def resolve_backend(
    backend: str,
    device: torch.device | str,
    dtype: torch.dtype,
    num_nodes: int | None = None,
    k: int = 1,
    graph: bool = False,
) -> Search:
    """The search that is used for a choice of backend.

    Where torch-cluster or the compiled search is wanted and cannot run exactly, the dense search
    stands in, and a :class:`DenseSearchWarning` says why, once a process for each reason. Graphs
    are not searched by the compiled one: ``"native"`` and ``"auto"`` take one of the others.

    Args:
        backend: One of :data:`BACKENDS`.
        device: Device of the clouds.
        dtype: Dtype of the clouds.
        num_nodes: Nodes of the largest cloud, which ``auto`` looks at; None = many.
        k: Neighbours of a node.
        graph: Whether it is for :func:`knn_graph`.
    Returns:
        ``"torch-cluster"``, ``"dense"`` or ``"native"``.
    Raises:
        ValueError: If ``backend`` is no choice.
    Example:
        >>> resolve_backend("auto", "cpu", torch.float32, num_nodes=25, graph=True)
        'dense'
    """
    check_backend(backend)
    if backend == "dense":
        return "dense"
    device = torch.device(device)
    if backend in ("native", "auto") and not graph:
        obstacle = native.obstacle(device, dtype)
        if obstacle is None:
            return "native"
        if backend == "native":
            _say_once(f"the compiled search {obstacle}")
            return "dense"
    if backend != "torch-cluster" and (
        # on a GPU torch-cluster compares every pair too, one query a thread
        device.type != "cpu" or (num_nodes is not None and num_nodes < AUTO_CROSSING)
    ):
        return "dense"
    obstacle = trees.obstacle(device, dtype, k)
    if obstacle is None:
        return "torch-cluster"
    _say_once(f"torch-cluster {obstacle}")
    return "dense"


def check_backend(backend: str) -> None:
    """Sees whether a choice of backend is one.

    Raises:
        ValueError: If not.
    """
    if backend not in BACKENDS:
        hint = did_you_mean(backend, BACKENDS)
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}{hint}")


def check_norm(norm: int) -> None:
    """Sees whether a norm is one that is searched.

    Raises:
        ValueError: If it is neither 1 nor 2.
    """
    if norm not in (1, 2):
        raise ValueError(f"norm must be 1 or 2, got {norm!r}")


@functools.cache  # an exception is not cached: where warnings are errors, every call raises
def _say_once(obstacle: str) -> None:
    warnings.warn(
        f"{obstacle}; the exact dense search is used instead (same neighbours; "
        "backend='dense' asks for it without this warning)",
        DenseSearchWarning,
        stacklevel=4,
    )

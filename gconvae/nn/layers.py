"""PyG's layers as parts of our encoders: any convolution by name, norms, and the readout."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Independent

from gconvae.nn.gaussian import DiagonalGaussian
from gconvae.pyg import nn as pyg
from gconvae.registry import check_counts
from gconvae.schema import EXTENT

__all__ = ["AGGREGATIONS", "NORMS", "Convolution", "Readout", "centred", "make_norm"]

AGGREGATIONS = (
    *("mean", "max", "min", "sum", "std", "var", "median", "softmax"),
    *("attention", "set2set"),
)
"""Aggregations of PyG that do not depend on node order, for the readout."""

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, pyg.BatchNorm)

NORMS = ("layer", "graph", "none")
"""Norms that do not mix the clouds of a batch: over a node's channels, over a cloud's nodes."""


def centred(points: Tensor, extent: float = EXTENT) -> Tensor:
    """Scaled features to about [-1, 1], where networks learn best.

    Args:
        points: Any shape, about in [0, ``extent``].
        extent: Length of a feature's scaled range.
    Example:
        >>> centred(torch.tensor([0.0, 2.0, 4.0]), extent=4.0)
        tensor([-1.,  0.,  1.])
    """
    return (points - extent / 2) / (extent / 2)


class Readout(nn.Module):
    """Pools the nodes of each cloud into one vector and makes q(z|x) of it.

    Args:
        width: Channels of a node.
        hidden: Width of the dense layer after pooling.
        latent_dim: L.
        aggregation: One or several of :data:`AGGREGATIONS`, concatenated.
    Raises:
        ValueError: If ``hidden`` is below 1 or an aggregation is unknown.
    Example:
        >>> readout = Readout(4, 8, latent_dim=2, aggregation=["mean", "std"])
        >>> readout(torch.ones(5, 4), torch.tensor([0, 0, 0, 1, 1]), num_clouds=2).mean.shape
        torch.Size([2, 2])
    """

    def __init__(
        self, width: int, hidden: int, latent_dim: int, aggregation: str | Sequence[str]
    ) -> None:
        super().__init__()
        check_counts(hidden=hidden)
        names = [aggregation] if isinstance(aggregation, str) else list(aggregation)
        if not names or not set(names) <= set(AGGREGATIONS):
            raise ValueError(
                f"aggregation must be one or more of {', '.join(AGGREGATIONS)}, got {aggregation}"
            )
        self.aggregation = pyg.MultiAggregation([_aggregation(name, width) for name in names])
        pooled = sum(2 * width if name == "set2set" else width for name in names)
        self.dense = nn.Linear(pooled, hidden)
        self.gaussian = DiagonalGaussian(hidden, latent_dim)

    def forward(self, hidden: Tensor, batch: Tensor, num_clouds: int) -> Independent[Any]:
        """The posterior of each cloud, of nodes (P, width) and their clouds (P,)."""
        pooled = self.aggregation(hidden, batch, dim_size=num_clouds)  # (B, pooled)
        return self.gaussian(torch.relu(self.dense(pooled)))


class Convolution(nn.Module):
    """A convolution of PyG of equal width in and out, called with what its signature asks for.

    Args:
        conv: Name of a class in ``torch_geometric.nn``, or that class.
        width: Channels in and out; heads share them.
        options: Options of it.
        num_positions: Features of ``pos`` and of ``edge_attr``, the offset of a neighbour.
    Raises:
        ValueError: If the convolution is unknown, needs more than ``x``, ``pos``, ``edge_index``
            and ``edge_attr``, does not take an option, or mixes clouds.
    Example:
        >>> edges = torch.tensor([[0, 1], [1, 0]])
        >>> Convolution("GINConv", 4, {})(torch.ones(2, 4), {"edge_index": edges}).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        conv: str | type[nn.Module],
        width: int,
        options: Mapping[str, Any],
        num_positions: int = 2,
    ) -> None:
        super().__init__()
        kind = _in_pyg(conv)
        self.conv = kind(**_arguments(kind, width, options, num_positions))
        if any(isinstance(part, _BATCH_NORMS) for part in self.conv.modules()):
            raise ValueError(
                "conv must not mix the clouds of a batch, "
                f"got {kind.__name__} with a batch norm (its options can change that)"
            )
        self.asks = set(inspect.signature(kind.forward).parameters)
        self._try(kind.__name__, width, num_positions)

    def _try(self, name: str, width: int, num_positions: int) -> None:
        """Some convolutions of PyG can be made, and need more when they are called."""
        edges, places = torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, num_positions)
        inputs = {"pos": places, "edge_index": edges, "edge_attr": places}
        try:
            with torch.no_grad():
                shape = tuple(self(torch.zeros(2, width), inputs).shape)
        except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
            raise ValueError(f"conv must take (nodes, {width}), {name}: {error}") from error
        if shape != (2, width):
            raise ValueError(f"conv must give (nodes, {width}), {name} gives {shape}")

    def forward(self, hidden: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """New features (P, width) of nodes (P, width), with edges, positions and offsets."""
        wanted = {name: value for name, value in inputs.items() if name in self.asks}
        return self.conv(x=hidden, **wanted)


def _in_pyg(conv: str | type[nn.Module]) -> Any:
    """The class in PyG, if it can be called with what we have."""
    name = conv if isinstance(conv, str) else conv.__name__
    kind: Any = getattr(pyg, name, None)
    if not _is_callable_here(kind) or not (isinstance(conv, str) or kind is conv):
        raise ValueError(
            "conv must be a convolution of torch_geometric.nn that takes an edge_index and needs "
            f"no more than x, pos and edge_attr beside it, got {name!r}"
        )
    return kind


def _is_callable_here(kind: Any) -> bool:
    if not isinstance(kind, type(nn.Module)) or not issubclass(kind, pyg.MessagePassing):
        return False
    asks = inspect.signature(kind.forward).parameters
    needs = {name for name, value in asks.items() if value.default is value.empty}
    return "edge_index" in asks and needs <= {"self", "x", "pos", "edge_index", "edge_attr"}


def _arguments(
    kind: Any, width: int, options: Mapping[str, Any], num_positions: int
) -> dict[str, Any]:
    """Arguments that make a convolution of a width, from those that a user leaves open."""
    known = inspect.signature(kind).parameters
    sizes = _sizes(kind, width, num_positions)
    fixed = {name: value for name, value in sizes.items() if name in known}
    # dropout would draw from the global generator, a cache would outlive the cloud
    closed = {*fixed, "dropout", "cached", "kwargs"}
    open_options = [*(name for name in known if name not in closed), "aggr"]
    strange = [name for name in options if name not in open_options]
    if strange:
        raise ValueError(
            f"conv_options of {kind.__name__} are {', '.join(dict.fromkeys(open_options))}, "
            f"got {', '.join(strange)}"
        )
    if "heads" in known and options.get("concat", "concat" in known):
        heads = options.get("heads", 1)
        check_counts(heads=heads)
        if width % heads:
            raise ValueError(f"heads must divide the width {width}, got {heads}")
        fixed["out_channels"] = width // heads
    needs = [name for name, value in known.items() if value.default is value.empty]
    missing = [name for name in needs if name not in {*fixed, *options, "kwargs"}]
    if missing:
        raise ValueError(
            f"conv_options must hold {', '.join(missing)} for {kind.__name__}, got {dict(options)}"
        )
    build = {name: value() if callable(value) else value for name, value in fixed.items()}
    return build | dict(options)


def _sizes(kind: Any, width: int, num_positions: int) -> dict[str, Any]:
    """What constructors of PyG call their widths and the networks that they want."""
    own = {"EdgeConv": (2 * width, width), "NNConv": (num_positions, width * width)}
    inputs, outputs = own.get(kind.__name__, (width, width))
    return {
        **dict.fromkeys(("in_channels", "out_channels", "channels"), width),
        # an offset between positions
        **dict.fromkeys(("edge_dim", "dim", "in_edge_channels"), num_positions),
        "nn": lambda: _dense_pair(inputs, outputs, width),
        "local_nn": lambda: _dense_pair(width + num_positions, width, width),
        "pos_nn": lambda: _dense_pair(num_positions, width, 16),
        # what comes in is a dense layer's output already; a bias would cancel in the softmax
        "attn_nn": lambda: nn.Sequential(nn.ReLU(), nn.Linear(width, width, bias=False)),
    }


def _dense_pair(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def _aggregation(name: str, width: int) -> nn.Module:
    if name == "attention":
        # without a bias, which would cancel in the softmax over nodes
        return pyg.AttentionalAggregation(nn.Linear(width, 1, bias=False))
    if name == "set2set":
        return pyg.Set2Set(width, processing_steps=3)
    return pyg.resolver.aggregation_resolver(name)


class _NoNorm(nn.Module):
    """Gives back what it gets, called as the norms are."""

    def forward(self, hidden: Tensor, batch: Tensor) -> Tensor:
        return hidden


def make_norm(name: str, width: int) -> nn.Module:
    """A norm of PyG, called with nodes (P, width) and their clouds (P,).

    Raises:
        ValueError: If ``name`` is none of :data:`NORMS`.
    """
    if name not in NORMS:
        raise ValueError(
            f"norm must be one of {', '.join(NORMS)} (a batch norm mixes clouds), got {name!r}"
        )
    if name == "none":
        return _NoNorm()
    return pyg.LayerNorm(width, mode="node") if name == "layer" else pyg.GraphNorm(width)

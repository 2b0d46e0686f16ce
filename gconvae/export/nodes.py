"""Clouds drawn node by node in a loop that can be exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gconvae.export.loops import scan, tensors_of, with_tensors
from gconvae.likelihoods.digits import Drawing
from gconvae.likelihoods.places import Places
from gconvae.likelihoods.transformer import NodeTransformer
from gconvae.nn.causal import CausalBlock, Reader

__all__ = ["draw_nodes"]


def draw_nodes(
    network: NodeTransformer,
    mean: Tensor,
    condition: Tensor,
    uniform: Tensor,
    places: Places,
    temperature: Sequence[float],
    least_share: float = 0.0,
) -> Tensor:
    """:meth:`NodeTransformer.draw`, whose loop over nodes is one operation of a graph.

    Args:
        network: Of nodes without weights.
        mean: As of that method, and so are the others.
        condition: Likewise.
        uniform: Likewise.
        places: Likewise.
        temperature: Likewise.
        least_share: Likewise.
    Returns:
        Places, shape (B, N, F).
    """
    shift = network.shift(mean, condition, places).transpose(0, 1)  # (N, B, W)
    clouds, features = mean.shape[0], range(len(network.blocks))
    numbers = uniform.unflatten(1, mean.shape[1:]).permute(1, 2, 3, 0)  # (N, F, 3, B)
    like = shift.transpose(0, 1)
    readers = [[Reader(block, like) for block in blocks] for blocks in _blocks(network)]
    draws: list[Any] = [
        Drawing(network.digits, feature, places, temperature[feature], least_share)
        for feature in features
    ]
    tables = [network.added(feature, places) for feature in features]
    every = [reader for some in readers for reader in some]
    caches = [cache for reader in every for cache in (reader.keys, reader.values)]
    held: list[Any] = [*every, *draws]
    names = [[name for name in tensors_of(one) if name not in ("keys", "values")] for one in held]
    own = [getattr(one, name) for one, each in zip(held, names, strict=True) for name in each]
    out = [network.node.bias, network.node_out.weight, network.node_out.bias]
    place = torch.arange(mean.shape[1], device=mean.device)

    def body(
        carried: list[Tensor], slices: list[Tensor], constants: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        (hidden, *caches), (now, random, place) = carried, slices
        last = caches.pop() if network.descending else None
        (bias, *after), table = constants[:3], constants[3 : 3 + len(tables)]
        rest = iter(constants[3 + len(tables) :])
        mine = [
            with_tensors(one, {name: next(rest) for name in each})
            for one, each in zip(held, names, strict=True)
        ]
        reading, drawing = iter(mine[: len(every)]), mine[len(every) :]
        kept, drawn = iter(caches), []
        hidden, node = hidden + now, bias.expand_as(hidden)
        width, caches = hidden.shape[1], []
        for feature in features:
            for _ in readers[feature]:
                hidden, *written = next(reading).read(hidden, next(kept), next(kept), place)
                caches += written
            each = drawing[feature](hidden, random[feature], last if feature == 0 else None)
            if network.descending and feature == 0:
                last = each  # (B,)
            drawn.append(each)
            added = table[feature].index_select(0, each)
            node = node + added[:, :width]
            if feature < len(network.values):
                hidden = hidden + added[:, width:]
        hidden = nn.functional.linear(nn.functional.gelu(node), *after)
        after_node = [hidden, *caches] if last is None else [hidden, *caches, last]
        return after_node, [torch.stack(drawn, dim=-1)]

    begin = [network.first.expand(clouds, -1), *caches]
    if network.descending:  # the first place of no node is above that of the last
        begin.append(torch.full_like(mean[:, 0, 0], places.steps[0]))
    constants = [*out, *tables, *own]
    _, (drawn,) = scan(body, begin, [shift.contiguous(), numbers.contiguous(), place], constants)
    return drawn.transpose(0, 1)


def _blocks(network: NodeTransformer) -> list[list[CausalBlock]]:
    """Blocks before each feature of a node."""
    rows = map(nn.Module.children, network.blocks)
    return [[block for block in row if isinstance(block, CausalBlock)] for row in rows]

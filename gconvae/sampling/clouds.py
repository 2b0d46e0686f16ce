"""Clouds of a model, each a function of (seed, its number), drawn some at a time."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gconvae.caller_state import full_precision
from gconvae.clouds import Clouds
from gconvae.freed_memory import keep_freed_memory
from gconvae.pieces import NODES, PART, joined, pieces, sent
from gconvae.plain import plain
from gconvae.sampling import noise
from gconvae.sampling.noise import (
    Generative,
    Kind,
    Request,
    conditions_of,
    drawn_at,
    filled,
    kind_of,
    numbers_of,
)
from gconvae.sampling.recorded import Draw, draws
from gconvae.threads import side_by_side

__all__ = ["interpolations", "reconstructions", "samples", "checked_request"]

CACHED_NODES = 2**16
"""Nodes that go through a network on a CPU at a time, where a likelihood asks for more clouds."""


def checked_request(
    model: Generative,
    num_samples: int | None,
    label: Any = None,
    z: Any = None,
    conditions: Any = None,
) -> tuple[int, Request]:
    """How many clouds are asked for, and what of each is given.

    Args:
        model: Whose schema names the classes.
        num_samples: B; None where ``z`` says it.
        label: One for all, or one each; a class's name, or its number where none is named so.
        z: Latents, shape (B, L), in any form, or None.
        conditions: (C,) for all or (B, C), in any form, or None.
    Raises:
        ValueError: If the number is below 1 or given twice, latents or conditions have another
            shape, there is no such class, or no training cloud was of it.
    """
    if z is not None and num_samples is not None:
        raise ValueError(f"num_samples must be left out where z says it, got {num_samples}")
    z = None if z is None else model.latents(z)
    count = plain(num_samples) if z is None else len(z)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"num_samples must be at least 1, got {count}")
    name_of = model.schema.class_index
    if model.schema.classes and label is not None and not isinstance(label, Tensor):
        each = [label] if isinstance(label, str) or np.ndim(label) == 0 else label
        indices = torch.tensor([name_of(one) for one in each], device="cpu")
        label = indices if len(indices) > 1 or np.ndim(label) else indices[0]
    labels = model.conditioning.check_wanted(label, count)
    rows = model.conditioning.check_conditions(conditions, count, wanted=True)
    return count, Request(labels, z, conditions=None if rows is None else rows.cpu())


def samples(
    model: Generative,
    num_samples: int,
    seed: int,
    request: Request | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Clouds]:
    r"""New clouds in data units, some at a time.

    .. math:: x_i = f(\text{seed}, i, y_i, z_i)

    with label, number of nodes, conditions, z and the likelihood's noise drawn where not given.
    Cloud i does not depend on how many are drawn, before it or after, nor on the sizes of pieces.

    Args:
        model: Where they are drawn from.
        num_samples: How many in all.
        seed: The same seed gives the same clouds.
        request: What is not to be drawn, a row a cloud.
        part: Which of how many processes this is; each draws every so many-th piece.
    """
    request, (rank, size) = request or Request(), part
    nodes, threads = model.conditioning.num_points, torch.get_num_threads()
    most = min(model.likelihood.blocks_together * noise.BLOCK, CACHED_NODES // nodes)
    if model.device.type == "cuda":  # where there is no cache to stay in
        rows = min(PART, NODES // nodes) // noise.BLOCK * noise.BLOCK
    else:
        rows = _rows(num_samples, most // noise.BLOCK, threads if size == 1 else size)
    rows = max(noise.BLOCK, rows)
    kind = kind_of(model, rows, request.mask)
    draw = draws(model.likelihood, model.device)

    def piece(start: int) -> Clouds:
        stop = min(start + rows, num_samples)
        asked = Request(*(None if each is None else each[start:stop] for each in request))
        with torch.no_grad():  # not around the yield, where the caller's code runs
            return _piece(model, start, stop - start, seed, asked, kind, draw)

    starts = range(rank * rows, num_samples, size * rows)
    if model.device.type == "cuda":
        yield from map(piece, starts)
        return
    keep_freed_memory()
    for first in range(0, len(starts), threads):
        some = starts[first : first + threads]
        yield from side_by_side([functools.partial(piece, start) for start in some])


def _rows(num_samples: int, most: int, hands: int) -> int:
    """Clouds of a piece: at most so many blocks, and no more than keep all hands busy."""
    rounds = -(-num_samples // max(1, most * hands * noise.BLOCK))
    return -(-num_samples // (rounds * hands * noise.BLOCK)) * noise.BLOCK


@torch.no_grad()
def reconstructions(model: Generative, clouds: Clouds, seed: int | None) -> Clouds:
    """Clouds decoded from their posteriors' means.

    Args:
        model: What encodes and decodes.
        clouds: Prepared, in data units; with labels and conditions where the model has such.
        seed: Draw around the decoder's mean with this seed; None = the mean itself.
    """
    labels = model.conditioning.check_labels(clouds.labels, len(clouds.points))
    conditions = model.conditioning.check_conditions(clouds.conditions, len(clouds.points))
    z, nodes = model.means(clouds), model.conditioning.nodes(clouds.mask)
    nodes = torch.ones_like(nodes) if model.conditioning.always_full else nodes
    latents = Clouds(z, nodes, labels, model.schema, conditions)
    return _decoded(model, latents) if seed is None else _around(model, latents, seed)


@torch.no_grad()
def interpolations(
    model: Generative, first: Clouds, second: Clouds, steps: int, labels: Tensor | None
) -> Clouds:
    """Clouds decoded from straight lines between the posteriors' means of two clouds each.

    Args:
        model: What encodes and decodes.
        first: Where the lines begin, prepared, in data units.
        second: Where they end, as many.
        steps: Clouds of a line, at least 2.
        labels: Of each line, shape (B,); None = those of both ends.
    Returns:
        One line after another, B * steps clouds.
    Raises:
        ValueError: If there are not as many ends as beginnings, or their labels differ.
    """
    count = len(first.points)
    if len(second.points) != count:
        raise ValueError(f"second must hold {count} clouds like first, got {len(second.points)}")
    steps = plain(steps)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 2:
        raise ValueError(f"steps must be a whole number of at least 2, got {steps!r}")
    if labels is None and model.conditioning.num_classes:
        ends = [model.conditioning.check_labels(each.labels, count) for each in (first, second)]
        labels = ends[0]
        if labels is None or ends[1] is None or not torch.equal(labels, ends[1]):
            raise ValueError("labels must be given where those of first and second differ")
    labels = model.conditioning.check_labels(labels, count)
    check = model.conditioning.check_conditions
    rows = [check(each.conditions, count) for each in (first, second)]
    share = torch.linspace(0, 1, steps, device=model.device, dtype=model.scaling.low.dtype)

    def line(a: Tensor, b: Tensor) -> Tensor:
        return torch.lerp(a.unsqueeze(1), b.unsqueeze(1), share.unsqueeze(-1)).flatten(0, 1)

    z = line(model.means(first), model.means(second))  # (B * steps, L)
    known = [each.to(share) for each in rows if each is not None]
    conditions = line(*known).float() if known else None
    counts = [each.mask.sum(1, keepdim=True).to(share) for each in (first, second)]
    sizes = line(*counts).round().clamp(max=model.conditioning.num_points)  # (B * steps, 1)
    if model.conditioning.always_full:
        sizes = torch.full_like(sizes, model.conditioning.num_points)
    nodes = torch.arange(model.conditioning.num_points, device=model.device) < sizes
    if labels is not None:
        labels = labels.to(model.device).repeat_interleave(steps)
    return _decoded(model, Clouds(z, nodes, labels, model.schema, conditions))


def _decoded(model: Generative, latents: Clouds) -> Clouds:
    """Mean clouds of latents."""
    parts = pieces(latents, latents.mask.shape[1])
    decoded = [
        model.decode(part.points, part.labels, part.mask, conditions=part.conditions)
        for part in parts
    ]
    return latents._replace(points=torch.cat(decoded))


def _around(model: Generative, latents: Clouds, seed: int) -> Clouds:
    """Draws around the mean clouds of latents."""
    request = Request(latents.labels, latents.points, latents.mask, latents.conditions)
    return joined(list(samples(model, len(latents.points), seed, request)))


@full_precision
def _piece(
    model: Generative,
    start: int,
    count: int,
    seed: int,
    request: Request,
    kind: Kind,
    draw: Draw,
) -> Clouds:
    """Clouds from ``start`` on, which is the first of a block."""
    blocks = range(start // noise.BLOCK, -(-(start + count) // noise.BLOCK))
    labels, mask, conditions = conditions_of(seed, blocks, request, kind)
    numbers = numbers_of(model, blocks, seed, kind, with_latents=request.latents is None)
    if numbers.latent is not None:
        context = kind.conditioning.context(kind.rows, labels, mask, conditions)
        context = None if context is None else context.to(model.scaling.low)
        # on the CPU, so that every device makes the same choices of it
        z = model.prior.from_noise(numbers.latent, context)
    else:
        assert request.latents is not None
        z = filled(request.latents, kind.rows)
    z = sent(z, model.device).to(model.scaling.low.dtype)  # (R, L)
    labels = None if labels is None else sent(labels, model.device)
    conditions = None if conditions is None else sent(conditions, model.device)
    wanted = None if kind.always_full else sent(mask, model.device)
    here = Request(labels, z, wanted, conditions)
    node = None if numbers.node is None else sent(numbers.node, model.device)
    around = sent(numbers.likelihood, model.device)
    points, nodes_first = drawn_at(model, here, node, around, kind, draw)
    points, nodes_first = points[:count], nodes_first[:count]
    labels = None if labels is None else labels[:count]
    conditions = None if conditions is None else conditions[:count]
    return Clouds(points, nodes_first, labels, model.schema, conditions)

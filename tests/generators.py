"""Makers of small problems, each a function of its seed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NODE_KINDS = ("random", "lattice", "coincident", "outlier", "far_off")
"""What :func:`nodes` makes: no ties; many ties; three places only; one node at 1e6; a small cloud
far from the origin, where the product form of a distance has no digits left."""


class PackedPair(NamedTuple):
    """Two packed sets of nodes with the same clouds, in the order that ``nearest`` takes them."""

    query: Tensor
    points: Tensor
    batch_query: Tensor
    batch_points: Tensor


def nodes(
    kind: str, size: int, features: int, generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """One cloud's nodes, shape (size, features)."""
    shape = (size, features)
    if kind == "lattice":
        return torch.randint(0, 4, shape, generator=generator).to(dtype)
    if kind == "coincident":
        return torch.randint(0, 3, (size, 1), generator=generator).expand(shape).to(dtype)
    values = torch.rand(shape, generator=generator, dtype=torch.float64)
    if kind == "far_off":
        return (1000.0 + 0.01 * values).to(dtype)
    values = 27.0 * values
    if kind == "outlier":
        values[int(torch.randint(0, size, (), generator=generator))] = 1e6
    return values.to(dtype)


def packed_pair(
    kind: str,
    sizes_query: list[int],
    sizes_points: list[int],
    features: int,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> PackedPair:
    """Queries and points of clouds with the given sizes; a size may be 0."""
    generator = torch.Generator().manual_seed(seed)
    packed, batches = [], []
    for sizes in (sizes_query, sizes_points):
        clouds = [nodes(kind, n, features, generator, dtype) for n in sizes if n]
        packed.append(torch.cat(clouds) if clouds else torch.empty(0, features, dtype=dtype))
        batches.append(torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)))
    return PackedPair(packed[0], packed[1], batches[0], batches[1])


def ragged_sizes(num_clouds: int, largest: int, seed: int = 0) -> list[int]:
    """Cloud sizes from 1 to ``largest``, the first one being 1 and the last one ``largest``."""
    generator = torch.Generator().manual_seed(seed)
    sizes: list[int] = torch.randint(1, largest + 1, (num_clouds,), generator=generator).tolist()
    sizes[0] = 1
    sizes[-1] = largest
    return sizes


def jets(num_jets: int, seed: int, *, num_particles: int = 12) -> tuple[Tensor, Tensor]:
    """Jets as a parton shower makes them, roughly: a few prongs, soft and collinear particles.

    Points (B, N, 3) of eta_rel, phi_rel, pt_rel in float64, the hardest first, and their mask: a
    third of the jets have fewer particles.
    """
    rng = np.random.default_rng([seed, 17])
    shape = (num_jets, num_particles)
    share = rng.gamma(0.5, size=shape) + 1e-4
    share = -np.sort(-0.9 * share / share.sum(1, keepdims=True), axis=1)
    prongs = rng.uniform(-0.3, 0.3, size=(num_jets, 3, 2))
    centre = np.take_along_axis(prongs, rng.integers(3, size=shape)[..., None], 1)
    angles = centre + rng.uniform(0, 0.1, (*shape, 1)) * rng.normal(size=(*shape, 2))
    fewer = rng.integers(num_particles // 2, num_particles + 1, num_jets)
    number = np.where(rng.random(num_jets) < 1 / 3, fewer, num_particles)
    mask = np.arange(num_particles) < number[:, None]
    points = np.concatenate([angles, share[..., None]], axis=-1) * mask[..., None]
    return torch.from_numpy(points), torch.from_numpy(mask)

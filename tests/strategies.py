"""Random clouds, schemas and densities for properties, the same on every machine."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from gconvae.schema import CloudSchema, Feature, Tail

__all__ = ["Pair", "cases", "clouds", "pairs", "random", "schemas", "wide_nodes"]

cases = settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
"""200 cases, of which none depends on the machine or on earlier runs."""

KINDS = ("uniform", "lattice", "copies", "outlier", "far")


class Pair(NamedTuple):
    """Two sides of a loss: clouds (B, N, F) and (B, M, F), and which of their nodes are real."""

    target: Tensor
    output: Tensor
    target_mask: Tensor
    output_mask: Tensor


def random(seed: int) -> torch.Generator:
    """A generator of a seed."""
    return torch.Generator().manual_seed(seed)


def _nodes(shape: tuple[int, int, int], kind: str, seed: int) -> Tensor:
    values = torch.rand(shape, generator=random(seed), dtype=torch.float64)
    if kind == "lattice":
        return (4 * values).floor()
    if kind == "copies":
        return values[:, :1].expand(shape).clone()
    if kind == "outlier":
        values[0, 0, 0] = 1e6
    return values + 1e3 if kind == "far" else values


@st.composite
def clouds(draw: st.DrawFn, most: int = 6, features: int = 4) -> Tensor:
    """Clouds in double precision, shape (B, N, F)."""
    shape = tuple(draw(st.integers(1, end)) for end in (3, most, features))
    return _nodes(shape, draw(st.sampled_from(KINDS)), draw(st.integers(0, 10**6)))


@st.composite
def wide_nodes(draw: st.DrawFn) -> Tensor:
    """Nodes of one cloud in double precision, shape (n, F) with F up to 16."""
    shape = 1, draw(st.integers(1, 8)), draw(st.integers(1, 16))
    return _nodes(shape, draw(st.sampled_from(KINDS)), draw(st.integers(0, 10**6)))[0]


@st.composite
def pairs(draw: st.DrawFn, *, equal: bool = False) -> Pair:
    """Two sides with masks of any pattern; ``equal`` numbers of real nodes on both."""
    count, features = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    kind, seed = draw(st.sampled_from(KINDS)), draw(st.integers(0, 10**6))
    sizes = [draw(st.integers(1, 6)) for _ in range(2)]
    sides = [_nodes((count, size, features), kind, seed + n) for n, size in enumerate(sizes)]
    real = torch.randint(1, 1 + min(sizes), (count,), generator=random(seed))
    masks = []
    for number, size in enumerate(sizes):
        mask = torch.rand(count, size, generator=random(seed + number)) < 0.6
        mask[:, draw(st.integers(0, size - 1))] = True
        if equal:
            order = torch.rand(count, size, generator=random(seed + number)).argsort(1)
            mask = order < real.unsqueeze(1)
        masks.append(mask)
    return Pair(*sides, *masks)


@st.composite
def schemas(draw: st.DrawFn) -> CloudSchema:
    """Schemas with ranges, steps, periods, tails and offsets of any kind."""
    number = st.floats(-1e3, 1e3, allow_nan=False)
    features = []
    for column in range(draw(st.integers(1, 4))):
        low, width = draw(number), draw(st.floats(0.1, 100))
        known = draw(st.booleans())
        features.append(
            Feature(
                f"feature {column}",
                unit=draw(st.sampled_from(["", "mm", "GeV"])),
                position=column == 0,
                low=low if known else None,
                high=low + width if known else None,
                step=draw(st.sampled_from([None, 0.0, 0.5])),
                tail=draw(st.sampled_from([None, None, Tail("log", 2.0), Tail("power", 0.5)])),
                offset=draw(st.sampled_from([0.0, 0.0, 12345.0])),
            )
        )
    order = draw(st.sampled_from([(), ("feature 0",), ("-feature 0",)]))
    return CloudSchema(tuple(features), order=order, name=draw(st.sampled_from(["", "mine"])))

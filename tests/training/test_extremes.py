"""Clouds at the ends of what numbers can be: they train, with finite draws in their range."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gconvae
from gconvae import datasets

NODES = 4
CLOUDS = 120


def uniform(clouds: int = CLOUDS, nodes: int = NODES) -> Tensor:
    return torch.rand(clouds, nodes, 3, generator=torch.Generator().manual_seed(0))


SETS = {
    "identical nodes": uniform(nodes=1).expand(-1, NODES, -1).clone(),
    "identical clouds": uniform(clouds=1).expand(CLOUDS, -1, -1).clone(),
    "one value": torch.full((CLOUDS, NODES, 3), 0.3),
    "one node": uniform(nodes=1),
    "zero intensity": uniform() * torch.tensor([1.0, 1.0, 0.0]),
    "two clouds": uniform(clouds=2),
    "1e6": 1e6 * uniform(),
    "1e6 away": 1e6 + uniform(),
    "1e-6 apart": 1 + 1e-6 * uniform(),
    "1e-30": 1e-30 * uniform(),
    "1e30": 1e30 * uniform(),
    "one far node": uniform().index_put((torch.tensor(0), torch.tensor(0)), torch.tensor(1e9)),
}


@pytest.mark.parametrize("name", SETS)
# one training cloud has no range for another, and a far node makes a heavy tail: both are said
@pytest.mark.filterwarnings("ignore:.*lie far outside the range:UserWarning")
@pytest.mark.filterwarnings("ignore:.*have a heavy tail:UserWarning")
def test_clouds_at_the_ends_of_numbers_train(name: str) -> None:
    points = SETS[name]
    model = gconvae.models.create(
        "convae-flow",
        encoder="deep_sets",
        decoder="dense",
        likelihood="autoregressive(steps=3, width=8)",
        num_points=points.shape[1],
        hidden=8,
        seed=0,
    )
    data = datasets.from_points(points)
    run = gconvae.fit(
        model, data, epochs=1, prior_steps=3, likelihood_steps=3, seed=0, progress=False
    )
    low, high = points.amin((0, 1)).double(), points.amax((0, 1)).double()
    room = 0.5 * (high - low) + 1e-4 * high.abs()  # values may miss a range by rounding
    for made in (run.model.sample(10, seed=0), run.model.reconstruct(data[:2])):
        assert torch.isfinite(made).all()
        assert (made >= low - room).all()
        assert (made <= high + room).all()
    bound = run.model.log_likelihood(data[:2], samples=2)
    assert torch.isfinite(bound.value).all()

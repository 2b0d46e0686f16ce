"""The stage of a prior: its batches, and the weights that it keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from gconvae.priors import NeuralSplineFlow
from gconvae.priors.base import Latents
from gconvae.randomness import initial_weights
from gconvae.training.stages.prior import PriorStage

CLOUDS, SIZE = 70, 32


def stage(seed: int = 0) -> PriorStage:
    with initial_weights(seed):
        prior = NeuralSplineFlow(2, transforms=1, hidden=[4])
    prior.batch_size = SIZE
    # nothing is random but the order: a draw is its mean
    means = torch.arange(2.0 * CLOUDS).view(CLOUDS, 2)
    latents = Latents(means, torch.zeros_like(means))
    return PriorStage(prior, latents, latents, seed)


def one_pass(made: PriorStage, number: int) -> list[Tensor]:
    batches = -(-CLOUDS // SIZE)
    return [made.batch(number * batches + step).z for step in range(batches)]


def test_a_pass_has_every_cloud_once() -> None:
    made = stage()
    for number in (0, 1):
        found = one_pass(made, number)
        assert [len(batch) for batch in found] == [32, 32, 6]
        assert torch.cat(found)[:, 0].sort().values.tolist() == list(range(0, 2 * CLOUDS, 2))


def test_each_pass_has_an_order_of_its_own_which_the_seed_decides() -> None:
    first, second = (torch.cat(one_pass(stage(), number)) for number in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, torch.cat(one_pass(stage(), 0)))
    assert not torch.equal(first, torch.cat(one_pass(stage(1), 0)))

"""The running mean of weights against its formula, and in both stages that keep it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gconvae.training.running_mean import RunningMean


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 0.999])
def test_it_is_the_mean_of_the_formula(share: float) -> None:
    network = nn.Linear(2, 3)
    mean = RunningMean(network, share)
    wanted = [weight.detach().double().clone() for weight in network.parameters()]
    for step in range(1, 40):
        with torch.no_grad():
            for weight in network.parameters():
                weight.copy_(
                    torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
                )
        mean.take(network, mean.new_share(step))
        old = min(share, step / (9 + step))
        pairs = zip(wanted, network.parameters(), strict=True)
        wanted = [old * far + (1 - old) * weight.detach() for far, weight in pairs]
    for found, each in zip(mean.network.parameters(), wanted, strict=True):
        torch.testing.assert_close(found.double(), each, rtol=1e-5, atol=1e-6)


def test_buffers_are_those_of_the_network() -> None:
    network = nn.BatchNorm1d(2)
    mean = RunningMean(network, 0.9)
    network(torch.randn(5, 2, generator=torch.Generator().manual_seed(0)))
    mean.take(network, mean.new_share(1))
    assert isinstance(mean.network, nn.BatchNorm1d)
    for found, wanted in zip(mean.network.buffers(), network.buffers(), strict=True):
        assert torch.equal(found, wanted)


def test_the_copy_is_not_trained_and_changes_nothing() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).train()
    before = copy.deepcopy(network.state_dict())
    mean = RunningMean(network, 0.9)
    assert not any(weight.requires_grad for weight in mean.network.parameters())
    assert not any(module.training for module in mean.network.modules())
    mean.take(network, mean.new_share(1))
    assert all(weight.requires_grad for weight in network.parameters())
    assert all(torch.equal(network.state_dict()[name], each) for name, each in before.items())

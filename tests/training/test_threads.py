"""The number of threads changes how long a training takes, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gconvae
from gconvae import datasets


@pytest.fixture(autouse=True)
def threads_as_before() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def trained(threads: int) -> Any:
    data = datasets.SuperpixelMNIST(digit=8, split="test")[:300]
    term = "autoregressive(steps=6, width=16)"
    model = gconvae.models.create("convae-flow", hidden=64, seed=0, likelihood=term)
    return gconvae.fit(
        model, data, epochs=2, seed=0, prior_steps=20, threads=threads, progress=False
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_a_training_of_all_stages_has_the_bits_of_one_thread(threads: int) -> None:
    wanted, found = trained(1), trained(threads)
    assert found.history == wanted.history
    for name, weight in wanted.model.state_dict().items():
        assert torch.equal(found.model.state_dict()[name], weight), name
    torch.set_num_threads(threads)
    drawn = found.model.sample(300, seed=1)
    torch.set_num_threads(1)
    assert torch.equal(wanted.model.sample(300, seed=1), drawn)

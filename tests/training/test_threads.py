"""The number of threads changes how long a training takes, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import gconvae
from gconvae import datasets
from gconvae.training.stages.network import NetworkStage


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


@pytest.mark.parametrize(
    ("options", "apart"),
    [
        ({"hidden": 64}, True),
        ({}, False),  # the slides' network has 4 million weights
        ({"hidden": 64, "encoder": "edge_conv"}, False),
        ({"hidden": 64, "free_bits": 0.1}, False),
    ],
)
def test_only_small_networks_that_keep_clouds_apart_are_trained_in_parts(
    options: dict[str, Any], apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def ended(stage: NetworkStage) -> None:
        said.append(stage.is_separable())

    monkeypatch.setattr(NetworkStage, "on_train_end", ended)
    data = datasets.SuperpixelMNIST(digit=8, split="test")[:20]
    bits = {name: options[name] for name in options.keys() & {"free_bits"}}
    kind = {name: options[name] for name in options.keys() - bits.keys()}
    model = gconvae.models.create("convae", seed=0, **kind)
    gconvae.fit(model, data, epochs=1, neighbors="dense", progress=False, **bits)
    assert said == [apart]

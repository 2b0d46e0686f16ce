"""The page "Write your own encoder": what it shows is short, right, and runs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import gconvae
from gconvae import datasets, losses, models, registry
from gconvae.cli import main as cli

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "examples" / "my_encoder.py"
PAGE = (ROOT / "docs" / "own-encoder.md").read_text()
COMMANDS = {
    words[0]: words
    for line in re.findall(r"^uv run gconvae (.*)$", PAGE.replace("\\\n", " "), re.MULTILINE)
    if (words := shlex.split(line))
}
"""Commands of the page, by name, as lists of words."""

SMALL = ("--data", "eights.npz", "--hidden", "16", "--batch-size", "20")
"""Sixty clouds, and a decoder of a hundredth of the size, beside what the page says."""


@contextlib.contextmanager
def own_register() -> Iterator[None]:
    """What is registered within is forgotten afterwards, as in a process of its own."""
    # importing the catalogue registers its parts, which must not be forgotten
    assert models.available()
    assert losses.available()
    with pytest.MonkeyPatch.context() as patch:
        copies = {kind: dict(known) for kind, known in registry._PARTS.items()}
        patch.setattr(registry, "_PARTS", copies)
        try:
            yield
        finally:
            sys.modules.pop("my_encoder", None)


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run(*words: str) -> Done:
    """One command, which knows of no part of another command."""
    with (
        own_register(),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        code = cli.main(list(words))
    return Done(code, out.getvalue(), err.getvalue())


def without_parts(words: list[str]) -> list[str]:
    place = words.index("--parts")
    return words[:place] + words[place + 2 :]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the encoder, some eights, and the run of the page's training."""
    folder = tmp_path_factory.mktemp("work")
    shutil.copy(SOURCE, folder)
    eights = datasets.SuperpixelMNIST(8, "test").copy(slice(60))
    datasets.to_file(eights, folder / "eights.npz")
    with contextlib.chdir(folder):
        done = run(*COMMANDS["train"], *SMALL, "--count", "20")
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def inside(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    return workplace


def encoder(**options: Any) -> nn.Module:
    """The page's encoder in double precision, its weights a function of a seed."""
    with own_register():
        registry.import_parts(str(SOURCE))
        with gconvae.randomness.initial_weights(0):
            return registry.create("encoder", "my_encoder", **options).double()


def clouds(num_points: int = 9) -> torch.Tensor:
    """Three clouds in scaled units."""
    random = torch.Generator().manual_seed(0)
    return 27 * torch.rand(3, num_points, 3, generator=random, dtype=torch.float64)


# the file


def test_the_encoder_has_at_most_forty_lines() -> None:
    assert len(SOURCE.read_text().splitlines()) <= 40


def test_the_page_shows_the_file_itself() -> None:
    assert "```{literalinclude} ../examples/my_encoder.py" in PAGE


def test_importing_the_file_registers_it() -> None:
    with own_register():
        spec = importlib.util.spec_from_file_location("imported", SOURCE)
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        assert "my_encoder" in registry.available("encoder")
    assert "my_encoder" not in registry.available("encoder")


# the network


def test_its_moments_are_those_of_the_nodes() -> None:
    network = encoder(order=2)
    seen: list[torch.Tensor] = []
    network.dense[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    points = clouds()
    network(points)
    unit = (points - 13.5) / 13.5
    polynomials = {0: torch.ones_like(unit), 1: unit, 2: 2 * unit**2 - 1}
    for column, (a, b, c) in enumerate(network.degrees.tolist()):
        x, y, intensity = (polynomials[d][..., n] for n, d in enumerate((a, b, c)))
        torch.testing.assert_close(seen[0][:, column], (x * y * intensity).sum(1) / 25)
    assert len(network.degrees) == 10  # 1 + 3 + 6 moments up to order 2 in three features


def test_the_order_of_nodes_changes_nothing() -> None:
    network, points = encoder(), clouds()
    shuffled = points[:, torch.randperm(9, generator=torch.Generator().manual_seed(1))]
    torch.testing.assert_close(network(shuffled).mean, network(points).mean)


def test_masked_nodes_change_nothing() -> None:
    network, points = encoder(), clouds()
    padded = torch.cat([points, torch.zeros(3, 4, 3, dtype=points.dtype)], dim=1)
    got = network(padded, torch.arange(13).expand(3, -1) < 9)
    torch.testing.assert_close(got.mean, network(points).mean)
    torch.testing.assert_close(got.stddev, network(points).stddev)


def test_the_number_of_nodes_counts() -> None:
    network, points = encoder(), clouds()
    twice = torch.cat([points, points], dim=1)
    assert not torch.allclose(network(twice).mean, network(points).mean)


def test_every_weight_gets_a_gradient() -> None:
    network = encoder()
    network(clouds()).rsample().square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.any(), name


# the commands of the page


def test_the_training_has_the_encoder_that_was_named(inside: Path) -> None:
    described = json.loads((inside / "runs/eights/model.json").read_text())
    assert described["encoder"]["name"] == "my_encoder"
    assert described["encoder"]["options"]["width"] == 64


def test_sampling_writes_as_many_clouds_as_the_page_says(inside: Path) -> None:
    words = COMMANDS["sample"]
    done = run(*words, "--overwrite", "true")
    assert done.code == 0, done.err
    written = datasets.from_file(words[words.index("--out") + 1])
    assert len(written) == int(words[words.index("--count") + 1])


def test_evaluating_compares_with_the_clouds_that_were_kept_aside(inside: Path) -> None:
    done = run(*COMMANDS["evaluate"], "--count", "20")
    assert done.code == 0, done.err
    assert "held-out clouds of the run: 12 real" in done.out


def test_reproducing_gives_the_same_bits(inside: Path) -> None:
    done = run(*COMMANDS["reproduce"])
    assert done.code == 0, done.err


def test_a_sweep_compares_it_with_another(inside: Path) -> None:
    done = run(*COMMANDS["sweep"], *SMALL, "--seeds", "1", "--metric", "valid_rec")
    assert done.code == 0, done.err
    found = json.loads((inside / "runs/encoders/sweep.json").read_text())
    tried = {setting["options"]["encoder"] for setting in found["settings"]}
    assert tried == {"conv", "my_encoder"}


@pytest.mark.parametrize("name", ["sample", "evaluate"])
def test_without_the_file_a_command_says_what_to_add(name: str, inside: Path) -> None:
    done = run(*without_parts(COMMANDS[name]), "--overwrite", "true")
    assert done.code == 2
    assert "'my_encoder'" in done.err
    assert "--parts FILE" in done.err


def test_loading_needs_the_registration(inside: Path) -> None:
    with own_register():
        with pytest.raises(ValueError, match=r"must hold a model of registered parts.*--parts"):
            gconvae.load("runs/eights")
        registry.import_parts("my_encoder.py")
        model = gconvae.load("runs/eights")
    with np.load("runs/eights/samples.npz") as file:
        assert np.array_equal(model.sample(20, seed=0).numpy(), file["points"])

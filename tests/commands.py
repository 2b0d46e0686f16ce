"""Small trainings for the commands, and what a command must say about wrong input."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gconvae import datasets
from gconvae.cli import main as cli
from gconvae.datasets import CloudDataset

SMALL = ("--hidden", "16", "--channels", "[2,3]", "--recipe", "slides")
COMMAND = str(Path(sys.executable).with_name("gconvae"))
SHORT = ("--hidden", "8", "--channels", "[2,3]", "--batch-size", "20", "--epochs", "2")
TINY = (*SMALL, "--epochs", "2", "--batch-size", "50", "--count", "30")
PNG = b"\x89PNG"


def foreign(num_clouds: int = 100, seed: int = 0) -> datasets.CloudDataset:
    """Ragged clouds of up to 12 nodes, positions in [-1, 1], third feature up to 500."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(num_clouds, 12, 3, generator=random)
    points[:, :3] = points[:, :3].round()  # every limit is reached often
    points = points * torch.tensor([2.0, 2.0, 500.0]) + torch.tensor([-1.0, -1.0, 0.0])
    counts = 4 + torch.arange(num_clouds) % 9
    return datasets.from_points(points, torch.arange(12) < counts.unsqueeze(1))


def own_clouds(num_clouds: int, seed: int) -> CloudDataset:
    """Clouds of 12 nodes that are no image's."""
    random = torch.Generator().manual_seed(seed)
    return datasets.from_points(torch.rand(num_clouds, 12, 3, generator=random))


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def samples(folder: Path) -> Tensor:
    return datasets.from_file(folder / "samples.npz").points


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_one_error(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and exactly one line on stderr; nothing is said to be started."""
    capsys.readouterr()
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert re.fullmatch(r"gconvae: error: [^\n]+\n", printed.err), printed.err
    assert re.search(message, printed.err), printed.err
    assert printed.out == ""


def helped(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def explained(text: str) -> dict[str, str]:
    """What a help text says about each option, without the types and defaults."""
    blocks = re.split(r"\n  (?=-)", text.split("\noptions:")[1])
    found = {}
    for block in blocks[1:]:
        names = re.findall(r"--([a-z-]+)", block.split("  ")[0])
        sentence = " ".join(block.split("  ")[1:])
        sentence = re.sub(r"\((type|default): .*", "", sentence, flags=re.DOTALL)
        for name in names:
            found[name.replace("-", "_")] = " ".join(sentence.split())
    return found

"""Several processes that share each batch: the curves of one, one that writes, resume, errors."""

from __future__ import annotations

import csv
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from side_by_side import Ended, Starter

import gconvae
from gconvae.training.hardware import Hardware
from gconvae.training.stages.stage import Stage

STEPPED = {
    "prior": "realnvp(hidden=[8])",
    "likelihood": "autoregressive(width=16, heads=2, components=3, temperature=1)",
}
AT_ONCE = {"prior": "gmm(components=2)", "likelihood": "gaussian"}


def run(
    start: Starter,
    folder: Path,
    world: int,
    *,
    fails: dict[str, Any] | None = None,
    parts: dict[str, str] = STEPPED,
    **more: Any,
) -> Ended:
    """A training by so many processes, started as torchrun starts them."""
    steps = {"prior_steps": 4, "likelihood_steps": 8} if parts is STEPPED else {}
    options = {"epochs": 2, "free_bits": 0.1, **steps, **more}
    return start(
        world,
        "shared_work.train",
        out=str(folder),
        devices=world,
        fails=fails or {},
        options=options,
        parts=parts,
    )


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_curves(first: Path, second: Path, tolerance: dict[str, float]) -> None:
    rows = list(zip(history(first), history(second), strict=True))
    assert {row["stage"] for row, _ in rows} == {"network", "prior", "likelihood"}
    for one, other in rows:
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name in ("stage", "epoch") or not value:
                assert other[name] == value
            else:
                wanted = pytest.approx(float(value), rel=tolerance[one["stage"]])
                assert float(other[name]) == wanted, (one["stage"], name)


CLOSE = {"network": 1e-5, "likelihood": 1e-5, "prior": 1e-4}
"""Adam divides by the size of a gradient, so rounding of those near 0 shows in a flow."""


@pytest.fixture(scope="module")
def alone(start: Starter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone") / "run"
    done = run(start, folder, 1)
    assert done.codes == [0], done.err
    return folder


@pytest.fixture(scope="module")
def together(start: Starter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("together") / "run"
    done = run(start, folder, 2)
    assert (done.codes, done.err) == ([0, 0], "")
    return folder


def test_two_processes_have_the_curves_of_one_in_every_stage(alone: Path, together: Path) -> None:
    assert_same_curves(alone, together, CLOSE)


def test_one_process_writes_and_what_it_writes_is_whole(alone: Path, together: Path) -> None:
    assert {file.name for file in together.iterdir()} == {file.name for file in alone.iterdir()}
    clouds = [gconvae.load(folder).sample(20, seed=1) for folder in (alone, together)]
    assert clouds[0].shape == clouds[1].shape
    assert json.loads((together / "manifest.json").read_text())["options"]["devices"] == 2


def test_what_is_fitted_at_once_is_written_by_one_process(start: Starter, tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for world, folder in enumerate(folders, start=1):
        done = run(start, folder, world, parts=AT_ONCE, logger="csv")
        assert (done.codes, done.err) == ([0] * world, "")
        assert [file.name for file in (folder / "logs").iterdir()] == ["version_0"]
    assert_same_curves(*folders, CLOSE)
    one, two = (gconvae.load(folder).sample(20, seed=1) for folder in folders)
    assert (one - two).abs().max() < 1  # rounded to a lattice, of nearly the same numbers


def test_a_stopped_training_goes_on_with_the_same_or_another_number_of_processes(
    start: Starter, together: Path, tmp_path: Path
) -> None:
    # 3 steps and 1 look an epoch: killed in the second one
    first, second = tmp_path / "first", tmp_path / "second"
    stopped = run(start, first, 2, fails={"0": [6, "kill"], "1": [6, "kill"]})
    assert stopped.codes == [-signal.SIGKILL] * 2
    assert len(history(first)) == 1
    shutil.copytree(first, second)
    for folder, world in ((first, 2), (second, 1)):
        done = run(start, folder, world, resume=True)
        assert done.codes == [0] * world, done.err
    for file in ("history.csv", "model.safetensors"):
        assert (first / file).read_bytes() == (together / file).read_bytes()
    assert_same_curves(together, second, CLOSE)


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_in_one_process_ends_all_within_a_minute(
    start: Starter, tmp_path: Path, rank: int
) -> None:
    started = time.monotonic()
    done = run(start, tmp_path / "run", 2, fails={str(rank): [2, "fail"]})
    assert 0 not in done.codes
    assert time.monotonic() - started < 60
    assert "as asked" in done.err
    assert not (tmp_path / "run" / "model.json").exists()


class Alone(Stage):
    """As much of a stage as shares batches."""

    def __init__(self, world: int, rank: int) -> None:
        self.given = world, rank

    world_size = property(lambda self: self.given[0])
    global_rank = property(lambda self: self.given[1])


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [1, 2, 5, 14])
def test_shares_make_up_the_batch_and_means_its_mean(world: int, count: int) -> None:
    values = torch.arange(float(count)) ** 2
    shares = [Alone.share(Alone(world, rank), count) for rank in range(world)]  # type: ignore[arg-type]
    taken = torch.cat([values[share.rows][: share.count] for share in shares])
    assert torch.equal(taken, values)
    means = [float(values[share.rows].mean() * share.factor) for share in shares]
    assert sum(means) / world == pytest.approx(values.mean().item())
    assert all(math.isfinite(mean) for mean in means)


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook", "fsdp", "deepspeed", 3])
def test_a_strategy_that_would_lose_results_is_refused(strategy: Any) -> None:
    with pytest.raises(ValueError, match="strategy must be auto, ddp, .*got "):
        Hardware(devices=2, strategy=strategy)


def test_several_processes_are_ddp_by_default() -> None:
    assert Hardware().strategy == "auto"
    assert Hardware(devices=2).strategy == Hardware(num_nodes=2).strategy == "ddp"
    Hardware(devices=2, strategy="ddp_find_unused_parameters_true")
    Hardware(devices=2, strategy=DDPStrategy(find_unused_parameters=True))


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "5"}, 5),
        ({"SLURM_PROCID": "6"}, 6),
        ({"LOCAL_RANK": "1"}, 1),
        ({"LOCAL_RANK": "1", "NODE_RANK": "2"}, 9),
    ],
)
def test_a_process_knows_its_rank_before_it_meets_the_others(
    environment: dict[str, str], rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Hardware(devices=4, num_nodes=4).rank == rank
    assert Hardware().rank == 0  # a task of an array that trains by itself


@pytest.mark.parametrize("way", ["-c", "-"])
def test_several_processes_need_a_script(way: str) -> None:
    program = "from gconvae.training.hardware import Hardware; Hardware(devices=2).check_script()"
    words = [sys.executable, *(["-c", program] if way == "-c" else ["-"])]
    ended = subprocess.run(words, input=program, capture_output=True, text=True, check=False)
    assert "devices must be 1 where no file runs" in ended.stderr

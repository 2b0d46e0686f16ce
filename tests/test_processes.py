"""Processes that share a piece of work: the results of one, in their order."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from side_by_side import Starter

import gconvae
from gconvae.processes import Processes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = gconvae.models.create("convae", hidden=8, channels=(2, 3), seed=0)
    return gconvae.save(made, tmp_path_factory.mktemp("model") / "model")


@pytest.mark.parametrize("count", [700, 200])
def test_three_processes_write_the_samples_of_one(
    start: Starter, model: Path, tmp_path: Path, count: int
) -> None:
    # 700 clouds are three pieces, 200 are one: some processes have nothing to do
    out = tmp_path / "shared.npz"
    words = ["sample", str(model), "--count", str(count), "--out", str(out)]
    done = start(3, "shared_work.command", words=words)
    assert (done.codes, done.err) == ([0] * 3, "")
    assert done.out.count("clouds: ") == 1
    wanted = gconvae.load(model).sample(count, seed=0)
    assert torch.equal(gconvae.datasets.from_file(out).points, wanted)


def test_processes_share_out_an_evaluation(start: Starter, model: Path, tmp_path: Path) -> None:
    clouds = gconvae.datasets.SuperpixelMNIST(8, "test")
    gconvae.datasets.to_file(clouds[:120], tmp_path / "real.npz")
    against = ["--against", str(tmp_path / "real.npz"), "--metrics", "features,sets,kernel"]
    words = ["evaluate", str(model), "--count", "300", *against]
    reports = []
    for world in (1, 2):
        out = tmp_path / f"{world}.json"
        done = start(world, "shared_work.command", words=[*words, "--out", str(out)])
        assert (done.codes, done.err) == ([0] * world, "")
        assert done.out.count("report: ") == 1
        reports.append(json.loads(out.read_text()))
    assert reports[0] == reports[1]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_parts_of_samples_make_up_all_of_them(model: Path, size: int) -> None:
    loaded = gconvae.load(model)
    whole = list(loaded.iter_samples(1200, seed=0))
    parts = [list(loaded.iter_samples(1200, seed=0, part=(rank, size))) for rank in range(size)]
    for number, piece in enumerate(whole):
        assert torch.equal(parts[number % size].pop(0).points, piece.points)
    assert not any(parts)


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, Processes(0, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, Processes(2, 4)),
        ({"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "3"}, Processes(1, 3)),
        # a job's own script, which is one process however many tasks it will start
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "3"}, Processes(0, 1)),
    ],
)
def test_processes_know_how_they_were_started(
    environment: dict[str, str], wanted: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert Processes.started() == wanted

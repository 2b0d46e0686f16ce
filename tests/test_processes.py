"""Processes that share a piece of work: the results of one, in their order."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gconvae
from gconvae.processes import Processes

ROOT = Path(__file__).parents[1]

SCRIPT = """
import json, multiprocessing, os, sys, warnings
warnings.filterwarnings("ignore", category=FutureWarning)
import torch.distributed
from gconvae import datasets, models, plots
from gconvae.cli.main import main
from gconvae.training import run_folder

world, port, words, failing = json.loads(sys.argv[1])


def work(rank):
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    if rank == failing:
        sys.exit(3)
    sys.exit(main(words))


fork = multiprocessing.get_context("fork")
processes = [fork.Process(target=work, args=(rank,)) for rank in range(world)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(max(abs(process.exitcode) for process in processes))
"""


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def together(world: int, *words: str, failing: int | None = None) -> tuple[int, str, str]:
    """A command that so many processes run, as torchrun starts them."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([world, free_port(), words, failing])],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = gconvae.models.create("convae", hidden=8, channels=(2, 3), seed=0)
    return gconvae.save(made, tmp_path_factory.mktemp("model") / "model")


@pytest.mark.parametrize("count", [700, 200])
def test_three_processes_write_the_samples_of_one(model: Path, tmp_path: Path, count: int) -> None:
    # 700 clouds are three pieces, 200 are one: some processes have nothing to do
    out = tmp_path / "shared.npz"
    code, said, errors = together(
        3, "sample", str(model), "--count", str(count), "--out", str(out)
    )
    assert (code, errors) == (0, "")
    assert said.count("clouds: ") == 1
    wanted = gconvae.load(model).sample(count, seed=0)
    assert torch.equal(gconvae.datasets.from_file(out).points, wanted)


def test_processes_share_out_an_evaluation(model: Path, tmp_path: Path) -> None:
    clouds = gconvae.datasets.SuperpixelMNIST(8, "test")
    gconvae.datasets.to_file(clouds[:120], tmp_path / "real.npz")
    against = ["--against", str(tmp_path / "real.npz"), "--metrics", "features,sets,kernel"]
    words = ["evaluate", str(model), "--count", "300", *against]
    reports = []
    for world in (1, 2):
        out = tmp_path / f"{world}.json"
        code, said, errors = together(world, *words, "--out", str(out))
        assert (code, errors) == (0, "")
        assert said.count("report: ") == 1
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

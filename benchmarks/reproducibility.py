"""What changes the bits of a training, and by how much; every training in a fresh process.

Run: python benchmarks/reproducibility.py [--epochs 5] [--hidden 256]
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

import gconvae
from gconvae import metrics
from gconvae.options import ModelOptions, TrainingOptions
from gconvae.studies.experiment import Experiment
from gconvae.training import run_folder

AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


class Case(NamedTuple):
    """A training, and the one whose bits it should have."""

    name: str
    options: dict[str, Any] = {}
    environment: dict[str, str] = {}
    draw: bool = False
    kill: bool = False
    like: str = "first"


CASES = [
    Case("first"),
    Case("the same again"),
    Case("after other draws from torch, NumPy and Python", draw=True),
    Case("2 workers", {"workers": 2}),
    Case("killed at a random moment, resumed", kill=True),
    Case("dense search", {"neighbors": "dense"}),
    Case("2 threads", {"threads": 2}),
    Case("2 threads, against 2 threads", {"threads": 2}, like="2 threads"),
    Case("AVX2 in place of the processor's own", environment=AVX2),
    Case("seed 1", {"seed": 1}),
    Case("seed 2", {"seed": 2}),
]


def train(folder: str, options: dict[str, Any], hidden: int, draw: bool) -> None:
    """The training of a case, in this process."""
    if draw:
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002 - the global state is what must not matter
        random.seed(1)
        torch.rand(1000)
    experiment = Experiment(model=ModelOptions(hidden=hidden), training=TrainingOptions(**options))
    experiment.run(folder, resume=Path(folder).exists(), progress=False)


def run_case(case: Case, folder: Path, epochs: int, hidden: int) -> None:
    """The training of a case, in a process of its own."""
    options = {"epochs": epochs, "threads": 1, "patience": None} | case.options
    work = json.dumps([str(folder), options, hidden, case.draw])
    command = [sys.executable, "-W", "ignore", __file__, "--work", work]
    environment = os.environ | case.environment
    if case.kill:
        killed = subprocess.Popen(command, env=environment)
        wanted = random.SystemRandom().randrange(1, epochs)
        while finished_epochs(folder) < wanted:
            time.sleep(0.01)
        time.sleep(random.SystemRandom().uniform(0, 1))
        killed.kill()
        if killed.wait() == 0:
            raise SystemExit("the training was over before it was killed: give it more epochs")
        print(f"killed after {finished_epochs(folder)} of {epochs} epochs", flush=True)
    subprocess.run(command, env=environment, check=True)


def finished_epochs(folder: Path) -> int:
    """Epochs of a training that runs or ran."""
    file = folder / "history.csv"
    return len(run_folder.read_history(file)["epoch"]) if file.exists() else 0


def first_difference(before: Path, now: Path) -> str:
    """The first number that differs, with its relative size; or that nothing does."""
    histories = [run_folder.read_history(folder / "history.csv") for folder in (before, now)]
    for row, epoch in enumerate(histories[0]["epoch"]):
        for name in histories[0]:
            old, new = (history[name][row] for history in histories)
            if old != new:
                return f"epoch {epoch}, {name}, {abs(new / old - 1):.0e} of it"
    kept = [run_folder.read_manifest(folder)["samples_sha256"] for folder in (before, now)]
    weights = [(folder / "model.safetensors").read_bytes() for folder in (before, now)]
    same = kept[0] == kept[1] and weights[0] == weights[1]
    return "identical" if same else "weights or samples"


def relative(before: Path, now: Path, row: int) -> str:
    """Relative difference of the validation loss in one epoch."""
    old, new = (
        run_folder.read_history(folder / "history.csv")["valid_loss"][row]
        for folder in (before, now)
    )
    return f"{abs(new / old - 1):.0e}" if new != old else "0"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--work", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work is not None:
        train(*given.work)
        sys.exit()
    started = time.perf_counter()
    test = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")
    with tempfile.TemporaryDirectory() as place:
        folders = {case.name: Path(place) / str(n) for n, case in enumerate(CASES)}
        for case in CASES:
            run_case(case, folders[case.name], given.epochs, given.hidden)
        torch.set_num_threads(1)
        machine = run_folder.read_manifest(folders["first"])["machine"]
        print(", ".join(f"{name} {value}" for name, value in machine.items()))
        print(
            f"\n| training | first difference | off in epoch 1 | off in epoch {given.epochs} "
            "| W1 x (px) | W1 y (px) | W1 intensity |"
        )
        print("|---|---|---|---|---|---|---|")
        for case in CASES:
            like, folder = folders[case.like], folders[case.name]
            generated = gconvae.load(folder).sample(len(test), seed=0)
            cells = [
                case.name,
                first_difference(like, folder) if case.name != case.like else "-",
                *(relative(like, folder, row) for row in (0, -1)),
                *(f"{value:.4f}" for value in metrics.feature_w1(test, generated)),
            ]
            print("| " + " | ".join(cells) + " |")
    print(f"\n{time.perf_counter() - started:.0f} s")

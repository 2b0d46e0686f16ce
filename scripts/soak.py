"""Long and large use: flat memory over many trainings, sweeps of 200 trainings, large clouds.

Run: python scripts/soak.py memory [--minutes 30]
     python scripts/soak.py sweep [--trials 200] [--storage URL]
     python scripts/soak.py large [--nodes 10000]
`memory` trains, draws and compares in one process and says what it holds; `sweep` lets two
processes share the settings of a sweep, in a folder or in the database of the URL; `large` trains
on clouds of many nodes. Each ends with 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import optuna
import torch

import gconvae
from gconvae import datasets, metrics
from gconvae.datasets import SuperpixelMNIST

GROWTH = 1.05
"""Memory at the end over memory after the first fifth, at most."""

NETWORK = {"hidden": 256, "likelihood": "autoregressive(width=32, steps=40)"}


def held() -> float:
    """What this process holds, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def memory(minutes: float) -> bool:
    """Trains, draws and compares again and again; whether memory stays flat."""
    clouds = SuperpixelMNIST(8, "test")
    seen: list[float] = []
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end or len(seen) < 10:
        seed = len(seen)
        model = gconvae.models.create("convae-flow", seed=seed, **NETWORK)
        run = gconvae.fit(
            model, clouds, epochs=2, prior_steps=40, likelihood_steps=40, seed=seed, progress=False
        )
        drawn = run.model.sample(400, seed=seed)
        metrics.compare(clouds.points[:400], drawn, schema=clouds.schema, seed=seed)
        seen.append(held())
        print(f"round {len(seen)}: {seen[-1]:.0f} MB", flush=True)
    fifth = len(seen) // 5
    early, late = (statistics.median(part) for part in (seen[fifth : 2 * fifth], seen[-fifth:]))
    print(f"{len(seen)} rounds: {early:.0f} MB early, {late:.0f} MB late ({late / early:.3f})")
    return late <= GROWTH * early


def sweep(trials: int, storage: str | None) -> bool:
    """Two processes share a sweep; whether each setting was trained once, and none was lost."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        np.savez(place / "clouds.npz", points=np.random.default_rng(0).random((60, 6, 3)))
        words = [sys.executable, "-m", "gconvae.cli", "sweep", "beta=0.01..1:log"]
        words += ["--data", str(place / "clouds.npz"), "--trials", str(trials), "--seeds", "1"]
        words += ["--epochs", "1", "--encoder", "deep_sets", "--decoder", "dense", "--hidden", "8"]
        words += [
            "--out",
            str(place / "sweep"),
            "--quiet",
            *(["--storage", storage] * bool(storage)),
        ]
        began = time.perf_counter()
        both = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(2)]
        codes = [one.wait() for one in both]
        found = json.loads((place / "sweep" / "sweep.json").read_text())
        finished = [run for run in (place / "sweep").glob("**/model.json")]
        seconds = time.perf_counter() - began
        url = storage or f"sqlite:///{place / 'sweep' / 'sweep.db'}"
        study = optuna.load_study(study_name=None, storage=url)
        ended = [trial for trial in study.trials if trial.state.is_finished()]
        # a sampler may draw a setting again, which counts but is not trained again
        again = sum(bool(trial.user_attrs.get("repeats")) for trial in ended)
        study._storage.remove_session()
    settings = len(found["settings"])
    print(
        f"{len(ended)} trials, {again} of them drawn again, {settings} settings, "
        f"{len(finished)} trainings, exit codes {codes}, {seconds:.0f} s, "
        f"{'folder' if storage is None else storage.split(':')[0]}"
    )
    return codes == [0, 0] and settings == len(finished) == trials - again


def large(nodes: int) -> bool:
    """Trains on clouds of many nodes; whether draws are finite."""
    random = torch.Generator().manual_seed(0)
    clouds = datasets.from_points(torch.rand(24, nodes, 3, generator=random))
    model = gconvae.models.create(
        "convae", encoder="deep_sets", decoder="dense", num_points=nodes, seed=0, hidden=64
    )
    began = time.perf_counter()
    run = gconvae.fit(model, clouds, epochs=2, batch_size=8, seed=0, progress=False)
    drawn = run.model.sample(4, seed=0)
    report = metrics.compare(clouds.points[:10], run.model.sample(10, seed=1), metrics="features")
    print(f"{nodes} nodes: {time.perf_counter() - began:.1f} s, {held():.0f} MB")
    print(report)
    return bool(torch.isfinite(drawn).all())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("memory", "sweep", "large"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--storage", help="URL of a database; none is a file in the folder")
    parser.add_argument("--nodes", type=int, default=10_000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.part == "memory":
        ended_well = memory(given.minutes)
    elif given.part == "sweep":
        ended_well = sweep(given.trials, given.storage)
    else:
        ended_well = large(given.nodes)
    sys.exit(not ended_well)

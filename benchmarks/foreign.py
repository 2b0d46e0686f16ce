"""Clouds that nothing was chosen on: the quick recipe with no option but --data.

Run: python benchmarks/foreign.py FOLDER [--out runs/foreign] [--seeds 3] [--first 0]
FOLDER holds the files of scripts/make_foreign_superpixels.py, or any others. Each is trained as
`gconvae train --data FILE` does it, on one thread, and 5,000 clouds are compared with those that
the training kept aside. Stopped, it goes on when started again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from digits import Figures, cell, row

import gconvae
from gconvae import files, metrics, recipes
from gconvae.options import DataOptions
from gconvae.studies.experiment import Experiment

DRAWS = 5000

NAMES = ("x", "y", "third feature")
"""Of what W1 is shown; bare clouds have no name for their third feature."""


def trained(data: Path, out: Path, seed: int) -> tuple[Path, Experiment]:
    """The run folder of the recipe that `gconvae train` takes, found or made."""
    folder, chosen = out / f"{data.stem}-{seed}", recipes.get(recipes.usual(str(data)))
    training = chosen.training_options(seed=seed, threads=1)
    experiment = Experiment(DataOptions(data=str(data)), chosen.model_options(), training)
    if not (folder / "model.json").exists():
        began = time.perf_counter()
        experiment.run(folder, resume=folder.exists())
        print(f"{folder.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return folder, experiment


def judged(data: Path, out: Path, seed: int) -> Figures:
    """Figures of a seed, found or made."""
    file = out / f"{data.stem}-{seed}.json"
    if not file.exists():
        folder, experiment = trained(data, out, seed)
        model, (train, valid, test) = gconvae.load(folder), experiment.splits
        report = metrics.compare(
            test,
            model.sample_clouds(DRAWS, seed=seed),
            reference=valid,
            training=train,
            metrics=["features", "classifier", "sets"],
            seed=seed,
        )
        found = {"rows": report.to_dict()["rows"], "steps": model.likelihood.step.tolist()}
        with files.whole(file) as temporary:
            temporary.write_text(json.dumps(found, indent=1) + "\n")
    return dict(json.loads(file.read_text()))


def features(rows: list[Figures]) -> list[Figures]:
    """Those of W1 of the features of nodes, in order."""
    return [r for r in rows if r["metric"] == "W1" and r["name"] != "nodes"]


def print_table(found: dict[str, list[Figures]]) -> None:
    """A line a set: W1 in floors, their 95 %, AUC, and sets of clouds."""
    heads = [f"{name} W1, floors | 95 %" for name in NAMES]
    heads += ["points AUC", "trained embedding AUC", "matching 1-NNA", "matching coverage | real"]
    print(f"\n| clouds | steps found | {' | '.join(heads)} |")
    print("|---|---|" + "---:|" * (len(heads) + 4))
    for name, seeds in found.items():
        steps = ", ".join(f"{step:.4g}" for step in seeds[0]["steps"])
        cells = [steps]
        for place in range(len(NAMES)):
            rows = [features(seed["rows"])[place] for seed in seeds]
            cells.append(cell([r["value"] / r["floor"] for r in rows]))
            cells.append(f"{statistics.fmean(r['floor_95'] / r['floor'] for r in rows):.2f}")
        for key in (
            ("points", "AUC"),
            ("trained embedding", "AUC"),
            ("matching", "1-NNA"),
            ("matching", "coverage"),
        ):
            cells.append(cell([row(seed["rows"], *key)["value"] for seed in seeds]))
        floors = [row(seed["rows"], "matching", "coverage")["floor"] for seed in seeds]
        print(f"| {name} | {' | '.join([*cells, f'{statistics.fmean(floors):.3g}'])} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/foreign"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    every: dict[str, list[Figures]] = {}
    for seed in range(given.first, given.first + given.seeds):
        for data in sorted(given.folder.glob("*.npz")):
            every.setdefault(data.stem, []).append(judged(data, given.out, seed))
    print_table(every)

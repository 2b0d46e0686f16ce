"""All ten digits by one model: how close each is to real ones, how many are what was asked for.

Run: python benchmarks/digits.py [--out runs/digits] [--seeds 3] [--first 0] [--threads 1]
     python benchmarks/digits.py --model runs/digits
It trains the recipe `digits` (an hour on two cores; in two hours on one, two seeds side by side)
and judges it; stopped, it goes on when started again. With --model, a model is judged as it is.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gconvae
from gconvae import files, metrics, recipes
from gconvae.datasets import CloudDataset
from gconvae.metrics import classifier
from gconvae.options import DataOptions
from gconvae.studies.bounds import bound
from gconvae.studies.experiment import Experiment, Splits

DRAWS = 5000
"""Of each digit."""

FEATURES = ("x", "y", "intensity")

WHOLE = (("embedding", "Frechet"), ("embedding", "AUC"), ("points", "AUC"))
"""Rows of all digits together, drawn as often as in training."""

NATS_OF, NATS_BY = 500, 20
"""Test clouds whose log-likelihood is bounded, and draws of each."""

Figures = dict[str, Any]


def trained(out: Path, seed: int, threads: int) -> Path:
    """The run folder of the recipe, found or made."""
    folder = out / f"digits-{seed}"
    if not (folder / "model.json").exists():
        chosen = recipes.get("digits")
        training = chosen.training_options(seed=seed, threads=threads)
        experiment = Experiment(chosen.data_options(), chosen.model_options(), training)
        began = time.perf_counter()
        experiment.run(folder, resume=folder.exists())
        print(f"{folder.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return folder


def splits_of(seed: int, digit: int | None = None) -> Splits:
    """Training, validation and test clouds of a seed."""
    training = recipes.get("slides").training_options(seed=seed)
    return Experiment(DataOptions(digit=digit), training=training).splits


def of_digit(data: CloudDataset, digit: int) -> Tensor:
    """The clouds of a digit, shape (B, N, F)."""
    assert data.clouds.labels is not None
    return data.clouds.points[data.clouds.labels == digit]


def judged(model: gconvae.VAE, splits: Splits, seed: int) -> Figures:
    """All figures of a model, of one digit or with labels of several.

    Real clouds are those of the test and the validation part; ``compare`` looks at as many on both
    sides as half of them, and gives the floor of that size.
    """
    is_labelled = model.conditioning.num_classes > 0
    found: Figures = {"digits": {}}
    for digit in splits.test.clouds.labels.unique().tolist():
        real = torch.cat([of_digit(part, digit) for part in (splits.test, splits.valid)])
        drawn = model.sample(DRAWS, seed=seed, label=digit if is_labelled else None)
        groups = ["features", "frechet"]
        report = metrics.compare(real, drawn, schema=model.schema, metrics=groups, seed=seed)
        found["digits"][digit] = {
            "rows": report.to_dict()["rows"],
            "right": [share_of(digit, clouds) for clouds in (drawn, real)],
        }
    real = torch.cat([part.clouds.points for part in (splits.test, splits.valid)])
    drawn = model.sample(max(DRAWS, len(real) // 2), seed=seed + 1000)
    groups = ["features", "frechet", "classifier", "memorization"]
    given: dict[str, Any] = {"training": splits.train, "schema": model.schema, "metrics": groups}
    found["whole"] = metrics.compare(real, drawn, seed=seed, **given).to_dict()["rows"]
    likely = bound(model, splits.test, most=NATS_OF, samples=NATS_BY, seed=seed)
    return found | {"nats": None if likely is None else [likely.value, likely.error]}


@torch.no_grad()
def share_of(digit: int, clouds: Tensor) -> float:
    """Share of clouds that the reference classifier calls this digit."""
    return float((classifier.load()(clouds).argmax(1) == digit).float().mean())


def row(rows: list[Figures], name: str, metric: str) -> Figures:
    """One row of a report."""
    return next(r for r in rows if (r["name"], r["metric"]) == (name, metric))


def cell(values: list[float], digits: int = 3) -> str:
    """Mean and standard deviation."""
    spread = f" ± {statistics.stdev(values):.{digits}g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}g}{spread}"


def print_digits(found: list[Figures]) -> None:
    """A line a digit: W1 and Frechet distance in floors, their 95 %, and who is called right."""
    heads = [f"{name} W1, floors | 95 %" for name in FEATURES]
    print(f"\n| digit | {' | '.join(heads)} | Frechet, floors | called right, drawn | real |")
    print("|---|" + "---:|" * (2 * len(heads) + 3))
    for digit in found[0]["digits"]:
        each = [seed["digits"][digit] for seed in found]
        cells = []
        for name in FEATURES:
            rows = [row(one["rows"], name, "W1") for one in each]
            cells.append(cell([r["value"] / r["floor"] for r in rows]))
            cells.append(f"{statistics.fmean(r['floor_95'] / r['floor'] for r in rows):.2f}")
        rows = [row(one["rows"], "embedding", "Frechet") for one in each]
        cells.append(cell([r["value"] / r["floor"] for r in rows]))
        cells += [cell([one["right"][side] for one in each], 4) for side in (0, 1)]
        print(f"| {digit} | {' | '.join(cells)} |")


def print_whole(found: list[Figures]) -> None:
    """All digits together."""
    print("\n| all together | value | real against real | 95 % |\n|---|---:|---:|---:|")
    for name, metric in (*((f, "W1") for f in FEATURES), *WHOLE, ("embedding", "memorization")):
        rows = [row(seed["whole"], name, metric) for seed in found]
        ends = [statistics.fmean(r[key] for r in rows) for key in ("floor", "floor_95")]
        values = cell([r["value"] for r in rows])
        print(f"| {name} {metric} | {values} | {ends[0]:.3g} | {ends[1]:.3g} |")
    right = [statistics.fmean(d["right"][0] for d in seed["digits"].values()) for seed in found]
    real = [statistics.fmean(d["right"][1] for d in seed["digits"].values()) for seed in found]
    print(f"| called right | {cell(right, 4)} | {statistics.fmean(real):.4g} | - |")
    likely = [seed["nats"][0] for seed in found if seed["nats"] is not None]
    print(f"| log p(x), nats, at least | {cell(likely, 5) if likely else '-'} | - | - |")


def kept(file: Path, model: Callable[[], gconvae.VAE], splits: Splits, seed: int) -> Figures:
    """Figures of a model, from the file or written there."""
    if not file.exists():
        found = json.dumps(judged(model(), splits, seed), indent=1)
        with files.whole(file) as temporary:
            temporary.write_text(found + "\n")
        print(f"{file.name} written", flush=True)
    return dict(json.loads(file.read_text()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/digits"))
    parser.add_argument("--model", help="judge this one: a run folder")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    every = []
    for seed in range(given.first, given.first + given.seeds):
        place = given.model or trained(given.out, seed, given.threads)
        name = "".join(c if c.isalnum() else "-" for c in str(given.model or f"digits-{seed}"))
        file = given.out / f"{name}-judged-{seed}.json"
        every.append(kept(file, partial(gconvae.load, place), splits_of(seed), seed))
    print_digits(every)
    print_whole(every)

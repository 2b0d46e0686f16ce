"""How close generated jets are to simulated ones: the recipe, other likelihoods, the slides.

Run: python benchmarks/jets.py [--out runs/jets] [--kinds g,q,t] [--seeds 3] [--lines jets,...]
Started beside it with other seeds (--first 1), a second process shares the work; stopped, it goes
on when started again. The page docs/jets.md is made of what it prints.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

import gconvae
from gconvae import files, metrics
from gconvae.datasets import Jets

SAMPLES = 8000
"""Generated jets of each line and seed."""

ROWS = (
    *(("mass", "W1"), ("pT", "W1"), ("eta_rel", "W1"), ("phi_rel", "W1"), ("pt_rel", "W1")),
    *(("tau21", "W1"), ("tau32", "W1")),
    *(("EFP", "W1"), ("EFP", "FPD"), ("EFP", "KPD"), ("EMD", "coverage"), ("EMD", "MMD")),
    *(("embedding", "Frechet"), ("embedding", "AUC"), ("embedding", "memorization")),
    ("points", "AUC"),
)

SLIDES: dict[str, Any] = {
    "model": "convae",
    "likelihood": "mean",
    "prior": "standard_normal",
    "epochs": 60,
    "latent_dim": 10,
}
"""The slides' network in place of the recipe's parts: the decoder's mean, latents from N(0, 1)."""

MASS_TERM = "third_axis + 3000 * jet_mass + 300 * jet_pt"
"""The loss of arXiv:2310.13138: Chamfer, and the mass and pT of the whole jet."""

LINES: dict[str, dict[str, Any]] = {
    "jets": {},
    "flow matching": {"likelihood": "flow_matching"},
    "slides": SLIDES,
    "slides, matched intensity": SLIDES | {"loss": "matched_intensity"},
    "slides, mass term": SLIDES | {"loss": MASS_TERM},
    "slides, flow prior": SLIDES | {"prior": "nsf"},
    "slides, mass term, flow prior": SLIDES | {"loss": MASS_TERM, "prior": "nsf"},
    "slides, mass term, flow prior, beta 0.3": SLIDES
    | {"loss": MASS_TERM, "prior": "nsf", "beta": 0.3},
    "slides, mass term, flow prior, beta 0.1": SLIDES
    | {"loss": MASS_TERM, "prior": "nsf", "beta": 0.1},
}
"""Options in place of the recipe's."""


def trained(folder: Path, kind: str | None, seed: int, **options: Any) -> Path:
    """A run folder of the recipe on one kind of jets, or on all, found or made, one thread."""
    if not (folder / "model.json").exists():
        gconvae.train(
            "jets",
            Jets(kind, "train"),
            valid=Jets(kind, "valid"),
            seed=seed,
            out=folder,
            resume=folder.exists(),
            progress=False,
            threads=1,
            **options,
        )
    return folder


def judged(folder: Path, kind: str, seed: int) -> dict[str, Any]:
    """All figures of one line, kind and seed, found or made."""
    file = folder / "judged.json"
    if not file.exists():
        model = gconvae.load(folder)
        test, valid = Jets(kind, "test"), Jets(kind, "valid")
        model.sample(256, seed=seed)  # what happens once is not timed
        began = time.perf_counter()
        made = model.sample_clouds(SAMPLES, seed=seed)
        seconds = time.perf_counter() - began
        groups = ["features", "frechet", "classifier", "memorization", "jets"]
        samples = {"reference": valid, "training": Jets(kind, "train")}
        report = metrics.compare(test, made, **samples, metrics=groups, seed=seed)
        found = report.to_dict() | {
            "draws_per_second": SAMPLES / seconds,
            "threads": torch.get_num_threads(),
        }
        with files.whole(file) as temporary:
            temporary.write_text(json.dumps(found, indent=2) + "\n")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def table(found: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """Mean and spread over seeds of each figure beside its floor, for each line and kind."""
    lines = []
    for (line, kind), reports in found.items():
        speed = statistics.fmean(report["draws_per_second"] for report in reports)
        lines += [f"\n{line}, {kind}, {len(reports)} seeds, {speed:.0f} jets/s on one thread\n"]
        lines += ["| row | drawn | real against real | 95 % of real pairs | times the floor |"]
        lines += ["|---|---:|---:|---:|---:|"]
        for name, metric in ROWS:
            rows = [
                row
                for report in reports
                for row in report["rows"]
                if (row["name"], row["metric"]) == (name, metric)
            ]
            if not rows:
                continue
            values = [row["value"] for row in rows]
            mean, floor = (
                statistics.fmean(row[key] for row in rows) for key in ("value", "floor")
            )
            floor_95 = statistics.fmean(row["floor_95"] for row in rows)
            spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            times = f"{mean / floor:.2f}" if metric in ("W1", "Frechet", "MMD") else ""
            cells = [f"{name} {metric}", f"{mean:.3g}{spread}", f"{floor:.3g}", f"{floor_95:.3g}"]
            lines += [f"| {' | '.join([*cells, times])} |"]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/jets"))
    parser.add_argument("--kinds", default="g,q,t")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lines", nargs="+", default=["jets"], choices=LINES)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for seed in range(given.first, given.first + given.seeds):
        for line in given.lines:
            for kind in given.kinds.split(","):
                name = f"{line.replace(', ', '-').replace(' ', '_')}-{kind}-{seed}"
                folder = trained(given.out / name, kind, seed, **LINES[line])
                results.setdefault((line, kind), []).append(judged(folder, kind, seed))
                print(table({(line, kind): results[line, kind]}), flush=True)

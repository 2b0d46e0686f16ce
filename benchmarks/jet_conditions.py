"""What is asked of generated jets, and what comes: the mass of gluons, and one model of all kinds.

Run: python benchmarks/jet_conditions.py [--out runs/jet_conditions] [--only mass|kinds] [--seed 0]
It trains the recipe `jets` with the jet's mass as a condition, and on gluons, quarks and tops with
their label, one thread each (12 to 20 minutes), and prints how well each is met.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jets import trained
from scipy.stats import spearmanr

import gconvae
from gconvae import metrics
from gconvae.datasets import Jets
from gconvae.metrics import jets as physics
from gconvae.metrics.jets import classifier
from gconvae.schema import JET_CONDITIONS

TENTHS = np.linspace(0, 1, 11)

KINDS = {"g": "gluons", "q": "light quarks", "t": "tops"}

SHOWN = (("mass", "W1"), ("pT", "W1"), ("pt_rel", "W1"), ("tau32", "W1"), ("embedding", "Frechet"))


def of_mass(out: Path, seed: int) -> None:
    """One drawn gluon for the mass of each test gluon."""
    model = gconvae.load(trained(out / f"mass-{seed}", "g", seed, conditions=["mass"]))
    test = Jets("g", "test")
    names = [condition.name for condition in JET_CONDITIONS]
    asked = test.jet_features[:, names.index("mass")]
    drawn = model.sample_clouds(len(test), conditions=asked.unsqueeze(1), seed=seed)
    masses = {"simulated": physics.mass(test), "drawn": physics.mass(drawn)}
    print("\nrelative mass of the 30 hardest particles, by tenths of the mass asked for\n")
    print("| asked for, GeV | simulated, mean ± width | drawn, mean ± width |\n|---|---:|---:|")
    edges = np.quantile(asked.numpy(), TENTHS)
    tenth = np.clip(np.searchsorted(edges, asked.numpy(), side="right") - 1, 0, 9)
    for number in range(10):
        rows = tenth == number
        cells = [f"{m[rows].mean():.4f} ± {m[rows].std():.4f}" for m in masses.values()]
        print(f"| {edges[number]:.0f} to {edges[number + 1]:.0f} | {' | '.join(cells)} |")
    for name, mass in masses.items():
        found = spearmanr(asked.numpy(), mass).statistic
        print(f"\nrank correlation of the mass asked for and that of {name} jets: {found:.3f}")
    valid = Jets("g", "valid")
    groups = ["features", "jets"]
    report = metrics.compare(test, drawn, reference=valid, metrics=groups, num_splits=50)
    print(report)


def of_kinds(out: Path, seed: int) -> None:
    """As many drawn jets of each kind as there are test jets."""
    model, judge = gconvae.load(trained(out / f"kinds-{seed}", None, seed)), classifier.load()
    print("\n| | called what they are, simulated | drawn |", *(f"{a} {b} |" for a, b in SHOWN))
    print("|---|---:|---:|" + "---:|" * len(SHOWN))
    for number, (kind, name) in enumerate(KINDS.items()):
        test, valid = Jets(kind, "test"), Jets(kind, "valid")
        drawn = model.sample_clouds(len(test), label=kind, seed=seed)
        right = []
        for sample in (test, drawn):
            with torch.no_grad():
                found = judge(sample.points, sample.mask).argmax(1)
            right.append(f"{(found == number).float().mean():.3f}")
        groups = ["features", "frechet", "jets"]
        report = metrics.compare(test, drawn, reference=valid, metrics=groups, num_splits=50)
        rows = {(row.name, row.metric): row for row in report.rows}
        cells = [f"{rows[key].value:.3g} ({rows[key].floor:.3g})" for key in SHOWN]
        print(f"| {name} | {' | '.join(right + cells)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/jet_conditions"))
    parser.add_argument("--only", choices=["mass", "kinds"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.only != "kinds":
        of_mass(given.out, given.seed)
    if given.only != "mass":
        of_kinds(given.out, given.seed)

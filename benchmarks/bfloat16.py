"""What precision="bfloat16" does to the time of an epoch and to fidelity, over several seeds.

The same training, seed by seed, with products in float32 and in bfloat16. Fidelity: W1 of
generated against held-out eights, feature by feature, and the best validation loss. The time says
something on a CPU (or GPU) with instructions for bfloat16 alone; others emulate it.

Run: uv run python benchmarks/bfloat16.py [--seeds 3] [--epochs 60] [--threads 2]
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import torch
from timing import begin, parser

import gconvae

FEATURES = ("x", "y", "intensity")
COLUMNS = ("seconds an epoch", "best validation loss", *(f"W1 of {name}" for name in FEATURES))
PRECISIONS = ("float32", "bfloat16")


def trained(precision: str, seed: int, epochs: int) -> list[float]:
    """The columns of one training."""
    test = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="train")
    model = gconvae.models.create("convae", seed=seed)
    run = gconvae.fit(
        model,
        data,
        epochs=epochs,
        seed=seed,
        precision=precision,
        neighbors="auto",
        progress=False,
    )
    generated = run.model.sample(len(test), seed=seed)
    report = gconvae.metrics.compare(test, generated, metrics="features", seed=seed)
    seconds = run.manifest["seconds"] / run.manifest["epochs_run"]
    values = [seconds, min(run.history["valid_loss"])]
    values += [report.row(name).value for name in FEATURES]
    print(
        f"{precision}, seed {seed}: " + ", ".join(f"{value:.4g}" for value in values), flush=True
    )
    return values


def measure(given: argparse.Namespace) -> None:
    """Means over seeds, and the difference within a seed with its standard error."""
    found = np.array(
        [[trained(name, seed, given.epochs) for name in PRECISIONS] for seed in range(given.seeds)]
    )  # (seeds, 2, columns)
    print("\n| | float32 | bfloat16 | difference within a seed |\n|---|---|---|---|")
    for number, name in enumerate(COLUMNS):
        full, half = found[:, 0, number], found[:, 1, number]
        apart = half - full
        error = apart.std(ddof=1) / np.sqrt(len(apart)) if len(apart) > 1 else np.nan
        cells = [f"{each.mean():.4g} +- {each.std(ddof=1):.2g}" for each in (full, half)]
        print(f"| {name} | {cells[0]} | {cells[1]} | {apart.mean():+.3g} +- {error:.2g} |")


if __name__ == "__main__":
    options = parser(__doc__, rounds=1)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--epochs", type=int, default=60)
    given = options.parse_args()
    begin(given)
    has = [name for name, has in torch.cpu.get_capabilities().items() if "bf16" in name and has]
    print(f"instructions for bfloat16: {', '.join(has) or 'none, it is emulated'}", flush=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="precision='bfloat16' is emulated")
        measure(given)

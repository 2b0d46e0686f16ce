"""Fidelity of the slides' ConVAE on held-out eights: W1 against the floor, over several seeds.

Run: python benchmarks/slides_quality.py [--seeds 3] [--loss third_axis] [--beta 1.0]
"""

import argparse
import statistics
import time

import gconvae
from gconvae.metrics import Report

FEATURES = ("x", "y", "intensity")


def trained_reports(loss: str, beta: float, epochs: int, seed: int) -> dict[str, Report]:
    """Trains with one seed; W1 of reconstructed and of generated clouds against the test set."""
    test = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="train")
    train, valid = gconvae.datasets.split(data, seed=seed)
    model = gconvae.models.create("convae", seed=seed)
    run = gconvae.fit(model, train, valid, loss=loss, beta=beta, epochs=epochs, seed=seed)
    print(f"seed {seed}: best epoch {run.manifest['best_epoch']}", flush=True)
    samples = {
        "reconstructed": run.model.reconstruct(test.points),
        "generated": run.model.sample(1000, seed=seed),
    }
    return {
        name: gconvae.metrics.compare(test, sample, reference=valid, metrics="features", seed=seed)
        for name, sample in samples.items()
    }


def print_table(reports: list[dict[str, Report]]) -> None:
    """Mean and standard deviation over seeds of W1, and the ratio of the means to the floor."""
    print("\n| clouds | feature | W1, mean +- sd over seeds | floor | W1 / floor |")
    print("|---|---|---|---|---|")
    for name in reports[0]:
        for feature in FEATURES:
            rows = [report[name].row(feature) for report in reports]
            values = [row.value for row in rows]
            mean, floor = statistics.fmean(values), statistics.fmean(row.floor for row in rows)
            spread = statistics.stdev(values) if len(values) > 1 else float("nan")
            unit = f" ({rows[0].unit})" if rows[0].unit else ""
            print(
                f"| {name} | {feature}{unit} | {mean:.4f} +- {spread:.4f} | {floor:.4f} "
                f"| {mean / floor:.1f} |"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--loss", default="third_axis", choices=gconvae.losses.available())
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=100)
    given = parser.parse_args()
    started = time.perf_counter()
    print_table(
        [
            trained_reports(given.loss, given.beta, given.epochs, seed)
            for seed in range(given.seeds)
        ]
    )
    print(f"\n{time.perf_counter() - started:.0f} s")

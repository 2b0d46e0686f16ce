"""Standard errors of coverage, matching distance and neighbour accuracy, from a single sample.

Many independent pairs of samples give the true standard deviation of each metric. Beside it stand
the estimates from one pair: the standard deviation over random shares f of its clouds, drawn
without replacement, times sqrt(f / (1 - f)), and a bootstrap's, drawn with replacement.

Run: python benchmarks/half_samples.py [--clouds 200] [--repetitions 200] [--distance chamfer]
"""

import argparse
import time

import numpy as np
import torch
from numpy.typing import NDArray

from gconvae import clouds
from gconvae.metrics import distances, sets
from gconvae.schema import SUPERPIXELS

SHARES = (0.25, 0.5, 0.9)

NUM_DRAWS = 100
"""Draws of each kind from one pair."""

NUM_JUDGED = 40
"""Pairs that are drawn from; the errors found are averaged over them."""


def toy_clouds(number: int, spread: float, rng: np.random.Generator) -> torch.Tensor:
    """Clouds (B, 5, 3) of Gaussian nodes around a Gaussian centre, intensities in tenths."""
    shared, own = rng.normal(size=(number, 1, 3)), rng.normal(size=(number, 5, 3))
    return torch.from_numpy(spread * (shared + 0.5 * own) * [1.0, 1.0, 1 / 27])


def matrix(number: int, spread: float, distance: str, seed: int) -> NDArray[np.float32]:
    """Distances between all clouds of a real and a generated sample, (2B, 2B)."""
    rng = np.random.default_rng([seed, 0])
    both = [toy_clouds(number, width, rng) for width in (1.0, spread)]
    sample = clouds.as_clouds(torch.cat(both), schema=SUPERPIXELS)
    return distances.cross_matrix(sample, distance=distance)


def draw(distances: NDArray[np.float32], share: float | None, seed: int) -> NDArray[np.float64]:
    """Metrics (R, 3) of draws of a share of each side; None = all of them, with replacement."""
    number = len(distances) // 2
    size = number if share is None else round(share * number)
    rng = np.random.default_rng([seed, 1])
    first, second = (
        np.stack([rng.choice(number, size, share is None) for _ in range(NUM_DRAWS)])
        for _ in range(2)
    )
    return sets.resample(distances, first, second + number)


def print_table(number: int, repetitions: int, spread: float, distance: str) -> None:
    """One line a metric; ratios are estimated over true standard deviation."""
    everything = np.arange(2 * number).reshape(2, 1, number)
    pairs = [matrix(number, spread, distance, seed) for seed in range(repetitions)]
    found = np.stack([sets.resample(pair, *everything)[0] for pair in pairs])  # (R, 3)
    true = found.std(0, ddof=1)
    judged = list(enumerate(pairs[:NUM_JUDGED]))
    columns = []
    for share in SHARES:
        factor = (share / (1 - share)) ** 0.5
        errors = [factor * draw(pair, share, seed).std(0, ddof=1) for seed, pair in judged]
        columns += [np.mean(errors, axis=0) / true]
    drawn = [draw(pair, None, seed) for seed, pair in judged]
    columns += [np.mean([part.std(0, ddof=1) for part in drawn], axis=0) / true]
    shift = (np.mean(drawn, axis=1) - found[:NUM_JUDGED]).mean(0)
    for i, name in enumerate(sets.Values._fields):
        ratios = " | ".join(f"{column[i]:.2f}" for column in columns)
        print(
            f"| {spread} | {name} | {found[:, i].mean():.3f} | {true[i]:.4f} | {ratios} "
            f"| {shift[i]:+.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=200)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--distance", default="chamfer", choices=distances.DISTANCES)
    given = parser.parse_args()
    started = time.perf_counter()
    heads = ["spread", "metric", "mean", "true sd", *(f"f = {share}" for share in SHARES)]
    heads += ["bootstrap", "shift of bootstrap"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for width in (1.0, 0.8, 0.5):
        print_table(given.clouds, given.repetitions, width, given.distance)
    print(f"\n{given.distance}, {given.clouds} clouds, {time.perf_counter() - started:.0f} s")

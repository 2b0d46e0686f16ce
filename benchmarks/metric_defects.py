"""Which metric sees which defect: real clouds spoiled in known ways, compared with real ones.

Run: python benchmarks/metric_defects.py [--clouds 300] [--threads 1]
"""

import argparse
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import gconvae
from gconvae.metrics import Report, Row, compare
from gconvae.schema import SUPERPIXELS

TABLES = {
    "Node features": [("x", "W1"), ("y", "W1"), ("intensity", "W1")],
    "Sets": [
        (distance, metric)
        for distance in ("chamfer", "matching")
        for metric in ("coverage", "MMD", "1-NNA")
    ],
    "Reference classifier, and gradient boosting": [
        ("embedding", "Frechet"),
        ("embedding", "Frechet limit"),
        ("embedding", "kernel"),
        ("embedding", "AUC"),
        ("points", "AUC"),
        ("embedding", "memorization"),
    ],
}


def held_out(digit: int | None, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points of training clouds, of held-out clouds in random order, and the labels of these."""
    test = gconvae.datasets.SuperpixelMNIST(digit=digit, split="test")
    data = gconvae.datasets.SuperpixelMNIST(digit=digit, split="train")
    train, valid = gconvae.datasets.split(data, seed=seed)
    points = torch.cat([test.points, valid.points])
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    return train.points, points[order], torch.cat([test.labels, valid.labels])[order]


def slant(points: Tensor) -> Tensor:
    """Covariance of x and y over the nodes of each cloud: above 0 where it leans to the left."""
    centred = points - points.mean(1, keepdim=True)
    return (centred[..., 0] * centred[..., 1]).mean(1)


def defects(train: Tensor, others: Tensor, threes: Tensor, size: int) -> dict[str, Tensor]:
    """Clouds of one digit to judge, from held-out ones that the comparison does not hold."""
    rng = torch.Generator().manual_seed(1)
    real, centre = others[:size], torch.tensor([14.0, 14.0, 0.0])
    normal = torch.randn(real.shape[:2] + (2,), generator=rng)
    mixed = real.flatten(0, 1)[torch.randperm(real.shape[0] * real.shape[1], generator=rng)]
    upright = others[slant(others).argsort()[: len(others) // 2]]
    return {
        "none: further real clouds": real,
        "shifted by 0.5 px in x": real + torch.tensor([0.5, 0.0, 0.0]),
        "10 % larger": (real - centre) * torch.tensor([1.1, 1.1, 1.0]) + centre,
        "10 % darker": real * torch.tensor([1.0, 1.0, 0.9]),
        "positions blurred by 0.5 px": torch.cat(
            [real[..., :2] + 0.5 * normal, real[..., 2:]], -1
        ),
        "positions in whole pixels": torch.cat([real[..., :2].round(), real[..., 2:]], -1),
        "nodes of all clouds mixed": mixed.reshape(real.shape),
        "50 clouds repeated": real[:50].repeat(size // 50 + 1, 1, 1)[:size],
        "half of the slants missing": upright[:size],
        "threes passed off as eights": threes[:size],
        "training clouds repeated": train[:size],
    }


def one_digit_missing(others: Tensor, labels: Tensor, size: int) -> dict[str, Tensor]:
    """Clouds of all digits."""
    return {
        "all digits, none missing": others[:size],
        "all digits, no four": others[labels != 4][:size],
    }


def cell(row: Row) -> str:
    """Value, bold where real samples are better."""
    return f"**{row.value:.3g}**" if row.beyond else f"{row.value:.3g}"


def print_tables(
    reports: dict[str, Report],
    bases: Sequence[str],
    tables: Mapping[str, Sequence[tuple[str, str]]] = TABLES,
) -> None:
    """A table a group of metrics: first the floors, then each defect; bold = beyond the floor."""
    for title, columns in tables.items():
        heads = [f"{name} {metric}" for name, metric in columns]
        print(f"\n| {title} | {' | '.join(heads)} |\n|{'---|' * (len(columns) + 1)}")
        for name, report in reports.items():
            rows = [report.row(*column) for column in columns]
            if name in bases:
                floors = [f"{row.floor:.3g} ({row.floor_95:.3g})" for row in rows]
                print(f"| *real against real: mean (95 %)* | {' | '.join(floors)} |")
            print(f"| {name} | {' | '.join(map(cell, rows))} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started, size, reports, bases = time.perf_counter(), given.clouds, {}, []
    threes = gconvae.datasets.SuperpixelMNIST(digit=3, split="test").points
    for digit in (8, None):
        train, points, labels = held_out(digit, seed=0)
        real, reference, others = points[:size], points[size : 2 * size], points[2 * size :]
        if digit is None:
            samples = one_digit_missing(others, labels[2 * size :], size)
            train = train[:5000]
        else:
            samples = defects(train, others, threes, size)
        bases.append(next(iter(samples)))
        for name, sample in samples.items():
            reports[name] = compare(real, sample, reference, training=train, schema=SUPERPIXELS)
            print(f"{time.perf_counter() - started:.0f} s: {name}", flush=True)
    print(f"\n{size} clouds on each side")
    print_tables(reports, bases)

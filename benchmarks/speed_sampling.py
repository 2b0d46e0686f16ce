"""Clouds a second that a trained network draws, against the rate of matrix products.

A cloud of the slides' decoder costs 4.2 million operations. Their rate is measured in the same
run, by torch.mm at the shape of the largest layer with 2,048 rows. Priors: N(0, 1), and the
spline flow (its weights do not matter for the time). Clouds go to memory, and, as a stream, to an
npz file.

Run: python benchmarks/speed_sampling.py [--rounds 7] [--threads 2]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from timing import Row, begin, finish, interleaved, parser

import gconvae
from gconvae import datasets, registry

OPERATIONS = 2 * (10 * 1500 + 1500 * 64 * 19 + 19 * 64 * 5 * 32 + 21 * 32 * 5 * 16 + 23 * 16 * 15)
"""Of the slides' decoder for one cloud: multiplications and additions."""

COMMAND = "uv run python benchmarks/speed_sampling.py"


def measure(given: argparse.Namespace) -> list[Row]:
    """The targets."""
    model = gconvae.models.create("convae", seed=0).eval()
    flow = gconvae.models.create("convae", seed=0).eval()
    flow.prior = registry.create("prior", "nsf", latent_dim=10).eval()
    a, b = torch.randn(2048, 1500), torch.randn(1500, 64 * 19)
    onednn = torch.ops.mkldnn._linear_pointwise
    rows = b.t().contiguous()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "samples.npz"
        calls = {
            "ours": lambda: model.sample(given.clouds, seed=0),
            "file": lambda: datasets.to_file_in_parts(
                model.iter_samples(given.clouds, seed=0), path
            ),
            "flow": lambda: flow.sample(given.clouds, seed=0),
            "mm": lambda: torch.mm(a, b),
            "onednn": lambda: onednn(a, rows, None, "none", [], ""),
        }
        times = interleaved(calls, given.rounds)
    product = 2 * a.shape[0] * a.shape[1] * b.shape[1]
    found = []
    for target, name, reference, limit in (
        ("prior N(0, 1)", "ours", "mm", ">= 0.6"),
        ("prior N(0, 1)", "ours", "onednn", ">= 0.6"),
        ("prior N(0, 1), to an npz file", "file", "mm", ">= 0.6"),
        ("spline flow prior", "flow", "mm", ">= 0.3"),
    ):
        clouds = given.clouds / times[name]  # a second
        rate = product / times[reference]  # operations a second
        value = float(np.median(clouds * OPERATIONS / rate))
        detail = f"{np.median(clouds):,.0f} clouds a second; {np.median(rate) / 1e9:.0f} GFLOP/s"
        said = {"mm": "rate of torch.mm", "onednn": "rate of oneDNN's product"}[reference]
        found.append(Row(f"sampling, {target}", said, limit, f"{value:.2f}", detail, COMMAND))
    return found


if __name__ == "__main__":
    options = parser(__doc__, rounds=7)
    options.add_argument("--clouds", type=int, default=16384)
    given = options.parse_args()
    begin(given)
    finish(measure(given), given)

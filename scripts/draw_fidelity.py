"""The figures of docs/fidelity.md, from the run folders of benchmarks/fidelity.py.

Run: python scripts/draw_fidelity.py [--runs runs/fidelity] [--figures docs/figures/fidelity]
"""

import argparse
import random
from pathlib import Path

import torch

import gconvae
from gconvae import plots
from gconvae.datasets import SuperpixelMNIST
from gconvae.schema import SUPERPIXELS

COUNT = 16
"""Clouds of a grid of the riddle."""

SHARED = 1000
"""Clouds of each sample of the histograms."""


def riddle(model: gconvae.VAE, figures: Path, seed: int) -> str:
    """Two grids of real and two of generated clouds in a random order; says which are which."""
    real, generated = SuperpixelMNIST(8, "test").points, model.sample(2 * COUNT, seed=seed)
    rows = torch.randperm(len(real), generator=torch.Generator().manual_seed(seed))[: 2 * COUNT]
    grids = [("real", half) for half in real[rows].split(COUNT)]
    grids += [("generated", half) for half in generated.split(COUNT)]
    random.Random(seed).shuffle(grids)
    named = {letter: grid for letter, (_, grid) in zip("ABCD", grids, strict=True)}
    figure = plots.compare_grids(named, rows=4, columns=4, schema=SUPERPIXELS)
    plots.save(figure, figures / "which-are-real.png")
    return ", ".join(f"{letter} {kind}" for letter, (kind, _) in zip("ABCD", grids, strict=True))


def histograms(models: dict[str, gconvae.VAE], figures: Path) -> None:
    """Features of real clouds and of all models."""
    samples = {"real": SuperpixelMNIST(8, "test").points}
    samples |= {name: model.sample(SHARED, seed=0) for name, model in models.items()}
    figure = plots.feature_histograms(samples, schema=SUPERPIXELS)
    plots.save(figure, figures / "features.png")


def digits(runs: Path, figures: Path, chosen: list[int]) -> None:
    """Real and generated clouds of other digits."""
    for digit in chosen:
        folder = runs / f"convae-flow-{digit}-0"
        samples = {
            "real": SuperpixelMNIST(digit, "test").points,
            "generated": gconvae.load(folder).sample(25, seed=0),
        }
        figure = plots.compare_grids(samples, rows=5, columns=5, schema=SUPERPIXELS)
        plots.save(figure, figures / f"digit-{digit}.png")


def ten_rows(model: gconvae.VAE, figures: Path, columns: int = 12) -> None:
    """A row a digit, real ones left and drawn ones right, as images."""
    test = SuperpixelMNIST(None, "test")
    assert test.labels is not None
    rows = torch.cat([(test.labels == digit).nonzero()[:columns, 0] for digit in range(10)])
    real = test[rows]
    drawn = model.sample_clouds(len(real), seed=0, label=real.labels)
    grids = {"real": real, "drawn": drawn}
    figure = plots.compare_grids(grids, rows=10, columns=columns, raster=True)
    plots.save(figure, figures / "ten-rows.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs/fidelity"))
    parser.add_argument("--figures", type=Path, default=Path("docs/figures/fidelity"))
    parser.add_argument("--digits", help="draw ten rows of this model: a run folder")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    given.figures.mkdir(parents=True, exist_ok=True)
    loaded = {name: gconvae.load(given.runs / f"{name}-8-0") for name in ("slides", "convae-flow")}
    print(f"key: {riddle(loaded['convae-flow'], given.figures, given.seed)}")
    histograms(loaded, given.figures)
    there = [digit for digit in (3, 0) if (given.runs / f"convae-flow-{digit}-0").is_dir()]
    digits(given.runs, given.figures, there)
    if given.digits:
        ten_rows(gconvae.load(given.digits), given.figures)

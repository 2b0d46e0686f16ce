"""The figures of docs/jets.md, from trainings of benchmarks/jets.py.

Run: python scripts/draw_jets.py runs/jets [--figures docs/figures/jets] [--seed 0]

Draws what there is: spectra of gluons, quarks and tops, and their mean images.
"""

import argparse
from pathlib import Path

import gconvae
from gconvae import plots
from gconvae.datasets import Jets

KINDS = ("g", "q", "t")

SAMPLES = 12000
"""Drawn jets of each kind, beside the 4,000 real ones of the test set."""


def draw(runs: Path, figures: Path, seed: int) -> None:
    """Spectra and images of each kind of which there is a training."""
    figures.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        run = runs / f"jets-{kind}-{seed}"
        if not (run / "model.json").exists():
            continue
        real = Jets(kind, "test")
        model = gconvae.load(run)
        samples = {"simulated": real, "drawn": model.sample_clouds(SAMPLES, seed=seed)}
        as_many = {"simulated": real, "drawn": model.sample_clouds(len(real), seed=seed)}
        for what, figure in (
            ("spectra", plots.jet_spectra(samples)),
            ("images", plots.jet_images(as_many)),
        ):
            plots.save(figure, figures / f"{what}-{kind}.png")
            print(figures / f"{what}-{kind}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--figures", type=Path, default=Path("docs/figures/jets"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw(given.runs, given.figures, given.seed)

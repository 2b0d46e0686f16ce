"""The figures of docs/jets.md, from trainings of benchmarks/jets.py.

Run: python scripts/draw_jets.py runs/jets [--figures docs/figures/jets] [--seed 0]
     python scripts/draw_jets.py --run runs/gluon-150 --name g-150

Draws what there is: spectra of gluons, quarks and tops, and their mean images; or those of one
run of ``gconvae train``, beside the clouds that it kept aside.
"""

import argparse
from pathlib import Path
from typing import Any

import gconvae
from gconvae import plots
from gconvae.datasets import Jets
from gconvae.studies.experiment import Experiment
from gconvae.training import run_folder

KINDS = ("g", "q", "t")

SAMPLES = 12000
"""Drawn jets of each kind, beside the 4,000 real ones of the test set."""


def draw(run: Path, real: Any, figures: Path, name: str, seed: int) -> None:
    """Spectra and images of the drawn jets of one training, beside real ones."""
    figures.mkdir(parents=True, exist_ok=True)
    model = gconvae.load(run)
    samples = {"simulated": real, "drawn": model.sample_clouds(SAMPLES, seed=seed)}
    as_many = {"simulated": real, "drawn": model.sample_clouds(len(real), seed=seed)}
    for what, figure in (
        ("spectra", plots.jet_spectra(samples)),
        ("images", plots.jet_images(as_many)),
    ):
        plots.save(figure, figures / f"{what}-{name}.png")
        print(figures / f"{what}-{name}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="?", default=Path("runs/jets"))
    parser.add_argument("--figures", type=Path, default=Path("docs/figures/jets"))
    parser.add_argument("--run", type=Path)
    parser.add_argument("--name", default="run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.run is not None:
        kept = Experiment.from_config(run_folder.read_manifest(given.run)["config"]).splits[2]
        draw(given.run, kept, given.figures, given.name, given.seed)
    else:
        for kind in KINDS:
            trained = given.runs / f"jets-{kind}-{given.seed}"
            if (trained / "model.json").exists():
                draw(trained, Jets(kind, "test"), given.figures, kind, given.seed)

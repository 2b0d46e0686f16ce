"""Train a generator of particle jets, draw new ones, and look at them as a physicist would.

Run: python examples/jets.py [--kind gluon] [--small] [--out FOLDER]
"""

import argparse
from pathlib import Path

import gconvae
from gconvae.datasets import Jets

SMALL = {"epochs": 1, "hidden": 16, "prior_steps": 20, "likelihood_steps": 20}
"""Options of a training that takes seconds, to see it work."""


def main(kind: str, folder: Path, *, small: bool, seed: int = 0) -> None:
    """Trains, samples, compares and draws."""
    train, valid, test = (Jets(kind, split) for split in ("train", "valid", "test"))
    if small:
        train, valid, test = (part[:400] for part in (train, valid, test))
    print(f"{len(train)} training jets, the first is {train[0]}")

    options = SMALL if small else {}
    run = gconvae.train("jets", train, valid=valid, seed=seed, out=folder, **options)

    generated = run.model.sample_clouds(len(test), seed=seed)
    metrics = ["features", "jets"]
    report = gconvae.metrics.compare(test, generated, reference=valid, metrics=metrics)
    report.save(folder / "report.json")
    print(f"generated against held-out jets\n{report}")

    samples = {"simulated": test, "generated": generated}
    gconvae.plots.save(gconvae.plots.jet_spectra(samples), folder / "spectra.png")
    gconvae.plots.save(gconvae.plots.jet_images(samples), folder / "images.png")
    print(f"figures and report are in {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", default="gluon", help="gluon, quark or top")
    parser.add_argument("--small", action="store_true", help="some seconds, to see it work")
    parser.add_argument("--out", type=Path, default=Path("runs/example-jets"))
    given = parser.parse_args()
    main(given.kind, given.out, small=given.small)

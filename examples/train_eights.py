"""Train the slides' ConVAE on superpixel eights, draw new ones, and see how close they are.

Run: python examples/train_eights.py [--small] [--out FOLDER]
"""

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import gconvae


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters; the run folder's manifest.json holds those of the training."""

    latent_dim: int = 10
    hidden: int = 1500
    beta: float = 1.0
    epochs: int = 100
    seed: int = 0


def main(settings: Settings, folder: Path) -> None:
    """Trains, samples, compares and draws."""
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="train")
    test = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")
    train, valid = gconvae.datasets.split(data, seed=settings.seed)
    print(f"{len(train)} training clouds, the first is {train[0]}")

    model = gconvae.models.create(
        "convae",
        latent_dim=settings.latent_dim,
        hidden=settings.hidden,
        seed=settings.seed,
    )
    run = gconvae.fit(
        model,
        train,
        valid,
        loss="third_axis",
        beta=settings.beta,
        epochs=settings.epochs,
        seed=settings.seed,
        out=folder,
    )

    generated = run.model.sample(1000, seed=settings.seed)
    report = gconvae.metrics.compare(test, generated, reference=valid, metrics="features")
    report.save(folder / "report.json")
    print(f"generated against held-out real clouds\n{report}")

    grids = gconvae.plots.compare_grids({"real": test.points, "generated": generated})
    gconvae.plots.save(grids, folder / "clouds.png")
    print(f"settings {asdict(settings)}\nfigure and report are in {folder}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few seconds, to see it work")
    parser.add_argument("--out", type=Path, default=Path("runs/example-eights"))
    given = parser.parse_args()
    chosen = replace(Settings(), hidden=64, epochs=2) if given.small else Settings()
    main(chosen, given.out)

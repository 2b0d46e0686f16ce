"""Train on any clouds of your own: here rings of 25 nodes, handed over as a plain array.

Run: python examples/own_points.py [--small] [--out FOLDER]
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import gconvae


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of data and training."""

    num_clouds: int = 3000
    hidden: int = 300
    # with beta 1 the latents of these clouds stay far from the prior that new ones come from
    beta: float = 10.0
    epochs: int = 60
    seed: int = 0


def rings(num_clouds: int, seed: int) -> np.ndarray:
    """Rings of random centre, radius and tilt in metres, energies in GeV, shape (B, 25, 3)."""
    random = np.random.default_rng(seed)
    angle = random.uniform(0, 2 * np.pi, (num_clouds, 25))
    radius = random.uniform(0.3, 1.0, (num_clouds, 1)) + random.normal(0, 0.02, angle.shape)
    centre = random.normal(0, 0.3, (num_clouds, 2, 1))
    energy = random.exponential(20.0, angle.shape) * (1.2 + np.cos(angle))
    x = centre[:, 0] + radius * np.cos(angle)
    y = centre[:, 1] + radius * np.sin(angle)
    return np.stack([x, y, energy], axis=-1)


def main(settings: Settings, folder: Path) -> None:
    """Trains, samples, compares and draws."""
    data = gconvae.datasets.from_points(rings(settings.num_clouds, settings.seed))
    rest, test = gconvae.datasets.split(data, 0.2, seed=settings.seed)
    train, valid = gconvae.datasets.split(rest, seed=settings.seed)

    # the ranges of the three features are taken from the training clouds
    model = gconvae.models.create("convae", hidden=settings.hidden, seed=settings.seed)
    run = gconvae.fit(
        model,
        train,
        valid,
        beta=settings.beta,
        epochs=settings.epochs,
        seed=settings.seed,
        out=folder,
    )

    generated = run.model.sample(len(test), seed=settings.seed)
    print(gconvae.metrics.compare(test, generated, reference=valid, metrics="features"))
    samples = {"real": test.points, "generated": generated}
    grids = gconvae.plots.compare_grids(samples, image_size=None)
    gconvae.plots.save(grids, folder / "clouds.png")
    print(f"figure: {folder / 'clouds.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few seconds, to see it work")
    parser.add_argument("--out", type=Path, default=Path("runs/example-rings"))
    given = parser.parse_args()
    chosen = (
        replace(Settings(), num_clouds=300, hidden=64, epochs=2) if given.small else Settings()
    )
    main(chosen, given.out)

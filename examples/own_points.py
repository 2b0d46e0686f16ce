"""Train on custom clouds: here rings of 25 nodes, handed over as a plain array.

Run: python examples/own_points.py [--small] [--out FOLDER]
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import gconvae
from gconvae.schema import CloudSchema, Feature, Tail

RINGS = CloudSchema(
    features=(
        Feature("x", "m", position=True),
        Feature("y", "m", position=True),
        # most energies are a few GeV, some a hundred: a log gives them the room they need
        Feature("energy", "GeV", tail=Tail("log", scale=20.0)),
    ),
    changes=("turn", "stretch", "mirror"),
    name="rings",
)


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters of data and training."""

    num_clouds: int = 3000
    hidden: int = 300
    epochs: int = 40
    steps: int = 1500  # of the likelihood, which is fitted after the network
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
    points = rings(settings.num_clouds, settings.seed)
    data = gconvae.datasets.from_points(points, schema=RINGS)
    rest, test = gconvae.datasets.split(data, 0.2, seed=settings.seed)
    train, valid = gconvae.datasets.split(rest, seed=settings.seed)

    # the ranges of the three features are taken from the training clouds
    model = gconvae.models.create(
        "convae-flow",
        hidden=settings.hidden,
        likelihood=f"autoregressive(steps={settings.steps})",
        seed=settings.seed,
    )
    run = gconvae.fit(model, train, valid, epochs=settings.epochs, seed=settings.seed, out=folder)

    generated = run.model.sample_clouds(len(test), seed=settings.seed)
    print(gconvae.metrics.compare(test, generated, reference=valid, metrics="features"))
    samples = {"real": test, "generated": generated}
    figure = gconvae.plots.compare_grids(samples, rows=5, columns=5)
    gconvae.plots.save(figure, folder / "clouds.png")
    print(f"figure: {folder / 'clouds.png'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a few seconds, to see it work")
    parser.add_argument("--out", type=Path, default=Path("runs/example-rings"))
    given = parser.parse_args()
    small = replace(Settings(), num_clouds=300, hidden=64, epochs=2, steps=20)
    main(small if given.small else Settings(), given.out)

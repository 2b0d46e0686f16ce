"""A training step and a whole run of the slides' network, against the products and a plain loop.

Three things take turns: our epochs through ``gconvae.fit`` with all overheads (loader, progress
bar, validation, best weights), the matrix products of as many training and validation steps at
their own shapes, and a plain eager loop, which validates too, with the original loss (that of
``speed_losses.py``) and default Adam.

The products are those of torch (``torch.mm``); beside it stands oneDNN's, which is faster on some
CPUs and which our dense layers use.

In the end a whole run of 100 epochs, from the call to the returned model, meets that of the plain
loop, once each.

Run: python benchmarks/speed_training.py [--rounds 7] [--epochs 3] [--whole 100] [--threads 2]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from speed_losses import original
from timing import Row, begin, finish, parser, ratio
from torch import Tensor, nn

import gconvae

BATCH, NODES, LATENT, HIDDEN = 100, 25, 10, 1500
CHANNELS = (16, 32, 64)
COMMAND = "uv run python benchmarks/speed_training.py"


def products(backward: bool = True) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of every product of a step: forward, and two backward."""
    columns = [NODES - 2 * n for n in range(4)]  # 25, 23, 21, 19
    layers = [(BATCH * columns[1], 3 * 5, CHANNELS[0])]
    layers += [(BATCH * columns[n + 1], 5 * CHANNELS[n - 1], CHANNELS[n]) for n in (1, 2)]
    flat = CHANNELS[-1] * columns[-1]
    layers += [(BATCH, flat, HIDDEN), (BATCH, HIDDEN, 2 * LATENT)]
    layers += [(BATCH, LATENT, HIDDEN), (BATCH, HIDDEN, flat)]
    layers += [(BATCH * columns[n + 1], CHANNELS[n], 5 * CHANNELS[n - 1]) for n in (2, 1)]
    layers += [(BATCH * columns[1], CHANNELS[0], 3 * 5)]
    made = []
    for number, (rows, inner, out) in enumerate(layers):
        made.append((rows, inner, out))
        if backward:
            made.append((inner, rows, out))
        if backward and number:  # the clouds want no gradient
            made.append((rows, out, inner))
    return made


class Products:
    """All products of training and validation steps, by torch or by oneDNN."""

    def __init__(self, onednn: bool) -> None:
        self.train, self.valid = (
            [(torch.randn(m, k), torch.randn(n, k)) for m, k, n in products(backward)]
            for backward in (True, False)
        )
        self.onednn = onednn

    def seconds(self, train: int, valid: int) -> float:
        """Of so many steps."""
        start = time.perf_counter()
        for _ in range(train):
            self.step(self.train)
        for _ in range(valid):
            self.step(self.valid)
        return time.perf_counter() - start

    def step(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """One step's worth."""
        for a, b in pairs:
            if self.onednn:
                torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
            else:
                torch.mm(a, b.t())


class Plain(nn.Module):
    """The slides' network in plain torch."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(nn.Conv2d(1, 16, (3, 5), padding=(0, 1)), nn.ReLU()),
            *(nn.Conv2d(16, 32, (1, 5), padding=(0, 1)), nn.ReLU()),
            *(nn.Conv2d(32, 64, (1, 5), padding=(0, 1)), nn.ReLU(), nn.Flatten()),
            *(nn.Linear(64 * 19, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT)),
        )
        self.decoder = nn.Sequential(
            *(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 64 * 19), nn.ReLU()),
            nn.Unflatten(1, (64, 1, 19)),
            *(nn.ConvTranspose2d(64, 32, (1, 5), padding=(0, 1)), nn.ReLU()),
            *(nn.ConvTranspose2d(32, 16, (1, 5), padding=(0, 1)), nn.ReLU()),
            *(nn.ConvTranspose2d(16, 1, (3, 5), padding=(0, 1)), nn.Sigmoid()),
        )

    def loss(self, clouds: Tensor) -> Tensor:
        """Mean loss of clouds (B, N, 3) in scaled units."""
        mean, log_var = self.encoder(clouds.transpose(1, 2).unsqueeze(1)).chunk(2, dim=1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        output = 27 * self.decoder(z).squeeze(1).transpose(1, 2)
        kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1)
        return (original(clouds, output) + kl).mean()


@dataclass
class Training:
    """Clouds in scaled units for the plain loop, and data sets for ours."""

    epochs: int
    train: Tensor
    valid: Tensor
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[int, int]:
        """Training and validation steps of a round."""
        train, valid = (-(-len(part) // BATCH) for part in (self.train, self.valid))
        return self.epochs * train, self.epochs * valid

    def ours(self, neighbors: str) -> float:
        """Seconds of the epochs of ``gconvae.fit``, its bar drawn into nowhere."""
        model = gconvae.models.create("convae", seed=0)
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
            run = gconvae.fit(
                model,
                self.train,
                self.valid,
                epochs=self.epochs,
                patience=None,
                neighbors=neighbors,
                scaling="keep",
            )
        return float(run.manifest["seconds"])

    def plain(self) -> float:
        """Seconds of the plain loop."""
        scale = torch.tensor([1.0, 1.0, 27.0])
        train, valid = self.train * scale, self.valid * scale
        model = Plain()
        adam = torch.optim.Adam(model.parameters(), lr=1e-3, fused=False)
        start = time.perf_counter()
        for _ in range(self.epochs):
            for rows in torch.randperm(len(train)).split(BATCH):
                adam.zero_grad()
                model.loss(train[rows]).backward()
                adam.step()
            with torch.no_grad():
                for clouds in valid.split(BATCH):
                    model.loss(clouds).item()
        return time.perf_counter() - start


def training(clouds: int, epochs: int) -> Training:
    """On so many eights; the others are for validation."""
    points = gconvae.datasets.SuperpixelMNIST(digit=8, split="train").points
    held_out = len(points) - clouds
    return Training(epochs, points[held_out:], points[: max(held_out, BATCH)])


def whole(given: argparse.Namespace) -> Row:
    """A run from start to finish."""
    task = training(given.clouds, given.whole)
    seconds = []
    for run in (lambda: task.ours("auto"), task.plain):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return Row(
        f"whole run of {given.whole} epochs",
        "plain loop, original loss, default Adam",
        ">= 1.6",
        f"{seconds[1] / seconds[0]:.2f}",
        f"{seconds[0]:.0f} s against {seconds[1]:.0f} s",
        COMMAND,
    )


def measure(given: argparse.Namespace) -> tuple[int, dict[str, np.ndarray]]:
    """Steps of a round, and seconds of each contestant in each round."""
    task = training(given.clouds, given.epochs)
    torchs, onednns = Products(onednn=False), Products(onednn=True)
    contestants = {
        "auto": lambda: task.ours("auto"),
        "torch-cluster": lambda: task.ours("torch-cluster"),
        "plain": task.plain,
        "mm": lambda: torchs.seconds(*task.steps),
        "onednn": lambda: onednns.seconds(*task.steps),
    }
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(given.rounds + 1):  # the first warms up
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            seconds[name].append(contestants[name]())
    return task.steps[0], {name: np.array(each[1:]) for name, each in seconds.items()}


def rows(steps: int, seconds: dict[str, np.ndarray]) -> list[Row]:
    """The targets."""
    step = {name: f"{1e3 * np.median(each) / steps:.1f} ms" for name, each in seconds.items()}
    size = f"B={BATCH}, N={NODES}, through fit, validation included"
    found = []
    for target, ours, reference, said, limit in (
        ("training step", "auto", "mm", "its products by torch.mm", "<= 1.5"),
        ("training step", "auto", "onednn", "its products by oneDNN", "<= 1.5"),
        ("training step, torch-cluster", "torch-cluster", "auto", "neighbors=auto", "<= 1.08"),
    ):
        value, spread = ratio(seconds[ours], seconds[reference])
        detail = f"{spread}; {step[ours]} against {step[reference]} a step"
        found.append(Row(f"{target} ({size})", said, limit, f"{value:.2f}", detail, COMMAND))
    value, spread = ratio(seconds["plain"], seconds["auto"])
    detail = f"{spread}; {step['auto']} against {step['plain']} a step"
    said = "plain loop, original loss, default Adam"
    found.append(
        Row(f"epochs of training ({size})", said, ">= 1.6", f"{value:.2f}", detail, COMMAND)
    )
    return found


if __name__ == "__main__":
    options = parser(__doc__, rounds=7)
    options.add_argument("--epochs", type=int, default=3, help="of each training in a round")
    options.add_argument("--clouds", type=int, default=4857, help="for training")
    options.add_argument("--whole", type=int, default=100, help="epochs of a whole run; 0 = none")
    given = options.parse_args()
    begin(given)
    found = rows(*measure(given))
    finish([*found, whole(given)] if given.whole else found, given)

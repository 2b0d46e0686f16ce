"""Time of a training step with each one-to-one loss, as a ratio to the third-axis step.

A step is forward, loss, backward and Adam of the default network on the bundled training eights.
All losses take turns in every round, in an order that rotates, so that the machine's other work
meets them alike; a ratio is taken within a round.

Run: python benchmarks/matching_step.py [--rounds 30] [--steps 5] [--threads 1]
"""

import argparse
import importlib.metadata
import os
import platform
import time

import numpy as np
import torch
from timing import processor
from torch import Tensor, nn

import gconvae
from gconvae import losses, randomness

REFERENCE = "third_axis"
LOSSES = [REFERENCE, "matched_intensity", "matching", "sliced_wasserstein", "sinkhorn"]
PACKAGES = ["torch", "scipy", "numpy", "torch-cluster", "geomloss"]
SEED = 0


class Training:
    """A network of its own for each loss, all from the same weights and on the same batches."""

    def __init__(self, name: str) -> None:
        self.loss = losses.create(name)
        self.model = gconvae.models.create("convae", seed=SEED)
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def step(self, clouds: Tensor) -> None:
        """One step on clouds (B, N, F) in scaled units."""
        posterior = self.model.encoder(clouds)
        noise = torch.randn(posterior.mean.shape, generator=randomness.generator(SEED, "latent"))
        z = posterior.mean + posterior.base_dist.stddev * noise  # (B, L)
        output = self.model.scaling.from_unit(self.model.decoder(z))  # (B, N, F)
        value = self.loss(clouds, output) + losses.kl_standard_normal(posterior)  # (B,)
        self.adam.zero_grad()
        value.mean().backward()
        self.adam.step()


def scaled_batches(model: nn.Module, size: int) -> list[Tensor]:
    """Whole batches of the training eights, in the units of the losses."""
    points = gconvae.datasets.SuperpixelMNIST(digit=8, split="train").points
    return [batch for batch in model.scaling.scale(points).split(size) if len(batch) == size]


def seconds(training: Training, batches: list[Tensor]) -> float:
    """Mean time of a step."""
    start = time.perf_counter()
    for batch in batches:
        training.step(batch)
    return (time.perf_counter() - start) / len(batches)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=5, help="of each loss in a round")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.use_deterministic_algorithms(True)  # as in training
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"Python {platform.python_version()}, {versions}, {given.threads} threads")
    trainings = {name: Training(name) for name in LOSSES}
    batches = scaled_batches(trainings[REFERENCE].model, given.batch_size)
    times: dict[str, list[float]] = {name: [] for name in LOSSES}
    for number in range(given.rounds + 1):
        part = [batches[(number * given.steps + k) % len(batches)] for k in range(given.steps)]
        for turn in range(len(LOSSES)):
            name = LOSSES[(number + turn) % len(LOSSES)]
            times[name].append(seconds(trainings[name], part))
    # the first round warms up
    measured = {name: 1e3 * np.array(each[1:]) for name, each in times.items()}
    shape = f"{given.batch_size} clouds of {batches[0].shape[1]} nodes"
    print(f"\n{shape}, {given.rounds} rounds of {given.steps} steps: median (10 % to 90 %)\n")
    print(f"| loss | ms a step | ratio to {REFERENCE} |\n|---|---|---|")
    for name, each in measured.items():
        cells = [
            "{:.{d}f} ({:.{d}f} to {:.{d}f})".format(*np.quantile(x, [0.5, 0.1, 0.9]), d=digits)
            for x, digits in ((each, 1), (each / measured[REFERENCE], 2))
        ]
        print(f"| {name} | {' | '.join(cells)} |")

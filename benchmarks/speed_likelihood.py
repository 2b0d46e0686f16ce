"""The likelihood's stage and its draws: against its matrix products, on two threads, and busy.

A step is one of a training through ``gconvae.fit``: batch, means, forward and backward pass, both
optimizers, the running mean. Its products are all matrix products of the likelihood's forward and
backward pass, noted from a real batch and computed by torch at their own shapes, one thread.
*Busy* means that as many processes as the machine has cores compute beside it.

Run: python benchmarks/speed_likelihood.py [--rounds 5] [--threads 2] [--clouds 4096]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timing import Row, begin, finish, milliseconds, parser, ratio
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import gconvae
from gconvae import datasets

COMMAND = "uv run python benchmarks/speed_likelihood.py"
STEPS = 40
PRODUCTS = {getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm")}


class Noted(TorchDispatchMode):
    """Shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[torch.Size, torch.Size]] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function in PRODUCTS:
            first, second = [each for each in args if isinstance(each, Tensor)][-2:]
            self.pairs.append((first.shape, second.shape))
        return function(*args, **(kwargs or {}))


def products(model: gconvae.VAE, data: datasets.CloudDataset) -> Callable[[], None]:
    """All of a step, at their own shapes."""
    likelihood: Any = model.likelihood
    unit = model.scaled(model.prepare(data.points[:64])) / model.scaling.extent
    mask = torch.ones(unit.shape[:2], dtype=torch.bool)
    with Noted() as noted:
        likelihood.negative_log_likelihood(unit, unit, mask).mean().backward()
    pairs = [(torch.randn(first), torch.randn(second)) for first, second in noted.pairs]

    def run() -> None:
        for first, second in pairs:
            torch.matmul(first, second)

    return run


def stepped(model: gconvae.VAE, data: datasets.CloudDataset, threads: int) -> float:
    """Seconds of a step of the likelihood's stage."""
    torch.set_num_threads(threads)
    taken = []
    for steps in (STEPS, 2 * STEPS):
        start = time.perf_counter()
        model.with_likelihood(f"autoregressive(steps={steps})", data, seed=0)
        taken.append(time.perf_counter() - start)
    return (taken[1] - taken[0]) / STEPS


def drawn(model: gconvae.VAE, clouds: int, threads: int) -> float:
    """Seconds of a cloud."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    model.sample(clouds, seed=0)
    return (time.perf_counter() - start) / clouds


def spin() -> None:
    """What another program does."""
    number = 0
    while True:
        number += 1


@contextmanager
def busy() -> Iterator[None]:
    """As many processes beside the block as there are cores."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=spin, daemon=True) for _ in range(os.cpu_count() or 1)]
    for other in others:
        other.start()
    time.sleep(3)
    try:
        yield
    finally:
        for other in others:
            other.kill()


def measure(given: argparse.Namespace) -> list[Row]:
    """The targets."""
    data = datasets.SuperpixelMNIST(digit=8, split="train")[:1000]
    model = gconvae.load("pretrained:eights")
    multiply = products(model, data)
    found: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        found.setdefault(name, []).append(seconds)

    drawn(model, 512, 1)
    for _ in range(given.rounds):
        torch.set_num_threads(1)
        multiply()
        start = time.perf_counter()
        for _ in range(10):
            multiply()
        note("products", (time.perf_counter() - start) / 10)
        for threads in (1, given.threads):
            note(f"step {threads}", stepped(model, data, threads))
            note(f"draw {threads}", drawn(model, given.clouds, threads))
    with busy():
        for _ in range(given.rounds):
            note("step busy", stepped(model, data, given.threads))
            note("draw busy", drawn(model, given.clouds, given.threads))
            note("draw busy 1", drawn(model, given.clouds, 1))
    times = {name: np.array(each) for name, each in found.items()}
    return rows(times, given.threads)


def rows(times: dict[str, NDArray[np.float64]], threads: int) -> list[Row]:
    """Of the table."""
    draw = times[f"draw {threads}"]

    def row(target: str, reference: str, limit: str, pair: tuple[str, str]) -> Row:
        ours, other = (times[name] for name in pair)
        value, spread = ratio(ours, other)
        detail = f"{spread}; {milliseconds(ours)} against {milliseconds(other)}"
        return Row(target, reference, limit, f"{value:.2f}", detail, COMMAND)

    both = f"step {threads}"
    return [
        row(
            "step of the likelihood, one thread", "its products", "<= 2.0", ("step 1", "products")
        ),
        row("step on one thread", f"on {threads} threads", ">= 1.6", ("step 1", both)),
        Row(
            "draws of convae-flow",
            "-",
            ">= 5,000 / s",
            f"{np.median(1 / draw):,.0f} / s",
            f"one thread {np.median(1 / times['draw 1']):,.0f} / s",
            COMMAND,
        ),
        row("step, busy machine", "alone", "<= 2.5", ("step busy", both)),
        row("draws, busy machine", "alone", "<= 2.5", ("draw busy", f"draw {threads}")),
        row("draws, busy, all threads", "one thread", "<= 1", ("draw busy", "draw busy 1")),
    ]


if __name__ == "__main__":
    options = parser(__doc__, rounds=5)
    options.add_argument("--clouds", type=int, default=4096)
    given = options.parse_args()
    warnings.simplefilter("ignore")
    begin(given)
    finish(measure(given), given)

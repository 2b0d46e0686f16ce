"""How long a user waits: for the command, the import, the data, the first step, superpixels.

Each whole command is a process of its own, timed from outside; references take turns with ours.

Run: python benchmarks/speed_start.py [--rounds 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time

import numpy as np
from timing import Row, begin, finish, interleaved, parser, ratio

import gconvae

COMMAND = "uv run python benchmarks/speed_start.py"


def process(*arguments: str) -> None:
    """A Python process from start to end."""
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


def processes(rounds: int) -> list[Row]:
    """The command's help and the import, against an import of torch."""
    calls = {
        "help": lambda: process("-c", "from gconvae.cli import main; main(['--help'])"),
        "gconvae": lambda: process("-c", "import torch, gconvae"),
        "torch": lambda: process("-c", "import torch"),
    }
    times = interleaved(calls, rounds)
    value, spread = ratio(times["gconvae"], times["torch"])
    seconds = {name: float(np.median(each)) for name, each in times.items()}
    detail = f"{spread}; {seconds['gconvae']:.2f} s against {seconds['torch']:.2f} s"
    return [
        Row("gconvae --help", "-", "<= 1 s", f"{seconds['help']:.2f} s", "", COMMAND),
        Row("import torch, gconvae", "import torch", "<= 1.2", f"{value:.2f}", detail, COMMAND),
    ]


def opening() -> Row:
    """The bundled eights, after imports, as a process first sees them."""
    code = (
        "import time, gconvae, gconvae.datasets as d; start = time.perf_counter(); "
        "d.SuperpixelMNIST(digit=8, split='train').points; print(time.perf_counter() - start)"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    return Row(
        "open the bundled set", "-", "<= 0.3 s", f"{float(found.stdout):.2f} s", "", COMMAND
    )


def first_step() -> Row:
    """Seconds of a training of one step beyond those of its parts that are imports and data."""
    points = gconvae.datasets.SuperpixelMNIST(digit=8, split="train").points[:200]
    model = gconvae.models.create("convae", seed=0)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        start = time.perf_counter()
        gconvae.fit(model, points[:100], points[100:], epochs=1)
        seconds = time.perf_counter() - start
    said = "fit of one step in a fresh process, Lightning's import included"
    return Row("first training step", "-", "<= 3 s", f"{seconds:.2f} s", said, COMMAND)


def waiting(given: argparse.Namespace) -> Row:
    """Share of a step that is spent on getting its batch."""
    from gconvae.clouds import Clouds
    from gconvae.training.batches import Order, loader
    from gconvae.training.clouds import CloudsInMemory

    points = gconvae.datasets.SuperpixelMNIST(digit=8, split="train").points
    model = gconvae.models.create("convae", seed=0)
    clouds = CloudsInMemory(model, model.prepare(points))
    batches = loader(clouds, Order(len(clouds), 100, seed=0, shuffle=True), seed=0)

    def epoch() -> list[Clouds]:
        return list(batches)

    times = interleaved({"epoch": epoch}, given.rounds)["epoch"]
    batch = float(np.median(times)) / len(epoch())
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        run = gconvae.fit(model, points[:5000], points[5000:], epochs=1, neighbors="auto")
    step = run.manifest["seconds"] / 50
    detail = f"{1e3 * batch:.2f} ms of {1e3 * step:.1f} ms"
    return Row(
        "a batch", "a training step", "< 3 %", f"{100 * batch / step:.1f} %", detail, COMMAND
    )


def superpixels(given: argparse.Namespace) -> Row:
    """Images a second, with one process for each thread, beside the start of the processes."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:28, :28]
    centres = random.uniform(9, 18, (6000, 2, 1, 1))
    ring = np.hypot(x - centres[:, 0], y - centres[:, 1])
    images = np.clip(255 * (1.6 - np.abs(ring - 6) / 1.6), 0, 255).astype(np.uint8)
    seconds = []
    for part in (images[:500], images):
        start = time.perf_counter()
        gconvae.superpixels.from_images(part, num_workers=given.threads)
        seconds.append(time.perf_counter() - start)
    rate = (len(images) - 500) / (seconds[1] - seconds[0])
    said = (
        f"5,500 further rings of 28 x 28 pixels, after {seconds[0]:.1f} s for start and first 500"
    )
    return Row("superpixels.from_images", "-", ">= 700 / s", f"{rate:,.0f} / s", said, COMMAND)


if __name__ == "__main__":
    given = parser(__doc__, rounds=5).parse_args()
    begin(given)
    # the first step is the first thing that this process trains
    rows = [first_step(), *processes(given.rounds), opening(), waiting(given), superpixels(given)]
    finish(rows, given)

"""A training on clouds of a file against one in memory, and what a cloud costs in each part.

Run: python benchmarks/train_from_disk.py [--clouds 5000000] [--folder FOLDER]
[--parts train slopes]

``train``: the bundled digits are repeated to --clouds clouds and written to an npz file, on which
a small network trains one epoch. The reference is the same training on --reference clouds in
memory, once before it and once after it, since other work on the machine comes and goes. Rates are
those of the epoch alone, without what comes before its first step, which is told too.

``slopes``: seconds and bytes that one more cloud takes in reading, training, drawing and writing,
from two sizes of each. docs/scale.md multiplies them.

Every part runs in a process of its own with one thread. Its growth is the most resident memory
above that of the interpreter with the library imported. The file lies in the system's cache.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from larger_than_memory import forget_peak, repeated_digits, resident_peak, write
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from timing import machine

import gconvae
from gconvae import datasets
from gconvae.clouds import Clouds
from gconvae.datasets import CloudDataset, CloudFile
from gconvae.randomness import standard_noise
from gconvae.training import batches
from gconvae.training.clouds import training_clouds

BATCH = 1000
"""Clouds of a step."""

VALID = 974
"""Validation clouds: few, so that an epoch is one of training."""

REFERENCE = 500_000
"""Clouds of the training in memory. Both rates are per cloud, and indexing fewer clouds is rather
faster than indexing all."""

LIMITS = {"growth": 1e9, "ratio": 0.9}
"""Bytes at most, and rate from disk over that in memory at least."""


@dataclass
class Spent:
    """Time of the clock and of the processor, and memory."""

    seconds: float = 0.0
    processor_seconds: float = 0.0
    growth: float = 0.0


@contextmanager
def spending() -> Iterator[Spent]:
    """What the block takes."""
    spent = Spent()
    forget_peak()
    before, start, begin = resident_peak(), time.perf_counter(), time.process_time()
    yield spent
    spent.seconds = time.perf_counter() - start
    spent.processor_seconds = time.process_time() - begin
    spent.growth = resident_peak() - before


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Runs a part in a fresh process with one thread."""
    with multiprocessing.get_context("spawn").Pool(1, torch.set_num_threads, (1,)) as pool:
        return pool.apply(work, arguments)


# one epoch


class Epoch(Callback):
    """Times of an epoch of the network: from its beginning to its last step, and between steps.

    Between two steps a batch is fetched. That part tells how a file differs from memory, even
    where other work makes one training slower than the next.
    """

    def __init__(self) -> None:
        self.began = self.ended = np.zeros(2)
        self.between = np.zeros(2)

    def on_train_start(self, *given: Any) -> None:
        """Before the first batch is read."""
        self.began = self.ended = now()

    def on_train_batch_start(self, *given: Any) -> None:
        """When a batch is there."""
        self.between = self.between + now() - self.ended

    def on_train_batch_end(self, *given: Any) -> None:
        """After a step."""
        self.ended = now()


def now() -> NDArray[np.float64]:
    """Seconds of the clock and of the processor."""
    return np.array([time.perf_counter(), time.process_time()])


@dataclass
class Training:
    """What a training of one epoch took; times are pairs, of the clock and of the processor.

    Attributes:
        clouds: Training clouds.
        before: From the call of ``fit`` to the first batch.
        epoch: From there to the end of the last step.
        between: Of that, what lay between steps.
        growth: Bytes, with the data set.
    """

    clouds: int
    before: NDArray[np.float64]
    epoch: NDArray[np.float64]
    between: NDArray[np.float64]
    growth: float

    def __str__(self) -> str:
        rate, own = self.clouds / self.epoch
        clock, processor = self.between / self.clouds * 1e6
        return (
            f"{rate:,.0f} clouds/s, {own:,.0f} a second of the processor; between steps "
            f"{clock:.2f} us a cloud, {processor:.2f} of the processor; before the first step "
            f"{self.before[0]:.1f} s, {self.before[1]:.1f} of the processor; "
            f"+{self.growth / 1e6:.0f} MB"
        )


def in_memory(num_clouds: int) -> CloudDataset:
    """Repeated digits."""
    parts = list(repeated_digits(num_clouds))
    points, mask, labels = (torch.cat(tensors) for tensors in list(zip(*parts, strict=True))[:3])
    return CloudDataset(Clouds(points, mask, labels, datasets.SuperpixelMNIST().schema))


def from_disk(path: Path, num_clouds: int | None = None) -> CloudFile:
    """The file, or its first clouds."""
    data = datasets.from_file(path, schema=datasets.SuperpixelMNIST().schema, in_memory=False)
    return data if num_clouds is None else data[:num_clouds]


def train(
    opened: Callable[..., Any], *arguments: Any, hidden: int = 64, batch_size: int = BATCH
) -> Training:
    """One epoch of the slides' network with ``hidden`` units, N(0, 1) and the decoder's mean."""
    model = gconvae.models.create("convae", likelihood="mean", hidden=hidden, seed=0)
    valid = datasets.SuperpixelMNIST(8, "test")[:VALID]
    epoch = Epoch()
    with spending() as whole:
        data = opened(*arguments)
        start = now()
        gconvae.fit(
            model,
            data,
            valid,
            epochs=1,
            batch_size=batch_size,
            neighbors="auto",
            callbacks=[epoch],
            progress=False,
        )
    took = epoch.ended - epoch.began
    return Training(len(data), epoch.began - start, took, epoch.between, whole.growth)


def compare_trainings(path: Path, reference: int) -> None:
    """From disk between two trainings in memory."""
    print(f"one epoch, hidden=64, batches of {BATCH}", flush=True)
    made = []
    for opened, argument in ((in_memory, reference), (from_disk, path), (in_memory, reference)):
        made.append(alone(train, opened, argument))
        name = opened.__name__.replace("_", " ")
        print(f"{name}, {made[-1].clouds:,} clouds: {made[-1]}", flush=True)
    first, disk, last = made
    per_cloud = (first.epoch + last.epoch) / 2 / reference
    clock, processor = per_cloud / (disk.epoch / disk.clouds)
    # the same steps with the batches of memory
    instead = disk.epoch - disk.between
    instead = instead + (first.between + last.between) / 2 / reference * disk.clouds
    steps = instead / disk.epoch
    print(
        f"rate from disk / in memory: {clock:.3f} by the clock, {processor:.3f} by the processor; "
        f"with the same steps {steps[0]:.3f} and {steps[1]:.3f} (wanted {LIMITS['ratio']})\n"
        f"growth {disk.growth / 1e9:.2f} GB (at most {LIMITS['growth'] / 1e9:g})",
        flush=True,
    )


# slopes


def pass_in_order(path: Path, num_clouds: int) -> Spent:
    """Reads and checks clouds in their order."""
    data = from_disk(path, num_clouds)
    with spending() as spent:
        for _ in data.pieces():
            pass
    return spent


def pass_of_batches(opened: Callable[..., Any], *arguments: Any) -> Spent:
    """What an epoch reads: windows of a file, or rows in memory, in batches and scaled."""
    clouds = training_clouds(gconvae.models.create("convae"), opened(*arguments), "data")
    order = batches.Order(len(clouds), BATCH, 0, True, clouds.chunk)
    with spending() as spent:
        for _ in batches.loader(clouds, order, seed=0):
            pass
    return spent


def summary(path: Path, num_clouds: int) -> Spent:
    """What ``fit`` does before the first step."""
    data = from_disk(path, num_clouds)
    with spending() as spent:
        data.summary()
    return spent


def step(hidden: int, batch_size: int, num_clouds: int) -> Spent:
    """Steps in memory."""
    made = train(in_memory, num_clouds, hidden=hidden, batch_size=batch_size)
    return Spent(*made.epoch.tolist(), made.growth)


def latent_noise(num_clouds: int) -> Spent:
    """Random numbers of whole batches, which every process draws."""
    latent_dim = gconvae.models.create("convae").prior.latent_dim
    with spending() as spent:
        for number in range(num_clouds // BATCH):
            standard_noise((BATCH, latent_dim), torch.Generator().manual_seed(number))
    return spent


def draw(name: str, hidden: int, num_clouds: int) -> Spent:
    """Generated clouds, piece by piece."""
    if name.startswith("pretrained"):
        model = gconvae.load(name)
    else:
        model = gconvae.models.create(name, likelihood="mean", hidden=hidden, seed=0)
    next(iter(model.iter_samples(100, seed=0)))  # compiles, allocates
    with spending() as spent:
        for _ in model.iter_samples(num_clouds, seed=0):
            pass
    return spent


def write_file(folder: Path, suffix: str, num_clouds: int) -> Spent:
    """A file from an iterator."""
    path = folder / f"slope.{suffix}"
    with spending() as spent:
        write(path, num_clouds, None)
    path.unlink()
    return spent


def random_views(path: Path, num_clouds: int) -> Spent:
    """A random split, which numbers its clouds."""
    data = from_disk(path, num_clouds)
    with spending() as spent:
        kept = datasets.split(data)
    assert sum(map(len, kept)) == num_clouds
    return spent


def slope(work: Callable[..., Spent], arguments: tuple[Any, ...], few: int, many: int) -> Spent:
    """What one more cloud takes, from two numbers of clouds."""
    work(*arguments, few)  # what it allocates once and keeps is no part of a slope
    small = work(*arguments, few)
    peak = resident_peak()
    large = work(*arguments, many)
    more = many - few
    return Spent(
        (large.seconds - small.seconds) / more,
        (large.processor_seconds - small.processor_seconds) / more,
        (resident_peak() - peak) / more,
    )


def measure_slopes(path: Path) -> None:
    """A line for each part."""
    folder, most = path.parent, len(from_disk(path))
    sizes = (most // 4, most)
    parts: list[tuple[str, Callable[..., Spent], tuple[Any, ...], tuple[int, int]]] = [
        ("summary of an npz file, with its checksum", summary, (path,), sizes),
        ("reading and checking it in order", pass_in_order, (path,), sizes),
        ("batches of it in windows", pass_of_batches, (from_disk, path), sizes),
        ("batches in memory", pass_of_batches, (in_memory,), (most // 20, most // 5)),
        ("a random split", random_views, (path,), sizes),
        ("latent noise of a step", latent_noise, (), (100_000, 1_000_000)),
        ("a step, hidden=64, B=1000", step, (64, 1000), (20_000, 120_000)),
        ("a step, hidden=1500, B=1000", step, (1500, 1000), (5_000, 35_000)),
        ("a step, hidden=1500, B=100", step, (1500, 100), (5_000, 35_000)),
        ("drawing, convae hidden=64", draw, ("convae", 64), (50_000, 250_000)),
        ("drawing, convae hidden=1500", draw, ("convae", 1500), (20_000, 100_000)),
        ("drawing, pretrained:eights", draw, ("pretrained:eights", 0), (500, 4_000)),
        ("writing npz", write_file, (folder, "npz"), (200_000, 1_000_000)),
        ("writing HDF5", write_file, (folder, "h5"), (200_000, 1_000_000)),
    ]
    print(f"\n{path.stat().st_size / most:.0f} bytes a cloud on disk\n")
    print("| what one more cloud takes | clouds | us | us of the processor | bytes |")
    print("|---|---|---|---|---|", flush=True)
    for name, work, arguments, (few, many) in parts:
        more = alone(slope, work, arguments, few, many)
        times = f"{micro(more.seconds)} | {micro(more.processor_seconds)}"
        growth = max(0.0, more.growth)  # a peak that other things made tells nothing
        print(f"| {name} | {few:,} to {many:,} | {times} | {growth:.1f} |", flush=True)


def micro(seconds: float) -> str:
    """Three digits."""
    return f"{1e6 * seconds:,.0f}" if seconds > 1e-4 else f"{1e6 * seconds:.3g}"


def main() -> None:
    """Measures what the command line asks for."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clouds", type=int, default=5_000_000)
    options.add_argument("--reference", type=int, default=REFERENCE, help="clouds in memory")
    options.add_argument("--folder", type=Path, help="where a temporary one is made")
    options.add_argument(
        "--parts", nargs="+", choices=("train", "slopes"), default=["train", "slopes"]
    )
    given = options.parse_args()
    print(machine(1))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        path = Path(folder) / "clouds.npz"
        write(path, given.clouds, None)
        if "train" in given.parts:
            compare_trainings(path, min(given.reference, given.clouds))
        if "slopes" in given.parts:
            measure_slopes(path)


if __name__ == "__main__":
    main()

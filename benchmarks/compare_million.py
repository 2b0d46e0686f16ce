"""Time and memory of a comparison of two samples of a million clouds that lie in files.

The clouds (25 nodes of 3 features, 300 MB a file) are random numbers, written once to a scratch
folder and mapped into memory. Memory is the growth of the process over Python with the library
imported; pages of the files that were looked at count too.

Run: python benchmarks/compare_million.py [--clouds 1000000] [--metrics features]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from timing import machine
from torch import Tensor

from gconvae import metrics
from gconvae.clouds import Clouds
from gconvae.schema import CloudSchema, points

NODES, SCHEMA = 25, points("x y", "charge")


class Mapped:
    """Clouds of a file of float32, read where they are needed."""

    schema: CloudSchema | None = SCHEMA

    def __init__(self, path: Path) -> None:
        self._file = np.memmap(path, np.float32, "r").reshape(-1, NODES, 3)

    def __len__(self) -> int:
        return len(self._file)

    def take(self, rows: Tensor) -> Clouds:
        """Some clouds."""
        nodes = torch.from_numpy(self._file[rows.numpy()])
        return Clouds(nodes, torch.ones(nodes.shape[:2], dtype=torch.bool), schema=SCHEMA)

    def pieces(self, size: int) -> Iterator[Clouds]:
        """All clouds, some at a time."""
        for first in range(0, len(self), size):
            yield self.take(torch.arange(first, min(first + size, len(self))))


def write(path: Path, number: int, seed: int) -> Mapped:
    """Clouds whose nodes share a shift."""
    rng, file = np.random.default_rng(seed), np.memmap(path, np.float32, "w+", 0, number * 75)
    for part in np.split(file.reshape(number, NODES, 3), range(10_000, number, 10_000)):
        part[:] = rng.normal(size=part.shape) + 0.5 * rng.normal(size=(len(part), 1, 3))
    file.flush()
    return Mapped(path)


def resident() -> float:
    """Memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class Peak:
    """The largest memory while it is open, looked at 50 times a second."""

    def __enter__(self) -> Peak:
        self.start = self.most = resident()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._end.wait(0.02):
            self.most = max(self.most, resident())

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=1_000_000)
    parser.add_argument("--metrics", nargs="+", default=None, help="groups; all by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(1), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(2):
            write(Path(folder, str(seed)), options.clouds, seed)
        with Peak() as peak:
            pair = [Mapped(Path(folder, str(seed))) for seed in range(2)]
            cpu, wall = time.process_time(), time.perf_counter()
            report = metrics.compare(*pair, metrics=options.metrics, progress=True)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(f"{cpu:.0f} s of CPU, {wall:.0f} s, {peak.most - peak.start:.0f} MB of growth\n")
        print(report)

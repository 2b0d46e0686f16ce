"""Data larger than memory: rates and memory of reading and writing clouds on disk.

Run: python benchmarks/larger_than_memory.py [--clouds 5000000] [--folder FOLDER]

The bundled digits are repeated to --clouds clouds and written once in each format, from an
iterator. Then each file is read in the order of a training: windows of chunks, mixed. What is read
is checked and in canonical node order. The reference is indexing the same clouds in memory, in the
same run. Every part runs in a process of its own, so that memory is that of the part alone: its
growth above the interpreter that has imported what it needs. The last write of a file leaves its
pages in the cache of the system, so rates are those of the cache, not of a disk. Beside the rate
by the clock stands that by the time of the processor, which other work on the machine slows less.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import machine

from gconvae import datasets
from gconvae.clouds import Clouds

BATCH = 1000
"""Clouds of a batch."""

PART = 8192
"""Clouds that are written together."""

WINDOW_CLOUDS = 50_000
"""Clouds that are mixed among each other, rounded to whole chunks."""

FORMATS = ("npy", "npz", "h5", "parquet")


@dataclass(frozen=True)
class Measurement:
    """What one part took.

    Attributes:
        clouds: How many were read or written.
        seconds: For all of them, by the clock.
        processor_seconds: That this process had.
        growth: Bytes of resident memory at the highest above those before.
    """

    clouds: int
    seconds: float
    processor_seconds: float
    growth: int

    def __str__(self) -> str:
        rates = (self.clouds / took / 1e6 for took in (self.seconds, self.processor_seconds))
        by_clock, by_processor = rates
        return (
            f"{by_clock:6.2f} million clouds/s, {by_processor:6.2f} a second of the processor, "
            f"+{self.growth / 1e6:.0f} MB"
        )


def resident_peak() -> int:
    """Most bytes of memory that this process had: VmHWM where Linux tells it."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return 1024 * int(lines[0].split()[1])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def forget_peak() -> None:
    """Begins anew with the highest memory, where Linux can."""
    clear = Path("/proc/self/clear_refs")
    if clear.is_file():
        clear.write_text("5")


def alone(work: Callable[..., int], *arguments: Any) -> Measurement:
    """Runs a part in a fresh process with one thread."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, *arguments))


def _measured(work: Callable[..., int], *arguments: Any) -> Measurement:
    torch.set_num_threads(1)
    work(*arguments, 2 * PART)  # imports, allocates
    forget_peak()
    before, start, begin = resident_peak(), time.perf_counter(), time.process_time()
    clouds = work(*arguments, None)
    took = time.perf_counter() - start, time.process_time() - begin
    return Measurement(clouds, *took, resident_peak() - before)


# writing


def repeated_digits(num_clouds: int) -> Iterator[Clouds]:
    """The bundled digits over and over, some at a time."""
    digits = datasets.SuperpixelMNIST().clouds
    for start in range(0, num_clouds, PART):
        rows = torch.arange(start, min(start + PART, num_clouds)) % digits.num_clouds
        yield digits.subset(rows)


def write(path: Path, num_clouds: int, most: int | None) -> int:
    """One file of repeated digits, from an iterator."""
    if most is not None:
        num_clouds, path = min(num_clouds, most), path.with_stem("warm-up")
    if path.suffix == ".npy":
        return _write_npy(path, num_clouds)
    datasets.to_file_in_parts(repeated_digits(num_clouds), path)
    return num_clouds


def _write_npy(path: Path, num_clouds: int) -> int:
    """As numpy writes it; its clouds have 25 nodes each, so that nothing has to be masked."""
    shape = (num_clouds, *next(repeated_digits(1)).points.shape[1:])
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for part in repeated_digits(num_clouds):
            file.write(part.points.numpy().data)
    return num_clouds


# reading


def read_windows(path: Path, most: int | None) -> int:
    """Batches in the order of a training, each window read together."""
    schema = datasets.SuperpixelMNIST(8).schema
    data = datasets.from_file(path, schema=schema, in_memory=False)
    random = torch.Generator().manual_seed(0)
    window = max(1, round(WINDOW_CLOUDS / data.chunk))
    count = 0
    for rows in datasets.chunked_order(len(data), data.chunk, window, random):
        points, mask, _ = data.take(rows)
        for batch, real in zip(points.split(BATCH), mask.split(BATCH), strict=True):
            count += min(len(batch), len(real))
        if most is not None and count >= most:
            break
    return count


def read_in_order(path: Path, most: int | None) -> int:
    """One clouds after the other, without mixing."""
    schema = datasets.SuperpixelMNIST(8).schema
    count = 0
    for piece in datasets.from_file(path, schema=schema, in_memory=False).pieces():
        count += len(piece.points)
        if most is not None and count >= most:
            break
    return count


def index_memory(num_clouds: int, most: int | None) -> int:
    """The reference: the same clouds in memory, indexed in a plain random order."""
    num_clouds = num_clouds if most is None else min(num_clouds, most)
    parts = list(repeated_digits(num_clouds))
    clouds = Clouds(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    del parts
    count, start, begin = 0, time.perf_counter(), time.process_time()
    order = torch.randperm(num_clouds, generator=torch.Generator().manual_seed(0))
    for rows in order.split(BATCH):
        count += len(clouds.subset(rows).points)
    took = time.perf_counter() - start, time.process_time() - begin
    if most is None:
        print(f"in memory, batches by index   {Measurement(count, *took, 0)}", flush=True)
    return count


def measure_files(folder: Path, num_clouds: int) -> None:
    """Writes and reads each format, and prints a line for each."""
    print(f"{num_clouds:,} clouds of 25 nodes\n", flush=True)
    alone(index_memory, num_clouds)
    for suffix in FORMATS:
        path = folder / f"clouds.{suffix}"
        print(f"\n{suffix} written from an iterator  {alone(write, path, num_clouds)}", flush=True)
        print(f"{suffix}, {path.stat().st_size / 1e6:.0f} MB on disk")
        print(f"{suffix} read in mixed windows     {alone(read_windows, path)}", flush=True)
        print(f"{suffix} read in order             {alone(read_in_order, path)}", flush=True)
        path.unlink()


def main() -> None:
    """Measures what the command line asks for."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clouds", type=int, default=5_000_000)
    options.add_argument("--folder", type=Path, help="where a temporary one is made")
    given = options.parse_args()
    print(machine(1))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        measure_files(Path(folder), given.clouds)


if __name__ == "__main__":
    main()

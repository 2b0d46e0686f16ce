"""What all benchmarks of speed share: interleaved timing, the machine, and the table of targets.

References and our code take turns in every round, in an order that rotates, so that the machine's
other work meets them alike; a ratio is taken within a round, and its median over rounds is told
with the range from 10 % to 90 % of them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

PACKAGES = ("torch", "torch-geometric", "torch-cluster", "lightning", "numpy", "scipy", "zuko")
SHORTEST = 0.02
"""Seconds that a timing takes at least, by calling a short function many times."""


@dataclass(frozen=True)
class Row:
    """One target of the table.

    Attributes:
        target: What is timed, and how large it is.
        reference: What it is compared with.
        limit: What is wanted, such as ``<= 1.5`` or ``>= 1.6``.
        measured: What came out, in the same unit.
        detail: Range, absolute times, or why a target is missed.
        command: What prints it.
    """

    target: str
    reference: str
    limit: str
    measured: str
    detail: str
    command: str


def parser(
    description: str | None, rounds: int, threads: int | None = None
) -> argparse.ArgumentParser:
    """Options that every benchmark has."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--rounds", type=int, default=rounds)
    made.add_argument("--threads", type=int, default=threads or os.cpu_count())
    made.add_argument("--json", type=Path, help="file for the rows of the table")
    return made


def begin(given: argparse.Namespace) -> None:
    """Sets the threads and says on what machine, with what versions."""
    torch.set_num_threads(given.threads)
    print(machine(given.threads), flush=True)


def machine(threads: int) -> str:
    """The machine and the versions, in two lines."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    return (
        f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"{threads} threads\nPython {platform.python_version()}, {', '.join(versions)}"
    )


def processor() -> str:
    """Name of the CPU where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def interleaved(
    calls: Mapping[str, Callable[[], object]], rounds: int, shortest: float = SHORTEST
) -> dict[str, NDArray[np.float64]]:
    """Seconds of one call of each function in each round, shape (rounds,), after a warm-up.

    Args:
        calls: Functions by name.
        rounds: How often each is timed.
        shortest: Seconds below which a function is called several times for one timing.
    """
    repeats = {}
    for name, call in calls.items():
        call()  # compiles, allocates
        start = time.perf_counter()
        call()
        repeats[name] = max(1, int(shortest / max(time.perf_counter() - start, 1e-7)))
    names = list(calls)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            start = time.perf_counter()
            for _ in range(repeats[name]):
                calls[name]()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return {name: np.array(each) for name, each in times.items()}


def ratio(ours: NDArray[np.float64], reference: NDArray[np.float64]) -> tuple[float, str]:
    """Median of ours over the reference, and its range from 10 % to 90 % of the rounds."""
    within = ours / reference
    low, high = np.quantile(within, [0.1, 0.9])
    return float(np.median(within)), f"{low:.2f} to {high:.2f}"


def milliseconds(times: NDArray[np.float64]) -> str:
    """Median in ms with three digits."""
    return f"{1e3 * float(np.median(times)):.3g} ms"


def finish(rows: Sequence[Row], given: argparse.Namespace) -> None:
    """Prints the rows as a table, and writes them where ``--json`` says."""
    print("\n" + table(rows), flush=True)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| target | reference | wanted | measured | detail | command |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.target} | {r.reference} | {r.limit} | {r.measured} | {r.detail} | `{r.command}` |"
        for r in rows
    ]
    return "\n".join(lines)

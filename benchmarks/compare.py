"""CPU seconds of each group of metrics, at the sizes of the main job.

974 test and 994 validation clouds of the digit 8, 1,000 generated ones of the bundled model, and
the 4,857 training clouds. A group stands alone, with what it needs; the last line is all groups in
one call, where they share that.

Run: python benchmarks/compare.py [--count 1000] [--rows]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from timing import machine

import gconvae
from gconvae import metrics


def samples(count: int) -> dict[str, Any]:
    """What ``gconvae evaluate pretrained:eights`` compares."""
    from gconvae.studies.experiment import Experiment

    train, valid, test = Experiment().splits
    generated = gconvae.load("pretrained:eights").sample(count, seed=0)
    return {"real": test, "generated": generated, "reference": valid, "training": train}


def seconds(given: dict[str, Any], groups: str | None) -> tuple[float, float, metrics.Report]:
    """CPU and wall seconds of a comparison, and what it found."""
    cpu, wall = time.process_time(), time.perf_counter()
    report = metrics.compare(**given, metrics=groups)
    return time.process_time() - cpu, time.perf_counter() - wall, report


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="generated clouds")
    parser.add_argument("--rows", action="store_true", help="print the report too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine(1), flush=True)
    given = samples(options.count)
    print(", ".join(f"{len(part)} {name}" for name, part in given.items()) + " clouds\n")
    print("| group | CPU s | wall s |\n|---|---|---|", flush=True)
    for group in (*metrics.groups_of(given["real"].schema), None):
        cpu, wall, report = seconds(given, group)
        print(f"| {group or 'all in one call'} | {cpu:.1f} | {wall:.1f} |", flush=True)
    if options.rows:
        print(f"\n{report}")

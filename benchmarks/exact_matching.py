"""Time of a cross matrix of 25-node clouds, by exact matching and by Chamfer distance.

Clouds are the bundled training eights. The machine's other work counts, so the load is printed.

Run: python benchmarks/exact_matching.py [--clouds 1000] [--workers 1 2]
"""

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np
import scipy
import torch

import gconvae
from gconvae import clouds
from gconvae.metrics import distances


def processor() -> str:
    """Name of the CPU where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clouds", type=int, default=1000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="train")
    parts = data.points[: 2 * given.clouds].split(given.clouds)
    pair = [clouds.as_clouds(part, schema=data.schema) for part in parts]
    print(f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"torch {torch.__version__}"
    )
    shape = "{0} x {0} clouds of {1} nodes".format(*pair[0].points.shape[:2])
    print(f"\n{shape}\n\n| distance | threads | s | pairs/s | CPU s | mean |")
    print("|---|---|---|---|---|---|")
    for distance in distances.DISTANCES:
        for workers in given.workers:
            wall, cpu = time.perf_counter(), time.process_time()
            matrix = distances.cross_matrix(*pair, distance, workers=workers)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            print(
                f"| {distance} | {workers} | {wall:.1f} | {matrix.size / wall:.0f} | {cpu:.1f} "
                f"| {matrix.mean(dtype=np.float64):.6f} |",
                flush=True,
            )

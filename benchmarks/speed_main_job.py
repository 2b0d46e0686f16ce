"""The main job, ``gconvae train``: how long each stage takes, and what comes out.

Figures of the result against held-out clouds are those of benchmarks/fidelity.py; the report's
distances are told here as multiples of what half of real pairs have.

Run: python benchmarks/speed_main_job.py [--seeds 3] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from timing import machine

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    given = options.parse_args()
    print(machine(given.threads))
    print("\n| seed | whole job | network | prior | likelihood | rest | distances, floors |")
    print("|---|---:|---:|---:|---:|---:|---|")
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            command = [sys.executable, "-m", "gconvae.cli", "train", "--out", str(out)]
            command += ["--seed", str(seed), "--threads", str(given.threads)]
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            whole = time.perf_counter() - start
            manifest = json.loads((out / "manifest.json").read_text())
            report = json.loads((out / "report_generated.json").read_text())
        stages = [each["seconds"] for each in manifest["stages"].values()]
        floors = [
            f"{row['name']} {row['value'] / row['floor']:.2f}"
            for row in report["rows"]
            if row["metric"] in ("W1", "Frechet") and row.get("floor")
        ]
        cells = [f"{seconds:.0f} s" for seconds in (whole, *stages, whole - sum(stages))]
        print(f"| {seed} | {' | '.join(cells)} | {', '.join(floors)} |", flush=True)

"""All benchmarks of speed, one after another, and their one table.

Run it on a machine that does nothing else: python benchmarks/speed.py [--out benchmarks/speed.md]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import Row, machine, table

HERE = Path(__file__).parent
TOPICS = ("training", "losses", "sampling", "likelihood", "start", "variants")

if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--threads", type=int, default=os.cpu_count())
    options.add_argument("--figure", type=Path, help="where to draw the cost of the losses")
    options.add_argument("--out", type=Path, help="file for the table")
    given = options.parse_args()
    head = machine(given.threads)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for topic in TOPICS:
            part = Path(folder) / f"{topic}.json"
            command = [sys.executable, "-W", "ignore", str(HERE / f"speed_{topic}.py")]
            command += ["--threads", str(given.threads), "--json", str(part)]
            if topic == "losses" and given.figure is not None:
                command += ["--figure", str(given.figure)]
            subprocess.run(command, check=True)
            rows += [Row(**row) for row in json.loads(part.read_text())]
    text = f"{head}\n\n{table(rows)}\n"
    print("\n" + text)
    if given.out is not None:
        given.out.write_text(text)

"""Stops commands at random moments, and looks at what they leave and whether the next one goes on.

A fault is: a file under its final name that is not whole, a finished result that is lost, a next
command that does not end well, or a traceback.

    python scripts/faults.py --count 12
    python scripts/faults.py --count 60 --only "in network" "in prior"
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from faults_command import CLOUDS, TRAIN, Trial, call
from faults_in_python import after_fork, after_spawn, in_threads
from faults_in_stages import STAGES, stopped_in
from faults_stopped import stopped_sweep, stopped_train, stopped_writing
from faults_surroundings import (
    clock_back,
    first_users,
    full_disk,
    lost_folder,
    no_compiler,
    read_only,
    small_files,
    surroundings,
    two_at_once,
)

__all__ = ["main"]


def main() -> int:
    """The command; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=12, help="stops of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(TRIALS), choices=list(TRIALS))
    options = parser.parse_args()
    rng = random.Random(options.seed)
    found: Counter[tuple[str, str]] = Counter()
    faults = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        root = Path(name)
        prepare(root)
        for kind in options.only:
            trial, is_random = TRIALS[kind]
            for number in range(options.count if is_random else 1):
                place = root / f"{kind} {number}".replace(" ", "-")
                place.mkdir()
                reason = trial(root, place, rng)
                found[kind, "fault" if reason else "fine"] += 1
                faults += bool(reason)
                if reason:
                    print(f"fault {kind} {number}: {reason:.600}", flush=True)
                shutil.rmtree(place)
    print("| what | tried | faults |\n|---|---|---|")
    for kind in options.only:
        fine, bad = found[kind, "fine"], found[kind, "fault"]
        print(f"| {kind} | {fine + bad} | {bad} |")
    return int(bool(faults))


def prepare(root: Path) -> None:
    """A data set and a finished run."""
    clouds = np.random.default_rng(0).integers(0, 9, (60, 5, 3)).astype(np.float32)
    np.savez(root / CLOUDS, points=clouds)
    done = call(*TRAIN, "--data", str(root / CLOUDS), "--out", str(root / "run"))
    if done.returncode:
        raise RuntimeError(f"the training ends with {done.stderr}")


TRIALS: dict[str, tuple[Trial, bool]] = {
    **{f"in {stage}": (stopped_in(stage), True) for stage in STAGES},
    "train stopped": (stopped_train, True),
    "sample stopped": (stopped_writing("sample", "--count", "20000", out="drawn.npz"), True),
    "evaluate stopped": (
        stopped_writing(
            *("evaluate", "--against", CLOUDS, "--metrics", "features", "--count", "50"),
            out="report.json",
        ),
        True,
    ),
    "export stopped": (
        stopped_writing("export", "--format", "torch-export", out="exported"),
        True,
    ),
    "sweep stopped": (stopped_sweep, True),
    "files that may not grow": (small_files, True),
    "full disk": (full_disk, True),
    "clock back": (clock_back, True),
    "read-only disk": (read_only, False),
    "unusual names": (surroundings(), False),
    "no HOME": (surroundings(HOME=None, XDG_CACHE_HOME=None), False),
    "C locale": (surroundings(LC_ALL="C", LANG="C", PYTHONUTF8="0"), False),
    "deleted working directory": (lost_folder, False),
    "no compiler": (no_compiler, False),
    "two in one folder": (two_at_once, False),
    "first users of the cache": (first_users, False),
    "fork after use": (after_fork, False),
    "spawn after use": (after_spawn, False),
    "threads": (in_threads, False),
}
"""What is tried, and whether at random moments, several times."""


if __name__ == "__main__":
    begin = time.monotonic()
    code = main()
    print(f"{time.monotonic() - begin:.0f} s")
    sys.exit(code)

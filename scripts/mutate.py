"""Breaks the library on purpose, one small change at a time, and asks the tests to notice.

Run: python scripts/mutate.py [--only TEXT ...] [--jobs 1] [--out FILE] [--trust] [--list]
The changes are those of scripts/mutations.toml: a sign, an axis, an index, a reduction, a mask, a
seed, an order of arguments, an end that is off by one. Each is made in a copy of the project, in
which the tests that are named beside it run until one fails; where none fails the change has
survived. First all of these tests must pass as things are; --trust leaves that out. Ends with 1
where fewer than 95 % are caught.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).resolve().parents[1]
CHANGES = ROOT / "scripts" / "mutations.toml"

WANTED = 0.95
"""Share of the changes that must be caught."""

LONGEST = 600
"""Seconds after which tests that do not end have noticed something."""

COPIED = ("gconvae", "tests", "scripts", "examples", "benchmarks", "docs", "pyproject.toml")
"""What tests look at."""

FURTHER = ("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE")

OPTIONS = ("-x", "-q", "-p", "no:xdist", "-p", "no:cacheprovider")
ADDOPTS = "addopts=--strict-markers --import-mode=importlib"


@dataclass(frozen=True)
class Change:
    """One way to break the library.

    Attributes:
        file: Path in the project.
        what: What is broken, in words.
        before: Text that occurs once in the file.
        after: What stands there instead.
        tests: Files or folders of tests that should notice.
    """

    file: str
    what: str
    before: str
    after: str
    tests: tuple[str, ...]

    @property
    def wing(self) -> str:
        """The room, or wing of rooms, that is broken."""
        return self.file.removeprefix("gconvae/").split("/")[0].removesuffix(".py")

    def broken(self, text: str) -> str:
        """The text of the file with the change.

        Raises:
            ValueError: If what is to be changed does not occur exactly once.
        """
        count = text.count(self.before)
        if count != 1:
            raise ValueError(f"before must occur once in {self.file}, got {count}: {self.before}")
        return text.replace(self.before, self.after)


def changes() -> list[Change]:
    """All of them, as the list has them."""
    known = tomllib.loads(CHANGES.read_text(encoding="utf-8"))["change"]
    return [Change(**{**entry, "tests": tuple(entry["tests"])}) for entry in known]


def copied(folder: Path) -> Path:
    """A copy of the project in a new folder."""
    folder.mkdir()
    for name in COPIED:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(place, folder / name)
    for name in FURTHER:
        shutil.copy2(ROOT / name, folder / name)
    return folder


def passes(project: Path, tests: Sequence[str], longest: float | None = LONGEST) -> bool:
    """Whether the tests pass there, in so many seconds."""
    command = [sys.executable, "-m", "pytest", *OPTIONS, "-o", ADDOPTS, *tests]
    settings = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    # a small network is no faster on several threads
    settings.setdefault("OMP_NUM_THREADS", "1")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        ended = subprocess.run(
            command, cwd=project, env=settings, timeout=longest, check=False, **quiet
        )
    except subprocess.TimeoutExpired:
        return False
    if ended.returncode not in (0, 1, 2):
        raise RuntimeError(f"tests must run, got exit code {ended.returncode} of {command}")
    return ended.returncode == 0


def caught(project: Path, change: Change) -> bool:
    """Whether the tests notice a change; the copy is as before afterwards."""
    file = project / change.file
    text = file.read_text(encoding="utf-8")
    try:
        file.write_text(change.broken(text), encoding="utf-8")
        return not passes(project, change.tests)
    finally:
        file.write_text(text, encoding="utf-8")


def verdicts(chosen: Sequence[Change], jobs: int, trust: bool) -> list[bool]:
    """Whether each change is caught, in their order; ``trust`` that tests pass without one."""
    with tempfile.TemporaryDirectory() as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            free.put(copied(Path(folder) / str(number)))
        tests = sorted({test for change in chosen for test in change.tests})
        if not trust and not passes(Path(folder) / "0", tests, longest=None):
            raise RuntimeError(f"tests must pass before anything is broken: {' '.join(tests)}")

        def verdict(change: Change) -> bool:
            project, began = free.get(), time.perf_counter()
            try:
                found = caught(project, change)
            finally:
                free.put(project)
            said = "caught  " if found else "SURVIVED"
            seconds = time.perf_counter() - began
            print(f"{said} {change.file}: {change.what} ({seconds:.0f} s)", flush=True)
            return found

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(verdict, chosen))


def table(chosen: Sequence[Change], found: Iterable[bool]) -> str:
    """Changes and how many were caught, a line a wing."""
    counts: dict[str, list[int]] = {}
    for change, is_caught in zip(chosen, found, strict=True):
        count = counts.setdefault(change.wing, [0, 0])
        count[0] += 1
        count[1] += is_caught
    lines = ["| part | changes | caught |", "|---|---:|---:|"]
    lines += [f"| {wing} | {tried} | {seen} |" for wing, (tried, seen) in counts.items()]
    tried, seen = (sum(count[column] for count in counts.values()) for column in (0, 1))
    return "\n".join([*lines, f"| all | {tried} | {seen} |"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[""], help="files that hold one of these")
    parser.add_argument("--jobs", type=int, default=1, help="copies that are tested side by side")
    parser.add_argument("--out", type=Path, help="file for what survived, as JSON")
    parser.add_argument("--trust", action="store_true", help="that all tests pass as things are")
    parser.add_argument("--list", action="store_true", help="print the changes, and end")
    given = parser.parse_args()
    every = [one for one in changes() if any(text in one.file for text in given.only)]
    if given.list:
        for one in every:
            print(f"{one.file}: {one.what}")
        sys.exit()
    seen = verdicts(every, given.jobs, given.trust)
    print(table(every, seen))
    if given.out is not None:
        left = [f"{one.file}: {one.what}" for one, ok in zip(every, seen, strict=True) if not ok]
        given.out.write_text(json.dumps(left, indent=1) + "\n")
    sys.exit(sum(seen) < WANTED * len(seen))

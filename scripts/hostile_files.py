"""Reads thousands of damaged and hostile files, and counts what each reader made of them.

Every file has to give a clear error or a correct load. A fault is: more than 2 s of the processor,
more than 500 MB above what the process had before, code of the file that ran, a file written
outside of its folder, a process that ends, or an error that is no ValueError or FileNotFoundError
whose message names the file or the argument.

    python scripts/hostile_files.py --count 3600
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hostile_containers import CONTAINERS
from hostile_mutations import bytes_of, json_text, link, safetensors_of
from hostile_readers import FILES, MODELS, READERS, make_originals

__all__ = ["Result", "main", "run"]

SECONDS, MEGABYTES = 2.0, 500.0
"""Limits of one file: time of the processor, and memory above that of before."""

PATIENCE = 30.0
"""Seconds of the clock after which a reader hangs; the machine may be busy with other things."""

ADDRESSES = 4 * 2**30
"""Bytes that a child may reserve beyond what it has when it begins, to protect the machine."""

LAUGHS = "epochs: &a0 [1]\n" + "".join(
    f"more{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
"""YAML in which each line repeats the one before nine times."""

TEXTS = ("model.json", "manifest", "config", "report")
"""Kinds of files that are JSON."""


class Result(NamedTuple):
    """What a reader made of a file.

    Attributes:
        kind: Of the file.
        number: Of the case.
        what: ``"error"``, ``"load"`` or ``"fault"``.
        detail: The error, or why it is a fault.
        seconds: Of the processor.
        megabytes: The most memory above that of before.
    """

    kind: str
    number: int
    what: str
    detail: str
    seconds: float
    megabytes: float


def main() -> int:
    """The command; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=3_600, help="files of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(READERS), choices=list(READERS))
    parser.add_argument("--keep", type=Path, help="where the files of faults are kept")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        _serve(options.child)
        return 0
    results = run(options.count, options.seed, options.kinds, options.keep)
    print(table(results))
    faults = [result for result in results if result.what == "fault"]
    return int(bool(faults))


def run(
    count: int, seed: int = 0, kinds: list[str] | None = None, keep: Path | None = None
) -> list[Result]:
    """Makes the files and has each of them read.

    Args:
        count: Of files, shared out among the kinds.
        seed: Of the changes.
        kinds: Of files; None = all.
        keep: Folder for the files of faults; None = they go.
    """
    kinds = list(READERS) if kinds is None else kinds
    results = []
    with tempfile.TemporaryDirectory(prefix="hostile-") as name:
        root = Path(name)
        for part in ("originals", "cases", "cwd"):
            (root / part).mkdir()
        make_originals(root / "originals")
        child = Child(root)
        for kind in kinds:
            for number in range(-(-count // len(kinds))):
                case = root / "cases" / f"{number}"
                work = case / "work"
                _make(root, kind, work, random.Random(f"{seed} {kind} {number}"), number)
                before = _listing(root)
                result = child.read(kind, number, work)
                after = _listing(root)
                if (root / "canary").exists():
                    (root / "canary").unlink()
                    result = result._replace(what="fault", detail="code of the file ran")
                elif before != after:
                    wrote = sorted(before ^ after)[:3]
                    result = result._replace(what="fault", detail=f"files changed: {wrote}")
                if result.what == "fault" and keep is not None:
                    _keep(work, keep / f"{kind}-{number}")
                if result.what == "fault":
                    print(f"fault {kind} {number}: {result.detail:.300}", flush=True)
                results.append(result)
                shutil.rmtree(case)
        child.end()
    return results


def _keep(work: Path, place: Path) -> None:
    """A copy of the files of a fault, but of pipes."""
    place.mkdir(parents=True, exist_ok=True)
    for file in work.iterdir():
        if file.is_file() and file.stat().st_size < 2**24:
            shutil.copy(file, place)


def table(results: list[Result]) -> str:
    """Counts by kind, as a table of the documentation."""
    lines = ["| files | tried | clear error | correct load | faults |", "|---|---|---|---|---|"]
    kinds = list(dict.fromkeys(result.kind for result in results))
    for kind in (*kinds, None):
        found = Counter(r.what for r in results if kind in (None, r.kind))
        cells = (sum(found.values()), found["error"], found["load"], found["fault"])
        lines.append(f"| {kind or 'all'} | " + " | ".join(f"{cell:,}" for cell in cells) + " |")
    slowest = max(results, key=lambda result: result.seconds)
    largest = max(results, key=lambda result: result.megabytes)
    lines.append(f"\nmost time {slowest.seconds:.2f} s ({slowest.kind} {slowest.number}), ")
    lines[-1] += f"most memory {largest.megabytes:.0f} MB ({largest.kind} {largest.number})"
    return "\n".join(lines)


def _make(root: Path, kind: str, work: Path, rng: random.Random, number: int) -> None:
    """A copy of a sound file, damaged."""
    originals = root / "originals"
    if kind in ("model.json", "safetensors"):
        original = originals / f"model.{list(MODELS)[number % len(MODELS)]}"
    else:
        original = originals / ("run" if kind in ("manifest", "config", "checkpoint") else kind)
    shutil.copytree(original, work)
    file = work / FILES[kind]
    roll = rng.random()
    if roll < 0.04:
        link(file, rng)
    elif roll < 0.3:
        file.write_bytes(bytes_of(file.read_bytes(), rng))
    elif roll < 0.33:  # another kind of file under this name
        other = rng.choice([each for each in originals.rglob("*") if each.is_file()])
        file.write_bytes(other.read_bytes())
    elif kind == "config" and roll < 0.36:
        file.write_text(LAUGHS)
    elif kind in TEXTS:
        file.write_text(json_text(json.loads(file.read_text()), rng))
    elif kind == "safetensors":
        file.write_bytes(safetensors_of(file.read_bytes(), rng))
    else:
        CONTAINERS[kind](file, rng, root / "canary")


def _listing(root: Path) -> set[tuple[str, int]]:
    """All files and their sizes, but those that never change."""
    return {
        (str(Path(place) / name), os.lstat(Path(place) / name).st_size)
        for part in (root, root / "cases", root / "cwd")
        for place, folders, files in os.walk(part)
        for name in (*folders, *files)
        if "originals" not in place and name not in ("originals", "cases", "cwd")
    }


class Child:
    """A process that reads file after file, started again after one that ended it.

    Args:
        root: Of all files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._process: subprocess.Popen[str] | None = None

    def read(self, kind: str, number: int, work: Path) -> Result:
        """Has a file read."""
        if self._process is None:
            self._process = self._start()
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([kind, str(work)]) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
        line = process.stdout.readline() if ready else ""
        if not line:
            why = "the process ended" if ready else f"no answer in {PATIENCE:.0f} s"
            self.end(kill=True)
            return Result(kind, number, "fault", f"{why} {process.returncode}", 0.0, 0.0)
        what, detail, seconds, megabytes = json.loads(line)
        return Result(kind, number, what, detail, seconds, megabytes)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(self.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=self.root / "cwd",
        )
        assert process.stdout is not None
        process.stdout.readline()  # it is ready
        return process

    def end(self, kill: bool = False) -> None:
        """Ends the process."""
        if self._process is None:
            return
        if kill:
            self._process.kill()
        self._process.communicate()
        self._process = None


def _serve(root: Path) -> None:
    """The child: reads what it is told to, and says how it went."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what readers print is no answer
    import torch

    torch.set_num_threads(1)
    for kind, original in _warm_up(root):
        READERS[kind](original)
    reserved = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (reserved + ADDRESSES,) * 2)
    print("ready", file=out, flush=True)
    for line in sys.stdin:
        kind, work = json.loads(line)
        print(json.dumps(_read(kind, Path(work))), file=out, flush=True)


def _warm_up(root: Path) -> Iterator[tuple[str, Path]]:
    """Sound files: what is imported once is no file's time or memory."""
    for kind in READERS:
        if kind in ("model.json", "safetensors"):
            yield from ((kind, root / "originals" / f"model.{name}") for name in MODELS)
        else:
            place = "run" if kind in ("manifest", "config", "checkpoint") else kind
            yield kind, root / "originals" / place


def _read(kind: str, work: Path) -> tuple[str, str, float, float]:
    """One file: what, detail, seconds, megabytes."""
    Path("/proc/self/clear_refs").write_text("5")  # the most memory from here on
    before, begin = _memory("VmRSS"), time.process_time()
    what, detail = "load", ""
    try:
        READERS[kind](work)
    except (ValueError, FileNotFoundError) as error:
        what, detail = "error", f"{type(error).__name__}: {error}"
        if not _is_clear(str(error), work / FILES[kind]):
            what, detail = "fault", f"names no file: {detail}"
    except BaseException as error:  # whatever it is, it is counted
        what, detail = "fault", f"{type(error).__name__}: {error}"
    seconds, megabytes = time.process_time() - begin, _memory("VmHWM") - before
    if what != "fault" and (seconds > SECONDS or megabytes > MEGABYTES):
        what, detail = "fault", f"{seconds:.1f} s, {megabytes:.0f} MB: {detail or what}"
    return what, detail[:2_000], seconds, megabytes


def _is_clear(message: str, file: Path) -> bool:
    """Whether a message names the file or its folder, or the argument and its rule."""
    named = re.match(
        r"[\w.: -]* (must |does not accept option ')", message.replace("'train' ", "")
    )
    return str(file.parent) in message or named is not None


def _memory(entry: str) -> float:
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"^{entry}:\s*(\d+) kB", status, re.M)
    assert found is not None
    return int(found[1]) / 1_024


if __name__ == "__main__":
    sys.exit(main())

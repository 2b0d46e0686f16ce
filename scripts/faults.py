"""Stops commands at random moments, and looks at what they leave and whether the next one goes on.

A fault is: a file under its final name that is not whole, a finished result that is lost, a next
command that does not end well, or a traceback.

    python scripts/faults.py --count 12
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["main"]

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

TRAIN = (
    *("train", "--recipe", "convae-flow-quick", "--encoder", "deep_sets"),
    *("--decoder", "dense(hidden=[8])", "--prior", "nsf(transforms=1,hidden=[8],bins=4)"),
    *("--likelihood", "autoregressive(width=8,heads=2,components=2,blocks=1,steps=40)"),
    *("--epochs", "3", "--latent-dim", "2", "--quiet"),
)
"""A training of all stages that takes seconds."""

CLOUDS = "clouds.npz"
"""The data set, in the folder of all trials."""

PATIENCE = 240.0
"""Seconds after which a command hangs."""


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


def call(
    *words: str, stop: tuple[float, int] | None = None, **given: Any
) -> subprocess.CompletedProcess[str]:
    """A command of ``gconvae``, which gets a signal after some seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gconvae.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        **given,
    )
    try:
        said = process.communicate(timeout=PATIENCE if stop is None else stop[0])
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL if stop is None else stop[1])
        said = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def damage_in(folder: Path) -> str:
    """What is not whole under a final name; empty if nothing is."""
    import torch
    from safetensors import safe_open

    for file in folder.rglob("*"):
        if file.name.startswith(".") or not file.is_file():
            continue
        try:
            if file.suffix == ".json":
                json.loads(file.read_text())
            elif file.suffix == ".npz":
                with np.load(file) as arrays:
                    [arrays[name] for name in arrays.files]
            elif file.suffix == ".safetensors":
                with safe_open(file, "np") as opened:
                    opened.keys()
            elif file.suffix == ".ckpt":
                torch.load(file, weights_only=True)
        except Exception as error:  # whatever it is, the file is not whole
            return f"{file.name} is not whole: {error!r:.200}"
    if (folder / "model.json").exists() and not (folder / "model.safetensors").exists():
        return "model.json without weights"
    return ""


def ended_badly(done: subprocess.CompletedProcess[str]) -> str:
    """Why a command did not end as it should."""
    if "Traceback" in done.stderr:
        return done.stderr[-500:]
    return "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr[-300:]}"


def stopped_train(root: Path, place: Path, rng: random.Random) -> str:
    """A training that is stopped, and resumed if it had begun."""
    words = (*TRAIN, "--data", str(root / CLOUDS))
    number = rng.choice(SIGNALS)
    stopped = call(*words, "--out", str(place / "run"), stop=(rng.uniform(2.0, 20.0), number))
    if "Traceback" in stopped.stderr:
        return f"{number!r}: {stopped.stderr[-400:]}"
    if reason := damage_in(place):
        return f"{number!r}: {reason}"
    is_finished = (place / "run" / "model.json").exists()
    if (place / "run" / "manifest.json").is_file() and not is_finished:
        again = call("train", "--resume", str(place / "run"), "--quiet")
        return ended_badly(again) or damage_in(place)
    shutil.rmtree(place / "run", ignore_errors=True)
    return ""


def stopped_writing(*words: str, out: str) -> Callable[[Path, Path, random.Random], str]:
    """A command that writes one thing, stopped, and called again over what it left."""

    def trial(root: Path, place: Path, rng: random.Random) -> str:
        options = [str(root / CLOUDS) if word == CLOUDS else word for word in words[1:]]
        given = (words[0], str(root / "run"), *options, "--out", str(place / out))
        number = rng.choice(SIGNALS)
        stopped = call(*given, stop=(rng.uniform(1.0, 9.0), number))
        if "Traceback" in stopped.stderr:
            return f"{number!r}: {stopped.stderr[-400:]}"
        if reason := damage_in(place):
            return f"{number!r}: {reason}"
        if any(not file.name.startswith(".") for file in place.iterdir()):
            return ""  # it had finished
        return ended_badly(call(*given)) or damage_in(place)

    return trial


def small_files(root: Path, place: Path, rng: random.Random) -> str:
    """A disk that is full: files may not grow beyond some kilobytes."""
    size = rng.choice((1_000, 10_000, 40_000))

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    out = str(place / "drawn.npz")
    done = call("sample", str(root / "run"), "--count", "2000", "--out", out, preexec_fn=limit)
    if done.returncode == 0:
        return "it ends well on a full disk"
    left = [file.name for file in place.iterdir()]
    if left:
        return f"it leaves {left}"
    if "Traceback" in done.stderr or done.stderr.count("\n") != 1:
        return done.stderr[-500:]
    return ended_badly(call("sample", str(root / "run"), "--count", "10", "--out", out))


def plain_words(**environment: str | None) -> Callable[[Path, Path, random.Random], str]:
    """A command in another environment, in folders with unusual names."""

    def trial(root: Path, place: Path, rng: random.Random) -> str:
        names = {name: value for name, value in os.environ.items() if name not in environment}
        names |= {name: value for name, value in environment.items() if value is not None}
        folder = place / "a b\u00e9\nc"
        folder.mkdir()
        shutil.copytree(root / "run", folder / "run")
        words = (
            "sample",
            str(folder / "run"),
            "--count",
            "5",
            "--out",
            str(folder / "d \u00fc.npz"),
        )
        return ended_badly(call(*words, env=names)) or damage_in(place)

    return trial


def two_at_once(root: Path, place: Path, rng: random.Random) -> str:
    """Two trainings in one folder: one ends well, the other says that it is taken."""
    words = [sys.executable, "-m", "gconvae.cli", *TRAIN, "--data", str(root / CLOUDS)]
    both = [
        subprocess.Popen([*words, "--out", str(place / "run")], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=PATIENCE)[1] for process in both]
    codes = sorted(process.returncode for process in both)
    if codes != [0, 2] or any("Traceback" in text for text in said):
        return f"exit codes {codes}: {[text[-300:] for text in said]}"
    return damage_in(place)


def first_users(root: Path, place: Path, rng: random.Random) -> str:
    """Two processes that compile at once; then a broken and a foreign library."""
    code = "from gconvae.neighbors.native import available; raise SystemExit(not available())"
    names = os.environ | {"XDG_CACHE_HOME": str(place)}

    def use(count: int) -> list[int]:
        users = [subprocess.Popen([sys.executable, "-c", code], env=names) for _ in range(count)]
        return [user.wait(PATIENCE) for user in users]

    if any(use(2)):
        return "one of two first users finds no library"
    for content in (b"", b"no library", os.urandom(20_000)):
        for library in (place / "gconvae").glob("*.so"):
            library.write_bytes(content)
        if any(use(1)):
            return f"a library of {len(content)} other bytes is not made anew"
    left = [file.name for file in (place / "gconvae").iterdir() if file.suffix != ".so"]
    return f"it leaves {left}" if left else ""


TRIALS: dict[str, tuple[Callable[[Path, Path, random.Random], str], bool]] = {
    "train stopped": (stopped_train, True),
    "sample stopped": (stopped_writing("sample", "--count", "20000", out="drawn.npz"), True),
    "evaluate stopped": (
        stopped_writing(
            *("evaluate", "--against", CLOUDS, "--metrics", "features", "--count", "50"),
            out="report.json",
        ),
        True,
    ),
    "full disk": (small_files, True),
    "unusual names": (plain_words(), False),
    "no HOME": (plain_words(HOME=None, XDG_CACHE_HOME=None), False),
    "C locale": (plain_words(LC_ALL="C", LANG="C", PYTHONUTF8="0"), False),
    "two in one folder": (two_at_once, False),
    "first users of the cache": (first_users, False),
}
"""What is tried, and whether at random moments, several times."""


if __name__ == "__main__":
    begin = time.monotonic()
    code = main()
    print(f"{time.monotonic() - begin:.0f} s")
    sys.exit(code)

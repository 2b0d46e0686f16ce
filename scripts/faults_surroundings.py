"""Commands on full and read-only disks, in other folders and environments, two at a time."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from faults_command import CLOUDS, PATIENCE, SIGNALS, TRAIN, Trial, call, damage_in, ended_badly

__all__ = [
    "clock_back",
    "first_users",
    "full_disk",
    "lost_folder",
    "no_compiler",
    "read_only",
    "small_files",
    "surroundings",
    "two_at_once",
]


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


@contextlib.contextmanager
def disk(place: Path, size: str) -> Iterator[Path]:
    """A disk of that size, in memory; needs the right to mount."""
    folder = place / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(root: Path, place: Path, rng: random.Random) -> str:
    """A training on a small disk fails in a line, and goes on where there is room again."""
    with disk(place, f"{rng.choice((8, 32, 64, 128))}k") as folder:
        run = folder / "run"
        done = call(*TRAIN, "--data", str(root / CLOUDS), "--out", str(run))
        if done.returncode == 0:
            return damage_in(folder)  # there was room
        if "Traceback" in done.stderr or not done.stderr.strip():
            return f"exit code {done.returncode}: {done.stderr[-500:]}"
        if reason := damage_in(folder):
            return reason
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        if (run / "manifest.json").is_file():
            words: tuple[str, ...] = ("train", "--resume", str(run), "--quiet")
        else:
            shutil.rmtree(run, ignore_errors=True)
            words = (*TRAIN, "--data", str(root / CLOUDS), "--out", str(run))
        return ended_badly(call(*words)) or damage_in(folder)


def read_only(root: Path, place: Path, rng: random.Random) -> str:
    """A run on a read-only disk is drawn from and judged; writing beside it fails in a line."""
    with disk(place, "64m") as folder:
        shutil.copytree(root / "run", folder / "run")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        run, clouds = str(folder / "run"), str(root / CLOUDS)
        judged = ("--against", clouds, "--metrics", "features", "--count", "50")
        for words in (
            ("sample", run, "--count", "5", "--out", str(place / "drawn.npz")),
            ("evaluate", run, *judged, "--out", str(place / "report.json")),
        ):
            if reason := ended_badly(call(*words)):
                return reason
        for words in (
            ("sample", run, "--count", "5", "--out", str(folder / "drawn.npz")),
            ("evaluate", run, *judged, "--out", str(folder / "report.json")),
            ("export", run, "--check", "0", "--out", str(folder / "exported")),
            (*TRAIN, "--data", clouds, "--out", str(folder / "other")),
        ):
            done = call(*words)
            if done.returncode == 0 or "Traceback" in done.stderr:
                return f"{words[0]}: exit code {done.returncode}: {done.stderr[-400:]}"
    return ""


def surroundings(**environment: str | None) -> Trial:
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


def lost_folder(root: Path, place: Path, rng: random.Random) -> str:
    """A command whose working directory was deleted says so in a line."""
    gone = place / "gone"
    gone.mkdir()
    words = ("sample", str(root / "run"), "--count", "5", "--out", str(place / "drawn.npz"))
    done = call(*words, cwd=gone, preexec_fn=gone.rmdir)
    is_said = done.returncode == 2 and "working directory" in done.stderr
    return "" if is_said else f"exit code {done.returncode}: {done.stderr[-300:]}"


def no_compiler(root: Path, place: Path, rng: random.Random) -> str:
    """A first user without a compiler, who trains with the searches that need none."""
    empty = place / "bin"
    empty.mkdir()
    names = os.environ | {"PATH": str(empty), "XDG_CACHE_HOME": str(place)}
    names = {name: value for name, value in names.items() if name not in ("CC", "CXX")}
    out = ("--data", str(root / CLOUDS), "--out", str(place / "run"))
    return ended_badly(call(*TRAIN, *out, env=names)) or damage_in(place)


def clock_back(root: Path, place: Path, rng: random.Random) -> str:
    """A stopped training whose files are of a later day than the clock's."""
    run, number = place / "run", rng.choice(SIGNALS)
    words = (*TRAIN, "--data", str(root / CLOUDS), "--out", str(run))
    call(*words, stop=(rng.uniform(8.0, 14.0), number))
    later = time.time() + 40 * 24 * 3600
    for file in [*place.rglob("*"), place]:
        os.utime(file, (later, later))
    if (run / "model.json").exists():
        shutil.rmtree(run)
        return ended_badly(call(*words))
    if (run / "manifest.json").is_file():
        words = ("train", "--resume", str(run), "--quiet")
    else:
        shutil.rmtree(run, ignore_errors=True)
    return ended_badly(call(*words)) or damage_in(place)


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

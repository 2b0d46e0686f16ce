"""Trainings that get a signal in a named stage, and go on to the bits of one that never stopped.

They are forks of this process, so that a trial takes seconds and not the imports.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from faults_command import CLOUDS, SIGNALS, TRAIN, Trial, damage_in

__all__ = ["STAGES", "stopped_in"]

STAGES = ("network", "prior", "likelihood", "joint", "temperature")

WORDS = (
    *[word for word in TRAIN if word != "--quiet"],
    *("--epochs", "30", "--joint-steps", "30"),
)
"""A training of all five, whose bars say which one it is in."""


class Ended(NamedTuple):
    """How a fork ended: exit code or minus the signal, what it said, seconds to each stage."""

    code: int
    said: str
    began: dict[str, float]


def stopped_in(stage: str) -> Trial:
    """Trial of a stage: at any moment between its beginning and the next one's."""

    def trial(root: Path, place: Path, rng: random.Random) -> str:
        whole, began = never_stopped(root)
        begins = [*began.values()]
        number = STAGES.index(stage)
        pause = rng.uniform(0.0, begins[number + 1] - begins[number])
        run = place / "run"
        words = (*WORDS, "--data", str(root / CLOUDS), "--out", str(run))
        said = forked(words, stage, pause, rng.choice(SIGNALS)).said
        if "Traceback" in said:
            return said[-500:]
        if reason := damage_in(place):
            return reason
        if not (run / "model.json").exists():
            has_begun = (run / "manifest.json").is_file()
            if not has_begun:
                shutil.rmtree(run, ignore_errors=True)
            done = forked(("train", "--resume", str(run)) if has_begun else words)
            if done.code or "Traceback" in done.said:
                return f"exit code {done.code}: {done.said[-500:]}"
        if reason := damage_in(place):
            return reason
        same = (run / "model.safetensors").read_bytes() == whole.read_bytes()
        return "" if same else "it goes on to other bits"

    return trial


def never_stopped(root: Path) -> tuple[Path, dict[str, float]]:
    """Weights of the whole training, and seconds to each stage and to the end."""
    run = root / "never-stopped"
    if not run.exists():
        words = (*WORDS, "--data", str(root / CLOUDS), "--out", str(run))
        forked(words)  # imports what this process has not imported yet, which takes seconds
        shutil.rmtree(run)
        began = time.monotonic()
        done = forked(words)
        if done.code:
            raise RuntimeError(f"the training ends with {done.said}")
        DURATIONS.update(done.began, end=time.monotonic() - began)
    return run / "model.safetensors", DURATIONS


DURATIONS: dict[str, float] = {}


def forked(
    words: tuple[str, ...], stage: str | None = None, pause: float = 0.0, number: int = 0
) -> Ended:
    """A command of ``gconvae``; it gets the signal ``pause`` seconds after a stage began."""
    import gconvae.training  # so that forks have it
    from gconvae.cli.main import main

    assert gconvae.training
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            code = main(words)
        except BaseException:
            traceback.print_exc()
            code = 99
        sys.stderr.flush()
        os._exit(code)
    os.close(writer)
    begin, said, began, is_stopped = time.monotonic(), "", dict[str, float](), False
    while piece := os.read(reader, 65536):
        said += piece.decode(errors="replace")
        for one in STAGES:
            if f"\r{one}" in said:
                began.setdefault(one, time.monotonic() - begin)
        if stage in began and not is_stopped:
            time.sleep(pause)
            os.kill(child, number)
            is_stopped = True
    os.close(reader)
    status = os.waitpid(child, 0)[1]
    return Ended(os.waitstatus_to_exitcode(status), said, began)

"""Commands that get a signal at a random second, and are called again."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

from faults_command import CLOUDS, SIGNALS, TRAIN, Trial, call, damage_in, ended_badly

__all__ = ["stopped_sweep", "stopped_train", "stopped_writing"]


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


def stopped_writing(*words: str, out: str) -> Trial:
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


def stopped_sweep(root: Path, place: Path, rng: random.Random) -> str:
    """A sweep that is stopped and goes on: what was trained is not trained again."""
    words = ("sweep", "beta=0.1,0.2,0.3", "--seeds", "2", "--data", str(root / CLOUDS))
    words += ("--encoder", "deep_sets", "--decoder", "dense(hidden=[8])", "--latent-dim", "2")
    words += ("--epochs", "40", "--heartbeat", "1", "--quiet", "--out", str(place / "sweep"))
    number = rng.choice(SIGNALS)
    stopped = call(*words, stop=(rng.uniform(3.0, 20.0), number))
    if "Traceback" in stopped.stderr:
        return f"{number!r}: {stopped.stderr[-400:]}"
    if reason := damage_in(place):
        return f"{number!r}: {reason}"
    before = finished(place)
    if reason := ended_badly(call(*words)) or damage_in(place):
        return f"{number!r}: {reason}"
    after = finished(place)
    if len(after) != 6:
        return f"{number!r}: {len(after)} of 6 trainings are there"
    lost = [name for name, written in before.items() if after.get(name) != written]
    return f"{number!r}: trained again: {lost}" if lost else ""


def finished(place: Path) -> dict[str, int]:
    """Trainings of a sweep that ended, and when."""
    found = place.glob("sweep/runs/*/model.json")
    return {file.parent.name: file.stat().st_mtime_ns for file in found}

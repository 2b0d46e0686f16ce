"""Commands that are called and stopped, and what they leave: shared by all trials of faults.py."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["CLOUDS", "PATIENCE", "SIGNALS", "TRAIN", "Trial", "call", "damage_in", "ended_badly"]

Trial = Callable[[Path, Path, random.Random], str]
"""Folder of the data set and a finished run, folder of one's own, random moments; the fault."""

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

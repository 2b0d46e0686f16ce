"""Models in processes that are forked or spawned after use, and in several threads at a time.

python scripts/faults_in_python.py RUN fork|spawn|threads
"""

from __future__ import annotations

import multiprocessing
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from faults_command import PATIENCE

__all__ = ["after_fork", "after_spawn", "in_threads"]

USERS = 4


def used(run: str) -> bytes:
    """Draws of a model and gradients of a loss, as bytes."""
    import gconvae
    from gconvae.losses import third_axis_chamfer

    model = gconvae.load(run)
    drawn = model.sample(300, seed=1)
    output = drawn.flip(0).clone().requires_grad_()
    third_axis_chamfer(drawn, output).sum().backward()
    assert output.grad is not None
    fitted = model.log_likelihood(drawn[:20], samples=2).value
    return b"".join(each.numpy().tobytes() for each in (drawn, output.grad, fitted))


def main(run: str, way: str) -> int:
    """1 if another process or thread does not find what this one finds."""
    torch.set_num_threads(2)
    own = used(run)
    if way == "threads":
        with ThreadPoolExecutor(USERS) as threads:
            found = list(threads.map(used, [run] * USERS))
    else:
        # with more threads, a fork of a process that had some hangs in torch itself
        one_thread: Any = {"initializer": torch.set_num_threads, "initargs": (1,)}
        with multiprocessing.get_context(way).Pool(2, **one_thread) as processes:
            found = processes.map_async(used, [run] * USERS).get(PATIENCE / 2)
    return int(any(each != own for each in found))


def _tried(way: str, root: Path) -> str:
    words = [sys.executable, __file__, str(root / "run"), way]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "it hangs"
    return f"exit code {done.returncode}: {done.stderr[-500:]}" if done.returncode else ""


def after_fork(root: Path, place: Path, rng: random.Random) -> str:
    """Forks of a process that has drawn and taken gradients do so too."""
    return _tried("fork", root)


def after_spawn(root: Path, place: Path, rng: random.Random) -> str:
    """The same for fresh processes."""
    return _tried("spawn", root)


def in_threads(root: Path, place: Path, rng: random.Random) -> str:
    """Four threads at a time find what one finds."""
    return _tried("threads", root)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

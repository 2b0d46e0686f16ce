"""What tests let other processes do: a training, a command, a sweep, and any program."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

import gconvae
from gconvae.cli.main import main
from gconvae.datasets import SuperpixelMNIST
from gconvae.losses import ThirdAxisChamfer
from gconvae.options import ModelOptions, TrainingOptions
from gconvae.studies import experiment
from gconvae.training import callbacks

__all__ = ["command", "killed_command", "program", "sweep", "train"]


class Failing(ThirdAxisChamfer):
    """The real loss, whose process fails or is killed in the given call."""

    def __init__(self, call: int, how: str) -> None:
        super().__init__(backend="dense")
        self.call, self.how = call, how

    def __repr__(self) -> str:
        return "Failing()"

    def forward(self, *clouds: Any) -> Tensor:
        self.call -= 1
        if self.call == 0 and self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.call == 0:
            raise RuntimeError("as asked")
        return super().forward(*clouds)


def train(
    rank: int,
    out: str,
    devices: int,
    fails: dict[str, Any],
    options: dict[str, Any],
    parts: dict[str, str],
) -> None:
    """A small training of all three stages, which may fail in a process."""
    callbacks.SAVE_EVERY = 0.0  # in a process of its own
    data = SuperpixelMNIST(8, "test")[:61]
    model = gconvae.models.create(
        "convae-flow",
        hidden=16,
        channels=(2, 3, 4),
        seed=0,
        **parts,
    )
    call, how = fails.get(str(rank), [0, "fail"])
    gconvae.fit(
        model,
        data,
        loss=Failing(call, how),
        batch_size=20,
        threads=1,
        progress=False,
        accelerator="cpu",
        devices=devices,
        out=out,
        **options,
    )


def command(rank: int, words: list[str]) -> int:
    """A command of ``gconvae``."""
    return main(words)


def killed_command(rank: int, words: list[str], call: int) -> int:
    """A command whose process is killed in a call of the loss; it saves after every step."""
    callbacks.SAVE_EVERY = 0.0
    kill_in(call)
    return main(words)


def kill_in(call: int) -> None:
    """Lets this process be killed in the given call of the loss, counted from 1."""
    forward, calls = ThirdAxisChamfer.forward, [0]

    def counting(self: Any, *clouds: Any, **more: Any) -> Tensor:
        calls[0] += 1
        if calls[0] == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(self, *clouds, **more)

    ThirdAxisChamfer.forward = counting  # type: ignore[method-assign]


def program(rank: int, text: str, folders: Sequence[str] = ()) -> None:
    """A program, which may import what lies in the given folders."""
    sys.path[:0] = folders
    exec(compile(text, "program", "exec"), {"__name__": "__main__"})


def sweep(
    rank: int, place: str, betas: list[float], out: str, last: int = 0, **options: Any
) -> None:
    """A small sweep over beta that notes its trainings in a file ``theirs`` of a folder.

    Each training waits until there is a file ``ours``, and the process is killed in the step
    ``last``, if that is not 0.
    """
    from gconvae.studies import sweep as studies

    folder, fit = Path(place), experiment.fit
    if last:
        kill_in(last)

    def noted(*arguments: Any, **given: Any) -> Any:
        with (folder / "theirs").open("a") as file:
            file.write(f"{given['beta']} {given['seed']} {given['resume']}\n")
        end = time.monotonic() + 120
        while not (folder / "ours").exists():
            assert time.monotonic() < end, "the other process began nothing"
            time.sleep(0.01)
        return fit(*arguments, **given)

    experiment.fit = noted
    small = experiment.Experiment(
        model=ModelOptions(hidden=8, channels=(4, 4, 4)),
        training=TrainingOptions(epochs=2, batch_size=10, threads=1),
    )
    data = SuperpixelMNIST(8, "test")[:60]
    made = studies.sweep(
        {"beta": betas}, data, experiment=small, seeds=2, out=Path(out), progress=False, **options
    )
    made.save(folder / "theirs.json")

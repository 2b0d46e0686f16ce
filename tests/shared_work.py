"""What tests let several processes do: a training, and a command."""

from __future__ import annotations

import os
import signal
from typing import Any

from torch import Tensor

import gconvae
from gconvae.cli.main import main
from gconvae.losses import ThirdAxisChamfer
from gconvae.training import callbacks

__all__ = ["command", "train"]


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
    data = gconvae.datasets.SuperpixelMNIST(8, "test")[:61]
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

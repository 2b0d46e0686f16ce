"""What watches a training: the saved state, and the progress bar."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from gconvae import files
from gconvae.training import run_folder
from gconvae.training.stages.network import NetworkStage

__all__ = ["SAVE_EVERY", "STATE", "ProgressBar", "SaveState"]

SAVE_EVERY = 1.0
"""Seconds of training that may be lost where an epoch takes less: a state of 45 MB takes longer to
write than an epoch on a GPU."""

STATE = "last.ckpt"
"""The run folder's file to resume from, a Lightning checkpoint without code."""


class SaveState(Callback):
    """All that is needed to go on, and after every epoch the history for whoever watches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved = -math.inf

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """After an epoch: the history for whoever watches, and the state to go on from."""
        assert isinstance(task, NetworkStage)
        run_folder.write_history(task.history, self.folder / "history.csv")
        last = trainer.should_stop or task.current_epoch + 1 == trainer.max_epochs
        if not last and time.monotonic() - self.saved < SAVE_EVERY:
            return
        with files.whole(self.folder / STATE) as temporary:
            trainer.save_checkpoint(temporary)
        self.saved = time.monotonic()


class ProgressBar(Callback):
    """One bar over all steps, with the losses of the last epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """At the start: the bar."""
        # a log file gets a line every 10 s, a terminal a moving bar
        interval = 0.1 if sys.stderr.isatty() else 10.0
        assert isinstance(task, NetworkStage)
        steps = task.order.num_batches
        self.bar = tqdm(
            total=self.epochs * steps,
            initial=task.current_epoch * steps,
            unit="step",
            mininterval=interval,
            dynamic_ncols=True,
        )
        task.after_step = self.bar.update

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """After an epoch: its losses beside the bar."""
        assert isinstance(task, NetworkStage)
        if self.bar is not None:
            train, valid = (task.history[f"{stage}_loss"][-1] for stage in ("train", "valid"))
            self.bar.set_description(
                f"epoch {task.current_epoch + 1}/{self.epochs}", refresh=False
            )
            self.bar.set_postfix_str(
                f"loss {train:.1f}, valid {valid:.1f}, best epoch {task.best_epoch}", refresh=False
            )

    def on_train_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        """At the end: closes the bar."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, task: pl.LightningModule, exception: BaseException
    ) -> None:
        """After an error: closes the bar."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

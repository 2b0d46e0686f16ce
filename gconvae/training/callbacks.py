"""What watches each stage of a training: the saved state, and the progress bar."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from tqdm import tqdm

from gconvae import files
from gconvae.metrics.progress import drawing_interval
from gconvae.training.history import of_stage, write_history
from gconvae.training.stages.stage import Stage

__all__ = ["EndAfter", "SAVE_EVERY", "STATE", "SaveState", "StageBar"]

SAVE_EVERY = 1.0
"""Seconds of training that may be lost where an epoch takes less: a state of 45 MB takes longer to
write than an epoch on a GPU."""

STATE = "last.ckpt"
"""The run folder's file to resume from, a Lightning checkpoint without code."""


class SaveState(Callback):
    """All that is needed to go on, and after every epoch the history for whoever watches.

    One of several processes writes; all take part, as Lightning wants it.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved = -math.inf

    def on_train_epoch_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        """After an epoch: the history for whoever watches, and the state to go on from."""
        assert isinstance(stage, Stage)
        if trainer.is_global_zero:
            write_history(stage.history, self.folder / "history.csv")
        is_due = time.monotonic() - self.saved >= SAVE_EVERY
        if trainer.strategy.broadcast(is_due):  # clocks differ
            self._save(trainer)

    def on_train_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        """At the end: that the stage is finished."""
        assert isinstance(stage, Stage)
        if not stage.finished:
            stage.finished = True
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        path = self.folder / STATE
        with contextlib.ExitStack() as stack:
            if trainer.is_global_zero:
                path = stack.enter_context(files.whole(path))
            trainer.save_checkpoint(path)
        self.saved = time.monotonic()


class StageBar(Callback):
    """One bar over all steps of a stage, with the losses of its last epoch."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        """At the start: the bar."""
        assert isinstance(stage, Stage)
        self.bar = tqdm(
            desc=stage.name,
            total=stage.num_steps,
            initial=stage.steps_taken,
            unit="step",
            mininterval=drawing_interval(),
            dynamic_ncols=True,
        )
        if stage.is_recorded:
            stage.after_step = self.bar.update

    def on_train_batch_end(
        self, trainer: pl.Trainer, stage: pl.LightningModule, outputs: Any, batch: Any, number: int
    ) -> None:
        """After a step."""
        assert isinstance(stage, Stage)
        if self.bar is not None and not stage.is_recorded:
            self.bar.update()

    def on_train_epoch_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        """After an epoch: its losses beside the bar."""
        assert isinstance(stage, Stage)
        if self.bar is None or not stage.is_monitored:
            return
        rows = of_stage(stage.history, stage.name)
        train, valid = rows["train_loss"][-1], rows["valid_loss"][-1]
        epoch = f"{stage.name}, epoch {stage.current_epoch + 1}/{stage.max_epochs}"
        self.bar.set_description(epoch, refresh=False)
        self.bar.set_postfix_str(
            f"loss {train:.1f}, valid {valid:.1f}, best epoch {stage.best_epoch}", refresh=False
        )

    def on_train_end(self, trainer: pl.Trainer, stage: pl.LightningModule) -> None:
        """At the end: closes the bar."""
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, stage: pl.LightningModule, exception: BaseException
    ) -> None:
        """After an error: closes the bar."""
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


class EndAfter(Callback):
    """Ends a stage after some epochs, though more were meant.

    Args:
        epochs: How many.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Asks the trainer to stop after the last one."""
        trainer.should_stop |= trainer.current_epoch + 1 >= self.epochs

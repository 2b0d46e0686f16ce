"""The engine: runs one stage after another with Lightning, and goes on where one was stopped."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import (
    Callback,
    Checkpoint,
    GradientAccumulationScheduler,
    ProgressBar,
)
from lightning.pytorch.loggers import Logger

from gconvae import threads
from gconvae.freed_memory import collect_trained
from gconvae.training.callbacks import STATE, SaveState, StageBar
from gconvae.training.determinism import quiet_lightning
from gconvae.training.hardware import Hardware
from gconvae.training.history import History, remove_stage
from gconvae.training.saved_state import read_state
from gconvae.training.stages.joint import JointStage
from gconvae.training.stages.network import NetworkStage
from gconvae.training.stages.stage import Stage
from gconvae.training.stages.stepped import SteppedStage
from gconvae.training.watching import STAGES, begin_anew, leave
from gconvae.vae import VAE

__all__ = ["Callbacks", "Engine", "Loggers", "fit_stage"]

Callbacks = Callback | Sequence[Callback] | Mapping[str, Sequence[Callback]] | None
"""Callbacks of Lightning, for all stages, or for some by the name of the stage."""

Loggers = Logger | Sequence[Logger] | bool | None
"""Loggers of Lightning."""


class Engine:
    """Runs the stages of a training.

    Args:
        hardware: Where.
        callbacks: See :data:`Callbacks`.
        logger: See :data:`Loggers`.
        max_time: Limit of each stage, as Lightning takes it (``"00:01:30:00"`` is an hour and a
            half); None = none.
        folder: Run folder, for the state to resume from; None = nothing is written.
        progress: Show a bar for each stage.
    Attributes:
        history: Rows of all stages.
        outcomes: Name of a stage to its best epoch, epochs and seconds.
    """

    def __init__(
        self,
        hardware: Hardware | None = None,
        *,
        callbacks: Callbacks = None,
        logger: Loggers = None,
        max_time: str | timedelta | dict[str, int] | None = None,
        folder: Path | None = None,
        progress: bool = False,
    ) -> None:
        self.hardware = hardware or Hardware()
        self.callbacks, self.logger, self.max_time = callbacks, logger, max_time
        self.folder, self.progress = folder, progress
        self.history: History = {}
        self.outcomes: dict[str, dict[str, float]] = {}

    def run_row(self, model: VAE, row: Mapping[str, Callable[[], Stage]]) -> None:
        """Runs stage after stage, from the saved state on if there is one.

        Args:
            model: What the stages change.
            row: Name of a stage to what makes it, once those before it are done.
        Raises:
            ValueError: If the saved state is damaged.
        """
        saved = self._saved()
        names = list(row)
        if saved is not None and saved["stage"] not in names:
            raise ValueError(
                f"{STATE} must be of one of the stages {', '.join(names)}, got "
                f"{saved['stage']:.50} in {self.folder}"
            )
        begin = 0 if saved is None else names.index(saved["stage"])
        if saved is not None and saved["before"] is not None:
            model.load_state_dict(saved["before"])
            model.eval()
            self.outcomes.update(saved["outcomes"])
        before = None if saved is None else saved["before"]
        for number, name in enumerate(names):
            if number < begin:
                continue
            if number > begin:
                before = {key: value.clone() for key, value in model.state_dict().items()}
            stage = row[name]()
            stage.before = before
            is_resumed = saved is not None and number == begin
            if is_resumed and saved is not None:
                self.history.update(saved["history"])
            self.run(stage, resume=is_resumed)
            stage.leave()
            self.outcomes[name] = stage.outcome()
            model.cpu().eval()
            del stage
            collect_trained(model)

    def run(self, stage: Stage, *, resume: bool = False) -> None:
        """Runs a stage.

        Args:
            stage: It changes.
            resume: From the saved state on.
        """
        if resume and not stage.is_monitored:  # it is quickly done anew
            resume = False
            remove_stage(self.history, stage.name)
        stage.history, stage.outcomes = self.history, self.outcomes
        hardware = self.hardware if stage.is_monitored else self.hardware.alone()
        watchers = self._watchers(stage)
        if hardware.accelerator == "gpu":
            watched = watchers or self.logger or hardware.world_size > 1
            if not watched:
                stage.record()
        # threads that share every small operation wait for each other all the time
        in_parts = hardware.accelerator == "cpu" and stage.is_separable()
        with quiet_lightning(), threads.alone() if in_parts else nullcontext():
            trainer = self._trainer(stage, hardware, watchers)
            state = None if self.folder is None or not resume else self.folder / STATE
            try:
                with _same_interrupt():
                    trainer.fit(stage, ckpt_path=state, weights_only=True)
            except SystemExit as end:  # which Lightning makes of an interrupt
                if isinstance(end.__context__, KeyboardInterrupt) or end.code is None:
                    raise KeyboardInterrupt from None
                raise
            except MisconfigurationException as error:  # of a callback, or a logger
                raise ValueError(f"stage {stage.name}: {error}") from None
            except FloatingPointError as error:
                raise FloatingPointError(f"{error}{self._last_good_state()}") from None
            finally:
                for watcher in watchers:
                    leave(watcher)
                # after an error in validation, Lightning leaves the workers that load batches
                trainer.fit_loop.teardown()
                stage.forget_recordings()

    def _last_good_state(self) -> str:
        """Where the last good state is, if there is one."""
        state = None if self.folder is None else self.folder / STATE
        if state is None or not state.exists():
            return ""
        return f"; {state} keeps the end of the epoch before"

    def _trainer(
        self, stage: Stage, hardware: Hardware, watchers: Sequence[Callback]
    ) -> pl.Trainer:
        # each of several processes makes what is fitted at once by itself, and one of them writes
        is_copy = hardware.world_size == 1 and self.hardware.rank > 0
        if is_copy:
            watchers = [each for each in watchers if not isinstance(each, Checkpoint)]
        ours: list[Callback] = []
        if self.folder is not None and not is_copy:
            ours.append(SaveState(self.folder))
        bars = any(isinstance(watcher, ProgressBar) for watcher in watchers)
        if self.progress and not bars and self.hardware.rank == 0:
            ours.append(StageBar())
        saves = any(isinstance(watcher, Checkpoint) for watcher in watchers)
        alone: dict[str, Any] = {}
        if hardware.world_size == 1:
            # else Lightning asks the environment, in which others may be many
            alone = {"plugins": [LightningEnvironment()]}
        elif SLURMEnvironment.detect():
            # a job that is sent again goes on from the run folder; Lightning would save and load
            # a state of its own, in the middle of an epoch of whichever stage
            alone = {"plugins": [SLURMEnvironment(auto_requeue=False)]}
        return pl.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            num_nodes=hardware.num_nodes,
            strategy=hardware.strategy,
            max_epochs=stage.max_epochs,
            max_time=self.max_time,
            callbacks=[*watchers, *ours],
            logger=False if self.logger is None or is_copy else self.logger,
            default_root_dir=self.folder,
            log_every_n_steps=min(50, stage.shortest_epoch),
            reload_dataloaders_every_n_epochs=int(
                isinstance(stage, SteppedStage) and stage.reloads
            ),
            use_distributed_sampler=False,
            inference_mode=False,
            enable_checkpointing=saves,
            enable_progress_bar=bars,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **alone,
        )

    def _watchers(self, stage: Stage) -> list[Callback]:
        """The caller's callbacks of a stage, those of Lightning as they were at the beginning."""
        callbacks = self.callbacks
        if callbacks is None:
            return []
        if isinstance(callbacks, Callback):
            callbacks = [callbacks]
        if isinstance(callbacks, Mapping):
            callbacks = callbacks.get(stage.name, [])
        watchers = []
        for watcher in callbacks:
            if not stage.is_monitored and isinstance(watcher, GradientAccumulationScheduler):
                continue  # it has no gradients
            metric = getattr(watcher, "monitor", None)
            if metric is not None:
                if not stage.is_monitored or _is_elsewhere(metric, stage):
                    continue  # it has nothing to look at
                begin_anew(watcher)  # what was best in one stage says nothing in the next
            watchers.append(watcher)
        return watchers

    def _saved(self) -> dict[str, Any] | None:
        """What the saved state says of the training, if there is one."""
        state = None if self.folder is None else self.folder / STATE
        if state is None or not os.path.lexists(state):
            return None
        return read_state(state)


@contextmanager
def _same_interrupt() -> Iterator[None]:
    """The caller's handler of Ctrl-C after the block.

    Lightning ignores it for good when it is interrupted while it sets up, or tears down.
    """
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        # only the main thread may set one, and Python cannot set what C did (None)
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def _is_elsewhere(metric: str, stage: Stage) -> bool:
    """Whether a metric is one that another stage logs, and this one does not."""
    place, _, column = metric.rpartition("/")
    if place:
        return place in STAGES and place != stage.name
    part, _, term = column.partition("_")
    known = {*NetworkStage.terms, *JointStage.terms, "loss"}
    return part in ("train", "valid") and term in known - {*stage.terms, "loss"}


def fit_stage(stage: Stage, *, progress: bool = False, device: torch.device | None = None) -> None:
    """Runs one stage by itself, and leaves its result.

    Args:
        stage: It changes.
        progress: Show a bar.
        device: Where it runs; None = the CPU.
    """
    on_gpu = device is not None and device.type == "cuda"
    hardware = (
        Hardware("gpu", [device.index or 0]) if on_gpu and device is not None else Hardware()
    )
    Engine(hardware, progress=progress).run(stage)
    stage.leave()

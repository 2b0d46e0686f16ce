"""Steps of a stage that a GPU records: what is recorded, and what Python does around it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from gconvae.cuda_graphs import Recorder

__all__ = ["RecordedSteps"]


class RecordedSteps(pl.LightningModule):
    """A step in two halves, so that a GPU can record one of them and repeat it without Python.

    The half that is recorded, :meth:`step_loss` and :meth:`learn`, is work on tensors alone. A
    repeated step runs no line of Python, and a number, or a choice, stays as it was when it was
    recorded. So all that differs from step to step is a tensor that these are given; what they
    leave, they write into tensors that were there before; and they count nothing.

    The other half is around :meth:`take`: random numbers, factors and learning rates before it,
    numbers of steps and schedules after it.

    Attributes:
        is_recorded: Whether steps are recorded, and optimized by the stage itself.
        steps_taken: Of the optimizer, those before a training was resumed among them.
        after_step: Called after each step that is recorded.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_recorded, self.steps_taken = False, 0
        self.after_step: Callable[[], object] = lambda: None
        self._recorders: dict[str, Recorder] = {}

    # what a stage says

    def same_every_time(self) -> bool:
        """Whether steps differ by their tensors alone, so that one can be recorded for all."""
        return False

    def step_loss(self, part: str, *tensors: Any) -> Tensor:
        """The loss of a batch: a function of tensors alone.

        Args:
            part: ``"train"`` or ``"valid"``.
            tensors: What a stage gives :meth:`take`; some may be None.
        """
        raise NotImplementedError

    def learn(self, rates: Tensor | None, *tensors: Any) -> None:
        """A step of training: a function of tensors alone.

        Args:
            rates: See :meth:`descend`.
            tensors: As of :meth:`step_loss`.
        """
        self.descend(lambda: self.step_loss("train", *tensors), rates)

    # what it has for that

    def record(self) -> None:
        """Records steps on a GPU, if they are the same every time; for one process that nobody
        watches step by step.
        """
        self.is_recorded = self.same_every_time()
        if self.is_recorded:
            self.automatic_optimization = False

    def prepare_recording(self) -> None:
        """Makes room for recordings on the device of the stage, before the first step."""
        if not self.is_recorded:
            return
        judge = functools.partial(self.step_loss, "valid")
        functions: dict[str, Callable[..., object]] = {"train": self.learn, "valid": judge}
        self._recorders = {part: Recorder(call, self.device) for part, call in functions.items()}

    def forget_recordings(self) -> None:
        """Gives their memory back."""
        for recorder in self._recorders.values():
            recorder.forget()

    def take(self, part: str, *tensors: Tensor | None) -> None:
        """Takes a step that is recorded, and does in Python what goes with it.

        Args:
            part: ``"train"`` or ``"valid"``.
            tensors: What the step is a function of.
        """
        if part != "train":
            self._recorders[part](*tensors)
            return
        self._recorders[part](self._rates(), *tensors)
        self.steps_taken += 1
        for scheduler in self._schedulers():
            scheduler.step()
        self.after_step()

    def descend(self, loss: Callable[[], Tensor], rates: Tensor | None) -> None:
        """A step of the optimizer, within what is recorded.

        Args:
            loss: Makes what is minimized.
            rates: One of each group of the optimizer; None = those that the groups have, which
                never change.
        """
        optimizer = self._optimizer()
        optimizer.zero_grad()
        loss().backward()
        self.configure_gradient_clipping(optimizer)
        with _with_rates(optimizer, rates):
            optimizer.step()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Lightning says it, where it optimizes itself."""
        self.steps_taken += 1

    def _rates(self) -> Tensor | None:
        if not self._schedulers():
            return None
        # groups keep numbers, so that a saved state goes on anywhere
        rates = [float(group["lr"]) for group in self._optimizer().param_groups]
        return torch.tensor(rates, dtype=torch.float32, device="cpu")

    def _optimizer(self) -> torch.optim.Optimizer:
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer

    def _schedulers(self) -> list[Any]:
        schedulers = self.lr_schedulers()
        if schedulers is None:
            return []
        return schedulers if isinstance(schedulers, list) else [schedulers]


@contextmanager
def _with_rates(optimizer: torch.optim.Optimizer, rates: Tensor | None) -> Iterator[None]:
    """Rates as tensors for one step, where an optimizer is to look at their values each time."""
    if rates is None:
        yield
        return
    groups = optimizer.param_groups
    numbers = [group["lr"] for group in groups]
    try:
        for group, rate in zip(groups, rates.unbind(), strict=True):
            group["lr"] = rate
        yield
    finally:
        for group, number in zip(groups, numbers, strict=True):
            group["lr"] = number

"""A stage without steps: what is fitted at once, such as a mixture or a noise level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor
from torch.utils.data import DataLoader

from gconvae.training.batches import once
from gconvae.training.history import add_row
from gconvae.training.stages.stage import Stage

__all__ = ["AtOnceStage"]


class AtOnceStage(Stage):
    """One call that fits a part of the model; every process makes the same one.

    Args:
        name: Of the stage.
        fit: The call.
        seed: Of the stage.
    """

    is_monitored: ClassVar[bool] = False

    def __init__(self, name: str, fit: Callable[[], None], seed: int) -> None:
        super().__init__(seed, max_epochs=1)
        self.name = name
        self.fit = fit
        self.automatic_optimization = False

    @property
    def num_steps(self) -> int:
        """The one call."""
        return 1

    def configure_optimizers(self) -> None:
        """None is needed."""

    def candidate(self) -> Mapping[str, Tensor]:
        """Nothing is chosen among epochs."""
        return {}

    def leave(self) -> None:
        """The call left it."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Lightning asks: one step."""
        return once()

    def training_step(self, batch: Any, number: int) -> None:
        """Makes the call."""
        self.fit()

    def on_train_epoch_end(self) -> None:
        """Adds a row to the history."""
        add_row(self.history, {"stage": self.name, "epoch": 1})
        self.best_epoch = 1

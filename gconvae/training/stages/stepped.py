"""A stage of so many steps, each with a batch of its own, watched on held-out data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gconvae.training import batches
from gconvae.training.batches import Steps, once, step_loader
from gconvae.training.optimization import Optimization
from gconvae.training.stages.stage import Stage

__all__ = ["SteppedStage", "checked_steps"]


def checked_steps(name: str, steps: Any) -> int:
    """A number of steps, as a prior or likelihood says it.

    Args:
        name: ``"prior"`` or ``"likelihood"``.
        steps: What it says.
    Raises:
        ValueError: If it is no whole number of at least 1.
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(
            f"fit_steps of a {name} must be a whole number of at least 1, got {steps!r}"
        )
    return steps


class SteppedStage(Stage):
    """A stage whose batches are a function of (seed, step), and whose epoch is some steps.

    Args:
        seed: As of :class:`Stage`.
        steps: In all.
        every: Steps of an epoch, after which held-out data are looked at.
        patience: As of :class:`Stage`.
        optimization: Likewise.
    """

    def __init__(
        self,
        seed: int,
        *,
        steps: int,
        every: int,
        patience: int | None = None,
        optimization: Optimization | None = None,
    ) -> None:
        self.steps = Steps(steps, every)
        super().__init__(
            seed,
            max_epochs=self.steps.num_epochs,
            patience=patience,
            optimization=optimization,
        )

    @abstractmethod
    def batch(self, step: int) -> Any:
        """The batch of a step, the same in every process."""

    @abstractmethod
    def training_step(self, batch: Any, number: int) -> Tensor | None:
        """The loss of the process's share of a batch; where steps are recorded, takes all of those
        that :meth:`block` makes of ``batch``.
        """

    @abstractmethod
    def look(self) -> None:
        """Adds the losses of held-out data to those of the epoch."""

    def block(self, steps: list[int]) -> Iterator[tuple[int, Any]]:
        """Steps and their batches, where those that are recorded come many at a time.

        Args:
            steps: What comes as a batch then.
        """
        for step in steps:
            yield step, self.transfer_batch_to_device(self.batch(step), self.device, 0)

    def check_shape(self, losses: Tensor, count: int) -> None:
        """Refuses losses of which there is not one a cloud.

        Args:
            losses: What a prior or likelihood made of a batch.
            count: Clouds of it.
        Raises:
            ValueError: If they have another shape.
        """
        if losses.shape != (count,):
            raise ValueError(
                f"loss of a {self.name} must return one value a cloud, shape ({count},), "
                f"got shape {tuple(losses.shape)}"
            )

    @property
    def num_steps(self) -> int:
        """All of them."""
        return self.steps.total

    @property
    def shortest_epoch(self) -> int:
        """The last one, perhaps."""
        return self.steps.total % self.steps.every or self.steps.every

    @property
    def step_number(self) -> int:
        """Steps that are done in all."""
        return self.steps_taken

    @property
    def reloads(self) -> bool:
        """Whether the last epoch is shorter, so that each needs a loader of its own."""
        return self.steps.total % self.steps.every != 0

    def train_dataloader(self) -> DataLoader[Any]:
        """Lightning asks."""
        # a finished stage that is gone on with asks too, and has no further epoch
        self.steps.set_epoch(min(self.current_epoch, self.max_epochs - 1))
        # as batches of the network
        self.steps.block = batches.BLOCK if self.is_recorded else None
        return step_loader(_Batches(self), self.steps)

    def val_dataloader(self) -> DataLoader[Any]:
        """Lightning asks: one look."""
        return once()

    def validation_step(self, batch: Any, number: int) -> None:
        """The look at held-out data."""
        self.look()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the steps of the next epoch."""
        super().on_load_checkpoint(checkpoint)
        self.steps.set_epoch(min(int(self.outcome()["epochs_run"]), self.max_epochs - 1))


class _Batches(Dataset[Any]):
    """Batches of a stage by their step."""

    def __init__(self, stage: SteppedStage) -> None:
        self.stage = stage

    def __len__(self) -> int:
        return self.stage.steps.total

    def __getitem__(self, step: int | list[int]) -> Any:
        # a block is made batch by batch, when each is its turn
        return step if isinstance(step, list) else self.stage.batch(step)

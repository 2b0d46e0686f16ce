"""What all stages of a training share: epochs, the best weights, history, optimizer, ranks."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from gconvae.randomness import generator
from gconvae.training.history import History, add_row
from gconvae.training.optimization import Adam, Optimization, scheduled
from gconvae.training.stages.finite import check_finite
from gconvae.training.stages.in_parts import Loss, in_parts
from gconvae.training.stages.recorded import RecordedSteps

__all__ = ["Share", "Stage"]


@dataclass(frozen=True)
class Share:
    """The part of a batch that one of several processes takes.

    Attributes:
        rows: Of the batch; a process without one takes the first, and it does not count.
        count: Clouds that count, 0 at least.
        factor: What the mean over them is multiplied with, so that the mean over the processes is
            the mean over the batch.
    """

    rows: slice
    count: int
    factor: float


class Stage(RecordedSteps):
    """One stage of a training: what it trains, on which batches, and what it leaves.

    An epoch ends with a look at held-out clouds. The weights with the lowest loss of these are
    kept, and :meth:`leave` puts them where they belong. Losses are logged as ``train_loss`` and
    ``valid_loss``, and once more with the name of the stage in front (``network/valid_loss``).

    Args:
        seed: Of everything random in the stage.
        max_epochs: Epochs at most.
        patience: Epochs without a better loss after which the stage ends; None = never.
        optimization: Optimizer, schedule and precision that somebody asks for.
    Attributes:
        history: Rows of all stages so far; this one adds its own.
        before: Weights of the model before this stage; None for the first one.
    """

    name: str

    terms: ClassVar[tuple[str, ...]] = ("loss",)
    """Parts of the loss, of which the history has the means."""

    learning_rate: float
    """Of an optimizer that is asked for by name."""

    largest_gradient: float | None = None
    """Norm to which a gradient is cut; None = as it is."""

    is_monitored: ClassVar[bool] = True
    """Whether its epochs have losses, which callbacks can look at."""

    _RESUMED = ("best_loss", "best_epoch", "best_weights", "seconds", "finished")

    def __init__(
        self,
        seed: int,
        *,
        max_epochs: int,
        patience: int | None = None,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.max_epochs, self.patience = seed, max_epochs, patience
        self.optimization = optimization or Optimization()
        self.history: History = {}
        self.outcomes: dict[str, dict[str, float]] = {}
        self.before: dict[str, Tensor] | None = None
        self.best_loss, self.best_epoch = math.inf, 0
        self.best_weights: dict[str, Tensor] = {}
        self.seconds, self.finished = 0.0, False
        self._clock = time.perf_counter()
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._judged: dict[str, Tensor] = {}

    # what a stage says

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """Steps in all, if it does not end early."""

    @property
    def shortest_epoch(self) -> int:
        """Steps of the shortest epoch."""
        return self.num_steps // self.max_epochs

    @abstractmethod
    def candidate(self) -> Mapping[str, Tensor]:
        """The weights that an epoch ends with."""

    @abstractmethod
    def leave(self) -> None:
        """Puts the best weights where they belong."""

    def default_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer where nobody asks for another: Adam, in one kernel."""
        on_gpu = self.device.type == "cuda"  # where a step may be recorded
        return Adam(
            self.trained_parameters(), lr=self.learning_rate, fused=True, capturable=on_gpu
        )

    def default_scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler | None:
        """The schedule of the learning rate where nobody asks for another; None = none."""
        return None

    def loss_of(self, terms: Mapping[str, float]) -> float:
        """The loss of an epoch, a sum of its terms.

        Args:
            terms: Each summed over the clouds.
        """
        return terms["loss"]

    def advice(self) -> str:
        """What may help where the loss stops being finite."""
        return "a smaller learning rate may help"

    # optimizer

    def trained_parameters(self) -> list[nn.Parameter]:
        """What is trained."""
        return [weight for weight in self.parameters() if weight.requires_grad]

    def configure_optimizers(self) -> Any:
        """Lightning asks: those of the stage, or those that were asked for."""
        asked = self.optimization
        if not self.trained_parameters():
            raise ValueError(
                f"{self.name} must have parameters to train, it has none that require gradients"
            )
        if asked.optimizer is None:
            optimizer = self.default_optimizer()
        else:
            optimizer = asked.make_optimizer(
                self.trained_parameters(), self.learning_rate, self.hidden_matrices()
            )
        if asked.scheduler is not None:
            scheduler = asked.make_scheduler(optimizer, self.num_steps)
        else:
            scheduler = self.default_scheduler(optimizer)
        return optimizer if scheduler is None else scheduled(optimizer, scheduler)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Weights between hidden features, for optimizers that know matrices."""
        return []

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Lightning asks before each step."""
        if self.largest_gradient is not None:
            nn.utils.clip_grad_norm_(self.trained_parameters(), self.largest_gradient)

    def in_precision(self) -> torch.autocast:
        """Products of the network in the precision that is asked for."""
        wanted = self.optimization.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=wanted)

    # ranks

    @property
    def world_size(self) -> int:
        """Processes that share each batch."""
        return 1 if self._trainer is None else int(self.trainer.world_size)

    def share(self, count: int) -> Share:
        """The part of a batch of ``count`` clouds that this process takes."""
        world, rank = self.world_size, self.global_rank
        start, stop = count * rank // world, count * (rank + 1) // world
        own = stop - start
        if own == 0:  # it takes part in the sum of the gradients all the same
            return Share(slice(0, 1), 0, 0.0)
        return Share(slice(start, stop), own, own * world / count)

    def mean_of(self, losses: Tensor, share: Share) -> Tensor:
        """What this process is to minimize, so that all together minimize the batch's mean."""
        mean = losses.mean()
        return mean if self.world_size == 1 else mean * share.factor

    def part_of_mean(self, losses: Tensor, share: Share) -> Tensor:
        """Likewise of some clouds of the share, to be added to that of the others."""
        return losses.sum() * (share.factor / max(1, share.count))

    def is_separable(self) -> bool:
        """Whether no cloud of a batch depends on another one: see ``gconvae.threads``."""
        return False

    @property
    def is_in_parts(self) -> bool:
        """Whether parts of a batch are worked on side by side."""
        return self.device.type == "cpu" and not self.is_recorded and self.is_separable()

    def in_parts(self, loss: Loss, share: Share) -> tuple[Tensor, Sequence[Tensor]]:
        """The loss of a share, in parts where it :attr:`is_in_parts`.

        Args:
            loss: See :func:`gconvae.training.stages.in_parts.in_parts`.
            share: Which clouds.
        """
        if self.is_in_parts:
            return in_parts(loss, self.trained_parameters(), share.rows)
        return loss(share.rows)

    def summed(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    # epochs

    def on_train_start(self) -> None:
        """Makes room for the sums of an epoch; a resumed stage may have ended before."""
        zeros = torch.zeros(len(self.terms), device=self.device, dtype=self.sum_dtype())
        none = torch.zeros((), device=self.device, dtype=torch.long)
        self._sums = {part: zeros.clone() for part in ("train", "valid")}
        self._counts = {part: none.clone() for part in self._sums}
        self.prepare_recording()
        self._clock = time.perf_counter()
        self._stop_if_stale()

    def sum_dtype(self) -> torch.dtype:
        """Precision of the sums."""
        return torch.float32

    def add(self, part: str, share: Share, *terms: Tensor) -> None:
        """Adds the terms of a batch to those of the epoch, which may be within a recording.

        Args:
            part: ``"train"`` or ``"valid"``.
            share: What this process has of the batch.
            terms: As many as the stage has, each (B,).
        Raises:
            FloatingPointError: If one is not finite, before any weight has learned from it. A GPU
                is not asked in each step, nor is one of several processes, for which the others
                would wait: there, the end of the epoch says so.
        """
        # counts are tensors too: a number in Python would not grow where a recording is repeated
        if share.count:
            sums = torch.stack([term.detach().sum() for term in terms])
            if not (sums.is_cuda or self.is_recorded or self.world_size > 1):
                place = f"{self.name} stage, {part}, epoch {self.current_epoch + 1}, step "
                place += str(self.steps_taken + (part == "train"))
                check_finite(sums, terms, self.terms, place, self.advice())
            self._sums[part] += sums
        self._counts[part] += share.count

    def on_validation_epoch_start(self) -> None:
        """Notes the weights that are judged, where a callback judges others than those of now."""
        averages = any(isinstance(one, WeightAveraging) for one in self.trainer.callbacks)  # type: ignore[attr-defined]  # Lightning's trainer has them
        self._judged = copies(self.candidate()) if averages else {}

    def on_validation_epoch_end(self) -> None:
        """Adds an epoch to the history, keeps its weights if they are the best, may stop."""
        row: dict[str, Any] = {"stage": self.name, "epoch": self.current_epoch + 1}
        # validation is the last part of Lightning's training epoch
        train, valid = self._ended("train"), self._ended("valid")
        row |= {f"train_{term}": value for term, value in train.items()}
        row |= {f"valid_{term}": value for term, value in valid.items()}
        add_row(self.history, row)
        self._log(row)
        if valid["loss"] < self.best_loss:
            self.best_loss, self.best_epoch = valid["loss"], self.current_epoch + 1
            self.best_weights = self._judged or copies(self.candidate())
        self.seconds += time.perf_counter() - self._clock
        self._clock = time.perf_counter()
        self._stop_if_stale()

    def _ended(self, part: str) -> dict[str, float]:
        """Means of an epoch, the loss first."""
        counted = self._counts[part].view(1).double()
        sums = self.summed(torch.cat([self._sums[part].double(), counted]))
        *totals, count = sums.tolist()
        self._counts[part].zero_()
        self._sums[part].zero_()
        sums_by_term = dict(zip(self.terms, totals, strict=True))
        loss = self.loss_of(sums_by_term) / count
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{self.name} stage, {part}, epoch {self.current_epoch + 1}: the loss is {loss}; "
                f"{self.advice()}"
            )
        return {"loss": loss} | {term: total / count for term, total in sums_by_term.items()}

    def _log(self, row: Mapping[str, Any]) -> None:
        """For callbacks that monitor a metric, and loggers."""
        for column, value in row.items():
            if column in ("stage", "epoch"):
                continue
            # which processes share already; Lightning would warn wherever there may be several
            self.log(column, value, logger=False, sync_dist=True)
            self.log(f"{self.name}/{column}", value, sync_dist=True)

    def _stop_if_stale(self) -> None:
        # while a loss is still changing its meaning, the best epoch says little
        since = max(self.best_epoch, self.settling_epochs())
        done = self.outcome()["epochs_run"]
        stale = self.patience is not None and done - since >= self.patience
        if self.finished or stale:
            self.trainer.should_stop = True

    def settling_epochs(self) -> int:
        """Epochs that patience does not count."""
        return 0

    def outcome(self) -> dict[str, float]:
        """For the manifest: the best epoch, how many there were, and how long they took."""
        stages = self.history.get("stage", [])
        return {
            "best_epoch": self.best_epoch,
            "epochs_run": sum(stage == self.name for stage in stages),
            "seconds": round(self.seconds, 3),
        }

    # resume

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what there is to know of the training so far to Lightning's checkpoint."""
        checkpoint["training"] = {
            "stage": self.name,
            "history": {name: list(column) for name, column in self.history.items()},
            "outcomes": dict(self.outcomes),
            "before": self.before,
            "steps_taken": self.steps_taken,
            **{name: getattr(self, name) for name in self._RESUMED},
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes it from one."""
        saved = checkpoint["training"]
        self.history.clear()
        self.history.update(saved["history"])
        for name in self._RESUMED:
            setattr(self, name, saved[name])
        # Lightning counts apart what it optimizes and what the stage does
        self.steps_taken = saved.get("steps_taken", checkpoint["global_step"])

    def random(self, purpose: str, *, epoch: int = 0, step: int = 0) -> torch.Generator:
        """The random numbers of a step."""
        return generator(self.seed, purpose, epoch=epoch, step=step)


def copies(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights as they are now."""
    return {name: value.detach().clone() for name, value in state.items()}

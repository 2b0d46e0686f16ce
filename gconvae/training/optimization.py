"""Optimizers and schedules of the learning rate: by name, by a function, or those of a stage."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from gconvae.plain import did_you_mean
from gconvae.registry import parse
from gconvae.training.muon import Muon

__all__ = [
    "FADING",
    "TRACE",
    "Adam",
    "AdamW",
    "Joined",
    "MakeOptimizer",
    "MakeScheduler",
    "Optimization",
    "muon",
    "scheduled",
    "trapezoid",
    "warmed_cosine",
]

MakeOptimizer = str | Callable[[list[nn.Parameter]], Optimizer]
"""``adam``, ``adamw``, ``sgd`` or ``muon``, another class of ``torch.optim`` by its name, each
perhaps with options, or a function of the parameters."""

MakeScheduler = str | Callable[[Optimizer], Any]
"""``constant``, ``cosine``, ``trapezoid``, ``linear`` or ``exponential``, perhaps with options, or
a function of the optimizer."""

FADING = 100
"""Steps of an epoch after which faded means of gradients are ended."""

TRACE = 1e-30
"""Mean of gradients below which it is one that has faded; 100 steps later it would still be 1e-35,
and numbers lose their digits, and a CPU its speed, below 1e-38."""


@dataclass(frozen=True)
class Optimization:
    """How a stage is optimized, where somebody asks for other things than its own.

    Attributes:
        optimizer: See :data:`MakeOptimizer`; None = the stage's own.
        scheduler: See :data:`MakeScheduler`, taken after each step; None = the stage's own where
            the optimizer is its own too, else none.
        precision: Of the network's products, ``"float32"`` or ``"bfloat16"``.
    """

    optimizer: MakeOptimizer | None = None
    scheduler: MakeScheduler | None = None
    precision: str = "float32"

    def __post_init__(self) -> None:
        """Refuses what could not be made in the first step."""
        # as networks have them, for a function that tells them apart
        shapes = ((2, 2), (2,), (2, 1, 1, 1))
        weights = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
        optimizer: Optimizer = torch.optim.SGD(weights, lr=1.0)
        if self.optimizer is not None:
            optimizer = self.make_optimizer(weights, 1e-3, weights[:1])
        if self.scheduler is not None:
            self.make_scheduler(optimizer, 100)

    def make_optimizer(
        self, parameters: list[nn.Parameter], rate: float, matrices: Sequence[nn.Parameter] = ()
    ) -> Optimizer:
        """The optimizer that is asked for.

        Args:
            parameters: All that is trained.
            rate: Learning rate, where the name has none in its options.
            matrices: Those of them that lie between hidden features, for ``muon``.
        Raises:
            ValueError: If there is no such optimizer, or it does not take an option.
        """
        asked = self.optimizer
        assert asked is not None
        if not isinstance(asked, str):
            optimizer = _create("optimizer", asked, parameters)
            if not isinstance(optimizer, Optimizer):
                raise ValueError(
                    "optimizer must be a function that returns a torch Optimizer, got "
                    f"{optimizer!r}"
                )
            return optimizer
        name, options = _named("optimizer", asked)
        kinds = _optimizers()
        if name not in kinds:
            hint = did_you_mean(name, kinds)
            raise ValueError(f"optimizer must be one of {', '.join(kinds)}, got {name!r}{hint}")
        options = {"lr": rate} | options
        try:
            if name == "muon":
                return muon(parameters, matrices, **options)
            return kinds[name](parameters, **options)
        except (TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"options of optimizer {name} must fit it, got {options}: {error}"
            ) from None

    def make_scheduler(self, optimizer: Optimizer, steps: int) -> Any:
        """The schedule that is asked for.

        Args:
            optimizer: Whose learning rates it sets.
            steps: Of the stage.
        Raises:
            ValueError: If there is no such schedule, or it does not take an option.
        """
        asked = self.scheduler
        assert asked is not None
        if not isinstance(asked, str):
            scheduler = _create("scheduler", asked, optimizer)
            if not hasattr(scheduler, "step"):
                raise ValueError(
                    "scheduler must be a function that returns a torch scheduler of the "
                    f"learning rate, got {scheduler!r}"
                )
            return scheduler
        name, options = _named("scheduler", asked)
        if name not in _SCHEDULES:
            known, hint = ", ".join(_SCHEDULES), did_you_mean(name, _SCHEDULES)
            raise ValueError(f"scheduler must be one of {known}, got {name!r}{hint}")
        try:
            return _SCHEDULES[name](optimizer, steps, **options)
        except TypeError as error:
            raise ValueError(
                f"options of scheduler {name} must fit it, got {options}: {error}"
            ) from None


def _create(kind: str, make: Any, arguments: Any) -> Any:
    """What a function makes, which may be none, or one of other arguments."""
    takes = "the list of parameters" if kind == "optimizer" else "the optimizer"
    try:
        inspect.signature(make).bind(arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{kind} must be a name, or a function of {takes}, got {make!r:.80}: {error}"
        ) from None
    return make(arguments)


def scheduled(optimizer: Optimizer, scheduler: Any) -> dict[str, Any]:
    """What Lightning takes: a schedule by step, or by epoch and validation loss."""
    config: dict[str, Any] = {"scheduler": scheduler, "interval": "step"}
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        config |= {"interval": "epoch", "monitor": "valid_loss"}
    return {"optimizer": optimizer, "lr_scheduler": config}


def warmed_cosine(optimizer: Optimizer, steps: int, warmup: int = 0) -> lr_scheduler.LambdaLR:
    r"""Rates that grow from 0 over some steps, and fall like a cosine.

    .. math:: r_t = r \min\left(1, \tfrac{t + 1}{w}\right) \tfrac12 (1 + \cos(\pi t / T))

    Args:
        optimizer: With the rates r.
        steps: T.
        warmup: w; 0 = none.
    """

    def factor(step: int) -> float:
        rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rising * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))

    return lr_scheduler.LambdaLR(optimizer, factor)


def trapezoid(
    optimizer: Optimizer, steps: int, warmup: int = 0, fall: float = 0.5
) -> lr_scheduler.LambdaLR:
    r"""Rates that grow from 0 over some steps, stay, and fall to 0 in a straight line.

    .. math:: r_t = r \min\left(1, \tfrac{t + 1}{w}\right) \min\left(1, \tfrac{T - t}{f T}\right)

    Args:
        optimizer: With the rates r.
        steps: T.
        warmup: w, of which at most an eighth of the steps is taken; 0 = none.
        fall: f, share of the steps in which they fall, in (0, 1].
    Raises:
        ValueError: If ``fall`` is out of range.
    References:
        | Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations (Hagele et al.,
          2024), arXiv:2405.18392
    """
    if not 0 < fall <= 1:
        raise ValueError(f"fall must be above 0 and at most 1, got {fall}")
    warmup = min(warmup, steps // 8)  # few clouds have few steps

    def factor(step: int) -> float:
        rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rising * min(1.0, max(0, steps - step) / (fall * steps))

    return lr_scheduler.LambdaLR(optimizer, factor)


def muon(
    parameters: list[nn.Parameter],
    matrices: Sequence[nn.Parameter],
    lr: float,
    matrix_lr: float | None = None,
    weight_decay: float = 0.05,
    betas: tuple[float, float] = (0.9, 0.99),
) -> Optimizer:
    """Muon for matrices between hidden features, AdamW for the rest, in one kernel.

    Args:
        parameters: All that is trained.
        matrices: Those of them that Muon takes; none = all that are matrices.
        lr: Rate of AdamW.
        matrix_lr: Rate of Muon; None = 20/3 of the other.
        weight_decay: Of both.
        betas: Of AdamW.
    References:
        | Muon (Jordan et al., 2024), https://kellerjordan.github.io/posts/muon
    """
    matrices = list(matrices) or [weight for weight in parameters if weight.dim() == 2]
    ours = {id(weight) for weight in matrices}
    rest = [weight for weight in parameters if id(weight) not in ours]
    optimizers: list[Optimizer] = []
    if matrices:
        rate = lr * 20 / 3 if matrix_lr is None else matrix_lr
        optimizers.append(Muon(matrices, lr=rate, weight_decay=weight_decay))
    if rest:
        rates: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "betas": betas}
        on_gpu = any(weight.is_cuda for weight in rest)  # where a step may be recorded
        optimizers.append(AdamW(rest, **rates, fused=True, capturable=on_gpu))
    return optimizers[0] if len(optimizers) == 1 else Joined(optimizers)


class Unwatched(Optimizer):
    """Looks for no GPU in a step.

    Torch looks in every step whether a GPU is recording it with options that forbid that. Ours
    allow it, and looking takes longer than the step of a small network.
    """

    def _accelerator_graph_capture_health_check(self) -> None:
        pass


class AdamW(Unwatched, torch.optim.AdamW):
    """``torch.optim.AdamW`` with less to do in a step."""


class Adam(Unwatched, torch.optim.Adam):
    """``torch.optim.Adam`` with less to do in a step."""

    def forget_traces(self) -> None:
        """Ends means of gradients that have been 0 for long, such as those of units that died.

        They fade by a tenth a step, and once they are so small that a CPU has no digits left for
        them, which takes some 800 steps, it computes with them a hundred times slower. What is cut
        here is too small to change a weight.
        """
        for state in self.state.values():
            state["exp_avg"].copy_(torch.hardshrink(state["exp_avg"], TRACE))


class Joined(Optimizer):
    """Several optimizers as one, for whoever takes one: schedules, checkpoints, Lightning.

    Args:
        parts: Each with parameters of its own. Their groups are the groups of all.
    Example:
        >>> weights = [nn.Parameter(torch.ones(2)) for _ in range(2)]
        >>> both = Joined([torch.optim.SGD([weights[0]], 0.1), torch.optim.Adam([weights[1]])])
        >>> [group["lr"] for group in both.param_groups]
        [0.1, 0.001]
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        super().__init__([group for part in parts for group in part.param_groups], {})
        self.parts = list(parts)
        self._share_groups()

    def _share_groups(self) -> None:
        # the very same groups, so that a rate that is set here is the part's
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """That of each."""
        return {"state": {}, "param_groups": [], "parts": [p.state_dict() for p in self.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes what :meth:`state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()


def _named(kind: str, text: str) -> tuple[str, dict[str, Any]]:
    """Name and options of ``name(option=value)``."""
    try:
        terms = parse(text)
    except ValueError as error:
        raise ValueError(f"{kind}: {error}") from None
    if len(terms) != 1 or terms[0].weight != 1:
        raise ValueError(f"{kind} must be one, not a sum, got {text!r}")
    return terms[0].name, terms[0].options


def _optimizers() -> dict[str, Callable[..., Optimizer]]:
    """Short names first, then torch's classes."""
    short = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    classes = {
        name: kind
        for name, kind in vars(torch.optim).items()
        if inspect.isclass(kind) and issubclass(kind, Optimizer) and kind is not Optimizer
    }
    return cast(
        dict[str, Callable[..., Optimizer]], {**short, "muon": torch.optim.Muon, **classes}
    )


def _constant(optimizer: Optimizer, steps: int, warmup: int = 0) -> lr_scheduler.LRScheduler:
    def factor(step: int) -> float:
        return min(1.0, (step + 1) / warmup) if warmup else 1.0

    return lr_scheduler.LambdaLR(optimizer, factor)


def _linear(optimizer: Optimizer, steps: int, warmup: int = 0) -> lr_scheduler.LRScheduler:
    def factor(step: int) -> float:
        rising = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return rising * max(0.0, 1 - step / steps)

    return lr_scheduler.LambdaLR(optimizer, factor)


def _exponential(optimizer: Optimizer, steps: int, end: float = 0.01) -> lr_scheduler.LRScheduler:
    return lr_scheduler.LambdaLR(optimizer, lambda step: end ** min(step / steps, 1.0))


_SCHEDULES: dict[str, Callable[..., lr_scheduler.LRScheduler]] = {
    "constant": _constant,
    "cosine": warmed_cosine,
    "trapezoid": trapezoid,
    "linear": _linear,
    "exponential": _exponential,
}

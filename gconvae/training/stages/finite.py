"""Losses that are no numbers: said with the stage, the step and the clouds that they come from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["check_finite"]


def check_finite(
    sums: Tensor, terms: Sequence[Tensor], names: Sequence[str], place: str, advice: str
) -> None:
    """Refuses a batch in which a term of the loss is not finite.

    Args:
        sums: Of each term over the clouds, shape (T,): all that is looked at as long as it is
            finite.
        terms: Shape (B,) each.
        names: Of the terms.
        place: Stage, part, epoch and step, in words.
        advice: What may help.
    Raises:
        FloatingPointError: It names the first such term, its clouds in the batch, and the advice.
    Example:
        >>> nll, kl = torch.tensor([3.0, torch.nan, torch.inf]), torch.ones(3)
        >>> sums = torch.stack([nll.sum(), kl.sum()])
        >>> check_finite(sums, [nll, kl], ["nll", "kl"], "joint stage, step 7", "rest")
        Traceback (most recent call last):
            ...
        FloatingPointError: joint stage, step 7: nll is nan for 2 of 3 clouds of the batch, the \
first of which is number 1; rest
    """
    if torch.isfinite(sums).all():
        return
    for name, term in zip(names, terms, strict=True):
        broken = (~torch.isfinite(term)).nonzero().flatten().tolist()
        if broken:
            raise FloatingPointError(
                f"{place}: {name} is {term[broken[0]].item():g} for {len(broken)} of {len(term)} "
                f"clouds of the batch, the first of which is number {broken[0]}; {advice}"
            )
    name = names[int((~torch.isfinite(sums)).nonzero()[0])]
    raise FloatingPointError(f"{place}: {name} is too large for a sum over clouds; {advice}")

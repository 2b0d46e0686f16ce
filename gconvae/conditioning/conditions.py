"""Numbers of a whole cloud that a model is conditioned on, such as a jet's mass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gconvae.randomness import generator as random_of
from gconvae.schema import CloudSchema, Feature

__all__ = ["MOST_ROWS", "Conditions", "Row", "checked_names", "chosen_conditions"]

MOST_ROWS = 20_000
"""Training clouds whose label, number of nodes and conditions are kept, for new clouds."""

NEAREST = 50
"""Kept clouds with conditions near the wanted ones that say label and number of nodes; of few kept
clouds a twentieth."""


class Row(NamedTuple):
    """What is drawn together for each of B clouds, on the CPU.

    Attributes:
        labels: Shape (B,).
        sizes: Numbers of nodes, shape (B,).
        conditions: Data units, float32 of shape (B, C).
    """

    labels: Tensor
    sizes: Tensor
    conditions: Tensor


class Conditions(nn.Module):
    r"""Standardizes conditions c, and draws them for new clouds together with label and size.

    .. math:: u_j = \frac{t_j(c_j) - m_j}{s_j}, \quad
        t_j(c) = \operatorname{sign}(c) \log(1 + |c| / b_j) \text{ or } c

    m and s are mean and standard deviation of t(c) over the training clouds; t is a logarithm
    where the condition's feature has a :class:`~gconvae.schema.Tail` of kind log, whose scale is
    b. New clouds get label, number of nodes and conditions of a training cloud together, drawn
    with replacement out of at most 20,000 that are kept.

    Args:
        names: Of the conditions, in the order of their columns, at least one.
        num_points: Nodes of a cloud until clouds are seen.
        num_classes: Labels are 0 to ``num_classes - 1``; 0 = none, all rows have label 0.
    Raises:
        ValueError: If there is no name, or one comes twice.
    Example:
        >>> conditions = Conditions(["mass"])
        >>> conditions.fit(torch.tensor([[1.0], [3.0]]), torch.tensor([5, 7]))
        >>> conditions.standardized(torch.tensor([[2.0], [4.0]]))
        tensor([[0.],
                [2.]])
    """

    mean: Tensor
    scale: Tensor
    bend: Tensor
    rows: Tensor

    def __init__(self, names: Sequence[str], num_points: int = 1, num_classes: int = 0) -> None:
        super().__init__()
        self.names = checked_names(names)
        count = len(self.names)
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.register_buffer("bend", torch.zeros(count))
        # until clouds are seen: one of each label, full, with conditions 0; sorted by label
        rows = torch.zeros(max(1, num_classes), 2 + count)
        rows[:, 0] = torch.arange(len(rows))
        rows[:, 1] = num_points
        self.register_buffer("rows", rows)
        self.register_load_state_dict_pre_hook(_take_saved_rows)

    def fit(
        self,
        conditions: Tensor,
        sizes: Tensor,
        labels: Tensor | None = None,
        features: Sequence[Feature] = (),
        seed: int = 0,
    ) -> None:
        """Takes mean and standard deviation, and keeps rows to draw from.

        Args:
            conditions: Of training clouds, data units, shape (B, C).
            sizes: Their numbers of nodes, shape (B,).
            labels: Shape (B,), or None.
            features: Of the conditions, which know their tails; empty = none has one.
            seed: Of the choice of rows where there are more clouds than are kept.
        """
        bends = [f.tail.scale if f.tail and f.tail.kind == "log" else 0.0 for f in features]
        if bends:
            self.bend.copy_(torch.tensor(bends))
        bent = self._bent(conditions.to(self.mean).double())
        scale, mean = torch.std_mean(bent, dim=0, correction=0)
        self.mean.copy_(mean)
        self.scale.copy_(torch.where(scale > 0, scale, 1.0))
        labels = torch.zeros_like(sizes) if labels is None else labels
        columns = [labels.unsqueeze(1), sizes.unsqueeze(1), conditions]
        rows = torch.cat([column.cpu().to(self.rows.dtype) for column in columns], dim=1)
        rows = rows[labels.cpu().argsort(stable=True)]
        if len(rows) > MOST_ROWS:
            # one of each stretch of the sorted rows, so that no label gets more than its share
            random = random_of(seed, "rows of conditions")
            places = torch.rand(MOST_ROWS, generator=random, device="cpu", dtype=torch.float64)
            places = (torch.arange(MOST_ROWS, device="cpu") + places) * len(rows) / MOST_ROWS
            rows = rows[places.long().clamp(max=len(rows) - 1)]
        self.rows = rows.to(self.rows.device)

    def standardized(self, conditions: Tensor) -> Tensor:
        """Data units to what a network is given, shape (B, C)."""
        return (self._bent(conditions.to(self.mean)) - self.mean) / self.scale

    def draw(
        self,
        num_samples: int,
        generator: torch.Generator,
        labels: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Row:
        """Label, number of nodes and conditions of new clouds, together.

        Where conditions are given, label and number of nodes are those of one of the 50 kept
        clouds with the nearest standardized conditions.

        Args:
            num_samples: B.
            generator: A CPU generator, of which one number is taken for each cloud.
            labels: Of the wanted clouds, shape (B,); None = as often as in training.
            conditions: Data units, shape (B, C); None = those of a training cloud.
        Raises:
            ValueError: If no row has one of the labels.
        """
        rows = self.rows.cpu()
        level = torch.rand(num_samples, generator=generator, device="cpu", dtype=torch.float64)
        first = torch.zeros(num_samples, dtype=torch.long, device="cpu")
        last = torch.full_like(first, len(rows))
        if labels is not None:
            known, wanted = rows[:, 0].contiguous(), labels.cpu().to(rows.dtype)
            first = torch.searchsorted(known, wanted)
            last = torch.searchsorted(known, wanted, right=True)
            if (first == last).any():
                label = int(labels[(first == last).to(labels.device)][0])
                raise ValueError(f"label must be one of the training clouds, got {label}")
        if conditions is None:
            chosen = first + (level * (last - first)).long()
        else:
            chosen = self._near(conditions.cpu(), level, first, last)
        drawn = rows[chosen]  # (B, 2 + C)
        own = drawn[:, 2:] if conditions is None else conditions.cpu()
        return Row(drawn[:, 0].long(), drawn[:, 1].long(), own.float())

    def _near(self, conditions: Tensor, level: Tensor, first: Tensor, last: Tensor) -> Tensor:
        """A row out of the nearest ones of each cloud, shape (B,)."""
        known = copied_to_cpu(self)
        rows = known.standardized(known.rows[:, 2:])  # (R, C)
        wanted = known.standardized(conditions)  # (B, C)
        distance = torch.zeros(len(wanted), len(rows), dtype=rows.dtype, device="cpu")
        for column in range(rows.shape[1]):  # never (B, R, C) at once
            distance += (wanted[:, column, None] - rows[:, column]).square()
        places = torch.arange(len(rows), device="cpu")
        outside = (places < first.unsqueeze(1)) | (places >= last.unsqueeze(1))
        count = min(NEAREST, -(-len(rows) // 20))
        near = distance.masked_fill(outside, torch.inf).topk(count, largest=False).indices
        fewer = (last - first).clamp(max=count)
        return near.gather(1, (level * fewer).long().unsqueeze(1)).squeeze(1)

    def _bent(self, conditions: Tensor) -> Tensor:
        """Heavy-tailed conditions through their logarithms."""
        bend = self.bend.to(conditions)
        safe = torch.where(bend > 0, bend, 1.0)
        bent = conditions.sign() * torch.log1p(conditions.abs() / safe)
        return torch.where(bend > 0, bent, conditions)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return f"names={list(self.names)}"


def copied_to_cpu(conditions: Conditions) -> Conditions:
    """The module itself on a CPU, else a copy there."""
    if conditions.rows.device.type == "cpu":
        return conditions
    copied = Conditions(conditions.names)
    copied.load_state_dict({name: each.cpu() for name, each in conditions.state_dict().items()})
    return copied.to(conditions.rows.dtype)


def chosen_conditions(
    schema: CloudSchema, names: Sequence[str], name: str = "data"
) -> tuple[Feature, ...]:
    """The features of some of a schema's conditions, in the order that was asked for.

    Args:
        schema: Of clouds.
        names: Of the conditions.
        name: What error messages call the clouds.
    Raises:
        ValueError: If the schema lacks one.
    Example:
        >>> from gconvae.schema import points
        >>> schema = points("x y").replace(conditions=(Feature("mass", "GeV"), Feature("eta")))
        >>> chosen_conditions(schema, ["eta"])[0].name
        'eta'
    """
    known = {condition.name: condition for condition in schema.conditions}
    missing = [each for each in names if each not in known]
    if missing:
        raise ValueError(
            f"{name} must have the conditions {', '.join(names)} that the model asks for, got "
            f"clouds with {', '.join(known) or 'none'}"
        )
    return tuple(known[each] for each in names)


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of conditions as a tuple.

    Raises:
        ValueError: If they are no list of different texts, at least one.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"conditions must be a list of names, got {names!r}")
    is_text = all(isinstance(name, str) for name in names)
    if not names or not is_text or len(set(names)) < len(names):
        raise ValueError(f"conditions must be different names, at least one, got {list(names)}")
    return tuple(names)


def _take_saved_rows(
    conditions: Conditions, state: dict[str, Tensor], prefix: str, *_: Any
) -> None:
    """Makes room for as many rows as are loaded; torch refuses other wrong shapes."""
    saved = state.get(f"{prefix}rows")
    if saved is not None and saved.dim() == 2:
        conditions.rows = conditions.rows.new_empty(len(saved), conditions.rows.shape[1])

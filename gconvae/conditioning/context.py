"""What a cloud is given beside z: label, number of nodes, conditions; how often each occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gconvae.clouds import Clouds, as_conditions, as_tensor
from gconvae.conditioning.conditioned_on import ConditionedOn
from gconvae.conditioning.conditions import Conditions
from gconvae.cuda_graphs import recording
from gconvae.registry import check_counts

__all__ = ["Conditioning", "Drawn"]


class Drawn(NamedTuple):
    """Labels, nodes and conditions of clouds to come.

    Attributes:
        labels: Shape (B,), or None for a model without labels.
        mask: True for the first n nodes of each cloud, shape (B, N).
        conditions: Shape (B, C), or None for a model without conditions.
    """

    labels: Tensor | None
    mask: Tensor
    conditions: Tensor | None = None


class Conditioning(nn.Module):
    r"""Label y and number of nodes n of a cloud, with their frequencies in the training clouds.

    .. math:: p(x) = \sum_{y, n} p(y, n) \int p(x | z, y, n) \, p(z | y, n) \, dz

    Decoder and prior are given both as a context vector: the label one-hot, then n / N. So the
    numbers of nodes of new clouds follow the training clouds exactly, digit by digit, and z need
    not carry them. Conditions that a model asks for come last, standardized; then y, n and
    conditions of new clouds are those of a training cloud, see :class:`Conditions`.

    Args:
        num_points: N, the most nodes of a cloud.
        num_classes: Labels are 0 to ``num_classes - 1``; 0 = clouds have none.
        ragged: Whether the context tells the number of nodes.
        conditions: Names of the conditions that the context tells; empty = none.
    Raises:
        ValueError: If ``num_points`` is below 1 or ``num_classes`` below 0, or a name of a
            condition comes twice.
    Example:
        >>> conditions = Conditioning(num_points=4, num_classes=2, ragged=True)
        >>> conditions.context(1, torch.tensor([1]), torch.tensor([[True, True, False, False]]))
        tensor([[0.0000, 1.0000, 0.5000]])
    """

    counts: Tensor

    def __init__(
        self,
        num_points: int,
        num_classes: int = 0,
        ragged: bool = False,
        conditions: Sequence[str] = (),
    ) -> None:
        super().__init__()
        check_counts(num_points=num_points)
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 0:
            raise ValueError(
                f"num_classes must be a whole number of at least 0, got {num_classes!r}"
            )
        self.num_points, self.num_classes, self.ragged = num_points, num_classes, ragged
        counts = torch.zeros(max(1, num_classes), num_points, dtype=torch.float64)
        counts[:, -1] = 1  # until clouds are seen: every label alike, every cloud full
        self.register_buffer("counts", counts)
        self.conditions = Conditions(conditions, num_points, num_classes) if conditions else None

    @property
    def names(self) -> tuple[str, ...]:
        """Of the conditions that a model asks for."""
        return () if self.conditions is None else self.conditions.names

    @property
    def dim(self) -> int:
        """C, the entries of a context vector; 0 where there is nothing to tell."""
        return self.num_classes + int(self.ragged) + len(self.names)

    @property
    def always_full(self) -> bool:
        """Whether every cloud has N nodes."""
        return not bool(self.counts[:, :-1].any())

    def fit(self, mask: Tensor, labels: Tensor | None = None) -> None:
        """Counts labels and numbers of nodes.

        Args:
            mask: Of the training clouds, shape (B, M).
            labels: Shape (B,), needed where the model has labels.
        Raises:
            ValueError: If a label is missing or out of range.
        """
        rows = self.check_labels(labels, len(mask))
        rows = mask.new_zeros(len(mask), dtype=torch.long) if rows is None else rows
        sizes = mask.sum(1).clamp(max=self.num_points)  # (B,)
        places = rows * self.num_points + sizes - 1
        counted = torch.bincount(places.cpu(), minlength=self.counts.numel())
        self.counts.copy_(counted.view_as(self.counts))

    def fit_counts(self, counts: Tensor, labels: Tensor | None = None) -> None:
        """:meth:`fit` to clouds that are counted already.

        Args:
            counts: How many have 0, 1, ..., M nodes, a row for each label, shape (K, M + 1).
            labels: Of the rows, shape (K,), needed where the model has labels.
        Raises:
            ValueError: If a label is missing or out of range.
        """
        rows = self.check_labels(labels, len(counts))
        rows = counts.new_zeros(len(counts), dtype=torch.long) if rows is None else rows
        sizes = torch.arange(counts.shape[1], device="cpu").clamp(1, self.num_points)
        places = rows.unsqueeze(1) * self.num_points + sizes - 1  # (K, M + 1)
        counted = self.counts.new_zeros(self.counts.numel(), device="cpu")
        counted.index_add_(0, places.flatten(), counts.flatten().to(counted))
        self.counts.copy_(counted.view_as(self.counts))

    def fit_conditions(self, clouds: Clouds, seed: int = 0) -> None:
        """Standardizes conditions by those of training clouds; nothing where there are none.

        Args:
            clouds: Prepared, with the model's schema of them; labels where the model has some.
            seed: Of the choice of clouds that are kept.
        """
        if self.conditions is None:
            return
        rows = self.check_conditions(clouds.conditions, clouds.num_clouds)
        assert rows is not None
        features = () if clouds.schema is None else clouds.schema.conditions
        sizes = clouds.mask.sum(1).clamp(max=self.num_points)
        self.conditions.fit(rows, sizes, clouds.labels, features, seed)

    def chosen(self, clouds: Clouds) -> Tensor | None:
        """Of the conditions that clouds have those of the model, in its order, shape (B, C).

        None where the model has none, or the clouds lack one.
        """
        if self.conditions is None or clouds.conditions is None:
            return None
        if clouds.schema is None:
            return clouds.conditions if clouds.conditions.shape[1] == len(self.names) else None
        known = [condition.name for condition in clouds.schema.conditions]
        if not set(self.names) <= set(known):
            return None
        return clouds.conditions[:, [known.index(name) for name in self.names]]

    def draw(
        self,
        num_samples: int,
        generator: torch.Generator,
        label: int | Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Drawn:
        """Labels and conditions, where they are not given, and numbers of nodes, on the CPU.

        Args:
            num_samples: How many.
            generator: A CPU generator.
            label: One label for all, or one each, shape (num_samples,); None = as often as in
                training.
            conditions: Shape (num_samples, C); None = as often as in training.
        Raises:
            ValueError: If there is no such label, or no training cloud had it.
        """
        counts = self.counts.cpu()
        labels = self.check_wanted(label, num_samples)
        if self.conditions is not None:
            row = self.conditions.draw(num_samples, generator, labels, conditions)
            mask = self._places() < row.sizes.unsqueeze(1)
            return Drawn(row.labels if self.num_classes else None, mask, row.conditions)
        if labels is None and self.num_classes:
            labels = counts.sum(1).multinomial(num_samples, True, generator=generator)
        if self.always_full:  # a draw from one number takes longer than all of a prior
            return Drawn(labels, self._places().expand(num_samples, -1) >= 0)
        weights = counts.expand(num_samples, -1) if labels is None else counts[labels]  # (B, N)
        sizes = weights.multinomial(1, generator=generator) + 1  # (B, 1)
        return Drawn(labels, self._places() < sizes)

    def check_wanted(self, label: int | Tensor | None, num_samples: int) -> Tensor | None:
        """Labels that somebody asks for, shape (num_samples,), on the CPU; None = any.

        Raises:
            ValueError: If there is no such label, or no training cloud had it.
        """
        if label is None:
            return None
        if self.num_classes == 0:
            got = f"{torch.as_tensor(label).numel()} of them" if torch.is_tensor(label) else label
            raise ValueError(f"label must be None for a model without labels, got {got}")
        asked = torch.as_tensor(label, device="cpu")
        labels = self.check_labels(asked, num_samples, "label")
        unseen = ~self.counts.cpu().any(1)[asked.long()]
        if unseen.any():
            raise ValueError(
                f"label must be one of the training clouds, got {int(asked[unseen][0])}"
            )
        return labels

    def context(
        self,
        num_clouds: int,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        conditions: Any = None,
    ) -> Tensor | None:
        """The context vectors, shape (B, C); None where C is 0.

        Args:
            num_clouds: B.
            labels: Shape (B,), needed where the model has labels.
            mask: Shape (B, M); None = all nodes are real.
            conditions: Data units, shape (B, C), needed where the model has conditions.
        Raises:
            ValueError: If a label or condition is missing, or a label out of range.
        """
        labels = self.check_labels(labels, num_clouds)
        conditions = self.check_conditions(conditions, num_clouds)
        columns: list[Tensor] = []
        if labels is not None:
            columns.append(nn.functional.one_hot(labels, self.num_classes).float())
        if self.ragged and mask is None:
            columns.append(torch.ones(num_clouds, 1, device=self.counts.device))
        elif self.ragged:
            assert mask is not None
            sizes = mask.sum(1, keepdim=True).clamp(max=self.num_points)
            columns.append(sizes.float() / self.num_points)
        if self.conditions is not None:
            assert conditions is not None
            columns.append(self.conditions.standardized(conditions))
        device = self.counts.device
        return torch.cat([c.to(device) for c in columns], dim=1) if columns else None  # (B, C)

    def likelihood_context(
        self,
        wanted: ConditionedOn,
        z: Tensor,
        labels: Tensor | None = None,
        conditions: Any = None,
    ) -> Tensor | None:
        """What a likelihood is conditioned on beside the mean: latents, label, conditions.

        Args:
            wanted: What it asks for.
            z: Latents, shape (B, L).
            labels: As of :meth:`context`.
            conditions: Likewise.
        Returns:
            Shape (B, C); None where C is 0.
        """
        parts = [z] if wanted.latent_dim else []
        if wanted.num_classes or wanted.num_conditions:
            context = self.context(z.shape[0], labels, None, conditions)
            assert context is not None
            # how many nodes there are is in a mask
            ends = [self.num_classes, self.num_classes + int(self.ragged)]
            label, _, condition = context.to(z).tensor_split(ends, dim=1)
            parts += [label] * bool(wanted.num_classes) + [condition] * bool(wanted.num_conditions)
        return torch.cat(parts, dim=1) if parts else None

    def check_likelihood(self, wanted: ConditionedOn, latent_dim: int) -> None:
        """Refuses a likelihood that asks for what there is not.

        Args:
            wanted: What it asks for.
            latent_dim: L of the model.
        Raises:
            ValueError: If its numbers of latents, labels or conditions are others.
        """
        for name, asked, own in (
            ("latent_dim", wanted.latent_dim, latent_dim),
            ("num_classes", wanted.num_classes, self.num_classes),
            ("num_conditions", wanted.num_conditions, len(self.names)),
        ):
            if asked not in (0, own):
                raise ValueError(
                    f"{name} of the likelihood must be the model's, {own}, got {asked}"
                )

    def nodes(self, mask: Tensor) -> Tensor:
        """Mask of a decoder's nodes for clouds of these sizes: the first n of N.

        Args:
            mask: Of other clouds, shape (B, M).
        Returns:
            Shape (B, N).
        """
        places = torch.arange(self.num_points, device=mask.device)
        return places < mask.sum(1, keepdim=True)

    def check_labels(
        self, labels: int | Tensor | None, num_clouds: int, name: str = "labels"
    ) -> Tensor | None:
        """Labels as a tensor (B,); None for a model without labels.

        Raises:
            ValueError: If a label is missing, too much, or out of range.
        """
        if self.num_classes == 0:
            return None
        if labels is None:
            raise ValueError(f"{name} must be given, the model has {self.num_classes} classes")
        if not isinstance(labels, Tensor):
            labels = torch.as_tensor(labels, device="cpu")
        whole = not labels.is_floating_point() and labels.dtype != torch.bool
        if labels.shape not in ((), (num_clouds,)) or not whole:
            raise ValueError(
                f"{name} must be {num_clouds} whole numbers, got shape {tuple(labels.shape)} "
                f"of {labels.dtype}"
            )
        outside = (labels < 0) | (labels >= self.num_classes)
        if not recording(labels) and outside.any():
            raise ValueError(
                f"{name} must be 0 to {self.num_classes - 1}, got {int(labels[outside][0])}"
            )
        return labels.long().expand(num_clouds)

    def check_conditions(
        self, conditions: Any, num_clouds: int, name: str = "conditions", *, wanted: bool = False
    ) -> Tensor | None:
        """Conditions as a tensor (B, C); None for a model without conditions.

        Args:
            conditions: Shape (B, C), or (C,) for all clouds, in any form; by name, a number or B
                of them each; or None.
            num_clouds: B.
            name: What error messages call them.
            wanted: Whether somebody asks for them: then None = drawn, their numbers are looked
                at, and a model without conditions refuses them.
        Raises:
            ValueError: If they are missing, too much, of another shape, or not finite.
        """
        if wanted and conditions is None:
            return None
        if self.conditions is None:
            if wanted:
                raise ValueError(f"{name} must be None for a model without conditions")
            return None
        asked, count = ", ".join(self.names), len(self.names)
        if conditions is None:
            raise ValueError(f"{name} must be given, the model is conditioned on {asked}")
        if isinstance(conditions, Mapping):
            conditions = self._by_name(conditions, num_clouds, name)
        rows = as_tensor(conditions, name)
        if rows.shape not in ((count,), (num_clouds, count)):
            raise ValueError(
                f"{name} must have shape ({count},) or ({num_clouds}, {count}) for {asked}, got "
                f"{tuple(rows.shape)}"
            )
        rows = rows.expand(num_clouds, -1)
        # those of data sets are checked, and a GPU is not to be waited for
        return as_conditions(rows, num_clouds) if wanted else rows

    def _by_name(self, conditions: Mapping[str, Any], num_clouds: int, name: str) -> Tensor:
        """A column for each name, shape (B, C)."""
        asked, received = ", ".join(self.names), ", ".join(map(str, conditions))
        if set(conditions) != set(self.names):
            raise ValueError(
                f"{name} must be given for {asked}, got some for {received or 'nothing'}"
            )
        columns = []
        for wanted in self.names:
            values = as_tensor(conditions[wanted], f"{name} of {wanted}")
            if values.shape not in ((), (num_clouds,)):
                raise ValueError(
                    f"{name} of {wanted} must be one number or {num_clouds}, got shape "
                    f"{tuple(values.shape)}"
                )
            columns.append(values.expand(num_clouds))
        return torch.stack(columns, dim=1)

    def _places(self) -> Tensor:
        """Numbers of the nodes, shape (N,), on the CPU whatever torch's default is."""
        return torch.arange(self.num_points, device="cpu")

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return (
            f"num_points={self.num_points}, num_classes={self.num_classes}, ragged={self.ragged}"
        )

"""What a cloud is given beside z: its label and its number of nodes, and how often each occurs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gconvae.cuda_graphs import recording
from gconvae.registry import check_counts

__all__ = ["Conditioning", "Drawn"]


class Drawn(NamedTuple):
    """Labels and nodes of clouds to come.

    Attributes:
        labels: Shape (B,), or None for a model without labels.
        mask: True for the first n nodes of each cloud, shape (B, N).
    """

    labels: Tensor | None
    mask: Tensor


class Conditioning(nn.Module):
    r"""Label y and number of nodes n of a cloud, with their frequencies in the training clouds.

    .. math:: p(x) = \sum_{y, n} p(y, n) \int p(x | z, y, n) \, p(z | y, n) \, dz

    Decoder and prior are given both as a context vector: the label one-hot, then n / N. So the
    numbers of nodes of new clouds follow the training clouds exactly, digit by digit, and z need
    not carry them.

    Args:
        num_points: N, the most nodes of a cloud.
        num_classes: Labels are 0 to ``num_classes - 1``; 0 = clouds have none.
        ragged: Whether the context tells the number of nodes.
    Raises:
        ValueError: If ``num_points`` is below 1 or ``num_classes`` below 0.
    Example:
        >>> conditions = Conditioning(num_points=4, num_classes=2, ragged=True)
        >>> conditions.context(1, torch.tensor([1]), torch.tensor([[True, True, False, False]]))
        tensor([[0.0000, 1.0000, 0.5000]])
    """

    counts: Tensor

    def __init__(self, num_points: int, num_classes: int = 0, ragged: bool = False) -> None:
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

    @property
    def dim(self) -> int:
        """C, the entries of a context vector; 0 where there is nothing to tell."""
        return self.num_classes + int(self.ragged)

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

    def draw(
        self,
        num_samples: int,
        generator: torch.Generator,
        label: int | Tensor | None = None,
    ) -> Drawn:
        """Labels, where they are not given, and numbers of nodes, on the CPU.

        Args:
            num_samples: How many.
            generator: A CPU generator.
            label: One label for all, or one each, shape (num_samples,); None = as often as in
                training.
        Raises:
            ValueError: If there is no such label, or no training cloud had it.
        """
        counts = self.counts.cpu()
        labels = self.check_wanted(label, num_samples)
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
            raise ValueError(f"label must be None for a model without labels, got {label}")
        asked = torch.as_tensor(label, device="cpu")
        labels = self.check_labels(asked, num_samples, "label")
        unseen = ~self.counts.cpu().any(1)[asked.long()]
        if unseen.any():
            raise ValueError(
                f"label must be one of the training clouds, got {int(asked[unseen][0])}"
            )
        return labels

    def context(
        self, num_clouds: int, labels: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor | None:
        """The context vectors, shape (B, C); None where C is 0.

        Args:
            num_clouds: B.
            labels: Shape (B,), needed where the model has labels.
            mask: Shape (B, M); None = all nodes are real.
        Raises:
            ValueError: If a label is missing or out of range.
        """
        labels = self.check_labels(labels, num_clouds)
        columns: list[Tensor] = []
        if labels is not None:
            columns.append(nn.functional.one_hot(labels, self.num_classes).float())
        if self.ragged and mask is None:
            columns.append(torch.ones(num_clouds, 1, device=self.counts.device))
        elif self.ragged:
            assert mask is not None
            sizes = mask.sum(1, keepdim=True).clamp(max=self.num_points)
            columns.append(sizes.float() / self.num_points)
        device = self.counts.device
        return torch.cat([c.to(device) for c in columns], dim=1) if columns else None  # (B, C)

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

    def _places(self) -> Tensor:
        """Numbers of the nodes, shape (N,), on the CPU whatever torch's default is."""
        return torch.arange(self.num_points, device="cpu")

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return (
            f"num_points={self.num_points}, num_classes={self.num_classes}, ragged={self.ragged}"
        )

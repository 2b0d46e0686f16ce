"""Clouds as a training has them: checked, in order and scaled once, where they enter."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from gconvae.clouds import Clouds
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.vae import VAE

__all__ = ["CloudsInMemory", "TrainingClouds", "training_clouds"]


class TrainingClouds(Protocol):
    """Clouds that a stage learns from, wherever they lie."""

    @property
    def chunk(self) -> int | None:
        """Clouds that are read together, and shuffled among others; None = any at any time."""

    def __len__(self) -> int: ...

    def scaled(self, rows: Tensor) -> Clouds:
        """Some clouds in scaled units, as an encoder takes them."""

    def prepared(self, rows: Tensor) -> Clouds:
        """Some clouds in data units, relative to the offsets of the schema."""

    def is_full(self, num_points: int) -> bool:
        """Whether every cloud has so many nodes, and no place is empty."""

    def to(self, device: torch.device | str) -> TrainingClouds:
        """Where the network is, so that no batch has to be brought there."""


class CloudsInMemory:
    """Clouds that lie in memory, in both units.

    Args:
        model: As which they are scaled.
        clouds: Prepared, see :meth:`gconvae.VAE.prepare`.
        name: What error messages call them.
    """

    chunk: int | None = None

    def __init__(self, model: VAE, clouds: Clouds, name: str = "data") -> None:
        labels = model.conditioning.check_labels(
            clouds.labels, len(clouds.points), f"labels of {name}"
        )
        labels = None if labels is None else labels.cpu()
        points, mask = clouds.points.cpu(), clouds.mask.cpu()
        self.in_data_units = Clouds(points, mask, labels)
        self.in_scaled_units = Clouds(model.scaled(clouds).cpu(), mask, labels)

    def __len__(self) -> int:
        return len(self.in_data_units.points)

    def scaled(self, rows: Tensor) -> Clouds:
        """See :class:`TrainingClouds`."""
        return _rows(self.in_scaled_units, rows)

    def prepared(self, rows: Tensor) -> Clouds:
        """See :class:`TrainingClouds`."""
        return _rows(self.in_data_units, rows)

    def is_full(self, num_points: int) -> bool:
        """See :class:`TrainingClouds`."""
        mask = self.in_data_units.mask
        return mask.shape[1] == num_points and bool(mask.all())

    def to(self, device: torch.device | str) -> CloudsInMemory:
        """See :class:`TrainingClouds`."""
        if torch.device(device).type == "cpu":
            return self
        moved = object.__new__(CloudsInMemory)
        moved.in_data_units, moved.in_scaled_units = (
            Clouds(*(None if part is None else part.to(device) for part in clouds[:3]))  # type: ignore[arg-type]  # points and mask are there
            for clouds in (self.in_data_units, self.in_scaled_units)
        )
        return moved


def training_clouds(model: VAE, data: CloudDataset, name: str) -> TrainingClouds:
    """Clouds of a data set as a model takes them.

    Args:
        model: With the schema and the scaling of the training.
        data: Checked and in order.
        name: What error messages call it.
    """
    return CloudsInMemory(model, model.prepare(data, name=name), name)


def _rows(clouds: Clouds, rows: Tensor) -> Clouds:
    points, mask, labels = clouds[:3]
    rows = rows.to(points.device)
    return Clouds(points[rows], mask[rows], None if labels is None else labels[rows])

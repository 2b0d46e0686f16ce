"""Clouds as a training has them: checked, in order and scaled once, where they enter."""

from __future__ import annotations

import copy
from typing import Protocol

import torch
from torch import Tensor, nn

from gconvae.autoencoder import Autoencoder
from gconvae.clouds import Clouds, relabelled
from gconvae.conditioning import Conditioning, chosen_conditions
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.randomness import generator
from gconvae.vae import VAE

__all__ = [
    "CloudsInMemory",
    "CloudsOnDisk",
    "MOST_SEEN",
    "TrainingClouds",
    "seen_rows",
    "training_clouds",
]


MOST_SEEN = 200_000
"""Clouds of which a stage has all latents, or a middle, in memory; of more, random ones."""


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

    def count(self, conditioning: Conditioning) -> None:
        """Counts labels and numbers of nodes, of which new clouds get theirs."""

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
        rows = model.conditioning.check_conditions(
            clouds.conditions, len(clouds.points), f"conditions of {name}"
        )
        rows = None if rows is None else rows.cpu()
        points, mask = clouds.points.cpu(), clouds.mask.cpu()
        self.in_data_units = Clouds(points, mask, labels, conditions=rows)
        self.in_scaled_units = Clouds(model.scaled(clouds).cpu(), mask, labels, conditions=rows)

    def __len__(self) -> int:
        return len(self.in_data_units.points)

    def scaled(self, rows: Tensor) -> Clouds:
        """See :class:`TrainingClouds`."""
        return self.in_scaled_units.subset(rows)

    def prepared(self, rows: Tensor) -> Clouds:
        """See :class:`TrainingClouds`."""
        return self.in_data_units.subset(rows)

    def is_full(self, num_points: int) -> bool:
        """See :class:`TrainingClouds`."""
        mask = self.in_data_units.mask
        return mask.shape[1] == num_points and bool(mask.all())

    def count(self, conditioning: Conditioning) -> None:
        """See :class:`TrainingClouds`."""
        conditioning.fit(self.in_data_units.mask, self.in_data_units.labels)

    def to(self, device: torch.device | str) -> CloudsInMemory:
        """See :class:`TrainingClouds`."""
        if torch.device(device).type == "cpu":
            return self
        moved = object.__new__(CloudsInMemory)
        moved.in_data_units = self.in_data_units.to(device)
        moved.in_scaled_units = self.in_scaled_units.to(device)
        return moved


class CloudsOnDisk:
    """Clouds of a file; each is checked, put in order and scaled when it is read.

    Args:
        model: As which they are scaled, with the schema and the scaling of the training.
        file: The clouds.
        name: What error messages call them.
    Warns:
        UserWarning: If nodes lie far outside the ranges of the training clouds.
    Raises:
        ValueError: If clouds are not valid, lie outside the ranges that the schema knows, have
            more nodes than the network, or labels that the model does not.
    """

    def __init__(self, model: VAE, file: CloudFile, name: str = "data") -> None:
        self.file = file
        # a copy without weights, on the CPU, where reading is done
        self.units = Units(model)
        # one pass tells all that has to be known before the first step
        seen = file.summary()
        extremes = torch.tensor([seen.low, seen.high], dtype=torch.float64)
        extremes = self.units.scaling.enter(extremes).to(self.units.scaling.low)
        extremes, full = extremes.unsqueeze(0), torch.ones(1, 2, dtype=torch.bool)
        held = self.units.scaling.hold(extremes, full, f"the ends of {name}")
        # then no node has to be looked at again, which takes longer than reading it
        self.is_inside = torch.equal(held, extremes)
        self._check_sizes(name)
        model.conditioning.check_labels(*self._labels(), f"labels of {name}")
        chosen_conditions(file.schema, model.conditioning.names, name)

    @property
    def chunk(self) -> int | None:
        """See :class:`TrainingClouds`."""
        return self.file.chunk

    def __len__(self) -> int:
        return len(self.file)

    def scaled(self, rows: Tensor) -> Clouds:
        """See :class:`TrainingClouds`."""
        clouds = self.prepared(rows)
        return clouds._replace(points=self.units.scaled(clouds))

    def prepared(self, rows: Tensor) -> Clouds:
        """See :class:`TrainingClouds`."""
        taken = self.file.take(rows.cpu())
        return self.units.fitted(taken, None, is_inside=self.is_inside)._replace(schema=None)

    def is_full(self, num_points: int) -> bool:
        """See :class:`TrainingClouds`."""
        *fewer, full = self.file.summary().size_counts
        return self.file.num_points == num_points and full > 0 and not any(fewer)

    def count(self, conditioning: Conditioning) -> None:
        """See :class:`TrainingClouds`."""
        counts = torch.tensor(self.file.summary().joint_counts)
        labels, _ = self._labels()
        conditioning.fit_counts(counts[counts.any(1)], labels)

    def _labels(self) -> tuple[Tensor | None, int]:
        """Those that occur, as the model calls them, and how many they are."""
        counts = self.file.summary().label_counts
        if counts is None:
            return None, 1
        labels = torch.tensor(counts).nonzero().flatten()  # (K,)
        if not self.units.conditioning.num_classes:
            return labels, len(labels)
        return relabelled(labels, self.file.schema, self.units.schema), len(labels)

    def _check_sizes(self, name: str) -> None:
        most = getattr(self.units.encoder, "num_points", None)
        sizes = torch.tensor(self.file.summary().size_counts).nonzero()
        largest = int(sizes.max())
        if most is not None and largest > most:
            raise ValueError(
                f"{name} must have at most {most} nodes a cloud for this network, got {largest}; "
                f"a new model takes them with num_points={largest}, max_nodes={most} of from_file "
                "leaves the last ones out"
            )

    def to(self, device: torch.device | str) -> CloudsOnDisk:
        """Itself: batches are read on the CPU."""
        return self


class Units(Autoencoder):
    """What of a model says how clouds are scaled, without its networks.

    Args:
        model: With the schema and the scaling of the training.
    """

    def __init__(self, model: VAE) -> None:
        nodes = getattr(model.encoder, "num_points", None)
        outline = nn.Module()
        if nodes is not None:
            outline.num_points = nodes
        decoder = nn.Module()
        decoder.num_points = model.conditioning.num_points  # type: ignore[assignment]  # torch expects a tensor
        super().__init__(
            outline,
            decoder,
            copy.deepcopy(model.scaling).cpu(),
            model.prior.latent_dim,
            model.conditioning.num_classes,
            model.conditioning.ragged,
            model.schema,
            model.conditioning.names,
        )


def training_clouds(model: VAE, data: CloudDataset | CloudFile, name: str) -> TrainingClouds:
    """Clouds of a data set as a model takes them.

    Args:
        model: With the schema and the scaling of the training.
        data: Checked and in order, or read so.
        name: What error messages call it.
    """
    if isinstance(data, CloudFile):
        return CloudsOnDisk(model, data, name)
    return CloudsInMemory(model, model.fitted(data.clouds, name), name)


def seen_rows(num_clouds: int, seed: int) -> Tensor:
    """Numbers of all clouds, or of a random part that fits into memory, in their order.

    The part has a cloud out of each of :data:`MOST_SEEN` stretches of one length. So it needs no
    order of all clouds, and is a fair sample of a sorted file too.

    Args:
        num_clouds: How many there are.
        seed: Of the choice.
    Example:
        >>> seen_rows(3, 0)
        tensor([0, 1, 2])
    """
    if num_clouds <= MOST_SEEN:
        return torch.arange(num_clouds, device="cpu")
    random = generator(seed, "clouds that are seen")
    ends = torch.arange(MOST_SEEN + 1, device="cpu") * num_clouds // MOST_SEEN
    places = torch.rand(MOST_SEEN, generator=random, device="cpu", dtype=torch.float64)
    return ends[:-1] + (places * ends.diff()).long()

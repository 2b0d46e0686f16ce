"""What one pass over clouds tells: ranges, sizes, labels and a checksum, in little memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import torch

from gconvae.clouds import Clouds

__all__ = ["CloudSummary", "summarize"]

IN_MEMORY = 2**24
"""Bytes of sizes and labels from which they wait in a temporary file for the end of a pass."""

COPIED = 2**20
"""Clouds whose sizes and labels are brought back together."""


@dataclass(frozen=True)
class CloudSummary:
    """Clouds in few numbers.

    Attributes:
        num_clouds: B.
        low: Lowest value of each feature of real nodes.
        high: Highest value of each.
        size_counts: How many clouds have 0, 1, ..., N nodes.
        label_counts: How many clouds have label 0, 1, ...; None = no labels.
        joint_counts: How many clouds have each label, one row where there are none, and each
            number of nodes, shape (labels, N + 1).
        checksum: SHA-256 of points, mask, labels and conditions, that of
            :meth:`~gconvae.datasets.CloudDataset.checksum`.
    """

    num_clouds: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    size_counts: tuple[int, ...]
    label_counts: tuple[int, ...] | None
    joint_counts: tuple[tuple[int, ...], ...]
    checksum: str


def summarize(pieces: Iterable[Clouds], num_clouds: int, num_nodes: int) -> CloudSummary:
    """One pass over checked clouds in canonical order.

    Args:
        pieces: At least one.
        num_clouds: B of all together, which comes first in the checksum.
        num_nodes: N.
    """
    lows, highs = [], []
    counts = torch.zeros(0, num_nodes + 1, dtype=torch.long)
    has_labels, num_conditions = False, 0
    with (
        tempfile.SpooledTemporaryFile(IN_MEMORY) as sizes_file,
        tempfile.SpooledTemporaryFile(IN_MEMORY) as labels_file,
        tempfile.SpooledTemporaryFile(IN_MEMORY) as conditions_file,
    ):
        digest = hashlib.sha256()
        for number, piece in enumerate(pieces):
            points, mask, labels = piece
            if number == 0:
                digest.update(str((num_clouds, *points.shape[1:])).encode())
            digest.update(np.ascontiguousarray(points.numpy()).data)
            nodes = points if bool(mask.all()) else points[mask]
            nodes = nodes.reshape(-1, points.shape[-1])  # (P, F)
            lows.append(nodes.amin(0))
            highs.append(nodes.amax(0))
            sizes = mask.sum(1)  # (n,)
            counts = _added(counts, sizes, labels)
            sizes_file.write(sizes.numpy().astype(np.int32).tobytes())
            if labels is not None:
                has_labels = True
                labels_file.write(labels.numpy().astype(np.int32).tobytes())
            if piece.conditions is not None:
                num_conditions = piece.conditions.shape[1]
                conditions_file.write(np.ascontiguousarray(piece.conditions.numpy()).data)
        # all else comes after the points, and masks in order are as good as sizes
        _hash_masks(digest, sizes_file, (num_clouds, num_nodes))
        if has_labels:
            digest.update(str((num_clouds,)).encode())
            for part in _integers(labels_file):
                digest.update(part.astype(np.int64).tobytes())
        if num_conditions:
            digest.update(str((num_clouds, num_conditions)).encode())
            conditions_file.seek(0)
            while content := conditions_file.read(4 * COPIED):
                digest.update(content)
    return CloudSummary(
        num_clouds=num_clouds,
        low=tuple(torch.stack(lows).amin(0).tolist()),
        high=tuple(torch.stack(highs).amax(0).tolist()),
        size_counts=tuple(counts.sum(0).tolist()),
        label_counts=tuple(counts.sum(1).tolist()) if has_labels else None,
        joint_counts=tuple(map(tuple, counts.tolist())),
        checksum=digest.hexdigest(),
    )


def _added(counts: torch.Tensor, sizes: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
    """A table of labels and sizes with those of some more clouds, and more rows if need be."""
    rows = torch.zeros_like(sizes) if labels is None else labels
    length, width = max(len(counts), int(rows.max()) + 1), counts.shape[1]
    more = torch.bincount(rows * width + sizes, minlength=length * width).view(length, width)
    more[: len(counts)] += counts
    return more


def _hash_masks(digest: Any, sizes: IO[bytes], shape: tuple[int, int]) -> None:
    digest.update(str(shape).encode())
    for part in _integers(sizes):
        digest.update((np.arange(shape[1]) < part[:, None]).tobytes())


def _integers(file: IO[bytes]) -> Iterable[np.ndarray[Any, Any]]:
    """What was written, some numbers at a time."""
    file.seek(0)
    while content := file.read(4 * COPIED):
        yield np.frombuffer(content, np.int32)

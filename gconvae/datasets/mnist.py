"""The bundled superpixels of MNIST's digits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import resources
from numbers import Integral
from typing import Any, Literal

import numpy as np
import torch

from gconvae.clouds import Clouds
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.plain import plain
from gconvae.schema import SUPERPIXELS

__all__ = ["SuperpixelMNIST", "checked_digits"]

POSITION_STEP = 1 / 16
"""Pixels of one step of a bundled position."""

INTENSITY_STEP = 1 / 255
"""One step of a bundled intensity."""

NUM_TRAIN = 60_000
"""Rows of the bundled file that are MNIST's training images; the rest are its test images."""

DIGITS = SUPERPIXELS.with_classes(tuple("0123456789"))
"""Superpixels whose classes are the digits."""


class SuperpixelMNIST(CloudDataset):
    """The bundled superpixels of MNIST's digits: at most 25 nodes a cloud, brightest first.

    70,000 clouds, cut by :func:`gconvae.superpixels.from_images`; positions to 1/16 px and
    intensity to 1/255. Derived from MNIST, licence CC BY-SA 3.0.

    Args:
        digit: 0 to 9, several of them, or None for all ten.
        split: ``"train"`` (60,000 images) or ``"test"`` (10,000), as in MNIST.
        transform: See :class:`CloudDataset`; likewise the next two.
        pre_transform: Applied once to every graph.
        pre_filter: Which graphs are kept.
    Raises:
        ValueError: If a digit or the split is unknown.
    References:
        | The MNIST database of handwritten digits (LeCun, Cortes and Burges)
    Example:
        >>> data = SuperpixelMNIST(digit=8, split="test")
        >>> data.points.shape, data[0]
        (torch.Size([974, 25, 3]), Data(x=[25, 1], pos=[25, 2], y=[1]))
    """

    def __init__(
        self,
        digit: int | Sequence[int] | None = None,
        split: Literal["train", "test"] = "train",
        transform: Callable[[Any], Any] | None = None,
        pre_transform: Callable[[Any], Any] | None = None,
        pre_filter: Callable[[Any], bool] | None = None,
    ) -> None:
        if split not in ("train", "test"):
            raise ValueError(f"split must be 'train' or 'test', got {split!r}")
        digits = checked_digits(digit)
        with (
            resources.files("gconvae").joinpath("data", "superpixels.npz").open("rb") as file,
            np.load(file, allow_pickle=False) as arrays,
        ):
            labels = arrays["label"]
            is_train = np.arange(len(labels)) < NUM_TRAIN
            rows = np.isin(labels, digits) & (is_train == (split == "train"))
            x, y = (arrays[name][rows] * np.float32(POSITION_STEP) for name in "xy")  # (B, N)
            intensity = arrays["intensity"][rows] * np.float32(INTENSITY_STEP)  # (B, N)
            mask = np.arange(x.shape[1]) < arrays["count"][rows, None]  # (B, N)
        points = torch.from_numpy(np.stack([x, y, intensity], axis=-1))  # (B, N, 3)
        clouds = Clouds(
            points, torch.from_numpy(mask), torch.from_numpy(labels[rows]).long(), DIGITS
        )
        super().__init__(
            clouds, transform=transform, pre_transform=pre_transform, pre_filter=pre_filter
        )


def checked_digits(digit: int | Sequence[int] | None) -> list[int]:
    """Digits as a list; None = all ten.

    Raises:
        ValueError: If one is none of 0 to 9.
    """
    if digit is None:
        return list(range(10))
    digit = plain(digit)
    digits = list(digit) if isinstance(digit, Iterable) else [digit]
    # numpy integers are Integral too, and a bool would pass for 0 or 1
    if not digits or any(
        isinstance(d, bool) or not isinstance(d, Integral) or d not in range(10) for d in digits
    ):
        raise ValueError(f"digit must be 0 to 9, a list of them or None, got {digit!r}")
    return digits

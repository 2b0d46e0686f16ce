"""Every option as a frozen dataclass; standard library only, so that the command starts fast."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DataOptions", "ModelOptions", "SampleOptions", "TrainingOptions"]


@dataclass(frozen=True)
class DataOptions:
    """Which clouds to train on.

    Attributes:
        data: Your own clouds: an npz file with points (B, N, 3) and perhaps mask and labels; by
            default the bundled superpixel digits. A seeded fifth of it is kept aside as test set.
        digit: Digit of the bundled set, 0 to 9, or a list such as [3,8].
    """

    data: str | None = None
    digit: int | list[int] = 8


@dataclass(frozen=True)
class ModelOptions:
    """What to train.

    Attributes:
        model: Name in the catalogue of models.
        latent_dim: Latent dimensions L.
        num_points: Nodes N of a generated cloud; by default those of the largest training cloud.
        channels: Channels of the convolutions.
        hidden: Width of the dense layers.
        padding: Columns of zeros at both ends of a convolution; 1 on the slides, 0 in the author's
            script.
    """

    model: str = "convae"
    latent_dim: int = 10
    num_points: int | None = None
    channels: tuple[int, ...] = (16, 32, 64)
    hidden: int = 1500
    padding: int = 1


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the same names and defaults as :func:`gconvae.fit`.

    Attributes:
        loss: Reconstruction loss: third_axis (eq. 1 of the slides) or matched_intensity (eq. 2).
        beta: Factor of the KL term.
        epochs: Passes over the training clouds, at most.
        batch_size: Clouds a step.
        learning_rate: Of Adam.
        patience: Epochs without a better validation loss after which training stops; null = never.
        seed: Everything random derives from it: split, initial weights, order, latent noise.
        neighbors: Neighbour search of the loss: torch-cluster, dense, or auto, the faster one.
        scaling: Feature ranges: pixels of an image, range of the training clouds, keep the
            model's, or auto: pixels where the data set says that it is an image, else range.
        device: auto takes a GPU if there is one.
        threads: CPU threads for torch; null = as torch has it. Other counts give other bits.
    """

    loss: str = "third_axis"
    beta: float = 1.0
    epochs: int = 100
    batch_size: int = 100
    learning_rate: float = 1e-3
    patience: int | None = 20
    seed: int = 0
    neighbors: Literal["torch-cluster", "dense", "auto"] = "torch-cluster"
    scaling: Literal["auto", "pixels", "range", "keep"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = None


@dataclass(frozen=True)
class SampleOptions:
    """What to draw from a trained model.

    Attributes:
        count: How many clouds to draw.
        seed: The same seed gives the same clouds.
    """

    count: int = 1000
    seed: int = 0

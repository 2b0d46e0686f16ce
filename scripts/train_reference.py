"""Trains the reference classifier on the bundled digits, and writes its weights and card.

python scripts/train_reference.py [--out gconvae/data] [--epochs 30] [--seed 0]
"""

from __future__ import annotations

import dataclasses
from typing import Any

import classifier_training
import torch
from torch import Tensor, nn

from gconvae import datasets
from gconvae.metrics.classifier import CENTRE, ReferenceClassifier

NUM_VALID = 5000


@dataclasses.dataclass(frozen=True)
class Recipe(classifier_training.Recipe):
    """What the training is made with; all of it stands in the card."""

    epochs: int = 30
    distortion: float = 0.1
    shift: float = 0.8
    position_noise: float = 0.15
    intensity_noise: float = 0.02
    dropped_nodes: float = 0.2


def augmented(points: Tensor, recipe: Recipe, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """Clouds (B, N, 3) a little turned, stretched, shifted and shaken, some with fewer nodes."""
    num_clouds, num_nodes, _ = points.shape
    centre = torch.tensor(CENTRE[:2])
    change = recipe.distortion * torch.randn(num_clouds, 2, 2, generator=source)
    shift = recipe.shift * torch.randn(num_clouds, 1, 2, generator=source)
    noise = torch.tensor([recipe.position_noise] * 2 + [recipe.intensity_noise])
    positions = (points[..., :2] - centre) @ (torch.eye(2) + change) + centre + shift
    points = torch.cat([positions, points[..., 2:]], dim=-1)
    points = points + noise * torch.randn(points.shape, generator=source)
    # every second cloud keeps all its nodes, as the test clouds do
    share = recipe.dropped_nodes * torch.rand(num_clouds, 1, generator=source)
    share[::2] = 0.0
    mask = torch.rand(num_clouds, num_nodes, generator=source) >= share  # (B, N)
    mask[:, 0] = True  # no cloud is empty
    return points, mask


def train(data: datasets.CloudDataset, valid: datasets.CloudDataset, recipe: Recipe) -> nn.Module:
    """The running average of the weights after the last epoch."""

    def some(chosen: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
        return augmented(data.points[chosen], recipe, source)

    return classifier_training.train(
        ReferenceClassifier, data, recipe, some, lambda model: float(accuracy(model, valid).mean())
    )


@torch.no_grad()
def standardize(model: ReferenceClassifier, points: Tensor) -> None:
    """Gives each feature mean 0 and standard deviation 1 over clouds (B, N, 3)."""
    layer = model.eval().standardize
    layer.reset_running_stats()
    bare = torch.cat([model.features(part) for part in points.split(1000)])  # (B, D)
    layer.running_mean, layer.running_var = bare.mean(0), bare.var(0)


@torch.no_grad()
def accuracy(model: nn.Module, data: datasets.CloudDataset) -> Tensor:
    """Whether each cloud is recognized, 0 or 1, shape (B,)."""
    assert data.labels is not None  # bundled
    model.eval()
    pairs = zip(data.points.split(1000), data.mask.split(1000), strict=True)
    found = torch.cat([model(*pair).argmax(1) for pair in pairs])  # (B,)
    return found.eq(data.labels).double()


def card(
    model: ReferenceClassifier, recipe: Recipe, sets: dict[str, datasets.CloudDataset]
) -> dict[str, Any]:
    """What the weights are, how good, and how to make and check them."""
    right = accuracy(model, sets["test"])
    digits = sets["test"].labels
    return {
        "content": "weights of gconvae.metrics.ReferenceClassifier, a permutation-invariant "
        "classifier of clouds (x px, y px, intensity) of the digits 0 to 9",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": {
            "name": "gconvae.datasets.SuperpixelMNIST, all ten digits",
            "clouds": {name: len(data) for name, data in sets.items()},
            "sha256": {name: data.checksum() for name, data in sets.items()},
            "validation": "a seeded part of MNIST's training images, for the choice of the "
            "recipe; train is the rest of them",
        },
        "accuracy": {
            "test": round(float(right.mean()), 4),
            "validation": round(float(accuracy(model, sets["validation"]).mean()), 4),
            "test_by_digit": [
                round(float(right[digits == digit].mean()), 4) for digit in range(10)
            ],
        },
        **classifier_training.provenance(recipe, "train_reference.py"),
    }


def main() -> None:
    """Trains, writes weights and card, prints the accuracy."""
    options = classifier_training.options_of(__doc__, Recipe.epochs)
    recipe = Recipe(epochs=options.epochs, seed=options.seed)
    everything = datasets.SuperpixelMNIST(split="train")
    part, valid = datasets.split(everything, (NUM_VALID + 0.5) / len(everything), seed=recipe.seed)
    model = train(part, valid, recipe)
    assert isinstance(model, ReferenceClassifier)
    standardize(model, everything.points)
    sets = {
        "train": part,
        "validation": valid,
        "test": datasets.SuperpixelMNIST(split="test"),
    }
    about = classifier_training.write(
        model, "reference", options.out, lambda: card(model, recipe, sets)
    )
    print(f"accuracy: {about['accuracy']}")


if __name__ == "__main__":
    main()

"""Trains the jet classifier on the bundled jets, and writes its weights and card.

python scripts/train_jet_reference.py [--out gconvae/data] [--epochs 15] [--seed 0]
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import classifier_training
import torch
from torch import Tensor, nn

from gconvae import datasets
from gconvae.metrics.jets.classifier import KINDS, JetClassifier

NAME = "jet_reference"


@dataclasses.dataclass(frozen=True)
class Recipe(classifier_training.Recipe):
    """What the training is made with; all of it stands in the card."""

    epochs: int = 15
    fewest_particles: int = 10


def augmented(
    points: Tensor, mask: Tensor, recipe: Recipe, source: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Jets (B, N, 3) turned about their axis and mirrored, some with the hardest particles only.

    A shower has no direction of its own about the axis; every fourth jet may lose soft particles.
    """
    number, width, _ = points.shape
    angle = 2 * math.pi * torch.rand(number, 1, generator=source)
    sign = torch.where(torch.rand(number, 1, generator=source) < 0.5, -1.0, 1.0)
    eta, phi, pt = points.unbind(-1)
    turned = [
        eta * angle.cos() - phi * angle.sin(),
        sign * (eta * angle.sin() + phi * angle.cos()),
        pt,
    ]
    low, high = min(recipe.fewest_particles, width), width + 1
    kept = torch.randint(low, high, (number, 1), generator=source)
    kept[torch.arange(number) % 4 > 0] = width
    return torch.stack(turned, dim=-1), mask & (torch.arange(width) < kept)  # the hardest first


def jets_of(split: str) -> datasets.CloudDataset:
    """The bundled jets without their masses and the like, which the network never sees."""
    jets = datasets.Jets(split=split)
    schema = jets.schema.replace(conditions=())
    return datasets.from_points(jets.points, jets.mask, jets.labels, schema=schema)


def train(data: datasets.CloudDataset, valid: datasets.CloudDataset, recipe: Recipe) -> nn.Module:
    """The running average of the weights after the last epoch."""

    def some(chosen: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
        return augmented(data.points[chosen], data.mask[chosen], recipe, source)

    def accuracy(model: nn.Module) -> float:
        return float(logits_of(model, valid).argmax(1).eq(valid.labels).double().mean())

    return classifier_training.train(JetClassifier, data, recipe, some, accuracy)


@torch.no_grad()
def standardize(model: JetClassifier, data: datasets.CloudDataset) -> None:
    """Gives each feature mean 0 and standard deviation 1 over the jets."""
    layer = model.eval().standardize
    layer.reset_running_stats()
    pairs = zip(data.points.split(1000), data.mask.split(1000), strict=True)
    bare = torch.cat([model.features(*pair) for pair in pairs])  # (B, D)
    layer.running_mean, layer.running_var = bare.mean(0), bare.var(0)


@torch.no_grad()
def logits_of(model: nn.Module, data: datasets.CloudDataset) -> Tensor:
    """Logits of all jets, shape (B, 3)."""
    model.eval()
    pairs = zip(data.points.split(1000), data.mask.split(1000), strict=True)
    return torch.cat([model(*pair) for pair in pairs])


def quality(model: nn.Module, data: datasets.CloudDataset) -> dict[str, Any]:
    """Share of jets that are recognized, of all and of each kind, and areas under ROC curves."""
    from sklearn.metrics import roc_auc_score

    logits, labels = logits_of(model, data), data.labels
    assert labels is not None  # bundled
    right = logits.argmax(1).eq(labels).double()

    def area(first: int, second: int) -> float:
        chosen = (labels == first) | (labels == second)
        scores = (logits[:, second] - logits[:, first])[chosen]
        return round(float(roc_auc_score(labels[chosen] == second, scores)), 4)

    kinds = [right[labels == i].mean() for i in range(len(KINDS))]
    return {
        "accuracy": round(float(right.mean()), 4),
        "by_kind": {kind: round(float(a), 4) for kind, a in zip(KINDS, kinds, strict=True)},
        "roc_auc": {
            "g against q": area(0, 1),
            "g against t": area(0, 2),
            "q against t": area(1, 2),
        },
    }


def card(
    model: JetClassifier, recipe: Recipe, sets: dict[str, datasets.CloudDataset]
) -> dict[str, Any]:
    """What the weights are, how good, and how to make and check them."""
    test = quality(model, sets["test"])
    return {
        "content": "weights of gconvae.metrics.jets.JetClassifier, a permutation-invariant "
        "classifier of gluon, light-quark and top jets (eta_rel, phi_rel, pt_rel)",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": {
            "name": "gconvae.datasets.Jets, all three kinds",
            "jets": {name: len(data) for name, data in sets.items()},
            "sha256": {name: data.checksum() for name, data in sets.items()},
        },
        "accuracy": {
            "test": test["accuracy"],
            "validation": quality(model, sets["valid"])["accuracy"],
            "test_by_kind": test["by_kind"],
        },
        "roc_auc": test["roc_auc"],
        **classifier_training.provenance(recipe, "train_jet_reference.py"),
    }


def main() -> None:
    """Trains, writes weights and card, prints the accuracy."""
    options = classifier_training.options_of(__doc__, Recipe.epochs)
    recipe = Recipe(epochs=options.epochs, seed=options.seed)
    sets = {name: jets_of(name) for name in ("train", "valid", "test")}
    model = train(sets["train"], sets["valid"], recipe)
    assert isinstance(model, JetClassifier)
    standardize(model, sets["train"])
    about = classifier_training.write(model, NAME, options.out, lambda: card(model, recipe, sets))
    print(f"accuracy: {about['accuracy']}, {about['roc_auc']}")


if __name__ == "__main__":
    main()

"""Trains the jet classifier on the bundled jets, and writes its weights and card.

python scripts/train_jet_reference.py [--out gconvae/data] [--epochs 15] [--seed 0]
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import math
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gconvae import datasets, files
from gconvae.metrics.jets.classifier import KINDS, JetClassifier
from gconvae.randomness import generator, initial_weights

PACKAGES = ("gconvae", "torch", "numpy", "safetensors")
NAME = "jet_reference"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the training is made with; all of it stands in the card."""

    epochs: int = 15
    seed: int = 0
    batch_size: int = 256
    learning_rate: float = 2e-3
    warmup: float = 0.15
    weight_decay: float = 0.05
    largest_gradient: float = 1.0
    average_decay: float = 0.998
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
    points, mask, labels = data.points, data.mask, data.labels
    assert labels is not None  # bundled
    with initial_weights(recipe.seed):
        model = JetClassifier()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    steps = len(points) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.epochs * steps, pct_start=recipe.warmup
    )
    begin = time.perf_counter()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(points), generator=generator(recipe.seed, "order", epoch=epoch))
        model.train()
        total = 0.0
        # the rest of the jets is in another epoch's batches
        for step, chosen in enumerate(order[: steps * recipe.batch_size].view(steps, -1)):
            source = generator(recipe.seed, "augment", epoch=epoch, step=step)
            logits = model(*augmented(points[chosen], mask[chosen], recipe, source))
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.largest_gradient)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            total += float(loss.detach())
        right = logits_of(model, valid).argmax(1).eq(valid.labels).double()
        print(
            f"epoch {epoch + 1}: loss {total / steps:.4f}, validation accuracy "
            f"{right.mean():.4f}, {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    return average.module


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
    weights: bytes,
    model: JetClassifier,
    recipe: Recipe,
    sets: dict[str, datasets.CloudDataset],
) -> dict[str, Any]:
    """What the weights are, how good, and how to make and check them."""
    test = quality(model, sets["test"])
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "file": f"{NAME}.safetensors",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "bytes": len(weights),
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
        "recipe": dataclasses.asdict(recipe),
        "seed": recipe.seed,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
        "command": f"python scripts/train_jet_reference.py --epochs {recipe.epochs} "
        f"--seed {recipe.seed}",
    }


def main() -> None:
    """Trains, writes weights and card, prints the accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gconvae/data"), help="%(default)s")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs, help="%(default)s")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="%(default)s")
    options = parser.parse_args()
    recipe = Recipe(epochs=options.epochs, seed=options.seed)
    torch.set_num_threads(1)  # sums of several threads have other last bits
    torch.use_deterministic_algorithms(True)
    sets = {name: jets_of(name) for name in ("train", "valid", "test")}
    model = train(sets["train"], sets["valid"], recipe)
    assert isinstance(model, JetClassifier)
    standardize(model, sets["train"])
    weights = save({name: value.contiguous() for name, value in model.state_dict().items()})
    about = card(weights, model, recipe, sets)
    options.out.mkdir(parents=True, exist_ok=True)
    with files.whole(options.out / f"{NAME}.safetensors") as temporary:
        temporary.write_bytes(weights)
    with files.whole(options.out / f"{NAME}.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{options.out / about['file']}: {len(weights):,} bytes, sha256 {about['sha256']}")
    print(f"accuracy: {about['accuracy']}, {about['roc_auc']}")


if __name__ == "__main__":
    main()

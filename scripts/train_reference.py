"""Trains the reference classifier on the bundled digits, and writes its weights and card.

python scripts/train_reference.py [--out gconvae/data] [--epochs 30] [--seed 0]
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
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
from gconvae.metrics.classifier import CENTRE, ReferenceClassifier
from gconvae.randomness import generator, initial_weights

NUM_VALID = 5000
PACKAGES = ("gconvae", "torch", "numpy", "safetensors")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What the training is made with; all of it stands in the card."""

    epochs: int = 30
    seed: int = 0
    batch_size: int = 256
    learning_rate: float = 2e-3
    warmup: float = 0.15
    weight_decay: float = 0.05
    largest_gradient: float = 1.0
    average_decay: float = 0.998
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
    points, labels = data.points, data.labels
    assert labels is not None  # bundled
    with initial_weights(recipe.seed):
        model = ReferenceClassifier()
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
        # the rest of the clouds is in another epoch's batches
        for step, chosen in enumerate(order[: steps * recipe.batch_size].view(steps, -1)):
            source = generator(recipe.seed, "augment", epoch=epoch, step=step)
            logits = model(*augmented(points[chosen], recipe, source))
            loss = nn.functional.cross_entropy(logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.largest_gradient)
            optimizer.step()
            schedule.step()
            average.update_parameters(model)
            total += float(loss.detach())
        print(
            f"epoch {epoch + 1}: loss {total / steps:.4f}, validation accuracy "
            f"{accuracy(model, valid).mean():.4f}, {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    return average.module


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
    weights: bytes,
    model: ReferenceClassifier,
    recipe: Recipe,
    sets: dict[str, datasets.CloudDataset],
) -> dict[str, Any]:
    """What the weights are, how good, and how to make and check them."""
    right = accuracy(model, sets["test"])
    digits = sets["test"].labels
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "file": "reference.safetensors",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "bytes": len(weights),
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
        "recipe": dataclasses.asdict(recipe),
        "seed": recipe.seed,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
        "command": f"python scripts/train_reference.py --epochs {recipe.epochs} "
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
    weights = save({name: value.contiguous() for name, value in model.state_dict().items()})
    about = card(weights, model, recipe, sets)
    options.out.mkdir(parents=True, exist_ok=True)
    with files.whole(options.out / "reference.safetensors") as temporary:
        temporary.write_bytes(weights)
    with files.whole(options.out / "reference.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{options.out / about['file']}: {len(weights):,} bytes, sha256 {about['sha256']}")
    print(f"accuracy: {about['accuracy']}")


if __name__ == "__main__":
    main()

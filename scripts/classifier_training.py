"""What the scripts of both reference classifiers share: how one is trained, and its files."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from gconvae import datasets, files
from gconvae.randomness import generator, initial_weights

__all__ = ["Recipe", "options_of", "provenance", "train", "write"]

PACKAGES = ("gconvae", "torch", "numpy", "safetensors")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a training is made with; all of it stands in the card."""

    epochs: int
    seed: int = 0
    batch_size: int = 256
    learning_rate: float = 2e-3
    warmup: float = 0.15
    weight_decay: float = 0.05
    largest_gradient: float = 1.0
    average_decay: float = 0.998


def options_of(doc: str | None, epochs: int) -> argparse.Namespace:
    """The command line: where to, how long, which seed; one thread and exact algorithms."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gconvae/data"), help="%(default)s")
    parser.add_argument("--epochs", type=int, default=epochs, help="%(default)s")
    parser.add_argument("--seed", type=int, default=0, help="%(default)s")
    torch.set_num_threads(1)  # sums of several threads have other last bits
    torch.use_deterministic_algorithms(True)
    return parser.parse_args()


def train(
    kind: type[nn.Module],
    data: datasets.CloudDataset,
    recipe: Recipe,
    augmented: Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]],
    accuracy: Callable[[nn.Module], float],
) -> nn.Module:
    """The running average of the weights after the last epoch.

    Args:
        kind: Class of the network.
        data: Clouds with labels.
        recipe: Of the training.
        augmented: Given numbers of clouds and the only source of random numbers, changed clouds,
            shape (B, N, F), and their mask.
        accuracy: Of the network on clouds that it is not trained on, printed after each epoch.
    """
    labels = data.labels
    assert labels is not None  # bundled
    with initial_weights(recipe.seed):
        model = kind()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.average_decay))
    optimizer = torch.optim.AdamW(
        model.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    steps = len(labels) // recipe.batch_size
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, recipe.epochs * steps, pct_start=recipe.warmup
    )
    begin = time.perf_counter()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(labels), generator=generator(recipe.seed, "order", epoch=epoch))
        model.train()
        total = 0.0
        # the rest of the clouds is in another epoch's batches
        for step, chosen in enumerate(order[: steps * recipe.batch_size].view(steps, -1)):
            source = generator(recipe.seed, "augment", epoch=epoch, step=step)
            logits = model(*augmented(chosen, source))
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
            f"{accuracy(model):.4f}, {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
    return average.module


def provenance(recipe: Recipe, script: str) -> dict[str, Any]:
    """The end of a card: with what, and by which command, the weights are made."""
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {
        "recipe": dataclasses.asdict(recipe),
        "seed": recipe.seed,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions},
        "command": f"python scripts/{script} --epochs {recipe.epochs} --seed {recipe.seed}",
    }


def write(
    model: nn.Module, name: str, out: Path, card: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Weights and card, each whole or not at all; returns the card.

    Args:
        model: Trained.
        name: Of both files, without suffix.
        out: Folder, made where there is none.
        card: Says what the weights are, beside their checksum and size.
    """
    weights = save({key: value.contiguous() for key, value in model.state_dict().items()})
    about = {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(weights).hexdigest(),
        "bytes": len(weights),
        **card(),
    }
    out.mkdir(parents=True, exist_ok=True)
    with files.whole(out / f"{name}.safetensors") as temporary:
        temporary.write_bytes(weights)
    with files.whole(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(about, indent=2) + "\n")
    print(f"{out / about['file']}: {len(weights):,} bytes, sha256 {about['sha256']}")
    return about

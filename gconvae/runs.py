"""The run folder: what a training leaves on disk, written whole, read without running code."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from gconvae import files, models
from gconvae.scaling import FeatureScaling
from gconvae.vae import VAE

__all__ = [
    "History",
    "Run",
    "check_saveable",
    "claim_folder",
    "environment",
    "free_folder",
    "load",
    "save_model",
    "write_history",
    "write_json",
]

FORMAT = 1
"""Version of the layout of ``model.json``."""

History = dict[str, list[float]]
"""A list a column (epoch, train_loss, train_rec, train_kl, valid_loss, ...), an entry an epoch."""


@dataclass(frozen=True)
class Run:
    """A finished training.

    Attributes:
        model: The trained copy, at its best epoch by validation loss.
        history: One list a column, one entry an epoch.
        manifest: What it was made with: options, versions, machine, checksum of the data.
        folder: Where all of it was saved, or None.
    """

    model: VAE
    history: History
    manifest: Mapping[str, Any]
    folder: Path | None = None


def load(folder: str | os.PathLike[str]) -> VAE:
    """The model of a run folder; never runs code from a file.

    Args:
        folder: As ``gconvae.fit(..., out=folder)`` or ``gconvae train`` wrote it.
    Raises:
        FileNotFoundError: If there is no such folder, or it holds no finished model.
        ValueError: If a file in it is damaged.
    """
    folder = Path(folder)
    described, weights = folder / "model.json", folder / "model.safetensors"
    for file in (described, weights):
        if not file.is_file():
            reason = "has no finished training" if folder.is_dir() else "does not exist"
            raise FileNotFoundError(f"folder must hold {file.name}, {folder} {reason}")
    try:
        description = json.loads(described.read_text())
        state = load_file(weights)
    except (json.JSONDecodeError, UnicodeDecodeError, SafetensorError) as error:
        raise ValueError(f"folder must hold a whole model, {folder} is damaged: {error}") from None
    model = _described(description, described)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights} must fit {described}: {error}") from None
    return model.eval()


def _described(description: Any, source: Path) -> VAE:
    """The untrained model of a ``model.json``; its feature ranges come with the weights."""
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"{source} must be of format {FORMAT}, got {description!r}")
    for key, kind in {"name": str, "options": dict, "extent": float}.items():
        if not isinstance(description.get(key), kind):
            raise ValueError(
                f"{source} must hold {key} of type {kind.__name__}, got {description.get(key)!r}"
            )
    model = models.create(description["name"], **description["options"])
    model.scaling = FeatureScaling(model.scaling.low, model.scaling.high, description["extent"])
    return model


def check_saveable(model: VAE) -> None:
    """Refuses a model that :func:`load` could not make again.

    Raises:
        ValueError: If the model was put together by hand.
    """
    if model.catalogue_entry is None:
        raise ValueError(
            "model must come from gconvae.models.create to be saved, "
            "got one put together by hand; train it with out=None"
        )


def save_model(model: VAE, folder: Path) -> None:
    """Writes ``model.safetensors``, then ``model.json``: a model never lacks its weights."""
    check_saveable(model)
    assert model.catalogue_entry is not None  # check_saveable
    name, options = model.catalogue_entry
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with files.whole(folder / "model.safetensors") as temporary:
        temporary.write_bytes(save(state))  # save_file would hide it from other users
    description = {
        "format": FORMAT,
        "name": name,
        "options": dict(options),
        "extent": model.scaling.extent,
    }
    write_json(description, folder / "model.json")


def claim_folder(folder: str | os.PathLike[str]) -> Path:
    """Makes a new run folder; an older run is never written over.

    Raises:
        ValueError: If it exists and is not an empty folder.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out must be a new or empty folder, got {folder}, which is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def free_folder(wanted: Path) -> Path:
    """``wanted``, or ``wanted-2``, ``wanted-3``, ...: the first that does not exist yet."""
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


def write_json(content: Mapping[str, Any], path: Path) -> None:
    """Writes JSON whole or not at all."""
    with files.whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def write_history(history: History, path: Path) -> None:
    """Writes one CSV row an epoch, whole or not at all, floats to the last bit."""
    with files.whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(history)
        writer.writerows(zip(*history.values(), strict=True))


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """Versions and machine, as far as they can change a number."""
    versions: dict[str, str | None] = {}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "versions": versions,
        "system": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
    }

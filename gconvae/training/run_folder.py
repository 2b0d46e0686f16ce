"""The run folder: what a training leaves on disk, written whole, read without running code."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as write_tensors

from gconvae import files, json_text, models
from gconvae.lazy import linked
from gconvae.plain import did_you_mean
from gconvae.training.build_limit import check_numbers, limited
from gconvae.vae import VAE

__all__ = [
    "begin",
    "FolderTakenError",
    "check_saveable",
    "describe",
    "differences",
    "environment",
    "free_folder",
    "load",
    "located",
    "pretrained",
    "read_manifest",
    "save",
    "save_model",
    "write_json",
]

FORMAT = 3
"""Version of the layout of ``model.json``."""

PRETRAINED = "pretrained:"
"""What the name of a bundled model begins with where a run folder could stand."""

HUB = "hf:"
"""What the name of a model of the Hugging Face hub begins with, likewise."""

_BUNDLED = resources.files("gconvae").joinpath("data", "pretrained")

COMPARED = ("options", "model", "train", "valid")
"""Parts of a manifest that a resumed training must share with the begun one."""

UNFIT = (
    *(ArithmeticError, AssertionError, AttributeError, KeyError, IndexError, MemoryError),
    *(NotImplementedError, RecursionError, RuntimeError, TypeError, ValueError),
)
"""What parts raise of options that are none of theirs."""

CHANGEABLE = (
    "workers",
    "initial_seed",
    "devices",
    "num_nodes",
    "strategy",
    "callbacks",
    "logger",
    "max_time",
)
"""Entries of these parts that need not be the same: they change no more than the last digits."""


class FolderTakenError(ValueError):
    """The folder of a new run exists, perhaps since a moment ago; nothing is written over."""


def load(folder: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> VAE:
    """The model of a run folder, a bundled one or one of the hub; never runs code from a file.

    Args:
        folder: As ``gconvae.fit(..., out=folder)`` or ``gconvae train`` wrote it, or
            ``"pretrained:NAME"`` with a name of :func:`pretrained`, or ``"hf:user/name"`` or
            ``"hf:user/name@revision"``, a model of the Hugging Face hub (extra ``hub``), whose
            files stay in the hub's cache.
        device: Where to put the model, whatever device it was trained on.
    Raises:
        FileNotFoundError: If there is no such folder, or it holds no finished model; if the hub
            has no such model, or cannot be reached and the cache does not have it.
        ValueError: If a file in it is damaged, or no bundled model has that name, or a name of the
            hub is malformed.
        ModuleNotFoundError: If huggingface_hub is needed and not installed.
    Example:
        >>> load("pretrained:eights").sample(2, seed=0).shape
        torch.Size([2, 25, 3])
    """
    folder = located(folder)
    described, weights = folder / "model.json", folder / "model.safetensors"
    for file in (described, weights):
        if not file.is_file():
            reason = "has no finished training" if folder.is_dir() else "does not exist"
            raise FileNotFoundError(f"folder must hold {file.name}, {folder} {reason}")
    try:
        description = json_text.read(described)
        state = load_file(weights)
    except (ValueError, OSError, SafetensorError) as error:
        raise ValueError(f"folder must hold a whole model, {folder} is damaged: {error}") from None
    model = _described(description, described, state)
    try:
        model.load_state_dict(state)
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{weights} must fit {described}: {error}") from None
    return model.to(device).eval()


def pretrained() -> list[str]:
    """Names of the models whose weights come with the package.

    The manifest of such a model, :func:`read_manifest` of ``"pretrained:NAME"``, says how it was
    trained and what its clouds came to. Its weights are stored in half precision.

    Example:
        >>> "eights" in pretrained()
        True
    """
    return sorted(folder.name for folder in _BUNDLED.iterdir() if folder.is_dir())


def located(folder: str | os.PathLike[str]) -> Path:
    """The folder itself, that of a bundled model, or the copy of one of the hub.

    Raises:
        FileNotFoundError: If the hub has no such model, or cannot be reached.
        ValueError: If there is no bundled model of that name, or a name of the hub is malformed.
    """
    if str(folder).startswith(HUB):
        return Path(linked("hub_folder")(str(folder).removeprefix(HUB)))
    if not str(folder).startswith(PRETRAINED):
        return Path(folder).expanduser()
    name = str(folder).removeprefix(PRETRAINED)
    if name not in pretrained():
        known = ", ".join(PRETRAINED + known for known in pretrained())
        hint = did_you_mean(name, pretrained(), PRETRAINED)
        raise ValueError(f"a bundled model must be one of {known}, got {folder}{hint}")
    return Path(str(_BUNDLED.joinpath(name)))


def _described(description: Any, source: Path, state: Mapping[str, torch.Tensor]) -> VAE:
    """The untrained model of a ``model.json``; its feature ranges come with the weights.

    The weights, of which the file holds every number, say how large it may become.
    """
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise ValueError(f"{source} must be of format {FORMAT}, got {description!r:.200}")
    extent = description.get("extent")
    if not isinstance(extent, float) or not 0 < extent < math.inf:
        raise ValueError(f"{source} must hold extent, a finite float above 0, got {extent!r:.100}")
    numbers = sum(value.numel() for value in state.values())
    try:
        check_numbers(description, numbers, "its numbers")
        with limited(numbers, len(state)):
            model = models.compose(description)
    except UNFIT as error:
        raise ValueError(
            f"{source} must hold a model of registered parts: {error!s:.1000}"
        ) from None
    model.scaling.extent = extent
    return model


def check_saveable(model: VAE) -> None:
    """Refuses a model that :func:`load` could not make again.

    Raises:
        ValueError: If a part is not registered, or an option of it is not plain.
    """
    try:
        json.dumps(models.describe(model))
    except TypeError as error:
        raise ValueError(
            f"model must have parts with plain options, numbers, texts and lists of them: {error}"
        ) from None


def save(model: VAE, folder: str | os.PathLike[str]) -> Path:
    """Saves a model in a new folder, for :func:`load`; one with a new prior, for instance.

    Args:
        model: Of registered parts.
        folder: A new folder.
    Raises:
        FolderTakenError: If the folder exists.
        ValueError: If a part is not registered, see :func:`gconvae.registry.register`.
    Example:
        >>> import gconvae, tempfile
        >>> model = gconvae.models.create("convae", hidden=16, seed=0)
        >>> folder = save(model, Path(tempfile.mkdtemp()) / "eights")
        >>> torch.equal(load(folder).sample(2), model.sample(2))
        True
    """
    check_saveable(model)
    folder = Path(folder).expanduser()
    _new_folder(folder)
    save_model(model, folder)
    return folder


def save_model(model: VAE, folder: Path) -> None:
    """Writes ``model.safetensors``, then ``model.json``: a model never lacks its weights."""
    check_saveable(model)
    # a copy of each: weights that two parts share are written for both
    state = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
    state = {key: value.contiguous() for key, value in state.items()}
    with files.whole(folder / "model.safetensors") as temporary:
        temporary.write_bytes(write_tensors(state))  # save_file would hide it from other users
    described = models.describe(model) | {"extent": model.scaling.extent}
    write_json({"format": FORMAT} | described, folder / "model.json")


def describe(model: VAE, *, with_scaling: bool = False) -> dict[str, Any]:
    """Which model, and which weights, a training begins with.

    Args:
        model: The model.
        with_scaling: Whether its feature ranges matter; else the training chooses them.
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if with_scaling or not name.startswith("scaling."):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    try:
        described = models.describe(model)
    except ValueError:  # cannot be saved, but compared
        described = {kind: type(getattr(model, kind)).__name__ for kind in models.KINDS}
    return described | {
        "initial_seed": model.initial_seed,
        "weights_sha256": digest.hexdigest(),
    }


def begin(
    folder: str | os.PathLike[str], manifest: Mapping[str, Any], *, resume: bool = False
) -> Path:
    """Makes a new run folder with its manifest and config, or finds one to go on with.

    Args:
        folder: New; with ``resume``, that of a begun run.
        manifest: What the training begins with; on resuming, what has to be the same.
        resume: Whether the run was begun before.
    Warns:
        UserWarning: If a begun run was begun on another machine or with other versions.
    Raises:
        FileNotFoundError: If ``resume`` finds no begun run.
        FolderTakenError: If the folder of a new run exists.
        ValueError: If a begun run was begun with something else.
    """
    folder = Path(folder).expanduser()
    if resume:
        begun = read_manifest(folder)
        _check_same(begun, manifest, folder)
        for name, old, new in differences(begun.get("machine", {}), manifest.get("machine", {})):
            warnings.warn(
                f"{folder} was begun with {name} {old}, now it is {new}: last bits may differ",
                stacklevel=3,
            )
        for file in folder.glob(".*.partial*"):  # left by a kill
            file.unlink()
        return folder
    json.dumps(manifest)  # what cannot be written must not leave an empty folder
    _new_folder(folder)
    write_json(manifest, folder / "manifest.json")
    write_json(manifest["config"], folder / "config.yaml")  # JSON is YAML
    return folder


def _new_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        raise FolderTakenError(f"out must be a new folder, {folder} exists") from None


def read_manifest(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What a run was begun with, and, if it is finished, how it ended.

    Args:
        folder: A run folder, ``"pretrained:NAME"`` or ``"hf:user/name"``.
    Raises:
        FileNotFoundError: If the folder holds no begun run.
        ValueError: If its manifest is damaged.
    """
    file = located(folder) / "manifest.json"
    if not file.is_file():
        raise FileNotFoundError(f"folder must hold a begun run, {folder} has no {file.name}")
    try:
        manifest = json_text.read(file)
    except (ValueError, OSError) as error:
        raise ValueError(f"{file} must be a manifest, it is damaged: {error}") from None
    if not isinstance(manifest, dict) or not set(COMPARED) <= manifest.keys():
        raise ValueError(f"{file} must hold {', '.join(COMPARED)}, got {manifest!r:.200}")
    for key in COMPARED:
        if not isinstance(manifest[key], dict | None):
            raise ValueError(f"{file} must hold {key} with entries, got {manifest[key]!r:.100}")
    return manifest


def _check_same(begun: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    # through JSON, which has no tuples
    now = json.loads(json.dumps({key: now[key] for key in COMPARED}))
    for key in COMPARED:
        for name, old, new in differences(begun[key], now[key]):
            if name in CHANGEABLE:
                continue
            raise ValueError(
                f"resume must keep what {folder} was begun with, "
                f"got {key} {name} = {new!r}, was {old!r}"
            )


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """What two parts of manifests differ in: name, value before, value now.

    Example:
        >>> differences({"torch": "2.14", "device": "cpu"}, {"torch": "2.15", "device": "cpu"})
        [('torch', '2.14', '2.15')]
    """
    names = sorted(old.keys() | new.keys())
    pairs = [(name, old.get(name), new.get(name)) for name in names]
    return [pair for pair in pairs if pair[1] != pair[2]]


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


def environment(packages: Sequence[str]) -> dict[str, str | None]:
    """Versions and machine, as far as they can change a number."""
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in packages},
        "system": platform.platform(),
        "processor": _processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


@functools.cache  # a process has one, and a short training would take as long as looking
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor_name() -> str:
    """The model of the processor; on Linux, Python knows its family only."""
    try:
        match = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        match = None
    return platform.processor() if match is None else match[1]

"""Manifests as they are published: of the paths of this machine only the last name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

from gconvae import models, registry
from gconvae.vae import VAE

__all__ = ["check_no_paths", "published_manifest", "runnable_config"]

DECISIVE = ("monitor", "mode", "annealing_strategy", "interval", "logging_interval")
"""Text options of Lightning's callbacks that are no paths, and that a reproduction needs."""

_START = r"(?:file:/|~\w*[/\\]|\.{1,2}[/\\]|[/\\]|[A-Za-z]:[/\\])"

_WHOLE = re.compile(_START + r"\S")

_QUOTED = re.compile(r"""(['"])((?:(?!\1).)*[/\\](?:(?!\1).)*)\1""")

_UNQUOTED = re.compile(rf"""(?<![^\s=(,\[]){_START}[^\s,()'"\]=]+""")

_STAGE = re.compile(r"(\w+: )?(.*)", re.DOTALL)


def published_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest without the folders of this machine.

    Of paths stays the last name. Loggers keep no options, callbacks numbers and those texts
    (``monitor``, ``mode``) that are no paths and that a reproduction needs.

    Args:
        manifest: Of a run; it does not change.
    Example:
        >>> options = {"logger": "CSVLogger(save_dir='/home/me')", "loss": "third_axis"}
        >>> published_manifest({"options": options, "network_of": "/home/me/other"})
        {'options': {'logger': 'CSVLogger', 'loss': 'third_axis'}}
    """
    return {
        key: value if key == "machine" else _published(value)
        for key, value in manifest.items()
        if key != "network_of"
    }


def runnable_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A published config that can be trained: a logger that lost its options is left out.

    Example:
        >>> runnable_config({"logger": "CSVLogger", "epochs": 3})
        {'logger': None, 'epochs': 3}
    """
    is_whole = config.get("logger") in ("csv", "tensorboard")
    return {key: value if key != "logger" or is_whole else None for key, value in config.items()}


def check_no_paths(model: VAE) -> None:
    """Refuses a model of which ``model.json`` would publish a path, since its parts need it.

    Raises:
        ValueError: If an option of a part is an absolute path.
    """
    for kind, part in models.describe(model).items():
        options = part.get("options", {}) if isinstance(part, Mapping) else {}
        for name, value in options.items():
            if _without_folders(value) != value:
                raise ValueError(
                    "a published model must have parts without paths of this machine, "
                    f"got {name} = {value!r} of its {kind}"
                )


def _published(value: Any, name: str = "") -> Any:
    """A part of a manifest, however deep."""
    if isinstance(value, Mapping):
        return {key: _published(entry, key) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_published(entry, name) for entry in value]
    if not isinstance(value, str):
        return value
    if name == "data":
        return _last_name(value)  # of jets:gluon all
    if name == "callbacks":
        return _callback(value)
    return _logger(value) if name == "logger" else _without_folders(value)


def _callback(text: str) -> str:
    """A callback with those options that cannot be a path."""
    match = _STAGE.fullmatch(text)
    assert match is not None
    stage, call = match[1] or "", match[2]
    try:
        (term,) = registry.parse(call)
    except ValueError:
        return stage + call.partition("(")[0]
    kept = {
        name: value
        for name, value in term.options.items()
        if name in DECISIVE or not _holds_text(value)
    }
    if kept == term.options:
        return text
    options = ", ".join(f"{name}={value!r}" for name, value in kept.items())
    return f"{stage}{term.name}({options})" if kept else stage + term.name


def _logger(text: str) -> str:
    """The names of loggers."""
    try:
        return " + ".join(term.name for term in registry.parse(text))
    except ValueError:
        return text.partition("(")[0]


def _holds_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return True  # its keys
    if isinstance(value, list | tuple | set):
        return any(_holds_text(entry) for entry in value)
    return isinstance(value, str | bytes)


def _without_folders(value: Any) -> Any:
    """A value with the last name of each path in its texts."""
    if isinstance(value, list | tuple):
        return type(value)(_without_folders(entry) for entry in value)
    if isinstance(value, Mapping):
        return {key: _without_folders(entry) for key, entry in value.items()}
    if not isinstance(value, str):
        return value
    if _WHOLE.match(value):
        return _last_name(value)
    quoted = _QUOTED.sub(lambda match: f"{match[1]}{_last_name(match[2])}{match[1]}", value)
    return _UNQUOTED.sub(lambda match: _last_name(match[0]), quoted)


def _last_name(path: str) -> str:
    return PureWindowsPath(path).name  # which knows both kinds of slashes

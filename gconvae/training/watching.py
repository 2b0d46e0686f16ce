"""Callbacks and loggers of a training, as objects or by the names that a command line has."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import callbacks as known_callbacks
from lightning.pytorch import loggers as known_loggers
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from gconvae import registry
from gconvae.plain import did_you_mean

__all__ = [
    "STAGES",
    "begin_anew",
    "check_time",
    "leave",
    "create_callbacks",
    "create_logger",
    "option_text",
    "callback_texts",
]

LOGS = "logs"
"""Folder of loggers that are asked for by name, in the run folder."""


STAGES = ("network", "prior", "likelihood", "joint", "temperature")
"""Names of stages."""

_NOTED: dict[int, tuple[Any, dict[str, Any], dict[str, Any]]] = {}
"""Callbacks by their id: a reference, how their owner made them, and how a stage left them."""


def begin_anew(watcher: Callback) -> None:
    """A callback as its owner made it, without what earlier stages and trainings left in it.

    Args:
        watcher: It changes. What its owner has set since then stays.
    """
    reference, first, left = _NOTED.get(id(watcher), (None, {}, {}))
    if reference is None or reference() is not watcher:
        first, left = {}, {}
    now = vars(watcher)
    kept = {
        name: first[name] if name in first and left.get(name) is value else _copied(value)
        for name, value in now.items()
    }
    now.update({name: _copied(value) for name, value in kept.items()})
    number = id(watcher)
    forget = weakref.ref(watcher, lambda _: _NOTED.pop(number, None))
    _NOTED[number] = forget, kept, {}


def leave(watcher: Callback) -> None:
    """Notes how a stage left a callback, for :func:`begin_anew`."""
    if id(watcher) in _NOTED:
        reference, first, _ = _NOTED[id(watcher)]
        _NOTED[id(watcher)] = reference, first, dict(vars(watcher))


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except (TypeError, RuntimeError):  # of a lock, for instance, which stays the same
        return value


def create_callbacks(callbacks: Any) -> Any:
    """Callbacks, those that are asked for by name made.

    Args:
        callbacks: A callback or its name, a list of these, or a dict from a stage's name to a
            list.
    Raises:
        ValueError: If it is none of these, or there is no such callback or stage.
    """
    if isinstance(callbacks, Mapping):
        unknown = sorted(set(callbacks) - set(STAGES))
        if unknown:
            raise ValueError(
                f"callbacks must be for stages out of {', '.join(STAGES)}, got {unknown[0]!r}"
            )
        return {
            stage: [_callback(one) for one in _listed(part)] for stage, part in callbacks.items()
        }
    return [_callback(one) for one in _listed(callbacks)]


def create_logger(logger: Any, folder: Path | None) -> Any:
    """Loggers, those that are asked for by name made.

    Args:
        logger: A logger or a name, a list of these, or None.
        folder: The run folder; None = names write into the current folder.
    Raises:
        ValueError: If there is no such logger.
        ModuleNotFoundError: If what it needs is not installed.
    """
    if logger is None or logger is False:
        return None
    if logger is True:
        logger = "csv"
    loggers = [_logger(one, folder) for one in _listed(logger)]
    return loggers[0] if len(loggers) == 1 else loggers


def check_time(limit: Any) -> None:
    """Refuses a limit of time that Lightning does not take.

    Args:
        limit: ``"00:01:30:00"``, a timedelta, a dict such as ``{"hours": 2}``, or None.
    Raises:
        ValueError: If it is none of these, or no time at all.
    """
    if limit is None:
        return
    try:
        left = known_callbacks.Timer(limit).time_remaining()
    except (MisconfigurationException, AttributeError, TypeError):
        left = None
    if not left or left < 0:
        raise ValueError(
            "max_time must be a time above 0 in the form DD:HH:MM:SS, such as 00:01:30:00, a "
            f"timedelta, or a dict such as {{'hours': 2}}, got {limit!r}"
        )


def option_text(options: Any) -> str | None:
    """An option as a manifest has it: a name, or what a function or object is called."""
    if options is None or options is False:
        return None
    if isinstance(options, str | timedelta):
        return str(options)
    if isinstance(options, list | tuple):
        return " + ".join(str(option_text(one)) for one in options)
    name = getattr(options, "__qualname__", None)
    if name is not None:
        return str(name)
    return str(options) if isinstance(options, Mapping | bool) else type(options).__name__


def callback_texts(callbacks: Any) -> list[str] | None:
    """Callbacks as a manifest has them."""
    if callbacks is None:
        return None
    if isinstance(callbacks, Mapping):
        return [
            f"{stage}: {option_text(one)}"
            for stage, part in callbacks.items()
            for one in _listed(part)
        ]
    return [str(option_text(one)) for one in _listed(callbacks)]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    is_several = isinstance(value, Sequence) and not isinstance(value, str)
    return list(value) if is_several else [value]


def _callback(asked: Any) -> Callback:
    if isinstance(asked, Callback):
        return asked
    if not isinstance(asked, str):
        raise ValueError(f"callbacks must be callbacks of Lightning or their names, got {asked!r}")
    callback = _named("callback", asked, known_callbacks)
    assert isinstance(callback, Callback)
    return callback


def _logger(asked: Any, folder: Path | None) -> Logger:
    if isinstance(asked, Logger):
        return asked
    if not isinstance(asked, str):
        raise ValueError(f"logger must be a logger of Lightning or its name, got {asked!r}")
    place = Path() if folder is None else folder
    if asked == "csv":
        return CSVLogger(place, name=LOGS)
    if asked == "tensorboard":
        try:
            return TensorBoardLogger(place, name=LOGS)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                'logger tensorboard needs TensorBoard: pip install "gconvae[tensorboard]"',
                name=error.name,
            ) from None
    logger = _named("logger", asked, known_loggers)
    assert isinstance(logger, Logger)
    return logger


def _named(kind: Any, text: str, known: Any) -> Any:
    """An object by its name: a registered one, or a class of Lightning."""
    terms = registry.parse(text)
    if len(terms) != 1 or terms[0].weight != 1:
        raise ValueError(f"{kind} must be one, not a sum, got {text!r}")
    name, options = terms[0].name, terms[0].options
    if name in registry.available(kind):
        return registry.create(kind, text)
    if name not in known.__all__ or name in ("Callback", "Logger"):
        own = ["csv", "tensorboard"] if kind == "logger" else []
        names = [*own, *registry.available(kind), *known.__all__]
        hint = did_you_mean(name, names)
        raise ValueError(f"{kind} must be one of {', '.join(names)}, got {name!r}{hint}")
    try:
        return getattr(known, name)(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"options of {kind} {name} must fit it, got {options}: {error}") from None

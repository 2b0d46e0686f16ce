"""What all commands share: their form, recipes, and the options of a class among their words."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from gconvae import recipes

__all__ = [
    "Command",
    "StoppedError",
    "add_overwrite",
    "add_recipe",
    "check_free",
    "heard_first",
    "options_of",
]


class Command(NamedTuple):
    """One command of ``gconvae``.

    Attributes:
        run: Runs it, from all its options and those that were written out to an exit code;
            None = 0.
        parser: Makes its parser.
        help: What it does, in a few words.
        recipe: Which recipe it takes where none is named, by ``--data``; None = it has no recipes.
    """

    run: Callable[[Namespace, Namespace], int | None]
    parser: Callable[[], ArgumentParser]
    help: str
    recipe: Callable[[str | None], str] | None = None


class StoppedError(KeyboardInterrupt):
    """A command was stopped; the message says how to go on."""


def add_recipe(parser: ArgumentParser, default: str) -> None:
    """The option ``--recipe``."""
    parser.add_argument(
        "--recipe",
        type=str,
        default=default,
        help="named options, which are the defaults below: "
        f"{', '.join(recipes.available())}. gconvae list recipes says what they are for",
    )


def add_overwrite(parser: ArgumentParser) -> None:
    """The option ``--overwrite``."""
    parser.add_argument("--overwrite", type=bool, default=False, help="replace files that exist")


def options_of(kind: type[Any], options: Namespace, **fixed: Any) -> Any:
    """One options class, whose fields lie flat in the command's options.

    Args:
        kind: The class.
        options: Of the command.
        fixed: Fields that the command has no option for.
    Raises:
        ValueError: If a value is out of its range.
    """
    names = [field.name for field in fields(kind) if field.name not in fixed]
    return kind(**fixed, **{name: options[name] for name in names})


def check_free(*files: Path | None, overwrite: bool) -> None:
    """Refuses files that exist, unless they may be replaced.

    Raises:
        ValueError: If one exists.
    """
    for file in files:
        if file is not None and file.exists() and not overwrite:
            raise ValueError(f"out and figure must not exist yet (or --overwrite), got {file}")


@contextmanager
def heard_first(name: str, say: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Says something when the library begins, and has thus accepted all that it was given.

    Args:
        name: Of the logger on which the library says that it begins.
        say: Is called with its first message.
    """
    logger = logging.getLogger(name)

    class Once(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            leave()
            say(record)

    def leave() -> None:
        if handler in logger.handlers:
            logger.removeHandler(handler)
            logger.setLevel(level)

    handler, level = Once(), logger.level
    logger.addHandler(handler)
    if not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        leave()

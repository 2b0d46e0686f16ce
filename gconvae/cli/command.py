"""What all commands share: their form, recipes, and the options of a class among their words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from gconvae import recipes

__all__ = ["Command", "add_recipe", "check_free", "follow_recipe", "options_of"]


class Command(NamedTuple):
    """One command of ``gconvae``.

    Attributes:
        run: Runs it, from all its options and those that were written out to an exit code;
            None = 0.
        parser: Makes its parser.
        help: What it does, in a few words.
    """

    run: Callable[[Namespace, Namespace], int | None]
    parser: Callable[[], ArgumentParser]
    help: str


def add_recipe(parser: ArgumentParser, default: str) -> None:
    """The option ``--recipe``, with all recipes in its help."""
    known = "; ".join(f"{name}: {recipes.get(name).summary}" for name in recipes.available())
    parser.add_argument(
        "--recipe",
        type=str,
        default=default,
        help=f"named options that take the place of the defaults below. {known}",
    )


def follow_recipe(options: Namespace, explicit: Namespace) -> None:
    """Puts the options of the recipe in the place of defaults, in place."""
    for name, value in recipes.get(options.recipe).options.items():
        if name not in explicit:
            options[name] = value


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
            raise ValueError(
                f"out and figure must not exist yet (or --overwrite true), got {file}"
            )

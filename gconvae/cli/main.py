"""The command ``gconvae``: finds the command that is asked for, runs it, and says what is wrong.

Only the options are imported at start; everything heavy waits until a command runs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jsonargparse import ArgumentParser

from gconvae import __version__
from gconvae.cli import evaluate, export, jets, reproduce, sample, sweep, train
from gconvae.cli.command import Command

__all__ = ["main", "parser", "with_underscores"]

COMMANDS: dict[str, Command] = {
    "train": train.COMMAND,
    "sample": sample.COMMAND,
    "export": export.COMMAND,
    "evaluate": evaluate.COMMAND,
    "sweep": sweep.COMMAND,
    "reproduce": reproduce.COMMAND,
    "jets": jets.COMMAND,
}

WRONG_INPUT = (
    argparse.ArgumentError, ValueError, OSError, FloatingPointError, ModuleNotFoundError
)  # fmt: skip
"""Errors that are the user's to solve: one line, no traceback."""


SPINS = 20_000
"""Rounds in which a thread of torch that waits for another one looks for it before it sleeps, some
50 us. Without a number it spins for milliseconds; where other programs have the core of the one
that it waits for, that takes the time this one needs (decision 0011)."""


def wait_less_awake() -> None:
    """Says so to OpenMP, which asks once, when torch is imported; a user's own settings stay."""
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words after ``gconvae``; None = those of the process.
    Returns:
        Exit code: 0; 2 after one line on stderr where the input was wrong; 130 if interrupted.
    """
    words = with_underscores(sys.argv[1:] if arguments is None else arguments)
    wait_less_awake()
    try:
        with _plain_warnings():
            reader = parser()
            parsed = reader.parse_args(words)
            options = parsed[parsed.command]
            explicit = reader.parse_args(words, defaults=False)[parsed.command]
            if options.parts is not None:
                from gconvae.registry import import_parts

                import_parts(options.parts)
            return COMMANDS[parsed.command].run(options, explicit) or 0
    except WRONG_INPUT as error:
        print(f"gconvae: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = words[0] in ("sweep", "jets")
        hint = "the same command goes on" if again else "--resume RUN goes on"
        print(f"gconvae: stopped; {hint}", file=sys.stderr)
        return 130


def parser() -> ArgumentParser:
    """The parser of all commands."""
    whole = ArgumentParser(
        prog="gconvae", description="Generate small sparse point sets.", exit_on_error=False
    )
    whole.add_argument("--version", action="version", version=f"gconvae {__version__}")
    commands = whole.add_subcommands(dest="command", required=True)
    for name, command in COMMANDS.items():
        subparser = command.parser()
        subparser.add_argument(
            "--parts",
            type=str | None,
            help="Python file or module that registers encoders and other parts of your own",
        )
        commands.add_subcommand(name, subparser, help=command.help)
    return whole


def with_underscores(words: Sequence[str]) -> list[str]:
    """``--batch_size`` for ``--batch-size``: both are common.

    Example:
        >>> with_underscores(["train", "--batch-size", "50", "--out=my-run"])
        ['train', '--batch_size', '50', '--out=my-run']
    """
    return [
        re.sub(r"^--[a-z-]+", lambda name: "--" + name[0][2:].replace("-", "_"), word)
        for word in words
    ]


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """One line a warning, and none about what only other packages can change."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"gconvae: warning: {_one_line(message)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.showwarning = show
        yield

"""The command ``gconvae``: finds the command that is asked for, runs it, and says what is wrong.

Only the options are imported at start; everything heavy waits until a command runs.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from gconvae import __version__, ready_made, recipes
from gconvae.cli import (
    completion,
    evaluate,
    export,
    jets,
    listing,
    reproduce,
    sample,
    sweep,
    train,
)
from gconvae.cli.command import Command
from gconvae.cli.messages import error_message, one_line
from gconvae.cli.words import (
    ANYWHERE,
    check_command,
    check_configs,
    check_options,
    chosen,
    option_names,
    show_dashes,
    with_dashes,
)

__all__ = ["main", "parser", "with_dashes"]


def _complete(options: Namespace, explicit: Namespace) -> None:
    print(completion.script(parser(), options.shell))


COMMANDS: dict[str, Command] = {
    "train": train.COMMAND,
    "sample": sample.COMMAND,
    "export": export.COMMAND,
    "evaluate": evaluate.COMMAND,
    "sweep": sweep.COMMAND,
    "reproduce": reproduce.COMMAND,
    "jets": jets.COMMAND,
    "list": listing.COMMAND,
    "completion": Command(
        _complete, completion.parser, "a script that lets a shell complete commands"
    ),
}

WRONG_INPUT = (
    argparse.ArgumentError, ValueError, OSError, FloatingPointError, ModuleNotFoundError
)  # fmt: skip
"""Errors that are the user's to solve: one line, no traceback."""


SPINS = 20_000
"""Rounds in which a thread of torch that waits for another one looks for it before it sleeps, some
50 us. Without a number it spins for milliseconds; where other programs have the core of the one
that it waits for, that takes the time this one needs (decision 0011)."""

HELP = ("-h", "--help")


def wait_less_awake() -> None:
    """Says so to OpenMP, which asks once, when torch is imported; a user's own settings stay."""
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))


def check_working_folder() -> None:
    """Torch's matrix products end the process where the folder that it is in was deleted.

    Raises:
        FileNotFoundError: If there is no such folder any more.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise FileNotFoundError(
            "the working directory must exist, got one that was deleted: change to another one"
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words after ``gconvae``; None = those of the process.
    Returns:
        Exit code: 0; 2 after one line on stderr where the input was wrong; 130 if interrupted, 143
        if terminated.
    """
    typed = _command_first(sys.argv[1:] if arguments is None else arguments)
    wait_less_awake()
    ended: list[int] = []
    reader = None
    try:
        with _plain_warnings(), _terminated_like_interrupted(ended):
            words = with_dashes(typed)
            check_working_folder()
            check_command(words, COMMANDS)
            check_configs(words[1:])
            reader, recipe = parser(), None
            if words[0] in COMMANDS:
                name, subparser = words[0], reader.subparsers[words[0]]
                check_options(words[1:], name, option_names(subparser))
                recipe = _follow_recipe(COMMANDS[name], subparser, words[1:])
            parsed = reader.parse_args(words)
            options = parsed[parsed.command]
            if recipe is not None and options.recipe != recipe:  # it was read in two ways
                raise ValueError(f"recipe must be given by --recipe, got {options.recipe!r}")
            explicit = reader.parse_args(words, defaults=False)[parsed.command]
            if options.parts is not None:
                from gconvae.registry import import_parts

                import_parts(options.parts)
            return COMMANDS[parsed.command].run(options, explicit) or 0
    except WRONG_INPUT as error:
        print(f"gconvae: error: {_error_line(error, typed, reader)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        hint = f"; {error}" if str(error) else ""
        print(f"gconvae: stopped{hint}", file=sys.stderr)
        return 128 + (ended or [signal.SIGINT])[0]


class HelpFormatter(DefaultHelpFormatter):
    """Help without what a reader does not need: that a text is a text, and Python's spellings."""

    def _expand_help(self, action: argparse.Action) -> str:
        text: str = super()._expand_help(action)
        text = re.sub(r"type: Optional\[(.*)\](?=, default)", r"type: \1 | null", text)
        text = re.sub(r"\(type: str(?: \| null)?, ", "(", text)
        text = re.sub(r"default: (True|False)", lambda found: found[0].lower(), text)
        return text.replace(" (default: false)", "") if action.nargs == 0 else text


class Reader(ArgumentParser):
    """The parser of all commands, which knows those of each.

    Attributes:
        subparsers: Name of a command to its parser.
    """

    subparsers: dict[str, ArgumentParser]


def parser() -> Reader:
    """The parser of all commands."""
    whole = Reader(
        prog="gconvae",
        usage="gconvae COMMAND [options]",
        description="Generate small sparse point sets: train a model, draw from it, compare.",
        epilog="gconvae COMMAND --help explains the options of a command.",
        formatter_class=HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    whole.add_argument(
        "-V",
        "--version",
        action="version",
        version=f"gconvae {__version__}",
        help="print the version",
    )
    whole.add_argument("-q", "--quiet", action="store_true", help="print results only, no bars")
    commands = whole.add_subcommands(dest="command", required=True, metavar="COMMAND")
    whole.subparsers = {}
    for name, command in COMMANDS.items():
        subparser = command.parser()
        subparser.add_argument(
            "--parts",
            type=str | None,
            help="Python file or module that registers encoders and other parts of your own",
        )
        subparser.add_argument(
            "-q", "--quiet", action="store_true", help="print results only, no bars"
        )
        commands.add_subcommand(name, subparser, help=command.help)
        _finish(subparser, name)
        whole.subparsers[name] = subparser
    return whole


def _finish(subparser: ArgumentParser, name: str) -> None:
    """Options with dashes, and a usage that does not list them all."""
    show_dashes(subparser)
    subparser.formatter_class = HelpFormatter
    subparser.prog = f"gconvae {name}"
    needed = [
        f"{action.dest.upper()}{' ...' if action.nargs == '+' else ''}"
        for action in subparser._actions
        if not action.option_strings
    ]
    subparser.usage = " ".join([subparser.prog, *needed, "[options]"])


def _follow_recipe(
    command: Command, subparser: ArgumentParser, words: Sequence[str]
) -> str | None:
    """Puts the options of the chosen recipe in the place of the command's defaults.

    Returns:
        Its name; None = the command has no recipes.
    """
    if command.recipe is None:
        return None
    settings = chosen(words, ["recipe", "data", "digit", "model"])
    usual = command.recipe(settings.get("data"))
    name = settings.get("recipe") or usual
    recipe = recipes.get(name)
    subparser.set_defaults({"recipe": usual, **recipe.options})
    if "digit" in settings:  # which is asked for in the place of the recipe's data
        subparser.set_defaults({"data": None})
    if set(words) & {*HELP}:  # elsewhere a recipe that is named is no default
        subparser.set_defaults({"recipe": name})
        _show_parts(subparser, settings.get("model") or recipe.model_options().model)
    return name


def _show_parts(subparser: ArgumentParser, model: str) -> None:
    """Lets help show what a model is made of, where the recipe leaves that to the model."""
    for kind, part in ready_made.get(model)._asdict().items():
        if subparser.get_default(kind) is None:
            subparser.set_defaults({kind: part})


def _command_first(words: Sequence[str]) -> list[str]:
    """Words with the options that belong to no command behind it."""
    first = next((i for i, word in enumerate(words) if word not in ANYWHERE), len(words))
    return [*words[first:], *words[:first]]


def _error_line(error: BaseException, typed: Sequence[str], reader: Reader | None) -> str:
    """An error in one line, of a command's options if it got so far."""
    if reader is None or not typed or typed[0] not in reader.subparsers:
        return one_line(error)
    actions = reader.subparsers[typed[0]]._actions
    options = {action.dest for action in actions if action.option_strings}
    needed = {action.dest: str(action.help) for action in actions if not action.option_strings}
    return error_message(error, typed, options, needed)


@contextmanager
def _terminated_like_interrupted(ended: list[int]) -> Iterator[None]:
    """A polite end, as a scheduler sends it, says how to go on as Ctrl-C does.

    Args:
        ended: Gets the signal.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, _: Any) -> None:
        ended.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """One line a warning, and none about what only other packages can change."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"gconvae: warning: {one_line(message)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.showwarning = show
        yield

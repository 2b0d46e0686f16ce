"""The words of a command line before they are parsed: spelling, and names that there are not."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, get_loader

from gconvae.plain import closest, did_you_mean

__all__ = [
    "ALONE",
    "ANYWHERE",
    "check_command",
    "check_configs",
    "check_options",
    "chosen",
    "option_names",
    "pairs",
    "show_dashes",
    "spelled",
    "takes_no_value",
    "with_dashes",
]

ALONE = ("-h", "--help", "-V", "--version")
"""Options that need no command."""

ANYWHERE = ("-q", "--quiet")
"""Options of every command that may stand before it, too."""

OTHER_WORDS = {
    "--lr": "--learning-rate",
    "--output": "--out",
    "--save": "--out",
    "--num-samples": "--count",
    "--samples": "--count",
    "--n": "--count",
    "--device": "--accelerator",
    "--gpu": "--accelerator",
    "--gpus": "--devices",
    "--continue": "--resume",
    "--dataset": "--data",
    "--input": "--data",
    "--network": "--model",
    "--force": "--overwrite",
    "--silent": "--quiet",
    "--random-seed": "--seed",
}
"""What other programs call our options."""

LARGEST_CONFIG = 2**16
"""Bytes of a file of options, some twenty times as many as any has."""

ALIAS, MOST_ALIASES = re.compile(r"(?<![\w*])\*\w"), 20
"""YAML's repetitions of what stands elsewhere, which no config needs."""


def with_dashes(words: Sequence[str]) -> list[str]:
    """``--batch-size`` for ``--batch_size``: both are common.

    Example:
        >>> with_dashes(["train", "--batch_size", "50", "--out=my_run"])
        ['train', '--batch-size', '50', '--out=my_run']
    """
    dashed = [
        re.sub(r"^--[A-Za-z_-]+", lambda name: name[0].replace("_", "-"), word) for word in words
    ]
    # its flags are optional, and jsonargparse would take the next word for them
    return [f"{word}=" if word == "--print-config" else word for word in dashed]


def check_command(words: Sequence[str], commands: Collection[str]) -> None:
    """Refuses a command that there is not.

    Args:
        words: After ``gconvae``.
        commands: Their names.
    Raises:
        ValueError: Likewise if there is no word at all.
    Example:
        >>> check_command(["trian"], ["train", "sample"])
        Traceback (most recent call last):
            ...
        ValueError: no command 'trian'; did you mean 'train'?
    """
    known = f"there are {', '.join(commands)}; gconvae COMMAND --help says more"
    first = words[0] if words else ""
    if first in ALONE:
        return
    if not first or first in ANYWHERE:
        raise ValueError(f"a command must be given, {known}")
    if first.startswith("-"):
        raise ValueError(f"a command must come before {first}, {known}")
    if first not in commands:
        raise ValueError(f"no command {first!r}{did_you_mean(first, commands) or '; ' + known}")


def check_options(words: Sequence[str], command: str, known: Collection[str]) -> None:
    """Refuses an option that a command does not have.

    Args:
        words: After the command, with dashes.
        command: Its name, for the message.
        known: Names of its options, ``--batch-size`` and the like.
    Raises:
        ValueError: At the first one.
    Example:
        >>> check_options(["--epocs", "3"], "train", ["--epochs", "--seed"])
        Traceback (most recent call last):
            ...
        ValueError: gconvae train has no option --epocs; did you mean --epochs?
    """
    for word in words:
        if word == "--":
            return
        name = re.match(r"--[^=\s.+]+(?=$|[=.+])", word)
        if name is None or name[0] in known:
            continue
        likely = _likely(name[0], known)
        hint = f"gconvae {command} --help lists them"
        if likely is not None:
            hint = f"did you mean {likely}?"
        raise ValueError(f"gconvae {command} has no option {name[0]}; {hint}")


def _likely(name: str, known: Collection[str]) -> str | None:
    """The option that was meant: by another program's word for it, its beginning, its letters."""
    other = OTHER_WORDS.get(name)
    if other in known:
        return other
    begun = [each for each in sorted(known) if len(name) > 3 and each.startswith(name)]
    return begun[0] if begun else closest(name, known)


def option_names(parser: ArgumentParser) -> set[str]:
    """All options of a parser, as they are written."""
    # argparse has no public list of them
    return {name for action in parser._actions for name in action.option_strings}


def show_dashes(parser: ArgumentParser) -> None:
    """Lets help and messages write options with dashes, and true or false take no value.

    jsonargparse names the options of a class as Python does; both forms are understood.
    """
    known = parser._option_string_actions
    for action in parser._actions:
        shown = []
        for name in action.option_strings:
            dashed = name.replace("_", "-") if name.startswith("--") else name
            known[dashed] = action
            if not name.endswith("+"):  # jsonargparse's way to add to a list
                shown.append(dashed)
        action.option_strings = shown
        if takes_no_value(action):
            action.nargs, action.const = "?", True


def takes_no_value(action: argparse.Action) -> bool:
    """Whether an option is true or false, so that its name alone means true."""
    return bool(action.option_strings) and str(action.metavar).startswith("{true,false")


def spelled(name: str, words: Sequence[str]) -> str:
    """An option as it was typed, else with dashes.

    Args:
        name: As Python has it.
        words: That were typed.
    Example:
        >>> spelled("batch_size", ["--batch_size", "0"]), spelled("batch_size", [])
        ('--batch_size', '--batch-size')
    """
    dashed = f"--{name.replace('_', '-')}"
    typed = (re.split(r"[=.]", word)[0] for word in words)
    return next((word for word in typed if with_dashes([word]) == [dashed]), dashed)


def chosen(words: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """Values of some options, from config files too, before all words are understood.

    The last one counts. What cannot be read here is left to the parser, which says so.

    Args:
        words: After the command, with dashes.
        names: Of the options, as Python has them.
    Example:
        >>> chosen(["--epochs", "3", "--recipe=digits", "--help"], ["recipe", "data"])
        {'recipe': 'digits'}
    """
    values: dict[str, Any] = {}
    for name, value in pairs(words):
        if name == "config":
            settings = _settings(value)
            values |= {key: settings[key] for key in names if settings.get(key) is not None}
        elif name in names:
            values[name] = value
    return values


def pairs(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options, as Python names them, and their values, as they are written.

    Args:
        words: After the command.
    """
    for number, word in enumerate(words):
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            continue
        if not equals:
            value = next(iter(words[number + 1 : number + 2]), "")
        yield name[2:].replace("-", "_"), value


def check_configs(words: Sequence[str]) -> None:
    """Refuses a config that is no file of options, with its name, which the parser does not say.

    Args:
        words: After the command.
    Raises:
        ValueError: If it is no YAML, too large, or no file.
    """
    for name, value in pairs(words):
        path = Path(value).expanduser()
        try:
            is_there = name == "config" and (path.exists() or path.is_symlink())
        except OSError:  # YAML itself is no name of a file
            is_there = False
        if not is_there:
            continue
        if not path.is_file() or path.stat().st_size > LARGEST_CONFIG:
            raise ValueError(
                f"config must be a file of at most {LARGEST_CONFIG:,} bytes, got {path}"
            )
        try:
            text = path.read_text(encoding="utf-8")
            if len(ALIAS.findall(text)) > MOST_ALIASES:  # each may stand for all before it
                raise ValueError(f"it has more than {MOST_ALIASES} aliases")
            content = get_loader("yaml")(text)
        except Exception as error:  # of the loader, whichever is installed
            reason = " ".join(str(error).split())
            raise ValueError(
                f"config must be a YAML file of options, {path} is not: {reason:.300}"
            ) from None
        if not isinstance(content, Mapping):
            raise ValueError(
                f"config must be a YAML file of options, {path} holds {str(content)[:50]!r}"
            )
        unknown = [key for key in content if not re.fullmatch(r"[A-Za-z][\w.-]*", str(key))]
        if unknown:
            raise ValueError(f"config must name options, {path} has {str(unknown[0])[:50]!r}")


def _settings(config: str) -> Mapping[str, Any]:
    """What a config holds: a file, or YAML itself, which the parser takes too."""
    try:
        file = Path(config).expanduser()
        content = get_loader("yaml")(file.read_text() if file.is_file() else config)
    except Exception:  # whatever it is, the parser meets it again and says it
        return {}
    return content if isinstance(content, Mapping) else {}

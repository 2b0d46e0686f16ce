"""Errors in one line that names options as they were typed."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Mapping, Sequence

from gconvae.cli.words import spelled
from gconvae.plain import did_you_mean

__all__ = ["one_line", "error_message", "with_options"]

TYPES = {
    "<class 'int'>": "a whole number",
    "<class 'float'>": "a number",
    "<class 'bool'>": "true or false",
    "<class 'str'>": "a text",
    "<class 'NoneType'>": "null",
    "list[int]": "a list of whole numbers such as [3,8]",
    "list[str]": "a list of texts such as [a,b]",
    "tuple[int, ...]": "a list of whole numbers such as [16,32]",
    "dict[str, float]": "numbers by name, such as --conditions.mass=171",
}
"""What a value has to be, in words."""


OTHER_NAMES = {
    "num_particles": ["particles"],
    "space": ["options"],
    "an option": ["options"],
    "callback": ["callbacks"],
    "points": ["data"],
    "clouds": ["data"],
    "path": ["data"],
    "folder": ["resume", "run", "made"],
    "a bundled model": ["run", "made"],
}
"""What begins a message of the library, and what the command line calls it; no command has two."""


def one_line(message: object) -> str:
    """A message without line breaks."""
    return " ".join(str(message).split())


def error_message(
    error: BaseException,
    words: Sequence[str],
    options: Collection[str],
    positionals: Mapping[str, str],
) -> str:
    """What was wrong, in one line.

    Args:
        error: Of the parser or of the library.
        words: That were typed.
        options: Of the command, as Python names them.
        positionals: Words that the command needs, and what they are.
    """
    message = one_line(error)
    for change in (_missing, _without_value, _surplus, _unknown_key):
        changed = change(message, words, options, positionals)
        if changed is not None:
            return changed
    message = with_options(_renamed(_of_type(message), options, positionals), words, options)

    def typed(argument: re.Match[str]) -> str:
        name, value = argument.groups()
        return f"({spelled(name, words)} {value})" if name in options else argument[0]

    return re.sub(r"\((\w+)='([\w-]+)'\)", typed, message)  # advice, as it is typed


def _renamed(message: str, options: Collection[str], positionals: Mapping[str, str]) -> str:
    """A message that begins with an argument of the library, under the command line's name.

    By that name alone: the value that was received may also be the value of an unrelated option.
    """
    subject = re.match(r"((?:an? )?(?:bundled )?\w+)(?= must )", message)
    if subject is None or subject[1] in options:
        return message
    rule = message[subject.end() :]
    for name in [subject[1], *OTHER_NAMES.get(subject[1], [])]:
        if name in positionals:
            return name.upper() + rule
        if name in options:
            return name + rule
    return message


def with_options(message: str, words: Sequence[str], options: Collection[str]) -> str:
    """A message of the library, with options in the place of the arguments that it is about.

    A message begins with the names of arguments and says what they must be. Other names with an
    underscore, before what was received, are options too.

    Args:
        message: In one line.
        words: That were typed.
        options: Of the command, as Python names them.
    Example:
        >>> rule = "kl_warmup must be 0 where kl_cycle is set, got 2 and 3"
        >>> with_options(rule, ["--kl_warmup", "2"], ["kl_warmup", "kl_cycle"])
        '--kl_warmup must be 0 where --kl-cycle is set, got 2 and 3'
        >>> with_options("count of clouds", [], ["count"])
        'count of clouds'
    """
    match = re.match(r"((?:\w+, )*(?:\w+ and )?\w+)( (?:must|needs)\b.*)", message)
    if match is None:
        return message
    names, rule = match[1], match[2]
    if not set(re.findall(r"\w+", names)) - {"and"} <= set(options):
        return message

    def shown(name: re.Match[str]) -> str:
        return spelled(name[0], words) if name[0] in options else name[0]

    rule, got, rest = rule.partition(", got ")
    names = re.sub(r"\w+", shown, names)
    rule = re.sub(r"\bNone\b", "null", rule)  # as options are written
    return (
        names + re.sub(r"(?<![\w'\"-])[a-z]+(?:_[a-z]+)+(?![\w'\"(=])", shown, rule) + got + rest
    )


def _of_type(message: str) -> str:
    """A value of a wrong type, in the form of all other messages."""
    match = re.match(r'Parser key "([\w.]+)": (.*)', message)
    if match is None:
        return message
    name, rest = match[1].rpartition(".")[2], match[2]
    absent = re.match(r"File does not exist: '(.*)'", rest)
    if absent is not None:
        return f"{name} must be an existing file, got {absent[1]}"
    value = re.search(r".*(?:Got value|Given value): ?(.*)$", rest)
    if value is None:
        return f"{name} must be right: {rest}"
    got = re.sub(r"NestedArg\(key='(\w+)', val='(.*)'\)", r"\1=\2", value[1])
    union = re.search(r"Subtypes: \[(.*?)\] Errors:", rest)
    single = re.search(r"Expected an? (.*?)\.? Got value", rest)
    texts = [] if single is None else [single[1]]
    if union is not None:
        texts = re.findall(r"<class '\w+'>|typing\.Literal\[.*?\]|\w+\[[^\]]*\]", union[1])
    if texts and texts[0].startswith("typing.Literal"):
        known = [str(one) for one in ast.literal_eval(texts[0].removeprefix("typing.Literal"))]
        return f"{name} must be one of {', '.join(known)}, got {got!r}{did_you_mean(got, known)}"
    *first, last = [TYPES.get(text, text) for text in texts] or ["right"]
    rule = f"{', '.join(first)} or {last}" if first else last
    return f"{name} must be {rule}, got {got!r}"


def _missing(
    message: str, words: Sequence[str], options: Collection[str], positionals: Mapping[str, str]
) -> str | None:
    """A word that a command needs."""
    match = re.search(r"the following arguments are required: ([\w.]+)", message)
    if match is None:
        return None
    name = match[1].rpartition(".")[2]
    return f"{name.upper()} must be given: {positionals.get(name, name)}"


def _without_value(
    message: str, words: Sequence[str], options: Collection[str], positionals: Mapping[str, str]
) -> str | None:
    """An option at the end, or before another one."""
    match = re.match(r"argument (?:-\w/)?--([\w-]+)\S*: expected one argument", message)
    if match is None:
        return None
    return f"{spelled(match[1].replace('-', '_'), words)} needs a value, got none"


def _surplus(
    message: str, words: Sequence[str], options: Collection[str], positionals: Mapping[str, str]
) -> str | None:
    """Words that no option takes."""
    match = re.search(r"[Uu]nrecognized arguments: (.*)$", message)
    if match is None:
        return None
    first = match[1].split()[0]
    name = first.partition("=")[0].replace("-", "_")
    if name in options:
        return f"gconvae {words[0]} got {first!r}; did you mean {spelled(name, [])}?"
    wanted = "".join(f"{needed.upper()} and " for needed in positionals)
    rule = f"it takes {wanted}options, which begin with --"
    return f"gconvae {words[0]} does not know what to do with {first!r}; {rule}"


def _unknown_key(
    message: str, words: Sequence[str], options: Collection[str], positionals: Mapping[str, str]
) -> str | None:
    """An entry of a config file that is no option."""
    match = re.search(r"[Kk]ey ['\"]([\w.-]+)['\"] is not expected", message)
    if match is None:
        return None
    name = match[1].rpartition(".")[2]
    hint = did_you_mean(name, options)
    return f"a config must hold options of gconvae {words[0]}, got {name!r}{hint}"

"""The register of parts by name: of models, losses, and what watches a training."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import keyword
import re
import sys
from collections.abc import Callable, Mapping
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from torch import nn

from gconvae.plain import did_you_mean, plain

__all__ = [
    "Kind",
    "Term",
    "accepted",
    "available",
    "check_counts",
    "check_widths",
    "create",
    "describe",
    "import_parts",
    "parse",
    "register",
    "summary",
]

Kind = Literal["encoder", "decoder", "prior", "likelihood", "loss", "callback", "logger"]
"""What a part can be."""

M = TypeVar("M")

_PARTS: dict[str, dict[str, type[Any]]] = {kind: {} for kind in get_args(Kind)}

_OTHER_NAMES: dict[str, dict[str, str]] = {kind: {} for kind in get_args(Kind)}
"""Names that a part is found by beside its own, for each kind: other name to name."""


_UNFIT = (TypeError, AttributeError, AssertionError, IndexError, RuntimeError)
"""What torch and others raise where an option has a wrong type or size."""


class Term(NamedTuple):
    """A part as one writes it: ``0.5 * name(option=value)``.

    Attributes:
        weight: The factor in front, 1 where there is none.
        name: The registered name.
        options: Those in the brackets.
    """

    weight: float
    name: str
    options: dict[str, Any]


def register(kind: Kind, name: str, *, also: str | None = None) -> Callable[[type[M]], type[M]]:
    """Class decorator that makes a part known by a name.

    From then on the part can be named wherever a model is made, on the command line too, and a
    model that has it can be saved and loaded: its instances remember the options that they were
    made with as ``part_options``, which must be numbers, texts, lists or dicts of these.

    Args:
        kind: ``"encoder"``, ``"decoder"``, ``"prior"``, ``"likelihood"``, ``"loss"``,
            ``"callback"`` or ``"logger"``.
        name: A Python identifier that no part of this kind has.
        also: Another name that it is found by, which nothing lists or writes down.
    Raises:
        ValueError: If the kind is unknown, the name is taken or no identifier, or the constructor
            takes options that it does not name.
    Example:
        >>> @register("encoder", "my_encoder")
        ... class MyEncoder(nn.Module):
        ...     def __init__(self, latent_dim: int = 10) -> None:
        ...         super().__init__()
        >>> describe("encoder", MyEncoder(4))
        Term(weight=1.0, name='my_encoder', options={'latent_dim': 4})
    """
    known = _of_kind(kind)
    others = _OTHER_NAMES[kind]
    for wanted in (name,) if also is None else (name, also):
        if not wanted.isidentifier() or keyword.iskeyword(wanted):
            raise ValueError(f"name must be a Python identifier, got {wanted!r}")

    def add(part: type[M]) -> type[M]:
        for wanted in (name,) if also is None else (name, also):
            taken = known.get(others.get(wanted, wanted))
            # a module that is run again, as in a notebook, defines its classes anew
            if taken is not None and _origin(taken) != _origin(part):
                raise ValueError(
                    f"name must be free among the {kind}s, {wanted!r} is {_origin(taken)}"
                )
        signature = inspect.signature(part)
        if part.__init__ is not nn.Module.__init__ and len(_options_of(part)) < len(
            signature.parameters
        ):
            raise ValueError(f"{part.__name__} must name its options, got {signature}")
        _remember_options(part)
        known[name] = part
        if also is not None:
            others[also] = name
        return part

    return add


def import_parts(source: str) -> None:
    """Runs custom Python code that registers parts; no run folder ever does.

    Args:
        source: A file such as ``my_encoder.py``, or the name of a module, looked for in the
            current folder too.
    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such module, or the file does not run.
    """
    if not source.endswith(".py"):
        sys.path.insert(0, "")
        try:
            importlib.import_module(source)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"parts must name a Python file or module, got {source!r}: {error}"
            ) from None
        finally:
            sys.path.remove("")
        return
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"parts must be a Python file, there is none at {source}")
    there = getattr(sys.modules.get(path.stem), "__file__", None)
    if path.stem in sys.modules and (there is None or Path(there).resolve() != path.resolve()):
        raise ValueError(f"parts must be a file with a name of its own, {path.stem} is a module")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where classes, dataclasses among them, look for their module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file can raise anything
        del sys.modules[path.stem]
        raise ValueError(
            f"parts must be a Python file that runs, {source} raises "
            f"{type(error).__name__}: {error}"
        ) from error


def available(kind: Kind) -> list[str]:
    """Names of the parts of a kind that are registered by now, in the order of registration.

    :func:`gconvae.models.available` and :func:`gconvae.losses.available` see to it that those of
    the library are.
    """
    return list(_of_kind(kind))


def summary(kind: Kind, name: str) -> str:
    """What a part is, in a line: the first of its docstring, without markup.

    Args:
        kind: See :func:`register`.
        name: Registered.
    Raises:
        ValueError: If there is no such part.
    Example:
        >>> import gconvae
        >>> len(gconvae.models.available("prior"))  # which registers them
        5
        >>> summary("prior", "maf")
        'Masked autoregressive flow: each latent is shifted and scaled by the ones before it.'
    """
    part = _of_kind(kind)[_single(kind, name).name]
    first = (inspect.getdoc(part) or "").partition("\n")[0]
    return re.sub(r":[\w:]+:`~?(?:[^`]*\.)?([^`]*)`", r"\1", first).replace("``", "")


def parse(text: str) -> list[Term]:
    """Reads a part, or a weighted sum of some, as it is written on a command line.

    Args:
        text: ``name``, ``name(option=value, ...)`` or a sum such as ``name + 0.5 * other``;
            values are Python numbers, texts, lists, dicts, True, False and None.
    Raises:
        ValueError: If the text has another form.
    Example:
        >>> parse("third_axis + 0.5 * sliced_wasserstein(num_projections=32)")[1]
        Term(weight=0.5, name='sliced_wasserstein', options={'num_projections': 32})
    """
    try:
        terms = [_term(node) for node in _summands(ast.parse(text.strip(), mode="eval").body)]
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError):
        raise ValueError(
            "a part must have the form name, name(option=value) or name + 0.5 * name, "
            f"got {text!r}"
        ) from None
    return terms


def accepted(kind: Kind, text: str) -> set[str]:
    """Names of the options that a part takes and ``text`` leaves open.

    Raises:
        ValueError: If there is no such part, or ``text`` is not one part.
    """
    term = _single(kind, text)
    return set(_options_of(_of_kind(kind)[term.name])) - term.options.keys()


def create(kind: Kind, text: str, **options: Any) -> Any:
    """A part by its name.

    Args:
        kind: See :func:`register`.
        text: ``name`` or ``name(option=value, ...)``.
        options: More options of it.
    Raises:
        ValueError: If there is no such part, or it does not take an option.
    """
    term = _single(kind, text)
    part = _of_kind(kind)[term.name]
    twice = sorted(term.options.keys() & options.keys())
    if twice:
        raise ValueError(f"{kind} must get each option once, got {', '.join(twice)} twice")
    arguments = term.options | options
    known = _options_of(part)
    unknown = sorted(arguments.keys() - set(known))
    if unknown:
        raise ValueError(
            f"options of {kind} {term.name} are {', '.join(known) or 'none'}, "
            f"got {', '.join(unknown)}{did_you_mean(unknown[0], known)}"
        )
    try:
        return part(**arguments)
    except _UNFIT as error:
        raise ValueError(
            f"options of {kind} {term.name} must fit it, got {arguments}: {error}"
        ) from error


def describe(kind: Kind, part: nn.Module) -> Term | None:
    """What :func:`create` would make this part of; None if its class is not registered."""
    for name, known in _of_kind(kind).items():
        if type(part) is known:
            options: Any = part.part_options  # torch types what is set on a module as a tensor
            return Term(1.0, name, dict(options))
    return None


def check_counts(**counts: int) -> None:
    """Checks options that have to be whole numbers above 0.

    Raises:
        ValueError: If one is not; the message names the first.
    Example:
        >>> check_counts(latent_dim=10, heads=4)
    """
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {count!r}")


def check_widths(name: str, widths: Any) -> None:
    """Checks an option that lists the widths of layers.

    Raises:
        ValueError: Unless there is one, and each is a whole number above 0.
    Example:
        >>> check_widths("hidden", [64, 32])
    """
    is_list = isinstance(widths, list | tuple)
    if not is_list or not widths or any(type(width) is not int or width < 1 for width in widths):
        raise ValueError(f"{name} must be one or more whole numbers above 0, got {widths!r}")


def _of_kind(kind: str) -> dict[str, type[Any]]:
    if kind not in _PARTS:
        hint = did_you_mean(kind, _PARTS)
        raise ValueError(f"kind must be one of {', '.join(_PARTS)}, got {kind!r}{hint}")
    return _PARTS[kind]


def _origin(part: type[Any]) -> str:
    return f"{part.__module__}.{part.__qualname__}"


def _options_of(part: type[Any]) -> list[str]:
    parameters = inspect.signature(part).parameters.values()
    # a class without a constructor has torch's, which takes (*args, **kwargs)
    return [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _single(kind: Kind, text: str) -> Term:
    terms = parse(text)
    if len(terms) != 1 or terms[0].weight != 1:
        raise ValueError(f"{kind} must be one part, not a sum, got {text!r}")
    known = _of_kind(kind)
    name = _OTHER_NAMES[kind].get(terms[0].name, terms[0].name)
    if name not in known:
        hint = did_you_mean(name, [*known, *_OTHER_NAMES[kind]])
        if not hint:
            hint = "; one of your own must be registered first (on the command line: --parts FILE)"
        raise ValueError(
            f"{kind} must be one of {', '.join(available(kind))}, got {terms[0].name!r}{hint}"
        )
    return terms[0]._replace(name=name)


def _remember_options(part: type[Any]) -> None:
    """Lets each instance of exactly this class keep the arguments that it was made with."""
    original = part.__init__
    signature = inspect.signature(original)

    @functools.wraps(original)
    def remembering(self: Any, *positional: Any, **named: Any) -> None:
        positional = plain(positional)
        named = {name: plain(value) for name, value in named.items()}
        original(self, *positional, **named)
        if type(self) is part:
            bound = signature.bind(self, *positional, **named)
            bound.apply_defaults()
            options = {name: _json(bound.arguments[name]) for name in _options_of(part)}
            self.part_options = options

    part.__init__ = remembering


def _json(value: Any) -> Any:
    """As JSON would give it back; a class, such as one of PyG's layers, becomes its name."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, list | tuple):
        return [_json(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(key): _json(entry) for key, entry in value.items()}
    return value


def _summands(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_summands(node.left), *_summands(node.right)]
    return [node]


def _term(node: ast.expr) -> Term:
    weight = 1.0
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        factor = ast.literal_eval(node.left)
        if type(factor) not in (int, float):
            raise ValueError
        weight, node = float(factor), node.right
    options = {}
    if isinstance(node, ast.Call):
        names = [word.arg for word in node.keywords]
        if node.args or None in names or len(set(names)) < len(names):
            raise ValueError
        options = {str(word.arg): ast.literal_eval(word.value) for word in node.keywords}
        node = node.func
    if not isinstance(node, ast.Name):
        raise ValueError
    return Term(weight, node.id, options)

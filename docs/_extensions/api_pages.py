"""The API pages: a public name stands where a user types it, once, and a table leads to it.

A wing hands on names of its private rooms. Autodoc would lose the descriptions of its constants,
describe a name twice that the package hands on too, and fail where a docstring names a room.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sphinx.pycode import ModuleAnalyzer

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

PACKAGE = "gconvae"

MODEL_PARTS = ("autoencoder", "conditioning", "evidence", "scaling")
"""Rooms that are not in ``gconvae.__all__``, and that whoever puts a model together needs."""

UNLISTED_WINGS = ("export",)
"""Wings that ``gconvae.__all__``, which has 25 names, does not list."""

INNER_WINGS = ("metrics.jets",)
"""Wings inside of wings, whose names are public too."""


@cache
def modules() -> dict[str, ModuleType]:
    """All modules with a page, by full name."""
    package = importlib.import_module(PACKAGE)
    names = [name for name in package.__all__ if isinstance(getattr(package, name), ModuleType)]
    full = [
        PACKAGE,
        *(f"{PACKAGE}.{name}" for name in (*names, *MODEL_PARTS, *UNLISTED_WINGS, *INNER_WINGS)),
    ]
    return {name: importlib.import_module(name) for name in full}


@cache
def homes(module: str) -> dict[str, str]:
    """Name that a module hands on to the module it comes from, read from the source.

    Example:
        >>> homes("gconvae.losses")["third_axis_chamfer"]
        'gconvae.losses.chamfer'
    """
    source = Path(importlib.import_module(module).__file__ or "").read_text()
    return {
        alias.asname or alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}.")
        for alias in node.names
    }


def home(module: str, name: str) -> str:
    """Module that defines a name, through any number of doors; a wing has its inner wings."""
    while homes(module).get(name, module) != module:
        module = homes(module)[name]
    return module


@cache
def addresses() -> dict[str, str]:
    """Any full name of a public object to the one on the pages, the shortest."""
    found: dict[str, str] = {}
    for module in sorted(modules(), key=len):
        for name in modules()[module].__all__:
            if not isinstance(getattr(modules()[module], name), ModuleType):
                origin = f"{home(module, name)}.{name}"
                found.setdefault(origin, f"{module}.{name}")
                found[f"{module}.{name}"] = found[origin]
    return found


def names_of(module: str) -> list[str]:
    """Public names of a module in the order of its table: classes, functions, rest, modules."""

    def kind(name: str) -> tuple[int, str]:
        value = getattr(modules()[module], name)
        if inspect.isclass(value):
            return 0, name
        return (1 if inspect.isroutine(value) else 3 if inspect.ismodule(value) else 2), name

    return sorted((n for n in modules()[module].__all__ if not n.startswith("__")), key=kind)


def _hand_on_descriptions(app: Sphinx) -> None:
    """Constants have no docstring; the text below them is in the source of their home."""
    for module in modules():
        analyzer = ModuleAnalyzer.for_module(module)
        analyzer.analyze()
        for name in homes(module):
            there = ModuleAnalyzer.for_module(home(module, name))
            there.analyze()
            if ("", name) in there.attr_docs:
                analyzer.attr_docs["", name] = there.attr_docs["", name]


def _add_table(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Every name of the module with its first sentence, below what the module says of itself."""
    if what == "module" and name in modules():
        rows = [f"   {_address(name, short)}" for short in names_of(name)]
        lines += ["", ".. autosummary::", "   :nosignatures:", "", *rows, ""]


def _address(module: str, name: str) -> str:
    """A public name of a module as its page links it: in full where another page describes it."""
    full = addresses().get(f"{module}.{name}", f"{module}.{name}")
    return name if full == f"{module}.{name}" else full


def _is_described_elsewhere(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """The package's own page describes what it hands on."""
    module = app.env.current_document.autodoc_module
    if what != "module" or module not in modules() or name not in modules()[module].__all__:
        return None
    return True if _address(module, name) != name else None


def _resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.Element
) -> nodes.reference | None:
    """A name by the room that defines it leads to the page of its wing."""
    if node.get("refdomain") != "py":
        return None
    target, rest = node["reftarget"], ""
    while target:
        if target in addresses():
            domain = env.get_domain("py")
            full, kind = addresses()[target] + rest, node["reftype"]
            return domain.resolve_xref(env, node["refdoc"], app.builder, kind, full, node, text)
        target, dot, last = target.rpartition(".")
        rest = f"{dot}{last}{rest}"
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connects the four steps."""
    app.setup_extension("sphinx.ext.autodoc")
    app.setup_extension("sphinx.ext.autosummary")
    app.connect("builder-inited", _hand_on_descriptions)
    app.connect("autodoc-process-docstring", _add_table)
    app.connect("autodoc-skip-member", _is_described_elsewhere)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Names of a wing that are imported at first use, so that importing a wing costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["attach", "link", "linked"]

_LINKS: dict[str, str] = {}


def attach(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names wait in its modules (:pep:`562`).

    Args:
        package: Full name of the package.
        homes: Name to the module that holds it, relative to the package; a name that is its own
            home is the module itself.
    Example:
        >>> get, names = attach("gconvae", {"files": "files"})
        >>> get("files").__name__, names()
        ('gconvae.files', ['files'])
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{homes[name]}")
        value = module if name == homes[name] else getattr(module, name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted(homes)

    return get, names


def link(**homes: str) -> None:
    """Says where functions are found that a lower floor calls by name.

    A method such as ``model.with_prior(...)`` runs what stands above the model. The model knows
    the name only; the package's door, which stands above all, links it to its home.

    Args:
        homes: Name of a function to the full name of its module.
    """
    _LINKS.update(homes)


def linked(name: str) -> Callable[..., Any]:
    """A function that was linked, imported at first use.

    Args:
        name: Of the function.
    Example:
        >>> link(whole="gconvae.files")
        >>> linked("whole").__module__
        'gconvae.files'
    """
    function: Callable[..., Any] = getattr(import_module(_LINKS[name]), name)
    return function

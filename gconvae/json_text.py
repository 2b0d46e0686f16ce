"""JSON of files that anybody may have written: bounded, with each entry once."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["LARGEST", "parsed", "read"]

LARGEST = 2**26
"""Bytes of a file that is read: a thousand times the largest manifest."""

DEEPEST = 100
"""Lists and objects within each other; deeper ones exhaust the stack of whoever walks through
them."""


def parsed(text: str | bytes) -> Any:
    """The value of a JSON text.

    Args:
        text: At most :data:`LARGEST` long.
    Raises:
        ValueError: If it is no JSON, too long, nested more than 100 deep, holds an entry twice, or
            a number of thousands of digits.
    Example:
        >>> parsed('{"a": [1, 2]}')
        {'a': [1, 2]}
        >>> parsed('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: it holds the entry 'a' twice
    """
    if len(text) > LARGEST:
        raise ValueError(f"it is longer than {LARGEST:,} characters")
    try:
        content = json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"it is nested more than {DEEPEST} deep") from None
    _check_depth(content)
    return content


def read(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file.

    Args:
        path: The file, which exists.
    Raises:
        ValueError: As :func:`parsed`, or if the file is no text; the message names no file.
    """
    path = Path(path)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it is larger than {LARGEST:,} bytes")
    return parsed(path.read_text(encoding="utf-8"))


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"it holds the entry {name[:50]!r} twice")
        content[name] = value
    return content


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(DEEPEST):
        inner = [each.values() if isinstance(each, dict) else each for each in level
                 if isinstance(each, dict | list)]  # fmt: skip
        level = [value for each in inner for value in each]
        if not level:
            return
    raise ValueError(f"it is nested more than {DEEPEST} deep")

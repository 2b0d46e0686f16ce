"""Names of repositories on the hub: ``user/name``, and perhaps a revision behind an ``@``."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Repository", "parsed"]

_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"

_NAME = re.compile(rf"({_PART}/{_PART})(?:@([A-Za-z0-9][A-Za-z0-9._/-]*))?")


class Repository(NamedTuple):
    """Where a model lies on the hub.

    Attributes:
        name: ``"user/name"``.
        revision: A branch, tag or commit; None = the newest of the main branch.
    """

    name: str
    revision: str | None


def parsed(name: str) -> Repository:
    """Repository and revision of a name.

    Raises:
        ValueError: If it is malformed.
    Example:
        >>> parsed("me/eights@v1")
        Repository(name='me/eights', revision='v1')
    """
    match = _NAME.fullmatch(name) if isinstance(name, str) else None
    if match is None or "--" in match[1] or ".." in name:
        raise ValueError(
            'a model of the hub must be named "user/name", when loaded "hf:user/name" or '
            f'"hf:user/name@revision", got {name!r}'
        )
    return Repository(match[1], match[2])

"""URLs of databases: the driver of PostgreSQL, and no password in a message."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

__all__ = ["hide", "hide_in", "sqlite_url", "with_driver"]

PASSWORDS = re.compile(
    r"(?P<before>://[^:/@?]*:)(?P<password>.*)(?=@)"
    r"|(?P<key>[?&](?:ssl)?password=)(?P<value>[^&]*)"
)
"""A password after the user's name, up to the last ``@``, or among the parameters of libpq."""


def sqlite_url(file: Path) -> str:
    """URL of an SQLite file, whatever characters its path has."""
    from sqlalchemy import URL

    url = URL.create("sqlite", database=file.absolute().as_posix()).render_as_string()
    return url.replace("{", "{{").replace("}", "}}")  # Optuna formats it


def with_driver(url: str) -> str:
    """The URL with psycopg 3 for PostgreSQL, where SQLAlchemy 2.0 would take psycopg2.

    Raises:
        ValueError: If the password has a bare ``@``: what follows would be taken for the host.
    Example:
        >>> with_driver("postgresql://me@server/sweeps")
        'postgresql+psycopg://me@server/sweeps'
        >>> with_driver("sqlite:///sweep.db")
        'sqlite:///sweep.db'
    """
    if any("@" in (match["password"] or "") for match in PASSWORDS.finditer(url)):
        raise ValueError(f"storage must have %40 for an @ in the password, got {hide(url)!r}")
    scheme, separator, rest = url.partition("://")
    is_bare = scheme in ("postgres", "postgresql")
    return f"{'postgresql+psycopg' if is_bare else scheme}{separator}{rest}"


def hide(url: str) -> str:
    """The URL without its password, also one that SQLAlchemy could not parse.

    Example:
        >>> hide("postgresql://me:secret@server/sweeps?sslpassword=other")
        'postgresql://me:***@server/sweeps?sslpassword=***'
    """
    return PASSWORDS.sub(lambda match: f"{match['before'] or match['key']}***", url)


def hide_in(message: str, url: str) -> str:
    """A message on one line, without the password of a URL.

    Example:
        >>> hide_in("no   server takes a!b", "postgresql://me:a%21b@server")
        'no server takes ***'
    """
    secrets = {match["password"] or match["value"] for match in PASSWORDS.finditer(url)}
    secrets |= {unquote(secret) for secret in secrets if secret}
    # the longest first: one can be a part of another
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        message = message.replace(secret, "***")
    return " ".join(message.split())

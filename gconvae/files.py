"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["whole"]


@contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to; renamed to it when the block ends well.

    Whatever stops the block, an older file at ``path`` stays as it was, and nothing half-written
    is left.

    Args:
        path: The file to write; its folder must exist.
    Raises:
        FileNotFoundError: If the folder does not exist.
    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole(Path(folder) / "note.txt") as temporary:
        ...         _ = temporary.write_text("done")
        ...     sorted(file.name for file in Path(folder).iterdir())
        ['note.txt']
    """
    path = Path(path).expanduser()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path must lie in an existing folder, got {path}")
    # random, since machines that share a folder can have processes of the same number;
    # the suffix stays the last one, since numpy adds its own to any other
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

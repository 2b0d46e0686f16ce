"""Where an exported file may be written."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["free_file"]


def free_file(file: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """The path of a file to write.

    Raises:
        ValueError: If it exists and is not to be replaced.
        FileNotFoundError: If its folder does not exist.
    """
    path = Path(file).expanduser()
    if path.exists() and not overwrite:
        raise ValueError(f"file must not exist yet, unless overwrite is True, got {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"file must lie in an existing folder, got {path}")
    return path

"""Sizes that a file declares, held against what it stores before memory is taken for them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["check_declared"]

ALWAYS = 2**26
"""Bytes that any file may unpack to: 64 MB."""

MOST_PACKED = 100
"""Times its own size that a larger file may unpack to. Clouds are packed two or three times,
padded ones some ten times; only constants are packed more."""


def check_declared(name: str, size: int, path: Path) -> None:
    """Refuses arrays that are far larger than the file that holds them.

    Args:
        name: Of what is large, for the message.
        size: Bytes in memory.
        path: The file.
    Raises:
        ValueError: If they take more than 64 MB, and more than 100 times the size of the file.
    Example:
        >>> check_declared("points", 10**6, Path("."))
    """
    stored = path.stat().st_size
    if size < 0 or size > max(ALWAYS, MOST_PACKED * stored):
        raise ValueError(
            f"{name} must be at most {MOST_PACKED} times as large as the file, got {size:,} bytes "
            f"declared in {path} of {stored:,} bytes"
        )

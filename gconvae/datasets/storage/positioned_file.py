"""Bytes of a file at given positions: no mapped pages, no shared place in the file."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["PositionedFile"]


class PositionedFile:
    """A file that is opened at the first read, and again after it was pickled.

    Mapped pages would count as memory of the process, the more the more is read. Positioned reads
    do not, and may be made from forked processes and threads at once.

    Args:
        path: The file, which must stay as it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = _state_of(path)
        self._descriptor: int | None = None
        self._lock = threading.Lock()

    def read_into(self, target: NDArray[Any], offset: int) -> None:
        """Fills an array with the bytes from a position on.

        Raises:
            ValueError: If the file ends before.
        """
        left = target.reshape(-1).view(np.uint8).data
        descriptor = self._opened()
        while len(left):
            count = self._read(descriptor, left, offset)
            if count == 0:
                raise ValueError(f"path must be a whole file, {self.path} is cut short")
            left, offset = left[count:], offset + count

    def _read(self, descriptor: int, target: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(descriptor, [target], offset)
        with self._lock:  # Windows has one place in a file for all
            os.lseek(descriptor, offset, os.SEEK_SET)
            content = os.read(descriptor, len(target))
            target[: len(content)] = content
            return len(content)

    def _opened(self) -> int:
        if self._descriptor is None:
            with self._lock:
                if self._descriptor is None:
                    if _state_of(self.path) != self._state:
                        raise ValueError(
                            f"path must stay as it was when it was opened, {self.path} has changed"
                        )
                    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
                    descriptor = os.open(self.path, flags)
                    weakref.finalize(self, os.close, descriptor)
                    self._descriptor = descriptor
        return self._descriptor

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_state": self._state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._descriptor, self._lock = None, threading.Lock()


def _state_of(path: Path) -> tuple[int, int]:
    """What changes when a file is written anew."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns

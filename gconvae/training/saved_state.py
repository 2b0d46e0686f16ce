"""The state that a stopped training goes on from, checked before any of it is taken in."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

__all__ = ["read_state"]

LOCAL_HEADER = 30
"""Bytes before the name of a member of a zip archive; the last four say how long the name and what
follows it are."""

LARGEST_PICKLE = 2**26
"""Bytes that say what the tensors are called, and all that is no tensor."""

ENTRIES = {"stage": str, "outcomes": dict, "history": dict, "before": dict | None}
"""What a state says of the training, beside what Lightning keeps."""


def read_state(state: Path) -> dict[str, Any]:
    """What a checkpoint says of the training.

    It is read as plain tensors, numbers, texts, lists and dicts; a file that asks for anything
    else is refused. torch trusts a file to hold as many bytes as its tensors ask for, so that this
    is looked at first, with tensors that have no memory.

    Args:
        state: The file.
    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or no state of a training.
    """
    if not state.is_file():  # a pipe would wait for somebody to write to it
        raise FileNotFoundError(f"{state} must be a checkpoint, there is no such file")
    try:
        places = _places(state)
        with FakeTensorMode():
            _check_tensors(torch.load(state, weights_only=True, map_location="cpu"), places)
        content = torch.load(state, weights_only=True, map_location="cpu")
        saved: dict[str, Any] = content["training"]
        for name, kind in ENTRIES.items():
            if not isinstance(saved[name], kind):
                raise ValueError(f"its {name} is {str(saved[name])[:50]!r}")
    except Exception as error:  # of torch, its unpickler, or zipfile
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{state} must be a whole checkpoint, it is damaged: {reason:.500}"
        ) from None
    return saved


def _places(state: Path) -> dict[int, int]:
    """Where in the file the numbers of each tensor begin, and how many bytes they are."""
    places, names = {}, set()
    with state.open("rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.filename in names:
                raise ValueError(f"it holds {info.filename} twice")
            names.add(info.filename)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"it holds {info.filename} packed")
            if info.filename.endswith(".pkl") and info.file_size > LARGEST_PICKLE:
                raise ValueError(f"it holds {info.file_size:,} bytes beside its tensors")
            file.seek(info.header_offset + LOCAL_HEADER - 4)
            lengths = struct.unpack("<HH", file.read(4))
            places[info.header_offset + LOCAL_HEADER + sum(lengths)] = info.file_size
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} has other bytes than when it was written")
    return places


def _check_tensors(content: Any, places: Mapping[int, int]) -> None:
    """Refuses tensors that lie elsewhere, or are larger, than what is stored."""
    for tensor in _tensors(content):
        storage = tensor.untyped_storage()
        offset, size = getattr(storage, "_checkpoint_offset", -1), storage.nbytes()
        if size and places.get(offset) != size:
            raise ValueError(f"it holds a tensor of {size:,} bytes that are not there")
        steps = zip(tensor.shape, tensor.stride(), strict=True)
        last = tensor.storage_offset() + sum((count - 1) * step for count, step in steps)
        if tensor.numel() and not 0 <= last < size // tensor.element_size():
            raise ValueError(f"it holds a tensor of shape {list(tensor.shape)} in {size:,} bytes")


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    waiting, seen = [content], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, Mapping | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, Mapping) else value

"""Ways to damage a file: bytes, JSON, archives, links; each takes a seeded generator."""

from __future__ import annotations

import copy
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

__all__ = ["bytes_of", "json_text", "link", "safetensors_of"]

RAW = "\u0001raw{}\u0001"
"""Stands in a value for JSON that no Python value would be written as."""

RAW_JSON = (
    "[" * 100_000 + "]" * 100_000,
    '{"a":' * 50_000 + "1" + "}" * 50_000,
    "1" + "0" * 5_000,
    "NaN",
    "-Infinity",
    "1e999",
    '"\\ud800"',
    '{"name": "conv", "name": "dense", "options": {}}',
    "[" + "1," * 200_000 + "1]",
    '{"__reduce__": "os.system"}',
)
"""Deep, endless and duplicate things."""

VALUES: tuple[Any, ...] = (
    *(
        -1,
        0,
        1,
        2,
        7,
        4_096,
        10**6,
        10**9,
        10**12,
        2**31,
        2**63,
        60_000,
        300_000,
        2**64,
        10**30,
        -(10**12),
    ),
    *(1e308, -1e-308, 0.5, True, None, "", "x", "../x", "/etc/passwd", "a" * 100_000, "\n\0"),
    *([], {}, [[]], [-1], [10**9], [10**6, 10**6], [1] * 100_000, [[10**12]], {"a": {"b": []}}),
    *("__import__('os').system('false')", "conv(hidden=1000000000)", "hidden", [None], [True]),
)
"""What takes the place of an entry."""


def bytes_of(content: bytes, rng: random.Random) -> bytes:
    """Flips, cuts, blanks, repeats or replaces bytes."""
    data, size = bytearray(content), len(content)
    kind = rng.randrange(9)
    if kind < 3 and size:  # flips, often where headers are
        head = min(size, (size, 128, 1_024)[kind])
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(head)] = rng.randrange(256)
    elif kind == 3 and size:  # flips at the end, where zip and Parquet have their directories
        for _ in range(rng.randint(1, 8)):
            data[-rng.randint(1, min(size, 512))] = rng.randrange(256)
    elif kind == 4:
        del data[rng.randrange(size + 1) :]
    elif kind == 5:
        data += rng.randbytes(rng.choice((1, 100, 10_000)))
    elif kind == 6 and size:
        begin = rng.randrange(size)
        length = min(rng.choice((1, 16, 500)), size - begin)
        data[begin : begin + length] = bytes([rng.choice((0, 255))]) * length
    elif kind == 7 and size > 8:  # a number of 4 or 8 bytes becomes huge or negative
        width = rng.choice((4, 8))
        begin = rng.randrange(min(size, 4_096) - width + 1) if size > width else 0
        data[begin : begin + width] = rng.choice((b"\xff", b"\x7f", b"\x00")) * width
    else:
        begin = rng.randrange(size + 1)
        data[begin:begin] = data[begin : begin + rng.choice((1, 64, 2_000))]
    return bytes(data)


def json_text(content: Any, rng: random.Random) -> str:
    """JSON with one to three entries that are wrong, lacking, deep, huge or there twice."""
    holder = [copy.deepcopy(content)]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        _change(holder, rng)
    text = json.dumps(holder[0])
    for number, raw in enumerate(RAW_JSON):
        text = text.replace(json.dumps(RAW.format(number)), raw)
    return text


def _change(holder: list[Any], rng: random.Random) -> None:
    """Changes one entry, at any depth, in place."""
    places = list(_places(holder))
    container, key = rng.choice(places)
    if rng.random() < 0.12:
        del container[key]
        if not holder:
            holder.append({})
    elif rng.random() < 0.25:
        container[key] = RAW.format(rng.randrange(len(RAW_JSON)))
    elif rng.random() < 0.1 and isinstance(container, dict):
        container["../x"] = rng.choice(VALUES)
    elif rng.random() < 0.3 and type(container[key]) is int:
        container[key] = rng.choice((container[key] * 10**6, -container[key], container[key] + 1))
    else:
        container[key] = copy.deepcopy(rng.choice(VALUES))


def _places(container: Any) -> Any:
    for key in container if isinstance(container, dict) else range(len(container)):
        yield container, key
        if isinstance(container[key], dict | list):
            yield from _places(container[key])


def safetensors_of(content: bytes, rng: random.Random) -> bytes:
    """Changes the header: names, shapes, types and places of tensors."""
    (length,) = struct.unpack("<Q", content[:8])
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    text = json_text(header, rng).encode()
    declared = rng.choice((len(text), len(text), len(text), 2**62, 0, 10**8))
    return struct.pack("<Q", declared) + text + rest


def link(file: Path, rng: random.Random) -> str:
    """Puts a link, a pipe or a folder in the place of a file; what it was."""
    kind = rng.choice(
        ("loop", "folder", "endless", "pipe", "dangling", "elsewhere", "real folder")
    )
    content = file.read_bytes()
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "real folder":
        file.mkdir()
    else:
        other = file.with_name("other" + file.suffix)
        if kind == "elsewhere":
            other.write_bytes(content)
        places = {"loop": file.name, "folder": ".", "endless": "/dev/zero", "dangling": "none"}
        file.symlink_to(places.get(kind, other.name))
    return kind

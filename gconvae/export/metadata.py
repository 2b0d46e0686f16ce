"""What an exported file says about itself: schema, inputs, outputs, classes, versions."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import gconvae
from gconvae import json_text
from gconvae.export.packages import onnx_package
from gconvae.export.parts import Encoder, Sampler

__all__ = ["KEY", "described", "read_metadata"]

KEY = "gconvae"
"""Where the JSON stands: a property of an ONNX file, an extra file of a ``.pt2``."""

LARGEST = 2**31
"""Bytes of a file, more than protobuf can hold."""

EVERYWHERE = {"gconvae", "part", "inputs", "outputs", "num_points", "features", "schema"}
"""Entries that every exported file has."""


def described(part: Encoder | Sampler) -> dict[str, Any]:
    """What is written into the file of a part, ready for JSON.

    Args:
        part: Encoder or sampler.
    """
    model = part.model
    schema, conditioning = model.schema, model.conditioning
    ends = [model.scaling.leave(end).tolist() for end in (model.scaling.low, model.scaling.high)]
    features = [
        {"name": feature.name, "unit": feature.unit, "low": low, "high": high}
        for feature, low, high in zip(schema.features, *ends, strict=True)
    ]
    order = [
        {"feature": schema.names[column], "descending": descends}
        for column, descends in schema.order_keys
    ]
    content: dict[str, Any] = {
        "gconvae": gconvae.__version__,
        "part": "encoder" if isinstance(part, Encoder) else "sampler",
        "inputs": [port.described() for port in part.inputs],
        "outputs": [port.described() for port in part.outputs],
        "num_points": conditioning.num_points,
        "features": features,
        "node_order": order,
        "schema": schema.to_dict(),
    }
    if conditioning.num_classes:
        names = list(map(str, schema.classes)) or list(map(str, range(conditioning.num_classes)))
        content["classes"] = names
    if conditioning.num_classes or not conditioning.always_full:
        content["counts"] = conditioning.counts.long().tolist()
    return content


def read_metadata(file: str | os.PathLike[str]) -> dict[str, Any]:
    """What an exported file says about itself; runs no code of it.

    Args:
        file: ``encoder.onnx``, ``sampler.pt2``, ...
    Returns:
        ``gconvae`` (version), ``part``, ``inputs`` and ``outputs`` (name, shape, dtype, meaning,
        distribution), ``num_points``, ``features`` (name, unit, low, high), ``node_order``,
        ``schema``. With labels ``classes``; with labels or ragged clouds ``counts``: how many
        training clouds of each class had 1, 2, ... N nodes.
    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of ours.
        ModuleNotFoundError: If onnx is not installed.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"file must exist, {path} does not")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"file must be at most {LARGEST:,} bytes, got {path} with more")
    text = _of_archive(path) if zipfile.is_zipfile(path) else _of_onnx(path)
    if text is None:
        raise ValueError(f"file must be exported by gconvae, got {path} without its metadata")
    try:
        content = json_text.parsed(text)
    except ValueError as error:
        raise ValueError(
            f"file must hold metadata as gconvae writes it, {path} does not: {error}"
        ) from None
    if not isinstance(content, dict) or not content.keys() >= EVERYWHERE:
        raise ValueError(
            f"file must hold metadata with {', '.join(sorted(EVERYWHERE))}, got {path} with "
            f"{content!r:.200}"
        )
    return content


def _of_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [each for each in archive.infolist() if each.filename.split("/")[-1] == KEY]
            if not entries:
                return None
            if len(entries) > 1 or entries[0].file_size > json_text.LARGEST:
                raise ValueError(
                    f"it must hold {KEY} once, of at most {json_text.LARGEST:,} bytes"
                )
            return archive.read(entries[0]).decode()
    except (EOFError, NotImplementedError, OSError, RuntimeError, ValueError, zlib.error,
            zipfile.BadZipFile) as error:  # fmt: skip
        raise ValueError(f"file must be a whole .pt2, got {path}: {error}") from None


def _of_onnx(path: Path) -> str | None:
    onnx = onnx_package()
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # of protobuf, whichever is installed
        raise ValueError(f"file must be an ONNX file or a .pt2, got {path}: {error}") from None
    return {each.key: each.value for each in model.metadata_props}.get(KEY)

"""Archives and arrays that lie about themselves, and objects that would run code."""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hostile_mutations import VALUES, json_text
from hostile_readers import onnx_bytes

__all__ = ["CONTAINERS"]

BOMB = 600 * 2**20
"""Bytes of zeros that are packed into less than a megabyte."""

SHAPES = (
    *((10**12, 5, 3), (20, 10**9, 3), (20, 5, 10**9), (2**62, 2, 3), (2**63, 5, 3), (-1, 5, 3)),
    *((0, 5, 3), (20, 0, 3), (21, 5, 3), (20, 5), (20,), (), (20, 5, 3, 1), (1,) * 40),
)
"""That do not fit what is stored."""

DTYPES = (
    *("'<f8'", "'<c8'", "'|O'", "'<U9'", "'|S3'", "'<M8[s]'", "'|V12'", "[('a', '<f4')]", "'>f4'"),
    *("'<f99'", "'<f16'", "[('a', '|O')]", "__import__('os').system('false')", "'?'", "'<i4'"),
)


class Canary:
    """An object that, where it is unpickled, leaves a file.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.path}'",)


@functools.cache
def _zeros() -> bytes:
    return bytes(BOMB)


@functools.cache
def _bomb_npz() -> bytes:
    """An npz file whose points are zeros, a thousand times as many as its bytes."""
    packed = io.BytesIO()
    points = np.frombuffer(_zeros(), np.float32).reshape(-1, 5, 3)[: BOMB // 60 // 20 * 20]
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("points.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, points)
    return packed.getvalue()


def _header(shape: Any, dtype: str = "'<f4'", order: object = False, more: str = "") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, {more}}}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def _npy_bytes(rng: random.Random, canary: Path) -> bytes:
    """An array whose header lies, or with an object."""
    kind, body = rng.randrange(7), rng.randbytes(20 * 5 * 3 * 4)
    if kind == 0:
        made = io.BytesIO()
        np.save(made, np.array([[[Canary(canary)] * 3] * 5] * 20, object), allow_pickle=True)
        return made.getvalue()
    if kind == 1:
        return _header((20, 5, 3), "'|O'") + pickle.dumps(Canary(canary))
    if kind == 2:
        return pickle.dumps(Canary(canary))
    if kind == 3:
        return _header((20, 5, 3), rng.choice(DTYPES)) + body
    if kind == 4:
        more = rng.choice(("'x': 1", "'shape': (1,)", "'a': " + "(" * 500 + ")" * 500))
        return _header((20, 5, 3), more=more) + body
    if kind == 5:
        return _header(rng.choice((*SHAPES, "None", "'x'", "(1.5,)")), order=rng.choice((1, True)))
    return _header(rng.choice(SHAPES), rng.choice(DTYPES[:10])) + body


def _npy(file: Path, rng: random.Random, canary: Path) -> None:
    file.write_bytes(_npy_bytes(rng, canary))


def _npz(file: Path, rng: random.Random, canary: Path) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        file.write_bytes(_bomb_npz())
        return
    with np.load(file) as arrays:
        members = {f"{name}.npy": _saved(arrays[name]) for name in arrays.files}
    name = rng.choice(sorted(members))
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    if kind == 1:
        members |= {"../x.npy": members["points.npy"], "/tmp/x.npy": b"x", "a/../../x": b"y"}
    elif kind == 2:
        members["schema.npy"] = _saved(np.array(json_text(_schema_of(members), rng)))
    elif kind == 3:
        members["extra.npy"] = _npy_bytes(rng, canary)
    else:
        members[name] = _npy_bytes(rng, canary)
    with zipfile.ZipFile(file, "w", packing) as archive:
        for each, content in members.items():
            archive.writestr(each, content)
        if kind == 4:
            _write_twice(archive, name, members[name])
    if kind == 5:  # the directory declares other sizes than the members have
        content = bytearray(file.read_bytes())
        place = content.rfind(b"PK\x01\x02")
        field = place + rng.choice((20, 24))
        content[field : field + 4] = rng.choice((b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xff" * 4))
        file.write_bytes(bytes(content))


def _saved(array: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, array, allow_pickle=False)
    return made.getvalue()


def _schema_of(members: dict[str, bytes]) -> Any:
    return json.loads(str(np.load(io.BytesIO(members["schema.npy"]))))


def _write_twice(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(name, content)


def _hdf5(file: Path, rng: random.Random, canary: Path) -> None:
    import h5py

    kind = rng.randrange(11)
    with h5py.File(file, "r+") as opened:
        name = rng.choice(("points", "mask", "labels"))
        if kind < 5 or kind == 9:
            del opened[name]
        if kind == 0:
            shape = rng.choice([each for each in SHAPES if all(0 <= n < 2**31 for n in each)])
            opened.create_dataset(name, shape[:32], "f4", chunks=True if 0 not in shape and shape
                                  else None)  # fmt: skip
        elif kind == 1:
            dtypes = ("S4", "c8", h5py.ref_dtype, h5py.string_dtype(), h5py.vlen_dtype("f4"))
            opened.create_dataset(name, (20, 5, 3), rng.choice(dtypes))
        elif kind == 2:
            opened[name] = rng.choice(
                (h5py.SoftLink(f"/{name}"), h5py.ExternalLink("/etc/passwd", "x"),
                 h5py.ExternalLink("../x.h5", "points"), h5py.SoftLink("/nowhere"))
            )  # fmt: skip
        elif kind == 3:
            opened.create_group(name)
        elif kind == 4:
            place = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
            opened.create_dataset(name, (20, 5, 3), "f4", external=place)
        elif kind in (5, 6):
            text = json_text(_hdf5_schema(opened), rng) if kind == 5 else rng.choice(VALUES[-20:])
            where = opened if "schema" not in opened else opened
            if "schema" in where:
                del where["schema"]
                where["schema"] = str(text)
            else:
                opened.attrs["schema"] = str(text)[:60_000].replace("\0", "")
        elif kind == 7:
            layout = h5py.VirtualLayout((20, 5, 3), "f4")
            layout[:] = h5py.VirtualSource("../x.h5", "points", (20, 5, 3))
            del opened["points"]
            opened.create_virtual_dataset("points", layout)
        elif kind == 8:
            _bomb_hdf5(opened, rng)
        elif kind == 9:
            opened[name] = np.full((20, 5, 3), rng.choice((np.nan, np.inf, 1e308, -1e30)))
        else:
            opened["points"][...] = rng.choice((np.nan, np.inf, 3e38))


def _hdf5_schema(opened: Any) -> Any:
    found = opened["schema"][()] if "schema" in opened else opened.attrs["schema"]
    return json.loads(found)


def _bomb_hdf5(opened: Any, rng: random.Random) -> None:
    """Zeros in chunks that are packed; or one chunk of all of them."""
    count = 10**7
    del opened["points"]
    chunk = rng.choice(((count, 5, 3), (10**5, 5, 3)))
    made = opened.create_dataset("points", (count, 5, 3), "f4", chunks=chunk, compression="gzip")
    import zlib

    packed = _packed_chunk(chunk[0] * 60) if chunk[0] < count else zlib.compress(b"\0")
    for begin in range(0, count, chunk[0]):
        made.id.write_direct_chunk((begin, 0, 0), packed)


@functools.cache
def _packed_chunk(size: int) -> bytes:
    import zlib

    return zlib.compress(bytes(size), 1)


def _parquet(file: Path, rng: random.Random, canary: Path) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    table = parquet.read_table(file)
    kept = dict(parquet.ParquetFile(file).metadata.metadata)
    kept.pop(b"ARROW:schema", None)
    kind = rng.randrange(6)
    if kind == 0:
        kept[b"gconvae.num_nodes"] = str(rng.choice(VALUES)).encode()[:1_000]
    elif kind == 1:
        kept[b"gconvae.schema"] = json_text(json.loads(kept[b"gconvae.schema"]), rng).encode()
    elif kind == 2:
        rows = rng.choice((3, 20, 3 * 10**7))
        values = arrow.array(np.zeros(rows, np.float32))
        ends = arrow.array(np.array([0, rows], np.int32))
        column = arrow.ListArray.from_arrays(ends, values)
        table = arrow.table({"x": column, "y": column})
        kept = {}
    elif kind == 3:
        name = rng.choice(table.column_names)
        others = (["a"] * 20, [None] * 20, [[[1.0, 2.0], [3.0]]] * 20, [[["a"]]] * 20,
                  [[]] * 20, [[[]]] * 20, [[None]] * 20, [{"a": 1}] * 20, [b"x"] * 20)  # fmt: skip
        place = table.column_names.index(name)
        table = table.set_column(place, name, arrow.array(rng.choice(others)))
    elif kind == 4:
        table = table.append_column(rng.choice(table.column_names), table.column(0))  # twice
    else:
        table = table.append_column("../x", table.column(0)).drop(rng.choice(table.column_names))
    parquet.write_table(table.replace_schema_metadata(kept), file, compression="zstd")


def _idx(file: Path, rng: random.Random, canary: Path) -> None:
    content = file.read_bytes()
    dims = rng.choice((0, 1, 3, 3, 7, 255))
    sizes = [rng.choice((0, 1, 4, 6, 255, 2**16, 2**31, 2**32 - 1)) for _ in range(dims)]
    head = bytes([0, 0, rng.choice((8, 8, 8, 13)), dims]) + np.array(sizes, ">u4").tobytes()
    file.write_bytes((head + content[16:])[: rng.choice((3, 5, 1_000))])


def _onnx(file: Path, rng: random.Random, canary: Path) -> None:
    import onnx

    model = onnx.load(file)
    text = json_text(json.loads(model.metadata_props[0].value), rng)
    kind = rng.randrange(5)
    if kind < 2:
        file.write_bytes(onnx_bytes(text[: 10**6]))
        return
    packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(file, "w", packing) as archive:
        if kind == 2:
            archive.writestr("extra/gconvae", text)
            _write_twice(archive, "extra/gconvae", text.encode())
        elif kind == 3:
            archive.writestr("../../gconvae", text)
            archive.writestr("../x", pickle.dumps(Canary(canary)))
    if kind == 4:
        file.write_bytes(_bomb_text())


@functools.cache
def _bomb_text() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("extra/gconvae", "w", force_zip64=True) as member:
            member.write(_zeros())
    return made.getvalue()


def _checkpoint(file: Path, rng: random.Random, canary: Path) -> None:
    import torch

    kind = rng.randrange(6)
    if kind == 0:
        torch.save({"training": Canary(canary)}, file)
        return
    if kind == 1:
        file.write_bytes(pickle.dumps({"training": Canary(canary)}))
        return
    if kind == 2:
        saved = torch.load(file, weights_only=True)
        holder = {"state": {key: saved[key] for key in ("training", "epoch")}}
        _wrong_entry(holder["state"], rng)
        torch.save(holder["state"] if rng.random() < 0.8 else rng.choice(VALUES), file)
        return
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    packing = zipfile.ZIP_STORED
    pickled = next(name for name in members if name.endswith("data.pkl"))
    if kind == 3:  # tensors that say they are larger than what is stored
        content = bytearray(members[pickled])
        for _ in range(rng.randint(1, 4)):
            place = rng.choice([i for i, byte in enumerate(content[:-5]) if byte in b"KMJ"])
            width = {75: 1, 77: 2, 74: 4}[content[place]]
            content[place + 1 : place + 1 + width] = b"\xff\xff\xff\x7f"[4 - width :]
        members[pickled] = bytes(content)
    elif kind == 4:
        packing = zipfile.ZIP_DEFLATED
        members[rng.choice(sorted(members))] = _zeros()[: rng.choice((10**3, BOMB // 6))]
    else:
        members[f"{pickled}/../../x"] = b"x"
        members[pickled] = pickle.dumps({"training": Canary(canary)}, protocol=2)
    with zipfile.ZipFile(file, "w", packing, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if rng.random() < 0.3:
            _write_twice(archive, pickled, members[pickled])


def _wrong_entry(state: dict[str, Any], rng: random.Random) -> None:
    training = state["training"]
    key = rng.choice(sorted(training))
    if rng.random() < 0.3:
        del training[key]
    elif rng.random() < 0.2:
        del state["training"]
    else:
        training[key] = rng.choice(VALUES)


CONTAINERS: dict[str, Callable[[Path, random.Random, Path], None]] = {
    "npy": _npy,
    "npz": _npz,
    "HDF5": _hdf5,
    "Parquet": _parquet,
    "idx": _idx,
    "ONNX": _onnx,
    "checkpoint": _checkpoint,
}
"""Damages a file of a kind in place; what it holds may try to leave the file ``canary``."""

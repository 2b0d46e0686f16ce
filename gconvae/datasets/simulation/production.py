"""Any number of jets, made by several processes in chunks that an interrupted run keeps."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from importlib.metadata import version
from itertools import islice
from multiprocessing.connection import wait
from numbers import Integral
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from gconvae import files, json_text
from gconvae.datasets.simulation.collisions import (
    KINDS,
    MAX_PARTICLES,
    SimulatedJet,
    engines,
    generator_seed,
    jets,
)
from gconvae.datasets.storage.source import optional_package

__all__ = ["CHUNK", "make_jets"]

CHUNK = 500
"""Jets of a chunk, some ten seconds of one core; another number would give other jets."""


ARRAYS = ("particle_features", "jet_features", "event")
"""What a file of jets and each chunk of it hold; the first two are JetNet's."""

_LOGGER = logging.getLogger("gconvae.datasets.simulation")
"""Hears when jets are begun to be made."""


def make_jets(
    kind: str,
    count: int,
    out: str | os.PathLike[str],
    *,
    num_particles: int = 30,
    seed: int = 0,
    processes: int = 1,
    progress: bool = True,
) -> Path:
    """Makes jets and writes them in the layout of JetNet's files.

    The file holds ``particle_features`` (count, num_particles, 4): eta_rel, phi_rel, pt_rel and
    mask, hardest first; ``jet_features`` (count, 4): pt in GeV, eta, mass in GeV and the number of
    all constituents; ``event`` (count,): the number of the collision, in which at most two
    neighbouring jets agree. Jets depend on the seed alone: the first 100 of 1,000 are the same as
    100, for any number of processes.

    Until all are there, chunks of them lie in a folder beside the file, from which the same call
    goes on if it is stopped.

    Args:
        kind: ``"g"`` (gluon), ``"q"`` (light quark) or ``"t"`` (top).
        count: How many jets, 1 or more.
        out: File to write, ``.hdf5`` or ``.h5``; it must not exist.
        num_particles: The hardest particles that are kept of a jet, 1 to 150.
        seed: 0 or more.
        processes: How many make jets side by side.
        progress: Whether a bar is shown.
    Returns:
        The path of the file.
    Raises:
        FileNotFoundError: If the folder of ``out`` does not exist.
        ModuleNotFoundError: If pythia8mc, fastjet or h5py is not installed.
        ValueError: If an argument is out of its range, ``out`` exists, or something else than
            chunks of these jets lies beside it.
    """
    _check(kind, count, num_particles, seed, processes)
    out = _free(Path(out).expanduser())
    engines()
    chunks = out.with_name(f"{out.name}.chunks")
    settings = {
        "kind": kind,
        "num_particles": int(num_particles),
        "seed": int(seed),
        "pythia8mc": version("pythia8mc"),
        "fastjet": version("fastjet"),
    }
    _claim(chunks, settings)
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    _fill(chunks, sizes, settings, processes, progress)
    _write(out, chunks, sizes, settings)
    shutil.rmtree(chunks)
    return out


def _check(kind: str, count: int, num_particles: int, seed: int, processes: int) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    for name, value, low, high in (
        ("count", count, 1, None),
        ("num_particles", num_particles, 1, MAX_PARTICLES),
        ("seed", seed, 0, None),
        ("processes", processes, 1, None),
    ):
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not whole or value < low or (high is not None and value > high):
            limits = f"{low} or more" if high is None else f"{low} to {high}"
            raise ValueError(f"{name} must be a whole number, {limits}, got {value!r}")


def _free(out: Path) -> Path:
    """The file to write, if it can be written and does not exist."""
    if out.suffix not in (".hdf5", ".h5"):
        raise ValueError(f"out must end in .hdf5 or .h5, got {out}")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"out must lie in an existing folder, got {out}")
    if out.exists():
        raise ValueError(f"out must not exist yet, got {out}")
    optional_package("h5py", f"the HDF5 file {out.name}")  # at the end would be too late
    return out


def _claim(chunks: Path, settings: dict[str, Any]) -> None:
    """Makes the folder of chunks, or sees that what lies there is part of the same jets."""
    note = chunks / "settings.json"
    if chunks.is_file() or (chunks.is_dir() and any(chunks.iterdir())):
        begun = _earlier_production(note)
        for name, value in settings.items():
            if begun.get(name) != value:
                raise ValueError(
                    f"{name} must stay {begun.get(name)!r} until the chunks in {chunks} are "
                    f"complete or removed, got {value!r}"
                )
    chunks.mkdir(exist_ok=True)
    with files.whole(note) as temporary:
        temporary.write_text(json.dumps(settings, indent=2) + "\n")


def _earlier_production(note: Path) -> dict[str, Any]:
    """What jets the chunks are of that lie there."""
    try:
        content = json_text.read(note)
    except (OSError, ValueError):  # no such file, no folder, or no JSON
        content = None
    if not isinstance(content, dict):
        raise ValueError(
            f"out must not lie beside other things of the name {note.parent.name}, and "
            f"{note} does not say that they are its chunks; remove {note.parent}"
        )
    return content


def _fill(
    chunks: Path, sizes: list[int], settings: dict[str, Any], processes: int, progress: bool
) -> None:
    """Makes the chunks that are not there."""
    missing = [i for i, size in enumerate(sizes) if _stored(chunks, i) < size]
    finished = sum(sizes) - sum(sizes[i] for i in missing)
    if not missing:
        return
    _LOGGER.info("%d jets in %d processes", sum(sizes) - finished, processes)
    # spawned, since a forked process would share the locks of threads that it does not have
    pool = ProcessPoolExecutor(
        min(processes, len(missing)), multiprocessing.get_context("spawn"), _prepare
    )
    with (
        pool,
        tqdm(total=sum(sizes), initial=finished, unit="jet", disable=not progress) as bar,
    ):
        futures: dict[Future[None], int] = {
            pool.submit(_make_chunk, _path(chunks, i), i, sum(sizes[:i]), sizes[i], settings): i
            for i in missing
        }
        try:
            for future in as_completed(futures):
                future.result()
                bar.update(sizes[futures[future]])
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _prepare() -> None:
    """Makes a process silent, and ends it with the one that started it, however that ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)  # FastJet prints a banner from C++
    # Ctrl-C reaches all processes of a terminal: the chunks that were begun are kept
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _make_chunk(path: Path, index: int, start: int, size: int, settings: dict[str, Any]) -> None:
    """Makes the first jets of a chunk, which is that from jet ``start`` on, and writes them."""
    kind, num_particles = settings["kind"], settings["num_particles"]
    source = jets(kind, generator_seed(settings["seed"], kind, index))
    arrays = _arrays(islice(source, size), size, num_particles)
    arrays["event"] += start  # a chunk has at most as many collisions as jets
    with files.whole(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # numpy's stubs take the names for its flag


def _arrays(source: Iterator[SimulatedJet], size: int, particles: int) -> dict[str, NDArray[Any]]:
    """Jets as padded arrays, named as in JetNet's files."""
    particle_features = np.zeros((size, particles, 4), np.float32)
    jet_features = np.zeros((size, 4), np.float32)
    event = np.zeros(size, np.int64)
    for row, jet in enumerate(source):
        kept = jet.particles[:particles]
        particle_features[row, : len(kept), :3] = kept
        particle_features[row, : len(kept), 3] = 1
        jet_features[row] = jet.features
        event[row] = jet.event
    return dict(zip(ARRAYS, (particle_features, jet_features, event), strict=True))


def _path(chunks: Path, index: int) -> Path:
    return chunks / f"{index:06d}.npz"


def _stored(chunks: Path, index: int) -> int:
    """Jets of a chunk that are there; one of a smaller count, or a damaged one, is made again."""
    try:
        # opened here, since numpy leaves a damaged file open
        with _path(chunks, index).open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
            return min(len(arrays[name]) for name in ARRAYS)
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return 0


def _write(out: Path, chunks: Path, sizes: list[int], settings: dict[str, Any]) -> None:
    """Joins the chunks in one file."""
    h5py = optional_package("h5py", f"the HDF5 file {out.name}")
    with files.whole(out) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["simulation"] = json.dumps(settings)
        start = 0
        for index, size in enumerate(sizes):
            with np.load(_path(chunks, index), allow_pickle=False) as arrays:
                for name in ARRAYS:
                    rows = arrays[name][:size]
                    if name not in file:
                        shape = (sum(sizes), *rows.shape[1:])
                        pieces = (min(shape[0], CHUNK), *rows.shape[1:])
                        file.create_dataset(
                            name,
                            shape,
                            rows.dtype,
                            chunks=pieces,
                            compression="gzip",
                            shuffle=True,
                        )
                    file[name][start : start + size] = rows
            start += size

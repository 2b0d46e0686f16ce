"""Files of jets: the same for any number of processes, after a stop, and of a larger number."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from gconvae import datasets
from gconvae.datasets.simulation import make_jets, production

CHUNK = 3
"""Jets of a chunk here, so that there are several."""


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "CHUNK", CHUNK)


def content(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def seven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(production, "CHUNK", CHUNK)
        return make_jets("g", 7, folder / "seven.hdf5", processes=2, progress=False)


def test_the_layout_is_that_of_jetnet(seven: Path) -> None:
    stored = content(seven)
    assert stored["particle_features"].shape == (7, 30, 4)
    assert stored["particle_features"].dtype == np.float32
    mask = stored["particle_features"][..., 3]
    assert set(np.unique(mask)) <= {0, 1}
    assert stored["jet_features"].shape == (7, 4)
    assert (stored["jet_features"][:, 3] >= mask.sum(1)).all()
    assert (np.diff(stored["event"]) >= 0).all()
    data = datasets.from_file(seven)
    assert data.schema.name == "jets"
    kept = stored["particle_features"][..., :3] * mask[..., None]
    np.testing.assert_array_equal(data.points.numpy(), kept)


def test_the_file_says_how_it_was_made(seven: Path) -> None:
    with h5py.File(seven) as file:
        about = json.loads(file.attrs["simulation"])
    assert about["kind"] == "g"
    assert about["seed"] == 0
    assert set(about) == {"kind", "num_particles", "seed", "pythia8mc", "fastjet"}


def test_nothing_but_the_file_is_left(seven: Path) -> None:
    assert [path.name for path in seven.parent.iterdir()] == [seven.name]


def test_one_process_and_two_make_the_same_jets(seven: Path, tmp_path: Path) -> None:
    alone = make_jets("g", 7, tmp_path / "one.h5", processes=1, progress=False)
    assert same(content(alone), content(seven))


def test_fewer_jets_are_the_first_ones_with_their_hardest_particles(
    seven: Path, tmp_path: Path
) -> None:
    few = content(make_jets("g", 4, tmp_path / "a.h5", num_particles=5, progress=False))
    all_of_them = content(seven)
    assert few["particle_features"].shape == (4, 5, 4)
    np.testing.assert_array_equal(
        few["particle_features"], all_of_them["particle_features"][:4, :5]
    )
    np.testing.assert_array_equal(few["jet_features"], all_of_them["jet_features"][:4])


def test_another_seed_makes_other_jets(seven: Path, tmp_path: Path) -> None:
    other = content(make_jets("g", 1, tmp_path / "a.h5", seed=1, progress=False))
    assert not np.isin(other["jet_features"][:, 0], content(seven)["jet_features"][:, 0]).any()


PROGRAM = """
import sys
from gconvae.datasets.simulation import make_jets, production
production.CHUNK = 3
make_jets("g", 60, sys.argv[1], progress=False)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, seven: Path) -> None:
    out = tmp_path / "jets.hdf5"
    chunks = tmp_path / "jets.hdf5.chunks"
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(out)])
    try:
        for _ in range(600):
            if len(list(chunks.glob("[0-9]*.npz"))) >= 2:
                break
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not out.exists()
    first = chunks / "000000.npz"
    before = first.stat().st_mtime_ns
    with pytest.raises(ValueError, match="seed must stay 0"):
        make_jets("g", 60, out, seed=1, progress=False)
    changed: list[int] = []
    original = production._write

    def watched(*arguments: Any) -> None:
        changed.append(first.stat().st_mtime_ns - before)
        original(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(production, "_write", watched)
        make_jets("g", 7, out, progress=False)
    assert changed == [0]
    assert same(content(out), content(seven))
    assert not chunks.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "w"}, "kind must be one of g, q, t, got 'w'"),
        ({"count": 0}, "count must be a whole number, 1 or more, got 0"),
        ({"count": 2.5}, "count must be a whole number"),
        ({"num_particles": 151}, "num_particles must be a whole number, 1 to 150, got 151"),
        ({"num_particles": True}, "num_particles must be a whole number"),
        ({"seed": -1}, "seed must be a whole number, 0 or more, got -1"),
        ({"processes": 0}, "processes must be a whole number, 1 or more, got 0"),
        ({"out": "jets.npz"}, "out must end in .hdf5 or .h5, got .*jets.npz"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    arguments = {"kind": "g", "count": 1, "out": "jets.h5", **options}
    arguments["out"] = tmp_path / arguments["out"]
    with pytest.raises(ValueError, match=message):
        make_jets(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_stays(tmp_path: Path) -> None:
    (tmp_path / "jets.h5").write_text("mine")
    with pytest.raises(ValueError, match="out must not exist yet"):
        make_jets("g", 1, tmp_path / "jets.h5")
    assert (tmp_path / "jets.h5").read_text() == "mine"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="out must lie in an existing folder"):
        make_jets("g", 1, tmp_path / "no" / "jets.h5")


def kept_chunks(out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The chunks of a run that stopped before it wrote its file."""

    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(production, "_write", stopped)
        with pytest.raises(KeyboardInterrupt):
            make_jets("g", 7, out, progress=False)
    return out.with_name(f"{out.name}.chunks")


def test_a_damaged_chunk_is_made_again(
    tmp_path: Path, seven: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "jets.hdf5"
    chunk = kept_chunks(out, monkeypatch) / "000001.npz"
    whole = chunk.read_bytes()
    for damaged in (
        b"",
        b"PK\x03\x04",
        b"no archive at all",
        whole[:-30],
        whole[: len(whole) // 2],
    ):
        chunk.write_bytes(damaged)
        assert production._stored(chunk.parent, 1) == 0
    np.savez(chunk, event=np.zeros(3))
    assert production._stored(chunk.parent, 1) == 0
    assert same(content(make_jets("g", 7, out, progress=False)), content(seven))


@pytest.mark.parametrize("note", [None, "", "{", "[]", "{}"])
def test_chunks_of_which_nobody_says_what_they_are_are_refused(
    note: str | None, tmp_path: Path
) -> None:
    chunks = tmp_path / "jets.hdf5.chunks"
    chunks.mkdir()
    (chunks / "000000.npz").write_bytes(b"")
    if note is not None:
        (chunks / "settings.json").write_text(note)
    with pytest.raises(ValueError, match=r"must not lie beside other things|kind must stay"):
        make_jets("g", 7, tmp_path / "jets.hdf5", progress=False)
    assert (chunks / "000000.npz").read_bytes() == b""


def test_a_file_in_place_of_the_folder_of_chunks_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "jets.hdf5.chunks").write_text("mine")
    with pytest.raises(ValueError, match=r"out must not lie beside other things of the name"):
        make_jets("g", 7, tmp_path / "jets.hdf5", progress=False)
    assert (tmp_path / "jets.hdf5.chunks").read_text() == "mine"

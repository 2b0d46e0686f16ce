"""Npz files that are written piece by piece."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gconvae.datasets.npz import npz_stream


def pieces(count: int = 3) -> list[dict[str, NDArray[Any]]]:
    """Points, mask and labels of 4, 3, 2, ... clouds."""
    random = np.random.default_rng(0)
    return [
        {
            "points": random.random((4 - n % 4, 5, 3), dtype=np.float32),
            "mask": random.random((4 - n % 4, 5)) < 0.5,
            "labels": random.integers(0, 9, 4 - n % 4),
        }
        for n in range(count)
    ]


def test_numpy_reads_back_what_was_appended(tmp_path: Path) -> None:
    path = tmp_path / "clouds.npz"
    with npz_stream(path, image_size=np.array(28)) as stream:
        for piece in pieces():
            stream.append(**piece)
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file.files) == ["image_size", "labels", "mask", "points"]
        assert file["image_size"] == 28
        for name in ("points", "mask", "labels"):
            wanted = np.concatenate([piece[name] for piece in pieces()])
            assert file[name].dtype == wanted.dtype
            np.testing.assert_array_equal(file[name], wanted)


@pytest.mark.parametrize(
    "piece",
    [
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(24.0).reshape(3, 8)[:, ::2],
        np.zeros((0, 4)),
        np.arange(6, dtype=">i4").reshape(3, 2),
        np.arange(3),
    ],
    ids=["columns first", "strided", "empty", "big-endian", "one axis"],
)
def test_any_layout_of_rows(tmp_path: Path, piece: NDArray[Any]) -> None:
    with npz_stream(tmp_path / "a.npz") as stream:
        stream.append(numbers=piece)
        stream.append(numbers=piece)
    read = np.load(tmp_path / "a.npz")["numbers"]
    assert read.dtype == piece.dtype
    np.testing.assert_array_equal(read, np.concatenate([piece, piece]))


def test_nothing_but_constants(tmp_path: Path) -> None:
    with npz_stream(tmp_path / "a.npz", size=np.array(3)):
        pass
    assert np.load(tmp_path / "a.npz").files == ["size"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"a": np.zeros((2, 3))}, r"pieces must be \['a', 'b'\] every time, got \['a'\]"),
        ({"a": np.zeros((2, 3)), "b": np.zeros(2), "c": np.zeros(2)}, "got .*'c'"),
        (
            {"a": np.zeros((2, 4)), "b": np.zeros(2)},
            r"a must be rows .* got float64 of shape \(4,",
        ),
        ({"a": np.zeros((2, 3), np.float32), "b": np.zeros(2)}, "a must be rows .* got float32"),
    ],
)
def test_unlike_pieces_are_refused(
    tmp_path: Path, second: dict[str, NDArray[Any]], message: str
) -> None:
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match=message), npz_stream(path) as stream:  # noqa: PT012
        stream.append(a=np.zeros((1, 3)), b=np.zeros(1))
        stream.append(**second)
    assert not list(tmp_path.iterdir())


def test_an_older_file_stays_when_writing_stops(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    path.write_text("older")
    with pytest.raises(KeyboardInterrupt), npz_stream(path) as stream:  # noqa: PT012
        stream.append(a=np.zeros(1000))
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]
    assert path.read_text() == "older"


def test_a_missing_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.npz"
    with pytest.raises(FileNotFoundError, match="existing folder"), npz_stream(path):
        pass


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with npz_stream(tmp_path / "a.npz") as stream:
            for n in range(64):
                stream.append(a=np.full((1, 2**18), n, dtype=np.float32))  # 1 MiB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "a.npz").stat().st_size > 64 * 2**20
    assert peak < 8 * 2**20

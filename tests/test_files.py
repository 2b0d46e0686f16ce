"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from gconvae import files


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    # processes of two machines can have the same number, and share a folder
    with files.whole(tmp_path / "a.json") as first, files.whole(tmp_path / "a.json") as second:
        first.write_text("first")
        second.write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "first"  # whose block ended last


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_an_older_file_stays_when_the_block_fails(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def stopped() -> None:
        with files.whole(path) as temporary:
            temporary.write_text("half")
            raise kind

    with pytest.raises(kind):
        stopped()
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "old"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must lie in an existing folder"):
        files.whole(tmp_path / "none" / "a.json").__enter__()

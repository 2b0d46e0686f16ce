"""Files that are written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from gconvae import files


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    # processes of two machines can have the same number, and share a folder
    with files.whole(tmp_path / "a.json") as first, files.whole(tmp_path / "a.json") as second:
        first.write_text("first")
        second.write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "first"  # whose block ended last

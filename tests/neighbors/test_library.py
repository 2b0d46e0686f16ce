"""The C++ library: compiled once, kept, and done without where there is no compiler."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gconvae.neighbors import library
from gconvae.neighbors.native import available, nearest, obstacle


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """A process that has not looked for the library yet, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    library.load.cache_clear()
    yield monkeypatch
    library.load.cache_clear()


def test_it_is_compiled_once_and_leaves_one_file(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert available()
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert [path.parent.name for path in kept] == ["gconvae"]
    library.load.cache_clear()
    fresh.setattr(library, "_compile", None)  # a second compilation would fail
    assert available()


def test_a_damaged_library_is_made_anew(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert available()
    (kept,) = (tmp_path / "cache" / "gconvae").iterdir()
    whole = kept.read_bytes()
    kept.unlink()  # the file itself is in use
    kept.write_bytes(whole[: len(whole) // 2])
    library.load.cache_clear()
    assert available()
    assert [path.stat().st_size for path in kept.parent.iterdir()] == [len(whole)]


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    fresh: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert available()
    assert (tmp_path / "cache").read_text() == "a file"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GCONVAE_COMPILED", "0", "is switched off by GCONVAE_COMPILED=0"),
        ("CXX", "/none/such", r"needs a C\+\+ compiler, and none was found"),
    ],
)
def test_without_it(fresh: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    fresh.setenv(name, value)
    said = obstacle()
    assert said is not None
    with pytest.raises(RuntimeError, match=f"the compiled search {message}"):
        nearest(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))


def test_what_a_compiler_says_is_told(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'no such language' >&2\nexit 1\n")
    compiler.chmod(0o755)
    fresh.setenv("CXX", str(compiler))
    assert obstacle() == "does not compile: no such language"


def test_a_machine_without_compiler_finds_the_same_neighbours(tmp_path: Path) -> None:
    code = (
        "import torch; from gconvae import neighbors; from gconvae.neighbors import native; "
        "a, b = (torch.arange(60.).view(2, 10, 3).remainder(d) for d in (7, 5)); "
        "print(native.available(), neighbors.nearest_padded(a, b, backend='auto').tolist())"
    )

    def told(**environment: Any) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        first, _, rest = done.stdout.partition(" ")
        return first, rest

    without = told(GCONVAE_COMPILED="0")
    assert without[0] == "False"
    assert told() == ("True", without[1])


@pytest.mark.skipif(os.name != "posix", reason="modes of files are those of POSIX")
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_library_that_others_may_write_to_is_made_anew(
    fresh: pytest.MonkeyPatch, tmp_path: Path, mode: int
) -> None:
    assert available()
    folder = tmp_path / "cache" / "gconvae"
    (kept,) = folder.iterdir()
    before = kept.stat().st_ino
    kept.chmod(mode)
    folder.chmod(mode)
    library.load.cache_clear()
    assert available()
    (made,) = folder.iterdir()
    assert made.stat().st_ino != before
    assert [path.stat().st_mode & 0o022 for path in (made, folder)] == [0, 0]


@pytest.mark.skipif(os.name != "posix", reason="owners of files are those of POSIX")
def test_a_cache_of_somebody_else_is_not_used(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert available()
    (kept,) = (tmp_path / "cache" / "gconvae").iterdir()
    library.load.cache_clear()
    mine = os.getuid()
    fresh.setattr(os, "getuid", lambda: mine + 1)
    loaded: list[str] = []
    fresh.setattr(library.ctypes, "CDLL", loaded.append)
    fresh.setattr(library, "_functions", lambda _: {})
    library.load(torch.float32)
    assert str(kept) not in loaded


@pytest.mark.skipif(os.name != "posix", reason="Windows needs a right to make links")
def test_a_linked_library_is_not_loaded(fresh: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert available()
    (kept,) = (tmp_path / "cache" / "gconvae").iterdir()
    elsewhere = tmp_path / "elsewhere.so"
    kept.rename(elsewhere)
    kept.symlink_to(elsewhere)
    library.load.cache_clear()
    assert available()
    assert not kept.is_symlink()

"""The C++ library behind ``native``: compiled at first use, kept, loaded and called.

The system's compiler makes it in about a second, for the CPU at hand, and it is kept in
``$XDG_CACHE_HOME/gconvae`` (``~/.cache/gconvae``). A library is loaded only if it belongs to this
user, nobody else may write to it or its folder, and it has the digest in its name. The environment
variable ``CXX`` names another compiler, and ``GCONVAE_COMPILED=0`` switches the library off.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import itertools
import os
import platform
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

__all__ = ["DTYPES", "SWITCH", "call", "load", "share_out"]

SOURCE = Path(__file__).with_name("native.cpp")
SWITCH = "GCONVAE_COMPILED"
"""Environment variable that switches off whatever is compiled where it is 0."""

COMPILERS = ("c++", "g++", "clang++")
OPTIMIZATION = ("-O2", "-fpeel-loops", "-march=native")
"""The short loops over features laid out; all of ``-O3`` is no faster and compiles for longer."""

# without contraction of a * b + c into one operation, distances have the bits of torch's
FLAGS = ("-std=c++17", *OPTIMIZATION, "-ffp-contract=off", "-fPIC", "-shared")
PATIENCE = 120.0
"""Seconds after which a compiler is given up."""

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH if os.name == "posix" else 0
"""Bits of a mode by which others than its owner may change a file."""

WORTH_A_THREAD = 2**21
"""Pairs of nodes for each thread; below, starting one beside torch's own does not pay."""

DTYPES = {torch.float32: "float", torch.float64: "double"}
"""Numbers that a library is compiled for, as C++ calls them."""


def share_out(clouds: int, work: int) -> list[tuple[int, int]]:
    """Ranges of clouds, one for each thread that pays."""
    if work < 2 * WORTH_A_THREAD:
        return [(0, clouds)]
    threads = min(torch.get_num_threads(), work // WORTH_A_THREAD)
    bounds = [clouds * n // threads for n in range(threads + 1)]
    return list(itertools.pairwise(bounds))


def call(
    name: str, dtype: torch.dtype, arguments: tuple[Any, ...], shares: Sequence[tuple[int, ...]]
) -> None:
    """One call for each share, side by side: ctypes lets go of the interpreter's lock."""
    library = load(dtype)
    if isinstance(library, str):
        raise RuntimeError(f"the compiled search {library}")
    function = library[name]
    others = [threading.Thread(target=function, args=(*arguments, *s)) for s in shares[1:]]
    for thread in others:
        thread.start()
    function(*arguments, *shares[0])
    for thread in others:
        thread.join()


@functools.cache
def load(dtype: torch.dtype) -> dict[str, Callable[..., None]] | str:
    """The functions of the library by name, or why there are none."""
    if os.environ.get(SWITCH) == "0":
        return f"is switched off by {SWITCH}=0"
    compiler = _compiler()
    if compiler is None:
        return "needs a C++ compiler, and none was found"
    try:
        return _functions(ctypes.CDLL(str(_built(compiler, dtype))))
    except subprocess.CalledProcessError as error:
        return f"does not compile: {error.stderr.strip()[-500:]}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be built or loaded: {error}"


def _compiler() -> str | None:
    """Path of the compiler to use."""
    wanted = os.environ.get("CXX")
    names = COMPILERS if not wanted else (wanted,)
    compilers = (shutil.which(name) for name in names)
    return next((path for path in compilers if path is not None), None)


def _built(compiler: str, dtype: torch.dtype) -> Path:
    """The library, from the cache if it is there and whole."""
    flags = (*FLAGS, f"-DREAL={DTYPES[dtype]}")
    key = _digest(SOURCE.read_bytes(), *(part.encode() for part in (compiler, *flags, _cpu())))
    for folder in _folders():
        try:
            if not _is_closed(folder):
                continue
            for path in folder.glob(f"nearest-{key}-*.so"):
                if _is_whole(path):
                    return path
                path.unlink(missing_ok=True)
            return _compile((compiler, *flags), folder, key)
        except OSError:  # a folder that cannot be written to
            continue
    raise OSError("no folder belongs to this user and can be written to")


def _is_closed(folder: Path) -> bool:
    """Makes a folder that only this user may write to; False if it is somebody else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not _is_own(status) or not stat.S_ISDIR(status.st_mode):
        return False
    if status.st_mode & OTHERS_WRITE:  # what others have put there belongs to them
        folder.chmod(0o700)
    return True


def _is_whole(path: Path) -> bool:
    """Whether a library is what this user compiled; a damaged one would end the process."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or not _is_own(status):
        return False
    return not status.st_mode & OTHERS_WRITE and path.stem.rpartition("-")[2] == _digest(
        path.read_bytes()
    )


def _is_own(status: os.stat_result) -> bool:
    """Whether a file is this user's; Windows keeps the folders of users apart by itself."""
    return not hasattr(os, "getuid") or status.st_uid == os.getuid()


def _compile(command: Sequence[str], folder: Path, key: str) -> Path:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        library = Path(scratch) / "nearest.so"
        whole = [*command, str(SOURCE), "-o", str(library)]
        subprocess.run(whole, check=True, capture_output=True, text=True, timeout=PATIENCE)
        library.chmod(0o700)
        path = folder / f"nearest-{key}-{_digest(library.read_bytes())}.so"
        library.replace(path)
    return path


def _folders() -> list[Path]:
    """Where the library may lie: the user's cache, or a place that ends with the process."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return [Path(cache) / "gconvae", _scratch()]


@functools.cache
def _scratch() -> Path:
    """A folder that ends with the process."""
    folder = tempfile.TemporaryDirectory(prefix="gconvae-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _cpu() -> str:
    """What a library for this CPU must not be mistaken for, in a home that machines share."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else [platform.processor()]
    described = [
        line for line in lines if line.startswith(("model name", "flags", "Features", "CPU"))
    ]
    return platform.machine() + platform.node() * (not described) + "".join(sorted(set(described)))


def _functions(library: ctypes.CDLL) -> dict[str, Callable[..., None]]:
    """The entries of native.cpp with the types of their arguments."""
    pointer, number, factor = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
    side = [pointer, pointer, pointer, number, number]
    pair = [pointer, number, pointer, number, number, number, factor]
    kinds = {
        "nearest": [*side, *side, number, *[pointer] * 4, *[number] * 4],
        "terms": [*pair, *[pointer] * 4, number, number],
        "terms_backward": [*pair, *[pointer] * 6, number, number],
    }
    functions = {}
    for name, arguments in kinds.items():
        functions[name] = getattr(library, name)
        functions[name].argtypes, functions[name].restype = arguments, None
    return functions

"""Compiles torch-cluster's nine CPU libraries from one C++ file: torch's headers are read once.

A plugin of setuptools: it acts where it is installed beside what is built. Code, optimization and
names of the libraries stay; ``_version_cpu``, which is loaded first, holds all operators, and the
other eight are empty. Other versions, CUDA and Windows are built as they were.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from setuptools.errors import CompileError

__all__ = ["finalize"]

FOLDER = Path("build") / "one-unit"
FIRST = "torch_cluster._version_cpu"

# what torch-cluster uses of these two; the whole ones bring networks, optimizers and TorchScript
HEADERS = {
    "torch/torch.h": "#pragma once\n#include <torch/types.h>\n",
    "torch/script.h": (
        "#pragma once\n#include <torch/types.h>\n"
        "#include <ATen/core/op_registration/op_registration.h>\n"
    ),
}


def finalize(dist: Any) -> None:
    """Changes what is compiled, if it is torch-cluster: setuptools calls it for all it builds.

    Args:
        dist: The ``setuptools.Distribution``.
    """
    if (dist.get_name(), dist.get_version()) != ("torch_cluster", "1.6.3") or os.name == "nt":
        return
    extensions = dist.ext_modules or []
    if FIRST not in {e.name for e in extensions} or any(
        e.name.endswith("_cuda") for e in extensions
    ):
        return
    files = sorted(source for extension in extensions for source in extension.sources)
    # one file each: libraries may be built at the same time, and would share what is compiled
    own = {extension.name: f"{extension.name.split('.')[-1]}.cpp" for extension in extensions}
    texts = dict.fromkeys(own.values(), "") | HEADERS
    texts[own[FIRST]] = "".join(map(_included, files))
    for name, text in texts.items():
        path = FOLDER / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    dist.cmdclass["build_ext"] = _with_way_back(dist.cmdclass["build_ext"])
    for extension in extensions:
        extension.sources_before = extension.sources
        extension.sources = [str(FOLDER / own[extension.name])]
        extension.include_dirs.insert(0, str(FOLDER))
        # Python's own flags ask for debug information, which torch-cluster's linker drops
        extension.extra_compile_args["cxx"].append("-g0")


def _with_way_back(command: type[Any]) -> type[Any]:
    """The command that builds, which goes back to the 17 files where the one is refused."""

    class Build(command):  # type: ignore[misc]  # torch's, chosen by torch-cluster
        def build_extensions(self) -> None:
            try:
                super().build_extensions()
            except CompileError as error:  # headers of another torch, perhaps
                print(f"not from one file, so from 17, which takes minutes: {error}", flush=True)
                for extension in self.extensions:
                    extension.sources = extension.sources_before
                    extension.include_dirs.remove(str(FOLDER))
                super().build_extensions()

    return Build


def _included(source: str) -> str:
    """Lines that include a file; its variable ``registry`` gets a name of its own."""
    own = re.sub(r"\W", "_", source)
    path = Path(source).absolute().as_posix()
    return f'#define registry registry_{own}\n#include "{path}"\n#undef registry\n'

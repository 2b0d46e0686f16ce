"""What set-up promises: torch-cluster whole though compiled as one file, and no need of it."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from setuptools.errors import CompileError

PLUGIN = Path(__file__).parents[1] / "tools" / "one-unit" / "one_unit.py"
OPERATORS = (
    "cuda_version",
    "fps",
    "graclus",
    "grid",
    "knn",
    "nearest",
    "radius",
    "neighbor_sampler",
)

TRAINING = """
import sys, warnings
folder, without = sys.argv[1:]
if without == "yes":
    sys.modules["torch_cluster"] = None  # an import of it fails, as where it is not installed
import gconvae
points = gconvae.datasets.SuperpixelMNIST(digit=8, split="train").points[:300]
model = gconvae.models.create("convae", hidden=64, seed=0)
gconvae.fit(model, points[:200], points[200:], epochs=2, seed=0, out=folder)
"""


def test_training_with_and_without_torch_cluster_gives_the_same_bits(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TRAINING, str(tmp_path / without), without],
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for without in ("no", "yes")
    ]
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    searches = [
        json.loads((tmp_path / without / "manifest.json").read_text())["neighbor_search"]
        for without in ("no", "yes")
    ]
    assert searches == ["torch-cluster", "dense"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("no", "yes")]
    assert weights[0] == weights[1]
    assert "torch-cluster is not installed" in said[1]
    assert "torch-cluster is not installed" not in said[0]


def test_torch_cluster_has_all_operators_and_imports_without_a_warning() -> None:
    code = (
        "import sys, torch, torch_cluster\n"
        "for name in sys.argv[1:]: getattr(torch.ops.torch_cluster, name)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, *OPERATORS, "random_walk"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


def extension(name: str, *sources: str) -> SimpleNamespace:
    return SimpleNamespace(
        name=f"torch_cluster._{name}",
        sources=list(sources),
        include_dirs=["csrc"],
        extra_compile_args={"cxx": ["-O2"]},
    )


class Build:
    """The command that builds: notes what it is given."""

    refused = 0

    def __init__(self, extensions: list[SimpleNamespace]) -> None:
        self.extensions = extensions
        self.built: list[list[list[str]]] = []

    def build_extensions(self) -> None:
        self.built.append([list(one.sources) for one in self.extensions])
        if len(self.built) <= self.refused:
            raise CompileError("no such header")


class RefusedOnce(Build):
    refused = 1


def changed(
    *extensions: SimpleNamespace,
    name: str = "torch_cluster",
    version: str = "1.6.3",
    build: type[Build] = Build,
) -> SimpleNamespace:
    """A distribution after the plugin."""
    dist = SimpleNamespace(
        get_name=lambda: name,
        get_version=lambda: version,
        ext_modules=list(extensions),
        cmdclass={"build_ext": build},
    )
    runpy.run_path(str(PLUGIN))["finalize"](dist)
    return dist


def finalized(*extensions: SimpleNamespace, **others: str) -> list[Any]:
    """What the plugin makes of a distribution: sources of each extension."""
    return [one.sources for one in changed(*extensions, **others).ext_modules]


def test_where_one_file_is_refused_it_is_built_as_it_was(
    pair: tuple[SimpleNamespace, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = [list(one.sources) for one in pair]
    build = changed(*pair, build=RefusedOnce).cmdclass["build_ext"](list(pair))
    build.build_extensions()
    assert len(build.built) == 2
    assert build.built[1] == before
    assert all(one.include_dirs == ["csrc"] for one in pair)
    assert "from 17, which takes minutes: no such header" in capsys.readouterr().out


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SimpleNamespace, ...]:
    monkeypatch.chdir(tmp_path)
    version = extension("version_cpu", "csrc/version.cpp")
    return extension("knn_cpu", "csrc/knn.cpp", "csrc/cpu/knn_cpu.cpp"), version


def test_each_library_is_compiled_from_a_file_of_its_own(
    pair: tuple[SimpleNamespace, ...],
) -> None:
    # built side by side, two of one file would write over each other's
    three = (*pair, extension("fps_cpu", "csrc/fps.cpp"))
    chosen = [Path(*sources) for sources in finalized(*three)]
    assert len(set(chosen)) == 3
    assert [path.read_text() == "" for path in chosen] == [True, False, True]


def test_one_file_includes_all_sources_and_the_other_libraries_are_empty(
    pair: tuple[SimpleNamespace, ...],
) -> None:
    knn, version = finalized(*pair)
    assert Path(*knn).read_text() == ""
    text = Path(*version).read_text()
    for source in ("csrc/version.cpp", "csrc/knn.cpp", "csrc/cpu/knn_cpu.cpp"):
        assert text.count(f'#include "{Path(source).absolute().as_posix()}"') == 1
    assert all(one.extra_compile_args["cxx"] == ["-O2", "-g0"] for one in pair)
    assert (Path(pair[0].include_dirs[0]) / "torch" / "torch.h").is_file()


@pytest.mark.parametrize(
    "other", [{"name": "torch_scatter"}, {"version": "1.6.4"}], ids=["package", "version"]
)
def test_what_is_not_that_torch_cluster_is_built_as_it_was(
    pair: tuple[SimpleNamespace, ...], other: dict[str, str]
) -> None:
    before = [list(one.sources) for one in pair]
    assert finalized(*pair, **other) == before
    assert not Path("build").exists()


def test_with_cuda_it_is_built_as_it_was(pair: tuple[SimpleNamespace, ...]) -> None:
    cuda = extension("knn_cuda", "csrc/knn.cpp", "csrc/cuda/knn_cuda.cu")
    before = [list(one.sources) for one in (*pair, cuda)]
    assert finalized(*pair, cuda) == before


def test_a_package_without_extensions_is_left_alone() -> None:
    assert finalized() == []

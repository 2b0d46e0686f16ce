from __future__ import annotations

import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata, resources
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gconvae

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(gconvae.__path__, prefix="gconvae.")
)


def loaded(name: str) -> ModuleType:
    return import_module(name)


def public_objects() -> list[tuple[str, Any]]:
    """Every public function, class and method that the library defines itself."""
    found = {}
    for name in MODULES:
        module = loaded(name)
        for key in getattr(module, "__all__", ()):
            value = getattr(module, key)
            if not callable(value) or not getattr(value, "__module__", "").startswith("gconvae"):
                continue
            found[f"{value.__module__}.{key}"] = value
            if inspect.isclass(value):
                for attribute, member in vars(value).items():
                    is_method = inspect.isroutine(member) or isinstance(
                        member, property | classmethod | staticmethod
                    )
                    if is_method and not attribute.startswith("_"):
                        found[f"{value.__module__}.{key}.{attribute}"] = member
    return sorted(found.items())


@pytest.mark.parametrize("name", gconvae.__all__)
def test_every_name_of_the_package_resolves(name: str) -> None:
    assert getattr(gconvae, name) is not None


def test_the_calls_that_users_rely_on_are_there() -> None:
    promised = [
        "datasets.SuperpixelMNIST",
        "datasets.from_points",
        "datasets.from_file",
        "datasets.from_pyg",
        "superpixels.from_images",
        "neighbors.nearest",
        "neighbors.knn_graph",
        "losses.ThirdAxisChamfer",
        "losses.MatchedIntensityChamfer",
        "models.create",
        "models.available",
        "fit",
        "load",
        "metrics.compare",
        "plots.cloud_grid",
    ]
    for path in promised:
        value: Any = gconvae
        for part in path.split("."):
            value = getattr(value, part)
        assert callable(value), path


@pytest.mark.parametrize("name", MODULES)
def test_every_module_names_its_public_parts_and_they_resolve(name: str) -> None:
    module = loaded(name)
    assert list(module.__all__) == sorted(set(module.__all__), key=module.__all__.index)
    missing = [key for key in module.__all__ if not hasattr(module, key)]
    assert missing == []


@pytest.mark.parametrize("name", ["gconvae", *MODULES])
def test_every_module_says_its_responsibility_in_its_first_line(name: str) -> None:
    first = (loaded(name).__doc__ or "").splitlines()[:1]
    assert first
    assert len(first[0]) > 20


def test_the_package_has_public_parts_to_look_at() -> None:
    names = dict(public_objects())
    assert {
        "gconvae.vae.VAE.sample",
        "gconvae.training.fit.fit",
        "gconvae.cli.main.main",
    } <= names.keys()


@pytest.mark.parametrize(("name", "value"), public_objects())
def test_every_public_callable_has_a_docstring_of_its_own(name: str, value: Any) -> None:
    text = value.__doc__ or ""
    assert len(text.strip()) > 10, name
    if inspect.isclass(value):
        inherited = [base.__doc__ for base in value.__mro__[1:]]
        assert text not in inherited, name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gconvae' has no attribute 'trian'"):
        gconvae.trian  # noqa: B018


def test_dir_lists_the_public_names() -> None:
    assert dir(gconvae) == sorted(gconvae.__all__)


def test_a_stranger_finds_his_way() -> None:
    """Few names at the top, and files of one responsibility; reasons for more are decisions."""
    assert len(gconvae.__all__) <= 25
    package = Path(str(resources.files("gconvae")))
    lengths = {
        path.relative_to(package): len(path.read_text().splitlines())
        for path in package.rglob("*.py")
    }
    assert {str(path) for path, length in lengths.items() if length > 400} == set()
    assert lengths[Path("vae.py")] <= 250


def test_the_version_is_that_of_the_installed_package() -> None:
    assert gconvae.__version__ == metadata.version("gconvae")


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("gconvae").joinpath("py.typed").is_file()


def test_the_bundled_data_name_their_licence_beside_them() -> None:
    folder = resources.files("gconvae").joinpath("data")
    assert "CC BY-SA 3.0" in folder.joinpath("LICENSE").read_text().replace("-", " ").replace(
        "CC BY SA", "CC BY-SA"
    )


ROOT = Path(__file__).parents[1]


def test_the_citation_has_the_version_and_licence_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.*)$", text, re.MULTILINE) == [project["version"]]
    assert re.findall(r"^license: \[(.*)\]$", text, re.MULTILINE) == [
        project["license"].replace(" AND ", ", ")
    ]
    holder = re.findall(
        r"^Copyright \(c\) \d+ (.*)$", (ROOT / "LICENSE").read_text(), re.MULTILINE
    )
    assert holder[0] in text


def test_the_source_archive_holds_what_contributors_and_authors_read() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    wanted = {"CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md", "README.md", "LICENSE"}
    assert wanted <= set(tools["targets"]["sdist"]["include"])
    assert {name for name in wanted if not (ROOT / name).is_file()} == set()


def test_every_extra_is_in_the_table_of_the_install_page() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    page = (ROOT / "docs" / "install.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| [\d,]+ MB", page, re.MULTILINE)
    assert listed == list(project["optional-dependencies"])


PROBE = """
import logging, os, random, warnings
import numpy as np, torch
import jsonargparse, lightning.pytorch, matplotlib, torch_geometric  # what these do is theirs
torch.manual_seed(1); np.random.seed(1); random.seed(1)

def state():
    return (
        torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate(),
        torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
        torch.get_float32_matmul_precision(), dict(os.environ), logging.getLogger().level,
        logging.getLogger("lightning.pytorch").level, list(warnings.filters),
        warnings.showwarning, np.get_printoptions(), os.getcwd(),
    )

style = dict(matplotlib.rcParams)
before = state()
from importlib import import_module
for name in {modules}:
    import_module(name)
for number, (old, new) in enumerate(zip(before, state())):
    assert old == new, (number, old, new)
assert dict(matplotlib.rcParams) == style
print("unchanged")
"""


def test_importing_all_of_it_changes_no_global_state_and_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROBE.replace("{modules}", repr(MODULES))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("unchanged\n", "")

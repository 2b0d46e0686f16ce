"""The rooms of the package: who may import whom, checked on the source text."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from draw_floors import FILES, PACKAGE, arrows, imported_modules, package_of, room_of

STANDS_ON: dict[str, set[str]] = {
    # floor 0
    "schema": {"json_text", "lazy", "plain"},
    "plain": set(),
    "options": {"plain"},
    # options only, so that the command can name them before anything heavy is imported
    "recipes": {"options"},
    "ready_made": {"plain"},
    "registry": {"plain"},
    "randomness": {"caller_state", "plain"},
    "files": set(),
    "json_text": set(),
    "processes": set(),
    "lazy": set(),
    "caller_state": set(),
    "cuda_graphs": set(),
    "threads": set(),
    "freed_memory": set(),
    "markup": set(),
    "quiet": set(),
    "pyg": {"quiet"},
    # floor 1
    "clouds": {"schema"},
    # floor 2
    "scaling": {"clouds"},
    "conditioning": {"clouds"},
    "pieces": {"clouds"},
    "neighbors": {"clouds"},
    "superpixels": {"clouds"},
    "datasets": {"clouds", "superpixels"},
    # floor 3
    "nn": {"neighbors"},
    "losses": {"neighbors"},
    "priors": set(),
    "likelihoods": {"nn", "losses/assignment", "datasets/transforms", "scaling", "conditioning"},
    "metrics": {"neighbors", "losses/assignment"},
    # floor 4
    "autoencoder": {"scaling", "conditioning", "pieces"},
    "sampling": {"scaling", "conditioning", "priors", "likelihoods", "pieces"},
    "evidence": {"scaling", "conditioning", "priors", "likelihoods", "pieces"},
    "vae": {"autoencoder", "sampling", "evidence"},
    "plots": {"metrics"},
    # floor 5
    "models": {"vae", "nn", "ready_made"},
    # floor 6
    "training": {"models", "losses", "metrics", "datasets", "recipes"},
    # floor 7
    "export": {"training"},
    "studies": {"training"},
    # floor 8
    "cli": {"studies", "export", "plots", "ready_made"},
}
"""Which rooms a room is built on; it may import these and what they stand on."""

FOR_ALL = {
    *("caller_state", "cuda_graphs", "files", "freed_memory", "json_text", "lazy", "markup"),
    *("plain", "processes", "pyg", "quiet", "randomness", "registry", "schema"),
    "threads",
}
"""The ground floor, on which every room stands."""


def below(room: str) -> set[str]:
    """All that a room may import, wings and single rooms of wings (``losses/assignment``)."""
    found: set[str] = set()
    waiting = [*STANDS_ON[room]]
    while waiting:
        place = waiting.pop()
        found.add(place)
        waiting += STANDS_ON[place] - found if "/" not in place else set()
    return found | (FOR_ALL - {room} if room not in FOR_ALL else set())


def is_allowed(place: str, allowed: set[str]) -> bool:
    return place in allowed or place.split("/")[0] in allowed


def test_there_are_rooms_to_look_at() -> None:
    assert {"clouds", "vae", "training", "cli", "nn"} <= {room_of(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    room = room_of(path)
    assert room in STANDS_ON, f"{room} is not in the table of docs/design.md"
    allowed = {room} | below(room)
    places = arrows(path.read_text(), package_of(path))
    assert {place for place in places if not is_allowed(place, allowed)} == set()


@pytest.mark.parametrize("wing", sorted({room_of(p) for p in FILES if p.parent != PACKAGE}))
def test_rooms_inside_a_wing_form_no_circle(wing: str) -> None:
    """Imports for type checks count too; the wing's own ``__init__`` is its door, not a room."""
    rooms = [p for p in FILES if room_of(p) == wing and p.name != "__init__.py"]
    left = {p: inside(p) - {p} for p in rooms}
    while left:
        lowest = {p for p, others in left.items() if not others & left.keys()}
        names = sorted(p.name for p in left)
        assert lowest, f"these rooms import each other: {names}"
        left = {p: others for p, others in left.items() if p not in lowest}


def inside(path: Path) -> set[Path]:
    """Files of the same wing that a file imports."""
    files = set()
    for module in imported_modules(ast.parse(path.read_text()), package_of(path)):
        names = module.split(".")
        if names[:2] == ["gconvae", room_of(path)]:
            files |= {PACKAGE.joinpath(*names[1:i]).with_suffix(".py") for i in (3, 4)}
    return files & set(FILES)


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != PACKAGE], ids=str)
def test_no_room_enters_its_own_wing_by_the_door(path: Path) -> None:
    """``from gconvae.losses import X`` inside of ``losses`` would hide which room it needs."""
    doors = {"gconvae." + room_of(path)}
    tree = ast.parse(path.read_text())
    if path.name == "__init__.py":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in doors:
            folder = PACKAGE / room_of(path)
            strangers = {
                alias.name
                for alias in node.names
                if not (folder / alias.name).is_dir()
                and not (folder / f"{alias.name}.py").exists()
            }
            assert strangers == set()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The syntax of a file, which nobody may change."""
    return ast.parse(path.read_text())


@functools.cache
def calls_in(path: Path) -> list[tuple[str, str]]:
    """What is called in a file, and the whole call."""
    calls = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), ast.unparse(node)) for node in calls]


def calls_of(path: Path, name: str) -> list[str]:
    """The calls of a function, as they are written in a file."""
    return [call for called, call in calls_in(path) if called.split(".")[-1] == name]


def test_only_the_model_and_the_run_folder_call_what_stands_above_them() -> None:
    """By the names that the package's door links (docs/decisions/0007-stages.md)."""
    callers = {path.name: calls_of(path, "linked") for path in FILES if calls_of(path, "linked")}
    assert callers == {
        "vae.py": [
            f"linked('{name}')" for name in ("with_prior", "with_likelihood", "push_to_hub")
        ],
        "run_folder.py": ["linked('hub_folder')"],
    }
    assert not any(calls_of(path, "link") for path in FILES)
    (linked,) = calls_of(PACKAGE / "__init__.py", "link")
    assert linked == (
        "link(with_prior='gconvae.training.refit', with_likelihood='gconvae.training.refit', "
        "push_to_hub='gconvae.export.hub', hub_folder='gconvae.export.hub')"
    )


@pytest.mark.parametrize(
    "source",
    [
        "import gconvae.training",
        "from gconvae import training",
        "from gconvae import fit",
        "from gconvae.training import fit",
        "from . import training",
        "from .training import fit",
        "def f():\n    from gconvae import clouds, training",
        "if TYPE_CHECKING:\n    from gconvae.training import fit",
        "importlib.import_module('gconvae.training')",
    ],
)
def test_an_arrow_is_seen_in_any_spelling(source: str) -> None:
    assert any(is_allowed(place, {"training"}) for place in arrows(source))


def test_an_arrow_is_seen_from_inside_the_folder_of_networks() -> None:
    assert arrows("from ..vae import VAE", "gconvae.nn") == {"vae"}
    assert arrows("from .conv import ConvEncoder", "gconvae.nn") == {"nn/conv"}


def test_the_table_itself_has_no_circle() -> None:
    for room in STANDS_ON:
        assert room not in {place.split("/")[0] for place in below(room)}


def test_plots_is_imported_by_the_command_line_only() -> None:
    users = {
        room_of(path)
        for path in FILES
        if any(place.split("/")[0] == "plots" for place in arrows(path.read_text()))
    }
    assert users <= {"cli", "plots"}


@functools.cache
def packages_of(path: Path) -> set[str]:
    """Outside packages that a file imports, and its own."""
    return {module.split(".")[0] for module in imported_modules(tree_of(path), "")}


def importers(package: str) -> set[str]:
    """Files that import an outside package."""
    return {path.relative_to(PACKAGE).as_posix() for path in FILES if package in packages_of(path)}


def test_only_neighbors_imports_torch_cluster() -> None:
    assert importers("torch_cluster") == {"neighbors/trees.py"}
    mentions = {path for path in FILES if "torch.ops.torch_cluster" in path.read_text()}
    assert mentions <= {PACKAGE / "neighbors/trees.py"}


def test_only_plots_imports_matplotlib() -> None:
    assert {name.split("/")[0] for name in importers("matplotlib")} == {"plots"}


def test_only_one_room_imports_pyg() -> None:
    """It says things while it is imported, which are silenced there."""
    assert importers("torch_geometric") == {"pyg.py"}


def test_only_training_imports_lightning() -> None:
    """And what asks it for the address of a job's first machine."""
    assert {name.split("/")[0] for name in importers("lightning")} == {"processes.py", "training"}


@pytest.mark.parametrize("package", ["pickle", "dill", "joblib", "cloudpickle"])
def test_nothing_imports_a_pickler(package: str) -> None:
    assert importers(package) == set()


@pytest.mark.parametrize("room", ["plain", "options", "ready_made"])
def test_options_need_the_standard_library_only(room: str) -> None:
    tree = ast.parse((PACKAGE / f"{room}.py").read_text())
    names = {name.split(".")[0] for name in imported_modules(tree, "gconvae")}
    assert names - sys.stdlib_module_names == ({"gconvae"} if STANDS_ON[room] else set())


def test_only_the_command_line_prints() -> None:
    printing = {
        room_of(path)
        for path in FILES
        for called, _ in calls_in(path)
        if called in ("print", "sys.stdout.write")
    }
    assert printing == {"cli"}


STEPS = {
    "package": "import gconvae",
    "command line": "import gconvae.cli.main as m; m.parser()",
    "losses": "import gconvae.vae; gconvae.losses",
    "models": "gconvae.models",
}
"""What a process imports, the lightest first."""


@pytest.fixture(scope="module")
def held() -> dict[str, set[str]]:
    """Top-level packages that a fresh process holds after each step."""
    lines = ["import json, sys"]
    for statement in STEPS.values():
        lines += [statement, "print(json.dumps(sorted(sys.modules)))"]
    words = [sys.executable, "-c", "\n".join(lines)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    named = [
        {name.split(".")[0] for name in json.loads(line)} for line in done.stdout.splitlines()
    ]
    return dict(zip(STEPS, named, strict=True))


def test_importing_the_package_imports_nothing_heavy(held: dict[str, set[str]]) -> None:
    heavy = {"torch", "matplotlib", "lightning", "torch_geometric", "scipy", "skimage", "numpy"}
    assert "gconvae" in held["package"]
    assert held["package"] & heavy == set()


def test_importing_the_command_line_imports_nothing_heavy(held: dict[str, set[str]]) -> None:
    heavy = {"torch", "matplotlib", "lightning", "torch_geometric", "scipy", "skimage"}
    assert "jsonargparse" in held["command line"]
    assert held["command line"] & heavy == set()


def test_losses_come_without_graph_layers(held: dict[str, set[str]]) -> None:
    assert "torch" in held["losses"]
    assert "torch_geometric" not in held["losses"]


def test_models_and_losses_come_without_training_and_plotting(held: dict[str, set[str]]) -> None:
    assert "torch_geometric" in held["models"]
    heavy = {"matplotlib", "lightning", "skimage", "zuko", "sklearn", "geomloss"}
    assert held["models"] & heavy == set()


KNOW_PICTURES = ("superpixels.py", "datasets/", "schema/", "metrics/classifier.py")
"""The rooms that may know what a pixel is; the classifier is a network for images of digits."""

TITLES = ("PixelCNN", "PixelVAE", "superpixel", "Superpixel", "SUPERPIXEL")
"""Names of papers, of clouds, of a data set and of a schema."""


def code_of(path: Path) -> str:
    """A module without docstrings, whose examples show superpixels, and without comments."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        for statement in [*body]:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                body.remove(statement)
        body or body.append(ast.Pass())
    return ast.unparse(tree)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_pixels_and_their_sizes_come_from_the_schema_alone(path: Path) -> None:
    if str(path.relative_to(PACKAGE)).startswith(KNOW_PICTURES):
        return
    words = path.read_text()
    for title in TITLES:
        words = words.replace(title, "")
    assert not re.findall(r"(?i)pixel\w*|brightness|\bpx\b", words)
    assert not re.findall(r"\b(?:27|28)(?:\.0)?\b", code_of(path))

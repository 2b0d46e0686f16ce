"""The rooms of docs and DESIGN.md: who may import whom, checked on the source text."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gconvae

PACKAGE = Path(gconvae.__file__).parent

MAY_IMPORT: dict[str, set[str]] = {
    # level 0
    "clouds": set(),
    "files": set(),
    "options": set(),
    "parts": set(),
    "priors": set(),
    "flows": {"priors"},
    "conditions": {"recording"},
    "randomness": set(),
    "recording": set(),
    "mixtures": set(),
    # options only, so that the command can name them before anything heavy is imported
    "recipes": {"options"},
    # level 1
    "superpixels": {"clouds"},
    "scaling": {"clouds"},
    "matching": {"clouds"},
    "augment": {"clouds"},
    "fused": set(),
    "compiled": {"fused"},
    "streams": set(),
    "batches": {"clouds"},
    "neighbors": {"clouds", "compiled", "recording"},
    "reference": {"clouds"},
    "reports": set(),
    # level 2
    "nn": {"clouds", "neighbors"},
    "datasets": {"clouds", "streams", "superpixels"},
    "observation": {"clouds", "matching"},
    "autoregressive": {"augment", "mixtures", "nn", "observation"},
    "divergences": set(),
    "chamfer": {"clouds", "compiled", "neighbors", "recording"},
    "transport": {"chamfer", "clouds", "neighbors"},
    "losses": {
        *("chamfer", "clouds", "divergences", "matching", "neighbors", "recording", "transport"),
    },
    "set_metrics": {"clouds", "matching"},
    "feature_metrics": {"clouds"},
    "copies": {"clouds", "reference"},
    "metrics": {
        *("clouds", "files", "neighbors", "matching", "reference"),
        *("set_metrics", "feature_metrics", "reports"),
    },
    # level 3
    "vae": {"clouds", "conditions", "priors", "scaling", "observation"},
    "plots": {"clouds", "metrics"},
    # level 4
    "models": {
        *("nn", "vae", "clouds", "conditions", "flows", "autoregressive"),
        *("neighbors", "priors", "scaling", "observation"),
    },
    # level 5; runs before training, which writes run folders
    "runs": {"models", "scaling", "vae"},
    "steps": {"batches", "clouds", "losses", "options", "recording", "runs", "vae"},
    "training": {
        *("clouds", "conditions", "files", "flows", "options", "priors", "recipes"),
        *("autoregressive", "batches", "compiled", "copies", "mixtures", "streams"),
        *("superpixels", "scaling", "matching", "augment", "neighbors", "reference"),
        *("nn", "datasets", "observation", "chamfer", "transport", "divergences", "losses"),
        *("set_metrics", "feature_metrics", "metrics", "reports"),
        *("fused", "recording", "vae", "models", "runs", "steps"),
    },
    "experiments": {"datasets", "models", "options", "runs", "training", "vae"},
}
BELOW_RECIPES = {*MAY_IMPORT["training"], "training", "experiments"}
MAY_IMPORT |= {
    # level 6
    "reproduction": {
        *("datasets", "experiments", "losses", "models", "observation", "options", "runs"),
        *("training", "vae"),
    },
    "plans": {
        *("clouds", "datasets", "experiments", "losses", "metrics", "options", "set_metrics"),
        "training",
    },
    "sweeps": {"experiments", "metrics", "plans", "reports", "runs", "training"},
    "comparisons": {"reports"},
    "variants": {
        *("comparisons", "experiments", "metrics", "options", "reports", "runs"),
        *("training", "vae"),
    },
    "export": BELOW_RECIPES,
}
MAY_IMPORT["cli"] = set(MAY_IMPORT)
for _room in MAY_IMPORT.keys() - {"randomness", "files", "parts"}:
    MAY_IMPORT[_room] = MAY_IMPORT[_room] | {"randomness", "files", "parts"}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    """``nn/conv.py`` lies in room ``nn``, ``vae.py`` in room ``vae``."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(tree: ast.Module, package: str) -> Iterator[str]:
    """Full names of all modules that a source imports, inside functions and type checks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base] if base else parents)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def arrows(source: str, package: str = "gconvae") -> set[str]:
    """Rooms of gconvae that a source imports."""
    rooms = set()
    for module in imported_modules(ast.parse(source), package):
        parts = module.split(".")
        if parts[0] == "gconvae" and len(parts) > 1:
            # a name that is no room is a name of the package, whose home is a room
            home = gconvae._HOMES.get(parts[1], parts[1])
            rooms.add(home)
    return rooms - {name for name in rooms if name.startswith("__")}


def test_there_are_rooms_to_look_at() -> None:
    assert {"clouds", "vae", "training", "cli", "nn"} <= {room_of(path) for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_what_the_table_allows(path: Path) -> None:
    room = room_of(path)
    assert room in MAY_IMPORT, f"{room} is not in the table of DESIGN.md"
    package = ".".join(["gconvae", *path.relative_to(PACKAGE).parent.parts])
    forbidden = arrows(path.read_text(), package) - MAY_IMPORT[room]
    if room == "nn":
        forbidden -= {"nn"}  # its files share layers
    assert forbidden == set()


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
    assert "training" in arrows(source)


def test_an_arrow_is_seen_from_inside_the_folder_of_networks() -> None:
    assert arrows("from ..vae import VAE", "gconvae.nn") == {"vae"}
    assert arrows("from .conv import ConvEncoder", "gconvae.nn") == {"nn"}


def test_the_table_itself_has_no_circle() -> None:
    left = dict(MAY_IMPORT)
    while left:
        lowest = {room for room, below in left.items() if not below & left.keys() - {room}}
        assert lowest, f"these rooms import each other: {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in lowest}


def test_plots_is_imported_by_the_command_line_only() -> None:
    users = {room_of(path) for path in FILES if "plots" in arrows(path.read_text())}
    assert users <= {"cli"}


def importers(package: str) -> set[str]:
    """Files that import an outside package."""
    return {
        path.relative_to(PACKAGE).as_posix()
        for path in FILES
        if package in {m.split(".")[0] for m in imported_modules(ast.parse(path.read_text()), "")}
    }


def test_only_neighbors_imports_torch_cluster() -> None:
    assert importers("torch_cluster") == {"neighbors.py"}
    mentions = {path.name for path in FILES if "torch.ops.torch_cluster" in path.read_text()}
    assert mentions <= {"neighbors.py"}


def test_only_plots_imports_matplotlib() -> None:
    assert importers("matplotlib") == {"plots.py"}


def test_only_training_and_its_steps_import_lightning() -> None:
    assert importers("lightning") == {"steps.py", "training.py"}


@pytest.mark.parametrize("package", ["pickle", "dill", "joblib", "cloudpickle"])
def test_nothing_imports_a_pickler(package: str) -> None:
    assert importers(package) == set()


def test_options_need_the_standard_library_only() -> None:
    tree = ast.parse((PACKAGE / "options.py").read_text())
    outside = {name.split(".")[0] for name in imported_modules(tree, "gconvae")}
    assert outside - sys.stdlib_module_names == set()


def test_only_the_command_line_prints() -> None:
    printing = {
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write")
    }
    assert printing == {"cli.py"}


def modules_after(statement: str) -> set[str]:
    """Top-level packages that a fresh process holds after a statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout)}


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"torch", "matplotlib", "lightning", "torch_geometric", "scipy", "skimage", "numpy"}
    held = modules_after("import gconvae")
    assert "gconvae" in held
    assert held & heavy == set()


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = {"torch", "matplotlib", "lightning", "torch_geometric", "scipy", "skimage"}
    held = modules_after("import gconvae.cli; gconvae.cli._parser()")
    assert "jsonargparse" in held
    assert held & heavy == set()


def test_models_and_losses_come_without_training_and_plotting() -> None:
    held = modules_after("import gconvae; gconvae.models, gconvae.losses, gconvae.vae")
    assert "torch" in held
    assert held & {"matplotlib", "lightning", "skimage", "zuko", "sklearn", "geomloss"} == set()


def test_losses_come_without_graph_layers() -> None:
    assert "torch_geometric" not in modules_after("import gconvae; gconvae.losses, gconvae.vae")

"""The documentation: every public name has its place, and every block of code is right."""

from __future__ import annotations

import doctest
import importlib
import json
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import draw_floors
import numpy as np
import pytest
import renew_fidelity
from test_rooms import STANDS_ON

import gconvae
from gconvae.cli import main as cli
from gconvae.cli.train import free_run_folder
from gconvae.training import run_folder

DOCS = Path(__file__).parents[1] / "docs"
TABLES = DOCS / "tables"
PAGES = sorted(page for page in DOCS.rglob("*.md") if TABLES not in page.parents)
FENCE = re.compile(r"^(`{3,}|:{3,})\{?([\w-]*)\}?.*?\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)


def page_name(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


def blocks(page: Path, *languages: str) -> list[tuple[str, str]]:
    """Language and content of each block of code on a page, in order."""
    found = [(match[2], match[3]) for match in FENCE.finditer(page.read_text())]
    return [(language, text) for language, text in found if language in languages]


def extension(name: str) -> ModuleType:
    """A module of docs/_extensions."""
    sys.path.insert(0, str(DOCS / "_extensions"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


api_pages = extension("api_pages")


# API pages


def test_every_public_module_has_a_page_and_no_private_room_has_one() -> None:
    pages = {path.stem for path in (DOCS / "api").glob("*.md")} - {"index"}
    assert pages == {name.removeprefix("gconvae.") for name in api_pages.modules()}


@pytest.mark.parametrize("name", api_pages.modules())
def test_a_page_takes_all_public_names_of_its_module(name: str) -> None:
    text = (DOCS / "api" / f"{name.removeprefix('gconvae.')}.md").read_text()
    assert f".. automodule:: {name}\n" in text
    assert not re.search(r":(no-|exclude-)?members:", text)  # conf.py takes what __all__ names


def test_every_page_of_the_api_is_in_its_table_of_contents() -> None:
    text = (DOCS / "api" / "index.md").read_text()
    listed = text.split("```{toctree}")[1].split()
    named = set(re.findall(r"^   ([\w.]+)$", text, re.MULTILINE))
    pages = {path.stem for path in (DOCS / "api").glob("*.md")} - {"index"}
    assert pages <= set(listed)
    assert named == (pages - {"gconvae"}) | set(gconvae.__all__)


# the table of modules


def test_the_table_of_rooms_is_the_one_that_the_imports_are_checked_against() -> None:
    rows = re.findall(r"^\| \d \| `(\w+)` \|.*\| (.*) \|$", (DOCS / "design.md").read_text(), re.M)
    listed = {room: {word for word in below.split(", ") if word != "-"} for room, below in rows}
    rooms = {info.name for info in pkgutil.iter_modules(gconvae.__path__)}
    assert listed.keys() == rooms
    assert listed == {
        room: below & _places(rooms) for room, below in STANDS_ON.items() if room in rooms
    }


def test_the_picture_of_the_floors_shows_the_imports_of_today() -> None:
    """After a new import or floor: ``python scripts/draw_floors.py``."""
    drawn = json.loads((DOCS / "figures" / "floors.json").read_text())
    assert drawn == draw_floors.floors()


def test_no_arrow_of_the_picture_leads_up() -> None:
    rooms = draw_floors.floors()
    for room, facts in rooms.items():
        assert all(rooms[other]["floor"] <= facts["floor"] for other in facts["stands on"]), room


def test_an_arrow_that_a_longer_way_stands_for_is_left_out() -> None:
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert draw_floors.needed(graph) == {"a": ["b"], "b": ["c"], "c": []}


# tables


def test_every_table_is_on_a_page_and_is_renewed_by_the_command() -> None:
    there = {table.stem for table in TABLES.glob("*.md")}
    included = {
        name
        for page in PAGES
        for name in re.findall(r"\{include\} (?:\.\./)?tables/([\w-]+)\.md", page.read_text())
    }
    assert there == included
    assert there <= set(renew_fidelity.COMMANDS)
    for script, *_ in renew_fidelity.COMMANDS.values():
        assert (renew_fidelity.ROOT / script).exists()


def test_of_what_is_printed_only_the_tables_are_kept() -> None:
    printed = "run-0: 5 s\n\n| a | b |\n|---|---:|\n| x | 1 |  \n\n| c |\n|---|\nended\n"
    assert renew_fidelity.tables_of(printed) == (
        "| a | b |\n|---|---:|\n| x | 1 |\n\n| c |\n|---|\n"
    )
    with pytest.raises(ValueError, match="text must hold a table, got 'run-0: 5 s'"):
        renew_fidelity.tables_of("run-0: 5 s")


def _places(rooms: set[str]) -> set[str]:
    """Rooms that are there, and rooms of wings that are there."""
    below = set().union(*STANDS_ON.values())
    return rooms | {place for place in below if place.split("/")[0] in rooms}


# blocks of code


def run_blocks(page: Path, namespace: dict[str, Any]) -> None:
    """Runs the Python of a page from top to bottom, and compares what sessions print."""
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    found = blocks(page, "python", "pycon")
    for number, (language, text) in enumerate(found):
        name = f"{page.name}[{number}]"
        if language == "python":
            exec(compile(text, name, "exec"), namespace)
        else:
            example = parser.get_doctest(text, namespace, name, str(page), 0)
            runner.run(example, clear_globs=False)
            namespace.update(example.globs)
    assert runner.summarize(verbose=False).failed == 0


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to run in, a network of a hundredth of the size, one epoch."""
    create, fit, compare = gconvae.models.create, gconvae.fit, gconvae.metrics.compare
    train = gconvae.train

    def small_model(*args: Any, **options: Any) -> Any:
        return create(*args, **options | {"hidden": 16, "channels": (2, 2, 2)})

    def short_fit(*args: Any, **options: Any) -> Any:
        if "likelihood_steps" in options:
            args, options["likelihood_steps"] = (args[0], args[1][:200]), 2
        return fit(*args, **options | {"epochs": 1, "progress": False})

    def short_train(recipe: str, data: Any, **options: Any) -> Any:
        few = {"epochs": 1, "prior_steps": 20, "likelihood_steps": 2, "progress": False}
        return train(recipe, data[:200], **options | few | {"hidden": 16})

    def rough_compare(*args: Any, **options: Any) -> Any:
        few = {name: options[name][:60] for name in ("reference", "training") if name in options}
        rough = options | few | {"num_splits": 5, "num_bootstrap": 5}
        return compare(*(first_ones(sample) for sample in args), **rough)

    def first_ones(sample: Any) -> Any:
        if not isinstance(sample, gconvae.clouds.Clouds):
            return sample[:60]
        return sample.points[:60], sample.mask[:60]

    monkeypatch.chdir(tmp_path)
    # parts that a page registers are gone after it; those of the library come first
    assert gconvae.losses.available()
    assert gconvae.models.available()
    held = {kind: dict(known) for kind, known in gconvae.registry._PARTS.items()}
    monkeypatch.setattr(gconvae.registry, "_PARTS", held)
    monkeypatch.setattr(gconvae.models, "create", small_model)
    monkeypatch.setattr(gconvae, "fit", short_fit)
    monkeypatch.setattr(gconvae, "train", short_train)
    monkeypatch.setattr(gconvae.metrics, "compare", rough_compare)
    monkeypatch.setattr(gconvae.priors.flows.Flow, "fit_steps", 20)
    # the module, whose name stands for its function in gconvae.metrics
    embedding = importlib.import_module("gconvae.metrics.trained_embedding")
    monkeypatch.setattr(embedding, "STEPS", 20)


PYTHON_PAGES = [page for page in PAGES if blocks(page, "python", "pycon")]


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=page_name)
@pytest.mark.usefixtures("quick", "hub")
def test_the_python_of_a_page_runs(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # what `gconvae sample` of the tutorial writes
    np.savez("eights.npz", points=np.zeros((5, 25, 3), np.float32))
    run_blocks(page, {"__name__": "__main__"})


def test_a_wrong_block_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "wrong.md"
    page.write_text("```python\nx = 1\n```\n\n```pycon\n>>> x + 1\n3\n```\n")
    with pytest.raises(AssertionError):
        run_blocks(page, {})


COMMANDS = [
    (page, line)
    for page in PAGES
    for _, text in blocks(page, "shell")
    for line in text.replace("\\\n", " ").splitlines()  # lines that end in a backslash go on
    if "gconvae" in shlex.split(line, comments=True)
]


def test_the_pages_name_commands() -> None:
    assert {"train", "sample"} <= {line.split("gconvae ")[1].split()[0] for _, line in COMMANDS}


@pytest.fixture(scope="module")
def reader() -> Any:
    """The parser of all commands."""
    return cli.parser()


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_a_command_of_a_page_is_understood(
    page: Path, line: str, reader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _, text in blocks(DOCS / "cli.md", "yaml"):
        (tmp_path / text.split()[1]).write_text(text)
    words = shlex.split(line, comments=True)
    reader.parse_args(cli.with_dashes(words[words.index("gconvae") + 1 :]))


def test_the_run_folder_of_the_pages_is_the_default_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    default = free_run_folder(cli.parser().parse_args(["train"]).train).as_posix()
    named = {
        line.split("--out", 1)[1].split()[0]
        for _, line in COMMANDS
        if "gconvae train" in line and "--out" in line
    }
    sampled = {line.split()[4] for _, line in COMMANDS if "gconvae sample" in line}
    bundled = {f"pretrained:{name}" for name in run_folder.pretrained()}
    assert sampled - named - bundled == {default}
    assert default in (DOCS / "figures" / "eights.txt").read_text()

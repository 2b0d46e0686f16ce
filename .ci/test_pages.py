"""The built pages. Run: PAGES=docs/_build/html pytest -n 0 .ci/test_pages.py

No part of the usual tests, since the pages take minutes to build.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path

import pytest

import gconvae

DOCS = Path(__file__).parents[1] / "docs"
sys.path.insert(0, str(DOCS / "_extensions"))
api_pages = importlib.import_module("api_pages")


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the built pages."""
    folder = Path(os.environ["PAGES"])
    assert (folder / "index.html").is_file()
    return folder


@pytest.fixture(scope="module")
def described(built: Path) -> set[str]:
    """Full names of all Python objects that the pages describe."""
    from sphinx.util.inventory import InventoryFile

    with (built / "objects.inv").open("rb") as file:
        inventory = InventoryFile.load(file, "", lambda base, name: name)
    return {name for kind, names in inventory.items() if kind.startswith("py:") for name in names}


def test_every_public_name_is_described(described: set[str]) -> None:
    wanted = {f"gconvae.{name}" for name in gconvae.__all__} | set(api_pages.addresses().values())
    assert wanted <= described


def test_no_public_name_is_described_twice(described: set[str]) -> None:
    others = {name for name, address in api_pages.addresses().items() if name != address}
    # Sphinx lists a class under the name of its home too, without a second description
    homes = {f"{api_pages.home(*name.rsplit('.', 1))}.{name.rsplit('.', 1)[1]}" for name in others}
    assert (others - homes) & described == set()


def test_every_page_begins_with_a_table_of_its_names(built: Path) -> None:
    for module in api_pages.modules():
        html = (built / "api" / f"{module.removeprefix('gconvae.')}.html").read_text()
        table = html.split("<table", 1)[1].split("</table>")[0]
        rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
        assert len(rows) == len(api_pages.names_of(module)), module
        sentences = [re.sub(r"<[^>]+>|\s", "", row.rsplit("<td>", 1)[1]) for row in rows]
        assert all(sentences), module


def test_a_built_page_loads_nothing_from_the_network(built: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"((?:https?:)?//[^\"]*)")
    found = {
        address for page in built.rglob("*.html") for address in loaded.findall(page.read_text())
    }
    assert found == set()


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("jet", "jets"),
        ("interpol", "gallery/interpolation"),
        ("tensorboard", "callbacks"),
        ("slurm", "devices"),
        ("onnx", "export"),
        ("hub", "hub"),
        ("chamfer", "gallery/chamfer_loop"),
        ("notebook", "notebook"),
    ],
)
def test_the_search_finds_what_newcomers_look_for(built: Path, word: str, page: str) -> None:
    text = (built / "searchindex.js").read_text()
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    terms = {**index["terms"], **index["titleterms"]}
    places = [
        place for term, found in terms.items() if term.startswith(word)
        for place in (found if isinstance(found, list) else [found])
    ]  # fmt: skip
    assert page in {index["docnames"][place] for place in places}


def test_every_example_has_a_figure(built: Path) -> None:
    pages = [page for page in (built / "gallery").glob("*.html") if page.stem != "index"]
    assert len(pages) >= 10
    for page in pages:
        assert f"sphx_glr_{page.stem}_001.png" in page.read_text(), page.stem

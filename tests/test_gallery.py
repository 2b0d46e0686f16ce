"""The gallery of examples; CI builds the pages, which runs them, and three as notebooks."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
import run_notebooks

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples" / "gallery").glob("*.py"))


@pytest.fixture
def order() -> tuple[str, ...]:
    """Names of the examples in the order of their pages."""
    sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
    try:
        from gallery_figures import ORDER
    finally:
        sys.path.pop(0)
    return ORDER


def test_every_example_has_its_place_in_the_gallery(order: tuple[str, ...]) -> None:
    assert sorted(order) == [path.stem for path in EXAMPLES]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_begins_with_a_title_and_is_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    title, rule = lines[1:3]
    assert lines[0] == '"""'
    assert rule == "=" * len(title)
    assert len(lines) < 80
    assert any(line.startswith("# %%") for line in lines)  # text between the blocks of code


@pytest.mark.parametrize("name", run_notebooks.USUAL)
def test_an_example_becomes_a_notebook_with_its_text_and_code(name: str, tmp_path: Path) -> None:
    notebook = nbformat.read(run_notebooks.converted(name, tmp_path), as_version=4)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown"
    assert "import gconvae" in "".join(c.source for c in notebook.cells if c.cell_type == "code")


def test_an_unknown_example_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"name must be one of chamfer_loop, .* got 'no'"):
        run_notebooks.converted("no", tmp_path)

"""Runs examples of the gallery as notebooks, and sees that their figures show themselves.

Run: python scripts/run_notebooks.py [NAME ...] [--out FOLDER]
Each example is turned into a notebook as the documentation does it, and run by a kernel of its own
without a browser. Warnings of other packages in a notebook are an error.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from sphinx_gallery.notebook import python_to_jupyter_cli

GALLERY = Path(__file__).resolve().parents[1] / "examples" / "gallery"

USUAL = ("own_clouds", "interpolation", "chamfer_loop")
"""Examples with a training, bundled weights, and a loop in plain PyTorch."""


def converted(name: str, folder: Path) -> Path:
    """The notebook of an example, in a folder.

    Raises:
        FileNotFoundError: If there is no such example.
    """
    script = GALLERY / f"{name}.py"
    if not script.is_file():
        known = ", ".join(sorted(path.stem for path in GALLERY.glob("*.py")))
        raise FileNotFoundError(f"name must be one of {known}, got {name!r}")
    copy = Path(shutil.copy(script, folder))
    python_to_jupyter_cli([str(copy)])
    return copy.with_suffix(".ipynb")


def run(notebook: Path) -> dict[str, int]:
    """Runs a notebook in place, and counts its figures and what it writes on its error stream.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    content = nbformat.read(notebook, as_version=4)
    nbclient.NotebookClient(content, timeout=600, kernel_name="python3").execute()
    nbformat.write(content, notebook)
    outputs = [output for cell in content.cells for output in cell.get("outputs", [])]
    return {"figures": sum(map(_is_figure, outputs)), "warnings": sum(map(_warns, outputs))}


def _is_figure(output: Any) -> bool:
    return "image/png" in output.get("data", {})


def _warns(output: Any) -> bool:
    return output.get("name") == "stderr" and "Warning" in output.get("text", "")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=USUAL)
    parser.add_argument("--out", type=Path, help="where the notebooks go; by default nowhere")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in given.names:
            found = run(converted(name, folder))
            print(f"{name}: {found['figures']} figures, {found['warnings']} warnings", flush=True)
            if not found["figures"] or found["warnings"]:
                sys.exit(f"{name} must show a figure and no warning of other packages")

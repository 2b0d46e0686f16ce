"""What a notebook shows: a real one is run, without ipywidgets and without magic commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CELLS = {
    "begin": """
import sys

sys.modules["ipywidgets"] = None  # as if it were not installed
import gconvae

data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:60]
options = {"channels": (2, 2, 2), "hidden": 8, "latent_dim": 2, "likelihood": "gaussian"}
model = gconvae.models.create("convae", seed=0, **options)""",
    "train": "run = gconvae.fit(model, data, epochs=2, seed=0)",
    "run": "run",
    "report": """
drawn = run.model.sample(60, seed=0)
gconvae.metrics.compare(data, drawn, metrics="features", num_splits=2, num_bootstrap=2)""",
    "figure": "gconvae.plots.cloud_grid(data.points[:4])",
    "two figures": """
first = gconvae.plots.loss_curves(run.history)
gconvae.plots.feature_histograms({"real": data})""",
    "pyplot": "import matplotlib.pyplot",
    "figure beside pyplot": "gconvae.plots.cloud_grid(data.points[:4])",
    "not the last value": "figure = gconvae.plots.cloud_grid(data.points[:4])",
}
"""What somebody types, one cell after another."""

RUNNER = """
import json, sys
import nbformat
from nbclient import NotebookClient

cells = [nbformat.v4.new_code_cell(source) for source in json.load(sys.stdin)]
book = nbformat.v4.new_notebook(cells=cells)
NotebookClient(book, timeout=300, kernel_name="python3").execute()
print(json.dumps([cell.outputs for cell in book.cells]))
"""

BAR = re.compile(r"(network|likelihood)(, epoch \d/2)?: +\d+%\|.*step/s.*\]?")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Outputs of each cell."""
    folder: Path = tmp_path_factory.mktemp("notebook")
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input=json.dumps(list(CELLS.values())),
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(CELLS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_the_first_cell_says_nothing(shown: dict[str, list[dict[str, Any]]]) -> None:
    assert shown["begin"] == []


def test_a_training_shows_its_bars_as_text_and_nothing_else(
    shown: dict[str, list[dict[str, Any]]],
) -> None:
    assert {output["output_type"] for output in shown["train"]} == {"stream"}
    text = "".join(output["text"] for output in shown["train"])
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    assert [line for line in lines if not BAR.fullmatch(line.strip())] == []
    assert any("epoch 2/2: 100%" in line and "best epoch" in line for line in lines)


@pytest.mark.parametrize("cell", ["figure", "two figures", "figure beside pyplot"])
def test_a_figure_shows_itself_once(shown: dict[str, list[dict[str, Any]]], cell: str) -> None:
    (output,) = shown[cell]
    assert output["output_type"] == "execute_result"
    assert output["data"]["image/png"].startswith("iVBORw0KGgo")  # what a PNG begins with


def test_a_figure_that_is_kept_is_not_shown(shown: dict[str, list[dict[str, Any]]]) -> None:
    assert shown["not the last value"] == []


@pytest.mark.parametrize(("cell", "heads"), [("run", "best epoch"), ("report", "real pairs")])
def test_runs_and_reports_are_tables(
    shown: dict[str, list[dict[str, Any]]], cell: str, heads: str
) -> None:
    (output,) = shown[cell]
    assert "<table>" in output["data"]["text/html"]
    assert heads in output["data"]["text/html"]
    assert "\n" not in output["data"]["text/plain"]

"""A plain script: what it prints on the error stream is ours, and the filters stay the user's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import gconvae

data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:60]
options = {"channels": (2, 2, 2), "hidden": 8, "latent_dim": 2, "seed": 0}
for parts in ({"prior": "gmm", "likelihood": "gaussian"}, {"encoder": "edge_conv"}):
    model = gconvae.models.create("convae", **options, **parts)
    run = gconvae.fit(model, data, epochs=1, seed=0)
gconvae.datasets.from_pyg(list(data))
gconvae.metrics.compare(data, run.model.sample(60), num_splits=2, num_bootstrap=2)
gconvae.plots.save(gconvae.plots.cloud_grid(data.points[:4]), "clouds.png")
"""

BAR = re.compile(r"(network|prior|likelihood|features|sets|embedding|points)\b.*\d+%\|.*")


def error_lines(words: list[str], folder: Path, script: str = SCRIPT) -> list[str]:
    """What a script prints there, without progress bars."""
    (folder / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, *words, "script.py"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    lines = [line for line in re.split(r"[\r\n]+", done.stderr) if line.strip()]
    assert done.returncode == 0, lines
    return [line for line in lines if not BAR.fullmatch(line)]


def test_a_plain_script_prints_bars_and_no_warning_of_other_packages(tmp_path: Path) -> None:
    # with those that Python hides by default
    assert error_lines(["-W", "always"], tmp_path) == []


def test_a_warning_of_the_user_s_own_is_still_printed(tmp_path: Path) -> None:
    own = "import warnings\nimport gconvae\ngconvae.models\n"
    own += "warnings.warn('mine', FutureWarning)\nwarnings.warn('old', DeprecationWarning)\n"
    own += "warnings.warn('`torch.jit.script` is deprecated', FutureWarning)\n"
    lines = error_lines([], tmp_path, own)
    assert [line.split(": ", 1)[1] for line in lines if "Warning" in line and ".py:" in line] == [
        "FutureWarning: mine",
        "DeprecationWarning: old",
        "FutureWarning: `torch.jit.script` is deprecated",
    ]


FILTERS = """
import sys, warnings
warnings.filterwarnings("error", "a filter of the user's")
import {module}
print(*warnings.filters, sep="\\n")
"""


def test_filters_are_those_that_pyg_alone_leaves(tmp_path: Path) -> None:
    """Packages set some for themselves when they are imported; those stay, and no other comes."""

    def left(module: str) -> str:
        words = [sys.executable, "-c", FILTERS.format(module=module)]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
        return done.stdout

    assert left("gconvae.pyg") == left("torch_geometric.nn")

"""How a finished training shows itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import gconvae
from gconvae.training.run import Run

HISTORY = {
    "stage": ["network", "network", "network", "likelihood"],
    "epoch": [1, 2, 3, 1],
    "valid_loss": [90.0, 81.25, 85.0, None],
}
MANIFEST: dict[str, Any] = {
    "model": {
        "encoder": {"name": "conv", "options": {}},
        "decoder": "MyDecoder",  # one that is not registered
        "prior": {"name": "nsf", "options": {}},
        "likelihood": {"name": "gaussian", "options": {}},
    },
    "config": {"epochs": 3},
    "stages": {
        "network": {"best_epoch": 2, "epochs_run": 3, "seconds": 61.5},
        "likelihood": {"best_epoch": 1, "epochs_run": 1, "seconds": 0.25},
    },
    "seconds": 61.75,
}


def finished(folder: Path | None = Path("runs/eights"), **changes: Any) -> Run:
    model = gconvae.models.create("convae", hidden=8, channels=(2, 2, 2))
    return Run(model, HISTORY, MANIFEST | changes, folder)


def test_a_run_is_one_line_of_what_matters() -> None:
    assert repr(finished()) == (
        "<Run runs/eights: conv + MyDecoder + nsf + gaussian, best epoch 2 of 3, "
        "validation loss 81.25, 62 s>"
    )


def test_a_run_of_the_catalogue_says_its_name() -> None:
    run = finished(None, config={"model": "convae-flow"})
    assert repr(run).startswith("<Run in memory: convae-flow (conv + MyDecoder")


def test_a_run_of_which_little_is_known_can_be_shown() -> None:
    run = Run(finished().model, {}, {})
    assert repr(run) == "<Run in memory: ? + ? + ? + ?>"
    assert "<table>" in run._repr_html_()


def test_the_table_has_a_line_a_stage_and_escapes_the_folder() -> None:
    html = finished(Path("runs/<b>&"))._repr_html_()
    assert "runs/&lt;b&gt;&amp;" in html
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", html)
    assert cells[:5] == ["network", "2", "3", "81.25", "61.5"]
    assert cells[5:] == ["likelihood", "1", "1", "-", "0.2"]


def test_a_run_of_fit_shows_its_best_epoch() -> None:
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:40]
    run = gconvae.fit(finished().model, data, epochs=1, seed=0, progress=False)
    assert f"best epoch 1 of 1, validation loss {run.history['valid_loss'][0]:.4g}" in repr(run)

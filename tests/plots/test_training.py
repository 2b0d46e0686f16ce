"""Loss curves."""

from __future__ import annotations

import numpy as np
import pytest
from figures import (
    HISTORY,
)

from gconvae import plots


def test_loss_curves_draw_every_known_column_against_the_epochs() -> None:
    left, right = plots.loss_curves(HISTORY).axes
    drawn = {str(line.get_label()): line for axes in (left, right) for line in axes.lines}
    names = {"loss": "total", "rec": "reconstruction", "kl": "KL"}
    for split in ("train", "valid"):
        for term, name in names.items():
            line = drawn[f"{split}, {name}"]
            np.testing.assert_array_equal(line.get_xdata(), HISTORY["epoch"])
            np.testing.assert_array_equal(line.get_ydata(), HISTORY[f"{split}_{term}"])
            assert line.axes is (right if term == "kl" else left)


def test_best_epoch_is_that_of_the_lowest_validation_loss() -> None:
    history = HISTORY | {"epoch": [11, 12, 13, 14], "valid_loss": [9.0, float("nan"), 7.0, 8.0]}
    for axes in plots.loss_curves(history).axes:
        line = next(line for line in axes.lines if line.get_label() == "best epoch (13)")
        assert list(line.get_xdata()) == [13.0, 13.0]


def test_losses_that_fall_far_are_drawn_on_a_logarithmic_axis() -> None:
    falling = HISTORY | {"train_loss": [9000.0, 50.0, 40.0, 35.0]}
    assert plots.loss_curves(falling).axes[0].get_yscale() == "log"
    assert plots.loss_curves(HISTORY).axes[0].get_yscale() == "linear"


def test_history_without_kl_and_validation_has_one_panel_and_no_best_epoch() -> None:
    (axes,) = plots.loss_curves({"train_loss": [3.0, 2.0]}).axes
    assert [line.get_label() for line in axes.lines] == ["train, total"]
    assert list(axes.lines[0].get_xdata()) == [1.0, 2.0]


STAGED = {
    "stage": ["network", "network", "network", "prior", "prior", "likelihood"],
    "epoch": [1, 2, 3, 1, 2, 1],
    "train_loss": [9.0, 8.0, 7.0, 3.0, 2.0, 5.0],
    "train_kl": [1.0, 2.0, 3.0, None, None, None],
    "valid_loss": [9.0, 7.0, 8.0, 2.0, 3.0, 6.0],
}


def test_each_stage_has_panels_of_its_own() -> None:
    panels = plots.loss_curves(STAGED).axes
    titles = ["Network: loss", "Network: KL divergence", "Prior: loss", "Likelihood: loss"]
    assert [axes.get_title() for axes in panels] == titles
    drawn = [
        {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
        for axes in panels
    ]
    assert drawn[0]["train, total"] == [[1, 9], [2, 8], [3, 7]]
    assert drawn[1]["train, KL"] == [[1, 1], [2, 2], [3, 3]]
    assert drawn[2]["train, total"] == [[1, 3], [2, 2]]
    assert drawn[3]["valid, total"] == [[1, 6]]
    best = ["best epoch (2)", "best epoch (2)", "best epoch (1)", "best epoch (1)"]
    for panel, name in zip(drawn, best, strict=True):
        assert name in panel


def test_one_stage_is_not_named() -> None:
    history = {"stage": ["network"] * 2, "train_loss": [3.0, 2.0], "train_kl": [1.0, 1.5]}
    assert [axes.get_title() for axes in plots.loss_curves(history).axes] == [
        "Loss",
        "KL divergence",
    ]


def test_stages_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match=r"columns of one length, got .*'stage': 1"):
        plots.loss_curves({"stage": ["network"], "train_loss": [3.0, 2.0]})

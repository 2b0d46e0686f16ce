"""Figures of sweeps and leaderboards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from figures import (
    compared,
    tried,
)
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from gconvae import plots
from gconvae.plots.style import COLORS


def sweep_lines(figure: Figure) -> dict[str, tuple[list[Any], list[float], list[list[float]]]]:
    """Label to places, values and ends of the error bars of each line of a sweep."""
    found = {}
    for line in figure.axes[0].containers:
        assert isinstance(line, ErrorbarContainer)
        ends = [list(bar[:, 1]) for bar in line.lines[2][0].get_segments()]
        data = line.lines[0]
        found[str(line.get_label())] = (list(data.get_xdata()), list(data.get_ydata()), ends)
    return found


def test_settings_are_drawn_against_an_option_with_their_errors() -> None:
    figure = plots.settings(tried({"beta": 0.1}, {"beta": 0.3}, {"beta": 0.5}), "beta")
    ((places, values, ends),) = sweep_lines(figure).values()
    assert places == [0.1, 0.3, 0.5]
    assert values == [1.0, 2.0, 3.0]
    np.testing.assert_allclose(ends, [[0.9, 1.1], [1.8, 2.2], [2.7, 3.3]])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("beta", "intensity W1")


def test_settings_of_a_wide_range_are_on_a_logarithmic_axis() -> None:
    for options, scale in (((0.1, 0.9), "linear"), ((0.1, 1.0), "log"), ((0.0, 9.0), "linear")):
        found = tried(*({"beta": beta} for beta in options))
        assert plots.settings(found, "beta").axes[0].get_xscale() == scale


def test_settings_have_a_line_for_each_value_of_the_other_options() -> None:
    options = [{"beta": beta, "loss": loss} for beta in (0.1, 1.0) for loss in ("near", "far")]
    lines = sweep_lines(plots.settings(tried(*options), "beta"))
    assert [name for name in lines if "near" in name] == [next(iter(lines))]
    near, far = lines.values()
    assert (near[:2], far[:2]) == (([0.1, 1.0], [1.0, 3.0]), ([0.1, 1.0], [2.0, 4.0]))


def test_a_line_of_settings_runs_from_left_to_right() -> None:
    # a sampler does not choose in order
    lines = sweep_lines(plots.settings(tried({"beta": 0.5}, {"beta": 0.1}, {"beta": 0.3}), "beta"))
    ((places, values, _),) = lines.values()
    assert places == [0.1, 0.3, 0.5]
    assert values == [2.0, 3.0, 1.0]


def test_words_lists_and_truth_values_are_drawn_in_their_order() -> None:
    for values in (("far", "near"), ([8, 8], [4]), (True, False), (None, 3)):
        figure = plots.settings(tried(*({"option": value} for value in values)), "option")
        figure.draw_without_rendering()
        labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
        assert labels == [str(value) for value in values]


def test_the_floor_of_settings_is_drawn_where_there_is_one() -> None:
    (floor,) = [
        line
        for line in plots.settings(tried({"beta": 1.0}), "beta").axes[0].lines
        if line.get_label() == "real against real"
    ]
    assert list(floor.get_ydata()) == [0.5, 0.5]
    figure = plots.settings(tried({"beta": 1.0}, floors=[]), "beta")
    assert "real against real" not in [line.get_label() for line in figure.axes[0].lines]


def test_settings_without_value_are_left_out_and_one_seed_has_no_error() -> None:
    found = tried({"beta": 1.0}, {"beta": 2.0}, error=None)
    found["settings"][0]["mean"] = None
    ((places, values, ends),) = sweep_lines(plots.settings(found, "beta")).values()
    assert (places, values) == ([2.0], [2.0])
    assert all(low == high for low, high in ends)


def test_many_settings_drawn_at_random_are_points_without_lines() -> None:
    random = np.random.default_rng(0).random((30, 2))
    found = tried(*({"beta": beta, "rate": rate} for beta, rate in random.tolist()))
    (line,) = plots.settings(found, "beta").axes[0].containers
    assert isinstance(line, ErrorbarContainer)
    assert line.lines[0].get_linestyle() == "None"
    assert len(line.lines[0].get_xdata()) == 30


@pytest.mark.parametrize(
    ("found", "option"),
    [
        (tried({"beta": 1.0}), "rate"),
        (tried({"beta": 1.0}, mean=None), "beta"),
        (tried(), "beta"),
    ],
)
def test_settings_without_the_option_or_a_value_are_refused(
    found: dict[str, Any], option: str
) -> None:
    with pytest.raises(ValueError, match=f"option must be one of .*'{option}'"):
        plots.settings(found, option)


def dots(axes: Axes) -> list[tuple[float, float]]:
    lines = [c.lines[0] for c in axes.containers if isinstance(c, ErrorbarContainer)]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def test_a_variant_is_a_dot_a_panel_in_the_order_of_the_list() -> None:
    figure = plots.leaderboard(compared(slides=0.3, gmm=0.6))
    assert [axes.get_title() for axes in figure.axes] == ["x W1 (px) ↓", "points AUC → 0.5"]
    for axes in figure.axes:
        assert dots(axes) == [(0.3, 0.0), (0.6, 1.0)]
    assert figure.axes[0].yaxis_inverted()  # the first variant on top


def test_the_best_variant_is_filled_and_the_others_are_not() -> None:
    axes = plots.leaderboard(compared(slides=0.3, gmm=0.6)).axes[0]
    faces = [c.lines[0].get_markerfacecolor() for c in axes.containers]
    assert faces == [COLORS[1], "white"]


def test_the_band_of_variants_is_that_of_real_clouds() -> None:
    figure = plots.leaderboard(compared(slides=0.3))
    bands = [axes.patches[0].get_window_extent().transformed(axes.transData.inverted())
             for axes in figure.axes]  # fmt: skip
    assert [(round(band.x0, 6), round(band.x1, 6)) for band in bands] == [
        (0.05, 0.08),
        (0.47, 0.53),
    ]


def test_one_bad_variant_does_not_hide_the_others() -> None:
    figure = plots.leaderboard(compared(slides=0.3, gmm=0.4, nsf=0.5, bad=9.0))
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear"]


def test_variants_without_values_are_left_out() -> None:
    axes = plots.leaderboard(compared(slides=0.3, diverged=None)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slides"]


def test_variants_are_drawn_by_the_metrics_that_are_named() -> None:
    figure = plots.leaderboard(compared(slides=0.3), ["points AUC"])
    assert [axes.get_title() for axes in figure.axes] == ["points AUC → 0.5"]
    for wrong in (["z W1"], []):
        with pytest.raises(ValueError, match="metrics must be out of x W1, points AUC"):
            plots.leaderboard(compared(slides=0.3), wrong)
    with pytest.raises(ValueError, match="metrics must be out of"):
        plots.leaderboard(compared(slides=None))

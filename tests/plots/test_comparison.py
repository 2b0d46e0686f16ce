"""The figure of a comparison."""

from __future__ import annotations

import numpy as np
from figures import ROWS, make_report
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.text import Annotation
from numpy.typing import NDArray

from gconvae import metrics, plots

MANY = (
    metrics.Row("x", "W1", "px", 0.4, 0.02, 0.04, 0.08),
    metrics.Row("embedding", "kernel", "", -0.002, 0.001, 0.0, 0.01, "0"),
    metrics.Row("chamfer", "coverage", "", 0.2, 0.02, 0.6, 0.5, "higher"),
    metrics.Row("points", "AUC", "", 0.9, 0.015, 0.52, 0.55, "0.5"),
    metrics.Row("embedding", "memorization", "", 0.1, 0.015, 0.48, 0.45, "0.5"),
)


def drawn_values(axes: Axes) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of the values, and of both ends of their error bars."""
    (errorbar,) = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    segments = np.array(errorbar.lines[2][0].get_segments())
    return np.asarray(errorbar.lines[0].get_xdata(), dtype=float), segments[:, :, 0]


def names(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def test_distances_are_in_units_of_what_95_percent_of_real_pairs_stay_below() -> None:
    axes = plots.report(make_report(*MANY)).axes[0]
    values, ends = drawn_values(axes)
    np.testing.assert_allclose(values, [5.0, -0.2])
    np.testing.assert_allclose(ends, [[4.75, 5.25], [-0.3, -0.1]])
    assert names(axes) == ["x W1", "embedding kernel"]
    assert "95 %" in axes.get_xlabel()


def test_shares_are_drawn_as_they_are_below_the_distances() -> None:
    figure = plots.report(make_report(*MANY))
    values, ends = drawn_values(figure.axes[1])
    np.testing.assert_allclose(values, [0.2, 0.9, 0.1])
    np.testing.assert_allclose(ends[0], [0.18, 0.22])
    wanted = ["chamfer coverage ↑", "points AUC → 0.5", "embedding memorization → 0.5"]
    assert names(figure.axes[1]) == wanted
    assert figure.axes[0].get_position().y0 > figure.axes[1].get_position().y1


def test_a_value_lies_in_its_band_where_the_table_does_not_say_that_it_is_beyond() -> None:
    rows = [
        metrics.Row("chamfer", "coverage", "", 0.4, 0.0, 0.6, 0.5, "higher"),
        metrics.Row("chamfer", "coverage", "", 0.7, 0.0, 0.6, 0.5, "higher"),
        metrics.Row("points", "AUC", "", 0.54, 0.0, 0.52, 0.55, "0.5"),
        metrics.Row("points", "AUC", "", 0.44, 0.0, 0.52, 0.55, "0.5"),
        metrics.Row("points", "AUC", "", 0.46, 0.0, 0.48, 0.45, "0.5"),
    ]
    axes = plots.report(make_report(*rows)).axes[0]
    values, _ = drawn_values(axes)
    bands = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    inside = [low <= value <= high for value, (low, high) in zip(values, bands, strict=True)]
    assert inside == [not row.beyond for row in rows]
    assert True in inside
    assert False in inside


def test_distances_up_to_1_lie_in_a_grey_band() -> None:
    for rows, lowest in ((ROWS, 0.0), (MANY, -1.0)):
        axes = plots.report(make_report(*rows)).axes[0]
        (band,) = axes.patches
        assert (band.get_x(), band.get_x() + band.get_width()) == (lowest, 1.0)


def test_one_kind_of_metrics_has_one_panel() -> None:
    assert len(plots.report(make_report(*MANY[:2])).axes) == 1
    assert len(plots.report(make_report(*MANY[2:])).axes) == 1


def test_each_value_is_written_with_error_and_unit_beside_its_row() -> None:
    axes = plots.report(make_report(*ROWS)).axes[0]
    found = {text.get_text(): text.xy[1] for text in axes.texts if isinstance(text, Annotation)}
    assert found == {"0.4 ± 0.02 px": 0, "0.03 ± 0.001": 1}
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first row is the uppermost


def test_rows_without_a_width_are_left_out() -> None:
    assert names(plots.report(make_report(*ROWS)).axes[0]) == ["x W1", "intensity W1"]


def test_a_large_value_is_shown_with_its_error() -> None:
    axes = plots.report(make_report(metrics.Row("x", "W1", "px", 90.0, 20.0, 0.04, 0.1))).axes[0]
    assert axes.get_xlim()[1] > 1100

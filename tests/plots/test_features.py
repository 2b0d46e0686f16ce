"""Histograms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from figures import (
    eights,
)
from matplotlib.colors import to_rgba

from gconvae import metrics, plots
from gconvae.schema import JETS, SUPERPIXELS


def test_histograms_are_shares_of_nodes_in_whole_pixels() -> None:
    samples = {"real": eights(30), "generated": eights(50, seed=1)}
    figure = plots.feature_histograms(samples, schema=SUPERPIXELS)
    assert [axes.get_xlabel() for axes in figure.axes] == ["x (px)", "y (px)", "intensity"]
    for i, axes in enumerate(figure.axes):
        for sample, patch in zip(samples.values(), axes.patches, strict=True):
            shares, edges, _ = patch.get_data()
            wanted = np.arange(29) - 0.5 if i < 2 else np.linspace(0, 1, 33)
            np.testing.assert_allclose(edges, wanted)
            counts = np.histogram(sample[..., i].double().numpy(), wanted)[0]
            np.testing.assert_allclose(shares, counts / (25 * len(sample)))


def test_values_beyond_the_histogram_are_kept_in_its_outermost_bins() -> None:
    far = eights(10) + torch.tensor([1000.0, 0.0, 0.0])
    axes = plots.feature_histograms({"real": eights(10), "far": far}).axes[0]
    shares = axes.patches[1].get_data()[0]
    assert shares[-1] == 1.0


def test_titles_of_histograms_hold_w1_to_the_first_sample() -> None:
    samples = {"real": eights(30), "one": eights(30, seed=1), "two": eights(20, seed=2) * 0.9}
    figure = plots.feature_histograms(samples)
    for i, axes in enumerate(figure.axes):
        found = [metrics.feature_w1(samples["real"], samples[name])[i] for name in ("one", "two")]
        assert axes.get_title() == f"W1 to real\none: {found[0]:.2g}\ntwo: {found[1]:.2g}"


def test_some_features_can_be_named() -> None:
    samples = {"real": eights(30), "generated": eights(50, seed=1)}
    alone = plots.feature_histograms(samples, features=["feature 3"]).axes
    whole = plots.feature_histograms(samples).axes[2]
    assert len(alone) == 1
    assert alone[0].get_title() == whole.get_title()
    for one, other in zip(alone[0].patches, whole.patches, strict=True):
        np.testing.assert_array_equal(one.get_data()[0], other.get_data()[0])


def test_samples_in_a_histogram_differ_in_colour_and_dashes() -> None:
    samples = {"real": eights(5), "one": eights(5), "two": eights(5)}
    _, one, two = plots.feature_histograms(samples).axes[0].patches
    assert to_rgba(one.get_edgecolor()) != to_rgba(two.get_edgecolor())
    assert one.get_linestyle() != two.get_linestyle()


def test_more_features_than_fit_side_by_side_go_on_below() -> None:
    figure = plots.feature_histograms({"real": torch.rand(20, 5, 6)})
    assert len(figure.axes) == 6
    assert figure.axes[4].get_position().y1 < figure.axes[0].get_position().y0 + 0.1


@pytest.mark.parametrize("decades", [0.1, 0.4, 0.8, 1.5, 2.5, 5.0, 9.0])
def test_labels_of_a_logarithmic_axis_stay_apart(decades: float) -> None:
    tail = 0.003 * 10 ** (decades * torch.rand(50, 5, 3, dtype=torch.float64))
    figure = plots.feature_histograms({"real": tail}, schema=JETS)
    axes = figure.axes[2]
    assert axes.get_xscale() == "log"
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
    labels = [t.label1 for t in ticks if t.label1.get_text() and low <= t.get_loc() <= high]
    assert len(labels) >= 2
    boxes = [label.get_window_extent() for label in labels]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_a_heavy_tail_has_logarithmic_bins_where_some_values_are_nothing() -> None:
    values = torch.rand(50, 5, 3) + 0.01
    values[0, 0, 2] = 0.0
    axes = plots.feature_histograms({"real": values}, schema=JETS).axes[2]
    assert axes.get_xscale() == "log"
    assert axes.patches[0].get_data()[0].sum() == pytest.approx(1.0)


def test_a_heavy_tail_has_logarithmic_bins() -> None:
    axes = plots.feature_histograms({"real": torch.rand(50, 5, 3) + 0.01}, schema=JETS).axes[2]
    assert axes.get_xscale() == "log"
    edges = axes.patches[0].get_data()[1]
    np.testing.assert_allclose(edges[1:] / edges[:-1], edges[1] / edges[0])

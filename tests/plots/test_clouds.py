from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import NDArray
from torch import Tensor

from gconvae import clouds, metrics, plots
from gconvae.plots.clouds import COLORS


def eights(num_clouds: int, seed: int = 0) -> Tensor:
    """Clouds (B, 25, 3) along a lying-8 curve set upright, in a 28 x 28 image."""
    rng, turn = np.random.default_rng(seed), np.linspace(0, 2 * np.pi, 25, endpoint=False)
    shift = rng.normal(size=(num_clouds, 1, 2))
    curve = np.stack([14 + 4 * np.sin(2 * turn), 14 + 8 * np.cos(turn)], axis=-1)
    intensity = rng.uniform(0.2, 1.0, size=(num_clouds, 25, 1))
    return torch.from_numpy(np.concatenate([curve + shift, intensity], axis=-1)).float()


def scatters(figure: Figure) -> list[PathCollection]:
    return [
        found for axes in figure.axes for found in axes.collections
        if isinstance(found, PathCollection)
    ]  # fmt: skip


def panels(figure: Figure) -> list[Axes]:
    return figure.axes[:-1]  # without the colour bar


def offsets(collection: PathCollection) -> NDArray[np.float64]:
    return np.asarray(collection.get_offsets())


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def make_report(*rows: metrics.Row) -> metrics.Report:
    return metrics.Report(rows, 10, 10, 10, 10, 2, 2, 0)


ROWS = (
    metrics.Row("x", "W1", "px", 0.4, 0.02, 0.04, 0.07),
    metrics.Row("intensity", "W1", "", 0.03, 0.001, 0.003, 0.005),
    metrics.Row("nodes", "W1", "nodes", 0.0, 0.0, 0.0, 0.0),
)
HISTORY = {
    "epoch": [1, 2, 3, 4],
    "train_loss": [90.0, 50.0, 40.0, 35.0],
    "train_rec": [85.0, 46.0, 36.0, 31.0],
    "train_kl": [5.0, 4.0, 4.0, 4.0],
    "valid_loss": [91.0, 60.0, 48.0, 55.0],
    "valid_rec": [86.0, 56.0, 43.0, 50.0],
    "valid_kl": [5.0, 4.0, 5.0, 5.0],
    "seconds": [1.0, 1.0, 1.0, 1.0],
}


def tried(*options: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What a sweep of these settings came to: 1, 2, 3, ... each with a tenth as error."""
    settings = [
        {"options": chosen, "mean": number, "error": number / 10, "floors": [0.25, 0.75]} | more
        for number, chosen in enumerate(options, start=1)
    ]
    return {"metric": "intensity W1", "settings": settings}


CALLS: dict[str, Callable[[Figure | None], Figure]] = {
    "cloud_grid": lambda f: plots.cloud_grid(eights(3), figure=f),
    "compare_grids": lambda f: plots.compare_grids({"real": eights(3)}, figure=f),
    "images_and_clouds": lambda f: plots.images_and_clouds(
        np.zeros((3, 28, 28)), eights(3), figure=f
    ),
    "intensity_histogram": lambda f: plots.intensity_histogram({"real": eights(3)}, figure=f),
    "feature_histograms": lambda f: plots.feature_histograms({"real": eights(3)}, figure=f),
    "loss_curves": lambda f: plots.loss_curves(HISTORY, figure=f),
    "report": lambda f: plots.report(make_report(*ROWS), figure=f),
    "settings": lambda f: plots.settings(tried({"beta": 0.1}, {"beta": 1.0}), "beta", figure=f),
}


def test_each_panel_shows_the_nodes_of_its_cloud() -> None:
    points = eights(12)
    drawn = scatters(plots.cloud_grid(points, rows=3, columns=4))
    assert len(drawn) == 12
    for cloud, scatter in zip(points.numpy(), drawn, strict=True):
        np.testing.assert_allclose(offsets(scatter), cloud[:, :2], rtol=1e-6)
        np.testing.assert_allclose(scatter.get_array(), cloud[:, 2], rtol=1e-6)


def test_panels_are_filled_row_after_row() -> None:
    drawn = panels(plots.cloud_grid(eights(6), rows=2, columns=3))
    places = [axes.get_position() for axes in drawn[:6]]
    assert [round(place.y0, 6) for place in places[:3]] == [round(places[0].y0, 6)] * 3
    assert places[0].x0 < places[1].x0 < places[2].x0
    assert places[3].y0 < places[0].y0


def test_masked_nodes_are_not_drawn() -> None:
    points = eights(2)
    mask = torch.ones(2, 25, dtype=torch.bool)
    mask[1, 10:] = False
    drawn = scatters(plots.cloud_grid(points, mask))
    assert [len(offsets(scatter)) for scatter in drawn] == [25, 10]
    np.testing.assert_allclose(offsets(drawn[1]), points[1, :10, :2], rtol=1e-6)
    listed = scatters(plots.cloud_grid(points.tolist(), mask.tolist()))
    assert [len(offsets(scatter)) for scatter in listed] == [25, 10]


def test_pyg_data_and_datasets_are_drawn_like_points() -> None:
    points = eights(3)
    wanted = [offsets(scatter) for scatter in scatters(plots.cloud_grid(points))]
    for form in (clouds.to_data(points), clouds.as_clouds(points), points.numpy()):
        drawn = [offsets(scatter) for scatter in scatters(plots.cloud_grid(form))]
        np.testing.assert_array_equal(drawn, wanted)


def test_a_grid_has_no_more_panels_than_clouds_or_places() -> None:
    assert len(scatters(plots.cloud_grid(eights(7), rows=10, columns=5))) == 7
    assert len(scatters(plots.cloud_grid(eights(7), rows=2, columns=2))) == 4


def test_y_points_downwards_at_equal_aspect_in_every_panel() -> None:
    for axes in panels(plots.cloud_grid(eights(4)))[:4]:
        bottom, top = axes.get_ylim()
        assert bottom > top
        assert axes.get_xlim() == (top, bottom)
        assert axes.get_aspect() == 1.0


def test_panels_of_images_show_the_whole_image() -> None:
    figure = plots.compare_grids({"real": eights(4), "off": eights(4) + 10.0}, image_size=32)
    for scatter in scatters(figure):
        assert scatter.axes is not None
        assert scatter.axes.get_xlim() == (-0.5, 31.5)
        assert scatter.axes.get_ylim() == (31.5, -0.5)


def test_colours_of_all_samples_and_of_the_one_bar_run_from_zero_to_one() -> None:
    figure = plots.compare_grids({"real": eights(4), "generated": eights(4) * 0.9})
    assert {scatter.get_clim() for scatter in scatters(figure)} == {(0.0, 1.0)}
    assert len(figure.axes) == 8 + 1
    assert figure.axes[-1].get_ylabel() == "intensity"
    assert figure.axes[-1].get_ylim() == (0.0, 1.0)


def test_headings_are_the_names_of_the_samples_from_left_to_right() -> None:
    figure = plots.compare_grids({"real": eights(4), "generated": eights(4)})
    assert texts(figure) == ["real", "generated"]
    assert figure.texts[0].get_position()[0] < figure.texts[1].get_position()[0]


@pytest.mark.parametrize(("scale", "shift"), [(1 / 14, -1.0), (1 / 28, 0.0), (1000.0, 5.0)])
def test_clouds_outside_the_image_choose_their_own_limits(scale: float, shift: float) -> None:
    points = eights(20)
    points[..., :2] = points[..., :2] * scale + shift
    axes = panels(plots.cloud_grid(points))[0]
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    positions = points[..., :2]
    assert left <= positions[..., 0].min()
    assert right >= positions[..., 0].max()
    assert top <= positions[..., 1].min()
    assert bottom >= positions[..., 1].max()
    assert right - left < 1.5 * float((positions.amax((0, 1)) - positions.amin((0, 1))).max())
    assert right - left == pytest.approx(bottom - top)


def test_an_outlier_does_not_set_the_limits_and_is_counted() -> None:
    points = eights(20) / 28
    points[3, 4, 0] = 1e6
    figure = plots.cloud_grid(points, title="mine")
    left, right = panels(figure)[0].get_xlim()
    assert right - left < 2
    assert texts(figure) == ["mine\nnodes outside: 1"]


def test_clouds_of_an_untrained_model_are_shown_in_the_image() -> None:
    collapsed = torch.full((4, 25, 3), 13.5)
    collapsed[..., 2] = 0.5
    assert panels(plots.cloud_grid(collapsed))[0].get_xlim() == (-0.5, 27.5)


def test_coincident_nodes_of_foreign_clouds_are_drawn() -> None:
    axes = panels(plots.cloud_grid(torch.zeros(2, 5, 3), image_size=None))[0]
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]


def test_foreign_clouds_are_coloured_by_the_range_of_their_data() -> None:
    points = eights(20) * torch.tensor([0.05, 0.05, 50.0])
    low, high = scatters(plots.cloud_grid(points))[0].get_clim()
    assert low == pytest.approx(float(points[..., 2].min()), rel=0.05)
    assert high == pytest.approx(float(points[..., 2].max()), rel=0.05)


def test_given_limits_are_used() -> None:
    axes = panels(plots.cloud_grid(eights(2), limits=((0, 20), (5, 25))))[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 20), (25, 5))


def test_markers_scale_with_the_panel() -> None:
    def panel_and_diameter(figure: Figure) -> tuple[float, float]:
        scatter = scatters(figure)[0]
        assert scatter.axes is not None
        return scatter.axes.get_position().width * figure.get_figwidth(), (
            float(scatter.get_sizes()[0]) ** 0.5
        )

    large = panel_and_diameter(plots.cloud_grid(eights(1)))
    small = panel_and_diameter(plots.cloud_grid(eights(100)))
    assert large[0] > 1.5 * small[0]
    assert large[1] / small[1] == pytest.approx(large[0] / small[0], rel=0.01)
    pixels = small[1] / 72 / small[0] * 28
    assert 1.5 < pixels < 3  # one of 25 superpixels of a stroke


def test_pixels_are_the_nodes_rounded_the_brightest_of_a_pixel_kept() -> None:
    points = torch.tensor([[[2.6, 6.4, 0.75], [3.4, 5.6, 0.5], [27.4, 0.0, 0.25]]])
    image = np.ma.filled(panels(plots.cloud_grid(points, pixels=True))[0].images[0].get_array(), 0)
    wanted = np.zeros((28, 28))
    wanted[6, 3], wanted[0, 27] = 0.75, 0.25
    np.testing.assert_array_equal(image, wanted)


def test_pixels_have_the_limits_and_colours_of_nodes() -> None:
    axes = panels(plots.cloud_grid(eights(1), pixels=True))[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 27.5), (27.5, -0.5))
    assert axes.images[0].get_clim() == (0.0, 1.0)


def test_images_lie_above_their_clouds() -> None:
    points, images = eights(5), np.random.default_rng(0).integers(1, 256, (5, 28, 28), np.uint8)
    figure = plots.images_and_clouds(images, points, rows=2, columns=3)
    pictures = [axes for axes in panels(figure) if axes.images]
    assert len(pictures) == len(scatters(figure)) == 5
    assert len(figure.axes) == 2 * 5 + 1
    for i, (axes, scatter) in enumerate(zip(pictures, scatters(figure), strict=True)):
        np.testing.assert_allclose(axes.images[0].get_array(), images[i] / 255)
        np.testing.assert_allclose(offsets(scatter), points[i, :, :2], rtol=1e-6)
        assert scatter.axes is not None
        above, below = axes.get_position(), scatter.axes.get_position()
        assert above.x0 == pytest.approx(below.x0)
        assert 0 < above.y0 - below.y1 < 0.02
        assert axes.images[0].get_clim() == scatter.get_clim() == (0.0, 1.0)


def test_images_need_not_be_square() -> None:
    axes = panels(plots.images_and_clouds(np.zeros((1, 20, 40)), eights(1)))[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 39.5), (19.5, -0.5))


def test_histograms_are_shares_of_nodes_in_whole_pixels() -> None:
    samples = {"real": eights(30), "generated": eights(50, seed=1)}
    figure = plots.feature_histograms(samples)
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


def test_intensity_histogram_is_the_last_panel_of_the_features() -> None:
    samples = {"real": eights(30), "generated": eights(50, seed=1)}
    alone = plots.intensity_histogram(samples).axes
    whole = plots.feature_histograms(samples).axes[2]
    assert len(alone) == 1
    assert alone[0].get_title() == whole.get_title()
    for one, other in zip(alone[0].patches, whole.patches, strict=True):
        np.testing.assert_array_equal(one.get_data()[0], other.get_data()[0])


def test_samples_in_a_histogram_differ_in_colour_and_dashes() -> None:
    samples = {"real": eights(5), "one": eights(5), "two": eights(5)}
    _, one, two = plots.intensity_histogram(samples).axes[0].patches
    assert to_rgba(one.get_edgecolor()) != to_rgba(two.get_edgecolor())
    assert one.get_linestyle() != two.get_linestyle()


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


def drawn_values(figure: Figure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places of the values of a report, and of both ends of their error bars."""
    (errorbar,) = [c for c in figure.axes[0].containers if isinstance(c, ErrorbarContainer)]
    segments = np.array(errorbar.lines[2][0].get_segments())
    return np.asarray(errorbar.lines[0].get_xdata()), segments[:, :, 0]


def test_report_counts_values_and_errors_from_the_floor_in_its_widths() -> None:
    values, ends = drawn_values(plots.report(make_report(*ROWS)))
    np.testing.assert_allclose(values, [12.0, 13.5])
    np.testing.assert_allclose(ends, [[12 - 2 / 3, 12 + 2 / 3], [13.0, 14.0]])


def test_report_draws_what_is_worse_to_the_right_whatever_is_better() -> None:
    rows = [
        metrics.Row("chamfer", "coverage", "", 0.2, 0.02, 0.6, 0.5, "higher"),
        metrics.Row("chamfer", "coverage", "", 0.7, 0.02, 0.6, 0.5, "higher"),
        metrics.Row("points", "AUC", "", 0.9, 0.015, 0.52, 0.55, "0.5"),
        metrics.Row("embedding", "memorization", "", 0.1, 0.015, 0.48, 0.45, "0.5"),
        metrics.Row("chamfer", "MMD", "px", 1.5, 0.1, 2.0, 2.5),
    ]
    figure = plots.report(make_report(*rows))
    values, _ = drawn_values(figure)
    np.testing.assert_allclose(values, [4.0, -1.0, 38 / 3, 38 / 3, -1.0])
    # the row is beyond the band where the table says so
    assert [value > 1 for value in values] == [row.beyond for row in rows]
    low, high = figure.axes[0].get_xlim()
    assert low < -1
    assert high > 13


def test_report_has_a_band_of_what_real_samples_differ_by() -> None:
    axes = plots.report(make_report(*ROWS)).axes[0]
    (band,) = [patch for patch in axes.patches if patch.get_label() == "real against real"]
    assert band.get_window_extent().x0 == pytest.approx(axes.transData.transform((-1, 0))[0])
    assert band.get_window_extent().x1 == pytest.approx(axes.transData.transform((1, 0))[0])
    assert "floor" in axes.get_xlabel()


def test_report_writes_each_value_with_error_and_unit_beside_its_row() -> None:
    axes = plots.report(make_report(*ROWS)).axes[0]
    found = {text.get_text(): text.xy[1] for text in axes.texts if isinstance(text, Annotation)}
    assert found == {"0.4 ± 0.02 px": 0, "0.03 ± 0.001": 1}
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first row is the uppermost


def test_report_leaves_out_rows_without_floor() -> None:
    axes = plots.report(make_report(*ROWS)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["x W1", "intensity W1"]


@pytest.mark.parametrize("name", CALLS)
def test_a_given_figure_is_drawn_into_and_returned(name: str) -> None:
    figure = Figure(figsize=(9, 7))
    assert CALLS[name](figure) is figure
    assert figure.axes
    assert tuple(figure.get_size_inches()) == (9, 7)


@pytest.mark.parametrize("name", ["feature_histograms", "loss_curves", "report", "settings"])
def test_labels_stay_inside_a_small_figure_that_was_given(name: str) -> None:
    figure = CALLS[name](Figure(figsize=(5, 3)))
    figure.draw_without_rendering()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for i, box in enumerate(boxes):
        assert box is not None
        assert box.x0 >= -0.5
        assert box.y0 >= -0.5
        assert not any(box.overlaps(other) for other in boxes[:i] if other is not None)


@pytest.mark.parametrize("name", CALLS)
def test_text_stays_inside_the_figure_and_apart(name: str) -> None:
    figure = CALLS[name](None)
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    boxes = [
        text.get_window_extent()
        for axes in figure.axes
        for text in [axes.title, axes.xaxis.label, axes.yaxis.label]
        if text.get_text()
    ] + [text.get_window_extent() for text in figure.texts]
    for i, box in enumerate(boxes):
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_drawing_leaves_style_and_pyplot_alone(tmp_path: Path) -> None:
    script = f"""
import sys
import matplotlib
names = [name for name in matplotlib.rcParams if name != 'backend']  # reading it sets it
before = [matplotlib.rcParams[name] for name in names]
import torch
from gconvae import plots
figure = plots.feature_histograms({{"real": torch.rand(5, 25, 3)}})
plots.save(figure, {str(tmp_path / "figure.svg")!r})
assert [matplotlib.rcParams[name] for name in names] == before
assert "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("suffix", "start"),
    [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"), ("PNG", b"\x89")],
)
def test_saved_files_have_the_format_of_their_suffix_and_are_reproducible(
    tmp_path: Path, suffix: str, start: bytes
) -> None:
    for name in ("first", "second"):
        plots.save(plots.cloud_grid(eights(4)), tmp_path / f"{name}.{suffix}")
    first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("first", "second"))
    assert first.startswith(start)
    assert first == second
    assert b"CreationDate" not in first  # two files of one second could hold the same
    assert len(list(tmp_path.iterdir())) == 2


def test_png_of_a_full_grid_is_at_most_400_kilobytes(tmp_path: Path) -> None:
    plots.save(plots.cloud_grid(eights(100)), tmp_path / "grid.png")
    assert (tmp_path / "grid.png").stat().st_size < 400_000


def test_failed_save_keeps_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figure.png"
    path.write_text("earlier")

    def full_disk(_: Figure, partial: Path, **__: object) -> None:
        partial.write_text("half a fig")
        raise OSError("no space left")

    monkeypatch.setattr(Figure, "savefig", full_disk)
    with pytest.raises(OSError, match="no space left"):
        plots.save(Figure(), path)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["earlier"]


@pytest.mark.parametrize("name", ["figure", "figure.txt", "figure.gif"])
def test_unknown_suffix_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="path must end in png, pdf, svg, got .*figure"):
        plots.save(Figure(), tmp_path / name)


def test_saving_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must lie in an existing folder"):
        plots.save(Figure(), tmp_path / "missing" / "figure.png")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.cloud_grid(eights(2)[0]), "points must have shape"),
        (lambda: plots.cloud_grid(eights(2)[..., :2]), "points must have an intensity"),
        (lambda: plots.cloud_grid(eights(2) * np.nan), "points must be finite"),
        (lambda: plots.cloud_grid(eights(2), torch.ones(2, 3).bool()), "mask must have shape"),
        (lambda: plots.cloud_grid(eights(2), rows=0), "rows must be at least 1, got 0"),
        (lambda: plots.cloud_grid(eights(2), columns=0), "columns must be at least 1, got 0"),
        (lambda: plots.cloud_grid(eights(2), limits=((1, 0), (0, 1))), "limits must be"),
        (lambda: plots.cloud_grid(eights(2), limits=(0, 1)), "limits must be"),
        (lambda: plots.cloud_grid(eights(2) / 28, pixels=True), "pixels must be False"),
        (lambda: plots.cloud_grid(eights(2), pixels=True, image_size=None), "pixels must be"),
        (lambda: plots.compare_grids({}), "samples must map at least one name"),
        (lambda: plots.compare_grids(eights(2)), "samples must map"),
        (lambda: plots.compare_grids({"real": eights(2), "new": eights(2)[0]}), "new must have"),
        (lambda: plots.feature_histograms({"real": eights(2)[:0]}), "real must hold at least"),
        (lambda: plots.intensity_histogram({"real": eights(2)}, bins=0), "bins must be at least"),
        (lambda: plots.images_and_clouds(np.zeros((3, 28, 28)), eights(2)), "images must have"),
        (lambda: plots.images_and_clouds(np.zeros((2, 28)), eights(2)), "images must have shape"),
        (lambda: plots.images_and_clouds(np.full((2, 9, 9), 2.0), eights(2)), "images must be"),
        (lambda: plots.images_and_clouds(np.full((2, 9, 9), np.nan), eights(2)), "images must be"),
        (lambda: plots.loss_curves({}), "history must have an epoch and one of train_loss"),
        (lambda: plots.loss_curves({"loss": [1.0]}), "history must .* got loss"),
        (lambda: plots.loss_curves({"train_loss": []}), "history must have an epoch"),
        (
            lambda: plots.loss_curves({"epoch": [1], "train_loss": [1.0, 2.0]}),
            "history must have columns of one length",
        ),
        (
            lambda: plots.report(make_report(ROWS[2])),
            "report must have a row whose floor has a width",
        ),
    ],
)
def test_wrong_input_is_an_error_that_names_it(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


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
        if line.get_label() == "floor"
    ]
    assert list(floor.get_ydata()) == [0.5, 0.5]
    figure = plots.settings(tried({"beta": 1.0}, floors=[]), "beta")
    assert "floor" not in [line.get_label() for line in figure.axes[0].lines]


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


# ---- variants


def compared(**means: float | None) -> dict[str, Any]:
    """A comparison by ``x W1`` and ``points AUC`` in which the first variant is the best."""
    rows = {
        "x W1": {"unit": "px", "better": "lower", "floor": 0.05, "floor_95": 0.08},
        "points AUC": {"unit": "", "better": "0.5", "floor": 0.49, "floor_95": 0.53},
    }
    tried = [
        {
            "name": name,
            "metrics": {}
            if mean is None
            else {row: {"mean": mean, "error": 0.02 if len(means) > 1 else None} for row in rows},
        }
        for name, mean in means.items()
    ]
    best = {"best": [next(iter(means))]}
    return {"metrics": {name: row | best for name, row in rows.items()}, "variants": tried}


def dots(axes: Axes) -> list[tuple[float, float]]:
    lines = [c.lines[0] for c in axes.containers if isinstance(c, ErrorbarContainer)]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in lines]


def test_a_variant_is_a_dot_a_panel_in_the_order_of_the_list() -> None:
    figure = plots.variants(compared(slides=0.3, gmm=0.6))
    assert [axes.get_title() for axes in figure.axes] == ["x W1 (px) ↓", "points AUC → 0.5"]
    for axes in figure.axes:
        assert dots(axes) == [(0.3, 0.0), (0.6, 1.0)]
    assert figure.axes[0].yaxis_inverted()  # the first variant on top


def test_the_best_variant_is_filled_and_the_others_are_not() -> None:
    axes = plots.variants(compared(slides=0.3, gmm=0.6)).axes[0]
    faces = [c.lines[0].get_markerfacecolor() for c in axes.containers]
    assert faces == [COLORS[1], "white"]


def test_the_band_of_variants_is_that_of_real_clouds() -> None:
    figure = plots.variants(compared(slides=0.3))
    bands = [axes.patches[0].get_window_extent().transformed(axes.transData.inverted())
             for axes in figure.axes]  # fmt: skip
    assert [(round(band.x0, 6), round(band.x1, 6)) for band in bands] == [
        (0.05, 0.08),
        (0.47, 0.53),
    ]


def test_one_bad_variant_does_not_hide_the_others() -> None:
    figure = plots.variants(compared(slides=0.3, gmm=0.4, nsf=0.5, bad=9.0))
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear"]


def test_variants_without_values_are_left_out() -> None:
    axes = plots.variants(compared(slides=0.3, diverged=None)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["slides"]


def test_variants_are_drawn_by_the_metrics_that_are_named() -> None:
    figure = plots.variants(compared(slides=0.3), ["points AUC"])
    assert [axes.get_title() for axes in figure.axes] == ["points AUC → 0.5"]
    for wrong in (["z W1"], []):
        with pytest.raises(ValueError, match="metrics must be out of x W1, points AUC"):
            plots.variants(compared(slides=0.3), wrong)
    with pytest.raises(ValueError, match="metrics must be out of"):
        plots.variants(compared(slides=None))

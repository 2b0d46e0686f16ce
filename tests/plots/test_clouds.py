"""Grids of clouds and images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from figures import (
    eights,
    offsets,
    panels,
    scatters,
    texts,
)
from matplotlib.colors import LogNorm, SymLogNorm
from matplotlib.figure import Figure
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from gconvae import clouds, datasets, plots
from gconvae.schema import JETS, SUPERPIXELS, CloudSchema, Feature, Tail, superpixels
from gconvae.schema import points as points_schema


def test_each_panel_shows_the_nodes_of_its_cloud() -> None:
    points = eights(12)
    drawn = scatters(plots.cloud_grid(points, rows=3, columns=4))
    assert len(drawn) == 12
    for cloud, scatter in zip(points.numpy(), drawn, strict=True):
        on_top_last = cloud[cloud[:, 2].argsort()]
        np.testing.assert_allclose(offsets(scatter), on_top_last[:, :2], rtol=1e-6)
        np.testing.assert_allclose(scatter.get_array(), on_top_last[:, 2], rtol=1e-6)


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
    real = points[1, :10]
    np.testing.assert_allclose(offsets(drawn[1]), real[real[:, 2].argsort(), :2], rtol=1e-6)
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
    for axes in panels(plots.cloud_grid(eights(4), schema=SUPERPIXELS))[:4]:
        bottom, top = axes.get_ylim()
        assert bottom > top
        assert axes.get_xlim() == (top, bottom)
        assert axes.get_aspect() == 1.0


def test_y_points_upwards_where_no_schema_says_otherwise() -> None:
    bottom, top = panels(plots.cloud_grid(torch.rand(4, 5, 3)))[0].get_ylim()
    assert bottom < top


@pytest.mark.parametrize(
    ("shift", "x", "y"),
    [(0.0, (3.5, 23.5), (23.5, 3.5)), (8.0, (3.5, 31.5), (31.5, 3.5))],
)
def test_panels_of_images_show_the_cells_that_the_nodes_of_all_samples_take(
    shift: float, x: tuple[float, float], y: tuple[float, float]
) -> None:
    real = torch.tensor([[[10.0, 5.0, 0.5], [16.0, 22.0, 0.5]]])
    figure = plots.compare_grids({"real": real, "off": real + shift}, schema=superpixels(32))
    for scatter in scatters(figure):
        assert scatter.axes is not None
        assert scatter.axes.get_xlim() == x
        assert scatter.axes.get_ylim() == y


def test_panels_of_images_end_where_the_image_ends() -> None:
    real = torch.tensor([[[0.0, 5.0, 0.5], [40.0, 27.0, 0.5]]])  # one lies outside
    figure = plots.cloud_grid(real, schema=SUPERPIXELS)
    assert panels(figure)[0].get_xlim() == (-0.5, 27.5)
    assert texts(figure) == ["nodes outside: 1"]


def test_a_bar_below_the_first_column_says_the_scale() -> None:
    figure = plots.compare_grids(
        {"real": eights(6), "off": eights(6)}, rows=2, columns=3, schema=SUPERPIXELS
    )
    bars = {
        number: found
        for number, axes in enumerate(panels(figure))
        for found in axes.artists
        if isinstance(found, AnchoredSizeBar)
    }
    assert list(bars) == [3]  # of one grid, the lowest panel on the left
    assert bars[3].txt_label.get_text() == "5 px"
    figure.draw_without_rendering()
    (line,) = bars[3].size_bar.get_children()
    left, right = line.get_window_extent().intervalx
    axes = panels(figure)[3]
    ends = axes.transData.transform([(0, 0), (5, 0)])[:, 0]
    assert right - left == pytest.approx(ends[1] - ends[0], rel=0.05)


def test_colours_of_all_samples_and_of_the_one_bar_run_from_zero_to_one() -> None:
    samples = {"real": eights(4), "generated": eights(4) * 0.9}
    figure = plots.compare_grids(samples, schema=SUPERPIXELS)
    assert {scatter.get_clim() for scatter in scatters(figure)} == {(0.0, 1.0)}
    assert len(figure.axes) == 8 + 1
    assert figure.axes[-1].get_ylabel() == "intensity"
    assert figure.axes[-1].get_ylim() == (0.0, 1.0)


def test_headings_are_the_names_of_the_samples_from_left_to_right() -> None:
    figure = plots.compare_grids({"real": eights(4), "generated": eights(4)})
    assert texts(figure) == ["real", "generated"]
    assert figure.texts[0].get_position()[0] < figure.texts[1].get_position()[0]


@pytest.mark.parametrize(("scale", "shift"), [(1 / 14, -1.0), (1 / 28, 0.0), (1000.0, 5.0)])
def test_clouds_without_a_frame_choose_their_own_limits(scale: float, shift: float) -> None:
    points = eights(20)
    points[..., :2] = points[..., :2] * scale + shift
    axes = panels(plots.cloud_grid(points))[0]
    (left, right), (top, bottom) = axes.get_xlim(), axes.get_ylim()
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
    grid = plots.cloud_grid(collapsed, schema=SUPERPIXELS)
    left, right = panels(grid)[0].get_xlim()
    assert (left, right) == (6.5, 20.5)  # half of the image


def test_coincident_nodes_of_foreign_clouds_are_drawn() -> None:
    axes = panels(plots.cloud_grid(torch.zeros(2, 5, 3)))[0]
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]


def test_foreign_clouds_are_coloured_by_the_range_of_their_data() -> None:
    points = eights(20) * torch.tensor([0.05, 0.05, 50.0])
    low, high = scatters(plots.cloud_grid(points))[0].get_clim()
    assert low == pytest.approx(float(points[..., 2].min()), rel=0.05)
    assert high == pytest.approx(float(points[..., 2].max()), rel=0.05)


def test_given_limits_are_used() -> None:
    axes = panels(plots.cloud_grid(eights(2), limits=((0, 20), (5, 25))))[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 20), (5, 25))


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


def test_a_raster_has_the_nodes_in_their_cells_the_brightest_of_a_cell_kept() -> None:
    points = torch.tensor([[[2.6, 6.4, 0.75], [3.4, 5.6, 0.5], [27.4, 0.0, 0.25]]])
    figure = plots.cloud_grid(points, schema=SUPERPIXELS, raster=True)
    image = np.ma.filled(panels(figure)[0].images[0].get_array(), 0)
    wanted = np.zeros((28, 28))
    wanted[6, 3], wanted[0, 27] = 0.75, 0.25
    np.testing.assert_array_equal(image, wanted)


def test_a_raster_has_the_limits_and_colours_of_nodes() -> None:
    axes, nodes = (
        panels(plots.cloud_grid(eights(1), schema=SUPERPIXELS, raster=raster))[0]
        for raster in (True, False)
    )
    assert (axes.get_xlim(), axes.get_ylim()) == (nodes.get_xlim(), nodes.get_ylim())
    assert axes.images[0].get_clim() == (0.0, 1.0)


def test_the_schema_of_a_data_set_is_followed_without_being_named() -> None:
    data = datasets.from_points(eights(4), schema=SUPERPIXELS)
    bottom, top = panels(plots.cloud_grid(data))[0].get_ylim()
    assert bottom > top
    assert plots.cloud_grid(data).axes[-1].get_ylabel() == "intensity"


def test_points_in_space_are_coloured_by_their_third_position() -> None:
    space = torch.rand(3, 6, 3)
    figure = plots.cloud_grid(space, schema=points_schema("x y z", unit="mm"))
    assert figure.axes[-1].get_ylabel() == "z (mm)"
    np.testing.assert_allclose(scatters(figure)[0].get_array(), space[0, :, 2].sort()[0])


def test_beside_a_feature_a_third_position_is_the_size_of_a_node() -> None:
    space = torch.rand(3, 6, 4)
    figure = plots.cloud_grid(space, schema=points_schema("x y z", "charge"))
    assert figure.axes[-1].get_ylabel() == "charge"
    sizes = scatters(figure)[0].get_sizes()
    drawn = space[0, space[0, :, 3].argsort()]  # the largest charge on top
    assert np.argsort(sizes).tolist() == drawn[:, 2].argsort().tolist()


@pytest.mark.parametrize("features", [1, 2])
def test_positions_alone_have_one_colour_and_no_bar(features: int) -> None:
    figure = plots.cloud_grid(torch.rand(4, 6, features))
    assert len(figure.axes) == 4


def test_a_heavy_tail_has_logarithmic_colours() -> None:
    clouds_of = torch.rand(4, 6, 3) + 0.01
    figure = plots.cloud_grid(clouds_of, schema=JETS)
    assert isinstance(scatters(figure)[0].norm, LogNorm)


def test_colours_of_a_heavy_tail_are_logarithmic_where_a_model_made_some_nodes_of_nothing() -> (
    None
):
    tail = np.geomspace(1e-4, 1, 40).reshape(4, 10)
    tail[:, 0], tail[1, 1] = 0.0, -1e-3
    drawn = torch.from_numpy(np.stack([tail, tail, tail], axis=-1))
    single = scatters(plots.cloud_grid(drawn, schema=JETS))[0].norm
    beside = scatters(plots.compare_grids({"a": drawn, "b": drawn}, schema=JETS))[-1].norm
    for norm in (single, beside):
        assert isinstance(norm, LogNorm)
        assert norm.vmin == pytest.approx(1.5e-4, rel=0.3)
        assert norm([0.0, -1.0]).tolist() == [0.0, 0.0]  # drawn, in the lowest colour


def test_a_heavy_tail_of_both_signs_has_logarithmic_colours_on_both_sides() -> None:
    signed = torch.linspace(-6, 6, 60, dtype=torch.float64).sinh().reshape(4, 5, 3)
    norm = scatters(plots.cloud_grid(signed, schema=JETS))[0].norm
    assert isinstance(norm, SymLogNorm)
    assert norm(0.0) == pytest.approx(0.5, abs=0.05)


def test_positions_are_named_below_every_grid_and_left_of_the_first() -> None:
    clouds_of = torch.rand(3, 6, 4)
    schema = points_schema("x y z", "charge", unit="mm")
    figure = plots.compare_grids(
        {"real": clouds_of, "made": clouds_of}, schema=schema, rows=2, columns=2
    )
    figure.draw_without_rendering()
    panels_of, second = panels(figure), panels(figure)[4]
    first = panels_of[0]
    assert [axes.get_xlabel() for axes in (first, second)] == ["x (mm)", "x (mm)"]
    assert [axes.get_ylabel() for axes in (first, second)] == ["y (mm)", ""]
    below = first.xaxis.label.get_window_extent()
    beside = first.yaxis.label.get_window_extent()
    assert 0 < below.y0 < below.y1 < min(axes.bbox.y0 for axes in panels_of)
    assert 0 < beside.x0 < beside.x1 < min(axes.bbox.x0 for axes in panels_of)
    assert texts(figure)[-1] == "size of a node: z (mm)"
    assert figure.texts[-1].get_window_extent().y1 < below.y0


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (points_schema("x y"), []),
        (points_schema("x y", "charge"), []),
        (points_schema("x y z"), []),  # the colour bar names z
        (points_schema("x y", "charge time"), ["not drawn: time"]),
        (points_schema("x y z t", unit="mm"), ["not drawn: t (mm)"]),
        (points_schema("x y z", "charge time"), ["size of a node: z; not drawn: time"]),
    ],
)
def test_what_is_not_drawn_is_said(schema: CloudSchema, said: list[str]) -> None:
    clouds_of = torch.rand(4, 6, schema.num_features)
    figure = plots.cloud_grid(clouds_of, schema=schema, rows=1, columns=4)
    assert texts(figure) == said
    assert panels(figure)[0].get_xlabel().startswith("x")


def test_one_position_has_no_label_on_the_other_side() -> None:
    axes = plots.cloud_grid(torch.rand(4, 6, 1)).axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("x", "")


@pytest.mark.parametrize("unit", ["", "GeV"])
@pytest.mark.parametrize("range_", [(1e-4, 1e-1), (2.0, 30.0), (6e3, 9e3), (1e7, 3e7)])
@pytest.mark.parametrize("tail", [None, Tail("log", 0.1)])
def test_labels_of_a_colour_bar_stay_inside_the_figure(
    unit: str, range_: tuple[float, float], tail: Tail | None
) -> None:
    schema = CloudSchema(
        (Feature("x", position=True), Feature("y", position=True), Feature("p", unit, tail=tail))
    )
    values = torch.rand(4, 50, 3, dtype=torch.float64)
    values[..., 2] = torch.from_numpy(np.geomspace(*range_, 200).reshape(4, 50))
    figure = plots.cloud_grid(values, schema=schema)
    figure.draw_without_rendering()
    box = figure.axes[-1].get_tightbbox()
    assert box is not None
    assert box.x1 <= figure.bbox.x1
    assert box.y1 <= figure.bbox.y1


def test_images_lie_above_their_clouds() -> None:
    points, images = eights(5), np.random.default_rng(0).integers(1, 256, (5, 28, 28), np.uint8)
    figure = plots.images_and_clouds(images, points, rows=2, columns=3)
    pictures = [axes for axes in panels(figure) if axes.images]
    assert len(pictures) == len(scatters(figure)) == 5
    assert len(figure.axes) == 2 * 5 + 1
    for i, (axes, scatter) in enumerate(zip(pictures, scatters(figure), strict=True)):
        np.testing.assert_allclose(axes.images[0].get_array(), images[i] / 255)
        nodes = points[i][points[i, :, 2].argsort()]
        np.testing.assert_allclose(offsets(scatter), nodes[:, :2], rtol=1e-6)
        assert scatter.axes is not None
        above, below = axes.get_position(), scatter.axes.get_position()
        assert above.x0 == pytest.approx(below.x0)
        assert 0 < above.y0 - below.y1 < 0.02
        assert axes.images[0].get_clim() == scatter.get_clim() == (0.0, 1.0)


def test_images_need_not_be_square() -> None:
    axes = panels(plots.images_and_clouds(np.zeros((1, 20, 40)), eights(1)))[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((-0.5, 39.5), (19.5, -0.5))


def test_panels_of_several_classes_name_their_own() -> None:
    schema = points_schema("x y").with_classes(["arc", "line"])
    sample = datasets.from_points(torch.rand(4, 6, 2), labels=[0, 1, 1, 0], schema=schema)
    figure = plots.cloud_grid(sample, rows=2, columns=2)
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == [
        *("arc", "line"),
        *("line", "arc"),
    ]
    assert not any(axes.texts for axes in plots.cloud_grid(sample[[0, 3]]).axes)


def test_a_sample_that_counts_its_classes_otherwise_keeps_their_names() -> None:
    clouds_of = torch.rand(2, 6, 2)
    samples = {
        name: datasets.from_points(clouds_of, labels=labels, schema=points_schema("x y"))
        for name, labels in {"first": ["b", "c"], "second": ["a", "b"]}.items()
    }
    figure = plots.compare_grids(samples, rows=1, columns=2)
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["b", "c", "a", "b"]

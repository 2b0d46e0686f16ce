from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from gconvae import clouds, datasets, metrics
from gconvae.metrics import classifier, distances, embeddings, groups, rows, sets
from gconvae.metrics import samples as comparison_samples
from gconvae.schema import JETS, SUPERPIXELS, CloudSchema, Feature, Tail, points, superpixels

compare = partial(metrics.compare, schema=SUPERPIXELS)
compare_features = partial(compare, metrics="features")


@pytest.fixture
def rough_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained embedding of few steps, where nothing is said of its values."""
    # the module, whose name stands for its function in gconvae.metrics
    monkeypatch.setattr(import_module("gconvae.metrics.trained_embedding"), "STEPS", 20)


def gaussian_clouds(
    num_clouds: int, seed: int, *, num_nodes: int = 25, spread: float = 1.0
) -> Tensor:
    """Clouds (B, N, 3) whose nodes share a shift: x ~ N(10, 2), y ~ N(12, 3), I ~ N(0.6, 0.1)."""
    rng = np.random.default_rng(seed)
    scale, mean = np.array([2.0, 3.0, 0.1]) * spread, np.array([10.0, 12.0, 0.6])
    shared = rng.normal(size=(num_clouds, 1, 3)) * 0.5
    own = rng.normal(size=(num_clouds, num_nodes, 3)) * 0.75**0.5
    return torch.from_numpy(mean + scale * (shared + own))


def ragged_mask(num_clouds: int, num_nodes: int, seed: int) -> Tensor:
    counts = np.random.default_rng(seed).integers(1, num_nodes + 1, num_clouds)
    return torch.from_numpy(np.arange(num_nodes) < counts[:, None])


def pooled(points: Tensor, mask: Tensor, feature: int) -> NDArray[np.float64]:
    nodes = []
    for cloud, real in zip(points.tolist(), mask.tolist(), strict=True):
        nodes += [node[feature] for node, is_real in zip(cloud, real, strict=True) if is_real]
    return np.array(nodes, dtype=np.float64)


def floor_oracle(points: Tensor, size: int, feature: int, num_splits: int) -> list[float]:
    """W1 between two disjoint random sets of clouds, split after split."""
    rng, values = np.random.default_rng(123), points[..., feature].numpy()  # (B, N)
    distances = []
    for _ in range(num_splits):
        order = rng.permutation(len(points))
        halves = values[order[:size]], values[order[size : 2 * size]]
        distances.append(float(wasserstein_distance(*(half.ravel() for half in halves))))
    return distances


def test_value_equals_scipy_on_pooled_nodes() -> None:
    real, generated, reference = (gaussian_clouds(40, seed) for seed in range(3))
    report = compare_features(real, generated, reference)
    everything = torch.ones(real.shape[:2], dtype=torch.bool)
    for i, name in enumerate(SUPERPIXELS.names):
        nodes = pooled(real, everything, i), pooled(generated, everything, i)
        assert report.row(name).value == pytest.approx(wasserstein_distance(*nodes), rel=1e-9)


def test_value_equals_scipy_on_ragged_clouds_with_ties() -> None:
    samples = [gaussian_clouds(30, 0).round(), gaussian_clouds(30, 1, num_nodes=17).round()]
    masks = [ragged_mask(30, 25, 0), ragged_mask(30, 17, 1)]
    report = compare_features((samples[0], masks[0]), (samples[1], masks[1]), samples[0] + 0)
    for i, name in enumerate(SUPERPIXELS.names):
        nodes = [pooled(*pair, i) for pair in zip(samples, masks, strict=True)]
        assert report.row(name).value == pytest.approx(wasserstein_distance(*nodes), rel=1e-9)
    sizes = [mask.sum(1).numpy() for mask in masks]
    assert report.row("nodes").value == pytest.approx(wasserstein_distance(*sizes), rel=1e-9)


def test_feature_w1_equals_scipy_on_samples_of_different_size() -> None:
    first, second = gaussian_clouds(20, 0), gaussian_clouds(35, 1, num_nodes=10)
    masks = ragged_mask(20, 25, 0), ragged_mask(35, 10, 1)
    found = metrics.feature_w1((first, masks[0]), (second, masks[1]))
    wanted = [
        wasserstein_distance(pooled(first, masks[0], i), pooled(second, masks[1], i))
        for i in range(3)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_identical_samples_have_distance_exactly_zero() -> None:
    real = gaussian_clouds(50, 0)
    report = compare_features(real, real.flip(0), gaussian_clouds(50, 1))
    assert [row.value for row in report.rows] == [0.0] * 4


def test_shift_by_a_pixel_is_a_pixel_in_that_feature_only() -> None:
    real, reference = gaussian_clouds(100, 0), gaussian_clouds(100, 1)
    report = compare_features(real, real + torch.tensor([0.0, 1.0, 0.0]), reference)
    assert report.row("y").value == pytest.approx(1.0, abs=1e-9)
    assert report.row("x").value == pytest.approx(0.0, abs=1e-9)


def test_shift_between_independent_samples_is_found_within_the_floor() -> None:
    real, generated, reference = (gaussian_clouds(300, seed) for seed in range(3))
    row = compare_features(real, generated + torch.tensor([0.0, 5.0, 0.0]), reference).row("y")
    assert abs(row.value - 5.0) < row.floor_95
    assert row.ratio == pytest.approx(row.value / row.floor)
    assert row.value > 20 * row.floor


def test_scaling_by_two_moves_nodes_by_their_mean_distance_from_zero() -> None:
    real, reference = gaussian_clouds(60, 0), gaussian_clouds(60, 1)
    row = compare_features(real.abs(), 2 * real.abs(), reference).row("x")
    assert row.value == pytest.approx(float(real[..., 0].abs().mean()), rel=1e-9)


def test_real_narrow_and_wide_samples_are_ranked() -> None:
    real, reference = gaussian_clouds(300, 0), gaussian_clouds(300, 1)
    rows = {
        spread: compare_features(real, gaussian_clouds(300, 2, spread=spread), reference).row("y")
        for spread in (0.7, 0.85, 1.0, 1.15, 1.3)
    }
    value = {spread: row.value for spread, row in rows.items()}
    assert value[1.0] < value[0.85] < value[0.7]
    assert value[1.0] < value[1.15] < value[1.3]
    assert value[1.0] < rows[1.0].floor_95 < min(value[0.85], value[1.15])


@pytest.mark.parametrize("feature", [0, 1, 2])
def test_floor_agrees_with_a_slow_loop_over_splits(feature: int) -> None:
    real, reference = gaussian_clouds(60, 0), gaussian_clouds(60, 1)
    row = compare_features(real, real, reference, num_splits=400).rows[feature]
    oracle = floor_oracle(torch.cat([real, reference]), 60, feature, 200)
    error = np.std(oracle) * (1 / 200 + 1 / 400) ** 0.5
    assert abs(row.floor - np.mean(oracle)) < 3 * error
    assert row.floor_95 == pytest.approx(np.percentile(oracle, 95), rel=0.2)


def test_floor_without_reference_is_that_of_random_halves_of_real() -> None:
    real = gaussian_clouds(100, 0)
    row = compare_features(real, gaussian_clouds(100, 1), num_splits=400).row("x")
    oracle = floor_oracle(real, 50, 0, 200)
    assert abs(row.floor - np.mean(oracle)) < 3 * np.std(oracle) * (1 / 200 + 1 / 400) ** 0.5


def test_floor_of_identical_nodes_in_a_cloud_is_that_of_one_node_a_cloud() -> None:
    # split by pooled node, 25 copies of a node would give a floor 5 times as small
    single = gaussian_clouds(200, 0, num_nodes=1)
    one = compare_features(single, single)
    copies = compare_features(single.expand(-1, 25, -1), single.expand(-1, 25, -1))
    assert copies.row("x").floor == pytest.approx(one.row("x").floor, rel=1e-9)
    assert copies.row("x").error == pytest.approx(one.row("x").error, rel=1e-9)


def test_error_of_independent_nodes_is_smaller_than_that_of_copied_nodes() -> None:
    rng = torch.Generator().manual_seed(0)
    shift = torch.tensor([3.0, 0.0, 0.0])
    independent = torch.randn(150, 25, 3, generator=rng)
    copied = torch.randn(150, 1, 3, generator=rng).expand(-1, 25, -1)
    errors = [compare_features(c, c + shift, c).row("x").error for c in (independent, copied)]
    assert 3 < errors[1] / errors[0] < 8


def test_error_is_the_standard_deviation_over_fresh_samples() -> None:
    def value_and_error(seed: int) -> tuple[float, float]:
        samples = (gaussian_clouds(100, 3 * seed + i) for i in range(3))
        real, generated, reference = samples
        report = compare_features(
            real, generated + torch.tensor([2.0, 0.0, 0.0]), reference, num_splits=2
        )
        return report.row("x").value, report.row("x").error

    values, errors = np.array([value_and_error(seed) for seed in range(60)]).T
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.25)


@pytest.mark.parametrize(
    ("sizes", "wanted"),
    [
        ((10, 12, 14), 10),
        ((12, 10, 14), 10),
        ((30, 40, 10), 20),
        ((30, 40, None), 15),
        ((31, 7, None), 7),
    ],
)
def test_number_of_compared_clouds(sizes: tuple[int, int, int | None], wanted: int) -> None:
    samples = [None if size is None else gaussian_clouds(size, size) for size in sizes]
    report = compare_features(*samples, num_splits=2, num_bootstrap=2)
    assert report.num_clouds == wanted
    assert (report.num_real, report.num_generated) == sizes[:2]
    assert report.num_reference == (sizes[2] or 0)


def test_more_generated_clouds_do_not_lower_a_value_at_the_floor() -> None:
    # uncut, 50 times as many clouds on one side would halve the variance of the difference
    samples = [
        (gaussian_clouds(60, seed), gaussian_clouds(3000, 100 + seed)) for seed in range(10)
    ]
    cut = [compare_features(*pair, pair[0], num_splits=20).row("x").value for pair in samples]
    whole = [metrics.feature_w1(*pair)[0] for pair in samples]
    assert 1.2 < np.mean(cut) / np.mean(whole) < 1.6


def test_value_without_reference_is_for_as_many_clouds_as_its_floor() -> None:
    # halving both samples doubles the variance of the difference
    samples = [(gaussian_clouds(60, seed), gaussian_clouds(60, 100 + seed)) for seed in range(10)]
    cut = [compare_features(*pair, num_splits=20).row("x").value for pair in samples]
    whole = [metrics.feature_w1(*pair)[0] for pair in samples]
    assert 1.2 < np.mean(cut) / np.mean(whole) < 1.6


def test_numbers_of_nodes_without_spread_have_no_error() -> None:
    real, generated = gaussian_clouds(20, 0, num_nodes=5), gaussian_clouds(33, 1, num_nodes=7)
    row = compare_features(real, generated).row("nodes")
    assert (row.value, row.error) == (2.0, 0.0)


def test_values_are_averages_over_subsets_so_that_the_seed_matters_little() -> None:
    samples = gaussian_clouds(60, 0), gaussian_clouds(300, 1), gaussian_clouds(60, 2)
    values = [compare_features(*samples, seed=seed).row("x").value for seed in range(5)]
    assert 0 < np.std(values) < 0.1 * compare_features(*samples).row("x").error


def test_same_seed_gives_the_same_report_whatever_ran_before() -> None:
    samples = gaussian_clouds(20, 0), gaussian_clouds(30, 1), gaussian_clouds(20, 2)
    first = compare_features(*samples, seed=3)
    np.random.default_rng().random()
    torch.rand(3)
    assert compare_features(*samples, seed=3) == first
    assert compare_features(*samples, seed=4) != first


def test_global_random_states_are_left_alone() -> None:
    before = str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    compare_features(gaussian_clouds(20, 0), gaussian_clouds(20, 1))
    assert str(np.random.get_state()) == before[0]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_order_of_nodes_and_content_of_padding_are_irrelevant() -> None:
    real, generated = gaussian_clouds(20, 0), gaussian_clouds(20, 1)
    mask = ragged_mask(20, 25, 0)
    report = compare_features(clouds.Clouds(real, mask), generated)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    spoiled = real.masked_fill(~mask.unsqueeze(-1), torch.nan)
    assert compare_features((spoiled[:, order], mask[:, order]), generated[:, order]) == report


def test_pyg_data_and_batches_give_the_same_report_as_points() -> None:
    from torch_geometric.data import Batch

    real, generated, mask = gaussian_clouds(8, 0), gaussian_clouds(8, 1), ragged_mask(8, 25, 0)
    as_points = compare_features((real, mask), generated)
    graphs = clouds.to_data(real, mask)
    assert compare_features(graphs, clouds.to_data(generated)) == as_points
    assert compare_features(Batch.from_data_list(graphs), generated.numpy()) == as_points


def test_further_features_get_rows_of_their_own() -> None:
    real = torch.cat([gaussian_clouds(10, 0), gaussian_clouds(10, 1)], dim=-1)[..., :5]
    rows = metrics.compare(real, real, metrics="features").rows
    names = ["x", "y", "feature 3", "feature 4", "feature 5", "nodes"]
    assert [row.name for row in rows] == names
    assert [row.unit for row in rows] == ["", "", "", "", "", "nodes"]


def test_two_features_are_enough() -> None:
    real = gaussian_clouds(10, 0)[..., :2]
    rows = metrics.compare(real, real, metrics="features").rows
    assert [row.name for row in rows] == ["x", "y", "nodes"]


def test_ratio_is_none_where_the_floor_is_zero() -> None:
    report = compare_features(gaussian_clouds(10, 0), gaussian_clouds(10, 1, num_nodes=20))
    assert report.row("nodes").value == 5.0
    assert report.row("nodes").ratio is None


@pytest.mark.parametrize("name", ["real", "generated", "reference"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[0], "{} must have shape"),
        (lambda c: c[:0], "{} must hold at least one cloud"),
        (lambda c: c[:1], "{} must have at least 2 clouds, got 1"),
        (lambda c: c[..., :1], "{} must have 3 features a node .x, y, intensity., got 1"),
        (lambda c: c.to(torch.complex64), "{} must"),
        (lambda c: c.masked_fill(c > 12, torch.nan), "{} must be finite"),
        (lambda c: "clouds", "{} must"),
        (lambda c: clouds.to_data(c.float())[:1], "{} must have at least 2 clouds, got 1"),
    ],
)
def test_wrong_clouds_are_an_error_that_names_them(
    name: str, change: Callable[[Tensor], Any], message: str
) -> None:
    samples = {key: gaussian_clouds(6, 0) for key in ("real", "generated", "reference")}
    with pytest.raises(ValueError, match=message.format(name)):
        compare_features(**(samples | {name: change(samples[name])}))


def test_broken_graphs_are_an_error_that_names_the_argument() -> None:
    graphs = clouds.to_data(gaussian_clouds(6, 0))
    graphs[3].x = None
    with pytest.raises(ValueError, match="generated: data must have the same number of features"):
        compare_features(gaussian_clouds(6, 0), graphs)


def test_different_numbers_of_features_are_an_error() -> None:
    with pytest.raises(ValueError, match="generated must have 3 features a node like real, got 2"):
        metrics.compare(gaussian_clouds(6, 0), gaussian_clouds(6, 0)[..., :2])


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", -1), ("seed", 0.5), ("num_splits", 1), ("num_bootstrap", 1), ("num_splits", True)],
)
def test_wrong_option_is_an_error_that_names_it(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be an integer of at least"):
        compare_features(gaussian_clouds(6, 0), gaussian_clouds(6, 1), **{option: value})


# groups of metrics

ROWS = {
    "features": [(name, "W1") for name in ("x", "y", "intensity", "nodes")],
    "sets": [
        (distance, metric)
        for distance in ("chamfer", "matching")
        for metric in ("coverage", "MMD", "1-NNA")
    ],
    "frechet": [("embedding", "Frechet"), ("embedding", "Frechet limit")],
    "kernel": [("embedding", "kernel")],
    "classifier": [("embedding", "AUC"), ("points", "AUC")],
    "memorization": [("embedding", "memorization")],
}


def held_out(digit: int) -> Tensor:
    return datasets.SuperpixelMNIST(digit=digit, split="test").points


@pytest.fixture(scope="module")
def eights() -> Tensor:
    """Held-out eights, all different, shape (974, 25, 3)."""
    points = held_out(8)
    return points[torch.randperm(len(points), generator=torch.Generator().manual_seed(1))]


def rows_of(report: metrics.Report) -> list[tuple[str, str]]:
    return [(row.name, row.metric) for row in report.rows]


@pytest.mark.parametrize(
    ("size", "groups"),
    [
        (10, ["features", "sets", "kernel", "memorization"]),
        (50, ["kernel", "classifier"]),
        (130, ["frechet", "kernel"]),
    ],
)
def test_picking_groups_changes_no_figure(eights: Tensor, size: int, groups: list[str]) -> None:
    real, generated, reference, training = eights[: 4 * size].split(size)
    options = {"training": training, "num_splits": 2, "num_bootstrap": 2, "seed": 1}
    together = compare(real, generated, reference, metrics=groups[::-1], **options)
    assert rows_of(together) == [label for group in groups for label in ROWS[group]]
    assert together.left_out == {}
    for group in groups:
        alone = compare(real, generated, reference, metrics=group, **options)
        assert alone.rows == tuple(together.row(*label) for label in ROWS[group])


def test_set_rows_are_the_values_of_set_metrics(eights: Tensor) -> None:
    real, generated, reference = (
        clouds.as_clouds(part, schema=SUPERPIXELS) for part in eights[:60].split(20)
    )
    report = compare(real, generated, reference, metrics="sets", num_splits=5)
    for distance in distances.DISTANCES:
        pairs = (real, real), (real, generated), (generated, generated)
        wanted = sets.values(*(distances.cross_matrix(*pair, distance=distance) for pair in pairs))
        found = [report.row(distance, metric).value for metric in ("coverage", "MMD", "1-NNA")]
        assert found == pytest.approx(wanted, rel=1e-6)


def test_embedding_rows_are_the_values_of_feature_metrics(eights: Tensor) -> None:
    samples = eights[:390].split(130)
    report = compare(*samples, metrics=["frechet", "kernel"], num_splits=2)
    pair = [classifier.features(sample).numpy() for sample in samples[:2]]
    found = [report.row("embedding", metric).value for metric in ("Frechet", "kernel")]
    wanted = embeddings.frechet_distance(*pair), embeddings.kernel_distance(*pair)
    assert found == pytest.approx(wanted, rel=1e-4)


def test_floor_of_sets_agrees_with_a_slow_loop_over_splits(eights: Tensor) -> None:
    pool, size = clouds.as_clouds(eights[:40], schema=SUPERPIXELS), 20
    report = compare(eights[:20], eights[40:60], eights[20:40], metrics="sets")
    matrix = distances.cross_matrix(pool, distance="matching")
    rng, oracle = np.random.default_rng(5), []
    for _ in range(100):
        a, b = np.split(rng.permutation(2 * size), 2)
        blocks = (matrix[np.ix_(*pair)] for pair in ((a, a), (a, b), (b, b)))
        oracle.append(sets.values(*blocks))
    for metric, values in zip(("coverage", "MMD", "1-NNA"), np.transpose(oracle), strict=True):
        row = report.row("matching", metric)
        assert abs(row.floor - values.mean()) < 3 * values.std() * (1 / 100 + 1 / 100) ** 0.5
        assert row.num_splits == 100


def test_bad_side_of_a_floor_is_below_for_coverage_and_away_from_a_half_for_accuracy(
    eights: Tensor,
) -> None:
    report = compare(eights[:20], eights[40:60], eights[20:40], metrics="sets")
    coverage, accuracy = (report.row("chamfer", metric) for metric in ("coverage", "1-NNA"))
    assert (coverage.better, accuracy.better) == ("higher", "0.5")
    assert coverage.floor_95 < coverage.floor
    assert accuracy.floor_95 > 0.5 + abs(accuracy.floor - 0.5)


def test_95_percent_of_few_splits_are_those_of_students_t() -> None:
    label, floor = rows.Label("points", "AUC", better="0.5"), np.array([0.4, 0.6, 0.6, 0.4])
    row = rows.floor_row(label, 0.7, 0.1, floor, num_clouds=10)
    assert row.floor_95 == pytest.approx(0.5 + 2.776 * 0.1, abs=1e-4)  # t table: 4 degrees, 0.975
    many = rows.floor_row(label, 0.7, 0.1, np.tile(floor, 5), num_clouds=10)
    assert many.floor_95 == pytest.approx(0.6, abs=1e-9)


def test_error_of_sets_is_near_the_spread_over_fresh_samples(eights: Tensor) -> None:
    found = []
    for part in eights[:960].split(48):
        report = compare(*part.split(16), metrics="sets", num_splits=2, num_bootstrap=40)
        found.append([(row.value, row.error) for row in report.rows])
    values, errors = np.moveaxis(np.array(found), -1, 0)  # (20, 6)
    ratio = errors.mean(0) / values.std(0, ddof=1)
    assert ((ratio > 0.7) & (ratio < 2.0)).all()


def test_large_samples_are_cut_but_for_w1(eights: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_samples, "MOST_CLOUDS", 15)
    report = compare(eights[:60], eights[60:90], metrics=["features", "sets"])
    assert report.num_clouds == 30
    assert [row.num_clouds for row in report.rows] == [30] * 4 + [15] * 6


def test_clouds_of_other_sizes_are_compared_by_every_metric(eights: Tensor) -> None:
    mask = ragged_mask(12, 25, 0)
    others, options = (eights[12:24, :20], eights[24:36]), {"num_splits": 2, "num_bootstrap": 2}
    report = compare((eights[:12], mask), *others, **options)
    assert len(report.rows) == len(ROWS["features"] + ROWS["sets"] + ROWS["kernel"])
    # what the padding holds is no node
    spoiled = eights[:12].masked_fill(~mask.unsqueeze(-1), 99.0)
    assert compare((spoiled, mask), *others, **options) == report


def test_order_of_nodes_is_irrelevant_to_every_metric(eights: Tensor) -> None:
    real, generated, reference = eights[:36].split(12)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    options = {"num_splits": 2, "num_bootstrap": 2}
    report = compare(real, generated, reference, **options)
    turned = compare(real, generated[:, order], reference, **options)
    values = [[row.value for row in found.rows] for found in (report, turned)]
    np.testing.assert_allclose(values[0], values[1], atol=1e-5)


# known answers

FEATURES = ROWS["features"][:3]
NEIGHBORS = [("chamfer", "1-NNA"), ("matching", "1-NNA")]
COVERAGE = [("chamfer", "coverage"), ("matching", "coverage")]
MATCHED = [("chamfer", "MMD"), ("matching", "MMD")]
EMBEDDING = [*ROWS["frechet"], *ROWS["kernel"]]


def shifted(real: Tensor) -> Tensor:
    return real + torch.tensor([2.0, 0.0, 0.0])


def larger(real: Tensor) -> Tensor:
    centre, factor = torch.tensor([14.0, 14.0, 0.0]), torch.tensor([1.3, 1.3, 1.0])
    return (real - centre) * factor + centre


def repeated(real: Tensor) -> Tensor:
    return real[:5].repeat(len(real) // 5, 1, 1)


def mixed(real: Tensor) -> Tensor:
    """The nodes of all clouds, dealt out anew: every histogram stays as it is."""
    nodes = real.flatten(0, 1)
    order = torch.randperm(len(nodes), generator=torch.Generator().manual_seed(0))
    return nodes[order].reshape(real.shape)


def threes(real: Tensor) -> Tensor:
    return held_out(3)[: len(real)]


def check(
    report: metrics.Report, seen: list[tuple[str, str]], blind: list[tuple[str, str]]
) -> None:
    assert [label for label in seen if not report.row(*label).beyond] == []
    assert [label for label in blind if report.row(*label).beyond] == []


@pytest.mark.parametrize(
    ("spoil", "seen", "blind"),
    [
        (torch.clone, [], [*FEATURES, *ROWS["sets"]]),
        (shifted, [FEATURES[0], *MATCHED, *NEIGHBORS], FEATURES[1:]),
        (larger, [*FEATURES[:2], *MATCHED, *NEIGHBORS], FEATURES[2:]),
        (repeated, [*COVERAGE, *NEIGHBORS], []),
        (mixed, [*MATCHED, *NEIGHBORS[1:]], FEATURES),
        (threes, NEIGHBORS, []),
    ],
)
def test_sets_and_features_see_these_defects(
    eights: Tensor,
    spoil: Callable[[Tensor], Tensor],
    seen: list[tuple[str, str]],
    blind: list[tuple[str, str]],
) -> None:
    real, reference, others = eights[:180].split(60)
    chosen = ["features", "sets"]
    report = compare(real, spoil(others), reference, metrics=chosen, num_bootstrap=2)
    check(report, seen, blind)


@pytest.mark.parametrize(
    ("spoil", "seen"),
    [
        (torch.clone, []),
        (shifted, EMBEDDING),
        (repeated, EMBEDDING),
        (mixed, EMBEDDING),
        (threes, EMBEDDING),
    ],
)
def test_embedding_sees_these_defects(
    eights: Tensor, spoil: Callable[[Tensor], Tensor], seen: list[tuple[str, str]]
) -> None:
    real, reference, others = eights[:390].split(130)
    options = {"metrics": ["frechet", "kernel"], "num_splits": 40, "num_bootstrap": 2}
    report = compare(real, spoil(others), reference, **options)
    check(report, seen, [label for label in EMBEDDING if not seen])


def test_coverage_falls_where_half_of_the_kinds_are_missing(eights: Tensor) -> None:
    real, reference = (torch.cat([part, threes(part)]) for part in eights[:60].split(30))
    both = torch.cat([eights[60:90], held_out(3)[60:90]])
    for generated, is_beyond in ((both, False), (eights[60:120], True)):
        report = compare(real, generated, reference, metrics="sets", num_bootstrap=2)
        assert [report.row(*label).beyond for label in COVERAGE] == [is_beyond] * 2


def test_copies_of_real_clouds_are_seen_by_neighbours_and_by_nothing_else(eights: Tensor) -> None:
    real, reference = eights[:80].split(40)
    report = compare(real, real.flip(0), reference, metrics=["features", "sets"])
    check(report, NEIGHBORS, [*FEATURES, *COVERAGE, *MATCHED])
    assert [report.row(*label).value for label in NEIGHBORS] == [0.0, 0.0]


def test_only_the_proximity_to_training_clouds_sees_that_they_are_repeated(eights: Tensor) -> None:
    real, reference, training = eights[:450].split(150)
    chosen = ["features", "kernel", "memorization"]
    report = compare(real, training, reference, training=training, metrics=chosen)
    check(report, ROWS["memorization"], [*FEATURES, *ROWS["kernel"]])
    assert report.row("embedding", "memorization").value == 1.0
    fresh = compare(real, eights[450:600], reference, training=training, metrics="memorization")
    check(fresh, [], ROWS["memorization"])


def test_classifier_sees_whole_pixels_in_points_and_not_in_the_embedding(eights: Tensor) -> None:
    real, others = eights[:300].split(150)
    rounded = torch.cat([others[..., :2].round(), others[..., 2:]], dim=-1)
    points, embedding = (
        embeddings.classifier_auc(*(features(sample) for sample in (real, rounded)))
        for features in (lambda c: clouds.sort_nodes(c)[0].flatten(1), classifier.features)
    )
    assert points.value - 0.5 > 3 * points.error
    assert abs(embedding.value - 0.5) < 2 * embedding.error


# what cannot be had


def test_without_training_clouds_the_report_says_what_is_left_out(eights: Tensor) -> None:
    report = compare(eights[:8], eights[8:16], eights[16:24])
    assert rows_of(report) == ROWS["features"] + ROWS["sets"] + ROWS["kernel"]
    assert report.left_out == {
        "Frechet": "needs 128 clouds on each side, got 8",
        "AUC of embedding": "needs 50 clouds on each side, got 8",
        "AUC of points": "needs 50 clouds on each side, got 8",
        "memorization": "needs the training clouds, got no training",
    }
    assert str(report).splitlines()[-4:] == [
        f"left out: {name}: {why}" for name, why in report.left_out.items()
    ]


@pytest.mark.usefixtures("rough_embedding")
@pytest.mark.parametrize(
    "change",
    [lambda c: torch.cat([c, c[..., :1]], -1), lambda c: c[..., :2], lambda c: c * 1.1],
)
def test_clouds_of_no_image_have_every_metric_too(
    eights: Tensor, change: Callable[[Tensor], Any]
) -> None:
    parts = [change(part) for part in eights[:80].split(20)]
    report = metrics.compare(*parts[:3], training=parts[3], num_splits=2, num_bootstrap=2)
    assert report.left_out == {
        "Frechet": "needs 64 clouds on each side, got 20",
        "AUC of embedding": "needs 50 clouds on each side, got 20",
        "AUC of points": "needs 50 clouds on each side, got 20",
    }


def test_generated_clouds_outside_the_image_are_judged(eights: Tensor) -> None:
    report = compare(eights[:20], eights[20:40] + 20.0, metrics="kernel")
    assert report.row("embedding", "kernel").beyond


def test_without_scikit_learn_the_classifier_is_left_out_or_an_error(
    eights: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    report = compare(eights[:100], eights[100:150], num_splits=2, num_bootstrap=2)
    assert 'pip install "gconvae[metrics]"' in report.left_out["AUC of points"]
    with pytest.raises(ModuleNotFoundError, match="needs scikit-learn"):
        compare(eights[:100], eights[100:150], metrics="classifier", num_splits=2)


def test_few_clouds_have_no_auc_instead_of_a_perfect_one(eights: Tensor) -> None:
    real, far = eights[:98], eights[98:118] + 100
    report = compare(real, far, num_splits=2, num_bootstrap=2)
    assert report.left_out["AUC of points"] == "needs 50 clouds on each side, got 20"
    assert rows_of(report) == ROWS["features"] + ROWS["sets"] + ROWS["kernel"]
    with pytest.raises(ValueError, match="classifier needs 50 clouds on each side, got 20"):
        compare(real, far, metrics="classifier")


def test_fifty_clouds_are_enough_for_an_auc(eights: Tensor) -> None:
    pair = eights[:100], eights[100:150] + 100
    report = compare(*pair, metrics="classifier", num_splits=2, num_bootstrap=2)
    assert report.row("points", "AUC").value == 1.0


@pytest.mark.usefixtures("rough_embedding")
@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("frechet", "needs 64 clouds on each side, got 13"),  # a third trains the network
        (["features", "frechet"], "needs 64 clouds on each side"),
        ("memorization", "needs the training clouds"),
        ("sharpness", "metrics must be out of features, sets, .*, got 'sharpness'"),
        ([], "metrics must be out of"),
    ],
)
def test_a_group_that_was_named_and_cannot_be_had_is_an_error(
    eights: Tensor, group: Any, message: str
) -> None:
    real = datasets.from_points(eights[:40])
    with pytest.raises(ValueError, match=message):
        metrics.compare(real, eights[40:80], metrics=group)


def test_features_alone_need_neither_scikit_learn_nor_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    monkeypatch.setattr(classifier, "load", None)
    assert len(compare_features(gaussian_clouds(4, 0), gaussian_clouds(4, 1)).rows) == 4


# clouds of any kind


def jets(num_clouds: int, seed: int, *, width: float = 1.0, seam: bool = False) -> Tensor:
    """Heavy-tailed jets (B, 12, 3): eta, phi in the order of the schema, pT."""
    rng = np.random.default_rng(seed)
    share = rng.pareto(1.5, (num_clouds, 12)) + 0.01
    share /= share.sum(1, keepdims=True)
    spread = rng.gamma(4.0, 0.05, (num_clouds, 1)) * (1 - share)
    eta = width * spread * rng.normal(size=share.shape)
    phi = width * spread * rng.normal(size=share.shape)
    phi = np.where(phi < 0, phi + 2 * np.pi, phi) if seam else phi
    return torch.from_numpy(np.stack([eta, phi, share], axis=-1))


def charges(num_clouds: int, seed: int, num_nodes: int = 10) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(num_clouds, num_nodes, 4)))


OWN = points("x y z", "charge", unit="mm")
TRAINED = [("trained embedding", metric) for metric in ("Frechet", "Frechet limit", "kernel")]


@pytest.mark.usefixtures("rough_embedding")
def test_own_clouds_get_every_metric_with_their_names_and_units() -> None:
    real, generated, reference, training = (charges(70, seed) for seed in range(4))
    report = metrics.compare(
        *(real, generated, reference),
        training=training,
        schema=OWN,
        num_splits=2,
        num_bootstrap=2,
    )
    assert report.left_out == {}
    assert rows_of(report) == [
        *((name, "W1") for name in ("x", "y", "z", "charge", "nodes")),
        *ROWS["sets"],
        *TRAINED,
        ("trained embedding", "AUC"),
        ("points", "AUC"),
        ("trained embedding", "memorization"),
    ]
    assert [row.unit for row in report.rows[:5]] == ["mm", "mm", "mm", "", "nodes"]
    assert report.schema == OWN
    assert report.embedding == "trained embedding"


@pytest.mark.usefixtures("rough_embedding")
@pytest.mark.parametrize("num_features", [1, 2, 5])
def test_bare_numbers_have_a_schema_of_their_own(num_features: int) -> None:
    real, generated = np.random.default_rng(0).normal(size=(2, 12, 6, num_features))
    report = metrics.compare(real, generated, num_splits=2, num_bootstrap=2)
    assert list(report.left_out) == [
        "Frechet",
        "AUC of embedding",
        "AUC of points",
        "memorization",
    ]
    assert report.rows[0].unit == ""
    assert report.schema is not None
    assert report.schema.num_features == num_features


def test_the_schema_of_any_sample_names_the_rows() -> None:
    data = datasets.from_points(charges(8, 0), schema=OWN)
    for pair in ((data, charges(8, 1)), (charges(8, 1), data)):
        report = metrics.compare(*pair, metrics="features", num_splits=2, num_bootstrap=2)
        assert report.row("charge").unit == ""
        assert report.row("z").unit == "mm"


def test_samples_whose_schemas_differ_are_refused() -> None:
    data = datasets.from_points(charges(8, 0), schema=OWN)
    other = datasets.from_points(charges(8, 0), schema=points("x y z", "charge"))
    message = r"generated must have the same nodes as real: feature 1 is x \(mm\) in one and x in"
    with pytest.raises(ValueError, match=message):
        metrics.compare(data, other)
    with pytest.raises(ValueError, match="real must have the same nodes as schema: "):
        metrics.compare(data, charges(8, 0), schema=points("x y z", "time", unit="mm"))


def test_periodic_features_are_compared_across_the_seam() -> None:
    real, moved, reference = jets(40, 0), jets(40, 0, seam=True), jets(40, 1)
    report = metrics.compare(
        real,
        moved,
        reference,
        schema=JETS,
        metrics=["features", "sets"],
        num_splits=2,
        num_bootstrap=2,
    )
    assert report.row("phi_rel").value == pytest.approx(0.0, abs=1e-12)
    assert report.row("matching", "MMD").value == pytest.approx(0.0, abs=1e-6)
    assert metrics.compare(
        moved, real, reference, schema=JETS, metrics="features", num_splits=2, num_bootstrap=2
    ).row("phi_rel").value == pytest.approx(0.0, abs=1e-12)


@pytest.mark.usefixtures("rough_embedding")
def test_other_images_are_judged_by_a_trained_embedding(eights: Tensor) -> None:
    schema, scale = superpixels(56), torch.tensor([55 / 27, 55 / 27, 1.0])
    pair = (eights[:20] * scale, eights[20:40] * scale)
    report = metrics.compare(*pair, schema=schema, metrics="kernel", num_splits=2)
    assert rows_of(report) == [("trained embedding", "kernel")]


def test_float64_stays_float64() -> None:
    real = 1e8 + np.random.default_rng(0).random((20, 8, 3))
    report = metrics.compare(real, real + 0.5, real + 0, metrics="features", num_splits=2)
    assert [row.value for row in report.rows] == pytest.approx([0.5, 0.5, 0.5, 0.0], abs=1e-6)


# an embedding


def means(nodes: Tensor, mask: Tensor) -> Tensor:
    return (nodes * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True)


def test_an_embedding_of_the_caller_is_used_and_named() -> None:
    real, generated = charges(20, 0), charges(20, 1)
    report = metrics.compare(
        *(real, generated, charges(20, 2)), embedding=means, metrics=["frechet", "kernel"]
    )
    wanted = embeddings.frechet_distance(real.mean(1), generated.mean(1))
    assert report.row("own embedding", "Frechet").value == pytest.approx(wanted, rel=1e-9)
    assert report.row("own embedding", "kernel").beyond is False
    assert report.embedding == "own embedding"


@pytest.mark.parametrize(
    ("embedding", "reason"),
    [
        (lambda nodes, mask: 1 / 0, "embedding raised ZeroDivisionError: division by zero"),
        (lambda nodes, mask: "no", "embedding must return numbers, got str"),
        (lambda nodes, mask: nodes, r"embedding must return shape \(clouds, columns\)"),
        (lambda nodes, mask: nodes[:, 0] / 0, "embedding must return finite numbers"),
    ],
)
def test_an_embedding_that_fails_takes_no_other_group_down(embedding: Any, reason: str) -> None:
    options = {"embedding": embedding, "num_splits": 2, "num_bootstrap": 2}
    report = metrics.compare(charges(12, 0), charges(12, 1), **options)
    assert rows_of(report)[:5] == [
        (n, "W1") for n in ("x", "y", "feature 3", "feature 4", "nodes")
    ]
    assert len(rows_of(report)) == 11
    assert re.match(reason, report.left_out["kernel"])
    with pytest.raises(ValueError, match=reason):
        metrics.compare(charges(12, 0), charges(12, 1), metrics="kernel", **options)


@pytest.mark.usefixtures("rough_embedding")
def test_an_error_deep_inside_a_group_takes_no_other_down(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise ValueError("deep inside")

    monkeypatch.setattr(groups, "set_distances", fails)
    report = metrics.compare(charges(12, 0), charges(12, 1), num_splits=2, num_bootstrap=2)
    assert report.left_out["coverage, MMD, 1-NNA"] == "deep inside"
    assert ("trained embedding", "kernel") in rows_of(report)


@pytest.mark.usefixtures("rough_embedding")
def test_numbers_without_finite_squares_leave_out_what_needs_them() -> None:
    pair = (1e200 * charges(12, 0), 1e200 * charges(12, 1))
    report = metrics.compare(*pair, schema=OWN, num_splits=2, num_bootstrap=2)
    for name in ("x", "y", "z", "charge"):
        assert "needs clouds whose numbers have finite squares" in report.left_out[f"{name} W1"]
    assert report.row("nodes").value == 0.0
    assert "finite squares" in report.left_out["coverage, MMD, 1-NNA"]
    assert ("trained embedding", "kernel") in rows_of(report)
    assert all(np.isfinite([row.value, row.error, row.floor]).all() for row in report.rows)


def test_what_is_set_for_numpy_and_autocast_changes_nothing(eights: Tensor) -> None:
    options = {"metrics": ["sets", "kernel"], "num_splits": 2, "num_bootstrap": 2}
    wanted = compare(eights[:12], eights[12:24], **options)
    with np.errstate(all="raise"), torch.autocast("cpu", dtype=torch.bfloat16):
        assert compare(eights[:12], eights[12:24], **options) == wanted


def test_a_number_that_overflows_leaves_out_its_own_row_only() -> None:
    real, generated = charges(12, 0), charges(12, 1)
    options = {"schema": OWN, "metrics": "features", "num_splits": 5, "num_bootstrap": 5}
    wanted = metrics.compare(real, generated, **options)
    real[0, 0, 0] = 1e200
    report = metrics.compare(real, generated, **options)
    names = ["y", "z", "charge", "nodes"]
    assert report.rows == tuple(wanted.row(name) for name in names)
    assert list(report.left_out) == ["x W1"]
    assert "finite squares" in str(report)


@pytest.mark.parametrize("schema", [points("x y", "charge"), None])
def test_one_node_far_off_does_not_blind_set_metrics(schema: CloudSchema | None) -> None:
    real, generated, reference = np.random.default_rng(0).normal(size=(3, 60, 10, 3))
    generated[..., 1] += 3.0
    real[0, 0, 0] = 1e5
    samples = real, generated, reference
    report = metrics.compare(*samples, schema=schema, metrics="sets", num_splits=2)
    for distance in distances.DISTANCES:
        assert report.row(distance, "1-NNA").value > 0.95


def test_set_metrics_see_a_shift_beside_a_heavy_tail() -> None:
    schema = CloudSchema((Feature("x", position=True), Feature("E", tail=Tail("log", 1.0))))
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(3, 60, 10, 2))
    samples[..., 1] = rng.pareto(0.4, size=(3, 60, 10))  # some 1e6 times as far off as most
    samples[1, ..., 0] += 2.0
    real, generated, reference = samples
    report = metrics.compare(
        real, generated, reference, schema=schema, metrics="sets", num_splits=2
    )
    sample = clouds.as_clouds(real, schema=schema), clouds.as_clouds(generated, schema=schema)
    for distance in distances.DISTANCES:
        assert report.row(distance, "1-NNA").value > 0.9
        wanted = sets.minimum_matching_distance(distances.cross_matrix(*sample, distance=distance))
        assert report.row(distance, "MMD").value == pytest.approx(wanted, rel=1e-6)
    assert report.row("chamfer", "MMD").value < 10


def test_classes_and_their_names_are_no_part_of_a_comparison() -> None:
    named = datasets.from_points(charges(12, 0), labels=["top", "gluon"] * 6, schema=OWN)
    other = datasets.from_points(charges(12, 1), labels=["a", "b", "c"] * 4, schema=OWN)
    report = metrics.compare(named, other, metrics="features", num_splits=2)
    bare = metrics.compare(
        charges(12, 0).float(), charges(12, 1).float(), metrics="features", num_splits=2
    )
    assert [row.value for row in report.rows] == [row.value for row in bare.rows]


def test_a_saved_report_keeps_its_schema(tmp_path: Path) -> None:
    report = metrics.compare(
        charges(8, 0), charges(8, 1), schema=OWN, metrics="features", num_splits=2
    )
    report.save(tmp_path / "report.json")
    assert metrics.Report.load(tmp_path / "report.json") == report
    content = json.loads((tmp_path / "report.json").read_text())
    del content["schema"], content["embedding"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert metrics.Report.load(tmp_path / "old.json").schema is None

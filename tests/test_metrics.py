from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from gconvae import clouds, metrics


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
    report = metrics.compare(real, generated, reference)
    everything = torch.ones(real.shape[:2], dtype=torch.bool)
    for i, name in enumerate(clouds.FEATURES):
        nodes = pooled(real, everything, i), pooled(generated, everything, i)
        assert report.row(name).value == pytest.approx(wasserstein_distance(*nodes), rel=1e-9)


def test_value_equals_scipy_on_ragged_clouds_with_ties() -> None:
    samples = [gaussian_clouds(30, 0).round(), gaussian_clouds(30, 1, num_nodes=17).round()]
    masks = [ragged_mask(30, 25, 0), ragged_mask(30, 17, 1)]
    report = metrics.compare((samples[0], masks[0]), (samples[1], masks[1]), samples[0] + 0)
    for i, name in enumerate(clouds.FEATURES):
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
    report = metrics.compare(real, real.flip(0), gaussian_clouds(50, 1))
    assert [row.value for row in report.rows] == [0.0] * 4


def test_shift_by_a_pixel_is_a_pixel_in_that_feature_only() -> None:
    real, reference = gaussian_clouds(100, 0), gaussian_clouds(100, 1)
    report = metrics.compare(real, real + torch.tensor([0.0, 1.0, 0.0]), reference)
    assert report.row("y").value == pytest.approx(1.0, abs=1e-9)
    assert report.row("x").value == pytest.approx(0.0, abs=1e-9)


def test_shift_between_independent_samples_is_found_within_the_floor() -> None:
    real, generated, reference = (gaussian_clouds(300, seed) for seed in range(3))
    row = metrics.compare(real, generated + torch.tensor([0.0, 5.0, 0.0]), reference).row("y")
    assert abs(row.value - 5.0) < row.floor_95
    assert row.ratio == pytest.approx(row.value / row.floor)
    assert row.value > 20 * row.floor


def test_scaling_by_two_moves_nodes_by_their_mean_distance_from_zero() -> None:
    real, reference = gaussian_clouds(60, 0), gaussian_clouds(60, 1)
    row = metrics.compare(real.abs(), 2 * real.abs(), reference).row("x")
    assert row.value == pytest.approx(float(real[..., 0].abs().mean()), rel=1e-9)


def test_real_narrow_and_wide_samples_are_ranked() -> None:
    real, reference = gaussian_clouds(300, 0), gaussian_clouds(300, 1)
    rows = {
        spread: metrics.compare(real, gaussian_clouds(300, 2, spread=spread), reference).row("y")
        for spread in (0.7, 0.85, 1.0, 1.15, 1.3)
    }
    value = {spread: row.value for spread, row in rows.items()}
    assert value[1.0] < value[0.85] < value[0.7]
    assert value[1.0] < value[1.15] < value[1.3]
    assert value[1.0] < rows[1.0].floor_95 < min(value[0.85], value[1.15])


@pytest.mark.parametrize("feature", [0, 1, 2])
def test_floor_agrees_with_a_slow_loop_over_splits(feature: int) -> None:
    real, reference = gaussian_clouds(60, 0), gaussian_clouds(60, 1)
    row = metrics.compare(real, real, reference, num_splits=400).rows[feature]
    oracle = floor_oracle(torch.cat([real, reference]), 60, feature, 200)
    error = np.std(oracle) * (1 / 200 + 1 / 400) ** 0.5
    assert abs(row.floor - np.mean(oracle)) < 3 * error
    assert row.floor_95 == pytest.approx(np.percentile(oracle, 95), rel=0.2)


def test_floor_without_reference_is_that_of_random_halves_of_real() -> None:
    real = gaussian_clouds(100, 0)
    row = metrics.compare(real, gaussian_clouds(100, 1), num_splits=400).row("x")
    oracle = floor_oracle(real, 50, 0, 200)
    assert abs(row.floor - np.mean(oracle)) < 3 * np.std(oracle) * (1 / 200 + 1 / 400) ** 0.5


def test_floor_of_identical_nodes_in_a_cloud_is_that_of_one_node_a_cloud() -> None:
    # split by pooled node, 25 copies of a node would give a floor 5 times as small
    single = gaussian_clouds(200, 0, num_nodes=1)
    one = metrics.compare(single, single)
    copies = metrics.compare(single.expand(-1, 25, -1), single.expand(-1, 25, -1))
    assert copies.row("x").floor == pytest.approx(one.row("x").floor, rel=1e-9)
    assert copies.row("x").error == pytest.approx(one.row("x").error, rel=1e-9)


def test_error_of_independent_nodes_is_smaller_than_that_of_copied_nodes() -> None:
    rng = torch.Generator().manual_seed(0)
    shift = torch.tensor([3.0, 0.0, 0.0])
    independent = torch.randn(150, 25, 3, generator=rng)
    copied = torch.randn(150, 1, 3, generator=rng).expand(-1, 25, -1)
    errors = [metrics.compare(c, c + shift, c).row("x").error for c in (independent, copied)]
    assert 3 < errors[1] / errors[0] < 8


def test_error_is_the_standard_deviation_over_fresh_samples() -> None:
    def value_and_error(seed: int) -> tuple[float, float]:
        samples = (gaussian_clouds(100, 3 * seed + i) for i in range(3))
        real, generated, reference = samples
        report = metrics.compare(
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
    report = metrics.compare(*samples, num_splits=2, num_bootstrap=2)
    assert report.num_clouds == wanted
    assert (report.num_real, report.num_generated) == sizes[:2]
    assert report.num_reference == (sizes[2] or 0)


def test_more_generated_clouds_do_not_lower_a_value_at_the_floor() -> None:
    # uncut, 50 times as many clouds on one side would halve the variance of the difference
    samples = [
        (gaussian_clouds(60, seed), gaussian_clouds(3000, 100 + seed)) for seed in range(10)
    ]
    cut = [metrics.compare(*pair, pair[0], num_splits=20).row("x").value for pair in samples]
    whole = [metrics.feature_w1(*pair)[0] for pair in samples]
    assert 1.2 < np.mean(cut) / np.mean(whole) < 1.6


def test_value_without_reference_is_for_as_many_clouds_as_its_floor() -> None:
    # halving both samples doubles the variance of the difference
    samples = [(gaussian_clouds(60, seed), gaussian_clouds(60, 100 + seed)) for seed in range(10)]
    cut = [metrics.compare(*pair, num_splits=20).row("x").value for pair in samples]
    whole = [metrics.feature_w1(*pair)[0] for pair in samples]
    assert 1.2 < np.mean(cut) / np.mean(whole) < 1.6


def test_numbers_of_nodes_without_spread_have_no_error() -> None:
    real, generated = gaussian_clouds(20, 0, num_nodes=5), gaussian_clouds(33, 1, num_nodes=7)
    row = metrics.compare(real, generated).row("nodes")
    assert (row.value, row.error) == (2.0, 0.0)


def test_values_are_averages_over_subsets_so_that_the_seed_matters_little() -> None:
    samples = gaussian_clouds(60, 0), gaussian_clouds(300, 1), gaussian_clouds(60, 2)
    values = [metrics.compare(*samples, seed=seed).row("x").value for seed in range(5)]
    assert 0 < np.std(values) < 0.1 * metrics.compare(*samples).row("x").error


def test_same_seed_gives_the_same_report_whatever_ran_before() -> None:
    samples = gaussian_clouds(20, 0), gaussian_clouds(30, 1), gaussian_clouds(20, 2)
    first = metrics.compare(*samples, seed=3)
    np.random.default_rng().random()
    torch.rand(3)
    assert metrics.compare(*samples, seed=3) == first
    assert metrics.compare(*samples, seed=4) != first


def test_global_random_states_are_left_alone() -> None:
    before = str(np.random.get_state()), torch.get_rng_state()  # noqa: NPY002
    metrics.compare(gaussian_clouds(20, 0), gaussian_clouds(20, 1))
    assert str(np.random.get_state()) == before[0]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])


def test_order_of_nodes_and_content_of_padding_are_irrelevant() -> None:
    real, generated = gaussian_clouds(20, 0), gaussian_clouds(20, 1)
    mask = ragged_mask(20, 25, 0)
    report = metrics.compare(clouds.Clouds(real, mask), generated)
    order = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    spoiled = real.masked_fill(~mask.unsqueeze(-1), torch.nan)
    assert metrics.compare((spoiled[:, order], mask[:, order]), generated[:, order]) == report


def test_pyg_data_and_batches_give_the_same_report_as_points() -> None:
    from torch_geometric.data import Batch

    real, generated, mask = gaussian_clouds(8, 0), gaussian_clouds(8, 1), ragged_mask(8, 25, 0)
    as_points = metrics.compare((real, mask), generated)
    graphs = clouds.to_data(real, mask)
    assert metrics.compare(graphs, clouds.to_data(generated)) == as_points
    assert metrics.compare(Batch.from_data_list(graphs), generated.numpy()) == as_points


def test_further_features_get_rows_of_their_own() -> None:
    real = torch.cat([gaussian_clouds(10, 0), gaussian_clouds(10, 1)], dim=-1)[..., :5]
    rows = metrics.compare(real, real).rows
    assert [row.name for row in rows] == ["x", "y", "intensity", "feature 3", "feature 4", "nodes"]
    assert [row.unit for row in rows] == ["px", "px", "", "", "", "nodes"]


def test_two_features_are_enough() -> None:
    real = gaussian_clouds(10, 0)[..., :2]
    assert [row.name for row in metrics.compare(real, real).rows] == ["x", "y", "nodes"]


def test_ratio_is_none_where_the_floor_is_zero() -> None:
    report = metrics.compare(gaussian_clouds(10, 0), gaussian_clouds(10, 1, num_nodes=20))
    assert report.row("nodes").value == 5.0
    assert report.row("nodes").ratio is None


def test_table_is_aligned_and_holds_value_error_floor_and_ratio() -> None:
    rows = (
        metrics.Row("x", "W1", "px", 0.3512, 0.0213, 0.0412, 0.0683),
        metrics.Row("intensity", "W1", "", 0.0321, 0.0012, 0.0032, 0.0061),
        metrics.Row("nodes", "W1", "nodes", 0.0, 0.0, 0.0, 0.0),
    )
    assert str(metrics.Report(rows, 974, 974, 994, 974, 200, 100, 0)).splitlines() == [
        "974 clouds on each side; floor: real against real, 200 random splits",
        "x W1 (px)          0.351 +- 0.021     floor 0.041 (95 %: 0.068)     8.52 x floor",
        "intensity W1       0.0321 +- 0.0012   floor 0.0032 (95 %: 0.0061)   10 x floor",
        "nodes W1 (nodes)   0.0 +- 0.0         floor 0.0 (95 %: 0.0)         -",
    ]


def test_saved_report_loads_as_it_was(tmp_path: Path) -> None:
    report = metrics.compare(gaussian_clouds(10, 0), gaussian_clouds(12, 1), seed=5)
    assert report.seed == 5
    report.save(tmp_path / "report.json")
    assert metrics.Report.load(tmp_path / "report.json") == report
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_dictionary_is_strict_json_with_ratios() -> None:
    report = metrics.compare(gaussian_clouds(10, 0), gaussian_clouds(12, 1))
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["rows"][0]["ratio"] == report.rows[0].value / report.rows[0].floor
    assert values["rows"][-1]["ratio"] is None
    assert values["num_clouds"] == 5


def test_failed_save_keeps_the_earlier_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.json"
    report = metrics.compare(gaussian_clouds(10, 0), gaussian_clouds(12, 1))
    report.save(path)

    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        metrics.compare(gaussian_clouds(10, 0), gaussian_clouds(12, 2)).save(path)
    assert metrics.Report.load(path) == report
    assert [file.name for file in tmp_path.iterdir()] == ["report.json"]


def test_saving_into_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    report = metrics.compare(gaussian_clouds(4, 0), gaussian_clouds(4, 1))
    with pytest.raises(FileNotFoundError, match="path must lie in an existing folder"):
        report.save(tmp_path / "missing" / "report.json")


def test_loading_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be a saved report"):
        metrics.Report.load(tmp_path / "report.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{"name": "x"}]}', '{"rows": []}'])
def test_loading_another_file_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ValueError, match="path must hold a saved report"):
        metrics.Report.load(tmp_path / "report.json")


def test_unknown_row_is_an_error_that_names_the_known_ones() -> None:
    report = metrics.compare(gaussian_clouds(4, 0), gaussian_clouds(4, 1))
    with pytest.raises(ValueError, match=r"\(x W1, .*, nodes W1\), got z W1"):
        report.row("z")


@pytest.mark.parametrize("name", ["real", "generated", "reference"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[0], "{} must have shape"),
        (lambda c: c[:0], "{} must hold at least one cloud"),
        (lambda c: c[:1], "{} must have at least 2 clouds, got 1"),
        (lambda c: c[..., :1], "{} must have at least 2 features"),
        (lambda c: c.long(), "{} must hold floating-point numbers"),
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
        metrics.compare(**(samples | {name: change(samples[name])}))


def test_broken_graphs_are_an_error_that_names_the_argument() -> None:
    graphs = clouds.to_data(gaussian_clouds(6, 0))
    graphs[3].x = None
    with pytest.raises(ValueError, match=r"generated: data\[3\] must have pos and x"):
        metrics.compare(gaussian_clouds(6, 0), graphs)


def test_different_numbers_of_features_are_an_error() -> None:
    with pytest.raises(ValueError, match="generated must have 3 features a node like real, got 2"):
        metrics.compare(gaussian_clouds(6, 0), gaussian_clouds(6, 0)[..., :2])


@pytest.mark.parametrize(
    ("option", "value"),
    [("seed", -1), ("seed", 0.5), ("num_splits", 1), ("num_bootstrap", 1), ("num_splits", True)],
)
def test_wrong_option_is_an_error_that_names_it(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{option} must be an integer of at least"):
        metrics.compare(gaussian_clouds(6, 0), gaussian_clouds(6, 1), **{option: value})

"""Tests of the map after which nodes lie more evenly."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.likelihoods.equal_cells import KNOTS, EqualCells
from gconvae.schema import JETS

MAPPED = torch.tensor([True, False])


def nodes(number: int = 5000) -> Tensor:
    """A feature that crowds around 0.3, and an even one, shape (P, 2)."""
    random = torch.Generator().manual_seed(0)
    crowded = 0.3 + 0.01 * torch.randn(number, generator=random)
    return torch.stack([crowded.clamp(0, 1), torch.rand(number, generator=random)], dim=1)


def fitted(dtype: torch.dtype = torch.float32) -> EqualCells:
    cells = EqualCells(2, positions=2).to(dtype)
    cells.fit(nodes().to(dtype), MAPPED)
    return cells


def test_before_clouds_are_seen_nothing_is_mapped() -> None:
    unit = torch.rand(7, 3, 2)
    cells = EqualCells(2)
    assert cells(unit) is unit
    assert cells.back(unit) is unit


def test_a_feature_that_is_not_continuous_keeps_its_bits() -> None:
    unit = torch.rand(7, 3, 2)
    cells = fitted()
    assert torch.equal(cells(unit)[..., 1], unit[..., 1])
    assert torch.equal(cells.back(unit)[..., 1], unit[..., 1])
    assert not cells.log_slope(unit)[..., 1].any()


def even(value: float, low: float, high: float) -> float:
    """A line from (low, 0.01) to (high, 0.99), and lines to both ends."""
    if value < low:
        return 0.01 * value / low
    if value > high:
        return 1 - 0.01 * (1 - value) / (1 - high)
    return 0.01 + 0.98 * (value - low) / (high - low)


@pytest.mark.parametrize("value", [0.0, 0.1, 0.28, 0.3, 0.31, 0.7, 1.0])
def test_the_map_is_half_the_distribution_and_half_lines(value: float) -> None:
    seen = nodes()
    share = (seen[:, 0] <= value).double().mean().item()
    low, high = seen[:, 0].double().quantile(torch.tensor([1e-3, 1 - 1e-3]).double()).tolist()
    low, high = 1.1 * low - 0.1 * high, 1.1 * high - 0.1 * low
    found = fitted()(torch.tensor([[value, 0.5]]))[0, 0].item()
    assert found == pytest.approx((share + even(value, low, high)) / 2, abs=2e-3)


def test_of_a_feature_that_is_no_position_the_line_is_the_number() -> None:
    seen = nodes()
    cells = EqualCells(2)
    cells.fit(seen, MAPPED)
    for value in (0.1, 0.28, 0.3, 0.7):
        share = (seen[:, 0] <= value).double().mean().item()
        found = cells(torch.tensor([[value, 0.5]]))[0, 0].item()
        assert found == pytest.approx((share + value) / 2, abs=2e-3)


def test_a_tenth_beyond_the_outermost_thousandth_there_are_as_many_cells() -> None:
    crowd = torch.linspace(0.4, 0.6, 100_000)
    rare = torch.linspace(0.38, 0.62, 100)  # a tenth further
    cells = EqualCells(1, positions=1)
    cells.fit(
        torch.cat([crowd, rare, torch.tensor([0.0, 1.0])]).unsqueeze(1), torch.tensor([True])
    )
    found = cells(torch.tensor([[0.385], [0.395], [0.605], [0.615]])).flatten()
    share = 0.49 * 0.01 / (1.2 * 0.2)  # of the straight half alone, without the two far ends
    assert found.diff()[0].item() == pytest.approx(share, rel=0.1)
    assert found.diff()[2].item() == pytest.approx(share, rel=0.1)


@pytest.mark.parametrize("far", [0.0, 1.0])
def test_one_node_far_away_takes_no_cells_of_the_others(far: float) -> None:
    crowd = torch.linspace(0.45, 0.55, 5000)
    unit = torch.cat([crowd, torch.tensor([far])]).unsqueeze(1)
    cells = EqualCells(1, positions=1)
    cells.fit(unit, torch.tensor([True]))
    first, last = cells(torch.tensor([[0.45], [0.55]])).flatten().tolist()
    assert last - first > 0.9
    torch.testing.assert_close(cells.back(cells(unit)), unit, rtol=0, atol=1e-6)


def test_a_feature_that_ends_at_its_thousandths_is_mapped_too() -> None:
    unit = torch.cat([torch.zeros(500), torch.linspace(0, 1, 1000), torch.ones(500)]).unsqueeze(1)
    cells = EqualCells(1, positions=1)
    cells.fit(unit, torch.tensor([True]))
    torch.testing.assert_close(cells.back(cells(unit)), unit, rtol=0, atol=1e-6)
    assert torch.isfinite(cells.log_slope(unit)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_way_back_undoes_the_map(dtype: torch.dtype) -> None:
    cells = fitted(dtype)
    unit = torch.cat([nodes(500), torch.tensor([[0.0, 0.0], [1.0, 1.0]])]).to(dtype)
    mapped = cells(unit)
    assert mapped.dtype == dtype
    assert (mapped[:-2, 0].diff().sign() == unit[:-2, 0].diff().sign()).float().mean() > 0.99
    torch.testing.assert_close(cells.back(mapped), unit, rtol=0, atol=1e-6)
    torch.testing.assert_close(mapped[-2:, 0], torch.tensor([0.0, 1.0], dtype=dtype))


def test_the_slope_is_that_of_the_map() -> None:
    cells = fitted(torch.float64)
    # within a piece, which is a straight line
    middle = (cells.knots[0, 1:] + cells.knots[0, :-1]) / 2
    unit = torch.stack([middle, middle], dim=1)
    step = 1e-3 * cells.knots[0].diff().min()
    ahead, behind = (cells(unit + torch.tensor([way * step, 0.0])) for way in (1, -1))
    slope = (ahead - behind)[:, 0] / (2 * step)
    torch.testing.assert_close(cells.log_slope(unit)[:, 0], slope.log(), rtol=1e-5, atol=1e-5)


def test_densities_of_the_map_add_up_to_one() -> None:
    cells = fitted(torch.float64)
    width = cells.knots[0].diff()
    middle = cells.knots[0, :-1] + width / 2
    density = cells.log_slope(torch.stack([middle, middle], dim=1))[:, 0].exp()
    assert (density * width).sum().item() == pytest.approx(1.0, abs=1e-9)


def test_many_nodes_with_one_value_are_no_number_less() -> None:
    unit = torch.full((1000, 1), 0.25)
    unit[:10, 0] = torch.linspace(0, 1, 10)
    cells = EqualCells(1)
    cells.fit(unit, torch.tensor([True]))
    mapped = cells(unit)
    assert torch.isfinite(mapped).all()
    torch.testing.assert_close(cells.back(mapped), unit, rtol=0, atol=1e-6)
    assert torch.isfinite(cells.log_slope(unit)).all()


def test_numbers_beyond_the_interval_go_to_its_ends() -> None:
    unit = torch.tensor([[-1.0, 0.5], [2.0, 0.5], [math.nan, 0.5]])
    assert fitted()(unit)[:, 0].tolist() == [0.0, 1.0, 0.0]


def test_a_saved_map_is_used_again() -> None:
    cells, read = fitted(), EqualCells(2)
    read.load_state_dict(cells.state_dict())
    unit = torch.rand(20, 2)
    assert torch.equal(read(unit), cells(unit))
    assert not torch.equal(read(unit), unit)
    assert read.knots.shape == (2, KNOTS + 1)


def test_in_a_likelihood_positions_alone_may_be_far() -> None:
    likelihood = AutoregressiveLikelihood(num_points=4, weighted=True)
    likelihood.set_schema(JETS)
    assert likelihood.cells.positions == 2
    crowd = torch.linspace(0.45, 0.55, 5000)
    unit = torch.cat([crowd, torch.tensor([0.0, 1.0])]).unsqueeze(1).expand(-1, 3)
    likelihood.cells.fit(unit, torch.tensor([True] * 3))
    lengths = likelihood.cells(torch.tensor([[0.45] * 3, [0.55] * 3])).diff(dim=0)[0]
    assert (lengths[:2] > 0.9).all()
    assert lengths[2] < 0.56  # pT


# features that take few values -------------------------------------------------------------------


def few_values() -> tuple[Tensor, Tensor]:
    """Values of which one is ten times as likely as the others, and nodes with them."""
    values = torch.tensor([0.0, 0.11, 0.35, 0.5, 0.77, 1.0])
    counts = torch.tensor([40, 40, 400, 40, 40, 40])
    return values, values.repeat_interleave(counts)


def listed() -> EqualCells:
    cells, (_, nodes) = EqualCells(2), few_values()
    free = torch.rand(len(nodes), generator=torch.Generator().manual_seed(0))
    cells.fit(torch.stack([nodes, free], dim=1), torch.tensor([True, True]), [0])
    return cells


def test_a_value_has_as_many_cells_as_it_is_likely() -> None:
    cells, (values, _) = listed(), few_values()
    edges = (values[1:] + values[:-1]) / 2
    ends = torch.cat([torch.zeros(1), edges, torch.ones(1)])
    both = torch.stack([ends, torch.full_like(ends, 0.5)], dim=1)
    heights = cells(both)[:, 0].diff()
    share = 0.05 / 6 + 0.95 * torch.tensor([40, 40, 400, 40, 40, 40]) / 600
    torch.testing.assert_close(heights, share, atol=1e-6, rtol=1e-5)


def test_the_map_of_few_values_has_an_inverse_and_a_slope() -> None:
    cells = listed()
    first = torch.linspace(0, 1, 997)
    unit = torch.stack([first, first], dim=1)
    mapped = cells(unit)
    assert (mapped.diff(dim=0) >= 0).all()
    torch.testing.assert_close(cells.back(mapped), unit, atol=1e-5, rtol=0)
    slope = cells.log_slope(unit)[:, 0].exp()
    assert torch.isfinite(slope).all()
    assert torch.trapezoid(slope, first) == pytest.approx(1.0, abs=0.02)


def test_the_map_of_few_values_is_kept_and_one_of_before_has_none() -> None:
    cells, again = listed(), EqualCells(2)
    unit = torch.rand(50, 2, generator=torch.Generator().manual_seed(1))
    again.load_state_dict(cells.state_dict())
    assert torch.equal(again(unit), cells(unit))
    before = {k: v for k, v in EqualCells(2).state_dict().items() if k in ("knots", "is_mapped")}
    again.load_state_dict(before)
    assert torch.equal(again(unit), unit)

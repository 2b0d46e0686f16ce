from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import generators
import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae import clouds, metrics
from gconvae.metrics import embeddings, jets, sets
from gconvae.metrics.jets import energy_mover, rows
from gconvae.schema import JETS, SUPERPIXELS, points

Jets = tuple[Tensor, Tensor]

compare = partial(metrics.compare, schema=JETS, metrics="jets", num_bootstrap=5)

W1 = [(name, "W1") for name in ("mass", "pT", "tau21", "tau32", "EFP")]
SIZES = [label for label in W1 if "tau" not in label[0]]  # ratios of prongs know no size
PHYSICS = [("EFP", "FPD"), ("EFP", "KPD")]
EMD = [("EMD", "coverage"), ("EMD", "MMD"), ("EMD", "1-NNA")]


@pytest.fixture(scope="module")
def sample() -> Jets:
    return generators.jets(1000, 1)


@pytest.fixture
def few_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing is said of distances of the energy mover, they are of few jets."""
    monkeypatch.setattr(rows, "EMD_JETS", 10)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line in 1 / N through means of few draws."""
    monkeypatch.setattr(embeddings, "_HALVES", 4)


def part(sample: Jets, first: int, last: int) -> Jets:
    return sample[0][first:last], sample[1][first:last]


def thirds(sample: Jets, size: int) -> list[Jets]:
    """Real, others to be spoiled, and further real ones."""
    return [part(sample, i * size, (i + 1) * size) for i in range(3)]


def names(report: metrics.Report) -> list[tuple[str, str]]:
    return [(row.name, row.metric) for row in report.rows]


# what the rows are


@pytest.mark.usefixtures("few_pairs")
def test_jets_have_these_rows_with_the_values_of_the_functions(sample: Jets) -> None:
    real, generated, reference = thirds(sample, 200)
    report = compare(real, generated, reference, num_splits=5)
    assert names(report) == [*W1, *PHYSICS, *EMD]
    assert report.left_out == {}
    seeds = {"num_batches": 400, "num_eval_samples": 200}
    # batches of draws with replacement lie above the samples' own distance
    assert 1 < jets.w1m(real, generated, **seeds).value / report.row("mass").value < 1.6
    masses = jets.mass(real), jets.mass(generated)
    sorted_apart = np.abs(np.sort(masses[0]) - np.sort(masses[1])).mean()
    assert report.row("mass").value == pytest.approx(sorted_apart, rel=1e-9)
    prongs = [jets.n_subjettiness(side) for side in (real, generated)]
    ratios = [np.sort(tau[:, 2] / tau[:, 1]) for tau in prongs if (tau[:, 1] > 0).all()]
    apart = np.abs(ratios[0] - ratios[1]).mean()
    assert report.row("tau32").value == pytest.approx(apart, rel=1e-9)
    flow = [jets.energy_flow_polynomials(side, jets.PRIMES_OF_FOUR) for side in (real, generated)]
    apart = np.abs(np.sort(flow[0], 0) - np.sort(flow[1], 0)).mean()
    assert report.row("EFP").value == pytest.approx(apart, rel=1e-9)


@pytest.mark.usefixtures("few_pairs")
def test_frechet_row_is_of_polynomials_over_the_largest_of_all_real_jets(sample: Jets) -> None:
    real, generated, reference = thirds(sample, 200)
    wide = generated[0] * torch.tensor([1.2, 1.2, 1.0]), generated[1]
    row = compare(real, wide, reference, num_splits=2).row("EFP", "FPD")
    flow = [jets.energy_flow_polynomials(side) for side in (real, wide, reference)]
    largest = np.abs(np.concatenate([flow[0], flow[2]])).max(0)
    plain = metrics.frechet_distance(flow[0] / largest, flow[1] / largest)
    assert row.value == pytest.approx(plain, rel=0.25)
    assert (row.num_clouds, row.better) == (200, "0")


def test_rows_of_the_energy_mover_are_the_values_of_set_metrics(
    sample: Jets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "EMD_JETS", 12)
    sides = [clouds.as_clouds(*side) for side in (part(sample, 0, 24), part(sample, 24, 36))]
    report = compare(*sides, num_splits=2)
    assert report.num_clouds == 12
    # every cloud of the smaller sample is looked at, and half of the other one's
    found = [report.row(*label) for label in EMD]
    assert [row.num_clouds for row in found] == [12] * 3
    candidates = jets.energy_movers_distances(sides[0], sides[1])
    nearest = sets.minimum_matching_distance(candidates)
    assert 0.5 * nearest < found[1].value < 2 * nearest


def test_distances_of_whole_samples_are_in_the_matrix_of_the_rows(sample: Jets) -> None:
    real, generated, reference = thirds(sample, 8)
    report = compare(real, generated, reference, num_splits=2)
    pool = (torch.cat([real[0], reference[0]]), torch.cat([real[1], reference[1]]))
    matrix = jets.energy_movers_distances(pool, generated)
    chosen = []  # the cut takes a random half of the pool of real jets
    assert report.row("EMD", "MMD").num_clouds == 8
    for rows_of in (slice(0, 8), slice(8, 16)):
        chosen.append(sets.minimum_matching_distance(matrix[rows_of]))
    assert min(chosen) * 0.8 < report.row("EMD", "MMD").value < max(chosen) * 1.2


@pytest.mark.usefixtures("few_pairs")
def test_the_same_seed_gives_the_same_rows_alone_or_with_others(sample: Jets) -> None:
    samples = thirds(sample, 150)
    alone = compare(*samples, num_splits=3, seed=2)
    together = compare(*samples, num_splits=3, seed=2, metrics=["features", "jets"])
    assert together.rows[4:] == alone.rows
    assert compare(*samples, num_splits=3, seed=3).rows != alone.rows


@pytest.mark.usefixtures("few_pairs")
def test_order_padding_seam_and_turns_change_nothing(sample: Jets) -> None:
    real, generated, reference = thirds(sample, 150)
    wanted = compare(real, generated, reference, num_splits=2)
    spoiled = generated[0].masked_fill(~generated[1].unsqueeze(-1), 7.0).flip(1)
    spoiled[..., 1] = torch.where(
        spoiled[..., 1] < 0, spoiled[..., 1] + 2 * np.pi, spoiled[..., 1]
    )
    found = compare(real, (spoiled, generated[1].flip(1)), reference, num_splits=2)
    for row, same in zip(wanted.rows, found.rows, strict=True):
        assert same.value == pytest.approx(row.value, rel=1e-4, abs=1e-6), (row.name, row.metric)


@pytest.mark.usefixtures("few_pairs")
def test_jets_of_many_particles_are_compared() -> None:
    sides = [generators.jets(12, seed, num_particles=150) for seed in (0, 1)]
    report = compare(*sides, num_splits=2)
    assert names(report) == [*W1, *EMD]
    assert report.left_out == {"FPD, KPD": "needs 144 clouds on each side, got 6"}


# known defects


def unchanged(spoiled: Jets, real: Jets) -> Jets:
    return spoiled


def wider(spoiled: Jets, real: Jets) -> Jets:
    return spoiled[0] * torch.tensor([1.1, 1.1, 1.0]), spoiled[1]


def lighter(spoiled: Jets, real: Jets) -> Jets:
    return spoiled[0] * torch.tensor([1.0, 1.0, 0.8]), spoiled[1]


def without_soft(spoiled: Jets, real: Jets) -> Jets:
    nodes, mask = spoiled
    return nodes, mask & (torch.arange(nodes.shape[1]) < 4)


def blurred(spoiled: Jets, real: Jets) -> Jets:
    """Prongs run into each other."""
    nodes, mask = spoiled
    noise = torch.randn(nodes.shape[:2] + (2,), generator=torch.Generator().manual_seed(0))
    return torch.cat([nodes[..., :2] + 0.05 * noise, nodes[..., 2:]], dim=-1), mask


def mixed(spoiled: Jets, real: Jets) -> Jets:
    """The particles of each rank dealt out anew: every histogram of particles stays."""
    nodes, mask = spoiled
    random = torch.Generator().manual_seed(0)
    order = [torch.randperm(len(nodes), generator=random) for _ in range(nodes.shape[1])]
    chosen = torch.stack(order, dim=1)
    columns = torch.arange(nodes.shape[1])
    return nodes[chosen, columns], mask[chosen, columns] | (columns == 0)


def repeated(spoiled: Jets, real: Jets) -> Jets:
    few = torch.arange(len(spoiled[0])) % 8
    return spoiled[0][few], spoiled[1][few]


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    ("spoil", "seen", "blind"),
    [
        (unchanged, [], [*SIZES, *EMD]),
        (wider, [("mass", "W1"), ("EFP", "W1"), *PHYSICS], []),
        (lighter, [*SIZES], []),
        (blurred, [("tau21", "W1"), ("tau32", "W1")], []),
        (without_soft, [W1[1], EMD[1]], []),
        (mixed, [*PHYSICS], []),
        (repeated, [EMD[0], EMD[2]], []),
    ],
)
def test_rows_see_these_defects(
    sample: Jets,
    spoil: Callable[[Jets, Jets], Jets],
    seen: list[tuple[str, str]],
    blind: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "EMD_JETS", 40)
    real, others, reference = thirds(sample, 300)
    report = compare(real, spoil(others, real), reference, num_splits=40)
    assert [label for label in seen if not report.row(*label).beyond] == []
    assert [label for label in blind if report.row(*label).beyond] == []


def test_two_real_samples_are_beyond_their_floors_one_time_in_twenty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rows, "EMD_JETS", 4)
    beyond = []
    for seed in range(12):
        given = generators.jets(300, 100 + seed)
        report = compare(*thirds(given, 100), num_splits=40, num_bootstrap=2)
        beyond += [report.row(*label).beyond for label in W1]
    assert sum(beyond) <= 10  # of 60; the rows of one report move together


# what cannot be had


def test_other_clouds_have_no_such_rows_and_miss_none() -> None:
    assert metrics.groups_of(SUPERPIXELS) == tuple(g for g in metrics.GROUPS if g != "jets")
    assert metrics.groups_of(JETS) == metrics.GROUPS
    own = points("eta_rel phi_rel", "pt_rel")
    assert metrics.groups_of(own) == metrics.GROUPS


def test_named_for_other_clouds_it_is_an_error_that_says_what_it_needs() -> None:
    real, generated = np.random.default_rng(0).random((2, 12, 5, 3))
    message = "metrics must be had from these clouds, jets needs the features eta_rel, phi_rel"
    with pytest.raises(ValueError, match=message):
        compare(real, generated, schema=SUPERPIXELS)


def test_without_pot_the_rows_of_the_energy_mover_are_left_out(
    sample: Jets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    energy_mover._solver.cache_clear()
    report = compare(*thirds(sample, 20), num_splits=2)
    assert names(report) == W1
    assert 'pip install "gconvae[metrics]"' in report.left_out["EMD"]


def test_an_overflow_leaves_out_what_it_spoils() -> None:
    real, generated = generators.jets(20, 0), generators.jets(20, 1)
    generated[0][0, 0, 2] = 1e120
    report: Any = compare(real, generated, num_splits=2)
    assert all(np.isfinite(list(dataclasses.astuple(row)[3:7])).all() for row in report.rows)
    assert "mass W1" in report.left_out or "jet W1" in report.left_out or report.row("mass")

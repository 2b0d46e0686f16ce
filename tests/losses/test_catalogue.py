"""The catalogue of losses, weighted sums of them, and losses of standardized clouds."""

from __future__ import annotations

import math
from importlib import import_module

import pytest
import torch
from torch import Tensor, nn

from gconvae import losses, registry
from gconvae.losses import (
    Matching,
    SlicedWasserstein,
    ThirdAxisChamfer,
    WeightedSum,
    third_axis_chamfer,
)


def random_nodes(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (27 * torch.rand(shape, generator=generator, dtype=torch.float64) - 9).to(dtype)


# The catalogue


def test_every_available_loss_is_created_and_is_zero_on_itself() -> None:
    points = random_nodes(2, 5, 3)
    assert {"third_axis", "matched_intensity"} <= set(losses.available())
    for name in losses.available():
        created = losses.create(name)
        assert created(points, points).tolist() == [0.0, 0.0]
        assert created(points, points + 1).min() > 0.1


def test_create_passes_options_on() -> None:
    target, output = torch.tensor([[[0.0, 0.0, 1.0]]]), torch.tensor([[[2.0, 0.0, 4.0]]])
    created = losses.create("matched_intensity", intensity_weight=0.5)
    assert created(target, output).tolist() == [2 * (4 + 9 / 2)]
    assert losses.create("third_axis")(target, output).tolist() == [2 * (4 + 9)]


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="one of third_axis, matched_intensity.*, got 'mse'"):
        losses.create("mse")
    with pytest.raises(ValueError, match="one of third_axis, .*sinkhorn.*, got 'mse'"):
        losses.create("third_axis + 0.5 * mse")


def test_losses_are_parts() -> None:
    assert losses.available() == registry.available("loss")
    assert losses.available()[:5] == [
        *("third_axis", "matched_intensity", "sliced_wasserstein", "matching", "sinkhorn")
    ]
    loss = losses.create("matched_intensity(intensity_weight=2)", backend="dense")
    described = registry.describe("loss", loss)
    assert described is not None
    assert described.name == "matched_intensity"
    assert described.options == {
        "intensity_weight": 2,
        "backend": "dense",
        "coverage_weight": 1.0,
        "precision_weight": 1.0,
        "num_positions": 2,
        "point_reduction": "sum",
        "empty": "error",
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "third_axis(coverage_weight=2)",
            "ThirdAxisChamfer(backend='torch-cluster', coverage_weight=2, precision_weight=1)",
        ),
        (
            "matched_intensity(backend='dense', precision_weight=0.5)",
            "MatchedIntensityChamfer(intensity_weight=1, backend='dense', coverage_weight=1, "
            "precision_weight=0.5, num_positions=2)",
        ),
    ],
)
def test_a_loss_shows_all_its_options(text: str, shown: str) -> None:
    assert repr(losses.create(text)) == shown


def test_chamfer_is_another_name_of_third_axis() -> None:
    loss = losses.create("chamfer(coverage_weight=2)", backend="dense")
    assert isinstance(loss, ThirdAxisChamfer)
    assert (loss.backend, loss.coverage_weight) == ("dense", 2)
    described = registry.describe("loss", loss)
    assert described is not None
    assert described.name == "third_axis"
    assert "chamfer" not in losses.available()
    terms = losses.create("0.5 * chamfer + third_axis").losses
    assert [type(term) for term in terms] == [ThirdAxisChamfer, ThirdAxisChamfer]


INNER = {"Reduction", "checked_weight", "equal_counts", "mask_of_lengths", "momentum", "reduced"}
INNER |= {"check_factors", "without_empty"}
"""Names that only the wing itself uses."""


def test_each_name_of_the_wing_has_one_home() -> None:
    rooms = ("assignment", "catalogue", "chamfer", "jet_observables", "kl", "pairs", "sliced")
    rooms += ("transport", "reductions", "chamfer_modules")
    names = [name for room in rooms for name in import_module(f"gconvae.losses.{room}").__all__]
    assert len(names) == len(set(names))
    assert set(names) - INNER == set(losses.__all__)


@pytest.mark.parametrize("name", ["matched_intensity", "third_axis", "third_axis + matching"])
def test_the_number_of_positions_goes_to_the_losses_that_take_it(name: str) -> None:
    loss = losses.create(name, backend="dense", num_positions=3)
    assert getattr(loss, "num_positions", 3) == 3
    assert float(loss(random_nodes(1, 5, 4), random_nodes(1, 5, 4, seed=1))) > 0


@pytest.mark.parametrize("features", [1, 2, 3, 5])
def test_losses_take_clouds_of_any_features(features: int) -> None:
    points = random_nodes(2, 6, features)
    for name in losses.available():
        if name == "matched_intensity" and features == 1:
            continue
        if name.startswith("jet_"):  # of three features, see test_jet_observables.py
            continue
        loss = losses.create(name, backend="dense", num_positions=max(1, min(2, features - 1)))
        assert loss(points, points).tolist() == [0.0, 0.0]
        output = (points + 1).requires_grad_()
        loss(points, output).sum().backward()
        assert output.grad is not None
        assert output.grad.abs().sum() > 0


# Weighted sums


def test_a_sum_is_the_sum_of_its_terms(backend: str, device: torch.device) -> None:
    target, output = (random_nodes(4, 6, 3, seed=seed).to(device) for seed in (0, 1))
    mask = torch.ones(4, 6, dtype=torch.bool, device=device)
    mask[2, 4:] = False
    loss = losses.create(
        "third_axis + 0.5 * sliced_wasserstein(num_projections=32) + 2 * matching", backend=backend
    )
    wanted = (
        ThirdAxisChamfer(backend)(target, output, mask, mask)
        + 0.5 * SlicedWasserstein(num_projections=32)(target, output, mask, mask)
        + 2 * Matching()(target, output, mask, mask)
    )
    torch.testing.assert_close(loss(target, output, mask, mask), wanted)
    got = loss(target, output, target_mask=mask, output_mask=mask)
    torch.testing.assert_close(got, wanted)


def test_a_sum_of_one_loss_with_a_weight_is_scaled() -> None:
    points = torch.zeros(1, 4, 3)
    assert losses.create("0.25 * matching")(points, points + 1).tolist() == [0.25 * 12]


def test_a_sum_takes_weights_of_nodes_where_its_terms_do() -> None:
    target, output = torch.tensor([[[0.0, 0.0, 0.0]]]), torch.tensor([[[2.0, 0.0, 1.0]]])
    loss = losses.create("third_axis + 10 * matched_intensity")
    assert loss(target, output, target_weight=torch.tensor([[3.0]])).tolist() == [11 * (3 + 1) * 5]


def test_options_go_to_the_terms_that_leave_them_open() -> None:
    loss = losses.create(
        "third_axis(backend='dense') + matched_intensity + matching",
        backend="auto",
        intensity_weight=3.0,
    )
    assert [getattr(term, "backend", None) for term in loss.losses] == ["dense", "auto", None]
    assert loss.losses[1].intensity_weight == 3.0


def test_the_own_option_of_a_loss_stays() -> None:
    assert losses.create("third_axis(backend='dense')", backend="auto").backend == "dense"


@pytest.mark.parametrize("text", ["matching", "sliced_wasserstein", "sinkhorn + matching"])
def test_a_loss_without_a_search_is_not_told_how_to_search(text: str) -> None:
    created = losses.create(text, backend="dense")
    assert getattr(created, "backend", None) is None


@pytest.mark.parametrize("text", ["third_axis", "matching + third_axis"])
def test_an_option_that_no_term_takes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="taken by a term of .*, got intensity_weight, padding"):
        losses.create(text, padding=1, intensity_weight=2.0, backend="dense")


def test_a_wrong_option_in_brackets_is_refused() -> None:
    with pytest.raises(ValueError, match="options of loss matching are none, got backend"):
        losses.create("matching(backend='dense')")


@pytest.mark.parametrize("text", ["third_axis - matching", "third_axis +", "2 matching", ""])
def test_a_text_that_is_no_loss_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a part must have the form"):
        losses.create(text)


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ("third_axis + matching", "torch-cluster"),
        ("third_axis + matched_intensity", "torch-cluster"),
        ("third_axis + matched_intensity(backend='dense')", None),
        ("matching + sliced_wasserstein", None),
    ],
)
def test_a_sum_says_how_its_terms_search(text: str, backend: str | None) -> None:
    loss = losses.create(text)
    assert loss.backend == backend
    assert losses.Standardized(loss, torch.zeros(3), torch.ones(3)).backend == backend


def test_a_sum_shows_its_weights_and_terms() -> None:
    shown = repr(losses.create("third_axis + 0.5 * sliced_wasserstein(num_projections=32)"))
    assert "weights=[1.0, 0.5]" in shown
    assert "ThirdAxisChamfer(" in shown
    assert "SlicedWasserstein(num_projections=32, seed=0)" in shown


def test_a_sum_has_no_parameters() -> None:
    assert not list(losses.create("third_axis + sliced_wasserstein").parameters())


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_a_weight_of_a_sum_that_is_not_above_zero_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match=r"weights must be above 0 and finite, got \[1.0, "):
        WeightedSum([Matching(), Matching()], [1.0, weight])


@pytest.mark.parametrize(("terms", "weights"), [([], []), ([Matching()], [1.0, 2.0])])
def test_a_sum_needs_a_weight_for_each_loss(
    terms: list[torch.nn.Module], weights: list[float]
) -> None:
    with pytest.raises(ValueError, match="losses and weights must be equally many, at least one"):
        WeightedSum(terms, weights)


# Standardized clouds


def test_a_standardized_loss_is_the_loss_of_standardized_sides() -> None:
    draws = torch.Generator().manual_seed(0)
    target, output = (torch.randn(4, n, 3, generator=draws) for n in (5, 6))
    mask = torch.ones(4, 5, dtype=torch.bool)
    mask[1, 3:] = False
    mean, std = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.25, 4.0])
    loss = losses.Standardized(ThirdAxisChamfer(), mean, std)
    by_hand = third_axis_chamfer((target - mean) / std, (output - mean) / std, mask)
    torch.testing.assert_close(loss(target, output, mask), by_hand)
    torch.testing.assert_close(loss(target, output, target_mask=mask), by_hand)


def test_a_standardized_sum_is_the_sum_of_standardized_losses() -> None:
    target, output = random_nodes(4, 6, 3, seed=0), random_nodes(4, 6, 3, seed=1)
    mean, std = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([2.0, 0.25, 4.0])
    terms = [losses.Standardized(losses.create(name), mean, std) for name in losses.available()]
    whole = losses.Standardized(losses.create(" + ".join(losses.available())), mean, std)
    wanted = torch.stack([term(target, output) for term in terms]).sum(0)
    torch.testing.assert_close(whole(target, output), wanted)


def test_standardizing_takes_the_statistics_of_real_nodes() -> None:
    points = torch.tensor([[[0.0, 1.0, 7.0], [4.0, 3.0, 7.0], [9.0, 9.0, 9.0]]])
    loss = losses.Standardized.fitted(
        ThirdAxisChamfer(), points, torch.tensor([[True, True, False]])
    )
    assert loss.mean.tolist() == [2.0, 2.0, 7.0]
    assert loss.std.tolist() == [2.0, 1.0, 1.0]  # a feature that never changes keeps its units


def test_a_standardized_loss_says_how_its_loss_searches() -> None:
    statistics = torch.zeros(3), torch.ones(3)
    assert losses.Standardized(ThirdAxisChamfer("dense"), *statistics).backend == "dense"


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (torch.zeros(3), torch.ones(2), r"both have shape \(F,\), got \(3,\) and \(2,\)"),
        (torch.zeros(2), torch.tensor([1.0, 0.0]), r"std must be above 0.*got \[1.0, 0.0\]"),
    ],
)
def test_wrong_statistics_are_refused(mean: Tensor, std: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        losses.Standardized(ThirdAxisChamfer(), mean, std)


def test_another_name_of_a_loss_is_taken_too() -> None:
    with pytest.raises(ValueError, match="free among the losss, 'chamfer' is .*ThirdAxisChamfer"):

        @registry.register("loss", "chamfer")
        class Mine(nn.Module):
            def __init__(self) -> None:
                super().__init__()

    with pytest.raises(ValueError, match="'matching' is .*Matching"):

        @registry.register("loss", "my_loss", also="matching")
        class Other(nn.Module):
            def __init__(self) -> None:
                super().__init__()

    with pytest.raises(ValueError, match="identifier, got 'two words'"):
        registry.register("loss", "my_loss", also="two words")
    assert "my_loss" not in losses.available()

"""Temperatures of draws, chosen by the features of held-out clouds."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gconvae
from gconvae import registry
from gconvae.clouds import Clouds
from gconvae.datasets import CloudDataset, from_points
from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.metrics.wasserstein import feature_w1
from gconvae.schema import CloudSchema, Feature
from gconvae.training.clouds import CloudsInMemory
from gconvae.training.stages import temperature
from gconvae.training.stages.temperature import FEWEST, choose_temperatures, has_temperatures

SMALL = "autoregressive(width=16, heads=2, components=3%s)"


def clouds(count: int = 200, labels: bool = False) -> CloudDataset:
    random = torch.Generator().manual_seed(0)
    points = 27 * torch.rand(count, 4, 3, generator=random)
    points[..., 2] /= 27
    return from_points(points, labels=torch.arange(count) % 2 if labels else None)


def model(more: str = "", **options: Any) -> gconvae.VAE:
    given = {"likelihood": SMALL % more, "num_points": 4, "latent_dim": 3, "seed": 0} | options
    return gconvae.models.create("deep_sets", **given)


def chosen(monkeypatch: pytest.MonkeyPatch, shifts: Any, data: CloudDataset) -> list[float]:
    """What is chosen where a draw is a held-out cloud, shifted by a function of temperatures."""
    made = gconvae.fit(model(", temperature=1"), data, epochs=1, likelihood_steps=1).model

    def drawn(count: int, *, seed: int, **asked: Any) -> Clouds:
        held = data.clouds
        assert count == len(held.points)
        shift = torch.tensor(shifts(made.likelihood.temperature))
        return held._replace(points=held.points + shift, schema=made.schema)

    monkeypatch.setattr(made, "sample_clouds", drawn)
    made.likelihood.temperature = None
    held = CloudsInMemory(made, made.prepare(data), "data").prepared(torch.arange(len(data)))
    choose_temperatures(made, held, 0)
    return made.likelihood.temperature


def test_the_floor_is_that_of_two_samples_as_large_as_this_one() -> None:
    random = torch.Generator().manual_seed(0)

    def sample() -> Clouds:
        points = torch.randn(400, 3, 2, generator=random)
        return Clouds(points, torch.ones(400, 3, dtype=torch.bool))

    found = temperature._floor(sample(), seed=0)
    apart = np.mean([feature_w1(sample(), sample()) for _ in range(40)], axis=0)
    np.testing.assert_allclose(found, apart, rtol=0.3)


@pytest.mark.parametrize("feature", [0, 1, 2])
def test_a_feature_that_is_shifted_gets_a_higher_one(
    monkeypatch: pytest.MonkeyPatch, feature: int
) -> None:
    found = chosen(
        monkeypatch,
        lambda heat: [40 * (1 - t) * (f == feature) for f, t in enumerate(heat)],
        clouds(),
    )
    assert found == [1.0 if column == feature else 0.9 for column in range(3)]


@pytest.mark.parametrize("feature", [0, 1, 2])
def test_a_feature_that_errs_gets_a_lower_one(
    monkeypatch: pytest.MonkeyPatch, feature: int
) -> None:
    found = chosen(
        monkeypatch,
        lambda heat: [100 * (t - 0.8) * (f == feature) for f, t in enumerate(heat)],
        clouds(),
    )
    assert found == [0.8 if column == feature else 0.9 for column in range(3)]


def test_what_suits_an_earlier_feature_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """x, written after y, is at 0.8 best; only then y is best at 1."""

    def shifts(heat: list[float]) -> list[float]:
        return [100 * (heat[0] - 0.8), 40 * abs(heat[1] - (1 if heat[0] < 0.9 else 0.9)), 0.0]

    assert chosen(monkeypatch, shifts, clouds()) == [0.8, 1.0, 0.9]


def test_no_higher_one_than_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, lambda heat: [0.0, 40 * max(0, 0.95 - heat[1]), 0.0], clouds())
    assert found == [0.9, 0.95, 0.9]


def test_what_shifts_a_later_feature_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, lambda heat: [40 * (1 - heat[1]), 0.0, 0.0], clouds())
    assert found == [0.9, 1.0, 0.9]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_offset_of_the_schema_is_no_shift(monkeypatch: pytest.MonkeyPatch, sign: int) -> None:
    points = clouds().points.double()
    points[..., 0] += 1000
    schema = CloudSchema(
        (Feature("x", position=True, offset=1000.0), Feature("y", position=True), Feature("I"))
    )
    data = from_points(points, schema=schema)
    found = chosen(monkeypatch, lambda heat: [sign * 40 * (1 - heat[0]), 0.0, 0.0], data)
    assert found == [1.0, 0.9, 0.9]


def test_floors_know_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Angles around the cut: two halves lie far apart where nobody knows that it is one."""
    points = clouds().points
    random = torch.Generator().manual_seed(1)
    angle = math.pi + 0.1 * torch.randn(points.shape[:2], generator=random)
    points[..., 1] = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    angles = Feature("phi", position=True, period=2 * math.pi)
    schema = CloudSchema((Feature("eta", position=True), angles, Feature("I")))
    data = from_points(points, schema=schema)
    found = chosen(monkeypatch, lambda heat: [0.0, 0.5 * (1 - heat[1]), 0.0], data)
    assert found == [0.9, 1.0, 0.9]


def test_shifts_below_the_floor_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, lambda heat: [0.01 * (1 - t) for t in heat], clouds())
    assert found == [0.9, 0.9, 0.9]


def test_a_few_clouds_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = chosen(monkeypatch, lambda heat: [20 * (1 - heat[0]), 0, 0], clouds(FEWEST - 1))
    assert found == [0.9, 0.9, 0.9]


def test_draws_are_asked_for_the_labels_of_the_held_out_clouds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = clouds(120, labels=True)
    made = gconvae.fit(
        model(", temperature=1", num_classes=2), data, epochs=1, likelihood_steps=1
    ).model
    asked: list[Any] = []
    draw = made.sample_clouds

    def seen(count: int, **given: Any) -> Clouds:
        asked.append(given["label"])
        return draw(count, **given)

    monkeypatch.setattr(made, "sample_clouds", seen)
    choose_temperatures(made, made.prepare(data), 0)
    assert asked
    assert all(torch.equal(labels, made.prepare(data).labels) for labels in asked)


def test_labels_that_no_training_cloud_had_are_left_out() -> None:
    data = clouds(240, labels=True)
    held = from_points(data.points, labels=torch.arange(240) % 3)
    made = model(num_classes=3)
    run = gconvae.fit(made, data, valid=held, epochs=1, likelihood_steps=1, progress=False)
    assert len(run.model.likelihood.temperature) == 3


def test_of_many_clouds_all_parts_of_a_file_are_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(temperature, "MOST", 100)
    seen: list[Clouds] = []
    monkeypatch.setattr(
        temperature, "choose_temperatures", lambda model, held, seed: seen.append(held)
    )
    made, data = model(), clouds(400)
    taken = CloudsInMemory(made, made.prepare(data), "data")
    temperature.temperature_stage(made, taken, 0).fit()
    temperature.temperature_stage(made, taken, 0, torch.arange(300, 350)).fit()
    first, some = (part.points for part in seen)
    places = [int((data.points == cloud).flatten(1).all(1).nonzero()[0, 0]) for cloud in first]
    assert len(set(places)) == 100
    assert places == sorted(places)
    assert 150 < sum(places) / 100 < 250
    assert torch.equal(some, data.points[300:350])


def test_without_validation_clouds_those_of_the_fit_are_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Clouds] = []
    monkeypatch.setattr(
        temperature, "choose_temperatures", lambda model, held, seed: seen.append(held)
    )
    model(likelihood="mean").with_likelihood(SMALL % "", clouds(400), steps=2)
    assert [len(held.points) for held in seen] == [40]


def test_a_class_of_ones_own_that_has_no_temperature_is_loaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {kind: dict(parts) for kind, parts in registry._PARTS.items()}
    monkeypatch.setattr(registry, "_PARTS", known)

    @registry.register("likelihood", "mine")
    class Mine(AutoregressiveLikelihood):
        def __init__(self, width: int = 16) -> None:
            super().__init__(num_points=4, num_features=3, width=width, heads=2, steps=2)

    run = gconvae.fit(
        model(likelihood="mine"), clouds(), out=tmp_path / "run", epochs=1, progress=False
    )
    again = gconvae.load(tmp_path / "run")
    assert torch.equal(again.sample(20, seed=1), run.model.sample(20, seed=1))
    again.likelihood.temperature = 0.5
    gconvae.save(again, tmp_path / "cooler")
    assert isinstance(gconvae.load(tmp_path / "cooler").likelihood, Mine)


def test_a_training_chooses_where_nobody_did(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 1, "likelihood_steps": 2, "progress": False}
    fixed = gconvae.fit(model(", temperature=[0.8, 0.9, 1]"), clouds(), **options)
    assert "temperature" not in fixed.history["stage"]
    assert fixed.model.likelihood.temperature == [0.8, 0.9, 1]
    run = gconvae.fit(model(), clouds(), out=tmp_path / "run", **options)
    assert run.history["stage"][-1] == "temperature"
    found = run.model.likelihood.temperature
    assert len(found) == 3
    assert set(found) <= {0.9, 0.95, 1.0}
    again = gconvae.load(tmp_path / "run")
    assert again.likelihood.temperature == found
    assert torch.equal(again.sample(20, seed=1), run.model.sample(20, seed=1))


def test_what_is_assigned_after_training_is_checked_and_saved(tmp_path: Path) -> None:
    made = model(", temperature=0.9")
    with pytest.raises(ValueError, match=r"temperature must be one number or 3, got \[1.0\]"):
        made.likelihood.temperature = [1.0]
    with pytest.raises(ValueError, match="temperature must be above 0 and finite, got 0"):
        made.likelihood.temperature = [0.9, 0, 1.0]
    for wrong in ("0.9", [0.9, "a", 1], True):
        with pytest.raises(ValueError, match="temperature must be above 0 and finite, got"):
            made.likelihood.temperature = wrong
    made.likelihood.temperature = np.float32(0.5)
    assert made.likelihood.temperature == made.likelihood.part_options["temperature"] == 0.5
    made.likelihood.temperature = torch.tensor([0.25, 0.5, 1.0])
    made.likelihood.temperature[0] = -5  # of a copy
    assert copy.deepcopy(made.likelihood).temperature == [0.25, 0.5, 1.0]
    made.likelihood.temperature = (0.9, 0.8, 1)
    gconvae.save(made, tmp_path / "model")
    assert gconvae.load(tmp_path / "model").likelihood.temperature == [0.9, 0.8, 1.0]


def test_a_new_likelihood_of_a_trained_model_chooses_too() -> None:
    made = model(likelihood="mean")
    data = clouds()
    untouched = made.with_likelihood(SMALL % ", temperature=0.7", data, steps=2)
    assert untouched.likelihood.temperature == 0.7
    found = made.with_likelihood(SMALL % "", data, steps=2)
    assert not has_temperatures(found.likelihood)
    assert len(found.likelihood.temperature) == 3

"""What likelihoods are conditioned on beside the mean: latents, labels and conditions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gconvae
from gconvae import datasets
from gconvae.clouds import Clouds
from gconvae.conditioning import ConditionedOn, conditioned_on
from gconvae.likelihoods import AutoregressiveLikelihood, FlowMatchingLikelihood
from gconvae.likelihoods.places import Places
from gconvae.models import create
from gconvae.randomness import initial_weights
from gconvae.training.stages import likelihood as stage

SMALL = "width=8, heads=2, steps=6, batch_size=8"

AUTOREGRESSIVE = f"autoregressive({SMALL}, components=2, condition_on=%s)"


def likelihood(*condition_on: str, **options: Any) -> AutoregressiveLikelihood:
    with initial_weights(0):
        return AutoregressiveLikelihood(
            num_points=4,
            width=8,
            heads=2,
            components=2,
            condition_on=condition_on,
            latent_dim=3,
            **options,
        )


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def two_kinds(count: int = 240) -> Clouds:
    """Clouds of label 0 on the left and of label 1 on the right, on whole places."""
    points = 1 + (6 * numbers(count, 4, 3)).floor()
    labels = torch.arange(count) % 2
    points[..., 0] += 12.0 * labels.unsqueeze(1)
    points[..., 2] /= 8
    mask = torch.ones(count, 4, dtype=torch.bool)
    return Clouds(points, mask, labels)


def stored(clouds: Clouds) -> datasets.CloudDataset:
    return datasets.from_points(clouds.points, labels=clouds.labels)


def fitted(text: str, steps: int | None = None, **shape: Any) -> gconvae.VAE:
    """A model of both kinds, of which the likelihood alone learns something."""
    with initial_weights(0):
        model = create("deep_sets", likelihood=text, num_points=4, latent_dim=3, seed=0, **shape)
    options = {"epochs": 1, "likelihood_steps": steps, "out": None, "progress": False}
    return gconvae.fit(model, stored(two_kinds()), threads=1, **options).model


# what it is conditioned on -----------------------------------------------------------------------


@pytest.mark.parametrize("condition_on", [(), ("latents",), ("mean",), ("mean", "latents")])
def test_a_likelihood_depends_on_what_it_is_told_and_on_nothing_else(
    condition_on: tuple[str, ...],
) -> None:
    made = likelihood(*condition_on, num_classes=2, num_conditions=1)
    assert made.conditioned_on == ConditionedOn(
        "mean" in condition_on, 3 * ("latents" in condition_on), 2, 1
    )
    unit, mean, mask = numbers(5, 4, 3), numbers(5, 4, 3, seed=1), torch.ones(5, 4).bool()
    width = made.conditioned_on.context_dim
    assert width == 3 + 3 * ("latents" in condition_on)
    context = numbers(5, width, seed=2)
    first = made.cloud_log_prob(unit, mean, mask, context)
    assert not torch.equal(first, made.cloud_log_prob(unit, mean, mask, 1 - context))
    is_same = torch.equal(first, made.cloud_log_prob(unit, 1 - mean, mask, context))
    assert is_same == ("mean" not in condition_on)
    noise = made.noise((5, 4, 3), torch.Generator().manual_seed(0))
    draws = [made.draw(m, noise, None, context) for m in (mean, 1 - mean)]
    assert torch.equal(*draws) == ("mean" not in condition_on)
    assert not torch.equal(draws[0], made.draw(mean, noise, None, -50 * context))


@pytest.mark.parametrize("context", [None, torch.zeros(5, 2), torch.zeros(3)])
def test_a_context_that_is_missing_or_too_short_is_refused(context: Tensor | None) -> None:
    made = likelihood("latents")
    given = numbers(5, 4, 3), numbers(5, 4, 3), torch.ones(5, 4).bool()
    with pytest.raises(ValueError, match=r"context must have shape \(clouds, 3\), got"):
        made.cloud_log_prob(*given, context)


@pytest.mark.parametrize(
    "condition_on", ["mean", ("z",), ("mean", "label"), None, 5, [["mean"]], {"mean": 1}]
)
def test_it_is_told_nothing_that_is_not_there(condition_on: Any) -> None:
    with pytest.raises(ValueError, match="condition_on must be a list of mean and latents, got"):
        AutoregressiveLikelihood(condition_on=condition_on)


def test_a_number_of_classes_or_conditions_is_a_whole_one() -> None:
    with pytest.raises(ValueError, match="num_classes must be a whole number"):
        conditioned_on(("mean",), 3, num_classes=-1)
    with pytest.raises(ValueError, match="num_conditions must be a whole number"):
        conditioned_on(("mean",), 3, num_conditions=0.5)  # type: ignore[arg-type]


def test_noise_around_a_mean_needs_the_mean() -> None:
    with pytest.raises(ValueError, match="condition_on must name the mean"):
        FlowMatchingLikelihood(condition_on=("latents",))


def test_a_gradient_flows_to_mean_and_latents_and_changes_no_value() -> None:
    made = likelihood("mean", "latents")
    unit, mean, mask = numbers(5, 4, 3), numbers(5, 4, 3, seed=1), torch.ones(5, 4).bool()
    context = numbers(5, 3, seed=2)
    wanted = made.cloud_log_prob(unit, mean, mask, context)
    free = mean.clone().requires_grad_(), context.clone().requires_grad_()
    found = made.cloud_log_prob(unit, free[0], mask, free[1])
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    slopes = torch.autograd.grad(found.sum(), free)
    assert all(bool(slope.any((1, 2) if slope.dim() == 3 else 1).all()) for slope in slopes)


def test_no_gradient_flows_to_nodes_that_there_are_not() -> None:
    made, mask = likelihood("mean"), torch.tensor([[True, True, False, False]]).expand(5, -1)
    mean = numbers(5, 4, 3).requires_grad_()
    unit = numbers(5, 4, 3, seed=1).masked_fill(~mask.unsqueeze(-1), 0.0)
    (slope,) = torch.autograd.grad(made.cloud_log_prob(unit, mean, mask).sum(), mean)
    assert slope[:, :2].any()
    assert not slope[:, 2:].any()


def test_the_gradient_is_that_of_what_is_seen_of_the_mean() -> None:
    places = Places([255, 64], torch.zeros(1, dtype=torch.float64), octaves=2)
    free = numbers(3, 2).double().requires_grad_()
    place = places.of(free.detach())
    seen, values = places.seen_along(place, free), places.values_along(place, free)
    torch.testing.assert_close(seen, places.seen(place)[..., : places.waves])
    torch.testing.assert_close(values, places.values(place))
    (slope,) = torch.autograd.grad(seen[..., 1].sum(), free, retain_graph=True)
    torch.testing.assert_close(slope, 2 * math.pi * ((2 * free - 1) * math.pi).cos())
    (slope,) = torch.autograd.grad(values.sum(), free)
    torch.testing.assert_close(slope, torch.ones_like(slope))


# in a model --------------------------------------------------------------------------------------


def test_a_model_tells_what_its_likelihood_asks_for() -> None:
    z = numbers(2, 3)
    for condition_on, options, wanted in (
        ("('mean',)", {}, None),
        ("('latents',)", {}, z),
        ("()", {"num_classes": 2}, torch.eye(2)),
        ("('latents',)", {"num_classes": 2, "ragged": True}, torch.cat([z, torch.eye(2)], 1)),
    ):
        text = AUTOREGRESSIVE % condition_on
        made = create("deep_sets", likelihood=text, num_points=4, latent_dim=3, **options)
        labels = torch.tensor([0, 1]) if options else None
        found = made.conditioning.likelihood_context(made.likelihood.conditioned_on, z, labels)
        assert (found is None) == (wanted is None)
        if wanted is not None:
            torch.testing.assert_close(found, wanted)


def test_a_likelihood_may_ask_for_some_of_what_there_is() -> None:
    schema = gconvae.schema.usual(3).with_conditions(1)
    made = create("deep_sets", num_points=4, latent_dim=3, num_classes=2, ragged=True,
                  schema=schema, conditions=[schema.conditions[0].name])  # fmt: skip
    z, labels, rows = numbers(2, 3), torch.tensor([0, 1]), torch.tensor([[1.0], [3.0]])
    for wanted, width in (
        (ConditionedOn(True, 0, 2, 0), 2),
        (ConditionedOn(True, 3, 0, 1), 4),
        (ConditionedOn(), 0),
    ):
        found = made.conditioning.likelihood_context(wanted, z, labels, rows)
        assert (0 if found is None else found.shape[1]) == width


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"condition_on": ("latents",)},
            "latent_dim of the likelihood must be the model's, 3, got 10",
        ),
        ({"num_classes": 4}, "num_classes of the likelihood must be the model's, 2, got 4"),
        ({"num_conditions": 1}, "num_conditions of the likelihood must be the model's, 0, got 1"),
    ],
)
def test_a_likelihood_that_asks_for_what_there_is_not_is_refused_before_training(
    options: Any, words: str
) -> None:
    made = AutoregressiveLikelihood(4, width=8, heads=2, **options)
    model = create("deep_sets", likelihood=made, num_points=4, latent_dim=3, num_classes=2)
    with pytest.raises(ValueError, match=words):
        gconvae.fit(model, stored(two_kinds()), out=None)
    with pytest.raises(ValueError, match=words):
        create("deep_sets", num_points=4, latent_dim=3, num_classes=2).with_likelihood(
            made, stored(two_kinds())
        )


def test_conditions_are_told_standardized() -> None:
    schema = gconvae.schema.usual(3).with_conditions(1)
    made = create(
        "deep_sets",
        likelihood=AUTOREGRESSIVE % "()",
        num_points=4,
        latent_dim=3,
        schema=schema,
        conditions=[schema.conditions[0].name],
        ragged=True,
    )
    made.conditioning.fit_conditions(
        Clouds(
            torch.zeros(2, 4, 3),
            torch.ones(2, 4).bool(),
            None,
            schema,
            torch.tensor([[1.0], [3.0]]),
        )
    )
    asked = made.likelihood.conditioned_on
    found = made.conditioning.likelihood_context(
        asked, numbers(2, 3), None, torch.tensor([[1.0], [3.0]])
    )
    torch.testing.assert_close(found, torch.tensor([[-1.0], [1.0]]))


def test_a_fit_learns_what_a_label_says_though_no_mean_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stage, "WARMUP", 10)
    text = "autoregressive(width=16, heads=2, batch_size=32, components=3, condition_on=())"
    model = fitted(text, 150, num_classes=2)
    clouds = two_kinds(20)
    right = model.log_likelihood(clouds, samples=2).value
    wrong = model.log_likelihood(clouds._replace(labels=1 - clouds.labels), samples=2).value
    assert (right > wrong).all()
    for label in (0, 1):
        x = model.sample(200, label=label)[..., 0]
        assert ((x > 8).float().mean() > 0.5) == bool(label)


def test_without_mean_and_latents_the_likelihood_of_a_cloud_is_exact() -> None:
    model = create(
        "deep_sets", likelihood=AUTOREGRESSIVE % "()", num_points=4, latent_dim=3, num_classes=2
    )
    model.likelihood.set_ranges(model.scaling.low, model.scaling.high)
    clouds = two_kinds(6)
    found = model.log_likelihood(clouds, samples=3)
    unit, labels = model.scaling.to_unit(clouds.points), torch.eye(2)[clouds.labels]
    exact = model.likelihood.cloud_log_prob(unit, unit, clouds.mask, labels)
    torch.testing.assert_close(found.value, exact.double(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found.error, torch.zeros_like(found.error), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["autoregressive", "flow_matching"])
def test_labels_and_latents_reach_a_likelihood_on_every_way(kind: str, tmp_path: Path) -> None:
    model = fitted(f"{kind}({SMALL}, condition_on=('mean', 'latents'))", num_classes=2)
    assert model.likelihood.conditioned_on == ConditionedOn(True, 3, 2, 0)
    drawn = model.sample(300, label=1, seed=3)
    assert torch.equal(drawn[:70], model.sample(70, label=1, seed=3))
    assert torch.isfinite(model.log_likelihood(two_kinds(6), samples=2).value).all()
    assert model.reconstruct(two_kinds(6), draw=True).shape == (6, 4, 3)
    gconvae.save(model, tmp_path / "model")
    again = gconvae.load(tmp_path / "model")
    assert torch.equal(again.sample(70, label=1, seed=3), drawn[:70])


def test_a_likelihood_that_is_put_in_later_is_told_the_same(tmp_path: Path) -> None:
    model = fitted("mean", num_classes=2)
    changed = model.with_likelihood(
        f"autoregressive({SMALL}, condition_on=('latents',))", stored(two_kinds()), seed=0
    )
    assert changed.likelihood.conditioned_on == ConditionedOn(False, 3, 2, 0)
    assert changed.sample(3, label=0).shape == (3, 4, 3)

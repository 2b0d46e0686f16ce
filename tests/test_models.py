from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae import models
from gconvae.schema import SUPERPIXELS
from gconvae.vae import VAE

SMALL: dict[str, Any] = {"hidden": 16, "channels": (2, 3), "latent_dim": 4}


def weights(model: VAE) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def test_the_slides_network_is_in_the_catalogue() -> None:
    assert "convae" in models.available()


@pytest.mark.parametrize("name", models.available())
def test_every_name_of_the_catalogue_makes_a_model_that_samples(name: str) -> None:
    model = models.create(name)
    assert isinstance(model, VAE)
    assert torch.isfinite(model.sample(3)).all()


def test_the_list_of_names_is_a_copy() -> None:
    models.available().clear()
    assert "convae" in models.available()


@pytest.mark.parametrize(("padding", "count"), [(1, 3_723_477), (0, 2_571_093)])
def test_the_slides_network_has_the_slides_parameters(padding: int, count: int) -> None:
    model = models.create(
        "convae", num_points=25, channels=(16, 32, 64), hidden=1500, latent_dim=10, padding=padding
    )
    assert sum(weight.numel() for weight in model.parameters()) == count


def test_the_defaults_are_the_slides_network() -> None:
    model = models.create("convae")
    assert sum(weight.numel() for weight in model.parameters()) == 3_723_477
    assert model.encode(torch.rand(2, 25, 3)).mean.shape == (2, 10)
    assert model.scaling.high.tolist() == [27, 27, 1]
    assert model.scaling.extent == 27


@pytest.mark.parametrize(
    "options",
    [
        {"channels": (5,)},
        {"channels": [2, 3, 4, 5]},
        {"padding": 0},
        {"num_points": 40},
        {"num_points": 7, "channels": (2, 3, 4)},
        {"num_points": 13, "channels": (2, 3, 4), "padding": 0},
        {"latent_dim": 1, "hidden": 1},
        {"num_features": 5},
    ],
)
def test_the_pieces_of_the_network_are_free(options: dict[str, Any]) -> None:
    options = SMALL | options
    model = models.create("convae", **options)
    shape = options.get("num_points", 25), options.get("num_features", 3)
    assert model.sample(3).shape == (3, *shape)
    posterior = model.encode(torch.rand(2, *shape))
    assert posterior.mean.shape == (2, options["latent_dim"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 6, "channels": (2, 3, 4)}, "num_points must be at least 7 .*got 6"),
        (
            {"num_points": 12, "channels": (2, 3, 4), "padding": 0},
            "num_points must be at least 13 .*got 12",
        ),
        (
            {"num_points": 0, "padding": 2},
            "num_points must be a whole number of at least 1, got 0",
        ),
    ],
)
def test_sizes_that_cannot_work_are_refused_with_the_smallest_that_can(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        models.create("convae", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be a whole number of at least 1, got 0"),
        ({"hidden": 0}, "hidden must be a whole number of at least 1, got 0"),
        ({"channels": ()}, "channels must be"),
        ({"channels": (4, 0)}, "channels must be"),
        ({"padding": -1}, "padding must be"),
        ({"padding": 9}, "padding must be"),
        ({"num_features": 0}, "num_features must be"),
        ({"num_features": 4, "schema": SUPERPIXELS}, "num_features must be that of the schema, 3"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
    ],
)
def test_options_out_of_range_are_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.create("convae", **options)


def test_an_unknown_name_is_one_clear_error_that_lists_the_known() -> None:
    with pytest.raises(ValueError, match="one of convae.*got 'convea'"):
        models.create("convea")


def test_an_unknown_option_is_one_clear_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="latent_dim.*got latents, width"):
        models.create("convae", width=3, latents=2)


def test_weights_are_a_function_of_the_seed_whatever_was_drawn_before() -> None:
    torch.manual_seed(1)
    first = weights(models.create("convae", seed=7, **SMALL))
    torch.manual_seed(2)
    torch.rand(11)
    np.random.rand(3)  # noqa: NPY002 - the global state is what must not matter
    models.create("convae", seed=3, **SMALL)
    assert torch.equal(weights(models.create("convae", seed=7, **SMALL)), first)


def test_different_seeds_give_different_weights() -> None:
    first, second = (weights(models.create("convae", seed=seed, **SMALL)) for seed in (0, 1))
    assert (first != second).float().mean() > 0.99


def global_states() -> tuple[list[int], list[int], Any]:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002


def test_global_random_numbers_are_left_as_they_were() -> None:
    torch.manual_seed(5)
    before = global_states()
    models.create("convae", **SMALL)
    assert global_states() == before


def test_global_random_numbers_are_left_as_they_were_after_an_error() -> None:
    torch.manual_seed(5)
    before = global_states()
    with pytest.raises(ValueError, match="hidden"):
        models.create("convae", hidden=0)
    assert global_states() == before


@pytest.mark.parametrize("name", models.available())
def test_a_model_can_be_made_again_of_its_description(name: str) -> None:
    model = models.create(name, seed=3, num_classes=2, ragged=True, prior="gmm")
    described = json.loads(json.dumps(models.describe(model)))
    again = models.compose(described, seed=3)
    assert models.describe(again) == models.describe(model)
    assert torch.equal(weights(again), weights(model))

"""Every recipe must be a training that can be begun."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gconvae import losses, models, recipes
from gconvae.datasets import SuperpixelMNIST
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.recipes import DEFAULT, Recipe
from gconvae.studies.experiment import Experiment

every_recipe = pytest.mark.parametrize("name", recipes.available())


@every_recipe
def test_options_are_those_of_a_model_and_a_training(name: str) -> None:
    recipe = recipes.get(name)
    assert recipe.model_options() == ModelOptions(**recipe.model)
    assert recipe.training_options() == TrainingOptions(**recipe.training)
    assert recipe.data_options() == DataOptions(**recipe.data)
    every = [*recipe.data, *recipe.model, *recipe.training]
    assert len(set(every)) == len(every)


@every_recipe
def test_the_model_can_be_made(name: str) -> None:
    recipe = recipes.get(name)
    data = SuperpixelMNIST(digit=8, split="test")[:20]
    experiment = Experiment(model=recipe.model_options(), training=recipe.training_options())
    model = experiment.untrained(data)
    assert model.sample(2).shape == (2, 25, 3)
    # what is saved with a run is what the recipe asked for
    assert Experiment.from_config(experiment.config()) == experiment
    assert recipe.model.items() <= experiment.config().items()


@every_recipe
def test_parts_that_a_recipe_names_are_in_its_model(name: str) -> None:
    options = recipes.get(name).model_options()
    data = SuperpixelMNIST(digit=8, split="test")[:20]
    described = models.describe(Experiment(model=options).untrained(data))
    for kind in ("encoder", "decoder", "prior", "likelihood"):
        wanted = getattr(options, kind)
        if wanted is not None:
            assert described[kind]["name"] == wanted.partition("(")[0]


@every_recipe
def test_the_loss_is_known(name: str) -> None:
    assert losses.create(recipes.get(name).training_options().loss) is not None


@every_recipe
def test_a_recipe_says_what_it_is_for(name: str) -> None:
    assert len(recipes.get(name).summary.split()) > 3


def test_no_two_recipes_are_the_same_training() -> None:
    chosen = [recipes.get(name).options for name in recipes.available()]
    assert all(one != other for i, one in enumerate(chosen) for other in chosen[:i])


def test_the_default_is_there() -> None:
    assert DEFAULT in recipes.available()
    assert isinstance(recipes.get(DEFAULT), Recipe)


def test_the_slides_are_the_defaults_of_all_options() -> None:
    slides = recipes.get("slides")
    assert slides.model_options() == ModelOptions()
    assert slides.training_options() == TrainingOptions()


def test_flat_options_are_those_of_model_and_training() -> None:
    recipe = Recipe("of a test", {"latent_dim": 4}, {"epochs": 3, "beta": 0.5}, {"digit": 3})
    assert recipe.options == {"digit": 3, "latent_dim": 4, "epochs": 3, "beta": 0.5}


def test_other_options_take_the_place_of_a_recipes() -> None:
    recipe = Recipe("of a test", {"latent_dim": 4, "hidden": 8}, {"epochs": 3, "beta": 0.5})
    assert recipe.model_options(latent_dim=6) == ModelOptions(latent_dim=6, hidden=8)
    assert recipe.training_options(beta=2.0) == TrainingOptions(epochs=3, beta=2.0)


@pytest.mark.parametrize("call", ["model_options", "training_options"])
def test_an_unknown_option_is_an_error(call: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        getattr(recipes.get("slides"), call)(colour="red")


def test_an_unknown_name_is_an_error_that_names_the_known_ones() -> None:
    known = ", ".join(recipes.available())
    with pytest.raises(ValueError, match=f"recipe must be one of {known}, got 'best'"):
        recipes.get("best")


def test_recipes_come_without_torch() -> None:
    code = "import sys, gconvae.recipes; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

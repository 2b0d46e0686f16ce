"""Recipes: each is a training that can be begun."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gconvae import models, recipes
from gconvae.experiments import Experiment
from gconvae.options import DataOptions, ModelOptions, TrainingOptions


@pytest.mark.parametrize("name", recipes.available())
def test_the_model_of_every_recipe_can_be_made(name: str) -> None:
    recipe = recipes.get(name)
    experiment = Experiment(DataOptions(), recipe.model_options(), recipe.training_options())
    model = experiment.untrained(experiment.splits.test)
    assert model.sample(2, seed=0).shape == (2, 25, 3)


def test_the_slides_are_the_defaults_of_all_options() -> None:
    recipe = recipes.get("slides")
    assert recipe.options == {}
    assert recipe.model_options() == ModelOptions()
    assert recipe.training_options() == TrainingOptions()


def test_the_default_differs_from_the_best_in_steps_only() -> None:
    best, default = recipes.get("convae-flow"), recipes.get(recipes.DEFAULT)
    differing = {name for name in best.options if best.options[name] != default.options.get(name)}
    assert differing <= {"observation"}
    assert best.model_options().model == "convae-flow"
    assert "convae-flow" in models.available()


def test_other_options_take_the_place_of_a_recipes() -> None:
    recipe = recipes.get("convae-flow")
    assert recipe.model_options(observation="gaussian").observation == "gaussian"
    assert recipe.training_options(seed=3).seed == 3


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match=r"recipe must be one of slides, .*, got 'mine'"):
        recipes.get("mine")


def test_recipes_are_known_before_anything_heavy_is_imported() -> None:
    code = "import sys, gconvae.recipes; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

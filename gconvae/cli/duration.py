"""How long a command will take, in words: from what recipes were seen to take."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from gconvae import ready_made, recipes
from gconvae.options import ModelOptions, TrainingOptions
from gconvae.recipes import Cost, Recipe

__all__ = ["MACHINE", "in_words", "of_training", "training_seconds"]

MACHINE = "on one core of an Intel Xeon"
"""What the costs of recipes were measured on."""

LEAST = 60.0
"""Seconds up to which nothing needs to be said."""

REST = 10.0
"""Seconds to sample, compare and draw after a training, about."""

LIKELIHOOD_STEPS = {"autoregressive": 6000, "flow_matching": 4000}
"""Steps of likelihoods with a network, where nobody sets them."""

PRIOR_STEPS = dict.fromkeys(("nsf", "maf", "realnvp"), 800)
"""Likewise of priors."""

FREE = ("labels", "ragged", "conditions", "num_points")
"""Options of a model that hardly change what a step takes."""


def in_words(seconds: float) -> str:
    """``about 5 minutes``; empty where it is below a minute.

    Example:
        >>> in_words(50), in_words(290), in_words(4200), in_words(13000)
        ('', 'about 5 minutes', 'about 70 minutes', 'about 3.6 hours')
    """
    if seconds < LEAST:
        return ""
    minutes = seconds / 60
    if minutes < 90:
        count = round(minutes) if minutes < 20 else 5 * round(minutes / 5)
        return f"about {count} minute{'s' * (count > 1)}"
    return f"about {minutes / 60:.2g} hours"


def of_training(
    model: ModelOptions,
    training: TrainingOptions,
    clouds: int,
    recipe: str | None = None,
    *,
    times: float = 1.0,
) -> str:
    """What a training will take, and on what it was measured; empty if that is below a minute.

    Args:
        model: Options of the model.
        training: Options of the training.
        clouds: Number of training clouds.
        recipe: Which was chosen, if one was.
        times: So many such trainings.
    Example:
        >>> quick = recipes.get("convae-flow-quick")
        >>> of_training(quick.model_options(), quick.training_options(), 4857)
        'about 6 minutes on one core of an Intel Xeon'
    """
    known = _like(model, recipe)
    said = in_words(times * training_seconds(model, training, clouds, known))
    if not said:
        return ""
    same = _networks(model) == _networks(known.model_options())
    return f"{said} {MACHINE}" if same else f"{said} {MACHINE} with networks of the recipe's size"


def training_seconds(
    model: ModelOptions, training: TrainingOptions, clouds: int, recipe: Recipe
) -> float:
    r"""Seconds of a training, samples and comparison included.

    .. math:: t = c_n \, \frac{E \, B}{1000} + c_p \, S_p + c_l \, S_l + c_j \, S_j + \text{rest}

    with the costs of the recipe, E epochs of B clouds, and the steps of each stage.

    Args:
        model: Options of the model.
        training: Options of the training; ``patience`` may end it earlier.
        clouds: Number of training clouds.
        recipe: Whose networks are of this size.
    Example:
        >>> slides = recipes.get("slides")
        >>> options = slides.training_options(epochs=100)
        >>> round(training_seconds(slides.model_options(), options, 5000, slides))
        210
    """
    cost, usual = recipe.cost or _usual_cost(), _usual_cost()
    parts = ready_made.get(model.model)
    prior, likelihood = model.prior or parts.prior, model.likelihood or parts.likelihood
    steps = LIKELIHOOD_STEPS.get(_name(likelihood), 0)
    if steps:
        written = re.search(r"\bsteps=(\d+)", likelihood)
        steps = training.likelihood_steps or (int(written[1]) if written else steps)
    prior_steps = PRIOR_STEPS.get(_name(prior), 0)
    if prior_steps:
        prior_steps = 0 if training.joint_prior else training.prior_steps or prior_steps
    return (
        cost.network * training.epochs * clouds / 1000
        + (cost.prior or usual.prior) * prior_steps
        + (cost.likelihood or usual.likelihood) * steps
        + (cost.joint or usual.joint) * training.joint_steps
        + REST
    )


def _usual_cost() -> Cost:
    cost = recipes.get("convae-flow").cost
    assert cost is not None
    return cost


def _like(model: ModelOptions, recipe: str | None) -> Recipe:
    """The recipe that has these networks, else the one that was chosen."""
    known = [recipes.get(name) for name in recipes.available()]
    same = [each for each in known if _networks(each.model_options()) == _networks(model)]
    if same:
        return same[0]
    return recipes.get(recipes.DEFAULT if recipe is None else recipe)


def _networks(model: ModelOptions) -> ModelOptions:
    """What decides how long a step takes."""
    text = re.sub(r"\bsteps=\d+(, )?", "", model.likelihood or "")
    same: dict[str, Any] = dict.fromkeys(FREE)
    return replace(model, **same, likelihood=text.replace("()", "") or None)


def _name(part: str) -> str:
    return part.partition("(")[0].strip()

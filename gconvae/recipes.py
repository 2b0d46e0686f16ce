"""Named trainings: a model with the loss, prior, likelihood and schedule that serve it best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.plain import did_you_mean

__all__ = ["DEFAULT", "JETS", "Cost", "Recipe", "available", "get", "usual"]


class Cost(NamedTuple):
    """Seconds of a training, on one core of an Intel Xeon with AVX-512.

    Others used that core too, but not while the likelihood of ``digits`` was timed.

    ``gconvae train --recipe NAME --threads 1`` writes them into ``manifest.json``, a number for
    each stage, which has to be divided by the clouds or steps of it.

    Attributes:
        network: 1,000 training clouds, once.
        prior: A step of the prior's stage.
        likelihood: A step of the likelihood's.
        joint: A step in which all parts are trained together.
    """

    network: float
    prior: float = 0.0
    likelihood: float = 0.0
    joint: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """A training under a name.

    Attributes:
        summary: What it is for, in a few words.
        model: Options of the model, where they differ from the defaults.
        training: Options of the training, likewise.
        data: Which clouds, likewise.
        cost: What it was seen to take; None = not known.
    """

    summary: str
    model: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost | None = None

    @property
    def options(self) -> dict[str, Any]:
        """All of them, flat, as the command line and a config have them."""
        return {**self.data, **self.model, **self.training}

    def data_options(self, **others: Any) -> DataOptions:
        """Those of the data, with others in their place.

        Example:
            >>> get("digits").data_options().digit is None
            True
        """
        return DataOptions(**{**self.data, **others})

    def model_options(self, **others: Any) -> ModelOptions:
        """The model's options, with others in their place.

        Example:
            >>> get("slides").model_options(latent_dim=4).latent_dim
            4
        """
        return ModelOptions(**{**self.model, **others})

    def training_options(self, **others: Any) -> TrainingOptions:
        """The training's options, with others in their place."""
        return TrainingOptions(**{**self.training, **others})


_CONDITION_ON = "condition_on=['mean', 'latents']"

_RECIPES = {
    "slides": Recipe(
        "the network of the slides as it was: N(0, 1), and the decoder's mean",
        cost=Cost(network=0.4),
    ),
    "convae-flow": Recipe(
        "the slides' network with a flow prior and an autoregressive likelihood; the best",
        model={
            "model": "convae-flow",
            "likelihood": f"autoregressive(steps=5000, {_CONDITION_ON})",
        },
        cost=Cost(network=0.4, prior=0.018, likelihood=0.1, joint=0.12),
    ),
    "convae-flow-quick": Recipe(
        "the same in shorter stages, for the main command",
        model={
            "model": "convae-flow",
            "likelihood": f"autoregressive(steps=3000, {_CONDITION_ON})",
        },
        training={
            "epochs": 30,
            "learning_rate": 2e-3,
            "scheduler": "trapezoid(warmup=100, fall=0.7)",
        },
        cost=Cost(network=0.4, prior=0.018, likelihood=0.1, joint=0.12),
    ),
    "digits": Recipe(
        "all ten digits by one model, conditioned on the label, in 80 minutes of one core",
        data={"digit": None},
        model={
            "model": "convae-flow",
            "likelihood": "autoregressive(steps=30000, width=128, heads=4, augmented=0.3, "
            f"{_CONDITION_ON})",
            "labels": True,
            "hidden": 512,
        },
        training={
            "epochs": 8,
            "learning_rate": 2e-3,
            "scheduler": "trapezoid(warmup=100, fall=0.7)",
            "joint_steps": 2000,
        },
        cost=Cost(network=0.24, prior=0.035, likelihood=0.145, joint=0.17),
    ),
    "jets": Recipe(
        "particles of jets: the same with a narrower network and fewer latents",
        data={"data": "jets:gluon"},
        model={
            "model": "convae-flow",
            "likelihood": "autoregressive(steps=4000, temperature=1, octaves=8, average=0.99, "
            "least_share=0.003)",
            "hidden": 256,
            "latent_dim": 8,
        },
        training={
            "epochs": 20,
            "learning_rate": 2e-3,
            "scheduler": "trapezoid(warmup=100, fall=0.7)",
        },
        cost=Cost(network=0.3, prior=0.016, likelihood=0.163),
    ),
}

DEFAULT = "convae-flow-quick"
"""What ``gconvae train`` uses: the best that takes a few minutes."""

JETS = "jets"
"""What it uses for bundled jets, ``--data jets:gluon``."""


def usual(data: str | None) -> str:
    """The recipe of ``gconvae train`` where none is named.

    Args:
        data: As of :class:`gconvae.options.DataOptions`.
    Example:
        >>> usual("jets:gluon"), usual("clouds.npz")
        ('jets', 'convae-flow-quick')
    """
    return JETS if data is not None and data.startswith("jets:") else DEFAULT


def available() -> list[str]:
    """Names of all recipes.

    Example:
        >>> "slides" in available()
        True
    """
    return list(_RECIPES)


def get(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        ValueError: If there is none.
    Example:
        >>> get("convae-flow").model["model"]
        'convae-flow'
    """
    if name not in _RECIPES:
        hint = did_you_mean(name, _RECIPES)
        raise ValueError(f"recipe must be one of {', '.join(_RECIPES)}, got {name!r}{hint}")
    return _RECIPES[name]

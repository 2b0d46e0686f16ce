from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

import gconvae
from gconvae import models, options

CLASSES = [getattr(options, name) for name in options.__all__]


def defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def fields(cls: type) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(cls)}


def test_training_options_are_those_of_fit_with_the_same_defaults() -> None:
    of_fit = defaults(gconvae.fit)
    # not options: the validation set, what concerns the folder, the progress bar
    for name in ("valid", "out", "resume", "config", "progress"):
        del of_fit[name]
    assert fields(options.TrainingOptions) == of_fit


def test_training_options_come_in_the_order_of_fit() -> None:
    of_fit = list(inspect.signature(gconvae.fit).parameters)
    own = list(fields(options.TrainingOptions))
    assert own == [name for name in of_fit if name in own]


def test_model_options_have_the_defaults_of_the_catalogue() -> None:
    own = fields(options.ModelOptions)
    named, points = own.pop("model"), own.pop("num_points")
    assert points is None  # as many as the data has
    assert (own.pop("labels"), own.pop("ragged")) == (None, None)  # of the data, too
    assert named in models.available()
    plain, spelled = models.create(named), models.create(named, **own)
    shapes = [[tuple(w.shape) for w in model.parameters()] for model in (plain, spelled)]
    assert shapes[0] == shapes[1]


def test_sample_options_have_the_default_seed_of_sample() -> None:
    assert fields(options.SampleOptions)["seed"] == defaults(gconvae.VAE.sample)["seed"]


def test_the_default_set_is_the_bundled_eights() -> None:
    assert (options.DataOptions().data, options.DataOptions().digit) == (None, 8)


def test_the_default_loss_is_known_to_the_library() -> None:
    assert options.TrainingOptions().loss in gconvae.losses.available()


@pytest.mark.parametrize("name", ["neighbors", "scaling", "accelerator"])
def test_a_choice_names_all_words_that_fit_takes(name: str) -> None:
    hint = inspect.get_annotations(options.TrainingOptions, eval_str=True)[name]
    with pytest.raises(ValueError, match=f"{name} must be one of {', '.join(hint.__args__)},"):
        gconvae.fit(models.create("convae", hidden=8), [], **{name: "other"})


@pytest.mark.parametrize("cls", CLASSES)
def test_options_are_frozen(cls: type) -> None:
    made = cls()
    name = dataclasses.fields(cls)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, name, "other")


@pytest.mark.parametrize("cls", CLASSES)
def test_options_are_plain_values_that_yaml_and_json_can_hold(cls: type) -> None:
    for name, value in fields(cls).items():
        assert isinstance(value, str | int | float | tuple | None), name


@pytest.mark.parametrize("cls", CLASSES)
def test_every_option_is_documented(cls: type) -> None:
    text = inspect.getdoc(cls) or ""
    attributes = text.split("Attributes:")[1]
    documented = dict(re.findall(r"^    (\w+): (.+)$", attributes, flags=re.MULTILINE))
    assert list(documented) == list(fields(cls))
    assert all(len(sentence) > 5 for sentence in documented.values())


def test_no_option_has_two_meanings() -> None:
    names = [name for cls in CLASSES for name in fields(cls)]
    assert sorted({name for name in names if names.count(name) > 1}) == ["seed"]

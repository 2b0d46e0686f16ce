"""What commands say about how long they will take."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gconvae
from gconvae import datasets, metrics, recipes
from gconvae.cli import main as cli
from gconvae.cli import sample
from gconvae.cli.duration import in_words, of_training, training_seconds
from gconvae.options import ModelOptions, TrainingOptions
from gconvae.recipes import Cost, Recipe
from gconvae.training import run_folder

COST = Recipe("made up", cost=Cost(network=1.0, prior=0.01, likelihood=0.1, joint=0.5))
FLOW = ModelOptions(model="convae-flow", likelihood="autoregressive(steps=1000)")
BASE = TrainingOptions(epochs=10)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (59.9, ""),
        (60, "about 1 minute"),
        (100, "about 2 minutes"),
        (1300, "about 20 minutes"),
        (3600, "about 60 minutes"),
        (7200, "about 2 hours"),
        (100_000, "about 28 hours"),
    ],
)
def test_seconds_are_said_in_round_numbers(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("model", "training", "seconds"),
    [
        (FLOW, {}, 20 + 8 + 100),
        (FLOW, {"epochs": 20}, 40 + 8 + 100),
        (FLOW, {"prior_steps": 100}, 20 + 1 + 100),
        (FLOW, {"joint_prior": True}, 20 + 0 + 100),
        (FLOW, {"likelihood_steps": 10}, 20 + 8 + 1),
        (FLOW, {"joint_steps": 4}, 20 + 8 + 100 + 2),
        (replace(FLOW, likelihood="autoregressive"), {}, 20 + 8 + 600),
        (replace(FLOW, likelihood="mean"), {}, 20 + 8),
        (replace(FLOW, prior="gmm"), {}, 20 + 100),
        (ModelOptions(), {}, 20),
    ],
)
def test_each_stage_counts_by_its_steps(
    model: ModelOptions, training: dict[str, int], seconds: float
) -> None:
    nothing = training_seconds(ModelOptions(), BASE, 0, COST)
    found = training_seconds(model, replace(BASE, **training), 2000, COST) - nothing
    assert found == pytest.approx(seconds)


@pytest.mark.parametrize("name", recipes.available())
def test_a_recipe_takes_minutes_and_a_short_trial_of_it_nothing_to_speak_of(name: str) -> None:
    recipe = recipes.get(name)
    said = of_training(recipe.model_options(), recipe.training_options(), 5000, name)
    assert said.endswith(" on one core of an Intel Xeon")
    short = recipe.training_options(epochs=1, prior_steps=1, likelihood_steps=1, joint_steps=0)
    assert of_training(recipe.model_options(), short, 5000, name) == ""


def test_other_networks_than_those_of_the_recipe_are_said() -> None:
    recipe = recipes.get("convae-flow-quick")
    wide = recipe.model_options(encoder="set_transformer")
    said = of_training(wide, recipe.training_options(), 5000, "convae-flow-quick")
    assert said.endswith("with networks of the recipe's size")


def test_the_pages_say_what_the_command_says() -> None:
    docs = Path(__file__).parents[2] / "docs"
    for name, clouds, page in (
        ("slides", 4857, docs / "figures" / "eights.txt"),
        ("convae-flow-quick", 4857, docs / "cli.md"),
        ("digits", 50_000, docs / "ragged-and-labels.md"),
    ):
        recipe = recipes.get(name)
        said = of_training(recipe.model_options(), recipe.training_options(), clouds, name)
        assert " ".join(said.split()[:3]) in page.read_text()


def test_the_recipe_of_the_same_networks_counts_whatever_is_named() -> None:
    digits = recipes.get("digits")
    options = digits.model_options(), digits.training_options()
    assert of_training(*options, 5000) == of_training(*options, 5000, "digits")
    fewer = digits.model_options(likelihood=str(options[0].likelihood).replace("30000", "3"))
    assert "size" not in of_training(fewer, digits.training_options(epochs=500), 5000)


def said_before(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints that is interrupted as soon as it has begun."""
    assert cli.main(words) == 130
    return capsys.readouterr().out


def interrupted(name: str, *message: object) -> Callable[..., None]:
    """A function of the library that says that it begins, and is stopped."""

    def begin(*arguments: Any, **more: Any) -> None:
        logging.getLogger(name).info(*message)
        raise KeyboardInterrupt

    return begin


def test_a_sweep_says_how_many_trainings_and_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = interrupted("gconvae.training", "stage network")
    monkeypatch.setattr("gconvae.studies.experiment.fit", begin)
    words = ["sweep", "beta=0.1,1", "epochs=10,100", "--seeds", "2", "--out", str(tmp_path / "a")]
    slides = recipes.get("slides")
    seconds = [
        training_seconds(
            slides.model_options(), slides.training_options(epochs=epochs), 4857, slides
        )
        for epochs in (10, 100)
    ]
    takes = in_words(4 * sum(seconds))
    assert said_before(words, capsys) == (
        f"8 trainings, 4 settings with 2 seeds each, at most {takes} on one core of an Intel "
        f"Xeon: {tmp_path / 'a'}\n"
    )
    words = ["sweep", "beta=0.1..1", "--trials", "3", "--seeds", "1", "--out", str(tmp_path / "b")]
    assert said_before(words, capsys).startswith("3 trainings, 3 settings with 1 seed each, at")


def test_a_reproduction_takes_as_long_as_the_run(
    own_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = interrupted("gconvae.training", "stage network")
    monkeypatch.setattr("gconvae.studies.reproduction.fit", begin)
    assert said_before(["reproduce", str(own_run)], capsys) == ""
    manifest = run_folder.read_manifest(own_run)
    manifest["seconds"], manifest["stages"]["network"]["seconds"] = 600.0, 300.0
    monkeypatch.setattr(run_folder, "read_manifest", lambda _: manifest)
    said = "training again, about 10 minutes, as long as the run took\n"
    assert said_before(["reproduce", str(own_run)], capsys) == said
    short = said_before(["reproduce", str(own_run), "--epochs", "1"], capsys)
    assert short.startswith("training again, about 2 minutes")
    assert said_before(["reproduce", str(own_run), "-q"], capsys) == ""


@pytest.mark.parametrize(("seconds", "said"), [(30.0, ""), (600.0, "about 10 minutes")])
def test_a_comparison_says_how_long_it_takes(
    seconds: float,
    said: str,
    image_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin = interrupted("gconvae.metrics", "about %.0f s", seconds)
    monkeypatch.setattr(metrics, "compare", begin)
    words = ["evaluate", "pretrained:eights", "--count", "5"]
    wanted = f"comparing 5 clouds, {said} on one core\n" if said else ""
    assert said_before(words, capsys) == wanted


def test_many_draws_are_tried_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gconvae.cli.sample.seconds_each", lambda *_: 0.012)
    monkeypatch.setattr(datasets, "to_file_in_parts", interrupted("gconvae", "drawing"))
    words = ["sample", "pretrained:eights", "--out", str(tmp_path / "a.npz"), "--count"]
    assert said_before([*words, "50000"], capsys).startswith(
        f"drawing 50000 clouds, about 10 minutes: {tmp_path / 'a.npz'}"
    )
    assert said_before([*words, "19999"], capsys).startswith("drawing 19999 clouds, about 4 min")
    assert said_before([*words, "4999"], capsys) == ""
    monkeypatch.setattr("gconvae.VAE.iter_samples", interrupted("gconvae", "drawing"))
    words = ["evaluate", "pretrained:eights", "--count", "5000"]
    assert said_before(words, capsys) == "drawing 5000 clouds, about 1 minute\n"
    assert said_before([*words, "-q"], capsys) == ""


def test_a_draw_is_timed(capsys: pytest.CaptureFixture[str]) -> None:
    model = gconvae.models.create("convae", hidden=8)
    asked = {"seed": 0, "label": None, "conditions": None}
    assert sample.seconds_each(model, asked) > 0

"""How a command line may be written, and what is said about one that is not right."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import assert_one_error

from gconvae.cli import main as cli
from gconvae.cli.messages import error_message
from gconvae.cli.words import check_options, chosen, option_names, with_dashes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "a command must be given, there are train, sample"),
        ("--quiet", "a command must be given"),
        ("--epochs 3 train", "a command must come before --epochs"),
        ("trian", "no command 'trian'; did you mean 'train'\\?"),
        ("trian --help", "no command 'trian'; did you mean 'train'\\?"),
        ("dance", "no command 'dance'; there are train, sample"),
        ("train --epocs 3", "gconvae train has no option --epocs; did you mean --epochs\\?"),
        ("train --epocs=3", "gconvae train has no option --epocs; did you mean --epochs\\?"),
        ("train --ep 3", "gconvae train has no option --ep; did you mean --epochs\\?"),
        ("train --lr 0.1", "gconvae train has no option --lr; did you mean --learning-rate\\?"),
        ("sample x --output y", "gconvae sample has no option --output; did you mean --out\\?"),
        ("train --batchsize 3", "did you mean --batch-size\\?"),
        ("train --zzz 3", "gconvae train has no option --zzz; gconvae train --help lists them"),
        ("train epochs=3", "gconvae train got 'epochs=3'; did you mean --epochs\\?"),
        ("train mine", "does not know what to do with 'mine'; it takes options, which begin"),
        ("reproduce a b", "does not know what to do with 'b'; it takes RUN and options"),
        ("train -e 3", "does not know what to do with '-e'"),
        ("train --epochs", "--epochs needs a value, got none"),
        ("train --epochs many", "--epochs must be a whole number, got 'many'"),
        ("train --epochs=", "--epochs must be a whole number, got ''"),
        ("train --beta high", "--beta must be a number, got 'high'"),
        ("train --digit eight", "--digit must be a whole number, a list of .*, got 'eight'"),
        ("train --channels 16", "--channels must be a list .*, got '16'"),
        ("train --labels maybe", "--labels must be true or false or null, got 'maybe'"),
        ("train --neighbors nativ", "one of torch-cluster, .*, got 'nativ'; did you mean 'native"),
        ("train --recipe digit", "--recipe must be one of .*did you mean 'digits'\\?"),
        ("train --recipe digit --help", "--recipe must be one of .*did you mean 'digits'\\?"),
        ("train --config absent.yaml", "--config must be an existing file, got .*absent.yaml"),
        ("train --batch-size 0", "--batch-size must be a whole number of at least 1, got 0"),
        ("train --batch_size 0", "--batch_size must be a whole number of at least 1, got 0"),
        ("train --kl-warmup 2 --kl_cycle 3", "--kl-warmup must be 0 where --kl_cycle is set"),
        ("train --data absent.npz", "--data must be an npz, .*, there is none at absent.npz"),
        ("train --data jets:gluons", "--data must be jets:gluon.*did you mean 'jets:gluon'\\?"),
        ("train --digit 11", "--digit must be 0 to 9, a list of them or null, got 11"),
        ("train --resume absent", "--resume must hold a begun run, absent has no manifest"),
        ("sample", "RUN must be given: run folder"),
        ("sample absent", "RUN must hold model.json, absent does not exist"),
        ("sample pretrained:eigths", "RUN must be one of .*did you mean 'pretrained:eights'"),
        ("evaluate absent.npz", "MADE must be an existing file, got absent.npz"),
        ("sample x --conditions.mass=a", "--conditions must be numbers by name, .*, got 'mass=a'"),
        ("sweep betta=1", "OPTIONS must be of the options .*did you mean 'beta'\\?"),
        ("sweep beta", "OPTIONS must have the form name=value,value, got 'beta'"),
        ("jets mak", "ACTION must be make, got 'mak'"),
        ("jets make --particles 0", "--particles must be a whole number, 1 to 150, got 0"),
        ("jets make --kind gluons", "--kind must be one of .*did you mean 'gluon'\\?"),
        ("list model", "WHAT must be one of .*, got 'model'; did you mean 'models'\\?"),
        ("completion fish", "SHELL must be one of bash, zsh, tcsh, got 'fish'"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_to_type(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_error(words.split(), message, capsys)


WRONG = {
    "data": "absent.npz",
    "digit": "12",
    "max-nodes": "0",
    "model": "convea",
    "encoder": "edgeconv",
    "decoder": "dens",
    "prior": "gmmm",
    "likelihood": "autoregresive",
    "labels": "maybe",
    "ragged": "maybe",
    "conditions": "[mass]",
    "latent-dim": "0",
    "num-points": "3",
    "channels": "[0]",
    "hidden": "0",
    "padding": "9",
    "kernel": "0",
    "loss": "nonsense",
    "beta": "-1",
    "standardize": "maybe",
    "epochs": "0",
    "batch-size": "0",
    "learning-rate": "0",
    "optimizer": "adm",
    "scheduler": "cosin",
    "patience": "0",
    "max-time": "5",
    "seed": "-1",
    "neighbors": "nativ",
    "scaling": "rang",
    "accelerator": "tpu",
    "devices": "0",
    "num-nodes": "0",
    "strategy": "spwn",
    "precision": "half",
    "threads": "0",
    "workers": "-1",
    "kl-warmup": "-1",
    "kl-cycle": "1",
    "free-bits": "-1",
    "joint-prior": "maybe",
    "prior-steps": "0",
    "likelihood-steps": "0",
    "joint-steps": "-1",
    "callbacks": "[EarlyStoping()]",
    "logger": "tensorbord",
    "count": "0",
    "out": ".",
    "figure-format": "gif",
    "resume": "absent",
    "recipe": "slide",
    "config": "absent.yaml",
    "parts": "absent.py",
}
"""A wrong value of each option of a training."""


def test_every_option_of_a_training_has_a_wrong_value() -> None:
    names = option_names(cli.parser().subparsers["train"])
    known = {name for name in names if name.startswith("--")}
    assert known - {"--help", "--quiet", "--print-config"} == {f"--{name}" for name in WRONG}


@pytest.mark.parametrize("name", list(WRONG))
def test_a_wrong_value_is_refused_before_anything_is_said_to_be_started(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--recipe", "slides", "--epochs", "1", "--hidden", "8", "--batch-size", "2000"]
    assert_one_error(["train", *small, f"--{name}", WRONG[name]], "", capsys)
    assert list(tmp_path.iterdir()) == []


def test_true_needs_not_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    reader = cli.parser()
    assert reader.parse_args(["sample", "x", "--overwrite"]).sample.overwrite is True
    assert reader.parse_args(["sample", "x", "--overwrite=false"]).sample.overwrite is False
    assert reader.parse_args(["train", "--labels", "null"]).train.labels is None


def test_underscores_and_dashes_are_the_same() -> None:
    reader = cli.parser()
    for words in (["train", "--batch-size", "7"], ["train", "--batch_size", "7"]):
        assert reader.parse_args(words).train.batch_size == 7
        assert reader.parse_args(with_dashes(words)).train.batch_size == 7


def test_a_list_that_grows_is_an_option_too() -> None:
    check_options(["--digit+", "3", "--conditions.mass=1"], "train", ["--digit", "--conditions"])


def test_the_last_choice_counts(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("recipe: digits\ndata: null\n")
    config = ["--config", str(file)]
    assert chosen([*config, "--recipe", "slides"], ["recipe", "data"]) == {"recipe": "slides"}
    assert chosen(["--recipe", "slides", *config], ["recipe"]) == {"recipe": "digits"}
    file.write_text("recipe: [")
    assert chosen(config, ["recipe"]) == {}


@pytest.mark.parametrize("form", ["recipe: digits", "{recipe: digits}", "~/mine.yaml"])
@pytest.mark.parametrize("equals", [True, False])
def test_a_recipe_in_any_form_of_config_brings_its_options(
    form: str, equals: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("recipe: digits\n")
    options = []
    command = cli.COMMANDS["train"]._replace(run=lambda parsed, _: options.append(parsed))
    monkeypatch.setitem(cli.COMMANDS, "train", command)
    assert cli.main(["train", *([f"--config={form}"] if equals else ["--config", form])]) == 0
    assert (options[0].recipe, options[0].digit, options[0].epochs) == ("digits", None, 8)


def test_the_recipe_of_jets_takes_jets_unless_others_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = []
    command = cli.COMMANDS["train"]._replace(run=lambda parsed, _: options.append(parsed))
    monkeypatch.setitem(cli.COMMANDS, "train", command)
    for words in ([], ["--data", "own.npz"], ["--data", "null"], ["--digit", "3"]):
        assert cli.main(["train", "--recipe", "jets", *words]) == 0
    assert [each.data for each in options] == ["jets:gluon", "own.npz", None, None]


def test_a_recipe_whose_options_were_not_taken_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_error(["train", "--config", "recipe: nope"], "--recipe must be one of", capsys)
    monkeypatch.setattr(cli, "chosen", lambda *_: {})
    words = ["train", "--config", "recipe: digits"]
    assert_one_error(words, "--recipe must be given by --recipe, got 'digits'", capsys)


def test_a_message_about_something_else_is_left_as_it_is() -> None:
    words, options = ["train", "--seed", "3"], ["seed", "data", "loss"]
    for message in ("runs/seed must not be there", "the seed is 3", "a part of the loss failed"):
        assert error_message(ValueError(message), words, options, {}) == message


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            "points must be finite, got [0.2, nan, 1.0] in cloud 12",
            "--data must be finite, got [0.2, nan, 1.0] in cloud 12",
        ),
        (
            "points must have at most 25 nodes a cloud for this network, got 30",
            "--data must have at most 25 nodes a cloud for this network, got 30",
        ),
        (
            "width must be a multiple of heads, got 12",
            "width must be a multiple of heads, got 12",
        ),
    ],
)
def test_a_number_in_a_message_does_not_blame_an_option_of_that_value(
    message: str, wanted: str
) -> None:
    words = [
        "train",
        "--data",
        "own.npz",
        "--epochs",
        "12",
        "--num-points",
        "25",
        "--hidden",
        "30",
    ]
    options = ["data", "epochs", "num_points", "hidden"]
    assert error_message(ValueError(message), words, options, {}) == wanted

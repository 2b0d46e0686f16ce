"""Help, wrong input and what all commands share."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import (
    TINY,
    assert_one_error,
    explained,
    files_below,
    helped,
)

import gconvae
from gconvae import metrics, options, ready_made, recipes
from gconvae.cli import main as cli
from gconvae.cli.main import wait_less_awake
from gconvae.studies import experiment as experiment_room


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    text = helped(["--help"], capsys)
    for command in ("train", "sample"):
        assert re.search(rf"^ +{command} +\w+", text, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("command", "classes", "more"),
    [
        (
            "train",
            [options.DataOptions, options.ModelOptions, options.TrainingOptions],
            {"config", "out", "count", "resume"},
        ),
        ("sample", [options.SampleOptions], {"config", "out", "figure", "overwrite"}),
    ],
)
def test_help_explains_every_option(
    command: str, classes: list[Any], more: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    text = explained(helped([command, "--help"], capsys))
    wanted = {field.name for cls in classes for field in dataclasses.fields(cls)} | more
    assert wanted - text.keys() == set()
    assert [name for name, sentence in text.items() if len(sentence) < 8] == []


@pytest.mark.parametrize("command", ["train", "sample"])
def test_help_is_plain_text(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = helped([command, "--help"], capsys)
    assert not re.search(r":\w+:`|``", text)


def defaults_in_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Name of an option to the default that help shows."""
    text = helped([*words, "--help"], capsys)
    found = {}
    for block in re.split(r"\n  (?=--?[a-z])", text)[1:]:
        name = re.findall(r"--([a-z-]+)", block)[0]
        block = block.split("\n\n")[0]  # the title of a group may follow
        shown = re.search(r"default: (.*)\)", " ".join(block.split()))
        if shown is not None:
            found[name.replace("-", "_")] = shown[1].replace("- ", "-")  # a line may end there
    return found


def as_shown(value: Any) -> str:
    """As YAML has it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return str(value)


@pytest.mark.parametrize("recipe", recipes.available())
@pytest.mark.parametrize("words", ["train", "sweep beta=1"])
def test_help_shows_what_the_recipe_uses(
    recipe: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = defaults_in_help([*words.split(), "--recipe", recipe], capsys)
    wanted = recipes.get(recipe)
    used = dataclasses.asdict(wanted.training_options()) | dataclasses.asdict(
        wanted.data_options()
    )
    if words != "train":
        used.pop("seed")
    assert {name: shown[name] for name in used} == {k: as_shown(v) for k, v in used.items()}
    model = wanted.model_options()
    parts = ready_made.get(model.model)
    assert shown["recipe"] == recipe
    assert shown["hidden"] == as_shown(model.hidden)
    assert shown["likelihood"] == (model.likelihood or parts.likelihood)
    assert shown["prior"] == (model.prior or parts.prior)
    assert shown["encoder"] == parts.encoder


@pytest.mark.parametrize(
    ("words", "recipe"),
    [
        ("train", recipes.DEFAULT),
        ("train --data jets:gluon", recipes.JETS),
        ("train --recipe=slides --data=jets:gluon", "slides"),
        ("train --config own.yaml", "digits"),
        ("train --config own.yaml --recipe slides", "slides"),
        ("sweep beta=1", "slides"),
    ],
)
def test_help_shows_the_recipe_that_would_be_taken(
    words: str,
    recipe: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("recipe: digits\nbeta: 0.5\n")
    shown = defaults_in_help(words.split(), capsys)
    assert shown["recipe"] == recipe
    assert shown["epochs"] == str(recipes.get(recipe).training_options().epochs)


def test_a_printed_config_has_what_the_recipe_sets_or_its_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["train", "--recipe", "digits", "--epochs", "3"]
    whole = helped([*words, "--print_config"], capsys).splitlines()
    assert {"recipe: digits", "hidden: 512", "epochs: 3", "digit: null"} <= set(whole)
    for flag in ("--print_config=skip_default", "--print-config=skip_default"):
        assert helped([*words, flag], capsys) == "recipe: digits\nepochs: 3\n"


@pytest.mark.parametrize("command", list(cli.COMMANDS))
def test_help_is_80_columns_of_options_with_dashes(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = helped([command, "--help"], capsys).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith(f"usage: gconvae {command}")
    assert lines[0].endswith("[options]")
    options = {word for line in lines for word in re.findall(r"^ +(?:-\w, )?(--\S+)", line)}
    assert "--quiet" in options
    assert [name for name in options if "_" in name] == []


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert helped(["--version"], capsys) == f"gconvae {gconvae.__version__}\n"


def test_python_runs_the_module_as_the_command() -> None:
    command = [sys.executable, "-m", "gconvae.cli", "sample", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("gconvae: error:")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "train.*sample"),
        ("trian", "trian"),
        ("--nonsense", "nonsense"),
        ("train --digit 11", "digit must be 0 to 9.*11"),
        ("train --digit [3,12]", "digit must be 0 to 9"),
        ("train --digit eight", "digit"),
        ("train --data absent.npz", r"absent\.npz"),
        ("train --nonsense 3", "nonsense"),
        ("train --epochs", "epochs"),
        ("train --epochs many", "epochs"),
        ("train --epochs 0", "epochs must be a whole number of at least 1, got 0"),
        ("train --epochs 1.5", "epochs"),
        ("train --batch-size -1", "batch.size"),
        ("train --learning-rate 0", "--learning-rate must be above 0"),
        ("train --beta nan", "beta"),
        ("train --beta -1", "beta must be at least 0"),
        ("train --patience 0", "patience"),
        ("train --threads 0", "threads"),
        ("train --seed -1", "seed must be"),
        ("train --loss mse", "third_axis, matched_intensity"),
        ("train --neighbors kdtree", "neighbors"),
        ("train --scaling unit", "scaling"),
        ("train --device tpu", "device"),
        ("train --model vae", "convae"),
        ("train --channels []", "channels"),
        ("train --channels 16", "channels"),
        ("train --hidden 0", "hidden must be a whole number of at least 1"),
        ("train --latent-dim 0", "--latent-dim must be a whole number of at least 1"),
        ("train --num-points 3", "--num-points must be at least 7"),
        ("train --num-points 20", "at most 20 nodes"),
        ("train --count 0", "count|num_samples"),
        ("train --config absent.yaml", r"absent\.yaml"),
        ("train extra", "extra"),
        ("sample", "RUN must be given"),
        ("sample absent", "absent does not exist"),
        ("sample .", "no finished training"),
        ("sample absent --count zero", "count"),
    ],
)
def test_wrong_input_is_one_line_exit_code_2_and_no_folder(
    words: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    given = words.split()
    if given[:1] == ["train"]:
        given += ["--epochs", "1"] if "--epochs" not in given else []
        given += ["--hidden", "8"] if "--hidden" not in given else []
    if words == "train --epochs":
        given = ["train", "--epochs"]
    assert_one_error(given, message, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["truncated", "pickled", "nan", "shape", "empty", "text"])
def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(
    jets_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.npz"
    points: Any = np.random.default_rng(0).random((9, 12, 3))
    arrays = {
        "pickled": np.array([{"a": 1}], dtype=object),
        "nan": np.where(points > 0.9, np.nan, points),
        "shape": points[0],
        "empty": points[:0],
    }
    if kind in arrays:
        np.savez(path, points=arrays[kind])
    else:
        content = jets_file.read_bytes()
        path.write_bytes(content[: len(content) // 2] if kind == "truncated" else b"x,y,i\n1,2,3")
    message = {"nan": "finite", "shape": "shape", "empty": "at least one"}
    assert_one_error(
        ["train", "--data", "own.npz"], message.get(kind, "whole npz or npy file"), capsys
    )
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content", ["epochs: [", "epochs: many\n", "no_such_option: 3\n", "- 3\n"]
)
def test_a_config_that_cannot_be_used_is_one_line_and_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text(content)
    assert_one_error(["train", "--config", "own.yaml"], "", capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["own.yaml"]


def test_a_place_where_nothing_can_be_written_is_one_line_and_exit_code_2(
    jets_run: Path, jets_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    below = str(tmp_path / "file" / "new.npz")
    assert_one_error(["sample", str(jets_run), "--out", below, "--count", "2"], "file", capsys)
    words = ["train", "--data", str(jets_file), "--out", str(tmp_path / "file" / "run"), *TINY]
    assert_one_error(words, "file", capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate", "MADE must be given"),
        ("evaluate absent", "absent does not exist"),
        ("evaluate absent.npz", r"absent\.npz"),
        ("evaluate RUN --against absent.npz", r"absent\.npz"),
        ("evaluate RUN --metrics sharpness", "features.*sharpness"),
        ("evaluate RUN --metrics features,,sets", "metrics"),
        ("evaluate RUN --metrics frechet", "needs 64 clouds on each side"),
        ("evaluate RUN --count 0", "count must be a whole number of at least 1"),
        ("evaluate RUN --seed -1", "seed"),
        ("evaluate RUN --figure own.xyz", "png, pdf, svg"),
        ("evaluate RUN --out missing/own.json", "missing"),
        ("evaluate RUN --figure missing/own.png", "missing"),
        ("evaluate FILE --digit 11", "digit must be 0 to 9"),
        ("evaluate . ", "no finished training"),
        ("sweep", "OPTIONS must be given"),
        ("sweep beta", "form name=value"),
        ("sweep beta=", "form name=value"),
        ("sweep betta=1", "got 'betta'"),
        ("sweep seed=1,2", "got 'seed'"),
        ("sweep beta=-1", "beta must be at least 0"),
        ("sweep beta=0.1,,0.3", "beta"),
        ("sweep beta=1..2", "trials must be at least 1"),
        ("sweep beta=2..1 --trials 2", "low must be below high"),
        ("sweep beta=null..1 --trials 2", "beta|low"),
        ("sweep beta=1 --trials 2", "--trials must be null for a grid"),
        ("sweep beta=1 beta=2", "beta"),
        ("sweep beta=1 --beta 2", "beta"),
        ("sweep beta=1 --seeds 0", "seeds must be one or more"),
        ("sweep beta=1 --metric sharpness", "metric must be .*FEATURE W1.*got 'sharpness'"),
        ("sweep beta=1 --data absent.npz", r"absent\.npz"),
        ("sweep beta=1 --epochs 0", "epochs must be a whole number"),
        ("sweep loss=third_axis,chamfered", "third_axis, matched_intensity"),
        ("reproduce", "RUN must be given"),
        ("reproduce absent", "absent has no manifest"),
        ("reproduce .", "manifest"),
        ("reproduce RUN --epochs 0", "epochs must be a whole number of at least 1, got 0"),
        ("reproduce RUN --epochs many", "epochs"),
    ],
)
def test_wrong_input_is_one_line_exit_code_2_and_no_file(
    own_file: Path,
    own_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    message: str,
) -> None:
    def never(*arguments: Any, **more: Any) -> None:
        raise AssertionError("trains or compares before it refuses")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment_room, "fit", never)
    if "metrics" not in words:  # it names the metrics itself
        monkeypatch.setattr(metrics, "compare", never)
    places = {"RUN": str(own_run), "FILE": str(own_file)}
    given = [places.get(word, word) for word in words.split()]
    before = files_below(own_run)
    assert_one_error(given, message, capsys)
    assert list(tmp_path.iterdir()) == []
    assert files_below(own_run) == before


TRAINING = [options.DataOptions, options.ModelOptions, options.TrainingOptions]


@pytest.mark.parametrize(
    ("command", "classes", "more"),
    [
        (
            "evaluate",
            [options.SampleOptions],
            {"against", "digit", "metrics", "out", "figure", "overwrite"},
        ),
        ("sweep", TRAINING, {"config", "seeds", "metric", "trials", "storage", "out"}),
        ("reproduce", [], {"epochs"}),
    ],
)
def test_help_explains_every_option_in_plain_text(
    command: str, classes: list[Any], more: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert re.search(rf"^ +{command} +\w+", helped(["--help"], capsys), flags=re.MULTILINE)
    text = helped([command, "--help"], capsys)
    assert not re.search(r":\w+:`|``", text)
    wanted = {field.name for cls in classes for field in dataclasses.fields(cls)} | more
    if command == "sweep":
        wanted -= {"seed"}
        assert not re.search(r"--seed\b", text)
    for name in wanted:
        dashed = name.replace("_", "-")
        found = re.search(rf"--{dashed}\b[^\n]*\n?\s+(.*?)(\(|\n  -)", text, flags=re.DOTALL)
        assert found is not None, name


@pytest.mark.parametrize(
    ("theirs", "spins"),
    [
        ({}, "20000"),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "active"}, None),
    ],
)
def test_threads_that_wait_soon_sleep_unless_somebody_says_otherwise(
    theirs: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that all is as it was in the end
        monkeypatch.delenv(name)
    for name, value in theirs.items():
        monkeypatch.setenv(name, value)
    wait_less_awake()  # too late: torch has asked
    assert os.environ.get("GOMP_SPINCOUNT") == theirs.get("GOMP_SPINCOUNT")
    monkeypatch.delitem(sys.modules, "torch")
    wait_less_awake()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


def test_a_deleted_working_directory_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert cli.main(["sample", "pretrained:eights", "--count", "1"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the working directory must exist, got one that was deleted" in said

"""The command ``gconvae evaluate``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from commands import (
    PNG,
    assert_one_error,
    files_below,
    own_clouds,
)

import gconvae
from gconvae import datasets, metrics
from gconvae.cli import evaluate
from gconvae.cli import main as cli
from gconvae.datasets import SuperpixelMNIST
from gconvae.datasets.storage.opening import HDF5, PARQUET, ROOT
from gconvae.metrics import Report
from gconvae.studies.experiment import Experiment
from gconvae.training import run_folder


def test_evaluate_compares_samples_with_the_held_out_clouds_of_a_run(
    own_run: Path, experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(own_run), "--count", "30", "--seed", "4", "--metrics", "features"]
    assert cli.main([*words, "--out", str(tmp_path / "report.json")]) == 0
    train, valid, test = experiment.splits
    wanted = metrics.compare(
        test,
        gconvae.load(own_run).sample(30, seed=4),
        reference=valid,
        training=train,
        metrics="features",
        seed=4,
    )
    assert Report.load(tmp_path / "report.json") == wanted
    assert wanted.num_real == len(test) == 16
    printed = capsys.readouterr().out
    assert f"clouds\n{wanted}\n" in printed
    assert "report.json" in printed


def test_evaluate_and_sample_take_a_bundled_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "pretrained:eights", "--count", "50", "--metrics", "features"]
    assert cli.main(words) == 0
    assert "974 real, 994 reference, 4857 training clouds" in capsys.readouterr().out
    made = tmp_path / "eights.npz"
    assert cli.main(["sample", "pretrained:eights", "--count", "3", "--out", str(made)]) == 0
    wanted = gconvae.load("pretrained:eights").sample(3, seed=0)
    assert torch.equal(datasets.from_file(made).points, wanted)


def test_evaluate_compares_a_file_with_another(
    own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = datasets.to_file(own_clouds(50, seed=1), tmp_path / "made.npz")
    words = ["evaluate", str(made), "--against", str(own_file), "--metrics", "features"]
    assert cli.main(words) == 0
    wanted = metrics.compare(own_clouds(80, seed=0), own_clouds(50, seed=1), metrics="features")
    assert capsys.readouterr().out.strip().endswith(f"clouds\n{wanted}")


def test_evaluate_compares_a_run_with_a_file(
    image_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = SuperpixelMNIST(8, "test")[60:140]
    against = datasets.to_file(real, tmp_path / "real.npz")
    words = ["evaluate", str(image_run), "--against", str(against), "--count", "40"]
    assert cli.main([*words, "--metrics", "features, sets"]) == 0
    made = gconvae.load(image_run).sample(40, seed=0)
    wanted = metrics.compare(real, made, metrics=["features", "sets"])
    assert capsys.readouterr().out.strip().endswith(f"clouds\n{wanted}")


@pytest.mark.parametrize("digit", [None, 3])
def test_evaluate_compares_images_of_a_file_with_the_bundled_test_clouds(
    tmp_path: Path, digit: int | None
) -> None:
    made = SuperpixelMNIST(8, "train")[:40]
    file = datasets.to_file(made, tmp_path / "made.npz")
    words = ["evaluate", str(file), "--metrics", "features", "--out", str(tmp_path / "own.json")]
    assert cli.main(words if digit is None else [*words, "--digit", str(digit)]) == 0
    report = Report.load(tmp_path / "own.json")
    test = SuperpixelMNIST(digit or 8, "test")
    assert report.num_real == len(test)
    wanted = metrics.feature_w1(test, made)[2]
    assert abs(report.row("intensity").value - wanted) < 3 * report.row("intensity").error


def test_evaluate_without_metrics_brings_all_that_apply_and_says_what_does_not(
    image_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    against = datasets.to_file(SuperpixelMNIST(8, "test")[60:100], tmp_path / "real.npz")
    words = ["evaluate", str(image_run), "--against", str(against), "--count", "20"]
    files = {"--out": "own.json", "--figure": "own.png"}
    for option, name in files.items():
        words += [option, str(tmp_path / name)]
    assert cli.main(words) == 0
    report = Report.load(tmp_path / "own.json")
    found = {f"{row.name} {row.metric}" for row in report.rows}
    assert {"intensity W1", "chamfer coverage", "matching 1-NNA", "embedding kernel"} <= found
    assert "memorization" in report.left_out
    printed = capsys.readouterr().out
    assert str(report) in printed
    assert "left out" in printed
    assert (tmp_path / "own.png").read_bytes().startswith(PNG)
    assert "own.png" in printed


@pytest.mark.parametrize("taken", ["report.json", "report.png"])
def test_evaluate_refuses_to_overwrite(
    own_run: Path, tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / taken).write_text("mine")
    words = ["evaluate", str(own_run), "--count", "20", "--metrics", "features"]
    words += ["--out", str(tmp_path / "report.json"), "--figure", str(tmp_path / "report.png")]
    assert_one_error(words, f"must not exist.*{taken}", capsys)
    assert files_below(tmp_path) == {tmp_path / taken: b"mine"}
    assert cli.main([*words, "--overwrite", "true"]) == 0
    assert (tmp_path / "report.png").read_bytes().startswith(PNG)
    assert len(Report.load(tmp_path / "report.json").rows) >= 3


def test_evaluate_needs_the_clouds_of_a_run_that_does_not_name_them(
    image_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_error(["evaluate", str(image_run)], "needs --against", capsys)


def test_evaluate_needs_real_clouds_for_a_file_that_is_no_image(
    own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_error(["evaluate", str(own_file)], "of the same kind, feature 1 is", capsys)


def test_evaluate_refuses_a_file_that_is_not_the_one_of_the_run(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(own_run, tmp_path / "run")
    changed = datasets.to_file(own_clouds(80, seed=9), tmp_path / "own.npz")
    manifest = run_folder.read_manifest(folder)
    manifest["config"]["data"] = str(changed)
    run_folder.write_json(manifest, folder / "manifest.json")
    # its test clouds may be clouds that the model was trained on
    assert_one_error(["evaluate", str(folder), "--metrics", "features"], "clouds", capsys)


def test_evaluate_says_what_it_compares_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threes = SuperpixelMNIST(3, "test")[:50]
    file = datasets.to_file(threes, tmp_path / "threes.npz")
    words = ["evaluate", str(file), "--digit", "3", "--metrics", "features"]
    assert cli.main(words) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"{file} against bundled digit 3: 1010 real, 1042 reference clouds"


def test_evaluate_takes_a_digit_for_a_file_only(
    image_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_error(["evaluate", str(image_run), "--digit", "5"], "digit must be", capsys)


@pytest.mark.parametrize("shown", [True, False])
def test_evaluate_shows_a_bar_unless_it_is_told_not_to(
    own_file: Path,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("gconvae.metrics.progress.DELAY", 0.0)
    words = ["evaluate", str(own_file), "--against", str(own_file), "--metrics", "features"]
    assert cli.main([*words, *([] if shown else ["--progress", "false"])]) == 0
    assert (" left" in capsys.readouterr().err) is shown


def test_files_of_every_format_are_known_by_their_names() -> None:
    assert set(evaluate.SUFFIXES) == {".npz", ".npy", *HDF5, *PARQUET, *ROOT}

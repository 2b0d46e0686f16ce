"""The command ``gconvae reproduce``."""

from __future__ import annotations

import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from commands import (
    assert_one_error,
    files_below,
    own_clouds,
)

from gconvae import datasets
from gconvae.cli import main as cli
from gconvae.training import run_folder
from gconvae.training.history import read_history, write_history


@pytest.mark.parametrize("epochs", [None, 1, 99])
def test_reproduce_says_identical_with_exit_code_0(
    own_run: Path, epochs: int | None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(own_run)
    words = ["reproduce", str(own_run)]
    assert cli.main(words if epochs is None else [*words, "--epochs", str(epochs)]) == 0
    printed = capsys.readouterr().out
    assert re.search("^identical", printed)
    assert f"epochs: {1 if epochs == 1 else 3}" in printed
    assert files_below(own_run) == before


@pytest.mark.parametrize(
    ("epoch", "column"), [(2, "train_kl"), (3, "valid_rec"), (1, "train_loss")]
)
def test_reproduce_names_the_first_epoch_and_quantity_that_differ_with_exit_code_1(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], epoch: int, column: str
) -> None:
    folder = shutil.copytree(own_run, tmp_path / "run")
    history = read_history(folder / "history.csv")
    history[column][epoch - 1] += 0.25
    history[column][-1] += 0.25
    write_history(history, folder / "history.csv")
    assert cli.main(["reproduce", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "identical" not in printed
    assert re.search(rf"epoch {epoch}\b.*{column}", printed)
    assert "0.25" in printed or "0.5" in printed  # the size of the difference


def test_reproduce_of_fewer_epochs_does_not_see_later_differences(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(own_run, tmp_path / "run")
    history = read_history(folder / "history.csv")
    history["valid_kl"][2] += 1.0
    write_history(history, folder / "history.csv")
    assert cli.main(["reproduce", str(folder), "--epochs", "2"]) == 0
    assert cli.main(["reproduce", str(folder)]) == 1


def test_reproduce_says_which_versions_differ(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(own_run, tmp_path / "run")
    manifest = run_folder.read_manifest(folder)
    manifest["machine"]["torch"] = "1.2.3"
    run_folder.write_json(manifest, folder / "manifest.json")
    assert cli.main(["reproduce", str(folder), "--epochs", "1"]) == 0
    assert re.search(
        rf"torch.*1\.2\.3.*{re.escape(metadata.version('torch'))}", capsys.readouterr().out
    )


def test_reproduce_refuses_a_run_whose_clouds_are_not_known(
    image_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_error(["reproduce", str(image_run)], "data must be given", capsys)


def test_reproduce_refuses_changed_clouds(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(own_run, tmp_path / "run")
    manifest = run_folder.read_manifest(folder)
    changed = datasets.to_file(own_clouds(80, seed=9), tmp_path / "own.npz")
    manifest["config"]["data"] = str(changed)
    run_folder.write_json(manifest, folder / "manifest.json")
    assert_one_error(["reproduce", str(folder)], "data must hold the clouds of the run", capsys)

"""The command ``gconvae sweep``."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import (
    PNG,
    SHORT,
    assert_one_error,
    files_below,
    helped,
)

import gconvae
from gconvae import losses
from gconvae.cli import main as cli
from gconvae.studies import experiment as experiment_room
from gconvae.studies.experiment import Experiment
from gconvae.training import run_folder


def test_sweep_trains_a_grid_prints_the_best_and_draws_each_option(
    own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    words = ["sweep", "beta=0.1,10", "latent-dim=2,3", "--data", str(own_file), *SHORT]
    words += ["--seeds", "2", "--out", str(folder)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    found = json.loads((folder / "sweep.json").read_text())
    assert found["seeds"] == [0, 1]
    assert [setting["options"] for setting in found["settings"]] == [
        {"beta": beta, "latent_dim": size} for beta in (0.1, 10) for size in (2, 3)
    ]
    best = min(found["settings"], key=lambda setting: setting["mean"])
    (line,) = [line for line in printed.splitlines() if "best" in line]
    assert f"beta={best['options']['beta']}, latent_dim={best['options']['latent_dim']}" in line
    for option in ("beta", "latent_dim"):
        assert (folder / f"{option}.png").read_bytes().startswith(PNG)
        assert f"{option}.png" in printed
    # every training is a run folder like any other
    place = Path(best["folders"][0])
    manifest = run_folder.read_manifest(place)
    assert manifest["options"]["beta"] == best["options"]["beta"]
    assert manifest["config"]["data"] == str(own_file)
    assert gconvae.load(place).sample(3).shape == (3, 12, 3)


def test_sweep_started_again_trains_nothing(
    own_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["sweep", "beta=0.1,10", "--data", str(own_file), *SHORT, "--seeds", "1"]
    words += ["--out", str(tmp_path / "sweep")]
    assert cli.main(words) == 0
    begun, _, first = capsys.readouterr().out.partition("\n")
    assert begun == f"2 trainings, 2 settings with 1 seed each: {tmp_path / 'sweep'}"

    def never(*arguments: Any, **more: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(experiment_room, "fit", never)
    assert cli.main(words) == 0
    assert capsys.readouterr().out == first
    assert "nan" not in first


def test_sweep_samples_a_range(own_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = ["sweep", "learning_rate=1e-4..1e-2:log", "--trials", "2", "--seeds", "1"]
    words += ["--metric", "valid_rec", "--data", str(own_file), *SHORT, "--out", str(folder)]
    assert cli.main(words) == 0
    found = json.loads((folder / "sweep.json").read_text())
    rates = [setting["options"]["learning_rate"] for setting in found["settings"]]
    assert len(set(rates)) == 2
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert found["metric"] == "valid_rec"
    assert (folder / "learning_rate.png").read_bytes().startswith(PNG)


def test_sweep_takes_a_config_file_of_a_run(
    own_run: Path, experiment: Experiment, tmp_path: Path
) -> None:
    config = dataclasses.asdict(experiment.model) | dataclasses.asdict(experiment.data)
    config |= {"epochs": 1, "seeds": 1, "channels": [2, 3]}
    (tmp_path / "sweep.yaml").write_text(json.dumps(config))
    words = ["sweep", "beta=0.1", "--config", str(tmp_path / "sweep.yaml")]
    assert cli.main([*words, "--out", str(tmp_path / "sweep")]) == 0
    found = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    manifest = run_folder.read_manifest(found["settings"][0]["folders"][0])
    assert manifest["config"]["epochs"] == 1
    assert manifest["model"]["encoder"]["options"]["hidden"] == 8


def test_an_interrupted_sweep_says_how_to_go_on(
    own_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(self: Any, *arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    words = ["sweep", "beta=0.1", "--data", str(own_file), *SHORT, "--seeds", "1"]
    words += ["--out", str(tmp_path / "sweep")]
    with monkeypatch.context() as patch:
        patch.setattr(losses.ThirdAxisChamfer, "forward", interrupt)
        assert cli.main(words) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert cli.main(words) == 0


def test_sweep_refuses_a_folder_of_something_else(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files_below(own_run)
    assert_one_error(["sweep", "beta=0.1", "--out", str(own_run)], "out must be a new", capsys)
    assert files_below(own_run) == before


def test_a_sweep_where_all_diverge_is_one_error(
    own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "learning_rate=1e20", "--data", str(own_file), *SHORT, "--seeds", "1"]
    assert cli.main([*words, "--out", str(tmp_path / "sweep")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"gconvae: error: .*learning_rate.*", last)


def test_a_printed_config_has_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "beta=1", "--storage", "postgresql://me:secret@server/sweeps"]
    printed = helped([*words, "--print_config"], capsys)
    assert "storage: postgresql://me:***@server/sweeps\n" in printed


def test_a_database_out_of_reach_is_one_line_without_its_password(
    own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sweep", "beta=1", "--data", str(own_file), *SHORT, "--out", str(tmp_path / "sweep")]
    words += ["--storage", "postgresql://me:secret@127.0.0.1:9/sweeps"]
    assert_one_error(words, r"storage must .*me:\*\*\*@127.0.0.1:9/sweeps", capsys)
    assert not (tmp_path / "sweep").exists()

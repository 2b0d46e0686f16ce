"""Sweeps: which trainings are run, once each, and what is said about them."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from side_by_side import Starter

import gconvae
from gconvae import datasets
from gconvae.datasets import CloudDataset, SuperpixelMNIST
from gconvae.metrics import Report
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.studies import experiment, signs_of_life, storage, sweep
from gconvae.studies.experiment import Experiment
from gconvae.studies.search_space import Range, read_option
from gconvae.studies.settings import Setting, Sweep
from gconvae.training import run_folder
from gconvae.training.history import read_history
from gconvae.training.run import Run

# one thread, so that processes with other settings give the same bits
SMALL = Experiment(
    model=ModelOptions(hidden=8, channels=(4, 4, 4)),
    training=TrainingOptions(epochs=2, batch_size=10, threads=1),
)
GRID = {"beta": [5.0, 0.1]}


@pytest.fixture(scope="module")
def eights() -> CloudDataset:
    return SuperpixelMNIST(8, "test")[:60]


@pytest.fixture(scope="module")
def whole(eights: CloudDataset, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep that was never stopped."""
    return quick(GRID, eights, tmp_path_factory.mktemp("sweeps") / "whole", seeds=2)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, int]]:
    """Beta and seed of each training that is begun or gone on with."""
    calls, fit = [], experiment.fit

    def noted(*arguments: Any, **options: Any) -> Run:
        calls.append((options["beta"], options["seed"]))
        return fit(*arguments, **options)

    monkeypatch.setattr(experiment, "fit", noted)
    return calls


def quick(space: dict[str, Any], data: Any, out: Path, **options: Any) -> Sweep:
    """A sweep of trainings of a tenth of a second."""
    options = {"experiment": SMALL, "seeds": 1, "progress": False} | options
    return sweep.sweep(space, data, out=out, **options)


def changed(**options: Any) -> Experiment:
    return dataclasses.replace(SMALL, training=dataclasses.replace(SMALL.training, **options))


def figures(found: Sweep) -> list[tuple[Any, ...]]:
    """All numbers of a sweep, to the last bit, without the place where it was made."""
    return [
        (dict(s.options), s.values, s.floors, [folder.name for folder in s.folders], s.failure)
        for s in found.settings
    ]


def study(folder: Path) -> optuna.Study:
    url = f"sqlite:///{folder / 'sweep.db'}"
    (name,) = optuna.get_all_study_names(url)
    return optuna.load_study(study_name=name, storage=url)


def betas(found: Sweep) -> list[float]:
    return [setting.options["beta"] for setting in found.settings]


# what is asked for


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("beta=0.03,0.1", ("beta", [0.03, 0.1])),
        ("beta=1", ("beta", [1])),
        ("batch-size=10,20", ("batch_size", [10, 20])),
        ("loss=third_axis,matched_intensity", ("loss", ["third_axis", "matched_intensity"])),
        ("channels=[4,4,4],[8,8]", ("channels", [[4, 4, 4], [8, 8]])),
        ("patience=null,3", ("patience", [None, 3])),
        ("standardize=true,false", ("standardize", [True, False])),
        ("beta=0.1..2", ("beta", Range(0.1, 2))),
        ("latent_dim=2..10", ("latent_dim", Range(2, 10))),
        ("learning_rate=1e-4..1e-2:log", ("learning_rate", Range(1e-4, 1e-2, log=True))),
    ],
)
def test_options_are_read_from_a_command_line(words: str, wanted: tuple[str, Any]) -> None:
    found = read_option(words)
    assert found == wanted
    assert repr(found) == repr(wanted)  # 1 is not 1.0 or True


@pytest.mark.parametrize(
    "words",
    [
        *("beta", "beta=", "=3", "", "beta=a..b", "beta=..1", "beta=1..", "beta=1..2:lin"),
        *("beta=2..1", "beta=1..1", "beta=0..1:log", "beta=nan..1", "beta=null..1"),
        *("beta=0..[1]", "beta=0..true", "beta=1..2..3"),
    ],
)
def test_options_of_another_form_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match=r"must (have|be)"):
        read_option(words)


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(2, 1, False), (1, 1, False), (0.0, 1.0, True), (-1.0, 1.0, True), (math.nan, 1.0, False)],
)
def test_an_empty_range_is_refused(low: float, high: float, log: bool) -> None:
    with pytest.raises(ValueError, match="low must be"):
        Range(low, high, log)


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({}, {}, "space must have at least one option"),
        ({"betta": [1.0]}, {}, "got 'betta'"),
        ({"seed": [0, 1]}, {}, "got 'seed'"),
        ({"digit": [3, 8]}, {}, "got 'digit'"),
        ({"beta": []}, {}, "beta must have a list"),
        ({"loss": "third_axis"}, {}, "loss must have a list"),
        ({"beta": 0.3}, {}, "beta must have a list"),
        ({"beta": [0.3, -1.0]}, {}, "beta must be at least 0"),
        ({"epochs": [1, 0]}, {}, "epochs must be a whole number"),
        ({"epochs": Range(0, 3)}, {"trials": 1}, "epochs must be a whole number"),
        ({"epochs": Range(1.0, 3.0)}, {"trials": 1}, "epochs must be a whole number"),
        ({"learning_rate": Range(0.0, 0.1)}, {"trials": 1}, "learning_rate must be above 0"),
        ({"scaling": ["auto", "unit"]}, {}, "scaling must be one of"),
        ({"loss": ["third_axis", "mse"]}, {}, "third_axis, matched_intensity"),
        ({"loss": Range(0, 1)}, {"trials": 1}, "loss"),
        ({"model": ["convae", "other"]}, {}, "convae"),
        ({"hidden": [8, 0]}, {}, "hidden must be a whole number"),
        ({"hidden": Range(4.0, 8.0)}, {"trials": 1}, "hidden must be a whole number"),
        ({"channels": [[4, 4], []]}, {}, "channels"),
        ({"joint_steps": [0, 10]}, {}, "joint_steps must be 0 unless the likelihood is auto"),
        ({"beta": [1.0]}, {"trials": 3}, "trials must be None for a grid, got 3"),
        ({"beta": Range(0.1, 1.0)}, {}, "trials must be at least 1"),
        ({"beta": Range(0.1, 1.0)}, {"trials": 0}, "trials must be at least 1.*got 0"),
        (GRID, {"heartbeat": 0}, "heartbeat must be a whole number of seconds from 1, got 0"),
        (GRID, {"heartbeat": 0.5}, "heartbeat must be"),
        (GRID, {"seeds": 0}, "seeds must be one or more different numbers, got 0"),
        (GRID, {"seeds": []}, "seeds must be"),
        (GRID, {"seeds": [1, 2, 1]}, r"seeds must be one or more different.*got \[1, 2, 1\]"),
        (GRID, {"seeds": -1}, "seeds must be"),
        (GRID, {"seeds": [0, -1]}, "seed"),
        (GRID, {"metric": "intensity"}, "metric must be.*FEATURE W1.*got 'intensity'"),
        (GRID, {"metric": "intensity W2"}, "metric must be"),
        (GRID, {"metric": "valid_lose"}, "metric must be.*valid_loss.*got 'valid_lose'"),
        (GRID, {"metric": ""}, "metric must be"),
        # 10 validation clouds are too few for it
        (GRID, {"metric": "embedding Frechet"}, "needs 128 clouds on each side, got"),
    ],
)
def test_wrong_input_is_refused_before_anything_is_trained_or_written(
    eights: CloudDataset,
    tmp_path: Path,
    trained: list[tuple[float, int]],
    space: dict[str, Any],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        quick(space, eights, tmp_path / "sweep", **options)
    assert trained == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("taken", ["paper.txt", "runs/eights/model.json"])
def test_a_folder_of_something_else_is_refused_and_left_as_it_is(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]], taken: str
) -> None:
    file = tmp_path / "mine" / taken
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(ValueError, match=r"out must be a new folder or that of a sweep.*mine"):
        quick(GRID, eights, tmp_path / "mine")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]
    assert file.read_text() == "mine"
    assert trained == []


def test_a_file_is_refused_as_folder(eights: CloudDataset, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ValueError, match="out must be a new folder or that of a sweep"):
        quick(GRID, eights, tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("url", ["journal:///{}/log", "{}/journal.log", "sqlite:///{}/no/x.db"])
def test_a_storage_that_is_no_database_in_reach_is_refused(
    eights: CloudDataset,
    tmp_path: Path,
    trained: list[tuple[float, int]],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    with pytest.raises(ValueError, match="storage must be the URL of a database"):
        quick(GRID, eights, tmp_path / "sweep", storage=url.format(tmp_path))
    assert trained == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_optuna_the_extra_is_named(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "gconvae\[sweep\]"'):
        quick(GRID, eights, tmp_path / "sweep")


# what comes out


def test_settings_are_the_grid_in_its_order(eights: CloudDataset, tmp_path: Path) -> None:
    space = {"channels": [[4, 4], [2, 2, 2]], "loss": ["third_axis", "matched_intensity"]}
    found = quick(space, eights, tmp_path / "sweep", experiment=changed(epochs=1))
    assert [setting.options for setting in found.settings] == [
        {"channels": channels, "loss": loss}
        for channels in space["channels"]
        for loss in space["loss"]
    ]
    # two of the network, two of the training, and all four take effect
    for setting in found.settings:
        manifest = run_folder.read_manifest(setting.folders[0])
        assert manifest["model"]["encoder"]["options"]["channels"] == setting.options["channels"]
        assert manifest["options"]["loss"] == setting.options["loss"]
    assert len({setting.values for setting in found.settings}) == 4


def test_every_seed_is_a_training_of_its_own(whole: Sweep) -> None:
    assert whole.seeds == (0, 1)
    for setting in whole.settings:
        manifests = [run_folder.read_manifest(folder) for folder in setting.folders]
        assert [manifest["options"]["seed"] for manifest in manifests] == [0, 1]
        assert [manifest["model"]["initial_seed"] for manifest in manifests] == [0, 1]
        assert [manifest["options"]["beta"] for manifest in manifests] == (
            [setting.options["beta"]] * 2
        )
        assert len(set(setting.values)) == 2


def test_trainings_are_those_that_fit_would_run(whole: Sweep, eights: CloudDataset) -> None:
    model = gconvae.models.create("convae", hidden=8, channels=(4, 4, 4), seed=1)
    options = {"epochs": 2, "batch_size": 10, "threads": 1, "progress": False}
    run = gconvae.fit(model, eights, beta=0.1, seed=1, **options)
    kept = whole.settings[1].folders[1]
    assert read_history(kept / "history.csv") == run.history
    assert torch.equal(gconvae.load(kept).sample(5), run.model.sample(5))


def test_values_are_the_intensity_comparison_on_validation_clouds(
    whole: Sweep, eights: CloudDataset
) -> None:
    for setting in whole.settings:
        reports = [Report.load(folder / "report_valid.json") for folder in setting.folders]
        assert setting.values == tuple(report.row("intensity").value for report in reports)
        assert setting.floors == tuple(report.row("intensity").floor for report in reports)
        for seed, folder in enumerate(setting.folders):
            valid = datasets.split(eights, seed=seed)[1]
            assert run_folder.read_manifest(folder)["valid"]["sha256"] == valid.checksum()


def test_a_column_of_the_history_is_that_of_the_best_epoch(
    whole: Sweep, eights: CloudDataset, trained: list[tuple[float, int]]
) -> None:
    folder = whole.settings[0].folders[0].parents[1]
    found = quick(GRID, eights, folder, seeds=2, metric="valid_rec")
    assert trained == []  # another metric needs no other trainings
    for setting in found.settings:
        for value, place in zip(setting.values, setting.folders, strict=True):
            history = read_history(place / "history.csv")
            best = min(range(2), key=lambda epoch: history["valid_loss"][epoch])
            assert value == history["valid_rec"][best]
    assert [s.folders for s in found.settings] == [s.folders for s in whole.settings]


def test_any_metric_of_a_comparison_can_choose(
    whole: Sweep, eights: CloudDataset, trained: list[tuple[float, int]]
) -> None:
    folder = whole.settings[0].folders[0].parents[1]
    found = quick(GRID, eights, folder, seeds=2, metric="chamfer coverage")
    assert trained == []
    assert all(0 <= value <= 1 for setting in found.settings for value in setting.values)
    assert found.best.mean == max(setting.mean for setting in found.settings)


def by_hand(*values: tuple[float, ...], metric: str = "intensity W1", **options: Any) -> Sweep:
    """A sweep over beta = 0, 1, 2, ... that came to these values; none = it diverged."""
    settings = tuple(
        Setting({"beta": beta}, found, (), (), None if found else "the loss is nan")
        for beta, found in enumerate(values)
    )
    return Sweep(metric, (0, 1), settings, **options)


def test_the_best_setting_has_the_lowest_mean_over_seeds() -> None:
    assert by_hand((0.1, 0.9), (0.4, 0.5), (0.3, 0.7)).best.options == {"beta": 1}


def test_a_metric_that_is_better_when_higher_or_near_a_half_is_taken_as_such() -> None:
    values = ((0.2, 0.2), (0.9, 0.9), (0.6, 0.6))
    assert by_hand(*values, better="higher").best.options == {"beta": 1}
    assert by_hand(*values, better="0.5").best.options == {"beta": 2}


def test_the_error_is_the_standard_error_over_seeds() -> None:
    setting = Setting({"beta": 1.0}, (1.0, 3.0, 5.0, 7.0), (), ())
    assert setting.mean == 4.0
    assert setting.error == pytest.approx(math.sqrt(20 / 3) / 2)
    assert math.isnan(Setting({"beta": 1.0}, (1.0,), (), ()).error)


def test_the_printed_table_marks_the_best_setting(whole: Sweep) -> None:
    head, *lines = str(whole).splitlines()
    assert "intensity W1" in head
    assert len(lines) == 2
    for line, setting in zip(lines, whole.settings, strict=True):
        assert f"beta={setting.options['beta']}" in line
        assert f"{setting.mean:.4g} +- {setting.error:.2g}" in line
        assert ("best" in line) == (setting is whole.best)


def test_a_sweep_is_one_line_for_a_debugger() -> None:
    assert repr(by_hand((0.1, 0.9), (0.4, 0.5))) == (
        "<Sweep of 2 settings, 2 seeds, intensity W1; best beta=1: 0.45>"
    )
    assert repr(by_hand(())) == "<Sweep of 1 setting, 2 seeds, intensity W1; all failed>"
    assert str(by_hand(())).splitlines()[1] == "beta=0   the loss is nan"


def test_the_table_of_a_notebook_has_the_best_setting_in_bold() -> None:
    html = by_hand((), (0.4, 0.5), (0.6, 0.8))._repr_html_()
    assert html.count("<b>") == 2
    assert "<b>1</b>" in html
    assert "<b>0.45 ± 0.05</b>" in html
    assert "the loss is nan" in html
    assert "<b>" not in by_hand(())._repr_html_()


def test_the_printed_table_says_why_a_setting_has_no_value() -> None:
    _, first, second = str(by_hand((), (0.4, 0.5))).splitlines()
    assert "the loss is nan" in first
    assert "best" not in first
    assert "best" in second


def test_one_seed_prints_no_error_that_is_not_a_number() -> None:
    one = Sweep("intensity W1", (0,), (Setting({"beta": 1.0}, (0.5,), (0.1,), ()),))
    assert "0.5" in str(one)
    assert "nan" not in str(one)


def test_the_result_is_saved_as_json(whole: Sweep, tmp_path: Path) -> None:
    whole.save(tmp_path / "own.json")
    saved = json.loads((tmp_path / "own.json").read_text())
    assert saved == whole.to_dict()
    assert [setting["options"] for setting in saved["settings"]] == [{"beta": 5.0}, {"beta": 0.1}]
    for setting, wanted in zip(saved["settings"], whole.settings, strict=True):
        assert tuple(setting["values"]) == wanted.values
        assert (setting["mean"], setting["error"]) == (wanted.mean, wanted.error)


def test_what_is_not_a_number_is_null_in_json(tmp_path: Path) -> None:
    by_hand((), (0.5,)).save(tmp_path / "own.json")
    first, second = json.loads((tmp_path / "own.json").read_text())["settings"]
    assert (first["mean"], first["error"], first["failure"]) == (None, None, "the loss is nan")
    assert (second["mean"], second["error"], second["failure"]) == (0.5, None, None)


def test_a_diverging_training_is_told_and_does_not_stop_the_sweep(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    space = {"learning_rate": [1e20, 1e-3]}
    found = quick(space, eights, tmp_path / "sweep")
    first, second = found.settings
    assert "nan" in str(first.failure)
    assert first.values == ()
    assert second.failure is None
    assert found.best is second
    # nor is it tried again
    number = len(trained)
    assert figures(quick(space, eights, tmp_path / "sweep")) == figures(found)
    assert len(trained) == number


def test_a_sweep_without_progress_is_silent_and_leaves_optunas_log_as_it_was(
    eights: CloudDataset, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    level = optuna.logging.get_verbosity()
    quick({"beta": [1.0]}, eights, tmp_path / "sweep")
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == level


def test_the_same_sweep_in_another_folder_gives_the_same_bits(
    whole: Sweep, eights: CloudDataset, tmp_path: Path
) -> None:
    torch.rand(7)  # other random calls change nothing
    assert figures(quick(GRID, eights, tmp_path / "other", seeds=2)) == figures(whole)


@pytest.mark.parametrize("name", ["with space", "a?b", "50%20x", "a#b", "a{b}c", "päth"])
def test_a_folder_of_any_name_holds_its_storage(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(storage, "ATTEMPTS", 1)
    quick({"beta": [1.0]}, eights, tmp_path / name, experiment=changed(epochs=1))
    assert (tmp_path / name / "sweep.db").stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_many_options_make_no_name_that_is_too_long(eights: CloudDataset, tmp_path: Path) -> None:
    base = changed(epochs=1)
    chosen = dataclasses.asdict(base.model) | dataclasses.asdict(base.training)
    del chosen["seed"]
    space = {name: [list(v) if isinstance(v, tuple) else v] for name, v in chosen.items()}
    found = quick(space, eights, tmp_path / "sweep", experiment=base)
    assert len(found.settings[0].values) == 1


# judged on validation clouds


def two_files(place: Path) -> tuple[Path, Path]:
    """Files of 60 own clouds that differ in their test clouds only."""
    points = torch.rand(60, 12, 3, generator=torch.Generator().manual_seed(0))
    first = datasets.to_file(datasets.from_points(points), place / "first.npz")
    data = datasets.from_file(first)
    test = experiment.train_and_test(DataOptions(data=str(first)))[1]
    is_test = (data.points[:, None] == test.points[None]).all(-1).all(-1).any(1)
    assert is_test.sum() == len(test) == 12
    other = torch.where(is_test[:, None, None], data.points.flip(1) * 0.5, data.points)
    return first, datasets.to_file(datasets.from_points(other), place / "second.npz")


def test_the_test_clouds_decide_nothing(tmp_path: Path) -> None:
    found = []
    for file in two_files(tmp_path):
        base = dataclasses.replace(SMALL, data=DataOptions(data=str(file)))
        found.append(quick(GRID, None, tmp_path / file.stem, experiment=base))
    first, second = found
    assert [s.values for s in first.settings] == [s.values for s in second.settings]
    assert [s.floors for s in first.settings] == [s.floors for s in second.settings]


def test_no_test_cloud_is_a_validation_cloud_of_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, fit = [], experiment.fit

    def noted(model: Any, train: Any, valid: Any, **options: Any) -> Run:
        seen.append(valid.points)
        return fit(model, train, valid, **options)

    monkeypatch.setattr(experiment, "fit", noted)
    base = dataclasses.replace(SMALL, data=DataOptions(data=str(two_files(tmp_path)[0])))
    quick({"beta": [1.0]}, None, tmp_path / "sweep", experiment=base, seeds=3)
    assert len(seen) == 3
    judges = {tuple(cloud.flatten().tolist()) for cloud in base.splits.test.points}
    used = {tuple(cloud.flatten().tolist()) for valid in seen for cloud in valid}
    assert judges & used == set()


def test_given_validation_clouds_judge(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = quick({"beta": [1.0]}, eights[:30], tmp_path / "sweep", valid=eights[30:])
    manifest = run_folder.read_manifest(found.settings[0].folders[0])
    assert manifest["train"]["sha256"] == eights[:30].checksum()
    assert manifest["valid"]["sha256"] == eights[30:].checksum()


def test_a_run_on_clouds_of_ones_own_does_not_name_the_bundled_ones(tmp_path: Path) -> None:
    threes = SuperpixelMNIST(3, "test")[:40]
    found = quick({"beta": [1.0]}, threes, tmp_path / "sweep", experiment=changed(epochs=1))
    config = run_folder.read_manifest(found.settings[0].folders[0])["config"]
    # evaluate and reproduce would take them for eights
    with pytest.raises(ValueError, match="config must hold data and digit"):
        Experiment.from_config(config)


# ranges


def test_a_range_is_sampled_and_the_same_bits_come_again(
    eights: CloudDataset, tmp_path: Path
) -> None:
    space = {
        "learning_rate": Range(1e-6, 1e-2, log=True),
        "beta": Range(0.5, 1),
        "latent_dim": Range(2, 4),
        "channels": [[4, 4], [2, 2]],
    }
    options = {"trials": 4, "experiment": changed(epochs=1)}
    first = quick(space, eights, tmp_path / "first", **options)
    second = quick(space, eights, tmp_path / "second", **options)
    assert figures(first) == figures(second)
    assert len(first.settings) == 4
    columns = {name: [setting.options[name] for setting in first.settings] for name in space}
    assert all(1e-6 <= rate <= 1e-2 for rate in columns["learning_rate"])
    # 1 % of them on a scale that is not logarithmic
    assert any(rate < 1e-4 for rate in columns["learning_rate"])
    assert all(0.5 <= beta <= 1 for beta in columns["beta"])
    assert len(set(columns["beta"])) == 4
    assert all(type(number) is int and 2 <= number <= 4 for number in columns["latent_dim"])
    assert all(channels in [[4, 4], [2, 2]] for channels in columns["channels"])


def test_more_trials_than_settings_end_and_train_none_twice(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    space, options = {"latent_dim": Range(2, 3)}, {"experiment": changed(epochs=1)}
    found = quick(space, eights, tmp_path / "sweep", trials=5, **options)
    tried = [setting.options["latent_dim"] for setting in found.settings]
    assert set(tried) <= {2, 3}
    assert len(trained) == len(tried) == len(set(tried))


def test_more_trials_keep_the_old_ones(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    space, options = {"beta": Range(0.1, 1.0)}, {"experiment": changed(epochs=1)}
    first = quick(space, eights, tmp_path / "sweep", trials=2, **options)
    second = quick(space, eights, tmp_path / "sweep", trials=3, **options)
    assert figures(second)[:2] == figures(first)
    assert len(second.settings) == len(trained) == 3


def test_another_range_is_another_sweep(eights: CloudDataset, tmp_path: Path) -> None:
    options = {"experiment": changed(epochs=1), "trials": 2}
    quick({"beta": Range(0.1, 0.5)}, eights, tmp_path / "sweep", **options)
    found = quick({"beta": Range(5.0, 9.0)}, eights, tmp_path / "sweep", **options)
    assert len(found.settings) == 2
    assert all(5 <= beta <= 9 for beta in betas(found))


def test_a_list_beside_a_range_can_grow(eights: CloudDataset, tmp_path: Path) -> None:
    losses, options = ["third_axis"], {"experiment": changed(epochs=1)}
    space = {"beta": Range(0.1, 0.5), "loss": losses}
    quick(space, eights, tmp_path / "sweep", trials=1, **options)
    losses.append("matched_intensity")
    found = quick(space, eights, tmp_path / "sweep", trials=3, **options)
    assert {setting.options["loss"] for setting in found.settings} <= set(losses)
    assert len(found.settings) == 3


# no training twice


def test_a_finished_sweep_is_only_read(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    first = quick(GRID, eights, tmp_path / "sweep")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep" / "runs").rglob("*")}
    second = quick(GRID, eights, tmp_path / "sweep")
    assert figures(second) == figures(first)
    assert trained == [(5.0, 0), (0.1, 0)]
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep" / "runs").rglob("*")}
    assert after == before


def test_a_larger_grid_more_seeds_and_more_options_train_only_what_is_new(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    folder = tmp_path / "sweep"
    first = quick(GRID, eights, folder)
    trained.clear()
    larger = quick({"beta": [5.0, 1.0, 0.1]}, eights, folder)
    assert trained == [(1.0, 0)]
    assert betas(larger) == [5.0, 1.0, 0.1]
    assert figures(larger)[::2] == figures(first)
    trained.clear()
    seeds = quick(GRID, eights, folder, seeds=[0, 4])
    assert trained == [(5.0, 4), (0.1, 4)]
    assert [s.values[0] for s in seeds.settings] == [s.values[0] for s in first.settings]
    trained.clear()
    quick(GRID | {"loss": ["third_axis"], "hidden": [8]}, eights, folder)
    assert trained == []
    assert len(list((folder / "runs").iterdir())) == 5


def test_a_smaller_grid_trains_nothing_that_was_left_out(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_in(eights, tmp_path / "sweep", {"beta": [0.1, 0.3, 1.0]}, monkeypatch, training=1)
    found = quick({"beta": [1.0]}, eights, tmp_path / "sweep")
    assert betas(found) == [1.0]
    names = sorted(path.name.split("-")[0] for path in (tmp_path / "sweep" / "runs").iterdir())
    assert "beta=0.3" not in names


def test_a_setting_that_is_asked_for_twice_is_trained_once(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    quick({"beta": [0.3, 0.3]}, eights, tmp_path / "sweep")
    assert len(trained) == 1


def test_whole_numbers_are_the_same_option_with_and_without_a_point(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    quick({"beta": [1]}, eights, tmp_path / "sweep")
    quick({"beta": [1.0]}, eights, tmp_path / "sweep")
    assert len(trained) == 1


def test_options_that_change_no_bit_make_no_other_training(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    quick({"beta": [1.0]}, eights, tmp_path / "sweep")
    quick({"beta": [1.0]}, eights, tmp_path / "sweep", experiment=changed(workers=1))
    assert len(trained) == 1


def test_a_file_at_another_place_is_the_same_data(
    tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    file, _ = two_files(tmp_path)
    for place in (file, tmp_path / "moved.npz"):
        file = file.rename(place)
        base = dataclasses.replace(changed(epochs=1), data=DataOptions(data=str(file)))
        quick({"beta": [1.0]}, None, tmp_path / "sweep", experiment=base)
    assert len(trained) == 1


@pytest.mark.parametrize("what", ["clouds", "valid", "options", "schema"])
def test_other_clouds_or_options_are_another_training(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]], what: str
) -> None:
    options = {"experiment": changed(epochs=1), "valid": eights[30:]}
    data = eights[:30]
    quick({"beta": [1.0]}, data, tmp_path / "sweep", **options)
    if what == "clouds":
        data = eights[:29]
    elif what == "valid":
        options["valid"] = eights[29:]
    elif what == "options":
        options["experiment"] = changed(epochs=1, learning_rate=1e-4)
    else:  # without its ranges, a model takes those of the clouds
        plain = tuple(replace(f, low=None, high=None) for f in eights.schema.features)
        other = eights.schema.replace(features=plain)
        data = datasets.from_points(data.points, data.mask, data.labels, schema=other)
    quick({"beta": [1.0]}, data, tmp_path / "sweep", **options)
    assert len(trained) == 2


def test_folders_that_share_a_storage_share_their_results(
    eights: CloudDataset, tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    options = {"storage": f"sqlite:///{tmp_path / 'common.db'}"}
    first = quick(GRID, eights, tmp_path / "first", **options)
    second = quick(GRID, eights, tmp_path / "second", **options)
    assert figures(second) == figures(first)
    assert len(trained) == 2
    assert not list(tmp_path.glob("*/sweep.db"))
    assert (tmp_path / "second" / "sweep.json").exists()


# stopped and started again


def interrupt_in(
    eights: CloudDataset,
    folder: Path,
    space: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    training: int,
    **options: Any,
) -> None:
    """Begins a sweep and breaks it off in a training's second epoch; counted from 1."""
    fit, calls = experiment.fit, []

    def stops(*arguments: Any, **given: Any) -> Run:
        calls.append(given)
        with monkeypatch.context() as patch:
            if len(calls) == training:
                patch.setattr(gconvae.losses.ThirdAxisChamfer, "forward", after(8, interrupt))
            return fit(*arguments, **given)

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "fit", stops)
        with pytest.raises(KeyboardInterrupt):
            quick(space, eights, folder, **options)


def after(steps: int, action: Callable[[], None]) -> Callable[..., Any]:
    """The forward of the loss that does something else once it was called so often."""
    forward, calls = gconvae.losses.ThirdAxisChamfer.forward, []

    def counting(self: Any, *arguments: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) > steps:
            action()
        return forward(self, *arguments, **more)

    return counting


def interrupt() -> None:
    raise KeyboardInterrupt


def test_an_interrupted_sweep_goes_on(
    whole: Sweep,
    eights: CloudDataset,
    tmp_path: Path,
    trained: list[tuple[float, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt_in(eights, tmp_path / "sweep", GRID, monkeypatch, training=2, seeds=2)
    assert trained == [(5.0, 0), (5.0, 1)]
    found = quick(GRID, eights, tmp_path / "sweep", seeds=2)
    # the first is not repeated, the second goes on
    assert sorted(trained[2:]) == [(0.1, 0), (0.1, 1), (5.0, 1)]
    assert figures(found) == figures(whole)


def test_an_interrupted_range_goes_on_with_what_it_had_drawn(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, options = {"beta": Range(0.1, 1.0)}, {"trials": 3}
    interrupt_in(eights, tmp_path / "sweep", space, monkeypatch, training=2, **options)
    begun = {path.name for path in (tmp_path / "sweep" / "runs").iterdir()}
    assert len(begun) == 2
    found = quick(space, eights, tmp_path / "sweep", **options)
    assert len(found.settings) == 3
    assert begun <= {setting.folders[0].name for setting in found.settings}
    assert len(list((tmp_path / "sweep" / "runs").iterdir())) == 3


def test_a_trial_killed_before_its_first_sign_of_life_is_run_again(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_in(eights, tmp_path / "sweep", GRID, monkeypatch, training=1)
    study(tmp_path / "sweep").ask()  # now running, in nobody's hands
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        assert sum(waits) < 10, "waits for a trial that nobody runs"
        time.sleep(seconds)

    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setattr(signs_of_life, "time", clock)
    found = quick(GRID, eights, tmp_path / "sweep", heartbeat=1)
    assert all(setting.values for setting in found.settings)


def test_no_clock_of_another_machine_ends_a_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(signs_of_life, "time", SimpleNamespace(monotonic=lambda: now[0]))
    opened = optuna.create_study(storage=f"sqlite:///{tmp_path / 'sweep.db'}")
    opened.ask()  # gives no sign of life
    opened.ask().set_user_attr(signs_of_life.BEGUN, True)
    with closing(sqlite3.connect(tmp_path / "sweep.db")) as database:
        database.execute("UPDATE trials SET datetime_start = '2000-01-01 00:00:00.000000'")
        database.commit()
    watch = signs_of_life.Watch(opened, heartbeat=10)
    found = []
    with storage.quiet_optuna():
        for moment in (0.0, 30.0, 30.1):
            now[0] = moment
            watch.fail_dead()
            found.append([trial.state for trial in opened.trials])
    running, failed = TrialState.RUNNING, TrialState.FAIL
    assert found == [[running, running], [running, running], [failed, running]]


@pytest.mark.parametrize("breaks", [False, True])
def test_a_trial_that_others_took_for_dead_is_finished(
    whole: Sweep,
    eights: CloudDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    breaks: bool,
) -> None:
    fit, calls = experiment.fit, []

    def suspended(*arguments: Any, **options: Any) -> Run:
        calls.append(options)
        if len(calls) == 1:  # as another process does after half a minute
            opened = study(tmp_path / "sweep")
            (running,) = opened.get_trials(states=[TrialState.RUNNING])
            opened.tell(running.number, state=TrialState.FAIL)
            if breaks:  # it has removed the files that a kill could have left
                raise FileNotFoundError(".last.partial.ckpt")
        return fit(*arguments, **options)

    monkeypatch.setattr(experiment, "fit", suspended)
    found = quick(GRID, eights, tmp_path / "sweep", seeds=2)
    assert figures(found) == figures(whole)
    assert len(calls) == 4 + breaks


def noted(file: Path) -> list[tuple[float, int]]:
    """Beta and seed of the trainings that another process noted."""
    rows = [line.split() for line in file.read_text().splitlines()]
    return [(float(beta), int(seed)) for beta, seed, _ in rows]


def test_a_killed_sweep_comes_to_the_same_bits_and_repeats_no_training(
    whole: Sweep,
    eights: CloudDataset,
    tmp_path: Path,
    trained: list[tuple[float, int]],
    start: Starter,
) -> None:
    (tmp_path / "ours").touch()  # for which nobody has to wait
    # of 6 steps an epoch, in the second epoch of the third training
    places = {"place": str(tmp_path), "out": str(tmp_path / "sweep")}
    killed = start(1, "shared_work.sweep", **places, betas=GRID["beta"], last=33, heartbeat=4)
    assert killed.codes == [-signal.SIGKILL]
    assert noted(tmp_path / "theirs") == [(5.0, 0), (5.0, 1), (0.1, 0)]
    (begun,) = (tmp_path / "sweep" / "runs").glob("beta=0.1-*")
    assert (begun / "last.ckpt").exists()
    # its last sign of life is to be a while ago
    found = quick(GRID, eights, tmp_path / "sweep", seeds=2, heartbeat=1)
    assert trained == [(0.1, 0), (0.1, 1)]
    assert figures(found) == figures(whole)
    for ours, theirs in zip(found.settings, whole.settings, strict=True):
        for pair in zip(ours.folders, theirs.folders, strict=True):
            for file in ("history.csv", "model.safetensors", "report_valid.json"):
                first, second = ((folder / file).read_bytes() for folder in pair)
                assert first == second, file
    saved = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [s["values"] for s in saved["settings"]] == [list(s.values) for s in whole.settings]


def test_two_processes_share_the_work_and_agree(
    whole: Sweep,
    eights: CloudDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Starter,
) -> None:
    fit, ours, betas = experiment.fit, [], [5.0, 0.1, 1.0]

    def shared(*arguments: Any, **options: Any) -> Run:
        ours.append((options["beta"], options["seed"]))
        (tmp_path / "ours").touch()
        return fit(*arguments, **options)

    monkeypatch.setattr(experiment, "fit", shared)
    places = {"place": str(tmp_path), "out": str(tmp_path / "sweep")}
    other = start.begin(1, "shared_work.sweep", **places, betas=betas, heartbeat=4)
    while not (tmp_path / "theirs").exists():  # it has begun a training, and waits for ours
        assert other.runs()
        time.sleep(0.01)
    found = quick({"beta": betas}, eights, tmp_path / "sweep", seeds=2, heartbeat=4)
    ended = other.wait()
    assert ended.codes == [0], ended.err
    theirs = noted(tmp_path / "theirs")
    assert ours
    assert theirs
    grid = [(beta, seed) for beta in betas for seed in (0, 1)]
    assert sorted(ours + theirs) == sorted(grid)
    assert json.loads((tmp_path / "theirs.json").read_text()) == found.to_dict()
    assert figures(found)[:2] == figures(whole)


def test_a_folder_that_another_process_makes_meanwhile_is_looked_at_again(
    whole: Sweep, eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, places = experiment.fit, []

    def late(*arguments: Any, **options: Any) -> Run:
        if not places:
            Path(options["out"]).mkdir(parents=True)
        places.append(options["out"])
        return fit(*arguments, **options)

    monkeypatch.setattr(experiment, "fit", late)
    found = quick({"beta": [5.0]}, eights, tmp_path / "sweep", seeds=2)
    assert [path.name for path in places[:2]] == [found.settings[0].folders[0].name] * 2
    assert figures(found) == figures(whole)[:1]


def test_a_metric_of_half_a_group_is_refused_before_training(
    tmp_path: Path, trained: list[tuple[float, int]]
) -> None:
    own = datasets.from_points(torch.rand(600, 12, 3, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(
        ValueError, match="metric must be one that these clouds have, embedding AUC"
    ):
        quick(GRID, own, tmp_path / "sweep", metric="embedding AUC")
    assert trained == []
    assert not (tmp_path / "sweep").exists()


def test_the_result_of_another_sweep_in_the_folder_is_kept(
    eights: CloudDataset, tmp_path: Path
) -> None:
    first = quick({"beta": [1.0]}, eights, tmp_path / "sweep")
    second = quick({"beta": [1.0]}, eights, tmp_path / "sweep", metric="valid_rec")
    saved = [
        json.loads((tmp_path / "sweep" / f"{name}.json").read_text())
        for name in ("sweep-before", "sweep")
    ]
    assert saved == [first.to_dict(), second.to_dict()]

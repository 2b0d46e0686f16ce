"""The command ``gconvae train``."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import (
    COMMAND,
    SMALL,
    TINY,
    assert_one_error,
    foreign,
    history,
    samples,
)
from side_by_side import Starter
from torch import Tensor

import gconvae
from gconvae import datasets, losses, options
from gconvae.cli import main as cli
from gconvae.cli import train
from gconvae.schema import SUPERPIXELS

SCHEMA = SUPERPIXELS.replace(classes=tuple("0123456789")).to_dict()
SCHEMA.pop("picture")  # how clouds are drawn is no part of their identity


class Finished:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str, folder: Path) -> None:
        self.code, self.out, self.err, self.folder = code, out, err, folder


@pytest.fixture(scope="module")
def eights(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The main job, small, in a process and a folder of its own."""
    place = tmp_path_factory.mktemp("fresh")
    words = ("train", "--epochs", "1", "--batch-size", "500", "--hidden", "32", "--count", "50")
    words += ("--likelihood", "autoregressive(steps=10, width=16)", "--prior-steps", "20")
    done = subprocess.run(
        [COMMAND, *words],
        cwd=place,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    folders = list((place / "runs").iterdir()) if (place / "runs").is_dir() else [place]
    return Finished(done.returncode, done.stdout, done.stderr, folders[0])


def test_the_main_job_ends_well(eights: Finished) -> None:
    assert eights.code == 0, eights.err
    assert "Traceback" not in eights.err
    assert "Warning" not in eights.err


def test_the_main_job_shows_a_progress_bar_over_all_steps(eights: Finished) -> None:
    assert "10/10" in eights.err  # 4,857 clouds in batches of 500, the last one partial


def test_the_main_job_goes_to_runs_eights_if_not_said(eights: Finished) -> None:
    assert eights.folder.relative_to(eights.folder.parents[1]) == Path("runs/eights")


def test_the_main_job_prints_the_run_folder_and_a_table_at_its_end(eights: Finished) -> None:
    lines = eights.out.splitlines()
    assert str(eights.folder.relative_to(eights.folder.parents[1])) in lines[-1]
    for part in ("reconstructed", "generated"):
        table = eights.out.split(f"{part} against")[1]
        for name in ("x", "y", "intensity"):
            assert re.search(rf"^{name} W1 .*\d.*floor \d", table, flags=re.MULTILINE)


def test_the_main_job_says_which_neighbour_search_was_used(eights: Finished) -> None:
    assert "torch-cluster" in eights.out


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([1 / 16, 1 / 3, 1 / 255], "drawn on steps of x 1/16 px, y 1/3 px, intensity 1/255"),
        ([1.0, 2.5, 0.0], "drawn on steps of x 1 px, y 2.5 px"),
        ([0.0, 0.0, 0.0], "drawn on no lattice"),
    ],
)
def test_the_lattice_is_said(steps: list[float], words: str) -> None:
    model = gconvae.models.create("convae", hidden=4)
    model.likelihood.step.copy_(torch.tensor(steps))
    assert train.draws_in_words(model) == words


@pytest.mark.parametrize(
    ("temperature", "words"),
    [([0.9, 1.0, 0.95], "; temperatures: x 0.9, y 1, intensity 0.95"), (0.9, "")],
)
def test_temperatures_that_a_training_chose_are_said(temperature: Any, words: str) -> None:
    likelihood = "autoregressive(width=8, heads=2)"
    model = gconvae.models.create("convae", hidden=4, likelihood=likelihood)
    model.likelihood.temperature = temperature
    assert train.draws_in_words(model) == f"drawn on no lattice{words}"


def test_the_main_job_says_the_lattice_that_was_found(eights: Finished) -> None:
    assert "\ndrawn on " in eights.out


def test_the_main_job_trains_on_the_bundled_eights(eights: Finished) -> None:
    manifest = json.loads((eights.folder / "manifest.json").read_text())
    learned, valid = datasets.split(datasets.SuperpixelMNIST(8, "train"))
    assert manifest["train"] == {"clouds": 4857, "schema": SCHEMA, "sha256": learned.checksum()}
    assert manifest["valid"] == {"clouds": 994, "schema": SCHEMA, "sha256": valid.checksum()}


def test_the_run_folder_holds_everything(eights: Finished) -> None:
    files = {path.name: path.stat().st_size for path in eights.folder.iterdir()}
    wanted = {
        *("config.yaml", "manifest.json", "history.csv", "model.json", "model.safetensors"),
        *("samples.npz", "report_generated.json", "report_reconstructed.json"),
        *("clouds.png", "features.png", "losses.png"),
    }
    assert wanted <= files.keys()
    assert all(files.values())


def test_the_model_of_the_run_folder_gives_the_samples_in_it(eights: Finished) -> None:
    made = gconvae.load(eights.folder).sample(50, seed=0)
    assert torch.equal(datasets.from_points(made).points, samples(eights.folder))


def test_the_report_is_the_w1_against_the_test_set(eights: Finished) -> None:
    test = datasets.SuperpixelMNIST(8, "test")
    made = gconvae.load(eights.folder).reconstruct(test.points)
    report = gconvae.metrics.Report.load(eights.folder / "report_reconstructed.json")
    for i, feature in enumerate(("x", "y", "intensity")):
        # samples of equal size: W1 is the mean gap between their sorted values
        first, second = (points[..., i].flatten().sort().values for points in (made, test.points))
        wanted = (first - second).abs().mean().item()
        assert report.row(feature).value == pytest.approx(wanted, rel=1e-4)


def test_own_points_train_sample_and_plot(jets_run: Path, jets_file: Path) -> None:
    manifest = json.loads((jets_run / "manifest.json").read_text())
    data = datasets.from_file(jets_file)
    clouds = manifest["train"]["clouds"] + manifest["valid"]["clouds"]
    assert clouds == 80  # a fifth is the test set
    made = samples(jets_run)
    assert made.shape == (30, 12, 3)  # as many nodes as the largest cloud
    low, high = data.points[data.mask].amin(0), data.points[data.mask].amax(0)
    slack = 1e-5 * (high - low)
    assert (made >= low - slack).all()
    assert (made <= high + slack).all()
    assert (jets_run / "clouds.png").stat().st_size > 1000


def test_own_points_with_long_tails_train(tmp_path: Path) -> None:
    points = torch.randn(80, 12, 3, generator=torch.Generator().manual_seed(3))
    points[..., 2] = points[..., 2].exp()
    file = datasets.to_file(datasets.from_points(points), tmp_path / "own.npz")
    words = ["train", "--data", str(file), "--out", str(tmp_path / "run"), *TINY]
    assert cli.main([*words, "--figure-format", "svg"]) == 0
    figures = {
        file.name for file in (tmp_path / "run").iterdir() if file.suffix in (".png", ".svg")
    }
    assert figures == {"clouds.svg", "features.svg", "losses.svg"}


def test_the_saved_config_runs_the_same_again(
    jets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", str(jets_run / "config.yaml"), "--out", str(tmp_path / "again")]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert history(tmp_path / "again") == history(jets_run)
    assert torch.equal(samples(tmp_path / "again"), samples(jets_run))


def test_a_config_can_be_written_by_hand_and_a_flag_wins_over_it(
    jets_file: Path, tmp_path: Path
) -> None:
    config = tmp_path / "own.yaml"
    lines = ("recipe: slides", f"data: {jets_file}", "hidden: 16", "channels: [2, 3]")
    config.write_text("\n".join([*lines, "epochs: 3", "beta: 0.5", "count: 7"]))
    out = tmp_path / "run"
    assert cli.main(["train", "--config", str(config), "--epochs", "1", "--out", str(out)]) == 0
    saved = json.loads((out / "manifest.json").read_text())["options"]
    assert (saved["epochs"], saved["beta"]) == (1, 0.5)
    assert len(samples(out)) == 7


def test_every_training_option_reaches_the_training(jets_file: Path, tmp_path: Path) -> None:
    wanted = {
        "loss": "matched_intensity",
        "beta": 0.25,
        "standardize": True,
        "epochs": 1,
        "batch_size": 17,
        "learning_rate": 0.002,
        "patience": 3,
        "seed": 4,
        "neighbors": "dense",
        "scaling": "range",
        "accelerator": "cpu",
        "precision": "float32",
        "threads": 1,
        "workers": 1,
        "kl_warmup": 2,
        "kl_cycle": 0,
        "free_bits": 0.125,
        "joint_prior": False,
        "prior_steps": 5,
        "likelihood_steps": 6,
        "joint_steps": 2,
        "devices": 1,
        "num_nodes": 1,
        "strategy": "auto",
        "optimizer": "sgd(lr=1e-9)",
        "scheduler": "cosine(warmup=2)",
        "max_time": "00:00:10:00",
        "callbacks": ["EarlyStopping(monitor='valid_loss')", "LearningRateMonitor()"],
        "logger": "csv",
    }
    assert wanted.keys() == {field.name for field in dataclasses.fields(options.TrainingOptions)}
    flags = [
        word
        for name, value in wanted.items()
        for word in (f"--{name}", json.dumps(value) if isinstance(value, list) else str(value))
    ]
    parts = ["--prior", "nsf", "--likelihood", "autoregressive(width=8)"]  # which take steps
    words = ["train", "--data", str(jets_file), "--out", str(tmp_path / "run"), *SMALL, *parts]
    words += [*flags, "--count", "5", "--latent-dim", "3", "--num-points", "14"]
    assert cli.main(words) == 0
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["options"] == wanted
    model = gconvae.load(tmp_path / "run")
    assert model.sample_clouds(1).points.shape == (1, 14, 3)
    assert model.encode(foreign(2).points).mean.shape == (2, 3)


def test_a_folder_that_exists_is_refused_and_left_untouched(
    jets_run: Path, jets_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in jets_run.iterdir()}
    words = ["train", "--data", str(jets_file), "--out", str(jets_run), *TINY]
    assert_one_error(words, r"out must be .*own", capsys)
    assert {path: path.read_bytes() for path in jets_run.iterdir()} == before


def test_default_folders_are_numbered(
    jets_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "jets").mkdir(parents=True)
    assert cli.main(["train", "--data", str(jets_file), *TINY, "--epochs", "1"]) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"jets", "jets-2"}


def interrupted_run(jets_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of 6 epochs that is stopped by the user in its 4th."""
    forward, calls = losses.ThirdAxisChamfer.forward, [0]

    def stop(self: Any, *arguments: Any, **more: Any) -> Tensor:
        calls[0] += 1
        if calls[0] == 11:  # 2 training steps and 1 validation step an epoch
            raise KeyboardInterrupt
        return forward(self, *arguments, **more)

    words = ["train", "--data", str(jets_file), "--out", str(folder), *TINY, "--epochs", "6"]
    with monkeypatch.context() as patch:
        patch.setattr(losses.ThirdAxisChamfer, "forward", stop)
        try:
            cli.main(words)
        except (KeyboardInterrupt, SystemExit):
            pass
    assert len(history(folder)) == 3


def test_a_stopped_training_resumes_to_the_bits_of_one_that_was_never_stopped(
    jets_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    words = ["train", "--data", str(jets_file), "--out", str(whole), *TINY, "--epochs", "6"]
    assert cli.main(words) == 0
    interrupted_run(jets_file, stopped, monkeypatch)
    assert cli.main(["train", "--resume", str(stopped)]) == 0
    assert history(stopped) == history(whole)
    assert torch.equal(samples(stopped), samples(whole))


def test_a_killed_training_resumes_to_the_same_bits(
    jets_file: Path, tmp_path: Path, start: Starter
) -> None:
    words = ["train", "--data", str(jets_file), *TINY, "--epochs", "4"]
    folders = {name: tmp_path / name for name in ("whole", "killed")}
    whole = start(1, "shared_work.command", words=[*words, "--out", str(folders["whole"])])
    assert whole.codes == [0], whole.err
    # of 2 training steps and 1 validation step an epoch, in the third one
    killed = [*words, "--out", str(folders["killed"])]
    ended = start(1, "shared_work.killed_command", words=killed, call=8)
    assert ended.codes == [-signal.SIGKILL]
    assert not (folders["killed"] / "model.json").exists()
    assert len(history(folders["killed"])) == 2
    resumed = start(1, "shared_work.command", words=["train", "--resume", killed[-1]])
    assert resumed.codes == [0], resumed.err
    for file in ("history.csv", "model.safetensors", "samples.npz"):
        first, second = ((folder / file).read_bytes() for folder in folders.values())
        assert first == second, file


def test_resume_takes_its_own_config(jets_run: Path) -> None:
    config = str(jets_run / "config.yaml")
    assert cli.main(["train", "--resume", str(jets_run), "--config", config]) == 0


def test_resume_refuses_changed_options(
    jets_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted_run(jets_file, tmp_path / "run", monkeypatch)
    capsys.readouterr()
    words = ["train", "--resume", str(tmp_path / "run"), "--beta", "0.5"]
    assert_one_error(words, "beta", capsys)


def test_resume_of_another_versions_run_is_one_error(
    jets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((jets_run / "manifest.json").read_text())
    del manifest["config"]["optimizer"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    words = ["train", "--resume", str(tmp_path), "--precision", "32-true"]
    assert_one_error(words, "a run of this version, .* was begun without optimizer", capsys)


def test_a_training_that_explodes_is_one_error_without_traceback(
    jets_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(jets_file), "--out", str(tmp_path / "run"), *TINY]
    assert cli.main([*words, "--learning-rate", "1e20"]) == 2
    err = capsys.readouterr().err
    assert re.search(r"^gconvae: error: .*learning_rate", err.splitlines()[-1])
    assert "Traceback" not in err


def test_a_wrong_word_ends_the_process_with_code_2_and_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [COMMAND, "train", "--digit", "eleven"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(r"gconvae: error: [^\n]+\n", done.stderr)


def test_a_file_of_too_few_clouds_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "few.npz"
    np.savez(path, points=np.random.default_rng(0).random((14, 12, 3)))
    words = ["train", "--data", str(path), "--out", str(tmp_path / "run"), *TINY]
    assert_one_error(words, "data must hold at least 15 clouds", capsys)
    np.savez(path, points=np.random.default_rng(0).random((15, 12, 3)))
    assert cli.main(words) == 0


def test_a_default_folder_taken_a_moment_ago_is_left_alone(
    jets_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    free, asked = train.free_run_folder, []

    def late(given: Any) -> Path:
        found = free(given)
        if not asked:  # another process is faster, once
            found.mkdir(parents=True)
        asked.append(found)
        return found

    monkeypatch.setattr(train, "free_run_folder", late)
    assert cli.main(["train", "--data", str(jets_file), *TINY]) == 0
    assert [folder.name for folder in asked] == ["jets", "jets-2"]
    assert not list(asked[0].iterdir())
    assert (asked[1] / "model.json").exists()


@pytest.fixture
def _ctrl_c() -> Iterator[None]:
    """Ctrl-C interrupts, as in a terminal; a process in the background begins by ignoring it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def handlers() -> list[Any]:
    """What the process does on Ctrl-C and at a polite end."""
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


@pytest.mark.usefixtures("_ctrl_c")
def test_an_interrupt_says_how_to_go_on(
    jets_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(self: Any, *arguments: Any, **more: Any) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(losses.ThirdAxisChamfer, "forward", interrupt)
    words = ["train", "--data", str(jets_file), "--out", str(tmp_path / "run"), *TINY]
    before = handlers()
    assert cli.main(words) == 130
    assert handlers() == before
    err = capsys.readouterr().err
    assert f"gconvae: stopped; go on with: gconvae train --resume {tmp_path / 'run'}\n" in err


@pytest.mark.usefixtures("_ctrl_c")
def test_a_polite_end_says_how_to_go_on_too(
    jets_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def terminate(self: Any, *arguments: Any, **more: Any) -> Tensor:
        os.kill(os.getpid(), signal.SIGTERM)
        return torch.zeros(len(arguments[0]))

    before = handlers()
    monkeypatch.setattr(losses.ThirdAxisChamfer, "forward", terminate)
    folder = tmp_path / "a run"
    words = ["train", "--data", str(jets_file), "--out", str(folder), *TINY]
    assert cli.main(words) == 128 + signal.SIGTERM
    assert f"go on with: gconvae train --resume '{folder}'\n" in capsys.readouterr().err
    assert handlers() == before


def test_what_was_stopped_before_it_began_has_no_folder_to_go_on_with(
    jets_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*arguments: Any, **more: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gconvae.studies.experiment.fit", interrupt)
    words = ["train", "--data", str(jets_file), "--out", str(tmp_path / "run"), *TINY]
    assert cli.main(words) == 130
    printed = capsys.readouterr()
    assert printed == ("", "gconvae: stopped; nothing was begun\n")


def test_quiet_prints_the_result_alone(
    jets_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    words = ["-q", "train", "--data", str(jets_file), "--out", str(folder), *TINY]
    assert cli.main([*words, "--epochs", "1"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].startswith("best epoch 1 of 1")
    assert lines[-1].endswith(f"everything is in {folder}")
    assert printed.err == ""


def test_the_first_line_says_what_it_will_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def begun(*arguments: Any, **more: Any) -> None:
        logging.getLogger("gconvae.training").info("stage network: at most 8 epochs")
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("gconvae.studies.experiment.fit", begun)
    assert cli.main(["train", "--recipe", "digits"]) == 130
    said = "training on 49800 clouds, validation 10200, test 10000, about 80 minutes on one core"
    assert capsys.readouterr().out == f"{said} of an Intel Xeon: runs/digits\n"


def test_classes_are_listed_by_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = torch.rand(60, 12, 3, generator=torch.Generator().manual_seed(0))
    data = gconvae.datasets.from_points(points, labels=["gluon", "gluon", "top"] * 20)
    gconvae.datasets.to_file(data, tmp_path / "own.npz")
    words = ["train", "--data", str(tmp_path / "own.npz"), "--out", str(tmp_path / "run"), *TINY]
    assert cli.main([*words, "--epochs", "1", "--count", "50"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    start = lines.index(["class", "real", "generated"])
    assert [line[0] for line in lines[start + 1 : start + 3]] == ["gluon", "top"]
    for column in (1, 3):
        shares = [float(line[column]) for line in lines[start + 1 : start + 3]]
        assert sum(shares) == pytest.approx(100.0, abs=0.11)

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gconvae
from gconvae import datasets, losses, options
from gconvae.cli import main as cli

SMALL = ("--hidden", "16", "--channels", "[2,3]", "--recipe", "slides")
COMMAND = str(Path(sys.executable).with_name("gconvae"))
TINY = (*SMALL, "--epochs", "2", "--batch-size", "50", "--count", "30")


def foreign(num_clouds: int = 100, seed: int = 0) -> datasets.CloudDataset:
    """Ragged clouds of up to 12 nodes, positions in [-1, 1], third feature up to 500."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(num_clouds, 12, 3, generator=random)
    points[:, :3] = points[:, :3].round()  # every limit is reached often
    points = points * torch.tensor([2.0, 2.0, 500.0]) + torch.tensor([-1.0, -1.0, 0.0])
    counts = 4 + torch.arange(num_clouds) % 9
    return datasets.from_points(points, torch.arange(12) < counts.unsqueeze(1))


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datasets.to_file(foreign(), tmp_path_factory.mktemp("data") / "jets.npz")


@pytest.fixture(scope="module")
def own_run(own_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on own points."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    assert cli.main(["train", "--data", str(own_file), "--out", str(folder), *TINY]) == 0
    return folder


class Finished:
    """What a command left behind."""

    def __init__(self, code: int, out: str, err: str, folder: Path) -> None:
        self.code, self.out, self.err, self.folder = code, out, err, folder


@pytest.fixture(scope="module")
def eights(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The main job, small, in a process and a folder of its own."""
    place = tmp_path_factory.mktemp("fresh")
    words = ("train", "--epochs", "1", "--batch-size", "500", "--hidden", "32", "--count", "50")
    words += ("--likelihood", "autoregressive(steps=10, width=16)")
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


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def samples(folder: Path) -> Tensor:
    return datasets.from_file(folder / "samples.npz").points


# train


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


def test_the_main_job_trains_on_the_bundled_eights(eights: Finished) -> None:
    manifest = json.loads((eights.folder / "manifest.json").read_text())
    train, valid = datasets.split(datasets.SuperpixelMNIST(8, "train"))
    assert manifest["train"] == {"clouds": 4857, "image_size": 28, "sha256": train.checksum()}
    assert manifest["valid"] == {"clouds": 994, "image_size": 28, "sha256": valid.checksum()}


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


def test_own_points_train_sample_and_plot(own_run: Path, own_file: Path) -> None:
    manifest = json.loads((own_run / "manifest.json").read_text())
    data = datasets.from_file(own_file)
    clouds = manifest["train"]["clouds"] + manifest["valid"]["clouds"]
    assert clouds == 80  # a fifth is the test set
    made = samples(own_run)
    assert made.shape == (30, 12, 3)  # as many nodes as the largest cloud
    low, high = data.points[data.mask].amin(0), data.points[data.mask].amax(0)
    slack = 1e-5 * (high - low)
    assert (made >= low - slack).all()
    assert (made <= high + slack).all()
    assert (own_run / "clouds.png").stat().st_size > 1000


def test_own_points_with_long_tails_train(tmp_path: Path) -> None:
    points = torch.randn(80, 12, 3, generator=torch.Generator().manual_seed(3))
    points[..., 2] = points[..., 2].exp()
    file = datasets.to_file(datasets.from_points(points), tmp_path / "own.npz")
    words = ["train", "--data", str(file), "--out", str(tmp_path / "run"), *TINY]
    assert cli.main(words) == 0


def test_the_saved_config_runs_the_same_again(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", str(own_run / "config.yaml"), "--out", str(tmp_path / "again")]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert history(tmp_path / "again") == history(own_run)
    assert torch.equal(samples(tmp_path / "again"), samples(own_run))


def test_a_config_can_be_written_by_hand_and_a_flag_wins_over_it(
    own_file: Path, tmp_path: Path
) -> None:
    config = tmp_path / "own.yaml"
    lines = ("recipe: slides", f"data: {own_file}", "hidden: 16", "channels: [2, 3]")
    config.write_text("\n".join([*lines, "epochs: 3", "beta: 0.5", "count: 7"]))
    out = tmp_path / "run"
    assert cli.main(["train", "--config", str(config), "--epochs", "1", "--out", str(out)]) == 0
    saved = json.loads((out / "manifest.json").read_text())["options"]
    assert (saved["epochs"], saved["beta"]) == (1, 0.5)
    assert len(samples(out)) == 7


def test_every_training_option_reaches_the_training(own_file: Path, tmp_path: Path) -> None:
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
        "device": "cpu",
        "precision": "float32",
        "threads": 1,
        "workers": 1,
        "kl_warmup": 2,
        "kl_cycle": 0,
        "free_bits": 0.125,
        "joint_prior": False,
    }
    assert wanted.keys() == {field.name for field in dataclasses.fields(options.TrainingOptions)}
    flags = [word for name, value in wanted.items() for word in (f"--{name}", str(value))]
    words = ["train", "--data", str(own_file), "--out", str(tmp_path / "run"), *SMALL, *flags]
    assert cli.main([*words, "--count", "5", "--latent-dim", "3", "--num-points", "14"]) == 0
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["options"] == wanted
    model = gconvae.load(tmp_path / "run")
    assert model.sample_clouds(1).points.shape == (1, 14, 3)
    assert model.encode(foreign(2).points).mean.shape == (2, 3)


def test_a_folder_that_exists_is_refused_and_left_untouched(
    own_run: Path, own_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in own_run.iterdir()}
    words = ["train", "--data", str(own_file), "--out", str(own_run), *TINY]
    assert_one_error(words, r"out must be .*own", capsys)
    assert {path: path.read_bytes() for path in own_run.iterdir()} == before


def test_default_folders_are_numbered(
    own_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "jets").mkdir(parents=True)
    assert cli.main(["train", "--data", str(own_file), *TINY, "--epochs", "1"]) == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"jets", "jets-2"}


# resume


def interrupted_run(own_file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training of 6 epochs that is stopped by the user in its 4th."""
    forward, calls = losses.ThirdAxisChamfer.forward, [0]

    def stop(self: Any, *arguments: Any, **more: Any) -> Tensor:
        calls[0] += 1
        if calls[0] == 11:  # 2 training steps and 1 validation step an epoch
            raise KeyboardInterrupt
        return forward(self, *arguments, **more)

    words = ["train", "--data", str(own_file), "--out", str(folder), *TINY, "--epochs", "6"]
    with monkeypatch.context() as patch:
        patch.setattr(losses.ThirdAxisChamfer, "forward", stop)
        try:
            cli.main(words)
        except (KeyboardInterrupt, SystemExit):
            pass
    assert len(history(folder)) == 3


def test_a_stopped_training_resumes_to_the_bits_of_one_that_was_never_stopped(
    own_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    words = ["train", "--data", str(own_file), "--out", str(whole), *TINY, "--epochs", "6"]
    assert cli.main(words) == 0
    interrupted_run(own_file, stopped, monkeypatch)
    assert cli.main(["train", "--resume", str(stopped)]) == 0
    assert history(stopped) == history(whole)
    assert torch.equal(samples(stopped), samples(whole))


def test_a_killed_training_resumes_to_the_same_bits(own_file: Path, tmp_path: Path) -> None:
    words = [COMMAND, "train", "--data", str(own_file), *SMALL, "--batch-size", "5"]
    words += ["--epochs", "40", "--count", "30"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    folders = {name: tmp_path / name for name in ("whole", "killed")}
    subprocess.run(
        [*words, "--out", str(folders["whole"])], env=environment, check=True, capture_output=True
    )
    killed = subprocess.Popen(
        [*words, "--out", str(folders["killed"])], env=environment, stderr=subprocess.DEVNULL
    )
    while not (folders["killed"] / "last.ckpt").exists():
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert not (folders["killed"] / "model.json").exists()
    resume = [COMMAND, "train", "--resume", str(folders["killed"])]
    subprocess.run(resume, env=environment, check=True, capture_output=True)
    for file in ("history.csv", "model.safetensors", "samples.npz"):
        whole, resumed = ((folder / file).read_bytes() for folder in folders.values())
        assert whole == resumed, file


def test_resume_takes_its_own_config(own_run: Path) -> None:
    config = str(own_run / "config.yaml")
    assert cli.main(["train", "--resume", str(own_run), "--config", config]) == 0


def test_resume_refuses_changed_options(
    own_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    interrupted_run(own_file, tmp_path / "run", monkeypatch)
    capsys.readouterr()
    words = ["train", "--resume", str(tmp_path / "run"), "--beta", "0.5"]
    assert_one_error(words, "beta", capsys)


# sample


def test_sample_writes_clouds_and_a_figure(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figure = tmp_path / "new.npz", tmp_path / "new.png"
    words = ["sample", str(own_run), "--count", "20", "--seed", "9", "--out", str(out)]
    assert cli.main([*words, "--figure", str(figure)]) == 0
    made = gconvae.load(own_run).sample_clouds(20, seed=9)
    assert torch.equal(datasets.from_file(out).points, made.points)
    assert figure.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "new.npz" in printed
    assert "new.png" in printed


def test_samples_can_be_read_without_this_library(own_run: Path, tmp_path: Path) -> None:
    assert cli.main(["sample", str(own_run), "--out", str(tmp_path / "new.npz")]) == 0
    with np.load(tmp_path / "new.npz", allow_pickle=False) as file:
        assert file["points"].shape == (options.SampleOptions().count, 12, 3)
        assert np.isfinite(file["points"]).all()


@pytest.mark.parametrize("taken", ["new.npz", "new.png"])
def test_sample_refuses_to_overwrite(
    own_run: Path, tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / taken).write_text("mine")
    words = ["sample", str(own_run), "--out", str(tmp_path / "new.npz")]
    words += ["--figure", str(tmp_path / "new.png"), "--count", "3"]
    assert_one_error(words, f"must not exist.*{taken}", capsys)
    assert (tmp_path / taken).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
    assert cli.main([*words, "--overwrite", "true"]) == 0
    assert len(datasets.from_file(tmp_path / "new.npz")) == 3


def test_sample_takes_a_config_file(own_run: Path, tmp_path: Path) -> None:
    config = tmp_path / "sample.yaml"
    config.write_text(f"count: 4\nseed: 2\nout: {tmp_path / 'new.npz'}\n")
    assert cli.main(["sample", str(own_run), "--config", str(config)]) == 0
    made = datasets.from_file(tmp_path / "new.npz").points
    assert torch.equal(made, gconvae.load(own_run).sample_clouds(4, seed=2)[0])


@pytest.mark.parametrize("name", ["new.xyz", "new"])
def test_a_figure_of_unknown_format_is_refused_before_anything_is_written(
    own_run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", str(own_run), "--out", str(tmp_path / "new.npz"), "--count", "3"]
    assert_one_error([*words, "--figure", str(tmp_path / name)], "png, pdf, svg", capsys)
    assert list(tmp_path.iterdir()) == []


# help


def helped(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def explained(text: str) -> dict[str, str]:
    """What a help text says about each option, without the types and defaults."""
    blocks = re.split(r"\n  (?=-)", text.split("\noptions:")[1])
    found = {}
    for block in blocks[1:]:
        names = re.findall(r"--([a-z_]+)", block.split("  ")[0])
        sentence = re.sub(r"\(type: .*", "", " ".join(block.split("  ")[1:]), flags=re.DOTALL)
        for name in names:
            found[name] = " ".join(sentence.split())
    return found


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


def test_help_shows_the_defaults_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(helped(["train", "--help"], capsys).split()).split("How to train")[1]
    for field in dataclasses.fields(options.TrainingOptions):
        default = "null" if field.default is None else field.default
        found = re.search(rf"--{field.name} .*?\(type: .*?, default: (.*?)\)", text)
        assert found is not None, field.name
        assert found[1].replace("- ", "-") == str(default), field.name  # a line may end there


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert helped(["--version"], capsys) == f"gconvae {gconvae.__version__}\n"


def test_python_runs_the_module_as_the_command() -> None:
    command = [sys.executable, "-m", "gconvae.cli", "sample", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("gconvae: error:")


# what goes wrong


def assert_one_error(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and exactly one line on stderr."""
    capsys.readouterr()
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert re.fullmatch(r"gconvae: error: [^\n]+\n", err), err
    assert re.search(message, err), err
    assert "Traceback" not in err


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
        ("train --learning-rate 0", "learning_rate must be above 0"),
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
        ("train --latent-dim 0", "latent_dim must be a whole number of at least 1"),
        ("train --num-points 3", "num_points must be at least 7"),
        ("train --num-points 20", "at most 20 nodes"),
        ("train --count 0", "count|num_samples"),
        ("train --config absent.yaml", r"absent\.yaml"),
        ("train extra", "extra"),
        ("sample", "run"),
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


@pytest.mark.parametrize(
    "kind", ["truncated", "pickled", "nan", "shape", "dtype", "empty", "text"]
)
def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(
    own_file: Path,
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
        "dtype": points.astype(int),
        "empty": points[:0],
    }
    if kind in arrays:
        np.savez(path, points=arrays[kind])
    else:
        content = own_file.read_bytes()
        path.write_bytes(content[: len(content) // 2] if kind == "truncated" else b"x,y,i\n1,2,3")
    message = {"nan": "finite", "shape": "shape", "dtype": "floating", "empty": "at least one"}
    assert_one_error(["train", "--data", "own.npz"], message.get(kind, "whole npz file"), capsys)
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


def test_a_damaged_run_folder_is_one_line_and_exit_code_2(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("model.json", "model.safetensors"):
        content = (own_run / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    words = ["sample", str(folder), "--out", str(tmp_path / "new.npz")]
    assert_one_error(words, "damaged", capsys)


def test_a_sample_file_must_end_in_npz(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", str(own_run), "--out", str(tmp_path / "new.csv")]
    assert_one_error(words, r"end in \.npz", capsys)


def test_a_place_where_nothing_can_be_written_is_one_line_and_exit_code_2(
    own_run: Path, own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    below = str(tmp_path / "file" / "new.npz")
    assert_one_error(["sample", str(own_run), "--out", below, "--count", "2"], "file", capsys)
    words = ["train", "--data", str(own_file), "--out", str(tmp_path / "file" / "run"), *TINY]
    assert_one_error(words, "file", capsys)


def test_a_training_that_explodes_is_one_error_without_traceback(
    own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--data", str(own_file), "--out", str(tmp_path / "run"), *TINY]
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
    own_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    free, asked = cli._default_folder, []

    def late(given: Any) -> Path:
        found = free(given)
        if not asked:  # another process is faster, once
            found.mkdir(parents=True)
        asked.append(found)
        return found

    monkeypatch.setattr(cli, "_default_folder", late)
    assert cli.main(["train", "--data", str(own_file), *TINY]) == 0
    assert [folder.name for folder in asked] == ["jets", "jets-2"]
    assert not list(asked[0].iterdir())
    assert (asked[1] / "model.json").exists()


def test_an_interrupt_says_how_to_go_on(
    own_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupt(self: Any, *arguments: Any, **more: Any) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(losses.ThirdAxisChamfer, "forward", interrupt)
    words = ["train", "--data", str(own_file), "--out", str(tmp_path / "run"), *TINY]
    assert cli.main(words) == 130
    assert "--resume" in capsys.readouterr().err

"""The commands that judge and repeat: ``gconvae evaluate``, ``sweep`` and ``reproduce``."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

import gconvae
from gconvae import datasets, losses, metrics, options
from gconvae.cli import main as cli
from gconvae.datasets import CloudDataset, SuperpixelMNIST
from gconvae.metrics import Report
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.studies import experiment as experiment_room
from gconvae.studies.experiment import Experiment
from gconvae.training import run_folder

SMALL = ("--hidden", "8", "--channels", "[2,3]", "--batch-size", "20", "--epochs", "2")
PNG = b"\x89PNG"


def own_clouds(num_clouds: int, seed: int) -> CloudDataset:
    """Clouds of 12 nodes that are no image's."""
    random = torch.Generator().manual_seed(seed)
    return datasets.from_points(torch.rand(num_clouds, 12, 3, generator=random))


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datasets.to_file(own_clouds(80, seed=0), tmp_path_factory.mktemp("data") / "own.npz")


@pytest.fixture(scope="module")
def experiment(own_file: Path) -> Experiment:
    return Experiment(
        DataOptions(data=str(own_file)),
        ModelOptions(hidden=8, channels=(2, 3)),
        TrainingOptions(epochs=3, batch_size=20, seed=5),
    )


@pytest.fixture(scope="module")
def own_run(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on a file."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    experiment.run(folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def image_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on superpixels that were handed over, by ``gconvae.fit``."""
    folder = tmp_path_factory.mktemp("runs") / "images"
    model = gconvae.models.create("convae", hidden=8, channels=(2, 3), seed=0)
    data = SuperpixelMNIST(8, "test")[:60]
    gconvae.fit(model, data, epochs=1, out=folder, progress=False)
    return folder


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_one_error(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and exactly one line on stderr, after nothing on stdout."""
    capsys.readouterr()
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert re.fullmatch(r"gconvae: error: [^\n]+\n", printed.err), printed.err
    assert re.search(message, printed.err), printed.err
    assert printed.out == ""


# evaluate


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
    assert {"intensity W1", "chamfer coverage", "matching 1-NNA", "embedding AUC"} <= found
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
    assert_one_error(["evaluate", str(own_file)], "same image_size, None .* got 28", capsys)


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("evaluate", "made"),
        ("evaluate absent", "absent does not exist"),
        ("evaluate absent.npz", r"absent\.npz"),
        ("evaluate RUN --against absent.npz", r"absent\.npz"),
        ("evaluate RUN --metrics sharpness", "features.*sharpness"),
        ("evaluate RUN --metrics features,,sets", "metrics"),
        ("evaluate RUN --metrics frechet", "needs clouds of 28 x 28 images"),
        ("evaluate RUN --count 0", "count must be a whole number of at least 1"),
        ("evaluate RUN --seed -1", "seed"),
        ("evaluate RUN --figure own.xyz", "png, pdf, svg"),
        ("evaluate RUN --out missing/own.json", "missing"),
        ("evaluate RUN --figure missing/own.png", "missing"),
        ("evaluate FILE --digit 11", "digit must be 0 to 9"),
        ("evaluate . ", "no finished training"),
        ("sweep", "options"),
        ("sweep beta", "form name=value"),
        ("sweep beta=", "form name=value"),
        ("sweep betta=1", "got 'betta'"),
        ("sweep seed=1,2", "got 'seed'"),
        ("sweep beta=-1", "beta must be at least 0"),
        ("sweep beta=0.1,,0.3", "beta"),
        ("sweep beta=1..2", "trials must be at least 1"),
        ("sweep beta=2..1 --trials 2", "low must be below high"),
        ("sweep beta=null..1 --trials 2", "beta|low"),
        ("sweep beta=1 --trials 2", "trials must be None for a grid"),
        ("sweep beta=1 beta=2", "beta"),
        ("sweep beta=1 --beta 2", "beta"),
        ("sweep beta=1 --seeds 0", "seeds must be one or more"),
        ("sweep beta=1 --metric sharpness", "metric must be .*intensity W1.*got 'sharpness'"),
        ("sweep beta=1 --data absent.npz", r"absent\.npz"),
        ("sweep beta=1 --epochs 0", "epochs must be a whole number"),
        ("sweep loss=third_axis,chamfer", "third_axis, matched_intensity"),
        ("reproduce", "run"),
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


# sweep


def test_sweep_trains_a_grid_prints_the_best_and_draws_each_option(
    own_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "sweep"
    words = ["sweep", "beta=0.1,10", "latent-dim=2,3", "--data", str(own_file), *SMALL]
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
    words = ["sweep", "beta=0.1,10", "--data", str(own_file), *SMALL, "--seeds", "1"]
    words += ["--out", str(tmp_path / "sweep")]
    assert cli.main(words) == 0
    first = capsys.readouterr().out

    def never(*arguments: Any, **more: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(experiment_room, "fit", never)
    assert cli.main(words) == 0
    assert capsys.readouterr().out == first
    assert "nan" not in first


def test_sweep_samples_a_range(own_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    words = ["sweep", "learning_rate=1e-4..1e-2:log", "--trials", "2", "--seeds", "1"]
    words += ["--metric", "valid_rec", "--data", str(own_file), *SMALL, "--out", str(folder)]
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

    words = ["sweep", "beta=0.1", "--data", str(own_file), *SMALL, "--seeds", "1"]
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
    words = ["sweep", "learning_rate=1e20", "--data", str(own_file), *SMALL, "--seeds", "1"]
    assert cli.main([*words, "--out", str(tmp_path / "sweep")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"gconvae: error: .*learning_rate.*", last)


# reproduce


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
    history = run_folder.read_history(folder / "history.csv")
    history[column][epoch - 1] += 0.25
    history[column][-1] += 0.25
    run_folder.write_history(history, folder / "history.csv")
    assert cli.main(["reproduce", str(folder)]) == 1
    printed = capsys.readouterr().out
    assert "identical" not in printed
    assert re.search(rf"epoch {epoch}\b.*{column}", printed)
    assert "0.25" in printed or "0.5" in printed  # the size of the difference


def test_reproduce_of_fewer_epochs_does_not_see_later_differences(
    own_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(own_run, tmp_path / "run")
    history = run_folder.read_history(folder / "history.csv")
    history["valid_kl"][2] += 1.0
    run_folder.write_history(history, folder / "history.csv")
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


# help


def helped(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


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
        found = re.search(rf"--{name}\b[^\n]*\n?\s+(.*?)(\(type|\n  -)", text, flags=re.DOTALL)
        assert found is not None, name


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

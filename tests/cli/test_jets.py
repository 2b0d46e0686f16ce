"""``gconvae jets make``, and the bundled jets in other commands."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from commands import SMALL, assert_one_error, explained, helped

import gconvae
from gconvae import datasets
from gconvae.cli import main as cli
from gconvae.cli.train import free_run_folder
from gconvae.options import DataOptions, TrainingOptions
from gconvae.studies.experiment import Experiment


def test_jets_are_made_and_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "tops.hdf5"
    words = ["jets", "make", "--kind", "top", "--count", "2", "--out", str(out)]
    words += ["--particles", "40", "--processes", "1", "--progress", "false"]
    assert cli.main(words) == 0
    printed = capsys.readouterr()
    assert printed.out == f"2 jets: {out}\n"
    assert printed.err == ""
    assert datasets.from_file(out).points.shape == (2, 40, 3)


def test_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    text = explained(helped(["jets", "--help"], capsys))
    wanted = {"kind", "count", "out", "particles", "seed", "processes", "progress"}
    assert wanted <= text.keys()
    assert [name for name, sentence in text.items() if len(sentence) < 8] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["draw"], "ACTION must be make, got 'draw'"),
        (["make", "--kind", "w"], "kind must be one of .*gluon.*got 'w'"),
        (["make", "--count", "0"], "count must be a whole number, 1 or more, got 0"),
        (["make", "--count", "many"], "count"),
        (["make", "--particles", "151"], "--particles must be a whole number, 1 to 150"),
        (["make", "--out", "jets.txt"], "out must end in .hdf5 or .h5, got jets.txt"),
        (["make", "--out", "nowhere/jets.h5"], "out must lie in an existing folder"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_one_error(["jets", *words], message, capsys)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_to_train_on_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_error(
        ["train", "--data", "jets:w"], "--data must be jets:gluon, .*, got 'jets:w'$", capsys
    )


def test_each_split_of_the_bundled_jets_has_its_part() -> None:
    experiment = Experiment(DataOptions(data="jets:quark,top"), training=TrainingOptions(seed=4))
    for part, name in zip(experiment.splits, ("train", "valid", "test"), strict=True):
        assert part.checksum() == datasets.Jets(["q", "t"], name).checksum()


def test_jets_are_trained_on_and_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a fiftieth of the jets, which are many for a test."""
    original = datasets.Jets
    read = functools.cache(lambda kinds, split: original(list(kinds), split)[::50])
    monkeypatch.setattr(datasets, "Jets", lambda kinds, split: read(tuple(kinds), split))
    run = tmp_path / "run"
    words = ["train", "--data", "jets:gluon", "--out", str(run), *SMALL, "--epochs", "1"]
    assert cli.main([*words, "--count", "80"]) == 0
    assert "240 clouds, validation 80, test 80" in capsys.readouterr().out
    assert gconvae.load(run).schema.name == "jets"
    words = ["--metrics", "features", "--count", "80"]
    assert cli.main(["evaluate", str(run), *words]) == 0
    assert "80 real, 80 reference, 240 training clouds" in capsys.readouterr().out
    samples = str(run / "samples.npz")
    assert cli.main(["evaluate", samples, "--against", "jets:g", *words[:2]]) == 0
    assert "against jets:g: 80 real, 80 reference clouds" in capsys.readouterr().out


def test_a_run_folder_is_called_by_the_jets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from jsonargparse import Namespace

    options = Namespace(data="jets:gluon,top", digit=8)
    assert free_run_folder(options) == Path("runs/jets-gluon,top")

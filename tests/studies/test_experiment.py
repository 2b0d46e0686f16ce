"""Experiments: the training that a config describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gconvae import datasets
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.studies.experiment import Experiment, train_and_test


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    points = torch.rand(60, 8, 3, generator=torch.Generator().manual_seed(0))
    return datasets.to_file(datasets.from_points(points), tmp_path / "own.npz")


def small(file: Path) -> Experiment:
    return Experiment(
        DataOptions(data=str(file)),
        ModelOptions(hidden=16, channels=(4, 4), padding=2),
        TrainingOptions(epochs=1, seed=3),
    )


def test_config_and_experiment_are_each_others_inverse(own_file: Path) -> None:
    experiment = small(own_file)
    through_file = json.loads(json.dumps(experiment.config()))
    assert Experiment.from_config(through_file) == experiment
    assert Experiment.from_config(through_file | {"count": 5}) == experiment


def test_a_config_without_data_is_refused() -> None:
    with pytest.raises(ValueError, match="config must hold data and digit.*got beta"):
        Experiment.from_config({"beta": 1.0})


def test_training_validation_and_test_share_no_cloud(own_file: Path) -> None:
    splits = small(own_file).splits
    rows = torch.cat([part.points.flatten(1) for part in splits])
    assert [len(part) for part in splits] == [40, 8, 12]
    assert len(rows.unique(dim=0)) == 60


def test_the_bundled_digits_come_in_their_own_parts() -> None:
    train, test = train_and_test(DataOptions(digit=3))
    assert train.checksum() == datasets.SuperpixelMNIST(3, "train").checksum()
    assert test.checksum() == datasets.SuperpixelMNIST(3, "test").checksum()


def test_a_run_can_be_made_again_from_its_folder(own_file: Path, tmp_path: Path) -> None:
    run = small(own_file).run(tmp_path / "run", progress=False)
    saved = json.loads((tmp_path / "run" / "config.yaml").read_text())
    again = Experiment.from_config(saved).run(progress=False)
    assert again.history == run.history
    assert torch.equal(again.model.sample(3), run.model.sample(3))
    # a network as large as the training clouds, where the options name no size
    assert again.model.sample(3).shape == (3, 8, 3)


def test_a_file_of_few_clouds_is_refused(tmp_path: Path) -> None:
    file = datasets.to_file(datasets.from_points(torch.rand(14, 5, 3)), tmp_path / "few.npz")
    with pytest.raises(ValueError, match="data must hold at least 15 clouds.*got 14"):
        train_and_test(DataOptions(data=str(file)))


def test_the_most_nodes_of_a_cloud_are_an_option_of_the_data(tmp_path: Path) -> None:
    datasets.to_file(datasets.Jets("g", "test")[:40], tmp_path / "jets.hdf5")
    for data, sizes in ((str(tmp_path / "jets.hdf5"), [27, 5, 8]), ("jets:gluon", None)):
        experiment = Experiment(DataOptions(data=data, max_nodes=9))
        assert [part.points.shape[1] for part in experiment.splits] == [9, 9, 9]
        assert sizes is None or [len(part) for part in experiment.splits] == sizes
        assert experiment.untrained(experiment.splits.train).conditioning.num_points == 9
        assert Experiment.from_config(experiment.config()) == experiment
    every = train_and_test(DataOptions(data="jets:gluon", max_nodes=99))[1]
    assert torch.equal(every.points, datasets.Jets("gluon", "test").points)
    config = Experiment().config()
    del config["max_nodes"]  # of a run before there was the option
    assert Experiment.from_config(config) == Experiment()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_nodes": 5}, "max_nodes must be null for the bundled digits"),
        ({"data": "jets:g", "max_nodes": 0}, "max_nodes must be a whole number of at least 1"),
    ],
)
def test_a_wrong_number_of_most_nodes_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataOptions(**options)

"""Files and trainings that the tests of several commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import TINY, foreign, own_clouds

import gconvae
from gconvae import datasets
from gconvae.cli import main as cli
from gconvae.datasets import SuperpixelMNIST
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.studies.experiment import Experiment


@pytest.fixture(autouse=True)
def _few_panels(few_panels: None) -> None:
    """For all commands but what several tests share, ``jets_run`` and the main job."""


@pytest.fixture(scope="session")
def jets_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datasets.to_file(foreign(), tmp_path_factory.mktemp("data") / "jets.npz")


@pytest.fixture(scope="session")
def jets_run(jets_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on own points."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    assert cli.main(["train", "--data", str(jets_file), "--out", str(folder), *TINY]) == 0
    return folder


@pytest.fixture(scope="session")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return datasets.to_file(own_clouds(80, seed=0), tmp_path_factory.mktemp("data") / "own.npz")


@pytest.fixture(scope="session")
def experiment(own_file: Path) -> Experiment:
    return Experiment(
        DataOptions(data=str(own_file)),
        ModelOptions(hidden=8, channels=(2, 3)),
        TrainingOptions(epochs=3, batch_size=20, seed=5),
    )


@pytest.fixture(scope="session")
def own_run(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on a file."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    experiment.run(folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def image_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training on superpixels that were handed over, by ``gconvae.fit``."""
    folder = tmp_path_factory.mktemp("runs") / "images"
    model = gconvae.models.create("convae", hidden=8, channels=(2, 3), seed=0)
    data = SuperpixelMNIST(8, "test")[:60]
    gconvae.fit(model, data, epochs=1, out=folder, progress=False)
    return folder

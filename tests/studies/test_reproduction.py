"""Reproduction: a run made again from its folder."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

import gconvae
from gconvae import datasets, models
from gconvae.datasets import CloudDataset, SuperpixelMNIST
from gconvae.losses import ThirdAxisChamfer
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.scaling import FeatureScaling
from gconvae.studies import reproduction
from gconvae.studies.experiment import Experiment
from gconvae.studies.reproduction import Reproduction
from gconvae.training import run_folder
from gconvae.training.history import read_history, write_history
from gconvae.vae import VAE

SHAPE = {"hidden": 16, "channels": (4, 4), "padding": 2}


@pytest.fixture(scope="module")
def eights() -> CloudDataset:
    return SuperpixelMNIST(8, "test")[:60]


def small(seed: int = 0) -> VAE:
    return models.create("convae", seed=seed, **SHAPE)


def trained(folder: Path, data: Any, model: VAE | None = None, **options: Any) -> Path:
    """The folder of a training of 3 epochs."""
    options = {"epochs": 3, "batch_size": 20, "progress": False} | options
    gconvae.fit(model or small(), data, out=folder, **options)
    return folder


def reproduce(folder: Path, *clouds: Any, **options: Any) -> Reproduction:
    return reproduction.reproduce(folder, *clouds, progress=False, **options)


@pytest.fixture(scope="module")
def untouched_run(eights: CloudDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("runs") / "run", eights)


@pytest.fixture
def run(untouched_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    folder = tmp_path / "run"
    folder.mkdir()
    for file in untouched_run.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Changes the manifest."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


class Own(nn.Module):
    """A loss of one's own, which notes the threads it was computed on."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = ThirdAxisChamfer()
        self.threads: set[int] = set()

    def forward(self, target: Tensor, output: Tensor, mask: Tensor | None = None) -> Tensor:
        self.threads.add(torch.get_num_threads())
        return self.loss(target, output, mask)


class Stopping(ThirdAxisChamfer):
    """The real loss, until its calls are used up."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, *arguments: Any, **more: Any) -> Tensor:
        self.calls -= 1
        if self.calls < 0:
            raise KeyboardInterrupt
        return super().forward(*arguments, **more)


# the same bits


def test_a_run_of_fit_is_identical(eights: CloudDataset, untouched_run: Path) -> None:
    found = reproduce(untouched_run, eights)
    assert found.identical
    assert found.first_difference is None
    assert found.epochs_compared == 3
    assert found.compared == ("history", "weights", "samples")
    assert found.environment == ()
    assert str(found).splitlines() == [
        "identical",
        "compared: history, weights, samples; epochs: 3",
        "versions and machine: the same",
    ]


def test_a_run_of_options_needs_its_folder_only(tmp_path: Path) -> None:
    points = torch.rand(60, 8, 3, generator=torch.Generator().manual_seed(0))
    file = datasets.to_file(datasets.from_points(points), tmp_path / "own.npz")
    options = TrainingOptions(epochs=2, seed=3, batch_size=20, loss="matched_intensity", beta=0.3)
    experiment = Experiment(DataOptions(data=str(file)), ModelOptions(**SHAPE), options)
    experiment.run(tmp_path / "run", progress=False)
    found = reproduce(tmp_path / "run")
    assert found.identical
    assert found.compared == ("history", "weights", "samples")


def test_a_repetition_leaves_the_folder_and_global_state_as_they_were(
    eights: CloudDataset, run: Path
) -> None:
    edit(run, lambda manifest: manifest.update(threads=torch.get_num_threads() + 1))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()}
    threads = torch.get_num_threads()
    reproduce(run, eights, epochs=1)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()}
    assert before == after
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_repetition_can_be_kept(
    eights: CloudDataset, untouched_run: Path, tmp_path: Path
) -> None:
    reproduce(untouched_run, eights, out=tmp_path / "again")
    for name in ("history.csv", "model.safetensors", "report_valid.json", "config.yaml"):
        assert (tmp_path / "again" / name).read_bytes() == (untouched_run / name).read_bytes()
    with pytest.raises(ValueError, match="out must be a new folder"):
        reproduce(untouched_run, eights, out=untouched_run)


def test_given_validation_clouds_have_to_be_given_again(
    eights: CloudDataset, tmp_path: Path
) -> None:
    folder = trained(tmp_path / "run", eights[:40], valid=eights[40:])
    assert reproduce(folder, eights[:40], eights[40:]).identical
    with pytest.raises(ValueError, match="data must hold the clouds of the run, clouds 40, got"):
        reproduce(folder, eights[:40])


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 7, "standardize": True},
        {"workers": 2},
        {"scaling": "range", "neighbors": "dense"},
        {"patience": 1, "learning_rate": 1e-30, "epochs": 6},
    ],
)
def test_every_kind_of_training_is_identical(
    eights: CloudDataset, tmp_path: Path, options: dict[str, Any]
) -> None:
    assert reproduce(trained(tmp_path / "run", eights, **options), eights).identical


def test_the_seed_of_the_starting_weights_is_found(eights: CloudDataset, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", eights, small(seed=5), seed=2)
    assert reproduce(folder, eights).identical


def test_a_repetition_runs_on_the_threads_of_the_run(eights: CloudDataset, tmp_path: Path) -> None:
    wanted = torch.get_num_threads() + 1
    folder = trained(tmp_path / "run", eights, loss=Own(), threads=wanted, epochs=1)
    edit(folder, lambda manifest: manifest["options"].update(threads=None))
    loss = Own()
    assert reproduce(folder, eights, loss=loss).identical
    assert loss.threads == {wanted}


# a part of a run


def test_a_shorter_check_compares_the_first_epochs(
    eights: CloudDataset, untouched_run: Path
) -> None:
    found = reproduce(untouched_run, eights, epochs=1)
    assert found.identical
    assert (found.epochs_compared, found.compared) == (1, ("history",))
    assert "not compared: weights and samples" in str(found)


def node_by_node(folder: Path, data: CloudDataset) -> Path:
    """The folder of a training with a likelihood that has a network of its own."""
    likelihood = "autoregressive(width=8, steps=3, batch_size=4)"
    prior = "realnvp(hidden=[8], transforms=2)"
    model = models.create("convae", prior=prior, likelihood=likelihood, **SHAPE)
    return trained(
        folder, data, model, learning_rate=1e-4, prior_steps=21
    )  # so that the last epoch is the best


def test_an_likelihood_with_a_network_comes_out_again(
    eights: CloudDataset, tmp_path: Path
) -> None:
    found = reproduce(node_by_node(tmp_path / "run", eights), eights)
    assert found.identical
    assert found.compared == ("history", "weights", "samples")


def test_a_shorter_check_fits_no_prior_and_no_likelihood(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = node_by_node(tmp_path / "run", eights)

    def fit(*arguments: Any, **named: Any) -> None:
        raise AssertionError("fitted in vain")

    monkeypatch.setattr("gconvae.training.stages.likelihood.LikelihoodStage.look", fit)
    monkeypatch.setattr("gconvae.training.stages.prior.PriorStage.look", fit)
    found = reproduce(folder, eights, epochs=1)
    assert (found.identical, found.compared) == (True, ("history",))


def test_more_epochs_than_the_run_has_are_all_of_them(
    eights: CloudDataset, untouched_run: Path
) -> None:
    assert reproduce(untouched_run, eights, epochs=50).epochs_compared == 3


def test_a_shorter_check_compares_weights_of_a_best_epoch_that_it_reaches(
    eights: CloudDataset, tmp_path: Path
) -> None:
    # steps too small to change a weight: of equal epochs the first is kept
    folder = trained(tmp_path / "run", eights, learning_rate=1e-30)
    assert run_folder.read_manifest(folder)["best_epoch"] == 1
    found = reproduce(folder, eights, epochs=1)
    assert found.identical
    assert found.compared == ("history", "weights", "samples")


def test_a_run_that_was_not_finished_is_compared_as_far_as_it_came(
    eights: CloudDataset, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):  # in the third epoch: 3 + 1 steps an epoch
        trained(tmp_path / "run", eights, loss=Stopping(10), epochs=9)
    found = reproduce(tmp_path / "run", eights, loss=Stopping(99))
    assert found.identical
    assert (found.epochs_compared, found.compared) == (2, ("history",))


def test_a_resumed_run_is_compared_as_a_whole(eights: CloudDataset, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", eights, loss=Stopping(6))
    trained(tmp_path / "run", eights, loss=Stopping(99), resume=True)
    found = reproduce(tmp_path / "run", eights, loss=Stopping(99))
    assert found.identical
    assert (found.epochs_compared, len(found.compared)) == (3, 3)


def test_a_run_without_a_finished_epoch_has_nothing_to_compare(
    eights: CloudDataset, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "run", eights, loss=Stopping(2))
    with pytest.raises(FileNotFoundError, match="folder must hold a finished epoch"):
        reproduce(tmp_path / "run", eights, loss=Stopping(99))


# differences


def test_the_last_bit_of_one_number_is_a_difference(eights: CloudDataset, run: Path) -> None:
    history = read_history(run / "history.csv")
    now = history["valid_kl"][1]
    history["valid_kl"][1] = before = math.nextafter(now, math.inf)
    write_history(history, run / "history.csv")
    found = reproduce(run, eights)
    assert not found.identical
    assert found.first_difference == (2, "valid_kl", before, now)
    assert found.first_difference.size == before - now > 0
    assert str(found).splitlines()[0] == (
        f"different from epoch 2 on: valid_kl was {before}, now {now}, {before - now:.2g} apart"
    )


def test_of_several_differences_the_earliest_is_told(eights: CloudDataset, run: Path) -> None:
    history = read_history(run / "history.csv")
    for name, row in (("train_loss", 2), ("valid_rec", 1), ("valid_kl", 1)):
        history[name][row] += 1.0
    write_history(history, run / "history.csv")
    found = reproduce(run, eights).first_difference
    assert found is not None
    assert found[:2] == (2, "valid_rec")


def test_the_largest_difference_of_the_weights_is_told(eights: CloudDataset, run: Path) -> None:
    model = gconvae.load(run)
    (_, first), *_, (name, last) = model.named_parameters()
    now = last.view(-1)[0].item()
    with torch.no_grad():
        first.view(-1)[3] = torch.nextafter(first.view(-1)[3], torch.tensor(9.0))
        last.view(-1)[0] += 0.25
    before = last.view(-1)[0].item()
    run_folder.save_model(model, run)
    epoch = run_folder.read_manifest(run)["best_epoch"]
    assert reproduce(run, eights).first_difference == (epoch, f"weight {name}", before, now)


def test_the_last_bit_of_one_weight_is_a_difference(eights: CloudDataset, run: Path) -> None:
    model = gconvae.load(run)
    weight = next(model.parameters()).view(-1)
    with torch.no_grad():
        weight[3] = torch.nextafter(weight[3], torch.tensor(9.0))
    run_folder.save_model(model, run)
    assert not reproduce(run, eights).identical


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_a_difference(
    eights: CloudDataset, run: Path, value: float
) -> None:
    model = gconvae.load(run)
    with torch.no_grad():
        next(model.parameters()).view(-1)[3] = value
    run_folder.save_model(model, run)
    found = reproduce(run, eights)
    assert not found.identical
    assert str(value) in str(found)


def test_a_manifest_without_samples_is_refused(eights: CloudDataset, run: Path) -> None:
    edit(run, lambda manifest: manifest.pop("samples_sha256"))
    with pytest.raises(ValueError, match="no samples_sha256"):
        reproduce(run, eights)


def test_other_samples_of_the_same_weights_are_a_difference(
    eights: CloudDataset, run: Path
) -> None:
    edit(run, lambda manifest: manifest.update(samples_sha256="0" * 64))
    found = reproduce(run, eights)
    assert not found.identical
    assert re.match(r"different: samples of epoch \d, though", str(found))


def test_another_training_differs_from_its_first_epoch_on(eights: CloudDataset, run: Path) -> None:
    edit(run, lambda manifest: manifest["options"].update(beta=0.5))
    found = reproduce(run, eights)
    assert found.first_difference is not None
    assert found.first_difference[:2] == (1, "train_loss")
    with (run / "history.csv").open(newline="") as file:
        assert found.first_difference.before == float(next(csv.DictReader(file))["train_loss"])
    assert found.first_difference.size > 0.1


def test_other_versions_and_hardware_are_told(eights: CloudDataset, run: Path) -> None:
    changes = {"torch": "1.4.0", "processor": "Abacus"}
    edit(run, lambda manifest: manifest["machine"].update(changes))
    found = reproduce(run, eights)
    assert found.identical
    assert {name: then for name, then, _ in found.environment} == changes
    assert f"torch: 1.4.0 then, {run_folder.environment(['torch'])['torch']} now" in str(found)


# what is refused


def test_other_clouds_are_refused_with_both_checksums(
    eights: CloudDataset, untouched_run: Path
) -> None:
    other = SuperpixelMNIST(3, "test")[:60]
    then, now = (datasets.split(data, seed=0)[0].checksum()[:12] for data in (eights, other))
    with pytest.raises(ValueError, match=f"data must hold .* sha256 {then}, got {now}"):
        reproduce(untouched_run, other)
    unlike = r"feature 1 is x \(px\) in one and x in the other"
    with pytest.raises(ValueError, match=f"data must have the schema of the run, {unlike}"):
        reproduce(untouched_run, eights.points)


def test_other_validation_clouds_are_refused(eights: CloudDataset, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", eights[:40], valid=eights[40:])
    with pytest.raises(ValueError, match="valid must hold the clouds of the run, sha256"):
        reproduce(folder, eights[:40], eights[20:40])


def test_clouds_that_no_option_names_must_be_given(
    eights: CloudDataset, untouched_run: Path
) -> None:
    with pytest.raises(ValueError, match="data must be given"):
        reproduce(untouched_run)
    with pytest.raises(ValueError, match="data must be given"):
        reproduce(untouched_run, valid=eights)


def test_a_model_that_had_been_trained_must_be_given(eights: CloudDataset, tmp_path: Path) -> None:
    first = gconvae.fit(small(), eights, epochs=1, progress=False, out=tmp_path / "first")
    folder = trained(tmp_path / "run", eights, first.model)
    with pytest.raises(ValueError, match="model must be given: .* a new model of seed 0 has"):
        reproduce(folder, eights)
    assert reproduce(folder, eights, model=gconvae.load(tmp_path / "first")).identical
    with pytest.raises(ValueError, match="model must have the weights that the run began with"):
        reproduce(folder, eights, model=small())


def test_a_model_that_had_been_loaded_must_be_given(eights: CloudDataset, tmp_path: Path) -> None:
    gconvae.fit(small(), eights, epochs=1, progress=False, out=tmp_path / "first")
    folder = trained(tmp_path / "run", eights, gconvae.load(tmp_path / "first"))
    with pytest.raises(ValueError, match="model must be given: .* unknown seed"):
        reproduce(folder, eights)


def test_a_model_with_ranges_of_its_own_must_be_given(
    eights: CloudDataset, tmp_path: Path
) -> None:
    model = small()
    model.scaling = FeatureScaling(torch.full((3,), -5.0), torch.full((3,), 50.0))
    folder = trained(tmp_path / "run", eights, model, scaling="keep")
    with pytest.raises(ValueError, match="model must be given"):
        reproduce(folder, eights)
    assert reproduce(folder, eights, model=model).identical


def test_a_loss_of_ones_own_must_be_given(eights: CloudDataset, tmp_path: Path) -> None:
    folder = trained(tmp_path / "run", eights, loss=Own())
    with pytest.raises(ValueError, match=r"loss must be given: .* with Own\("):
        reproduce(folder, eights)
    with pytest.raises(ValueError, match=r"(?s)loss must be Own\(.*got ThirdAxisChamfer"):
        reproduce(folder, eights, loss=ThirdAxisChamfer())
    assert reproduce(folder, eights, loss=Own()).identical


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_one_clear_error(eights: CloudDataset, run: Path) -> None:
    edit(run, lambda manifest: manifest["machine"].update(device="cuda"))
    with pytest.raises(ValueError, match="accelerator must be available, got 'cuda'"):
        reproduce(run, eights)


def test_a_folder_without_a_run_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="folder must hold a begun run"):
        reproduce(tmp_path)


@pytest.mark.parametrize("epochs", [0, 1.5, "2"])
def test_a_number_of_epochs_that_makes_no_sense_is_one_clear_error(
    eights: CloudDataset, untouched_run: Path, epochs: Any
) -> None:
    with pytest.raises(ValueError, match="epochs must be a whole number of at least 1"):
        reproduce(untouched_run, eights, epochs=epochs)


def test_a_run_with_a_schedule_that_stopped_early_is_reproduced(tmp_path: Path) -> None:
    data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:60]
    model = gconvae.models.create("deep_sets", hidden=16, seed=0)
    options = {"kl_cycle": 3, "patience": 1, "learning_rate": 1e-12}  # no epoch is better
    run = gconvae.fit(model, data, epochs=12, out=tmp_path / "run", progress=False, **options)
    assert run.history["epoch"] == [1, 2]
    assert gconvae.reproduce(tmp_path / "run", data, progress=False).identical


def test_objects_of_a_run_must_be_given(eights: CloudDataset, tmp_path: Path) -> None:
    def slow(weights: Any) -> Any:
        return torch.optim.SGD(weights, lr=1e-6)

    stop = EarlyStopping("valid_loss", patience=1, min_delta=1e9)
    given: dict[str, Any] = {"callbacks": [stop], "optimizer": slow}
    folder = trained(tmp_path / "run", eights, max_time=timedelta(hours=1), **given)
    with pytest.raises(ValueError, match=r"callbacks must be given: .*\['EarlyStopping'\]"):
        reproduce(folder, eights, optimizer=slow)
    with pytest.raises(ValueError, match="optimizer must be given: .*slow"):
        reproduce(folder, eights, callbacks=[stop])
    with pytest.raises(ValueError, match=r"optimizer must be those of the run, .*got sgd"):
        reproduce(folder, eights, callbacks=[stop], optimizer="sgd")
    with pytest.raises(ValueError, match="objects must be out of callbacks, .*, got logger"):
        reproduce(folder, eights, logger="csv")
    found = reproduce(folder, eights, **given)
    assert found.identical
    assert found.epochs_compared == 2


def test_a_shorter_check_of_a_run_with_steps_of_its_likelihood(
    eights: CloudDataset, tmp_path: Path
) -> None:
    words = "autoregressive(width=16, heads=2, components=3, batch_size=8)"
    model = models.create("convae", seed=0, likelihood=words, **SHAPE)
    folder = trained(tmp_path / "run", eights, model, likelihood_steps=2)
    assert reproduce(folder, eights, epochs=1).identical


@pytest.mark.parametrize("callbacks", [None, ['EarlyStopping(monitor="train_loss", patience=50)']])
@pytest.mark.parametrize("epochs", [1, 2, None])
def test_a_schedule_is_that_of_all_epochs_that_were_meant(
    eights: CloudDataset, tmp_path: Path, epochs: int | None, callbacks: Any
) -> None:
    folder = trained(tmp_path / "run", eights, scheduler="trapezoid", callbacks=callbacks)
    found = reproduce(folder, eights, epochs=epochs)
    assert found.identical, found
    assert found.epochs_compared == (epochs or 3)


def test_a_run_with_a_schedule_that_ended_early_is_made_again(
    eights: CloudDataset, tmp_path: Path
) -> None:
    ends = ['EarlyStopping(monitor="train_loss", patience=1, min_delta=1e9)']
    folder = trained(tmp_path / "run", eights, epochs=9, scheduler="linear", callbacks=ends)
    ran = len(read_history(folder / "history.csv")["epoch"])
    assert ran < 9
    found = reproduce(folder, eights)
    assert found.identical, found
    assert found.epochs_compared == ran


def test_a_reproduction_is_one_line_for_a_debugger() -> None:
    same = Reproduction(3, ("history", "weights", "samples"), None, ())
    assert repr(same) == "<Reproduction over 3 epochs: identical>"

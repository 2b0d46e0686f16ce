"""Trainings on clouds of a file: those of the same clouds in memory."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gconvae
from gconvae import datasets, models
from gconvae.clouds import Clouds
from gconvae.datasets import CloudDataset, CloudFile, SuperpixelMNIST, from_points
from gconvae.datasets.storage import numpy_arrays
from gconvae.losses import ThirdAxisChamfer
from gconvae.schema import points as schema_of
from gconvae.training import batches, callbacks
from gconvae.training import clouds as training_clouds_module
from gconvae.training.clouds import CloudsInMemory, CloudsOnDisk, seen_rows
from gconvae.training.run import Run
from gconvae.training.stages.reconstructions import Reconstructions
from gconvae.vae import VAE

NUM_CLOUDS, VALID = 70, 20


@pytest.fixture(scope="module")
def eights() -> CloudDataset:
    return SuperpixelMNIST(8, "test")[: NUM_CLOUDS + VALID]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 8 clouds of 25 nodes, and windows of 2 of them."""
    monkeypatch.setattr(numpy_arrays, "CHUNK_BYTES", 8 * 25 * 3 * 4)
    monkeypatch.setattr(batches, "WINDOW", 2)


def on_disk(data: CloudDataset, folder: Path, name: str = "clouds") -> CloudFile:
    path = datasets.to_file_in_parts([data.clouds], folder / f"{name}.npz", schema=data.schema)
    return datasets.from_file(path, in_memory=False)


def small(**options: Any) -> VAE:
    return models.create("convae", hidden=16, channels=(2, 3, 4), seed=0, **options)


def fit(data: Any, valid: Any, model: VAE | None = None, **options: Any) -> Run:
    given = {"epochs": 1, "batch_size": 12, "progress": False} | options
    return gconvae.fit(model or small(), data, valid, **given)


def same(first: Run, second: Run) -> bool:
    states = first.model.state_dict(), second.model.state_dict()
    return first.history == second.history and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


class Watched(nn.Module):
    """The real loss, which notes the training clouds, and breaks off at a step."""

    def __init__(self, steps: int | None = None) -> None:
        super().__init__()
        self.loss = ThirdAxisChamfer(backend="dense")
        self.steps, self.seen = steps, list[Tensor]()

    def forward(self, target: Tensor, output: Tensor) -> Tensor:
        if output.requires_grad:
            self.seen.append(target.clone())
            if self.steps is not None and len(self.seen) > self.steps:
                raise IndexError("stopped")
        return self.loss(target, output)


def numbers(clouds: Tensor) -> Counter[bytes]:
    return Counter(cloud.numpy().tobytes() for cloud in clouds)


# the same training


def test_clouds_of_one_chunk_train_to_the_bits_of_those_in_memory(
    eights: CloudDataset, tmp_path: Path
) -> None:
    train, valid = eights[:NUM_CLOUDS], eights[NUM_CLOUDS:]
    wanted = fit(train, valid)
    found = fit(on_disk(train, tmp_path), on_disk(valid, tmp_path, "valid"))
    assert same(found, wanted)
    for part in ("train", "valid"):
        assert found.manifest[part] == wanted.manifest[part]


def test_a_file_is_split_like_clouds_in_memory(eights: CloudDataset, tmp_path: Path) -> None:
    found, wanted = (fit(data, None) for data in (on_disk(eights, tmp_path), eights))
    assert same(found, wanted)


@pytest.mark.usefixtures("small_chunks")
def test_every_cloud_comes_once_an_epoch(eights: CloudDataset, tmp_path: Path) -> None:
    train, valid = eights[:NUM_CLOUDS], eights[NUM_CLOUDS:]
    file, loss = on_disk(train, tmp_path), Watched()
    assert (file.chunk, len(file)) == (8, NUM_CLOUDS)
    run = fit(file, valid, loss=loss, epochs=2)
    wanted = numbers(run.model.scaling.scale(train.points))
    steps = len(loss.seen) // 2
    epochs = [torch.cat(loss.seen[:steps]), torch.cat(loss.seen[steps:])]
    assert [numbers(epoch) for epoch in epochs] == [wanted, wanted]
    assert not torch.equal(*epochs)


@pytest.mark.usefixtures("small_chunks")
def test_a_stopped_training_goes_on_to_the_same_bits(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "SAVE_EVERY", 0.0)
    file, valid = on_disk(eights[:NUM_CLOUDS], tmp_path), eights[NUM_CLOUDS:]
    options: dict[str, Any] = {"epochs": 2, "out": tmp_path / "run"}
    with pytest.raises(IndexError, match="stopped"):
        fit(file, valid, loss=Watched(steps=8), **options)
    resumed = fit(file, valid, loss=Watched(), resume=True, **options)
    assert same(resumed, fit(file, valid, loss=Watched(), epochs=2))


@pytest.mark.usefixtures("small_chunks")
def test_workers_do_not_change_the_bits(eights: CloudDataset, tmp_path: Path) -> None:
    file, valid = on_disk(eights[:NUM_CLOUDS], tmp_path), eights[NUM_CLOUDS:]
    wanted = fit(file, valid)
    assert same(fit(file, valid, workers=2), wanted)


def test_ragged_labelled_clouds_train_to_the_same_bits(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.rand(60, 8, 3, generator=random)
    mask = torch.arange(8) < torch.randint(2, 9, (60, 1), generator=random)
    labels = torch.randint(0, 3, (60,), generator=random)
    data = from_points(points, mask, labels, schema=schema_of("x y", "charge"))
    train, valid = data[:40], data[40:]

    def model() -> VAE:
        shape: dict[str, Any] = {"num_points": 8, "num_classes": 3, "schema": data.schema}
        return small(ragged=True, prior="gmm(components=2)", likelihood="gaussian", **shape)

    wanted = fit(train, valid, model())
    found = fit(on_disk(train, tmp_path), on_disk(valid, tmp_path, "valid"), model())
    assert same(found, wanted)  # the counts of labels and sizes among them
    assert int(found.model.conditioning.counts.sum()) == 40


@pytest.mark.parametrize("change", ["with_prior", "with_likelihood"])
def test_a_prior_and_a_likelihood_are_fitted_to_a_file(
    eights: CloudDataset, tmp_path: Path, change: str
) -> None:
    model = fit(eights[:NUM_CLOUDS], eights[NUM_CLOUDS:]).model
    name = "gmm(components=2)" if change == "with_prior" else "gaussian"
    found, wanted = (
        getattr(model, change)(name, data).state_dict()
        for data in (on_disk(eights, tmp_path), eights)
    )
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_learned_likelihood_gets_clouds_and_means_of_a_file(
    eights: CloudDataset, tmp_path: Path
) -> None:
    model, rows, numbers = small().eval(), torch.tensor([3, 60, 3]), torch.Generator()
    pairs = [
        Reconstructions(model, CloudsOnDisk(model, on_disk(eights, tmp_path))),
        Reconstructions(model, CloudsInMemory(model, eights.clouds)),
    ]
    found, wanted = (part.clouds(rows, numbers.manual_seed(0)) for part in pairs)
    assert torch.equal(found[0], wanted[0])
    noise = pairs[0].noise(len(rows), numbers.manual_seed(0))
    means = [part.decoded(*wanted, part.labels(rows), *noise).mean for part in pairs]
    assert torch.equal(*means)


# before the first step


def test_one_pass_and_a_look_at_the_lattice_come_before_the_first_step(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_clouds_module, "MOST_SEEN", 10)
    file, count, read = on_disk(eights, tmp_path), [0], CloudFile._read

    def counted(self: CloudFile, rows: Any) -> Clouds:
        count[0] += len(rows)
        return read(self, rows)

    monkeypatch.setattr(CloudFile, "_read", counted)
    with pytest.raises(IndexError, match="stopped"):
        fit(file, None, loss=Watched(steps=0), batch_size=NUM_CLOUDS)
    first_window = len(file) - int(0.17 * len(file))
    assert count[0] <= len(file) + 10 + 2 + first_window  # 2 clouds for the encoder


def test_nodes_far_outside_warn_once(tmp_path: Path) -> None:
    schema = schema_of("x y", "charge")
    points = torch.rand(60, 5, 3, generator=torch.Generator().manual_seed(0))
    train = from_points(points[:40], schema=schema)
    far = from_points(points[40:] * 5, schema=schema)
    model = models.create("deep_sets", num_points=5, schema=schema, node_hidden=[8])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        run = fit(on_disk(train, tmp_path), on_disk(far, tmp_path, "valid"), model)
    said = [str(one.message) for one in seen if "far outside" in str(one.message)]
    assert len(said) == 1
    assert "valid" in said[0]
    assert same(run, fit_quietly(train, far, model))


def fit_quietly(data: CloudDataset, valid: CloudDataset, model: VAE) -> Run:
    with pytest.warns(UserWarning, match="far outside"):
        return fit(data, valid, model)


def test_labels_that_a_model_has_not_are_refused_wherever_they_lie(tmp_path: Path) -> None:
    labels = [0, 1, 0, 2]
    data = from_points(torch.rand(4, 7, 3), labels=labels, schema=schema_of("x y z"))
    file = on_disk(data, tmp_path)
    model = small(num_points=7, num_classes=2, schema=file.schema)
    with pytest.raises(ValueError, match="labels of valid must be 0 to 1, got 2"):
        CloudsOnDisk(model, file, "valid")


def test_clouds_with_more_nodes_than_the_network_are_refused(tmp_path: Path) -> None:
    data = from_points(torch.rand(4, 8, 3), schema=schema_of("x y z"))
    file = on_disk(data, tmp_path)
    model = small(num_points=7, schema=file.schema)
    with pytest.raises(ValueError, match="valid must have at most 7 nodes .* got 8"):
        CloudsOnDisk(model, file, "valid")


@pytest.mark.parametrize("count", [11, 25, 10**9])
def test_seen_rows_are_one_of_each_stretch(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_clouds_module, "MOST_SEEN", 10)
    rows = seen_rows(count, seed=0)
    assert len(rows) == 10
    ends = [count * number // 10 for number in range(11)]
    stretches = zip(ends[:-1], rows.tolist(), ends[1:], strict=True)
    assert all(low <= row < high for low, row, high in stretches)
    assert not torch.equal(rows, seen_rows(count, seed=1))


# windows


def test_a_window_that_was_sent_to_a_worker_is_read_once(
    eights: CloudDataset, tmp_path: Path
) -> None:
    clouds = CloudsOnDisk(small(), on_disk(eights, tmp_path))
    blocks = batches.Blocks(clouds)
    order = batches.Order(len(clouds), 12, seed=0, shuffle=True, chunk=16)
    windows = Counter[int]()

    def scaled(rows: Tensor) -> Clouds:
        windows[len(rows)] += 1
        return CloudsOnDisk.scaled(clouds, rows)

    clouds.scaled = scaled  # type: ignore[method-assign]  # to count
    for index in order:
        blocks[pickle.loads(pickle.dumps(index))]  # what a loader does
    assert windows.total() == 1

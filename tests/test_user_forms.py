"""The same clouds in other forms mean the same, whichever call takes them."""

from __future__ import annotations

import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset
from torch_geometric.data import Data

import gconvae

P = torch.rand(60, 6, 3, generator=torch.Generator().manual_seed(0))
FAR = 1e8 + np.random.default_rng(0).random((60, 6, 3))
NAMES = ["top", "gluon"] * 30


def tiny(num_points: int = 6, num_features: int | None = None, **more: Any) -> gconvae.VAE:
    sizes: dict[str, Any] = {"num_points": num_points, "latent_dim": 3, "channels": (2, 3)}
    return gconvae.models.create("convae", num_features=num_features, hidden=16, **sizes, **more)


def fit(data: Any, model: gconvae.VAE | None = None, **more: Any) -> gconvae.Run:
    return gconvae.fit(model or tiny(), data, **({"epochs": 1, "progress": False} | more))


@pytest.fixture(scope="module")
def named() -> gconvae.VAE:
    data = gconvae.datasets.from_points(P, labels=NAMES)
    return fit(data, tiny(num_classes=2)).model


# names of classes, wherever a label is given -----------------------------------------------------


def test_a_class_is_itself_in_a_data_set_that_counts_other_classes(named: gconvae.VAE) -> None:
    assert named.schema.classes == ("gluon", "top")
    tops = gconvae.datasets.from_points(P[:3], labels=["top"] * 3)  # there, top is class 0
    assert torch.equal(named.reconstruct(tops), named.reconstruct(P[:3], labels=[1, 1, 1]))


def test_a_class_that_the_model_does_not_know_is_refused(named: gconvae.VAE) -> None:
    others = gconvae.datasets.from_points(P[:3], labels=["top", "w", "w"])
    with pytest.raises(ValueError, match=r"out of the classes gluon, top, got 'w'"):
        named.reconstruct(others)


def test_names_are_taken_wherever_a_label_is(named: gconvae.VAE) -> None:
    mixed, z = ["top", "gluon", "top"], named.embed(P[:3])
    assert torch.equal(
        named.reconstruct(P[:3], labels=mixed), named.reconstruct(P[:3], labels=[1, 0, 1])
    )
    assert torch.equal(named.decode(z, labels="top"), named.decode(z, labels=1))
    lines = [named.interpolate(P[:3], P[3:6], 3, labels=each) for each in (mixed, [1, 0, 1])]
    assert torch.equal(*lines)


def test_a_concatenation_has_the_classes_of_all_its_parts() -> None:
    parts = [
        gconvae.datasets.from_points(P[:4], labels=["a", "b"] * 2),
        gconvae.datasets.from_points(P[:4], labels=["b", "c"] * 2),
    ]
    joined = gconvae.datasets.as_dataset(ConcatDataset(parts))
    assert joined.schema.classes == ("a", "b", "c")
    assert joined.labels is not None
    assert joined.labels.tolist() == [0, 1, 0, 1, 1, 2, 1, 2]


def test_validation_clouds_have_the_classes_of_the_training_clouds() -> None:
    data = gconvae.datasets.from_points(P, labels=NAMES)
    top, first = (gconvae.datasets.from_points(P, labels=each) for each in (["top"] * 60, NAMES))
    assert top.labels is not None
    assert first.labels is not None
    # class 1 of the training clouds, though their own first one
    found = fit(data, tiny(num_classes=2), valid=top).history["valid_loss"]
    wanted = fit(
        data,
        tiny(num_classes=2),
        valid=gconvae.datasets.from_points(P, labels=[1] * 60, schema=data.schema),
    ).history["valid_loss"]
    assert found == wanted


# numbers far from zero, in any form --------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:float32 cannot tell nodes apart")
@pytest.mark.parametrize("form", ["list", "graphs"])
def test_numbers_far_from_zero_are_told_apart_in_any_form(form: str) -> None:
    if form == "list":
        given, shifted = FAR.tolist(), (FAR + 0.5).tolist()
        data = gconvae.datasets.from_points(given)
        report = gconvae.metrics.compare(given, shifted, metrics="features")
        assert report.row("x").value == pytest.approx(0.5, abs=1e-3)
    else:
        graphs = [
            Data(pos=torch.from_numpy(c[:, :2] - 1e8).float(), x=torch.from_numpy(c[:, 2:]))
            for c in FAR
        ]
        data = gconvae.datasets.from_pyg(graphs)
    assert data.points.dtype == torch.float64
    assert len(data.points[..., 2].unique()) == 360


# masks in any form -------------------------------------------------------------------------------


def test_lists_of_masked_arrays_have_their_nodes() -> None:
    hidden = np.zeros((6, 3), dtype=bool)
    hidden[4:] = True
    clouds = [np.ma.masked_array(cloud.numpy(), hidden) for cloud in P]
    data = gconvae.datasets.from_points(clouds)
    assert data.points.shape == (60, 4, 3)
    assert data.clouds.is_full


def test_a_masked_mask_hides_what_it_hides() -> None:
    mask = np.ma.masked_array(np.ones((60, 6), dtype=bool), np.zeros((60, 6), dtype=bool))
    mask[:, 5] = np.ma.masked
    assert gconvae.datasets.from_points(P, mask).clouds.mask.sum(1).tolist() == [5] * 60


def test_masked_labels_are_refused() -> None:
    labels = np.ma.masked_array([0, 1] * 30, [True] + [False] * 59)
    with pytest.raises(ValueError, match="labels must be there for every cloud"):
        gconvae.datasets.from_points(P, labels=labels)


@pytest.mark.parametrize("kind", ["uint8", "float32", "int64"])
def test_a_mask_of_zeros_and_ones_is_a_mask(kind: str) -> None:
    mask = np.ones((60, 6), dtype=kind)
    mask[:, 5] = 0
    assert gconvae.datasets.from_points(P, mask).clouds.mask.sum(1).tolist() == [5] * 60


# graphs, data sets and loaders: one meaning in every call ----------------------------------------


def test_positions_of_graphs_are_positions_in_every_call() -> None:
    graphs = [Data(pos=cloud) for cloud in P]
    data = gconvae.datasets.from_pyg(graphs)
    assert data.schema.num_positions == 3
    assert gconvae.datasets.as_dataset(graphs).schema == data.schema
    assert fit(graphs).model.schema == data.schema
    report = gconvae.metrics.compare(graphs, graphs, metrics="features")
    assert report.schema is not None
    assert report.schema.names == ("x", "y", "z")


class Pairs(Dataset):  # type: ignore[type-arg]  # of pairs
    """Clouds and labels as many write their data sets."""

    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return P[index], index % 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pairs(),
        lambda: TensorDataset(P),
        lambda: DataLoader(TensorDataset(P), batch_size=7),
        lambda: Subset(TensorDataset(P), range(60)),
    ],
    ids=["pairs", "tensors", "loader", "subset"],
)
def test_what_fit_takes_metrics_and_models_take(make: Any) -> None:
    model = fit(make()).model
    assert model.embed(make()).shape == (60, 3)
    report = gconvae.metrics.compare(make(), P, metrics="features")
    assert report == gconvae.metrics.compare(P, P, metrics="features")


def test_items_that_are_dicts_are_named() -> None:
    class Dicts(Pairs):
        def __getitem__(self, index: int) -> Any:
            return {"cloud": P[index]}

    with pytest.raises(ValueError, match=r"a cloud, or a tuple.*got a dict with cloud"):
        fit(Dicts())


def test_graphs_with_arrays_of_numpy_are_taken() -> None:
    graphs = [Data(pos=cloud[:, :2].numpy(), x=cloud[:, 2].numpy()) for cloud in P]
    assert gconvae.datasets.from_pyg(graphs).points.shape == (60, 6, 3)


def test_graphs_with_labels_of_two_kinds_are_refused() -> None:
    graphs = [Data(pos=P[0], y="a"), Data(pos=P[1], y=1)]
    with pytest.raises(ValueError, match="all numbers or all texts, 1 of 2 are texts"):
        gconvae.datasets.from_pyg(graphs)


def test_a_digit_is_not_looked_for_among_texts() -> None:
    with pytest.raises(ValueError, match="digit must be None .* got y = 'a'"):
        gconvae.datasets.from_pyg([Data(pos=P[0], y="a")], digit=1)


# kinds of numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        P.to(torch.bfloat16),
        P.half(),
        (P.numpy() * 1000).astype(np.uint16),
        P.numpy().astype(np.longdouble),
        P.numpy().astype(object),
        [P[0].numpy(), P[1, :4].tolist()] * 30,
    ],
    ids=["bfloat16", "float16", "uint16", "longdouble", "objects", "arrays and lists"],
)
def test_clouds_of_any_kind_of_number_are_taken(given: Any) -> None:
    run = fit(gconvae.datasets.from_points(given), tiny(ragged=isinstance(given, list)))
    assert run.model.sample_clouds(3).points.isfinite().all()


def test_labels_that_are_booleans_are_two_classes() -> None:
    data = gconvae.datasets.from_points(P, labels=np.arange(60) % 2 == 0)
    assert data.labels is not None
    assert data.labels.tolist() == [1, 0] * 30


def test_arrays_are_taken_where_tuples_are() -> None:
    model = gconvae.models.create("convae", channels=np.array([2, 3]), hidden=16, num_points=8)
    assert model.sample(2).shape == (2, 8, 3)
    features = gconvae.schema.points("x y").features
    schema = gconvae.schema.CloudSchema(
        features, distance=np.array([1.0, 2.0]), order=np.array(["x", "y"])
    )
    assert (schema.distance, schema.order) == ((1.0, 2.0), ("x", "y"))
    assert len(gconvae.datasets.SuperpixelMNIST(torch.tensor(8), "test")) == 974


def test_a_transposed_array_of_small_clouds_is_named_too() -> None:
    with pytest.warns(UserWarning, match=r"of shape \(60, 10, 3\)"):
        gconvae.datasets.from_points(torch.rand(60, 3, 10))


# a schema that the model was given ---------------------------------------------------------------


def test_bare_arrays_have_the_schema_that_the_model_was_given() -> None:
    schema = gconvae.schema.points("x y z", unit="mm")
    assert fit(P, tiny(schema=schema)).model.schema.names == ("x", "y", "z")
    own = gconvae.datasets.from_points(P, schema=gconvae.schema.points("a b", "c"))
    assert fit(own, tiny(schema=schema)).model.schema.names == ("a", "b", "c")


def test_train_takes_a_schema_for_bare_arrays(tmp_path: Path) -> None:
    schema = gconvae.schema.points("x y z", unit="mm")
    options: dict[str, Any] = {"epochs": 1, "hidden": 16, "channels": (2, 3), "progress": False}
    run = gconvae.train("slides", P, schema=schema, **options)
    assert [feature.label for feature in run.model.schema.features] == [
        "x (mm)",
        "y (mm)",
        "z (mm)",
    ]
    np.save(tmp_path / "own.npy", P.numpy())
    with pytest.raises(ValueError, match="schema must be None for a file"):
        gconvae.train("slides", tmp_path / "own.npy", schema=schema, **options)


# latents, encoders and what depends on nothing else ----------------------------------------------


def test_latents_are_taken_in_any_form(named: gconvae.VAE) -> None:
    z = named.embed(P[:4])
    for given in (z.numpy(), z.tolist(), z.double()):
        assert torch.equal(named.sample(z=given, label=0), named.sample(z=z, label=0))
        assert torch.equal(named.decode(given, labels=0), named.decode(z, labels=0))


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(3, 9), r"z must have shape \(clouds, 3\), got \(3, 9\)"),
        (torch.zeros(3), r"z must have shape \(clouds, 3\), got \(3,\)"),
        (torch.full((2, 3), torch.nan), "z must be finite"),
        ("z", "z must be a tensor or an array"),
    ],
)
def test_latents_that_are_none_are_refused(named: gconvae.VAE, z: Any, message: str) -> None:
    for call in (lambda: named.sample(z=z, label=0), lambda: named.decode(z, labels=0)):
        with pytest.raises(ValueError, match=message):
            call()


class Encoder(nn.Module):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.layer(points.mean(1))
        return mean, torch.zeros_like(mean)


class WithoutMask(Encoder):
    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(points, points)


def test_an_encoder_that_does_not_fit_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"\(clouds, latents\), here \(2, 3\), got \(2, 4\)"):
        fit(P, tiny(encoder=Encoder(4)))
    with pytest.raises(ValueError, match=r"encoder must take \(points, mask\), WithoutMask"):
        fit(P, tiny(encoder=WithoutMask()))
    with pytest.raises(ValueError, match=r"got the class Encoder; hand over Encoder\(\)"):
        tiny(encoder=Encoder)


def test_the_look_at_an_encoder_changes_nothing_in_it() -> None:
    class Counting(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_var = super().forward(points, mask)
            return self.norm(mean), log_var

    run = fit(P, tiny(encoder=Counting()), valid=P[:10], batch_size=60)
    assert int(run.model.encoder.norm.num_batches_tracked) == 1  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("likelihood", ["gaussian", "autoregressive(steps=2)"])
def test_the_log_likelihood_of_a_cloud_does_not_depend_on_others(likelihood: str) -> None:
    model = fit(P, tiny(likelihood=likelihood)).model
    many = model.log_likelihood(P, samples=3).value
    few = model.log_likelihood(P[:7], samples=3).value
    torch.testing.assert_close(few, many[:7], rtol=1e-5, atol=1e-3)


def test_a_prior_is_fitted_whatever_the_default_device_is() -> None:
    model = fit(P).model
    wanted = model.with_prior("gmm(components=2)", P)
    with torch.device("meta"):
        found = model.with_prior("gmm(components=2)", P)
    assert torch.equal(found.sample(5), wanted.sample(5))


def test_an_outlier_in_the_validation_part_is_said_once() -> None:
    valid = P.clone()
    valid[0, 0, 0] = 1e4
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(P, tiny(likelihood="gaussian"), valid=valid)
    said = [str(each.message) for each in caught if "lie far outside" in str(each.message)]
    assert len(said) == 1


# several trainings at once -----------------------------------------------------------------------


def test_trainings_side_by_side_leave_warnings_and_loggers_as_they_were() -> None:
    import logging

    logger = logging.getLogger("lightning.pytorch")
    before = list(warnings.filters), logger.level

    def later(delay: float) -> None:
        time.sleep(delay)
        fit(P, epochs=8)

    threads = [threading.Thread(target=later, args=(0.1 * number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (list(warnings.filters), logger.level) == before


# paths -------------------------------------------------------------------------------------------


def test_reports_are_written_to_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    gconvae.metrics.compare(P, P, metrics="features").save("~/report.json")
    assert (tmp_path / "report.json").exists()

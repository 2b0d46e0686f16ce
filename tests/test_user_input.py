"""What users hand over: collections, shapes, labels, masks, files, graphs, models of their own."""

from __future__ import annotations

import io
import logging
import mmap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from torch_geometric import transforms
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

import gconvae

CHARGED = "x y", "charge"


def cloud_array(clouds: int = 60, nodes: int = 6, features: int = 3, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).random((clouds, nodes, features), dtype=np.float32)
    return values * np.linspace(5.0, 1.0, features, dtype=np.float32)


def ragged_list(clouds: int = 60, features: int = 3, seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.random((3 + i % 4, features), dtype=np.float32) + 1.0 for i in range(clouds)]


def tiny(num_points: int = 6, num_features: int = 3, **more):
    sizes = {"num_points": num_points, "num_features": num_features, "latent_dim": 3}
    return gconvae.models.create("convae", hidden=16, channels=(2, 3), **sizes, **more)


def fit(data, model=None, **more):
    return gconvae.fit(model or tiny(), data, epochs=1, progress=False, **more)


def charged(points, **more):
    return gconvae.datasets.from_points(points, schema=gconvae.schema.points(*CHARGED), **more)


def real_nodes(data, index: int) -> np.ndarray:
    """The real nodes of a cloud, sorted, so that two orders of the same nodes are equal."""
    nodes = data.points[index] if data.mask is None else data.points[index][data.mask[index]]
    return sorted_rows(np.asarray(nodes))


def sorted_rows(nodes) -> np.ndarray:
    nodes = np.asarray(nodes, dtype=np.float64)
    return nodes[np.lexsort(nodes.T)]


def assert_clouds(data, expected) -> None:
    assert len(data.points) == len(expected)
    for index, nodes in enumerate(expected):
        np.testing.assert_allclose(real_nodes(data, index), sorted_rows(nodes), rtol=1e-6)


def assert_same_weights(first, second) -> None:
    others = dict(second.named_parameters())
    assert others
    for name, values in first.named_parameters():
        assert torch.equal(values, others[name]), name


@contextmanager
def said() -> Iterator[list[str]]:
    """All that a call prints, logs or warns of, as the one text in the list after the block."""
    heard: list[str] = []
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with redirect_stdout(text), redirect_stderr(text):
                yield heard
    finally:
        logging.getLogger().removeHandler(handler)
    heard.append("\n".join([text.getvalue(), *(str(warning.message) for warning in caught)]))


# any torch or PyG data set, subset, concatenation -----------------------------------------------

ROWS = [*range(5, 60, 2), *range(0, 24, 2)]  # 40 of the 60 clouds, out of order


SUBSETS = {
    "torch Subset": lambda data: Subset(data, ROWS),
    "torch Subset with a tensor of indices": lambda data: Subset(data, torch.tensor(ROWS)),
    "Subset of a Subset": lambda data: Subset(Subset(data, [*ROWS, 24, 26]), range(40)),
    "ConcatDataset": lambda data: ConcatDataset([data[ROWS[:10]], Subset(data, ROWS[10:])]),
    "rows of the data set": lambda data: data[ROWS],
    "list of Data": lambda data: [data[i] for i in ROWS],
}


@pytest.mark.parametrize("take", SUBSETS.values(), ids=SUBSETS)
def test_fit_on_part_of_a_data_set_is_fit_on_its_points(take) -> None:
    points = cloud_array()
    expected = fit(charged(points[ROWS])).model
    assert_same_weights(fit(take(charged(points))).model, expected)


def test_fit_takes_the_parts_of_random_split() -> None:
    data = charged(cloud_array())
    train, valid = random_split(data, [40, 20], torch.Generator().manual_seed(0))
    expected = fit(charged(data.points[train.indices]), valid=charged(data.points[valid.indices]))
    run = fit(train, valid=valid)
    assert_same_weights(run.model, expected.model)
    assert run.history["valid_loss"] == expected.history["valid_loss"]


@pytest.mark.parametrize("take", SUBSETS.values(), ids=SUBSETS)
def test_compare_takes_part_of_a_data_set(take) -> None:
    points, data = cloud_array(), charged(cloud_array())
    report = gconvae.metrics.compare(take(data), take(data), metrics="features")
    expected = gconvae.metrics.compare(points[ROWS], points[ROWS], metrics="features")
    assert report.num_real == report.num_generated == 40
    assert report.row("x").value == pytest.approx(expected.row("x").value, rel=1e-5)


def test_a_subset_keeps_the_schema() -> None:
    data = charged(cloud_array())
    assert data[:10].schema == data.schema
    assert fit(Subset(data, ROWS)).model.schema.names == ("x", "y", "charge")


class OwnDataset(Dataset):
    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


OWN_SETS = {
    "TensorDataset": lambda points: TensorDataset(points),
    "Dataset of tensors": lambda points: OwnDataset(list(points)),
    "Dataset of arrays": lambda points: OwnDataset([cloud.numpy() for cloud in points]),
    "Dataset of Data": lambda points: OwnDataset(
        [Data(pos=cloud[:, :2], x=cloud[:, 2:]) for cloud in points]
    ),
}


@pytest.mark.parametrize("make", OWN_SETS.values(), ids=OWN_SETS)
def test_fit_takes_data_sets_that_are_not_ours(make) -> None:
    points = torch.from_numpy(cloud_array())
    expected = fit(gconvae.datasets.from_points(points)).model
    assert_same_weights(fit(make(points)).model, expected)


def test_fit_takes_pairs_of_points_and_label() -> None:
    points, labels = torch.from_numpy(cloud_array()), torch.arange(60) % 3
    expected = fit(gconvae.datasets.from_points(points, labels=labels), tiny(num_classes=3))
    run = fit(TensorDataset(points, labels), tiny(num_classes=3))
    assert_same_weights(run.model, expected.model)


def test_data_sets_of_different_features_are_not_concatenated() -> None:
    mixed = ConcatDataset(
        [charged(cloud_array()), gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:20]]
    )
    with pytest.raises(ValueError, match=r"(?s)charge.*intensity|intensity.*charge|x \(?px"):
        fit(mixed, tiny(25))


# ragged lists -----------------------------------------------------------------------------------

RAGGED = {
    "arrays": lambda clouds: clouds,
    "tensors": lambda clouds: [torch.from_numpy(cloud) for cloud in clouds],
    "arrays and tensors": lambda clouds: [clouds[0], *map(torch.from_numpy, clouds[1:])],
    "tuple": tuple,
    "nested lists": lambda clouds: [cloud.tolist() for cloud in clouds],
    "object array": lambda clouds: np.array([*clouds, None], dtype=object)[:-1],
}


@pytest.mark.parametrize("make", RAGGED.values(), ids=RAGGED)
def test_from_points_takes_clouds_of_several_sizes(make) -> None:
    clouds = ragged_list()
    assert_clouds(gconvae.datasets.from_points(make(clouds)), clouds)


def test_fit_takes_a_ragged_list() -> None:
    clouds = ragged_list()
    expected = fit(gconvae.datasets.from_points(clouds), tiny(ragged=True)).model
    assert_same_weights(fit(clouds, tiny(ragged=True)).model, expected)


def test_compare_takes_ragged_lists() -> None:
    small, large = [c[:3] for c in ragged_list()], [c[:3] for c in ragged_list(seed=1)]
    large[::2] = [np.concatenate([cloud, cloud]) for cloud in large[::2]]
    report = gconvae.metrics.compare(small, large, metrics="features")
    assert report.row("nodes").value == pytest.approx(1.5, abs=0.5)


def test_clouds_of_different_features_are_refused() -> None:
    with pytest.raises(ValueError, match=r"(?s)features.*(2.*3|3.*2)"):
        gconvae.datasets.from_points([np.ones((4, 3)), np.ones((5, 2))])


# integers, labels -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "uint8", "float64", "float16"])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_coordinates_of_any_number_type_are_taken(dtype: str, kind: str) -> None:
    points = np.random.default_rng(0).integers(1, 200, (60, 6, 3)).astype(dtype)
    data = gconvae.datasets.from_points(points if kind == "array" else torch.from_numpy(points))
    assert data.points.is_floating_point()
    assert_clouds(data, points)


def test_fit_takes_integer_coordinates() -> None:
    points = np.random.default_rng(0).integers(1, 200, (60, 6, 3))
    assert_same_weights(fit(points).model, fit(points.astype(np.float32)).model)


PLAIN_LABELS = {
    "whole floats": lambda labels: labels.astype(np.float32),
    "tensor of whole floats": lambda labels: torch.from_numpy(labels).double(),
    "list": lambda labels: labels.tolist(),
    "unsigned": lambda labels: labels.astype(np.uint8),
    "one-hot": lambda labels: np.eye(3)[labels],
    "one-hot tensor of integers": lambda labels: torch.eye(3, dtype=torch.long)[labels],
    "column": lambda labels: labels[:, None],
}


@pytest.mark.parametrize("make", PLAIN_LABELS.values(), ids=PLAIN_LABELS)
def test_labels_are_taken_in_any_form(make) -> None:
    labels = np.arange(60) * 7 % 3
    data = gconvae.datasets.from_points(cloud_array(), labels=make(labels))
    assert data.labels.tolist() == labels.tolist()


@pytest.mark.parametrize("labels", [[0.5] * 60, [float("nan")] * 60], ids=["half", "nan"])
def test_labels_that_are_not_whole_are_refused(labels: list) -> None:
    with pytest.raises(ValueError, match=r"(?s)labels.*(0\.5|nan)"):
        gconvae.datasets.from_points(cloud_array(), labels=labels)


TEXTS = ["top", "gluon", "quark"] * 20


@pytest.mark.parametrize("make", [list, np.array, tuple], ids=["list", "array", "tuple"])
def test_class_names_are_kept(make) -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=make(TEXTS))
    assert set(data.labels.tolist()) == {0, 1, 2}
    assert [data.schema.classes[label] for label in data.labels.tolist()] == TEXTS


def test_a_pandas_series_of_class_names_is_taken() -> None:
    series = pd.Series(TEXTS, index=range(100, 160))
    data = gconvae.datasets.from_points(cloud_array(), labels=series)
    assert [data.schema.classes[label] for label in data.labels.tolist()] == TEXTS


def test_a_class_is_drawn_by_its_name() -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=TEXTS)
    model = fit(data, tiny(num_classes=3)).model
    index = data.schema.classes.index("top")
    assert torch.equal(model.sample(5, label="top"), model.sample(5, label=index))
    assert model.sample_clouds(5, label="top").labels.tolist() == [index] * 5


def test_a_class_name_of_numpy_is_taken() -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=TEXTS)
    model = fit(data, tiny(num_classes=3)).model
    assert torch.equal(model.sample(5, label=np.str_("top")), model.sample(5, label="top"))


def test_an_unknown_class_name_is_refused_with_those_that_there_are() -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=TEXTS)
    model = fit(data, tiny(num_classes=3)).model
    with pytest.raises(ValueError, match=r"(?s)(?=.*label)(?=.*gluon)(?=.*top)(?=.*photon)"):
        model.sample(5, label="photon")


def test_class_names_come_back_from_the_run_folder(tmp_path) -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=TEXTS)
    run = fit(data, tiny(num_classes=3), out=tmp_path / "run")
    again = gconvae.load(tmp_path / "run")
    assert again.schema.classes == data.schema.classes
    assert torch.equal(again.sample(5, label="top"), run.model.sample(5, label="top"))


def test_class_names_come_back_from_a_file(tmp_path) -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=TEXTS)
    gconvae.datasets.to_file(data, tmp_path / "clouds.npz")
    again = gconvae.datasets.from_file(tmp_path / "clouds.npz")
    assert [again.schema.classes[label] for label in again.labels.tolist()] == TEXTS


PARTICLES = [11, 211, 2212] * 20


@pytest.mark.parametrize(
    "make",
    [np.array, torch.tensor, lambda ids: np.array(ids, dtype=np.float64)],
    ids=["array", "tensor", "floats"],
)
def test_particle_ids_become_consecutive_classes(make) -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=make(PARTICLES))
    assert data.labels.tolist() == [0, 1, 2] * 20
    assert data.schema.classes == ("11", "211", "2212")


def test_negative_particle_ids_are_taken() -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=[-11, 11, 211] * 20)
    names = [data.schema.classes[label] for label in data.labels.tolist()]
    assert names == ["-11", "11", "211"] * 20


@pytest.mark.parametrize("label", [211, "211", np.int64(211)], ids=["int", "text", "numpy"])
def test_a_particle_id_is_drawn_by_its_number(label) -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=PARTICLES)
    clouds = fit(data, tiny(num_classes=3)).model.sample_clouds(4, label=label)
    assert clouds.labels.tolist() == [1] * 4


def test_a_number_that_is_no_particle_of_the_training_is_refused() -> None:
    data = gconvae.datasets.from_points(cloud_array(), labels=PARTICLES)
    model = fit(data, tiny(num_classes=3)).model
    with pytest.raises(ValueError, match=r"(?s)(?=.*label)(?=.*2212)(?=.*\b1\b)"):
        model.sample(4, label=1)


# files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["text", "Path"])
def test_an_npy_file_is_a_data_set(tmp_path, kind) -> None:
    np.save(tmp_path / "clouds.npy", cloud_array())
    assert_clouds(gconvae.datasets.from_file(kind(tmp_path / "clouds.npy")), cloud_array())


def test_an_npz_file_has_points_mask_and_labels(tmp_path) -> None:
    mask = np.arange(6) < 3 + np.arange(60)[:, None] % 4
    np.savez(tmp_path / "c.npz", points=cloud_array(), mask=mask, labels=np.array(TEXTS))
    data = gconvae.datasets.from_file(tmp_path / "c.npz")
    assert_clouds(data, [cloud[real] for cloud, real in zip(cloud_array(), mask, strict=True)])
    assert [data.schema.classes[label] for label in data.labels.tolist()] == TEXTS


def test_an_npy_file_is_memory_mapped(tmp_path, monkeypatch) -> None:
    np.save(tmp_path / "clouds.npy", cloud_array())
    maps: list = []

    class Recorded(mmap.mmap):
        def __new__(cls, *arguments, **options):
            maps.append(arguments)
            return super().__new__(cls, *arguments, **options)

    monkeypatch.setattr(mmap, "mmap", Recorded)
    data = gconvae.datasets.from_file(tmp_path / "clouds.npy")
    assert_clouds(data, cloud_array())
    assert maps


def test_opening_an_npy_file_leaves_it_as_it_was(tmp_path) -> None:
    path = tmp_path / "clouds.npy"
    np.save(path, cloud_array())
    before = path.read_bytes()
    fit(gconvae.datasets.from_file(path))
    assert path.read_bytes() == before


def test_an_npy_file_that_needs_pickle_is_refused(tmp_path) -> None:
    np.save(tmp_path / "c.npy", np.array([*ragged_list(), None], dtype=object)[:-1])
    with pytest.raises(ValueError, match=r"(?s)c\.npy.*([Pp]ickle|object)"):
        gconvae.datasets.from_file(tmp_path / "c.npy")


# PyG's convention -------------------------------------------------------------------------------


def eights(**options):
    return gconvae.datasets.SuperpixelMNIST(digit=8, split="test", **options)


def mirrored(data: Data) -> Data:
    data = data.clone()
    data.pos[:, 0] = data.pos[:, 0].max() - data.pos[:, 0]
    return data


def test_pre_filter_leaves_clouds_out() -> None:
    plain = eights().points
    kept = plain[plain[..., 2].amax(1) > 0.95]
    data = eights(pre_filter=lambda cloud: float(cloud.x.max()) > 0.95)
    assert 0 < len(kept) < len(plain)
    assert torch.equal(data.points, kept)


def test_pre_transform_changes_each_cloud_once() -> None:
    calls: list[int] = []

    def transform(data: Data) -> Data:
        calls.append(1)
        return mirrored(data)

    data, plain = eights(pre_transform=transform), eights().points[..., 0]
    expected = (plain.amax(1, keepdim=True) - plain).sort(1).values
    torch.testing.assert_close(data.points[..., 0].sort(1).values, expected)
    assert len(calls) == len(plain) == len(data)


def test_pre_filter_sees_clouds_before_pre_transform() -> None:
    shifted = lambda data: Data(pos=data.pos, x=data.x * 0.5, y=data.y)  # noqa: E731
    data = eights(pre_filter=lambda cloud: float(cloud.x.max()) > 0.95, pre_transform=shifted)
    assert len(data) == int((eights().points[..., 2].amax(1) > 0.95).sum())


def test_transform_changes_what_an_index_gives() -> None:
    data, plain = eights(transform=mirrored), eights()
    assert torch.equal(data[3].pos, mirrored(plain[3]).pos)


TRANSFORMS = {"NormalizeScale": transforms.NormalizeScale(), "own": mirrored}


def transformed(transform):
    data = charged(cloud_array())
    data.transform = transform
    nodes = [transform(cloud.clone()) for cloud in charged(cloud_array())]
    return data, charged(torch.stack([torch.cat([c.pos, c.x], 1) for c in nodes]))


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_fit_trains_on_transformed_clouds(transform) -> None:
    data, expected = transformed(transform)
    assert_same_weights(fit(data).model, fit(expected).model)


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_compare_sees_transformed_clouds(transform) -> None:
    data, expected = transformed(transform)
    report = gconvae.metrics.compare(data, data, metrics="features")
    wanted = gconvae.metrics.compare(expected, expected, metrics="features")
    assert report.row("x").floor == pytest.approx(wanted.row("x").floor, rel=1e-4)


@pytest.mark.parametrize(
    "copy", [lambda data: data.copy(), lambda data: data[:60]], ids=["copy", "slice"]
)
def test_a_copy_keeps_the_transform(copy) -> None:
    data = charged(cloud_array())
    data.transform = transforms.NormalizeScale()
    assert torch.equal(copy(data)[7].pos, data[7].pos)


def graphs(labels: list | None = None, flat: bool = False) -> list[Data]:
    clouds = torch.from_numpy(cloud_array())
    made = [Data(pos=c[:, :2], x=c[:, 2] if flat else c[:, 2:]) for c in clouds]
    for graph, label in zip(made, labels or [], strict=False):
        graph.y = label
    return made


HOLDERS = {
    "list": lambda items: items,
    "Batch": Batch.from_data_list,
    "DataLoader": lambda items: DataLoader(items, batch_size=7),
    "Dataset": OwnDataset,
    "generator": iter,
}


@pytest.mark.parametrize("hold", HOLDERS.values(), ids=HOLDERS)
@pytest.mark.parametrize("flat", [False, True], ids=["x (N, 1)", "x (N,)"])
def test_from_pyg_takes_all_that_holds_graphs(hold, flat: bool) -> None:
    assert_clouds(gconvae.datasets.from_pyg(hold(graphs(flat=flat))), cloud_array())


@pytest.mark.parametrize("hold", [HOLDERS["list"], HOLDERS["Batch"], HOLDERS["DataLoader"]])
def test_fit_takes_all_that_holds_graphs(hold) -> None:
    expected = fit(gconvae.datasets.from_points(cloud_array())).model
    assert_same_weights(fit(hold(graphs())).model, expected)


GRAPH_LABELS = {
    "text": (TEXTS, TEXTS),
    "int": ([0, 1, 2] * 20, ["0", "1", "2"] * 20),
    "float": ([0.0, 1.0, 2.0] * 20, ["0", "1", "2"] * 20),
    "tensor of one": ([torch.tensor([i % 3]) for i in range(60)], ["0", "1", "2"] * 20),
    "scalar tensor": ([torch.tensor(i % 3) for i in range(60)], ["0", "1", "2"] * 20),
    "float tensor": ([torch.tensor([float(i % 3)]) for i in range(60)], ["0", "1", "2"] * 20),
    "one-hot row": ([torch.eye(3)[[i % 3]] for i in range(60)], ["0", "1", "2"] * 20),
    "one-hot": ([torch.eye(3)[i % 3] for i in range(60)], ["0", "1", "2"] * 20),
    "particle ids": (PARTICLES, [str(label) for label in PARTICLES]),
}


@pytest.mark.parametrize(("given", "names"), GRAPH_LABELS.values(), ids=GRAPH_LABELS)
def test_from_pyg_takes_y_in_any_form(given: list, names: list[str]) -> None:
    data = gconvae.datasets.from_pyg(graphs(given))
    assert [data.schema.class_name(label) for label in data.labels.tolist()] == names


@pytest.mark.parametrize("hold", [HOLDERS["Batch"], HOLDERS["DataLoader"]])
@pytest.mark.parametrize("kind", ["text", "int", "one-hot row"])
def test_batches_keep_y(hold, kind: str) -> None:
    given, names = GRAPH_LABELS[kind]
    data = gconvae.datasets.from_pyg(hold(graphs(given)))
    assert [data.schema.class_name(label) for label in data.labels.tolist()] == names


BAD_GRAPHS = {
    "no pos": (
        lambda: [Data(x=torch.ones(4, 3))] * 20,
        r"(?s)\bpos\b.*(None|missing|no |without)",
    ),
    "fractions": (lambda: graphs([0.37] * 60), r"(?s)\by\b.*0\.37"),
    "y of some": (lambda: graphs([1] * 30), r"(?s)\by\b.*(30|None|missing|no |without)"),
    "x too long": (
        lambda: [Data(pos=torch.rand(4, 2), x=torch.rand(5, 1))] * 20,
        r"(?s)\bx\b.*(4.*5|5.*4)",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD_GRAPHS.values(), ids=BAD_GRAPHS)
def test_a_graph_that_is_no_cloud_is_refused_by_attribute(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gconvae.datasets.from_pyg(make())

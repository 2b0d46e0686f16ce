from __future__ import annotations

import hashlib
import json
import pickle
import random
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.datasets import MNISTSuperpixels
from torch_geometric.loader import DataLoader

from gconvae import datasets
from gconvae.datasets import CloudDataset, SuperpixelMNIST, from_file, from_points, from_pyg
from gconvae.schema import SUPERPIXELS, CloudSchema, superpixels

TRAIN_COUNTS = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
TEST_COUNTS = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.fixture(scope="module")
def train_eights() -> CloudDataset:
    return SuperpixelMNIST(8, "train")


@pytest.fixture(scope="module")
def test_set() -> CloudDataset:
    return SuperpixelMNIST(None, "test")


def ragged(num_clouds: int = 12, num_nodes: int = 9, seed: int = 0) -> CloudDataset:
    """Labelled clouds with 1 to ``num_nodes`` nodes; the label of a cloud is its number."""
    random = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, num_nodes + 1, (num_clouds, 1), generator=random)
    return from_points(
        torch.rand(num_clouds, num_nodes, 3, generator=random),
        torch.arange(num_nodes) < counts,
        torch.arange(num_clouds),
    )


def assert_in_step(data: CloudDataset, labels: list[int], original: CloudDataset) -> None:
    """Graphs, points, mask and labels of ``data`` are the clouds ``labels`` of ``original``."""
    assert len(data) == len(labels)
    assert data.labels is not None
    assert data.labels.tolist() == labels
    assert torch.equal(data.points, original.points[labels])
    assert torch.equal(data.mask, original.mask[labels])
    for i, graph in enumerate(data):
        real = data.points[i][data.mask[i]]
        assert torch.equal(torch.cat([graph.pos, graph.x], 1), real)
        assert graph.y.tolist() == [labels[i]]


# the bundled set


def test_bundled_train_set_has_mnists_counts_of_every_digit() -> None:
    labels = SuperpixelMNIST(None, "train").labels
    assert labels is not None
    assert torch.bincount(labels).tolist() == TRAIN_COUNTS


def test_bundled_test_set_has_mnists_counts_of_every_digit(test_set: CloudDataset) -> None:
    assert test_set.labels is not None
    assert torch.bincount(test_set.labels).tolist() == TEST_COUNTS


def test_one_digit_is_that_part_of_the_whole(test_set: CloudDataset) -> None:
    assert test_set.labels is not None
    threes = SuperpixelMNIST(3, "test")
    assert torch.equal(threes.points, test_set.points[test_set.labels == 3])


def test_several_digits_keep_the_order_of_the_whole(test_set: CloudDataset) -> None:
    assert test_set.labels is not None
    some = SuperpixelMNIST([8, 3], "test")
    rows = (test_set.labels == 3) | (test_set.labels == 8)
    assert some.labels is not None
    assert torch.equal(some.labels, test_set.labels[rows])
    assert torch.equal(some.points, test_set.points[rows])


def test_a_numpy_integer_is_a_digit() -> None:
    assert len(SuperpixelMNIST(np.int64(8), "test")) == 974  # type: ignore[arg-type]


def test_the_split_is_train_if_not_said(train_eights: CloudDataset) -> None:
    assert SuperpixelMNIST(digit=8).checksum() == train_eights.checksum()


def test_train_and_test_share_no_cloud(train_eights: CloudDataset) -> None:
    train = {cloud.numpy().tobytes() for cloud in train_eights.points}
    test = {cloud.numpy().tobytes() for cloud in SuperpixelMNIST(8, "test").points}
    assert not train & test


def test_every_eight_has_25_nodes(train_eights: CloudDataset) -> None:
    assert train_eights.points.shape == (5851, 25, 3)
    assert train_eights.mask.all()


def test_bundled_clouds_are_float32_pixels_and_intensities(test_set: CloudDataset) -> None:
    nodes = test_set.points[test_set.mask]
    assert nodes.dtype == torch.float32
    assert nodes[:, :2].min() >= 0
    assert 20 < nodes[:, :2].max() <= 27
    assert nodes[:, 2].min() > 0
    assert 0.9 < nodes[:, 2].max() <= 1


def test_bundled_nodes_lie_on_the_stored_lattice(test_set: CloudDataset) -> None:
    steps = test_set.points[test_set.mask] * torch.tensor([16.0, 16.0, 255.0])
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)


def test_bundled_nodes_are_in_the_one_order(test_set: CloudDataset) -> None:
    sorted_again = from_points(test_set.points, test_set.mask)
    assert torch.equal(sorted_again.points, test_set.points)
    assert torch.equal(sorted_again.mask, test_set.mask)


def test_a_bundled_eight_is_upright_in_xy(train_eights: CloudDataset) -> None:
    # an eight is taller than wide, so x and y cannot be swapped unseen
    spread = train_eights.points.flatten(0, 1).std(0)
    assert spread[1] > 1.2 * spread[0]


def test_bundled_file_has_the_checksum_that_its_description_names() -> None:
    folder = resources.files("gconvae").joinpath("data")
    described = json.loads(folder.joinpath("superpixels.json").read_text())
    content = folder.joinpath(described["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == described["sha256"]
    assert len(content) <= 7_000_000


@pytest.mark.parametrize("digit", [10, -1, True, 8.5, "8", [], [3, 12], [3, None]])
def test_unknown_digit_is_one_clear_error(digit: Any) -> None:
    with pytest.raises(ValueError, match="digit must be 0 to 9"):
        SuperpixelMNIST(digit, "test")


def test_unknown_split_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match=r"split must be 'train' or 'test', got 'valid'"):
        SuperpixelMNIST(8, "valid")  # type: ignore[arg-type]


# behaviour as a PyG dataset


def test_a_set_is_a_pyg_dataset_of_pos_x_y() -> None:
    data = SuperpixelMNIST(8, "test")
    assert isinstance(data, InMemoryDataset)
    assert len(data) == 974
    graph = data[5]
    assert isinstance(graph, Data)
    assert (graph.pos.shape, graph.x.shape, graph.y.tolist()) == ((25, 2), (25, 1), [8])
    assert torch.equal(torch.cat([graph.pos, graph.x], 1), data.points[5])


def test_a_set_without_labels_gives_graphs_without_y() -> None:
    data = from_points(torch.rand(4, 5, 3))
    assert data.labels is None
    assert data[0].y is None


def test_pygs_data_loader_batches_all_real_nodes() -> None:
    data = ragged()
    batches = list(DataLoader(data, batch_size=5))
    assert [batch.num_graphs for batch in batches] == [5, 5, 2]
    assert torch.equal(torch.cat([batch.pos for batch in batches]), data.points[data.mask][:, :2])
    assert torch.cat([batch.y for batch in batches]).tolist() == list(range(12))
    counts = torch.cat([torch.bincount(batch.batch) for batch in batches])
    assert torch.equal(counts, data.mask.sum(1))


@pytest.mark.parametrize(
    ("index", "labels"),
    [
        (slice(2, 7), [2, 3, 4, 5, 6]),
        (slice(None, None, -5), [11, 6, 1]),
        ([7, 0, 7], [7, 0, 7]),
        (torch.tensor([4, 1]), [4, 1]),
        (np.array([9, 3]), [9, 3]),
        (torch.arange(12) > 9, [10, 11]),
    ],
)
def test_an_index_keeps_graphs_points_mask_and_labels_in_step(
    index: Any, labels: list[int]
) -> None:
    data = ragged()
    assert_in_step(data[index], labels, data)


def test_an_index_into_a_subset_counts_within_the_subset() -> None:
    data = ragged()
    assert_in_step(data[6:][[0, 3]], [6, 9], data)


def test_pygs_shuffle_keeps_points_in_step() -> None:
    data = ragged()
    torch.manual_seed(0)
    shuffled, order = data.shuffle(return_perm=True)
    assert_in_step(shuffled, order.tolist(), data)


def test_pygs_copy_keeps_points_in_step() -> None:
    data = ragged()
    assert_in_step(data.copy([3, 1]), [3, 1], data)


def test_a_set_survives_pickling_to_worker_processes() -> None:
    data = ragged()
    assert_in_step(pickle.loads(pickle.dumps(data[3:5])), [3, 4], data)


# checksum


def test_checksum_is_the_same_for_the_same_clouds_in_any_form() -> None:
    data = ragged()
    assert data.checksum() == ragged().checksum()
    again = from_points(data.points.double().numpy(), data.mask.numpy(), data.labels)
    assert again.checksum() == data.checksum()


def test_checksum_of_a_subset_is_that_of_its_clouds() -> None:
    data = ragged()
    labels = data.labels
    assert labels is not None
    alone = from_points(data.points[3:6], data.mask[3:6], labels[3:6])
    assert data[3:6].checksum() == alone.checksum() != data.checksum()


@pytest.mark.parametrize("what", ["point", "mask", "label", "no labels", "order"])
def test_checksum_sees_every_change(what: str) -> None:
    data = ragged()
    points, mask, labels = (None if t is None else t.clone() for t in data.clouds)
    assert points is not None
    assert mask is not None
    assert labels is not None
    if what == "point":
        points[4, 0, 1] = torch.nextafter(points[4, 0, 1], torch.tensor(2.0))
    elif what == "mask":
        cloud = int((mask.sum(1) > 1).nonzero()[0])
        mask[cloud, mask[cloud].sum() - 1] = False
    elif what == "label":
        labels[4] += 1
    elif what == "order":
        points, mask = points.flip(0), mask.flip(0)
    changed = from_points(points, mask, None if what == "no labels" else labels)
    assert changed.checksum() != data.checksum()


# own arrays


@pytest.mark.parametrize(
    "convert",
    [
        lambda t: t,
        lambda t: t.double(),
        lambda t: t.numpy(),
        lambda t: t.double().numpy(),
        lambda t: t.tolist(),
        lambda t: t.numpy()[:, ::1, :].copy(order="F"),
    ],
)
def test_points_of_any_kind_of_array_give_the_same_clouds(
    convert: Callable[[Tensor], Any],
) -> None:
    points = torch.rand(6, 5, 3, generator=torch.Generator().manual_seed(0))
    data = from_points(convert(points))
    assert data.points.dtype == torch.float32
    assert data.checksum() == from_points(points).checksum()


def test_own_nodes_come_brightest_first_ties_by_y_then_x() -> None:
    nodes = [[9.0, 1.0, 0.5], [3.0, 2.0, 0.9], [1.0, 2.0, 0.9], [8.0, 1.0, 0.9], [0.0, 0.0, 0.1]]
    wanted = [nodes[3], nodes[2], nodes[1], nodes[0], nodes[4]]
    assert torch.equal(from_points([nodes]).points, torch.tensor([wanted]))


def test_order_of_own_nodes_does_not_matter() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randint(0, 4, (20, 8, 3), generator=random).float()  # many ties
    mask = torch.rand(20, 8, generator=random) > 0.4
    mask[:, 0] = True
    order = torch.randperm(8, generator=random)
    first, second = from_points(points, mask), from_points(points[:, order], mask[:, order])
    assert first.checksum() == second.checksum()


def test_masked_nodes_come_last_and_hold_zero() -> None:
    points = torch.tensor([[[1.0, 2.0, 0.9], [3.0, 4.0, 0.1], [5.0, 6.0, 0.5]]])
    data = from_points(points, torch.tensor([[False, True, True]]))
    assert data.mask.tolist() == [[True, True, False]]
    assert torch.equal(data.points[0], torch.stack([points[0, 2], points[0, 1], torch.zeros(3)]))


def test_a_mask_is_never_guessed_from_zeros() -> None:
    points = torch.zeros(2, 4, 3)
    points[:, 0] = 1
    with pytest.warns(UserWarning, match="points end in 6 nodes of zeros alone, in 2 of 2 clouds"):
        assert from_points(points).mask.all()


def test_values_in_masked_places_do_not_matter() -> None:
    points, mask = torch.rand(3, 4, 3), torch.ones(3, 4, dtype=torch.bool)
    mask[:, 2] = False
    spoiled = points.clone()
    spoiled[:, 2] = torch.tensor([float("nan"), float("inf"), -1e30])
    assert from_points(spoiled, mask).checksum() == from_points(points, mask).checksum()


def test_own_array_is_neither_changed_nor_kept() -> None:
    points = np.random.default_rng(0).random((3, 4, 3), dtype=np.float32)
    before = points.copy()
    data = from_points(points)
    np.testing.assert_array_equal(points, before)
    checksum = data.checksum()
    points[:] = -1
    assert data.checksum() == checksum


def test_labels_stay_with_their_clouds() -> None:
    data = from_points(torch.rand(3, 4, 3), labels=[5, 0, 7])
    assert [graph.y.item() for graph in data] == [5, 0, 7]


def test_a_schema_is_kept_by_subsets_and_copies() -> None:
    data = from_points(torch.rand(8, 4, 3), schema=superpixels(16))
    assert data[2:5].schema == data.copy([1, 2]).schema == superpixels(16)


def nan_at(cloud: int, node: int) -> Tensor:
    points = torch.rand(4, 5, 3)
    points[cloud, node, 1] = float("nan")
    return points


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (nan_at(2, 3), "finite.*cloud 2, node 3"),
        (torch.full((2, 5, 3), float("inf")), "finite"),
        (np.full((2, 5, 3), 1e300), "finite|float32"),
        (torch.rand(5, 3), r"shape \(clouds, nodes, features\), got \(5, 3\)"),
        (torch.rand(4, 5, 3, dtype=torch.complex64), "real numbers"),
        (np.full((4, 5, 3), "a"), "points must"),
        (np.full((4, 5, 3), None), "points must"),
        ([[[1.0, 2.0, 0.5]], [[1.0, 2.0], [1.0, 2.0]]], "points must hold clouds"),
        ("clouds.npz", "points must"),
        (None, "points must"),
        (torch.rand(0, 5, 3), "at least one cloud"),
        (torch.rand(4, 0, 3), "at least one cloud and one node"),
    ],
)
def test_points_that_cannot_be_used_are_one_clear_error(points: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_points(points)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(4, 4, dtype=torch.bool), r"mask must have shape \(4, 5\)"),
        (torch.full((4, 5), 0.5), "mask must hold booleans"),
        (torch.arange(20).view(4, 5) >= 5, "cloud 0 has none"),
    ],
)
def test_masks_that_cannot_be_used_are_one_clear_error(mask: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_points(torch.rand(4, 5, 3), mask)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, 3], r"labels must have shape \(4,\), got \(3,\)"),
        ([1.0, 2.5, 3.0, 4.0], "labels must be whole numbers, got 2.5"),
        ([None, "b", "c", "d"], "labels must be whole numbers, texts or one-hot"),
        ([[1, 1]] * 4, "labels must be one-hot rows"),
    ],
)
def test_labels_that_cannot_be_used_are_one_clear_error(labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_points(torch.rand(4, 5, 3), labels=labels)


# own files


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("schema", [None, SUPERPIXELS], ids=["plain", "superpixels"])
def test_a_file_gives_back_the_clouds_written(
    tmp_path: Path, labelled: bool, schema: CloudSchema | None
) -> None:
    whole = ragged()
    data = from_points(whole.points, whole.mask, whole.labels if labelled else None, schema=schema)
    read = from_file(datasets.to_file(data, tmp_path / "new" / "clouds.npz"))
    assert read.checksum() == data.checksum()
    assert read.schema == data.schema


def test_a_file_of_a_subset_holds_the_subset(tmp_path: Path) -> None:
    data = ragged()
    read = from_file(datasets.to_file(data[3:7], tmp_path / "clouds.npz"))
    assert read.checksum() == data[3:7].checksum()


def test_a_file_made_with_numpy_needs_points_only(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((6, 4, 3))
    np.savez(tmp_path / "own.npz", points=points)
    assert from_file(str(tmp_path / "own.npz")).checksum() == from_points(points).checksum()


def test_a_schema_of_the_caller_wins_over_the_files(tmp_path: Path) -> None:
    path = datasets.to_file(
        from_points(torch.rand(2, 4, 3), schema=SUPERPIXELS), tmp_path / "a.npz"
    )
    assert from_file(path, schema=superpixels(64)).schema == superpixels(64)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = datasets.to_file(ragged(seed=0), tmp_path / "clouds.npz")
    before = path.read_bytes()

    def full_disk(file: Any, **arrays: Any) -> None:
        Path(file).write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError, match="no space left"):
        datasets.to_file(ragged(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"path must be an npz, npy.*absent\.npz"):
        from_file(tmp_path / "absent.npz")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be an npz, npy"):
        from_file(tmp_path)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_one_clear_error(tmp_path: Path, kept: float) -> None:
    path = datasets.to_file(ragged(), tmp_path / "clouds.npz")
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match="whole npz or npy file"):
        from_file(path)


def test_a_file_with_flipped_bits_is_one_clear_error(tmp_path: Path) -> None:
    path = datasets.to_file(ragged(), tmp_path / "clouds.npz")
    content = bytearray(path.read_bytes())
    for i in range(120, 200):  # inside the compressed points
        content[i] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match="whole npz or npy file"):
        from_file(path)


class Exploit:
    """Runs code when unpickled."""

    ran = False

    def __reduce__(self) -> Any:
        return setattr, (Exploit, "ran", True)


def test_a_pickled_npz_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", points=np.array([Exploit()], dtype=object))
    with pytest.raises(ValueError, match="without pickled objects"):
        from_file(tmp_path / "bad.npz")
    assert not Exploit.ran


def test_a_bare_pickle_is_refused_and_its_code_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(pickle.dumps(Exploit()))
    with pytest.raises(ValueError, match="without pickled objects"):
        from_file(tmp_path / "bad.npz")
    assert not Exploit.ran


def test_an_npy_file_holds_the_points(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((6, 4, 3))
    np.save(tmp_path / "own.npy", points)
    assert from_file(tmp_path / "own.npy").checksum() == from_points(points).checksum()


def test_a_damaged_schema_is_one_clear_error(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((6, 4, 3))
    np.savez(tmp_path / "own.npz", points=points, schema=np.array("{}"))
    with pytest.raises(ValueError, match="path must hold a whole schema"):
        from_file(tmp_path / "own.npz")


def test_a_file_without_points_is_one_clear_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", clouds=np.zeros((6, 4, 3)))
    with pytest.raises(ValueError, match=r"array 'points'.*'clouds'"):
        from_file(tmp_path / "own.npz")


def test_clouds_of_a_file_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", points=nan_at(1, 2).numpy())
    with pytest.raises(ValueError, match="finite"):
        from_file(tmp_path / "own.npz")


# PyG graphs


def real_format_graph(num_nodes: int, label: int, seed: int) -> dict[str, Tensor]:
    """One graph as in the raw file of PyG's MNISTSuperpixels: pos is (down, across)."""
    random = torch.Generator().manual_seed(seed)
    return {
        "x": torch.rand(num_nodes, 1, generator=random) * (torch.arange(num_nodes)[:, None] > 2),
        "edge_index": torch.randint(0, num_nodes, (2, 40), generator=random),
        "edge_attr": torch.rand(40, 2, generator=random),
        "pos": torch.randint(0, 28, (num_nodes, 2), generator=random).float(),
        "y": torch.tensor([label]),
    }


@pytest.fixture
def real_class(tmp_path: Path) -> MNISTSuperpixels:
    """PyG's own class on a small file in its own format, so that nothing is downloaded."""
    train = [real_format_graph(75, label, label) for label in range(10)]
    train.append(real_format_graph(20, 8, 10))
    (tmp_path / "raw").mkdir()
    torch.save((train, [real_format_graph(75, 8, 99)]), tmp_path / "raw" / "MNISTSuperpixels.pt")
    return MNISTSuperpixels(str(tmp_path), train=True)


def slow_from_pyg(graph: Data, num_points: int, swapped: bool) -> list[list[float]]:
    """Nodes (x, y, intensity) of one graph by an obvious sort."""
    nodes = []
    for (first, second), (intensity,) in zip(graph.pos.tolist(), graph.x.tolist(), strict=True):
        x, y = (second, first) if swapped else (first, second)
        if intensity > 0:
            nodes.append([x, y, intensity])
    nodes.sort(key=lambda node: (-node[2], node[1], node[0]))
    return nodes[:num_points]


def test_pygs_real_class_gives_x_across_y_down_brightest_first(
    real_class: MNISTSuperpixels,
) -> None:
    data = from_pyg(real_class, digit=None, num_points=25)
    assert data.points.shape == (11, 25, 3)
    assert data.schema.same_nodes(SUPERPIXELS)
    assert data.labels is not None
    assert data.labels.tolist() == [*range(10), 8]
    for i, graph in enumerate(real_class):
        wanted = torch.tensor(slow_from_pyg(graph, 25, swapped=True))
        assert torch.equal(data.points[i][data.mask[i]], wanted)


def test_a_graph_with_few_bright_nodes_is_masked(real_class: MNISTSuperpixels) -> None:
    data = from_pyg(real_class, digit=8, num_points=25)
    assert data.mask.sum(1).tolist() == [25, 17]  # 20 nodes, 3 of them of intensity 0
    assert (data.points[~data.mask] == 0).all()


def test_digits_of_a_pyg_dataset_are_chosen_by_label(real_class: MNISTSuperpixels) -> None:
    labels = from_pyg(real_class, digit=[8, 1]).labels
    assert labels is not None
    assert labels.tolist() == [1, 8, 8]


def test_a_subset_of_pygs_class_is_swapped_too(real_class: MNISTSuperpixels) -> None:
    data = from_pyg(real_class[4:5])
    wanted = torch.tensor([slow_from_pyg(real_class[4], 25, swapped=True)])
    assert torch.equal(data.points, wanted)


@pytest.mark.parametrize(("positions", "swapped"), [("auto", False), ("xy", False), ("yx", True)])
def test_plain_graphs_are_swapped_only_where_asked(
    real_class: MNISTSuperpixels, positions: Any, swapped: bool
) -> None:
    data = from_pyg(list(real_class)[:3], num_points=10, positions=positions)
    wanted = [slow_from_pyg(graph, 10, swapped) for graph in list(real_class)[:3]]
    assert torch.equal(data.points, torch.tensor(wanted))
    assert data.schema.names == ("x", "y", "feature 3")


def test_positions_xy_leave_pygs_class_as_it_is(real_class: MNISTSuperpixels) -> None:
    data = from_pyg(real_class, positions="xy", num_points=5)
    assert torch.equal(data.points[0], torch.tensor(slow_from_pyg(real_class[0], 5, False)))


def test_more_points_than_nodes_are_masked() -> None:
    graph = Data(x=torch.tensor([[0.2], [0.9]]), pos=torch.rand(2, 2))
    data = from_pyg([graph], num_points=6)
    assert data.mask.tolist() == [[True, True, False, False, False, False]]


def test_our_own_set_passes_through_unchanged() -> None:
    data = SuperpixelMNIST([1, 8], "test")[:50]
    assert from_pyg(data).checksum() == data.checksum()


def good_graph(**changes: Any) -> Data:
    return Data(**({"x": torch.rand(4, 1) + 0.1, "pos": torch.rand(4, 2)} | changes))


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        ([], "at least one graph"),
        ([good_graph(), good_graph(pos=None)], "pos"),
        ([good_graph(), good_graph(x=None)], "same number of features in pos and x"),
        ([good_graph(x=torch.rand(3, 1))], "pos"),
        ([good_graph(pos=torch.full((4, 2), float("nan")))], "finite"),
        ([good_graph(), good_graph(y=torch.tensor([1]))], "label y on every graph or on none"),
    ],
)
def test_graphs_that_cannot_be_used_are_one_clear_error(graphs: list[Data], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_pyg(graphs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"digit": 11}, "digit must be 0 to 9"),
        ({"digit": 3}, "at least one graph of digit 3"),
        ({"num_points": 0}, "num_points must be at least 1, got 0"),
        ({"positions": "ij"}, "positions must be 'auto', 'xy' or 'yx', got 'ij'"),
    ],
)
def test_options_that_cannot_be_used_are_one_clear_error(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        from_pyg([good_graph(y=torch.tensor([5]))], **options)


# the split


def test_eights_split_into_4857_and_994(train_eights: CloudDataset) -> None:
    train, valid = datasets.split(train_eights)
    assert (len(train), len(valid)) == (4857, 994)


def test_a_split_is_complete_disjoint_and_in_order() -> None:
    data = ragged(100)
    train, valid = datasets.split(data, 0.3)
    assert train.labels is not None
    assert valid.labels is not None
    first, second = train.labels.tolist(), valid.labels.tolist()
    assert sorted(first + second) == list(range(100))
    assert (first, second) == (sorted(first), sorted(second))
    assert len(second) == 30


def test_a_split_is_random_not_the_end_of_the_set() -> None:
    _, valid = datasets.split(ragged(100), 0.2)
    assert valid.labels is not None
    assert min(valid.labels.tolist()) < 50 < max(valid.labels.tolist())


def test_a_split_is_a_function_of_its_seed() -> None:
    data = ragged(100)
    sums = [datasets.split(data, seed=seed)[1].checksum() for seed in (0, 0, 1)]
    assert sums[0] == sums[1] != sums[2]


def test_a_split_neither_reads_nor_changes_global_random_numbers() -> None:
    data = ragged(100)
    wanted = datasets.split(data)[1].checksum()
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the global state is what is looked at
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert datasets.split(data)[1].checksum() == wanted
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert random.getstate() == before[2]


def test_a_split_of_a_subset_takes_from_the_subset() -> None:
    data = ragged(100)
    train, valid = datasets.split(data[50:])
    assert train.labels is not None
    assert valid.labels is not None
    assert sorted(train.labels.tolist() + valid.labels.tolist()) == list(range(50, 100))


def test_the_smallest_split_has_a_cloud_on_each_side() -> None:
    assert [len(part) for part in datasets.split(ragged(2), 0.01)] == [1, 1]


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 17, float("nan")])
def test_a_fraction_outside_0_and_1_is_one_clear_error(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must be between 0 and 1"):
        datasets.split(ragged(), fraction)


def test_one_cloud_cannot_be_split() -> None:
    with pytest.raises(ValueError, match="at least 2 clouds"):
        datasets.split(ragged(1))


@pytest.mark.parametrize("seed", [-1, 0.5, "0"])
def test_a_seed_that_is_no_whole_number_is_one_clear_error(seed: Any) -> None:
    with pytest.raises(ValueError, match="seed must be a whole number"):
        datasets.split(ragged(), seed=seed)


def test_nodes_of_other_graphs_are_all_kept() -> None:
    values = torch.tensor([[-1.0], [0.0], [1.0], [2.0]])
    data = from_pyg([Data(x=values, pos=torch.rand(4, 2))])
    assert data.points[data.mask][:, 2].tolist() == [2.0, 1.0, 0.0, -1.0]


def test_graphs_in_space_have_three_positions() -> None:
    graphs = [Data(pos=torch.rand(4, 3), x=torch.rand(4, 1)) for _ in range(3)]
    data = from_pyg(graphs)
    assert data.schema.num_positions == 3
    assert data[0].pos.shape == (4, 3)

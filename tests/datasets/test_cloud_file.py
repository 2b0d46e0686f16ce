"""Clouds on disk: the same numbers as in memory, in any order, in any process."""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset
from torch_geometric.loader import DataLoader

from gconvae import datasets
from gconvae.clouds import Clouds, as_sample
from gconvae.datasets import CloudFile, as_dataset, from_file, from_points, split
from gconvae.datasets import cloud_file as cloud_file_module
from gconvae.schema import SUPERPIXELS

NUM_CLOUDS, NUM_NODES = 60, 7


def arrays(seed: int = 0) -> dict[str, Any]:
    """Ragged clouds whose nodes are in no order, masked ones between them, and labels."""
    random = np.random.default_rng(seed)
    points = random.random((NUM_CLOUDS, NUM_NODES, 3), dtype=np.float32)
    points[:20, :, 2] = points[:20, :1, 2]  # ties of the first key
    mask = random.random((NUM_CLOUDS, NUM_NODES)) < 0.7
    mask[:, 3] = True
    mask[::3] = True
    points[~mask] = np.nan  # may hold anything
    return {"points": points, "mask": mask, "labels": random.integers(0, 4, NUM_CLOUDS)}


def write_npz(path: Path, **content: Any) -> None:
    np.savez(path, **content)


def write_npy(path: Path, **content: Any) -> None:
    np.save(path, content["points"])


def write_hdf5(path: Path, **content: Any) -> None:
    """Chunks of 7 clouds, compressed."""
    with h5py.File(path, "w") as file:
        for name, array in content.items():
            texts = array.dtype.kind == "U"
            array = array.astype(object) if texts else array
            file.create_dataset(
                name,
                data=array,
                chunks=(7, *array.shape[1:]),
                compression="gzip",
                dtype=h5py.string_dtype() if texts else array.dtype,
            )


def write_contiguous_hdf5(path: Path, **content: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, array in content.items():
            file[name] = array.tolist() if array.dtype.kind == "U" else array


def write_parquet(path: Path, **content: Any) -> None:
    """Lists of nodes, real ones only, 7 rows a group."""
    points = content["points"]
    mask = content.get("mask", np.ones(points.shape[:2], dtype=bool))
    real = mask == 1
    nodes = [cloud[kept].tolist() for cloud, kept in zip(points, real, strict=True)]
    kind = pyarrow.list_(pyarrow.list_(pyarrow.from_numpy_dtype(points.dtype)))
    columns = {"points": pyarrow.array(nodes, kind)}
    if "labels" in content:
        columns["labels"] = pyarrow.array(content["labels"].tolist())
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=7)


WRITERS: dict[str, tuple[str, Callable[..., None]]] = {
    "npz": ("clouds.npz", write_npz),
    "hdf5": ("clouds.h5", write_hdf5),
    "contiguous hdf5": ("clouds.hdf5", write_contiguous_hdf5),
    "parquet": ("clouds.parquet", write_parquet),
}


@pytest.fixture(params=list(WRITERS))
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Path]:
    name, writer = WRITERS[request.param]

    def written(**content: Any) -> Path:
        writer(tmp_path / name, **content)
        return tmp_path / name

    return written


def assert_same(found: Clouds, wanted: Clouds) -> None:
    """To the bit, dtypes too."""
    for a, b in zip(found, wanted, strict=True):
        if b is None:
            assert a is None
            continue
        assert a is not None
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert found.schema == wanted.schema


ROWS = torch.randint(0, NUM_CLOUDS, (150,), generator=torch.Generator().manual_seed(0))


def assert_reads_like_memory(path: Path, **options: Any) -> CloudFile:
    on_disk = from_file(path, in_memory=False, **options)
    in_memory = from_file(path, in_memory=True, **options)
    assert isinstance(on_disk, CloudFile)
    assert_same(on_disk.take(ROWS), in_memory.clouds.subset(ROWS))
    assert_same(on_disk.take(torch.arange(NUM_CLOUDS)), in_memory.clouds)
    assert on_disk.checksum() == in_memory.checksum()
    return on_disk


# the same numbers as in memory


def test_ragged_labelled_clouds_in_no_order(write: Callable[..., Path]) -> None:
    data = assert_reads_like_memory(write(**arrays()), schema=SUPERPIXELS)
    assert data.has_labels
    assert data.num_points == NUM_NODES


def test_a_schema_is_found_as_in_memory(write: Callable[..., Path]) -> None:
    assert assert_reads_like_memory(write(**arrays())).schema.names == ("x", "y", "feature 3")


@pytest.mark.parametrize("dtype", ["float64", ">f4", "float16", "int32", "uint8", ">i8"])
def test_any_kind_of_numbers(tmp_path: Path, dtype: str) -> None:
    points = np.random.default_rng(0).integers(0, 200, (NUM_CLOUDS, NUM_NODES, 3)).astype(dtype)
    for name, writer in (("a.npz", write_npz), ("a.npy", write_npy), ("a.h5", write_hdf5)):
        writer(tmp_path / name, points=points)
        assert_reads_like_memory(tmp_path / name)


def test_nodes_far_from_0_stay_in_float64(tmp_path: Path) -> None:
    points = 1e6 + np.random.default_rng(0).random((NUM_CLOUDS, NUM_NODES, 3))
    np.save(tmp_path / "a.npy", points)
    with pytest.warns(UserWarning, match="float32 cannot tell nodes apart"):
        data = assert_reads_like_memory(tmp_path / "a.npy")
    assert data.take(ROWS).points.dtype == torch.float64


@pytest.mark.parametrize(
    "labels",
    [
        np.array(["top", "gluon", "top"] * 20),
        np.array([211, -13, 11] * 20),
        np.array([0.0, 3.0, 1.0] * 20),
        np.array([True, False, True] * 20),
    ],
    ids=["texts", "particle ids", "floats", "booleans"],
)
def test_labels_in_any_form(write: Callable[..., Path], labels: np.ndarray[Any, Any]) -> None:
    assert_reads_like_memory(write(**{**arrays(), "labels": labels}))


def test_one_hot_labels(tmp_path: Path) -> None:
    labels = np.eye(4, dtype=np.int8)[arrays()["labels"]]
    for name, writer in (("a.npz", write_npz), ("a.h5", write_hdf5)):
        writer(tmp_path / name, **{**arrays(), "labels": labels})
        assert_reads_like_memory(tmp_path / name)


def test_a_file_of_another_library_warns_of_zeros_without_a_mask(tmp_path: Path) -> None:
    points = np.nan_to_num(arrays()["points"])
    points[:, 5:] = 0
    np.save(tmp_path / "a.npy", points)
    with pytest.warns(UserWarning, match="nodes of zeros alone"):
        from_file(tmp_path / "a.npy", in_memory=False)


def test_a_large_file_has_the_schema_of_an_evenly_spread_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(0).random((1000, 4, 3))
    points[500:, :, 2] = np.random.default_rng(1).pareto(1.0, (500, 4)) + 1
    np.save(tmp_path / "a.npy", points)
    monkeypatch.setattr(cloud_file_module, "SAMPLE_CLOUDS", 300)
    with pytest.warns(UserWarning, match="feature 3 has a heavy tail"):
        data = from_file(tmp_path / "a.npy", in_memory=False)
    assert data.schema.features[2].tail is not None


# views and items


@pytest.fixture
def both(tmp_path: Path) -> tuple[CloudFile, datasets.CloudDataset]:
    np.savez(tmp_path / "a.npz", **arrays())
    path = tmp_path / "a.npz"
    return from_file(path, in_memory=False), from_file(path, in_memory=True)


@pytest.mark.parametrize(
    "index",
    [
        slice(5, 40, 3),
        slice(None, None, -1),
        torch.tensor([3, 0, 59, -1]),
        np.array([3, 0, 59]),
        [7, 7, 1],
        torch.arange(NUM_CLOUDS) % 3 == 0,
        np.arange(NUM_CLOUDS) % 3 == 1,
    ],
    ids=["slice", "backwards", "tensor", "array", "list", "mask", "numpy mask"],
)
def test_an_index_is_a_view(both: tuple[CloudFile, datasets.CloudDataset], index: Any) -> None:
    on_disk, in_memory = both
    view = on_disk[index]
    assert isinstance(view, CloudFile)
    wanted = in_memory[index]
    assert len(view) == len(wanted)
    assert_same(view.in_memory().clouds, wanted.clouds)
    assert view.checksum() == wanted.checksum()
    assert_same(view[1:].take(torch.tensor([1, 0])), wanted.clouds.subset([2, 1]))


def test_an_item_is_a_graph_as_in_memory(both: tuple[CloudFile, datasets.CloudDataset]) -> None:
    for index in (0, -1, np.int64(7), torch.tensor(5)):
        on_disk, in_memory = (data[index] for data in both)
        assert sorted(on_disk.keys()) == sorted(in_memory.keys())
        assert all(torch.equal(on_disk[key], in_memory[key]) for key in in_memory.keys())


@pytest.mark.parametrize("index", [60, -61, torch.tensor([60]), [0.5], torch.ones(59).bool()])
def test_an_index_beyond_the_clouds_is_refused(
    both: tuple[CloudFile, datasets.CloudDataset], index: Any
) -> None:
    with pytest.raises(IndexError, match=r"clouds must be 0 to 59|index must be|mask must have"):
        both[0][index]


def test_no_rows_are_no_clouds(both: tuple[CloudFile, datasets.CloudDataset]) -> None:
    assert both[0].take(torch.tensor([], dtype=torch.long)).points.shape == (0, NUM_NODES, 3)
    assert len(both[0][60:]) == 0


def test_pieces_are_all_clouds_in_their_order(write: Callable[..., Path]) -> None:
    data = from_file(write(**arrays()), in_memory=False)
    pieces = list(data.pieces(size=13))
    assert [len(piece.points) for piece in pieces] == [13, 13, 13, 13, 8]
    assert torch.equal(torch.cat([p.points for p in pieces]), data.in_memory().points)


def test_split_is_that_of_clouds_in_memory(
    both: tuple[CloudFile, datasets.CloudDataset],
) -> None:
    for on_disk, in_memory in zip(split(both[0], seed=3), split(both[1], seed=3), strict=True):
        assert isinstance(on_disk, CloudFile)
        assert on_disk.checksum() == in_memory.checksum()


def test_as_dataset_leaves_clouds_on_disk(both: tuple[CloudFile, datasets.CloudDataset]) -> None:
    data = both[0]
    assert as_dataset(data) is data
    subset = as_dataset(Subset(data, [4, 2]))
    assert isinstance(subset, CloudFile)
    assert_same(subset.take(torch.tensor([0, 1])), data.take(torch.tensor([4, 2])))
    joined = as_dataset(ConcatDataset([data, data[:3]]))
    assert joined.checksum() == as_dataset(ConcatDataset([both[1], both[1][:3]])).checksum()


def test_models_and_metrics_take_clouds_on_disk(
    both: tuple[CloudFile, datasets.CloudDataset],
) -> None:
    assert_same(as_sample(both[0]), as_sample(both[1]))
    assert_same(as_sample(Subset(both[0], [4, 2])), as_sample(both[1][[4, 2]]))


def test_a_summary_is_that_of_all_clouds(both: tuple[CloudFile, datasets.CloudDataset]) -> None:
    on_disk, in_memory = both
    summary = on_disk.summary()
    nodes = in_memory.points[in_memory.mask]
    assert summary.num_clouds == NUM_CLOUDS
    assert summary.low == tuple(nodes.amin(0).tolist())
    assert summary.high == tuple(nodes.amax(0).tolist())
    assert summary.size_counts == tuple(in_memory.mask.sum(1).bincount().tolist())
    assert in_memory.labels is not None
    assert summary.label_counts == tuple(in_memory.labels.bincount().tolist())
    assert on_disk.summary() is summary


# processes and memory


def test_a_pickled_file_reads_the_same(write: Callable[..., Path]) -> None:
    data = from_file(write(**arrays()), in_memory=False)
    before = data.take(ROWS)
    assert_same(pickle.loads(pickle.dumps(data)).take(ROWS), before)


def _points(data: CloudFile, rows: Any) -> Any:
    return data.take(torch.as_tensor(rows)).points.numpy()


def test_a_forked_process_reads_the_same(write: Callable[..., Path]) -> None:
    data = from_file(write(**arrays()), in_memory=False)
    before = data.take(ROWS)  # the file is open when the process forks
    child, parent = multiprocessing.get_context("fork").Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=lambda: child.send(_points(data, ROWS))
    )
    process.start()
    assert parent.poll(30)
    np.testing.assert_array_equal(parent.recv(), before.points.numpy())
    process.join()
    assert_same(data.take(ROWS), before)


def test_workers_of_a_loader_read_the_same(
    both: tuple[CloudFile, datasets.CloudDataset],
) -> None:
    batches = [
        torch.cat([batch.x for batch in DataLoader(data, batch_size=16, num_workers=workers)])
        for data, workers in ((both[0], 2), (both[1], 0))
    ]
    assert torch.equal(*batches)


def resident() -> int:
    """Bytes of memory of this process, mapped pages included."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, suffix: str) -> None:
    points = np.random.default_rng(0).random((2000, 25, 3), dtype=np.float32)
    points[..., 2] = -np.sort(-points[..., 2], axis=1)
    points = np.tile(points, (60, 1, 1))  # 36 MB
    path = tmp_path / f"clouds.{suffix}"
    {"npz": write_npz, "h5": write_contiguous_hdf5}[suffix](path, points=points)
    wanted = float(points.sum(dtype=np.float64))
    data = from_file(path, schema=SUPERPIXELS, in_memory=False)
    del points
    sum(float(piece.points[0, 0, 0]) for piece in data[:20_000].pieces(size=4000))
    before, total = resident(), 0.0
    for piece in data.pieces(size=4000):
        total += float(piece.points.double().sum())
        assert resident() - before < 15e6
    assert total == pytest.approx(wanted)


# damaged and wrong files


def test_clouds_that_are_not_finite_are_named(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((NUM_CLOUDS, NUM_NODES, 3), dtype=np.float32)
    points[41, 2, 1] = np.inf
    np.savez(tmp_path / "a.npz", points=points, mask=np.ones(points.shape[:2], dtype=bool))
    data = from_file(tmp_path / "a.npz", schema=SUPERPIXELS, in_memory=False)
    data.take(torch.arange(40))
    with pytest.raises(ValueError, match=r"points must be finite, got .* in cloud 41, node 2"):
        data.take(torch.tensor([3, 41]))
    with pytest.raises(ValueError, match="cloud 41"):
        data[30:].summary()


def test_large_numbers_whose_sum_overflows_are_finite(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((NUM_CLOUDS, NUM_NODES, 3), 3e38, dtype=np.float32))
    assert_reads_like_memory(tmp_path / "a.npy", schema=SUPERPIXELS)


def test_a_cloud_without_nodes_is_named(tmp_path: Path) -> None:
    content = arrays()
    content["mask"][17] = False
    np.savez(tmp_path / "a.npz", **content)
    data = from_file(tmp_path / "a.npz", schema=SUPERPIXELS, in_memory=False)
    with pytest.raises(ValueError, match="real node in every cloud, cloud 17 has none"):
        data.take(torch.tensor([20, 17]))


def test_an_unknown_label_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays())
    schema = SUPERPIXELS.with_classes(["a", "b", "c"])
    data = from_file(tmp_path / "a.npz", schema=schema, in_memory=False)
    with pytest.raises(ValueError, match="labels must be indices 0 to 2"):
        data.summary()


def test_a_schema_of_other_features_is_refused(write: Callable[..., Path]) -> None:
    path = write(**arrays())
    schema = datasets.from_points(torch.rand(2, 3, 4)).schema
    with pytest.raises(ValueError, match="points must have 4 features a node .* got 3"):
        from_file(path, schema=schema, in_memory=False)


@pytest.mark.parametrize("kept", [0.0, 0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_truncated_file_is_one_line(
    write: Callable[..., Path], kept: float, in_memory: bool
) -> None:
    path = write(**arrays())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"\Apath must be a whole (npz|HDF5|Parquet)[^\n]*\Z"):
        from_file(path, in_memory=in_memory)


def test_a_truncated_npy_file_is_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((50, 4, 3)))
    content = (tmp_path / "a.npy").read_bytes()
    for kept in (0, 50, 1000):
        (tmp_path / "a.npy").write_bytes(content[:kept])
        with pytest.raises(ValueError, match=r"\Apath must be a whole npz or npy[^\n]*\Z"):
            from_file(tmp_path / "a.npy", in_memory=False)


def test_a_file_that_is_cut_after_it_was_opened_is_one_line(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((50, 4, 3)))
    data = from_file(tmp_path / "a.npy", in_memory=False)
    data.take(torch.tensor([0]))
    os.truncate(tmp_path / "a.npy", 1000)
    with pytest.raises(ValueError, match="cut short"):
        data.take(torch.tensor([49]))
    with pytest.raises(ValueError, match="path must stay as it was when it was opened"):
        pickle.loads(pickle.dumps(data)).take(torch.tensor([0]))


def test_bytes_of_other_numbers_than_its_header_says_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", points=np.zeros((4, 3, 2)), mask=np.ones((5, 3), dtype=bool))
    with pytest.raises(ValueError, match="mask, labels and conditions must have 4 rows"):
        from_file(tmp_path / "a.npz", in_memory=False)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_pickles_are_refused(tmp_path: Path, suffix: str, in_memory: bool) -> None:
    points = np.array([np.zeros((2, 3)), np.zeros((3, 3)), None], dtype=object)
    path = tmp_path / f"a.{suffix}"
    np.savez(path, points=points) if suffix == "npz" else np.save(path, points)
    with pytest.raises(ValueError, match="without pickled objects"):
        from_file(path, in_memory=in_memory)


def test_a_compressed_npz_can_be_read_at_once_only(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", **arrays())
    assert len(from_file(tmp_path / "a.npz")) == NUM_CLOUDS
    with pytest.raises(ValueError, match=r"in_memory must not be False .* compressed .* points"):
        from_file(tmp_path / "a.npz", in_memory=False)


def test_columns_in_fortran_order_can_be_read_at_once_only(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.asfortranarray(np.random.default_rng(0).random((9, 4, 3))))
    assert len(from_file(tmp_path / "a.npy")) == 9
    with pytest.raises(ValueError, match="in_memory must not be False .* Fortran order"):
        from_file(tmp_path / "a.npy", in_memory=False)


@pytest.mark.parametrize(("package", "name"), [("h5py", "a.h5"), ("pyarrow", "a.parquet")])
def test_a_missing_package_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r'needs \w+: pip install "gconvae\[files\]"'):
        from_file(tmp_path / name)
    with pytest.raises(ModuleNotFoundError, match=r'needs \w+: pip install "gconvae\[files\]"'):
        datasets.to_file(from_points(torch.rand(2, 3, 3)), tmp_path / f"new-{name}")


def test_large_files_are_opened_and_small_ones_read(
    both: tuple[CloudFile, datasets.CloudDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = both[0].path
    assert isinstance(from_file(path), datasets.CloudDataset)
    monkeypatch.setattr("gconvae.datasets.files.READ_AT_ONCE", 4 * NUM_CLOUDS * NUM_NODES * 3 - 1)
    assert isinstance(from_file(path), CloudFile)
    with pytest.raises(ValueError, match="in_memory must be None, True or False, got 'no'"):
        from_file(path, in_memory="no")  # type: ignore[call-overload]


# layouts of others


def test_a_parquet_column_for_each_feature(tmp_path: Path) -> None:
    content = arrays()
    clouds = zip(content["points"], content["mask"], strict=True)
    nodes = [cloud[real] for cloud, real in clouds]
    columns = {
        name: [cloud[:, column].tolist() for cloud in nodes]
        for column, name in enumerate(("x", "y", "charge.e"))
    }
    columns |= {"label": content["labels"].tolist(), "event": [0] * NUM_CLOUDS}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet", row_group_size=9)
    data = assert_reads_like_memory(tmp_path / "a.parquet")
    assert data.schema.names == ("x", "y", "charge.e")
    assert data.has_labels
    assert data.chunk == 9
    wanted = from_points(content["points"], content["mask"], content["labels"])
    assert data.checksum() == wanted.checksum()


def test_parquet_lists_of_fixed_sizes(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((NUM_CLOUDS, 4, 3), dtype=np.float32)
    nodes = pyarrow.FixedSizeListArray.from_arrays(points.reshape(-1), 3)
    column = pyarrow.FixedSizeListArray.from_arrays(nodes, 4)
    pyarrow.parquet.write_table(pyarrow.table({"points": column}), tmp_path / "a.parquet")
    data = assert_reads_like_memory(tmp_path / "a.parquet")
    assert data.checksum() == from_points(points).checksum()


NO_NODES = pyarrow.array([[]], pyarrow.list_(pyarrow.list_(pyarrow.float32())))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"a": [1, 2]}, "a column 'points', or a column of lists"),
        ({"points": [1, 2]}, "points must be a column of lists"),
        ({"points": [[1.0], [2.0]]}, "points must be lists of nodes"),
        ({"points": [[[1.0, 2.0], [3.0]]]}, "as many features in every node"),
        ({"points": [[[1.0, None]]]}, "a number everywhere, got nulls"),
        ({"points": [[[1.0, 2.0]], None]}, "a list in every row, got nulls"),
        ({"x": [[1.0, 2.0]], "y": [[1.0]]}, "y must have as many numbers as x"),
        ({"points": NO_NODES}, "at least one node"),
        ({"points": [[[1.0, 2.0]], []]}, "cloud 1 has none"),
        ({"points": [[["a", "b"]]]}, "points must hold real numbers, got string"),
        ({"points": [[[1.0, 2.0]]], "labels": [None]}, "labels must be there for every cloud"),
    ],
)
def test_parquet_files_of_no_clouds_are_refused(
    tmp_path: Path, columns: dict[str, Any], message: str
) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=message):
        from_file(tmp_path / "a.parquet", in_memory=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"clouds": np.zeros((4, 3, 2))}, r"a dataset 'points', .* \['clouds'\]"),
        ({"points": np.zeros((4, 3))}, "points must have shape"),
        ({"points": np.zeros((4, 3, 2)), "labels": np.zeros(5)}, "labels must have 4 rows"),
        ({"points": np.zeros((4, 3, 2)), "schema": np.array(0)}, "must hold a whole schema"),
        ({"particle_features": np.zeros((4, 3, 3))}, "particle_features must have eta_rel"),
        ({"points": np.zeros((0, 3, 2))}, "at least one cloud"),
    ],
)
def test_hdf5_files_of_no_clouds_are_refused(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    write_contiguous_hdf5(tmp_path / "a.h5", **content)
    for in_memory in (True, False):
        with pytest.raises(ValueError, match=message):
            from_file(tmp_path / "a.h5", in_memory=in_memory)

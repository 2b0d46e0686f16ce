"""Files of clouds that are written whole or not at all, in any number of pieces."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet
import pytest
import torch
from torch_geometric.data import Data

from gconvae.clouds import Clouds
from gconvae.datasets import (
    CloudDataset,
    Jets,
    from_file,
    from_points,
    matched_sums,
    to_file,
    to_file_in_parts,
)
from gconvae.schema import SUPERPIXELS, CloudSchema, Feature, Tail

SUFFIXES = ("npz", "h5", "hdf5", "parquet")


def ragged(num_clouds: int = 12, num_nodes: int = 9, seed: int = 0) -> CloudDataset:
    """Labelled clouds with 1 to ``num_nodes`` nodes; the label of a cloud is its number."""
    random = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, num_nodes + 1, (num_clouds, 1), generator=random)
    return from_points(
        torch.rand(num_clouds, num_nodes, 3, generator=random),
        torch.arange(num_nodes) < counts,
        torch.arange(num_clouds),
    )


@pytest.fixture(params=SUFFIXES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / "new" / f"clouds.{request.param}"


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("schema", [None, SUPERPIXELS], ids=["plain", "superpixels"])
@pytest.mark.parametrize("in_parts", [True, False])
@pytest.mark.parametrize("in_memory", [True, None])
def test_a_file_gives_back_the_clouds_written(
    path: Path, labelled: bool, schema: CloudSchema | None, in_parts: bool, in_memory: bool | None
) -> None:
    whole = ragged()
    labels = whole.labels if labelled else None
    data = from_points(whole.points, whole.mask, labels, schema=schema)
    if in_parts:
        to_file_in_parts(iter([data[:3].clouds, data[3:4].clouds, data[4:].clouds]), path)
    else:
        to_file(data, path)
    read = from_file(path, in_memory=in_memory)
    assert read.checksum() == data.checksum()
    assert read.schema == data.schema


def test_clouds_on_disk_are_written_piece_by_piece(path: Path, tmp_path: Path) -> None:
    data = ragged(50)
    to_file_in_parts([data.clouds], tmp_path / "first.npz")
    on_disk = from_file(tmp_path / "first.npz", in_memory=False)
    read = from_file(to_file(on_disk[10:], path))
    assert read.checksum() == data[10:].checksum()
    assert read.schema == data.schema


def test_chunks_are_full_whatever_the_sizes_of_parts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("gconvae.datasets.storage.hdf5.CHUNK_BYTES", 10 * 9 * 3 * 4)
    monkeypatch.setattr("gconvae.datasets.storage.parquet.GROUP_BYTES", 10 * 9 * 3 * 4)
    data = ragged(47)
    for suffix in ("h5", "parquet"):
        parts = (data.clouds.subset(rows) for rows in torch.arange(47).split([1, 3, 25, 11, 7]))
        path = to_file_in_parts(parts, tmp_path / f"a.{suffix}")
        assert from_file(path).checksum() == data.checksum()
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["points"].chunks == (10, 9, 3)
    metadata = pyarrow.parquet.ParquetFile(tmp_path / "a.parquet").metadata
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert groups == [10, 10, 10, 10, 7]


@pytest.mark.parametrize("suffix", ["npz", "h5"])
def test_memory_does_not_grow_with_the_number_of_parts(tmp_path: Path, suffix: str) -> None:
    clouds = Clouds(torch.rand(1000, 25, 3), torch.ones(1000, 25, dtype=torch.bool))

    def peak(count: int) -> int:
        tracemalloc.start()
        to_file_in_parts((clouds for _ in range(count)), tmp_path / f"a.{suffix}")
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return memory

    peak(10)
    assert peak(60) < peak(10) + 300_000  # fifty parts more, 15 MB


def test_parts_that_fail_leave_the_old_file_and_nothing_else(path: Path) -> None:
    to_file(ragged(seed=0), path)
    before = path.read_bytes()

    def parts() -> Iterator[Clouds]:
        yield ragged(seed=1).clouds
        yield Clouds(torch.full((1, 9, 3), torch.nan), torch.ones(1, 9, dtype=torch.bool))

    with pytest.raises(ValueError, match="points must be finite"):
        to_file_in_parts(parts(), path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_no_parts_are_no_file(path: Path) -> None:
    with pytest.raises(ValueError, match="parts must hold at least one"):
        to_file_in_parts([], path)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("change", ["nodes", "labels", "dtype"])
def test_parts_unlike_the_first_are_refused(path: Path, change: str) -> None:
    first = ragged().clouds
    other = {
        "nodes": ragged(num_nodes=5).clouds,
        "labels": first._replace(labels=None),
        "dtype": first._replace(points=first.points.double()),
    }[change]
    with pytest.raises(ValueError, match="parts must have the same arrays, dtypes and shapes"):
        to_file_in_parts([first, other], path)
    assert not list(path.parent.iterdir())


def test_labels_of_parts_that_nobody_names_are_refused(path: Path) -> None:
    """Each part would number its own names."""
    points, mask = torch.rand(2, 4, 3), torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match="labels of parts must be 0 to 99, or of classes"):
        to_file_in_parts([Clouds(points, mask, torch.tensor([1, 211]))], path)


@pytest.mark.parametrize("name", ["clouds.npy", "clouds", "clouds.csv"])
def test_a_file_name_must_end_in_a_format_that_keeps_all(tmp_path: Path, name: str) -> None:
    for write in (to_file, lambda data, path: to_file_in_parts([data.clouds], path)):
        with pytest.raises(ValueError, match=r"path must end in \.npz, \.h5, \.hdf5 or \.parquet"):
            write(ragged(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_large_clouds_in_memory_are_not_compressed(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("gconvae.datasets.writing.READ_AT_ONCE", 1000)
    data = ragged(50)
    assert from_file(to_file(data, tmp_path / "a.npz"), in_memory=False).checksum() == (
        data.checksum()
    )


def test_other_libraries_read_the_files(tmp_path: Path) -> None:
    data = ragged()
    with h5py.File(to_file(data, tmp_path / "a.h5")) as file:
        np.testing.assert_array_equal(file["points"], data.points)
        np.testing.assert_array_equal(file["mask"], data.mask)
        np.testing.assert_array_equal(file["labels"], data.labels)
        assert CloudSchema.from_json(file["schema"][()].decode()) == data.schema
    table = pyarrow.parquet.read_table(to_file(data, tmp_path / "a.parquet"))
    metadata = pyarrow.parquet.read_metadata(tmp_path / "a.parquet").metadata
    assert CloudSchema.from_json(metadata[b"gconvae.schema"].decode()) == data.schema
    assert table["labels"].to_pylist() == data.labels.tolist()
    for row, cloud, real in zip(table["points"].to_pylist(), data.points, data.mask, strict=True):
        assert torch.equal(torch.tensor(row), cloud[real])


# conditions


def conditioned() -> CloudDataset:
    plain = ragged()
    mass = Feature("mass", "GeV", tail=Tail("log", 1.0))
    named = plain.schema.replace(conditions=(mass, Feature("eta")))
    rows = torch.rand(12, 2, generator=torch.Generator().manual_seed(1))
    return from_points(plain.points, plain.mask, plain.labels, schema=named, conditions=rows)


@pytest.mark.parametrize("in_memory", [True, False])
def test_conditions_come_back_with_names_and_checksum(path: Path, in_memory: bool) -> None:
    data = conditioned()
    to_file_in_parts([data[:5].clouds, data[5:].clouds], path)
    read = from_file(path, in_memory=in_memory)
    assert read.schema == data.schema
    assert read.checksum() == data.checksum() != ragged().checksum()
    assert data.conditions is not None
    assert torch.equal(read[4:6][1].conditions, data.conditions[5:6])
    if not in_memory:
        taken = read.take(torch.tensor([7, 0, 7])).conditions
        assert taken is not None
        assert torch.equal(taken, data.conditions[[7, 0, 7]])


def test_a_data_set_in_memory_keeps_its_conditions_in_a_file(path: Path) -> None:
    data = conditioned()
    assert from_file(to_file(data, path)).checksum() == data.checksum()


def test_conditions_that_a_file_does_not_name_have_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", points=rng.random((9, 4, 2)), conditions=rng.random((9, 2)))
    for in_memory in (True, False):
        schema = from_file(tmp_path / "a.npz", in_memory=in_memory).schema
        assert [condition.name for condition in schema.conditions] == [
            "condition 1",
            "condition 2",
        ]


@pytest.mark.parametrize("shape", [(9,), (9, 0), (8, 2)])
def test_conditions_of_a_file_are_a_row_for_each_cloud(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "a.npz", points=np.ones((9, 4, 2)), conditions=np.ones(shape))
    with pytest.raises(ValueError, match="conditions must have"):
        from_file(tmp_path / "a.npz")


def test_a_transform_and_a_filter_keep_conditions() -> None:
    data = conditioned()
    assert data.conditions is not None

    def moved(graph: Data) -> Data:
        graph.pos = graph.pos + 1
        return graph

    changed = CloudDataset(data.clouds, transform=moved)
    assert changed.conditions is not None
    assert torch.equal(changed.conditions, data.conditions)
    assert changed.schema.conditions == data.schema.conditions
    kept = CloudDataset(data.clouds, pre_filter=lambda graph: int(graph.y) > 8)
    assert kept.conditions is not None
    assert torch.equal(kept.conditions, data.conditions[9:])


def test_whatever_holds_clouds_is_written(path: Path) -> None:
    data = ragged()
    as_graphs = [data[row] for row in range(3)]
    for given, wanted in (
        (data.clouds, data),
        ((data.points, data.mask), data),
        (torch.utils.data.Subset(data, [2, 0]), data[[2, 0]]),
        (as_graphs, data[:3]),
    ):
        read = from_file(to_file(given, path))
        assert torch.equal(read.points, wanted.points)
        assert torch.equal(read.mask, wanted.mask)
    moved = matched_sums(Jets("g", "test")[:9], Jets("q", "test"))
    read = from_file(to_file(moved, path))
    assert torch.equal(read.points, moved.points)
    assert read.conditions is not None


def test_what_is_no_cloud_is_not_written(path: Path) -> None:
    with pytest.raises(ValueError, match="data must"):
        to_file({"points": 3}, path)
    assert not path.exists()

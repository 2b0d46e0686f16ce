"""Samples that are read as far as they are compared."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae import metrics
from gconvae.clouds import Clouds, ReadableClouds
from gconvae.metrics import reading
from gconvae.schema import CloudSchema, points

SCHEMA = points("x y", "charge")


def numbers(num_clouds: int, seed: int, shift: float = 0.0) -> Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(shift + rng.normal(size=(num_clouds, 5, 3)))


def flat(nodes: Tensor, mask: Tensor) -> Tensor:
    return nodes.flatten(1)


class FakeFile:
    """Clouds that count how many of them are read."""

    schema: CloudSchema | None = SCHEMA

    def __init__(self, nodes: Tensor) -> None:
        self._nodes, self.read, self.largest = nodes, 0, 0

    def __len__(self) -> int:
        return len(self._nodes)

    def take(self, rows: Tensor) -> Clouds:
        assert rows.dtype == torch.long
        assert (rows.diff() > 0).all()
        self.read += len(rows)
        self.largest = max(self.largest, len(rows))
        nodes = self._nodes[rows]
        return Clouds(nodes, torch.ones(nodes.shape[:2], dtype=torch.bool), schema=self.schema)

    def pieces(self, size: int) -> Iterator[Clouds]:
        for rows in torch.arange(len(self)).split(size):
            yield self.take(rows)

    @property
    def points(self) -> Tensor:
        raise AssertionError("the whole was read")

    @property
    def mask(self) -> Tensor:
        raise AssertionError("the whole was read")


def test_the_fake_is_a_readable_sample_and_lists_and_tensors_are_none() -> None:
    assert isinstance(FakeFile(numbers(2, 0)), ReadableClouds)
    assert not isinstance(numbers(2, 0), ReadableClouds)
    assert not isinstance(numbers(2, 0).tolist(), ReadableClouds)


def test_readable_samples_have_the_report_of_those_in_memory() -> None:
    parts = [numbers(20, seed) for seed in range(4)]
    options = {"num_splits": 2, "num_bootstrap": 2, "embedding": flat}
    options["metrics"] = ["features", "sets", "kernel", "memorization"]
    files = [FakeFile(part) for part in parts]
    found = metrics.compare(*files[:3], training=files[3], **options)
    wanted = metrics.compare(*parts[:3], training=parts[3], schema=SCHEMA, **options)
    assert found == wanted
    assert found.left_out == {}


def test_of_a_large_sample_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_READ", 40)
    pair = [numbers(3000, 0), numbers(2000, 1)]
    files = [FakeFile(part) for part in pair]
    options = {"metrics": ["features", "sets"], "num_splits": 3, "num_bootstrap": 3}
    report = metrics.compare(*files, **options)
    assert [file.read for file in files] == [40, 40]
    assert (report.num_real, report.num_generated, report.num_clouds) == (3000, 2000, 20)
    assert metrics.compare(*pair, schema=SCHEMA, **options) == report
    other = metrics.compare(*files, seed=1, **options)
    assert other.row("x").value != report.row("x").value


def test_a_part_of_a_large_sample_is_a_fair_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_READ", 400)
    mixed = torch.cat([numbers(5000, 0), numbers(5000, 1, shift=3.0)])
    order = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))
    report = metrics.compare(
        FakeFile(mixed), FakeFile(mixed[order]), metrics="features", num_splits=20
    )
    assert not any(row.beyond for row in report.rows)


def test_training_clouds_are_read_to_the_end_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "MOST_READ", 50)
    monkeypatch.setattr(reading, "PIECE", 30)
    real, training = numbers(50, 0), numbers(400, 1)
    # the last of all is copied, which a part of them would miss
    copies = training[-1:].expand(50, -1, -1)
    file = FakeFile(training)
    report = metrics.compare(
        real,
        copies,
        training=file,
        schema=SCHEMA,
        embedding=flat,
        metrics="memorization",
        num_splits=2,
        num_bootstrap=2,
    )
    assert report.row("own embedding", "memorization").value == 1.0
    assert (file.read, file.largest) == (450, 50)


def test_what_is_read_is_checked() -> None:
    nodes = numbers(30, 0)
    nodes[7, 2, 0] = torch.nan
    with pytest.raises(ValueError, match="generated must be finite"):
        metrics.compare(numbers(30, 1), FakeFile(nodes), metrics="features")
    with pytest.raises(ValueError, match="real must hold at least one cloud"):
        metrics.compare(FakeFile(nodes[:0]), numbers(30, 1), metrics="features")
    with pytest.raises(ValueError, match="generated must have the same nodes as real"):
        metrics.compare(
            FakeFile(numbers(30, 0)),
            Clouds(numbers(30, 1), torch.ones(30, 5) > 0, schema=points("x y z")),
            metrics="features",
        )

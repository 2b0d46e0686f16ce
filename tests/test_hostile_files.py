"""Damaged and hostile files: a clear error or a correct load, at no great cost, and no code."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import hostile_files
import numpy as np
import pytest
import torch

import gconvae
from gconvae import json_text, models
from gconvae.training.build_limit import check_numbers, limited
from gconvae.training.saved_state import read_state

SMALL: dict[str, Any] = {"hidden": 8, "channels": [3], "seed": 0}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return gconvae.save(models.create("convae", **SMALL), tmp_path / "model")


def change(folder: Path, kind: str, **options: Any) -> None:
    file = folder / "model.json"
    content = json.loads(file.read_text())
    content[kind]["options"] |= options
    file.write_text(json.dumps(content))


def test_a_share_of_the_hostile_files_is_refused_or_read() -> None:
    results = hostile_files.run(204, seed=1)
    assert [result for result in results if result.what == "fault"] == []
    assert {result.what for result in results} == {"error", "load"}
    assert len(results) == 204


def test_the_harness_finds_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(folder: Path) -> None:
        raise KeyError("x")

    def says_nothing(folder: Path) -> None:
        raise ValueError("bad magic number")

    def takes_memory(folder: Path) -> None:
        bytes(np.full(600 * 2**20, 1, np.uint8).data)

    found = []
    for reader in (fails, says_nothing, takes_memory):
        monkeypatch.setitem(hostile_files.READERS, "npy", reader)
        found.append(hostile_files._read("npy", tmp_path)[0])
    assert found == ["fault", "fault", "fault"]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("encoder", {"hidden": 10**12}),
        ("encoder", {"channels": [10**5, 10**5]}),
        ("decoder", {"hidden": 10**6}),
        ("encoder", {"num_points": 2**20}),
    ],
)
def test_sizes_of_a_model_are_held_against_its_weights(
    saved: Path, kind: str, options: dict[str, Any]
) -> None:
    change(saved, kind, **options)
    with pytest.raises(
        ValueError, match=r"model\.json must hold a model of registered parts: its"
    ):
        gconvae.load(saved)


def test_a_negative_size_is_named(saved: Path) -> None:
    change(saved, "encoder", hidden=-1)
    with pytest.raises(ValueError, match=r"model\.json must hold .* -1"):
        gconvae.load(saved)


def test_building_stops_before_memory_is_taken() -> None:
    with limited(100, 4), pytest.raises(ValueError, match="its sizes must fit its weights"):
        torch.empty(10**13)
    with limited(100, 4), pytest.raises(ValueError, match="its sizes must fit its weights"):
        torch.ones(10**5, 1) * torch.ones(1, 10**5)
    with limited(100, 4), pytest.raises(ValueError, match="fewer steps"):
        [torch.zeros(1) for _ in range(10**6)]


def test_models_that_come_with_the_library_are_far_from_the_limits() -> None:
    for name in gconvae.training.pretrained():
        gconvae.load(f"pretrained:{name}")


def test_options_up_to_a_million_are_no_sizes() -> None:
    check_numbers({"steps": 10**6, "names": ["a"] * 10}, 10, "options")
    with pytest.raises(ValueError, match="options must be no larger than the weights"):
        check_numbers({"steps": [{"deep": 10**7}]}, 10, "options")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "holds the entry 'a' twice"),
        ("[" * 10**5 + "]" * 10**5, "nested more than 100 deep"),
        ("[" * 101 + "]" * 101, "nested more than 100 deep"),
        ("1" * 5_000, "digits"),
    ],
)
def test_json_that_is_no_ones_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        json_text.parsed(text)


def test_an_archive_of_zeros_is_not_unpacked(tmp_path: Path) -> None:
    file = tmp_path / "bomb.npz"
    zeros = np.zeros((2 * 10**6, 5, 3), np.float32)
    np.savez_compressed(file, points=zeros)
    with pytest.raises(ValueError, match="at most 100 times as large as the file"):
        gconvae.datasets.from_file(file)


def test_compressed_clouds_with_constant_arrays_are_read(tmp_path: Path) -> None:
    file = tmp_path / "clouds.npz"
    np.savez_compressed(file, points=np.ones((10_000, 5, 3)), mask=np.ones((10_000, 5), bool))
    assert len(gconvae.datasets.from_file(file)) == 10_000


def test_a_dataset_in_another_file_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["points"] = np.ones((4, 5, 3))
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["points"] = h5py.ExternalLink("other.h5", "points")
    with pytest.raises(ValueError, match="points must lie in the file itself"):
        gconvae.datasets.from_file(tmp_path / "link.h5")


def test_a_state_whose_tensors_say_more_than_is_stored_is_refused(tmp_path: Path) -> None:
    training = {"stage": "network", "history": {}, "outcomes": {}, "before": None}
    whole = tmp_path / "whole.ckpt"
    torch.save({"training": training, "weights": torch.ones(200)}, whole)
    assert read_state(whole)["stage"] == "network"
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in members if name.endswith("data.pkl"))
    count, more = b"K\xc8", b"M\xff\xff"  # 200 and 65,535
    assert count in members[pickled]
    members[pickled] = members[pickled].replace(count, more)
    with zipfile.ZipFile(tmp_path / "lies.ckpt", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match="bytes that are not there"):
        read_state(tmp_path / "lies.ckpt")

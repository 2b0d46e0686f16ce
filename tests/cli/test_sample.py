"""The command ``gconvae sample``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commands import (
    assert_one_error,
)

import gconvae
from gconvae import datasets, options
from gconvae.cli import main as cli
from gconvae.schema import Feature, points


def test_sample_writes_clouds_and_a_figure(
    jets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figure = tmp_path / "new.npz", tmp_path / "new.png"
    words = ["sample", str(jets_run), "--count", "20", "--seed", "9", "--out", str(out)]
    assert cli.main([*words, "--figure", str(figure)]) == 0
    made = gconvae.load(jets_run).sample_clouds(20, seed=9)
    assert torch.equal(datasets.from_file(out).points, made.points)
    assert figure.read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "new.npz" in printed
    assert "new.png" in printed


def test_samples_can_be_read_without_this_library(jets_run: Path, tmp_path: Path) -> None:
    assert cli.main(["sample", str(jets_run), "--out", str(tmp_path / "new.npz")]) == 0
    with np.load(tmp_path / "new.npz", allow_pickle=False) as file:
        assert file["points"].shape == (options.SampleOptions().count, 12, 3)
        assert np.isfinite(file["points"]).all()


@pytest.mark.parametrize("taken", ["new.npz", "new.png"])
def test_sample_refuses_to_overwrite(
    jets_run: Path, tmp_path: Path, taken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / taken).write_text("mine")
    words = ["sample", str(jets_run), "--out", str(tmp_path / "new.npz")]
    words += ["--figure", str(tmp_path / "new.png"), "--count", "3"]
    assert_one_error(words, f"must not exist.*{taken}", capsys)
    assert (tmp_path / taken).read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1
    assert cli.main([*words, "--overwrite", "true"]) == 0
    assert len(datasets.from_file(tmp_path / "new.npz")) == 3


def test_sample_takes_a_config_file(jets_run: Path, tmp_path: Path) -> None:
    config = tmp_path / "sample.yaml"
    config.write_text(f"count: 4\nseed: 2\nout: {tmp_path / 'new.npz'}\n")
    assert cli.main(["sample", str(jets_run), "--config", str(config)]) == 0
    made = datasets.from_file(tmp_path / "new.npz").points
    assert torch.equal(made, gconvae.load(jets_run).sample_clouds(4, seed=2)[0])


@pytest.mark.parametrize("name", ["new.xyz", "new"])
def test_a_figure_of_unknown_format_is_refused_before_anything_is_written(
    jets_run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", str(jets_run), "--out", str(tmp_path / "new.npz"), "--count", "3"]
    assert_one_error([*words, "--figure", str(tmp_path / name)], "png, pdf, svg", capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_run_folder_is_one_line_and_exit_code_2(
    jets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("model.json", "model.safetensors"):
        content = (jets_run / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
    words = ["sample", str(folder), "--out", str(tmp_path / "new.npz")]
    assert_one_error(words, "damaged", capsys)


def test_a_sample_file_must_end_in_npz(
    jets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", str(jets_run), "--out", str(tmp_path / "new.csv")]
    assert_one_error(words, r"end in \.npz", capsys)


def test_sample_takes_conditions_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run, out = tmp_path / "data.npz", tmp_path / "run", tmp_path / "new.npz"
    random = torch.Generator().manual_seed(0)
    clouds = datasets.from_points(
        torch.rand(40, 12, 3, generator=random),
        schema=points("x y", "z").replace(conditions=(Feature("mass"), Feature("charge"))),
        conditions=torch.rand(40, 2, generator=random),
    )
    datasets.to_file(clouds, data)
    words = ["train", "--data", str(data), "--out", str(run), "--conditions", "[mass,charge]"]
    assert cli.main([*words, "--recipe", "slides", "--hidden", "8", "--epochs", "1"]) == 0
    words = ["sample", str(run), "--count", "6", "--out", str(out)]
    assert cli.main([*words, "--conditions.mass=0.5", "--conditions.charge=-1"]) == 0
    made = datasets.from_file(out)
    assert made.conditions is not None
    assert made.conditions.tolist() == [[0.5, -1.0]] * 6
    words += ["--overwrite", "true"]
    assert cli.main([*words, "--conditions", "{mass: 0.5, charge: -1}"]) == 0
    assert_one_error([*words, "--conditions.mass=0.5"], "conditions must be given for", capsys)
    assert_one_error([*words, "--conditions.mass=heavy"], "conditions", capsys)

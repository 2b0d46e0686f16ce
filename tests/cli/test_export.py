"""The command ``gconvae export``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from commands import assert_one_error
from tiny_models import autoregressive, slides

import gconvae
from gconvae import export
from gconvae.cli import main as cli
from gconvae.export.check import Agreement


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return gconvae.save(slides(), tmp_path / "run")


def test_export_writes_both_parts_and_says_how_well_they_agree(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"
    words = ["export", str(run), "--format", "torch-export", "--out", str(out), "--check", "20"]
    assert cli.main(words) == 0
    assert sorted(path.name for path in out.iterdir()) == ["encoder.pt2", "sampler.pt2"]
    printed = capsys.readouterr()
    assert printed.out.count("100.00% of 20 clouds equal") == 2
    assert printed.err == ""
    found = torch.export.load(out / "sampler.pt2").module()(torch.zeros(2, 10))
    assert found.shape == (2, 25, 3)
    assert_one_error(words, r"must not exist.*encoder\.pt2", capsys)
    (out / "encoder.pt2").write_text("old")
    words += ["--part", "encoder", "--overwrite", "true", "--check", "0"]
    assert cli.main(words) == 0
    assert export.read_metadata(out / "encoder.pt2")["part"] == "encoder"


def test_export_writes_onnx_files(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "exported"
    words = ["export", str(run), "--part", "encoder", "--out", str(out), "--check", "3"]
    assert cli.main(words) == 0
    assert export.read_metadata(out / "encoder.onnx")["part"] == "encoder"


def test_a_file_that_does_not_agree_is_not_kept(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "agreement", lambda *_: Agreement(9, 0.5, 0.0, False))
    words = ["export", str(run), "--format", "torch-export", "--out", str(tmp_path / "exported")]
    assert_one_error(words, "encoder must agree with the model, got 0.00% of 9 clouds", capsys)
    assert not list((tmp_path / "exported").iterdir())


def test_a_part_that_cannot_be_exported_is_refused_before_another_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "pretrained:gluon", "--out", str(tmp_path / "exported")]
    assert_one_error(words, r"by itself \(--part encoder\)$", capsys)
    assert not (tmp_path / "exported").exists()


def test_a_sampler_that_takes_long_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = gconvae.save(autoregressive(), tmp_path / "run"), tmp_path / "exported"
    monkeypatch.setattr(export, "to_onnx", lambda _model, file, part: file.write_text(part))
    words = ["export", str(run), "--out", str(out), "--check", "0"]
    assert cli.main(words) == 0
    announced = f"exporting encoder and sampler, a minute or more: {out}\n"
    assert capsys.readouterr().out.startswith(announced)
    assert cli.main([*words, "--overwrite", "--part", "encoder"]) == 0
    assert "a minute" not in capsys.readouterr().out
    assert cli.main([*words, "--overwrite", "--quiet"]) == 0
    assert "a minute" not in capsys.readouterr().out


def test_wrong_options_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_error(["export", str(run), "--check", "-1"], "check must be at least 0", capsys)
    assert_one_error(["export", str(run), "--format", "tflite"], "format", capsys)

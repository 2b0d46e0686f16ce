"""Programs of torch.export, metadata, and files that must not be written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import Exported, slides
from torch import Tensor, nn

import gconvae
from gconvae import export
from gconvae.schema import CloudSchema

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export.to_torch_export(slides(), tmp_path_factory.mktemp("program") / "sampler.pt2")


@pytest.mark.parametrize("count", [1, 7, 300])
def test_a_program_gives_the_clouds_of_the_model(program: Path, count: int) -> None:
    noise = torch.from_numpy(export.noise_of(slides(), count)["latent_noise"])
    found = torch.export.load(program).module()(noise)
    torch.testing.assert_close(found, slides().sample(count), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "decoder",
    [
        "dense(hidden=[8])",
        "graph(graph='knn', width=8, hidden=8)",
        "set_transformer(width=8, heads=2, noise_dim=2)",
    ],
)
def test_other_decoders_take_any_number_of_clouds(decoder: str, tmp_path: Path) -> None:
    model = slides(decoder=decoder)
    file = export.to_torch_export(model, tmp_path / "sampler.pt2")
    assert export.agreement(model, file, 7).is_good


def test_a_loop_in_a_program_gives_the_same_nodes(
    autoregressive_file: Exported, tmp_path: Path
) -> None:
    model, _ = autoregressive_file
    file = export.to_torch_export(model, tmp_path / "sampler.pt2")
    assert export.agreement(model, file, 100).equal >= 0.99


def test_a_program_needs_torch_alone(program: Path) -> None:
    code = f"""
import sys
sys.modules["gconvae"] = None
import torch
print(tuple(torch.export.load({str(program)!r}).module()(torch.zeros(2, 10)).shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 25, 3)"


@pytest.mark.parametrize("kind", ["onnx", "pt2"])
def test_a_file_says_what_it_is(kind: str, program: Path, slides_files: Exported) -> None:
    file = program if kind == "pt2" else slides_files[1]["sampler"]
    about = export.read_metadata(file)
    assert about["gconvae"] == gconvae.__version__
    assert about["part"] == "sampler"
    assert CloudSchema.from_dict(about["schema"]) == gconvae.schema.SUPERPIXELS
    assert about["inputs"] == [
        {
            "name": "latent_noise",
            "shape": ["batch", 10],
            "dtype": "float32",
            "meaning": "noise of the prior",
            "distribution": "standard normal",
        }
    ]
    assert [(each["name"], each["unit"], each["high"]) for each in about["features"]] == [
        ("x", "px", 27.0),
        ("y", "px", 27.0),
        ("intensity", "", 1.0),
    ]
    assert about["node_order"][0] == {"feature": "intensity", "descending": True}
    assert "counts" not in about


def test_a_file_says_how_often_classes_and_sizes_occur(graph_files: Exported) -> None:
    about = export.read_metadata(graph_files[1]["sampler"])
    assert about["classes"] == ["0", "1", "2"]
    assert about["counts"] == [[1] * 7] * 3
    assert [each["name"] for each in about["inputs"]] == ["latent_noise", "label", "mask"]


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="file must exist"):
        export.read_metadata(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match="file must be"):
        export.read_metadata(tmp_path / "text.onnx")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match="file must be exported by gconvae"):
        export.read_metadata(tmp_path / "arrays.npz")


@pytest.mark.parametrize("write", [export.to_onnx, export.to_torch_export])
def test_a_file_that_exists_is_not_replaced(write: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "sampler.pt2"
    file.write_text("mine")
    with pytest.raises(ValueError, match=r"file must not exist yet.*sampler\.pt2"):
        write(slides(), file)
    assert file.read_text() == "mine"
    with pytest.raises(FileNotFoundError, match="file must lie in an existing folder"):
        write(slides(), tmp_path / "none" / "sampler.pt2")
    if write is export.to_torch_export:
        write(slides(), file, overwrite=True)
        assert export.read_metadata(file)["part"] == "sampler"
        with pytest.raises(ValueError, match=r"file must end in \.pt2"):
            write(slides(), tmp_path / "sampler.onnx")


class LooksAtNumbers(nn.Module):
    """A decoder that no graph can be made of."""

    num_points = 25

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(10, 75)

    def forward(self, z: Tensor) -> Tensor:
        unit = torch.sigmoid(self.dense(z)).unflatten(1, (25, 3))
        return unit if unit.max() > 0.5 else 1 - unit


def test_a_decoder_that_cannot_be_traced_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = slides(decoder=LooksAtNumbers())
    with pytest.raises(ValueError, match="model must have parts .* decoder LooksAtNumbers"):
        export.to_onnx(model, tmp_path / "sampler.onnx")
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_noise_that_onnx_has_no_operator_for_is_named(tmp_path: Path) -> None:
    model: Any = slides(likelihood="gaussian")
    model.likelihood.scale.fill_(0.1)
    with pytest.raises(
        ValueError, match="parts that ONNX knows, .* likelihood GaussianLikelihood"
    ):
        export.to_onnx(model, tmp_path / "sampler.onnx")
    file = export.to_torch_export(model, tmp_path / "sampler.pt2")
    assert export.agreement(model, file, 50).is_good


def test_the_example_samples_without_torch(graph_files: Exported, tmp_path: Path) -> None:
    example = ROOT / "examples" / "sample_with_onnxruntime.py"
    assert len(example.read_text().splitlines()) < 80
    words = [str(graph_files[1]["sampler"]), "--count", "50", "--batch", "20"]
    words += ["--out", str(tmp_path / "clouds.npz")]
    code = f"""
import runpy, sys
sys.modules["torch"] = sys.modules["gconvae"] = None
sys.argv = ["sample", *{json.dumps(words)}]
runpy.run_path({str(example)!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "50 clouds" in done.stdout
    with np.load(tmp_path / "clouds.npz") as file:
        assert file["points"].shape == (50, 7, 3)
        assert len(np.unique(file["mask"].sum(1))) > 3
        assert set(file["labels"]) == {0, 1, 2}
        assert (file["points"][~file["mask"]] == 0).all()
        assert np.isfinite(file["points"]).all()

"""ONNX files against the models that they are made of."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tiny_models import Exported, slides

from gconvae import export
from gconvae.export.check import run_file


def test_the_sampler_of_the_slides_gives_the_clouds_of_the_model(slides_files: Exported) -> None:
    model, files = slides_files
    (found,) = run_file(files["sampler"], export.noise_of(model, 1000, seed=3))
    width = (model.scaling.high - model.scaling.low).numpy()
    assert np.abs((found - model.sample(1000, seed=3).numpy()) / width).max() < 1e-5


def test_the_encoder_of_the_slides_gives_the_posterior_of_nodes_in_any_order(
    slides_files: Exported,
) -> None:
    model, files = slides_files
    points = model.sample(1000, seed=4)[:, torch.randperm(25)]
    mean, log_var = run_file(files["encoder"], {"points": points.numpy()})
    with torch.no_grad():
        wanted = model.encode(points)
    np.testing.assert_allclose(mean, wanted.mean, atol=1e-5)
    np.testing.assert_allclose(log_var, 2 * wanted.stddev.log(), atol=1e-5)


@pytest.mark.parametrize("count", [1, 7, 300])
def test_a_call_takes_any_number_of_clouds(slides_files: Exported, count: int) -> None:
    model, files = slides_files
    (found,) = run_file(files["sampler"], export.noise_of(model, count))
    np.testing.assert_allclose(found, model.sample(count), atol=1e-4)
    mean, _ = run_file(files["encoder"], {"points": found})
    assert mean.shape == (count, 10)


def test_a_graph_variant_with_labels_and_ragged_clouds(graph_files: Exported) -> None:
    model, files = graph_files
    inputs, drawn = export.noise_of(model, 1000), model.sample_clouds(1000, seed=0)
    assert len(np.unique(inputs["mask"].sum(1))) == 7
    assert len(np.unique(inputs["label"])) == 3
    (found,) = run_file(files["sampler"], inputs)
    width = (model.scaling.high - model.scaling.low).numpy()
    assert np.abs((found - drawn.points.numpy()) / width).max() < 1e-5
    clouds = {"points": found, "mask": inputs["mask"]}
    mean, log_var = run_file(files["encoder"], clouds)
    with torch.no_grad():
        wanted = model.encode(drawn.points, drawn.mask)
    np.testing.assert_allclose(mean, wanted.mean, atol=1e-5)
    np.testing.assert_allclose(log_var, 2 * wanted.stddev.log(), atol=1e-5)


def test_masked_nodes_change_nothing(graph_files: Exported) -> None:
    model, files = graph_files
    drawn = model.sample_clouds(50, seed=1)
    points, mask = drawn.points.numpy(), drawn.mask.numpy()
    other = np.where(mask[..., None], points, 5.0).astype(np.float32)
    first, second = (
        run_file(files["encoder"], {"points": each, "mask": mask}) for each in (points, other)
    )
    np.testing.assert_array_equal(first[0], second[0])


@pytest.mark.parametrize("count", [1, 1000])
def test_nodes_drawn_one_by_one_are_the_same(autoregressive_file: Exported, count: int) -> None:
    model, files = autoregressive_file
    wanted = model.sample(count, seed=2).numpy()
    (found,) = run_file(files["sampler"], export.noise_of(model, count, seed=2))
    assert (found == wanted).all((1, 2)).mean() >= 0.999
    if count > 1:
        assert len(np.unique(wanted, axis=0)) == count  # clouds that differ


def test_noise_of_numpy_draws_from_the_same_distribution(autoregressive_file: Exported) -> None:
    model, files = autoregressive_file
    random, inputs = np.random.default_rng(0), {}
    for port in export.read_metadata(files["sampler"])["inputs"]:
        shape = (2000, *port["shape"][1:])
        draw = random.random if port["distribution"].startswith("uni") else random.standard_normal
        inputs[port["name"]] = draw(shape, dtype=port["dtype"])
    (found,) = run_file(files["sampler"], inputs)
    wanted = model.sample(2000, seed=0).numpy()
    error = wanted.mean(1).std(0) / np.sqrt(1000)  # of a difference of two means over clouds
    assert (np.abs(found.mean((0, 1)) - wanted.mean((0, 1))) < 4 * error).all()


def test_a_loop_stays_a_loop(autoregressive_file: Exported) -> None:
    import onnx

    graph = onnx.load(autoregressive_file[1]["sampler"]).graph
    assert [node.op_type for node in graph.node].count("Scan") == 2  # flow and nodes
    assert len(graph.node) < 500


def test_axes_are_named(slides_files: Exported) -> None:
    session = onnxruntime.InferenceSession(slides_files[1]["encoder"])
    assert [(each.name, each.shape) for each in session.get_inputs()] == [
        ("points", ["batch", 25, 3])
    ]
    assert [(each.name, each.shape) for each in session.get_outputs()] == [
        ("mean", ["batch", 10]),
        ("log_var", ["batch", 10]),
    ]


def test_nothing_is_printed_and_the_model_stays_as_it_was(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = slides()
    before = model.sample(3, seed=0)
    model.train()
    export.to_onnx(model, tmp_path / "sampler.onnx")
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert torch.equal(model.eval().sample(3, seed=0), before)
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["sampler.onnx"]


def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slides_files: Exported
) -> None:
    for name in ("onnx", "onnxscript"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            with pytest.raises(ModuleNotFoundError, match=rf'{name}.*"gconvae\[export\]"'):
                export.to_onnx(slides(), tmp_path / "sampler.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match=r'onnxruntime.*"gconvae\[export\]"'):
        run_file(slides_files[1]["sampler"], {})
    assert not list(tmp_path.iterdir())


def test_a_wrong_file_is_found(slides_files: Exported) -> None:
    model, files = slides_files
    assert export.agreement(model, files["sampler"], 20).is_good
    other = slides().eval()
    with torch.no_grad():
        other.decoder.convs[-1].bias += 1e-3  # type: ignore[union-attr, operator, index]
    found = export.agreement(other, files["sampler"], 20)
    assert not found.is_good
    assert found.equal == 0

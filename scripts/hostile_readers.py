"""Sound files of every kind that gconvae reads, and what reads them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["FILES", "READERS", "make_originals"]

FILES = {
    "model.json": "model.json",
    "safetensors": "model.safetensors",
    "manifest": "manifest.json",
    "config": "config.yaml",
    "checkpoint": "last.ckpt",
    "report": "report.json",
    "npz": "clouds.npz",
    "npy": "clouds.npy",
    "HDF5": "clouds.h5",
    "Parquet": "clouds.parquet",
    "idx": "images-idx3-ubyte",
    "ONNX": "sampler.onnx",
}
"""Name of the file that is damaged, for each kind."""

MODELS: dict[str, dict[str, Any]] = {
    "conv": {"name": "convae", "hidden": 8, "channels": [3]},
    "flow": {
        "name": "convae-flow",
        "hidden": 8,
        "channels": [3],
        "prior": "nsf(transforms=1, hidden=[8], bins=4)",
        "likelihood": "autoregressive(width=8, heads=2, components=3, blocks=1)",
    },
    "matching": {
        "name": "convae-flow-matching",
        "hidden": 8,
        "channels": [3],
        "prior": "gmm(components=2)",
        "likelihood": "flow_matching(width=8, heads=2)",
    },
    "sets": {"name": "deep_sets", "encoder": "deep_sets", "decoder": "dense(hidden=[8])"},
    "graphs": {
        "name": "edge_conv",
        "encoder": "edge_conv(channels=[8], neighbors=4, hidden=8)",
        "decoder": "graph(width=8, num_layers=1, hidden=8)",
        "num_classes": 3,
        "ragged": True,
    },
}
"""Small models with parts of each family."""


def make_originals(folder: Path) -> None:
    """One folder for each kind, and for each kind of model, with whole files.

    Args:
        folder: Exists and is empty.
    """
    import gconvae
    from gconvae import models
    from gconvae.datasets import to_file

    for name, options in MODELS.items():
        gconvae.save(models.create(**options, seed=0), folder / f"model.{name}")
    random = np.random.default_rng(0)
    points = random.random((20, 5, 3)).astype(np.float32)
    mask = np.arange(5) < random.integers(1, 6, 20)[:, None]
    data = gconvae.datasets.from_points(points, mask, np.arange(20) % 3)
    _make_run(folder / "run", gconvae.datasets.from_points(random.random((20, 25, 3))))
    for kind in ("npz", "npy", "HDF5", "Parquet", "idx", "ONNX", "report"):
        (folder / kind).mkdir()
    for kind in ("npz", "HDF5", "Parquet"):
        to_file(data, folder / kind / FILES[kind])
    np.save(folder / "npy" / FILES["npy"], points)
    images = random.integers(0, 256, (4, 6, 6), dtype=np.uint8)
    head = bytes([0, 0, 8, 3]) + np.array(images.shape, ">u4").tobytes()
    (folder / "idx" / FILES["idx"]).write_bytes(head + images.tobytes())
    (folder / "ONNX" / FILES["ONNX"]).write_bytes(onnx_bytes(json.dumps(_said_of_a_part())))
    report = gconvae.metrics.compare(points[:10], points[10:], metrics="features", num_bootstrap=2)
    report.save(folder / "report" / FILES["report"])


def onnx_bytes(metadata: str) -> bytes:
    """An ONNX file with one operation, and what gconvae says of itself."""
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph)
    helper.set_model_props(model, {"gconvae": metadata})
    content: bytes = model.SerializeToString()
    return content


def _said_of_a_part() -> dict[str, Any]:
    from gconvae import models
    from gconvae.export.metadata import described
    from gconvae.export.parts import Encoder

    return described(Encoder(models.create(**MODELS["conv"], seed=0).eval()))


def _make_run(folder: Path, data: Any) -> None:
    """A run that was stopped: manifest, config and state."""
    from lightning.pytorch.callbacks import Callback

    import gconvae

    class Stop(Callback):
        def on_train_epoch_start(self, trainer: Any, _: Any) -> None:
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    model = gconvae.models.create(**MODELS["conv"], seed=0)
    with contextlib.suppress(KeyboardInterrupt):
        gconvae.fit(
            model, data, epochs=3, batch_size=10, out=folder, callbacks=[Stop()], progress=False
        )
    if not (folder / FILES["checkpoint"]).is_file():
        raise RuntimeError("the training that was stopped left no state")


def _load(folder: Path) -> None:
    import gconvae

    gconvae.load(folder)


def _manifest(folder: Path) -> None:
    from gconvae.training import read_manifest

    read_manifest(folder)


def _checkpoint(folder: Path) -> None:
    from gconvae.training.saved_state import read_state

    read_state(folder / FILES["checkpoint"])


def _config(folder: Path) -> None:
    """As ``gconvae train --config`` reads it, without the training."""
    import importlib

    main = importlib.import_module("gconvae.cli.main")
    command = main.COMMANDS["train"]
    main.COMMANDS["train"] = command._replace(run=lambda *_: 0)
    file, said = folder / FILES["config"], io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main.main(["train", "--config", str(file)])
    finally:
        main.COMMANDS["train"] = command
    if code == 2:
        raise ValueError(said.getvalue())
    if code:
        raise RuntimeError(f"exit code {code}: {said.getvalue()}")


def _report(folder: Path) -> None:
    import gconvae

    str(gconvae.metrics.Report.load(folder / FILES["report"]))


def _clouds(kind: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        import gconvae

        data = gconvae.datasets.from_file(folder / FILES[kind])
        torch.as_tensor(data[len(data) - 1].pos).sum()

    return read


def _idx(folder: Path) -> None:
    from make_superpixels import read_idx

    read_idx(folder / FILES["idx"]).sum()


def _onnx(folder: Path) -> None:
    from gconvae.export import read_metadata

    read_metadata(folder / FILES["ONNX"])


READERS: dict[str, Callable[[Path], None]] = {
    "model.json": _load,
    "safetensors": _load,
    "manifest": _manifest,
    "config": _config,
    "checkpoint": _checkpoint,
    "report": _report,
    **{kind: _clouds(kind) for kind in ("npz", "npy", "HDF5", "Parquet")},
    "idx": _idx,
    "ONNX": _onnx,
}
"""Reads the file of a kind in a folder; raises what a user would get."""

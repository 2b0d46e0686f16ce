"""ONNX files of encoder and sampler, for onnxruntime and other runtimes."""

from __future__ import annotations

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from gconvae import files
from gconvae.export.metadata import KEY, described
from gconvae.export.packages import onnx_package
from gconvae.export.parts import Encoder, Part, Sampler, part_of
from gconvae.export.ports import BATCH
from gconvae.export.tracing import named_error, quiet, traced
from gconvae.export.writing import free_file
from gconvae.vae import VAE

__all__ = ["OPSET", "to_onnx"]

OPSET = 18
"""Version of ONNX's operators: that of torch's exporter, which runtimes know since 2023."""


_INT64 = 7
"""How ONNX numbers the type of whole numbers."""


def to_onnx(
    model: VAE,
    file: str | os.PathLike[str],
    part: Part = "sampler",
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a part of a model as an ONNX file, for any number of clouds a call.

    Args:
        model: Trained or not, on any device; it stays as it is.
        file: To write, such as ``sampler.onnx``; weights lie inside.
        part: ``"sampler"``: noise to clouds; ``"encoder"``: clouds to mean and log-variance.
        overwrite: Whether a file that exists is replaced.
    Returns:
        The file.
    Raises:
        ValueError: If the file exists, or a part of the model cannot be exported.
        ModuleNotFoundError: If onnx or onnxscript is not installed.
    Example:
        >>> import gconvae, tempfile
        >>> model = gconvae.models.create("convae", hidden=16, seed=0)
        >>> file = to_onnx(model, Path(tempfile.mkdtemp()) / "sampler.onnx")
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(file)
        >>> noise = gconvae.export.noise_of(model, 4, seed=0)
        >>> session.run(None, noise)[0].shape
        (4, 25, 3)
    """
    onnx = onnx_package()
    path = free_file(file, overwrite=overwrite)
    chosen = part_of(model, part)
    proto = _translated(chosen)
    onnx.helper.set_model_props(proto, {KEY: json.dumps(described(chosen))})
    proto.producer_name, proto.doc_string = "gconvae", f"{part} of a gconvae model"
    with files.whole(path) as temporary:
        onnx.save(proto, temporary)
    return path


def _translated(part: Encoder | Sampler) -> Any:
    """The ONNX model of a part."""
    program = traced(part)
    with torch.no_grad(), quiet(), named_error(part, "ONNX"):
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=[port.name for port in part.inputs],
            output_names=[port.name for port in part.outputs],
            custom_translation_table=_translations(),
        )
        assert exported is not None
        proto = exported.model_proto
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return proto


def _translations() -> dict[Any, Any]:
    """Operators of torch for which its exporter has no translation, in ONNX's."""
    op: Any = import_module("onnxscript").opset18

    def stable_sort(
        values: Any, stable: bool = True, dim: int = -1, descending: bool = False
    ) -> Any:
        axis = op.Constant(value_ints=[dim])
        size = op.Gather(op.Shape(values), axis)
        # TopK gives the lower index first where values are equal, which is to be stable
        return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)

    def searchsorted(
        ends: Any,
        values: Any,
        out_int32: bool = False,
        right: bool = False,
        side: str | None = None,
        sorter: Any = None,
    ) -> Any:
        # of ends in one dimension: how many of them lie below
        wide = op.Unsqueeze(values, op.Constant(value_ints=[-1]))
        below = op.LessOrEqual(ends, wide) if right else op.Less(ends, wide)
        whole = op.Cast(below, to=_INT64)
        return op.ReduceSum(whole, op.Constant(value_ints=[-1]), keepdims=0)

    aten = torch.ops.aten
    return {aten.sort.stable: stable_sort, aten.searchsorted.Tensor: searchsorted}

"""Programs of ``torch.export``: encoder and sampler for torch without this library."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

from gconvae import files
from gconvae.export.metadata import KEY, described
from gconvae.export.parts import Part, part_of
from gconvae.export.tracing import quiet, traced
from gconvae.export.writing import free_file
from gconvae.vae import VAE

__all__ = ["to_torch_export"]


def to_torch_export(
    model: VAE,
    file: str | os.PathLike[str],
    part: Part = "sampler",
    *,
    overwrite: bool = False,
) -> Path:
    """Writes a part of a model as a program that ``torch.export.load`` reads.

    Args:
        model: As of :func:`to_onnx`.
        file: To write, such as ``sampler.pt2``.
        part: As of :func:`to_onnx`.
        overwrite: Likewise.
    Returns:
        The file.
    Raises:
        ValueError: If the file exists, its name does not end in ``.pt2``, or a part of the model
            cannot be exported.
    Example:
        >>> import gconvae, tempfile
        >>> model = gconvae.models.create("convae", hidden=16, seed=0)
        >>> file = to_torch_export(model, Path(tempfile.mkdtemp()) / "sampler.pt2")
        >>> program = torch.export.load(file).module()
        >>> program(torch.randn(4, 10)).shape
        torch.Size([4, 25, 3])
    """
    path = free_file(file, overwrite=overwrite)
    if path.suffix != ".pt2":
        raise ValueError(f"file must end in .pt2, got {path.name}")
    chosen = part_of(model, part)
    program = traced(chosen)
    with files.whole(path) as temporary, quiet():
        extra = {KEY: json.dumps(described(chosen))}
        torch.export.save(program, temporary, extra_files=extra)
    return path

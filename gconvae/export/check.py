"""How well an exported file agrees with the model that it was made of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gconvae.export.metadata import read_metadata
from gconvae.export.noise import noise_of
from gconvae.export.packages import runtime_package
from gconvae.vae import VAE

__all__ = ["Agreement", "LEAST_EQUAL", "TOLERANCE", "agreement", "run_file"]

TOLERANCE = 1e-5
"""What continuous numbers may differ by, as a share of the range of their feature."""

LEAST_EQUAL = 0.98
"""Share of the clouds that must have the same nodes, where places are drawn. Of the bundled eights
about 1 in 1,000 differs, where a last bit decides; in a wrong file nearly all do."""


class Agreement(NamedTuple):
    """What an exported file and its model differ by.

    Attributes:
        clouds: How many were compared.
        largest: Largest difference: of a sampler as a share of the feature's range, of an encoder
            in mean and log-variance.
        equal: Share of the clouds whose numbers are all within :data:`TOLERANCE`.
        is_discrete: Whether places on a lattice are drawn or rounded to, where a last bit can
            decide.
    """

    clouds: int
    largest: float
    equal: float
    is_discrete: bool

    @property
    def is_good(self) -> bool:
        """Whether that is as close as two machines with other last bits are."""
        return self.equal >= (LEAST_EQUAL if self.is_discrete else 1.0)

    def __str__(self) -> str:
        equal = f"{self.equal:.2%} of {self.clouds} clouds equal"
        return f"{equal}, largest difference {self.largest:.1e}"


def agreement(
    model: VAE, file: str | os.PathLike[str], count: int = 256, seed: int = 0
) -> Agreement:
    """Runs an exported file on the numbers of a seed and compares with the model.

    Args:
        model: That was exported.
        file: ``.onnx``, run with onnxruntime, or ``.pt2``.
        count: Clouds, at least 1; an encoder gets those that the model draws.
        seed: Of all numbers.
    Raises:
        ValueError: If the file is none of ours, or ``count`` below 1.
        FileNotFoundError: If there is none.
        ModuleNotFoundError: If onnxruntime is not installed.
    """
    inputs = noise_of(model, count, seed)
    drawn = model.sample_clouds(count, seed=seed)
    if read_metadata(file)["part"] == "sampler":
        (outputs,) = run_file(file, inputs)
        scaling = model.scaling
        width = (scaling.high - scaling.low).cpu().numpy()
        width = np.where(width > 0, width, 1.0)
        apart = np.abs(outputs - drawn.points.cpu().numpy()) / width
        is_discrete = model.likelihood.rounds or model.likelihood.has_mass
    else:
        clouds = {"points": drawn.points.cpu().numpy()}
        if not model.conditioning.always_full:
            clouds["mask"] = drawn.mask.cpu().numpy()
        mean, log_var = run_file(file, clouds)
        with torch.no_grad():
            posterior = model.encode(drawn.points, drawn.mask)
        wanted = posterior.mean.cpu().numpy(), 2 * posterior.stddev.log().cpu().numpy()
        size = max(1.0, *(float(np.abs(each).max()) for each in wanted))
        both = zip((mean, log_var), wanted, strict=True)
        apart = np.concatenate([np.abs(a - b) / size for a, b in both], axis=1)
        is_discrete = False
    apart = apart.reshape(count, -1)
    within = (apart <= TOLERANCE).all(axis=1)  # False for what is no number
    return Agreement(count, float(apart.max()), float(within.mean()), is_discrete)


def run_file(file: str | os.PathLike[str], inputs: dict[str, Any]) -> list[Any]:
    """Outputs of an exported file for arrays by name.

    Args:
        file: ``.onnx`` or ``.pt2``.
        inputs: In the order of the file's inputs.
    Raises:
        ModuleNotFoundError: If onnxruntime is not installed.
    """
    path = Path(file).expanduser()
    if path.suffix == ".pt2":
        program = torch.export.load(path).module()
        with torch.no_grad():
            tensors = program(*map(torch.from_numpy, inputs.values()))
        tensors = [tensors] if isinstance(tensors, torch.Tensor) else tensors
        return [each.numpy() for each in tensors]
    runtime = runtime_package()
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs: list[Any] = session.run(None, inputs)
    return outputs

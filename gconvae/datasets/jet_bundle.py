"""Numbers of the bundled jets: their lattice and how they are packed in the file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNTS", "NUM_PARTICLES", "BundledJets", "packed", "read", "unpacked"]

COUNTS = {"train": 12_000, "valid": 4_000, "test": 4_000}
"""Jets of each kind in the splits, which follow each other in the file."""

NUM_PARTICLES = 30
"""Particles of a jet in the file, at most."""

ANGLE_STEP = 1 / 4096
"""One step of eta_rel and phi_rel."""

LOG_PT_STEP = 1 / 1024
"""One step of the natural logarithm of pt_rel, so of pt_rel 0.1 %."""

LOG_PT_TOP = 1.0
"""A logarithm of pt_rel that none reaches: that of a jet's only particle is near 0."""

JET_STEPS = (1 / 32, 1 / 4096, 1 / 32, 1.0)
"""Steps of a jet's pt (GeV), eta, mass (GeV) and number of constituents."""

MIDDLE = 2**15
"""What stands for 0 where values of both signs are stored as uint16."""

JET_FEATURES = ("pt", "eta", "mass", "number")


class BundledJets(NamedTuple):
    """Jets of one kind.

    Attributes:
        points: eta_rel, phi_rel and pt_rel in canonical order, shape (B, N, 3); 0 where masked.
        mask: Where a node is real, shape (B, N).
        jet_features: pt (GeV), eta, mass (GeV), number of all constituents, shape (B, 4).
    """

    points: NDArray[np.float32]
    mask: NDArray[np.bool_]
    jet_features: NDArray[np.float32]


def read(kind: str, split: str) -> BundledJets:
    """The bundled jets of a kind and a split.

    Args:
        kind: ``"g"``, ``"q"`` or ``"t"``.
        split: ``"train"``, ``"valid"`` or ``"test"``.
    """
    prefix, splits = f"{kind}_", [*COUNTS]
    start = sum(COUNTS[name] for name in splits[: splits.index(split)])
    with (
        resources.files("gconvae").joinpath("data", "jets.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        own = {
            name.removeprefix(prefix): arrays[name]
            for name in arrays.files
            if name.startswith(prefix)
        }
    return unpacked(own, slice(start, start + COUNTS[split]))


def packed(jets: BundledJets) -> dict[str, NDArray[Any]]:
    """Jets as arrays of bytes that compress well; :func:`unpacked` has them back on the lattice.

    Angles are stored in steps, log pt_rel by its differences from the particle before, since the
    hardest come first. High and low bytes lie apart and particles of one rank together: high bytes
    are few different ones then, and what is noise is in the low bytes.

    Args:
        jets: Nodes in any order.
    Raises:
        ValueError: If a value is out of the range that two bytes hold.
    Example:
        >>> points = np.array([[[0.125, -0.25, 0.5], [0.0, 0.0, 0.0]]], np.float32)
        >>> mask = np.array([[True, False]])
        >>> jet = BundledJets(points, mask, np.array([[1000, 0.5, 100, 1]], np.float32))
        >>> arrays = packed(jet)
        >>> sorted(arrays)[:4], unpacked(arrays).points[0, 0].round(3).tolist()
        (['count', 'eta_high', 'eta_low', 'jet_eta'], [0.125, -0.25, 0.5])
    """
    eta, phi = (np.rint(jets.points[..., i] / ANGLE_STEP).astype(np.int64) for i in (0, 1))
    with np.errstate(divide="ignore"):
        depth = LOG_PT_TOP - np.log(jets.points[..., 2].astype(np.float64))
    last = np.iinfo(np.int64).max
    steps = np.where(jets.mask, np.rint(np.where(jets.mask, depth, 0) / LOG_PT_STEP), 0)
    depths = np.where(jets.mask, steps.astype(np.int64), last)  # (B, N), masked nodes the deepest
    order = np.lexsort((eta, phi, depths))  # canonical: -pt_rel, phi_rel, eta_rel
    eta, phi, depths, mask = (
        np.take_along_axis(values, order, axis=1) for values in (eta, phi, depths, jets.mask)
    )
    changes = np.where(mask, np.diff(depths, axis=1, prepend=0), 0)
    arrays: dict[str, NDArray[Any]] = {"count": mask.sum(1).astype(np.uint8)}
    for name, values, middle in (
        ("eta", eta, MIDDLE),
        ("phi", phi, MIDDLE),
        ("log_pt", changes, 0),
    ):
        words = _words(name, np.where(mask, values, 0) + middle)  # (B, N)
        arrays[f"{name}_high"] = np.ascontiguousarray((words >> 8).astype(np.uint8).T)  # (N, B)
        arrays[f"{name}_low"] = np.ascontiguousarray((words & 255).astype(np.uint8).T)
    for name, values, step in zip(JET_FEATURES, jets.jet_features.T, JET_STEPS, strict=True):
        middle = MIDDLE if name == "eta" else 0
        arrays[f"jet_{name}"] = _words(f"jet {name}", np.rint(values / step) + middle)
    return arrays


def unpacked(arrays: Mapping[str, NDArray[Any]], rows: slice = slice(None)) -> BundledJets:
    """Jets of the arrays of :func:`packed`, on the lattice.

    Args:
        arrays: Of one kind.
        rows: Which jets.
    """
    eta, phi, changes = (
        (arrays[f"{name}_high"][:, rows].astype(np.int64) << 8) + arrays[f"{name}_low"][:, rows]
        for name in ("eta", "phi", "log_pt")
    )  # (N, B) each
    mask = np.arange(len(eta)) < arrays["count"][rows, None]  # (B, N)
    log_pt = LOG_PT_TOP - changes.cumsum(axis=0) * LOG_PT_STEP
    angles = [(values - MIDDLE) * ANGLE_STEP for values in (eta, phi)]
    points = np.stack([*angles, np.exp(log_pt)], axis=-1).swapaxes(0, 1)  # (B, N, 3)
    features = [
        (arrays[f"jet_{name}"][rows].astype(np.float64) - (MIDDLE if name == "eta" else 0)) * step
        for name, step in zip(JET_FEATURES, JET_STEPS, strict=True)
    ]
    return BundledJets(
        np.where(mask[..., None], points, 0).astype(np.float32),
        mask,
        np.stack(features, axis=-1).astype(np.float32),
    )


def _words(name: str, values: NDArray[Any]) -> NDArray[np.uint16]:
    """Whole numbers as two bytes each."""
    if values.min() < 0 or values.max() >= 2**16:
        raise ValueError(
            f"{name} must be 0 to 65535 in its steps, got {values.min():.0f} to {values.max():.0f}"
        )
    return values.astype(np.uint16)

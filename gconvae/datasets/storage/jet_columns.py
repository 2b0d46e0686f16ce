"""Columns of jets of any length - JetClass's names - as padded particles relative to the jet."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.source import Layout, StoredRows
from gconvae.schema import JET_CONDITIONS, JETS, CloudSchema

__all__ = ["MOST_PARTICLES", "JetColumns", "has_jet_columns", "one_hot_classes", "wrapped"]

MOST_PARTICLES = 128
"""Particles of a jet that are kept, the hardest: as many as those who published JetClass keep."""

MOMENTA = ("part_px", "part_py", "part_pz")
ANGLES = ("part_deta", "part_dphi")
AXIS = ("jet_eta", "jet_phi")
JET_PT, JET_ENERGY, JET_COUNT = "jet_pt", "jet_energy", "jet_nparticles"

LABEL = "label_"
"""How the columns of the classes begin, of which one is 1."""

CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
"""JetClass's order, which a file need not have."""


@dataclass(frozen=True)
class JetColumns:
    """Which columns of a file are read, and what they become.

    pt_rel is the particle's pT over the jet's. eta_rel and phi_rel are ``part_deta`` and
    ``part_dphi`` as they are; without them, they are made of momenta and axis in JetClass's
    convention: eta_rel is positive away from the middle of the detector,
    sign(eta_jet) (eta - eta_jet).

    Attributes:
        particles: Columns with a list for each jet.
        jets: Columns with a number for each jet.
        labels: Columns of the classes: those of JetClass in its order, then others.
        conditions: Names out of :data:`gconvae.schema.JET_CONDITIONS`.
    References:
        | Particle Transformer for Jet Tagging (Qu et al., 2022), arXiv:2202.03772
    """

    particles: tuple[str, ...]
    jets: tuple[str, ...]
    labels: tuple[str, ...]
    conditions: tuple[str, ...]

    @classmethod
    def of(cls, names: Collection[str], path: Path) -> JetColumns:
        """The columns that are needed of those that a file has.

        Raises:
            ValueError: If one is missing; the message names it.
        """
        has_angles = set(ANGLES) <= set(names)
        particles = (*MOMENTA[:2], *(ANGLES if has_angles else MOMENTA[2:]))
        jets = (JET_PT, *(() if has_angles else AXIS))
        missing = [name for name in (*particles, *jets) if name not in names]
        if missing:
            raise ValueError(
                f"path must hold columns {', '.join((*particles, *jets))}, {path} lacks "
                f"{', '.join(missing)}"
            )
        conditions = ["pt"]
        if AXIS[0] in names:
            conditions.append("eta")
            if JET_ENERGY in names:
                conditions.append("mass")
        further = tuple(n for n in (AXIS[0], JET_ENERGY, JET_COUNT) if n in names)
        return cls(
            particles,
            tuple(dict.fromkeys((*jets, *further))),
            _labels(names),
            (*conditions, "num_particles"),
        )

    @property
    def schema(self) -> CloudSchema:
        """JETS with the classes and conditions of these columns."""
        classes = tuple(name.removeprefix(LABEL) for name in self.labels)
        conditions = tuple(c for c in JET_CONDITIONS if c.name in self.conditions)
        return JETS.replace(classes=classes, conditions=conditions)

    def layout(self, num_clouds: int, num_nodes: int, chunk: int) -> Layout:
        """What is known of a file before its jets are read.

        Args:
            num_clouds: B.
            num_nodes: Particles of the largest jet.
            chunk: Jets that are read together.
        """
        return Layout(
            num_clouds=num_clouds,
            num_nodes=min(num_nodes, MOST_PARTICLES),
            num_features=JETS.num_features,
            dtype=np.dtype(np.float32),
            has_mask=True,
            has_labels=bool(self.labels),
            chunk=chunk,
            schema=self.schema,
            num_conditions=len(self.conditions),
        )

    def rows(
        self,
        columns: Mapping[str, NDArray[Any]],
        sizes: NDArray[Any],
        num_nodes: int,
        labels: NDArray[Any] | None,
    ) -> StoredRows:
        """Jets as padded clouds, their hardest particles first.

        Args:
            columns: Particles of all jets one after another, (P,), and numbers of jets, (n,).
            sizes: Particles of each jet, shape (n,).
            num_nodes: N; of larger jets the hardest N particles are kept.
            labels: Shape (n,), or None.
        """
        jet = np.repeat(np.arange(len(sizes)), sizes)  # (P,)
        values = {name: column.astype(np.float64) for name, column in columns.items()}
        pt = np.hypot(values[MOMENTA[0]], values[MOMENTA[1]])
        with np.errstate(divide="ignore", invalid="ignore"):  # told of as numbers that are none
            pt_rel = pt / values[JET_PT][jet]
            eta, phi = self._angles(values, pt, jet)
        order = np.lexsort((-pt_rel, jet))
        place = np.arange(len(jet)) - np.repeat(
            np.cumsum(sizes) - sizes, sizes
        )  # from the hardest
        kept = place < num_nodes
        points = np.zeros((len(sizes), num_nodes, JETS.num_features), np.float32)
        features = np.stack([eta, phi, pt_rel], -1)[order]
        points[jet[kept], place[kept]] = features[kept]
        mask = np.arange(num_nodes) < sizes[:, None]
        return StoredRows(points, mask, labels, self._conditions(values, sizes))

    def _angles(
        self, columns: Mapping[str, NDArray[Any]], pt: NDArray[Any], jet: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Of the particles relative to the axis, shape (P,) each."""
        if ANGLES[0] in columns:
            return columns[ANGLES[0]], wrapped(columns[ANGLES[1]])
        axis_eta, axis_phi = (columns[name][jet] for name in AXIS)
        eta = np.arcsinh(columns[MOMENTA[2]] / pt) - axis_eta
        phi = np.arctan2(columns[MOMENTA[1]], columns[MOMENTA[0]]) - axis_phi
        return np.where(axis_eta > 0, eta, -eta), wrapped(phi)

    def _conditions(self, values: Mapping[str, NDArray[Any]], sizes: NDArray[Any]) -> NDArray[Any]:
        """Shape (n, C), in the order of ``JET_CONDITIONS``."""
        conditions = {"pt": values[JET_PT], "num_particles": values.get(JET_COUNT, sizes)}
        if "eta" in self.conditions:
            conditions["eta"] = values[AXIS[0]]
        if "mass" in self.conditions:
            momentum = values[JET_PT] * np.cosh(values[AXIS[0]])
            square = values[JET_ENERGY] ** 2 - momentum**2
            conditions["mass"] = np.sqrt(square.clip(min=0))  # rounding can leave less than 0
        columns = [conditions[condition.name] for condition in self.schema.conditions]
        return np.stack(columns, -1).astype(np.float32)


def _labels(names: Collection[str]) -> tuple[str, ...]:
    known = [LABEL + name for name in CLASSES]
    others = [name for name in names if name.startswith(LABEL) and name not in known]
    return (*(name for name in known if name in names), *others)


def has_jet_columns(names: Collection[str]) -> bool:
    """Whether columns are those of jets, as JetClass names them.

    Example:
        >>> has_jet_columns(["part_px", "part_py", "jet_pt"]), has_jet_columns(["x", "y"])
        (True, False)
    """
    return MOMENTA[0] in names and JET_PT in names


def one_hot_classes(rows: NDArray[Any], start: int, path: Path) -> NDArray[np.int64]:
    """The class of each jet from columns of which one is 1, shape (n,).

    Args:
        rows: Shape (n, K).
        start: Number of the first jet in its file, for messages.
        path: Of the file, likewise.
    Raises:
        ValueError: If a jet has none or several.
    Example:
        >>> one_hot_classes(np.array([[0, 1], [1, 0]]), 0, Path("jets.root"))
        array([1, 0])
    """
    rows = np.asarray(rows, np.float64)
    wrong = ~np.isin(rows, (0, 1)).all(1) | (rows.sum(1) != 1)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"labels must be a 1 among zeros for every jet, got {rows[first].tolist()} of jet "
            f"{start + first} in {path}"
        )
    return rows.argmax(1).astype(np.int64)


def wrapped(phi: NDArray[Any]) -> NDArray[Any]:
    """Differences of azimuthal angles within [-pi, pi]; those that are there stay to the bit.

    Example:
        >>> wrapped(np.array([0.5, 2 * np.pi + 0.5])).round(6)
        array([0.5, 0.5])
    """
    outside = np.abs(phi) > np.pi
    return np.where(outside, (phi + np.pi) % (2 * np.pi) - np.pi, phi).astype(phi.dtype)

"""The HLS4ML LHC Jet data set: HDF5 files of jets of five classes, particles in many columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.hdf5_file import (
    Hdf5File,
    check_rows,
    chunk_of,
    texts,
    whole_hdf5,
)
from gconvae.datasets.storage.jet_columns import one_hot_classes, wrapped
from gconvae.datasets.storage.source import Layout, StoredRows
from gconvae.schema import JET_CONDITIONS, JETS

__all__ = ["HLS4ML", "Hls4mlSource"]

HLS4ML, PARTICLE_NAMES = "jetConstituentList", "particleFeatureNames"
JETS_TABLE, JET_NAMES = "jets", "jetFeatureNames"
"""Names of its datasets: two tables, each with the names of its last axis."""

PARTICLE = ("j1_etarel", "j1_phirel", "j1_ptrel", "j1_pt")
"""Columns of a particle, as JetNet has them; the last one is 0 where there is no particle."""

CLASSES = ("j_g", "j_q", "j_w", "j_z", "j_t")
"""Columns of a jet, one of which is 1; classes are called by what follows the prefix."""

FEATURES_OF_JETS = ("j_pt", "j_eta", "j_mass", "j_multiplicity")
"""Columns of a jet that are conditions, in the order of ``JET_CONDITIONS``; any may be missing."""


class Hls4mlSource(Hdf5File):
    """``jetConstituentList`` (B, N, 16) and ``jets`` (B, 59) with the names of their columns.

    Particles beside JetNet's three columns have others that are not read. The data set fills up
    jets with zeros: a particle is real where its transverse momentum is above 0.

    Args:
        path: The file.
    Raises:
        ModuleNotFoundError: If h5py is not installed.
        ValueError: If it is no whole file of this layout.
    References:
        | JEDI-net: a jet identification algorithm based on interaction networks (Moreno et al.,
          2019), arXiv:1908.05318
    """

    def describe(self, file: Any) -> Layout:
        """What is known of the clouds before they are read."""
        check_rows(file, HLS4ML, {HLS4ML: 3, JETS_TABLE: 2}, self.path)
        particles = self._names(file, PARTICLE_NAMES, HLS4ML)
        jets = self._names(file, JET_NAMES, JETS_TABLE)
        missing = [name for name in PARTICLE if name not in particles]
        if missing:
            raise ValueError(
                f"{PARTICLE_NAMES} must hold {', '.join(PARTICLE)}, {self.path} lacks "
                f"{', '.join(missing)}"
            )
        self._particle = [particles.index(name) for name in PARTICLE]
        self._classes = [jets.index(name) for name in CLASSES if name in jets]
        known = [
            (jets.index(n), c)
            for n, c in zip(FEATURES_OF_JETS, JET_CONDITIONS, strict=True)
            if n in jets
        ]
        self._told = [column for column, _ in known]
        classes = tuple(name.removeprefix("j_") for name in CLASSES if name in jets)
        points = file[HLS4ML]
        return Layout(
            num_clouds=points.shape[0],
            num_nodes=points.shape[1],
            num_features=JETS.num_features,
            dtype=points.dtype,
            has_mask=True,
            has_labels=bool(classes),
            chunk=chunk_of(points),
            schema=JETS.replace(classes=classes, conditions=tuple(each for _, each in known)),
            num_conditions=len(known),
        )

    def read_chunk(self, number: int) -> StoredRows:
        """Some whole chunks of the file's own, read together."""
        start, stop = self.chunk_rows(number)
        with whole_hdf5(self.path):
            file = self.opened()
            particles = file[HLS4ML][start:stop][..., self._particle]  # (n, N, 4)
            jets = file[JETS_TABLE][start:stop]
        points, mask = np.ascontiguousarray(particles[..., :3]), particles[..., 3] > 0
        points[..., 1] = wrapped(points[..., 1])
        labels = self._indices(jets, start) if self._classes else None
        return StoredRows(points, mask, labels, jets[:, self._told] if self._told else None)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """Classes of consecutive jets."""
        with whole_hdf5(self.path):
            jets = self.opened()[JETS_TABLE][start:stop]
        return self._indices(jets, start)

    def _indices(self, jets: NDArray[Any], start: int) -> NDArray[Any]:
        return one_hot_classes(jets[:, self._classes], start, self.path)

    def _names(self, file: Any, names: str, table: str) -> list[str]:
        """What the columns of a table are called."""
        if names not in file:
            raise ValueError(
                f"path must hold {names}, the columns of {table}, {self.path} lacks it"
            )
        column_names = texts(file[names]).ravel().tolist()
        if len(column_names) != file[table].shape[-1]:
            raise ValueError(
                f"{names} must name {file[table].shape[-1]} columns of {table}, got "
                f"{len(column_names)} in {self.path}"
            )
        return [str(name) for name in column_names]

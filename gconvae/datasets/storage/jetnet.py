"""JetNet's published HDF5 files: particles of jets of one class, relative to the jet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gconvae.datasets.storage.hdf5_file import Hdf5File, check_rows, chunk_of, whole_hdf5
from gconvae.datasets.storage.source import Layout, StoredRows
from gconvae.schema import JET_CONDITIONS, JETS

__all__ = ["JETNET", "JetNetSource"]

JETNET, JET_FEATURES = "particle_features", "jet_features"
"""Names of its datasets, of which the second may be missing."""

CLASSES = ("g", "q", "t", "w", "z")
"""Gluons, light quarks, tops, W and Z bosons: names of the files, ``g150`` with 150 particles."""


class JetNetSource(Hdf5File):
    """``particle_features`` (B, N, 4): eta_rel, phi_rel, pt_rel, mask; perhaps ``jet_features``.

    ``jet_features`` (B, 4), the jet's pT in GeV, eta, mass in GeV and number of particles, are the
    clouds' conditions. Jets of a file with the published name of a class have that class.

    Args:
        path: The file.
    Raises:
        ModuleNotFoundError: If h5py is not installed.
        ValueError: If it is no whole file of this layout.
    References:
        | Particle Cloud Generation with Message Passing Generative Adversarial Networks
          (Kansal et al., 2021), arXiv:2106.11535
    """

    def describe(self, file: Any) -> Layout:
        """What is known of the clouds before they are read."""
        is_told = JET_FEATURES in file
        axes = {JETNET: 3} | ({JET_FEATURES: 2} if is_told else {})
        check_rows(file, JETNET, axes, self.path)
        points = file[JETNET]
        if points.shape[2] != JETS.num_features + 1:
            raise ValueError(
                f"{JETNET} must have eta_rel, phi_rel, pt_rel and mask, got {points.shape} in "
                f"{self.path}"
            )
        if is_told and file[JET_FEATURES].shape[1] != len(JET_CONDITIONS):
            raise ValueError(
                f"{JET_FEATURES} must have pt, eta, mass and number of particles, got "
                f"{file[JET_FEATURES].shape} in {self.path}"
            )
        name = self.path.stem.removesuffix("150")
        classes = (name,) if name in CLASSES else ()
        return Layout(
            num_clouds=points.shape[0],
            num_nodes=points.shape[1],
            num_features=JETS.num_features,
            dtype=points.dtype,
            has_mask=True,
            has_labels=bool(classes),
            chunk=chunk_of(points),
            schema=JETS.replace(classes=classes, conditions=JET_CONDITIONS if is_told else ()),
            num_conditions=len(JET_CONDITIONS) if is_told else 0,
        )

    def read_chunk(self, number: int) -> StoredRows:
        """Some whole chunks of the file's own, read together."""
        start, stop = self.chunk_rows(number)
        with whole_hdf5(self.path):
            file = self.opened()
            features = file[JETNET][start:stop]
            conditions = file[JET_FEATURES][start:stop] if self.layout.num_conditions else None
        labels = self.labels(start, stop) if self.layout.has_labels else None
        points, mask = np.ascontiguousarray(features[..., :-1]), features[..., -1]
        return StoredRows(points, mask, labels, conditions)

    def labels(self, start: int, stop: int) -> NDArray[Any]:
        """All of the one class."""
        return np.zeros(stop - start, np.int64)

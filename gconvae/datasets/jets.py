"""The bundled jets: gluons, light quarks and tops of simulated proton collisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.datasets import jet_bundle
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.plain import did_you_mean, plain
from gconvae.schema import JET_CONDITIONS, JETS

__all__ = ["Jets", "bundled_kinds"]

KINDS = {"gluon": "g", "quark": "q", "light quark": "q", "top": "t", "g": "g", "q": "q", "t": "t"}
"""What a kind may be called, and the name of its class."""

CHOICES = ("gluon", "quark", "top")
"""What messages call them."""

CLASSES = ("g", "q", "t")
"""JetNet's names of these classes, in its order."""

BUNDLED = "jets:"
"""How a name of bundled jets begins where a path of a file may stand too."""


class Jets(CloudDataset):
    """The bundled jets: at most 30 particles a jet, the hardest first.

    12,000 + 4,000 + 4,000 jets (train, valid, test) of each kind, made by this project's
    simulation of proton collisions at 13 TeV: :doc:`/jets-data`. Coordinates are JetNet's,
    eta_rel, phi_rel and pt_rel, on a lattice of 1/4096, 1/4096 and, in the logarithm of pt_rel,
    1/1024. Labels are indices of the classes ``g``, ``q``, ``t``, whatever kinds are chosen. Jets
    of one collision are in one split.

    Args:
        kind: ``"gluon"`` or ``"g"``, ``"quark"`` or ``"q"`` (light quark: u, d, s), ``"top"`` or
            ``"t"``, a list of these, or None for all three.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        num_particles: The hardest particles of a jet that are taken, 1 to 30.
        transform: See :class:`CloudDataset`; likewise the next two.
        pre_transform: Applied once to every graph.
        pre_filter: Which graphs are kept.
    Raises:
        ValueError: If a kind or the split is unknown, or the number is out of its range.
    References:
        | Particle Cloud Generation with Message Passing Generative Adversarial Networks
          (Kansal et al., 2021), arXiv:2106.11535
    Example:
        >>> data = Jets("top", split="test")
        >>> data.points.shape, data[:5].jet_features.shape, data.schema.class_name(2)
        (torch.Size([4000, 30, 3]), torch.Size([5, 4]), 't')
    """

    def __init__(
        self,
        kind: str | Sequence[str] | None = None,
        split: Literal["train", "valid", "test"] = "train",
        num_particles: int = jet_bundle.NUM_PARTICLES,
        transform: Callable[[Any], Any] | None = None,
        pre_transform: Callable[[Any], Any] | None = None,
        pre_filter: Callable[[Any], bool] | None = None,
    ) -> None:
        kinds = checked_kinds(kind)
        if split not in jet_bundle.COUNTS:
            raise ValueError(f"split must be 'train', 'valid' or 'test', got {split!r}")
        number = checked_number(num_particles)
        parts = [jet_bundle.read(name, split) for name in kinds]
        points = np.concatenate([part.points[:, :number] for part in parts])  # (B, N, 3)
        mask = np.concatenate([part.mask[:, :number] for part in parts])  # (B, N)
        labels = np.repeat([CLASSES.index(name) for name in kinds], [len(p.mask) for p in parts])
        features = np.concatenate([part.jet_features for part in parts])  # (B, 4)
        clouds = Clouds(
            torch.from_numpy(points),
            torch.from_numpy(mask),
            torch.from_numpy(labels).long(),
            JETS.replace(classes=CLASSES, conditions=JET_CONDITIONS),
            torch.from_numpy(features),
        )
        super().__init__(
            clouds, transform=transform, pre_transform=pre_transform, pre_filter=pre_filter
        )

    @property
    def jet_features(self) -> Tensor:
        """Jets' pt in GeV, eta, mass in GeV and number of constituents, shape (B, 4).

        They are those of the whole jet: of all constituents, not only of the hardest; another
        name of the clouds' conditions.
        """
        assert self.conditions is not None
        return self.conditions


def bundled_kinds(name: str) -> list[str] | None:
    """Kinds of jets that ``"jets:gluon"`` and the like name; None for a path of a file.

    Args:
        name: ``"jets:"`` and a kind, several with commas, or ``all``.
    Raises:
        ValueError: If a kind is unknown.
    Example:
        >>> bundled_kinds("jets:gluon,t"), bundled_kinds("jets:all"), bundled_kinds("jets.hdf5")
        (['g', 't'], ['g', 'q', 't'], None)
    """
    if not name.startswith(BUNDLED):
        return None
    kinds = name.removeprefix(BUNDLED)
    for kind in kinds.split(","):
        if kind != "all" and kind not in KINDS:
            known = [*CHOICES, "all"]
            listed = ", ".join(BUNDLED + each for each in known)
            hint = did_you_mean(kind, known, BUNDLED)
            raise ValueError(f"data must be {listed} or the path of a file, got {name!r}{hint}")
    return checked_kinds(None if kinds == "all" else kinds.split(","))


def checked_kinds(kind: str | Sequence[str] | None) -> list[str]:
    """Classes of kinds, each once, in the order of the classes; None = all three.

    Raises:
        ValueError: If a kind is unknown.
    """
    if kind is None:
        return [*CLASSES]
    kind = plain(kind)
    names = [kind] if isinstance(kind, str) or not isinstance(kind, Sequence) else [*kind]
    if not names or any(not isinstance(name, str) or name not in KINDS for name in names):
        raise ValueError(
            f"kind must be gluon, quark, top, g, q or t, a list of these or None, got {kind!r}"
        )
    chosen = {KINDS[name] for name in names}
    return [name for name in CLASSES if name in chosen]


def checked_number(num_particles: int) -> int:
    """A number of particles that the bundled jets have.

    Raises:
        ValueError: If it is none of 1 to 30.
    """
    number = plain(num_particles)
    most = jet_bundle.NUM_PARTICLES
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        raise ValueError(f"num_particles must be a whole number, 1 to {most}, got {number!r}")
    return number

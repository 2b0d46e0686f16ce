"""Proton collisions by Pythia 8 and the two leading jets of each by FastJet."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COMMON", "JET_ETA", "JET_PT", "KINDS", "MAX_PARTICLES", "PARTICLE_ETA", "RADIUS", "SETTINGS",
    "SimulatedJet", "engines", "generator_seed", "jets", "started",
]  # fmt: skip

KINDS = ("g", "q", "t")
"""Gluons, light quarks (u, d, s) and tops, in the order of JetNet's classes."""

MAX_PARTICLES = 150
"""Particles kept of a jet at most, the hardest ones: as many as in JetNet's larger files."""

SETTINGS = {
    "g": ("HardQCD:gg2gg = on",),
    "q": ("HardQCD:qq2qq = on", "HardQCD:qqbar2qqbarNew = on", "HardQCD:nQuarkNew = 3"),
    # all W decay to quarks, as those of JetNet's tops do
    "t": (
        "Top:gg2ttbar = on",
        "Top:qqbar2ttbar = on",
        "24:onMode = off",
        "24:onIfAny = 1 2 3 4 5",
    ),
}
"""Pythia's settings for the hard process of each kind."""

COMMON = (
    "Print:quiet = on",
    "Beams:eCM = 13000.",
    "PhaseSpace:pTHatMin = 990.",
    "PhaseSpace:pTHatMax = 1010.",
    "Random:setSeed = on",
)
"""Pythia's settings for all kinds; what is not set is Pythia's default: Monash tune, showers,
underlying event and hadronization."""

RADIUS = 0.8
"""R of the anti-kT algorithm."""

PARTICLE_ETA = 5.0
"""Particles beyond this absolute pseudorapidity are not seen."""

JET_ETA = 2.5
"""Largest absolute pseudorapidity of a jet."""

JET_PT = (800.0, 1600.0)
"""Transverse momenta of jets in GeV."""

MAX_SEED = 900_000_000
"""Pythia's largest seed."""


class SimulatedJet(NamedTuple):
    """A jet and its hardest particles.

    Attributes:
        particles: (n, 3), eta_rel, phi_rel and pt_rel, hardest first; n at most 150.
        features: (4,), pt in GeV, eta, mass in GeV, and the number of all constituents.
        event: Number of the collision among those that gave jets, from 0 on.
    """

    particles: NDArray[np.float32]
    features: NDArray[np.float32]
    event: int


def engines() -> tuple[Any, Any]:
    """The modules pythia8mc and fastjet.

    Raises:
        ModuleNotFoundError: If one is not installed.
    """
    try:
        return import_module("pythia8mc"), import_module("fastjet")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'making jets needs pythia8mc and fastjet: pip install "gconvae[jets]"'
        ) from error


def generator_seed(seed: int, kind: str, chunk: int) -> int:
    """Pythia's seed for a chunk, 1 to 900,000,000.

    Example:
        >>> generator_seed(0, "g", 0) != generator_seed(0, "g", 1) != generator_seed(0, "q", 1)
        True
    """
    sequence = np.random.SeedSequence([seed, KINDS.index(kind), chunk])
    return int(sequence.generate_state(1, np.uint64)[0] % MAX_SEED) + 1


def jets(kind: str, seed: int) -> Iterator[SimulatedJet]:
    """Jets without end.

    A jet's axis is that of the sum of its constituents' momenta. A particle's coordinates are
    JetNet's: ``eta_rel = eta - eta_jet`` in pseudorapidities, ``phi_rel = phi - phi_jet`` in
    (-pi, pi], ``pt_rel = pt / pt_jet``.

    Args:
        kind: ``"g"``, ``"q"`` or ``"t"``.
        seed: Pythia's, 1 to 900,000,000.
    Raises:
        ModuleNotFoundError: If pythia8mc or fastjet is not installed.
        RuntimeError: If Pythia refuses a setting or does not start.
    References:
        | A comprehensive guide to the physics and usage of PYTHIA 8.3 (Bierlich et al., 2022),
          arXiv:2203.11601
        | FastJet user manual (Cacciari, Salam and Soyez, 2011), arXiv:1111.6097
        | Particle Cloud Generation with Message Passing Generative Adversarial Networks
          (Kansal et al., 2021), arXiv:2106.11535
    """
    pythia, fastjet = started(kind, seed), engines()[1]
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    event = 0
    while True:
        if not pythia.next():  # a collision that Pythia could not finish, some in a million
            continue
        leading = list(_leading(pythia.event, fastjet, definition))
        for particles, features in leading:
            yield SimulatedJet(particles, features, event)
        event += bool(leading)


def started(kind: str, seed: int) -> Any:
    """Pythia, ready for collisions of a kind.

    Args:
        kind: ``"g"``, ``"q"`` or ``"t"``.
        seed: 1 to 900,000,000.
    Raises:
        ModuleNotFoundError: If it is not installed.
        RuntimeError: If it refuses a setting or does not start.
    """
    pythia = engines()[0].Pythia("", False)  # its data lie in the package; no banner
    for setting in (*COMMON, *SETTINGS[kind], f"Random:seed = {seed}"):
        if not pythia.readString(setting):
            raise RuntimeError(f"Pythia refused {setting!r}")
    if not pythia.init():
        raise RuntimeError("Pythia did not start")
    return pythia


def _leading(
    event: Any, fastjet: Any, definition: Any
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Those of the two leading jets of a collision that lie in the window."""
    momenta = [
        fastjet.PseudoJet(p.px(), p.py(), p.pz(), p.e())
        for p in event
        if p.isFinal() and p.isVisible() and abs(p.eta()) < PARTICLE_ETA
    ]
    # the sequence has to live as long as its jets are asked for constituents
    sequence = fastjet.ClusterSequence(momenta, definition)
    for jet in fastjet.sorted_by_pt(sequence.inclusive_jets(JET_PT[0]))[:2]:
        if jet.pt() < JET_PT[1] and abs(jet.eta()) < JET_ETA:
            yield _described(jet)


def _described(jet: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Relative coordinates of a jet's hardest particles, and its features."""
    constituents = jet.constituents()
    values = np.array([(p.eta(), p.phi(), p.pt()) for p in constituents])  # (n, 3)
    hardest = np.argsort(-values[:, 2], kind="stable")[:MAX_PARTICLES]
    eta, phi, pt = values[hardest].T
    turned = np.pi - (np.pi - (phi - jet.phi())) % (2 * np.pi)  # in (-pi, pi]
    relative = np.stack([eta - jet.eta(), turned, pt / jet.pt()], axis=-1)
    features = np.array([jet.pt(), jet.eta(), jet.m(), len(constituents)])
    return relative.astype(np.float32), features.astype(np.float32)

"""Simulated jets: axis, coordinates and window by their definitions, and decays as asked for."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

from gconvae.datasets.simulation import collisions
from gconvae.datasets.simulation.collisions import KINDS, SimulatedJet, generator_seed, jets

SEED = 11


@pytest.fixture(scope="module", params=KINDS)
def few(request: pytest.FixtureRequest) -> list[SimulatedJet]:
    return list(itertools.islice(jets(request.param, SEED), 4))


def test_all_particles_together_are_the_jet(few: list[SimulatedJet]) -> None:
    whole = [jet for jet in few if jet.features[3] == len(jet.particles)]
    assert whole
    for jet in whole:
        eta, phi, pt = jet.particles.astype(np.float64).T
        jet_eta = float(jet.features[1])
        momentum = (pt * np.cos(phi)).sum(), (pt * np.sin(phi)).sum()
        np.testing.assert_allclose(momentum, (1, 0), atol=1e-5)
        along = (pt * np.sinh(eta + jet_eta)).sum()
        np.testing.assert_allclose(along, np.sinh(jet_eta), atol=1e-4)


def test_the_mass_is_that_of_all_particles(few: list[SimulatedJet]) -> None:
    """Masses of the particles themselves add some GeV to what their directions give."""
    for jet in few:
        if jet.features[3] > len(jet.particles):
            continue
        eta, phi, pt = jet.particles.astype(np.float64).T * [[1], [1], [float(jet.features[0])]]
        eta = eta + float(jet.features[1])
        energy = (pt * np.cosh(eta)).sum()
        parts = (pt * np.cos(phi)).sum(), (pt * np.sin(phi)).sum(), (pt * np.sinh(eta)).sum()
        massless = np.sqrt(energy**2 - sum(part**2 for part in parts))
        assert massless < jet.features[2] < massless + 20


def test_jets_lie_in_the_window_and_particles_in_the_cone(few: list[SimulatedJet]) -> None:
    for jet in few:
        pt, eta, mass, number = jet.features
        assert 800 < pt < 1600
        assert abs(eta) < 2.5
        assert 0 < mass < 700
        assert len(jet.particles) == min(number, collisions.MAX_PARTICLES)
        # the cone is one in rapidity, from which slow particles' pseudorapidity is far
        assert np.abs(jet.particles[:, 1]).max() < 1.1 * collisions.RADIUS
        distance = np.hypot(jet.particles[:, 0], jet.particles[:, 1])
        assert np.quantile(distance, 0.9) < collisions.RADIUS
        assert (np.diff(jet.particles[:, 2]) <= 0).all()
        assert jet.particles[:, 2].min() > 0


def test_a_collision_gives_two_jets_at_most(few: list[SimulatedJet]) -> None:
    events = [jet.event for jet in few]
    assert events[0] == 0
    assert set(np.diff(events)) <= {0, 1}
    assert max(events.count(event) for event in events) <= 2


def test_all_w_of_tops_decay_to_quarks() -> None:
    pythia = collisions.started("t", SEED)
    daughters: list[int] = []
    for _ in range(5):
        assert pythia.next()
        for particle in pythia.event:
            if abs(particle.id()) == 24:
                found = [abs(pythia.event[i].id()) for i in particle.daughterList()]
                daughters += [] if 24 in found else found
    assert len(daughters) >= 20
    assert set(daughters) <= {1, 2, 3, 4, 5, 22, 21}


def test_seeds_of_kinds_and_chunks_differ_and_are_pythias() -> None:
    seeds = [generator_seed(s, k, c) for s in range(3) for k in KINDS for c in range(40)]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) >= 1
    assert max(seeds) <= 900_000_000
    assert generator_seed(0, "g", 0) == seeds[0]


@pytest.mark.parametrize("package", ["pythia8mc", "fastjet"])
def test_without_a_package_the_extra_is_named(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=r"gconvae\[jets\]"):
        next(jets("g", SEED))

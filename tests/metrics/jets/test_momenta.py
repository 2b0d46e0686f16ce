from __future__ import annotations

from math import cos, cosh, sqrt
from typing import Any

import generators
import numpy as np
import pytest
import torch

from gconvae import datasets
from gconvae.metrics import jets
from gconvae.schema import SUPERPIXELS, points

PAIR = [[[0.3, -0.2, 0.6], [-0.1, 0.4, 0.3]]]


def test_mass_of_two_massless_particles_is_the_known_formula() -> None:
    wanted = sqrt(2 * 0.6 * 0.3 * (cosh(0.4) - cos(0.6)))
    assert jets.mass(PAIR)[0] == pytest.approx(wanted, rel=1e-6)  # nested lists are float32
    assert jets.mass(np.array(PAIR))[0] == pytest.approx(wanted, rel=1e-12)


def test_mass_of_many_particles_is_the_sum_over_pairs() -> None:
    given, mask = generators.jets(20, 0)
    eta, phi, pt = given.numpy().transpose(2, 0, 1)
    pairs = np.cosh(eta[:, :, None] - eta[:, None]) - np.cos(phi[:, :, None] - phi[:, None])
    squared = np.einsum("bi,bj,bij->b", pt, pt, pairs)  # each pair twice, that is the factor 2
    np.testing.assert_allclose(jets.mass((given, mask)), np.sqrt(squared), rtol=1e-10)


def test_a_single_particle_has_no_mass_and_its_own_momentum() -> None:
    assert jets.mass(np.array([[[0.7, 1.0, 0.9]]]))[0] < 1e-7
    assert jets.pt(np.array([[[0.7, 1.0, 0.9]]]))[0] == pytest.approx(0.9, rel=1e-12)


def test_momentum_is_a_sum_of_vectors_not_of_their_lengths() -> None:
    back_to_back = np.array([[[0.0, 0.0, 0.5], [0.0, np.pi, 0.3]]])
    right_angle = np.array([[[0.0, 0.0, 0.3], [0.0, np.pi / 2, 0.4]]])
    assert jets.pt(back_to_back)[0] == pytest.approx(0.2, rel=1e-12)
    assert jets.pt(right_angle)[0] == pytest.approx(0.5, rel=1e-12)


def test_four_momenta_are_massless_and_sum_to_the_jet() -> None:
    given, mask = generators.jets(10, 1)
    momenta = jets.four_momenta((given, mask), jet_pt=1000.0)
    energy, *along = np.moveaxis(momenta, -1, 0)
    np.testing.assert_allclose(energy**2, sum(part**2 for part in along), rtol=1e-12, atol=1e-20)
    total = momenta.sum(1)
    squared = total[:, 0] ** 2 - (total[:, 1:] ** 2).sum(1)
    found = jets.mass((given, mask), jet_pt=1000.0)
    np.testing.assert_allclose(found**2, squared, rtol=1e-9)
    np.testing.assert_allclose(
        jets.pt((given, mask), jet_pt=1000.0), np.hypot(total[:, 1], total[:, 2]), rtol=1e-12
    )


def test_units_are_those_of_the_jets_momentum() -> None:
    given = generators.jets(3, 2)
    scale = np.array([900.0, 1000.0, 1500.0])
    np.testing.assert_allclose(jets.mass(given, jet_pt=scale), scale * jets.mass(given))


@pytest.mark.parametrize("observable", [jets.mass, jets.pt, jets.multiplicity])
def test_order_padding_and_rotation_change_nothing(observable: Any) -> None:
    given, mask = generators.jets(30, 3)
    wanted = observable((given, mask))
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    spoiled = given.masked_fill(~mask.unsqueeze(-1), 99.0)
    turned = given + torch.tensor([0.0, 5.0, 0.0])  # beyond the seam
    moved = given + torch.tensor([0.7, 0.0, 0.0])  # a boost along the beam
    for changed in (spoiled[:, order], turned, moved):
        shown = mask[:, order] if changed is not turned and changed is not moved else mask
        np.testing.assert_allclose(observable((changed, shown)), wanted, rtol=1e-9)


def test_multiplicity_counts_real_particles() -> None:
    given, mask = generators.jets(30, 4)
    assert jets.multiplicity((given, mask)).tolist() == mask.sum(1).tolist()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((2, 4, 2)), r"jets must have 3 features a node \(eta_rel, phi_rel, pt_rel\)"),
        (np.full((2, 4, 3), np.nan), "jets must be finite"),
        (
            datasets.from_points(np.ones((2, 4, 3)), schema=SUPERPIXELS),
            "jets must have the features eta_rel, phi_rel, pt_rel, got x, y, intensity",
        ),
    ],
)
def test_what_is_no_jet_is_an_error(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jets.mass(given)


def test_features_of_the_same_names_are_taken_whatever_the_schema_is_called() -> None:
    own = points("eta_rel phi_rel", "pt_rel")
    data = datasets.from_points(np.array(PAIR), schema=own)
    assert jets.mass(data) == pytest.approx(jets.mass(PAIR), rel=1e-6)


@pytest.mark.parametrize("jet_pt", [0.0, -1.0, np.inf, [1.0, 2.0]])
def test_a_wrong_momentum_of_the_jet_is_an_error(jet_pt: Any) -> None:
    with pytest.raises(ValueError, match="jet_pt must be a number above 0 or one for each of 1"):
        jets.mass(PAIR, jet_pt=jet_pt)

"""The lattice of the bundled jets and how they are packed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from make_jets import relative_mass, split_rows

from gconvae.datasets.jet_bundle import COUNTS, BundledJets, packed, unpacked


def simulated(number: int = 200, seed: int = 0) -> BundledJets:
    """Jets of up to 6 particles that lie on no lattice, hardest first, masked nodes last."""
    random = np.random.default_rng(seed)
    pt = -np.sort(-random.dirichlet(np.full(6, 0.3), number), axis=1) + 1e-5
    angles = random.normal(0, 0.2, (number, 6, 2))
    mask = np.arange(6) < random.integers(1, 7, number)[:, None]
    points = np.where(mask[..., None], np.concatenate([angles, pt[..., None]], -1), 0)
    features = np.stack(
        [
            random.uniform(800, 1600, number),
            random.uniform(-2.5, 2.5, number),
            random.uniform(0, 700, number),
            mask.sum(1),
        ],
        axis=-1,
    )
    return BundledJets(points.astype(np.float32), mask, features.astype(np.float32))


def test_values_are_rounded_to_half_a_step() -> None:
    jets = simulated()
    back = unpacked(packed(jets))
    np.testing.assert_array_equal(back.mask, jets.mask)
    np.testing.assert_array_equal(back.points[~back.mask], 0)
    eta_phi, pt = back.points[..., :2], back.points[..., 2]
    assert np.abs(eta_phi - jets.points[..., :2]).max() <= 0.5001 / 4096
    change = np.log(pt[jets.mask]) - np.log(jets.points[..., 2][jets.mask])
    assert np.abs(change).max() <= 0.501 / 1024
    steps = np.abs(back.jet_features - jets.jet_features).max(0)
    assert (steps <= [0.502 / 32, 0.501 / 4096, 0.502 / 32, 0]).all()


def test_what_was_packed_once_stays() -> None:
    once = unpacked(packed(simulated()))
    again = unpacked(packed(once))
    for before, after in zip(once, again, strict=True):
        np.testing.assert_array_equal(before, after)


def test_nodes_in_any_order_are_put_in_the_canonical_one() -> None:
    jets = simulated()
    turned = BundledJets(jets.points[:, ::-1], jets.mask[:, ::-1], jets.jet_features)
    for before, after in zip(unpacked(packed(jets)), unpacked(packed(turned)), strict=True):
        np.testing.assert_array_equal(before, after)


def test_some_rows_are_those_of_all() -> None:
    arrays = packed(simulated())
    some, whole = unpacked(arrays, slice(20, 50)), unpacked(arrays)
    for few, many in zip(some, whole, strict=True):
        np.testing.assert_array_equal(few, many[20:50])


@pytest.mark.parametrize(("column", "value", "name"), [(0, 9.0, "eta"), (2, 1e-30, "log_pt")])
def test_what_two_bytes_cannot_hold_is_refused(column: int, value: Any, name: str) -> None:
    jets = simulated(2)
    jets.points[0, 0, column] = value
    with pytest.raises(ValueError, match=f"{name} must be 0 to 65535 in its steps"):
        packed(jets)


def test_no_collision_has_jets_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, count in (("train", 3), ("valid", 2), ("test", 2)):
        monkeypatch.setitem(COUNTS, name, count)
    event = np.array([0, 0, 1, 1, 2, 3, 4, 4, 5, 6])
    assert split_rows(event).tolist() == [0, 1, 2, 4, 5, 6, 7]
    with pytest.raises(ValueError, match="must hold at least 8 jets, got 7"):
        split_rows(event[:7])


def test_the_relative_mass_is_that_of_two_massless_particles() -> None:
    """m^2 = 2 pt_1 pt_2 (cosh d_eta - cos d_phi)."""
    points = np.array([[[0.1, -0.2, 0.6], [-0.3, 0.1, 0.4], [0, 0, 0]]], np.float32)
    jets = BundledJets(points, np.array([[True, True, False]]), np.zeros((1, 4), np.float32))
    expected = np.sqrt(2 * 0.6 * 0.4 * (np.cosh(0.4) - np.cos(0.3)))
    np.testing.assert_allclose(relative_mass(jets), expected, rtol=1e-6)

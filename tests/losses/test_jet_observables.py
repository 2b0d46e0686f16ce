"""Tests of the loss terms of a whole jet."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gconvae import fit, losses, models
from gconvae.datasets import SuperpixelMNIST
from gconvae.losses.jet_observables import momentum
from gconvae.scaling import FeatureScaling
from gconvae.schema import JETS, SUPERPIXELS


def jets(count: int = 6, nodes: int = 5) -> Tensor:
    random = torch.Generator().manual_seed(0)
    angles = 0.3 * torch.randn(count, nodes, 2, generator=random, dtype=torch.float64)
    pt = 0.01 + 0.2 * torch.rand(count, nodes, 1, generator=random, dtype=torch.float64)
    return torch.cat([angles, pt], dim=-1)


def mass_loop(jet: Tensor) -> float:
    """By pairs: m^2 = sum of 2 pt_i pt_j (cosh(eta_i - eta_j) - cos(phi_i - phi_j))."""
    squared, particles = 0.0, jet.tolist()
    for i, (eta, phi, pt) in enumerate(particles):
        for other_eta, other_phi, other_pt in particles[:i]:
            squared += 2 * pt * other_pt * (math.cosh(eta - other_eta) - math.cos(phi - other_phi))
    return math.sqrt(squared)


def test_the_mass_is_that_of_all_pairs() -> None:
    one, other = jets(), jets().flip(0)
    found = losses.JetMass()(one, other)
    wanted = [(mass_loop(a) - mass_loop(b)) ** 2 for a, b in zip(one, other, strict=True)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-9)


def test_pt_is_the_length_of_the_sum_of_all_transverse_momenta() -> None:
    one, other = jets(), jets().flip(0)

    def pt(jet: Tensor) -> float:
        x = sum(pt * math.cos(phi) for _, phi, pt in jet.tolist())
        y = sum(pt * math.sin(phi) for _, phi, pt in jet.tolist())
        return math.hypot(x, y)

    wanted = [(pt(a) - pt(b)) ** 2 for a, b in zip(one, other, strict=True)]
    assert losses.JetPt()(one, other).tolist() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("name", ["jet_mass", "jet_pt"])
def test_masked_particles_do_not_count(name: str) -> None:
    loss, one, other = losses.create(name), jets(), jets().flip(0)
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[:, 3:] = False
    broken = one.clone()
    broken[:, 3:] = math.nan
    found = loss(broken, other, mask, None)
    assert torch.equal(found, loss(one[:, :3], other))


@pytest.mark.parametrize("name", ["jet_mass", "jet_pt"])
def test_a_term_is_that_of_data_units_once_it_knows_them(name: str) -> None:
    one, other = jets(), jets().flip(0)
    scaling = FeatureScaling.fitted(JETS, torch.cat([one, other])).double()
    plain, scaled = losses.create(name), losses.create(f"third_axis + 2 * {name}")
    chamfer = losses.create("third_axis")
    losses.set_units(scaled, scaling)
    sides = scaling.scale(one), scaling.scale(other)
    found = scaled(*sides) - chamfer(*sides)
    torch.testing.assert_close(found, 2 * plain(one, other), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("name", ["jet_mass", "jet_pt"])
def test_a_standardized_term_is_that_of_data_units_too(name: str) -> None:
    one, other = jets(), jets().flip(0)
    scaling = FeatureScaling.fitted(JETS, torch.cat([one, other])).double()
    loss = losses.Standardized.fitted(losses.create(name), scaling.scale(one))
    losses.set_units(loss, scaling)
    found = loss(scaling.scale(one), scaling.scale(other))
    torch.testing.assert_close(found, losses.create(name)(one, other), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", ["jet_mass", "jet_pt"])
def test_gradients_are_finite_for_one_particle(name: str) -> None:
    output = torch.tensor([[[0.0, 0.0, 0.5]]], requires_grad=True)
    losses.create(name)(jets(1).float(), output).sum().backward()
    assert output.grad is not None
    assert torch.isfinite(output.grad).all()


def test_clouds_that_are_no_jets_are_refused() -> None:
    with pytest.raises(ValueError, match="target must be jets.*got 2 features"):
        losses.JetMass()(torch.zeros(2, 4, 2), torch.zeros(2, 4, 2))


def test_a_boost_along_the_beam_changes_no_mass() -> None:
    moved = jets() + torch.tensor([0.7, 0.4, 0.0])
    assert losses.JetMass()(jets(), moved).max() < 1e-20
    assert momentum(jets()).shape == (6, 4)


@pytest.mark.parametrize("loss", ["jet_mass", "third_axis + 1000 * jet_pt"])
@pytest.mark.parametrize("standardize", [False, True])
def test_clouds_that_are_no_jets_are_refused_before_training(
    loss: str, standardize: bool, tmp_path: Path
) -> None:
    model = models.create("convae", hidden=16, seed=0)
    data = SuperpixelMNIST(8, "test")[:20]
    with pytest.raises(
        ValueError, match=r"loss must not be of jets, as \w+ is, for nodes of x, y"
    ):
        fit(model, data, loss=loss, standardize=standardize, epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_jets_by_their_features_are_jets_whatever_the_schema_is_called() -> None:
    losses.check_schema(losses.create("jet_mass"), JETS.replace(name="mine"))
    losses.check_schema(losses.create("third_axis"), SUPERPIXELS)

"""Features that take few values: found, spread in training, and drawn exactly."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

import gconvae
from gconvae.datasets import Jets, SuperpixelMNIST, from_points
from gconvae.likelihoods import AutoregressiveLikelihood, GaussianLikelihood
from gconvae.likelihoods.atoms import Atoms


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def means(count: int = 400, seed: int = 0) -> Tensor:
    """Clouds whose first two features are means over 1 to 11 whole numbers, the third is free."""
    random = generator(seed)
    pixels = torch.randint(0, 12, (count, 9, 2, 11), generator=random).float()
    # with these, no lattice has few places
    chosen = torch.randint(0, 6, (count, 9, 1, 1), generator=random)
    sizes = torch.tensor([1, 2, 3, 5, 7, 11])[chosen]
    inside = torch.arange(11) < sizes
    first = (pixels * inside).sum(-1) / sizes.squeeze(-1)
    return torch.cat([first, torch.rand(count, 9, 1, generator=random)], dim=2)


def atoms_of(points: Tensor, mask: Tensor | None = None) -> Atoms:
    atoms = Atoms(points.shape[-1])
    mask = torch.ones(points.shape[:2], dtype=torch.bool) if mask is None else mask
    atoms.find(points, mask, [True] * points.shape[-1])
    return atoms


def test_the_values_of_a_feature_are_found() -> None:
    points = means()
    atoms = atoms_of(points)
    for column in range(2):
        values = atoms.values[column][: atoms.counts[column]]
        apart = (points[..., column].unsqueeze(-1) - values).abs().amin(-1)
        assert apart.max() < 1e-4
        assert (values.diff() > 1e-4).all()
    assert atoms.counts[2] == 0
    assert atoms.columns == (0, 1)


def test_charges_are_found_and_numbers_written_with_few_digits_are_not() -> None:
    charges = torch.randint(-1, 2, (50, 4, 1), generator=generator()).float()
    assert atoms_of(charges).counts == [3]
    rounded = (torch.randn(4000, 9, 1, generator=generator()) * 50).round() / 50 + 0.003
    assert atoms_of(rounded).counts == [0]


def test_bundled_clouds_have_none_beside_their_lattice() -> None:
    gluons = Jets("g", "test")
    assert atoms_of(gluons.points, gluons.mask).counts == [0, 0, 0]
    likelihood = AutoregressiveLikelihood()
    likelihood.set_lattice(SuperpixelMNIST(8, "test").points)
    assert likelihood.atoms.counts == [0, 0, 0]


def test_masked_nodes_do_not_count() -> None:
    points, mask = means(), torch.ones(400, 9, dtype=torch.bool)
    mask[:, 6:] = False
    filled = points.masked_fill(~mask.unsqueeze(-1), 77.0)
    assert atoms_of(filled, mask).values.isfinite().sum() > 0
    assert not (atoms_of(filled, mask).values == 77.0).any()


def test_what_is_spread_is_moved_back() -> None:
    points = means()
    atoms = atoms_of(points)
    spread = atoms.spread(points, torch.rand(points.shape, generator=generator(1)))
    assert (spread[..., :2] != points[..., :2]).float().mean() > 0.9
    assert torch.equal(spread[..., 2], points[..., 2])
    torch.testing.assert_close(atoms.nearest(spread), points, atol=1e-5, rtol=0)
    ends = [points[..., :2].amin((0, 1)), points[..., :2].amax((0, 1))]
    assert (spread[..., :2] >= ends[0]).all()
    assert (spread[..., :2] <= ends[1]).all()


def test_a_spread_fills_what_is_nearest_evenly() -> None:
    atoms = atoms_of(torch.tensor([0.0, 1.0, 4.0]).repeat(20).view(-1, 1, 1))
    spread = atoms.spread(torch.ones(4000, 1, 1), torch.rand(4000, 1, 1, generator=generator()))
    assert 0.5 <= spread.min() < 0.51
    assert 2.49 < spread.max() < 2.5
    assert spread.mean() == pytest.approx(1.5, abs=0.03)


def test_only_a_fine_lattice_looks_for_them_and_a_schema_may_forbid_it() -> None:
    coarse, fine = GaussianLikelihood(3), AutoregressiveLikelihood(9)
    for likelihood in (coarse, fine):
        likelihood.set_lattice(means())
    assert coarse.atoms.counts == [0, 0, 0]
    assert all(fine.atoms.counts[:2])
    assert fine.rounds
    assert not coarse.rounds
    known = AutoregressiveLikelihood(9)
    schema = gconvae.schema.usual(3)
    free = tuple(dataclasses.replace(each, step=0.0) for each in schema.features)
    known.set_schema(schema.replace(features=free))
    known.set_lattice(means())
    assert known.atoms.counts == [0, 0, 0]


def test_a_model_draws_exactly_the_values_that_it_was_trained_on(tmp_path: Path) -> None:
    points = means()
    text = "autoregressive(width=8, heads=2, components=2, batch_size=16)"
    model = gconvae.models.create(
        "deep_sets", likelihood=text, num_points=9, latent_dim=3, schema=from_points(points).schema
    )
    options = {"epochs": 1, "likelihood_steps": 4, "progress": False, "threads": 1}
    run = gconvae.fit(model, points, **options, out=tmp_path / "run")
    drawn = run.model.sample(60, seed=1)
    for column in range(2):
        wanted = points[..., column].unique()
        apart = (drawn[..., column].unsqueeze(-1) - wanted).abs().amin(-1)
        assert apart.max() < 1e-4
    again = gconvae.load(tmp_path / "run")
    assert torch.equal(again.sample(60, seed=1), drawn)
    assert again.likelihood.atoms.counts == run.model.likelihood.atoms.counts
    assert torch.isfinite(again.log_likelihood(points[:5], samples=2).value).all()


def test_a_model_of_before_has_none() -> None:
    likelihood = AutoregressiveLikelihood(width=8, heads=2)
    state = {k: v for k, v in likelihood.state_dict().items() if "atoms" not in k}
    likelihood.set_lattice(means())
    likelihood.load_state_dict(state)
    assert likelihood.atoms.counts == [0, 0, 0]

"""How likely test clouds are: masses and densities on one scale."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gconvae import VAE, datasets, models
from gconvae.schema import SUPERPIXELS
from gconvae.studies.bounds import MOST_CLOUDS, SAMPLES, bound, bound_of_run
from gconvae.training import run_folder

SMALL = {"num_points": 6, "hidden": 8, "channels": (4, 4), "padding": 2}


def cloud_set(points: Tensor) -> datasets.CloudDataset:
    return datasets.from_points(points, schema=SUPERPIXELS)


@pytest.fixture
def on_halves() -> datasets.CloudDataset:
    """Positions on halves, intensities on tenths."""
    random = torch.Generator().manual_seed(0)
    points = torch.rand(2 * MOST_CLOUDS, 6, 3, generator=random)
    points[..., :2] = (54 * points[..., :2]).floor() / 2
    points[..., 2] = (10 * points[..., 2]).floor() / 10
    return cloud_set(points)


def model_of(likelihood: str, data: datasets.CloudDataset) -> VAE:
    """Untrained, with its likelihood fitted."""
    model = models.create("convae", seed=0, **SMALL)
    options = {} if likelihood.startswith(("gaussian", "mean")) else {"progress": False}
    return model.with_likelihood(likelihood, data, **options)


def test_a_density_becomes_the_mass_of_a_cell(on_halves: datasets.CloudDataset) -> None:
    model = model_of("gaussian", on_halves)
    found = bound(model, on_halves, seed=3)
    assert found is not None
    order = torch.randperm(len(on_halves), generator=torch.Generator().manual_seed(3))
    clouds = on_halves[order[:MOST_CLOUDS]]
    density = model.log_likelihood(clouds, samples=SAMPLES, seed=3).value
    cells = 6 * (2 * math.log(0.5) + math.log(0.1))
    assert found.value == pytest.approx(float(density.mean()) + cells, rel=1e-6)
    assert found.error == pytest.approx(float(density.std()) / math.sqrt(MOST_CLOUDS), rel=1e-6)


def test_a_mass_of_finer_places_becomes_that_of_a_cell(
    on_halves: datasets.CloudDataset,
) -> None:
    model = model_of("autoregressive(width=8, heads=2, steps=5)", on_halves)
    found = bound(model, on_halves, seed=3)
    order = torch.randperm(len(on_halves), generator=torch.Generator().manual_seed(3))
    mass = model.log_likelihood(on_halves[order[:MOST_CLOUDS]], samples=SAMPLES, seed=3).value
    places = model.likelihood.lattice_steps.tolist()
    sides = (27 / places[0], 27 / places[1], 1 / places[2])
    cells = 6 * sum(math.log(s / c) for s, c in zip((0.5, 0.5, 0.1), sides, strict=True))
    assert cells > 0
    assert found is not None
    assert found.value == pytest.approx(float(mass.mean()) + cells, rel=1e-5)


def test_both_say_the_same_of_evenly_spread_nodes() -> None:
    """Nodes of one number each on a lattice: no model of them is better than log(places)."""
    random = torch.Generator().manual_seed(1)
    points = torch.randint(0, 28, (600, 6, 3), generator=random).float()
    points[..., 2] = (points[..., 2] % 14 + 1) / 14
    data = cloud_set(points)
    best = -6 * (2 * math.log(28) + math.log(14))
    for likelihood in ("gaussian", "autoregressive(width=8, heads=2, steps=100, augmented=0)"):
        found = bound(model_of(likelihood, data), data)
        assert found is not None
        # a set may be written in 6! orders, of which neither needs to know more than one
        assert best - 12 < found.value < best + math.lgamma(7) + 3 * found.error


def test_there_is_none_without_a_density(on_halves: datasets.CloudDataset) -> None:
    assert bound(model_of("mean", on_halves), on_halves) is None


def test_there_is_none_of_continuous_clouds(on_halves: datasets.CloudDataset) -> None:
    data = cloud_set(on_halves.points + 0.01 * torch.rand(on_halves.points.shape))
    assert bound(model_of("gaussian", data), data) is None


def test_there_is_none_of_places_of_several_sizes(on_halves: datasets.CloudDataset) -> None:
    held_for_continuous = "autoregressive(width=8, heads=2, steps=2, lattice=None)"
    assert bound(model_of(held_for_continuous, on_halves), on_halves) is None


def test_there_is_none_of_a_mass_on_unknown_places(
    on_halves: datasets.CloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("gaussian", on_halves)
    assert bound(model, on_halves) is not None
    monkeypatch.setattr(type(model.likelihood), "has_mass", True)
    assert bound(model, on_halves) is None


def test_a_bound_is_found_again(tmp_path: Path, on_halves: datasets.CloudDataset) -> None:
    run_folder.save_model(model_of("gaussian", on_halves), tmp_path)
    first = bound_of_run(tmp_path, on_halves, 0)
    (tmp_path / "model.json").unlink()  # nothing is left to compute it from
    assert bound_of_run(tmp_path, on_halves, 0) == first

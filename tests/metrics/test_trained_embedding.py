"""A network trained on real clouds ranks samples, and depends on nothing but them and its seed."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.metrics.embeddings import frechet_distance
from gconvae.metrics.trained_embedding import _DAMAGES, Damage, trained_embedding
from gconvae.schema import points

SCHEMA = points("x y", "charge")


def clouds(number: int, seed: int, *, noise: float = 0.0, turned: bool = True) -> Clouds:
    """Nodes on a ring of a random radius, charges that follow x; noise blurs it."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 6.283, (number, 15)), rng.uniform(1, 2, (number, 1))
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    nodes = np.stack([x, y, x if turned else rng.permutation(x.T).T], axis=-1)
    nodes += noise * rng.normal(size=nodes.shape)
    mask = np.arange(15) < rng.integers(8, 16, (number, 1))
    values = torch.from_numpy(nodes * mask[..., None]).float()
    return Clouds(values, torch.from_numpy(mask))


@pytest.fixture(scope="module")
def real() -> Clouds:
    return clouds(200, 0)


def test_good_slightly_damaged_and_bad_samples_are_ranked(real: Clouds) -> None:
    embed = trained_embedding(real, SCHEMA)
    samples = [clouds(200, 1), clouds(200, 2, noise=0.15), clouds(200, 3, noise=0.6)]
    good, slight, bad = (frechet_distance(embed(real), embed(sample)) for sample in samples)
    assert 3 * good < slight < bad / 2
    unrelated = frechet_distance(embed(real), embed(clouds(200, 4, turned=False)))
    assert unrelated > 3 * good


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # by its full name: the package has the function under the name of the room
    monkeypatch.setattr(sys.modules["gconvae.metrics.trained_embedding"], "STEPS", 20)


@pytest.mark.usefixtures("few_steps")
def test_the_callers_state_changes_no_bit_and_stays(real: Clouds) -> None:
    few = real.subset(slice(0, 40))
    wanted = trained_embedding(few, SCHEMA)(few)
    torch.rand(5)
    state = torch.get_rng_state()
    with torch.no_grad():
        assert np.array_equal(trained_embedding(few, SCHEMA)(few), wanted)
    with torch.inference_mode():
        inner = few.subset(slice(None))
        assert np.array_equal(trained_embedding(inner, SCHEMA)(inner), wanted)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.array_equal(trained_embedding(few, SCHEMA)(few), wanted)
    torch.set_default_dtype(torch.float64)
    try:
        assert np.array_equal(trained_embedding(few, SCHEMA)(few), wanted)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.set_default_device("meta")
    try:
        assert np.array_equal(trained_embedding(few, SCHEMA)(few), wanted)
    finally:
        torch.set_default_device(None)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


@pytest.mark.usefixtures("few_steps")
def test_the_number_of_threads_changes_no_bit_and_stays(real: Clouds) -> None:
    few, before = real.subset(slice(0, 40)), torch.get_num_threads()
    found = []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(trained_embedding(few, SCHEMA)(few))
            assert torch.get_num_threads() == number
        with ThreadPoolExecutor(3) as pool:
            found += pool.map(lambda _: trained_embedding(few, SCHEMA)(few), range(3))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert all(np.array_equal(vectors, found[0]) for vectors in found)


def test_order_and_padding_do_not_matter(real: Clouds) -> None:
    few = real.subset(slice(0, 30))
    embed = trained_embedding(few, SCHEMA)
    turned = Clouds(few.points.flip(1), few.mask.flip(1))
    np.testing.assert_allclose(embed(turned), embed(few), atol=1e-4)
    spoiled = Clouds(few.points.masked_fill(~few.mask.unsqueeze(-1), 9.0), few.mask)
    assert np.array_equal(embed(spoiled), embed(few))


def test_columns_are_standardized_on_the_real_clouds(real: Clouds) -> None:
    vectors = trained_embedding(real, SCHEMA)(real)
    np.testing.assert_allclose(vectors.mean(0), 0.0, atol=1e-6)
    np.testing.assert_allclose(vectors.std(0), 1.0, atol=1e-6)


@pytest.mark.parametrize("damage", _DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damage_changes_clouds_and_leaves_each_a_real_node(damage: Damage, real: Clouds) -> None:
    nodes, mask = real.points.double().numpy(), real.mask.numpy()
    before = nodes.copy(), mask.copy()
    found, kept = damage(nodes, mask, nodes[mask], np.random.default_rng(0))
    assert np.array_equal(nodes, before[0])
    assert np.array_equal(mask, before[1])
    assert kept.any(1).all()
    assert not (kept & ~mask).any()
    assert not np.array_equal(found, nodes) or not np.array_equal(kept, mask)


def test_a_permuted_feature_keeps_its_values(real: Clouds) -> None:
    nodes, mask = real.points.double().numpy(), real.mask.numpy()
    permuted = next(damage for damage in _DAMAGES if damage.__name__ == "_permuted")
    found, _ = permuted(nodes, mask, nodes[mask], np.random.default_rng(0))
    for before, after, real_nodes in zip(nodes, found, mask, strict=True):
        for column in range(3):
            assert sorted(before[real_nodes, column]) == sorted(after[real_nodes, column])


@pytest.mark.parametrize("values", [torch.ones(10, 4, 1), 1e30 * torch.ones(10, 1, 1)])
def test_constant_clouds_have_a_finite_vector(values: Tensor) -> None:
    sample = Clouds(values, torch.ones(values.shape[:2], dtype=torch.bool))
    assert np.isfinite(trained_embedding(sample, points("x"))(sample)).all()

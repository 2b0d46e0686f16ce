from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from gconvae.randomness import derive_seed, generator, initial_weights


def weights(seed: int) -> torch.Tensor:
    with initial_weights(seed):
        return torch.nn.Linear(7, 5).weight.detach().clone()


def test_seed_is_the_same_in_another_process() -> None:
    # Python's own hash() of a string is not: it changes with every process
    code = (
        "from gconvae.randomness import derive_seed as d; print(d(5, 'latent', epoch=2, step=9))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert int(printed) == derive_seed(5, "latent", epoch=2, step=9)


def test_seed_fits_into_63_bits_and_uses_the_high_ones() -> None:
    seeds = [derive_seed(seed, "order") for seed in range(200)]
    assert min(seeds) >= 0
    assert 2**62 <= max(seeds) < 2**63


def test_every_argument_changes_the_seed_and_none_collide() -> None:
    seeds = {
        derive_seed(seed, purpose, epoch=epoch, step=step)
        for seed in range(12)
        for purpose in ("order", "latent", "sample")
        for epoch in range(12)
        for step in range(12)
    }
    assert len(seeds) == 12 * 3 * 12 * 12


def test_epoch_and_step_do_not_run_into_each_other() -> None:
    # 1 then 11 and 11 then 1 are the same digits
    assert derive_seed(0, "latent", epoch=1, step=11) != derive_seed(0, "latent", epoch=11, step=1)
    assert derive_seed(1, "latent", epoch=1) != derive_seed(11, "latent")


@pytest.mark.parametrize("seed", [-1, True, 1.0, 0.5, "0", None])
def test_seed_must_be_a_whole_number(seed: object) -> None:
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0, got"):
        derive_seed(seed, "latent")  # type: ignore[arg-type]


def test_generator_gives_the_same_numbers_for_the_same_use() -> None:
    first, second = (
        torch.randn(50, generator=generator(3, "latent", epoch=4, step=5)) for _ in range(2)
    )
    assert torch.equal(first, second)


def test_generator_does_not_depend_on_what_was_drawn_before() -> None:
    wanted = torch.randn(5, generator=generator(0, "latent", epoch=7))
    torch.randn(100, generator=generator(0, "latent", epoch=6))
    torch.randn(3)
    assert torch.equal(torch.randn(5, generator=generator(0, "latent", epoch=7)), wanted)


def test_generator_leaves_the_global_one_alone() -> None:
    before = torch.random.get_rng_state()
    torch.randn(5, generator=generator(0, "latent"))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((0, "latent", 0, 0), (1, "latent", 0, 0)),
        ((0, "latent", 0, 0), (0, "order", 0, 0)),
        ((0, "latent", 0, 0), (0, "latent", 1, 0)),
        ((0, "latent", 0, 0), (0, "latent", 0, 1)),
    ],
)
def test_neighbouring_streams_are_uncorrelated(
    one: tuple[int, str, int, int], other: tuple[int, str, int, int]
) -> None:
    streams = [
        torch.randn(10_000, generator=generator(seed, purpose, epoch=epoch, step=step))
        for seed, purpose, epoch, step in (one, other)
    ]
    assert abs(np.corrcoef(streams[0], streams[1])[0, 1]) < 0.04  # four standard errors


def test_initial_weights_depend_on_the_seed_only() -> None:
    first = weights(0)
    torch.randn(11)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


def test_initial_weights_leave_the_global_generator_as_it_was() -> None:
    before = torch.random.get_rng_state()
    weights(0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_initial_weights_restore_the_global_generator_after_an_error() -> None:
    def draw_and_fail() -> None:
        with initial_weights(0):
            torch.randn(3)
            raise RuntimeError("inside")

    before = torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"):
        draw_and_fail()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_initial_weights_can_be_nested() -> None:
    with initial_weights(0):
        weights(1)
        inner = torch.nn.Linear(7, 5).weight.detach().clone()
    assert torch.equal(inner, weights(0))


def test_initial_weights_refuse_a_bad_seed() -> None:
    with pytest.raises(ValueError, match="seed must be a whole number"), initial_weights(-3):
        pass

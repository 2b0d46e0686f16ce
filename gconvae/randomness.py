"""Random numbers as a function of (seed, purpose, epoch, step), never of what was drawn before."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral

import torch

from gconvae.caller_state import neutral
from gconvae.plain import plain

__all__ = ["derive_seed", "generator", "initial_weights", "standard_noise", "uniform_noise"]


_GLOBAL_GENERATOR = threading.RLock()


def derive_seed(seed: int, purpose: str, *, epoch: int = 0, step: int = 0) -> int:
    """The 63-bit seed of one use of random numbers.

    A hash keeps the streams of neighbouring seeds, epochs and steps unrelated, and lets a stopped
    training go on at any epoch without replaying the ones before.

    Args:
        seed: The one seed that a user gives, at least 0.
        purpose: What the numbers are for, such as ``"order"`` or ``"latent"``.
        epoch: Number of the epoch.
        step: Number of the step in the epoch.
    Raises:
        ValueError: If ``seed`` is not a whole number of at least 0.
    Example:
        >>> derive_seed(0, "latent", epoch=3, step=7)
        2806374545259110921
    """
    seed = plain(seed)
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, got {seed!r}")
    key = f"{seed}/{purpose}/{epoch}/{step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") >> 1


def generator(seed: int, purpose: str, *, epoch: int = 0, step: int = 0) -> torch.Generator:
    """A CPU generator for one use; CPU, so that every device gets the same numbers.

    Example:
        >>> first = torch.randn(2, generator=generator(0, "latent"))
        >>> torch.equal(first, torch.randn(2, generator=generator(0, "latent")))
        True
    """
    return torch.Generator().manual_seed(derive_seed(seed, purpose, epoch=epoch, step=step))


def standard_noise(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """N(0, 1) in single precision, whatever torch's defaults are.

    Args:
        shape: Of the numbers.
        generator: Where they come from, and on which device they lie.
    Example:
        >>> standard_noise((2, 3), generator(0, "latent")).dtype
        torch.float32
    """
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32)


def uniform_noise(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Numbers in [0, 1) in double precision, so that both precisions use the same ones.

    Args:
        shape: Of the numbers.
        generator: Where they come from, and on which device they lie.
    Example:
        >>> uniform_noise((2, 3), generator(0, "order")).dtype
        torch.float64
    """
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64)


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Seeds torch's global generator inside the block and restores it after.

    ``torch.nn`` layers draw their initial weights from the global generator only. One thread
    after another may do so, since there is only one such generator.

    Example:
        >>> with initial_weights(0):
        ...     layer = torch.nn.Linear(2, 2)
    """
    with _GLOBAL_GENERATOR, neutral(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(seed, "initial weights"))
        yield

"""A vector for clouds that no network is known for: a small set network trained on real ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gconvae import randomness
from gconvae.caller_state import neutral
from gconvae.clouds import Clouds
from gconvae.metrics.geometry import tailed
from gconvae.schema import CloudSchema

__all__ = ["NUM_FEATURES", "trained_embedding"]

NUM_FEATURES = 16
"""D: fewer clouds are enough for a Frechet distance than with the bundled classifier."""

WIDTH, STEPS, BATCH = 64, 300, 64
"""Of the network; Adam steps; real clouds a step, beside as many damaged ones."""

RATE = 3e-3
"""Learning rate of Adam at the first step; it falls to 0 as a cosine."""

MOST_NODES = 100
"""Nodes of a cloud that a step looks at, drawn anew, so that large clouds take no longer."""

WAVES = (1.0, 3.0)
"""Radians a standard deviation, of the waves that are handed to the network beside a feature."""

FAR = 30.0
"""Standard deviations at which a node is cut off, so that one outlier is not all of a distance."""

CHUNK = 1000
"""Clouds that go through the network at a time, so that memory does not grow with the sample."""

Array = NDArray[np.float64]
Embedding = Callable[[Clouds], Array]


def trained_embedding(real: Clouds, schema: CloudSchema, seed: int = 0) -> Embedding:
    r"""Trains a network to tell real clouds from damaged ones; its last layer is the vector.

    A Deep Sets network, features in standard deviations of the real nodes (after the transform of
    a heavy tail) and waves of them:

    .. math:: z = \rho\left(\operatorname{mean}_i \phi(p_i), \max_i \phi(p_i), \log N\right),
        \qquad z \in \mathbb{R}^{16}

    A linear layer on z says which of these a cloud is: real, nodes swapped with other clouds',
    jittered, one feature permuted among its nodes, one feature stretched, one shifted, or nodes
    dropped. Strengths are drawn for each cloud. Every column of the vector has mean 0 and standard
    deviation 1 on the real clouds.

    It never sees a generated cloud, so that none can be made to please it, and is blind to what no
    damage changes. Everything is drawn from ``seed``; torch's generators, gradient mode, autocast,
    threads and default types neither matter nor change.

    Args:
        real: Clouds (B, N, F) in data units, at least 2.
        schema: What the features are.
        seed: Of weights, batches and damages.
    Returns:
        A function of clouds (B, N, F), their vectors (B, 16) in float64.
    References:
        | Deep Sets (Zaheer et al., 2017), arXiv:1703.06114
    Example:
        >>> from gconvae.schema import points
        >>> real = Clouds(torch.rand(50, 8, 2), torch.ones(50, 8, dtype=torch.bool))
        >>> trained_embedding(real, points("x y"))(real).shape
        (50, 16)
    """
    rng = np.random.default_rng(randomness.derive_seed(seed, "trained embedding"))
    scale = _Scale(real, schema)
    nodes, mask = scale(real), real.mask.cpu().numpy()
    with _alone():
        network = _Network(rng, nodes.shape[-1])
        _train(network, nodes, mask, rng)
        vectors = network.vectors(nodes, mask)
    mean, spread = vectors.mean(0), vectors.std(0)
    spread[spread < 1e-6 * (1.0 + abs(mean))] = 1.0  # a column that never changes

    def embedding(clouds: Clouds) -> Array:
        with _alone():
            outputs = network.vectors(scale(clouds), clouds.mask.cpu().numpy())
        return (outputs - mean) / spread

    return embedding


_ONE_AT_A_TIME = threading.Lock()
"""Who changes torch's threads for a moment must not meet another who does."""


@contextmanager
def _alone() -> Iterator[None]:
    """On one thread, so that sums have the same bits whatever the machine, and none waits.

    Layers are so small that two threads on a busy machine took ten times as long as one.
    """
    with _ONE_AT_A_TIME, neutral():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


class _Scale:
    """Features in standard deviations, taken in float64, where data far from 0 still differ."""

    def __init__(self, real: Clouds, schema: CloudSchema) -> None:
        self._tails = [feature.tail for feature in schema.features]
        nodes = self._transformed(real)[real.mask.cpu().numpy()]  # (P, F)
        self._mean, spread = nodes.mean(0), nodes.std(0)
        self._spread = np.where(spread > 0, spread, 1.0)

    def __call__(self, clouds: Clouds) -> Array:
        """Shape (B, N, F), 0 where there is no node."""
        scaled = (self._transformed(clouds) - self._mean) / self._spread
        return scaled.clip(-FAR, FAR) * clouds.mask.cpu().numpy()[..., None]

    def _transformed(self, clouds: Clouds) -> Array:
        points: Array = clouds.points.detach().cpu().double().numpy().copy()
        for column, tail in enumerate(self._tails):
            if tail is not None:
                points[..., column] = tailed(points[..., column], tail)
        return points


class _Network:
    """The weights, as leaves of their own: no module draws from torch's generator."""

    def __init__(self, rng: np.random.Generator, num_features: int) -> None:
        inputs = num_features * (1 + 2 * len(WAVES))
        sizes = (
            (inputs, WIDTH),
            (WIDTH, WIDTH),
            (2 * WIDTH + 1, WIDTH),
            (WIDTH, NUM_FEATURES),
            (NUM_FEATURES, 1 + len(_DAMAGES)),
        )
        self.weights = [_tensor(rng.normal(size=size) / size[0] ** 0.5) for size in sizes]
        self.biases = [_tensor(np.zeros(size[1])) for size in sizes]
        for parameter in self.parameters:
            parameter.requires_grad_()

    @property
    def parameters(self) -> list[Tensor]:
        return [*self.weights, *self.biases]

    def embed(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Nodes (B, N, F) and mask (B, N) to vectors (B, 16)."""
        waves = [wave(k * nodes) for k in WAVES for wave in (torch.sin, torch.cos)]
        hidden = torch.cat([nodes, *waves], dim=-1)  # (B, N, F * waves)
        for layer in (0, 1):
            hidden = functional.gelu(self._linear(layer, hidden))  # (B, N, W)
        is_masked, count = ~mask.unsqueeze(-1), mask.sum(1, keepdim=True)
        mean = hidden.masked_fill(is_masked, 0.0).sum(1) / count
        highest = hidden.masked_fill(is_masked, -torch.inf).amax(1)
        pooled = torch.cat([mean, highest, count.to(mean).log()], dim=1)  # (B, 2 W + 1)
        return self._linear(3, functional.gelu(self._linear(2, pooled)))

    def logits(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """Of the kinds, shape (B, 1 + damages)."""
        return self._linear(4, functional.gelu(self.embed(nodes, mask)))

    @torch.no_grad()
    def vectors(self, nodes: Array, mask: NDArray[np.bool_]) -> Array:
        pieces = [slice(first, first + CHUNK) for first in range(0, len(nodes), CHUNK)]
        embedded = [self.embed(_tensor(nodes[piece]), _tensor(mask[piece])) for piece in pieces]
        values: Array = torch.cat(embedded).double().numpy()
        return values

    def _linear(self, layer: int, values: Tensor) -> Tensor:
        return torch.matmul(values, self.weights[layer]) + self.biases[layer]


def _train(
    network: _Network, nodes: Array, mask: NDArray[np.bool_], rng: np.random.Generator
) -> None:
    pool = nodes[mask]  # (P, F)
    optimizer = torch.optim.Adam(network.parameters, lr=RATE)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + np.cos(np.pi * step / STEPS))
        rows = rng.integers(len(nodes), size=2 * BATCH)
        batch, real = _thinned(nodes[rows], mask[rows], rng)
        kinds = np.where(
            np.arange(2 * BATCH) < BATCH, 0, 1 + rng.integers(len(_DAMAGES), size=2 * BATCH)
        )
        for kind, damage in enumerate(_DAMAGES, 1):
            chosen = kinds == kind
            batch[chosen], real[chosen] = damage(batch[chosen], real[chosen], pool, rng)
        batch = batch * real[..., None]
        loss = functional.cross_entropy(
            network.logits(_tensor(batch), _tensor(real)), _tensor(kinds)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _thinned(
    nodes: Array, mask: NDArray[np.bool_], rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    """A copy with at most ``MOST_NODES`` nodes of each cloud, real ones first."""
    if mask.shape[1] <= MOST_NODES:
        return nodes.copy(), mask.copy()
    order = np.argsort(rng.random(mask.shape) + ~mask, axis=1)[:, :MOST_NODES]
    return np.take_along_axis(nodes, order[..., None], 1), np.take_along_axis(mask, order, 1)


Damage = Callable[
    [Array, NDArray[np.bool_], Array, np.random.Generator], tuple[Array, NDArray[np.bool_]]
]
"""Clouds (B, N, F) in standard deviations, their mask, all real nodes (P, F): damaged clouds."""


def _swapped(
    nodes: Array, mask: NDArray[np.bool_], pool: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    strangers = pool[rng.integers(len(pool), size=mask.shape)]
    is_swapped = rng.random(mask.shape) < rng.uniform(0.1, 1.0, (len(mask), 1))
    return np.where(is_swapped[..., None], strangers, nodes), mask


def _jittered(
    nodes: Array, mask: NDArray[np.bool_], pool: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    return nodes + _strengths(nodes, 0.02, 0.5, rng) * rng.normal(size=nodes.shape), mask


def _permuted(
    nodes: Array, mask: NDArray[np.bool_], pool: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    # real nodes change places with real ones, masked ones with masked ones
    order = np.argsort(rng.random(mask.shape) + ~mask, axis=1)
    places = np.argsort(~mask, axis=1, kind="stable")
    moved = np.empty_like(nodes)
    np.put_along_axis(moved, places[..., None], np.take_along_axis(nodes, order[..., None], 1), 1)
    return np.where(_one_feature(nodes, rng), moved, nodes), mask


def _stretched(
    nodes: Array, mask: NDArray[np.bool_], pool: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    signs = rng.choice([-1.0, 1.0], (len(nodes), 1, 1))
    factors = np.exp(signs * _strengths(nodes, 0.05, 0.7, rng))
    mean = (nodes * mask[..., None]).sum(1, keepdims=True) / mask.sum(1)[:, None, None]
    return np.where(_one_feature(nodes, rng), mean + factors * (nodes - mean), nodes), mask


def _shifted(
    nodes: Array, mask: NDArray[np.bool_], pool: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    signs = rng.choice([-1.0, 1.0], (len(nodes), 1, 1))
    moved = nodes + signs * _strengths(nodes, 0.1, 2.0, rng)
    return np.where(_one_feature(nodes, rng), moved, nodes), mask


def _dropped(
    nodes: Array, mask: NDArray[np.bool_], pool: Array, rng: np.random.Generator
) -> tuple[Array, NDArray[np.bool_]]:
    chance = rng.random(mask.shape) + ~mask
    is_kept = mask & (chance > rng.uniform(0.1, 0.6, (len(mask), 1)))
    is_last = np.arange(mask.shape[1]) == chance.argmin(1)[:, None]  # one is always left
    return nodes, is_kept | is_last


_DAMAGES: tuple[Damage, ...] = (_swapped, _jittered, _permuted, _stretched, _shifted, _dropped)


def _strengths(nodes: Array, low: float, high: float, rng: np.random.Generator) -> Array:
    """One number a cloud, evenly spread in its logarithm, shape (B, 1, 1)."""
    strengths: Array = np.exp(rng.uniform(np.log(low), np.log(high), (len(nodes), 1, 1)))
    return strengths


def _one_feature(nodes: Array, rng: np.random.Generator) -> NDArray[np.bool_]:
    """One of the features of each cloud, shape (B, 1, F)."""
    chosen = rng.integers(nodes.shape[-1], size=(len(nodes), 1, 1))
    is_chosen: NDArray[np.bool_] = np.arange(nodes.shape[-1]) == chosen
    return is_chosen


def _tensor(values: NDArray[np.generic]) -> Tensor:
    """On the CPU, numbers in single precision, whatever the caller's defaults are."""
    dtype = torch.float32 if values.dtype.kind == "f" else None
    return torch.tensor(values, dtype=dtype, device="cpu")

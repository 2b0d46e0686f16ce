"""What clouds are made of: random numbers of a seed, and clouds as a function of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gconvae.clouds import Clouds, sort_nodes
from gconvae.conditioning import Conditioning
from gconvae.likelihoods.base import Likelihood
from gconvae.priors.base import Prior
from gconvae.randomness import generator, standard_noise
from gconvae.sampling.recorded import Draw
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema

__all__ = [
    "BLOCK",
    "Generative",
    "Request",
    "Kind",
    "Numbers",
    "conditions_of",
    "drawn_at",
    "filled",
    "kind_of",
    "numbers_of",
    "random_numbers",
]

BLOCK = 256
"""Clouds whose random numbers come from one generator, and the fewest that go through a network at
a time. Products of matrices with few rows have other last bits, so too few are filled up."""


class Generative(Protocol):
    """What can be drawn from: prior, decoder and likelihood."""

    decoder: nn.Module
    prior: Prior
    likelihood: Likelihood
    scaling: FeatureScaling
    conditioning: Conditioning
    schema: CloudSchema

    @property
    def device(self) -> torch.device:
        """Where the model's numbers lie."""

    def means(self, clouds: Clouds) -> Tensor:
        """The posterior's mean of each prepared cloud, shape (B, L)."""

    def latents(self, z: Any) -> Tensor:
        """Latents in any form, checked."""

    def leave(self, points: Tensor, mask: Tensor | None = None) -> Tensor:
        """Points relative to the schema's offsets in data units."""

    def decode(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """Mean clouds in data units, shape (B, N, F)."""

    def decode_unit(
        self,
        z: Tensor,
        labels: Tensor | None = None,
        mask: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        full: bool | None = None,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """The decoder's own output, shape (B, L) to (B, N, F)."""


class Request(NamedTuple):
    """What somebody asks for of each cloud; None = drawn.

    Attributes:
        labels: Shape (B,).
        latents: Shape (B, L).
        mask: Shape (B, N), as the decoder takes it.
        conditions: Data units, shape (B, C).
    """

    labels: Tensor | None = None
    latents: Tensor | None = None
    mask: Tensor | None = None
    conditions: Tensor | None = None


class Numbers(NamedTuple):
    """Random numbers of clouds, on the CPU, a row a cloud.

    Attributes:
        latent: Of the prior, shape (B, ...); None where latents are given.
        node: Of a decoder that takes some, shape (B, N, W), or None.
        likelihood: Shape (B, ...).
    """

    latent: Tensor | None
    node: Tensor | None
    likelihood: Tensor


class Kind(NamedTuple):
    """What a GPU would have to be waited for: looked at once and not in every piece.

    Attributes:
        conditioning: The model's, on the CPU.
        always_full: Whether every node of every cloud is real.
        rounded: Whether what is drawn is moved to a lattice.
        rows: Clouds of a piece.
    """

    conditioning: Conditioning
    always_full: bool
    rounded: bool
    rows: int


def kind_of(model: Generative, rows: int, mask: Tensor | None = None) -> Kind:
    """What is known of a model before clouds are drawn.

    Args:
        model: Where they are drawn from.
        rows: Clouds of a piece.
        mask: Nodes that somebody asks for.
    """
    known = copy.deepcopy(model.conditioning).cpu()
    own = type(model.likelihood).quantize is not Likelihood.quantize
    rounded = own or model.likelihood.rounds
    return Kind(known, known.always_full and mask is None, rounded, rows)


def drawn_at(
    model: Generative,
    request: Request,
    node: Tensor | None,
    noise: Tensor,
    kind: Kind,
    draw: Draw,
) -> tuple[Tensor, Tensor]:
    """Clouds as a function of latents and random numbers, on the model's device.

    Args:
        model: Whose decoder, scaling and schema they are of.
        request: Latents, labels and conditions of each; ``mask`` None = all nodes are real.
        node: Noise of the decoder's nodes, shape (B, N, W); None = it takes none.
        noise: Of the likelihood, shape (B, ...).
        kind: What is known of the model.
        draw: The likelihood's.
    Returns:
        Data units in canonical order, shape (B, N, F), and the mask, shape (B, N).
    """
    labels, z, mask, conditions = request
    assert z is not None
    mean = model.decode_unit(
        z, labels, mask, node, full=kind.always_full, conditions=conditions
    )  # (B, N, F)
    asked = model.likelihood.conditioned_on
    context = kind.conditioning.likelihood_context(asked, z, labels, conditions)
    drawn = model.scaling.unscale(model.scaling.from_unit(draw(mean, noise, mask, context)))
    if kind.rounded:
        drawn = model.likelihood.quantize(drawn, model.scaling.low, model.scaling.high)
    points, nodes_first = sort_nodes(drawn, mask, model.schema)
    return model.leave(points, nodes_first), nodes_first


def random_numbers(model: Generative, num_samples: int, seed: int) -> tuple[Request, Numbers]:
    """All that ``samples(model, num_samples, seed)`` makes clouds of, on the CPU.

    Args:
        model: Where clouds would be drawn from.
        num_samples: B.
        seed: As of :func:`samples`.
    Returns:
        Labels, mask and conditions, ``latents`` None; and the random numbers. A row a cloud.
    """
    rows = -(-num_samples // BLOCK) * BLOCK
    kind, blocks = kind_of(model, rows), range(rows // BLOCK)
    labels, mask, conditions = conditions_of(seed, blocks, Request(), kind)
    numbers = numbers_of(model, blocks, seed, kind)
    cut = [None if each is None else each[:num_samples] for each in (labels, mask, conditions)]
    latent, node, likelihood = numbers
    latent, node = (None if each is None else each[:num_samples] for each in (latent, node))
    return Request(cut[0], None, *cut[1:]), Numbers(latent, node, likelihood[:num_samples])


def numbers_of(
    model: Generative, blocks: range, seed: int, kind: Kind, *, with_latents: bool = True
) -> Numbers:
    """Random numbers of as many clouds as rows, those of a block from one generator.

    Args:
        model: Where clouds are drawn from.
        blocks: Numbers of the blocks.
        seed: Of all numbers.
        kind: What is known of the model.
        with_latents: Whether the prior is drawn from.
    """

    def noise(purpose: str, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        numbers = [draw(generator(seed, purpose, step=block)) for block in blocks]
        return filled(torch.cat(numbers), kind.rows)

    nodes, latent, node = kind.conditioning.num_points, None, None
    if with_latents:
        latent = noise("sample", lambda random: model.prior.noise(BLOCK, random))
    if width := getattr(model.decoder, "noise_dim", 0):
        shape = (BLOCK, nodes, width)
        node = noise("node noise of samples", lambda random: standard_noise(shape, random))
    each = (BLOCK, nodes, model.schema.num_features)
    likelihood = noise("observation", lambda random: model.likelihood.noise(each, random))
    return Numbers(latent, node, likelihood)


def conditions_of(
    seed: int, blocks: range, request: Request, kind: Kind
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Labels, masks and conditions, on the CPU unless given, of as many clouds as rows.

    Args:
        seed: Of those that are drawn.
        blocks: Numbers of the blocks.
        request: What is not to be drawn.
        kind: What is known of the model.
    """
    count = kind.rows if request.mask is not None else len(blocks) * BLOCK
    labels, wanted = (
        None if each is None else filled(each, count)
        for each in (request.labels, request.conditions)
    )
    if request.mask is not None:
        return labels, filled(request.mask, kind.rows), wanted
    drawn = []
    for number, block in enumerate(blocks):
        rows = slice(number * BLOCK, (number + 1) * BLOCK)
        random = generator(seed, "conditions", step=block)
        asked = (None if each is None else each[rows] for each in (labels, wanted))
        drawn.append(kind.conditioning.draw(BLOCK, random, *asked))
    if labels is None and drawn[0].labels is not None:
        labels = torch.cat([each.labels for each in drawn if each.labels is not None])
    mask = torch.cat([each.mask for each in drawn])
    parts = [each.conditions for each in drawn if each.conditions is not None]
    conditions = filled(torch.cat(parts), kind.rows) if parts else None
    labels = None if labels is None else filled(labels, kind.rows)
    return labels, filled(mask, kind.rows), conditions


def filled(part: Tensor, rows: int) -> Tensor:
    """Its last row again and again, up to a number of rows.

    Args:
        part: Shape (B, ...).
        rows: At least B.
    Example:
        >>> filled(torch.tensor([1, 2]), 4)
        tensor([1, 2, 2, 2])
    """
    missing = rows - len(part)
    return torch.cat([part, part[-1:].expand(missing, *part.shape[1:])]) if missing else part

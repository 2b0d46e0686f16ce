"""The likelihood that draws a cloud node by node, each knowing the nodes before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gconvae.conditioning import conditioned_on
from gconvae.cuda_graphs import recording
from gconvae.datasets import transforms
from gconvae.likelihoods.augmentation import augmented, share_at
from gconvae.likelihoods.base import LearnedLikelihood
from gconvae.likelihoods.equal_cells import EqualCells
from gconvae.likelihoods.place_order import WritingOrder, in_order
from gconvae.likelihoods.places import (
    CONTINUOUS_STEPS,
    FEWEST_STEPS,
    OCTAVES,
    Places,
    last_place,
    spread_in_cells,
)
from gconvae.likelihoods.temperature import Tempered, temperatures
from gconvae.likelihoods.transformer import NodeTransformer
from gconvae.randomness import uniform_noise
from gconvae.registry import check_counts, check_widths, register
from gconvae.scaling import FeatureScaling
from gconvae.schema import CHANGES, CloudSchema

__all__ = ["AutoregressiveLikelihood"]


@register("likelihood", "autoregressive")
class AutoregressiveLikelihood(Tempered, LearnedLikelihood):
    r"""A distribution over whole clouds around the decoder's mean, written node by node.

    .. math::
        p(x|\hat x, z, y) = \prod_{i=1}^{N} \prod_{f}
            p\left(x_{i,f} \mid x_{i,<f}, x_{<i}, \hat x, z, y\right)

    with nodes and f in the order of the schema: the hardest particle first, and of each first its
    pT. Images, and clouds whose schema says no order, are written from the top down, equal
    heights from the left, and f is first y, then x, then the intensity and the rest. Nodes that
    keep their distance, strokes that go on and intensities that fit their neighbours cannot come
    from noise that is independent from node to node: a causal transformer knows those before.

    A value is written with two digits,

    .. math:: x_{i,f} = \frac{16 \, c + r}{\text{steps}}, \quad
        p(x_{i,f}) = p(c) \, p(r | c), \quad 0 \le r < 16

    c from a mixture of discretized logistic distributions (:mod:`gconvae.likelihoods`), which is
    smooth, and r from one probability each. A mean of a handful of whole numbers is mostly a
    whole, a half or a third: no smooth density knows that, but any classifier of nodes does. A
    feature on no lattice has 4,096 cells that hold similar numbers of training nodes, and nothing
    beyond them; a draw lies anywhere in its cell.

    The network is conditioned on the mean, whose nodes are put in the same order: all of them
    shift every place, and the i-th one the i-th place. Latents enter too, if ``condition_on`` says
    so, and labels and conditions y, where the model has some.

    In training, clouds are changed at random (:func:`gconvae.datasets.affine`) and the network is
    conditioned on how, so that some thousand clouds are enough and draws are unchanged ones.

    Args:
        num_points: N, the most nodes of a cloud.
        num_features: F, at least 2.
        lattice: See :class:`Likelihood`; ``"fine"`` also finds steps such as 1/16 or 1/255.
        width: Features of a place inside.
        heads: Of attention, a divisor of ``width``.
        blocks: Attention blocks before each feature of a node, in the order y, x, intensity, ...
            One number = 2 before the first, 1 before each of the others, times that number.
        components: Of each mixture.
        octaves: Waves by which the network sees a number; the shortest is ``2 ** (1 - octaves)``
            of its range.
        steps: Steps of the training.
        batch_size: Clouds a step.
        augmented: Share of the clouds that are changed in the first step; in the last it is a
            third of that, since it is unchanged clouds that are drawn.
        temperature: Of draws (``discretized_logistic.sample``), or one of each feature; None =
            0.9 until a training chooses one of each feature on held-out clouds. 1 for jets.
        least_share: Components of a mixture with a smaller share are not drawn from: a fit
            hedges with wide ones, below 1 / ``components``; 0.003 for jets.
        average: See :class:`LearnedLikelihood`, below 1; 0.99 where sums over nodes matter.
        weighted: Whether the schema names a feature that weighs nodes. What they add up to is then
            written before them (:class:`Totals`), each knows how much is missing
            (:class:`RunningSums`), and may lie by one before (:class:`NearNodes`); F at least 2.
        condition_on: Some of ``"mean"`` and ``"latents"``: what of a model it is conditioned on.
        latent_dim, num_classes, num_conditions: Of the model.
    Attributes:
        order: In which features and nodes are written.
    Raises:
        ValueError: If a number is out of range.
    References:
        | Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
          arXiv:1606.05328
        | PixelVAE: A Latent Variable Model for Natural Images (Gulrajani et al., 2016),
          arXiv:1611.05013
        | PointGrow: Autoregressively Learned Point Cloud Generation with Self-Attention (Sun et
          al., 2018), arXiv:1810.05591
    Example:
        >>> likelihood = AutoregressiveLikelihood(width=16, heads=2)
        >>> drawn = likelihood.sample(torch.rand(4, 25, 3), torch.Generator().manual_seed(0))
        >>> drawn.shape
        torch.Size([4, 25, 3])
    """

    has_mass: ClassVar[bool] = True
    blocks_together: ClassVar[int] = 8
    recordable = separable = True
    network: NodeTransformer
    centre: Tensor
    lattice_steps: Tensor

    def __init__(
        self,
        num_points: int = 25,
        num_features: int = 3,
        lattice: str | Sequence[float] | None = "fine",
        width: int = 64,
        heads: int = 2,
        blocks: int | Sequence[int] = 1,
        components: int = 10,
        octaves: int = OCTAVES,
        steps: int = 6000,
        batch_size: int = 64,
        augmented: float = 0.9,
        temperature: float | Sequence[float] | None = None,
        least_share: float = 0.0,
        average: float = 0.999,
        weighted: bool = False,
        condition_on: Sequence[str] = ("mean",),
        latent_dim: int = 10,
        num_classes: int = 0,
        num_conditions: int = 0,
    ) -> None:
        known = conditioned_on(condition_on, latent_dim, num_classes, num_conditions)
        super().__init__(num_features, lattice)
        self.conditioned_on = known
        check_counts(num_points=num_points, width=width, heads=heads, components=components)
        check_counts(octaves=octaves, steps=steps, batch_size=batch_size)
        if not 0 <= augmented <= 1:
            raise ValueError(f"augmented must be in [0, 1], got {augmented}")
        for option, value, end in (
            ("average", average, 1.0),
            ("least_share", least_share, 1 / components),
        ):
            if not 0 <= value < end:
                raise ValueError(f"{option} must be at least 0 and below {end:g}, got {value}")
        if weighted and num_features < 2:
            raise ValueError(f"weighted nodes must have 2 features or more, got {num_features}")
        if isinstance(blocks, int):
            check_counts(blocks=blocks)
            blocks = [2 * blocks, *[blocks] * (num_features - 1)]
        check_widths("blocks", blocks)
        if len(blocks) != num_features:
            raise ValueError(f"blocks must be one number or {num_features}, got {list(blocks)}")
        self.num_points, self.fit_steps, self.batch_size = num_points, steps, batch_size
        self.augmented, self.temperature, self.average = augmented, temperature, average
        self.least_share, self.octaves, self.weighted = least_share, octaves, weighted
        self.network = NodeTransformer(
            num_points, num_features, width, heads, blocks, components, octaves, weighted, known
        )
        self.cells = EqualCells(num_features, min(2, num_features))
        self.schema: CloudSchema | None = None
        low, high = torch.zeros(num_features), torch.ones(num_features)
        self.units = FeatureScaling(low, high, 1.0) if weighted else None
        places = torch.full((num_features,), FEWEST_STEPS)  # until ranges are known
        self.register_buffer("lattice_steps", places)
        self.register_buffer("centre", torch.full((2,), 0.5))
        self.changes: tuple[str, ...] = CHANGES if num_features > 1 else ()
        self.symmetries: tuple[str, ...] = ()
        self.order = WritingOrder.of_image(num_features)
        self._known_places: Places | None = None

    def set_schema(self, schema: CloudSchema) -> None:
        """Takes positions, order and random changes too; only clouds in a plane are changed."""
        super().set_schema(schema)
        self.cells.positions = positions = schema.num_positions
        self.order = WritingOrder.of_schema(schema)
        self.network.descending = self.order.descends[0]
        if self.weighted:
            if not schema.weight:
                raise ValueError("schema must name the weight of a node, got one without")
            self.schema = schema
            assert self.network.sums is not None
            self.network.sums.weight = self.order.columns.index(schema.index(schema.weight))
            units = FeatureScaling.of(schema.replace(extent=1.0))
            self.units = units.to(self.lattice_steps.device)
        self.changes = schema.changes if positions == 2 else ()
        self.symmetries = schema.symmetries if positions == 2 else ()

    def set_ranges(self, low: Tensor, high: Tensor) -> None:
        """Chooses the places of each feature: those of its lattice, or finer ones.

        The steps of a lattice are halved until there are 255; a continuous feature has 4,096, one
        that never changes 1.
        """
        for column, (step, width) in enumerate(
            zip(self.step.tolist(), (high - low).tolist(), strict=True)
        ):
            self.lattice_steps[column] = last_place(step, width)
        if self.units is not None:
            self.units = FeatureScaling(low, high, 1.0, self.schema)
        self._known_places = None

    def noise(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """Three uniform numbers a feature and a total, (B, N F + T, 3), in double precision."""
        clouds, nodes, features = shape
        totals = 0 if self.network.totals is None else self.network.totals.number
        return uniform_noise((clouds, nodes * features + totals, 3), generator)

    @torch.no_grad()
    def draw(
        self,
        mean: Tensor,
        noise: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """One draw of each cloud around its mean, nodes of the mean in any order.

        Args:
            mean: The decoder's output, in [0, 1], shape (B, N, F).
            noise: From :meth:`noise`, shape (B, N F + T, 3).
            mask: True for the first n nodes of each cloud, shape (B, N); None = all.
            context: From ``Conditioning.likelihood_context``, shape (B, C), or None.
        Returns:
            In [0, 1], nodes in order, masked ones 0, shape (B, N, F): on the lattice of a feature
            that has one, else anywhere in the cell of a place.
        """
        self._check_nodes(mean)
        mask, places = _all_real(mean) if mask is None else mask, self._places(mean)
        mean_in_order = self.order.of_nodes(self._place(mean, places), mask, places.steps)[0]
        noise, of_totals = noise.tensor_split([mean[0].numel()], dim=1)
        noise = noise.unflatten(1, mean.shape[1:])  # (B, N, F, 3)
        of_nodes = self.order.written(noise.to(mean), dim=2).flatten(1, 2)
        uniform = torch.cat([of_nodes, of_totals.to(mean)], dim=1)
        arguments = mean_in_order, self._condition(mask, None, context), uniform, places
        heat = temperatures(self.temperature, self.num_features)
        heat = [heat[column] for column in self.order.columns]
        drawn = self.network.draw(*arguments, heat, self.least_share)
        drawn = self.order.of_nodes(drawn, mask, places.steps)[0]  # a network may err in it
        nodes, steps = self.order.in_columns(places.values(drawn)), self.lattice_steps
        nodes = spread_in_cells(nodes, noise[..., 0], steps, self._continuous())
        return self.cells.back(nodes).masked_fill(~mask.unsqueeze(-1), 0.0)

    def _continuous(self) -> Tensor:
        """Which features lie on no lattice, shape (F,)."""
        return (self.step == 0) & (self.lattice_steps == CONTINUOUS_STEPS)

    def log_prob(self, value: Tensor, mean: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each feature of each node given the nodes before it.

        Args:
            value: Nodes in [0, 1], in any order, shape (B, N, F).
            mean: The decoder's output, nodes in any order, shape (B, N, F).
            context: As of :meth:`draw`.
        Returns:
            Nats, in the order of ``value``, constant within a cell, shape (B, N, F).
        """
        self._check_pair(value, mean, "value")
        self._check_nodes(mean)
        mask = _all_real(mean)
        log_mass, total, order = self._log_mass(value, mean, mask, None, context)
        log_mass = log_mass + total[:, None, None] / mean[0].numel()
        log_density = log_mass + self.lattice_steps.to(mean).log()
        wide = order.unsqueeze(-1).expand_as(log_density)
        density = torch.zeros_like(log_density).scatter(1, wide, log_density)
        place = self.cells(value) * CONTINUOUS_STEPS
        is_half = (place < 0.5) | (place > CONTINUOUS_STEPS - 0.5)
        halves = math.log(2) * (is_half & self._continuous())
        return density + halves + self.cells.log_slope(value)

    def cloud_log_prob(
        self, unit: Tensor, mean: Tensor, mask: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Nats of a mass on the lattice, shape (B,): minus :meth:`negative_log_likelihood`."""
        return -self.negative_log_likelihood(unit, mean, mask, context=context)

    def prepare_fit(self, unit: Tensor, mask: Tensor) -> None:
        """Takes cells of continuous features, and the middle about which clouds are turned."""
        self.cells.fit(unit[mask], self._continuous(), self.atoms.columns)
        self._known_places = None
        if self.weighted:
            places = self._places(unit)
            place, order = self.order.of_nodes(self._place(unit, places), mask, places.steps)
            self.network.fit(place, mask.gather(1, order), places)
        if self.num_features > 1:
            self.centre.copy_(unit[mask][:, :2].mean(0))

    def changed(
        self, unit: Tensor, mask: Tensor, random: torch.Generator, done: float
    ) -> tuple[Tensor, Tensor]:
        """Turned, stretched and mirrored clouds, and how, shapes (B, N, F) and (B, 6)."""
        kinds, share = (self.changes, self.symmetries), share_at(self.augmented, done)
        return augmented(unit, mask, self.centre, random, *kinds, share=share)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The matrices of the blocks and of what stands behind them."""
        network = self.network
        parts = [network.blocks, network.values, network.digits, network.totals or nn.Identity()]
        named = [pair for part in parts for pair in part.named_parameters()]
        return [one for name, one in named if name.endswith("weight") and one.dim() > 1]

    def negative_log_likelihood(
        self,
        unit: Tensor,
        mean: Tensor,
        mask: Tensor,
        changes: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Of whole clouds, nodes in any order.

        Args:
            unit: Clouds in [0, 1], shape (B, N, F).
            mean: The decoder's output for them, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N).
            changes: What was changed of each cloud, shape (B, 6); None = nothing.
            context: As of :meth:`draw`.
        Returns:
            Nats, shape (B,).
        """
        log_mass, total, order = self._log_mass(unit, mean, mask, changes, context)
        real = mask.gather(1, order).unsqueeze(-1)  # (B, N, 1)
        return -log_mass.masked_fill(~real, 0.0).sum((1, 2)) - total

    def _log_mass(
        self,
        unit: Tensor,
        mean: Tensor,
        mask: Tensor,
        changes: Tensor | None,
        context: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Of nodes on the lattice, in order, shape (B, N, F); of totals; and that order."""
        places = self._places(unit)
        place, order = self.order.of_nodes(self._place(unit, places), mask, places.steps)
        placed = self._place(mean, places)
        mean_in_order, its_order = self.order.of_nodes(placed, mask, places.steps)
        real, condition = mask.gather(1, order), self._condition(mask, changes, context)
        # nodes that there are not teach nothing
        known = self.order.written(self.cells(mean)).masked_fill(~mask.unsqueeze(-1), 0.0)
        free = in_order(known, its_order) if mean.requires_grad else None
        log_mass, total = self.network(place, real, mean_in_order, condition, places, free)
        # what is no number has no place, and must not pass for a cloud
        nodes = (unit + mean).masked_fill(~mask.unsqueeze(-1), 0.0)
        broken = 0 * nodes.sum((1, 2), keepdim=True)
        return self.order.in_columns(log_mass) + broken, total, order

    def _places(self, like: Tensor) -> Places:
        """Those of the features in the order in which they are written."""
        known = self._known_places
        if known is None or not recording(like):  # in a recording no value can be looked at
            every = self.lattice_steps.tolist()
            steps = [every[column] for column in self.order.columns]
            if known is None or not known.fits(steps, like):
                amounts = None if self.units is None else self._amounts(steps)
                known = self._known_places = Places(steps, like, self.octaves, amounts)
        return known

    def _amounts(self, steps: Sequence[int]) -> list[Tensor]:
        """What each place is in data units, feature by feature in the order of drawing."""
        assert self.units is not None
        amounts = []
        for column, count in zip(self.order.columns, steps, strict=True):
            place = torch.arange(count + 1, device=self.cells.knots.device) / count
            unit = self.cells.back(place.unsqueeze(1).expand(-1, self.num_features))
            amounts.append(self.units.unscale(unit)[:, column])
        return amounts

    def _place(self, unit: Tensor, places: Places) -> Tensor:
        """Numbers in [0, 1], shape (B, N, F), as places of the features in order of drawing."""
        return places.of(self.order.written(self.cells(unit)))

    def _condition(self, mask: Tensor, changes: Tensor | None, context: Tensor | None) -> Tensor:
        """What was changed, the share of the places that are taken, and the context, (B, K)."""
        if changes is None:
            changes = self.centre.new_zeros(mask.shape[0], transforms.NUM_CHANGES)
        taken = mask.sum(1, keepdim=True).to(changes) / self.num_points
        parts = [each.to(changes) for each in self.further(context).values()]
        return torch.cat([changes, taken, *parts], dim=1)

    def _load_from_state_dict(self, *arguments: Any, **further: Any) -> None:
        super()._load_from_state_dict(*arguments, **further)
        self._known_places = None

    def _check_nodes(self, mean: Tensor) -> None:
        self._check_features(mean, "mean")
        if mean.shape[1] != self.num_points:
            raise ValueError(f"mean must have {self.num_points} nodes, got {mean.shape[1]}")


def _all_real(points: Tensor) -> Tensor:
    return torch.ones_like(points[..., 0], dtype=torch.bool)

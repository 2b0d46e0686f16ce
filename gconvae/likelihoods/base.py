"""p(x|z) around the decoder's mean: what every likelihood can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gconvae.conditioning import MEAN_ALONE, ConditionedOn
from gconvae.cuda_graphs import recording
from gconvae.likelihoods.atoms import Atoms
from gconvae.likelihoods.lattice import STEPS, checked_step, fractions, lattice_step, rounded
from gconvae.losses.assignment import match
from gconvae.randomness import uniform_noise
from gconvae.schema import CloudSchema

__all__ = ["LearnedLikelihood", "Likelihood"]


class Likelihood(nn.Module, ABC):
    r"""What is drawn around the decoder's mean, and the lattice that real nodes lie on.

    Where real positions are whole numbers, that alone gives a continuous model away. So features
    on a lattice are dequantized in training, which fills their cells evenly, and rounded again in
    draws. Noise around the mean lies in the decoder's unit interval, lattices in data units.

    A kind of likelihood inherits from this class and writes :meth:`noise`, :meth:`draw`,
    :meth:`log_prob` and :meth:`calibrate`; what these learn are buffers, not parameters. Random
    numbers are apart from what is made of them, so that a cloud is a function of its own numbers,
    whatever is drawn beside it. One with a network inherits from :class:`LearnedLikelihood`.

    Args:
        num_features: F.
        lattice: Step of each feature in data units, as a list of F numbers, 0 = continuous;
            ``"auto"`` = found by :meth:`set_lattice` among :data:`LATTICE_STEPS`, continuous until
            then; ``"fine"`` = likewise among :data:`FINE_STEPS`, or any other of at most
            :data:`MOST_PLACES` places; None = continuous.
    Attributes:
        step: Steps in use, shape (F,).
        are_fractions: Whether values of a step 1 / n have the bits of k / n, not of k times it.
    Raises:
        ValueError: If ``lattice`` is none of these, or ``num_features`` is below 1.
    References:
        | A note on the evaluation of generative models (Theis, van den Oord and Bethge, 2015),
          arXiv:1511.01844, section 3.1
    """

    step: Tensor
    are_fractions: Tensor

    has_density: ClassVar[bool] = True
    """Whether clouds have a probability at all, which they have not where nothing is drawn."""

    has_mass: ClassVar[bool] = False
    """Whether :meth:`cloud_log_prob` is that of a place on a lattice, not a density."""

    conditioned_on: ConditionedOn = MEAN_ALONE
    """What stands behind the bar. Where that is more than the mean, methods that take a mean take
    ``context`` too, shape (B, C), from
    :meth:`gconvae.conditioning.Conditioning.likelihood_context`."""

    blocks_together: ClassVar[int] = 1
    """Blocks of 256 clouds that are drawn at a time on a CPU, at most: several where a draw is
    many small operations, between which Python makes threads wait for each other."""

    def __init__(
        self, num_features: int = 3, lattice: str | Sequence[float] | None = "auto"
    ) -> None:
        super().__init__()
        if isinstance(num_features, bool) or not isinstance(num_features, int) or num_features < 1:
            raise ValueError(
                f"num_features must be a whole number of at least 1, got {num_features!r}"
            )
        self.num_features = num_features
        self.lattice = lattice
        self.known_steps: tuple[float | None, ...] = (None,) * num_features
        self.register_buffer("step", checked_step(lattice, num_features))
        self.register_buffer("are_fractions", torch.zeros(num_features, dtype=torch.bool))
        self.atoms = Atoms(num_features)

    def _load_from_state_dict(self, state: Any, prefix: str, *arguments: Any) -> None:
        # models of before have none
        state.setdefault(f"{prefix}are_fractions", torch.zeros_like(self.are_fractions))
        super()._load_from_state_dict(state, prefix, *arguments)

    @abstractmethod
    def noise(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """The random numbers of draws, a row a cloud.

        Args:
            shape: (B, N, F) of the draws.
            generator: On the CPU, so that every device gets the same numbers.
        Returns:
            Shape (B, ...), on the CPU.
        """

    @abstractmethod
    def draw(
        self,
        mean: Tensor,
        noise: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """One draw of each cloud as a function of random numbers, its own row alone.

        Args:
            mean: The decoder's output, in [0, 1], shape (B, N, F).
            noise: From :meth:`noise`, on the device of ``mean``.
            mask: True for the first n nodes of each cloud, which are the real ones, of the result
                too, shape (B, N); None = all.
            context: What it is conditioned on beside the mean, shape (B, C); None where C is 0.
        Returns:
            In [0, 1], shape (B, N, F).
        """

    @torch.no_grad()
    def sample(
        self,
        mean: Tensor,
        generator: torch.Generator,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """One draw of each cloud around its mean: :meth:`draw` of :meth:`noise`.

        Args:
            mean: The decoder's output, in [0, 1], shape (B, N, F).
            generator: On the CPU, so that every device gets the same numbers.
            mask: True for the first n nodes of each cloud, which are the real ones, of the result
                too, shape (B, N); None = all.
            context: As of :meth:`draw`.
        Returns:
            In [0, 1], shape (B, N, F).
        """
        self._check_features(mean, "mean")
        clouds, nodes, features = mean.shape
        noise = self.noise((clouds, nodes, features), generator)
        return self.draw(mean, noise.to(mean.device), mask, **self.further(context))

    @abstractmethod
    def log_prob(self, value: Tensor, mean: Tensor, context: Tensor | None = None) -> Tensor:
        """Log-density of each feature of each node, on the unit interval.

        Args:
            value: Nodes in [0, 1], the n-th a draw around the n-th mean, shape (B, N, F).
            mean: The decoder's output, shape (B, N, F).
            context: As of :meth:`draw`.
        Returns:
            Nats, shape (B, N, F).
        """

    def cloud_log_prob(
        self, unit: Tensor, mean: Tensor, mask: Tensor, context: Tensor | None = None
    ) -> Tensor:
        r"""Of whole clouds, nodes in any order.

        .. math:: \log p(x|\hat x) \ge \sum_i \sum_f \log p(x_{i,f} | \hat x_{\pi(i),f})

        with the nodes matched one to one by :func:`gconvae.losses.match`; the density of a set is
        the sum over all ways to match them, of which this is the likeliest or close to it.

        Args:
            unit: Clouds in [0, 1], shape (B, N, F).
            mean: The decoder's output for them, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N).
            context: As of :meth:`draw`.
        Returns:
            Nats on the unit interval, shape (B,).
        """
        index = match(unit, mean, mask, mask)  # (B, N)
        partner = mean.gather(1, index.clamp(min=0).unsqueeze(-1).expand_as(mean))
        real = (mask & (index >= 0)).unsqueeze(-1)
        log_prob = self.log_prob(unit, partner, **self.further(context))
        return log_prob.masked_fill(~real, 0.0).sum((1, 2))

    @abstractmethod
    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        """Fits the noise to clouds and the decoder's means for them, in place.

        Args:
            target: Clouds in the unit interval, nodes in any order, shape (B, N, F).
            mean: The decoder's output for them, nodes in any order, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N); None = all.
        """

    def further(self, context: Tensor | None) -> dict[str, Tensor]:
        """What goes to a method beside the mean: nothing if that is all it is conditioned on.

        So a likelihood that knows of no context need not take one.
        """
        if context is None and self.conditioned_on.context_dim == 0:
            return {}
        wanted = self.conditioned_on.context_dim
        if context is None or context.dim() != 2 or context.shape[1] != wanted:
            shape = "None" if context is None else tuple(context.shape)
            raise ValueError(f"context must have shape (clouds, {wanted}), got {shape}")
        return {"context": context} if wanted else {}

    def set_schema(self, schema: CloudSchema) -> None:
        """Takes what a schema says of the features: positions, order, steps that are known.

        Raises:
            ValueError: If it has another number of features.
        """
        if schema.num_features != self.num_features:
            raise ValueError(
                f"schema must have {self.num_features} features, got {schema.num_features}"
            )
        self.known_steps = tuple(feature.step for feature in schema.features)

    def set_ranges(self, low: Tensor, high: Tensor) -> None:
        """Looks at the ranges of the features, which stand for [0, 1]; called before training.

        Args:
            low: In data units, shape (F,).
            high: Likewise.
        """

    def set_lattice(self, points: Tensor, mask: Tensor | None = None) -> None:
        """Takes the lattice of given clouds, if ``lattice`` says to find it; else does nothing.

        Args:
            points: Training clouds in data units, shape (B, N, F).
            mask: True where a node is real, shape (B, N); None = all.
        Raises:
            ValueError: If they have another number of features.
        """
        if isinstance(self.lattice, str):
            if points.shape[-1] != self.num_features:
                raise ValueError(
                    f"points must have {self.num_features} features a node, got {points.shape[-1]}"
                )
            mask = torch.ones_like(points[..., 0], dtype=torch.bool) if mask is None else mask
            others = self.lattice == "fine"
            self.step.copy_(lattice_step(points, mask, STEPS[self.lattice], others=others))
            for column, step in enumerate(self.known_steps):
                if step is not None:
                    self.step[column] = step
            self.are_fractions.copy_(fractions(points[mask], self.step))
            if others:
                pairs = zip(self.step.tolist(), self.known_steps, strict=True)
                self.atoms.find(points, mask, [not step and said is None for step, said in pairs])

    @property
    def rounds(self) -> bool:
        """Whether values that are drawn are rounded: some feature has a lattice or few values."""
        return bool(self.step.any()) or bool(self.atoms.columns)

    def dequantize(
        self,
        points: Tensor,
        generator: torch.Generator,
        low: Tensor | float,
        high: Tensor | float,
        mask: Tensor | None = None,
    ) -> Tensor:
        r"""Spreads the values of a lattice evenly over their cells.

        .. math:: x' = x + u, \quad u \sim U[-s/2, s/2) \text{ such that } l \le x + u \le h

        At the edge of the range the cell is cut, not the draw, so that nothing heaps up there.
        :meth:`quantize` takes the noise away again.

        Args:
            points: Data units, shape (B, N, F).
            generator: On the CPU.
            low: Smallest value of each feature, shape (F,) or one number; nodes beyond the range
                move inwards only.
            high: Largest value likewise.
            mask: True where a node is real, shape (B, N); the others stay as they are.
        Returns:
            Shape (B, N, F); continuous features keep their exact bits.
        """
        self._check_features(points, "points")
        uniform = uniform_noise(tuple(points.shape), generator).to(points)
        half = 0.5 * self.step.to(points)  # (F,)
        low, high = (
            edge.to(points) if isinstance(edge, Tensor) else points.new_tensor(edge)
            for edge in (low, high)
        )
        least = torch.maximum(points - half, torch.minimum(low, points))
        most = torch.minimum(points + half, torch.maximum(high, points))
        noisy = least + uniform * (most - least)
        # rounding may put a draw on the edge of its cell, which belongs to the next one
        moved = (half > 0) & (self.quantize(noisy) == self.quantize(points))
        noisy = self.atoms.spread(torch.where(moved, noisy, points), uniform)
        return noisy if mask is None else torch.where(mask.unsqueeze(-1), noisy, points)

    def quantize(
        self, points: Tensor, low: Tensor | None = None, high: Tensor | None = None
    ) -> Tensor:
        """Rounds lattice features to the nearest multiple of their step within their range.

        Args:
            points: Data units, shape (B, N, F).
            low: Smallest value of each feature, shape (F,); None = no bound.
            high: Largest value, likewise.
        Returns:
            Shape (B, N, F); continuous features keep their exact bits.
        """
        self._check_features(points, "points")
        if not recording(points) and not self.rounds:
            return points
        lattice = self.step.to(points), self.are_fractions.to(points.device), low, high
        return self.atoms.nearest(rounded(points, *lattice))

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        own = dict(self.named_buffers(recurse=False))
        return ", ".join(f"{name}={own[name].tolist()}" for name in own)

    def _check_features(self, points: Tensor, name: str) -> None:
        if points.dim() != 3 or points.shape[-1] != self.num_features:
            shape = f"(clouds, nodes, {self.num_features})"
            raise ValueError(f"{name} must have shape {shape}, got {tuple(points.shape)}")

    def _check_pair(self, first: Tensor, mean: Tensor, name: str) -> None:
        self._check_features(mean, "mean")
        if first.shape != mean.shape:
            raise ValueError(
                f"{name} must have mean's shape {tuple(mean.shape)}, got {tuple(first.shape)}"
            )


class LearnedLikelihood(Likelihood):
    """A likelihood with a network of its own, trained after encoder and decoder.

    A kind of it writes :meth:`noise`, :meth:`draw`, and :meth:`log_prob` or, as its loss for a
    batch, :meth:`negative_log_likelihood`. Its stage has the batches and the optimizer.

    Attributes:
        network: What is trained.
        fit_steps: Steps of the training.
        batch_size: Clouds a step.
        average: Share of the old in the running mean of the weights, which is the model that is
            kept.
    """

    network: nn.Module
    fit_steps: int
    batch_size: int
    average: float = 0.999

    def prepare_fit(self, unit: Tensor, mask: Tensor) -> None:
        """Looks at the training clouds before the first step; by default not at all.

        Args:
            unit: Clouds in the unit interval, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
        """

    def changed(
        self, unit: Tensor, mask: Tensor, random: torch.Generator, done: float
    ) -> tuple[Tensor, Tensor]:
        """Clouds of a batch, perhaps changed at random, before their means are made; by default
        as they are.

        Args:
            unit: Clouds in the unit interval, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
            random: The only source of random numbers.
            done: Share of the steps that lie behind, in [0, 1).
        Returns:
            Clouds, shape (B, N, F), and numbers that say how each was changed, shape (B, K), all 0
            for one that is as it was.
        """
        return unit, unit.new_zeros(len(unit), 0)

    def negative_log_likelihood(
        self,
        unit: Tensor,
        mean: Tensor,
        mask: Tensor,
        changes: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Of whole clouds: the loss, by default minus :meth:`cloud_log_prob`.

        Args:
            unit: Clouds in [0, 1], shape (B, N, F).
            mean: The decoder's output for them, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N).
            changes: From :meth:`changed`, shape (B, K); None = none.
            context: As of :meth:`draw`.
        Returns:
            Nats, shape (B,).
        """
        return -self.cloud_log_prob(unit, mean, mask, **self.further(context))

    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        """Nothing to do beside the training; clouds of wrong shapes are an error all the same."""
        self._check_pair(target, mean, "target")

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Weights between hidden features, for optimizers that know matrices; () = none."""
        return []

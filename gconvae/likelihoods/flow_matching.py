"""The likelihood that moves all nodes of a cloud at once, from noise around the mean to a draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from gconvae.conditioning import conditioned_on
from gconvae.likelihoods.base import LearnedLikelihood
from gconvae.likelihoods.runge_kutta import METHODS, integrate
from gconvae.likelihoods.velocity import Context, VelocityNetwork
from gconvae.losses.assignment import match
from gconvae.randomness import generator, standard_noise, uniform_noise
from gconvae.registry import check_counts, register

__all__ = ["FlowMatchingLikelihood"]

HELD_OUT_TIMES = (1 / 8, 3 / 8, 5 / 8, 7 / 8)
"""Times at which held-out clouds are looked at, each with noise of its own."""

SMALLEST_SPREAD = 1e-6
"""Standard deviation at least, so that a feature that never changes can be divided by it."""


@register("likelihood", "flow_matching")
class FlowMatchingLikelihood(LearnedLikelihood):
    r"""A distribution over whole clouds: noise around the mean that flows to where nodes belong.

    .. math::
        \frac{dx_i}{dt} = v_i(x, t \mid \hat x), \quad
        x_i(0) \sim N(\hat x_i, \sigma^2), \quad x(1) \text{ is the draw}

    in features that are standardized over the nodes of the training clouds. The network v moves
    all nodes at once and sees them as a set, so that no order of nodes is needed and a draw takes
    as many passes as the equation has evaluations, however many nodes there are. It learns the
    velocities of straight paths from noise to clouds,

    .. math::
        \min_v E \sum_i \sum_f \left(v_{i,f}(x_t, t \mid \hat x) - (x_1 - x_0)_{i,f}\right)^2, \\
        x_t = (1 - t) \, x_0 + t \, x_1, \quad t \sim U(0, 1)

    where the nodes of the cloud :math:`x_1` are matched to those of the noise :math:`x_0`
    (:func:`gconvae.losses.match`): a set may be written in any order, and in this one paths are
    short and seldom cross.

    The density is smooth. It knows no lattice: draws are rounded to one, but values that real
    nodes take more often than others next to them, such as whole numbers, are not
    (:class:`AutoregressiveLikelihood` has them).

    Args:
        num_points: N, the most nodes of a cloud.
        num_features: F.
        lattice: See :class:`Likelihood`.
        width: Features of a node inside.
        heads: Attention heads, a divisor of ``width``.
        layers: That the moving nodes go through, in each evaluation.
        mean_layers: That the nodes of the mean go through, once.
        steps: Steps of the training.
        batch_size: Clouds a step.
        evaluations: Of the network in a draw, rounded up to whole steps of the solver. With 9,
            nodes are a hundredth of a standard deviation from those of a very fine solution.
        solver: ``"euler"``, ``"midpoint"``, ``"heun"``, ``"heun3"`` (of order 3) or ``"rk4"``, all
            with steps of one length.
        spread: :math:`\sigma`, in standard deviations of each feature.
        temperature: Factor of :math:`\sigma` in draws, 1 = as it was fitted.
        condition_on: ``("mean",)``, or ``("mean", "latents")``: what of a model it is conditioned
            on.
        latent_dim: L of the model.
        num_classes: Labels that it is conditioned on; 0 = none.
        num_conditions: Likewise.
    Attributes:
        centre: Means of the features over training nodes, shape (F,).
        scale: Their standard deviations, likewise.
    Raises:
        ValueError: If a number is out of range, or there is no such solver.
    References:
        | Flow Matching for Generative Modeling (Lipman et al., 2022), arXiv:2210.02747
        | EPiC-ly Fast Particle Cloud Generation with Flow-Matching and Diffusion (Buhmann et al.,
          2023), arXiv:2310.00049
        | Equivariant flow matching (Klein, Kraemer and Noe, 2023), arXiv:2306.15030, on matching
    Example:
        >>> likelihood = FlowMatchingLikelihood(width=16, heads=2, evaluations=4)
        >>> drawn = likelihood.sample(torch.rand(4, 25, 3), torch.Generator().manual_seed(0))
        >>> drawn.shape
        torch.Size([4, 25, 3])
    """

    separable = True
    blocks_together: ClassVar[int] = 1
    network: VelocityNetwork
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        num_points: int = 25,
        num_features: int = 3,
        lattice: str | Sequence[float] | None = "fine",
        width: int = 64,
        heads: int = 2,
        layers: int = 3,
        mean_layers: int = 2,
        steps: int = 4000,
        batch_size: int = 64,
        evaluations: int = 9,
        solver: str = "heun3",
        spread: float = 0.5,
        temperature: float = 1.0,
        condition_on: Sequence[str] = ("mean",),
        latent_dim: int = 10,
        num_classes: int = 0,
        num_conditions: int = 0,
    ) -> None:
        known = conditioned_on(condition_on, latent_dim, num_classes, num_conditions)
        if not known.mean:
            raise ValueError(
                f"condition_on must name the mean, about which noise lies, got {condition_on!r}"
            )
        super().__init__(num_features, lattice)
        self.conditioned_on = known
        check_counts(num_points=num_points, width=width, heads=heads, layers=layers)
        check_counts(mean_layers=mean_layers, steps=steps, batch_size=batch_size)
        check_counts(evaluations=evaluations)
        if solver not in METHODS:
            raise ValueError(f"solver must be one of {', '.join(METHODS)}, got {solver!r}")
        for name, number in (("spread", spread), ("temperature", temperature)):
            if not 0 < number < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {number}")
        self.num_points, self.fit_steps, self.batch_size = num_points, steps, batch_size
        self.evaluations, self.solver = evaluations, solver
        self.spread, self.temperature = spread, temperature
        self.network = VelocityNetwork(
            num_features, spread, width, heads, layers, mean_layers, known
        )
        self.register_buffer("centre", torch.full((num_features,), 0.5))
        self.register_buffer("scale", torch.full((num_features,), 0.25))

    def noise(self, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
        """N(0, 1) for each feature, shape (B, N, F)."""
        return standard_noise(shape, generator)

    @torch.no_grad()
    def draw(
        self,
        mean: Tensor,
        noise: Tensor,
        mask: Tensor | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """One draw of each cloud around its mean.

        Args:
            mean: The decoder's output, in [0, 1], shape (B, N, F).
            noise: From :meth:`noise`, of the same shape.
            mask: True for real nodes, shape (B, N); None = all.
            context: From :meth:`gconvae.conditioning.Conditioning.likelihood_context`, shape
                (B, C), or None.
        Returns:
            In [0, 1], node i from the noise around node i of the mean, masked ones 0, shape
            (B, N, F).
        """
        self._check_features(mean, "mean")
        mask = _all_real(mean) if mask is None else mask
        middle, condition = self._conditions(mean, mask, context)
        start = self.temperature * noise.to(mean).masked_fill(~mask.unsqueeze(-1), 0.0)
        moved = integrate(
            lambda x, t: self.network(x, x.new_full((len(x),), t), condition),
            start,
            self.evaluations,
            self.solver,
        )
        nodes = (middle + self.spread * moved) * self.scale.to(mean) + self.centre.to(mean)
        return nodes.clamp(0, 1).masked_fill(~mask.unsqueeze(-1), 0.0)

    def log_prob(self, value: Tensor, mean: Tensor, context: Tensor | None = None) -> Tensor:
        r"""What each feature of each node adds to the log-density of its cloud.

        .. math:: \log N(x(0); 0, 1) - \int_0^1 \frac{\partial v_{i,f}}{\partial x_{i,f}} \, dt
            - \log (\sigma s_f)

        with x(0) found by going back from the value, in ``evaluations`` evaluations. Exact but for
        the solver and for what :meth:`draw` cuts to [0, 1]; N F derivatives an evaluation make it
        slow.

        Args:
            value: Nodes in [0, 1], the n-th a draw around the n-th mean, shape (B, N, F).
            mean: The decoder's output, shape (B, N, F).
            context: As of :meth:`draw`.
        Returns:
            Nats on the unit interval, without a gradient, shape (B, N, F).
        """
        self._check_pair(value, mean, "value")
        return self._log_density(value, mean, _all_real(mean), context)

    def cloud_log_prob(
        self, unit: Tensor, mean: Tensor, mask: Tensor, context: Tensor | None = None
    ) -> Tensor:
        """Sum of :meth:`log_prob` over the real nodes, each matched to a node of the mean.

        Args:
            unit: Clouds in [0, 1], shape (B, N, F).
            mean: The decoder's output for them, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N).
            context: As of :meth:`draw`.
        Returns:
            Nats on the unit interval, shape (B,), a lower bound: see :class:`Likelihood`.
        """
        self._check_pair(unit, mean, "unit")
        ends = self._standard(unit, mask), self._standard(mean, mask)
        matched = _partners(ends[1], ends[0], mask)
        value = matched * self.scale.to(unit) + self.centre.to(unit)
        return self._log_density(value, mean, mask, context).sum((1, 2))

    def prepare_fit(self, unit: Tensor, mask: Tensor) -> None:
        """Takes mean and standard deviation of each feature over the training nodes."""
        nodes = unit[mask].double()  # (P, F)
        self.centre.copy_(nodes.mean(0))
        self.scale.copy_(nodes.std(0, correction=0).clamp(min=SMALLEST_SPREAD))

    def changed(
        self, unit: Tensor, mask: Tensor, random: torch.Generator, done: float
    ) -> tuple[Tensor, Tensor]:
        """Clouds as they are, and the time and noise of each, shapes (B, N, F) and (B, 1 + N F).

        The times of a batch lie one in each of B equal parts of [0, 1], so that their mean is
        about the same in every step.
        """
        clouds = len(unit)
        place = torch.randperm(clouds, generator=random, device=random.device)
        time = (place + uniform_noise((clouds,), random)) / clouds
        noise = standard_noise(tuple(unit.shape), random)
        return unit, torch.cat([time.unsqueeze(1).to(noise), noise.flatten(1)], 1).to(unit)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The matrices of both stacks of layers."""
        parts = (self.network.of_mean, self.network.of_nodes)
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
        """The squared error of the velocities, which is what is minimized in place of nats.

        Args:
            unit: Clouds in [0, 1], nodes in any order, shape (B, N, F).
            mean: The decoder's output for them, likewise.
            mask: True where a node is real, in both, shape (B, N).
            changes: Time and noise from :meth:`changed`, shape (B, 1 + N F); None = the mean over
                four times, with noise that is the same for all clouds and in every call.
            context: As of :meth:`draw`.
        Returns:
            Summed over nodes and features, shape (B,).
        """
        self._check_pair(unit, mean, "unit")
        if changes is not None:
            noise = changes[:, 1:].view(unit.shape)
            return self._squared_error(unit, mean, mask, changes[:, 0], noise, context)
        errors = []
        random = generator(0, "flow matching of held-out clouds")
        for moment in HELD_OUT_TIMES:
            time = unit.new_full((len(unit),), moment)
            noise = standard_noise(tuple(unit.shape[1:]), random).to(unit).expand_as(unit)
            errors.append(self._squared_error(unit, mean, mask, time, noise, context))
        return torch.stack(errors).mean(0)

    def _squared_error(
        self,
        unit: Tensor,
        mean: Tensor,
        mask: Tensor,
        time: Tensor,
        noise: Tensor,
        context: Tensor | None,
    ) -> Tensor:
        """Of velocities at one time a cloud, shape (B,)."""
        masked = ~mask.unsqueeze(-1)
        middle, condition = self._conditions(mean, mask, context)
        begin = noise.masked_fill(masked, 0.0)
        nodes = _partners(middle + self.spread * begin, self._standard(unit, mask), mask)
        end = (nodes - middle) / self.spread
        place = torch.lerp(begin, end, time.view(-1, 1, 1))
        error = self.network(place, time, condition) - (end - begin)
        return error.square().masked_fill(masked, 0.0).sum((1, 2))

    def _log_density(
        self, value: Tensor, mean: Tensor, mask: Tensor, context: Tensor | None
    ) -> Tensor:
        """Of nodes around their own nodes of the mean, 0 where masked, shape (B, N, F)."""
        masked = ~mask.unsqueeze(-1)
        with torch.inference_mode(False), torch.no_grad():  # what derivatives are taken through
            context = None if context is None else context.clone()
            middle, condition = self._conditions(mean.clone(), mask.clone(), context)
        end = (self._standard(value, mask) - middle) / self.spread

        def velocity(state: Tensor, time: float) -> Tensor:
            place = state[..., : self.num_features]
            return torch.cat(_velocity_and_slopes(self.network, place, time, condition), dim=-1)

        state = torch.cat([end, torch.zeros_like(end)], dim=-1)
        state = integrate(velocity, state, self.evaluations, self.solver, backward=True)
        begin, shrunk = state.chunk(2, dim=-1)  # going back, the integral has the other sign
        log_normal = -0.5 * begin.square() - 0.5 * math.log(2 * math.pi)
        log_volume = (self.spread * self.scale.to(value)).log()
        return (log_normal + shrunk - log_volume).masked_fill(masked, 0.0)

    def _conditions(
        self, mean: Tensor, mask: Tensor, context: Tensor | None
    ) -> tuple[Tensor, Context]:
        """The standardized mean, and what the network makes of all that it is conditioned on."""
        middle = self._standard(mean, mask)
        taken = mask.sum(1, keepdim=True).to(mean) / self.num_points
        parts = [each.to(mean) for each in self.further(context).values()]
        return middle, self.network.context(middle, mask, torch.cat([taken, *parts], dim=1))

    def _standard(self, unit: Tensor, mask: Tensor) -> Tensor:
        """Features with mean 0 and variance 1, masked nodes 0."""
        standard = (unit - self.centre.to(unit)) / self.scale.to(unit)
        return standard.masked_fill(~mask.unsqueeze(-1), 0.0)


def _velocity_and_slopes(
    network: VelocityNetwork, place: Tensor, time: float, context: Context
) -> tuple[Tensor, Tensor]:
    """The velocity and the derivative of each of its numbers by the one that it moves."""
    with torch.inference_mode(False), torch.enable_grad():
        free = place.detach().clone().requires_grad_()
        velocity = network(free, free.new_full((len(free),), time), context)
        slopes = torch.zeros_like(place)
        for node in range(place.shape[1]):
            for feature in range(place.shape[2]):
                moving = velocity[:, node, feature].sum()  # clouds do not see each other
                (slope,) = torch.autograd.grad(moving, free, retain_graph=True)
                slopes[:, node, feature] = slope[:, node, feature]
    return velocity.detach(), slopes


def _partners(target: Tensor, nodes: Tensor, mask: Tensor) -> Tensor:
    """Nodes in the order of those of the target that they are matched to, shape (B, N, F)."""
    index = match(target, nodes, mask, mask)  # (B, N), -1 where masked
    return nodes.gather(1, index.clamp(min=0).unsqueeze(-1).expand_as(nodes))


def _all_real(points: Tensor) -> Tensor:
    return torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)

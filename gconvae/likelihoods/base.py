"""p(x|z) around the decoder's mean: how far nodes lie from it, and on which lattice."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from gconvae import randomness
from gconvae.clouds import as_clouds
from gconvae.losses.assignment import match
from gconvae.registry import register

__all__ = [
    "FINE_STEPS",
    "LATTICE_STEPS",
    "MIN_PLACES",
    "TEMPERATURES",
    "GaussianLikelihood",
    "LearnedLikelihood",
    "MeanLikelihood",
    "Likelihood",
    "Pairs",
    "lattice_step",
]

LATTICE_STEPS = (1.0, 0.5, 0.25)
"""Steps that ``lattice="auto"`` looks for, in data units."""

FINE_STEPS = (*LATTICE_STEPS, 1 / 16, 1 / 255)
"""Steps that ``lattice="fine"`` looks for: those of the bundled clouds too. Beside them, exactly
continuous intensities are told from real ones by a classifier that has nothing else to go by."""

MIN_PLACES = 8
"""Places of a lattice that must be taken: an intensity of 0 and 1 only lies on none by chance."""

_STEPS = {"auto": LATTICE_STEPS, "fine": FINE_STEPS}

TEMPERATURES = tuple(n / 20 for n in range(26))
"""Factors of the residuals that :meth:`GaussianLikelihood.calibrate` tries: 0, 0.05, ... 1.25."""


class Likelihood(nn.Module, ABC):
    r"""What is drawn around the decoder's mean, and the lattice that real nodes lie on.

    Positions of real superpixels are whole pixels, which alone gives a continuous model away.
    So features on a lattice are dequantized in training, which fills their cells evenly, and
    rounded again when clouds are drawn. Noise around the mean lies in the decoder's unit interval,
    lattices in data units.

    A kind of likelihood inherits from this class and writes :meth:`sample`, :meth:`log_prob` and
    :meth:`calibrate`; what these learn are buffers, not parameters. One with a network of its own
    inherits from :class:`LearnedLikelihood`.

    Args:
        num_features: F.
        lattice: Step of each feature in data units, as a list of F numbers, 0 = continuous;
            ``"auto"`` or ``"fine"`` = found by :meth:`set_lattice` among :data:`LATTICE_STEPS` or
            :data:`FINE_STEPS`, continuous until then; None = continuous.
    Attributes:
        step: Steps in use, shape (F,).
    Raises:
        ValueError: If ``lattice`` is none of these, or ``num_features`` is below 1.
    References:
        | A note on the evaluation of generative models (Theis, van den Oord and Bethge, 2015),
          arXiv:1511.01844, section 3.1
    """

    step: Tensor

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
        self.register_buffer("step", _checked_step(lattice, num_features))

    @abstractmethod
    def sample(
        self, mean: Tensor, generator: torch.Generator, mask: Tensor | None = None
    ) -> Tensor:
        """One draw of each cloud around its mean.

        Args:
            mean: The decoder's output, in [0, 1], shape (B, N, F).
            generator: On the CPU, so that every device gets the same numbers.
            mask: True for the first n nodes of each cloud, which are the real ones, of the result
                too, shape (B, N); None = all.
        Returns:
            In [0, 1], shape (B, N, F).
        """

    @abstractmethod
    def log_prob(self, value: Tensor, mean: Tensor) -> Tensor:
        """Log-density of each feature of each node, on the unit interval.

        Args:
            value: Nodes in [0, 1], the n-th a draw around the n-th mean, shape (B, N, F).
            mean: The decoder's output, shape (B, N, F).
        Returns:
            Nats, shape (B, N, F).
        """

    @abstractmethod
    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        """Fits the noise to clouds and the decoder's means for them, in place.

        Args:
            target: Clouds in the unit interval, nodes in any order, shape (B, N, F).
            mean: The decoder's output for them, nodes in any order, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N); None = all.
        """

    def set_lattice(self, points: Tensor, mask: Tensor | None = None) -> None:
        """Takes the lattice of given clouds, if ``lattice`` says to find it; else does nothing.

        Args:
            points: Training clouds in data units, shape (B, N, F).
            mask: True where a node is real, shape (B, N); None = all.
        Raises:
            ValueError: If the clouds are not valid or have another number of features.
        """
        if isinstance(self.lattice, str):
            clouds = as_clouds(points, mask, num_features=self.num_features)
            self.step.copy_(lattice_step(clouds.points, clouds.mask, _STEPS[self.lattice]))

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
        # double, so that both precisions use the same numbers of the generator
        uniform = torch.rand(points.shape, generator=generator, dtype=torch.float64).to(points)
        half = 0.5 * self.step.to(points)  # (F,)
        low, high = (torch.as_tensor(edge).to(points) for edge in (low, high))
        least = torch.maximum(points - half, torch.minimum(low, points))
        most = torch.minimum(points + half, torch.maximum(high, points))
        noisy = least + uniform * (most - least)
        # rounding may put a draw on the edge of its cell, which belongs to the next one
        moved = (half > 0) & (self.quantize(noisy) == self.quantize(points))
        if mask is not None:
            moved &= mask.unsqueeze(-1)
        return torch.where(moved, noisy, points)

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
        step = self.step.to(points)
        if not step.any():
            return points
        divisor = torch.where(step > 0, step, 1.0)
        places = torch.round(points / divisor)
        # the ends of a range need not be on the lattice; up to rounding, they may
        if low is not None:
            places = torch.maximum(places, torch.ceil(low.to(points) / divisor - 1e-4))
        if high is not None:
            places = torch.minimum(places, torch.floor(high.to(points) / divisor + 1e-4))
        return torch.where(step > 0, places * divisor, points)

    def extra_repr(self) -> str:
        """Shown by ``print(model)``."""
        return ", ".join(f"{name}={buffer.tolist()}" for name, buffer in self.named_buffers())

    def _check_features(self, points: Tensor, name: str) -> None:
        wanted = self.num_features
        if points.dim() != 3 or points.shape[-1] != wanted:
            raise ValueError(
                f"{name} must have shape (clouds, nodes, {wanted}), got {tuple(points.shape)}"
            )

    def _check_pair(self, first: Tensor, mean: Tensor, name: str) -> None:
        self._check_features(mean, "mean")
        if first.shape != mean.shape:
            raise ValueError(
                f"{name} must have mean's shape {tuple(mean.shape)}, got {tuple(first.shape)}"
            )


class Pairs(Protocol):
    """Clouds and what a decoder makes of them, as many draws as one wants."""

    def __len__(self) -> int:
        """Number of clouds."""

    def clouds(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Clouds in the unit interval, dequantized, and their masks.

        Args:
            rows: Numbers of clouds, shape (b,).
            random: Source of the places in the cells of a lattice.
        Returns:
            Shapes (b, N, F) and (b, N).
        """

    def means(self, rows: Tensor, unit: Tensor, mask: Tensor, random: torch.Generator) -> Tensor:
        """The decoder's output for clouds, through a draw from their posteriors.

        Args:
            rows: Numbers of clouds, shape (b,), which say the labels.
            unit: These clouds, perhaps changed, shape (b, N, F).
            mask: True where a node is real, shape (b, N).
            random: Source of the latent noise.
        Returns:
            Shape (b, N, F).
        """


class LearnedLikelihood(Likelihood):
    """A likelihood with a network of its own, trained after encoder and decoder."""

    @abstractmethod
    def prepare_fit(self, unit: Tensor, mask: Tensor) -> None:
        """Looks at the training clouds before :meth:`fit`.

        Args:
            unit: Clouds in the unit interval, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
        """

    @abstractmethod
    def fit(
        self,
        pairs: Pairs,
        valid: Pairs,
        *,
        seed: int,
        progress: bool = False,
        state: Path | None = None,
    ) -> None:
        """Trains the network, in place.

        Args:
            pairs: The training clouds and what the decoder makes of them.
            valid: Held-out ones, which say what to keep.
            seed: The same seed gives the same weights.
            progress: Show a progress bar.
            state: A file to go on from if a fit was stopped, to the same bits; None = none.
        """


@register("likelihood", "mean")
class MeanLikelihood(Likelihood):
    """The decoder's mean itself, as on the slides; it has no density.

    Args:
        num_features: F.
        lattice: See :class:`Likelihood`.
    Example:
        >>> mean = torch.rand(2, 25, 3)
        >>> torch.equal(MeanLikelihood().sample(mean, torch.Generator()), mean)
        True
    """

    def sample(
        self, mean: Tensor, generator: torch.Generator, mask: Tensor | None = None
    ) -> Tensor:
        """The mean, shape (B, N, F); nothing is drawn from the generator."""
        self._check_features(mean, "mean")
        return mean

    def log_prob(self, value: Tensor, mean: Tensor) -> Tensor:
        """There is none.

        Raises:
            ValueError: Always.
        """
        raise ValueError("likelihood must be one with a density, such as gaussian, got mean")

    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        """Nothing to fit; clouds of wrong shapes are an error all the same."""
        self._check_pair(target, mean, "target")


@register("likelihood", "gaussian")
class GaussianLikelihood(Likelihood):
    r"""A Gaussian around the decoder's mean, cut to [0, 1], with one scale a feature.

    .. math::
        p(x|z) = \frac{\varphi((x - m) / \sigma_f)}
        {\sigma_f \left[ \Phi((1 - m) / \sigma_f) - \Phi(-m / \sigma_f) \right]},
        \quad 0 \le x \le 1, \quad m = m(z)

    A mean alone draws clouds that are too narrow; this noise gives the spread back.

    Args:
        num_features: F.
        lattice: See :class:`Likelihood`.
        temperature: The factor t of :meth:`calibrate` for all features; None = chosen for each.
    Attributes:
        scale: Each feature's sigma in units of its range, shape (F,); 0 = no noise, which is what
            it is before :meth:`calibrate`.
    Raises:
        ValueError: If an option is out of its range.
    References:
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin, Daniilidis and
          Levine, 2020), arXiv:2006.13202
    Example:
        >>> mean = torch.full((1000, 1, 2), 0.5)
        >>> target = mean + 0.1 * torch.randn(mean.shape, generator=torch.manual_seed(0))
        >>> likelihood = GaussianLikelihood(num_features=2)
        >>> likelihood.calibrate(target, mean)
        >>> [round(scale, 1) for scale in likelihood.scale.tolist()]
        [0.1, 0.1]
    """

    scale: Tensor

    def __init__(
        self,
        num_features: int = 3,
        lattice: str | Sequence[float] | None = "auto",
        temperature: float | None = None,
    ) -> None:
        super().__init__(num_features, lattice)
        if temperature is not None and not 0 <= temperature < math.inf:
            raise ValueError(
                f"temperature must be None or finite and at least 0, got {temperature}"
            )
        self.temperature = temperature
        self.register_buffer("scale", torch.zeros(num_features))

    def sample(
        self, mean: Tensor, generator: torch.Generator, mask: Tensor | None = None
    ) -> Tensor:
        """One draw around each mean, shape (B, N, F); the mean itself where the scale is 0."""
        self._check_features(mean, "mean")
        uniform = torch.rand(mean.shape, generator=generator, dtype=torch.float64).to(mean.device)
        return torch.where(self.scale > 0, _draw(mean, self.scale, uniform), mean)

    def log_prob(self, value: Tensor, mean: Tensor) -> Tensor:
        """Exact and differentiable, shape (B, N, F); minus infinity outside [0, 1].

        Raises:
            ValueError: If shapes differ, or a scale is 0, where there is no density.
        """
        self._check_pair(value, mean, "value")
        if not (self.scale > 0).all():
            raise ValueError(
                "scale must be above 0 in every feature for a density, which calibrate sees to, "
                f"got {self.scale.tolist()}"
            )
        scale = self.scale.to(mean)
        lowest, highest = _edges(mean, scale)
        mass = 0.5 * (highest - lowest)
        normal = -0.5 * ((value - mean) / scale).square() - 0.5 * math.log(2 * math.pi)
        inside = (value >= 0) & (value <= 1)
        return torch.where(inside, normal - torch.log(scale * mass), -math.inf)

    @torch.no_grad()
    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        r"""Fits the scale to the residuals of nodes matched one to one, in place.

        .. math::
            \sigma_f = t_f \, r_f, \quad r_f = \sqrt{\langle (x_f - m_f)^2 \rangle}, \quad
            t_f = \arg\min_t W_1 \left( \{x_f\}, \{\text{draws around } m_f
            \text{ with scale } t \, r_f\} \right)

        over all pairs of :func:`gconvae.losses.match`. A residual is not noise alone: a decoder
        trained on a set distance also puts whole nodes in wrong places, which the other nodes make
        up for in the pooled feature. All of the residual as noise draws clouds that are too wide.
        So the factor t is the one of :data:`TEMPERATURES` whose draws have the pooled feature
        closest to the clouds' (1-Wasserstein distance, the same random numbers for every t); 0 is
        among them, so that no feature's draws are farther than its means.

        Args:
            target: Clouds in the unit interval, shape (B, N, F), dequantized as in training.
            mean: The decoder's output for them, in [0, 1], nodes in any order, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N); None = all.
        Raises:
            ValueError: If shapes do not match, or clouds are not finite.
        """
        self._check_pair(target, mean, "target")
        index = match(target, mean, mask, mask)  # (B, N)
        real = index >= 0
        partner = mean.gather(1, index.clamp(min=0).unsqueeze(-1).expand_as(mean))  # (B, N, F)
        x, m = (nodes[real].cpu().double() for nodes in (target, partner))  # (P, F)
        rms = (x - m).square().mean(0).sqrt()  # (F,)
        factor = _best_factors(x, m, rms) if self.temperature is None else self.temperature
        self.scale.copy_(factor * rms)


def lattice_step(
    points: Tensor, mask: Tensor | None = None, steps: Sequence[float] = LATTICE_STEPS
) -> Tensor:
    """The coarsest lattice that all values of a feature lie on.

    Values must be multiples of it, up to 1e-4 of the step
    for rounding, and take at least :data:`MIN_PLACES` places on it: a constant, a label or an
    intensity of 0 and 1 stays continuous.

    Args:
        points: Clouds in data units, shape (B, N, F).
        mask: True where a node is real, shape (B, N); None = all.
        steps: Those to look for, the coarsest first.
    Returns:
        Shape (F,), in data units; 0 where a feature is continuous.
    Raises:
        ValueError: If the clouds are not valid.
    Example:
        >>> x = torch.arange(20.0)
        >>> lattice_step(torch.stack([x, x / 2, x / 3], dim=1)[None])
        tensor([1.0000, 0.5000, 0.0000])
    """
    clouds = as_clouds(points, mask)
    nodes = clouds.points[clouds.mask]  # (P, F)
    return torch.stack([nodes.new_tensor(_step_of(values, steps)) for values in nodes.unbind(1)])


def _step_of(values: Tensor, steps: Sequence[float]) -> float:
    for step in steps:
        places = torch.round(values / step)
        if ((values / step - places).abs() <= 1e-4).all():
            return step if len(places.unique()) >= MIN_PLACES else 0.0
    return 0.0


def _draw(mean: Tensor, scale: Tensor, uniform: Tensor) -> Tensor:
    """Cut Gaussians by the inverse of their distribution function, at uniform (..., F)."""
    m, sigma = mean.double(), scale.double().clamp(min=1e-300)
    lowest, highest = _edges(m, sigma)
    # single precision has no numbers for the tails, and double none at 1 itself
    rank = (lowest + uniform * (highest - lowest)).clamp(-1 + 2**-53, 1 - 2**-53)
    draw = m + math.sqrt(2) * sigma * torch.erfinv(rank)
    return draw.clamp(0, 1).to(mean.dtype)


def _edges(mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """2 Phi - 1 at 0 and at 1, which have opposite signs, so that no digit cancels."""
    width = math.sqrt(2) * scale
    return torch.erf(-mean / width), torch.erf((1 - mean) / width)


def _best_factors(target: Tensor, mean: Tensor, rms: Tensor) -> Tensor:
    """The t of :meth:`GaussianLikelihood.calibrate` of each feature, of matched nodes (P, F)."""
    generator = randomness.generator(0, "observation")
    uniform = torch.rand(mean.shape, generator=generator, dtype=torch.float64)
    wanted = target.sort(0).values  # (P, F)
    factors = mean.new_tensor(TEMPERATURES)
    # of equally many values, the 1-Wasserstein distance pairs them by rank
    gaps = [(_draw(mean, t * rms, uniform).sort(0).values - wanted).abs().mean(0) for t in factors]
    return factors[torch.stack(gaps).argmin(0)]  # (F,)


def _checked_step(lattice: str | Sequence[float] | None, num_features: int) -> Tensor:
    if lattice is None or (isinstance(lattice, str) and lattice in _STEPS):
        return torch.zeros(num_features)
    if isinstance(lattice, Sequence) and not isinstance(lattice, str):
        numbers = all(isinstance(step, int | float) for step in lattice)
        if numbers and len(lattice) == num_features and all(0 <= s < math.inf for s in lattice):
            return torch.tensor(lattice, dtype=torch.float32)
    raise ValueError(
        f"lattice must be 'auto', 'fine', None or a list of {num_features} finite steps of at "
        f"least 0, got {lattice!r}"
    )

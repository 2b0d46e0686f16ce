"""Mixtures of discretized logistic distributions on the unit interval, one number at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LARGEST_LOG_SCALE", "SMALLEST_LOG_SCALE", "log_cumulative", "log_prob", "sample"]

SMALLEST_LOG_SCALE = -7.5
"""Of a component: an eighth of the finest step that makes sense, so that no gradient explodes."""

LARGEST_LOG_SCALE = 80.0
"""Likewise: from some 88 on, a cell has no mass in single precision."""


def log_prob(
    value: Tensor, parameters: Tensor, steps: int | Tensor, bounded: Tensor | bool = False
) -> Tensor:
    r"""Log-mass of a value's cell, of a lattice with both ends of the unit interval on it.

    .. math:: P(v) = \sum_k \pi_k \left[ \sigma\left(\frac{v + h - m_k}{s_k}\right)
        - \sigma\left(\frac{v - h - m_k}{s_k}\right) \right], \quad h = \frac1{2 \, steps}

    The first and the last cell also get what lies beyond them, so that the masses sum to 1; where
    the distribution is bounded, P(v) is divided by what lies in all cells instead. A mass, unlike
    a density, is at most 1: no value on which many nodes lie can make it grow without end.

    Args:
        value: In [0, 1], shape (...).
        parameters: Logits of the weights, means and logarithms of the scales of K components, one
            after another, shape (..., 3 K).
        steps: Of the lattice.
        bounded: Whether nothing lies beyond the lattice, one for all or each, (...) or like it.
    Returns:
        Nats, shape (...), differentiable in the parameters.
    References:
        | PixelCNN++ (Salimans, Karpathy, Chen and Kingma, 2017), arXiv:1701.05517, section 2.1
    Example:
        >>> parameters = torch.tensor([0.0, 0.4, -3.0])
        >>> masses = log_prob(torch.arange(11) / 10, parameters.expand(11, 3), steps=10).exp()
        >>> round(masses.sum().item(), 5), masses.argmax().item()
        (1.0, 4)
    """
    logits, mean, log_scale = _components(parameters)
    value = value.unsqueeze(-1)  # (..., 1)
    half = 0.5 / (steps.unsqueeze(-1) if isinstance(steps, Tensor) else steps)
    distance, rate = value - mean, torch.exp(-log_scale)  # (..., K)
    lower, upper = rate * (distance - half), rate * (distance + half)
    log_below, log_above = nn.functional.logsigmoid(upper), nn.functional.logsigmoid(-lower)
    log_between = _log_between(log_below, log_above, 2 * half * rate)
    is_first, is_last = value < half, value > 1 - half
    log_mass = torch.where(is_first, log_below, torch.where(is_last, log_above, log_between))
    log_share = torch.log_softmax(logits, dim=-1)
    if bounded is False:
        return torch.logsumexp(log_mass + log_share, dim=-1)
    is_bounded = torch.as_tensor(bounded, device=value.device).unsqueeze(-1)  # (..., 1)
    log_mass = torch.where(is_bounded, log_between, log_mass)
    inside = _log_inside(mean, rate, half).masked_fill(~is_bounded, 0.0)
    return torch.logsumexp(log_mass + log_share, dim=-1) - torch.logsumexp(inside + log_share, -1)


def log_cumulative(
    value: Tensor, parameters: Tensor, steps: int | Tensor, bounded: bool = False
) -> Tensor:
    """Log-mass of a value's cell and of all cells below it.

    Args:
        value: In [0, 1], shape (...).
        parameters: As in :func:`log_prob`, shape (..., 3 K).
        steps: Of the lattice.
        bounded: Whether nothing lies beyond it.
    Returns:
        Nats, shape (...), 0 for the last cell.
    Example:
        >>> parameters = torch.tensor([0.0, 0.4, -3.0]).expand(11, 3)
        >>> values = torch.arange(11) / 10
        >>> masses = log_prob(values, parameters, steps=10).exp().cumsum(0)
        >>> torch.allclose(log_cumulative(values, parameters, steps=10).exp(), masses, atol=1e-6)
        True
    """
    logits, mean, log_scale = _components(parameters)
    value = value.unsqueeze(-1)  # (..., 1)
    half = 0.5 / (steps.unsqueeze(-1) if isinstance(steps, Tensor) else steps)
    rate, log_share = torch.exp(-log_scale), torch.log_softmax(logits, dim=-1)
    log_below = nn.functional.logsigmoid(rate * (value + half - mean))
    if not bounded:
        log_below = torch.where(value > 1 - half, 0.0, log_below)
        return torch.logsumexp(log_below + log_share, dim=-1)
    log_above = nn.functional.logsigmoid(rate * (mean + half))  # the first cell's lower edge
    log_below = _log_between(log_below, log_above, rate * (value + 2 * half))
    inside = torch.logsumexp(_log_inside(mean, rate, half) + log_share, dim=-1)
    return torch.logsumexp(log_below + log_share, dim=-1) - inside


def sample(
    parameters: Tensor,
    steps: int,
    uniform: Tensor,
    temperature: float = 1.0,
    most: Tensor | None = None,
    least_share: float = 0.0,
    spared: int = 0,
    bounded: bool = False,
) -> Tensor:
    """Draws by the inverse of the distribution function.

    Args:
        parameters: As in :func:`log_prob`, shape (..., 3 K).
        steps: Of the lattice.
        uniform: Two numbers in [0, 1) a draw, one for the component, shape (..., 2).
        temperature: Divides the logits and multiplies the scales; below 1, draws keep closer to
            what is likely.
        most: Largest place of each draw, shape (...); None = ``steps``.
        least_share: Components with a smaller weight are not drawn from, below 1 / K.
        spared: Components at the end that are drawn from whatever their weight.
        bounded: Whether nothing lies beyond the lattice.
    Returns:
        Places on the lattice, 0 to ``steps``, shape (...).
    Example:
        >>> parameters = torch.tensor([0.0, 0.4, -9.0]).expand(3, 3)
        >>> sample(parameters, 10, torch.tensor([[0.0, 0.1], [0.5, 0.5], [0.9, 0.9]]))
        tensor([4, 4, 4])
    """
    components = parameters.shape[-1] // 3
    weights = torch.softmax(parameters[..., :components] / temperature, dim=-1)
    if least_share:
        kept = weights >= least_share
        kept[..., components - spared :] = True
        weights = weights * kept
        weights = weights / weights.sum(-1, keepdim=True)
    within = None
    if most is not None or bounded:
        within = _within(parameters, steps, temperature, most, bounded)
        weights = weights * within[1]
        weights = weights / weights.sum(-1, keepdim=True).clamp(
            min=torch.finfo(weights.dtype).tiny
        )
    ends = weights.cumsum(-1)  # (..., K)
    # by rounding, the last end may lie below 1
    chosen = (uniform[..., :1] >= ends[..., :-1]).sum(-1, keepdim=True)  # (..., 1)
    mean = parameters.gather(-1, chosen + components)
    log_scale = parameters.gather(-1, chosen + 2 * components)
    scale = temperature * log_scale.clamp(SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE).exp()
    smallest = torch.finfo(mean.dtype).eps
    random = uniform[..., 1:]
    if within is not None:
        start, share = (part.gather(-1, chosen) for part in within)
        random = start + share * random
    drawn = torch.addcmul(mean, scale, torch.logit(random, eps=smallest))  # (..., 1)
    place = torch.round(drawn * steps).clamp(0, steps).squeeze(-1).long()
    return place if most is None else torch.minimum(place, most)


def _within(
    parameters: Tensor, steps: int, temperature: float, most: Tensor | None, bounded: bool
) -> tuple[Tensor, Tensor]:
    """What lies below the first cell of each component, and in the cells, shape (..., K) each."""
    _, mean, log_scale = _components(parameters)
    rate = torch.exp(-log_scale) / temperature
    if most is None:
        above = torch.sigmoid((1 + 0.5 / steps - mean) * rate)
    else:
        edge = (most.to(mean) + 0.5).unsqueeze(-1) / steps  # of the last cell there is
        above = torch.sigmoid((edge - mean) * rate)
        if not bounded:
            above = torch.where(most.unsqueeze(-1) >= steps, 1.0, above)
    below = torch.sigmoid((-0.5 / steps - mean) * rate) if bounded else torch.zeros_like(above)
    return below, above - below


def _log_inside(mean: Tensor, rate: Tensor, half: Tensor | float) -> Tensor:
    """Log-mass of each component in all cells."""
    log_below = nn.functional.logsigmoid(rate * (1 + half - mean))
    log_above = nn.functional.logsigmoid(rate * (mean + half))
    return _log_between(log_below, log_above, rate * (1 + 2 * half))


def _log_between(log_below: Tensor, log_above: Tensor, apart: Tensor) -> Tensor:
    """Log-mass between two numbers, by those below the upper and above the lower one."""
    # s(b) - s(a) = s(b) s(-a) (1 - e^(a - b)): no digit is lost, however far out both lie
    return log_below + log_above + torch.log(-torch.expm1(-apart))


def _components(parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, means and log-scales, shape (..., K) each."""
    logits, mean, log_scale = parameters.chunk(3, dim=-1)
    return logits, mean, log_scale.clamp(SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE)

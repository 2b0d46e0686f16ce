"""The running mean of a network's weights over the steps of its training."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

__all__ = ["RunningMean"]


class RunningMean(nn.Module):
    r"""A copy of a network whose weights follow those of the network that is trained.

    .. math:: \bar\theta_t = s_t \, \bar\theta_{t-1} + (1 - s_t) \, \theta_t, \quad
        s_t = \min\left(s, \tfrac{t}{9 + t}\right)

    so that the first steps are soon forgotten. Weights of single steps lie around the minimum,
    each with errors of its own: the mean of a flow prior after its last step was a tenth of a
    standard deviation away from where it belongs, and a hundredth with the mean of the weights.

    Args:
        network: Before its training.
        share: s.
    Attributes:
        network: The copy.
    References:
        | Acceleration of Stochastic Approximation by Averaging (Polyak and Juditsky, 1992),
          doi:10.1137/0330046
    Example:
        >>> network = nn.Linear(1, 1, bias=False)
        >>> mean = RunningMean(network, share=0.5)
        >>> with torch.no_grad():
        ...     _ = network.weight.fill_(4.0), mean.network.weight.fill_(2.0)
        >>> mean.take(network, mean.new_share(100))
        >>> mean.network.weight.item()
        3.0
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        super().__init__()
        self.share = share
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def new_share(self, steps: int) -> Tensor:
        """Share of the weights after so many steps, 1 - s_t: a tensor, as a GPU records it."""
        return torch.tensor(1 - min(self.share, steps / (9 + steps)), device="cpu")

    @torch.no_grad()
    def take(self, network: nn.Module, new: Tensor) -> None:
        """Adds the weights of the network that is trained, with a share of the mean.

        Args:
            network: Like the copy.
            new: From :meth:`new_share`.
        """
        pairs = zip(self.network.parameters(), network.parameters(), strict=True)
        for mean, weight in pairs:
            new = new.to(mean.device)  # once
            mean.lerp_(weight, new)
        for ours, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            ours.copy_(buffer)

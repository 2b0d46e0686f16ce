"""What the totals of a cloud leave to the nodes to come."""

from __future__ import annotations

import torch
from torch import Tensor

from gconvae.likelihoods.places import Places
from gconvae.likelihoods.reach import Reach
from gconvae.likelihoods.totals import Totals

__all__ = ["Room", "weight_left"]

LEAST_SHARE = 0.01
"""Of the spread, what a node may always take: else nodes behind those that took too much would all
lie at the centre."""


def weight_left(totals: Totals, place: Tensor, taken: Tensor, places: Places) -> Tensor:
    """The largest places of the first feature, the weight, by what is left of it.

    Args:
        totals: Of the clouds.
        place: Of their totals, shape (B, T).
        taken: By the nodes before each, shape (B, N).
        places: Of the nodes.
    """
    _, high = totals.ends(place)
    return places.highest(0, high[:, totals.weight].unsqueeze(1) - taken)


class Room:
    r"""Keeps nodes that are drawn within what their cloud adds up to, as all real ones are.

    .. math:: w_i \le W - \sum_{j<i} w_j, \quad
        w_i \, |x_i - c|^2 \le W V - \sum_{j<i} w_j \, |x_j - c|^2

    with the ends of the cells of W and V, and V larger by the square of how far the centre may lie
    from the middle of its cell; and no node lies farther from the centre than any training node of
    its weight, see :class:`Reach`. The weight is drawn under its bound, as in the density; a node
    beyond another one, which few are, is put on it. The weight is the first feature.

    Args:
        totals: Of the clouds.
        place: Of their totals, shape (B, T).
        places: Of the nodes.
        reach: Of nodes by their weight.
    """

    def __init__(self, totals: Totals, place: Tensor, places: Places, reach: Reach) -> None:
        low, high = totals.ends(place)
        lowest, highest = totals.centre(low), totals.centre(high)
        self.places, self.weight, self.reach = places, high[:, totals.weight], reach
        self.centre, off = (lowest + highest) / 2, (highest - lowest) / 2  # (B, F - 1)
        self.spread = self.weight * (high[:, 0] + off.square().sum(1))
        self.least = LEAST_SHARE * self.spread
        self.own = self.apart = torch.zeros_like(self.weight)
        self.farthest = torch.full_like(self.weight, torch.inf)  # squared

    def most(self) -> Tensor:
        """The largest place of the weight of the next node, shape (B,)."""
        return self.places.highest(0, self.weight)

    def held(self, feature: int, place: Tensor) -> Tensor:
        """The place of a feature of the next node, or the nearest one that there is room for.

        Args:
            feature: Its number; all before it have been here.
            place: As drawn, shape (B,).
        """
        if feature == 0:
            self.own, self.apart = self.places.amount(0, place), torch.zeros_like(self.weight)
            self.farthest = self.reach(place, self.places.steps[0]).to(self.weight).square()
            return place
        own = self.own.clamp(min=torch.finfo(self.own.dtype).tiny)
        most = torch.maximum(self.spread, self.least) / own
        most = torch.minimum(most, self.farthest) - self.apart
        reach, centre = most.clamp(min=0).sqrt(), self.centre[:, feature - 1]
        place = torch.maximum(place, self.places.lowest(feature, centre - reach))
        place = torch.minimum(place, self.places.highest(feature, centre + reach))
        self.apart = self.apart + (self.places.amount(feature, place) - centre).square()
        return place

    def ended(self) -> None:
        """Takes what the node has; the next one follows."""
        self.weight = self.weight - self.own
        self.spread = self.spread - self.own * self.apart

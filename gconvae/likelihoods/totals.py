"""What a whole cloud adds up to, which is written before its nodes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gconvae.cuda_graphs import recording
from gconvae.likelihoods.digits import Digits, Drawing
from gconvae.likelihoods.equal_cells import EqualCells
from gconvae.likelihoods.places import OCTAVES, Places, waves
from gconvae.likelihoods.value_layers import Value, two_layers

__all__ = ["STEPS", "Totals"]

STEPS, STEPS_OF_WEIGHT, STEPS_OF_SPREAD = 15, 63, 255
"""Last places of totals: 16 cells that hold similar numbers of training clouds, 64 of the weight,
256 of the sum of the spreads, in which masses of particles are narrow peaks. What is told with
more digits than nodes can be drawn makes the last nodes pay for all before."""

SMALLEST_RANGE = 1e-6
"""Of a total over the training clouds, as a share of its size, so that units do not matter: one
that varies less never varies."""


class Totals(nn.Module):
    r"""The distribution of the weight of a cloud, of its centre and of its spread.

    .. math:: W = \sum_i w_i, \quad c_k = \frac1W \sum_i w_i \, x_{i,k}, \quad
        v_k = \frac1W \sum_i w_i \, x_{i,k}^2 - c_k^2

    written in the order V, W, c, and all v but the last, V the sum of all v. Of a jet, whose w is
    pT, V is the squared mass over the squared pT, to first order in the angles. A sum over nodes
    is off by the errors of all of them; written first, it is as good as any single number, and
    the nodes follow.

    Args:
        num_features: F of the nodes, at least 2.
        width: Numbers that are known of a cloud, and inside.
        components: Of each mixture.
        octaves: Waves by which a number is seen.
    Attributes:
        number: T, how many totals there are.
        others: F - 1, features that have a centre.
        weight: Column of W.
    Example:
        >>> totals = Totals(3, 8, 4)
        >>> sums = torch.tensor([[0.5, 0.1, 0.0, 0.03, 0.01]])
        >>> totals.of_sums(sums)
        tensor([[0.0400, 0.5000, 0.2000, 0.0000, 0.0200]])
        >>> totals.sums(totals.of_sums(sums))
        tensor([[0.5000, 0.1000, 0.0000, 0.0300, 0.0100]])
    """

    low: Tensor
    width: Tensor

    def __init__(
        self, num_features: int, width: int, components: int, octaves: int = OCTAVES
    ) -> None:
        super().__init__()
        self.others = num_features - 1
        self.number, self.weight = 2 * num_features - 1, 1
        self.steps = [STEPS_OF_SPREAD, STEPS_OF_WEIGHT] + [STEPS] * (self.number - 2)
        self.octaves = octaves
        self.register_buffer("low", torch.zeros(self.number))
        self.register_buffer("width", torch.ones(self.number))
        self.cells = EqualCells(self.number)
        seen = waves(octaves)
        self.known = two_layers(width, width)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), two_layers(width, width))
            for _ in range(self.number)
        )
        self.values = nn.ModuleList(Value(seen, width) for _ in range(self.number - 1))
        self.digits = Digits(self.number, width, components, octaves)
        self.context = two_layers(self.number * seen, width)
        self._known_places: Places | None = None

    def of_sums(self, sums: Tensor) -> Tensor:
        """Totals of sums of w, w x and w times x squared over all nodes, shape (..., 2 F - 1).

        Args:
            sums: Data units, as :meth:`RunningSums.totals` gives them for the last node.
        Returns:
            Shape (..., T).
        """
        weight, first, second = sums.split([1, self.others, self.others], dim=-1)
        divisor = weight.clamp(min=torch.finfo(sums.dtype).tiny)
        centre = first / divisor
        spread = (second / divisor - centre.square()).clamp(min=0.0)
        return torch.cat([spread.sum(-1, keepdim=True), weight, centre, spread[..., :-1]], dim=-1)

    def centre(self, totals: Tensor) -> Tensor:
        """The centre of each cloud in all features but the weight, shape (..., F - 1)."""
        return totals[..., self.weight + 1 : self.weight + 1 + self.others]

    def sums(self, totals: Tensor) -> Tensor:
        """The inverse of :meth:`of_sums`."""
        parts = [1, 1, self.others, self.others - 1]
        every, weight, centre, spread = totals.split(parts, dim=-1)
        spread = torch.cat([spread, every - spread.sum(-1, keepdim=True)], dim=-1)
        second = weight * (spread + centre.square())
        return torch.cat([weight, weight * centre, second], dim=-1)

    @torch.no_grad()
    def fit(self, totals: Tensor) -> None:
        """Takes ranges and cells of training clouds, shape (B, T)."""
        totals = totals.double()
        low, high = totals.amin(0), totals.amax(0)
        varies = high - low > SMALLEST_RANGE * torch.maximum(high.abs(), low.abs())
        self.low.copy_(low)
        self.width.copy_(torch.where(varies, high - low, 0.0))
        self.cells.fit(self._unit(totals), varies)

    def place(self, totals: Tensor) -> Tensor:
        """Data units, shape (B, T), as places."""
        return self._places(totals).of(self.cells(self._unit(totals)))

    def amounts(self, place: Tensor) -> Tensor:
        """Places, shape (B, T), in data units."""
        unit = self.cells.back(self._places(self.low).values(place))
        return self.low + self.width * unit

    def ends(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """The ends of the cells of places, data units, shape (B, T) each."""
        places = self._places(self.low)
        values, half = places.values(place), places.half_steps()
        low, high = (self.cells.back((values + side).clamp(0, 1)) for side in (-half, half))
        return self.low + self.width * low, self.low + self.width * high

    def log_mass(self, place: Tensor, known: Tensor) -> Tensor:
        """Of the totals of clouds.

        Args:
            place: Shape (B, T).
            known: What is known of each cloud, shape (B, W).
        Returns:
            Nats, shape (B,).
        """
        places = self._places(known)
        seen = places.seen(place)  # (B, T, waves + 16)
        hidden, states = self.known(known), []
        for total, layer in enumerate(self.layers):
            hidden = hidden + layer(hidden)
            states.append(hidden)
            if total < len(self.values):
                hidden = hidden + self.values[total](seen[:, total])
        state = torch.stack(states).unsqueeze(2)  # (T, B, 1, W)
        return self.digits.log_mass(state, place.unsqueeze(1), places).sum((1, 2))

    def draw(self, known: Tensor, uniform: Tensor, least_share: float = 0.0) -> Tensor:
        """Totals one after another, at temperature 1.

        Args:
            known: What is known of each cloud, shape (B, W).
            uniform: Three numbers in [0, 1) for each, shape (B, T, 3).
            least_share: Of a component that is drawn from.
        Returns:
            Places, shape (B, T).
        """
        places = self._places(known)
        numbers = uniform.permute(1, 2, 0).contiguous()  # (T, 3, B)
        hidden, drawn = self.known(known), []
        for total, layer in enumerate(self.layers):
            hidden = hidden + layer(hidden)
            drawing = Drawing(self.digits, total, places, 1.0, least_share)
            place = drawing(hidden, numbers[total])
            drawn.append(place)
            if total < len(self.values):
                hidden = hidden + self.values[total](places.every(total).index_select(0, place))
        return torch.stack(drawn, dim=1)

    def forward(self, place: Tensor) -> Tensor:
        """What all nodes are conditioned on of the totals, shape (B, T) to (B, W)."""
        places = self._places(self.low)
        return self.context(places.seen(place)[..., : places.waves].flatten(1))

    def _unit(self, totals: Tensor) -> Tensor:
        width = torch.where(self.width > 0, self.width, 1.0)
        return ((totals - self.low) / width).clamp(0, 1)

    def _places(self, like: Tensor) -> Places:
        known, steps = self._known_places, self.steps
        if known is None or not (recording(like) or known.fits(steps, like)):
            known = self._known_places = Places(steps, like, self.octaves)
        return known

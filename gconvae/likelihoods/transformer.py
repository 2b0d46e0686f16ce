"""The causal transformer of a cloud: from the nodes so far to the distribution of the next one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from gconvae.datasets import transforms
from gconvae.likelihoods import discretized_logistic
from gconvae.nn.causal import CausalBlock, Past

__all__ = ["FINE", "NodeTransformer"]

FINE = 16
"""Steps of the fine lattice in one of the coarse one."""

OCTAVES = 6
"""Waves by which the network sees a number; the shortest is 1/32 of its range."""

WAVES = 1 + 2 * OCTAVES
"""Numbers that stand for one."""

SPREAD = -2.5
"""Logarithm of the scales that components begin with."""


class NodeTransformer(nn.Module):
    """From the nodes so far, the mean and the condition to the distribution of the next node.

    Args:
        num_points: N, the most nodes of a cloud.
        num_features: F.
        width: Features of a place inside.
        heads: Attention heads, a divisor of ``width``.
        blocks: Attention blocks before each feature of a node, in the order of ``columns``.
        components: Of the mixture of each feature.
    Attributes:
        columns: Columns of the features in the order in which they are drawn.
    """

    def __init__(
        self,
        num_points: int,
        num_features: int,
        width: int,
        heads: int,
        blocks: Sequence[int],
        components: int,
    ) -> None:
        super().__init__()
        last = min(2, num_features)
        self.columns = (*reversed(range(last)), *range(last, num_features))  # y, x, the rest
        self.node = _two_layers(num_features * WAVES, width)
        self.first = nn.Parameter(0.02 * torch.randn(width))
        self.places = nn.Parameter(0.02 * torch.randn(num_points, width))
        self.told = _two_layers(transforms.NUM_CHANGES + 1, width)
        self.mean = _two_layers(num_points * num_features, width)
        self.counterpart = nn.Linear(num_features * WAVES, width)
        self.stages = nn.ModuleList(
            _Feature(number, width, heads, components, is_last=i + 1 == num_features)
            for i, number in enumerate(blocks)
        )

    def forward(
        self, nodes: Tensor, mean: Tensor, condition: Tensor, steps: Sequence[int]
    ) -> Tensor:
        """Log-mass of every feature of every node given the ones before it.

        Args:
            nodes: On the lattice, in order, shape (B, N, F).
            mean: In order, shape (B, N, F).
            condition: How the cloud was changed and how full it is, shape (B, C).
            steps: Of the lattice of each feature.
        Returns:
            Nats, shape (B, N, F).
        """
        before = self.node(_waves(nodes[:, :-1]))  # (B, N - 1, W)
        first = self.first.expand(len(nodes), 1, -1)
        hidden = torch.cat([first, before], dim=1) + self._shift(mean, condition)  # (B, N, W)
        made: dict[int, Tensor] = {}
        for column, stage in self._features():
            hidden, state, _ = stage(hidden)
            place = torch.round(nodes[..., column] * steps[column]).long()  # (B, N)
            made[column] = stage.log_mass(state, place, steps[column])
            hidden = stage.add_value(hidden, place, steps[column])
        return torch.stack([made[column] for column in range(len(made))], dim=-1)

    def draw(
        self,
        mean: Tensor,
        condition: Tensor,
        uniform: Tensor,
        steps: Sequence[int],
        temperature: float,
    ) -> Tensor:
        """Nodes one after another.

        Args:
            mean: In order, shape (B, N, F).
            condition: How the cloud was changed and how full it is, shape (B, C).
            uniform: Three numbers in [0, 1) for each feature, shape (B, N, F, 3).
            steps: Of the lattice of each feature.
            temperature: Of the coarse digits.
        Returns:
            Shape (B, N, F).
        """
        shift = self._shift(mean, condition)  # (B, N, W)
        hidden = self.first.expand(len(mean), 1, -1)  # (B, 1, W)
        nodes = torch.zeros_like(mean)
        pasts: list[list[Past] | None] = [None] * len(self.stages)
        for i in range(mean.shape[1]):
            hidden = hidden + shift[:, i : i + 1]
            for n, (column, stage) in enumerate(self._features()):
                hidden, state, pasts[n] = stage(hidden, pasts[n])
                random = uniform[:, i, column]  # (B, 3)
                place = stage.draw(state[:, 0], random, steps[column], temperature)  # (B,)
                nodes[:, i, column] = place.to(nodes) / steps[column]
                hidden = stage.add_value(hidden, place[:, None], steps[column])
            hidden = self.node(_waves(nodes[:, i : i + 1]))
        return nodes

    def _features(self) -> Iterator[tuple[int, _Feature]]:
        """Column and stage of each feature, in the order in which they are drawn."""
        for column, stage in zip(self.columns, self.stages, strict=True):
            assert isinstance(stage, _Feature)
            yield column, stage

    def _shift(self, mean: Tensor, condition: Tensor) -> Tensor:
        """What each place knows beside the nodes, shape (B, N, W)."""
        whole = self.mean(2 * mean.flatten(1) - 1) + self.told(condition)  # (B, W)
        return whole.unsqueeze(1) + self.counterpart(_waves(mean)) + self.places


class _Feature(nn.Module):
    """Blocks, then the distribution of one feature; the next one is conditioned on its value."""

    def __init__(
        self, blocks: int, width: int, heads: int, components: int, is_last: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(CausalBlock(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        mixture = nn.Linear(width, 3 * components)
        self.coarse = nn.Sequential(nn.Linear(width, width), nn.GELU(), mixture)
        self.fine_state = nn.Linear(width, width)
        self.fine_cell = nn.Linear(WAVES, width, bias=False)
        self.fine = nn.Linear(width, FINE)
        # no further feature of its own node is conditioned on the last one
        self.value = None if is_last else nn.Linear(WAVES, width)
        self.digit = None if is_last else nn.Embedding(FINE, width)
        with torch.no_grad():
            _, mean, log_scale = mixture.bias.chunk(3)
            mean.copy_(torch.linspace(0.2, 0.8, components))
            log_scale.fill_(SPREAD)

    def forward(
        self, hidden: Tensor, past: list[Past] | None = None
    ) -> tuple[Tensor, Tensor, list[Past]]:
        """Hidden features for the next stage, those that say the distribution, and the past."""
        kept = []
        for i, block in enumerate(self.blocks):
            hidden, seen = block(hidden, None if past is None else past[i])
            kept.append(seen)
        return hidden, self.norm(hidden), kept

    def log_mass(self, state: Tensor, place: Tensor, steps: int) -> Tensor:
        """Of places 0 to ``steps``, shape (B, N), given the state, shape (B, N, W)."""
        cell, digit = place // FINE, place % FINE
        fine = torch.log_softmax(self._fine(state, cell, steps), dim=-1)
        mass = fine.gather(-1, digit.unsqueeze(-1)).squeeze(-1)
        if steps < FINE:  # one cell
            return mass
        cells = steps // FINE
        return mass + discretized_logistic.log_prob(
            cell.to(state) / cells, self.coarse(state), cells
        )

    def draw(self, state: Tensor, uniform: Tensor, steps: int, temperature: float) -> Tensor:
        """Places, shape (B,), given the state (B, W) and three numbers in [0, 1), (B, 3)."""
        cells = steps // FINE
        cell = torch.zeros(len(state), dtype=torch.long, device=state.device)
        if cells:
            drawn = discretized_logistic.sample(
                self.coarse(state), cells, uniform[:, :2], temperature
            )
            cell = torch.round(drawn * cells).long()
        ends = torch.softmax(self._fine(state, cell, steps), dim=-1).cumsum(-1)  # (B, 16)
        digit = (uniform[:, 2:] >= ends[:, :-1]).sum(-1)
        return (FINE * cell + digit).clamp(max=steps)  # rounding can draw what has no mass

    def add_value(self, hidden: Tensor, place: Tensor, steps: int) -> Tensor:
        """Adds what the feature of each node was, shape (B, N)."""
        if self.value is None or self.digit is None:
            return hidden
        value = (place.to(hidden) / steps).unsqueeze(-1)
        return hidden + self.value(_waves(value)) + self.digit(place % FINE)

    def _fine(self, state: Tensor, cell: Tensor, steps: int) -> Tensor:
        """Logits of the digits that there are in a cell, shape (..., 16)."""
        where = ((cell * FINE).to(state) / steps).unsqueeze(-1)
        mixed = self.fine_state(state) + self.fine_cell(_waves(where))
        logits = self.fine(nn.functional.gelu(mixed))
        beyond = FINE * cell.unsqueeze(-1) + torch.arange(FINE, device=cell.device) > steps
        return logits.masked_fill(beyond, -math.inf)


def _two_layers(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))


def _waves(values: Tensor) -> Tensor:
    """Numbers in [0, 1] in [-1, 1] and as waves, shape (..., V) to (..., 13 V)."""
    centred = 2 * values - 1
    octaves = math.pi * 2.0 ** torch.arange(OCTAVES, device=values.device, dtype=values.dtype)
    phases = (centred.unsqueeze(-1) * octaves).flatten(-2)
    return torch.cat([centred, phases.sin(), phases.cos()], dim=-1)

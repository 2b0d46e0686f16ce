"""The causal transformer of a cloud: from the nodes so far to the distribution of the next one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gconvae.conditioning import MEAN_ALONE, ConditionedOn
from gconvae.datasets import transforms
from gconvae.likelihoods.digits import Digits, Drawing
from gconvae.likelihoods.near_nodes import NearDrawing, NearNodes
from gconvae.likelihoods.places import OCTAVES, Places, waves
from gconvae.likelihoods.reach import Reach
from gconvae.likelihoods.room import Room, weight_left
from gconvae.likelihoods.running_sums import RunningSums
from gconvae.likelihoods.totals import Totals
from gconvae.likelihoods.value_layers import Value, two_layers
from gconvae.nn.causal import CausalBlock, Reader

__all__ = ["NodeTransformer"]


class NodeTransformer(nn.Module):
    """From the nodes so far, the mean and the condition to the distribution of the next node.

    Features are in the order in which they are drawn, here and in all that it uses.

    Args:
        num_points: N, the most nodes of a cloud.
        num_features: F.
        width: W, features of a place inside.
        heads: Attention heads, a divisor of ``width``.
        blocks: Attention blocks before each feature of a node.
        components: Of the mixture of each feature.
        octaves: Waves by which it sees a number, see :class:`Places`.
        weighted: Whether a feature weighs the nodes, which then know what those before them
            add up to, see :class:`RunningSums`, and what all of them do, see :class:`Totals`; and
            may lie near those before them, see :class:`NearNodes`. If the weight is the first
            feature and never negative, no node weighs more than what is left, see :class:`Room`.
        conditioned_on: What of a cloud it is conditioned on.
    """

    def __init__(
        self,
        num_points: int,
        num_features: int,
        width: int,
        heads: int,
        blocks: Sequence[int],
        components: int,
        octaves: int = OCTAVES,
        weighted: bool = False,
        conditioned_on: ConditionedOn = MEAN_ALONE,
    ) -> None:
        super().__init__()
        self.descending = False  # whether the first feature of no node is above that of the last
        seen = waves(octaves)
        self.node, self.node_out = nn.Linear(num_features * seen, width), nn.Linear(width, width)
        self.first = nn.Parameter(0.02 * torch.randn(width))
        self.places = nn.Parameter(0.02 * torch.randn(num_points, width))
        self.context = two_layers(transforms.NUM_CHANGES + 1 + conditioned_on.context_dim, width)
        self.mean = two_layers(num_points * num_features, width) if conditioned_on.mean else None
        self.counterpart = nn.Linear(num_features * seen, width) if conditioned_on.mean else None
        self.blocks = nn.ModuleList(
            nn.Sequential(*(CausalBlock(width, heads) for _ in range(number))) for number in blocks
        )
        # no further feature of its own node is conditioned on the last one
        self.values = nn.ModuleList(Value(seen, width) for _ in range(num_features - 1))
        self.digits = Digits(num_features, width, components, octaves)
        self.sums = RunningSums(num_points, num_features, width) if weighted else None
        self.totals = Totals(num_features, width, components, octaves) if weighted else None
        self.near = NearNodes(num_features, width) if weighted else None
        self.reach = Reach() if weighted else None

    def fit(self, place: Tensor, mask: Tensor, places: Places) -> None:
        """Looks at what training clouds add up to, shapes (B, N, F) and (B, N), in order."""
        if self.sums is not None and self.totals is not None and self.reach is not None:
            amounts = places.amounts(place)
            totals = self.totals.of_sums(self._whole(amounts, mask))
            self.totals.fit(totals)
            if self.sums.weight == 0:
                centre = self.totals.centre(totals).unsqueeze(1)
                apart = (amounts[..., 1:] - centre).square().sum(-1).sqrt()
                self.reach.fit(place[..., 0], apart, mask, places.steps[0])
            said = self.totals.sums(self.totals.amounts(self.totals.place(totals)))
            self.sums.fit(said, amounts, mask)

    def forward(
        self,
        place: Tensor,
        mask: Tensor,
        mean: Tensor,
        condition: Tensor,
        places: Places,
        free: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log-mass of every feature of every node given the ones before it.

        Args:
            place: Of nodes in order, shape (B, N, F).
            mask: True where a node is real, shape (B, N).
            mean: Places of the nodes of the mean, in order, shape (B, N, F).
            condition: How the cloud was changed, how full it is, and its context, shape (B, C).
            places: The lattices.
            free: The mean before it was rounded to places, for its gradient; None = for none.
        Returns:
            Nats, shape (B, N, F); and those of what all nodes add up to, which is written before
            them, shape (B,), 0 where nodes have no weight.
        """
        seen = places.seen(place)  # (B, N, F, waves + 16)
        nodes = seen[:, :-1, :, : places.waves].flatten(2)
        before = self._node_output(self.node(nodes))  # (B, N - 1, W)
        known = self._cloud_state(mean, condition, places, free)
        log_mass, own, most = known.new_zeros(len(known)), {}, self._most(place, places)
        if self.sums is not None and self.totals is not None:
            amounts = places.amounts(place)
            totals = self.totals.place(self.totals.of_sums(self._whole(amounts, mask)))
            log_mass = self.totals.log_mass(totals, known)
            known = known + self.totals(totals)
            whole = self.totals.sums(self.totals.amounts(totals)).unsqueeze(1)
            so_far = self.sums.totals(amounts)
            sums = self.sums.summary(so_far[:, :-1], whole, amounts[:, :-1])
            before = before + self.sums(sums, slice(sums.shape[1]))
            left = whole - nn.functional.pad(so_far[:, :-1], (0, 0, 1, 0))
            own = self.sums.own_features(left, amounts, slice(amounts.shape[1]))
            if self.sums.weight == 0 and places.first_adds_up:
                taken = whole[..., 0] - left[..., 0]  # by the nodes before
                most = _smaller(most, weight_left(self.totals, totals, taken, places))
                most = torch.maximum(most, place[..., 0])  # but for rounding, it is
        first = self.first.expand(len(place), 1, -1)
        hidden = torch.cat([first, before], dim=1) + self._shift(known, mean, places, free)
        states = []
        for feature, blocks in enumerate(self.blocks):
            hidden = blocks(hidden)  # (B, N, W)
            states.append(hidden)
            if feature < len(self.values):
                hidden = hidden + self.values[feature](seen[:, :, feature])
            if feature + 1 in own:
                hidden = hidden + own[feature + 1]
        state, near = torch.stack(states), None
        if self.near is not None:
            near = self.near(state, before, place, places)
        return self.digits.log_mass(state, place, places, most, near), log_mass

    def draw(
        self,
        mean: Tensor,
        condition: Tensor,
        uniform: Tensor,
        places: Places,
        temperature: Sequence[float],
        least_share: float = 0.0,
    ) -> Tensor:
        """Nodes one after another.

        Args:
            mean: Places of the nodes of the mean, in order, shape (B, N, F).
            condition: How the cloud was changed, how full it is, and its context, shape (B, C).
            uniform: Three numbers in [0, 1) for each feature of a node, and then for each total,
                shape (B, N F + T, 3).
            places: The lattices.
            temperature: Of the coarse digit of each feature.
            least_share: Of a component that is drawn from.
        Returns:
            Places, shape (B, N, F).
        """
        features = range(len(self.blocks))
        known, whole, room = self._cloud_state(mean, condition, places), None, None
        of_nodes, of_totals = uniform.tensor_split([mean.shape[1] * len(features)], dim=1)
        if self.sums is not None and self.totals is not None and self.reach is not None:
            totals = self.totals.draw(known, of_totals, least_share)
            known = known + self.totals(totals)
            whole = self.totals.sums(self.totals.amounts(totals))
            if self.sums.weight == 0 and places.first_adds_up:
                room = Room(self.totals, totals, places, self.reach)
        shift = self._shift(known, mean, places).transpose(0, 1).contiguous()  # (N, B, W)
        like = shift.transpose(0, 1)
        near = None if self.near is None else NearDrawing(self.near, places, like)
        draws = [
            Drawing(self.digits, feature, places, temperature[feature], least_share, near)
            for feature in features
        ]
        readers = [
            [Reader(block, like) for block in blocks if isinstance(block, CausalBlock)]
            for blocks in map(nn.Module.children, self.blocks)
        ]
        tables = [self.added(feature, places) for feature in features]
        numbers = of_nodes.unflatten(1, mean.shape[1:]).permute(1, 2, 3, 0).contiguous()
        hidden = self.first.expand(len(mean), -1)  # (B, W)
        width, total = hidden.shape[1], hidden.new_zeros(len(mean), 2 * len(features) - 1)
        unknown = torch.zeros_like(mean[:, 0, 0])
        last = None
        if self.descending:
            last = torch.full_like(mean[:, 0, 0], places.steps[0])
        drawn: list[Tensor] = []
        for i in range(mean.shape[1]):
            hidden, node = hidden + shift[i], self.node.bias.expand_as(hidden)
            own: dict[int, Tensor] = {}
            if room is not None:
                last = _smaller(last, room.most())
            for feature in features:
                for reader in readers[feature]:
                    hidden = reader.next(hidden)
                most = last if feature == 0 else None
                place = draws[feature](hidden, numbers[i, feature], most)  # (B,)
                place = place if room is None else room.held(feature, place)
                if near is not None:
                    near.drawn(feature, place)
                last = place if self.descending and feature == 0 else last
                drawn.append(place)
                added = tables[feature].index_select(0, place)
                node = node + added[:, :width]
                if feature < len(self.values):
                    hidden = hidden + added[:, width:]
                if self.sums is not None and whole is not None and feature == self.sums.weight:
                    columns = drawn[-1 - feature :] + [unknown] * (len(features) - 1 - feature)
                    node_so_far = places.amounts(torch.stack(columns, dim=-1))
                    own = self.sums.own_features(whole - total, node_so_far, i)
                if feature + 1 in own:
                    hidden = hidden + own[feature + 1]
            hidden = self._node_output(node)
            if self.sums is not None and whole is not None:
                node = places.amounts(torch.stack(drawn[-len(features) :], dim=-1))
                total = total + self.sums.terms(node)
                hidden = hidden + self.sums(self.sums.summary(total, whole, node), i)
            if near is not None:
                near.ended(hidden)
            if room is not None:
                room.ended()
        return torch.stack(drawn, dim=1).unflatten(1, (-1, len(features)))

    def shift(self, mean: Tensor, condition: Tensor, places: Places) -> Tensor:
        """What each place knows beside the nodes, where these have no weight, (B, N, W)."""
        return self._shift(self._cloud_state(mean, condition, places), mean, places)

    def added(self, feature: int, places: Places) -> Tensor:
        """What each place of a feature adds to the next node and to its own, (S + 1, W or 2 W)."""
        every = places.every(feature)
        weight = self.node.weight.unflatten(1, (-1, places.waves))[:, feature]
        own = [layer(every) for layer in self.values[feature : feature + 1]]  # the last has none
        return torch.cat([every[:, : places.waves] @ weight.T, *own], dim=1)

    def _node_output(self, node: Tensor) -> Tensor:
        """What the place behind a node knows of it."""
        return self.node_out(nn.functional.gelu(node))

    def _most(self, place: Tensor, places: Places) -> Tensor | None:
        """Largest place of the first feature of each node by the rule, shape (B, N)."""
        if not self.descending:
            return None
        first = torch.full_like(place[:, :1, 0], places.steps[0])
        return torch.cat([first, place[:, :-1, 0]], dim=1)

    def _whole(self, amounts: Tensor, mask: Tensor) -> Tensor:
        """Sums over all nodes of clouds in data units, shape (B, 2 F - 1)."""
        assert self.sums is not None
        return self.sums.terms(amounts).masked_fill(~mask.unsqueeze(-1), 0.0).sum(1)

    def _cloud_state(
        self, mean: Tensor, condition: Tensor, places: Places, free: Tensor | None = None
    ) -> Tensor:
        """What is known of a cloud before anything is written, shape (B, W)."""
        state: Tensor = self.context(condition)
        if self.mean is None:
            return state
        return self.mean(2 * places.values_along(mean, free).flatten(1) - 1) + state

    def _shift(
        self, known: Tensor, mean: Tensor, places: Places, free: Tensor | None = None
    ) -> Tensor:
        """What each place knows beside the nodes, shape (B, N, W)."""
        if self.counterpart is None:
            return known.unsqueeze(1) + self.places
        seen = places.seen_along(mean, free).flatten(2)
        return known.unsqueeze(1) + self.counterpart(seen) + self.places


def _smaller(most: Tensor | None, other: Tensor) -> Tensor:
    return other if most is None else torch.minimum(most, other)

"""The likelihood that draws a cloud node by node, each knowing the nodes before it."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gconvae import files
from gconvae.datasets import transforms
from gconvae.likelihoods import discretized_logistic
from gconvae.likelihoods.base import LearnedLikelihood, Pairs
from gconvae.nn.causal import CausalBlock, Past
from gconvae.randomness import generator
from gconvae.registry import check_counts, check_widths, register

__all__ = ["AutoregressiveLikelihood"]

STEPS_OF_POSITION = 432
"""Lattice of a position in [0, 1]: 1/16 px in an image of 28 x 28 pixels."""

STEPS_OF_INTENSITY = 255
"""Lattice of an intensity."""

FINE = 16
"""Steps of the fine lattice in one of the coarse one: a pixel has 16 of 1/16 px."""

MOST_RANKED = 7
"""Features that order the nodes; with more, their rank would be no whole number of 64 bits."""

OCTAVES = 6
"""Waves by which the network sees a number; the shortest is 1/32 of its range."""

WAVES = 1 + 2 * OCTAVES
"""Numbers that stand for one."""

SPREAD = -2.5
"""Logarithm of the scales that components begin with."""

CHECK_EVERY = 250
"""Steps between two looks at the held-out clouds."""

MOST_HELD_OUT = 1000
"""Held-out clouds that are looked at."""

AVERAGE = 0.999
"""Share of the old in the running mean of the weights, which is the model that is kept."""

WARMUP = 200
"""Steps over which the rates grow from 0; from there they fall like a cosine."""

MATRIX_RATE, OTHER_RATE, DECAY = 2e-2, 3e-3, 0.05
"""Learning rates of Muon, for the matrices of the blocks, and of Adam, for the rest."""

LARGEST_GRADIENT = 10.0
"""Norm to which a gradient is cut."""


@register("likelihood", "autoregressive")
class AutoregressiveLikelihood(LearnedLikelihood):
    r"""A distribution over whole clouds around the decoder's mean, written node by node.

    .. math::
        p(x|\hat x) = \prod_{i=1}^{N} \prod_{f} p\left(x_{i,f} \mid x_{i,<f}, x_{<i}, \hat x\right)

    with the nodes from the top down, equal heights from the left, and f first y, then x, then
    the intensity and the rest. Nodes that keep their distance, strokes that go on and intensities
    that fit their neighbours cannot come from noise that is independent from node to node; here a
    causal transformer knows the nodes before.

    A value is written with two digits,

    .. math:: x_{i,f} = \frac{16 \, c + r}{\text{steps}}, \quad
        p(x_{i,f}) = p(c) \, p(r | c), \quad 0 \le r < 16

    c from a mixture of discretized logistic distributions (:mod:`gconvae.likelihoods`), which is
    smooth, and r from one probability each. A mean position of a handful of pixels is mostly a
    whole, a half or a third: no smooth density knows that, but any classifier of nodes does.

    The mean tells the network about the cloud as a whole. Its nodes are put in the same order:
    all of them shift every place, and the i-th one the i-th place.

    :meth:`fit` changes clouds at random (:func:`gconvae.datasets.affine`) and tells the network
    how, so that some thousand clouds are enough and draws are not changed ones.

    Args:
        num_points: N, the most nodes of a cloud.
        num_features: F, at least 2.
        lattice: See :class:`Likelihood`; ``"fine"`` finds steps down to 1/16 px and 1/255.
        width: Features of a place inside.
        heads: Attention heads, a divisor of ``width``.
        blocks: Attention blocks before each feature of a node, in the order y, x, intensity, ...
            One number = 2 before the first, 1 before each of the others, times that number.
        components: Of each mixture.
        steps: Steps of :meth:`fit`.
        batch_size: Clouds a step.
        augmented: Share of the clouds that are changed.
        temperature: Of draws (``discretized_logistic.sample``). A likelihood is maximal for
            a distribution that is rather too wide; 0.9 was best for eights.
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
        steps: int = 6000,
        batch_size: int = 64,
        augmented: float = 0.9,
        temperature: float = 0.9,
    ) -> None:
        super().__init__(num_features, lattice)
        check_counts(num_points=num_points, width=width, heads=heads, components=components)
        check_counts(steps=steps, batch_size=batch_size)
        if num_features < 2:
            raise ValueError(f"num_features must be at least 2, two positions, got {num_features}")
        if not 0 <= augmented <= 1:
            raise ValueError(f"augmented must be in [0, 1], got {augmented}")
        if not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0 and finite, got {temperature}")
        if isinstance(blocks, int):
            check_counts(blocks=blocks)
            blocks = [2 * blocks, *[blocks] * (num_features - 1)]
        check_widths("blocks", blocks)
        if len(blocks) != num_features:
            raise ValueError(f"blocks must be one number or {num_features}, got {list(blocks)}")
        self.num_points, self.fit_steps, self.batch_size = num_points, steps, batch_size
        self.augmented, self.temperature = augmented, temperature
        self.network = _Network(num_points, num_features, width, heads, blocks, components)
        fineness = [STEPS_OF_POSITION, STEPS_OF_POSITION, STEPS_OF_INTENSITY]
        fineness += [STEPS_OF_POSITION] * (num_features - 3)
        self.register_buffer("lattice_steps", torch.tensor(fineness[:num_features]))
        self.register_buffer("centre", torch.full((2,), 0.5))

    @torch.no_grad()
    def sample(
        self, mean: Tensor, generator: torch.Generator, mask: Tensor | None = None
    ) -> Tensor:
        """One draw of each cloud around its mean.

        Args:
            mean: The decoder's output, in [0, 1], nodes in any order, shape (B, N, F).
            generator: On the CPU, so that every device gets the same numbers.
            mask: True for the first n nodes of each cloud, shape (B, N); None = all.
        Returns:
            On the lattice in [0, 1], nodes from the top down, masked ones 0, shape (B, N, F).
        """
        self._check_nodes(mean)
        shape = (*mean.shape, 3)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64).to(mean)
        mask = _all_real(mean) if mask is None else mask
        told = self._told(mask, mean.new_zeros(len(mean), transforms.NUM_CHANGES))
        ordered = self._from_top(mean, mask)[0]
        steps = self.lattice_steps.tolist()
        drawn = self.network.draw(ordered, told, uniform, steps, self.temperature)
        return self._from_top(drawn, mask)[0]  # a network may err about what lies above

    def log_prob(self, value: Tensor, mean: Tensor) -> Tensor:
        """Log-density of each feature of each node given the nodes above it.

        Args:
            value: Nodes in [0, 1], in any order, shape (B, N, F).
            mean: The decoder's output, nodes in any order, shape (B, N, F).
        Returns:
            Nats, in the order of ``value``, constant within a cell of the lattice, shape
            (B, N, F).
        """
        self._check_pair(value, mean, "value")
        self._check_nodes(mean)
        mask = _all_real(mean)
        nodes, order = self._from_top(value, mask)
        told = self._told(mask, mean.new_zeros(len(mean), transforms.NUM_CHANGES))
        log_mass = self._log_mass(nodes, self._from_top(mean, mask)[0], told)
        log_density = log_mass + self.lattice_steps.to(mean).log()
        return torch.zeros_like(log_density).scatter(1, _wide(order, log_density), log_density)

    def calibrate(self, target: Tensor, mean: Tensor, mask: Tensor | None = None) -> None:
        """Nothing to do after :meth:`fit`; clouds of wrong shapes are an error all the same."""
        self._check_pair(target, mean, "target")

    def fit(
        self,
        pairs: Pairs,
        valid: Pairs,
        *,
        seed: int,
        progress: bool = False,
        state: Path | None = None,
    ) -> None:
        r"""Maximizes the likelihood of clouds given their means, in place.

        .. math::
            \max_\theta \sum_b \log p_\theta(x_b | \hat x(z_b)), \quad z_b \sim q(z|x_b)

        The weights are running means over the steps, and those with the best likelihood of
        held-out clouds, unchanged ones, are kept.

        Args:
            pairs: The training clouds and what the decoder makes of them.
            valid: Held-out ones.
            seed: The same seed gives the same weights.
            progress: Show a progress bar.
            state: A file to go on from, written at every look at the held-out clouds; None = none.
        """
        descent = _Descent(self, pairs, valid, seed)
        if state is not None and state.exists():
            descent.load(state)
        bar = tqdm(
            desc="likelihood",
            total=self.fit_steps,
            initial=descent.step,
            unit="step",
            # a log file gets a line every 10 s, a terminal a moving bar
            mininterval=0.1 if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
            disable=not progress,
        )
        with bar, torch.enable_grad():
            while descent.step < self.fit_steps:
                descent.advance()
                bar.update()
                if descent.step % CHECK_EVERY == 0 or descent.step == self.fit_steps:
                    descent.check()
                    bar.set_postfix_str(f"nats {descent.best:.2f}", refresh=False)
                    if state is not None:
                        descent.save(state)
        self.network.load_state_dict(descent.best_weights)
        self.network.zero_grad()

    def prepare_fit(self, unit: Tensor, mask: Tensor) -> None:
        """Takes the middle of training clouds, about which clouds are turned."""
        self.centre.copy_(unit[mask][:, :2].mean(0))

    def negative_log_likelihood(
        self, unit: Tensor, mean: Tensor, mask: Tensor, changes: Tensor
    ) -> Tensor:
        """Of whole clouds, nodes in any order.

        Args:
            unit: Clouds in [0, 1], shape (B, N, F).
            mean: The decoder's output for them, shape (B, N, F).
            mask: True where a node is real, in both, shape (B, N).
            changes: What was changed of each cloud, shape (B, 6).
        Returns:
            Nats, shape (B,).
        """
        nodes, order = self._from_top(unit, mask)
        told = self._told(mask, changes)
        log_mass = self._log_mass(nodes, self._from_top(mean, mask)[0], told)
        real = mask.gather(1, order).unsqueeze(-1)  # (B, N, 1)
        return -log_mass.masked_fill(~real, 0.0).sum((1, 2))

    def _log_mass(self, nodes: Tensor, mean: Tensor, told: Tensor) -> Tensor:
        """Of ordered nodes on the lattice, shape (B, N, F)."""
        return self.network(nodes, mean, told, self.lattice_steps.tolist())

    def _from_top(self, unit: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes on the lattice, from the top down, masked ones last and 0; and their order."""
        steps = self.lattice_steps.to(unit)
        places = torch.round(unit * steps).clamp(min=torch.zeros_like(steps), max=steps)
        # nodes at one place follow their intensities, so that no order of the input counts
        rank = torch.zeros(mask.shape, dtype=torch.long, device=mask.device)
        for column in self.network.columns[:MOST_RANKED]:
            rank = rank * (STEPS_OF_POSITION + 1) + places[..., column].long()
        order = rank.masked_fill(~mask, torch.iinfo(torch.long).max).argsort(dim=1, stable=True)
        nodes = (places / steps).masked_fill(~mask.unsqueeze(-1), 0.0)
        return nodes.gather(1, _wide(order, nodes)), order

    def _told(self, mask: Tensor, changes: Tensor) -> Tensor:
        """What was changed, and the share of the places that are taken, shape (B, C)."""
        return torch.cat([changes, mask.sum(1, keepdim=True) / self.num_points], dim=1)

    def _check_nodes(self, mean: Tensor) -> None:
        self._check_features(mean, "mean")
        if mean.shape[1] != self.num_points:
            raise ValueError(f"mean must have {self.num_points} nodes, got {mean.shape[1]}")


class _Network(nn.Module):
    """From the nodes so far, the mean and what is told to the parameters of the next node."""

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
        self.columns = (1, 0, *range(2, num_features))  # y, x, intensity, ...
        self.node = _two_layers(num_features * WAVES, width)
        self.first = nn.Parameter(0.02 * torch.randn(width))
        self.places = nn.Parameter(0.02 * torch.randn(num_points, width))
        self.told = _two_layers(transforms.NUM_CHANGES + 1, width)
        self.mean = _two_layers(num_points * num_features, width)
        self.counterpart = nn.Linear(num_features * WAVES, width)
        self.stages = nn.ModuleList(
            _Stage(number, width, heads, components, is_last=i + 1 == num_features)
            for i, number in enumerate(blocks)
        )

    def forward(self, nodes: Tensor, mean: Tensor, told: Tensor, steps: Sequence[int]) -> Tensor:
        """Log-mass of every feature of every node given the ones before it.

        Args:
            nodes: On the lattice, in order, shape (B, N, F).
            mean: In order, shape (B, N, F).
            told: Shape (B, C).
            steps: Of the lattice of each feature.
        Returns:
            Nats, shape (B, N, F).
        """
        before = self.node(_waves(nodes[:, :-1]))  # (B, N - 1, W)
        first = self.first.expand(len(nodes), 1, -1)
        hidden = torch.cat([first, before], dim=1) + self._shift(mean, told)  # (B, N, W)
        made: dict[int, Tensor] = {}
        for column, stage in self._features():
            hidden, state, _ = stage(hidden)
            place = torch.round(nodes[..., column] * steps[column]).long()  # (B, N)
            made[column] = stage.log_mass(state, place, steps[column])
            hidden = stage.tell(hidden, place, steps[column])
        return torch.stack([made[column] for column in range(len(made))], dim=-1)

    def draw(
        self,
        mean: Tensor,
        told: Tensor,
        uniform: Tensor,
        steps: Sequence[int],
        temperature: float,
    ) -> Tensor:
        """Nodes one after another.

        Args:
            mean: In order, shape (B, N, F).
            told: Shape (B, C).
            uniform: Three numbers in [0, 1) for each feature, shape (B, N, F, 3).
            steps: Of the lattice of each feature.
            temperature: Of the coarse digits.
        Returns:
            Shape (B, N, F).
        """
        shift = self._shift(mean, told)  # (B, N, W)
        hidden = self.first.expand(len(mean), 1, -1)  # (B, 1, W)
        nodes = torch.zeros_like(mean)
        pasts: list[list[Past] | None] = [None] * len(self.stages)
        for i in range(mean.shape[1]):
            hidden = hidden + shift[:, i : i + 1]
            for n, (column, stage) in enumerate(self._features()):
                hidden, state, pasts[n] = stage(hidden, pasts[n])
                random = uniform[:, i, column]  # (B, 3)
                place = stage.draw(state[:, 0], random, steps[column], temperature)  # (B,)
                nodes[:, i, column] = place / steps[column]
                hidden = stage.tell(hidden, place[:, None], steps[column])
            hidden = self.node(_waves(nodes[:, i : i + 1]))
        return nodes

    def _features(self) -> Iterator[tuple[int, _Stage]]:
        """Column and stage of each feature, in the order in which they are drawn."""
        for column, stage in zip(self.columns, self.stages, strict=True):
            assert isinstance(stage, _Stage)
            yield column, stage

    def _shift(self, mean: Tensor, told: Tensor) -> Tensor:
        """What each place is told beside the nodes, shape (B, N, W)."""
        whole = self.mean(2 * mean.flatten(1) - 1) + self.told(told)  # (B, W)
        return whole.unsqueeze(1) + self.counterpart(_waves(mean)) + self.places


class _Stage(nn.Module):
    """Blocks, then the distribution of one feature; the next stage is told its value."""

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
        # the last feature is told to no stage of its own node
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
        return mass + discretized_logistic.log_prob(cell / cells, self.coarse(state), cells)

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

    def tell(self, hidden: Tensor, place: Tensor, steps: int) -> Tensor:
        """Adds what the feature of each node was, shape (B, N)."""
        if self.value is None or self.digit is None:
            return hidden
        value = (place / steps).unsqueeze(-1).to(hidden)
        return hidden + self.value(_waves(value)) + self.digit(place % FINE)

    def _fine(self, state: Tensor, cell: Tensor, steps: int) -> Tensor:
        """Logits of the digits that there are in a cell, shape (..., 16)."""
        where = (cell * FINE / steps).unsqueeze(-1).to(state)
        mixed = self.fine_state(state) + self.fine_cell(_waves(where))
        logits = self.fine(nn.functional.gelu(mixed))
        beyond = FINE * cell.unsqueeze(-1) + torch.arange(FINE, device=cell.device) > steps
        return logits.masked_fill(beyond, -math.inf)


class _Descent:
    """The optimization of :meth:`AutoregressiveLikelihood.fit`, which can be stopped."""

    def __init__(
        self, likelihood: AutoregressiveLikelihood, pairs: Pairs, valid: Pairs, seed: int
    ) -> None:
        self.likelihood, self.pairs, self.seed = likelihood, pairs, seed
        network = likelihood.network
        self.average = copy.deepcopy(network)
        matrices = [weight for weight in network.stages.parameters() if weight.dim() == 2]
        ours = {id(weight) for weight in matrices}
        rest = [weight for weight in network.parameters() if id(weight) not in ours]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=DECAY),
            torch.optim.AdamW(rest, lr=OTHER_RATE, weight_decay=DECAY, betas=(0.9, 0.99)),
        ]
        self.rates = (MATRIX_RATE, OTHER_RATE)
        self.step, self.best = 0, math.inf
        self.best_weights = copy.deepcopy(network.state_dict())
        rows = torch.arange(min(len(valid), MOST_HELD_OUT))
        unit, mask = valid.clouds(rows, self._random("held-out clouds"))
        self.held_out = unit, valid.means(rows, unit, mask, self._random("held-out means")), mask

    def advance(self) -> None:
        """One step of both optimizers and of the running mean."""
        likelihood, share = self.likelihood, self.step / self.likelihood.fit_steps
        factor = min(1.0, (self.step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * share))
        loss = likelihood.negative_log_likelihood(*self._batch()).mean()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the likelihood is {loss.item()} in step {self.step}")
        likelihood.network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(likelihood.network.parameters(), LARGEST_GRADIENT)
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
        self.step += 1
        new = 1 - min(AVERAGE, self.step / (9 + self.step))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), likelihood.network.parameters(), strict=True)
            for mean, weight in pairs:
                mean.lerp_(weight, new)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Changed clouds, their means, masks and changes."""
        size = (self.likelihood.batch_size,)
        rows = torch.randint(len(self.pairs), size, generator=self._random("clouds"))
        unit, mask = self.pairs.clouds(rows, self._random("lattice"))
        unit, changes = transforms.affine(
            unit,
            self.likelihood.centre,
            self._random("changes"),
            share=self.likelihood.augmented,
        )
        unit = unit.clamp(0, 1).masked_fill(~mask.unsqueeze(-1), 0.0)
        return unit, self.pairs.means(rows, unit, mask, self._random("means")), mask, changes

    @torch.no_grad()
    def check(self) -> None:
        """Keeps the running mean if the held-out clouds are likelier than ever."""
        with self._averaged():
            unit, mean, mask = self.held_out
            changes = unit.new_zeros(len(unit), transforms.NUM_CHANGES)
            reached = self.likelihood.negative_log_likelihood(unit, mean, mask, changes).mean()
        if reached < self.best:
            self.best = reached.item()
            self.best_weights = copy.deepcopy(self.average.state_dict())

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        trained, self.likelihood.network = self.likelihood.network, self.average
        try:
            yield
        finally:
            self.likelihood.network = trained

    def save(self, path: Path) -> None:
        """Writes all that is needed to go on."""
        content = {
            "step": self.step,
            "best": self.best,
            "best_weights": self.best_weights,
            "average": self.average.state_dict(),
            "network": self.likelihood.network.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        with files.whole(path) as temporary:
            torch.save(content, temporary)

    def load(self, path: Path) -> None:
        """Reads what :meth:`save` wrote."""
        content: dict[str, Any] = torch.load(path, weights_only=True)
        self.step, self.best = content["step"], content["best"]
        self.best_weights = content["best_weights"]
        self.average.load_state_dict(content["average"])
        self.likelihood.network.load_state_dict(content["network"])
        for optimizer, state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def _random(self, purpose: str) -> torch.Generator:
        return generator(self.seed, f"observation {purpose}", step=self.step)


def _two_layers(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width))


def _waves(values: Tensor) -> Tensor:
    """Numbers in [0, 1] in [-1, 1] and as waves, shape (..., V) to (..., 13 V)."""
    centred = 2 * values - 1
    octaves = math.pi * 2.0 ** torch.arange(OCTAVES, device=values.device, dtype=values.dtype)
    phases = (centred.unsqueeze(-1) * octaves).flatten(-2)
    return torch.cat([centred, phases.sin(), phases.cos()], dim=-1)


def _all_real(points: Tensor) -> Tensor:
    return torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)


def _wide(order: Tensor, like: Tensor) -> Tensor:
    return order.unsqueeze(-1).expand(-1, -1, like.shape[-1])

"""The stage that fits a likelihood to clouds and what a trained model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gconvae.clouds import Clouds
from gconvae.cuda_graphs import recordable
from gconvae.likelihoods.base import LearnedLikelihood, Likelihood
from gconvae.likelihoods.mean import MeanLikelihood
from gconvae.pieces import pieces
from gconvae.randomness import generator
from gconvae.threads import alone, separable
from gconvae.training.clouds import TrainingClouds, seen_rows
from gconvae.training.optimization import AdamW, Optimization, muon, trapezoid
from gconvae.training.running_mean import RunningMean
from gconvae.training.stages.at_once import AtOnceStage
from gconvae.training.stages.reconstructions import (
    Decoded,
    Reconstructions,
    dequantized,
    held_out,
    posteriors,
)
from gconvae.training.stages.stage import Stage
from gconvae.training.stages.stepped import SteppedStage, checked_steps
from gconvae.vae import VAE

__all__ = ["LikelihoodStage", "calibrate", "has_stage", "likelihood_stage"]

CHECK_EVERY = 250
"""Steps between two looks at the held-out clouds."""

MOST_HELD_OUT = 1000
"""Held-out clouds that are looked at."""

WARMUP, FALL = 200, 0.7
"""Steps over which the rates grow from 0; and share of the steps in which they fall to 0."""

MATRIX_RATE, OTHER_RATE, DECAY = 2e-2, 3e-3, 0.05
"""Learning rates of Muon, for matrices between hidden features, and of Adam, for the rest."""


class Batch(NamedTuple):
    """All that a step is a function of, a row a cloud.

    Attributes:
        unit: Clouds in the unit interval, perhaps changed, shape (B, N, F).
        mask: Shape (B, N).
        changes: What was changed of each, shape (B, K).
        noise: Of the latents, shape (B, L).
        labels: Shape (B,), or None.
        node_noise: Of the decoder, or None.
        conditions: Shape (B, C), or None.
    """

    unit: Tensor
    mask: Tensor
    changes: Tensor
    noise: Tensor
    labels: Tensor | None
    node_noise: Tensor | None
    conditions: Tensor | None = None

    def of(self, rows: slice) -> Batch:
        """Some of the clouds."""
        parts: Any = (None if part is None else part[rows] for part in self)
        return Batch(*parts)


def changed_batch(
    likelihood: LearnedLikelihood,
    pairs: Reconstructions,
    numbers: Callable[[str], torch.Generator],
    done: float,
) -> Batch:
    """Training clouds of a step, changed as the likelihood wants it.

    Args:
        likelihood: Says how many, and how they are changed.
        pairs: The training clouds.
        numbers: The random numbers of the step for a purpose.
        done: Share of the steps that lie behind.
    """
    size = likelihood.batch_size
    rows = torch.randint(len(pairs), (size,), generator=numbers("clouds"), device="cpu")
    unit, mask = pairs.clouds(rows, numbers("lattice"))
    unit, changes = likelihood.changed(unit, mask, numbers("changes"), done)
    noise, node_noise = pairs.noise(size, numbers("means"))
    labels, conditions = pairs.labels(rows), pairs.conditions(rows)
    return Batch(unit, mask, changes, noise, labels, node_noise, conditions)


def has_stage(likelihood: Likelihood) -> bool:
    """Whether there is anything to fit."""
    return not isinstance(likelihood, MeanLikelihood)


def likelihood_stage(
    model: VAE,
    data: TrainingClouds,
    valid: TrainingClouds | None = None,
    *,
    seed: int = 0,
    optimization: Optimization | None = None,
) -> Stage:
    """The stage of a model's likelihood: a network step by step, a noise level at once.

    Args:
        model: With a trained network; its likelihood changes.
        data: Training clouds.
        valid: Clouds that the model was not trained on; None = a seeded tenth of ``data``, where
            there is a network, and ``data`` itself, where a noise level is calibrated.
        seed: Of everything random in the fit.
        optimization: As of :class:`gconvae.training.stages.Stage`.
    """
    if not isinstance(model.likelihood, LearnedLikelihood):
        judged = data if valid is None else valid
        clouds = judged.prepared(seen_rows(len(judged), seed))
        return AtOnceStage("likelihood", lambda: calibrate(model, clouds, seed=seed), seed)
    pairs = Reconstructions(model, data)
    if valid is None:
        watched, rest = held_out(len(pairs), seed, "held-out pairs")
        held, pairs = pairs.subset(watched), pairs.subset(rest)
    else:
        held = Reconstructions(model, valid)
    model.likelihood.prepare_fit(*pairs.middle())
    return LikelihoodStage(model.likelihood, pairs, held, seed, optimization)


@torch.no_grad()
def calibrate(model: VAE, clouds: Clouds, *, seed: int = 0) -> None:
    """Fits the noise of a model's likelihood to clouds and their reconstructions, in place.

    Args:
        model: Trained.
        clouds: Prepared clouds in data units, best some that the model was not trained on.
        seed: Of the latents, drawn from each cloud's posterior as in training.
    """
    clouds = dequantized(model, clouds, seed)
    # the cells of a lattice are no residuals: rounding follows the noise
    z = posteriors(model, clouds).draw(generator(seed, "calibration"))  # (B, L)
    noise, num_points = (
        generator(seed, "node noise of the calibration"),
        model.conditioning.num_points,
    )
    nodes = model.conditioning.nodes(clouds.mask)
    latents = Clouds(z, nodes, clouds.labels, clouds.schema, clouds.conditions)
    means = []
    for part in pieces(latents, num_points):
        numbers = model.node_noise(len(part.points), noise)
        inputs = part.points, part.labels, part.mask, numbers
        means.append(model.decode_unit(*inputs, conditions=part.conditions))
    unit = model.scaled(clouds) / model.scaling.extent
    # a network with fewer nodes than the clouds is held against their first ones
    missing = num_points - unit.shape[1]
    unit = nn.functional.pad(unit, (0, 0, 0, missing))
    mask = nn.functional.pad(clouds.mask, (0, missing))
    model.likelihood.calibrate(unit, torch.cat(means), mask)


class LikelihoodStage(SteppedStage):
    r"""Maximizes the likelihood of clouds given their means.

    .. math:: \max_\theta \sum_b \log p_\theta(x_b | \hat x(z_b)), \quad z_b \sim q(z|x_b)

    The weights are running means over the steps, and those with the best likelihood of held-out
    clouds, unchanged ones, are kept.

    Args:
        likelihood: Its network is trained.
        clouds: The training clouds and what the decoder makes of them.
        valid: Held-out ones.
        seed: The same seed gives the same weights.
        optimization: As of :class:`gconvae.training.stages.Stage`.
    """

    name = "likelihood"
    learning_rate = OTHER_RATE
    largest_gradient = 10.0

    def __init__(
        self,
        likelihood: LearnedLikelihood,
        clouds: Reconstructions,
        valid: Reconstructions,
        seed: int,
        optimization: Optimization | None = None,
    ) -> None:
        steps = checked_steps("likelihood", likelihood.fit_steps)
        super().__init__(
            seed,
            steps=steps,
            every=min(CHECK_EVERY, steps),
            optimization=optimization,
        )
        self.likelihood, self.pairs, self.valid = likelihood, clouds, valid
        self.average = RunningMean(likelihood.network, likelihood.average)
        self.best_weights = {k: v.clone() for k, v in self.candidate().items()}
        rows = torch.arange(min(len(valid), MOST_HELD_OUT), device="cpu")
        unit, mask = valid.clouds(rows, self._numbers("held-out clouds", 0))
        noise = valid.noise(len(rows), self._numbers("held-out means", 0))
        with alone():
            inputs = valid.labels(rows), *noise, valid.conditions(rows)
            self.held_out = unit, mask, valid.decoded(unit, mask, *inputs)
        likelihood.network.train()

    def trained_parameters(self) -> list[nn.Parameter]:
        """Those of the network."""
        return list(self.likelihood.network.parameters())

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Those of the network."""
        return self.likelihood.hidden_matrices()

    def default_optimizer(self) -> torch.optim.Optimizer:
        """Muon for what it says are hidden matrices, AdamW for the rest."""
        matrices = self.hidden_matrices()
        if not matrices:
            rates: dict[str, Any] = {"lr": OTHER_RATE, "weight_decay": DECAY, "betas": (0.9, 0.99)}
            return AdamW(self.trained_parameters(), **rates)
        return muon(self.trained_parameters(), matrices, OTHER_RATE, MATRIX_RATE, DECAY)

    def default_scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """A warm-up, a constant rate, and a fall in a straight line."""
        return trapezoid(optimizer, self.num_steps, WARMUP, FALL)

    def on_fit_start(self) -> None:
        """Brings all to the device."""
        self.pairs.to(self.device)
        unit, mask, decoded = self.held_out
        context = None if decoded.context is None else decoded.context.to(self.device)
        decoded = Decoded(decoded.mean.to(self.device), context)
        self.held_out = unit.to(self.device), mask.to(self.device), decoded

    def batch(self, step: int) -> Batch:
        """Changed clouds of a step."""
        done = step / self.num_steps
        return changed_batch(self.likelihood, self.pairs, partial(self._numbers, step=step), done)

    def training_step(self, batch: Any, number: int) -> Tensor | None:
        """Minus the log-likelihood of the process's share; takes all steps that are recorded."""
        if self.is_recorded:
            for step, each in self.block(batch):
                self.take("train", self.average.new_share(step + 1), *each)
            return None
        return self.step_loss("train", *batch)

    def step_loss(self, part: str, *tensors: Any) -> Tensor:
        """Minus the log-likelihood of a :class:`Batch`."""
        batch = Batch(*tensors)
        share = self.share(len(batch.unit))

        def some(rows: slice) -> tuple[Tensor, list[Tensor]]:
            unit, mask, changes, noise, labels, node_noise, conditions = batch.of(rows)
            decoded = self.pairs.decoded(unit, mask, labels, noise, node_noise, conditions)
            losses = self._losses(unit, mask, decoded, changes)
            self.check_shape(losses, len(unit))
            return self.part_of_mean(losses, share), [losses.detach()]

        loss, (losses,) = self.in_parts(some, share)
        self.add(part, share, losses)
        return loss

    def is_separable(self) -> bool:
        """Whether all parts say so."""
        return self.pairs.is_separable() and separable(self.likelihood)

    def same_every_time(self) -> bool:
        """Whether a GPU can record a step: all parts say so, and nobody asks for an optimizer."""
        model = self.pairs.model
        cut = getattr(model.encoder, "num_points", model.conditioning.num_points)
        fits = cut == model.conditioning.num_points  # else masks are looked at
        own = self.optimization.optimizer is None
        return own and fits and recordable(model.encoder, model.decoder, self.likelihood)

    def learn(self, rates: Tensor | None, *tensors: Any) -> None:
        """A step and the running mean after it; the mean's new share is the first tensor."""
        new, *batch = tensors
        super().learn(rates, *batch)
        self.average.take(self.likelihood.network, new)

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        """The running mean after a step."""
        if not self.is_recorded:
            self.average.take(self.likelihood.network, self.average.new_share(self.step_number))

    @torch.no_grad()
    def look(self) -> None:
        """The likelihood of the held-out clouds under the running mean."""
        unit, mask, decoded = self.held_out
        share = self.share(len(unit))
        part = share.rows
        trained, self.likelihood.network = self.likelihood.network, self.average.network
        try:
            losses = self._losses(unit[part], mask[part], decoded.of(part), None)
        finally:
            self.likelihood.network = trained
        self.add("valid", share, losses)

    def _losses(
        self, unit: Tensor, mask: Tensor, decoded: Decoded, changes: Tensor | None
    ) -> Tensor:
        further = self.likelihood.further(decoded.context)
        with self.in_precision():
            return self.likelihood.negative_log_likelihood(
                unit, decoded.mean, mask, changes, **further
            )

    def candidate(self) -> Mapping[str, Tensor]:
        """The running mean."""
        return self.average.network.state_dict()

    def leave(self) -> None:
        """Puts the best weights into the likelihood."""
        self.pairs.to("cpu")
        self.likelihood.network.load_state_dict(self.best_weights)
        self.likelihood.network.zero_grad()
        self.likelihood.network.eval()

    def _numbers(self, purpose: str, step: int) -> torch.Generator:
        return self.random(f"observation {purpose}", step=step)

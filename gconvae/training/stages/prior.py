"""The stage that fits a prior to the latents of a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from gconvae.priors.base import Latents, Prior, StandardNormal
from gconvae.training.clouds import TrainingClouds
from gconvae.training.optimization import Optimization
from gconvae.training.running_mean import RunningMean
from gconvae.training.stages.at_once import AtOnceStage
from gconvae.training.stages.reconstructions import held_out, latents
from gconvae.training.stages.stage import Stage
from gconvae.training.stages.stepped import SteppedStage, checked_steps
from gconvae.vae import VAE

__all__ = ["PriorStage", "prior_stage", "stage_of_latents"]

CHECK_EVERY = 20
"""Steps between two looks at the held-out latents."""

AVERAGE = 0.99
"""Share of the old in the running mean of the weights, which is the prior that is kept."""

PATIENCE = 10
"""Looks without a better held-out density after which a fit ends."""


class Drawn(NamedTuple):
    """A batch.

    Attributes:
        z: Draws from q(z|x), shape (B, L).
        context: Shape (B, C), or None.
    """

    z: Tensor
    context: Tensor | None


def prior_stage(
    model: VAE,
    data: TrainingClouds,
    valid: TrainingClouds | None = None,
    *,
    seed: int = 0,
    optimization: Optimization | None = None,
) -> Stage:
    """The stage of a model's prior.

    Args:
        model: With a trained network; its prior changes.
        data: Training clouds.
        valid: Clouds on which the fit is watched; None = a seeded tenth of ``data``.
        seed: Of everything random in the fit.
        optimization: As of :class:`gconvae.training.stages.Stage`.
    """
    rest = latents(model, data, seed=seed)
    if valid is None:
        watched, fitted = held_out(len(rest.mean), seed, "held-out latents")
        held, rest = _rows(rest, watched), _rows(rest, fitted)
    else:
        held = latents(model, valid, seed=seed)
    return stage_of_latents(model.prior, rest, held, seed=seed, optimization=optimization)


def stage_of_latents(
    prior: Prior,
    data: Latents,
    valid: Latents,
    *,
    seed: int = 0,
    optimization: Optimization | None = None,
) -> Stage:
    """The stage of a prior: step by step where it has a number of steps, else at once.

    Args:
        prior: It changes.
        data: Latents of training clouds.
        valid: Latents on which the fit is watched.
        seed: Of everything random in the fit.
        optimization: As of :class:`gconvae.training.stages.Stage`.
    """
    if prior.fit_steps is None:
        return AtOnceStage("prior", lambda: prior.fit(data, valid, seed=seed), seed)
    return PriorStage(prior, data, valid, seed, optimization)


def has_stage(prior: Prior) -> bool:
    """Whether there is anything to fit."""
    return not isinstance(prior, StandardNormal)


class PriorStage(SteppedStage):
    r"""Minimizes a prior's loss of latents, by default minus their log-density.

    .. math:: \min_\theta - \sum_b \log p_\theta(z_b), \quad z_b \sim q(z|x_b)

    Latents are drawn anew in every pass over the clouds. The weights are running means over the
    steps, and those with the best held-out loss are kept, those at the beginning among them.

    Args:
        prior: With a number of steps, ``fit_steps``.
        data: Latents of training clouds.
        valid: Latents on which the fit is watched.
        seed: The same seed gives the same prior.
        optimization: As of :class:`gconvae.training.stages.Stage`.
    """

    name = "prior"
    learning_rate = 1e-2
    largest_gradient = 5.0  # so that one far latent cannot throw the weights away

    def __init__(
        self,
        prior: Prior,
        data: Latents,
        valid: Latents,
        seed: int,
        optimization: Optimization | None = None,
    ) -> None:
        steps = checked_steps("prior", prior.fit_steps)
        super().__init__(
            seed,
            steps=steps,
            every=min(CHECK_EVERY, steps),
            patience=PATIENCE,
            optimization=optimization,
        )
        self.prior = prior.train()
        self.latents, valid = prior.checked_latents(data), prior.checked_latents(valid)
        self.held_out = Drawn(valid.draw(self.random("held-out latents")), valid.context)
        prior.prepare_fit(self.latents.draw(self.random("flow latents")))
        self.average = RunningMean(self.prior, AVERAGE)
        self._pass: tuple[int, Tensor, Tensor] | None = None

    def is_separable(self) -> bool:
        """True: a flow's operations are too small to be shared, or to be in parts."""
        return True

    def default_scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """A cosine down to 0."""
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.num_steps)

    def batch(self, step: int) -> Drawn:
        """Latents of a step: each pass draws new ones and puts them in a new order."""
        size = self.prior.batch_size
        number, place = divmod(step, math.ceil(len(self.latents.mean) / size))
        if self._pass is None or self._pass[0] != number:
            z = self.latents.draw(self.random("flow latents", epoch=number))
            random = self.random("flow order", epoch=number)
            self._pass = number, z, torch.randperm(len(z), generator=random, device="cpu")
        _, z, order = self._pass
        rows = order[place * size : (place + 1) * size].to(z.device)
        return Drawn(z[rows], None if self.latents.context is None else self.latents.context[rows])

    def training_step(self, batch: Drawn, number: int) -> Tensor:
        """The prior's loss of the process's share."""
        share = self.share(len(batch.z))
        losses = self._losses(self.prior, batch, share.rows)
        self.add("train", share, losses)
        return self.mean_of(losses, share)

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        """The running mean after a step."""
        self.average.take(self.prior, self.average.new_share(self.step_number))

    @torch.no_grad()
    def look(self) -> None:
        """The loss of the held-out latents under the running mean."""
        held = Drawn(
            self.held_out.z.to(self.device),
            None if self.held_out.context is None else self.held_out.context.to(self.device),
        )
        share = self.share(len(held.z))
        prior = cast(Prior, self.average.network)
        self.add("valid", share, self._losses(prior, held, share.rows))

    def _losses(self, prior: Prior, batch: Drawn, rows: slice) -> Tensor:
        context = None if batch.context is None else batch.context[rows]
        with self.in_precision():
            losses = prior.loss(batch.z[rows], context)
        self.check_shape(losses, len(batch.z[rows]))
        return losses

    def on_train_start(self) -> None:
        """Weights that are as good as those to come are kept: those at the beginning."""
        super().on_train_start()
        if not self.best_weights:
            self.look()
            self.best_loss = self._ended("valid")["loss"]
            self.best_weights = {k: v.detach().clone() for k, v in self.candidate().items()}

    def candidate(self) -> Mapping[str, Tensor]:
        """The running mean."""
        return self.average.network.state_dict()

    def leave(self) -> None:
        """Puts the best weights into the prior."""
        self.prior.load_state_dict(self.best_weights)
        self.prior.zero_grad()
        self.prior.eval()


def _rows(latents: Latents, rows: Tensor) -> Latents:
    mean, stddev, context = latents
    rows = rows.to(mean.device)
    return Latents(mean[rows], stddev[rows], None if context is None else context[rows])

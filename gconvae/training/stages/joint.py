"""The stage that trains all parts of a model together, on the bound on log p(x)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gconvae.likelihoods.base import LearnedLikelihood
from gconvae.threads import separable
from gconvae.training.clouds import TrainingClouds
from gconvae.training.optimization import Optimization, muon, trapezoid
from gconvae.training.running_mean import RunningMean
from gconvae.training.stages.likelihood import CHECK_EVERY, MOST_HELD_OUT, Batch, changed_batch
from gconvae.training.stages.network import MOST_WEIGHTS
from gconvae.training.stages.reconstructions import Reconstructions
from gconvae.training.stages.stepped import SteppedStage, checked_steps
from gconvae.vae import VAE

__all__ = ["JointStage"]

WARMUP, FALL = 100, 0.7
"""Steps over which the rates grow from 0; and share of the steps in which they fall to 0."""

MATRIX_RATE, OTHER_RATE, DECAY = 5e-3, 5e-4, 0.05
"""Learning rates of Muon and of AdamW: a quarter and a sixth of those of the likelihood alone."""


class JointStage(SteppedStage):
    r"""Maximizes the bound on log p(x) of the whole model.

    .. math:: \max \; E_{q(z|x)}\left[\log p(x | \hat x(z), z) - \log \frac{q(z|x)}{p(z)}\right]

    over encoder, decoder, prior and likelihood, which were trained one after another before: the
    decoder on a distance of sets, which a likelihood does not need. Clouds that are changed at
    random teach neither encoder nor prior: latents are of clouds as they are. The parts as they
    were are kept if nothing better comes.

    Args:
        model: All of its parts change.
        clouds: The training clouds.
        valid: Held-out ones.
        steps: How many.
        seed: The same seed gives the same weights.
        optimization: As of :class:`gconvae.training.stages.Stage`.
    """

    name = "joint"
    terms: ClassVar[tuple[str, ...]] = ("nll", "kl")
    learning_rate = OTHER_RATE
    largest_gradient = 10.0

    def __init__(
        self,
        model: VAE,
        clouds: TrainingClouds,
        valid: TrainingClouds,
        steps: int,
        seed: int,
        optimization: Optimization | None = None,
    ) -> None:
        steps = checked_steps("joint training", steps)
        every = min(CHECK_EVERY, steps)
        super().__init__(seed, steps=steps, every=every, optimization=optimization)
        assert isinstance(model.likelihood, LearnedLikelihood)
        self.model, self.likelihood = model, model.likelihood
        self.pairs, held = Reconstructions(model, clouds), Reconstructions(model, valid)
        self.average = RunningMean(self._parts(), self.likelihood.average)
        self.best_weights = {k: v.clone() for k, v in self.candidate().items()}
        rows = torch.arange(min(len(held), MOST_HELD_OUT), device="cpu")
        unit, mask = held.clouds(rows, self._numbers("held-out clouds", 0))
        noise, node_noise = held.noise(len(rows), self._numbers("held-out means", 0))
        inputs = held.labels(rows), node_noise, held.conditions(rows)
        self.held_out = Batch(unit, mask, unit.new_zeros(len(unit), 1), noise, *inputs)
        model.train()

    def _parts(self) -> nn.ModuleList:
        model = self.model
        return nn.ModuleList([model.encoder, model.decoder, model.prior, self.likelihood])

    def trained_parameters(self) -> list[nn.Parameter]:
        """Those of all parts; a decoder that the likelihood does not hear learns nothing."""
        parts = list(self._parts())
        if not self.likelihood.conditioned_on.mean:
            parts.remove(self.model.decoder)
        every = (weight for part in parts for weight in part.parameters())
        return [weight for weight in every if weight.requires_grad]

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Those of the likelihood."""
        return self.likelihood.hidden_matrices()

    def default_optimizer(self) -> torch.optim.Optimizer:
        """Muon for the hidden matrices of the likelihood, AdamW for the rest."""
        rates = OTHER_RATE, MATRIX_RATE, DECAY
        return muon(self.trained_parameters(), self.hidden_matrices(), *rates)

    def default_scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """A warm-up, a constant rate, and a fall in a straight line."""
        return trapezoid(optimizer, self.num_steps, WARMUP, FALL)

    def on_fit_start(self) -> None:
        """Brings all to the device."""
        self.pairs.to(self.device)
        self.held_out = self.transfer_batch_to_device(self.held_out, self.device, 0)

    def batch(self, step: int) -> Batch:
        """Clouds of a step, some of them changed."""
        done = step / self.num_steps
        return changed_batch(self.likelihood, self.pairs, partial(self._numbers, step=step), done)

    def training_step(self, batch: Any, number: int) -> Tensor:
        """Minus the bound, of the process's share."""
        return self.step_loss("train", *batch)

    def step_loss(self, part: str, *tensors: Any) -> Tensor:
        """Minus the bound of a :class:`Batch`."""
        batch = Batch(*tensors)
        share = self.share(len(batch.unit))

        def loss_of(rows: slice) -> tuple[Tensor, list[Tensor]]:
            some = batch.of(rows)
            nll, kl = self._terms(some, is_train=part == "train")
            taught = kl.masked_fill(some.changes.any(1), 0.0)
            return self.part_of_mean(nll + taught, share), [nll.detach(), kl.detach()]

        loss, (nll, kl) = self.in_parts(loss_of, share)
        self.add(part, share, nll, kl)
        return loss

    def _terms(self, batch: Batch, *, is_train: bool) -> tuple[Tensor, Tensor]:
        """Minus the log-likelihood, and log q(z|x) - log p(z), shape (B,) each."""
        model, (unit, mask, changes, noise, labels, node_noise, conditions) = self.model, batch
        with self.in_precision():
            posterior = self.pairs.posterior(unit, mask)
        z = posterior.mean + posterior.base_dist.stddev * noise.to(unit)  # (B, L)
        taught = torch.where(changes.any(1, keepdim=True), z.detach(), z)
        seen = changes if is_train else None
        with self.in_precision():
            decoded = self.pairs.decoded_from(taught, mask, labels, node_noise, conditions)
            # numbers of few digits would be put on other places than in a draw
            mean = decoded.mean.to(unit)
            further = model.likelihood.further(decoded.context)
            nll = self.likelihood.negative_log_likelihood(unit, mean, mask, seen, **further)
        self.check_shape(nll, len(unit))
        context = model.conditioning.context(len(z), labels, mask, conditions)
        context = None if context is None else context.to(z)
        return nll, posterior.log_prob(z) - model.prior.log_prob(z, context)

    def is_separable(self) -> bool:
        """Whether all parts say so and have few weights."""
        few = sum(weight.numel() for weight in self.trained_parameters()) <= MOST_WEIGHTS
        return few and self.pairs.is_separable() and separable(self.likelihood)

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        """The running mean after a step."""
        self.average.take(self._parts(), self.average.new_share(self.step_number))

    def on_train_start(self) -> None:
        """Parts that are as good as those to come are kept: those at the beginning."""
        super().on_train_start()
        if not math.isfinite(self.best_loss):
            self.look()
            self.best_loss = self._ended("valid")["loss"]

    @torch.no_grad()
    def look(self) -> None:
        """The bound of the held-out clouds under the running mean."""
        share = self.share(len(self.held_out.unit))
        with self._averaged():
            nll, kl = self._terms(self.held_out.of(share.rows), is_train=False)
        self.add("valid", share, nll, kl)

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The running means in the place of the parts."""
        model, average = self.model, self.average.network
        trained = model.encoder, model.decoder, model.prior, self.likelihood
        assert isinstance(average, nn.ModuleList)
        try:
            self._put(*average)
            yield
        finally:
            self._put(*trained)

    def _put(self, encoder: Any, decoder: Any, prior: Any, likelihood: Any) -> None:
        model = self.model
        model.encoder, model.decoder, model.prior = encoder, decoder, prior
        model.likelihood = self.likelihood = likelihood

    def loss_of(self, terms: Mapping[str, float]) -> float:
        """Minus the bound."""
        return terms["nll"] + terms["kl"]

    def candidate(self) -> Mapping[str, Tensor]:
        """The running means."""
        return self.average.network.state_dict()

    def leave(self) -> None:
        """Puts the best weights into the parts."""
        self.pairs.to("cpu")
        self._parts().load_state_dict(self.best_weights)
        self.model.zero_grad()
        self.model.eval()

    def _numbers(self, purpose: str, step: int) -> torch.Generator:
        return self.random(f"joint {purpose}", step=step)

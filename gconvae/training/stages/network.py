"""The stage of the network: encoder and decoder, and a prior that is trained with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Independent
from torch.utils.data import DataLoader

from gconvae import losses
from gconvae.clouds import Clouds
from gconvae.cuda_graphs import recordable
from gconvae.options import TrainingOptions
from gconvae.randomness import standard_noise
from gconvae.threads import separable
from gconvae.training import batches
from gconvae.training.clouds import TrainingClouds
from gconvae.training.optimization import FADING, Adam, Optimization
from gconvae.training.stages.stage import Share, Stage
from gconvae.vae import VAE

__all__ = ["NetworkStage"]


MOST_WEIGHTS = 1_000_000
"""Weights up to which a batch is worked on in parts side by side. Each part has gradients of all
of them: with the slides' 4 million, two parts take twice as long as operations that are shared."""


class NetworkStage(Stage):
    r"""Encoder and decoder, by reconstruction loss and KL term, pass after pass over the clouds.

    .. math:: L = \frac1B \sum_b \left[ L_{rec}(x_b, \hat x_b) + \beta \, L_{KL}(x_b) \right]

    Args:
        model: In training mode, with its scaling; its weights change.
        loss: Module from (target, output), and masks where clouds are ragged, to (B,).
        options: All of the training.
        train: Training clouds.
        valid: Validation clouds.
        optimization: As of :class:`Stage`.
    """

    name = "network"
    terms: ClassVar[tuple[str, ...]] = ("rec", "kl")

    def __init__(
        self,
        model: VAE,
        loss: nn.Module,
        options: TrainingOptions,
        train: TrainingClouds,
        valid: TrainingClouds,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__(
            options.seed,
            max_epochs=options.epochs,
            patience=options.patience,
            optimization=optimization,
        )
        self.model, self.loss, self.options = model, loss, options
        losses.set_units(loss, model.scaling)
        self.learning_rate = options.learning_rate
        self.clouds = {"train": train, "valid": valid}
        self.orders = {
            part: batches.Order(
                len(clouds), options.batch_size, options.seed, part == "train", clouds.chunk
            )
            for part, clouds in self.clouds.items()
        }
        # known beforehand, a GPU need not be asked in every step
        size = model.conditioning.num_points
        self.full = all(clouds.is_full(size) for clouds in self.clouds.values())
        self.on_lattice = model.likelihood.rounds
        self._now = ("train", 0, 0)
        parts = [model.likelihood] if options.joint_prior else [model.likelihood, model.prior]
        frozen = [weight for part in parts for weight in part.parameters()]
        self._frozen = [weight for weight in frozen if weight.requires_grad]
        for weight in self._frozen:  # else several processes would wait for its gradient
            weight.requires_grad_(False)

    @property
    def num_steps(self) -> int:
        """Batches of all epochs."""
        return self.max_epochs * self.orders["train"].num_batches

    def train_dataloader(self) -> DataLoader[Any]:
        """Lightning asks."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Any]:
        """Lightning asks."""
        return self._loader("valid")

    def _loader(self, part: str) -> DataLoader[Any]:
        workers, clouds = self.options.workers, self.clouds[part]
        order = self.orders[part]
        # one batch at a time, so that whoever watches sees each step; on a GPU that records them
        # a block, since what Lightning does around a step takes longer than the step
        order.block = batches.BLOCK if self.is_recorded else 1
        if not workers:
            clouds = clouds.to(self.device)
        return batches.loader(clouds, order, seed=self.seed, workers=workers)

    def same_every_time(self) -> bool:
        """Whether steps differ by their tensors alone, so that one can be recorded for all."""
        model = self.model
        # an optimizer of somebody's own may look at values
        fixed = not self.options.joint_prior and self.optimization.optimizer is None
        return bool(fixed and recordable(model.encoder, model.decoder, self.loss))

    def sum_dtype(self) -> torch.dtype:
        """That of the model."""
        return self.model.scaling.low.dtype

    def candidate(self) -> Mapping[str, Tensor]:
        """All weights of the model."""
        return self.model.state_dict()

    def leave(self) -> None:
        """Puts the best weights into the model."""
        self.forget_recordings()
        for weight in self._frozen:
            weight.requires_grad_(True)
        self.model.load_state_dict(self.best_weights)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the order of the next epoch."""
        super().on_load_checkpoint(checkpoint)
        # Lightning 2.6 tells the sampler its epoch only after it has asked for the first order
        self.orders["train"].set_epoch(int(self.outcome()["epochs_run"]))

    def settling_epochs(self) -> int:
        """Those in which beta grows."""
        return self.options.kl_warmup

    def on_train_batch_start(self, batch: Any, number: int) -> None:
        """Before a step: ends what has faded, now and then."""
        if number % FADING == 0 and not self.is_recorded:
            self._forget_traces()

    def _forget_traces(self) -> None:
        adam = self.optimizers(use_pl_optimizer=False)
        if isinstance(adam, Adam):
            adam.forget_traces()

    def training_step(self, block: Clouds, number: int) -> Tensor | None:
        """The loss of a batch; of a GPU that records, all steps of a block of batches."""
        if not self.is_recorded:
            tensors = self._tensors("train", self.current_epoch, number, block)
            return self.step_loss("train", *tensors)
        for step, batch in self._batches(block, number):
            if step % FADING == 0:
                self._forget_traces()
            self.take("train", *self._tensors("train", self.current_epoch, step, batch))
        return None

    def validation_step(self, block: Clouds, number: int) -> None:
        """Losses of validation clouds."""
        # the same noise in every epoch, so that epochs differ by their weights only
        if not self.is_recorded:
            self.step_loss("valid", *self._tensors("valid", 0, number, block))
            return
        for step, batch in self._batches(block, number):
            self.take("valid", *self._tensors("valid", 0, step, batch))

    def _batches(self, block: Clouds, number: int) -> Iterator[tuple[int, Clouds]]:
        parts = batches.split(block, self.options.batch_size)
        return enumerate(parts, number * batches.BLOCK)

    def _tensors(
        self, part: str, epoch: int, step: int, batch: Clouds
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor, Tensor | None, Tensor, Tensor | None]:
        """What a step is a function of: random numbers are those of the whole batch, so that each
        cloud has its own in any process.
        """
        self._now = part, epoch, step
        count = len(batch.points)
        points = self._dequantized(batch.points, batch.mask)
        noise = standard_noise((count, self.model.prior.latent_dim), self._random("latent"))
        numbers = self.model.node_noise(count, self._random("node noise"))
        # a number that is recorded stays as it was
        dtype = self.model.scaling.low.dtype
        beta = torch.tensor(self._beta(epoch), dtype=dtype, device="cpu")
        return points, batch.mask, batch.labels, noise, numbers, beta, batch.conditions

    def step_loss(
        self,
        part: str,
        scaled: Tensor,
        mask: Tensor,
        labels: Tensor | None,
        noise: Tensor,
        numbers: Tensor | None,
        beta: Tensor,
        conditions: Tensor | None = None,
    ) -> Tensor:
        """Reconstruction loss and KL term of a batch.

        Args:
            part: ``"train"`` or ``"valid"``.
            scaled: Clouds, shape (B, N, F).
            mask: Shape (B, N).
            labels: Shape (B,), or None.
            noise: Of the latents, N(0, 1), shape (B, L).
            numbers: Noise that the decoder takes, or None.
            beta: Weight of the KL term.
            conditions: Shape (B, C), or None.
        """
        share = self.share(len(scaled))
        batch = scaled, mask, labels, noise, numbers, conditions

        def some(rows: slice) -> tuple[Tensor, Sequence[Tensor]]:
            rec, kl, _ = self._terms(Share(rows, share.count, share.factor), *batch)
            return self.part_of_mean(rec + beta * kl, share), (rec.detach(), kl.detach())

        if self.is_in_parts:
            loss, (rec, kl) = self.in_parts(some, share)
            self.add(part, share, rec, kl)
            return loss
        rec, kl, penalty = self._terms(share, *batch)
        self.add(part, share, rec, kl)
        if penalty is None:
            return self.part_of_mean(rec + beta * kl, share)
        return self.mean_of(rec, share) + beta * penalty

    def is_separable(self) -> bool:
        """Whether all parts say so and have few weights; free bits are of the batch's mean."""
        model = self.model
        apart = separable(model.encoder, model.decoder, self.loss)
        few = sum(weight.numel() for weight in self.trained_parameters()) <= MOST_WEIGHTS
        return apart and few and not self.options.free_bits

    def _terms(
        self,
        share: Share,
        scaled: Tensor,
        mask: Tensor,
        labels: Tensor | None,
        noise: Tensor,
        numbers: Tensor | None,
        conditions: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Reconstruction loss and KL of clouds of a batch, and :meth:`_divergence`'s penalty."""
        rows, count = share.rows, len(scaled)
        scaled, mask, noise = scaled[rows], mask[rows], noise[rows]
        labels = None if labels is None else labels[rows]
        numbers = None if numbers is None else numbers[rows]
        conditions = None if conditions is None else conditions[rows]
        with self.in_precision():
            posterior = self.model.posterior(scaled, mask)
        stddev = posterior.base_dist.stddev
        z = posterior.mean + stddev * noise.to(scaled)  # (B, L)
        # a GPU is not asked: it would have to be waited for, and a recording keeps an answer
        asked = not (mask.is_cuda or self.is_recorded)
        nodes = None if self.full else self.model.conditioning.nodes(mask)  # (B, N)
        with self.in_precision():
            full = None if asked else nodes is None
            unit = self.model.decode_unit(
                z, labels, nodes, numbers, full=full, conditions=conditions
            )
        output = self.model.scaling.from_unit(unit.to(scaled))  # (B, N, F)
        is_full = nodes is None or (asked and bool(mask.all() and nodes.all()))
        rec = self.loss(scaled, output, *(() if is_full else (mask, nodes)))  # (B,)
        if rec.shape != scaled.shape[:1]:
            raise ValueError(
                f"loss must return one value a cloud, shape ({len(scaled)},), "
                f"got shape {tuple(rec.shape)}"
            )
        return rec, *self._divergence(posterior, mask, labels, count, share, conditions)

    def _random(self, purpose: str) -> torch.Generator:
        """For this step of this part; node noise is the same in both."""
        part, epoch, step = self._now
        purpose = purpose if purpose == "node noise" else f"{part} {purpose}".strip()
        return self.random(purpose, epoch=epoch, step=step)

    def _dequantized(self, scaled: Tensor, mask: Tensor) -> Tensor:
        """Positions on a lattice, spread over their cells: a density can fit no lattice."""
        likelihood, scaling = self.model.likelihood, self.model.scaling
        if not self.on_lattice:
            return scaled
        ends = scaling.low, scaling.high
        random = self._random("lattice")
        points = likelihood.dequantize(scaling.unscale(scaled), random, *ends, mask)
        return scaling.scale(points).masked_fill(~mask.unsqueeze(-1), 0.0)

    def _divergence(
        self,
        posterior: Independent[Any],
        mask: Tensor,
        labels: Tensor | None,
        count: int,
        share: Share,
        conditions: Tensor | None,
    ) -> tuple[Tensor, Tensor | None]:
        """KL of each cloud, shape (B,), and what is made small if it is not its mean."""
        if self.options.joint_prior:
            context = self.model.conditioning.context(len(mask), labels, mask, conditions)
            context = None if context is None else context.to(posterior.mean)
            shape, like = (1, count, self.model.prior.latent_dim), posterior.mean
            noise = torch.randn(shape, generator=self._random(""), device="cpu", dtype=like.dtype)
            noise = noise[:, share.rows].to(like.device)
            return losses.kl_monte_carlo(
                posterior, self.model.prior, context=context, noise=noise
            ), None
        kl = losses.kl_standard_normal(posterior)  # the history's, to the same bits in both cases
        if self.options.free_bits:
            each = losses.kl_per_latent(posterior)  # (B, L)
            if self.world_size == 1:
                return kl, losses.free_bits(each, self.options.free_bits)
            return kl, self._free_bits(each, count, share)
        return kl, None

    def _free_bits(self, each: Tensor, count: int, share: Share) -> Tensor:
        """Free bits of the means over the batch, of which this process has a part."""
        own = each.sum(0) if share.count else each.sum(0) * 0.0
        means = self.summed(own.detach().clone()) / count  # (L,)
        above = means > self.options.free_bits
        return (own * above).sum() * (self.world_size / count)

    def loss_of(self, terms: Mapping[str, float]) -> float:
        """With all of beta, also while it grows."""
        return terms["rec"] + self.options.beta * terms["kl"]

    def advice(self) -> str:
        """A smaller rate."""
        return f"a learning_rate below {self.options.learning_rate:g} may help"

    def _beta(self, epoch: int) -> float:
        options = self.options
        return losses.kl_weight(
            epoch,
            beta=options.beta,
            warmup=options.kl_warmup,
            cycle=options.kl_cycle,
        )

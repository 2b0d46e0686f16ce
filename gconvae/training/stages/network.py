"""The steps of a training: what Lightning is given to run, and the optimizer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributions import Independent
from torch.utils.data import DataLoader

from gconvae import losses
from gconvae.clouds import Clouds
from gconvae.cuda_graphs import Recorder, recordable
from gconvae.options import TrainingOptions
from gconvae.randomness import generator, standard_noise
from gconvae.training import batches
from gconvae.training.run_folder import History
from gconvae.vae import VAE

__all__ = ["Adam", "NetworkStage"]

FADING = 100
"""Steps of an epoch after which faded means of gradients are ended."""

TRACE = 1e-30
"""Mean of gradients below which it is one that has faded; 100 steps later it would still be 1e-35,
and numbers lose their digits, and a CPU its speed, below 1e-38."""


class NetworkStage(pl.LightningModule):
    """One training: the model with its loss, the epoch means, and the best weights so far.

    Args:
        model: In training mode, with its scaling; its weights change.
        loss: Module from (target, output), and masks where clouds are ragged, to (B,).
        options: All of the training.
        loader: Of the training clouds, from ``training.batches.loader``.
        full: Whether every cloud has all nodes. Known beforehand, a GPU need not be asked in
            every step.
    """

    _RESUMED = ("history", "best_loss", "best_epoch", "best_weights", "seconds")

    def __init__(
        self,
        model: VAE,
        loss: nn.Module,
        options: TrainingOptions,
        loader: DataLoader[Any],
        full: bool,
    ) -> None:
        super().__init__()
        self.full = full
        # Lightning is asked once for a block of steps: what it does around one takes a while
        self.automatic_optimization = False
        assert isinstance(loader.sampler, batches.Order)
        self.order = loader.sampler
        self.after_step: Callable[[], object] = lambda: None
        self.model = model
        self.loss = loss
        self.options = options
        self.history: History = {"epoch": []}
        self.best_loss = math.inf
        self.best_epoch = 0
        self.best_weights: dict[str, Tensor] = {}
        self.seconds = 0.0
        self._clock = time.perf_counter()
        self.on_lattice = bool(model.likelihood.step.any())
        self._sums: dict[str, Tensor] = {}
        self._counts = {"train": 0, "valid": 0}
        self._recorders: dict[str, Recorder] = {}
        self._now = ("train", 0, 0)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, in one kernel; Lightning asks."""
        return Adam(
            self.model.parameters(),
            lr=self.options.learning_rate,
            fused=True,
            capturable=self.device.type == "cuda",
        )

    def on_train_start(self) -> None:
        """Prepares the sums of an epoch and, on a GPU, the recording of steps."""
        self._sums = {stage: self.model.scaling.low.new_zeros(2) for stage in self._counts}
        on_gpu = self.device.type == "cuda"
        device = self.device if on_gpu and self.same_every_time() else "cpu"
        functions: dict[str, Callable[..., object]] = {"train": self._learn, "valid": self._step}
        self._recorders = {stage: Recorder(call, device) for stage, call in functions.items()}
        self._clock = time.perf_counter()
        self._stop_if_stale()  # a resumed training may have been stopped after its last epoch

    def same_every_time(self) -> bool:
        """Whether steps differ by their tensors alone, so that one can be recorded for all."""
        model = self.model
        draws = getattr(model.decoder, "noise_dim", 0) or self.options.joint_prior
        fixed = not draws and not self.on_lattice
        return bool(fixed and recordable(model.encoder, model.decoder, self.loss))

    def forget_recordings(self) -> None:
        """Gives their memory back."""
        for recorder in self._recorders.values():
            recorder.forget()

    def _stop_if_stale(self) -> None:
        patience = self.options.patience
        # while beta grows, the best epoch says little
        since = max(self.best_epoch, self.options.kl_warmup)
        if patience is not None and len(self.history["epoch"]) - since >= patience:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the history and the best weights to a checkpoint."""
        checkpoint["training"] = {name: getattr(self, name) for name in self._RESUMED}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them from one."""
        for name in self._RESUMED:
            setattr(self, name, checkpoint["training"][name])
        # Lightning 2.6 tells the sampler its epoch only after it has asked for the first order
        self.order.set_epoch(len(self.history["epoch"]))

    def training_step(self, block: Clouds, number: int) -> None:
        """Steps of a block of batches, which is the ``number``-th of the epoch."""
        adam = self.optimizers(use_pl_optimizer=False)
        assert isinstance(adam, Adam)
        for step, batch in self._batches(block, number):
            if step % FADING == 0:
                adam.forget_traces()
            self._take("train", self.current_epoch, step, batch)
            self.after_step()

    def validation_step(self, block: Clouds, number: int) -> None:
        """Losses of such a block of validation clouds."""
        for step, batch in self._batches(block, number):
            # the same noise in every epoch, so that epochs differ by their weights only
            self._take("valid", 0, step, batch)

    def _batches(self, block: Clouds, number: int) -> Iterator[tuple[int, Clouds]]:
        parts = batches.split(block, self.options.batch_size)
        return enumerate(parts, number * batches.BLOCK)

    def _take(self, stage: str, epoch: int, step: int, batch: Clouds) -> None:
        self._now = stage, epoch, step
        self._counts[stage] += len(batch.points)
        shape = (len(batch.points), self.model.prior.latent_dim)
        noise = standard_noise(shape, self._random("latent"))
        # a number that is recorded stays as it was
        dtype = self.model.scaling.low.dtype
        beta = torch.tensor(self._beta(epoch), dtype=dtype, device="cpu")
        self._recorders[stage](*batch, noise, beta)

    def _learn(self, *tensors: Tensor) -> None:
        adam = self.optimizers(use_pl_optimizer=False)
        assert isinstance(adam, Adam)
        adam.zero_grad()
        self._step(*tensors).backward()
        adam.step()

    def _step(
        self, scaled: Tensor, mask: Tensor, labels: Tensor | None, noise: Tensor, beta: Tensor
    ) -> Tensor:
        scaled = self._dequantized(scaled, mask)
        with self._precision(scaled.device):
            posterior = self.model.posterior(scaled, mask)
        z = posterior.mean + posterior.base_dist.stddev * noise.to(scaled)  # (B, L)
        made = None if self.full else self.model.conditioning.nodes(mask)  # (B, N)
        numbers = self.model.node_noise(len(z), self._random("node noise"))
        with self._precision(scaled.device):
            unit = self.model.decode_unit(z, labels, made, numbers)
        output = self.model.scaling.from_unit(unit.to(scaled))  # (B, N, F)
        # a GPU is not asked: it would have to be waited for
        full = made is None or (not mask.is_cuda and bool(mask.all() and made.all()))
        rec = self.loss(scaled, output, *(() if full else (mask, made)))  # (B,)
        if rec.shape != scaled.shape[:1]:
            raise ValueError(
                f"loss must return one value a cloud, shape ({len(scaled)},), "
                f"got shape {tuple(rec.shape)}"
            )
        kl, penalty = self._divergence(posterior, mask, labels)
        self._sums[self._now[0]] += torch.stack([rec.detach().sum(), kl.detach().sum()])
        if penalty is None:
            return (rec + beta * kl).mean()
        return rec.mean() + beta * penalty

    def _precision(self, device: torch.device) -> torch.autocast:
        """Of the network alone: loss and KL are small differences of large numbers."""
        wanted = self.options.precision == "bfloat16"
        return torch.autocast(device.type, torch.bfloat16, enabled=wanted)

    def _random(self, purpose: str) -> torch.Generator:
        """For this step of this stage; node noise is the same in both."""
        stage, epoch, step = self._now
        purpose = purpose if purpose == "node noise" else f"{stage} {purpose}".strip()
        return generator(self.options.seed, purpose, epoch=epoch, step=step)

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
        self, posterior: Independent[Any], mask: Tensor, labels: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """KL of each cloud, shape (B,), and what is made small if it is not its mean."""
        if self.options.joint_prior:
            context = self.model.conditioning.context(len(mask), labels, mask)
            context = None if context is None else context.to(posterior.mean)
            return losses.kl_monte_carlo(
                posterior, self.model.prior, self._random(""), context=context
            ), None
        kl = losses.kl_standard_normal(posterior)  # the history's, to the same bits in both cases
        if self.options.free_bits:
            each = losses.kl_per_latent(posterior)  # (B, L)
            return kl, losses.free_bits(each, self.options.free_bits)
        return kl, None

    def _beta(self, epoch: int) -> float:
        options = self.options
        return losses.kl_weight(
            epoch,
            beta=options.beta,
            warmup=options.kl_warmup,
            cycle=options.kl_cycle,
        )

    def _finish_stage(self, stage: str) -> float:
        rec, kl = self._sums[stage].tolist()
        count, self._counts[stage] = self._counts[stage], 0
        self._sums[stage].zero_()
        loss = (rec + self.options.beta * kl) / count
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the {stage} loss is {loss} in epoch {self.current_epoch + 1}; "
                f"a learning_rate below {self.options.learning_rate:g} may help"
            )
        for column, value in (("loss", loss), ("rec", rec / count), ("kl", kl / count)):
            self.history.setdefault(f"{stage}_{column}", []).append(value)
        return loss

    def on_validation_epoch_end(self) -> None:
        """Adds an epoch to the history, keeps its weights if they are the best, may stop."""
        self.history["epoch"].append(self.current_epoch + 1)
        self._finish_stage("train")  # validation is the last part of Lightning's training epoch
        loss = self._finish_stage("valid")
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, self.current_epoch + 1
            state = self.model.state_dict()
            self.best_weights = {key: value.detach().clone() for key, value in state.items()}
        self.seconds += time.perf_counter() - self._clock
        self._clock = time.perf_counter()
        self._stop_if_stale()


class Adam(torch.optim.Adam):
    """``torch.optim.Adam`` with less to do in a step."""

    def forget_traces(self) -> None:
        """Ends means of gradients that have been 0 for long, such as those of units that died.

        They fade by a tenth a step, and once they are so small that a CPU has no digits left for
        them, which takes some 800 steps, it computes with them a hundred times slower. What is cut
        here is too small to change a weight.
        """
        for state in self.state.values():
            state["exp_avg"].copy_(torch.hardshrink(state["exp_avg"], TRACE))

    # torch would look in every step whether a GPU is recording it with options that forbid that:
    # ours allow it, and looking takes longer than the step of a small network
    def _accelerator_graph_capture_health_check(self) -> None:
        pass

"""The stage that fits a likelihood to clouds and what a trained model makes of them."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from gconvae import files, registry
from gconvae.caller_state import neutral
from gconvae.clouds import Clouds
from gconvae.likelihoods.base import LearnedLikelihood, Likelihood
from gconvae.pieces import pieces
from gconvae.randomness import generator, initial_weights
from gconvae.training.stages.reconstructions import (
    Reconstructions,
    dequantized,
    held_out,
    latents,
)
from gconvae.vae import VAE

__all__ = ["LikelihoodStage", "calibrate", "fit_likelihood", "with_likelihood"]

CHECK_EVERY = 250
"""Steps between two looks at the held-out clouds."""

MOST_HELD_OUT = 1000
"""Held-out clouds that are looked at."""

AVERAGE = 0.999
"""Share of the old in the running mean of the weights, which is the model that is kept."""

WARMUP = 200
"""Steps over which the rates grow from 0; from there they fall like a cosine."""

MATRIX_RATE, OTHER_RATE, DECAY = 2e-2, 3e-3, 0.05
"""Learning rates of Muon, for matrices between hidden features, and of Adam, for the rest."""

LARGEST_GRADIENT = 10.0
"""Norm to which a gradient is cut."""


@neutral()
def with_likelihood(
    model: VAE,
    likelihood: str | Likelihood,
    data: Any,
    *,
    valid: Any = None,
    seed: int = 0,
    progress: bool = False,
    **options: Any,
) -> VAE:
    """A copy of a model with a fitted likelihood; see :meth:`gconvae.VAE.with_likelihood`."""
    model = copy.deepcopy(model).eval()
    if isinstance(likelihood, str):
        taken = registry.accepted("likelihood", likelihood) - options.keys()
        shape = {"num_points": model.conditioning.num_points} if "num_points" in taken else {}
        shape["num_features"] = len(model.scaling.low)
        with initial_weights(seed):
            created = registry.create("likelihood", likelihood, **shape, **options)
        assert isinstance(created, Likelihood)
        likelihood = created
    model.likelihood = copy.deepcopy(likelihood).to(model.scaling.low)
    model.likelihood.set_schema(model.schema)
    clouds = model.prepare(data, name="data")
    held = None if valid is None else model.prepare(valid, name="valid")
    model.likelihood.set_lattice(*clouds[:2])
    model.likelihood.set_ranges(model.scaling.low, model.scaling.high)
    fit_likelihood(model, clouds, held, seed=seed, progress=progress)
    return model


@neutral()
def fit_likelihood(
    model: VAE,
    data: Clouds,
    valid: Clouds | None = None,
    *,
    seed: int = 0,
    progress: bool = False,
    state: Path | None = None,
) -> None:
    """Fits a model's likelihood, in place.

    One without a network of its own is calibrated on ``valid``, if that is given.

    Args:
        model: Trained.
        data: The training clouds, prepared by the model.
        valid: Likewise, clouds that the model was not trained on; None = a seeded tenth of
            ``data``, where there is a network.
        seed: Of everything random in the fit.
        progress: Show a progress bar, where there is a network to train.
        state: A file from which a stopped fit of a network goes on; None = none.
    """
    if not isinstance(model.likelihood, LearnedLikelihood):
        calibrate(model, data if valid is None else valid, seed=seed)
        return
    clouds = Reconstructions(model, data)
    if valid is None:
        watched, rest = held_out(len(clouds), seed, "held-out pairs")
        held, clouds = clouds.subset(watched), clouds.subset(rest)
    else:
        held = Reconstructions(model, valid)
    model.likelihood.prepare_fit(clouds.unit, clouds.mask)
    LikelihoodStage(model.likelihood, clouds, held, seed).run(progress=progress, state=state)


@torch.no_grad()
def calibrate(model: VAE, clouds: Clouds, *, seed: int = 0) -> None:
    """Fits the noise of a model's likelihood to clouds and their reconstructions, in place.

    Args:
        model: Trained.
        clouds: Prepared clouds in data units, best some that the model was not trained on.
        seed: Of the latents, drawn from each cloud's posterior as in training.
    """
    # the cells of a lattice are no residuals: rounding follows the noise
    z = latents(model, clouds, seed=seed).draw(generator(seed, "calibration"))  # (B, L)
    clouds = dequantized(model, clouds, seed)
    noise, num_points = (
        generator(seed, "node noise of the calibration"),
        model.conditioning.num_points,
    )
    made = Clouds(z, model.conditioning.nodes(clouds.mask), clouds.labels)
    means = []
    for part in pieces(made, num_points):
        numbers = model.node_noise(len(part.points), noise)
        means.append(model.decode_unit(part.points, part.labels, part.mask, numbers))
    unit = model.scaled(clouds) / model.scaling.extent
    # a network with fewer nodes than the clouds is held against their first ones
    missing = num_points - unit.shape[1]
    unit = nn.functional.pad(unit, (0, 0, 0, missing))
    mask = nn.functional.pad(clouds.mask, (0, missing))
    model.likelihood.calibrate(unit, torch.cat(means), mask)


class LikelihoodStage:
    r"""Maximizes the likelihood of clouds given their means; can be stopped and go on.

    .. math:: \max_\theta \sum_b \log p_\theta(x_b | \hat x(z_b)), \quad z_b \sim q(z|x_b)

    The weights are running means over the steps, and those with the best likelihood of held-out
    clouds, unchanged ones, are kept.

    Args:
        likelihood: Its network is trained, in place.
        clouds: The training clouds and what the decoder makes of them.
        valid: Held-out ones.
        seed: The same seed gives the same weights.
    """

    def __init__(
        self,
        likelihood: LearnedLikelihood,
        clouds: Reconstructions,
        valid: Reconstructions,
        seed: int,
    ) -> None:
        self.likelihood, self.clouds, self.seed = likelihood, clouds, seed
        network = likelihood.network
        self.average = copy.deepcopy(network)
        matrices = likelihood.hidden_matrices()
        ours = {id(weight) for weight in matrices}
        rest = [weight for weight in network.parameters() if id(weight) not in ours]
        adam = torch.optim.AdamW(rest, lr=OTHER_RATE, weight_decay=DECAY, betas=(0.9, 0.99))
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = [(adam, OTHER_RATE)]
        if matrices:
            muon = torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=DECAY)
            self.optimizers.insert(0, (muon, MATRIX_RATE))
        self.step, self.best = 0, math.inf
        self.best_weights = copy.deepcopy(network.state_dict())
        rows = torch.arange(min(len(valid), MOST_HELD_OUT), device="cpu")
        unit, mask = valid.clouds(rows, self._random("held-out clouds"))
        self.held_out = unit, valid.means(rows, unit, mask, self._random("held-out means")), mask

    def run(self, *, progress: bool = False, state: Path | None = None) -> None:
        """Takes all steps, and leaves the best weights in the likelihood.

        Args:
            progress: Show a progress bar.
            state: A file to go on from, written at every look at the held-out clouds; None = none.
        """
        if state is not None and state.exists():
            self.load(state)
        steps = self.likelihood.fit_steps
        bar = tqdm(
            desc="likelihood",
            total=steps,
            initial=self.step,
            unit="step",
            # a log file gets a line every 10 s, a terminal a moving bar
            mininterval=0.1 if sys.stderr.isatty() else 10.0,
            dynamic_ncols=True,
            disable=not progress,
        )
        with bar, torch.enable_grad():
            while self.step < steps:
                self.advance()
                bar.update()
                if self.step % CHECK_EVERY == 0 or self.step == steps:
                    self.check()
                    bar.set_postfix_str(f"nats {self.best:.2f}", refresh=False)
                    if state is not None:
                        self.save(state)
        self.likelihood.network.load_state_dict(self.best_weights)
        self.likelihood.network.zero_grad()

    def advance(self) -> None:
        """One step of the optimizers and of the running mean."""
        network, share = self.likelihood.network, self.step / self.likelihood.fit_steps
        factor = min(1.0, (self.step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * share))
        loss = self.likelihood.negative_log_likelihood(*self._batch()).mean()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the likelihood is {loss.item()} in step {self.step}")
        network.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        for optimizer, rate in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
        self.step += 1
        new = 1 - min(AVERAGE, self.step / (9 + self.step))
        with torch.no_grad():
            pairs = zip(self.average.parameters(), network.parameters(), strict=True)
            for mean, weight in pairs:
                mean.lerp_(weight, new)

    def _batch(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Changed clouds, their means, masks and changes."""
        size, random = (self.likelihood.batch_size,), self._random("clouds")
        rows = torch.randint(len(self.clouds), size, generator=random, device="cpu")
        unit, mask = self.clouds.clouds(rows, self._random("lattice"))
        unit, changes = self.likelihood.changed(unit, mask, self._random("changes"))
        return unit, self.clouds.means(rows, unit, mask, self._random("means")), mask, changes

    @torch.no_grad()
    def check(self) -> None:
        """Keeps the running mean if the held-out clouds are likelier than ever."""
        with self._averaged():
            reached = self.likelihood.negative_log_likelihood(*self.held_out).mean()
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
            "optimizers": [optimizer.state_dict() for optimizer, _ in self.optimizers],
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
        for (optimizer, _), state in zip(self.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(state)

    def _random(self, purpose: str) -> torch.Generator:
        return generator(self.seed, f"observation {purpose}", step=self.step)

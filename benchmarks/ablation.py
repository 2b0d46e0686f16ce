"""What each part is worth: a likelihood alone, or on latents, mean, both; and joint steps.

Run: python benchmarks/ablation.py [--digit 8|all] [--seeds 3] [--first 0] [--lines both ...]
The lines of a seed share the network, its flow prior, and the budget; what the likelihood is
conditioned on differs, and the temperatures that validation clouds choose for it. Started beside
it with other seeds, a second process shares the work; stopped, it goes on when started again.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from digits import WHOLE, Figures, cell, kept, row, splits_of
from torch import Tensor, nn

import gconvae
from gconvae import recipes
from gconvae.options import DataOptions
from gconvae.priors import Prior
from gconvae.studies.experiment import Experiment, Splits

BOTH = ("mean", "latents")

CONDITION_ON = {
    "alone": (),
    "latents": ("latents",),
    "mean": ("mean",),
    "both": BOTH,
    "joint": BOTH,
}
"""What the likelihood of each line is conditioned on, beside the label."""

AT_ZERO = "zero"
"""The model of ``both`` with latents of 0."""

CONDITIONED_ON = {
    "alone": "nothing: no autoencoder",
    "latents": "latents",
    "mean": "decoder's mean",
    "both": "mean and latents",
    "joint": "the same, trained jointly at the end",
    AT_ZERO: "mean and latents of z = 0",
}
"""Lines of the table."""

LOG_VARIANCE = -20.0
"""Of latents that are 0: so small that a decoder sees no difference."""

STEPS = {"8": 5000, "all": 8000}
"""Of the likelihood of each line."""

JOINT_STEPS = 1500
"""The last of them, in the line ``joint``, train all parts together."""

SHOWN = (("x", "W1"), ("y", "W1"), ("intensity", "W1"), *WHOLE)


def network(out: Path, digit: str, seed: int) -> Path:
    """Encoder, decoder and prior of a seed, found or trained; one thread."""
    folder = out / f"network-{digit}-{seed}"
    if not (folder / "model.json").exists():
        train(folder, digit, seed, "mean(lattice='fine')", joint_steps=0)
    return folder


def train(folder: Path, digit: str, seed: int, likelihood: str, joint_steps: int) -> None:
    """A whole training, from its beginning or where it was."""
    chosen = recipes.get("digits" if digit == "all" else "convae-flow")
    model = chosen.model_options(likelihood=likelihood)
    training = chosen.training_options(seed=seed, threads=1, joint_steps=joint_steps)
    data = DataOptions(digit=None if digit == "all" else int(digit))
    Experiment(data, model, training).run(folder, resume=folder.exists())


class ZeroEncoder(nn.Module):
    """Latents of 0, as exactly as a Gaussian can say it."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, points: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of each cloud."""
        mean = points.new_zeros(len(points), self.latent_dim)
        return mean, torch.full_like(mean, LOG_VARIANCE)


class ZeroPrior(Prior):
    """The same Gaussian, so that log p(x) is log p(x | z = 0)."""

    def from_noise(self, noise: Tensor, context: Tensor | None = None) -> Tensor:
        """Zeros."""
        return torch.zeros_like(noise)

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """That of :class:`ZeroEncoder`."""
        scale = math.exp(LOG_VARIANCE / 2)
        return torch.distributions.Normal(0.0, scale, validate_args=False).log_prob(z).sum(-1)


def at_zero(model: gconvae.VAE) -> gconvae.VAE:
    """A model whose latents are 0 in its draws and in its likelihood."""
    conditioning = model.conditioning
    model.encoder = ZeroEncoder(model.prior.latent_dim)
    given = (
        model.prior.latent_dim,
        conditioning.num_classes,
        conditioning.ragged,
        len(conditioning.names),
    )
    model.prior = ZeroPrior(*given)
    return model


def fitted(out: Path, digit: str, seed: int, line: str, splits: Splits) -> gconvae.VAE:
    """The model of a line, found or fitted."""
    folder, steps = out / f"{line}-{digit}-{seed}", STEPS[digit]
    if line == "joint":  # whose network is that of the others until the last stage
        if not (folder / "model.json").exists():
            text = (
                f"autoregressive(steps={steps - JOINT_STEPS}, condition_on={CONDITION_ON[line]})"
            )
            train(folder, digit, seed, text, JOINT_STEPS)
    elif not (folder / "model.json").exists():
        shutil.rmtree(folder, ignore_errors=True)
        base, began = gconvae.load(network(out, digit, seed)), time.perf_counter()
        text = f"autoregressive(steps={steps}, condition_on={CONDITION_ON[line]})"
        model = base.with_likelihood(text, splits.train, valid=splits.valid, seed=seed)
        gconvae.save(model, folder)
        print(f"{folder.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return gconvae.load(folder)


def fitted_at_zero(out: Path, digit: str, seed: int, splits: Splits) -> gconvae.VAE:
    """The model that is conditioned on both, at z = 0."""
    return at_zero(fitted(out, digit, seed, "both", splits))


def results(out: Path, digit: str, seeds: range, lines: list[str]) -> dict[str, list[Figures]]:
    """Figures of all lines, found or made."""
    found: dict[str, list[Figures]] = {line: [] for line in lines}
    for seed in seeds:
        splits = splits_of(seed, None if digit == "all" else int(digit))
        for line in lines:
            make = partial(fitted, out, digit, seed, line, splits)
            found[line].append(kept(out / f"{line}-{digit}-{seed}.json", make, splits, seed))
        if "both" in lines:
            made = partial(fitted_at_zero, out, digit, seed, splits)
            file = out / f"zero-{digit}-{seed}.json"
            found.setdefault(AT_ZERO, []).append(kept(file, made, splits, seed))
    return found


def rounded(values: list[float], places: int) -> str:
    """Mean and standard deviation, to so many decimal places."""
    spread = f" ± {statistics.stdev(values):.{places}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{places}f}{spread}"


def print_table(found: dict[str, list[Figures]]) -> None:
    """Mean and standard deviation over seeds, and the floors."""
    heads = [f"{name} {metric}" for name, metric in SHOWN]
    print(f"\n| likelihood conditioned on | log p(x), nats | {' | '.join(heads)} | called right |")
    print("|---|" + "---:|" * (len(heads) + 2))
    for line, seeds in found.items():
        cells = [rounded([seed["nats"][0] for seed in seeds], 1)]
        cells += [cell([row(seed["whole"], *key)["value"] for seed in seeds]) for key in SHOWN]
        rights = [
            statistics.fmean(digit["right"][0] for digit in seed["digits"].values())
            for seed in seeds
        ]
        print(f"| {CONDITIONED_ON[line]} | {' | '.join(cells)} | {rounded(rights, 4)} |")
    some = next(iter(found.values()))
    for name, key in (("real against real", "floor"), ("95 % of real pairs", "floor_95")):
        means = [statistics.fmean(row(s["whole"], *k)[key] for s in some) for k in SHOWN]
        print(f"| {name} | - | {' | '.join(f'{mean:.3g}' for mean in means)} | - |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--digit", default="8", choices=list(STEPS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(
        "--lines", nargs="+", default=list(CONDITION_ON), choices=list(CONDITION_ON)
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    seeds = range(given.first, given.first + given.seeds)
    print_table(results(given.out, given.digit, seeds, given.lines))

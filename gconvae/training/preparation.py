"""What happens before the first step: data sets, schema and scaling, and what would fail later."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import torch

from gconvae import datasets, losses
from gconvae.conditioning import chosen_conditions
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.datasets.conversion import as_dataset
from gconvae.likelihoods.base import LearnedLikelihood
from gconvae.options import Scaling, TrainingOptions
from gconvae.priors.base import StandardNormal
from gconvae.scaling import FeatureScaling
from gconvae.schema import CloudSchema
from gconvae.training.clouds import TrainingClouds, seen_rows
from gconvae.training.stages.stepped import checked_steps
from gconvae.vae import VAE

__all__ = [
    "VALID_FRACTION",
    "CloudShape",
    "check_encoder",
    "check_trainable",
    "describe",
    "identity",
    "in_memory",
    "look_at",
    "resolved_accelerator",
    "set_budget",
    "shape_of",
    "train_and_valid",
    "warn_of_slow",
]

VALID_FRACTION = 0.17
"""Share of the clouds kept for validation when no validation set is given."""


def train_and_valid(
    data: Any, valid: Any, seed: int, schema: CloudSchema | None = None
) -> tuple[Any, Any]:
    """The clouds that :func:`fit` trains on, and those that choose its best epoch.

    Args:
        data: As :func:`fit` takes it.
        valid: Likewise; None = a seeded 17 % of ``data``.
        seed: Of the split.
        schema: What the features are, where ``data`` does not say it.
    Raises:
        ValueError: If clouds are not valid, or too few to be split.
    Example:
        >>> train, valid = train_and_valid(torch.rand(100, 25, 3), None, seed=0)
        >>> len(train), len(valid)
        (83, 17)
    """
    data = as_dataset(data, "data", schema)
    if valid is None:
        return datasets.split(data, VALID_FRACTION, seed=seed)
    valid = as_dataset(valid, "valid", data.schema)
    unlike = data.schema.difference(valid.schema)
    if unlike:
        raise ValueError(f"valid must have the schema of data, {unlike}")
    return data, valid


def identity(data: CloudDataset | CloudFile) -> dict[str, Any]:
    """What a manifest says of clouds, so that the same ones can be told from others.

    How they are drawn is not part of it.
    """
    schema = {key: value for key, value in data.schema.to_dict().items() if key != "picture"}
    return {"clouds": len(data), "schema": schema, "sha256": data.checksum()}


def describe(model: VAE, train: CloudDataset | CloudFile, scaling: Scaling) -> None:
    """Gives a model the schema of its training clouds, and feature ranges that hold them."""
    wanted, features = model.schema.num_features, train.schema.num_features
    if wanted != features:
        raise ValueError(
            f"data must have {wanted} features a node like the model, got {features}; "
            f"models.create(num_features={features}) makes one for them"
        )
    conditions = chosen_conditions(train.schema, model.conditioning.names)
    model.schema = train.schema.replace(conditions=conditions)
    model.likelihood.set_schema(train.schema)
    if scaling == "keep":
        return
    known = scaling == "auto"
    if isinstance(train, CloudFile):
        ends = train.summary()
        low, high = (torch.tensor(end, dtype=torch.float64) for end in (ends.low, ends.high))
        fitted = FeatureScaling.of_range(train.schema, low, high, known=known)
    else:
        fitted = FeatureScaling.fitted(train.schema, train.points, train.mask, known=known)
    model.scaling = fitted.to(model.scaling.low)


def look_at(model: VAE, clouds: TrainingClouds, seed: int) -> None:
    """Gives a model what it has to know of its training clouds: conditions and lattice.

    Args:
        model: It changes.
        clouds: Those of the training; the lattice is found from those of :func:`seen_rows`.
        seed: Of the training.
    """
    clouds.count(model.conditioning)
    seen = clouds.prepared(seen_rows(len(clouds), seed))
    model.conditioning.fit_conditions(seen._replace(schema=model.schema), seed)
    model.likelihood.set_lattice(seen.points, seen.mask)
    model.likelihood.set_ranges(model.scaling.low, model.scaling.high)


class CloudShape(NamedTuple):
    """What of clouds decides about a network for them.

    Attributes:
        num_points: N, to which they are padded.
        is_full: Whether each has N nodes.
        num_labels: One more than the largest label; 0 = no labels.
        has_classes: Whether there are two labels or more.
    """

    num_points: int
    is_full: bool
    num_labels: int
    has_classes: bool


def shape_of(data: CloudDataset | CloudFile) -> CloudShape:
    """The shape of clouds in memory or on disk."""
    if isinstance(data, CloudFile):
        seen = data.summary()
        labels = seen.label_counts or ()
        is_full = not any(seen.size_counts[:-1])
        return CloudShape(data.num_points, is_full, len(labels), sum(n > 0 for n in labels) > 1)
    points, mask, labels = data.clouds
    if labels is None:
        return CloudShape(points.shape[1], bool(mask.all()), 0, False)
    several = len(labels.unique()) > 1
    return CloudShape(points.shape[1], bool(mask.all()), int(labels.max()) + 1, several)


def in_memory(data: CloudDataset | CloudFile, seed: int) -> CloudDataset:
    """Clouds to compare with: all of them, or of a file a random part that fits into memory."""
    if isinstance(data, CloudFile):
        return data[seen_rows(len(data), seed)].in_memory()
    return data


def check_trainable(
    model: VAE, options: TrainingOptions, data: CloudDataset | CloudFile, *, with_loss: bool = True
) -> None:
    """Refuses what would fail in the first step: a prior or loss that does not fit.

    Args:
        model: Untrained.
        options: Those of the training.
        data: Training clouds.
        with_loss: Whether the loss is one that ``options`` name.
    Raises:
        ValueError: If the prior or the likelihood cannot be trained so, or the loss does not take
            such clouds.
    """
    if options.joint_prior and isinstance(model.prior, StandardNormal):
        raise ValueError("joint_prior needs a prior that can be trained, got standard_normal")
    if options.joint_prior and options.free_bits:
        raise ValueError(
            f"free_bits must be 0 with joint_prior, whose KL is not a sum over latents, "
            f"got {options.free_bits:g}"
        )
    model.conditioning.check_likelihood(model.likelihood.conditioned_on, model.prior.latent_dim)
    if options.joint_steps and not _has_bound(model):
        raise ValueError(
            "joint_steps must be 0 unless the likelihood is autoregressive, whose loss is minus "
            f"the log-likelihood, got {type(model.likelihood).__name__}"
        )
    if not with_loss:
        return
    positions = data.schema.num_positions
    loss = losses.create(options.loss, backend=options.neighbors, num_positions=positions)
    if isinstance(loss, losses.ThirdAxisChamfer):
        return  # it takes clouds of any sizes
    first = torch.arange(min(2, len(data)), device="cpu")
    clouds = data.take(first) if isinstance(data, CloudFile) else data[:2].clouds
    nodes = model.conditioning.nodes(clouds.mask)  # (2, N)
    output = clouds.points.new_zeros(*nodes.shape, clouds.points.shape[-1])
    masks = () if clouds.mask.all() and nodes.all() else (clouds.mask, nodes)
    try:
        loss(clouds.points, output, *masks)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"loss must fit clouds and model, {options.loss}: {error}") from None


def _has_bound(model: VAE) -> bool:
    """Whether the loss of a likelihood's network is minus log p(x|z)."""
    return isinstance(model.likelihood, LearnedLikelihood) and model.likelihood.has_mass


@torch.no_grad()
def check_encoder(model: VAE, clouds: TrainingClouds) -> None:
    """Two clouds through an encoder, which may be somebody's own.

    Args:
        model: Untrained.
        clouds: Its training clouds.
    Raises:
        ValueError: If it takes something else, or returns no posterior over the model's latents.
    """
    first = clouds.scaled(torch.arange(min(2, len(clouds)), device="cpu"))
    was_training = model.training
    model.eval()  # so that nothing is counted or dropped
    try:
        points, mask = first.points.to(model.device), first.mask.to(model.device)
        mean = model.posterior(points, mask).mean
    except TypeError as error:
        raise ValueError(
            f"encoder must take (points, mask), {type(model.encoder).__name__}: {error}"
        ) from None
    finally:
        model.train(was_training)
    wanted = (len(first.points), model.prior.latent_dim)
    if mean.shape != wanted:
        raise ValueError(
            f"encoder must return a mean of shape (clouds, latents), here {wanted}, "
            f"got {tuple(mean.shape)} from {type(model.encoder).__name__}"
        )


def set_budget(model: VAE, options: TrainingOptions) -> None:
    """Gives the stages after the network the steps that were asked for, or checks their own."""
    for name, steps in (("prior", options.prior_steps), ("likelihood", options.likelihood_steps)):
        part = getattr(model, name)
        own = getattr(part, "fit_steps", None)
        if own is not None:
            part.fit_steps = checked_steps(name, own if steps is None else steps)
        elif steps is not None:
            raise ValueError(
                f"{name}_steps must be None for {type(part).__name__}, which takes none, "
                f"got {steps}"
            )


def resolved_accelerator(wanted: str) -> str:
    """``auto`` resolved: a GPU if there is one."""
    has_gpu = torch.cuda.is_available()
    if wanted in ("gpu", "cuda") and not has_gpu:
        raise ValueError(f"accelerator must be available, got {wanted!r}, and torch finds no GPU")
    if wanted == "auto":
        return "gpu" if has_gpu else "cpu"
    return "gpu" if wanted == "cuda" else wanted


def warn_of_slow(precision: str, accelerator: str) -> None:
    """Says if a device has no instructions for a precision, which makes training slower."""
    if precision != "bfloat16":
        return
    if accelerator == "gpu":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    elif hasattr(torch.cpu, "get_capabilities"):  # oneDNN takes such numbers on more CPUs
        has_it = any(has for name, has in torch.cpu.get_capabilities().items() if "bf16" in name)
    else:
        return  # older torch cannot tell
    if not has_it:
        warnings.warn(
            "precision='bfloat16' is emulated on this device, which has no instructions for it: "
            "precision='float32' is faster",
            stacklevel=3,
        )

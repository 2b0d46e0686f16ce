"""Every option as a frozen dataclass; standard library only, so that the command starts fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from gconvae.plain import did_you_mean, plain

__all__ = ["DataOptions", "ModelOptions", "SampleOptions", "TrainingOptions"]

Neighbors = Literal["torch-cluster", "dense", "native", "auto"]
Scaling = Literal["auto", "range", "keep"]
Accelerator = Literal["auto", "cpu", "gpu", "cuda"]
Precision = Literal["float32", "bfloat16", "32-true", "bf16-mixed"]

OTHER_PRECISIONS = {"32-true": "float32", "bf16-mixed": "bfloat16"}
"""What Lightning calls them."""


@dataclass(frozen=True)
class DataOptions:
    """Which clouds to train on.

    Attributes:
        data: Your own clouds: an npz or npy file with points (B, N, F) and perhaps mask, labels
            and schema, or an HDF5, Parquet or ROOT file; by default the bundled superpixel digits.
            A random fifth of it, always the same, is kept aside as test set. Or bundled jets:
            jets:gluon, jets:quark, jets:top, jets:gluon,top or jets:all, which come split in
            training, validation and test.
        digit: Digit of the bundled set, 0 to 9, a list such as [3,8], or null for all ten.
        max_nodes: The most nodes of a cloud that are kept, of jets the hardest particles; by
            default all.
    """

    data: str | None = None
    digit: int | list[int] | None = 8
    max_nodes: int | None = None

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        _make_plain(self)
        if self.max_nodes is not None:
            _check_count("max_nodes", self.max_nodes)
            if self.data is None:
                raise ValueError(
                    "max_nodes must be null for the bundled digits, which all have as many, "
                    f"got {self.max_nodes}"
                )


@dataclass(frozen=True)
class ModelOptions:
    """What to train. Parts are written name or name(option=value, ...).

    Attributes:
        model: Name in the catalogue of models: encoder, decoder, and what goes with them.
        encoder: Another encoder, such as edge_conv(neighbors=6).
        decoder: Another decoder.
        prior: What latents are drawn from: standard_normal, gmm, realnvp, maf or nsf; by default
            the model's own, mostly standard_normal.
        likelihood: What is drawn around the decoder's output: mean, the output itself, gaussian,
            noise as large as the reconstruction's error, autoregressive, whole clouds node by
            node, or flow_matching, all nodes at once; by default the model's own, mostly mean.
        labels: Train one network for all classes, which can be asked for one of them; by default
            if your own clouds have labels of several classes.
        ragged: Tell the network the number of nodes of a cloud; by default, if clouds differ in
            it.
        conditions: Tell the network these numbers of a cloud as a whole, such as [mass, pt], by
            the names that the data have for them; by default none.
        latent_dim: Latent dimensions L.
        num_points: Nodes N of a generated cloud; by default those of the largest training cloud.
        channels: Channels of each layer, in encoder and decoder if they have this option; by
            default their own, (16, 32, 64) for the convolutions of the slides.
        hidden: Width of the dense layers, likewise; 1500 on the slides.
        padding: Columns of zeros at both ends of a convolution of the slides; by default 1, 0 in
            the author's script.
        kernel: Nodes that a convolution of the slides spans; by default 5.
    """

    model: str = "convae"
    encoder: str | None = None
    decoder: str | None = None
    prior: str | None = None
    likelihood: str | None = None
    labels: bool | None = None
    ragged: bool | None = None
    conditions: list[str] | None = None
    latent_dim: int = 10
    num_points: int | None = None
    channels: tuple[int, ...] | None = None
    hidden: int | None = None
    padding: int | None = None
    kernel: int | None = None


@dataclass(frozen=True)
class TrainingOptions:
    """How to train; the same names as gconvae.fit has.

    Attributes:
        loss: Reconstruction loss: third_axis (eq. 1 of the slides), matched_intensity (eq. 2),
            matching, sliced_wasserstein, sinkhorn, or a sum such as third_axis + 0.5 * matching.
        beta: Factor of the KL term.
        standardize: Give the loss both sides minus the mean and over the standard deviation of the
            training clouds' features; false = scaled units, as on the slides.
        epochs: Passes over the training clouds, at most.
        batch_size: Clouds a step.
        learning_rate: Of the network.
        optimizer: Of every stage: adam, adamw, sgd, muon or a class of torch.optim, perhaps with
            options, adamw(weight_decay=0.1); null = each stage's own.
        scheduler: Of every stage's learning rate: constant, cosine, trapezoid, linear or
            exponential, perhaps with options, cosine(warmup=100); null = each stage's own.
        patience: Epochs without a better validation loss after which training stops; null = never.
        max_time: Limit of each stage, days:hours:minutes:seconds; null = none.
        seed: Everything random derives from it: split, initial weights, order, latent noise.
        neighbors: Neighbour search of the loss: torch-cluster, dense, native, or auto, the
            fastest.
        scaling: Feature ranges: auto, those that the schema knows, else of the training clouds;
            range, all of the training clouds; keep, the model's.
        accelerator: cpu or gpu; auto takes a GPU if there is one.
        devices: Processes of this machine that share each batch, one a GPU; a list names GPUs.
        num_nodes: Machines that do so together.
        strategy: How they do, in Lightning's words; auto is ddp for several.
        precision: Of the products of all networks: float32, or bfloat16 where the CPU or GPU has
            it; Lightning's words for them are 32-true and bf16-mixed.
        threads: CPU threads for torch; null = as torch has it. Other counts give other bits.
        workers: Processes that load batches; any number gives the same bits. Clouds lie in memory,
            so 0, the process itself, is the fastest.
        kl_warmup: Epochs over which beta grows from 0.
        kl_cycle: Epochs of a cycle, over whose first half it does so again and again.
        free_bits: Nats of each latent that the KL term leaves free.
        joint_prior: Train the prior with the network; else it is fitted afterwards on the latents.
        prior_steps: Steps of a prior that is a flow; null = its own.
        likelihood_steps: Steps of a likelihood with a network, such as autoregressive; null = its
            own.
        joint_steps: Steps in which all parts are trained together at last, on the bound on the
            log-likelihood; for a likelihood that is autoregressive.
        callbacks: Of Lightning, by name: [EarlyStopping(monitor="valid_loss", patience=5)].
        logger: csv or tensorboard, which write into logs of the run folder, or the name of a
            logger of Lightning with its options; null = none.
    """

    loss: str = "third_axis"
    beta: float = 1.0
    standardize: bool = False
    epochs: int = 100
    batch_size: int = 100
    learning_rate: float = 1e-3
    optimizer: str | None = None
    scheduler: str | None = None
    patience: int | None = 20
    max_time: str | None = None
    seed: int = 0
    neighbors: Neighbors = "torch-cluster"
    scaling: Scaling = "auto"
    accelerator: Accelerator = "auto"
    devices: int | list[int] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    precision: Precision = "float32"
    threads: int | None = None
    workers: int = 0
    kl_warmup: int = 0
    kl_cycle: int = 0
    free_bits: float = 0.0
    joint_prior: bool = False
    prior_steps: int | None = None
    likelihood_steps: int | None = None
    joint_steps: int = 0
    callbacks: list[str] | None = None
    logger: str | None = None

    def __post_init__(self) -> None:
        """Refuses values out of range; numbers of numpy and torch become Python's."""
        _make_plain(self)
        own = OTHER_PRECISIONS.get(self.precision, self.precision)
        object.__setattr__(self, "precision", own)
        for name in ("epochs", "batch_size", "num_nodes"):
            _check_count(name, getattr(self, name))
        for name in ("patience", "threads", "prior_steps", "likelihood_steps"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name))
        for name in ("seed", "workers", "kl_warmup", "kl_cycle", "joint_steps"):
            _check_count(name, getattr(self, name), least=0)
        _check_devices(self.devices)
        _check_number("learning_rate", self.learning_rate, above=True)
        _check_number("beta", self.beta, above=False)
        _check_number("free_bits", self.free_bits, above=False)
        if self.kl_cycle == 1:
            raise ValueError("kl_cycle must be 0 or at least 2 epochs, got 1")
        if self.kl_warmup and self.kl_cycle:
            raise ValueError(
                "kl_warmup must be 0 where kl_cycle is set, "
                f"got {self.kl_warmup} and {self.kl_cycle}"
            )
        for name, choices in (
            ("neighbors", Neighbors),
            ("scaling", Scaling),
            ("accelerator", Accelerator),
            ("precision", Precision),
        ):
            if getattr(self, name) not in get_args(choices):
                value, allowed = getattr(self, name), get_args(choices)
                hint = did_you_mean(value, allowed)
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {value!r}{hint}"
                )


@dataclass(frozen=True)
class SampleOptions:
    """What to draw from a trained model.

    Attributes:
        count: How many clouds to draw.
        seed: The same seed gives the same clouds.
        label: Class to draw, by its name or number, for a model trained with labels; by default
            all, as often as in training.
    """

    count: int = 1000
    seed: int = 0
    label: int | str | None = None

    def __post_init__(self) -> None:
        """Refuses values out of range."""
        _make_plain(self)
        _check_count("count", self.count)
        _check_count("seed", self.seed, least=0)


def _make_plain(options: Any) -> None:
    """Scalars of numpy, pandas or torch as Python's, in place."""
    for field in fields(options):
        object.__setattr__(options, field.name, plain(getattr(options, field.name)))


def _check_count(name: str, value: Any, least: int = 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _check_devices(value: Any) -> None:
    if not isinstance(value, list):
        _check_count("devices", value)
    elif not value or len(set(value)) < len(value):
        raise ValueError(f"devices must be a number, or a list of GPUs, got {value!r}")
    else:
        for number in value:
            _check_count("devices", number, least=0)


def _check_number(name: str, value: Any, *, above: bool) -> None:
    """Above 0, or at least 0, and finite."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0 or (above and value == 0):
        rule = "above 0" if above else "at least 0"
        raise ValueError(f"{name} must be {rule} and finite, got {value!r}")

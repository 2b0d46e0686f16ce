"""Training: the Lightning module and data around a VAE, and :func:`fit`, which uses them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import math
import os
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from gconvae import datasets, files, losses, metrics, neighbors
from gconvae.caller_state import Shared, neutral
from gconvae.clouds import Clouds
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.conversion import as_dataset
from gconvae.options import Device, Neighbors, Precision, Scaling, TrainingOptions
from gconvae.priors.base import StandardNormal
from gconvae.scaling import FeatureScaling
from gconvae.training import batches, run_folder
from gconvae.training.run_folder import Run
from gconvae.training.stages.likelihood import fit_likelihood
from gconvae.training.stages.network import NetworkStage
from gconvae.training.stages.prior import fit_prior
from gconvae.vae import VAE

__all__ = ["check_trainable", "deterministic", "fit", "identity", "train_and_valid"]

VALID_FRACTION = 0.17
"""Share of the clouds kept for validation when no validation set is given."""

SMALLEST_REPORT = 4
"""Validation clouds below which halves of them say nothing about a floor."""

STATE = "last.ckpt"
"""The run folder's file to resume from, a Lightning checkpoint without code."""

SAVE_EVERY = 1.0
"""Seconds of training that may be lost where an epoch takes less: a state of 45 MB takes longer to
write than an epoch on a GPU."""

LIKELIHOOD_STATE = "likelihood.ckpt"
"""Likewise of a likelihood that is trained after the network, while it is."""

NUM_SAMPLES = 100
"""Generated clouds whose checksum the manifest keeps."""

PACKAGES = ("gconvae", "torch", "torch-geometric", "torch-cluster", "lightning", "numpy", "scipy")


@neutral()
def fit(
    model: VAE,
    data: CloudDataset | Tensor | Any,
    valid: CloudDataset | Tensor | Any | None = None,
    loss: str | nn.Module = "third_axis",
    beta: float = 1.0,
    standardize: bool = False,
    epochs: int = 100,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    patience: int | None = 20,
    seed: int = 0,
    neighbors: Neighbors = "torch-cluster",
    scaling: Scaling = "auto",
    device: Device = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    workers: int = 0,
    kl_warmup: int = 0,
    kl_cycle: int = 0,
    free_bits: float = 0.0,
    joint_prior: bool = False,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    config: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    r"""Trains a copy of a model and keeps its best epoch by validation loss.

    .. math:: L = \frac1B \sum_b \left[ L_{rec}(x_b, \hat x_b) + \beta \, L_{KL}(x_b) \right]

    with both terms in scaled units (or standardized ones) and summed over nodes and latents,
    optimized by Adam. Everything random derives from ``seed``; torch's deterministic algorithms
    are on inside and restored after.

    Args:
        model: Left as it is.
        data: Training clouds: a data set of :mod:`gconvae.datasets`, points (B, N, 3), PyG graphs,
            or a PyG ``DataLoader``, whose clouds are taken: order and batches are those of
            ``seed`` and ``batch_size``.
        valid: Validation clouds in any of these forms; None = a seeded 17 % of ``data``.
        loss: A name of :func:`gconvae.losses.available`, perhaps with options, or a sum of some
            (``"third_axis + 0.5 * matching"``), or a module from (target, output), and
            (target_mask, output_mask) where clouds are ragged, to one value a cloud, shape (B,).
        beta: Factor of the KL term.
        standardize: Whether the loss gets both sides standardized by the training clouds, see
            :class:`gconvae.losses.Standardized`; the output keeps its range.
        epochs: Passes over the training clouds, at most.
        batch_size: Clouds a step; the last step of an epoch takes what is left.
        learning_rate: Of Adam.
        patience: Epochs without a better validation loss after which training stops; None = never.
        seed: Of the split, the order and the latent noise; initial weights are the model's own.
        neighbors: Neighbour search of a named loss, see :func:`gconvae.neighbors.nearest`.
        scaling: Feature ranges: ``"auto"``, those that the schema knows, else of the training
            clouds; ``"range"``, all of the training clouds; ``"keep"``, the model's.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: a GPU if there is one.
        precision: Of the network's products: ``"float32"``, or ``"bfloat16"`` where the CPU or GPU
            has it (weights, loss and KL stay float32).
        threads: CPU threads for torch; None = as they are. Other counts give other bits.
        workers: Processes that load batches; any number gives the same bits. Clouds lie in memory,
            so 0, the process itself, is the fastest.
        kl_warmup: Epochs over which beta grows from 0, see :func:`losses.kl_weight`. What
            the history holds, and what chooses the best epoch, is the loss with all of ``beta``.
        kl_cycle: Epochs of a cycle, over whose first half it does so again and again.
        free_bits: Nats of each latent that the KL term leaves free, see :func:`losses.free_bits`.
        joint_prior: Whether the model's prior is trained with the network, by
            :func:`losses.kl_monte_carlo`. Else the network is trained with N(0, 1) and the prior,
            if it is another, fitted to the latents afterwards.
        out: The new folder of the run: ``model.safetensors`` and ``model.json`` (best epoch),
            ``history.csv``, ``manifest.json``, ``config.yaml``, ``report_valid.json``
            (generated against validation clouds) and ``last.ckpt`` (to resume); None = nothing
            is written.
        resume: Go on with the run in ``out`` after its last saved epoch, to the bits of one
            that was never stopped; all but ``workers`` and ``progress`` must be as it was begun.
        config: Settings to keep in the run folder, such as those of a command line; None = the
            options of this training.
        progress: Show a progress bar.
    Warns:
        UserWarning: If ``resume`` finds another device, version or machine: last bits may differ;
            or if the device has no instructions for ``precision``, which makes training slower.
    Raises:
        ValueError: If an option is out of range, clouds are not valid or do not fit the model, or
            ``out`` exists, or ``resume`` finds other options, model or clouds.
        FileNotFoundError: If ``resume`` finds no begun run.
        FloatingPointError: If the loss stops being finite.
    References:
        | beta-VAE (Higgins et al., 2017), ICLR
    Example:
        >>> import gconvae
        >>> data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:60]
        >>> model = gconvae.models.create("convae", hidden=32, seed=0)
        >>> run = gconvae.fit(model, data, epochs=2, seed=0, progress=False)
        >>> run.history["epoch"]
        [1, 2]
    """
    options = TrainingOptions(
        loss=loss if isinstance(loss, str) else repr(loss),
        beta=beta,
        kl_warmup=kl_warmup,
        kl_cycle=kl_cycle,
        free_bits=free_bits,
        joint_prior=joint_prior,
        standardize=standardize,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        patience=patience,
        seed=seed,
        neighbors=neighbors,
        scaling=scaling,
        device=device,
        precision=precision,
        threads=threads,
        workers=workers,
    )
    _warn_of_slow(precision, _device(device))
    train, valid = train_and_valid(data, valid, seed)
    trained = copy.deepcopy(model).train()
    _described(trained, train, scaling)
    check_trainable(trained, options, train, with_loss=isinstance(loss, str))
    sets = [
        _training_clouds(trained, train, "data"),
        _training_clouds(trained, valid, "valid"),
    ]
    trained.conditioning.fit(sets[0].mask, sets[0].labels)
    trained.likelihood.set_lattice(train.points, train.mask)
    if isinstance(loss, str):
        loss = losses.create(loss, backend=neighbors, num_positions=train.schema.num_positions)
    if any(True for _ in loss.parameters()):
        raise ValueError(f"loss must have no parameters: only the model is trained, got {loss}")
    if standardize:
        loss = losses.Standardized.fitted(loss, sets[0].points, sets[0].mask)
    begun = _manifest(options, model, train, valid, loss, config)
    if out is not None:
        run_folder.check_saveable(model)
        out = run_folder.begin(out, begun, resume=resume)
        # of a resumed run, since the thread count decides about the last bits
        begun = run_folder.read_manifest(out)
    elif resume:
        raise ValueError("resume needs the folder of the run as out, got None")
    _keep_freed_memory()
    with deterministic(begun["threads"]):
        with _quiet_lightning():
            loaders = [
                batches.loader(
                    part if workers else _on_device(part, _device(device)),
                    batch_size=batch_size,
                    seed=seed,
                    shuffle=number == 0,
                    workers=workers,
                )
                for number, part in enumerate(sets)
            ]
            size = trained.conditioning.num_points
            full = all(part.mask.shape[1] == size and part.mask.all() for part in sets)
            task = NetworkStage(trained, loss, options, loaders[0], full)
            _run(_trainer(options, out, progress), task, loaders, out)
        trained.load_state_dict(task.best_weights)
        trained = trained.cpu().eval()
        if not isinstance(trained.prior, StandardNormal) and not joint_prior:
            fit_prior(trained, train, valid, seed=seed)
        fit_state = None if out is None else out / LIKELIHOOD_STATE
        fit_likelihood(trained, train, valid, seed=seed, progress=progress, state=fit_state)
        samples = trained.sample_clouds(NUM_SAMPLES, seed=seed).points.numpy()
        manifest = {
            **begun,
            "best_epoch": task.best_epoch,
            "epochs_run": len(task.history["epoch"]),
            "seconds": round(task.seconds, 3),
            "samples_sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
        }
        run = Run(trained, task.history, manifest, out)
        if out is not None:
            _finish(run, out, valid, seed)
    return run


def _run(
    trainer: pl.Trainer, task: NetworkStage, loaders: list[DataLoader[Any]], out: Path | None
) -> None:
    """Trains, from the saved state on if there is one."""
    state = None if out is None or not (out / STATE).exists() else out / STATE
    if state is not None:
        try:
            damaged = zipfile.ZipFile(state).testzip()
        except zipfile.BadZipFile as error:
            damaged = str(error)
        if damaged is not None:
            raise ValueError(f"{state} must be a whole checkpoint, it is damaged: {damaged}")
    try:
        trainer.fit(task, loaders[0], loaders[1], ckpt_path=state, weights_only=True)
    except SystemExit:  # which Lightning makes of an interrupt
        raise KeyboardInterrupt from None
    finally:
        # after an error in validation, Lightning leaves the workers that load training batches
        trainer.fit_loop.teardown()
        task.forget_recordings()


def _manifest(
    options: TrainingOptions,
    model: VAE,
    train: CloudDataset,
    valid: CloudDataset,
    loss: nn.Module,
    config: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What a training is begun with."""
    device = _device(options.device)
    return {
        "config": dict(dataclasses.asdict(options) if config is None else config),
        "options": dataclasses.asdict(options),
        "model": run_folder.describe(model, with_scaling=options.scaling == "keep"),
        "train": identity(train),
        "valid": identity(valid),
        "neighbor_search": _used_search(loss, device, train.points.shape[1]),
        "threads": options.threads or torch.get_num_threads(),
        "machine": {
            "device": device,
            "gpu": _gpu_name(device),
            **run_folder.environment(PACKAGES),
        },
    }


def _finish(run: Run, out: Path, valid: CloudDataset, seed: int) -> None:
    """Leaves the finished run in its folder; the model last, since its presence says finished."""
    run_folder.write_history(run.history, out / "history.csv")
    run_folder.write_json(run.manifest, out / "manifest.json")
    if len(valid) >= SMALLEST_REPORT:
        generated = run.model.sample(len(valid), seed=seed)
        report = metrics.compare(valid, generated, metrics="features", seed=seed)
        report.save(out / "report_valid.json")
    run_folder.save_model(run.model, out)


class _SaveState(Callback):
    """All that is needed to go on, and after every epoch the history for whoever watches."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.saved = -math.inf

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        assert isinstance(task, NetworkStage)
        run_folder.write_history(task.history, self.folder / "history.csv")
        last = trainer.should_stop or task.current_epoch + 1 == trainer.max_epochs
        if not last and time.monotonic() - self.saved < SAVE_EVERY:
            return
        with files.whole(self.folder / STATE) as temporary:
            trainer.save_checkpoint(temporary)
        self.saved = time.monotonic()


class _ProgressBar(Callback):
    """One bar over all steps, with the losses of the last epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        # a log file gets a line every 10 s, a terminal a moving bar
        interval = 0.1 if sys.stderr.isatty() else 10.0
        assert isinstance(task, NetworkStage)
        steps = task.order.num_batches
        self.bar = tqdm(
            total=self.epochs * steps,
            initial=task.current_epoch * steps,
            unit="step",
            mininterval=interval,
            dynamic_ncols=True,
        )
        task.after_step = self.bar.update

    def on_train_epoch_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        assert isinstance(task, NetworkStage)
        if self.bar is not None:
            train, valid = (task.history[f"{stage}_loss"][-1] for stage in ("train", "valid"))
            self.bar.set_description(
                f"epoch {task.current_epoch + 1}/{self.epochs}", refresh=False
            )
            self.bar.set_postfix_str(
                f"loss {train:.1f}, valid {valid:.1f}, best epoch {task.best_epoch}", refresh=False
            )

    def on_train_end(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._close()

    def on_exception(
        self, trainer: pl.Trainer, task: pl.LightningModule, exception: BaseException
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _trainer(options: TrainingOptions, out: Path | None, progress: bool) -> pl.Trainer:
    callbacks: list[Callback] = []
    if out is not None:
        callbacks.append(_SaveState(out))
    if progress:
        callbacks.append(_ProgressBar(options.epochs))
    return pl.Trainer(
        accelerator={"cuda": "gpu", "cpu": "cpu"}[_device(options.device)],
        devices=1,
        max_epochs=options.epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _training_clouds(model: VAE, data: CloudDataset, name: str) -> Clouds:
    """Clouds in order and in scaled units, on the CPU."""
    clouds = model.prepare(data, name=name)
    labels = model.conditioning.check_labels(clouds.labels, len(data), f"labels of {name}")
    scaled = model.scaling.scale(clouds.points).masked_fill(~clouds.mask.unsqueeze(-1), 0.0)
    return Clouds(scaled.cpu(), clouds.mask.cpu(), None if labels is None else labels.cpu())


def _on_device(clouds: Clouds, device: str) -> Clouds:
    """Where the network is, so that no batch has to be brought there."""
    points, mask, labels = (None if part is None else part.to(device) for part in clouds)
    assert points is not None
    assert mask is not None
    return Clouds(points, mask, labels)


def check_trainable(
    model: VAE, options: TrainingOptions, data: CloudDataset, *, with_loss: bool = True
) -> None:
    """Refuses what would fail in the first step: a prior or loss that does not fit.

    Args:
        model: Untrained.
        options: Those of the training.
        data: Training clouds.
        with_loss: Whether the loss is one that ``options`` name.
    Raises:
        ValueError: If the prior cannot be trained so, or the loss does not take such clouds.
    """
    if options.joint_prior and isinstance(model.prior, StandardNormal):
        raise ValueError("joint_prior needs a prior that can be trained, got standard_normal")
    if options.joint_prior and options.free_bits:
        raise ValueError(
            f"free_bits must be 0 with joint_prior, whose KL is not a sum over latents, "
            f"got {options.free_bits:g}"
        )
    if not with_loss:
        return
    positions = data.schema.num_positions
    loss = losses.create(options.loss, backend=options.neighbors, num_positions=positions)
    if isinstance(loss, losses.ThirdAxisChamfer):
        return  # it takes clouds of any sizes
    clouds = data[:2].clouds
    made = model.conditioning.nodes(clouds.mask)  # (2, N)
    output = clouds.points.new_zeros(*made.shape, clouds.points.shape[-1])
    masks = () if clouds.mask.all() and made.all() else (clouds.mask, made)
    try:
        loss(clouds.points, output, *masks)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"loss must fit clouds and model, {options.loss}: {error}") from None


def _device(wanted: str) -> str:
    """``auto`` resolved: a GPU if there is one."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("device must be available, got 'cuda', and torch finds no GPU")
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def _warn_of_slow(precision: str, device: str) -> None:
    if precision != "bfloat16":
        return
    if device == "cuda":
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


def _gpu_name(device: str) -> str | None:
    return torch.cuda.get_device_name() if device == "cuda" else None


def train_and_valid(data: Any, valid: Any, seed: int) -> tuple[CloudDataset, CloudDataset]:
    """The clouds that :func:`fit` trains on, and those that choose its best epoch.

    Args:
        data: As :func:`fit` takes it.
        valid: Likewise; None = a seeded 17 % of ``data``.
        seed: Of the split.
    Raises:
        ValueError: If clouds are not valid, or too few to be split.
    Example:
        >>> train, valid = train_and_valid(torch.rand(100, 25, 3), None, seed=0)
        >>> len(train), len(valid)
        (83, 17)
    """
    data = as_dataset(data, "data")
    if valid is None:
        return datasets.split(data, VALID_FRACTION, seed=seed)
    valid = as_dataset(valid, "valid", data.schema)
    unlike = data.schema.difference(valid.schema)
    if unlike:
        raise ValueError(f"valid must have the schema of data, {unlike}")
    return data, valid


def identity(data: CloudDataset) -> dict[str, Any]:
    """What a manifest says of clouds, so that the same ones can be told from others."""
    described = data.schema.to_dict()
    return {"clouds": len(data), "schema": described, "sha256": data.checksum()}


def _described(model: VAE, train: CloudDataset, scaling: Scaling) -> None:
    """Gives a model the schema of its training clouds, and feature ranges that hold them."""
    wanted, given = model.schema.num_features, train.schema.num_features
    if wanted != given:
        raise ValueError(
            f"data must have {wanted} features a node like the model, got {given}; "
            f"models.create(num_features={given}) makes one for them"
        )
    model.schema = train.schema
    if scaling == "keep":
        return
    fitted = FeatureScaling.fitted(train.schema, train.points, train.mask, known=scaling == "auto")
    model.scaling = fitted.to(model.scaling.low)


@contextmanager
def deterministic(threads: int | None) -> Iterator[None]:
    """Deterministic algorithms and the wanted threads inside the block, as before after it.

    Several threads may train at once; what the process had is set again after the last of them.
    """
    had_threads = torch.get_num_threads()
    with _DETERMINISTIC.held():
        torch.set_num_threads(threads or had_threads)
        try:
            with _convolutions_in_float32():
                yield
        finally:
            torch.set_num_threads(had_threads)


def _determinism() -> Callable[[], None]:
    was_on = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    had_workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # cuBLAS wants it for reproducible sums
    torch.use_deterministic_algorithms(True)
    # nothing here reads memory that was not written; filling it costs a tenth of a training step
    settings.fill_uninitialized_memory = False

    def restore() -> None:
        torch.use_deterministic_algorithms(was_on, warn_only=only_warned)
        settings.fill_uninitialized_memory = filled
        if had_workspace is None:
            os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        else:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = had_workspace

    return restore


_DETERMINISTIC = Shared(_determinism)


@contextmanager
def _convolutions_in_float32() -> Iterator[None]:
    """Not in TF32, which cuDNN takes where nobody forbids it, but not torch's matrix products."""
    try:
        allowed = torch.cuda.is_available() and torch.backends.cudnn.allow_tf32
    except RuntimeError:  # set operation by operation, by somebody who knows what to want
        allowed = False
    if not allowed:
        yield
        return
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = True


def _keep_freed_memory() -> None:
    """Lets glibc keep what a step frees for the next one.

    Else it may return gradients to the system and fetch them anew in every step, page by page. It
    stops once it has seen a larger piece freed, of at most 32 MB; nothing happens elsewhere.
    """
    torch.empty(2**25 - 2**13, dtype=torch.uint8)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silences Lightning's hints that do not apply here; errors and all other warnings pass."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # the clouds lie in memory, so worker processes would only cost time
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            # Lightning 2.6 uses a part of torch 2.15's pytree that torch deprecates
            warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
            yield
    finally:
        logger.setLevel(level)


def _used_search(loss: nn.Module, device: str, num_nodes: int) -> str | None:
    """What became of the loss's choice of search; None where a loss has none."""
    backend = getattr(loss, "backend", None)
    if backend is None:
        return None
    return neighbors.resolve_backend(backend, device, torch.float32, num_nodes)

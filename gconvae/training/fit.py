"""Training: the Lightning module and data around a VAE, and :func:`fit`, which uses them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gconvae import losses, metrics, neighbors
from gconvae.caller_state import neutral
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.options import Device, Neighbors, Precision, Scaling, TrainingOptions
from gconvae.priors.base import StandardNormal
from gconvae.training import batches, outcome, run_folder
from gconvae.training.callbacks import STATE, ProgressBar, SaveState
from gconvae.training.determinism import deterministic, keep_freed_memory, quiet_lightning
from gconvae.training.preparation import (
    check_encoder,
    check_trainable,
    describe,
    identity,
    on_device,
    resolved_device,
    set_budget,
    train_and_valid,
    training_clouds,
    warn_of_slow,
)
from gconvae.training.run_folder import Run
from gconvae.training.stages.likelihood import fit_likelihood
from gconvae.training.stages.network import NetworkStage
from gconvae.training.stages.prior import fit_prior
from gconvae.vae import VAE

__all__ = ["fit"]


SMALLEST_REPORT = 4
"""Validation clouds below which halves of them say nothing about a floor."""


LIKELIHOOD_STATE = "likelihood.ckpt"
"""Likewise of a likelihood that is trained after the network, while it is."""

NUM_SAMPLES = 100
"""Generated clouds whose checksum the manifest keeps."""

_LOGGER = logging.getLogger("gconvae.training")

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
    prior_steps: int | None = None,
    likelihood_steps: int | None = None,
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
        prior_steps: Steps of the stage of a prior that is a flow; None = its own.
        likelihood_steps: Steps of the stage of a likelihood with a network of its own, such as
            that of ``convae-flow``; None = its own. ``epochs`` are those of the network alone.
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
        prior_steps=prior_steps,
        likelihood_steps=likelihood_steps,
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
    warn_of_slow(options.precision, resolved_device(options.device))
    train, valid = train_and_valid(data, valid, options.seed, model.given_schema)
    trained = copy.deepcopy(model).train()
    describe(trained, train, options.scaling)
    check_trainable(trained, options, train, with_loss=isinstance(loss, str))
    # checked, put in order and held in the ranges here, once for all stages
    prepared = trained.prepare(train, name="data"), trained.prepare(valid, name="valid")
    check_encoder(trained, prepared[0])
    names = "data", "valid"
    sets = [training_clouds(trained, *pair) for pair in zip(prepared, names, strict=True)]
    set_budget(trained, options)
    trained.conditioning.fit(sets[0].mask, sets[0].labels)
    trained.likelihood.set_lattice(trained.scaling.enter(train.points), train.mask)
    trained.likelihood.set_ranges(trained.scaling.low, trained.scaling.high)
    if isinstance(loss, str):
        loss = losses.create(
            loss, backend=options.neighbors, num_positions=train.schema.num_positions
        )
    if any(True for _ in loss.parameters()):
        raise ValueError(f"loss must have no parameters: only the model is trained, got {loss}")
    if options.standardize:
        loss = losses.Standardized.fitted(loss, sets[0].points, sets[0].mask)
    begun = _manifest(options, model, train, valid, loss, config)
    if out is not None:
        run_folder.check_saveable(model)
        out = run_folder.begin(out, begun, resume=resume)
        # of a resumed run, since the thread count decides about the last bits
        begun = run_folder.read_manifest(out)
    elif resume:
        raise ValueError("resume needs the folder of the run as out, got None")
    keep_freed_memory()
    with deterministic(begun["threads"]):
        with quiet_lightning():
            loaders = [
                batches.loader(
                    part if options.workers else on_device(part, resolved_device(options.device)),
                    batch_size=options.batch_size,
                    seed=options.seed,
                    shuffle=number == 0,
                    workers=options.workers,
                )
                for number, part in enumerate(sets)
            ]
            size = trained.conditioning.num_points
            full = all(part.mask.shape[1] == size and part.mask.all() for part in sets)
            task = NetworkStage(trained, loss, options, loaders[0], full)
            _say_stage("network", options.epochs, "epochs")
            _run(_trainer(options, out, progress), task, loaders, out)
        trained.load_state_dict(task.best_weights)
        trained = trained.cpu().eval()
        prepared = prepared[0].to("cpu"), prepared[1].to("cpu")
        if not isinstance(trained.prior, StandardNormal) and not options.joint_prior:
            _say_stage("prior", getattr(trained.prior, "fit_steps", None))
            fit_prior(trained, *prepared, seed=options.seed)
        steps = getattr(trained.likelihood, "fit_steps", None)
        # longer than the network's stage, though nobody asked for it, and no bar shows it
        is_surprise = steps is not None and steps > options.epochs * len(loaders[0])
        is_surprise &= options.likelihood_steps is None and not progress
        _say_stage("likelihood", steps, level=logging.WARNING if is_surprise else logging.INFO)
        fit_state = None if out is None else out / LIKELIHOOD_STATE
        fit_likelihood(trained, *prepared, seed=options.seed, progress=progress, state=fit_state)
        samples = trained.sample_clouds(NUM_SAMPLES, seed=options.seed).points.numpy()
        manifest = {
            **begun,
            "best_epoch": task.best_epoch,
            "epochs_run": len(task.history["epoch"]),
            "seconds": round(task.seconds, 3),
            "samples_sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
        }
        run = Run(trained, task.history, manifest, out)
        if out is not None:
            _finish(run, out, valid, options.seed)
        outcome.warn_of_doubts(run, valid, options)
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
    device = resolved_device(options.device)
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


def _trainer(options: TrainingOptions, out: Path | None, progress: bool) -> pl.Trainer:
    callbacks: list[Callback] = []
    if out is not None:
        callbacks.append(SaveState(out))
    if progress:
        callbacks.append(ProgressBar(options.epochs))
    return pl.Trainer(
        accelerator={"cuda": "gpu", "cpu": "cpu"}[resolved_device(options.device)],
        devices=1,
        max_epochs=options.epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _gpu_name(device: str) -> str | None:
    return torch.cuda.get_device_name() if device == "cuda" else None


def _say_stage(
    stage: str, budget: int | None, unit: str = "steps", level: int = logging.INFO
) -> None:
    """For whoever listens; Python prints a warning where nobody does."""
    hint = f" ({stage}_steps= sets them)" if level == logging.WARNING else ""
    limit = "" if budget is None else f": at most {budget:,} {unit}{hint}"
    _LOGGER.log(level, "stage %s%s", stage, limit)


def _used_search(loss: nn.Module, device: str, num_nodes: int) -> str | None:
    """What became of the loss's choice of search; None where a loss has none."""
    backend = getattr(loss, "backend", None)
    if backend is None:
        return None
    return neighbors.resolve_backend(backend, device, torch.float32, num_nodes)

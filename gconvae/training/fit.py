"""Training: the Lightning module and data around a VAE, and :func:`fit`, which uses them."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gconvae import losses, metrics, neighbors
from gconvae.caller_state import neutral
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.freed_memory import keep_freed_memory
from gconvae.options import Accelerator, Neighbors, Precision, Scaling, TrainingOptions
from gconvae.training import outcome, run_folder
from gconvae.training.clouds import TrainingClouds, seen_rows, training_clouds
from gconvae.training.determinism import deterministic
from gconvae.training.engine import Engine
from gconvae.training.hardware import Hardware
from gconvae.training.history import write_history
from gconvae.training.optimization import MakeOptimizer, MakeScheduler, Optimization
from gconvae.training.preparation import (
    check_encoder,
    check_trainable,
    describe,
    identity,
    in_memory,
    look_at,
    resolved_accelerator,
    set_budget,
    shape_of,
    train_and_valid,
    warn_of_slow,
)
from gconvae.training.run import Run
from gconvae.training.stages.later import later_stages
from gconvae.training.stages.network import NetworkStage
from gconvae.training.stages.stage import Stage
from gconvae.training.watching import (
    callback_texts,
    check_time,
    create_callbacks,
    create_logger,
    option_text,
)
from gconvae.vae import VAE

__all__ = ["fit"]


SMALLEST_REPORT = 4
"""Validation clouds below which halves of them say nothing about a floor."""


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
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
    patience: int | None = 20,
    max_time: Any = None,
    seed: int = 0,
    neighbors: Neighbors = "torch-cluster",
    scaling: Scaling = "auto",
    accelerator: Accelerator = "auto",
    devices: int | list[int] = 1,
    num_nodes: int = 1,
    strategy: Any = "auto",
    precision: Precision = "float32",
    threads: int | None = None,
    workers: int = 0,
    kl_warmup: int = 0,
    kl_cycle: int = 0,
    free_bits: float = 0.0,
    joint_prior: bool = False,
    prior_steps: int | None = None,
    likelihood_steps: int | None = None,
    joint_steps: int = 0,
    callbacks: Any = None,
    logger: Any = None,
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
        data: Training clouds: a data set of :mod:`gconvae.datasets`, in memory or on disk, points
            (B, N, 3), PyG graphs, or a PyG ``DataLoader``, whose clouds are taken: order and
            batches are those of ``seed`` and ``batch_size``.
        valid: Validation clouds, likewise, which choose epochs and temperatures; None = 17 %.
        loss: A name of :func:`gconvae.losses.available`, perhaps with options, or a sum of some
            (``"third_axis + 0.5 * matching"``), or a module from (target, output), and
            (target_mask, output_mask) where clouds are ragged, to one value a cloud, shape (B,).
        beta: Factor of the KL term.
        standardize: Whether the loss gets both sides standardized by the training clouds, see
            :class:`gconvae.losses.Standardized`; the output keeps its range.
        epochs: Passes over the training clouds, at most.
        batch_size: Clouds a step; the last step of an epoch takes what is left.
        learning_rate: Of the network.
        optimizer: Of every stage: a name, perhaps with options (``"adamw(weight_decay=0.1)"``),
            out of adam, adamw, sgd, muon and the classes of ``torch.optim``; or a function from
            the list of parameters to an optimizer. None = Adam for the network and a prior, Muon
            with AdamW for a likelihood.
        scheduler: Of the learning rate of every stage, taken after each step: constant, cosine,
            trapezoid, linear or exponential, perhaps with options (``"cosine(warmup=100)"``); or a
            function from an optimizer to a scheduler. None = each stage's own.
        patience: Epochs without a better validation loss after which training stops; None = never.
        max_time: Limit of each stage, as Lightning takes it: ``"00:01:30:00"`` is an hour and a
            half. What is best until then is kept, and depends on the machine's speed.
        seed: Of the split, the order and the latent noise; initial weights are the model's own.
        neighbors: Neighbour search of a named loss, see :func:`gconvae.neighbors.nearest`.
        scaling: Feature ranges: ``"auto"``, those that the schema knows, else of the training
            clouds; ``"range"``, all of these; ``"keep"``, the model's.
        accelerator: ``"cpu"``, ``"gpu"``, or ``"auto"``: a GPU if there is one.
        devices: Processes of this machine that share each batch; a list names GPUs.
        num_nodes: Machines that do so together.
        strategy: How they do, in Lightning's words or as one of its objects; ``"auto"`` is
            ``"ddp"`` for several.
        precision: Of the products of all networks: ``"float32"``, or ``"bfloat16"`` where there
            is such (weights and losses stay float32); Lightning's words for them do as well.
        threads: CPU threads for torch; None = as they are. Other counts give other bits.
        workers: Processes that load batches; any number gives the same bits. Where clouds lie in
            memory, 0, the process itself, is the fastest; a file is read by 1 or 2 meanwhile.
        kl_warmup: Epochs over which beta grows from 0, see :func:`losses.kl_weight`. What
            the history holds, and what chooses the best epoch, is the loss with all of ``beta``.
        kl_cycle: Epochs of a cycle, over whose first half it does so again and again.
        free_bits: Nats of each latent that the KL term leaves free, see :func:`losses.free_bits`.
        joint_prior: Whether the model's prior is trained with the network, by
            :func:`losses.kl_monte_carlo`. Else the network is trained with N(0, 1) and the prior,
            if it is another, fitted to the latents afterwards.
        prior_steps: Steps of the stage of a prior that is a flow; None = its own.
        likelihood_steps: Steps of the stage of a likelihood with a network; None = its own.
        joint_steps: Steps in which all parts are trained together at last, on the bound on log
            p(x); for a likelihood that is autoregressive. ``epochs`` are the network's alone.
        callbacks: Of Lightning, or names of some (``"EarlyStopping(monitor='valid_loss')"``): a
            list for all stages, or a dict from the name of a stage to its list. Every stage logs
            ``train_loss`` and ``valid_loss``, and with its name in front (``network/valid_kl``)
            all columns of the history. Those that monitor a metric begin anew in each stage.
        logger: Of Lightning, one or a list, or ``"csv"`` or ``"tensorboard"``, which write into
            ``logs`` of the run folder; None = none.
        out: The new folder of the run: ``model.safetensors`` and ``model.json`` (best epoch),
            ``history.csv``, ``manifest.json``, ``config.yaml``, ``report_valid.json``
            (generated against validation clouds) and ``last.ckpt`` (to resume); None = nothing
            is written.
        resume: Go on with the run in ``out`` after the last saved epoch of its stage, to the bits
            of one that was never stopped; what decides about the result must be as it was begun.
            With another number of processes the last digits differ.
        config: Settings to keep in the run folder; None = the options of this training.
        progress: Show a bar for each stage.
    Warns:
        UserWarning: If ``resume`` finds another device, version or machine: last bits may differ;
            or if the device has no instructions for ``precision``, which is slower.
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
        joint_steps=joint_steps,
        standardize=standardize,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        optimizer=option_text(optimizer),
        scheduler=option_text(scheduler),
        patience=patience,
        max_time=option_text(max_time),
        seed=seed,
        neighbors=neighbors,
        scaling=scaling,
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=option_text(strategy) or "auto",
        precision=precision,
        threads=threads,
        workers=workers,
        callbacks=callback_texts(callbacks),
        logger=option_text(logger),
    )
    hardware = Hardware(
        resolved_accelerator(options.accelerator), options.devices, options.num_nodes, strategy
    )
    hardware.check_script()
    optimization = Optimization(optimizer, scheduler, options.precision)
    watchers = create_callbacks(callbacks)
    check_time(max_time)
    listener = create_logger(logger, None if out is None else Path(out).expanduser())
    warn_of_slow(options.precision, hardware.accelerator)
    train, judged = train_and_valid(data, valid, options.seed, model.given_schema)
    trained = copy.deepcopy(model).train()
    describe(trained, train, options.scaling)
    check_trainable(trained, options, train, with_loss=isinstance(loss, str))
    # checked, put in order, held in the ranges and scaled here, once for all stages
    clouds = training_clouds(trained, train, "data"), training_clouds(trained, judged, "valid")
    check_encoder(trained, clouds[0])
    set_budget(trained, options)
    look_at(trained, clouds[0], options.seed)
    if isinstance(loss, str):
        loss = losses.create(
            loss, backend=options.neighbors, num_positions=train.schema.num_positions
        )
    losses.check_schema(loss, train.schema)
    if any(True for _ in loss.parameters()):
        raise ValueError(f"loss must have no parameters: only the model is trained, got {loss}")
    if options.standardize:
        seen = clouds[0].scaled(seen_rows(len(clouds[0]), options.seed))
        loss = losses.Standardized.fitted(loss, seen.points, seen.mask)
    begun = _manifest(options, model, train, judged, loss, config, hardware)
    if out is None and resume:
        raise ValueError("resume needs the folder of the run as out, got None")
    if out is not None:
        run_folder.check_saveable(model)
        out = Path(out).expanduser()
        if hardware.rank == 0:
            run_folder.begin(out, begun, resume=resume)
        if resume:
            # of a resumed run, since the thread count decides about the last bits
            begun = run_folder.read_manifest(out)
    keep_freed_memory()
    with deterministic(begun["threads"]):
        engine = Engine(
            hardware,
            callbacks=watchers,
            logger=listener,
            max_time=max_time,
            folder=out,
            progress=progress,
        )
        row = _row(trained, loss, options, *clouds, optimization)
        if hardware.rank == 0:
            batches = math.ceil(len(train) / options.batch_size)
            row = {
                name: partial(_announced, make, options, batches, progress)
                for name, make in row.items()
            }
        engine.run_row(trained, row)
        samples = trained.sample_clouds(NUM_SAMPLES, seed=options.seed).points.numpy()
        network = engine.outcomes["network"]
        manifest = {
            **begun,
            "best_epoch": network["best_epoch"],
            "epochs_run": network["epochs_run"],
            "seconds": round(sum(each["seconds"] for each in engine.outcomes.values()), 3),
            "stages": engine.outcomes,
            "samples_sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
        }
        run = Run(trained, engine.history, manifest, out)
        if hardware.rank == 0:
            if out is not None:
                _finish(run, out, judged, options.seed)
            outcome.warn_of_doubts(run, judged, options)
    return run


def _row(
    model: VAE,
    loss: nn.Module,
    options: TrainingOptions,
    train: TrainingClouds,
    valid: TrainingClouds,
    optimization: Optimization,
) -> dict[str, Callable[[], Stage]]:
    """The stages of a training, each made when those before it are done."""
    later = later_stages(
        model,
        train,
        valid,
        seed=options.seed,
        optimization=optimization,
        with_prior=not options.joint_prior,
        joint_steps=options.joint_steps,
    )
    first = partial(NetworkStage, model, loss, options, train, valid, optimization)
    return {"network": first, **later}


def _manifest(
    options: TrainingOptions,
    model: VAE,
    train: CloudDataset | CloudFile,
    valid: CloudDataset | CloudFile,
    loss: nn.Module,
    config: Mapping[str, Any] | None,
    hardware: Hardware,
) -> dict[str, Any]:
    """What a training is begun with."""
    device = "cuda" if hardware.accelerator == "gpu" else "cpu"
    return {
        "config": dict(dataclasses.asdict(options) if config is None else config),
        "options": dataclasses.asdict(options),
        "model": run_folder.describe(model, with_scaling=options.scaling == "keep"),
        "train": identity(train),
        "valid": identity(valid),
        "neighbor_search": _used_search(loss, device, shape_of(train).num_points),
        # processes of one machine share its cores
        "threads": options.threads or max(1, torch.get_num_threads() // hardware.local_processes),
        "machine": {
            "device": device,
            "gpu": _gpu_name(device),
            **run_folder.environment(PACKAGES),
        },
    }


def _finish(run: Run, out: Path, valid: CloudDataset | CloudFile, seed: int) -> None:
    """Leaves the finished run in its folder; the model last, since its presence says finished."""
    write_history(run.history, out / "history.csv")
    run_folder.write_json(run.manifest, out / "manifest.json")
    if len(valid) >= SMALLEST_REPORT:
        real = in_memory(valid, seed)
        generated = run.model.sample(len(real), seed=seed)
        report = metrics.compare(real, generated, metrics="features", seed=seed)
        report.save(out / "report_valid.json")
    run_folder.save_model(run.model, out)


def _gpu_name(device: str) -> str | None:
    return torch.cuda.get_device_name() if device == "cuda" else None


def _announced(
    make: Callable[[], Stage], options: TrainingOptions, batches: int, progress: bool
) -> Stage:
    """A stage that is made, and said with its budget to whoever listens.

    Python prints a warning where nobody listens: of a stage that is longer than the network's,
    though nobody asked for it, and that no bar shows.
    """
    stage = make()
    asked = stage.name == "network" or getattr(options, f"{stage.name}_steps", None) is not None
    is_surprise = not asked and not progress and stage.num_steps > options.epochs * batches
    limit = f"{stage.num_steps:,} step{'s' * (stage.num_steps > 1)}"
    if stage.name == "network":
        limit = f"{options.epochs:,} epochs"
    hint = f" ({stage.name}_steps= sets them)" if is_surprise else ""
    level = logging.WARNING if is_surprise else logging.INFO
    _LOGGER.log(level, "stage %s: at most %s%s", stage.name, limit, hint)
    return stage


def _used_search(loss: nn.Module, device: str, num_nodes: int) -> str | None:
    """What became of the loss's choice of search; None where a loss has none."""
    backend = getattr(loss, "backend", None)
    if backend is None:
        return None
    return neighbors.resolve_backend(backend, device, torch.float32, num_nodes)

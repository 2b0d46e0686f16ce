"""A list of variants trained under one budget and judged alike."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gconvae import metrics
from gconvae.metrics.report import Report
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.studies.bounds import Bound, bound_of_run
from gconvae.studies.experiment import Experiment, Splits
from gconvae.studies.judging import floors, report_of, row_key
from gconvae.studies.leaderboard import BOUND, Leaderboard, Variant
from gconvae.training import run_folder
from gconvae.training.callbacks import STATE
from gconvae.training.determinism import deterministic
from gconvae.training.fit import NUM_SAMPLES
from gconvae.training.history import joined_history, of_stage, read_history, write_history
from gconvae.training.refit import fit_later_stages
from gconvae.vae import VAE

__all__ = ["folder_of", "rank"]

BUDGET = ("epochs", "patience", "seed", "accelerator", "threads", "workers")
"""Options that are the same for all variants."""

FINE_LATTICE = ("autoregressive", "flow_matching")
"""Likelihoods that look for fine lattices where nobody says which."""


class _Finished(NamedTuple):
    """A training of a variant, and what it is worth."""

    place: Path
    report: Report
    bound: Bound | None


def rank(
    variants: Mapping[str, Mapping[str, Any]],
    out: str | os.PathLike[str],
    *,
    seeds: int | Sequence[int] = (0, 1, 2),
    data: DataOptions = DataOptions(),  # noqa: B008 - frozen
    model: ModelOptions = ModelOptions(),  # noqa: B008 - frozen
    training: TrainingOptions = TrainingOptions(),  # noqa: B008 - frozen
    only: Sequence[str] | None = None,
    groups: Sequence[str] = metrics.GROUPS,
    progress: bool = True,
) -> Leaderboard:
    """Trains every variant with every seed for the same number of epochs, and judges them alike.

    Each training has a run folder ``out/<variant>/seed-<n>``, with ``report.json`` of its clouds
    against the test clouds. What is finished is not done again, and what was stopped goes on after
    its last saved epoch, so a call is repeated until it returns. Variants that differ in
    nothing but a prior that is fitted afterwards, or in the likelihood, share one network: it is
    trained for the first of them, and the others come to the bits of a training of their own.

    Several processes may share ``out`` if no two of them have a variant and a seed in common: give
    each its ``only`` or its ``seeds``, and make the table by a last call with all. A process waits
    for no other: a network that is to be shared and is not finished yet is trained again.

    Args:
        variants: Name to options, named as on the command line: those of
            :class:`~gconvae.options.ModelOptions` and :class:`~gconvae.options.TrainingOptions`.
        out: Folder of the run folders, of ``floors.json``, and of ``leaderboard.json``, which only
            a call without ``only`` writes.
        seeds: How many (0, 1, ...), or which.
        data: Which clouds; a split into training and validation clouds a seed.
        model: What a variant's options leave open.
        training: Likewise, and the budget: epochs. The best epoch by validation is kept, and none
            stops early.
        only: Names of the variants to train; None = all.
        groups: Groups of :func:`gconvae.metrics.compare`.
        progress: Show a progress bar a training.
    Returns:
        The table of the trained variants.
    Raises:
        ValueError: If an option is unknown, part of the budget or out of range, a name is unknown,
            or a run folder holds a training with other options.
    Example:
        >>> import tempfile
        >>> small = ModelOptions(hidden=8, channels=(4, 4), padding=2)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     found = rank({"slides": {}, "mixture": {"prior": "gmm(components=2)"}}, out,
        ...                  seeds=1, model=small, training=TrainingOptions(epochs=1),
        ...                  groups=["features"], progress=False)
        >>> [variant.name for variant in found.variants], list(found.floors)[:2]
        (['slides', 'mixture'], ['x W1', 'y W1'])
    """
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    wanted = list(variants) if only is None else list(only)
    _check_names(variants, wanted, numbers)
    base = Experiment(data, model, dataclasses.replace(training, patience=None))
    planned = {name: _with(base, name, options) for name, options in variants.items()}
    out = Path(out)
    trainings: dict[str, list[_Finished | str]] = {name: [] for name in wanted}
    for seed in numbers:
        splits = _seeded(base, seed).splits  # once for all variants
        for name in wanted:
            experiment = _seeded(planned[name], seed)
            shared = _shared_network(planned, name, out, seed)
            place = folder_of(out, name, seed)
            try:
                _train(experiment, place, shared, splits, progress)
            except FloatingPointError as error:
                trainings[name].append(str(error))
                continue
            report = report_of(place, splits, seed, groups)
            trainings[name].append(
                _Finished(place, report, bound_of_run(place, splits.test, seed))
            )
    floor = floors(out, _seeded(base, 0).splits, groups)
    board = Leaderboard(
        variants=tuple(_variant(name, variants[name], trainings[name]) for name in wanted),
        floors={row_key(row): row for row in floor.rows},
        seeds=numbers,
        epochs=base.training.epochs,
        data=dataclasses.asdict(data),
        left_out=floor.left_out,
    )
    if only is None:
        board.save(out / "leaderboard.json")
    return board


def folder_of(out: str | os.PathLike[str], name: str, seed: int) -> Path:
    """The run folder of a variant and a seed.

    Example:
        >>> folder_of("runs", "third axis + 0.5 matching", 0).as_posix()
        'runs/third_axis_+_0.5_matching/seed-0'
    """
    return Path(out) / re.sub(r"[^\w=.,+()-]", "_", name) / f"seed-{seed}"


def _train(
    experiment: Experiment, place: Path, shared: Path | None, splits: Splits, progress: bool
) -> None:
    """Leaves a finished run folder: found, gone on with, or made."""
    if (place / "model.json").exists():  # the last file of a training
        _check_same(experiment, place)
        return
    begun = (place / STATE).exists()
    if place.exists() and not begun:  # stopped before the end of its first epoch
        shutil.rmtree(place)
    if shared is not None and not begun:
        _refit(experiment, place, shared, splits)
    else:
        experiment.run(place, clouds=splits[:2], resume=begun, progress=progress)
        (place / STATE).unlink(missing_ok=True)  # large, and nothing is left to resume


def _refit(experiment: Experiment, place: Path, shared: Path, splits: Splits) -> None:
    """The run folder that a training would leave, from one that has the same network.

    What follows repeats the end of :func:`gconvae.fit`, whose prior begins with its own initial
    weights, so that the result has the same bits.
    """
    train, valid, options = splits.train, splits.valid, experiment.training
    trained, model = run_folder.load(shared), experiment.untrained(train)
    manifest = run_folder.read_manifest(shared)
    described = run_folder.describe(model, with_scaling=options.scaling == "keep")
    begun = {"config": experiment.config(), "model": described, "network_of": str(shared)}
    run_folder.begin(place, manifest | begun)
    model.encoder, model.decoder = trained.encoder, trained.decoder
    model.scaling, model.conditioning = trained.scaling, trained.conditioning
    model.likelihood.set_schema(train.schema)
    model.eval()
    history = of_stage(read_history(shared / "history.csv"), "network")
    with deterministic(manifest["threads"]):
        engine = fit_later_stages(model, train, valid, options)
        samples = model.sample_clouds(NUM_SAMPLES, seed=options.seed).points.numpy()
    digest = hashlib.sha256(samples.tobytes()).hexdigest()
    stages = {"network": manifest["stages"]["network"], **engine.outcomes}
    ended = {"stages": stages, "samples_sha256": digest}
    run_folder.write_json(manifest | begun | ended, place / "manifest.json")
    write_history(joined_history(history, engine.history), place / "history.csv")
    run_folder.save_model(model, place)


def _shared_network(
    planned: Mapping[str, Experiment], name: str, out: Path, seed: int
) -> Path | None:
    """A finished run with the network that this variant would train, or None."""
    if planned[name].training.joint_steps:
        return None  # what others left was trained together with their own prior and likelihood
    for other, experiment in planned.items():
        place = folder_of(out, other, seed)
        if other == name or experiment.training.joint_steps:
            continue
        if _network(experiment) == _network(planned[name]) and (place / "model.json").exists():
            _check_same(_seeded(experiment, seed), place)
            return place
    return None


def _network(experiment: Experiment) -> Any:
    """What decides about the trained network: all options, less those of a later step."""
    config = experiment.config()
    later = [] if config["joint_prior"] else ["prior"]
    likelihood = config["likelihood"] or "mean"
    # a lattice, and the fine one of these likelihoods, dequantize clouds in another way
    if "lattice" not in likelihood and not likelihood.startswith(FINE_LATTICE):
        later.append("likelihood")
    return {key: value for key, value in config.items() if key not in later}


def _variant(
    name: str, options: Mapping[str, Any], trainings: Sequence[_Finished | str]
) -> Variant:
    finished = [entry for entry in trainings if not isinstance(entry, str)]
    failures = [entry for entry in trainings if isinstance(entry, str)]
    if not finished:
        return Variant(name, dict(options), 0, math.nan, failure=failures[0])
    manifests = [run_folder.read_manifest(each.place) for each in finished]
    networks = [manifest["stages"]["network"] for manifest in manifests]
    rows = [{row_key(row): row for row in each.report.rows} for each in finished]
    values = {metric: tuple(row[metric].value for row in rows) for metric in rows[0]}
    errors = {metric: tuple(row[metric].error for row in rows) for metric in rows[0]}
    bounds = [each.bound for each in finished if each.bound is not None]
    if bounds:
        values[BOUND] = tuple(each.value for each in bounds)
        errors[BOUND] = tuple(each.error for each in bounds)
    return Variant(
        name=name,
        options=dict(options),
        parameters=_num_parameters(run_folder.load(finished[0].place)),
        seconds=statistics.fmean(m["seconds"] / m["epochs_run"] for m in networks),
        best_epochs=tuple(m["best_epoch"] for m in manifests),
        values=values,
        errors=errors,
        failure=failures[0] if failures else None,
    )


def _num_parameters(model: VAE) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _with(base: Experiment, name: str, options: Mapping[str, Any]) -> Experiment:
    """The base with the options of a variant."""
    kinds = ModelOptions, TrainingOptions
    fields = [{field.name for field in dataclasses.fields(kind)} for kind in kinds]
    for option in options:
        if option in BUDGET:
            raise ValueError(f"options of {name!r} must leave the budget alone, got {option}")
        if option not in fields[0] | fields[1]:
            known = ", ".join(sorted(fields[0] | fields[1] - set(BUDGET)))
            raise ValueError(f"options of {name!r} must be among {known}, got {option}")
    chosen = [{key: value for key, value in options.items() if key in kind} for kind in fields]
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, **chosen[0]),
        training=dataclasses.replace(base.training, **chosen[1]),
    )


def _seeded(experiment: Experiment, seed: int) -> Experiment:
    training = dataclasses.replace(experiment.training, seed=seed)
    return dataclasses.replace(experiment, training=training)


def _check_names(variants: Mapping[str, Any], wanted: Sequence[str], seeds: Sequence[int]) -> None:
    if not variants or not seeds:
        raise ValueError(
            f"variants and seeds must be at least one, got {len(variants)} and {len(seeds)}"
        )
    unknown = [name for name in wanted if name not in variants]
    if unknown or not wanted:
        raise ValueError(f"only must name some of {', '.join(variants)}, got {list(wanted)}")
    folders = [folder_of("", name, 0) for name in variants]
    if len(set(folders)) < len(folders):
        raise ValueError(
            "variants must have names that differ in more than the characters that no folder's "
            f"name may have, got {', '.join(variants)}"
        )


def _check_same(experiment: Experiment, place: Path) -> None:
    """Refuses a finished run with other options; what changes no result may differ."""
    saved = run_folder.read_manifest(place)["config"]
    wanted = json.loads(json.dumps(experiment.config()))
    for option, old, new in run_folder.differences(saved, wanted):
        if option not in ("workers", "threads", "accelerator"):
            raise ValueError(
                f"{place} must hold a training with the same options, "
                f"got {option} = {new!r}, was {old!r}"
            )

"""Reproduction: makes a run again from its folder, and says whether every bit is the same."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from gconvae import losses, models
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.likelihoods.mean import MeanLikelihood
from gconvae.options import DataOptions, TrainingOptions
from gconvae.priors.base import StandardNormal
from gconvae.schema import CloudSchema
from gconvae.studies.experiment import Experiment
from gconvae.training import run_folder
from gconvae.training.callbacks import EndAfter
from gconvae.training.fit import fit
from gconvae.training.hardware import Hardware
from gconvae.training.history import History, of_stage, read_history
from gconvae.training.optimization import Optimization
from gconvae.training.preparation import identity, train_and_valid
from gconvae.training.run import Run
from gconvae.training.watching import STAGES, callback_texts, create_callbacks, option_text
from gconvae.vae import VAE

__all__ = ["Difference", "Reproduction", "reproduce"]

SHOWN = 12
"""Characters of a checksum that messages show."""


class Difference(NamedTuple):
    """A number that did not come out again.

    Attributes:
        epoch: The epoch it belongs to, counted from 1.
        quantity: A column of the history, the weight of a name, or ``"samples"``.
        before: In the run.
        now: In the repetition. Of samples, the run keeps only a checksum, so both are not numbers.
    """

    epoch: int
    quantity: str
    before: float
    now: float

    @property
    def size(self) -> float:
        """How far the two are apart."""
        return abs(self.now - self.before)


@dataclass(frozen=True)
class Reproduction:
    """What :func:`reproduce` found; prints as a few lines.

    Attributes:
        epochs_compared: Epochs that were run again.
        compared: What was compared: ``history``, and ``weights`` and ``samples`` of the best epoch
            where the repetition reaches it.
        first_difference: The first number that differs, or None.
        environment: Versions and hardware that differ: name, then, now.
    """

    epochs_compared: int
    compared: tuple[str, ...]
    first_difference: Difference | None
    environment: tuple[tuple[str, Any, Any], ...]

    @property
    def identical(self) -> bool:
        """Whether all that was compared has the same bits."""
        return self.first_difference is None

    def __str__(self) -> str:
        """The result, what was compared, and what differs around it."""
        lines = [f"compared: {', '.join(self.compared)}; epochs: {self.epochs_compared}"]
        if "weights" not in self.compared:
            lines.append("not compared: weights and samples, the best epoch is later or not known")
        lines += [f"{name}: {then} then, {now} now" for name, then, now in self.environment]
        if not self.environment:
            lines.append("versions and machine: the same")
        return "\n".join([self._result(), *lines])

    def __repr__(self) -> str:
        """One line, for lists and debuggers."""
        return f"<Reproduction over {self.epochs_compared} epochs: {self._result()}>"

    def _result(self) -> str:
        difference = self.first_difference
        if difference is None:
            return "identical" if "weights" in self.compared else "identical as far as compared"
        epoch, quantity, before, now = difference
        if quantity == "samples":
            return f"different: samples of epoch {epoch}, though its weights are the same"
        return (
            f"different from epoch {epoch} on: {quantity} was {before!r}, now {now!r}, "
            f"{difference.size:.2g} apart"
        )


def reproduce(
    folder: str | os.PathLike[str],
    data: Any = None,
    valid: Any = None,
    *,
    model: VAE | None = None,
    loss: nn.Module | None = None,
    epochs: int | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **objects: Any,
) -> Reproduction:
    """Trains again as a run folder says, and compares; the folder is left as it is.

    Seed, options, number of threads and kind of device are those of the run. Starting weights and
    clouds must have the run's checksums. A run that is not finished, or was stopped and resumed,
    is compared likewise, epoch for epoch.

    Args:
        folder: A run folder of ``gconvae train`` or :func:`gconvae.fit`.
        data: The clouds that the run was trained on, as :func:`gconvae.fit` got them; None = those
            that the options of ``gconvae train`` name.
        valid: Its validation clouds, if it was given them.
        model: The model that it began with; None = a new one of the catalogue, with its seed.
        loss: Its loss, if that was a module.
        epochs: For a shorter check, the most epochs to train; None = all that the run has.
        out: New folder for the repetition; None = nothing is written.
        progress: Show a progress bar.
        objects: ``callbacks``, ``optimizer``, ``scheduler`` and ``strategy`` of the run, if they
            were more than names. Its limit of time is not set again, and loggers hear nothing.
    Raises:
        FileNotFoundError: If the folder holds no run, or the file of clouds is gone.
        ValueError: If the run has no finished epoch, clouds or starting weights have another
            checksum, ``data``, ``model``, ``loss`` or one of ``objects`` is needed and not given,
            or the device is not there.
    Example:
        >>> import gconvae, tempfile
        >>> data = gconvae.datasets.SuperpixelMNIST(digit=8, split="test")[:60]
        >>> model = gconvae.models.create("convae", hidden=32, seed=0)
        >>> with tempfile.TemporaryDirectory() as place:
        ...     run = gconvae.fit(model, data, epochs=2, out=f"{place}/run", progress=False)
        ...     print(reproduce(f"{place}/run", data, progress=False))
        identical
        compared: history, weights, samples; epochs: 2
        versions and machine: the same
    """
    folder = Path(folder)
    manifest = run_folder.read_manifest(folder)
    if "best_epoch" in manifest and "samples_sha256" not in manifest:
        raise ValueError(
            f"folder must be of this version's format, {folder} has no samples_sha256"
        )
    before = _finished_epochs(folder)
    network = of_stage(before, "network")
    options = _options(manifest, epochs, most=len(network["epoch"]))
    train, valid = _same_clouds(manifest, data, valid)
    # a run that is not finished has no best epoch yet
    is_whole, last = manifest.get("best_epoch", math.inf) <= options.epochs, options.epochs
    if options.scheduler is not None:  # rates are a function of all epochs that were meant
        options = replace(options, epochs=manifest["options"]["epochs"])
    begun = _same_model(manifest, model)
    if not is_whole:  # what follows the network is not compared
        begun = _network_of(begun, with_prior=options.joint_prior)
        options = replace(options, prior_steps=None, likelihood_steps=None, joint_steps=0)
    same = _same(options, objects)
    if last < options.epochs:
        same["callbacks"] = _ended_after(last, same["callbacks"])
    again = fit(
        begun,
        train,
        valid,
        **asdict(options) | {"loss": _same_loss(options.loss, loss)} | same,
        out=out,
        config=manifest["config"],
        progress=progress,
    )
    now = of_stage(again.history, "network")
    differences = _history_differences(network, now)
    if is_whole:
        differences = _history_differences(before, again.history)
    compared: tuple[str, ...] = ("history",)
    if is_whole:
        compared += ("weights", "samples")
        differences = chain(differences, _model_differences(folder, manifest, again))
    return Reproduction(
        len(now["epoch"]),
        compared,
        next(differences, None),
        tuple(run_folder.differences(manifest["machine"], again.manifest["machine"])),
    )


def _ended_after(epochs: int, callbacks: Any) -> dict[str, list[Any]]:
    """Callbacks of a run, and one that ends its network's stage."""
    if not isinstance(callbacks, Mapping):
        every = create_callbacks(callbacks)
        callbacks = dict.fromkeys(STAGES, every)
    return {**callbacks, "network": [*callbacks.get("network", []), EndAfter(epochs)]}


def _network_of(model: VAE, *, with_prior: bool) -> VAE:
    """The model without what is fitted after its network, which is not compared.

    Args:
        model: With the weights that the run began with.
        with_prior: Whether its prior is trained with the network; else that is trained with
            N(0, 1). Of the likelihood training sees the lattice alone.
    """
    model = copy.deepcopy(model)
    prior, likelihood = model.prior, model.likelihood
    if not with_prior:
        model.prior = StandardNormal(
            prior.latent_dim, prior.num_classes, prior.ragged, prior.num_conditions
        )
    model.likelihood = MeanLikelihood(likelihood.num_features, likelihood.lattice)
    return model


def _finished_epochs(folder: Path) -> History:
    file = folder / "history.csv"
    if not file.exists():
        raise FileNotFoundError(f"folder must hold a finished epoch, {folder} has no {file.name}")
    return read_history(file)


def _options(manifest: Mapping[str, Any], epochs: int | None, most: int) -> TrainingOptions:
    """Those of the run, with what it really ran on."""
    begun = manifest["options"]
    names = [field.name for field in fields(TrainingOptions) if field.name in begun]
    options = replace(
        TrainingOptions(**{name: begun[name] for name in names}),
        threads=manifest["threads"],
        logger=None,
        max_time=None,
        accelerator=manifest["machine"]["device"],
        epochs=most,
    )
    if epochs is None:
        return options
    shorter = replace(options, epochs=epochs)
    return shorter if shorter.epochs < most else options


def _same_clouds(
    manifest: Mapping[str, Any], data: Any, valid: Any
) -> tuple[CloudDataset, CloudDataset]:
    config = manifest["config"]
    if data is not None:
        train, valid = train_and_valid(data, valid, manifest["options"]["seed"])
    elif valid is None and {field.name for field in fields(DataOptions)} <= config.keys():
        train, valid = Experiment.from_config(config).splits[:2]
    else:
        raise ValueError(
            "data must be given for a run on custom clouds, and wherever valid is: "
            "in Python, gconvae.reproduce(folder, data)"
        )
    for name, key, part in (("data", "train", train), ("valid", "valid", valid)):
        unlike = CloudSchema.from_dict(manifest[key]["schema"]).difference(part.schema)
        if unlike:
            raise ValueError(f"{name} must have the schema of the run, {unlike}")
        for what, then, now in run_folder.differences(manifest[key], identity(part)):
            raise ValueError(
                f"{name} must hold the clouds of the run, {what} {str(then)[:SHOWN]}, "
                f"got {str(now)[:SHOWN]}"
            )
    return train, valid


def _same_model(manifest: Mapping[str, Any], supplied: VAE | None) -> VAE:
    """The model that the run began with."""
    begun, model = manifest["model"], supplied
    if model is None:
        if begun.get("initial_seed") is None:
            raise ValueError("model must be given: the run began with weights of unknown seed")
        model = models.compose(begun, seed=begun["initial_seed"])
    keeps_scaling = manifest["options"]["scaling"] == "keep"
    then = begun["weights_sha256"]
    now = run_folder.describe(model, with_scaling=keeps_scaling)["weights_sha256"]
    if now == then:
        return model
    if supplied is None:
        raise ValueError(
            f"model must be given: the run began with weights {then[:SHOWN]}, and a new model of "
            f"seed {begun['initial_seed']} has {now[:SHOWN]}; it had been changed, or this "
            "version of torch draws others"
        )
    raise ValueError(
        f"model must have the weights that the run began with, {then[:SHOWN]}, got {now[:SHOWN]}"
    )


def _same_loss(name: str, loss: nn.Module | None) -> str | nn.Module:
    if loss is None:
        try:
            losses.create(name)
        except ValueError:
            raise ValueError(f"loss must be given: the run was trained with {name}") from None
        return name
    if repr(loss) != name:
        raise ValueError(f"loss must be {name}, got {loss!r}")
    return loss


def _same(options: TrainingOptions, objects: Mapping[str, Any]) -> dict[str, Any]:
    """Callbacks, optimizer, schedule and strategy of the run, by name or as they are given."""
    known: dict[str, Callable[[Any], object]] = {
        "callbacks": create_callbacks,
        "optimizer": lambda name: Optimization(optimizer=name),
        "scheduler": lambda name: Optimization(scheduler=name),
        "strategy": lambda name: Hardware(strategy=name),
    }
    unknown = sorted(objects.keys() - known.keys())
    if unknown:
        raise ValueError(f"objects must be out of {', '.join(known)}, got {unknown[0]}")
    same = {}
    for name, make in known.items():
        then, say = getattr(options, name), callback_texts if name == "callbacks" else option_text
        if name not in objects:
            try:
                make(then)
            except ValueError as error:
                raise ValueError(
                    f"{name} must be given: the run was trained with {then}, which is no name "
                    f"({error})"
                ) from None
        elif say(objects[name]) != then:
            raise ValueError(f"{name} must be those of the run, {then}, got {say(objects[name])}")
        same[name] = objects.get(name, then)
    return same


def _history_differences(before: History, now: History) -> Iterator[Difference]:
    """Epoch for epoch."""
    # a run that a limit of time has ended has fewer
    for row, epoch in enumerate(now["epoch"][: len(before["epoch"])]):
        for name, column in before.items():
            if column[row] != now[name][row]:
                yield Difference(int(epoch), name, column[row], now[name][row])


def _model_differences(
    folder: Path, manifest: Mapping[str, Any], again: Run
) -> Iterator[Difference]:
    """The weight that is farthest off, then the samples; compared by their bits."""
    epoch, state = manifest["best_epoch"], again.model.state_dict()
    off = []
    for name, weight in run_folder.load(folder).state_dict().items():
        if weight.numpy().tobytes() != state[name].numpy().tobytes():
            # not a number, and the sign of 0, are no distance but another value
            apart = (state[name] - weight).abs().nan_to_num(nan=math.inf)
            values = [float(tensor.flatten()[apart.argmax()]) for tensor in (weight, state[name])]
            off.append((float(apart.max()), Difference(epoch, f"weight {name}", *values)))
    if off:
        yield max(off, key=lambda found: found[0])[1]
    if manifest["samples_sha256"] != again.manifest["samples_sha256"]:
        yield Difference(epoch, "samples", math.nan, math.nan)

"""A training described by options alone: which clouds, which model, how."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, NamedTuple

from gconvae import datasets, models, recipes
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.datasets.cloud_file import CloudFile
from gconvae.datasets.jet_bundle import NUM_PARTICLES
from gconvae.datasets.jets import bundled_kinds
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.plain import did_you_mean
from gconvae.schema import CloudSchema
from gconvae.training.fit import fit
from gconvae.training.preparation import VALID_FRACTION, shape_of, train_and_valid
from gconvae.training.run import Run
from gconvae.vae import VAE

__all__ = ["Experiment", "Splits", "train", "train_and_test"]

TEST_FRACTION = 0.2
"""Share of a file's clouds kept as test set."""

SMALLEST_FILE = 15
"""Clouds of which test and validation share are at least 2, the fewest that can be compared."""


OBJECTS = ("callbacks", "logger", "optimizer", "scheduler", "strategy", "max_time")
"""Options that may be more than names in Python."""


class Splits(NamedTuple):
    """Clouds of an experiment; no cloud is in two of them.

    Attributes:
        train: What the model is trained on.
        valid: What chooses the best epoch, and the best options.
        test: What judges, and has chosen nothing.
    """

    train: CloudDataset
    valid: CloudDataset
    test: CloudDataset


@dataclass(frozen=True)
class Experiment:
    """A training described by options alone, as ``gconvae train`` runs it.

    Args:
        data: Which clouds.
        model: Which network.
        training: How to train it.
    Example:
        >>> experiment = Experiment(training=TrainingOptions(epochs=1))
        >>> [len(part) for part in experiment.splits]
        [4857, 994, 974]
    """

    data: DataOptions = DataOptions()
    model: ModelOptions = ModelOptions()
    training: TrainingOptions = TrainingOptions()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Experiment:
        """The experiment of a run folder's config; settings of other things are passed over.

        Raises:
            ValueError: If ``config`` lacks the options of the data, as a run of ``gconvae.fit`` on
                custom clouds does.
        """
        needed = ["data", "digit"]
        if not set(needed) <= config.keys():
            raise ValueError(
                f"config must hold {' and '.join(needed)}, as gconvae train writes them, "
                f"got {', '.join(config) or 'nothing'}"
            )
        parts = (_chosen(kind, config) for kind in (DataOptions, ModelOptions, TrainingOptions))
        return cls(*parts)

    def config(self) -> dict[str, Any]:
        """All options, flat, ready for JSON; :meth:`from_config` reads them back."""
        return asdict(self.data) | asdict(self.model) | asdict(self.training)

    @cached_property
    def splits(self) -> Splits:
        """The clouds; the split into training and validation is a function of the seed.

        The bundled jets come in three parts, the same for every seed.
        """
        train, test = train_and_test(self.data)
        kinds = _jet_kinds(self.data)
        if kinds is not None:  # they come in three parts
            return Splits(train, _jets(self.data, kinds, "valid"), test)
        return Splits(*datasets.split(train, VALID_FRACTION, seed=self.training.seed), test)

    def untrained(self, train: CloudDataset | CloudFile) -> VAE:
        """The model before its training, for clouds like these.

        Raises:
            ValueError: If the model or an option of it is unknown or out of range, or labels are
                wanted and the clouds have none.
        """
        shape = {name: value for name, value in asdict(self.model).items() if value is not None}
        seen = shape_of(train)
        shape = {"num_points": seen.num_points, "ragged": not seen.is_full} | shape
        shape["num_classes"] = self._num_classes(train, shape.pop("labels", None))
        name = shape.pop("model")
        return models.create(name, seed=self.training.seed, schema=train.schema, **shape)

    def _num_classes(self, train: CloudDataset | CloudFile, wanted: bool | None) -> int:
        """K, where labels are learned: if that is asked for, or if custom clouds have several."""
        seen = shape_of(train)
        if wanted and not seen.num_labels:
            raise ValueError("labels must be in the data to be learned, the clouds have none")
        if not seen.num_labels or wanted is False:
            return 0
        if wanted is None and (_is_bundled(train) or not seen.has_classes):
            return 0
        return max(seen.num_labels, len(train.schema.classes))

    def run(
        self,
        out: str | os.PathLike[str] | None = None,
        *,
        clouds: tuple[CloudDataset, CloudDataset] | None = None,
        resume: bool = False,
        progress: bool = True,
        config: Mapping[str, Any] | None = None,
        **objects: Any,
    ) -> Run:
        """Trains.

        Args:
            out: The new run folder, or None; see :func:`gconvae.fit`.
            clouds: Training and validation clouds; None = those of :attr:`splits`.
            resume: Go on with the run in ``out``.
            progress: Show a progress bar.
            config: Settings to keep in the run folder; None = :meth:`config`.
            objects: In place of options that are names: callbacks, loggers, an optimizer.
        """
        train, valid = self.splits[:2] if clouds is None else clouds
        return fit(
            self.untrained(train),
            train,
            valid,
            **asdict(self.training) | objects,
            out=out,
            resume=resume,
            progress=progress,
            config=self.config() if config is None else config,
        )


def train_and_test(options: DataOptions) -> tuple[CloudDataset, CloudDataset]:
    """The clouds to learn from and those that only judge, whatever the seed of a training.

    The bundled digits come in MNIST's own two parts, the bundled jets (``"jets:gluon"``) in three,
    of which two are given; of a file, a random fifth is the test set.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a digit or a kind of jets is unknown, or the file is damaged or holds too
            few clouds.
    """
    if options.data is None:
        return (
            datasets.SuperpixelMNIST(options.digit, "train"),
            datasets.SuperpixelMNIST(options.digit, "test"),
        )
    kinds = _jet_kinds(options)
    if kinds is not None:
        return _jets(options, kinds, "train"), _jets(options, kinds, "test")
    data: Any = datasets.from_file(options.data, max_nodes=options.max_nodes)
    if len(data) < SMALLEST_FILE:
        raise ValueError(
            f"data must hold at least {SMALLEST_FILE} clouds to be split in three and compared, "
            f"got {len(data)} in {options.data}"
        )
    # the same for every seed: what judges one training must not choose in another
    return datasets.split(data, TEST_FRACTION, seed=0)


def _jet_kinds(options: DataOptions) -> list[str] | None:
    """Kinds of the bundled jets, where they are asked for."""
    return None if options.data is None else bundled_kinds(options.data)


def _jets(
    options: DataOptions, kinds: list[str], split: Literal["train", "valid", "test"]
) -> CloudDataset:
    """Bundled jets, with no more particles than are asked for."""
    if options.max_nodes is None:
        return datasets.Jets(kinds, split)
    return datasets.Jets(kinds, split, num_particles=min(options.max_nodes, NUM_PARTICLES))


def _is_bundled(train: Any) -> bool:
    """Whether they are the bundled digits, whose labels are learned where that is asked for."""
    return isinstance(train, datasets.SuperpixelMNIST)


def train(
    recipe: str,
    data: Any,
    *,
    out: str | os.PathLike[str] | None = None,
    valid: Any = None,
    schema: CloudSchema | None = None,
    seed: int = 0,
    resume: bool = False,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Trains a recipe on any clouds, as the command ``gconvae train`` does.

    Number of nodes, features, classes and whether sizes differ are taken from the data.

    Args:
        recipe: A name of :func:`gconvae.recipes.available`; ``"convae-flow"`` is the best,
            ``"convae-flow-quick"`` takes some minutes.
        data: Training clouds in any form of :func:`gconvae.datasets.as_dataset`, or the path of a
            file, of which a fifth is kept aside as test set.
        out: The new run folder; None = nothing is written.
        valid: Validation clouds; None = a seeded 17 % of ``data``.
        schema: What the features are, where ``data`` does not say it.
        seed: Of everything random.
        resume: Go on with the run in ``out``.
        progress: Show a progress bar.
        options: In place of the recipe's: of :class:`gconvae.options.ModelOptions` and
            :class:`gconvae.options.TrainingOptions`; callbacks, loggers, optimizer and scheduler
            may be objects, as :func:`gconvae.fit` takes them.
    Raises:
        ValueError: If the recipe or an option is unknown, or the clouds are not valid.
        FileNotFoundError: If there is no such file.
    Example:
        >>> import torch
        >>> clouds = torch.rand(40, 8, 2)
        >>> run = train("slides", clouds, epochs=1, hidden=16, progress=False)
        >>> run.model.schema.names, run.model.sample(3).shape
        (('x', 'y'), torch.Size([3, 8, 2]))
    """
    chosen = recipes.get(recipe)
    kinds = {
        kind: {field.name for field in fields(kind)} for kind in (ModelOptions, TrainingOptions)
    }
    objects = {
        name: options.pop(name)
        for name in OBJECTS
        if name in options and not _is_named(options[name])
    }
    unknown = sorted(options.keys() - set().union(*kinds.values()))
    if unknown:
        known = sorted(set().union(*kinds.values()))
        hint = did_you_mean(unknown[0], known)
        raise ValueError(
            f"options must be out of {', '.join(known)}, got {', '.join(unknown)}{hint}"
        )
    model, training = (
        {name: value for name, value in options.items() if name in names}
        for names in kinds.values()
    )
    is_file = isinstance(data, str | os.PathLike)
    if is_file and schema is not None:
        raise ValueError(
            "schema must be None for a file: datasets.from_file(file, schema=...) is data"
        )
    experiment = Experiment(
        DataOptions(data=os.fspath(data)) if is_file else DataOptions(),
        chosen.model_options(**model),
        chosen.training_options(**{"seed": seed, **training}),
    )
    if is_file and valid is None:
        return experiment.run(out, resume=resume, progress=progress, **objects)
    clouds = experiment.splits.train if is_file else data
    parts = train_and_valid(clouds, valid, experiment.training.seed, schema)
    config = asdict(experiment.model) | asdict(experiment.training) | {"recipe": recipe}
    return experiment.run(
        out, clouds=parts, resume=resume, progress=progress, config=config, **objects
    )


def _is_named(value: Any) -> bool:
    """Whether an option is a name or a list of names, which a config can hold."""
    several = value if isinstance(value, list | tuple) else [value]
    return all(one is None or isinstance(one, str) for one in several)


def _chosen(kind: type[Any], config: Mapping[str, Any]) -> Any:
    """One options class filled from a config; JSON has lists where options have tuples."""
    values = {field.name: config[field.name] for field in fields(kind) if field.name in config}
    if values.get("channels") is not None:
        values["channels"] = tuple(values["channels"])
    return kind(**values)

"""What a sweep is asked for, checked before any training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from gconvae import datasets, metrics
from gconvae.datasets.cloud_dataset import CloudDataset
from gconvae.metrics import sets
from gconvae.options import ModelOptions, TrainingOptions
from gconvae.plain import did_you_mean
from gconvae.schema import CloudSchema
from gconvae.studies.experiment import Experiment
from gconvae.training.preparation import VALID_FRACTION, check_trainable, identity

__all__ = ["Plan", "Range", "default_metric", "read_option", "row_name"]

KINDS = {
    "W1": ("features", "lower"),
    "coverage": ("sets", "higher"),
    "MMD": ("sets", "lower"),
    "1-NNA": ("sets", "0.5"),
    "Frechet": ("frechet", "lower"),
    "Frechet limit": ("frechet", "0"),
    "kernel": ("kernel", "0"),
    "AUC": ("classifier", "0.5"),
    "memorization": ("memorization", "0.5"),
    "FPD": ("jets", "0"),
    "KPD": ("jets", "0"),
}
"""Metrics of a report: their group in :func:`gconvae.metrics.compare`, and what is better."""

EMBEDDINGS = ("embedding", "own embedding", "trained embedding")
"""What the rows of an embedding may be called."""

JET_NAMES = ("mass", "pT", "tau21", "tau32", "EFP", "EMD")
"""What rows of jets may be of, whatever their metric."""

NAMES = {
    "sets": (*sets.DISTANCES, "EMD"),
    "frechet": EMBEDDINGS,
    "kernel": EMBEDDINGS,
    "classifier": (*EMBEDDINGS, "points"),
    "memorization": EMBEDDINGS,
    "jets": ("EFP",),
}
"""What the metrics of a group are of; W1 is of any feature of the clouds."""

HISTORY = tuple(f"{part}_{term}" for part in ("train", "valid") for term in ("loss", "rec", "kl"))
"""Columns of a history that settings can be compared by."""

NEUTRAL = ("workers",)
"""Options that change the speed of a training and none of its bits."""

PARTS: dict[str, type[Any]] = {"model": ModelOptions, "training": TrainingOptions}
"""Parts of an experiment that have options to vary."""

DEFAULTS = {
    field.name: field.default for kind in PARTS.values() for field in dataclasses.fields(kind)
}
"""Every option that can vary, and the seed."""

TRIED = 400
"""Validation clouds on which a metric is tried before any training."""


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high`` that a sampler chooses from; whole ones if both are.

    Args:
        low: Smallest value.
        high: Largest value.
        log: Whether equal ratios are equally likely instead of equal differences.
    Raises:
        ValueError: If the ends are no finite numbers, ``low`` is not below ``high``, or not above
            0 where ``log`` is set.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Refuses an empty range."""
        if not (_is_number(self.low) and _is_number(self.high)):
            raise ValueError(
                f"low must be a finite number like high, got {self.low!r} and {self.high!r}"
            )
        if not self.low < self.high or (self.log and self.low <= 0):
            rule = "above 0 and " if self.log else ""
            raise ValueError(f"low must be {rule}below high, got {self.low} and {self.high}")


Values = Sequence[Any] | Range


def read_option(words: str) -> tuple[str, Values]:
    """An option to vary as a command line writes it.

    Args:
        words: ``name=value,value,...``, or ``name=low..high``, or ``name=low..high:log``.
    Raises:
        ValueError: If the words have another form.
    Example:
        >>> read_option("beta=0.03,0.1")
        ('beta', [0.03, 0.1])
        >>> read_option("learning_rate=1e-4..1e-2:log")
        ('learning_rate', Range(low=0.0001, high=0.01, log=True))
    """
    name, _, text = words.partition("=")
    if not name or not text:
        raise ValueError(f"an option must have the form name=value,value, got {words!r}")
    name = name.replace("-", "_")
    low, dots, rest = text.partition("..")
    if not dots:
        return name, [_read_value(value) for value in _split(text)]
    high, colon, scale = rest.partition(":")
    ends = _read_value(low), _read_value(high)
    if (colon and scale != "log") or not all(_is_number(end) for end in ends):
        raise ValueError(f"{name} must have the form low..high or low..high:log, got {text!r}")
    return name, Range(*ends, bool(colon))


def _split(text: str) -> list[str]:
    """At commas; those inside brackets belong to a value."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[({") - (letter in "])}")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return values


def row_name(metric: str) -> tuple[str, str]:
    """Name and metric of a row of a report.

    Raises:
        ValueError: If no report has such a row.
    Example:
        >>> row_name("embedding Frechet")
        ('embedding', 'Frechet')
    """
    if metric.endswith(" W1"):
        return metric.removesuffix(" W1"), "W1"
    rows = {
        f"{name} {kind}": (name, kind)
        for kind, (group, _) in KINDS.items()
        for name in NAMES.get(group, ())
    }
    if metric not in rows:
        known = ["FEATURE W1", *rows, *HISTORY]
        hint = did_you_mean(metric, known)
        raise ValueError(f"metric must be one of {', '.join(known)}, got {metric!r}{hint}")
    return rows[metric]


def default_metric(schema: CloudSchema) -> str:
    """W1 of the first feature that is no position, else of the first.

    Example:
        >>> from gconvae.schema import JETS, points
        >>> default_metric(JETS), default_metric(points("x y"))
        ('pt_rel W1', 'x W1')
    """
    further = [feature.name for feature in schema.features if not feature.position]
    return f"{[*further, schema.names[0]][0]} W1"


class Plan:
    """What a sweep is asked for; arguments as of :func:`gconvae.sweep`.

    Attributes:
        space: Option to its values or range.
        seeds: Of the trainings of every setting.
        metric: What settings are compared by.
        better: Which values of it are, out of :data:`gconvae.metrics.BETTER`.
        group: Of :func:`gconvae.metrics.compare` that it is in; empty for a column of a history.
        has_range: Whether a sampler chooses settings.
        grid: Every setting of a grid; of ranges, their corners.
        size: Number of settings.
    Raises:
        ValueError: If an option is unknown or a value of it out of range, the metric is unknown or
            cannot be had of these clouds, or a number is too small.
    """

    def __init__(
        self,
        space: Mapping[str, Values],
        data: Any,
        valid: Any,
        experiment: Experiment,
        seeds: int | Sequence[int],
        metric: str | None,
        trials: int | None,
    ) -> None:
        is_row = metric is not None and metric not in HISTORY
        self.better = KINDS[row_name(str(metric))[1]][1] if is_row else "lower"
        self.space = {name: _checked_values(name, values) for name, values in space.items()}
        self.base, self.metric, self.group = experiment, metric or "", ""
        self.seeds = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be one or more different numbers, got {seeds!r}")
        if not self.space:
            raise ValueError("space must have at least one option, got none")
        self.has_range = any(isinstance(values, Range) for values in self.space.values())
        _check_trials(trials, self.has_range)
        ends = [
            (values.low, values.high) if isinstance(values, Range) else values
            for values in self.space.values()
        ]
        self.grid = [dict(zip(self.space, values, strict=True)) for values in product(*ends)]
        self.size = len(self.grid) if trials is None else trials
        dataset = _dataset(data)
        schema = None if dataset is None else dataset.schema
        self._given = None if dataset is None else (dataset, _dataset(valid, schema))
        self._clouds: dict[int, tuple[CloudDataset, CloudDataset]] = {}
        self._identities: dict[int, list[Any]] = {}
        self._check_trainings()
        self._check_metric()

    def experiment(self, options: Mapping[str, Any], seed: int) -> Experiment:
        """The training of one setting and seed."""
        changed = {
            part: dataclasses.replace(getattr(self.base, part), **_fields(kind, options))
            for part, kind in PARTS.items()
        }
        training = dataclasses.replace(changed["training"], seed=seed)
        return dataclasses.replace(self.base, model=changed["model"], training=training)

    def clouds(self, seed: int) -> tuple[CloudDataset, CloudDataset]:
        """Training and validation clouds; no option that can vary changes them."""
        if seed not in self._clouds:
            data, valid = self._given or (None, None)
            if data is None:
                self._clouds[seed] = self.experiment({}, seed).splits[:2]
            elif valid is None:
                self._clouds[seed] = datasets.split(data, VALID_FRACTION, seed=seed)
            else:
                self._clouds[seed] = data, valid
            self._identities[seed] = [identity(part) for part in self._clouds[seed]]
        return self._clouds[seed]

    def run_config(self, experiment: Experiment) -> dict[str, Any]:
        """What the run folder keeps: of custom clouds, not where they came from."""
        config = experiment.config()
        if self._given is not None:
            for field in dataclasses.fields(experiment.data):
                del config[field.name]
        return config

    def key(self, options: Mapping[str, Any], seeds: Sequence[int] | None = None) -> str:
        """Hash of all that decides about the trainings of a setting."""
        return self._hash(*((self._deciding(options, seed), seed) for seed in seeds or self.seeds))

    def study(self) -> str:
        """Name of the study: sweeps of the same options over the same clouds share it.

        A grid can grow, what a sampler chooses from cannot.
        """
        everything = self._deciding({}, self.seeds[0])
        fixed = {name: v for name, v in everything.items() if name not in {*self.space, "seed"}}
        varied = repr(self.space) if self.has_range else sorted(self.space)
        return self._hash(
            (fixed, self.seeds[0]), ([varied, self.metric, *self.seeds], self.seeds[0])
        )

    def _deciding(self, options: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """All options that decide about the bits of a training, as far as options do."""
        # where the file of the clouds lies is each machine's own; the clouds are in the hash
        config = self.run_config(self.experiment(options, seed)) | {"data": None}
        return {name: value for name, value in config.items() if name not in NEUTRAL}

    def _hash(self, *parts: tuple[Any, int]) -> str:
        """Hash of parts, each beside the clouds of a seed."""
        for _, seed in parts:
            self.clouds(seed)
        content = [(part, self._identities[seed]) for part, seed in parts]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def _check_trainings(self) -> None:
        """Refuses what a training would refuse, before the first one."""
        for seed in self.seeds:
            self.experiment(self.grid[0], seed)
        checked = set()
        for options in self.grid:
            experiment = self.experiment(options, self.seeds[0])
            train = self.clouds(self.seeds[0])[0]
            training = experiment.training
            joint = training.joint_prior, bool(training.joint_steps)
            deciding = experiment.model, training.loss, training.free_bits, *joint
            if deciding not in checked:
                checked.add(deciding)
                check_trainable(experiment.untrained(train), training, train)

    def _check_metric(self) -> None:
        """Refuses a metric that these clouds cannot have."""
        for seed in self.seeds:
            train, valid = self.clouds(seed)
        self.metric = self.metric or default_metric(train.schema)
        if self.metric in HISTORY:
            return
        few, (name, kind) = valid[:TRIED], row_name(self.metric)
        is_of_jets = name in JET_NAMES and name not in train.schema.names
        self.group = "jets" if is_of_jets else KINDS[kind][0]
        report = metrics.compare(
            few, few, training=train, metrics=self.group, num_splits=2, num_bootstrap=2
        )
        if all((row.name, row.metric) != (name, kind) for row in report.rows):
            why = "; ".join(report.left_out.values()) or "there is no such feature"
            raise ValueError(f"metric must be one that these clouds have, {self.metric}: {why}")


def _checked_values(name: str, values: Any) -> Values:
    """The values of one option, whole numbers as fractions where the option is one."""
    if name not in DEFAULTS or name == "seed":
        known = [option for option in DEFAULTS if option != "seed"]
        hint = did_you_mean(name, known)
        raise ValueError(f"space must be of the options {', '.join(known)}, got {name!r}{hint}")
    default = DEFAULTS[name]
    if isinstance(values, Range):
        if isinstance(default, bool | str | tuple):
            raise ValueError(f"{name} must have a list of values, got {values}")
        whole = isinstance(values.low, int) and isinstance(values.high, int)
        if not isinstance(default, float) and not whole:
            raise ValueError(f"{name} must be a whole number, got {values}")
        return values
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list | tuple | range) or not values:
        raise ValueError(f"{name} must have a list of values or a Range, got {values!r}")
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    if not isinstance(default, float):
        return plain
    return [float(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in plain]


def _check_trials(trials: int | None, has_range: bool) -> None:
    if has_range != (trials is not None) or (trials is not None and trials < 1):
        rule = "at least 1 where an option has a range" if has_range else "None for a grid"
        raise ValueError(f"trials must be {rule}, got {trials!r}")


def _dataset(data: Any, schema: CloudSchema | None = None) -> CloudDataset | None:
    if data is None or isinstance(data, CloudDataset):
        return data
    return datasets.as_dataset(data, schema=schema)


def _fields(kind: type[Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that belong to one class; JSON has lists where that has tuples."""
    names = {field.name for field in dataclasses.fields(kind)}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in options.items()
        if name in names
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_value(text: str) -> Any:
    """A number, true, false, null or list as in JSON; anything else is a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text.strip()

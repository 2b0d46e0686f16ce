"""Many trainings over options and seeds, kept in a storage that several processes can share."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import math
import os
import re
import shutil
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gconvae import files, metrics
from gconvae.metrics.report import Report, badness
from gconvae.randomness import derive_seed
from gconvae.studies.experiment import Experiment
from gconvae.studies.search_space import HISTORY, KINDS, Plan, Range, Values, row_name
from gconvae.training import run_folder
from gconvae.training.fit import LIKELIHOOD_STATE, STATE

if TYPE_CHECKING:
    import optuna

__all__ = ["Setting", "Sweep", "sweep"]

HEARTBEAT = 10
"""Seconds between the signs of life of a running trial; after three without one it is repeated."""

ATTEMPTS = 10
"""To open a storage."""

STORAGE = "sweep.db"
"""SQLite file in the folder of a sweep, where no other storage is given."""

MARK = ".sweep"
"""Empty file that says that a folder is a sweep's."""

LONGEST_NAME = 120
"""Characters of the name of a run folder, beside its hash."""

RUNS = "runs"
"""Its folder of run folders."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of the options, and what its trainings came to.

    Attributes:
        options: The varied options.
        values: The metric on validation clouds, one a seed; empty if a training diverged.
        floors: The same between two real samples, one a seed.
        folders: Run folder of each seed.
        failure: Why there are no values, or None.
    """

    options: Mapping[str, Any]
    values: tuple[float, ...]
    floors: tuple[float, ...]
    folders: tuple[Path, ...]
    failure: str | None = None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean over seeds; not a number for a single seed."""
        if len(self.values) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.values))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What :func:`sweep` found.

    Attributes:
        metric: What the settings are compared by, on validation clouds.
        seeds: Seeds of each setting.
        settings: In the order of the grid, or as the sampler chose them.
        better: Which values are, out of :data:`gconvae.metrics.BETTER`.
    """

    metric: str
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...]
    better: str = "lower"

    @property
    def best(self) -> Setting:
        """The setting with the best mean.

        Raises:
            ValueError: If every training diverged.
        """
        finished = [setting for setting in self.settings if setting.values]
        if not finished:
            raise ValueError(f"no setting has a value: {self.settings[0].failure}")
        return min(finished, key=lambda setting: badness(setting.mean, self.better))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON."""
        settings = [
            {
                "options": dict(setting.options),
                "mean": setting.mean if setting.values else None,
                "error": setting.error if len(setting.values) > 1 else None,
                "values": list(setting.values),
                "floors": list(setting.floors),
                "folders": [folder.as_posix() for folder in setting.folders],
                "failure": setting.failure,
            }
            for setting in self.settings
        ]
        return {
            "metric": self.metric,
            "better": self.better,
            "seeds": list(self.seeds),
            "settings": settings,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, whole or not at all."""
        with files.whole(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def __str__(self) -> str:
        """A table, the best setting marked."""
        best = self.best
        head = f"{self.metric} on validation clouds, mean and error over {len(self.seeds)} seeds"
        lines = [head]
        for setting in self.settings:
            value = setting.failure or f"{setting.mean:.4g}"
            if len(setting.values) > 1:
                value += f" +- {setting.error:.2g}"
            mark = "  <- best" if setting is best else ""
            lines.append(f"{_words(setting.options)}   {value}{mark}")
        return "\n".join(lines)


def sweep(
    space: Mapping[str, Values],
    data: Any = None,
    valid: Any = None,
    *,
    experiment: Experiment | None = None,
    seeds: int | Sequence[int] = 3,
    metric: str = "intensity W1",
    trials: int | None = None,
    out: str | os.PathLike[str],
    storage: str | None = None,
    progress: bool = True,
) -> Sweep:
    """Trains every setting of some options with several seeds, and compares them.

    Lists make a grid. With a :class:`~gconvae.studies.Range` among them, Optuna's sampler (a
    tree-structured Parzen estimator) chooses ``trials`` settings. A setting's value is the mean of
    the metric between generated and validation clouds over all seeds; the test clouds are not
    looked at.

    Any number of processes, on any machines that reach the storage, may run the same sweep at
    the same time: start it again. A finished training is never run twice: it is known by a hash of
    its options and clouds. A killed one goes on after its last saved epoch, where its run
    folder can be reached, as soon as its process gave no sign of life for half a minute. Sweeps
    over other options, seeds or metrics may use the folder after one another, not at a time.

    Args:
        space: Options of :class:`~gconvae.options.TrainingOptions` and
            :class:`~gconvae.options.ModelOptions` to vary: each a list of values, or a range.
        data: Training clouds as for :func:`gconvae.fit`; None = those of ``experiment``.
        valid: Validation clouds; None = a seeded 17 % of ``data``.
        experiment: All other options; None = the defaults.
        seeds: How many (0, 1, ...), or which.
        metric: Row of :func:`gconvae.metrics.compare` on validation clouds, such as ``"intensity
            W1"`` or ``"embedding Frechet"``, or a column of the history, such as ``"valid_rec"``
            (of the best epoch).
        trials: Number of settings to try of a space with a range.
        out: Folder of the sweep: ``sweep.json``, a run folder a training in ``runs/``, and
            ``sweep.db`` unless there is another storage.
        storage: Database for Optuna, such as ``"postgresql://..."``; None = SQLite in ``out``.
        progress: Show a progress bar.
    Raises:
        ModuleNotFoundError: If Optuna is not installed: ``pip install "gconvae[sweep]"``.
        ValueError: If an option is unknown or a value of it out of range, the metric is unknown,
            or ``out`` holds something else.
    References:
        | Optuna: A Next-generation Hyperparameter Optimization Framework (Akiba et al., 2019),
          arXiv:1907.10902
    Example:
        >>> import tempfile
        >>> from gconvae import datasets
        >>> from gconvae.options import ModelOptions, TrainingOptions
        >>> small = Experiment(model=ModelOptions(hidden=8), training=TrainingOptions(epochs=1))
        >>> clouds = datasets.SuperpixelMNIST(8, "test")[:60]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = sweep({"beta": [0.3, 1.0]}, clouds, experiment=small, seeds=2,
        ...                   out=folder + "/beta", progress=False)
        >>> [len(setting.values) for setting in found.settings]
        [2, 2]
    """
    with _quiet_optuna():
        plan = Plan(space, data, valid, experiment or Experiment(), seeds, metric, trials)
        study = None if storage is None else _study(plan, storage)
        folder = _begun(Path(out))
        study = study or _study(plan, _sqlite(folder / STORAGE))
        with tqdm(
            total=plan.size, unit="setting", disable=not progress, dynamic_ncols=True
        ) as bar:
            _work(study, plan, folder, bar)
        found = Sweep(metric, plan.seeds, _settings(study, plan, folder), plan.better)
    _keep_another(folder / "sweep.json", found)
    found.save(folder / "sweep.json")
    return found


class _Repeated(Exception):
    """A trial that another one makes superfluous."""


def _work(study: optuna.Study, plan: Plan, folder: Path, bar: tqdm[Any]) -> None:
    """Runs settings until none is left, here or in another process."""
    import optuna
    from optuna.trial import TrialState

    failures: list[BaseException] = []

    def objective(trial: optuna.Trial) -> float:
        try:
            return _evaluate(trial, study, plan, folder)
        except optuna.exceptions.UpdateFinishedTrialError:
            raise _Repeated from None  # asleep so long that others took this process for dead
        except (_Repeated, optuna.TrialPruned):
            raise
        except BaseException as error:
            failures.append(error)
            raise

    while True:
        _fail_dead(study)
        _enqueue(study, plan)
        states = _states(study, plan)
        done = sum(state.is_finished() for state in states)
        bar.update(done - bar.n)
        if done >= plan.size:
            return
        if TrialState.WAITING in states or len(states) < plan.size:
            try:
                study.optimize(objective, n_trials=1, catch=(_Repeated,))
            except ValueError:  # of Optuna, if others have failed the trial in the meantime
                if failures:
                    raise
        else:  # other processes have the rest, or had it before they were killed
            time.sleep(HEARTBEAT / 2)


def _fail_dead(study: optuna.Study) -> None:
    """Fails the trials of processes that gave no sign of life."""
    import optuna
    from optuna.trial import TrialState

    optuna.storages.fail_stale_trials(study)
    # Optuna does not look at trials that never gave one
    oldest = datetime.datetime.now() - datetime.timedelta(seconds=3 * HEARTBEAT)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        begun = trial.datetime_start
        if "begun" not in trial.user_attrs and begun is not None and begun < oldest:
            try:
                study.tell(trial.number, state=TrialState.FAIL)
            except ValueError:  # it has just been told by another process
                continue


def _enqueue(study: optuna.Study, plan: Plan) -> None:
    """Queues what nobody has begun of a grid, and what was begun and stopped."""
    live = _live(study)
    if not plan.has_range:
        for options in plan.grid:
            if plan.key(options) not in live:
                attributes = {"key": plan.key(options), "options": options}
                study.enqueue_trial({}, user_attrs=attributes)
        return
    for trial in study.get_trials(deepcopy=False):
        if (key := trial.user_attrs.get("key", "")) and key not in live:
            live[key] = trial
            study.enqueue_trial(trial.params, user_attrs={"key": key})


def _live(study: optuna.Study) -> dict[str, optuna.trial.FrozenTrial]:
    """The first trial of each setting that has not failed.

    Two processes can queue or draw the same setting at the same moment.
    """
    from optuna.trial import TrialState

    found: dict[str, optuna.trial.FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if "key" in trial.user_attrs and trial.state != TrialState.FAIL:
            found.setdefault(trial.user_attrs["key"], trial)
    return found


def _states(study: optuna.Study, plan: Plan) -> list[optuna.trial.TrialState]:
    """The state of each setting of the grid, or of each draw."""
    from optuna.trial import TrialState

    if not plan.has_range:
        live = _live(study)
        return [live[key].state for options in plan.grid if (key := plan.key(options)) in live]
    trials = study.get_trials(deepcopy=False)
    # a setting that was drawn twice counts twice: a small space would never end otherwise
    return [t.state for t in trials if t.state != TrialState.FAIL or t.user_attrs.get("repeats")]


def _evaluate(trial: optuna.Trial, study: optuna.Study, plan: Plan, folder: Path) -> float:
    """How bad the metric is, as a mean over the seeds of one setting."""
    import optuna

    trial.set_user_attr("begun", True)
    if plan.has_range:
        # a function of the trial, so that no two draw the same
        draw = derive_seed(plan.seeds[0], "sweep", step=trial.number) % 2**32
        study.sampler = optuna.samplers.TPESampler(seed=draw)
        options = _drawn(trial, plan)
    else:
        options = trial.user_attrs.get("options", {})
    key = plan.key(options)
    if not plan.has_range and (not options or key not in map(plan.key, plan.grid)):
        raise _Repeated  # another process took what was waiting, or a larger grid queued it
    trial.set_user_attr("options", options)
    trial.set_user_attr("key", key)
    first = _live(study).get(key)
    if first is None or first.number != trial.number:
        trial.set_user_attr("repeats", first is not None)
        raise _Repeated
    measured = []
    for seed in plan.seeds:
        try:
            place = _trained(plan, options, seed, folder)
        except FloatingPointError as error:
            trial.set_user_attr("failure", str(error))
            raise optuna.TrialPruned from None
        measured.append((*_measured(plan, options, seed, place), place.name))
    for name, column in zip(
        ("values", "floors", "folders"), zip(*measured, strict=True), strict=True
    ):
        trial.set_user_attr(name, column)
    return badness(statistics.fmean(value for value, *_ in measured), plan.better)


def _drawn(trial: optuna.Trial, plan: Plan) -> dict[str, Any]:
    """A setting that the sampler chooses, or the one that was queued."""
    options: dict[str, Any] = {}
    for name, values in plan.space.items():
        if not isinstance(values, Range):
            words = tuple(json.dumps(value) for value in values)
            options[name] = json.loads(trial.suggest_categorical(name, words))
        elif isinstance(values.low, int) and isinstance(values.high, int):
            options[name] = trial.suggest_int(name, values.low, values.high, log=values.log)
        else:
            options[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return options


def _trained(plan: Plan, options: Mapping[str, Any], seed: int, folder: Path) -> Path:
    """The folder of a finished training: found, gone on with, or begun."""
    key = plan.key(options, [seed])
    words = f"{_words(options)}, seed={seed}".replace(", ", "-")
    name = re.sub(r"[^\w=.,-]", "_", words)[:LONGEST_NAME]
    place = next((folder / RUNS).glob(f"*-{key}"), folder / RUNS / f"{name}-{key}")
    if (place / "model.json").exists():  # the last file of a training
        return place
    begun = (place / "manifest.json").exists()
    if place.exists() and not begun:  # killed before it began
        shutil.rmtree(place)
    experiment = plan.experiment(options, seed)
    experiment.run(
        place,
        clouds=plan.clouds(seed),
        resume=begun,
        progress=False,
        config=plan.run_config(experiment),
    )
    for state in (STATE, LIKELIHOOD_STATE):  # large, and nothing is left to resume
        (place / state).unlink(missing_ok=True)
    return place


def _measured(
    plan: Plan, options: Mapping[str, Any], seed: int, place: Path
) -> tuple[float, float | None]:
    """The metric of a finished training, and its floor if it has one."""
    if plan.metric in HISTORY:
        history = run_folder.read_history(place / "history.csv")
        best = run_folder.read_manifest(place)["best_epoch"]
        return history[plan.metric][history["epoch"].index(best)], None
    name, kind = row_name(plan.metric)
    saved = place / "report_valid.json"  # the features of nodes only
    if KINDS[kind][0] == "features" and saved.exists():
        report = Report.load(saved)
    else:
        train, valid = plan.clouds(seed)
        made = run_folder.load(place).sample(len(valid), seed=seed)
        group = KINDS[kind][0]
        report = metrics.compare(valid, made, training=train, metrics=group, seed=seed)
    row = report.row(name, kind)
    return row.value, row.floor


def _settings(study: optuna.Study, plan: Plan, folder: Path) -> tuple[Setting, ...]:
    """The finished settings, those of a grid in its order."""
    found = {k: t.user_attrs for k, t in _live(study).items() if t.state.is_finished()}
    keys = list(found) if plan.has_range else [plan.key(options) for options in plan.grid]
    return tuple(_setting(found[key], folder) for key in keys)


def _setting(found: Mapping[str, Any], folder: Path) -> Setting:
    return Setting(
        options=found["options"],
        values=tuple(found.get("values", ())),
        floors=tuple(floor for floor in found.get("floors", ()) if floor is not None),
        folders=tuple(folder / RUNS / name for name in found.get("folders", ())),
        failure=found.get("failure"),
    )


def _begun(folder: Path) -> Path:
    """The folder of a sweep, new or begun before."""
    if folder.exists() and not (folder / MARK).exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise ValueError(f"out must be a new folder or that of a sweep, {folder} is another")
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    return folder


def _keep_another(file: Path, found: Sweep) -> None:
    """Renames the result of a sweep over other options or by another metric."""
    if not file.exists():
        return
    old = json.loads(file.read_text())
    new = found.to_dict()
    if old["metric"] != new["metric"] or set(old["settings"][0]["options"]) != set(
        new["settings"][0]["options"]
    ):
        file.rename(run_folder.free_folder(file.with_name("sweep-before.json")))


def _sqlite(file: Path) -> str:
    """URL of an SQLite file, whatever characters its path has."""
    from sqlalchemy import URL

    url = URL.create("sqlite", database=file.absolute().as_posix()).render_as_string()
    return url.replace("{", "{{").replace("}", "}}")  # Optuna formats it


def _study(plan: Plan, url: str) -> optuna.Study:
    """The study in a storage; whichever process comes first makes it."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    waits = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            storage = optuna.storages.RDBStorage(
                url, waits, heartbeat_interval=HEARTBEAT, grace_period=3 * HEARTBEAT
            )
            break
        except (SQLAlchemyError, ImportError, ValueError, KeyError) as error:
            # of processes that start at the same moment only one can make the tables
            if attempt == ATTEMPTS or "already exists" not in str(error):
                raise ValueError(
                    f"storage must be the URL of a database that can be reached, got {url!r}: "
                    f"{error}"
                ) from None
            time.sleep(0.5)
    return optuna.create_study(study_name=plan.study(), storage=storage, load_if_exists=True)


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Silences Optuna's log of trials and its notes that heartbeats are experimental."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'a sweep needs Optuna: pip install "gconvae[sweep]"', name="optuna"
        ) from None
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())

"""The trials of a sweep: which is next, its trainings, and what they come to.

Any number of processes share them through Optuna's storage.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from gconvae import metrics
from gconvae.metrics.report import Report, badness
from gconvae.randomness import derive_seed
from gconvae.studies.search_space import HISTORY, Plan, Range, row_name
from gconvae.studies.settings import Setting, in_words
from gconvae.studies.signs_of_life import Watch
from gconvae.training import run_folder
from gconvae.training.callbacks import STATE
from gconvae.training.history import of_stage, read_history

if TYPE_CHECKING:
    import optuna

__all__ = ["RUNS", "finished", "work"]

LONGEST_NAME = 120
"""Characters of the name of a run folder, beside its hash."""

RUNS = "runs"
"""Folder of run folders in that of a sweep."""


class _Repeated(Exception):
    """A trial that another one makes superfluous."""


def work(study: optuna.Study, plan: Plan, folder: Path, bar: tqdm[Any], heartbeat: int) -> None:
    """Runs settings until none is left, here or in another process."""
    import optuna
    from optuna.trial import TrialState

    failures: list[BaseException] = []
    watch = Watch(study, heartbeat)

    def objective(trial: optuna.Trial) -> float:
        try:
            return _evaluate(trial, study, plan, folder)
        except optuna.exceptions.UpdateFinishedTrialError:
            raise _Repeated from None  # asleep so long that others took this process for dead
        except (_Repeated, optuna.TrialPruned):
            raise
        except run_folder.FolderTakenError:
            raise _Repeated from None  # by a process that was taken for dead and is not
        except BaseException as error:
            if isinstance(error, Exception) and _is_finished(study, trial):
                raise _Repeated from None  # others work in the run folder meanwhile
            failures.append(error)
            raise

    while True:
        watch.fail_dead()
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
            watch.wait()


def _is_finished(study: optuna.Study, trial: optuna.Trial) -> bool:
    """Whether another process ended a trial that is ours."""
    return study.get_trials(deepcopy=False)[trial.number].state.is_finished()


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

    first_of: dict[str, optuna.trial.FrozenTrial] = {}
    for trial in study.get_trials(deepcopy=False):
        if "key" in trial.user_attrs and trial.state != TrialState.FAIL:
            first_of.setdefault(trial.user_attrs["key"], trial)
    return first_of


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
    trial.set_user_attr("runs", (folder / RUNS).absolute().as_posix())
    trial.set_user_attr("host", platform.node())
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
    words = f"{in_words(options)}, seed={seed}".replace(", ", "-")
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
    (place / STATE).unlink(missing_ok=True)  # large, and nothing is left to resume
    return place


def _measured(
    plan: Plan, options: Mapping[str, Any], seed: int, place: Path
) -> tuple[float, float | None]:
    """The metric of a finished training, and its floor if it has one."""
    if plan.metric in HISTORY:
        history = of_stage(read_history(place / "history.csv"), "network")
        best = run_folder.read_manifest(place)["best_epoch"]
        return history[plan.metric][history["epoch"].index(best)], None
    name, kind = row_name(plan.metric)
    saved = place / "report_valid.json"  # the features of nodes only
    if plan.group == "features" and saved.exists():
        report = Report.load(saved)
    else:
        train, valid = plan.clouds(seed)
        generated = run_folder.load(place).sample(len(valid), seed=seed)
        report = metrics.compare(valid, generated, training=train, metrics=plan.group, seed=seed)
    row = report.row(name, kind)
    return row.value, row.floor


def finished(study: optuna.Study, plan: Plan, folder: Path) -> tuple[Setting, ...]:
    """The finished settings, those of a grid in its order."""
    attributes = {k: t.user_attrs for k, t in _live(study).items() if t.state.is_finished()}
    keys = list(attributes) if plan.has_range else [plan.key(options) for options in plan.grid]
    return tuple(_setting(attributes[key], folder) for key in keys)


def _setting(attributes: Mapping[str, Any], folder: Path) -> Setting:
    names = attributes.get("folders", ())
    # our own folder first: the machine that trained may have the same one at another place
    places = [folder / RUNS, Path(attributes.get("runs", folder / RUNS))]
    seen = [place for place in places if all((place / name).is_dir() for name in names)]
    place = seen[0] if seen else places[1]
    return Setting(
        options=attributes["options"],
        values=tuple(attributes.get("values", ())),
        floors=tuple(floor for floor in attributes.get("floors", ()) if floor is not None),
        folders=tuple(place / name for name in names),
        failure=attributes.get("failure"),
        host=None if seen else attributes.get("host"),
    )

"""Many trainings over options and seeds, kept in a storage that several processes can share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gconvae import json_text
from gconvae.studies.database_url import sqlite_url
from gconvae.studies.experiment import Experiment
from gconvae.studies.search_space import Plan, Values
from gconvae.studies.settings import Sweep
from gconvae.studies.signs_of_life import HEARTBEAT
from gconvae.studies.storage import open_study, quiet_optuna
from gconvae.studies.trials import RUNS, finished, work
from gconvae.training import run_folder

__all__ = ["sweep"]

STORAGE = "sweep.db"
"""SQLite file in the folder of a sweep, where no other storage is given."""

MARK = ".sweep"
"""Empty file that says that a folder is a sweep's."""


def sweep(
    space: Mapping[str, Values],
    data: Any = None,
    valid: Any = None,
    *,
    experiment: Experiment | None = None,
    seeds: int | Sequence[int] = 3,
    metric: str | None = None,
    trials: int | None = None,
    out: str | os.PathLike[str],
    storage: str | None = None,
    heartbeat: int = HEARTBEAT,
    progress: bool = True,
) -> Sweep:
    """Trains every setting of some options with several seeds, and compares them.

    Lists make a grid. With a :class:`~gconvae.studies.Range` among them, Optuna's sampler (a
    tree-structured Parzen estimator) chooses ``trials`` settings. A setting's value is the mean of
    the metric between generated and validation clouds over all seeds; the test clouds are not
    looked at.

    Any number of processes, on any machines that reach the storage, may run the same sweep at
    the same time: start it again. A finished training is never run twice: it is known by a hash of
    its options and clouds. A killed one goes on after its last saved epoch, as soon as its process
    gave no sign of life for half a minute. Sweeps over other options, seeds or metrics may use the
    folder after one another, not at a time.

    Several machines share a database on a server, and better the folder too. Where they do not,
    results are still shared, but a killed setting begins anew on another machine, and each run
    folder stays where it was made: ``host`` of its :class:`~gconvae.studies.Setting` says where.

    Args:
        space: Options of :class:`~gconvae.options.TrainingOptions` and
            :class:`~gconvae.options.ModelOptions` to vary: each a list of values, or a range.
        data: Training clouds as for :func:`gconvae.fit`; None = those of ``experiment``.
        valid: Validation clouds; None = a seeded 17 % of ``data``.
        experiment: All other options; None = the defaults.
        seeds: How many (0, 1, ...), or which.
        metric: Row of :func:`gconvae.metrics.compare` on validation clouds, such as ``"intensity
            W1"`` or ``"embedding Frechet"``, or a column of the history, such as ``"valid_rec"``
            (of the best epoch); None = W1 of the first feature that is no position.
        trials: Number of settings to try of a space with a range.
        out: Folder of the sweep: ``sweep.json``, a run folder a training in ``runs/``, and
            ``sweep.db`` unless there is another storage.
        storage: URL of a database for Optuna, such as ``"postgresql://user@server/sweeps"`` (the
            extra ``postgresql``); None = SQLite in ``out``. No password of it is printed or kept.
        heartbeat: Seconds between the signs of life of a running training; after three without
            one others repeat it. The same in all processes.
        progress: Show a progress bar.
    Raises:
        ModuleNotFoundError: If Optuna is not installed: ``pip install "gconvae[sweep]"``, or the
            driver of PostgreSQL: ``pip install "gconvae[postgresql]"``.
        ValueError: If an option is unknown or a value of it out of range, the metric is unknown,
            ``out`` holds something else, or the database cannot be reached.
        ConnectionError: If the database went away; the same sweep started again goes on.
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
    if isinstance(heartbeat, bool) or not isinstance(heartbeat, int) or heartbeat < 1:
        raise ValueError(f"heartbeat must be a whole number of seconds from 1, got {heartbeat!r}")
    folder = Path(out).expanduser()
    with quiet_optuna():
        plan = Plan(space, data, valid, experiment or Experiment(), seeds, metric, trials)
        if storage is None:  # else nothing is written before the database is reached
            _begin(folder)
            storage = sqlite_url(folder / STORAGE)
        with (
            open_study(plan.study(), storage, heartbeat) as study,
            tqdm(total=plan.size, unit="setting", disable=not progress, dynamic_ncols=True) as bar,
        ):
            _begin(folder)
            work(study, plan, folder, bar, heartbeat)
            result = Sweep(plan.metric, plan.seeds, finished(study, plan, folder), plan.better)
    _keep_another(folder / "sweep.json", result)
    result.save(folder / "sweep.json")
    return result


def _begin(folder: Path) -> None:
    """Makes the folder of a sweep, unless it was made before."""
    if folder.exists() and not (folder / MARK).exists():
        if not folder.is_dir() or any(folder.iterdir()):
            raise ValueError(f"out must be a new folder or that of a sweep, {folder} is another")
    (folder / RUNS).mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def _keep_another(file: Path, result: Sweep) -> None:
    """Renames the result of a sweep over other options or by another metric."""
    if not file.exists():
        return
    new = result.to_dict()
    try:
        old = json_text.read(file)
        before = old["metric"], set(old["settings"][0]["options"])
    except (LookupError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file} must hold the result of a sweep, it is damaged: {error}"
        ) from None
    if before != (new["metric"], set(new["settings"][0]["options"])):
        file.rename(run_folder.free_folder(file.with_name("sweep-before.json")))

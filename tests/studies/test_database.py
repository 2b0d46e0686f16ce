"""The tables of a sweep: no two processes take the same trial."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from optuna.trial import TrialState, create_trial

from gconvae.studies.database import Database
from gconvae.studies.database_url import sqlite_url
from gconvae.studies.storage import open_study, quiet_optuna


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    """What two processes have of one file."""
    with quiet_optuna(), ExitStack() as stack:
        url = sqlite_url(tmp_path / "sweep.db")
        first, second = (stack.enter_context(closing(Database(url, 10))) for _ in range(2))
        yield first, second


def test_of_two_that_look_at_the_same_moment_one_takes_a_trial(
    pair: tuple[Database, Database],
) -> None:
    first, second = pair
    study = optuna.create_study(storage=first)
    study.enqueue_trial({})
    (trial,) = study.get_trials()
    took: dict[str, bool] = {}

    def take(name: str, database: Database) -> None:
        took[name] = database.set_trial_state_values(trial._trial_id, TrialState.RUNNING)

    other = threading.Thread(target=take, args=("second", second))

    def look(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT") and "WHERE trials.trial_id" in statement:
            if not other.ident:
                other.start()  # after the first has looked, and before it takes the trial
                other.join(timeout=0.5)

    sqlalchemy.event.listen(first.engine, "after_cursor_execute", look)
    take("first", first)
    assert other.ident
    other.join()
    assert took == {"first": True, "second": False}


def test_a_database_in_memory_keeps_its_tables() -> None:
    with quiet_optuna(), closing(Database("sqlite:///:memory:", 10)) as database:
        study = optuna.create_study(storage=database)
        study.optimize(lambda trial: 0.5, n_trials=1)
        assert study.best_value == 0.5


def test_what_one_writes_the_other_reads(pair: tuple[Database, Database]) -> None:
    first, second = pair
    study = optuna.create_study(storage=first, study_name="shared")
    study.add_trial(create_trial(value=0.5))
    (trial,) = optuna.load_study(storage=second, study_name="shared").get_trials()
    assert trial.value == 0.5


@pytest.mark.parametrize("again", range(3))
def test_processes_that_make_the_tables_at_the_same_moment_all_go_on(
    tmp_path: Path, again: int
) -> None:
    url, number = sqlite_url(tmp_path / f"sweep-{again}.db"), 6
    ready = threading.Barrier(number)
    met: list[BaseException | None] = []

    def opened() -> None:
        ready.wait()
        try:
            with open_study("one", url, heartbeat=10) as study:
                assert study.study_name == "one"
                met.append(None)
        except BaseException as error:
            met.append(error)

    threads = [threading.Thread(target=opened) for _ in range(number)]
    with quiet_optuna():
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert met == [None] * number

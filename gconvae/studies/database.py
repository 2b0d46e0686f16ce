"""Optuna's tables in a database that several machines use at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from gconvae.studies.signs_of_life import BEGUN, LOST

__all__ = ["Database"]


IN_MEMORY = (None, "", ":memory:")
"""Databases of SQLite that one process has for itself, and that end with its connection."""


class Database(optuna.storages.RDBStorage):
    """A storage whose signs of life depend on no machine's clock, and survive an outage.

    Args:
        url: As SQLAlchemy takes it, with a driver.
        heartbeat: Seconds between signs of life.
    """

    def __init__(self, url: str, heartbeat: int) -> None:
        engine: dict[str, Any] = {}
        if url.startswith("sqlite"):
            engine["connect_args"] = {"timeout": 60}
        elif url.startswith("postgresql"):
            # servers and firewalls close what lies idle during a training of hours
            engine["pool_pre_ping"] = True
            if "connect_timeout=" not in url:
                engine["connect_args"] = {"connect_timeout": 20}
        try:
            super().__init__(
                url, engine, heartbeat_interval=heartbeat, grace_period=LOST * heartbeat
            )
        except BaseException:
            if hasattr(self, "engine"):
                self.close()
            raise
        listeners: dict[str, Callable[..., None]] = {}
        if url.startswith("postgresql"):
            listeners = {"connect": _in_utc}
        elif url.startswith("sqlite") and self.engine.url.database not in IN_MEMORY:
            listeners = {"connect": _in_our_transactions, "begin": _alone}
        for event, listener in listeners.items():
            sqlalchemy.event.listen(self.engine, event, listener)
        if listeners:
            self.engine.dispose()  # connections that were made before
        self._begun: set[int] = set()

    def close(self) -> None:
        """Closes all connections."""
        if hasattr(self, "scoped_session"):
            self.remove_session()
        self.engine.dispose()

    def record_heartbeat(self, trial_id: int) -> None:
        """Gives a sign of life; without a database it stays away, and the training goes on."""
        try:
            super().record_heartbeat(trial_id)
            if trial_id not in self._begun:
                # only now can Optuna see that a trial is dead
                self.set_trial_user_attr(trial_id, BEGUN, True)
                self._begun.add(trial_id)
        except optuna.exceptions.UpdateFinishedTrialError:
            self._begun.add(trial_id)  # others took it for dead
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError):
            return  # the next one is due soon


def _in_our_transactions(connection: Any, _: Any) -> None:
    """Lets Python's driver begin no transaction by itself, which it does as late as it can."""
    connection.isolation_level = None


def _alone(connection: sqlalchemy.Connection) -> None:
    """Makes other processes wait from the first word of a transaction on.

    Optuna looks whether a trial is free and then takes it. SQLite knows no lock of a row
    (``FOR UPDATE``), and two processes that look at the same moment would both take it.
    """
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _in_utc(connection: Any, _: Any) -> None:
    """Makes the server tell its time in UTC.

    Optuna compares times without their zone. That of a session is a client's choice (PGTZ), and
    most zones jump by an hour twice a year.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET TIME ZONE 'UTC'")
    connection.commit()

"""Where the trials of a sweep are kept, for all processes that share them."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gconvae.studies.database_url import hide, hide_in, with_driver

if TYPE_CHECKING:
    import optuna

    from gconvae.studies.database import Database

__all__ = ["open_study", "quiet_optuna"]

ATTEMPTS = 10
"""To open a storage."""

TAKEN = ("23505", "42P07", "42710")
"""SQLSTATE of a row, table or type that another process has just made."""

TAKEN_IN_SQLITE = ("already exists", "UNIQUE constraint failed")
"""What SQLite says of them."""


@contextmanager
def open_study(name: str, url: str, heartbeat: int) -> Iterator[optuna.Study]:
    """The study in a storage, whose connections are closed at the end.

    Whichever process comes first makes it.

    Raises:
        ModuleNotFoundError: If there is no driver for PostgreSQL.
        ValueError: If there is no such database, or its tables are another Optuna's.
        ConnectionError: If the database goes away.
    """
    import optuna

    database = _connected(url, heartbeat)
    try:
        yield optuna.create_study(study_name=name, storage=database, load_if_exists=True)
    except Exception as error:  # of Optuna, SQLAlchemy or a driver; all but a lost one go on
        if (lost := _lost(error)) is None:
            raise
        raise ConnectionError(
            f"storage {hide(url)!r} failed, the same sweep started again goes on: "
            f"{hide_in(str(lost), url)}"
        ) from None
    finally:
        database.close()


def _connected(url: str, heartbeat: int) -> Database:
    """The database, with its tables."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    from gconvae.studies.database import Database

    address = with_driver(url)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return Database(address, heartbeat)
        except RuntimeError as error:
            raise ValueError(
                f"storage must have tables of this Optuna, got {hide(url)!r}: "
                f"{hide_in(str(error), url)}"
            ) from None
        except ImportError as error:
            if not address.startswith("postgresql+psycopg:"):
                raise _unreachable(url, error) from None
            raise ModuleNotFoundError(
                'a sweep on PostgreSQL needs psycopg: pip install "gconvae[postgresql]"',
                name="psycopg",
            ) from None
        except (
            SQLAlchemyError, optuna.exceptions.StorageInternalError, ValueError, KeyError
        ) as error:  # fmt: skip
            # of processes that start at the same moment only one can make the tables
            if attempt == ATTEMPTS or not _is_taken(error):
                raise _unreachable(url, error) from None
            time.sleep(0.5)
    raise AssertionError("the last attempt returns or raises")


def _lost(error: BaseException | None) -> BaseException | None:
    """The driver's error if a database is behind this one, also behind Optuna's own mistakes."""
    import optuna
    from sqlalchemy.exc import OperationalError

    while error is not None:
        if isinstance(error, optuna.exceptions.StorageInternalError | OperationalError):
            return _source(error)
        error = error.__cause__ or error.__context__
    return None


def _is_taken(error: BaseException) -> bool:
    """Whether another process has just made the same table or row."""
    state = getattr(_source(error), "sqlstate", None)  # texts are in the server's language
    return state in TAKEN or any(text in str(error) for text in TAKEN_IN_SQLITE)


def _source(error: BaseException) -> BaseException:
    """The driver's own error, of which those of SQLAlchemy and Optuna are made."""
    error = error.__cause__ or error
    return getattr(error, "orig", None) or error


def _unreachable(url: str, error: BaseException) -> ValueError:
    return ValueError(
        f"storage must be the URL of a database that can be reached, got {hide(url)!r}: "
        f"{hide_in(str(_source(error)), url)}"
    )


@contextmanager
def quiet_optuna() -> Iterator[None]:
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

"""Where the trials of a sweep are kept, for all processes that share them."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

__all__ = ["HEARTBEAT", "open_study", "quiet_optuna", "sqlite_url"]

HEARTBEAT = 10
"""Seconds between the signs of life of a running trial; after three without one it is repeated."""

ATTEMPTS = 10
"""To open a storage."""


def sqlite_url(file: Path) -> str:
    """URL of an SQLite file, whatever characters its path has."""
    from sqlalchemy import URL

    url = URL.create("sqlite", database=file.absolute().as_posix()).render_as_string()
    return url.replace("{", "{{").replace("}", "}}")  # Optuna formats it


def open_study(name: str, url: str) -> optuna.Study:
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
    return optuna.create_study(study_name=name, storage=storage, load_if_exists=True)


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

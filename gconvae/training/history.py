"""The history of a training: a table with a row an epoch of each stage."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gconvae import files

__all__ = [
    "History",
    "add_row",
    "joined_history",
    "of_stage",
    "read_history",
    "remove_stage",
    "write_history",
]

History = dict[str, list[Any]]
"""A list a column (stage, epoch, train_loss, valid_loss, train_rec, ...), an entry an epoch of a
stage; None where a stage has no such number."""

WORDS = ("stage",)
"""Columns that hold no numbers."""


def add_row(history: History, row: Mapping[str, Any]) -> None:
    """Adds an epoch, in place; what a column had no number for is None.

    Args:
        history: All rows have the same columns.
        row: Column to value; new columns are allowed.
    Example:
        >>> history: History = {}
        >>> add_row(history, {"stage": "network", "epoch": 1, "valid_kl": 2.5})
        >>> add_row(history, {"stage": "prior", "epoch": 1})
        >>> history["valid_kl"]
        [2.5, None]
    """
    length = len(next(iter(history.values()), []))
    for name in row:
        history.setdefault(name, [None] * length)
    for name, column in history.items():
        column.append(row.get(name))


def of_stage(history: Mapping[str, list[Any]], stage: str) -> History:
    """The rows of one stage, with the columns that it has.

    Args:
        history: Perhaps without a column for the stage; then all rows are meant.
        stage: ``"network"``, ``"prior"``, ``"likelihood"`` or ``"joint"``.
    Example:
        >>> of_stage({"stage": ["network", "prior"], "epoch": [1, 1]}, "prior")
        {'stage': ['prior'], 'epoch': [1]}
    """
    stages = history.get("stage")
    if stages is None:
        return {name: list(column) for name, column in history.items()}
    rows = [row for row, name in enumerate(stages) if name == stage]
    columns = {name: [column[row] for row in rows] for name, column in history.items()}
    return {name: column for name, column in columns.items() if any(v is not None for v in column)}


def joined_history(first: History, second: History) -> History:
    """The rows of one history, then those of another.

    Args:
        first: Perhaps with other columns than ``second``.
        second: What follows.
    Example:
        >>> joined_history({"stage": ["network"], "valid_kl": [1.0]}, {"stage": ["prior"]})
        {'stage': ['network', 'prior'], 'valid_kl': [1.0, None]}
    """
    joined: History = {}
    for history in (first, second):
        for values in zip(*history.values(), strict=True):
            add_row(joined, dict(zip(history, values, strict=True)))
    return joined


def remove_stage(history: History, stage: str) -> None:
    """Takes the rows of a stage away, in place.

    Args:
        history: Of several stages.
        stage: See :func:`of_stage`.
    """
    kept = [row for row, name in enumerate(history.get("stage", [])) if name != stage]
    for column in history.values():
        column[:] = [column[row] for row in kept]


def write_history(history: History, path: Path) -> None:
    """Writes one CSV row an epoch, whole or not at all, floats to the last bit."""
    with files.whole(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(history)
        writer.writerows(zip(*history.values(), strict=True))


def read_history(path: Path) -> History:
    """What :func:`write_history` wrote, to the last bit.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path must be the history of a run, there is no file {path}")
    with path.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    if not rows:
        raise ValueError(f"path must hold a finished epoch, {path} has none")
    try:
        columns = [list(column) for column in zip(*rows, strict=True)]
        table = dict(zip(header, columns, strict=True))
        history = {name: _read(name, column) for name, column in table.items()}
    except ValueError as error:
        raise ValueError(f"path must hold a whole history, {path} does not: {error}") from None
    return history | {"epoch": [int(epoch) for epoch in history["epoch"]]}


def _read(name: str, column: list[str]) -> list[Any]:
    if name in WORDS:
        return column
    return [float(value) if value else None for value in column]

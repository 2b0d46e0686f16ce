"""What a comparison found: figures with their errors and floors, as a table and as a file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gconvae import files, json_text
from gconvae.markup import html_table, markdown_table, markdown_text
from gconvae.schema import CloudSchema
from gconvae.schema.feature import is_number

__all__ = ["BETTER", "Report", "Row", "badness"]

BETTER = {
    "lower": "",
    "higher": " (higher is better)",
    "0": " (0 is best)",
    "0.5": " (0.5 is best)",
}
"""Which values of a metric are better, and what the table says of it."""

_HEADS = ("metric", "value", "real against real", "95 % of real pairs", "value / real")


def badness(value: float, better: str) -> float:
    """A number that grows as a value gets worse.

    Args:
        value: Of a metric.
        better: One of ``BETTER``.
    Example:
        >>> badness(0.25, "0.5"), badness(0.75, "higher")
        (0.25, -0.75)
    """
    if better == "0.5":
        return abs(value - 0.5)
    return -value if better == "higher" else value


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of a comparison.

    Attributes:
        name: What is compared: a feature, or what the metric stands on.
        metric: How: ``"W1"``, ``"coverage"``, ``"AUC"``.
        unit: Unit of ``value``, ``error``, ``floor`` and ``floor_95``; empty for a pure number.
        value: The metric of generated and real clouds.
        error: Standard error of ``value``.
        floor: Mean of the metric over pairs of real samples of the same size.
        floor_95: What 95 % of these pairs are no worse than: a value that is no worse either
            could be a real sample's.
        better: One of ``BETTER``: "lower" for a distance, "higher", "0" for the unbiased estimate
            of a distance, which can fall below, or "0.5".
        num_clouds: Clouds on each side; None = as in the report.
        num_splits: Splits behind the floor; None = as in the report.
    """

    name: str
    metric: str
    unit: str
    value: float
    error: float
    floor: float
    floor_95: float
    better: str = "lower"
    num_clouds: int | None = None
    num_splits: int | None = None

    @property
    def ratio(self) -> float | None:
        """Value in units of the floor; None where that has no meaning or the floor is 0."""
        return self.value / self.floor if self.better == "lower" and self.floor > 0 else None

    def badness(self, value: float) -> float:
        """A number that grows as a value of this row gets worse."""
        return badness(value, self.better)

    @property
    def beyond(self) -> bool:
        """Whether the value is worse than what 95 % of the real pairs have."""
        return self.badness(self.value) > self.badness(self.floor_95)


def _check_row(row: Mapping[str, Any]) -> None:
    """Refuses texts where numbers are, and the other way round."""
    for entry in ("name", "metric", "unit"):
        if not isinstance(row[entry], str):
            raise ValueError(f"{entry} of a row must be a text, got {row[entry]!r:.100}")
    for entry in ("value", "error", "floor", "floor_95"):
        if not is_number(row[entry]):
            raise ValueError(f"{entry} of a row must be a number, got {row[entry]!r:.100}")
    if row["better"] not in BETTER:
        raise ValueError(f"better must be one of {', '.join(BETTER)}, got {row['better']!r:.100}")
    for entry in ("num_clouds", "num_splits"):
        if not isinstance(row[entry], int | None) or isinstance(row[entry], bool):
            raise ValueError(f"{entry} of a row must be a count, got {row[entry]!r:.100}")


@dataclasses.dataclass(frozen=True)
class Report:
    """What :func:`gconvae.metrics.compare` found.

    Attributes:
        rows: One figure each.
        num_clouds: Clouds on each side of every value and floor, where a row says no other.
        num_real: Real clouds that were given.
        num_generated: Generated clouds that were given.
        num_reference: Further real clouds that were given for the floor.
        num_splits: Splits behind each floor, where a row says no other.
        num_bootstrap: Resamplings behind each error.
        seed: Seed of all of them.
        left_out: Metric to the reason why it could not be had.
        schema: What the features of the clouds are; None in reports of earlier versions.
        embedding: What the rows of vectors are of: ``own embedding``, the caller's; ``embedding``,
            a bundled classifier; ``trained embedding``, a network trained on real clouds. None
            where the report has no such rows.
    """

    rows: tuple[Row, ...]
    num_clouds: int
    num_real: int
    num_generated: int
    num_reference: int
    num_splits: int
    num_bootstrap: int
    seed: int
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)
    schema: CloudSchema | None = None
    embedding: str | None = None

    def row(self, name: str, metric: str = "W1") -> Row:
        """The row of that name and metric.

        Raises:
            ValueError: If the report has no such row.
        """
        for row in self.rows:
            if (row.name, row.metric) == (name, metric):
                return row
        known = ", ".join(f"{row.name} {row.metric}" for row in self.rows)
        raise ValueError(
            f"name and metric must be a row of the report ({known}), got {name} {metric}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON, with ``ratio`` and ``beyond`` of each row."""
        values = dataclasses.asdict(self)
        values["rows"] = [
            dataclasses.asdict(row) | {"ratio": row.ratio, "beyond": row.beyond}
            for row in self.rows
        ]
        return values

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as JSON; a file of that name is replaced, whole or not at all.

        Raises:
            FileNotFoundError: If the folder of ``path`` does not exist.
        """
        with files.whole(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it does not hold a report.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path must be a saved report, there is no file {path}")
        try:
            return cls.from_dict(json_text.read(path))
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise ValueError(f"path must hold a saved report, {path} does not: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Report:
        """The report of :meth:`to_dict`.

        Raises:
            KeyError, TypeError, ValueError: If it is none.
        """
        for row in values["rows"]:
            _check_row(row)
        fields = [field.name for field in dataclasses.fields(Row)]
        rows = tuple(Row(**{key: row[key] for key in fields}) for row in values["rows"])
        schema = values.get("schema")
        schema = None if schema is None else CloudSchema.from_dict(schema)
        return cls(**{**values, "rows": rows, "schema": schema})

    def __str__(self) -> str:
        """The report as an aligned table."""
        cells = [self._cells(row) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in cells
        ]
        head = f"{self._sizes()}; floor: real against real, {self.num_splits} random splits"
        return "\n".join([head, *(line.rstrip() for line in lines), *self._missing()])

    def __repr__(self) -> str:
        """One line, for lists and debuggers."""
        beyond = sum(row.beyond for row in self.rows)
        return (
            f"<Report of {len(self.rows)} metrics, {beyond} beyond 95 % of real pairs; "
            f"{self._sizes()}>"
        )

    def _repr_html_(self) -> str:
        """The table as notebooks show it."""
        return html_table(
            _HEADS, self._columns(), caption=f"{self._sizes()}.", notes=self._notes()
        )

    def to_markdown(self) -> str:
        """The report for a page: a table, then what it says of itself."""
        said = markdown_text(" ".join([f"{self._sizes()}.", *self._notes()]))
        return f"{markdown_table(_HEADS, self._columns())}\n\n{said}"

    def _columns(self) -> list[tuple[str, ...]]:
        """Cells of a table with heads."""
        columns: list[tuple[str, ...]] = []
        for row in self.rows:
            digits = _digits(row)
            columns.append(
                (
                    f"{_name(row)}{self._differs(row)}",
                    f"{row.value:.{digits}f} ± {row.error:.{digits}f}",
                    f"{row.floor:.{digits}f}",
                    f"{row.floor_95:.{digits}f}",
                    "-" if row.ratio is None else f"{row.ratio:.3g}",
                )
            )
        return columns

    def _notes(self) -> list[str]:
        """What a table with heads leaves open."""
        meaning = (
            "Errors are standard errors; real against real is the same metric between two real "
            f"samples, over {self.num_splits} random splits."
        )
        return [meaning, *(f"{line[0].upper()}{line[1:]}." for line in self._missing())]

    def _sizes(self) -> str:
        return f"{self.num_clouds} clouds on each side"

    def _missing(self) -> list[str]:
        return [f"left out: {metric}: {why}" for metric, why in self.left_out.items()]

    def _differs(self, row: Row) -> str:
        """Splits and clouds of a row, where they are not the report's."""
        others = {"splits": row.num_splits, "clouds": row.num_clouds}
        usual = {"splits": self.num_splits, "clouds": self.num_clouds}
        return "".join(
            f"; {number} {what}"
            for what, number in others.items()
            if number not in (None, usual[what])
        )

    def _cells(self, row: Row) -> tuple[str, ...]:
        digits = _digits(row)
        return (
            _name(row),
            f"{row.value:.{digits}f} +- {row.error:.{digits}f}",
            f"floor {row.floor:.{digits}f} (95 %: {row.floor_95:.{digits}f}{self._differs(row)})",
            "-" if row.ratio is None else f"{row.ratio:.3g} x floor",
        )


def _name(row: Row) -> str:
    """What is compared, how, in which unit, and what is better."""
    unit = f" ({row.unit})" if row.unit else ""
    return f"{row.name} {row.metric}{unit}{BETTER[row.better]}"


def _digits(row: Row) -> int:
    """Digits of the smaller of error and width of the floor, so that both show two."""
    width = abs(row.floor_95 - row.floor)
    noise = 1e-9 * max(abs(row.value), abs(row.floor))  # of rounding
    small = min((x for x in (row.error, width) if x > noise), default=1.0)
    return max(0, 1 - math.floor(math.log10(small)))

"""What a comparison found: figures with their errors and floors, as a table and as a file."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gconvae import files
from gconvae.schema import CloudSchema

__all__ = ["BETTER", "Report", "Row", "badness"]

BETTER = {
    "lower": "",
    "higher": " (higher is better)",
    "0": " (0 is best)",
    "0.5": " (0.5 is best)",
}
"""Which values of a metric are better, and what the table says of it."""


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
            values = json.loads(path.read_text())
            fields = [field.name for field in dataclasses.fields(Row)]
            rows = tuple(Row(**{key: row[key] for key in fields}) for row in values["rows"])
            schema = values.get("schema")
            schema = None if schema is None else CloudSchema.from_dict(schema)
            return cls(**(values | {"rows": rows, "schema": schema}))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"path must hold a saved report, {path} does not: {error}") from None

    def __str__(self) -> str:
        """The report as an aligned table."""
        cells = [self._cells(row) for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in cells
        ]
        head = (
            f"{self.num_clouds} clouds on each side; floor: real against real, "
            f"{self.num_splits} random splits"
        )
        missing = [f"left out: {metric}: {why}" for metric, why in self.left_out.items()]
        return "\n".join([head, *(line.rstrip() for line in lines), *missing])

    def _cells(self, row: Row) -> tuple[str, ...]:
        unit = f" ({row.unit})" if row.unit else ""
        # digits of the smaller of error and width of the floor, so that both show two
        width = abs(row.floor_95 - row.floor)
        noise = 1e-9 * max(abs(row.value), abs(row.floor))  # of rounding
        small = min((x for x in (row.error, width) if x > noise), default=1.0)
        digits = max(0, 1 - math.floor(math.log10(small)))
        others = {"splits": row.num_splits, "clouds": row.num_clouds}
        usual = {"splits": self.num_splits, "clouds": self.num_clouds}
        notes = [
            f"; {number} {what}"
            for what, number in others.items()
            if number not in (None, usual[what])
        ]
        return (
            f"{row.name} {row.metric}{unit}{BETTER[row.better]}",
            f"{row.value:.{digits}f} +- {row.error:.{digits}f}",
            f"floor {row.floor:.{digits}f} (95 %: {row.floor_95:.{digits}f}{''.join(notes)})",
            "-" if row.ratio is None else f"{row.ratio:.3g} x floor",
        )

"""The table of many variants: figures over seeds, what is best, and what real clouds reach."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gconvae import files
from gconvae.markup import Bold, html_table
from gconvae.metrics.report import Row, badness
from gconvae.plain import did_you_mean

__all__ = ["BOUND", "MAIN", "Leaderboard", "Variant"]

BOUND = "log p(x) bound"
"""Of test clouds, :func:`gconvae.studies.bounds.bound`: real clouds have none to compare it to."""

MAIN = (
    *("x W1", "y W1", "intensity W1", "matching coverage", "matching 1-NNA"),
    *("embedding Frechet", "embedding AUC", "points AUC", "embedding memorization"),
)
"""Metrics that a table shows, and the bound where there is one; the file has all."""

_ARROWS = {"lower": "↓", "higher": "↑", "0": "→ 0", "0.5": "→ 0.5"}
"""Where values of a metric are better."""

_HEADS = ("variant", "parameters", "s / epoch")
_FLOOR = "real against real"


@dataclasses.dataclass(frozen=True)
class Variant:
    """What the trainings of one variant came to, one a seed.

    Attributes:
        name: Its name.
        options: Its options, where they differ from the defaults.
        parameters: Numbers that are trained, the prior's included.
        seconds: Mean seconds an epoch.
        best_epochs: The epoch that was kept, one a seed.
        values: Metric to its values, one a seed.
        errors: Metric to their standard errors.
        failure: Why a training has no values, or None.
    """

    name: str
    options: Mapping[str, Any]
    parameters: int
    seconds: float
    best_epochs: tuple[int, ...] = ()
    values: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    errors: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    failure: str | None = None

    def mean(self, metric: str) -> float:
        """Mean over seeds; not a number where there is no value."""
        values = self.values.get(metric, ())
        return statistics.fmean(values) if values else math.nan

    def stddev(self, metric: str) -> float:
        """Standard deviation over seeds; not a number for a single seed."""
        values = self.values.get(metric, ())
        return statistics.stdev(values) if len(values) > 1 else math.nan

    def error(self, metric: str) -> float:
        """Standard error of the mean; of a single seed that of the report."""
        values = self.values.get(metric, ())
        if len(values) == 1:
            return self.errors[metric][0]
        return self.stddev(metric) / math.sqrt(max(1, len(values)))


@dataclasses.dataclass(frozen=True)
class Leaderboard:
    """Variants in a table, as :func:`gconvae.studies.rank` makes it.

    Attributes:
        variants: In the order of the list.
        floors: Metric to its row of real against real clouds, whose floor is the table's.
        seeds: Seeds of each variant.
        epochs: Passes over the training clouds, the same for all.
        data: Which clouds.
        left_out: Group of metrics to the reason why it could not be had.
    """

    variants: tuple[Variant, ...]
    floors: Mapping[str, Row]
    seeds: tuple[int, ...]
    epochs: int
    data: Mapping[str, Any]
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def best(self, metric: str) -> list[str]:
        """The best variant, then those that lie within one combined error of it.

        Raises:
            ValueError: If there is no such metric.
        """
        better = self._row(metric).better
        known = [variant for variant in self.variants if variant.values.get(metric)]
        if not known:
            return []
        known.sort(key=lambda variant: badness(variant.mean(metric), better))
        first = known[0]

        def is_near(variant: Variant) -> bool:
            worse = badness(variant.mean(metric), better) - badness(first.mean(metric), better)
            return worse <= math.hypot(first.error(metric), variant.error(metric))

        return [first.name, *(variant.name for variant in known[1:] if is_near(variant))]

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON and for :func:`gconvae.plots.leaderboard`."""
        rows = {
            name: {
                "unit": row.unit,
                "better": row.better,
                "floor": row.floor,
                "floor_95": row.floor_95,
                "best": self.best(name),
            }
            for name, row in self.floors.items()
        }
        return {
            "seeds": list(self.seeds),
            "epochs": self.epochs,
            "data": dict(self.data),
            "metrics": rows,
            "variants": [_variant_dict(variant) for variant in self.variants],
            "left_out": dict(self.left_out),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table as JSON, whole or not at all."""
        with files.whole(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def to_markdown(self, metrics: Sequence[str] | None = None) -> str:
        """The table for a page: mean +- standard deviation over seeds, the best in bold.

        Args:
            metrics: Columns; None = :data:`BOUND` and those of :data:`MAIN`, as there are.
        Raises:
            ValueError: If there is no such metric.
        """
        head, *lines = self._table(metrics)
        rule = ["---", *["---:"] * (len(head) - 1)]
        marked = [[_marked(cell, "**{}**") for cell in line] for line in lines]
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *marked))

    def __str__(self) -> str:
        """The main metrics as an aligned table; a star for the best and what is as good."""
        heads, *rows = self._table(None)
        marked = [[*row[:3], *(_marked(cell, "{}*", "{} ") for cell in row[3:])] for row in rows]
        lines = [heads, *marked]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = [
            "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
            for line in lines
        ]
        head = (
            f"{len(self.seeds)} seeds, {self.epochs} epochs; * = best, or within one error of it"
        )
        return "\n".join([head, *(line.rstrip() for line in aligned), *self._missing()])

    def __repr__(self) -> str:
        """One line, for lists and debuggers."""
        metrics = [name for name in self._usual() if self.best(name)]
        best = f"; best {metrics[0]}: {self.best(metrics[0])[0]}" if metrics else ""
        return (
            f"<Leaderboard of {len(self.variants)} variants, {len(self.seeds)} seeds, "
            f"{self.epochs} epochs{best}>"
        )

    def _repr_html_(self) -> str:
        """The table of :meth:`__str__` as notebooks show it, the best in bold."""
        heads, *rows = self._table(None)
        caption = (
            f"{len(self.seeds)} seeds, {self.epochs} epochs; bold: best, or within one error of it"
        )
        return html_table(heads, rows, caption=caption, notes=self._missing())

    def _missing(self) -> list[str]:
        """Metrics and variants without values, and why."""
        missing = [f"left out: {group}: {why}" for group, why in self.left_out.items()]
        return missing + [f"{v.name}: {v.failure}" for v in self.variants if v.failure]

    def _table(self, chosen: Sequence[str] | None) -> Iterator[list[str]]:
        """Head, a line a variant, the best and what is as good in bold, and the floors."""
        names = self._usual() if chosen is None else list(chosen)
        rows = [self._row(name) for name in names]
        yield [*_HEADS, *(_heading(name, row) for name, row in zip(names, rows, strict=True))]
        winners = {name: self.best(name) for name in names}
        for variant in self.variants:
            cells = [
                Bold(_cell(variant, name))
                if variant.name in winners[name]
                else _cell(variant, name)
                for name in names
            ]
            yield [variant.name, f"{variant.parameters:,}", f"{variant.seconds:.2g}", *cells]
        floors = ["-" if math.isnan(row.floor) else f"{row.floor:.3g}" for row in rows]
        yield [_FLOOR, "", "", *floors]

    def _usual(self) -> list[str]:
        """The metrics of a table."""
        bounds = [BOUND] if any(variant.values.get(BOUND) for variant in self.variants) else []
        return [*bounds, *(name for name in MAIN if name in self.floors)]

    def _row(self, metric: str) -> Row:
        if metric == BOUND:
            none = math.nan
            return Row("log p(x)", "bound", "nats", none, none, none, none, "higher")
        if metric not in self.floors:
            hint = did_you_mean(metric, self.floors)
            raise ValueError(
                f"metric must be one of {', '.join(self.floors)}, got {metric!r}{hint}"
            )
        return self.floors[metric]


def _marked(cell: str, bold: str, other: str = "{}") -> str:
    return (bold if isinstance(cell, Bold) else other).format(cell)


def _variant_dict(variant: Variant) -> dict[str, Any]:
    """A variant for JSON, which has no infinite and no missing numbers."""
    summary = {
        metric: {
            "mean": _finite(variant.mean(metric)),
            "stddev": _finite(variant.stddev(metric)),
            "error": _finite(variant.error(metric)),
            "values": list(values),
        }
        for metric, values in variant.values.items()
    }
    return {
        "name": variant.name,
        "options": dict(variant.options),
        "parameters": variant.parameters,
        "seconds": _finite(variant.seconds),
        "best_epochs": list(variant.best_epochs),
        "metrics": summary,
        "failure": variant.failure,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _heading(name: str, row: Row) -> str:
    unit = f" ({row.unit})" if row.unit else ""
    return f"{name}{unit} {_ARROWS[row.better]}"


def _cell(variant: Variant, metric: str) -> str:
    """``mean ± deviation``, the mean with as many digits as the deviation's two."""
    mean, spread = variant.mean(metric), variant.stddev(metric)
    if math.isnan(mean):
        return "-"
    if not spread > 0:
        return f"{mean:.3g}"
    digits = max(0, 1 - math.floor(math.log10(spread)))
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"

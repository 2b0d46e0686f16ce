"""The table of a sweep: its settings, what their trainings came to, and which is best."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gconvae import files
from gconvae.markup import Bold, html_table
from gconvae.metrics.report import badness

__all__ = ["Setting", "Sweep", "in_words"]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of the options, and what its trainings came to.

    Attributes:
        options: The varied options.
        values: The metric on validation clouds, one a seed; empty if a training diverged.
        floors: The same between two real samples, one a seed.
        folders: Run folder of each seed.
        failure: Why there are no values, or None.
        host: The machine that has the folders, where they cannot be seen from here; else None.
    """

    options: Mapping[str, Any]
    values: tuple[float, ...]
    floors: tuple[float, ...]
    folders: tuple[Path, ...]
    failure: str | None = None
    host: str | None = None

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def error(self) -> float:
        """Standard error of the mean over seeds; not a number for a single seed."""
        if len(self.values) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.values))


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What :func:`sweep` found.

    Attributes:
        metric: What the settings are compared by, on validation clouds.
        seeds: Seeds of each setting.
        settings: In the order of the grid, or as the sampler chose them.
        better: Which values are, out of :data:`gconvae.metrics.BETTER`.
    """

    metric: str
    seeds: tuple[int, ...]
    settings: tuple[Setting, ...]
    better: str = "lower"

    @property
    def best(self) -> Setting:
        """The setting with the best mean.

        Raises:
            ValueError: If every training diverged.
        """
        best = self._best()
        if best is None:
            raise ValueError(f"no setting has a value: {self.settings[0].failure}")
        return best

    def _best(self) -> Setting | None:
        """None if every training diverged."""
        finished = [setting for setting in self.settings if setting.values]
        return min(finished, key=lambda setting: badness(setting.mean, self.better), default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and strings, ready for JSON."""
        settings = [
            {
                "options": dict(setting.options),
                "mean": setting.mean if setting.values else None,
                "error": setting.error if len(setting.values) > 1 else None,
                "values": list(setting.values),
                "floors": list(setting.floors),
                "folders": [folder.as_posix() for folder in setting.folders],
                "failure": setting.failure,
                "host": setting.host,
            }
            for setting in self.settings
        ]
        return {
            "metric": self.metric,
            "better": self.better,
            "seeds": list(self.seeds),
            "settings": settings,
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the result as JSON, whole or not at all."""
        with files.whole(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")

    def __repr__(self) -> str:
        """One line, for lists and debuggers."""
        best = self._best()
        result = "all failed"
        if best is not None:
            result = f"best {in_words(best.options)}: {best.mean:.4g}"
        count = f"{_counted(len(self.settings), 'setting')}, {_counted(len(self.seeds), 'seed')}"
        return f"<Sweep of {count}, {self.metric}; {result}>"

    def _over_seeds(self) -> str:
        """What the values are."""
        seeds = len(self.seeds)
        return f"mean and error over {seeds} seeds" if seeds > 1 else "of one seed"

    def _repr_html_(self) -> str:
        """The table as notebooks show it, the best setting in bold."""
        names = list(dict.fromkeys(name for each in self.settings for name in each.options))
        best = self._best()
        rows = []
        for setting in self.settings:
            value = setting.failure or f"{setting.mean:.4g}"
            if len(setting.values) > 1:
                value += f" ± {setting.error:.2g}"
            cells = [*(str(setting.options.get(name, "-")) for name in names), value]
            rows.append([Bold(cell) if setting is best else cell for cell in cells])
        caption = f"On validation clouds, {self._over_seeds()}"
        return html_table([*names, self.metric], rows, caption=caption)

    def __str__(self) -> str:
        """A table, the best setting marked, if one has a value."""
        best = self._best()
        lines = [f"{self.metric} on validation clouds, {self._over_seeds()}"]
        for setting in self.settings:
            value = setting.failure or f"{setting.mean:.4g}"
            if len(setting.values) > 1:
                value += f" +- {setting.error:.2g}"
            mark = "  <- best" if setting is best else ""
            away = f"  (run folders on {setting.host})" if setting.host else ""
            lines.append(f"{in_words(setting.options)}   {value}{mark}{away}")
        return "\n".join(lines)


def in_words(options: Mapping[str, Any]) -> str:
    """Options as tables and names of folders have them."""
    return ", ".join(f"{name}={value}" for name, value in options.items())


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

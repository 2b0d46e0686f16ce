"""What a finished training is judged by, and what two real samples differ by in the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gconvae import metrics
from gconvae.metrics.report import Report, Row
from gconvae.studies.experiment import Splits
from gconvae.training import run_folder

__all__ = ["floors", "judge", "report_of", "row_key"]

SET_CLOUDS = 300
"""Clouds on each side of the metrics of sets, whose cost grows as the square of it."""

_SPLITS = {"sets": 100, "classifier": 2}
"""Splits behind the floors of one run's report, where not 20: the table has floors of its own."""


def judge(
    generated: Any,
    splits: Splits,
    *,
    seed: int = 0,
    groups: Sequence[str] = metrics.GROUPS,
    num_splits: int | None = None,
) -> Report:
    """Compares generated with test clouds in all that :func:`gconvae.metrics.compare` has.

    It is meant for many models: the metrics of sets look at :data:`SET_CLOUDS` clouds, and floors,
    which are the same for all, have few splits.

    Args:
        generated: As many clouds as there are test clouds, at best.
        splits: Training, validation and test clouds.
        seed: Of all draws.
        groups: Groups of metrics, ``"features"`` among them.
        num_splits: Splits behind every floor; None = few.
    Returns:
        A report; a group that cannot be had is left out.
    """
    clouds = metrics.as_sample(generated, "generated")
    reports: list[Report] = []
    left_out: dict[str, str] = {}
    for group in metrics.groups_of(splits.test.schema):
        if group not in groups:
            continue
        most = SET_CLOUDS if group == "sets" else len(clouds.points)
        try:
            report = metrics.compare(
                splits.test,
                (clouds.points[:most], clouds.mask[:most]),
                splits.valid,
                training=splits.train,
                metrics=group,
                seed=seed,
                num_splits=num_splits or _SPLITS.get(group, 20),
            )
        except (ValueError, ModuleNotFoundError) as error:
            if group == "features":  # which all clouds have
                raise
            left_out[group] = str(error)
            continue
        reports.append(report)
        left_out |= report.left_out
    rows = tuple(row for report in reports for row in report.rows)
    return dataclasses.replace(reports[0], rows=rows, left_out=left_out)


def report_of(place: Path, splits: Splits, seed: int, groups: Sequence[str]) -> Report:
    """The report of a finished run, found or made."""
    file = place / "report.json"
    if file.exists():
        return Report.load(file)
    generated = run_folder.load(place).sample_clouds(len(splits.test), seed=seed)
    report = judge(generated, splits, seed=seed, groups=groups)
    report.save(file)
    return report


def floors(out: Path, splits: Splits, groups: Sequence[str]) -> Report:
    """The validation clouds judged as if they were generated, with floors of many splits."""
    file = out / "floors.json"
    if file.exists():
        return Report.load(file)
    report = judge(splits.valid, splits, groups=groups, num_splits=200)
    report.save(file)
    return report


def row_key(row: Row) -> str:
    """How tables call a row of a report."""
    return f"{row.name} {row.metric}"

"""``gconvae sample``: new clouds from a trained model."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from gconvae.cli import duration
from gconvae.cli.command import Command, add_overwrite, check_free, options_of
from gconvae.options import SampleOptions

if TYPE_CHECKING:
    from gconvae.clouds import Clouds
    from gconvae.vae import VAE

__all__ = ["COMMAND", "seconds_each", "time_in_words"]

PATIENCE = 2.0
"""Seconds of silence before a bar says how long drawing will take."""

MANY = 5_000
"""Clouds from which drawing may take longer than a minute, at 80 a second."""

TRIED = 200
"""Clouds that are drawn to see how long each takes."""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Draws new clouds from a trained model.", exit_on_error=False
    )
    parser.add_argument(
        "run",
        type=str,
        help="run folder of gconvae train, or pretrained:eights, :digits or :gluon",
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_class_arguments(SampleOptions)
    parser.add_argument(
        "--conditions",
        type=dict[str, float] | None,
        help="values of the model's conditions by name, all of them, in data units, such as "
        "--conditions.mass=171; by default as in training",
    )
    parser.add_argument(
        "--out", type=str, default="samples.npz", help="file to write (npz, h5, hdf5, parquet)"
    )
    parser.add_argument(
        "--figure", type=str | None, help="picture of the first 100 (png, pdf, svg)"
    )
    add_overwrite(parser)
    return parser


def _run(options: Namespace, explicit: Namespace) -> None:
    drawn = options_of(SampleOptions, options)
    out = Path(options.out).expanduser()
    figure = None if options.figure is None else Path(options.figure).expanduser()
    check_free(out, figure, overwrite=options.overwrite)
    from gconvae import datasets, plots
    from gconvae.processes import Processes
    from gconvae.training import run_folder

    if figure is not None:
        plots.check_path(figure)
    model, processes = run_folder.load(options.run), Processes.started()
    dealt = (processes.rank, processes.size)
    asked = {"seed": drawn.seed, "label": drawn.label, "conditions": options.conditions}
    if processes.size == 1 and not options.quiet:
        takes = time_in_words(model, drawn.count, asked)
        if takes:
            print(f"drawing {drawn.count} clouds, {takes}: {out}", flush=True)
    own = model.iter_samples(drawn.count, part=dealt, **asked)
    with processes.joined():
        parts = processes.collected(own)
        first = next(parts, None)
        if first is None:
            return  # another process than the first one, which collects and writes
        shown = _watched(itertools.chain([first], parts), drawn.count, not options.quiet)
        datasets.to_file_in_parts(shown, out)
    print(f"{drawn.count} clouds: {out}")
    if figure is not None:
        grid = plots.cloud_grid(first)
        plots.save(grid, figure)
        print(f"figure: {figure}")


COMMAND = Command(_run, _parser, "new clouds from a trained model")


def time_in_words(model: VAE, count: int, asked: dict[str, Any]) -> str:
    """What drawing will take; empty if that is below a minute.

    Args:
        model: Trained.
        count: Number of clouds; of fewer than :data:`MANY` none is tried.
        asked: Seed, label and conditions.
    """
    return "" if count < MANY else duration.in_words(count * seconds_each(model, asked))


def seconds_each(model: VAE, asked: dict[str, Any]) -> float:
    """Seconds of a cloud, of a few that are drawn twice, since the first draw starts slowly.

    Args:
        model: Trained.
        asked: Seed, label and conditions.
    """
    for _ in range(2):
        begun = time.perf_counter()
        for _part in model.iter_samples(TRIED, **asked):
            pass
        seconds = time.perf_counter() - begun
    return seconds / TRIED


def _watched(parts: Iterator[Clouds], count: int, shown: bool) -> Iterator[Clouds]:
    """With a bar for whoever has to wait."""
    from tqdm import tqdm

    with tqdm(
        total=count,
        unit="cloud",
        delay=PATIENCE,
        leave=False,
        dynamic_ncols=True,
        disable=not shown,
    ) as bar:
        for part in parts:
            yield part
            bar.update(len(part.points))

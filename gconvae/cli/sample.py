"""``gconvae sample``: new clouds from a trained model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from gconvae.cli.command import Command, check_free, options_of
from gconvae.options import SampleOptions

if TYPE_CHECKING:
    from gconvae.clouds import Clouds

__all__ = ["COMMAND"]

PATIENCE = 2.0
"""Seconds of silence before a bar says how long drawing will take."""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Draws new clouds from a trained model.", exit_on_error=False
    )
    parser.add_argument(
        "run", type=str, help="run folder of gconvae train, or pretrained:eights, pretrained:gluon"
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
    parser.add_argument("--overwrite", type=bool, default=False, help="replace files that exist")
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
    own = model.iter_samples(drawn.count, part=dealt, **asked)
    with processes.joined():
        parts = processes.collected(own)
        first = next(parts, None)
        if first is None:
            return  # another process than the first one, which collects and writes
        shown = _watched(itertools.chain([first], parts), drawn.count)
        datasets.to_file_in_parts(shown, out)
    print(f"{drawn.count} clouds: {out}")
    if figure is not None:
        grid = plots.cloud_grid(first)
        plots.save(grid, figure)
        print(f"figure: {figure}")


COMMAND = Command(_run, _parser, "new clouds from a trained model")


def _watched(parts: Iterator[Clouds], count: int) -> Iterator[Clouds]:
    """With a bar for whoever has to wait."""
    from tqdm import tqdm

    with tqdm(total=count, unit="cloud", delay=PATIENCE, leave=False, dynamic_ncols=True) as bar:
        for part in parts:
            yield part
            bar.update(len(part.points))

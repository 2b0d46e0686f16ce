"""``gconvae evaluate``: generated against real clouds, in full."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from gconvae.cli import duration
from gconvae.cli.command import Command, add_overwrite, check_free, heard_first, options_of
from gconvae.cli.sample import time_in_words
from gconvae.options import DataOptions, SampleOptions
from gconvae.processes import Processes

if TYPE_CHECKING:
    from gconvae.datasets import CloudDataset

__all__ = ["COMMAND"]

SUFFIXES = (".npz", ".npy", ".h5", ".hdf5", ".parquet", ".root")
"""Ends of names of files of clouds."""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Compares generated clouds with real ones, each figure with its error and "
        "beside it the same between two real samples.",
        exit_on_error=False,
    )
    parser.add_argument(
        "made",
        type=str,
        help="run folder of gconvae train, or pretrained:eights, :digits or :gluon, or a file "
        "of clouds",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        help="file of real clouds, or jets:gluon and the like for bundled jets; by default the "
        "test clouds of the run, or the bundled ones",
    )
    parser.add_argument(
        "--digit", type=int | list[int] | None, default=8, help="bundled digit for a file"
    )
    parser.add_argument(
        "--metrics",
        type=str | None,
        help="of features, sets, frechet, kernel, classifier, memorization, jets, with commas; "
        "by default all that apply",
    )
    parser.add_class_arguments(SampleOptions)
    parser.add_argument("--out", type=str | None, help="json file for the report")
    parser.add_argument("--figure", type=str | None, help="picture of it (png, pdf, svg)")
    add_overwrite(parser)
    parser.add_argument(
        "--progress", type=bool, default=True, help="show a bar with the time left, from 2 s on"
    )
    return parser


def _run(options: Namespace, explicit: Namespace) -> None:
    drawn = options_of(SampleOptions, options)
    out, figure = (
        None if name is None else Path(name).expanduser() for name in (options.out, options.figure)
    )
    check_free(out, figure, overwrite=options.overwrite)
    for file in (out, figure):
        if file is not None and not file.parent.is_dir():
            raise FileNotFoundError(f"out and figure must lie in an existing folder, got {file}")
    from gconvae import datasets, metrics, plots

    if figure is not None:
        plots.check_path(figure)
    source = Path(options.made).expanduser()
    is_file = source.suffix in SUFFIXES
    if is_file and not source.exists():
        raise FileNotFoundError(f"made must be an existing file, got {source}")
    if "digit" in explicit and (not is_file or options.against is not None):
        raise ValueError("digit must be given with a file of clouds and without --against only")
    if drawn.label is not None and is_file:
        raise ValueError("label must be given with a run folder, a file has its clouds")
    processes = Processes.started()
    with processes.joined():
        if is_file:
            generated = datasets.from_file(source)
            samples = _real_clouds(options)
        else:
            generated = _drawn(source, drawn, processes, options.quiet)
            samples = _held_out(source, options.against)
            if drawn.label is not None:
                samples = {name: _of_label(part, drawn.label) for name, part in samples.items()}
        unlike = samples["real"].schema.difference(generated.schema)
        if unlike:
            raise ValueError(f"{source} must be compared with clouds of the same kind, {unlike}")
        sizes = ", ".join(f"{len(part)} {name}" for name, part in samples.items())
        groups = None if options.metrics is None else options.metrics.replace(" ", "").split(",")

        def announce(record: logging.LogRecord) -> None:
            takes = duration.in_words(float(record.args[0]))  # type: ignore[index, arg-type]
            if takes and processes.rank == 0 and not options.quiet:
                print(f"comparing {len(generated)} clouds, {takes} on one core", flush=True)

        with heard_first("gconvae.metrics", announce):
            report = metrics.compare(
                samples.pop("real"),
                generated,
                **samples,
                metrics=groups,
                seed=drawn.seed,
                progress=options.progress and processes.rank == 0 and not options.quiet,
                processes=processes,
            )
    if processes.rank > 0:
        return  # of several processes, the first one writes
    print(f"{source} against {_origin(options, source)}: {sizes} clouds\n{report}")
    if out is not None:
        report.save(out)
        print(f"report: {out}")
    if figure is not None:
        plots.save(plots.report(report), figure)
        print(f"figure: {figure}")


COMMAND = Command(_run, _parser, "generated against real clouds, in full")


def _drawn(run: Path, options: SampleOptions, processes: Processes, quiet: bool) -> CloudDataset:
    """New clouds of a run's model, drawn by all processes."""
    from gconvae import datasets
    from gconvae.pieces import joined
    from gconvae.training import run_folder

    model, asked = run_folder.load(run), {"seed": options.seed, "label": options.label}
    if processes.size == 1 and not quiet:
        takes = time_in_words(model, options.count, asked)
        if takes:
            print(f"drawing {options.count} clouds, {takes}", flush=True)
    own = model.iter_samples(options.count, part=(processes.rank, processes.size), **asked)
    clouds = joined(processes.everywhere(own))
    return datasets.from_points(*clouds, schema=model.schema)


def _held_out(run: Path, against: str | None) -> dict[str, Any]:
    """What the clouds of a run's model are compared with."""
    from gconvae.studies.experiment import Experiment
    from gconvae.training import run_folder

    if against is not None:
        return _named(against)
    manifest = run_folder.read_manifest(run)
    try:
        experiment = Experiment.from_config(manifest["config"])
    except ValueError as error:
        raise ValueError(f"{run} needs --against, its own clouds are not known: {error}") from None
    train, valid, test = experiment.splits
    for name, part in (("train", train), ("valid", valid)):
        if part.checksum() != manifest[name]["sha256"]:
            raise ValueError(
                f"{experiment.data.data} must hold the clouds of the run, which has other {name} "
                "clouds; --against compares with any"
            )
    return {"real": test, "reference": valid, "training": train}


def _of_label(data: CloudDataset, label: int | str) -> CloudDataset:
    """What clouds of one label are compared with; clouds without labels are taken for them."""
    return (
        data if data.labels is None else data.copy(data.labels == data.schema.class_index(label))
    )


def _origin(options: Namespace, source: Path) -> str:
    """Where the real clouds come from, in words."""
    if options.against is not None:
        return str(options.against)
    return (
        f"bundled digit {options.digit}"
        if source.suffix in SUFFIXES
        else "held-out clouds of the run"
    )


def _real_clouds(options: Namespace) -> dict[str, Any]:
    """What the clouds of a file are compared with."""
    from gconvae.studies.experiment import Experiment

    if options.against is not None:
        return _named(options.against)
    _, valid, test = Experiment(DataOptions(digit=options.digit)).splits
    return {"real": test, "reference": valid}


def _named(against: str) -> dict[str, Any]:
    """Real clouds of a file, or bundled jets."""
    from gconvae import datasets
    from gconvae.datasets.jets import bundled_kinds

    kinds = bundled_kinds(against)
    if kinds is None:
        if not Path(against).exists():
            raise FileNotFoundError(
                f"against must be an existing file, or jets:gluon and the like, got {against}"
            )
        return {"real": datasets.from_file(against)}
    return {"real": datasets.Jets(kinds, "test"), "reference": datasets.Jets(kinds, "valid")}

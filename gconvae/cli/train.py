"""``gconvae train``: trains, samples, compares with held-out clouds and draws."""

from __future__ import annotations

import shlex
import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jsonargparse import ArgumentParser, Namespace

from gconvae import recipes
from gconvae.cli import duration
from gconvae.cli.command import (
    Command,
    StoppedError,
    add_recipe,
    heard_first,
    options_of,
)
from gconvae.options import (
    OTHER_PRECISIONS,
    DataOptions,
    ModelOptions,
    SampleOptions,
    TrainingOptions,
)

if TYPE_CHECKING:
    from gconvae.clouds import Clouds
    from gconvae.datasets import CloudDataset
    from gconvae.metrics.report import Report
    from gconvae.training.run import Run
    from gconvae.vae import VAE

__all__ = ["COMMAND", "free_run_folder"]

DIGIT_NAMES = (
    "zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines"
)  # fmt: skip
"""Run folders of the bundled digits."""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Trains a model, samples from it, compares with held-out clouds and draws.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    add_recipe(parser, recipes.DEFAULT)
    for kind in (DataOptions, ModelOptions, TrainingOptions):
        parser.add_class_arguments(kind)
    # one seed for all, and all labels, since all are compared
    parser.add_class_arguments(SampleOptions, skip={"seed", "label"})
    parser.add_argument(
        "--out", type=str | None, help="new run folder; by default a free one in runs/"
    )
    parser.add_argument(
        "--figure-format",
        type=Literal["png", "svg", "pdf"],
        default="png",
        help="of the figures in the run folder",
    )
    parser.add_argument(
        "--resume", type=str | None, help="go on with the stopped training in this run folder"
    )
    return parser


def _run(options: Namespace, explicit: Namespace) -> None:
    started = time.perf_counter()
    quiet, recipe, figure_format = options.quiet, options.recipe, options.figure_format
    if options.resume is not None:
        recipe = None
        options = _as_begun(options.resume, explicit)
    # before the slow imports: both check their values
    training = options_of(TrainingOptions, options)
    drawn = options_of(SampleOptions, options, label=None)
    folder = (
        Path(options.out).expanduser() if options.out is not None else free_run_folder(options)
    )
    from gconvae.studies.experiment import Experiment
    from gconvae.training.hardware import Hardware
    from gconvae.training.preparation import in_memory
    from gconvae.training.run_folder import FolderTakenError

    data, model = options_of(DataOptions, options), options_of(ModelOptions, options)
    experiment = Experiment(data, model, training)
    train, valid, test = experiment.splits
    said = f"training on {len(train)} clouds, validation {len(valid)}, test {len(test)}"
    takes = duration.of_training(model, training, len(train), recipe)
    rank = Hardware(training.accelerator, training.devices, training.num_nodes).rank
    asked: dict[str, Any] = {
        "config": _config(experiment.config(), drawn),
        "progress": not quiet,
    }

    def announce(_: Any) -> None:
        if rank == 0 and not quiet:
            print(f"{said}, {takes}: {folder}" if takes else f"{said}: {folder}", flush=True)

    try:
        # not before fit has accepted the options and begun the folder
        with heard_first("gconvae.training", announce):
            try:
                run = experiment.run(folder, resume=options.resume is not None, **asked)
            except FolderTakenError:
                if options.out is not None:
                    raise
                # another process took it a moment ago
                folder = free_run_folder(options)
                run = experiment.run(folder, **asked)
        if rank > 0:
            return  # of several processes, the first one draws and writes
        held_out = in_memory(valid, training.seed), in_memory(test, training.seed)
        _describe(run, *held_out, drawn, figure_format)
    except KeyboardInterrupt:
        raise StoppedError(_how_to_go_on(folder)) from None
    print(f"{time.perf_counter() - started:.0f} s in all; everything is in {folder}")


COMMAND = Command(_run, _parser, "train, sample, compare and draw", recipes.usual)


def _how_to_go_on(folder: Path) -> str:
    """What to type after a training was stopped."""
    if not (folder / "manifest.json").exists():
        return "nothing was begun"
    return f"go on with: gconvae train --resume {shlex.quote(str(folder))}"


def free_run_folder(options: Namespace) -> Path:
    """A new folder in ``runs/``, named by the clouds."""
    from gconvae.training.run_folder import free_folder

    if options.data is not None:
        # jets:gluon is a name; a colon is no good in that of a folder
        return free_folder(Path("runs") / Path(options.data).stem.replace(":", "-"))
    if options.digit is None:
        return free_folder(Path("runs") / "digits")
    digits = [options.digit] if isinstance(options.digit, int) else options.digit
    names = [DIGIT_NAMES[digit] for digit in digits if digit in range(10)]
    return free_folder(Path("runs") / "-".join(names))


def _config(experiment: dict[str, Any], drawn: SampleOptions) -> dict[str, Any]:
    """What ``--config`` takes to run the same again into another folder."""
    return {k: v for k, v in (experiment | asdict(drawn)).items() if k != "label"}


def _as_begun(folder: str, explicit: Namespace) -> Namespace:
    """The settings that a run was begun with; what is given again has to be the same."""
    from gconvae.training.run_folder import CHANGEABLE, read_manifest

    begun = read_manifest(folder)["config"]
    if not {field.name for field in fields(DataOptions)} <= begun.keys():
        raise ValueError(f"resume must name a run of gconvae train, {folder} is another")
    missing = sorted({field.name for field in fields(TrainingOptions)} - begun.keys())
    if missing:
        raise ValueError(
            f"resume must name a run of this version, {folder} was begun without {missing[0]}"
        )
    if "recipe" in explicit:
        raise ValueError(f"recipe must not be given with resume, got {explicit.recipe}")
    for name, value in vars(explicit).items():
        value = list(value) if isinstance(value, tuple) else value  # JSON has no tuples
        if name == "precision":
            value = OTHER_PRECISIONS.get(str(value), value)
        if name == "out" and value != folder:
            raise ValueError(f"out must not be given with resume, got {value}")
        if name in CHANGEABLE:
            begun[name] = value
        if name in begun and value != begun[name]:
            raise ValueError(f"resume must keep {name} = {begun[name]!r}, got {value!r}")
    return Namespace(**begun, out=folder, resume=folder)


def _describe(
    run: Run,
    valid: CloudDataset,
    test: CloudDataset,
    options: SampleOptions,
    figure_format: str,
) -> None:
    """Samples, compares with held-out clouds, draws and prints."""
    from gconvae import datasets, metrics, plots
    from gconvae.metrics.jets.particles import are_jets

    assert run.folder is not None  # the command always names one
    folder, model = run.folder, run.model
    samples = {
        "reconstructed": model.reconstruct_clouds(test),
        "generated": model.sample_clouds(options.count, seed=options.seed),
    }
    datasets_of = {
        name: datasets.from_points(*sample, schema=test.schema) for name, sample in samples.items()
    }
    datasets.to_file(datasets_of["generated"], folder / "samples.npz")
    groups = ["features", "jets"] if are_jets(test.schema) else ["features"]
    reports = {
        name: metrics.compare(test, sample, reference=valid, metrics=groups, seed=options.seed)
        for name, sample in datasets_of.items()
    }
    for name, report in reports.items():
        report.save(folder / f"report_{name}.json")
    samples = {"real": test.clouds} | {name: sample.clouds for name, sample in datasets_of.items()}
    for name, figure in _figures(samples, test, run).items():
        plots.save(figure, folder / f"{name}.{figure_format}")
    _print_result(run, reports)
    if model.conditioning.num_classes:
        print(class_shares({"real": test, "generated": datasets_of["generated"]}), end="\n\n")


def _figures(samples: dict[str, Clouds], test: CloudDataset, run: Run) -> dict[str, Any]:
    """Name of a file to what is drawn of a run."""
    from gconvae import plots
    from gconvae.metrics.jets.particles import are_jets

    figures = {"clouds": plots.compare_grids(samples, rows=5, columns=5)}
    if test.schema.picture.cell is not None:
        figures["images"] = plots.compare_grids(samples, rows=5, columns=5, raster=True)
    figures["features"] = plots.feature_histograms(samples)
    if are_jets(test.schema):
        figures["spectra"] = plots.jet_spectra(samples)
        figures["mean_images"] = plots.jet_images(samples)
    return figures | {"losses": plots.loss_curves(run.history)}


def class_shares(samples: dict[str, CloudDataset]) -> str:
    """A table of how often each class occurs, in percent.

    Args:
        samples: Name to clouds with labels; the classes are those of the first.
    """
    schema = next(iter(samples.values())).schema
    counts = {name: _counts(data) for name, data in samples.items()}
    number = max(len(count) for count in counts.values())
    lines = [["class", *counts]]
    for label in range(number):
        shares = [c[label] / sum(c) if label < len(c) else 0.0 for c in counts.values()]
        lines.append([schema.class_name(label), *(f"{100 * share:.1f} %" for share in shares)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "   ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def _counts(data: CloudDataset) -> list[int]:
    assert data.labels is not None
    counts: list[int] = data.labels.bincount().tolist()
    return counts


def _print_result(run: Run, reports: dict[str, Report]) -> None:
    manifest = run.manifest
    print(
        f"best epoch {manifest['best_epoch']} of {manifest['epochs_run']}, "
        f"{manifest['seconds']:.0f} s, neighbor search {manifest['neighbor_search']}, "
        f"{manifest['threads']} threads, {manifest['machine']['device']}"
    )
    print(draws_in_words(run.model))
    for name, report in reports.items():
        print(f"\n{name} against held-out real clouds\n{report}")
    print()


def draws_in_words(model: VAE) -> str:
    """On which steps drawn values lie, of the schema or the training clouds; how warm they are.

    Args:
        model: Trained.
    """
    steps = zip(model.schema.features, model.likelihood.step.tolist(), strict=True)
    in_words = [
        f"{each.name} {_fraction(step)} {each.unit}".rstrip() for each, step in steps if step
    ]
    said = f"drawn on steps of {', '.join(in_words)}" if in_words else "drawn on no lattice"
    counts = zip(model.schema.names, model.likelihood.atoms.counts, strict=True)
    few = [f"{count:,} of {name}" for name, count in counts if count]
    said = f"{said}; values that there are: {', '.join(few)}" if few else said
    heat = getattr(model.likelihood, "temperature", None)
    if not isinstance(heat, list):  # one for all
        return said
    each = zip(model.schema.names, heat, strict=True)
    return f"{said}; temperatures: {', '.join(f'{name} {one:g}' for name, one in each)}"


def _fraction(step: float) -> str:
    parts = round(1 / step)
    return f"1/{parts}" if parts > 1 and abs(step * parts - 1) < 1e-4 else f"{step:g}"

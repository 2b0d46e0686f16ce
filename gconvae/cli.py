"""The command ``gconvae``: parses options, calls the library, prints and draws.

Only the options are imported at start; everything heavy waits until a command runs.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from gconvae import __version__
from gconvae.options import DataOptions, ModelOptions, SampleOptions, TrainingOptions

if TYPE_CHECKING:
    from gconvae.datasets import CloudDataset
    from gconvae.metrics import Report
    from gconvae.runs import Run

__all__ = ["main"]

DIGIT_NAMES = (
    "zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines"
)  # fmt: skip
"""Run folders of the bundled digits."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: Words after ``gconvae``; None = those of the process.
    Returns:
        Exit code: 0; 2 after one line on stderr where the input was wrong; 130 if interrupted.
    """
    words = _underscored(sys.argv[1:] if arguments is None else arguments)
    try:
        with _plain_warnings():
            parsed = _parser().parse_args(words)
            given = parsed[parsed.command]
            if parsed.command == "sample":
                _sample(given)
            elif given.resume is None:
                _train(given)
            else:
                _train(_as_begun(given.resume, _parser().parse_args(words, defaults=False).train))
    except (argparse.ArgumentError, ValueError, OSError, FloatingPointError) as error:
        print(f"gconvae: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gconvae: stopped; gconvae train --resume RUN goes on", file=sys.stderr)
        return 130
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="gconvae", description="Generate small sparse point sets.", exit_on_error=False
    )
    parser.add_argument("--version", action="version", version=f"gconvae {__version__}")
    commands = parser.add_subcommands(dest="command", required=True)
    commands.add_subcommand("train", _train_parser(), help="train, sample, compare and draw")
    commands.add_subcommand("sample", _sample_parser(), help="new clouds from a trained model")
    return parser


def _train_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Trains a model, samples from it, compares with held-out clouds and draws.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    for options in (DataOptions, ModelOptions, TrainingOptions):
        parser.add_class_arguments(options)
    parser.add_class_arguments(SampleOptions, skip={"seed"})  # one seed for all
    parser.add_argument(
        "--out", type=str | None, help="new run folder; by default a free one in runs/"
    )
    parser.add_argument(
        "--resume", type=str | None, help="go on with the stopped training in this run folder"
    )
    return parser


def _sample_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Draws new clouds from a trained model.", exit_on_error=False
    )
    parser.add_argument("run", type=str, help="run folder of gconvae train")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_class_arguments(SampleOptions)
    parser.add_argument("--out", type=str, default="samples.npz", help="npz file to write")
    parser.add_argument(
        "--figure", type=str | None, help="picture of the first 100 (png, pdf, svg)"
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="replace files that exist")
    return parser


def _train(given: Namespace) -> None:
    started = time.perf_counter()
    # before the slow imports: both check their values
    options = TrainingOptions(**_part(given, TrainingOptions))
    drawn = SampleOptions(**_part(given, SampleOptions))
    folder = Path(given.out) if given.out is not None else _default_folder(given)
    from gconvae.experiments import Experiment
    from gconvae.runs import FolderTakenError

    data, model = (
        DataOptions(**_part(given, DataOptions)),
        ModelOptions(**_part(given, ModelOptions)),
    )
    experiment = Experiment(data, model, options)
    train, valid, test = experiment.splits
    print(f"training on {len(train)} clouds, validation {len(valid)}, test {len(test)}: {folder}")
    settings = _settings(given)
    try:
        run = experiment.run(folder, resume=given.resume is not None, config=settings)
    except FolderTakenError:
        if given.out is not None:
            raise
        # another process took it a moment ago
        run = experiment.run(_default_folder(given), config=settings)
    _describe(run, valid, test, drawn)
    print(f"{time.perf_counter() - started:.0f} s in all; everything is in {folder}")


def _describe(run: Run, valid: CloudDataset, test: CloudDataset, options: SampleOptions) -> None:
    """Samples, compares with held-out clouds, draws and prints."""
    from gconvae import datasets, metrics, plots

    assert run.folder is not None  # the command always names one
    folder, model = run.folder, run.model
    generated = model.sample(options.count, seed=options.seed)
    made = {
        "reconstructed": datasets.from_points(
            model.reconstruct(test.points, test.mask), image_size=test.image_size
        ),
        "generated": datasets.from_points(generated, image_size=test.image_size),
    }
    datasets.to_file(made["generated"], folder / "samples.npz")
    reports = {
        name: metrics.compare(test, sample, reference=valid, seed=options.seed)
        for name, sample in made.items()
    }
    for name, report in reports.items():
        report.save(folder / f"report_{name}.json")
    samples = {"real": test.clouds, **{name: sample.clouds for name, sample in made.items()}}
    size = test.image_size
    plots.save(plots.compare_grids(samples, image_size=size), folder / "clouds.png")
    if size is not None:
        images = plots.compare_grids(samples, image_size=size, pixels=True)
        plots.save(images, folder / "images.png")
    plots.save(plots.feature_histograms(samples, image_size=size), folder / "features.png")
    plots.save(plots.loss_curves(run.history), folder / "losses.png")
    _print_result(run, reports)


def _print_result(run: Run, reports: dict[str, Report]) -> None:
    manifest = run.manifest
    print(
        f"best epoch {manifest['best_epoch']} of {manifest['epochs_run']}, "
        f"{manifest['seconds']:.0f} s, neighbor search {manifest['neighbor_search']}, "
        f"{manifest['threads']} threads, {manifest['machine']['device']}"
    )
    for name, report in reports.items():
        print(f"\n{name} against held-out real clouds\n{report}")
    print()


def _sample(given: Namespace) -> None:
    options = SampleOptions(**_part(given, SampleOptions))
    out, figure = Path(given.out), None if given.figure is None else Path(given.figure)
    for file in (out, figure):
        if file is not None and file.exists() and not given.overwrite:
            raise ValueError(
                f"out and figure must not exist yet (or --overwrite true), got {file}"
            )
    from gconvae import datasets, plots, runs

    if figure is not None:
        plots.check_path(figure)
    model = runs.load(given.run)
    made = datasets.from_points(
        model.sample(options.count, seed=options.seed), image_size=model.scaling.image_size
    )
    datasets.to_file(made, out)
    print(f"{len(made)} clouds: {out}")
    if figure is not None:
        grid = plots.cloud_grid(made.points, made.mask, image_size=made.image_size)
        plots.save(grid, figure)
        print(f"figure: {figure}")


def _default_folder(given: Namespace) -> Path:
    from gconvae.runs import free_folder

    if given.data is not None:
        return free_folder(Path("runs") / Path(given.data).stem)
    if given.digit is None:
        return free_folder(Path("runs") / "digits")
    digits = [given.digit] if isinstance(given.digit, int) else given.digit
    names = [DIGIT_NAMES[digit] for digit in digits if digit in range(10)]
    return free_folder(Path("runs") / "-".join(names))


def _settings(given: Namespace) -> dict[str, Any]:
    """What ``--config`` takes to run the same again into another folder."""
    classes = (DataOptions, ModelOptions, TrainingOptions, SampleOptions)
    return {name: value for options in classes for name, value in _part(given, options).items()}


def _as_begun(folder: str, explicit: Namespace) -> Namespace:
    """The settings that a run was begun with; what is given again has to be the same."""
    from gconvae.runs import read_manifest

    begun = read_manifest(folder)["config"]
    if not {field.name for field in fields(DataOptions)} <= begun.keys():
        raise ValueError(f"resume must name a run of gconvae train, {folder} is another")
    for name, value in vars(explicit).items():
        value = list(value) if isinstance(value, tuple) else value  # JSON has no tuples
        if name == "out" and value != folder:
            raise ValueError(f"out must not be given with resume, got {value}")
        if name in begun and value != begun[name]:
            raise ValueError(f"resume must keep {name} = {begun[name]!r}, got {value!r}")
    return Namespace(**begun, out=folder, resume=folder)


def _part(given: Namespace, options: type[Any]) -> dict[str, Any]:
    """The fields of one options class, all of which lie flat in the command's options."""
    return {field.name: given[field.name] for field in fields(options)}


def _underscored(words: Sequence[str]) -> list[str]:
    """``--batch-size`` for ``--batch_size``: both are common."""
    return [
        re.sub(r"^--[a-z-]+", lambda name: "--" + name[0][2:].replace("-", "_"), word)
        for word in words
    ]


def _one_line(message: object) -> str:
    return " ".join(str(message).split())


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """One line a warning, and none about what only other packages can change."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"gconvae: warning: {_one_line(message)}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
        warnings.showwarning = show
        yield

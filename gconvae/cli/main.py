"""The command ``gconvae``: parses options, calls the library, prints and draws.

Only the options are imported at start; everything heavy waits until a command runs.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonargparse import ArgumentParser, Namespace

from gconvae import __version__, recipes
from gconvae.options import DataOptions, ModelOptions, SampleOptions, TrainingOptions

if TYPE_CHECKING:
    from gconvae.clouds import Clouds
    from gconvae.datasets.cloud_dataset import CloudDataset
    from gconvae.metrics.comparison import Report
    from gconvae.schema import CloudSchema
    from gconvae.training.run_folder import Run

__all__ = ["main"]

DIGIT_NAMES = (
    "zeros", "ones", "twos", "threes", "fours", "fives", "sixes", "sevens", "eights", "nines"
)  # fmt: skip
"""Run folders of the bundled digits."""

PATIENCE = 2.0
"""Seconds of silence before a bar says how long drawing will take."""


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
            if given.parts is not None:
                from gconvae.registry import import_parts

                import_parts(given.parts)
            if parsed.command == "train":
                explicit = _parser().parse_args(words, defaults=False).train
                if given.resume is not None:
                    given = _as_begun(given.resume, explicit)
                else:
                    _follow(recipes.get(given.recipe), given, explicit)
            if parsed.command in ("sweep", "evaluate"):
                explicit = _parser().parse_args(words, defaults=False)[parsed.command]
                given.fixed = set(vars(explicit))
            if parsed.command == "sweep":
                _follow(recipes.get(given.recipe), given, explicit)
            return _COMMANDS[parsed.command].run(given) or 0
    except _WRONG_INPUT as error:
        print(f"gconvae: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "the same command goes on" if words[0] == "sweep" else "--resume RUN goes on"
        print(f"gconvae: stopped; {hint}", file=sys.stderr)
        return 130


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="gconvae", description="Generate small sparse point sets.", exit_on_error=False
    )
    parser.add_argument("--version", action="version", version=f"gconvae {__version__}")
    commands = parser.add_subcommands(dest="command", required=True)
    for name, command in _COMMANDS.items():
        subparser = command.parser()
        subparser.add_argument(
            "--parts",
            type=str | None,
            help="Python file or module that registers encoders and other parts of your own",
        )
        commands.add_subcommand(name, subparser, help=command.help)
    return parser


def _train_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Trains a model, samples from it, compares with held-out clouds and draws.",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    _add_recipe(parser, recipes.DEFAULT)
    for options in (DataOptions, ModelOptions, TrainingOptions):
        parser.add_class_arguments(options)
    # one seed for all, and all labels, since all are compared
    parser.add_class_arguments(SampleOptions, skip={"seed", "label"})
    parser.add_argument(
        "--out", type=str | None, help="new run folder; by default a free one in runs/"
    )
    parser.add_argument(
        "--resume", type=str | None, help="go on with the stopped training in this run folder"
    )
    return parser


def _add_recipe(parser: ArgumentParser, default: str) -> None:
    known = "; ".join(f"{name}: {recipes.get(name).summary}" for name in recipes.available())
    parser.add_argument(
        "--recipe",
        type=str,
        default=default,
        help=f"named options that take the place of the defaults below. {known}",
    )


def _sample_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Draws new clouds from a trained model.", exit_on_error=False
    )
    parser.add_argument("run", type=str, help="run folder of gconvae train, or pretrained:eights")
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_class_arguments(SampleOptions)
    parser.add_argument("--out", type=str, default="samples.npz", help="npz file to write")
    parser.add_argument(
        "--figure", type=str | None, help="picture of the first 100 (png, pdf, svg)"
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="replace files that exist")
    return parser


def _evaluate_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Compares generated clouds with real ones, each figure with its error and "
        "beside it the same between two real samples.",
        exit_on_error=False,
    )
    parser.add_argument(
        "made",
        type=str,
        help="run folder of gconvae train, pretrained:eights, or npz file of clouds",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        help="npz file of real clouds; by default the test clouds of the run, or the bundled ones",
    )
    parser.add_argument(
        "--digit", type=int | list[int] | None, default=8, help="bundled digit for an npz file"
    )
    parser.add_argument(
        "--metrics",
        type=str | None,
        help="of features, sets, frechet, kernel, classifier, memorization, with commas; "
        "by default all that apply",
    )
    parser.add_class_arguments(SampleOptions)
    parser.add_argument("--out", type=str | None, help="json file for the report")
    parser.add_argument("--figure", type=str | None, help="picture of it (png, pdf, svg)")
    parser.add_argument("--overwrite", type=bool, default=False, help="replace files that exist")
    return parser


def _sweep_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Trains every setting of some options with several seeds and compares them on "
        "validation clouds. Started again, or a second time beside it, it goes on and shares "
        "the work.",
        exit_on_error=False,
    )
    parser.add_argument(
        "options",
        type=str,
        nargs="+",
        help="what to vary: beta=0.03,0.1,0.3 or learning_rate=1e-4..1e-2:log",
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    _add_recipe(parser, "slides")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each setting")
    parser.add_argument(
        "--metric",
        type=str,
        default="intensity W1",
        help="row of a report, or column of a history such as valid_rec",
    )
    parser.add_argument("--trials", type=int | None, help="settings to try where there is a range")
    parser.add_argument(
        "--storage", type=str | None, help="URL of a database; by default a file in the folder"
    )
    parser.add_argument("--out", type=str, default="runs/sweep", help="folder of the sweep")
    for options in (DataOptions, ModelOptions):
        parser.add_class_arguments(options)
    parser.add_class_arguments(TrainingOptions, skip={"seed"})
    return parser


def _reproduce_parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Runs a training again from its run folder and compares bit by bit. "
        "Exit code 0 if identical, 1 if not.",
        exit_on_error=False,
    )
    parser.add_argument("run", type=str, help="run folder of gconvae train")
    parser.add_argument("--epochs", type=int | None, help="only so many of its epochs")
    return parser


def _train(given: Namespace) -> None:
    started = time.perf_counter()
    # before the slow imports: both check their values
    options = TrainingOptions(**_part(given, TrainingOptions))
    drawn = SampleOptions(**_part(given, SampleOptions, label=None))
    folder = Path(given.out) if given.out is not None else _default_folder(given)
    from gconvae.studies.experiment import Experiment
    from gconvae.training.run_folder import FolderTakenError

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
    samples = {
        "reconstructed": model.reconstruct_clouds(test),
        "generated": model.sample_clouds(options.count, seed=options.seed),
    }
    made = {
        name: datasets.from_points(*sample, schema=test.schema) for name, sample in samples.items()
    }
    datasets.to_file(made["generated"], folder / "samples.npz")
    reports = {
        name: metrics.compare(test, sample, reference=valid, metrics="features", seed=options.seed)
        for name, sample in made.items()
    }
    for name, report in reports.items():
        report.save(folder / f"report_{name}.json")
    samples = {"real": test.clouds} | {name: sample.clouds for name, sample in made.items()}
    size = _image_size(test.schema)
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
    _check_free(out, figure, overwrite=given.overwrite)
    from gconvae import datasets, plots
    from gconvae.training import run_folder

    if figure is not None:
        plots.check_path(figure)
    model = run_folder.load(given.run)
    size = _image_size(model.schema)
    parts = model.iter_samples(options.count, seed=options.seed, label=options.label)
    first = next(parts)
    shown = _watched(itertools.chain([first], parts), options.count)
    datasets.to_file_in_parts(shown, out)
    print(f"{options.count} clouds: {out}")
    if figure is not None:
        grid = plots.cloud_grid(first.points, first.mask, image_size=size)
        plots.save(grid, figure)
        print(f"figure: {figure}")


def _watched(parts: Iterator[Clouds], count: int) -> Iterator[Clouds]:
    """With a bar for whoever has to wait."""
    from tqdm import tqdm

    with tqdm(total=count, unit="cloud", delay=PATIENCE, leave=False, dynamic_ncols=True) as bar:
        for part in parts:
            yield part
            bar.update(len(part.points))


def _evaluate(given: Namespace) -> None:
    drawn = SampleOptions(**_part(given, SampleOptions))
    out, figure = (None if name is None else Path(name) for name in (given.out, given.figure))
    _check_free(out, figure, overwrite=given.overwrite)
    for file in (out, figure):
        if file is not None and not file.parent.is_dir():
            raise FileNotFoundError(f"out and figure must lie in an existing folder, got {file}")
    from gconvae import datasets, metrics, plots
    from gconvae.training import run_folder

    if figure is not None:
        plots.check_path(figure)
    made = Path(given.made)
    if "digit" in given.fixed and (made.suffix != ".npz" or given.against is not None):
        raise ValueError("digit must be given with an npz file and without --against only")
    if drawn.label is not None and made.suffix == ".npz":
        raise ValueError("label must be given with a run folder, an npz file has its clouds")
    if made.suffix == ".npz":
        generated = datasets.from_file(made)
        samples = _real_clouds(given)
    else:
        model = run_folder.load(made)
        clouds = model.sample_clouds(drawn.count, seed=drawn.seed, label=drawn.label)
        generated = datasets.from_points(*clouds, schema=model.schema)
        samples = _held_out(made, given.against)
        if drawn.label is not None:
            samples = {name: _of_label(part, drawn.label) for name, part in samples.items()}
    unlike = samples["real"].schema.difference(generated.schema)
    if unlike:
        raise ValueError(f"{made} must be compared with clouds of the same kind, {unlike}")
    sizes = ", ".join(f"{len(part)} {name}" for name, part in samples.items())
    groups = None if given.metrics is None else given.metrics.replace(" ", "").split(",")
    report = metrics.compare(
        samples.pop("real"), generated, **samples, metrics=groups, seed=drawn.seed
    )
    print(f"{made} against {_origin(given, made)}: {sizes} clouds\n{report}")
    if out is not None:
        report.save(out)
        print(f"report: {out}")
    if figure is not None:
        plots.save(plots.report(report), figure)
        print(f"figure: {figure}")


def _held_out(run: Path, against: str | None) -> dict[str, CloudDataset]:
    """What the clouds of a run's model are compared with."""
    from gconvae import datasets
    from gconvae.studies.experiment import Experiment
    from gconvae.training import run_folder

    if against is not None:
        return {"real": datasets.from_file(against)}
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


def _of_label(data: CloudDataset, label: int) -> CloudDataset:
    """What clouds of one label are compared with; clouds without labels are taken for them."""
    return data if data.labels is None else data.copy(data.labels == label)


def _origin(given: Namespace, made: Path) -> str:
    """Where the real clouds come from, in words."""
    if given.against is not None:
        return str(given.against)
    return (
        f"bundled digit {given.digit}" if made.suffix == ".npz" else "held-out clouds of the run"
    )


def _real_clouds(given: Namespace) -> dict[str, CloudDataset]:
    """What the clouds of a file are compared with."""
    from gconvae import datasets
    from gconvae.studies.experiment import Experiment

    if given.against is not None:
        return {"real": datasets.from_file(given.against)}
    _, valid, test = Experiment(DataOptions(digit=given.digit)).splits
    return {"real": test, "reference": valid}


def _sweep(given: Namespace) -> None:
    from gconvae.studies.search_space import read_option

    read = [read_option(words) for words in given.options]
    space = dict(read)
    for name, _ in read:
        if name in given.fixed or len(space) < len(read):
            raise ValueError(f"options must name each option once, got {name} twice")
    training = TrainingOptions(**_part(given, TrainingOptions, seed=0))
    from gconvae import plots
    from gconvae.studies import sweep
    from gconvae.studies.experiment import Experiment

    data, model = (
        DataOptions(**_part(given, DataOptions)),
        ModelOptions(**_part(given, ModelOptions)),
    )
    found = sweep.sweep(
        space,
        experiment=Experiment(data, model, training),
        seeds=given.seeds,
        metric=given.metric,
        trials=given.trials,
        out=given.out,
        storage=given.storage,
    )
    print(found)
    for option in space:
        figure = Path(given.out) / f"{option}.png"
        plots.save(plots.settings(found.to_dict(), option), figure)
        print(f"figure: {figure}")


def _reproduce(given: Namespace) -> int:
    from gconvae.studies.reproduction import reproduce

    found = reproduce(given.run, epochs=given.epochs)
    print(found)
    return 0 if found.identical else 1


def _default_folder(given: Namespace) -> Path:
    from gconvae.training.run_folder import free_folder

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
    parts = (_part(given, options, label=None) for options in classes)
    return {name: value for part in parts for name, value in part.items() if name != "label"}


def _follow(recipe: recipes.Recipe, given: Namespace, explicit: Namespace) -> None:
    """Puts a recipe's options in the place of defaults, in place."""
    for name, value in recipe.options.items():
        if name not in explicit:
            given[name] = value


def _as_begun(folder: str, explicit: Namespace) -> Namespace:
    """The settings that a run was begun with; what is given again has to be the same."""
    from gconvae.training.run_folder import CHANGEABLE, read_manifest

    begun = read_manifest(folder)["config"]
    if not {field.name for field in fields(DataOptions)} <= begun.keys():
        raise ValueError(f"resume must name a run of gconvae train, {folder} is another")
    if "recipe" in explicit:
        raise ValueError(f"recipe must not be given with resume, got {explicit.recipe}")
    for name, value in vars(explicit).items():
        value = list(value) if isinstance(value, tuple) else value  # JSON has no tuples
        if name == "out" and value != folder:
            raise ValueError(f"out must not be given with resume, got {value}")
        if name in CHANGEABLE:
            begun[name] = value
        if name in begun and value != begun[name]:
            raise ValueError(f"resume must keep {name} = {begun[name]!r}, got {value!r}")
    return Namespace(**begun, out=folder, resume=folder)


def _part(given: Namespace, options: type[Any], **fixed: Any) -> dict[str, Any]:
    """The fields of one options class, all of which lie flat in the command's options."""
    names = [field.name for field in fields(options) if field.name not in fixed]
    return fixed | {name: given[name] for name in names}


def _check_free(*files: Path | None, overwrite: bool) -> None:
    for file in files:
        if file is not None and file.exists() and not overwrite:
            raise ValueError(
                f"out and figure must not exist yet (or --overwrite true), got {file}"
            )


def _image_size(schema: CloudSchema) -> int | None:
    """Side of the image of superpixels; None for other clouds."""
    high = schema.features[0].high
    return None if schema.name != "superpixels" or high is None else round(high) + 1


def _underscored(words: Sequence[str]) -> list[str]:
    """``--batch-size`` for ``--batch_size``: both are common."""
    return [
        re.sub(r"^--[a-z-]+", lambda name: "--" + name[0][2:].replace("-", "_"), word)
        for word in words
    ]


class _Command(NamedTuple):
    """One command of ``gconvae``.

    Attributes:
        run: Runs it, from its parsed options to an exit code; None = 0.
        parser: Makes its parser.
        help: What it does, in a few words.
    """

    run: Callable[[Namespace], int | None]
    parser: Callable[[], ArgumentParser]
    help: str


_COMMANDS = {
    "train": _Command(_train, _train_parser, "train, sample, compare and draw"),
    "sample": _Command(_sample, _sample_parser, "new clouds from a trained model"),
    "evaluate": _Command(_evaluate, _evaluate_parser, "generated against real clouds, in full"),
    "sweep": _Command(_sweep, _sweep_parser, "train over options and seeds, and compare"),
    "reproduce": _Command(_reproduce, _reproduce_parser, "run a training again, bit by bit"),
}

_WRONG_INPUT = (
    argparse.ArgumentError, ValueError, OSError, FloatingPointError, ModuleNotFoundError
)  # fmt: skip
"""Errors that are the user's to solve: one line, no traceback."""


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


if __name__ == "__main__":  # python -m gconvae.cli, for where the command is not on the path
    sys.exit(main())

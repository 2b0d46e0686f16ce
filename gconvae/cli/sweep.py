"""``gconvae sweep``: trains over options and seeds, and compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type

from gconvae import recipes
from gconvae.cli import duration
from gconvae.cli.command import Command, StoppedError, add_recipe, heard_first, options_of
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.studies.database_url import hide

if TYPE_CHECKING:
    from gconvae.studies.experiment import Experiment

__all__ = ["COMMAND"]


class DatabaseUrl(str):
    """A URL whose password ``--print_config`` does not show."""


register_type(DatabaseUrl, serializer=hide)


def _parser() -> ArgumentParser:
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
    add_recipe(parser, "slides")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each setting")
    parser.add_argument(
        "--metric",
        type=str | None,
        help="row of a report, or column of a history such as valid_rec; by default W1 of the "
        "first feature that is no position",
    )
    parser.add_argument("--trials", type=int | None, help="settings to try where there is a range")
    parser.add_argument(
        "--storage",
        type=DatabaseUrl | None,
        help="URL of a database, such as postgresql://user@server/sweeps; by default a file in "
        "the folder",
    )
    parser.add_argument(
        "--heartbeat",
        type=int,
        default=10,
        help="seconds between signs of life; after three without one others repeat a training",
    )
    parser.add_argument("--out", type=str, default="runs/sweep", help="folder of the sweep")
    for kind in (DataOptions, ModelOptions):
        parser.add_class_arguments(kind)
    parser.add_class_arguments(TrainingOptions, skip={"seed"})
    return parser


def _run(options: Namespace, explicit: Namespace) -> None:
    from gconvae.studies.search_space import read_option

    varied = [read_option(words) for words in options.options]
    space = dict(varied)
    for name, _ in varied:
        if name in explicit or len(space) < len(varied):
            raise ValueError(f"options must name each option once, got {name} twice")
    training = options_of(TrainingOptions, options, seed=0)
    from gconvae import plots
    from gconvae.studies import sweep
    from gconvae.studies.experiment import Experiment

    data, model = options_of(DataOptions, options), options_of(ModelOptions, options)
    experiment = Experiment(data, model, training)

    def announce(_: Any) -> None:
        if not options.quiet:
            print(_summary(space, experiment, options), flush=True)

    try:
        with heard_first("gconvae.training", announce):
            result = sweep.sweep(
                space,
                experiment=experiment,
                seeds=options.seeds,
                metric=options.metric,
                trials=options.trials,
                out=options.out,
                storage=options.storage,
                heartbeat=options.heartbeat,
                progress=not options.quiet,
            )
    except KeyboardInterrupt:
        raise StoppedError("the same command goes on") from None
    print(result)
    for option in space:
        figure = Path(options.out) / f"{option}.png"
        plots.save(plots.settings(result.to_dict(), option), figure)
        print(f"figure: {figure}")


COMMAND = Command(_run, _parser, "train over options and seeds, and compare", lambda _: "slides")


def _summary(space: Mapping[str, Any], experiment: Experiment, options: Namespace) -> str:
    """How many trainings there are in all, and what they will take."""
    lists = {name: values for name, values in space.items() if isinstance(values, list)}
    chosen = [dict(zip(lists, values, strict=True)) for values in product(*lists.values())]
    settings = options.trials or len(chosen)
    clouds, known = len(experiment.splits.train), recipes.get(options.recipe)
    mean = sum(
        duration.training_seconds(
            _changed(experiment.model, setting),
            _changed(experiment.training, setting),
            clouds,
            known,
        )
        for setting in chosen
    ) / len(chosen)
    count = settings * options.seeds
    takes = duration.in_words(count * mean)
    said = (
        f"{_counted(count, 'training')}, {_counted(settings, 'setting')} with "
        f"{_counted(options.seeds, 'seed')} each"
    )
    takes = f", at most {takes} {duration.MACHINE}" if takes else ""
    return f"{said}{takes}: {options.out}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _changed(kind: Any, setting: Mapping[str, Any]) -> Any:
    """Options with those of a setting that they have."""
    names = {field.name for field in fields(kind)}
    return replace(kind, **{name: value for name, value in setting.items() if name in names})

"""The slides reproduced: beta, both losses, pixel and standardized units, three seeds; drawn.

Run: python scripts/reproduce_slides.py [--out runs/slides] [--figures docs/figures/slides]
Start it in a second terminal too to use a second core; stopped, it goes on when started again.
"""

import argparse
import statistics
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from torch import Tensor

import gconvae
from gconvae import metrics, plots
from gconvae.metrics import Report
from gconvae.options import TrainingOptions
from gconvae.schema import SUPERPIXELS
from gconvae.studies.experiment import Experiment, Splits
from gconvae.studies.settings import Setting, Sweep
from gconvae.training import run_folder

SPACE = {
    "standardize": [False, True],
    "loss": ["third_axis", "matched_intensity"],
    "beta": [0.03, 0.1, 0.3, 1.0],
}
UNITS = {False: "pixel units", True: "standardized"}
LOSSES = {"third_axis": "third axis", "matched_intensity": "matched intensity"}
FEATURES = ("x", "y", "intensity")
ROWS = [
    *((feature, "W1") for feature in FEATURES),
    *product(("chamfer", "matching"), ("coverage", "1-NNA")),
    ("embedding", "Frechet"),
]
"""Figures of the second table."""


def trained(out: Path) -> Sweep:
    """All trainings, with one thread each."""
    everything = Experiment(training=TrainingOptions(threads=1))
    return gconvae.sweep(SPACE, experiment=everything, seeds=3, out=out)


def test_reports(sweep: Sweep, splits: Splits, groups: str | list[str]) -> Iterator[list[Report]]:
    """For each setting, a report of generated against test clouds for each seed."""
    for setting in sweep.settings:
        models = [gconvae.load(folder) for folder in setting.folders]
        yield [
            metrics.compare(
                splits.test,
                model.sample(1000, seed=seed),
                splits.valid,
                metrics=groups,
                seed=seed,
            )
            for seed, model in zip(sweep.seeds, models, strict=True)
        ]


def mean_and_error(reports: list[Report], row: tuple[str, str]) -> str:
    """Mean over seeds and its standard error, to two digits of the error."""
    values = [report.row(*row).value for report in reports]
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):.3g} ± {error:.1g}"


def print_sweep(sweep: Sweep, reports: list[list[Report]]) -> None:
    """The intensity comparison of every setting on validation and on test clouds."""
    print("\n| loss units | loss | beta | W1 I, validation | W1 I, test | W1 x (px), test "
          "| W1 y (px), test | best epoch |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|")
    for setting, own in zip(sweep.settings, reports, strict=True):
        options = setting.options
        epochs = [run_folder.read_manifest(folder)["best_epoch"] for folder in setting.folders]
        test = " | ".join(mean_and_error(own, (name, "W1")) for name in ("intensity", "x", "y"))
        print(
            f"| {UNITS[options['standardize']]} | {LOSSES[options['loss']]} | {options['beta']:g} "
            f"| {setting.mean:.3g} ± {setting.error:.1g} | {test} "
            f"| {', '.join(map(str, epochs))} |"
        )
    first = reports[0][0]
    floors = ", ".join(f"{name} {first.row(name).floor:.2g}" for name in FEATURES)
    print(f"\nfloors on test clouds, W1: {floors}")


def best(sweep: Sweep) -> list[Setting]:
    """Of each loss in each unit, the setting with the lowest intensity comparison."""
    kinds = product(SPACE["standardize"], SPACE["loss"])
    return [
        min(
            (s for s in sweep.settings if (s.options["standardize"], s.options["loss"]) == kind),
            key=lambda setting: setting.mean,
        )
        for kind in kinds
    ]


def title(setting: Setting) -> str:
    """What a setting is called in tables and figures."""
    options = setting.options
    units = UNITS[options["standardize"]]
    return f"{LOSSES[options['loss']]}, {units}, beta {options['beta']:g}"


def print_best(chosen: Sweep, splits: Splits) -> None:
    """All kinds of metrics of the best settings."""
    groups = ["features", "sets", "frechet"]
    reports = list(test_reports(chosen, splits, groups))
    print("\n| | " + " | ".join(title(setting) for setting in chosen.settings) + " | floor |")
    print("|---|" + "---|" * (len(chosen.settings) + 1))
    for row in ROWS:
        cells = " | ".join(mean_and_error(own, row) for own in reports)
        print(f"| {' '.join(row)} | {cells} | {reports[0][0].row(*row).floor:.3g} |")


def draw(sweep: Sweep, chosen: Sweep, splits: Splits, folder: Path) -> None:
    """The sweep, and of the best settings histograms, grids and loss curves of the first seed."""
    folder.mkdir(parents=True, exist_ok=True)
    plots.save(plots.settings(sweep.to_dict(), "beta"), folder / "beta.png")
    for units, loss in product(SPACE["standardize"], SPACE["loss"]):
        same = {"standardize": units, "loss": loss}
        settings = [s for s in sweep.settings if same.items() <= s.options.items()]
        samples = {f"beta {s.options['beta']:g}": generated(s) for s in settings}
        figure = plots.feature_histograms({"data": splits.test, **samples}, features=["intensity"])
        plots.save(figure, folder / f"intensity-{loss}{'-standardized' * units}.png")
    for setting in chosen.settings:
        name = f"{setting.options['loss']}{'-standardized' * setting.options['standardize']}"
        run = gconvae.load(setting.folders[0])
        samples = {
            "data": splits.test,
            "reconstructed": run.reconstruct(splits.test.points),
            "generated": generated(setting),
        }
        plots.save(
            plots.compare_grids(samples, schema=SUPERPIXELS, raster=True),
            folder / f"images-{name}.png",
        )
        history = run_folder.read_history(setting.folders[0] / "history.csv")
        curves = plots.loss_curves(history)
        curves.suptitle(title(setting))
        plots.save(curves, folder / f"losses-{name}.png")


def generated(setting: Setting) -> Tensor:
    """A thousand clouds of the first seed."""
    return gconvae.load(setting.folders[0]).sample(1000, seed=0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/slides"))
    parser.add_argument("--figures", type=Path, help="folder; by default that of the sweep")
    given = parser.parse_args()
    sweep = trained(given.out)
    print(sweep)
    for setting in sweep.settings:
        if setting.failure:
            parser.exit(1, f"no figures: {setting.options}: {setting.failure}\n")
    splits = Experiment().splits
    print_sweep(sweep, list(test_reports(sweep, splits, "features")))
    chosen = Sweep(sweep.metric, sweep.seeds, tuple(best(sweep)))
    print_best(chosen, splits)
    draw(sweep, chosen, splits, given.figures or given.out / "figures")

"""Train a list of variants under one budget, judge them alike, and see which one is the best.

Run: python examples/compare_variants.py [--list NAME] [--small] [--only NAME ...] [--out FOLDER]
A run that was stopped goes on where it was; several may share a folder, each with its own --only
or --seeds, and a last one without --only makes the table.
"""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

import gconvae
from gconvae.options import DataOptions, TrainingOptions


@dataclass(frozen=True)
class Settings:
    """The budget of every variant; each run folder's manifest.json holds all of it."""

    epochs: int = 25
    seeds: tuple[int, ...] = (0, 1, 2)
    digit: int | None = 8
    most: int | None = None  # clouds of each set; None = all


ALL: dict[str, dict[str, Any]] = {
    # the slides' network, then the other encoders, each with the decoder it comes with
    "slides": {},
    "edge_conv": {"model": "edge_conv"},
    "dynamic_edge_conv": {"model": "dynamic_edge_conv"},
    "monet": {"model": "monet"},
    "gatv2": {"model": "gatv2"},
    "point_transformer": {"model": "point_transformer"},
    "gin": {"model": "gin"},
    "deep_sets": {"model": "deep_sets"},
    "set_transformer": {"model": "set_transformer"},
    # decoders
    "dense decoder": {"decoder": "dense"},
    "graph decoder": {"decoder": "graph"},
    "set decoder": {"decoder": "set_transformer"},
    "set decoder, noise": {"decoder": "set_transformer(noise_dim=8)"},
    "deep_sets + slides' decoder": {"model": "deep_sets", "decoder": "conv"},
    # likelihood and priors, which share the network of the slides
    "likelihood": {"likelihood": "gaussian"},
    "gmm": {"prior": "gmm"},
    "realnvp": {"prior": "realnvp"},
    "maf": {"prior": "maf"},
    "nsf": {"prior": "nsf"},
    "nsf, likelihood": {"prior": "nsf", "likelihood": "gaussian"},
    "nsf, flow matching": {"prior": "nsf", "likelihood": "flow_matching"},
    "nsf, joint": {"prior": "nsf", "joint_prior": True},
    # losses and schedules of the KL term
    "matched_intensity": {"loss": "matched_intensity"},
    "matching": {"loss": "matching"},
    "sliced_wasserstein": {"loss": "sliced_wasserstein"},
    "sinkhorn": {"loss": "sinkhorn"},
    "third_axis + 0.5 sliced": {"loss": "third_axis + 0.5 * sliced_wasserstein()"},
    "coverage twice": {"loss": "third_axis(coverage_weight=2.0)"},
    "kl_warmup": {"kl_warmup": 10},
    "free_bits": {"free_bits": 0.1},
    "kl_cycle": {"kl_cycle": 6},
}

DIGITS: dict[str, dict[str, Any]] = {
    "slides": {"labels": True},
    "slides, nsf, likelihood": {"labels": True, "prior": "nsf", "likelihood": "gaussian"},
    "deep_sets, nsf, likelihood": {
        **{"model": "deep_sets", "labels": True, "prior": "nsf", "likelihood": "gaussian"}
    },
}

NETWORKS: dict[str, dict[str, Any]] = {
    "slides": {},
    "deep_sets": {"model": "deep_sets"},
    "set_transformer": {"model": "set_transformer"},
}


def likelihoods(steps: int) -> dict[str, dict[str, Any]]:
    """Every likelihood on three networks, all with a flow prior; the first one with
    "autoregressive" is the model `convae-flow`. Learned ones have as many steps as each other.
    """
    learned = (f"{name}(steps={steps})" for name in ("autoregressive", "flow_matching"))
    kinds = {text.partition("(")[0]: text for text in ("mean", "gaussian", *learned)}
    return {
        f"{network}, {kind}": {**options, "prior": "nsf", "likelihood": text}
        for network, options in NETWORKS.items()
        for kind, text in kinds.items()
    }


SMALL = ("slides", "deep_sets", "gmm", "deep_sets, gaussian", "deep_sets, autoregressive")
"""Of each list, those that a quick look trains."""


def main(
    variants: Mapping[str, Any], settings: Settings, out: Path, only: list[str] | None
) -> None:
    """Trains, compares, prints and draws."""
    out.mkdir(parents=True, exist_ok=True)
    data = DataOptions(data=few(settings, out), digit=settings.digit)
    found = gconvae.studies.rank(
        variants,
        out,
        seeds=settings.seeds,
        data=data,
        training=TrainingOptions(epochs=settings.epochs),
        only=only,
    )
    print(f"{found}\nsettings {asdict(settings)}")
    if only is not None:
        return
    (out / "table.md").write_text(found.to_markdown() + "\n")
    gconvae.plots.save(gconvae.plots.leaderboard(found.to_dict()), out / "comparison.png")
    _, test = gconvae.studies.train_and_test(data)
    for name in variants:
        draw(name, gconvae.studies.folder_of(out, name, settings.seeds[0]), test)
    print(f"tables, comparison.png and a grid of each variant are in {out}")


def draw(name: str, folder: Path, test: gconvae.datasets.CloudDataset) -> None:
    """Real clouds beside new ones; with labels, a row a digit."""
    if not (folder / "model.json").exists():  # its training diverged
        return
    model = gconvae.load(folder)
    if model.conditioning.num_classes:
        assert test.labels is not None
        of_digit = [(test.labels == digit).nonzero().flatten() for digit in range(10)]
        columns = min(10, *map(len, of_digit))
        real = test[torch.cat([rows[:columns] for rows in of_digit])]
        made = model.sample_clouds(len(real), seed=0, label=real.labels)
    else:
        real, columns = test[:100], 10
        made = model.sample_clouds(100, seed=0)
    grids = gconvae.plots.compare_grids({"real": real, name: made}, columns=columns)
    gconvae.plots.save(grids, folder.parent / "clouds.png")


def few(settings: Settings, out: Path) -> str | None:
    """A file with some of the clouds; None = all of the bundled ones."""
    if settings.most is None:
        return None
    clouds = gconvae.datasets.SuperpixelMNIST(settings.digit, "train")
    chosen = clouds[:: max(1, len(clouds) // settings.most)]
    return str(gconvae.datasets.to_file(chosen, out / "few.npz"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", choices=("all", "digits", "likelihoods"), default="all")
    parser.add_argument("--small", action="store_true", help="a minute, to see it work")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="train these, make no table")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, nargs="+")
    parser.add_argument("--digit", type=int)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    chosen = Settings(epochs=10, digit=None) if given.list == "digits" else Settings()
    steps = 10 if given.small else 3000
    listed = {"all": ALL, "digits": DIGITS, "likelihoods": likelihoods(steps)}[given.list]
    if given.small:
        chosen = replace(chosen, epochs=1, seeds=(0,), most=300)
        listed = {name: options for name, options in listed.items() if name in SMALL}
    wanted = {name: getattr(given, name) for name in ("epochs", "seeds", "digit")}
    chosen = replace(
        chosen, **{name: value for name, value in wanted.items() if value is not None}
    )
    main(listed, chosen, given.out or Path(f"runs/variants-{given.list}"), given.only)

"""``gconvae list``: the names that options take, each with a line."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Mapping

from jsonargparse import ArgumentParser, Namespace

from gconvae import ready_made, recipes
from gconvae.cli.command import Command
from gconvae.plain import did_you_mean

__all__ = ["COMMAND", "LISTS"]

WIDEST = 100
"""Columns of a list, at most."""

DATA = {
    "digits": "70,000 superpixel digits of 25 nodes, from MNIST: --digit 8, [3,8] or null, all",
    "jets:gluon": "20,000 gluon jets of at most 30 particles",
    "jets:quark": "20,000 light-quark jets",
    "jets:top": "20,000 top jets",
    "jets:all": "all three with labels; jets:gluon,top are two",
    "FILE": "your own clouds: npz, npy, HDF5, Parquet or ROOT",
}
"""What ``--data`` takes; the digits are there where it is not given."""

METRICS = {
    "features": "W1 of each feature and of the number of nodes",
    "sets": "coverage, MMD and 1-NNA of whole clouds",
    "frechet": "Frechet distance of an embedding",
    "kernel": "kernel distance of an embedding",
    "classifier": "AUC of a classifier that tells generated from real ones",
    "memorization": "whether generated clouds are copies of training clouds",
    "jets": "masses, momenta, substructure and energy flow of jets",
}
"""Groups of metrics."""


def _models() -> dict[str, str]:
    descriptions = {}
    for name in ready_made.available():
        parts = ready_made.get(name)
        descriptions[name] = (
            f"encoder {parts.encoder}, decoder {parts.decoder}, "
            f"prior {parts.prior}, likelihood {parts.likelihood}"
        )
    return descriptions


def _encoders() -> dict[str, str]:
    from gconvae import models, registry

    return {name: registry.summary("encoder", name) for name in models.available("encoder")}


def _decoders() -> dict[str, str]:
    from gconvae import models, registry

    return {name: registry.summary("decoder", name) for name in models.available("decoder")}


def _priors() -> dict[str, str]:
    from gconvae import models, registry

    return {name: registry.summary("prior", name) for name in models.available("prior")}


def _likelihoods() -> dict[str, str]:
    from gconvae import models, registry

    return {name: registry.summary("likelihood", name) for name in models.available("likelihood")}


def _losses() -> dict[str, str]:
    from gconvae import losses, registry

    return {name: registry.summary("loss", name) for name in losses.available()}


def _recipes() -> dict[str, str]:
    return {name: recipes.get(name).summary for name in recipes.available()}


def _pretrained() -> dict[str, str]:
    from gconvae.training import run_folder

    descriptions = {}
    for name in run_folder.pretrained():
        manifest = run_folder.read_manifest(run_folder.PRETRAINED + name)
        config, clouds = manifest["config"], manifest["train"]["clouds"]
        data = config["data"] or f"digit {json.dumps(config['digit'])}"
        descriptions[run_folder.PRETRAINED + name] = (
            f"{config['model']}, trained on {clouds} clouds of {data}"
        )
    return descriptions


LISTS: Mapping[str, tuple[str, Callable[[], Mapping[str, str]]]] = {
    "recipes": ("--recipe", _recipes),
    "models": ("--model", _models),
    "encoders": ("--encoder", _encoders),
    "decoders": ("--decoder", _decoders),
    "priors": ("--prior", _priors),
    "likelihoods": ("--likelihood", _likelihoods),
    "losses": ("--loss", _losses),
    "data": ("--data", lambda: DATA),
    "pretrained": ("gconvae sample", _pretrained),
    "metrics": ("gconvae evaluate --metrics", lambda: METRICS),
}
"""What can be listed: where the names are written, and what gives them with a line."""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Lists the names that options take, each with a line.", exit_on_error=False
    )
    parser.add_argument(
        "what", type=str | None, nargs="?", help=f"{', '.join(LISTS)}; by default all"
    )
    return parser


def _run(options: Namespace, explicit: Namespace) -> None:
    if options.what is not None and options.what not in LISTS:
        hint = did_you_mean(options.what, LISTS)
        raise ValueError(f"WHAT must be one of {', '.join(LISTS)}, got {options.what!r}{hint}")
    wanted = list(LISTS) if options.what is None else [options.what]
    print("\n\n".join(_list(name, titled=options.what is None) for name in wanted))


def _list(name: str, *, titled: bool) -> str:
    """Names in one column, what they are in another."""
    where, entries = LISTS[name]
    rows = entries()
    width = max(map(len, rows))
    columns = min(shutil.get_terminal_size().columns, WIDEST)
    lines = [f"{name} ({where})"] if titled else []
    lines += [
        textwrap.fill(
            line,
            columns,
            initial_indent=f"{'  ' * titled}{key.ljust(width)}  ",
            subsequent_indent=" " * (width + 2 + 2 * titled),
        )
        for key, line in rows.items()
    ]
    return "\n".join(lines)


COMMAND = Command(_run, _parser, "names of models, losses, recipes and the like")

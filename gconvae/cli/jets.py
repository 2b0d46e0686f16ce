"""``gconvae jets``: makes jets by simulation."""

from __future__ import annotations

import os
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from gconvae.cli import duration
from gconvae.cli.command import Command, StoppedError, heard_first
from gconvae.plain import did_you_mean

__all__ = ["COMMAND"]

KINDS = {"g": "g", "gluon": "g", "q": "q", "quark": "q", "t": "t", "top": "t"}
"""What a kind may be called, and what the simulation calls it."""

RATES = {"g": 110.0, "q": 140.0, "t": 130.0}
"""Jets that one core makes in a second (the page on the data of jets)."""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Makes jets by simulation with Pythia 8 and FastJet, in the layout of "
        "JetNet's files. A stopped command goes on where it is started again.",
        exit_on_error=False,
    )
    parser.add_argument("action", type=str, help="make")
    parser.add_argument(
        "--kind",
        type=str,
        default="g",
        help="gluon or g, quark or q (light quark), top or t",
    )
    parser.add_argument("--count", type=int, default=10_000, help="how many jets to make")
    parser.add_argument("--out", type=str | None, help="new HDF5 file; by default KIND.hdf5")
    parser.add_argument(
        "--particles", type=int, default=30, help="hardest particles kept of a jet, 1 to 150"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same jets")
    parser.add_argument(
        "--processes",
        type=int | None,
        help="how many make jets side by side; by default one a core. The jets are the same",
    )
    parser.add_argument("--progress", type=bool, default=True, help="show a bar")
    return parser


def _run(options: Namespace, explicit: Namespace) -> None:
    if options.action != "make":
        raise ValueError(f"action must be make, got {options.action!r}")
    if options.kind not in KINDS:
        hint = did_you_mean(options.kind, KINDS)
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {options.kind!r}{hint}")
    from gconvae.datasets.simulation import make_jets

    kind = KINDS[options.kind]
    processes = (os.cpu_count() or 1) if options.processes is None else options.processes
    takes = duration.in_words(options.count / RATES[kind] / max(1, processes))

    def announce(_: Any) -> None:
        if takes and not options.quiet:
            print(
                f"making {options.count} jets, at most {takes} on {processes} free cores",
                flush=True,
            )

    try:
        with heard_first("gconvae.datasets.simulation", announce):
            written = make_jets(
                kind,
                options.count,
                f"{kind}.hdf5" if options.out is None else options.out,
                num_particles=options.particles,
                seed=options.seed,
                processes=processes,
                progress=options.progress and not options.quiet,
            )
    except KeyboardInterrupt:
        raise StoppedError("the same command goes on") from None
    print(f"{options.count} jets: {written}")


COMMAND = Command(_run, _parser, "makes jets by simulation")

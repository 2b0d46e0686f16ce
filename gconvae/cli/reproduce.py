"""``gconvae reproduce``: runs a training again and compares it bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from gconvae.cli import duration
from gconvae.cli.command import Command, heard_first

__all__ = ["COMMAND"]


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Runs a training again from its run folder and compares bit by bit. "
        "Exit code 0 if identical, 1 if not.",
        exit_on_error=False,
    )
    parser.add_argument("run", type=str, help="run folder of gconvae train")
    parser.add_argument("--epochs", type=int | None, help="only so many of its epochs")
    return parser


def _run(options: Namespace, explicit: Namespace) -> int:
    from gconvae.studies.reproduction import reproduce
    from gconvae.training.hardware import Hardware
    from gconvae.training.run_folder import read_manifest

    manifest = read_manifest(options.run)
    begun = manifest["options"]
    # of several processes, the first one says it
    is_first = Hardware("auto", begun.get("devices", 1), begun.get("num_nodes", 1)).rank == 0

    def announce(_: Any) -> None:
        takes = duration.in_words(_seconds(manifest, options.epochs))
        if takes and is_first and not options.quiet:
            print(f"training again, {takes}, as long as the run took", flush=True)

    with heard_first("gconvae.training", announce):
        result = reproduce(options.run, epochs=options.epochs, progress=not options.quiet)
    if is_first:
        print(result)
    return 0 if result.identical else 1


COMMAND = Command(_run, _parser, "run a training again, bit by bit")


def _seconds(manifest: Mapping[str, Any], epochs: int | None) -> float:
    """What the run took, or so many epochs of its network; 0 where it does not say so."""
    network = manifest.get("stages", {}).get("network")
    if network is None:
        return 0.0
    if epochs is None or epochs >= network["epochs_run"]:
        return float(manifest["seconds"])
    return float(network["seconds"] * epochs / network["epochs_run"])

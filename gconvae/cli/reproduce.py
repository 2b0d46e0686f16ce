"""``gconvae reproduce``: runs a training again and compares it bit by bit."""

from __future__ import annotations

from jsonargparse import ArgumentParser, Namespace

from gconvae.cli.command import Command

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

    result = reproduce(options.run, epochs=options.epochs)
    begun = read_manifest(options.run)["options"]
    # of several processes, the first one says it
    if Hardware("auto", begun.get("devices", 1), begun.get("num_nodes", 1)).rank == 0:
        print(result)
    return 0 if result.identical else 1


COMMAND = Command(_run, _parser, "run a training again, bit by bit")

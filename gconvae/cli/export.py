"""``gconvae export``: encoder and sampler of a trained model as files for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from jsonargparse import ArgumentParser, Namespace

from gconvae import files
from gconvae.cli.command import Command, check_free

if TYPE_CHECKING:
    from gconvae.export.parts import Part
    from gconvae.vae import VAE

__all__ = ["COMMAND"]

SUFFIXES = {"onnx": ".onnx", "torch-export": ".pt2"}
"""Of the files of each format."""

SLOW = "a minute or more"
"""What tracing and checking a sampler take that draws clouds node by node."""


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        description="Writes encoder and sampler of a trained model as files that run without "
        "this library, and compares them with the model.",
        exit_on_error=False,
    )
    parser.add_argument(
        "run",
        type=str,
        help="run folder of gconvae train, or pretrained:eights, :digits or :gluon",
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these options")
    parser.add_argument(
        "--format",
        type=Literal["onnx", "torch-export"],
        default="onnx",
        help="onnx: for onnxruntime and others; torch-export: for torch alone",
    )
    parser.add_argument(
        "--part",
        type=Literal["both", "encoder", "sampler"],
        default="both",
        help="encoder: clouds to mean and log-variance; sampler: noise to clouds",
    )
    parser.add_argument("--out", type=str, default="exported", help="folder to write into")
    parser.add_argument(
        "--check",
        type=int,
        default=256,
        help="clouds that model and file are compared on; 0 = none",
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="replace files that exist")
    return parser


def _run(options: Namespace, explicit: Namespace) -> None:
    if options.check < 0:
        raise ValueError(f"check must be at least 0, got {options.check}")
    folder = Path(options.out).expanduser()
    chosen: tuple[Part, ...] = (
        ("encoder", "sampler") if options.part == "both" else (options.part,)
    )
    paths = {part: folder / f"{part}{SUFFIXES[options.format]}" for part in chosen}
    check_free(*paths.values(), overwrite=options.overwrite)
    from gconvae.export.parts import part_of
    from gconvae.likelihoods import AutoregressiveLikelihood
    from gconvae.training import run_folder

    model = run_folder.load(options.run)
    for part in chosen:
        part_of(model, part)  # refuses what cannot be exported before anything is written
    is_slow = "sampler" in chosen and isinstance(model.likelihood, AutoregressiveLikelihood)
    if is_slow and not options.quiet:
        print(f"exporting {' and '.join(chosen)}, {SLOW}: {folder}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    for part, path in paths.items():
        # named as it will be only once it is known to be right
        with files.whole(path) as temporary:
            checked = _written(model, temporary, part, options)
        print(f"{part}: {path} ({path.stat().st_size / 1e6:.1f} MB){checked}")


COMMAND = Command(_run, _parser, "a trained model for other runtimes")


def _written(model: VAE, file: Path, part: Part, options: Namespace) -> str:
    """Writes a part and says how well it agrees with the model."""
    from gconvae import export

    write = export.to_onnx if options.format == "onnx" else export.to_torch_export
    write(model, file, part)
    if not options.check:
        return ""
    agreement = export.agreement(model, file, options.check)
    if not agreement.is_good:
        raise ValueError(f"{part} must agree with the model, got {agreement}; nothing was written")
    return f"; {agreement}"

"""Puts a trained model into the package: weights in half precision, with its manifest.

Run: python scripts/bundle_pretrained.py runs/eights eights --report fidelity/report.json
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import save

import gconvae
from gconvae import files
from gconvae.training import run_folder

BUNDLED = Path(gconvae.__file__).parent / "data" / "pretrained"


def halved(model: gconvae.VAE) -> dict[str, torch.Tensor]:
    """Weights in half precision; buffers, such as steps of a lattice, need all their digits."""
    weights = dict(model.named_parameters())
    return {
        name: (value.half() if name in weights else value).detach().cpu().contiguous()
        for name, value in model.state_dict().items()
    }


def manifest(run: Path, report: Path | None) -> dict[str, object]:
    """How the model was trained, and what its clouds came to."""
    return {
        **run_folder.read_manifest(run),
        "report": None if report is None else json.loads(report.read_text()),
    }


def bundle(run: Path, name: str, report: Path | None) -> Path:
    """Writes the folder of a bundled model."""
    weights, found = save(halved(gconvae.load(run))), manifest(run, report)
    description = json.loads((run / "model.json").read_text())
    folder = BUNDLED / name  # nothing is written before all is known
    folder.mkdir(parents=True, exist_ok=True)
    with files.whole(folder / "model.safetensors") as temporary:
        temporary.write_bytes(weights)
    run_folder.write_json(description, folder / "model.json")
    run_folder.write_json(found, folder / "manifest.json")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--report", type=Path)
    given = parser.parse_args()
    made = bundle(given.run, given.name, given.report)
    size = sum(file.stat().st_size for file in made.iterdir())
    print(f"{made}: {size / 1e6:.2f} MB")

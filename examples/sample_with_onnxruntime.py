"""Samples clouds from an exported sampler with onnxruntime and NumPy, without torch or gconvae.

gconvae export pretrained:eights --out exported
python sample_with_onnxruntime.py exported/sampler.onnx --count 1000 --out clouds.npz
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

Arrays = dict[str, np.ndarray]


def noise(port: dict[str, Any], count: int, rng: np.random.Generator) -> np.ndarray:
    """Random numbers of one input."""
    shape, dtype = (count, *port["shape"][1:]), np.dtype(port["dtype"])
    if port["distribution"] == "standard normal":
        return rng.standard_normal(shape, dtype=dtype)
    return rng.random(shape, dtype=dtype)


def classes_and_sizes(about: dict[str, Any], count: int, rng: np.random.Generator) -> Arrays:
    """Label and mask of each cloud, as often as in training."""
    counts = np.array(about["counts"], dtype=float)  # (classes, nodes)
    cells = rng.choice(counts.size, count, p=counts.ravel() / counts.sum())
    labels, sizes = np.divmod(cells, counts.shape[1])
    return {"label": labels, "mask": np.arange(counts.shape[1]) <= sizes[:, None]}


def inputs_of(about: dict[str, Any], count: int, rng: np.random.Generator) -> Arrays:
    """All inputs of one call."""
    known = classes_and_sizes(about, count, rng) if "counts" in about else {}
    inputs = {}
    for port in about["inputs"]:
        if "distribution" in port:
            inputs[port["name"]] = noise(port, count, rng)
        elif port["name"] in known:
            inputs[port["name"]] = known[port["name"]]
        else:
            raise SystemExit(f"{port['name']} must be given: {port['meaning']}")
    return inputs


def main() -> None:
    """Draws, writes, and prints the mean of each feature."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sampler", type=Path, help="sampler.onnx of gconvae export")
    parser.add_argument("--count", type=int, default=1000, help="clouds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1000, help="clouds a call")
    parser.add_argument("--out", type=Path, default=Path("clouds.npz"))
    given = parser.parse_args()

    session = onnxruntime.InferenceSession(given.sampler)
    about = json.loads(session.get_modelmeta().custom_metadata_map["gconvae"])
    rng = np.random.default_rng(given.seed)
    parts = []
    for start in range(0, given.count, given.batch):
        count = min(given.batch, given.count - start)
        inputs = inputs_of(about, count, rng)
        (points,) = session.run(["points"], inputs)
        mask = inputs.get("mask", np.ones(points.shape[:2], dtype=bool))
        parts.append({"points": points, "mask": mask, "labels": inputs.get("label")})
    clouds = {name: [part[name] for part in parts] for name in parts[0]}
    arrays = {name: np.concatenate(each) for name, each in clouds.items() if each[0] is not None}
    np.savez_compressed(given.out, **arrays)
    for column, feature in enumerate(about["features"]):
        values = arrays["points"][..., column][arrays["mask"]]
        print(f"{feature['name']} ({feature['unit'] or '1'}): mean {values.mean():.3f}")
    print(f"{given.count} clouds: {given.out}")


if __name__ == "__main__":
    main()

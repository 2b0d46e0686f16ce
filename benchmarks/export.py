"""How well exported samplers agree with their models, how large they are, and how fast.

The bundled eights (spline flow, autoregressive likelihood), the slides' network and edge
convolutions with the graph decoder, the last two with fresh weights. Both draw clouds of the same
random numbers, on one thread.

Run: python benchmarks/export.py [--count 1000] [--seeds 4]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnxruntime
import torch
from timing import machine

import gconvae
from gconvae import export
from gconvae.vae import VAE

ROUNDS = 3
"""Of which the fastest counts."""

HEAD = (
    "| model | export (s) | sampler (MB) | load (s) | clouds equal | largest difference "
    "| clouds/s: file | clouds/s: model |\n|---|---|---|---|---|---|---|---|"
)


def models() -> dict[str, VAE]:
    """What is exported."""
    return {
        "`pretrained:eights`": gconvae.load("pretrained:eights"),
        "`convae`": gconvae.models.create("convae", seed=0).eval(),
        "`edge_conv`": gconvae.models.create("edge_conv", seed=0).eval(),
    }


def seconds(call: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Of the fastest of some calls."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def row(name: str, model: VAE, folder: Path, given: argparse.Namespace) -> str:
    """A line of the table."""
    file = folder / "sampler.onnx"
    exporting = seconds(lambda: export.to_onnx(model, file, overwrite=True), 1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    loading = seconds(lambda: onnxruntime.InferenceSession(file, options), 1)
    session = onnxruntime.InferenceSession(file, options)
    found = [export.agreement(model, file, given.count, seed) for seed in range(given.seeds)]
    equal = sum(each.equal for each in found) / len(found)
    largest = max(each.largest for each in found)
    noise = export.noise_of(model, given.count)
    rates = [
        given.count / seconds(call)
        for call in (lambda: session.run(None, noise), lambda: model.sample(given.count))
    ]
    cells = [name, f"{exporting:.0f}", f"{file.stat().st_size / 1e6:.1f}", f"{loading:.2f}"]
    cells += [f"{equal:.2%}", f"{largest:.1e}", *(f"{rate:,.0f}" for rate in rates)]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1000, help="clouds of a seed")
    parser.add_argument("--seeds", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{machine(1)}, onnxruntime {onnxruntime.__version__}\n\n{HEAD}")
    with tempfile.TemporaryDirectory() as folder:
        for name, model in models().items():
            print(row(name, model, Path(folder), given), flush=True)


if __name__ == "__main__":
    main()

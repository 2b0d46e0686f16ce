"""A GPU: the training step against the limits of the card, sampling, and the losses.

Limits are measured in the same run: the rate of float32 products (torch.mm of 8,192 rows, without
TF32) and of a copy in the card's memory. A step of the slides' network needs so many operations,
and has to move its weights, their gradients and Adam's means so many times.

Run: python benchmarks/speed_gpu.py [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from speed_sampling import OPERATIONS
from timing import Row, begin, finish, parser
from torch import Tensor

import gconvae
from gconvae import datasets, losses

COMMAND = "python benchmarks/speed_gpu.py"
BATCH = 100
MOVES = 10
"""Times that four bytes of each weight move: read forward and backward, the gradient written, then
Adam reads four numbers and writes three."""


def seconds(call: Callable[[], object], rounds: int, repeats: int) -> NDArray[np.float64]:
    """Of one call, in each round, the card's work included."""
    call()
    call()
    times = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / repeats)
    return np.array(times)


def limits(given: argparse.Namespace) -> tuple[float, float]:
    """Operations and bytes a second."""
    a, b = torch.randn(8192, 8192, device="cuda"), torch.randn(8192, 8192, device="cuda")
    product = np.median(seconds(lambda: torch.mm(a, b), given.rounds, 5))
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    copy = np.median(seconds(lambda: target.copy_(source), given.rounds, 5))
    return 2 * 8192**3 / float(product), 2 * 4 * 2**29 / float(copy)


def fitted(data: datasets.CloudDataset, valid: datasets.CloudDataset | None, epochs: int) -> float:
    """Seconds of a training."""
    model = gconvae.models.create("convae", seed=0)
    start = time.perf_counter()
    gconvae.fit(
        model,
        data,
        valid,
        epochs=epochs,
        patience=None,
        seed=0,
        neighbors="auto",
        accelerator="gpu",
        progress=True,
    )
    return time.perf_counter() - start


def training(given: argparse.Namespace) -> list[Row]:
    """Step and run."""
    rate, bandwidth = limits(given)
    weights = sum(p.numel() for p in gconvae.models.create("convae", seed=0).parameters())
    # encoder and decoder alike; a backward pass has twice the products of a forward pass
    arithmetic = 2 * 3 * BATCH * OPERATIONS / rate
    memory = 4 * MOVES * weights / bandwidth
    limit = max(arithmetic, memory)
    eights = datasets.SuperpixelMNIST(digit=8, split="train")
    train, valid = datasets.split(eights, 0.17, seed=0)
    whole, few = train[:4800], valid[:BATCH]
    fitted(whole, few, 2)
    steps = []
    for _ in range(given.rounds):
        short, long = (fitted(whole, few, epochs) for epochs in (5, 45))
        steps.append((long - short) / (40 * 48))
    step = np.array(steps)
    run = fitted(train, valid, 500)
    detail = (
        f"{1e6 * np.median(step):.0f} us ({1e6 * step.min():.0f} to {1e6 * step.max():.0f}); "
        f"arithmetic {1e6 * arithmetic:.0f} us at {rate / 1e12:.0f} TFLOP/s, memory "
        f"{1e6 * memory:.0f} us at {bandwidth / 1e12:.1f} TB/s"
    )
    return [
        Row(
            "training step through fit, B=100",
            "larger limit of the card",
            "<= 3",
            f"{np.median(step) / limit:.1f}",
            detail,
            COMMAND,
        ),
        Row(
            "500 epochs on 4,857 eights",
            "-",
            "<= 15 s",
            f"{run:.1f} s",
            f"with validation on {len(valid)} in each",
            COMMAND,
        ),
    ]


def sampling(given: argparse.Namespace) -> list[Row]:
    """Clouds on the card."""
    model = gconvae.models.create("convae", seed=0).eval().cuda()
    times = seconds(lambda: model.sample(given.clouds, seed=0), given.rounds, 1) / given.clouds
    return [
        Row(
            "sampling",
            "-",
            "<= 0.2 us a cloud",
            f"{1e6 * np.median(times):.3f} us",
            f"{1 / np.median(times):,.0f} clouds a second, {given.clouds:,} at once; "
            f"{OPERATIONS / np.median(times) / 1e12:.0f} TFLOP/s",
            COMMAND,
        )
    ]


def likelihood(given: argparse.Namespace) -> list[Row]:
    """The likelihood's stage of 3,000 steps, and its draws."""
    model = gconvae.load("pretrained:eights", device="cuda")
    eights = datasets.SuperpixelMNIST(digit=8, split="train")
    start = time.perf_counter()
    model = model.with_likelihood("autoregressive(steps=3000)", eights, seed=0)
    stage = time.perf_counter() - start
    model = model.cuda()
    drawn = seconds(lambda: model.sample(given.clouds, seed=0), given.rounds, 1) / given.clouds
    return [
        Row("likelihood, 3,000 steps", "-", "<= 20 s", f"{stage:.1f} s", "", COMMAND),
        Row(
            "draws of convae-flow",
            "-",
            "<= 5 us a cloud",
            f"{1e6 * np.median(drawn):.2f} us",
            f"{given.clouds:,} at once",
            COMMAND,
        ),
    ]


def by_cdist(target: Tensor, output: Tensor) -> Tensor:
    """The third-axis loss as one writes it."""
    distance = torch.cdist(target, output).square()
    return distance.amin(1).sum(1) + distance.amin(2).sum(1)


def recorded(call: Callable[[], object]) -> Callable[[], object]:
    """As in a training, where Python takes no time."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def step_of(
    loss: Callable[[Tensor, Tensor], Tensor], target: Tensor, output: Tensor
) -> Callable[[], None]:
    """Forward and backward of a loss."""

    def run() -> None:
        output.grad = None
        loss(target, output).mean().backward()

    return run


def chamfer(given: argparse.Namespace) -> list[Row]:
    """Forward and backward."""
    rows = []
    ours = losses.create("third_axis", backend="auto")
    for clouds, nodes in ((1000, 25), (100, 25), (100, 400), (16, 6400), (1, 25600)):
        target = torch.rand(clouds, nodes, 3, device="cuda")
        output = torch.rand(clouds, nodes, 3, device="cuda", requires_grad=True)
        calls = {
            name: step_of(loss, target, output)
            for name, loss in {"auto": ours, "cdist + min": by_cdist}.items()
        }
        for how, wrap in (("in a graph", recorded), ("from Python", lambda call: call)):
            repeats = 200 if clouds * nodes**2 < 10**8 else 2
            taken = {
                name: seconds(wrap(call), given.rounds, repeats) for name, call in calls.items()
            }
            factor = np.median(taken["cdist + min"] / taken["auto"])
            detail = ", ".join(f"{n} {1e6 * np.median(t):,.0f} us" for n, t in taken.items())
            wanted = ">= 5" if (clouds, nodes) == (1000, 25) else "-"
            name = f"loss and gradient {how}, {clouds:,} clouds of {nodes:,} nodes"
            rows.append(Row(name, "cdist + min", wanted, f"{factor:.1f}", detail, COMMAND))
    return rows


if __name__ == "__main__":
    options = parser(__doc__, rounds=5)
    options.add_argument("--clouds", type=int, default=2**18)
    given = options.parse_args()
    if not torch.cuda.is_available():
        options.error("this benchmark needs a GPU, and torch finds none")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    warnings.simplefilter("ignore")
    begin(given)
    print(torch.cuda.get_device_name())
    rows = [*chamfer(given), *sampling(given), *training(given), *likelihood(given)]
    finish(rows, given)

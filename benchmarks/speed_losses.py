"""Forward and backward of the third-axis Chamfer loss, over numbers of nodes and clouds.

On the grid ``neighbors="auto"`` takes turns with the same loss on four other searches, written
plainly here: torch_cluster.knn with clouds split over threads, torch.cdist and min, scipy's
cKDTree, and a dense loss under torch.compile (where its matrix fits into memory). At 100 clouds
of 25 nodes it also meets the original loss, and the tie handling of the torch-cluster search meets
the bare search. Memory is the growth of a
fresh process's peak (Linux).

Run: python benchmarks/speed_losses.py [--rounds 5] [--threads 2] [--figure cost.png]
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree
from timing import Row, begin, finish, interleaved, milliseconds, parser, ratio
from torch import Tensor

from gconvae import losses, neighbors
from gconvae.plots.style import COLORS

NODES = (25, 100, 400, 1_600, 6_400, 25_600)
CLOUDS = (1, 16, 100, 1_000)
MOST = 400_000
"""Nodes of all clouds together."""

LARGEST_MATRIX = 2**28
"""Entries of a distance matrix, 1 GB, beyond which the dense contestants are left out."""

COMMAND = "uv run python benchmarks/speed_losses.py"

Loss = Callable[[Tensor, Tensor], Tensor]


def of_pairs(target: Tensor, output: Tensor, to_output: Tensor, to_target: Tensor) -> Tensor:
    """Eq. 1 of nodes whose partners are known: (B,)."""
    ways = ((target, output, to_output), (output, target, to_target))
    each = [
        (a - b.gather(1, found.unsqueeze(-1).expand(-1, -1, 3))).square().sum((1, 2))
        for a, b, found in ways
    ]
    return each[0] + each[1]


def by_knn(target: Tensor, output: Tensor, threads: int = 1) -> Tensor:
    """torch-cluster, its clouds shared by threads."""
    from torch_cluster import knn

    def one_way(a: Tensor, b: Tensor) -> Tensor:
        def some(part: slice) -> Tensor:
            query, points = a[part].detach(), b[part].detach()
            count, nodes, _ = query.shape
            batch = torch.arange(count).repeat_interleave(nodes)
            pairs = knn(points.flatten(0, 1), query.flatten(0, 1), 1, batch, batch)
            return pairs[1].view(count, nodes) - nodes * torch.arange(count).unsqueeze(1)

        if threads == 1 or len(a) < threads:
            return some(slice(None))
        size = -(-len(a) // threads)
        parts = [slice(start, start + size) for start in range(0, len(a), size)]
        with ThreadPoolExecutor(threads) as pool:
            return torch.cat(list(pool.map(some, parts)))

    return of_pairs(target, output, one_way(target, output), one_way(output, target))


def by_cdist(target: Tensor, output: Tensor) -> Tensor:
    """torch.cdist and a minimum along each side."""
    distance = torch.cdist(target.detach(), output.detach())
    return of_pairs(target, output, distance.min(2).indices, distance.min(1).indices)


def by_scipy(target: Tensor, output: Tensor) -> Tensor:
    """A tree of scipy for each side of each cloud, with all cores."""
    sides = [side.detach().numpy() for side in (target, output)]
    found = [
        np.stack([cKDTree(p).query(q, workers=-1 if len(q) > 1000 else 1)[1] for q, p in pairs])
        for pairs in (zip(*sides, strict=True), zip(*sides[::-1], strict=True))
    ]
    return of_pairs(target, output, *(torch.from_numpy(index) for index in found))


def dense(target: Tensor, output: Tensor) -> Tensor:
    """Every pair, for torch.compile."""
    distance = (target.unsqueeze(2) - output.unsqueeze(1)).square().sum(-1)
    return distance.min(2).values.sum(1) + distance.min(1).values.sum(1)


def original(target: Tensor, output: Tensor) -> Tensor:
    """Eq. 1 as in the author's script, in its own layout: features are rows of an image.

    One side is repeated for every node of the other, and the distance is that of torch's
    PairwiseDistance of 2019: a norm along axis 1, with its eps, that is squared again.
    """
    first = target.transpose(1, 2).unsqueeze(2)  # (B, F, 1, N)
    second = output.transpose(1, 2).unsqueeze(3)  # (B, F, M, 1)
    second = second.repeat_interleave(target.shape[1], -1)  # (B, F, M, N)
    distance = torch.norm(first - second + 1e-6, 2, 1).square()  # (B, M, N)
    return distance.min(1).values.sum(1) + distance.min(2).values.sum(1)


def original_by_rows(target: Tensor, output: Tensor) -> Tensor:
    """The same with features last, as today's PairwiseDistance wants it: every pair a row."""
    nodes = target.shape[1]
    first, second = target.repeat_interleave(nodes, dim=1), output.repeat(1, nodes, 1)
    distance = torch.nn.functional.pairwise_distance(first, second).square()
    distance = distance.view(len(target), nodes, nodes)
    return distance.min(2).values.sum(1) + distance.min(1).values.sum(1)


def clouds(count: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Uniform clouds in scaled units; the second wants a gradient."""
    random = torch.Generator().manual_seed(count + nodes)
    target, output = (torch.rand(count, nodes, 3, generator=random) * 27 for _ in range(2))
    return target, output.requires_grad_()


def step(loss: Loss, target: Tensor, output: Tensor) -> Callable[[], None]:
    """Forward and backward."""

    def once() -> None:
        output.grad = None
        loss(target, output).mean().backward()

    return once


def contestants(count: int, nodes: int, threads: int) -> dict[str, Loss]:
    """The losses that can run at a point of the grid."""
    found: dict[str, Loss] = {"auto": losses.ThirdAxisChamfer(backend="auto")}
    found["torch_cluster.knn"] = lambda a, b: by_knn(a, b, threads)
    if count * nodes <= 100_000 or nodes >= 400:  # thousands of small trees take a minute
        found["scipy cKDTree"] = by_scipy
    if count * nodes * nodes <= LARGEST_MATRIX:
        found["cdist + min"] = by_cdist
        found["compiled dense"] = torch.compile(dense, dynamic=False)
    return found


def grid(given: argparse.Namespace) -> dict[tuple[int, int], dict[str, float]]:
    """Median seconds of each contestant by (clouds, nodes)."""
    points = [(b, n) for n in NODES for b in CLOUDS if b * n <= MOST]
    print("\n| clouds | nodes | contestant: ms, ratio of auto to it |\n|---|---|---|")
    found = {}
    for count, nodes in points:
        pair = clouds(count, nodes)
        calls = {
            name: step(loss, *pair)
            for name, loss in contestants(count, nodes, given.threads).items()
        }
        times = interleaved(calls, given.rounds, shortest=0.005)
        found[count, nodes] = {name: float(np.median(each)) for name, each in times.items()}
        cells = (
            f"{name} {milliseconds(each)} ({ratio(times['auto'], each)[0]:.2f})"
            for name, each in times.items()
        )
        print(f"| {count} | {nodes} | {', '.join(cells)} |", flush=True)
        torch._dynamo.reset()
        gc.collect()
    return found


def small(given: argparse.Namespace) -> list[Row]:
    """The targets at 100 clouds of 25 nodes."""
    pair = clouds(100, 25)
    compiled = torch.compile(
        lambda a, b: losses.third_axis_chamfer(a, b, backend="auto"), dynamic=False
    )
    calls = {
        "auto": step(losses.ThirdAxisChamfer(backend="auto"), *pair),
        "auto under torch.compile": step(compiled, *pair),
        "torch_cluster.knn loss": step(by_knn, *pair),
        "original loss": step(original, *pair),
        "original loss, rewritten with features last": step(original_by_rows, *pair),
    }
    times = interleaved(calls, 6 * given.rounds)
    rows = []
    for ours, reference, limit in (
        ("auto", "torch_cluster.knn loss", ">= 4.5"),
        ("auto under torch.compile", "torch_cluster.knn loss", ">= 6"),
        ("auto", "original loss", ">= 20"),
        ("auto", "original loss, rewritten with features last", "-"),
    ):
        value, spread = ratio(times[reference], times[ours])
        detail = f"{spread}; {milliseconds(times[ours])} against {milliseconds(times[reference])}"
        target = f"loss, forward + backward, B=100, N=25: {ours}"
        rows.append(Row(target, reference, limit, f"{value:.1f}", detail, COMMAND))
    return [*rows, ties(given, 100, 25), ties(given, 16, 400), ties(given, 4, 4096)]


def ties(given: argparse.Namespace, count: int, nodes: int) -> Row:
    """Exact search by torch-cluster against the bare one, one way."""
    from torch_cluster import knn

    query, points = (side.detach() for side in clouds(count, nodes))
    batch = torch.arange(count).repeat_interleave(nodes)
    flat = points.flatten(0, 1), query.flatten(0, 1)
    calls = {
        "ours": lambda: neighbors.nearest_padded(query, points, backend="torch-cluster"),
        "bare": lambda: knn(*flat, 1, batch, batch, batch_size=count),
    }
    times = interleaved(calls, 4 * given.rounds)
    value, spread = ratio(times["ours"], times["bare"])
    detail = f"{spread}; {milliseconds(times['ours'])} against {milliseconds(times['bare'])}"
    target = f"torch-cluster search with exact ties, B={count}, N={nodes}"
    return Row(target, "bare torch_cluster.knn", "<= 1.3", f"{value:.2f}", detail, COMMAND)


def over_grid(found: dict[tuple[int, int], dict[str, float]]) -> list[Row]:
    """Auto against the best of the others."""
    ratios = {
        point: times["auto"] / min(value for name, value in times.items() if name != "auto")
        for point, times in found.items()
    }
    worst = max(ratios, key=lambda point: ratios[point])
    mean = float(np.exp(np.mean(np.log(list(ratios.values())))))
    said = "best of four at each of the points"
    detail = f"worst at B={worst[0]}, N={worst[1]}; {len(ratios)} points"
    return [
        Row(
            "loss over the grid, worst point",
            said,
            "<= 1.3",
            f"{ratios[worst]:.2f}",
            detail,
            COMMAND,
        ),
        Row("loss over the grid, geometric mean", said, "<= 1.1", f"{mean:.2f}", "", COMMAND),
    ]


def memory(count: int, nodes: int) -> float:
    """MB by which the peak of a fresh process grows in forward and backward."""
    code = (
        "import re, sys; sys.path.insert(0, sys.argv[1])\n"
        "import speed_losses as s\n"
        "pair = s.clouds(int(sys.argv[2]), int(sys.argv[3]))\n"
        "loss = s.losses.ThirdAxisChamfer(backend='auto')\n"
        "s.step(loss, *s.clouds(1, 25))()\n"
        "status = lambda: open('/proc/self/status').read()\n"
        "kb = lambda name: int(re.search(name + r':\\s+(\\d+)', status())[1])\n"
        "open('/proc/self/clear_refs', 'w').write('5')  # the peak begins anew\n"
        "before = kb('VmRSS'); s.step(loss, *pair)(); print((kb('VmHWM') - before) / 1024)\n"
    )
    arguments = [str(Path(__file__).parent), str(count), str(nodes)]
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memories() -> list[Row]:
    """Memory of the loss, with the nodes of a cloud and with the clouds."""
    points = [(1, 6_400), (1, 25_600), (16, 25_600)]
    grown = {point: memory(*point) for point in points}
    detail = ", ".join(f"B={b}, N={n}: {mb:.0f} MB" for (b, n), mb in grown.items())
    matrix = 25_600**2 * 4 / 2**20
    largest = grown[16, 25_600]
    return [
        Row(
            "memory of the loss, 16 clouds of 25,600 nodes",
            f"one matrix of distances, {16 * matrix:,.0f} MB",
            "grows with B * N",
            f"{largest:.0f} MB",
            detail,
            COMMAND,
        )
    ]


def draw(found: dict[tuple[int, int], dict[str, float]], path: Path) -> None:
    """Cost against nodes, a panel for each number of clouds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(CLOUDS), sharey=True)
    names = list(dict.fromkeys(name for times in found.values() for name in times))
    for panel, count in zip(panels, CLOUDS, strict=True):
        for number, name in enumerate(names):
            line = [(n, t[name]) for (b, n), t in found.items() if b == count and name in t]
            nodes, seconds = zip(*line, strict=True) if line else ((), ())
            # colours that colour-blind readers tell apart, and markers for those without any
            style = {"color": COLORS[number % len(COLORS)], "marker": "osD^v"[number % 5]}
            style |= {"color": "black", "linewidth": 2.2} if name == "auto" else {"linewidth": 1.2}
            panel.loglog(nodes, [1e3 * s for s in seconds], ms=4, label=name, **style)
        panel.set_xticks(NODES, [f"{number:,}" for number in NODES], fontsize=8)
        panel.minorticks_off()
        panel.set_xlim(NODES[0] / 1.5, NODES[-1] * 1.5)
        panel.set_title(f"{count:,} cloud{'s' * (count > 1)}")
        panel.set_xlabel("nodes of a cloud")
    panels[0].set_ylabel("forward + backward (ms)")
    panels[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    options = parser(__doc__, rounds=5)
    options.add_argument("--figure", type=Path, help="where to draw cost against nodes and clouds")
    options.add_argument("--no-grid", action="store_true", help="only B=100, N=25 and memory")
    given = options.parse_args()
    begin(given)
    rows = small(given)
    if not given.no_grid:
        found = grid(given)
        rows += over_grid(found)
        if given.figure is not None:
            draw(found, given.figure)
    finish(rows + memories(), given)

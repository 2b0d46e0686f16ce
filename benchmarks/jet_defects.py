"""Which metric sees which defect of jets: real gluons spoiled in known ways, against real ones.

Run: python benchmarks/jet_defects.py [--jets 1000] [--kind g] [--threads 1]
"""

import argparse
import dataclasses
import time

import torch
from metric_defects import print_tables
from torch import Tensor

import gconvae
from gconvae.clouds import Clouds
from gconvae.metrics import Report, compare
from gconvae.schema import JETS

GROUPS = ("features", "jets", "frechet", "kernel", "classifier", "memorization")
"""All but the sets under Chamfer and matching distances, which are no metrics of jets."""

TABLES = {
    "Particles": [(name, "W1") for name in (*JETS.names, "nodes")],
    "Jets": [(name, "W1") for name in ("mass", "pT", "tau21", "tau32", "EFP")]
    + [("EFP", "FPD"), ("EFP", "KPD")],
    "Energy mover's distance": [("EMD", "coverage"), ("EMD", "MMD"), ("EMD", "1-NNA")],
    "Jet classifier, and gradient boosting": [
        ("embedding", "Frechet"),
        ("embedding", "Frechet limit"),
        ("embedding", "kernel"),
        ("embedding", "AUC"),
        ("points", "AUC"),
        ("embedding", "memorization"),
    ],
}


def jets(kind: str, split: str) -> Clouds:
    """Bundled jets of one kind."""
    data = gconvae.datasets.Jets(kind, split=split)
    return Clouds(data.points, data.mask, schema=JETS)


def held_out(kind: str, seed: int) -> Clouds:
    """Test and validation jets in random order."""
    parts = [jets(kind, split) for split in ("test", "valid")]
    points, mask = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    return Clouds(points[order], mask[order], schema=JETS)


def dealt_out(points: Tensor, mask: Tensor, rng: torch.Generator) -> Clouds:
    """The first particles of all jets dealt out anew, and the second ones, and so on."""
    orders = [torch.randperm(len(points), generator=rng) for _ in range(points.shape[1])]
    chosen, rank = torch.stack(orders, dim=1), torch.arange(points.shape[1])
    return Clouds(points[chosen, rank], mask[chosen, rank], schema=JETS)


def defects(others: Clouds, train: Clouds, strangers: Clouds, size: int) -> dict[str, Clouds]:
    """Jets to judge, from held-out ones that the comparison does not hold."""
    rng = torch.Generator().manual_seed(1)
    real = others.subset(slice(0, size))
    points, mask = real.points, real.mask

    def scaled(eta: float, phi: float, pt: float) -> Clouds:
        return Clouds(points * torch.tensor([eta, phi, pt]), mask, schema=JETS)

    def kept(shown: Tensor) -> Clouds:
        shown = (mask & shown) | (torch.arange(mask.shape[1]) == 0)
        return Clouds(points * shown.unsqueeze(-1), shown, schema=JETS)

    smeared = points.clone()
    smeared[..., 2] *= 1 + 0.05 * torch.randn(mask.shape, generator=rng)
    blurred = points.clone()
    blurred[..., :2] += 0.02 * torch.randn(points[..., :2].shape, generator=rng)
    return {
        "none: further real jets": real,
        "angles 5 % wider": scaled(1.05, 1.05, 1.0),
        "pT sum 1 % too low": scaled(1.0, 1.0, 0.99),
        "pT of each particle smeared by 5 %": Clouds(smeared, mask, schema=JETS),
        "angles of each particle smeared by 0.02": Clouds(blurred, mask, schema=JETS),
        "particles below pT_rel 0.005 dropped": kept(points[..., 2] >= 0.005),
        "one particle in ten dropped": kept(torch.rand(mask.shape, generator=rng) >= 0.1),
        "particles of all jets mixed": dealt_out(points, mask, rng),
        "50 jets repeated": real.subset(torch.arange(size) % 50),
        "another kind passed off as this": strangers.subset(slice(0, size)),
        "one jet in ten of another kind": Clouds(
            torch.cat([points[size // 10 :], strangers.points[: size // 10]]),
            torch.cat([mask[size // 10 :], strangers.mask[: size // 10]]),
            schema=JETS,
        ),
        "training jets repeated": train.subset(slice(0, size)),
    }


def with_floors(report: Report, base: Report) -> Report:
    """A report with the floors of another one of the same real jets, which take long."""
    floors = [base.row(row.name, row.metric) for row in report.rows]
    rows = [
        dataclasses.replace(row, floor=other.floor, floor_95=other.floor_95)
        for row, other in zip(report.rows, floors, strict=True)
    ]
    return dataclasses.replace(report, rows=tuple(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jets", type=int, default=1000, help="on each side")
    parser.add_argument("--kind", choices=("g", "q", "t"), default="g")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started, size, reports = time.perf_counter(), given.jets, {}
    sample, train = held_out(given.kind, seed=0), jets(given.kind, "train")
    strangers = jets("q" if given.kind == "g" else "g", "test")
    real, reference = (sample.subset(slice(i * size, (i + 1) * size)) for i in (0, 1))
    spoiled = defects(sample.subset(slice(2 * size, None)), train, strangers, size)
    for name, judged in spoiled.items():
        few = 2 if reports else 200
        report = compare(real, judged, reference, training=train, metrics=GROUPS, num_splits=few)
        reports[name] = with_floors(report, next(iter(reports.values()))) if reports else report
        print(f"{time.perf_counter() - started:.0f} s: {name}", flush=True)
    print(f"\n{size} jets on each side")
    print_tables(reports, [next(iter(spoiled))], TABLES)

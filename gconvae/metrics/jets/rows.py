"""The rows of a comparison that only jets have: masses, energy flow, energy mover's distance."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gconvae.metrics import sets
from gconvae.metrics.distances import rows_of
from gconvae.metrics.embeddings import Estimate, frechet_extrapolated
from gconvae.metrics.jets.energy_flow import GRAPHS, PRIMES_OF_FOUR
from gconvae.metrics.jets.energy_mover import emd_measure, packed_particles
from gconvae.metrics.jets.momenta import mass_and_pt
from gconvae.metrics.jets.particles import FEATURES, Array, are_jets, particles_of
from gconvae.metrics.jets.physics_distances import MOST_JETS, kernel_median, largest
from gconvae.metrics.jets.substructure import subjettiness_of, subjettiness_ratios
from gconvae.metrics.report import Row
from gconvae.metrics.resampling import Draws, Index, Pair, halves, splits, subsets
from gconvae.metrics.rows import Label, Part, Resampled, cut_rows, estimated_row, whole_rows
from gconvae.metrics.samples import Comparison, UnfitError
from gconvae.metrics.wasserstein import values_w1_statistic

__all__ = ["JET_PARTS"]

EMD_JETS = 100
"""Jets on each side of an energy mover's distance, JetNet's: each pair is a linear program."""

KERNEL_BATCH = 1000
"""Jets of a batch of the kernel distance, of which one report computes 210."""

W1_NAMES = ("mass", "pT", "tau21", "tau32", "EFP")
"""Rows of a jet's own numbers."""

_FLOW_COLUMNS = [GRAPHS.index(graph) for graph in PRIMES_OF_FOUR]


def _w1_rows(c: Comparison) -> list[Row]:
    _require_jets(c)
    jets = [particles_of(c.samples[name]) for name in c.numbered]
    momenta = np.concatenate([mass_and_pt(each) for each in jets])
    prongs = np.concatenate([subjettiness_ratios(subjettiness_of(each)) for each in jets])
    columns = np.concatenate([momenta, prongs, c.energy_flow[:, _FLOW_COLUMNS]], axis=1)
    each = values_w1_statistic(columns)

    def statistic(first: Index, second: Index) -> Array:
        mass, pt, two, three, *flow = each(first, second)
        return np.array([mass, pt, two, three, np.mean(flow)])

    return whole_rows(c, [Label(name, "W1") for name in W1_NAMES], statistic)


def _physics_distance_rows(c: Comparison) -> list[Row]:
    _require_jets(c)
    c.require_clouds(4 * len(GRAPHS))  # fewer and the covariance of a half is singular
    vectors = c.energy_flow / largest(c.energy_flow[c.pool])  # (B, 36)
    pairs = _pairs(c, min(c.num_clouds, MOST_JETS))

    def frechet(first: Index, second: Index) -> Estimate:
        return frechet_extrapolated(vectors[first], vectors[second], seed=c.seed)

    def kernel(first: Index, second: Index) -> Estimate:
        drawn = vectors[first], vectors[second]
        return kernel_median(*drawn, batch_size=KERNEL_BATCH, seed=c.seed)

    return [
        estimated_row(c, Label("EFP", "FPD", better="0"), frechet, pairs, share=0.5),
        estimated_row(c, Label("EFP", "KPD", better="0"), kernel, pairs, share=0.5),
    ]


def _emd_rows(c: Comparison) -> list[Row]:
    _require_jets(c)
    c.require_clouds(4)  # a half has two
    size = min(c.size, EMD_JETS)
    sides = np.arange(size), np.arange(2 * size, 3 * size)
    draws = Resampled(
        Draws.of([sides]),
        Draws.of(halves(*sides, c.num_bootstrap, c.stream(2))),
        Draws.of(splits(np.arange(2 * size), size, min(c.num_splits, 100), c.stream(0))),
    )
    matrix = _emd_matrix(c, size)
    labels = [
        Label("EMD", "coverage", better="higher"),
        Label("EMD", "MMD"),
        Label("EMD", "1-NNA", better="0.5"),
    ]
    rows = cut_rows(c, labels, partial(_set_values, matrix), draws)
    return [dataclasses.replace(row, num_clouds=size) for row in rows]


def _emd_matrix(c: Comparison, size: int) -> NDArray[np.float32]:
    """Between the first ``size`` jets of each third of the cut; infinite where nothing looks."""
    kept = np.concatenate([third * c.size + np.arange(size) for third in range(3)])
    jets, number = packed_particles(particles_of(c.cut.subset(kept))), 3 * size
    # further real jets are resampled with real ones alone
    ends = [2 * size if size <= i < 2 * size else number for i in range(number)]
    spans = [range(i + 1, end) for i, end in enumerate(ends)]
    matrix = np.full((number, number), np.inf, dtype=np.float32)
    np.fill_diagonal(matrix, 0.0)
    total = sum(map(len, spans))
    for i, row in enumerate(rows_of(jets, jets, spans, emd_measure(), workers=1)):
        matrix[i, spans[i].start : spans[i].stop] = row
        c.progress.advance(len(spans[i]) / total)
    return np.minimum(matrix, matrix.T)


def _set_values(matrix: NDArray[np.float32], draws: Draws) -> Array:
    return sets.resample(matrix, *draws)  # (R, 3)


def _pairs(c: Comparison, size: int) -> list[Pair]:
    """Real against generated jets, then splits of real ones."""
    (value,) = subsets(c.real, c.generated, size, 1, c.stream(1))
    return [value, *splits(c.pool, size, min(c.num_splits, 20), c.stream(0))]


def _require_jets(c: Comparison) -> None:
    if not are_jets(c.schema):
        raise UnfitError(
            f"needs the features {', '.join(FEATURES)}, got {', '.join(c.schema.names)}"
        )


def _particles_a_jet(c: Comparison) -> float:
    return float(c.cut.mask.sum()) / len(c.cut.mask)


def _num_jets(c: Comparison) -> int:
    return sum(c.samples[name].num_clouds for name in c.numbered)


# seconds of a core, as in gconvae.metrics.expected


def _w1_seconds(c: Comparison) -> float:
    """The polynomials and prongs of all jets, then sums over nine numbers a jet."""
    flow = 1.6e-7 * _particles_a_jet(c) ** 2
    return _num_jets(c) * (flow + 6e-8 * (2 * c.num_splits + c.num_bootstrap))


def _physics_distance_seconds(c: Comparison) -> float:
    """21 lines in 1 / N, of 100 distances each, and 210 tables of a kernel."""
    batch = min(KERNEL_BATCH, c.num_clouds // 2)
    return 4.0 + 1e-3 * min(c.num_clouds, MOST_JETS) + 6e-6 * batch**2


def _emd_seconds(c: Comparison) -> float:
    """3.5 n^2 linear programs."""
    return 3.5 * min(c.size, EMD_JETS) ** 2 * (2e-4 + 2e-7 * _particles_a_jet(c) ** 2)


JET_PARTS: tuple[Part, ...] = (
    Part("jet W1", _w1_rows, _w1_seconds),
    Part("FPD, KPD", _physics_distance_rows, _physics_distance_seconds),
    Part("EMD", _emd_rows, _emd_seconds),
)
"""Of the group of jets."""

"""The distance matrices of a comparison's cut, as far as its resamplings look at them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from gconvae.clouds import Clouds
from gconvae.metrics.distances import packed_nodes, rows_of
from gconvae.metrics.near_matching import chamfer_and_bound, near_matrix
from gconvae.metrics.progress import Progress
from gconvae.metrics.resampling import Array, Draws

__all__ = ["set_distances"]

Matrix = NDArray[np.float32]


def set_distances(
    cut: Clouds,
    size: int,
    draws: Sequence[Draws],
    *,
    factors: Array,
    missing_cost: float,
    progress: Progress,
) -> dict[str, Matrix]:
    """Chamfer and matching distances between the clouds of a cut.

    Further real clouds are resampled with real ones alone, so that their distances to generated
    ones are left infinite. So are matching distances of clouds that are no nearest neighbours in
    any of the draws (:func:`gconvae.metrics.near_matching.near_matrix`).

    Args:
        cut: ``size`` real clouds, as many further real ones, as many generated ones.
        size: Clouds of each of the three.
        draws: What the matrices are for.
        factors: Of the features, shape (F,).
        missing_cost: Cost of a node without a partner.
        progress: Hears of the work that is done.
    Returns:
        Shape (3 size, 3 size) each, symmetric with zeros on the diagonal.
    """
    nodes, number = packed_nodes(cut, factors), 3 * size
    spans = [range(i + 1, 2 * size if size <= i < 2 * size else number) for i in range(number)]
    both = np.full((2, number, number), np.inf, dtype=np.float32)
    both[:, np.arange(number), np.arange(number)] = 0.0
    total = sum(map(len, spans))
    measure = partial(chamfer_and_bound, missing_cost=missing_cost)
    for i, row in enumerate(rows_of(nodes, nodes, spans, measure)):
        if len(spans[i]):
            both[:, i, spans[i].start : spans[i].stop] = row
            progress.advance(0.4 * len(spans[i]) / total)
    chamfer, bounds = np.minimum(both, both.transpose(0, 2, 1))
    matching = near_matrix(
        nodes,
        bounds,
        draws,
        missing_cost=missing_cost,
        advance=lambda share: progress.advance(0.55 * share),
    )
    return {"chamfer": chamfer, "matching": matching}

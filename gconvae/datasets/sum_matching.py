"""Generated clouds whose total weight and its centre are distributed as those of real ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gconvae.clouds import Clouds, as_sample
from gconvae.schema import CloudSchema, Feature

__all__ = ["matched_sums"]

Array = NDArray[np.float64]


def matched_sums(generated: Any, real: Any, *, schema: CloudSchema | None = None) -> Clouds:
    r"""Moves and scales generated clouds so that their sums are those of real clouds.

    A particle's pT adds up over a jet, and the sum of all momenta lies along the jet's axis. A
    generator need not know that. Each generated cloud keeps its rank among the generated ones and
    gets the sums of the real cloud of that rank:

    .. math:: w_i' = w_i \, \frac{Q_W(r_W)}{\sum_j w_j}, \quad
        x_i' = x_i + Q_c(r_c) - \frac{\sum_j w_j x_j}{\sum_j w_j}

    Q are quantiles of real total weights and centres, r the rank of a generated cloud in (0, 1),
    one position after another; as many real clouds keep their own sums. What a cloud looks like
    inside does not change. Periodic positions are looked at within half a period of 0.

    Args:
        generated: Clouds, in any form of :func:`gconvae.metrics.compare`.
        real: Clouds to take the sums from, best those of the training; any number.
        schema: Names the weight; None = that of the generated clouds, else of the real ones.
    Returns:
        As many clouds as were generated, nodes in the same order.
    Raises:
        ValueError: If no schema names a weight, a sample is not valid, or a weight is negative or
            adds up to 0.
    Example:
        >>> from gconvae.datasets import Jets
        >>> real = Jets("g", "test")
        >>> wrong = real.points * torch.tensor([1.0, 1.0, 0.9]), real.mask
        >>> moved = matched_sums(wrong, real)
        >>> round(moved.points[..., 2].sum(1).mean().item(), 2)  # 0.87, not 0.78
        0.87
    """
    drawn, seen = as_sample(generated, "generated"), as_sample(real, "real")
    known = [schema, drawn.schema, seen.schema]
    schema = next((each for each in known if each is not None), None)
    if schema is None or not schema.weight:
        raise ValueError("schema must name the weight of a node, got one without")
    column, positions = schema.index(schema.weight), schema.num_positions
    for name, sample in (("generated", drawn), ("real", seen)):
        if sample.points.shape[-1] != schema.num_features:
            raise ValueError(
                f"{name} must have {schema.num_features} features a node "
                f"({', '.join(schema.names)}), got {sample.points.shape[-1]}"
            )
    drawn, seen = (_unwound(sample, schema.features[:positions]) for sample in (drawn, seen))
    real_sums, drawn_sums = (
        _sums(seen, column, positions, "real"),
        _sums(drawn, column, positions, "generated"),
    )
    ranked = [_of_rank(real_sums[:, k], drawn_sums[:, k]) for k in range(1 + positions)]
    target = np.stack(ranked, axis=1)
    points = drawn.points.double().clone()
    scale = torch.from_numpy(target[:, 0] / drawn_sums[:, 0])  # (B,)
    shift = torch.from_numpy(target[:, 1:] - drawn_sums[:, 1:])  # (B, D)
    points[..., column] *= scale[:, None]
    points[..., :positions] += shift[:, None]
    points = points.masked_fill(~drawn.mask.unsqueeze(-1), 0.0).to(drawn.points)
    conditions = () if drawn.schema is None else drawn.schema.conditions
    return drawn._replace(points=points, schema=schema.replace(conditions=conditions))


def _unwound(sample: Clouds, positions: Sequence[Feature]) -> Clouds:
    """Periodic positions in (-period / 2, period / 2], so that no cloud lies across a seam."""
    columns = list(sample.points.unbind(-1))
    for column, position in enumerate(positions):
        if position.period is not None:
            turns = torch.ceil(columns[column] / position.period - 0.5)
            columns[column] = columns[column] - position.period * turns
    return sample._replace(points=torch.stack(columns, dim=-1))


def _sums(sample: Clouds, column: int, positions: int, name: str) -> Array:
    """Total weight and centre of each cloud, shape (B, 1 + D)."""
    points: Tensor = sample.points.double().masked_fill(~sample.mask.unsqueeze(-1), 0.0)
    weight = points[..., column]
    total = weight.sum(1)
    if bool((weight < 0).any()) or not bool((total > 0).all()):
        raise ValueError(f"{name} must have weights of at least 0 that add up to more than 0")
    centre = (weight.unsqueeze(-1) * points[..., :positions]).sum(1) / total.unsqueeze(-1)
    sums: Array = torch.cat([total.unsqueeze(-1), centre], dim=1).numpy()
    return sums


def _of_rank(real: Array, generated: Array) -> Array:
    """Real values at the ranks of generated ones."""
    count = len(generated)
    ranks = np.empty(count)
    ranks[np.argsort(generated, kind="stable")] = (np.arange(count) + 0.5) / count
    return np.quantile(real, ranks, method="hazen")  # the k-th of n has the rank (k - 0.5) / n

"""Single precision agrees with double precision, over many random clouds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from gconvae import losses
from gconvae.losses import kl_standard_normal

CLOUDS, NODES = 10_000, 25
AGREES = 1e-5
"""Relative."""

Loss = Callable[[Tensor, Tensor], Tensor]


def clouds(seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return 27 * torch.rand(CLOUDS, NODES, 3, generator=random)


@pytest.mark.parametrize(
    "loss",
    [
        losses.third_axis_chamfer,
        losses.matched_intensity_chamfer,
        losses.matching_loss,
        losses.sliced_wasserstein,
    ],
)
def test_losses_of_single_and_double_precision_agree(loss: Loss) -> None:
    target, output = clouds(0), clouds(1)
    single = loss(target, output)
    assert single.dtype == torch.float32
    double = loss(target.double(), output.double())
    worst = float(((single - double).abs() / double).max())
    assert worst < AGREES, f"{worst:.2g}"


def test_kl_terms_of_single_and_double_precision_agree() -> None:
    mean, stddev = clouds(0)[..., 0], clouds(1)[..., 1] / 27 + 1e-3

    def kl(mean: Tensor, stddev: Tensor) -> Tensor:
        return kl_standard_normal(Independent(Normal(mean, stddev), 1))

    single, double = kl(mean, stddev), kl(mean.double(), stddev.double())
    assert float(((single - double).abs() / double).max()) < AGREES

"""Small models of the kinds that are exported, as after a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from gconvae import models
from gconvae.randomness import initial_weights
from gconvae.schema import points
from gconvae.vae import VAE

__all__ = ["Exported", "autoregressive", "ragged_graphs", "slides", "with_sizes"]

Exported = tuple[VAE, dict[str, Path]]
"""A model and its files by part."""


def slides(**options: Any) -> VAE:
    """The slides' network with a narrow dense layer."""
    return models.create("convae", hidden=16, channels=[4, 4], seed=0, **options).eval()


def ragged_graphs(**options: Any) -> VAE:
    """Edge convolutions and the graph decoder; clouds of 1 to 7 nodes with one of three labels."""
    given: dict[str, Any] = {"encoder": "edge_conv(channels=[8], neighbors=4, hidden=8)"}
    given |= {"decoder": "graph(width=8, num_layers=1, hidden=8)", "latent_dim": 3} | options
    return with_sizes(
        models.create("edge_conv", num_points=7, num_classes=3, ragged=True, seed=0, **given)
    )


def with_sizes(model: VAE) -> VAE:
    """A model that has seen clouds of all sizes and labels."""
    nodes, classes = model.conditioning.num_points, model.conditioning.num_classes
    sizes = torch.arange(1, nodes + 1).repeat(max(classes, 1))
    labels = torch.arange(classes).repeat_interleave(nodes) if classes else None
    model.conditioning.fit(torch.arange(nodes) < sizes.unsqueeze(1), labels)
    return model.eval()


def autoregressive(**options: Any) -> VAE:
    """A spline flow, and clouds of four nodes in a plane, drawn node by node on a lattice."""
    likelihood = (
        "autoregressive(width=8, heads=2, components=3, blocks=[1, 1], condition_on=['latents'])"
    )
    given = {"prior": "nsf(transforms=1, hidden=[8], bins=4)", "likelihood": likelihood} | options
    model = models.create(
        "convae-flow",
        schema=points("x y"),
        num_points=4,
        latent_dim=3,
        hidden=8,
        channels=[3],
        seed=0,
        **given,
    )
    with initial_weights(1), torch.no_grad():  # as none of them are before a training
        for weight in model.likelihood.parameters():
            weight += 0.1 * torch.randn_like(weight)
    random = torch.Generator().manual_seed(0)
    clouds = torch.randint(0, 33, (50, 4, 2), generator=random) / 32
    model.likelihood.set_lattice(clouds)
    model.likelihood.set_ranges(model.scaling.low, model.scaling.high)
    return model.eval()

"""Models of random parts: saved and loaded they are the same, and samples have prefixes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import cases

import gconvae
from gconvae import models
from gconvae.schema import points

NETWORKS = (
    ("conv(hidden=8, channels=[2])", "conv(hidden=8, channels=[2])"),
    (
        "edge_conv(channels=[4], neighbors=2, hidden=4)",
        "graph(width=4, num_layers=1, hidden=4)",
    ),
    ("deep_sets(node_hidden=[4], cloud_hidden=[4])", "dense(hidden=4)"),
)

PRIORS = ("standard_normal", "gmm(components=2)", "nsf(transforms=1, hidden=[4], bins=4)")

LIKELIHOODS = ("mean", "gaussian", "autoregressive(width=4, heads=1, components=2)")


@st.composite
def small_models(draw: st.DrawFn) -> gconvae.VAE:
    """With few parameters, of any parts, with labels or without."""
    encoder, decoder = draw(st.sampled_from(NETWORKS))
    options: dict[str, Any] = {
        "encoder": encoder,
        "decoder": decoder,
        "prior": draw(st.sampled_from(PRIORS)),
        "likelihood": draw(st.sampled_from(LIKELIHOODS)),
        "schema": points(draw(st.sampled_from(["x y", "x y z"]))),
        "num_points": draw(st.integers(3, 6)),
        "latent_dim": draw(st.integers(1, 3)),
        "num_classes": draw(st.sampled_from([0, 3])),
        "seed": draw(st.integers(0, 9)),
    }
    return models.create("convae", **options).eval()


@cases
@given(small_models(), st.integers(1, 6), st.integers(0, 6), st.integers(0, 10**6))
def test_fewer_samples_are_the_first_of_more(
    model: gconvae.VAE, few: int, more: int, seed: int
) -> None:
    label = 1 if model.conditioning.num_classes else None
    long = model.sample(few + more, seed=seed, label=label)
    assert torch.equal(model.sample(few, seed=seed, label=label), long[:few])


@cases
@given(small_models(), st.integers(0, 10**6))
def test_a_model_that_was_saved_draws_the_same(model: gconvae.VAE, seed: int) -> None:
    label = 1 if model.conditioning.num_classes else None
    with tempfile.TemporaryDirectory() as folder:
        gconvae.save(model, Path(folder) / "model")
        loaded = gconvae.load(Path(folder) / "model")
    assert models.describe(loaded) == models.describe(model)
    found = loaded.sample(3, seed=seed, label=label)
    assert torch.equal(found, model.sample(3, seed=seed, label=label))

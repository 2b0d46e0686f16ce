"""Encoder and sampler as modules, and what cannot be exported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import autoregressive, ragged_graphs, slides, with_sizes
from torch import Tensor

import gconvae
from gconvae import export, models
from gconvae.export.encoders import dense_encoder
from gconvae.export.nodes import draw_nodes
from gconvae.export.parts import part_of
from gconvae.export.priors import FlowDraw, MixtureDraw, drawing_of
from gconvae.likelihoods import AutoregressiveLikelihood
from gconvae.randomness import generator
from gconvae.vae import VAE


def sampled(model: VAE, count: int) -> Tensor:
    """Clouds of the module that is exported."""
    inputs = export.noise_of(model, count, seed=5)
    with torch.no_grad():
        made: Tensor = part_of(model, "sampler")(*map(torch.from_numpy, inputs.values()))
    return made


@pytest.mark.parametrize(
    "prior", ["nsf", "maf", "realnvp", "gmm(components=4)", "standard_normal"]
)
@pytest.mark.parametrize("classes", [0, 3])
def test_every_prior_draws_the_same_latents(prior: str, classes: int) -> None:
    model = slides(prior=prior, num_classes=classes, latent_dim=4)
    noise = model.prior.noise(50, generator(0, "test"))
    labels = torch.arange(50) % 3 if classes else None
    context = model.conditioning.context(50, labels)
    with torch.no_grad():
        found = drawing_of(model.prior)(noise, context)
        torch.testing.assert_close(found, model.prior.from_noise(noise, context))


def test_loops_are_used_where_latents_come_one_by_one() -> None:
    kinds = {name: type(drawing_of(slides(prior=name).prior)) for name in ("nsf", "maf", "gmm")}
    assert kinds == {"nsf": FlowDraw, "maf": FlowDraw, "gmm": MixtureDraw}


def schema_model(schema: Any, **options: Any) -> VAE:
    likelihood = "autoregressive(width=8, heads=2, components=3)"
    model = models.create(
        "convae", schema=schema, num_points=5, hidden=8, channels=[3], seed=0,
        likelihood=likelihood, **options,
    )  # fmt: skip
    points = torch.rand(40, 5, schema.num_features)
    model.likelihood.set_lattice(points)
    model.likelihood.set_ranges(model.scaling.low, model.scaling.high)
    assert isinstance(model.likelihood, AutoregressiveLikelihood)
    model.likelihood.prepare_fit(points, points[..., 0] >= 0)
    return model.eval()


MODELS = {
    "lattice": lambda: autoregressive(prior="standard_normal"),
    "continuous": lambda: schema_model(gconvae.schema.points("x y", "charge")),
    "descending": lambda: schema_model(gconvae.schema.points("x y z", "charge", unit="mm")),
    "ragged with labels": lambda: with_sizes(
        autoregressive(prior="standard_normal", num_classes=2, ragged=True)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_nodes_drawn_in_a_loop_are_those_of_the_library(name: str) -> None:
    model = MODELS[name]()
    drawn = model.sample_clouds(300, seed=5)
    assert torch.equal(sampled(model, 300), drawn.points)
    assert len(drawn.points.unique(dim=0)) > 250  # clouds that differ


def test_a_loop_over_nodes_is_the_transformer_s_own() -> None:
    likelihood = autoregressive().likelihood
    assert isinstance(likelihood, AutoregressiveLikelihood)
    network, seen = likelihood.network, []
    draw = network.draw

    def both(*given: Any) -> Tensor:
        seen.append((draw(*given), draw_nodes(network, *given)))
        return seen[0][0]

    vars(network)["draw"] = both
    mean, context = torch.rand(200, 4, 2), torch.randn(200, 3)
    likelihood.sample(mean, generator(0, "test"), context=context)
    assert torch.equal(*seen[0])
    assert len(seen[0][0].unique()) > 10


@pytest.mark.parametrize(
    "encoder",
    [
        "edge_conv(channels=[8, 4], neighbors=3)",
        "dynamic_edge_conv(channels=[8, 4], neighbors=3)",
        "deep_sets(node_hidden=[8], cloud_hidden=[8])",
    ],
)
def test_dense_encoders_give_the_same_posterior(encoder: str) -> None:
    model = ragged_graphs(encoder=encoder)
    drawn = model.sample_clouds(100, seed=0)
    scaled = model.scaling.scale(drawn.points).masked_fill(~drawn.mask.unsqueeze(-1), 0.0)
    with torch.no_grad():
        found = dense_encoder(model.encoder)(scaled, drawn.mask)
        wanted = model.encoder(scaled, drawn.mask)
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.stddev, wanted.stddev)


def test_values_out_of_range_are_moved_as_the_model_moves_them() -> None:
    schema = gconvae.schema.points("x y")
    model = models.create("convae", schema=schema, hidden=8, channels=[3], seed=0).eval()
    points = torch.rand(3, 25, 2)
    points[0, 0, 0] = 9.0  # the range that was seen ends at 1
    with pytest.warns(UserWarning, match="moved to its margin"), torch.no_grad():
        wanted = model.encode(points)
    with torch.no_grad():
        mean, _ = part_of(model, "encoder")(points)
    torch.testing.assert_close(mean, wanted.mean)


def test_noise_comes_in_double_precision_only_where_its_last_digits_count() -> None:
    lattice, continuous = autoregressive(), MODELS["continuous"]()
    assert export.noise_of(lattice, 2)["likelihood_noise"].dtype == np.float32
    assert export.noise_of(continuous, 2)["likelihood_noise"].dtype == np.float64


@pytest.mark.parametrize("part", ["decoder", "", None])
def test_a_part_must_be_known(part: Any) -> None:
    with pytest.raises(ValueError, match="part must be one of encoder, sampler, got"):
        part_of(slides(), part)


@pytest.mark.parametrize("count", [0, -1, True, 2.5])
def test_noise_needs_a_number_of_clouds(count: Any) -> None:
    with pytest.raises(ValueError, match="count must be a whole number of at least 1, got"):
        export.noise_of(slides(), count)


def test_parts_that_cannot_be_exported_are_named() -> None:
    flow = slides(likelihood="flow_matching(width=8, heads=2)")
    with pytest.raises(ValueError, match="likelihood must be .* got FlowMatchingLikelihood"):
        part_of(flow, "sampler")
    jets = models.create("convae-flow", schema=gconvae.schema.JETS, num_points=30, seed=0)
    with pytest.raises(ValueError, match="likelihood must be .* got AutoregressiveLikelihood"):
        part_of(jets, "sampler")
    with pytest.raises(ValueError, match="encoder must be .* got MoNetEncoder"):
        part_of(slides(encoder="monet(channels=[4])"), "encoder")

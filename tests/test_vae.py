from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

import gconvae
from gconvae import clouds, models, pieces
from gconvae.datasets import from_points
from gconvae.nn import ConvDecoder, ConvEncoder
from gconvae.priors import StandardNormal
from gconvae.sampling import noise
from gconvae.scaling import FeatureScaling
from gconvae.schema import SUPERPIXELS
from gconvae.vae import VAE

LOW, HIGH = torch.tensor([-1.0, 5.0, 0.0]), torch.tensor([1.0, 6.0, 500.0])


@pytest.fixture
def model() -> VAE:
    """Random weights; the decoder's spread wide, so that its clouds are far apart."""
    made = models.create("convae", hidden=32, channels=(4, 8, 8), latent_dim=6, seed=0)
    with torch.no_grad():
        for weight in made.decoder.parameters():
            weight *= 3
    return made


def some_points(num_clouds: int = 5, num_nodes: int = 25, seed: int = 0) -> Tensor:
    """Clouds in pixels, in no order."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(num_clouds, num_nodes, 3, generator=random)
    return points * torch.tensor([27.0, 27.0, 1.0])


def some_mask(num_clouds: int = 5, num_nodes: int = 25) -> Tensor:
    """The first cloud is whole, the others lose more and more nodes here and there."""
    mask = torch.ones(num_clouds, num_nodes, dtype=torch.bool)
    for i in range(num_clouds):
        mask[i, 1 : 1 + 2 * i : 2] = False
    return mask


def assert_same_posterior(first: Any, second: Any) -> None:
    assert torch.equal(first.mean, second.mean)
    assert torch.equal(first.stddev, second.stddev)


def assert_brightest_first(points: Tensor) -> None:
    assert (points[..., 2].diff(dim=1) <= 0).all()


def other_units(model: VAE) -> VAE:
    """The same networks in a range that is no image's."""
    return VAE(model.encoder, model.decoder, model.prior, FeatureScaling(LOW, HIGH))


# encode


def test_a_posterior_is_a_distribution_per_cloud(model: VAE) -> None:
    posterior = model.encode(some_points())
    assert posterior.mean.shape == posterior.stddev.shape == (5, 6)
    assert (posterior.stddev > 0).all()
    assert posterior.log_prob(posterior.mean).shape == (5,)


def test_different_clouds_have_different_posteriors(model: VAE) -> None:
    mean = model.encode(some_points()).mean
    assert torch.pdist(mean).min() > 1e-3


def test_node_order_does_not_matter_to_encode(model: VAE) -> None:
    points, mask = some_points().round(), some_mask()  # rounded: with ties
    order = torch.randperm(25, generator=torch.Generator().manual_seed(1))
    assert_same_posterior(
        model.encode(points, mask), model.encode(points[:, order], mask[:, order])
    )


def test_order_of_clouds_only_orders_the_posteriors(model: VAE) -> None:
    points = some_points()
    torch.testing.assert_close(
        model.encode(points.flip(0)).mean, model.encode(points).mean.flip(0)
    )


def test_masked_nodes_do_not_matter_to_encode(model: VAE) -> None:
    points, mask = some_points(), some_mask()
    spoiled = points.masked_fill(~mask.unsqueeze(-1), float("nan"))
    assert_same_posterior(model.encode(points, mask), model.encode(spoiled, mask))


def test_a_mask_matters_to_encode(model: VAE) -> None:
    points = some_points()
    assert not torch.equal(model.encode(points, some_mask()).mean, model.encode(points).mean)


def test_a_masked_node_is_not_a_node_at_zero(model: VAE) -> None:
    shifted = other_units(model)  # where 0 in data units is not 0 to the network
    points = LOW + (HIGH - LOW) * torch.rand(5, 25, 3, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(25).expand(5, 25) < 20
    with_low = torch.where(mask.unsqueeze(-1), points, LOW)
    assert_same_posterior(shifted.encode(points, mask), shifted.encode(with_low))


def test_fewer_nodes_than_the_network_are_as_good_as_masked_ones(model: VAE) -> None:
    points = some_points()
    mask = torch.arange(25).expand(5, 25) < 20
    assert_same_posterior(model.encode(points[:, :20]), model.encode(points, mask))


def test_masked_slots_beyond_the_network_are_cut(model: VAE) -> None:
    points, mask = some_points(), some_mask()
    wider = torch.cat([points[:, :0], torch.full((5, 7, 3), 9.0), points], 1)
    wide_mask = torch.cat([torch.zeros(5, 7, dtype=torch.bool), mask], 1)
    assert_same_posterior(model.encode(points, mask), model.encode(wider, wide_mask))


def test_too_many_nodes_are_one_clear_error_that_names_the_cloud(model: VAE) -> None:
    mask = torch.ones(3, 30, dtype=torch.bool)
    mask[0, 25:] = mask[2, 20:] = False
    with pytest.raises(ValueError, match="at most 25 nodes.*cloud 1 has 30"):
        model.encode(some_points(3, 30), mask)


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.full((2, 25, 3), float("nan")), "finite"),
        (torch.rand(25, 3), "shape"),
        (torch.rand(2, 25, 4), "3 features a node like the model .*, got 4"),
        (torch.ones(2, 25, 3, dtype=torch.bool), "real numbers"),
        (torch.rand(0, 25, 3), "at least one cloud"),
        ([Data(x=torch.rand(3, 1))], "pos must hold positions"),
        ([], "points must"),
    ],
)
def test_wrong_clouds_are_one_clear_error(
    model: VAE, method: str, points: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(points)


@pytest.mark.parametrize("method", ["encode", "reconstruct"])
def test_values_far_outside_the_range_of_the_model_are_one_clear_error(
    model: VAE, method: str
) -> None:
    points = some_points()
    points[3, 2, 0] = 500.0
    with pytest.raises(ValueError, match=r"\[0, 27\].*500"):
        getattr(model, method)(points)


def test_numpy_arrays_and_float64_are_welcome(model: VAE) -> None:
    points = some_points()
    assert_same_posterior(model.encode(points.double().numpy()), model.encode(points))


# PyG in, PyG out


def as_graphs(points: Tensor, mask: Tensor) -> list[Data]:
    return [
        Data(pos=cloud[real, :2], x=cloud[real, 2:])
        for cloud, real in zip(points, mask, strict=True)
    ]


def as_loaded(graphs: list[Data]) -> Batch:
    return next(iter(DataLoader(graphs, batch_size=len(graphs))))


@pytest.mark.parametrize("form", [list, Batch.from_data_list, as_loaded])
def test_encode_takes_pyg_graphs(model: VAE, form: Callable[[list[Data]], Any]) -> None:
    points, mask = some_points(), some_mask()
    assert_same_posterior(model.encode(form(as_graphs(points, mask))), model.encode(points, mask))


def test_encode_takes_our_own_datasets(model: VAE) -> None:
    points, mask = some_points(), some_mask()
    data = from_points(points, mask)
    assert_same_posterior(
        model.encode(next(iter(DataLoader(data, batch_size=5)))), model.encode(points, mask)
    )


@pytest.mark.parametrize("form", [list, Batch.from_data_list, as_loaded])
def test_graphs_in_give_graphs_out(model: VAE, form: Callable[[list[Data]], Any]) -> None:
    points, mask = some_points(), some_mask()
    made = model.reconstruct(form(as_graphs(points, mask)))
    wanted = model.reconstruct(points, mask)
    assert [type(graph) for graph in made] == [Data] * 5
    for graph, cloud in zip(made, wanted, strict=True):
        assert torch.equal(torch.cat([graph.pos, graph.x], 1), cloud)


def test_samples_as_data_are_the_same_clouds(model: VAE) -> None:
    made = model.sample(4, seed=3, as_data=True)
    again = clouds.from_data(made)
    assert torch.equal(again.points, model.sample(4, seed=3))
    assert again.mask.all()


def test_samples_as_data_flow_into_pygs_loader(model: VAE) -> None:
    batch = as_loaded(model.sample(4, as_data=True))
    assert (batch.num_graphs, tuple(batch.pos.shape), tuple(batch.x.shape)) == (
        4,
        (100, 2),
        (100, 1),
    )


def test_reconstructions_as_data_are_the_same_clouds(model: VAE) -> None:
    points, mask = some_points(), some_mask()
    made = model.reconstruct(points, mask, as_data=True)
    assert torch.equal(clouds.from_data(made).points, model.reconstruct(points, mask))


# decode and reconstruct


def test_decoded_clouds_are_in_data_units_brightest_first(model: VAE) -> None:
    points = model.decode(5 * torch.randn(200, 6, generator=torch.Generator().manual_seed(0)))
    assert points.shape == (200, 25, 3)
    assert_brightest_first(points)
    low, high = points.amin((0, 1)), points.amax((0, 1))
    assert (low >= 0).all()
    assert (high <= torch.tensor([27.0, 27.0, 1.0])).all()
    assert (high[:2] > 14).all()  # pixels, not the decoder's unit interval
    assert high[2] > 0.5


def test_decoded_clouds_fill_the_range_of_their_scaling_and_stay_inside(model: VAE) -> None:
    z = 50 * torch.randn(300, 6, generator=torch.Generator().manual_seed(0))
    points = other_units(model).decode(z)
    slack = 1e-5 * (HIGH - LOW)
    low, high = points.amin((0, 1)), points.amax((0, 1))
    assert (low >= LOW - slack).all()
    assert (high <= HIGH + slack).all()
    assert (high - low > 0.9 * (HIGH - LOW)).all()


def test_the_range_is_only_a_change_of_units(model: VAE) -> None:
    z = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    wanted = LOW + model.decode(z) / torch.tensor([27.0, 27.0, 1.0]) * (HIGH - LOW)
    torch.testing.assert_close(other_units(model).decode(z), wanted)


def test_decode_is_differentiable(model: VAE) -> None:
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    model.decode(z).square().sum().backward()
    assert z.grad is not None
    assert (z.grad.abs().sum(1) > 0).all()


def test_every_parameter_gets_a_gradient(model: VAE) -> None:
    posterior = model.encode(some_points())
    z = posterior.mean + posterior.stddev
    model.decode(z).square().sum().backward()
    without = [
        name
        for name, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert without == []


@pytest.mark.parametrize("shape", [(6,), (3, 5), (3, 6, 1)])
def test_latents_of_another_shape_are_one_clear_error(model: VAE, shape: tuple[int]) -> None:
    with pytest.raises(ValueError, match=r"z must have shape \(clouds, 6\), got"):
        model.decode(torch.zeros(shape))


def test_reconstruct_decodes_the_mean_of_the_posterior(model: VAE) -> None:
    points, mask = some_points(), some_mask()
    wanted = model.decode(model.encode(points, mask).mean)
    assert torch.equal(model.reconstruct(points, mask), wanted.detach())


def test_reconstruct_draws_nothing(model: VAE) -> None:
    first = model.reconstruct(some_points())
    torch.rand(3)
    assert torch.equal(model.reconstruct(some_points()), first)


def test_reconstruct_and_sample_keep_no_graph(model: VAE) -> None:
    assert not model.reconstruct(some_points()).requires_grad
    assert not model.sample(2).requires_grad


@pytest.mark.parametrize("chunk", [1, 7, 20])
def test_cutting_into_chunks_does_not_change_the_clouds(
    model: VAE, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    points, mask = some_points(12), some_mask(12)
    wanted = model.reconstruct(points, mask)
    monkeypatch.setattr(pieces, "CHUNK", chunk)
    torch.testing.assert_close(model.reconstruct(points, mask), wanted)


def test_memory_does_not_grow_with_the_request(
    model: VAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    model.decoder.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    monkeypatch.setattr(pieces, "CHUNK", 8)
    monkeypatch.setattr(noise, "BLOCK", 8)
    model.sample(20)
    model.reconstruct(some_points(12))
    assert sizes == [8, 8, 8, 8, 4]


# sample


def test_samples_are_clouds_in_data_units_brightest_first(model: VAE) -> None:
    made = model.sample(50)
    assert made.shape == (50, 25, 3)
    assert_brightest_first(made)
    assert made.amin() >= 0
    assert (made.amax((0, 1)) <= torch.tensor([27.0, 27.0, 1.0])).all()


def test_samples_are_the_decoded_prior(model: VAE) -> None:
    class Known(StandardNormal):
        def from_noise(self, noise: Tensor, context: Tensor | None = None) -> Tensor:
            return torch.arange(6 * len(noise)).view(len(noise), 6) / 10

    model.prior = Known(6)
    wanted = model.decode(torch.arange(18).view(3, 6) / 10)
    assert torch.equal(model.sample(3), wanted.detach())


def test_samples_are_a_function_of_the_seed(model: VAE) -> None:
    first = model.sample(6, seed=4)
    torch.rand(7)
    model.sample(3, seed=1)
    assert torch.equal(model.sample(6, seed=4), first)
    assert not torch.equal(model.sample(6, seed=5), first)


def test_clouds_of_one_sample_differ(model: VAE) -> None:
    assert torch.pdist(model.sample(20).flatten(1)).min() > 1e-3


def test_global_random_numbers_are_neither_read_nor_changed(model: VAE) -> None:
    wanted = model.sample(3, seed=0)
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert torch.equal(model.sample(3, seed=0), wanted)
    model.encode(some_points())
    model.reconstruct(some_points())
    assert torch.equal(torch.get_rng_state(), before)


# piece by piece


def test_code_between_two_pieces_keeps_its_gradients(model: VAE) -> None:
    for piece in model.iter_samples(3):
        assert torch.is_grad_enabled()
        assert not piece.points.requires_grad


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"num_samples": 3, "seed": -1}, "seed must be a whole number"),
        ({"num_samples": 3, "label": 2}, "label must be None for a model without labels"),
    ],
)
def test_pieces_refuse_bad_input_before_the_first(
    model: VAE, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.iter_samples(**arguments)


@pytest.mark.parametrize("count", [0, -3])
def test_a_sample_of_nothing_is_one_clear_error(model: VAE, count: int) -> None:
    with pytest.raises(ValueError, match=f"num_samples must be at least 1, got {count}"):
        model.sample(count)


@pytest.mark.parametrize("seed", [-1, 1.5, "7"])
def test_a_seed_that_is_no_whole_number_is_one_clear_error(model: VAE, seed: Any) -> None:
    with pytest.raises(ValueError, match="seed must be a whole number of at least 0"):
        model.sample(2, seed=seed)


# the whole


def test_nothing_is_kept_on_a_module_between_two_calls(model: VAE) -> None:
    def attributes() -> list[tuple[str, str, int]]:
        return [
            (name, key, id(value))
            for name, module in model.named_modules()
            for key, value in vars(module).items()
        ]

    weights = {key: value.clone() for key, value in model.state_dict().items()}
    before = attributes()
    model.decode(model.encode(some_points(), some_mask()).mean)
    model.reconstruct(some_points())
    model.sample(3)
    assert attributes() == before
    after = model.state_dict()
    assert weights.keys() == after.keys()
    assert all(torch.equal(weights[key], after[key]) for key in weights)


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_of_the_model_is_left_as_it_is(model: VAE, training: bool) -> None:
    model.train(training)
    model.reconstruct(some_points())
    model.sample(2)
    assert model.training is training


def test_inputs_are_not_changed(model: VAE) -> None:
    points, mask = some_points(), some_mask()
    before = points.clone(), mask.clone()
    model.encode(points, mask)
    model.reconstruct(points, mask)
    assert torch.equal(points, before[0])
    assert torch.equal(mask, before[1])


def test_a_model_in_float64_works_in_float64(model: VAE) -> None:
    wanted = model.reconstruct(some_points()), model.sample(3)
    model.double()
    made = model.reconstruct(some_points()), model.sample(3)
    for values, single in zip(made, wanted, strict=True):
        assert values.dtype == torch.float64
        torch.testing.assert_close(values.float(), single, rtol=1e-3, atol=1e-3)


def test_other_numbers_of_nodes_and_features_work() -> None:
    shape = {"num_points": 9, "num_features": 5, "latent_dim": 2, "channels": (3,), "hidden": 8}
    made = VAE(
        ConvEncoder(**shape),  # type: ignore[arg-type]
        ConvDecoder(**shape),  # type: ignore[arg-type]
        StandardNormal(2),
        FeatureScaling(torch.zeros(5), torch.full((5,), 2.0)),
    )
    assert made.reconstruct(torch.rand(4, 7, 5)).shape == (4, 9, 5)
    assert made.sample(4, as_data=True)[0].x.shape == (9, 3)


def test_parts_are_free_as_long_as_they_fit_together() -> None:
    class Middle(nn.Module):
        """Puts a cloud's mean into each of 4 nodes; knows nothing of the library."""

        def forward(self, z: Tensor) -> Tensor:
            return torch.sigmoid(z).unsqueeze(1).expand(-1, 4, -1)

    class Mean(nn.Module):
        def forward(self, points: Tensor, mask: Tensor) -> Any:
            mean = points.sum(1) / mask.sum(1, keepdim=True)  # masked nodes are 0
            normal = torch.distributions.Normal(mean, torch.ones_like(mean))
            return torch.distributions.Independent(normal, 1)

    made = VAE(Mean(), Middle(), StandardNormal(3), FeatureScaling.of(SUPERPIXELS))
    points, mask = some_points(), some_mask()
    wanted = torch.stack([p[m].mean(0) for p, m in zip(points, mask, strict=True)])
    wanted[:, 2] *= 27  # the units of the loss: pixels and 27 x intensity
    torch.testing.assert_close(made.encode(points, mask).mean, wanted)
    out = made.decode(torch.full((1, 3), math.log(3.0)))  # sigmoid = 3/4
    torch.testing.assert_close(out, torch.tensor([20.25, 20.25, 0.75]).expand(1, 4, 3))
    assert made.sample(2).shape == (2, 4, 3)


def test_a_mask_beside_graphs_is_refused(model: VAE) -> None:
    graphs = gconvae.clouds.to_data(some_points())
    with pytest.raises(ValueError, match="mask must be None for graphs"):
        model.encode(graphs, torch.ones(len(graphs), 25, dtype=torch.bool))

"""A cloud is a function of the seed and its number: of nothing that is drawn beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import gconvae
from gconvae import models
from gconvae.clouds import Clouds
from gconvae.sampling import clouds as sampling
from gconvae.sampling import noise
from gconvae.vae import VAE

PRIORS = {
    "standard_normal": "standard_normal",
    "gmm": "gmm(components=3)",
    "realnvp": "realnvp(transforms=2, hidden=[8])",
    "maf": "maf(transforms=2, hidden=[8])",
    "nsf": "nsf(transforms=2, hidden=[8])",
}
LIKELIHOODS = {
    "mean": "mean",
    "gaussian": "gaussian(lattice=[1.0, 1.0, 0.0])",
    "autoregressive": "autoregressive(width=8, heads=2, components=2)",
    "flow_matching": "flow_matching(width=8, heads=2, layers=1, mean_layers=1, evaluations=2)",
}


def small(prior: str = "nsf", likelihood: str = "gaussian", **options: Any) -> VAE:
    """Random weights, spread wide, so that clouds are far apart."""
    made = models.create(
        encoder="deep_sets(node_hidden=[16], cloud_hidden=[16])",
        decoder="dense(hidden=[16])",
        latent_dim=4,
        num_points=6,
        prior=PRIORS[prior],
        likelihood=LIKELIHOODS.get(likelihood, likelihood),
        seed=0,
        **options,
    )
    with torch.no_grad():
        for weight in made.decoder.parameters():
            weight *= 3
        made.conditioning.counts.fill_(1)
        if not made.conditioning.ragged:
            made.conditioning.counts[:, :-1] = 0
        if likelihood == "gaussian":
            made.likelihood.scale.fill_(0.05)
        if likelihood == "flow_matching":
            made.likelihood.network.velocity.weight.fill_(0.1)
    return made


def assert_same(first: Clouds, second: Clouds) -> None:
    for one, other in zip(first, second, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


def rows(clouds: Clouds, part: slice) -> Clouds:
    return Clouds(*(None if each is None else each[part] for each in clouds))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(noise, "BLOCK", 16)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


KINDS: list[dict[str, Any]] = [{}, {"num_classes": 3}, {"ragged": True, "num_classes": 3}]


EACH = [(name, "gaussian") for name in PRIORS] + [("gmm", name) for name in LIKELIHOODS]


@pytest.mark.parametrize("options", KINDS, ids=["plain", "labels", "ragged"])
@pytest.mark.parametrize(("prior", "likelihood"), EACH)
def test_how_many_follow_does_not_change_the_first(
    prior: str, likelihood: str, options: dict[str, Any]
) -> None:
    model = small(prior, likelihood, **options)
    whole = model.sample_clouds(80, seed=1)
    for count in (1, 16, 17, 65):
        assert_same(model.sample_clouds(count, seed=1), rows(whole, slice(count)))


@pytest.mark.parametrize("prior", PRIORS)
def test_labels_asked_for_do_not_change_the_clouds_of_others(prior: str) -> None:
    model = small(prior, num_classes=3, ragged=True)
    wanted = torch.arange(40) % 3
    whole = model.sample_clouds(40, seed=1, label=wanted)
    assert whole.labels is not None
    assert torch.equal(whole.labels, wanted)
    assert_same(model.sample_clouds(20, seed=1, label=wanted[:20]), rows(whole, slice(20)))
    ones = model.sample_clouds(40, seed=1, label=1)
    assert_same(rows(ones, slice(1, None, 3)), rows(whole, slice(1, None, 3)))


@pytest.mark.parametrize("name", ["graph", "set_transformer"])
def test_networks_that_see_masks_draw_the_same_first_clouds(name: str) -> None:
    text = {
        "graph": "graph(width=8, num_layers=1, hidden=8)",
        "set_transformer": "set_transformer(width=8, heads=2, blocks=1, noise_dim=2)",
    }[name]
    model = models.create(
        "deep_sets", decoder=text, num_points=6, latent_dim=4, ragged=True, num_classes=3, seed=0
    )
    model.conditioning.counts.fill_(1)
    wanted = torch.arange(40) % 3
    whole = model.sample_clouds(40, seed=1, label=wanted)
    assert_same(model.sample_clouds(5, seed=1, label=wanted[:5]), rows(whole, slice(5)))


@pytest.mark.parametrize(("prior", "likelihood"), EACH)
def test_the_number_of_threads_changes_no_bit(prior: str, likelihood: str) -> None:
    model, found = small(prior, likelihood, ragged=True, num_classes=3), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(model.sample_clouds(100, seed=0))
        assert torch.get_num_threads() == threads
    assert_same(found[1], found[0])
    assert_same(found[2], found[0])


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_the_number_of_threads_changes_no_bit_of_whole_blocks(
    likelihood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # of the size for which torch shares out what it does among threads
    monkeypatch.setattr(noise, "BLOCK", 256)
    model, found = models.create(likelihood=LIKELIHOODS[likelihood], seed=0), []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(model.sample(1000, seed=0))
    assert torch.equal(found[1], found[0])
    assert torch.equal(found[2], found[0])


@pytest.mark.parametrize(
    ("likelihood", "num_points", "threads", "pieces"),
    [
        ("gaussian", 6, 1, [16] * 15),
        ("gaussian", 6, 2, [16] * 15),
        ("autoregressive", 6, 1, [128, 128]),
        ("autoregressive", 6, 2, [128, 128]),  # the last one is filled up
        ("autoregressive", 6, 3, [80, 80, 80]),  # no more than keep all threads busy
        ("autoregressive", 6, 5, [48] * 5),
        ("autoregressive", 40, 1, [32] * 8),  # of more nodes fewer clouds, whose keys are kept
        ("autoregressive", 70, 2, [16] * 15),
    ],
)
def test_small_operations_get_several_blocks_at_a_time(
    likelihood: str,
    num_points: int,
    threads: int,
    pieces: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling, "CACHED_NODES", 1300)
    model = models.create(
        encoder="deep_sets(node_hidden=[4], cloud_hidden=[4])",
        decoder="dense(hidden=[4])",
        latent_dim=2,
        num_points=num_points,
        likelihood=LIKELIHOODS[likelihood],
        seed=0,
    )
    decode, found = model.decode_unit, []

    def watched(*given: Any, **options: Any) -> Tensor:
        found.append(len(given[0]))
        return decode(*given, **options)

    monkeypatch.setattr(model, "decode_unit", watched)
    torch.set_num_threads(threads)
    model.sample(240, seed=0)
    assert found == pieces


def test_a_few_clouds_cost_no_more_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = small(likelihood="autoregressive"), []
    draw = model.likelihood.draw

    def watched(mean: Tensor, *given: Any) -> Tensor:
        found.append(len(mean))
        return draw(mean, *given)

    monkeypatch.setattr(model.likelihood, "draw", watched)
    model.sample(3, seed=0)
    assert found == [noise.BLOCK]


def test_processes_agree_on_pieces_whatever_their_threads() -> None:
    model = small(likelihood="autoregressive")
    whole, parts = model.sample(200, seed=0), []
    for rank, threads in enumerate((1, 3)):
        torch.set_num_threads(threads)
        drawn = model.iter_samples(200, seed=0, part=(rank, 2))
        parts.append([piece.points for piece in drawn])
    dealt = [part for pair in zip(*parts, strict=True) for part in pair]
    assert torch.equal(torch.cat(dealt), whole)


def test_blocks_of_all_sizes_have_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "BLOCK", 256)
    model = small(likelihood="autoregressive(components=4)")
    torch.set_num_threads(1)
    whole = model.sample(2048, seed=0)
    for count in (1, 257, 800):
        assert torch.equal(model.sample(count, seed=0), whole[:count])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_piece_is_drawn_on_one_thread(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, found = small(), []
    decode = model.decode_unit

    def watched(*given: Any, **options: Any) -> Tensor:
        found.append(torch.get_num_threads())
        return decode(*given, **options)

    monkeypatch.setattr(model, "decode_unit", watched)
    torch.set_num_threads(threads)
    model.sample(100, seed=0)
    assert found == [1] * 7


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 15, 17, 33, 65])
def test_pieces_come_in_their_order_whatever_the_number_of_threads(
    count: int, threads: int
) -> None:
    torch.set_num_threads(1)
    model = small(num_classes=3, ragged=True)
    whole = model.sample_clouds(count, seed=2)
    torch.set_num_threads(threads)
    place = 0
    for part in model.iter_samples(count, seed=2):
        assert_same(part, rows(whole, slice(place, place + len(part.points))))
        place += len(part.points)
    assert place == count


def test_gradients_stay_as_they_are_where_pieces_are_drawn() -> None:
    torch.set_num_threads(2)
    for on in (True, False):
        with torch.set_grad_enabled(on):
            for part in small().iter_samples(40, seed=2):
                assert torch.is_grad_enabled() == on
                assert not part.points.requires_grad


def test_no_block_repeats_another() -> None:
    points = small().sample(64)
    assert torch.pdist(points.flatten(1)).min() > 1e-3


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_pieces_are_the_sample(count: int) -> None:
    model = small(num_classes=3, ragged=True)
    parts = list(model.iter_samples(count, seed=2))
    assert max(len(part.points) for part in parts) <= 16
    whole = model.sample_clouds(count, seed=2)
    assert len(whole.points) == count
    for one, each in zip(whole, zip(*parts, strict=True), strict=True):
        assert one is not None
        assert torch.equal(one, torch.cat(each))


def test_a_huge_sample_costs_what_is_taken_of_it() -> None:
    first = next(small(num_classes=3).iter_samples(10**12, label=1))
    assert len(first.points) == 16
    assert first.labels is not None
    assert (first.labels == 1).all()


def test_pieces_may_be_larger_to_the_same_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where more rows go through a network at a time."""
    model = small("gmm", num_classes=3, ragged=True)
    wanted = model.sample_clouds(40, seed=3)
    original = noise.Kind

    def wide(known: Any, always_full: bool, rounded: bool, _: int) -> Any:
        return original(known, always_full, rounded, 64)

    monkeypatch.setattr(noise, "Kind", wide)
    found = next(sampling.samples(model, 40, 3))  # 16 of the 40: pieces are cut elsewhere
    torch.testing.assert_close(found.points, wanted.points[:16])
    assert torch.equal(found.mask, wanted.mask[:16])


# at given latents


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_draws_at_given_latents_lie_around_their_mean(likelihood: str) -> None:
    model = small(likelihood=likelihood)
    z = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    drawn = model.sample(z=z, seed=0)
    assert drawn.shape == (20, 6, 3)
    assert torch.equal(model.sample(z=z[:5], seed=0), drawn[:5])
    if likelihood == "mean":
        torch.testing.assert_close(drawn, model.decode(z))
    else:
        assert not torch.equal(model.sample(z=z, seed=1), drawn)


def test_draws_of_the_prior_are_draws_at_its_latents() -> None:
    model = small("standard_normal", "gaussian")
    random = gconvae.randomness.generator(4, "sample", step=0)
    z = model.prior.sample(16, random)
    assert torch.equal(model.sample(z=z, seed=4), model.sample(16, seed=4))


def test_latents_of_a_conditional_model_get_labels_and_sizes() -> None:
    model = small(num_classes=3, ragged=True)
    made = model.sample_clouds(z=torch.zeros(20, 4), label=2)
    assert made.labels is not None
    assert (made.labels == 2).all()
    assert 1 < len(made.mask.sum(1).unique()) <= 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 3, "z": torch.zeros(3, 4)}, "num_samples must be left out"),
        ({}, "num_samples must be at least 1, got None"),
        ({"z": torch.zeros(0, 4)}, "num_samples must be at least 1, got 0"),
        ({"z": torch.zeros(3, 5)}, r"z must have shape \(clouds, 4\), got \(3, 5\)"),
    ],
)
def test_wrong_latents_are_an_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().sample(**arguments)


# reconstructions, embeddings, lines


def some_clouds(count: int = 20, seed: int = 0) -> Clouds:
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 6, 3, generator=random) * torch.tensor([27.0, 27.0, 1.0])
    mask = torch.arange(6) < torch.randint(1, 7, (count, 1), generator=random)
    return Clouds(points.masked_fill(~mask.unsqueeze(-1), 0), mask, torch.arange(count) % 3)


def test_drawn_reconstructions_are_draws_at_the_posteriors_means() -> None:
    model = small()
    points = some_clouds().points
    drawn = model.reconstruct(points, draw=True, seed=5)
    assert torch.equal(drawn, model.sample(z=model.embed(points), seed=5))
    assert not torch.equal(drawn, model.reconstruct(points))
    step = drawn[..., :2]
    assert torch.equal(step, step.round())


def test_drawn_reconstructions_keep_labels_and_sizes() -> None:
    model, clouds = small(num_classes=3, ragged=True), some_clouds()
    drawn = model.reconstruct(clouds, draw=True)
    assert clouds.labels is not None
    assert torch.equal(drawn.labels, clouds.labels)
    assert torch.equal(drawn.mask.sum(1), clouds.mask.sum(1))
    assert (drawn.points[~drawn.mask] == 0).all()


def test_embedding_is_the_posteriors_mean_without_a_gradient() -> None:
    model, points = small(), some_clouds().points
    embedded = model.embed(points)
    assert not embedded.requires_grad
    assert torch.equal(embedded, model.encode(points).mean)


def test_a_line_goes_from_one_reconstruction_to_the_other() -> None:
    model = small()
    a, b = some_clouds(5, 1).points, some_clouds(5, 2).points
    line = model.interpolate(a, b, 5)
    assert line.shape == (5, 5, 6, 3)
    torch.testing.assert_close(line[:, 0], model.reconstruct(a))
    torch.testing.assert_close(line[:, -1], model.reconstruct(b))
    middle = model.decode((model.embed(a) + model.embed(b)) / 2)
    torch.testing.assert_close(line[:, 2], middle, atol=1e-4, rtol=1e-4)


def test_a_line_of_ragged_clouds_changes_its_size_on_the_way() -> None:
    model = small(ragged=True)
    full = some_clouds(2).points
    one = torch.arange(6).expand(2, -1) < 2
    line = model.interpolate((full, one), full, 5)
    assert isinstance(line, Clouds)
    assert line.mask.sum(1).view(2, 5).tolist() == [[2, 3, 4, 5, 6]] * 2


def test_a_line_between_classes_has_to_say_its_label() -> None:
    model = small(num_classes=3)
    a, b = some_clouds(3), some_clouds(3, 1)
    other = b._replace(labels=torch.tensor([1, 1, 1]))
    with pytest.raises(ValueError, match="labels must be given where those of first and second"):
        model.interpolate(a, other, 3)
    assert model.interpolate(a, other, 3, labels=torch.tensor([2, 2, 2])).shape == (3, 3, 6, 3)
    with pytest.raises(ValueError, match="second must hold 3 clouds like first, got 2"):
        model.interpolate(a, some_clouds(2), 3)
    with pytest.raises(ValueError, match="steps must be a whole number of at least 2, got 1"):
        model.interpolate(a, b, 1)


# what a caller has switched on


def with_default(setting: Callable[[Any], None], value: Any, before: Any) -> Any:
    class Setting(AbstractContextManager[None]):
        def __enter__(self) -> None:
            setting(value)

        def __exit__(self, *_: object) -> None:
            setting(before)

    return Setting()


STATES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: with_default(torch.set_default_dtype, torch.float64, torch.float32),
    "meta": lambda: with_default(torch.set_default_device, "meta", None),
}


def everything(model: VAE, clouds: Clouds) -> list[Tensor]:
    posterior = model.encode(clouds)
    results: list[Any] = [posterior.mean, posterior.stddev]
    results += [*model.sample_clouds(20, seed=1), *model.reconstruct_clouds(clouds)]
    results += [*model.reconstruct(clouds, draw=True, seed=2), model.embed(clouds)]
    results += [*model.interpolate(clouds, clouds, 3), *model.sample(z=posterior.mean.detach())]
    results += [model.decode(posterior.mean, clouds.labels, clouds.mask)]
    results += [*model.log_likelihood(clouds, samples=3, seed=1)]
    return results


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("likelihood", ["gaussian", "autoregressive", "flow_matching"])
def test_what_a_caller_has_switched_on_changes_nothing(state: str, likelihood: str) -> None:
    model, clouds = small("gmm", likelihood, num_classes=3, ragged=True), some_clouds()
    wanted = everything(model, clouds)
    with STATES[state]():
        found = everything(model, clouds)
    for one, other in zip(found, wanted, strict=True):
        assert torch.equal(one, other)
    with nullcontext():
        assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("label", ["top", 1, ["top"] * 3])
def test_a_class_is_drawn_by_its_name_or_number(label: Any) -> None:
    named = gconvae.schema.points("x y", "charge", classes=("gluon", "top"))
    model = small(num_classes=2, schema=named)
    assert model.sample_clouds(3, seed=0, label=label).labels.tolist() == [1, 1, 1]


def test_a_class_that_is_not_there_is_refused() -> None:
    named = gconvae.schema.points("x y", "charge", classes=("gluon", "top"))
    with pytest.raises(ValueError, match="label must be one of gluon, top, got 'charm'"):
        small(num_classes=2, schema=named).sample(3, seed=0, label="charm")

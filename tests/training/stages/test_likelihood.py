"""The stage of a likelihood: it learns, keeps the best weights, and goes on after a stop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gconvae
from gconvae.datasets import SuperpixelMNIST
from gconvae.datasets.transforms import NUM_CHANGES
from gconvae.likelihoods import AutoregressiveLikelihood, MeanLikelihood
from gconvae.randomness import initial_weights
from gconvae.training import callbacks
from gconvae.training.engine import Engine, fit_stage
from gconvae.training.stages import likelihood as stage
from gconvae.training.stages.likelihood import LikelihoodStage
from gconvae.training.stages.reconstructions import Decoded
from gconvae.vae import VAE

SMALL: dict[str, Any] = {
    "num_points": 4,
    "width": 16,
    "heads": 2,
    "components": 3,
    "steps": 4,
    "batch_size": 8,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(seed: int = 0, **options: Any) -> AutoregressiveLikelihood:
    with initial_weights(seed):
        return AutoregressiveLikelihood(**SMALL | options)


def equal_states(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module", autouse=True)
def _short_fits() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "WARMUP", 10)
        patch.setattr(stage, "CHECK_EVERY", 4)
        yield


def train(
    likelihood: AutoregressiveLikelihood,
    clouds: Any,
    valid: Any,
    seed: int,
    state: Path | None = None,
) -> None:
    made = LikelihoodStage(likelihood, clouds, valid, seed)
    if state is None:
        fit_stage(made)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "SAVE_EVERY", 0.0)
        state.mkdir(exist_ok=True)
        engine = Engine(folder=state)
        engine.run(made, resume=(state / callbacks.STATE).exists())
    made.leave()


# the fit


class Corners:
    """Clouds near one of two places, dark or bright, and means that say which.

    Args:
        seed: Of the clouds.
        places: Where, and how bright.
        before: Called before every batch of clouds with the number of batches so far.
    """

    def __init__(
        self,
        seed: int,
        places: tuple[tuple[float, float, float], ...] = ((0.3, 0.25, 0.2), (0.7, 0.8, 0.9)),
        before: Callable[[int], None] = lambda batches: None,
    ) -> None:
        self.places = torch.tensor(places)
        self.which = torch.arange(40) % len(places)
        noise = torch.randn(40, 4, 3, generator=generator(seed))
        self.unit = self.places[self.which].unsqueeze(1) + 0.03 * noise
        self.mask = torch.arange(4) < (3 + torch.arange(40) // 2 % 2).unsqueeze(1)
        self.before, self.batches = before, 0

    def __len__(self) -> int:
        return len(self.unit)

    def clouds(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        self.before(self.batches)
        self.batches += 1
        noise = torch.rand(len(rows), 4, 3, generator=random) - 0.5
        unit, mask = self.unit[rows] + noise / 432, self.mask[rows]
        return unit.clamp(0, 1).masked_fill(~mask.unsqueeze(-1), 0.0), mask

    def is_separable(self) -> bool:
        return True

    def labels(self, rows: Tensor) -> None:
        return None

    def conditions(self, rows: Tensor) -> None:
        return None

    def noise(self, count: int, random: torch.Generator) -> tuple[Tensor, None]:
        return torch.randn(count, 4, 3, generator=random), None

    def decoded(
        self,
        unit: Tensor,
        mask: Tensor,
        labels: None,
        noise: Tensor,
        node_noise: None,
        conditions: None = None,
    ) -> Decoded:
        middle = unit.sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        return Decoded((middle + 0.01 * noise).clamp(0, 1), None)

    def told(self) -> tuple[Tensor, Tensor, Tensor]:
        """All clouds, their masks and their means."""
        unit, mask = self.clouds(torch.arange(len(self)), generator(1))
        noise = self.noise(len(self), generator(2))
        return unit, mask, self.decoded(unit, mask, None, *noise).mean

    def to(self, device: Any) -> None:
        pass


def held_out_nats(
    likelihood: AutoregressiveLikelihood, pairs: Corners, told: Sequence[float] = (0.0,) * 6
) -> float:
    unit, mask, mean = pairs.told()
    changes = torch.tensor(told).expand(len(pairs), NUM_CHANGES)
    with torch.no_grad():
        return float(likelihood.negative_log_likelihood(unit, mean, mask, changes).mean())


@pytest.fixture(scope="module")
def fitted() -> AutoregressiveLikelihood:
    likelihood = make(steps=160, batch_size=32, augmented=0.5, temperature=1.0)
    likelihood.prepare_fit(Corners(1).unit, Corners(1).mask)
    train(likelihood, Corners(1), Corners(2), seed=0)
    return likelihood


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_the_likelihood_says_how_much_of_the_old_weights_is_kept(average: float) -> None:
    likelihood = make(average=average)
    clouds: Any = Corners(1)
    made = LikelihoodStage(likelihood, clouds, clouds, 0)
    assert made.average.share == average


def test_a_fit_makes_held_out_clouds_likelier(fitted: AutoregressiveLikelihood) -> None:
    before, after = (held_out_nats(each, Corners(3)) for each in (make(), fitted))
    assert after < before - 20


def test_draws_of_a_fit_resemble_the_clouds(fitted: AutoregressiveLikelihood) -> None:
    pairs = Corners(4)
    _, mask, mean = pairs.told()
    mean = mean.repeat(10, 1, 1)
    which, mask = pairs.which.repeat(10), mask.repeat(10, 1)
    drawn = fitted.sample(mean, generator(3), mask)
    for i, place in enumerate(pairs.places):
        nodes = drawn[which == i][mask[which == i]]
        # a short fit has not forgotten all of its long tails
        assert nodes.median(0).values.tolist() == pytest.approx(place.tolist(), abs=0.04)
        gaps = torch.cdist(nodes, pairs.places)
        assert (gaps.argmin(1) == i).float().mean() > 0.9


class Blind(Corners):
    """Clouds at one place, and means that do not say where."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed, places=((0.8, 0.7, 0.5),))

    def decoded(self, unit: Tensor, *given: Any) -> Decoded:
        return Decoded(torch.full_like(unit, 0.5), None)


def test_a_fit_learns_which_clouds_are_changed() -> None:
    likelihood = make(steps=250, batch_size=32, augmented=0.7)
    train(likelihood, Blind(1), Blind(2), seed=0)
    nats = held_out_nats(likelihood, Blind(3))
    for mirrors in ([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]):
        # clouds that are as they were are no mirrored ones
        assert held_out_nats(likelihood, Blind(3), [0.0] * 4 + mirrors) > nats + 1


@pytest.mark.parametrize(("done", "share"), [(0.0, 0.9), (0.5, 0.6), (0.999, 0.3)])
def test_fewer_and_fewer_clouds_are_changed(done: float, share: float) -> None:
    likelihood = AutoregressiveLikelihood(num_points=3, augmented=0.9)
    unit, mask = torch.rand(2000, 3, 3, generator=generator(4)), torch.ones(2000, 3).bool()
    changes = likelihood.changed(unit, mask, generator(5), done)[1]
    assert changes.any(1).double().mean() == pytest.approx(share, abs=0.04)


def test_a_step_says_how_much_of_the_fit_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    likelihood, found = make(steps=20), []
    change = AutoregressiveLikelihood.changed

    def watched(*given: Any) -> Any:
        found.append(given[-1])
        return change(*given)

    monkeypatch.setattr(AutoregressiveLikelihood, "changed", watched)
    clouds: Any = [Corners(1), Corners(2)]
    whole = LikelihoodStage(likelihood, *clouds, 0)
    for step in (0, 5, 19):
        whole.batch(step)
    assert found == [0.0, 0.25, 0.95]


def test_rates_grow_stay_and_fall_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "WARMUP", 50)
    clouds: Any = [Corners(1), Corners(2)]
    whole = LikelihoodStage(make(steps=1000), *clouds, 0)
    optimizer = torch.optim.SGD(whole.trained_parameters(), lr=1.0)
    schedule: Any = whole.default_scheduler(optimizer)
    (rate,) = schedule.lr_lambdas
    assert rate(0) == pytest.approx(1 / 50)
    assert rate(60) == rate(300) == 1
    assert [rate(step) for step in (650, 1000)] == pytest.approx([0.5, 0.0])


def test_a_fit_takes_its_random_numbers_from_the_seed_alone() -> None:
    results = []
    for seed, fresh in ((0, 1), (0, 2), (1, 1)):
        likelihood = make()
        torch.manual_seed(fresh)
        before = torch.random.get_rng_state()
        train(likelihood, Corners(1), Corners(2), seed=seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        results.append(likelihood)
    assert equal_states(results[0], results[1])
    assert not equal_states(results[0], results[2])


def test_a_fit_does_not_ask_whether_gradients_are_on() -> None:
    first, second = make(), make()
    train(first, Corners(1), Corners(2), seed=0)
    with torch.no_grad():
        train(second, Corners(1), Corners(2), seed=0)
    assert equal_states(first, second)


@pytest.fixture
def _threads_stay() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [8, 64, 100, 130])
def test_the_loss_of_a_step_is_the_mean_over_its_clouds(batch_size: int) -> None:
    likelihood = make(batch_size=batch_size).double()
    (pairs, valid), added = (Corners(1), Corners(2)), {}
    for each in (pairs, valid):
        each.unit = each.unit.double()
    made = LikelihoodStage(likelihood, pairs, valid, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "add", lambda part, share, *terms: added.update({part: terms}))
        batch = made.batch(0)
        found = made.step_loss("train", *batch)
    nodes = batch.unit, batch.mask
    mean = pairs.decoded(*nodes, batch.labels, batch.noise, batch.node_noise).mean
    nats = likelihood.negative_log_likelihood(batch.unit, mean, batch.mask, batch.changes)
    torch.testing.assert_close(added, {"train": (nats.detach(),)})
    torch.testing.assert_close(found, nats.mean())
    weights = made.trained_parameters()
    ours, wanted = (torch.autograd.grad(loss, weights) for loss in (found, nats.mean()))
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("_threads_stay")
def test_the_number_of_threads_changes_no_bit_of_a_fit() -> None:
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        likelihood = make(batch_size=100)
        train(likelihood, Corners(1), Corners(2), seed=0)
        results.append(likelihood)
    assert equal_states(*results)
    assert not equal_states(results[0], make())


def stop_at(batch: int) -> Callable[[int], None]:
    def before(batches: int) -> None:
        if batches >= batch:
            raise KeyboardInterrupt

    return before


@pytest.mark.parametrize("stopped", [0, 3, 6, 9])
def test_a_stopped_fit_goes_on_to_the_same_bits(tmp_path: Path, stopped: int) -> None:
    whole, state = make(steps=10), tmp_path / "run"
    train(whole, Corners(1), Corners(2), seed=0)
    likelihood = make(steps=10)
    with pytest.raises(KeyboardInterrupt):
        train(likelihood, Corners(1, before=stop_at(stopped)), Corners(2), seed=0, state=state)
    assert (state / callbacks.STATE).exists() == (stopped >= 4)
    # a new process makes the likelihood anew
    likelihood, pairs = make(steps=10), Corners(1)
    train(likelihood, pairs, Corners(2), seed=0, state=state)
    assert pairs.batches == 10 - stopped // 4 * 4
    assert equal_states(likelihood, whole)


def test_a_fit_without_a_stop_has_the_same_bits_with_a_state(tmp_path: Path) -> None:
    with_state, without = make(), make()
    train(with_state, Corners(1), Corners(2), seed=0, state=tmp_path / "run")
    train(without, Corners(1), Corners(2), seed=0)
    assert equal_states(with_state, without)


def test_a_finished_fit_is_not_done_again(tmp_path: Path) -> None:
    first, second, state = make(), make(), tmp_path / "run"
    train(first, Corners(1), Corners(2), seed=0, state=state)
    train(second, Corners(1, before=stop_at(0)), Corners(2), seed=0, state=state)
    assert equal_states(first, second)


def misleading(batches: int = 0, stopped: int | None = None) -> Corners:
    """Pairs whose clouds lie elsewhere from the 30th batch on."""
    pairs, elsewhere = Corners(1), Corners(1, places=((0.9, 0.05, 0.5), (0.1, 0.95, 0.5)))

    def before(batches: int) -> None:
        if batches >= 30:
            pairs.unit = elsewhere.unit
        if batches == stopped:
            raise KeyboardInterrupt

    pairs.before, pairs.batches = before, batches
    return pairs


def test_weights_with_the_best_held_out_likelihood_are_kept() -> None:
    start, likelihood = make(), make(steps=60, augmented=0.0, batch_size=16)
    train(likelihood, misleading(), Corners(2), seed=0)
    assert held_out_nats(likelihood, Corners(3)) < held_out_nats(start, Corners(3)) - 10


def test_the_best_weights_are_kept_over_a_stop(tmp_path: Path) -> None:
    whole, again = (make(steps=60, augmented=0.0, batch_size=16) for _ in range(2))
    train(whole, misleading(), Corners(2), seed=0)
    state = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(again, misleading(stopped=50), Corners(2), seed=0, state=state)
    train(again, misleading(batches=48), Corners(2), seed=0, state=state)
    assert equal_states(again, whole)


def test_held_out_clouds_are_judged_by_the_running_mean() -> None:
    made = LikelihoodStage(make(), Corners(1), Corners(2), seed=0)
    seen: list[torch.nn.Module] = []
    losses = made._losses

    def noted(*given: Any) -> Tensor:
        seen.append(made.likelihood.network)
        return losses(*given)

    made._losses = noted  # type: ignore[method-assign]  # only who is asked counts here
    trained = made.likelihood.network
    zeros = torch.zeros(1)
    made._sums, made._counts = {"valid": zeros.clone()}, {"valid": zeros.long().sum()}
    made.look()
    assert seen == [made.average.network]
    assert made.likelihood.network is trained


def test_a_likelihood_that_is_not_finite_stops_the_fit() -> None:
    class Broken(Corners):
        def decoded(self, *given: Any) -> Decoded:
            return Decoded(torch.full_like(super().decoded(*given).mean, math.nan), None)

    with pytest.raises(
        FloatingPointError, match=r"likelihood stage, train, epoch 1, step 1: loss is nan for \d+"
    ):
        train(make(), Broken(1), Corners(2), seed=0)


# in a model


TERM = "autoregressive(width=16, heads=2, steps=3)"


def small_model() -> VAE:
    return gconvae.models.create("convae", hidden=16, channels=(2, 3), seed=0)


@pytest.fixture(scope="module")
def eights() -> Any:
    return SuperpixelMNIST(digit=8, split="test")[:60]


@pytest.fixture(scope="module")
def model(eights: Any) -> VAE:
    return small_model().with_likelihood(TERM, eights, seed=0)


def test_the_original_model_stays_as_it_was(eights: Any) -> None:
    original = small_model()
    made = original.with_likelihood(TERM, eights, seed=0)
    assert isinstance(made.likelihood, AutoregressiveLikelihood)
    assert isinstance(original.likelihood, MeanLikelihood)
    assert equal_states(original, small_model())
    for kind in ("encoder", "decoder", "prior"):
        assert equal_states(getattr(made, kind), getattr(original, kind))


def test_a_model_with_it_is_a_function_of_the_seed(model: VAE, eights: Any) -> None:
    torch.manual_seed(77)
    before = torch.random.get_rng_state()
    again = small_model().with_likelihood(TERM, eights, seed=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert equal_states(again, model)
    assert torch.equal(again.sample(10, seed=1), model.sample(10, seed=1))
    assert not equal_states(small_model().with_likelihood(TERM, eights, seed=1), model)


@pytest.mark.usefixtures("_threads_stay")
def test_the_number_of_threads_changes_no_bit_of_a_models_likelihood(eights: Any) -> None:
    made, term = [], "autoregressive(width=32, heads=2, steps=2, batch_size=64)"
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made.append(small_model().with_likelihood(term, eights, seed=0))
    assert equal_states(*made)


def test_samples_of_a_model_lie_on_the_lattice_of_its_clouds(model: VAE, eights: Any) -> None:
    step = model.likelihood.step
    assert torch.equal(step, torch.tensor([1 / 16, 1 / 16, 1 / 255]))
    for points in (model.sample(50, seed=1), eights.points):
        assert torch.equal(torch.round(points / step) * step, points)


def test_samples_of_a_model_are_the_same_after_saving(model: VAE, tmp_path: Path) -> None:
    loaded = gconvae.load(gconvae.save(model, tmp_path / "model"))
    assert equal_states(loaded, model)
    assert torch.equal(loaded.sample(20, seed=3), model.sample(20, seed=3))

"""Steps that are recorded and repeated without Python, with a CPU in the place of a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from graphs import StandIn, record_trainings
from torch import Tensor, nn

import gconvae
from gconvae import datasets, models
from gconvae.randomness import generator
from gconvae.training import batches
from gconvae.training.engine import fit_stage
from gconvae.training.optimization import Optimization
from gconvae.training.stages.network import NetworkStage
from gconvae.training.stages.recorded import RecordedSteps
from gconvae.training.stages.stepped import SteppedStage


@pytest.fixture(autouse=True)
def in_torch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library does in C++ cannot be noted as an operation."""
    monkeypatch.setattr("gconvae.losses.terms.native.available", lambda **given: False)


@pytest.fixture(autouse=True)
def without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU, but not on a GPU, torch looks at the labels."""

    def one_hot(labels: Tensor, count: int) -> Tensor:
        return (labels.unsqueeze(-1) == torch.arange(count)).long()

    monkeypatch.setattr(nn.functional, "one_hot", one_hot)


def clouds(ragged: bool = False) -> datasets.CloudDataset:
    random = torch.Generator().manual_seed(0)
    points = torch.rand(90, 25, 3, generator=random) * torch.tensor([27.0, 27.0, 1.0])
    sizes = torch.randint(20, 26, (90, 1), generator=random)
    mask = torch.arange(25) < sizes if ragged else None
    return datasets.from_points(points, mask, torch.arange(90) % 2 if ragged else None)


def trained(model: str = "convae", ragged: bool = False, **options: Any) -> Any:
    """Five batches of 16 and one of 10 an epoch, and two of validation."""
    kind: dict[str, Any] = {"ragged": True, "num_classes": 2} if ragged else {}
    if model == "convae":
        kind |= {"hidden": 32, "channels": (4, 8, 8)}
    data = clouds(ragged)
    made = models.create(model, seed=0, **kind)
    fixed = {"valid": data[:20], "batch_size": 16, "neighbors": "dense", "progress": False}
    return gconvae.fit(made, data, **fixed | {"epochs": 4} | options)


def same(first: Any, second: Any) -> bool:
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    outcomes = [
        {k: v for k, v in run.manifest.items() if k in ("best_epoch", "epochs_run")}
        for run in (first, second)
    ]
    return (
        first.history == second.history
        and outcomes[0] == outcomes[1]
        and all(torch.equal(*pair) for pair in pairs)
    )


@pytest.fixture(autouse=True)
def whole_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU has no parts side by side, and no threads, which round differently."""
    monkeypatch.setattr("gconvae.threads.SMALLEST", 10**6)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("block", [32, 2])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"kl_warmup": 2, "beta": 2.0, "free_bits": 0.1},
        {"kl_cycle": 2, "loss": "matched_intensity + 0.5 * third_axis"},
        {"epochs": 12, "patience": 1, "learning_rate": 0.03},
        {"precision": "bfloat16"},
        {"standardize": True},
        {"ragged": True},
        {"model": "set_transformer", "ragged": True, "epochs": 3},
    ],
)
@pytest.mark.filterwarnings("ignore:.*bfloat16.*")
def test_recorded_trainings_have_the_bits_of_others(
    options: dict[str, Any], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = trained(**options)
    monkeypatch.setattr(batches, "BLOCK", block)
    gpu = record_trainings(monkeypatch)
    recorded = trained(**options)
    assert gpu.recorded == 2 * 2  # training and validation, a whole batch and the last one
    epochs = len(recorded.history["epoch"])
    # of each shape, once directly
    assert gpu.replayed == epochs * (6 + 2) - 2 * 2
    assert same(recorded, wanted)
    if "patience" in options:
        assert epochs < options["epochs"]


def test_a_recorded_training_goes_on_with_the_bits_of_one_that_never_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = trained(epochs=5)
    record_trainings(monkeypatch)
    monkeypatch.setattr("gconvae.training.callbacks.SAVE_EVERY", 0.0)

    class Stopped(Exception):
        pass

    take, calls = RecordedSteps.take, []

    def stop(stage: RecordedSteps, *given: Any) -> None:
        calls.append(1)
        if len(calls) == 2 * 8 + 3:
            raise Stopped
        take(stage, *given)

    with monkeypatch.context() as patch:
        patch.setattr(RecordedSteps, "take", stop)
        with pytest.raises(Stopped):
            trained(epochs=5, out=tmp_path / "run")
    resumed = trained(epochs=5, out=tmp_path / "run", resume=True)
    assert same(resumed, wanted)


@pytest.mark.parametrize("begin", ["cpu", "gpu"])
def test_a_training_goes_on_with_or_without_recordings(
    begin: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = trained(epochs=4)
    monkeypatch.setattr("gconvae.training.callbacks.SAVE_EVERY", 0.0)
    ended = NetworkStage.on_validation_epoch_end

    def stop(stage: NetworkStage) -> None:
        if stage.current_epoch == 2:
            raise KeyError("stopped")
        ended(stage)

    def part(recorded: bool, stopped: bool) -> Any:
        with monkeypatch.context() as patch:
            if recorded:
                record_trainings(patch)
            if stopped:
                patch.setattr(NetworkStage, "on_validation_epoch_end", stop)
            return trained(epochs=4, out=tmp_path / "run", resume=not stopped)

    with pytest.raises(KeyError, match="stopped"):
        part(recorded=begin == "gpu", stopped=True)
    assert same(part(recorded=begin == "cpu", stopped=False), wanted)


def test_a_loss_that_is_not_finite_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    record_trainings(monkeypatch)
    with pytest.raises(FloatingPointError, match=r"epoch 1: the loss is nan; a learning_rate"):
        trained(learning_rate=1e30)


def plain(value: Any) -> bool:
    return isinstance(value, int | float | str | tuple | None)


def state_in_python(stage: Any) -> Any:
    """Numbers, names and choices of a stage, of what is in it and of its optimizer."""
    parts = [vars(part) for part in stage.modules()]
    parts += [group for group in stage._optimizer().param_groups]
    parts += list(stage._optimizer().state.values())
    parts += [part for part in vars(stage).values() if isinstance(part, dict)]
    return [{str(k): v for k, v in part.items() if plain(v)} for part in parts]


def test_what_is_recorded_counts_nothing_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, seen = record_trainings(monkeypatch), []
    for name in ("learn", "step_loss"):
        function = getattr(NetworkStage, name)

        def watched(stage: Any, *given: Any, function: Any = function) -> Any:
            before = state_in_python(stage)
            made = function(stage, *given)
            if gpu.is_recording:
                seen.append(state_in_python(stage) == before)
            return made

        monkeypatch.setattr(NetworkStage, name, watched)
    trained(epochs=2, ragged=True)
    assert seen == [True] * (2 * 2 + 2)


class Line(SteppedStage):
    """Fits a line, step by step, with all that differs between steps: rates, numbers, a mean."""

    name = "prior"
    learning_rate = 0.05
    largest_gradient = 0.5

    def __init__(self, recorded: bool, optimization: Optimization | None = None) -> None:
        super().__init__(0, steps=75, every=40, optimization=optimization)
        self.line, self.records = nn.Linear(2, 1), recorded
        nn.init.ones_(self.line.weight)
        self.mean = torch.ones(1, 2)
        self.numbers: list[int] = []
        self.rates: list[float] = []

    def default_scheduler(
        self, optimizer: torch.optim.Optimizer
    ) -> torch.optim.lr_scheduler.LRScheduler:
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.num_steps)

    def same_every_time(self) -> bool:
        return self.records

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(8, 2, generator=generator(0, "line", step=step))
        return x, x @ torch.tensor([2.0, -1.0])

    def step_loss(self, part: str, x: Tensor, y: Tensor, *rest: Tensor) -> Tensor:
        weight = self.line.weight if part == "train" else self.mean
        losses = (x @ weight[0] - y).square()
        share = self.share(len(x))
        self.add(part, share, losses)
        return self.mean_of(losses, share)

    def learn(self, rates: Tensor | None, *tensors: Tensor) -> None:
        super().learn(rates, *tensors)
        with torch.no_grad():
            self.mean.lerp_(self.line.weight, tensors[-1])

    def training_step(self, batch: Any, number: int) -> Tensor | None:
        if not self.is_recorded:
            return self.step_loss("train", *batch)
        for step, given in self.block(batch):
            assert step == self.step_number
            self._note()
            self.take("train", *given, torch.tensor(1 / (1 + step)))
        return None

    def on_train_batch_end(self, outputs: Any, batch: Any, number: int) -> None:
        if not self.is_recorded:
            with torch.no_grad():
                self.mean.lerp_(self.line.weight, torch.tensor(1 / self.step_number))

    def on_train_batch_start(self, batch: Any, number: int) -> None:
        if not self.is_recorded:
            self._note()

    def _note(self) -> None:
        self.numbers.append(self.step_number)
        self.rates.append(self._optimizer().param_groups[0]["lr"])

    def look(self) -> None:
        batch = self.batch(1000)
        if self.is_recorded:
            self.take("valid", *batch)
        else:
            self.step_loss("valid", *batch)

    def candidate(self) -> Mapping[str, Tensor]:
        return {"mean": self.mean}

    def leave(self) -> None:
        pass


def fitted(recorded: bool) -> Line:
    line = Line(recorded)
    fit_stage(line)
    return line


def test_a_stage_of_steps_is_recorded_with_its_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = fitted(False)
    gpu = record_trainings(monkeypatch)
    line = fitted(True)
    assert (gpu.recorded, gpu.replayed) == (2, 75 - 1 + 2 - 1)
    assert line.numbers == wanted.numbers == list(range(75))
    assert line.rates == wanted.rates
    assert line.rates[40] < 0.6 * line.rates[0]
    # a rate as a tensor is rounded to single precision
    torch.testing.assert_close(line.mean, wanted.mean)
    torch.testing.assert_close(line.line.weight, wanted.line.weight)
    for column in ("train_loss", "valid_loss"):
        for one, other in zip(line.history[column], wanted.history[column], strict=True):
            assert math.isclose(one, other, rel_tol=1e-4)
    assert line.history["epoch"] == wanted.history["epoch"] == [1, 2]


def test_a_step_that_draws_numbers_itself_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    StandIn(monkeypatch)
    recorder = gconvae.cuda_graphs.Recorder(
        lambda x: x.add_(torch.randn(2, generator=torch.Generator().manual_seed(0))), "cuda"
    )
    recorder(torch.zeros(2))
    with pytest.warns(UserWarning, match="cannot be recorded"):
        recorder(torch.zeros(2))


def with_likelihood(steps: int = 40) -> Any:
    """A likelihood around the decoder of a small network."""
    made = models.create("convae", hidden=32, channels=(4, 8, 8), seed=0)
    term = f"autoregressive(width=16, heads=2, steps={steps}, batch_size=16)"
    return made.with_likelihood(term, clouds(), seed=0)


def test_a_recorded_likelihood_has_the_weights_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # rounding grows: to 3e-6 in 20 steps, 5e-6 in 36, and once to 4e-3 in 40
    wanted = with_likelihood(steps=20)
    # a GPU sorts by comparing, since it would have to be asked whether one key is enough
    monkeypatch.setattr("gconvae.clouds.order._by_first_key", lambda *given: None)
    gpu = record_trainings(monkeypatch)
    recorded = with_likelihood(steps=20)
    assert (gpu.recorded, gpu.replayed) == (1, 20 - 1)
    others = dict(wanted.named_parameters())
    for name, weight in recorded.named_parameters():
        pair: tuple[torch.Tensor, ...] = weight, others[name]
        if name.endswith("queries_key_value.bias"):
            # a bias of keys changes no share of attention: its gradient is rounding alone
            pair = tuple(torch.cat([bias[:16], bias[24:]]) for bias in pair)
        # rates are tensors of fewer digits
        torch.testing.assert_close(pair[0], pair[1], rtol=0, atol=1e-4)


def test_draws_on_a_gpu_are_recorded_once_and_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    model = with_likelihood()
    wanted = [piece.points for piece in model.iter_samples(5000, seed=1)]
    assert len(wanted) > 2
    gpu = record_trainings(monkeypatch)
    monkeypatch.setattr("gconvae.sampling.recorded.records", lambda *given: True)
    assert torch.equal(model.sample(5000, seed=1), torch.cat(wanted))
    assert (gpu.recorded, gpu.replayed) == (1, len(wanted) - 1)

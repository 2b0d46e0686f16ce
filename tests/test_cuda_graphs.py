from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from graphs import StandIn
from torch import Tensor, nn

import gconvae
from gconvae import datasets, losses, models
from gconvae.cuda_graphs import Recorder, recordable, recording
from gconvae.training.stages.network import NetworkStage


class Own(nn.Module):
    """A part of somebody else's."""


class OwnAndFixed(nn.Module):
    recordable = True


class Derived(losses.ThirdAxisChamfer):
    """Might count steps."""


def test_parts_are_recorded_only_if_their_own_class_says_so() -> None:
    assert recordable(OwnAndFixed(), losses.create("third_axis", backend="auto"))
    assert not recordable(OwnAndFixed(), Own())
    assert not recordable(Derived("auto"))
    assert not recordable(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("loss", "fixed"),
    [
        ("third_axis", True),
        ("matched_intensity + 0.5 * third_axis", True),
        ("third_axis + matching", False),
        ("sinkhorn", False),
    ],
)
def test_losses_that_are_recorded(loss: str, fixed: bool) -> None:
    made = losses.create(loss, backend="dense")
    assert recordable(made) is fixed
    assert recordable(losses.Standardized(made, torch.zeros(3), torch.ones(3))) is fixed


def test_ties_of_torch_cluster_on_a_gpu_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = losses.create("third_axis", backend="torch-cluster")
    monkeypatch.setattr(
        "gconvae.losses.chamfer_modules.resolve_backend", lambda *given: "torch-cluster"
    )
    assert not recordable(loss)
    monkeypatch.setattr("gconvae.losses.chamfer_modules.resolve_backend", lambda *given: "dense")
    assert recordable(loss)


@pytest.mark.parametrize(
    ("given", "fixed"),
    [
        ({}, True),
        ({"kl_warmup": 2, "free_bits": 0.1, "standardize": True}, True),
        ({"model": "set_transformer"}, True),
        ({"decoder": "dense"}, True),
        ({"decoder": "set_transformer(noise_dim=2)"}, True),
        ({"encoder": "edge_conv"}, False),
        ({"encoder": "deep_sets"}, False),
        ({"loss": "matching"}, False),
        ({"loss": Derived("dense")}, False),
        ({"prior": "gmm", "joint_prior": True}, False),
        ({"lattice": True}, True),
        ({"scheduler": "cosine"}, True),
        ({"optimizer": "adam"}, False),
    ],
)
def test_steps_that_differ_by_more_than_their_tensors_are_not_recorded(
    given: dict[str, Any], fixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    def ended(task: NetworkStage) -> None:
        said.append(task.same_every_time())

    monkeypatch.setattr(NetworkStage, "on_train_end", ended)
    trained("cpu", **({"neighbors": "dense", "epochs": 1} | given))
    assert said == [fixed]


def test_on_a_cpu_the_function_runs_each_time() -> None:
    calls = []
    recorder = Recorder(lambda *tensors: calls.append(tensors), "cpu")
    one = torch.ones(2)
    for _ in range(3):
        recorder(one, None)
    assert len(calls) == 3
    assert calls[0][0] is one
    assert calls[0][1] is None
    assert not recording(one)


def test_what_is_recorded_gets_the_tensors_of_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    StandIn(monkeypatch)
    total, calls = torch.zeros(3), []

    def add(x: Tensor, nothing: None, factor: Tensor) -> None:
        calls.append(len(x))
        total.add_((x * factor).sum(0))

    recorder, wanted = Recorder(add, "cuda"), torch.zeros(3)
    for number in range(7):
        x = torch.full((4 if number % 2 else 5, 3), float(number))
        recorder(x, None, torch.tensor(number + 1.0))
        wanted += (x * (number + 1)).sum(0)
        x.fill_(torch.nan)  # the recorder has what it needs
    assert torch.equal(total, wanted)
    assert calls == [5, 4, 5, 4]
    recorder.forget()
    recorder(torch.ones(5, 3), None, torch.tensor(1.0))
    assert calls == [5, 4, 5, 4, 5]
    assert torch.equal(total, wanted + 5)


def test_a_recording_that_fails_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, total = StandIn(monkeypatch), torch.zeros(3)

    def add(x: Tensor) -> None:
        total.add_(x)
        if gpu.is_recording:
            raise RuntimeError("this operation waits\nand more")

    recorder, before = Recorder(add, "cuda"), gpu.streams[-1]
    recorder(torch.ones(3))
    with pytest.warns(UserWarning, match=r"which is slower: this operation waits$"):
        recorder(torch.ones(3))
    assert gpu.streams[-1] is before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder(torch.ones(3))
        recorder(torch.ones(3))
    assert total.tolist() == [4.0, 4.0, 4.0]


# ------------------------------------------------------------------ on a GPU


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    if device.type != "cuda":
        pytest.skip("graphs are recorded on a GPU: --device cuda")
    return device


def test_a_recording_does_what_the_function_does(gpu: torch.device) -> None:
    calls: list[int] = []
    total = torch.zeros(3, device=gpu)

    def add(x: Tensor, factor: Tensor) -> None:
        calls.append(len(x))
        total.add_((x * factor).sum(0))

    recorder = Recorder(add, gpu)
    wanted = torch.zeros(3)
    for number in range(6):
        x = torch.full((4 if number % 2 else 5, 3), float(number))  # of two shapes, on the CPU
        recorder(x, torch.tensor(2.0))
        wanted += (x * 2).sum(0)
    assert torch.equal(total.cpu(), wanted)
    assert calls == [5, 4, 5, 4]  # directly and recorded, once each


def test_what_cannot_be_recorded_runs_on_with_a_warning(gpu: torch.device) -> None:
    total = torch.zeros(3, device=gpu)

    def add(x: Tensor) -> None:
        if x.sum().item() > 0:  # waits
            total.add_(x)

    recorder = Recorder(add, gpu)
    recorder(torch.ones(3))
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph"):
        recorder(torch.ones(3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder(torch.ones(3))
    assert total.tolist() == [3.0, 3.0, 3.0]


def clouds(number: int = 130, ragged: bool = False) -> datasets.CloudDataset:
    random = torch.Generator().manual_seed(0)
    points = torch.rand(number, 25, 3, generator=random) * torch.tensor([27.0, 27.0, 1.0])
    sizes = torch.randint(20, 26, (number, 1), generator=random)
    mask = torch.arange(25) < sizes if ragged else None
    labels = torch.arange(number) % 2 if ragged else None
    return datasets.from_points(points, mask, labels)


def trained(device: str, model: str = "convae", ragged: bool = False, **options: Any) -> Any:
    kind: dict[str, Any] = {"ragged": True, "num_classes": 2} if ragged else {}
    parts = {"encoder", "decoder", "prior"} & options.keys()
    kind |= {name: options.pop(name) for name in parts}
    data = clouds(ragged=ragged)
    if options.pop("lattice", False):
        data = datasets.from_points(data.points.round(), data.mask)
        kind["likelihood"] = "mean(lattice=[1.0, 1.0, 0.0])"
    made = models.create(model, seed=0, **kind)
    options = {"epochs": 3, "batch_size": 40, "progress": False, "neighbors": "auto"} | options
    return gconvae.fit(made, data, accelerator=device, **options)


def same(first: Any, second: Any) -> bool:
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    return first.history == second.history and all(torch.equal(*pair) for pair in pairs)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"kl_warmup": 2, "beta": 2.0, "free_bits": 0.1},
    {"precision": "bfloat16"},
    {"ragged": True},
    {"model": "set_transformer"},
    {"model": "set_transformer", "ragged": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_recorded_trainings_have_the_bits_of_others(
    gpu: torch.device, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    step = NetworkStage.step_loss
    monkeypatch.setattr(NetworkStage, "step_loss", lambda *given: steps.append(1) or step(*given))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*cannot be recorded.*")
        recorded = trained("cuda", **options)
    # of each shape, once directly and once to record it
    assert len(steps) == 2 * (2 + 1)
    assert same(recorded, trained("cuda", **options))
    monkeypatch.setattr(NetworkStage, "same_every_time", lambda task: False)
    assert same(recorded, trained("cuda", **options))
    assert len(steps) == 2 * 2 * (2 + 1) + 3 * (3 + 1)


def test_a_part_that_wrongly_says_so_trains_with_a_warning(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"encoder": "edge_conv"}
    wanted = trained("cuda", **options)
    monkeypatch.setattr(NetworkStage, "same_every_time", lambda task: True)
    with pytest.warns(UserWarning, match="cannot be recorded as a CUDA graph"):
        tried = trained("cuda", **options)
    assert same(tried, wanted)


def test_a_gpu_trains_like_a_cpu(gpu: torch.device) -> None:
    options = {"kl_warmup": 2, "beta": 2.0, "epochs": 4}
    here, there = (trained(device, **options) for device in ("cuda", "cpu"))
    for column in here.history:
        torch.testing.assert_close(
            torch.tensor(here.history[column]).double(),
            torch.tensor(there.history[column]).double(),
            rtol=1e-2,  # rounding grows from step to step
            atol=1e-2,
        )


def test_a_training_resumed_on_a_gpu_has_the_bits_of_one_that_never_stopped(
    gpu: torch.device, tmp_path: Any
) -> None:
    whole = trained("cuda", epochs=5, out=tmp_path / "whole")

    class Stopped(Exception):
        pass

    calls = []

    def stop(self: Any, *given: Any) -> None:
        calls.append(1)
        if len(calls) == 10:
            raise Stopped
        self._kept(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NetworkStage, "_kept", NetworkStage.take, raising=False)
        patch.setattr(NetworkStage, "take", stop)
        with pytest.raises(Stopped):
            trained("cuda", epochs=5, out=tmp_path / "parts")
    assert same(whole, trained("cuda", epochs=5, out=tmp_path / "parts", resume=True))


def test_samples_of_a_gpu_are_those_of_a_cpu(
    gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    model = models.create("convae", seed=0)
    wanted = model.sample(9000, seed=3)
    made = model.to(gpu).sample(9000, seed=3)
    assert made.is_cuda
    # nodes that nearly tie in intensity may stand in another order
    torch.testing.assert_close(made.cpu().sum(1), wanted.sum(1), rtol=1e-4, atol=1e-3)
    assert (made[:, 1:, 2] <= made[:, :-1, 2]).all()

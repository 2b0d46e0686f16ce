from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import multiprocessing
import os
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from side_by_side import Starter
from torch import Tensor, nn
from torch_geometric.datasets import FakeDataset
from torch_geometric.loader import DataLoader

import gconvae
from gconvae import datasets, losses, models, neighbors
from gconvae.datasets import CloudDataset, SuperpixelMNIST, from_points
from gconvae.losses import MatchedIntensityChamfer, ThirdAxisChamfer
from gconvae.nn.conv import ConvDecoder
from gconvae.scaling import FeatureScaling
from gconvae.schema import SUPERPIXELS, superpixels
from gconvae.training import batches, callbacks, optimization
from gconvae.training.engine import Engine
from gconvae.training.run import Run
from gconvae.vae import VAE


@pytest.fixture(scope="module")
def eights() -> CloudDataset:
    return SuperpixelMNIST(8, "test")[:120]


def small(seed: int = 0, **options: Any) -> VAE:
    return models.create("convae", hidden=32, channels=(4, 8, 8), seed=seed, **options)


def quick(data: Any, model: VAE | None = None, **options: Any) -> Run:
    """A training of a second."""
    options = {"epochs": 2, "batch_size": 50, "progress": False} | options
    return gconvae.fit(model or small(), data, **options)


def weights(model: VAE) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def same_training(first: Run, second: Run) -> bool:
    """Whether history, weights and samples of two trainings have the same bits."""
    return (
        first.history == second.history
        and torch.equal(weights(first.model), weights(second.model))
        and all(
            torch.equal(one.sample_clouds(5, seed=1)[part], other.sample_clouds(5, seed=1)[part])
            for one, other in [(first.model, second.model)]
            for part in (0, 1)
        )
    )


def fingerprint(run: Run) -> str:
    """Checksum of history, weights and samples."""
    arrays = [weights(run.model).numpy(), run.model.sample(5, seed=1).numpy()]
    content = json.dumps(run.history).encode() + b"".join(array.tobytes() for array in arrays)
    return hashlib.sha256(content).hexdigest()


def draw_elsewhere() -> None:
    """Other random numbers, and other states of all generators."""
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - the global state is what must not matter
    random.seed(99)
    torch.rand(17)


def in_a_process_of_its_own(start: Starter, statement: str) -> str:
    """What a statement prints in another process that has this file as ``t``."""
    here = str(Path(__file__).parent)
    done = start(
        1, "shared_work.program", text=f"import test_fit as t; {statement}", folders=[here]
    )
    assert done.codes == [0], done.err
    return done.out


class Recording(nn.Module):
    """The real loss, which notes what it sees; training and validation apart."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = ThirdAxisChamfer(backend="dense")
        self.seen: dict[str, list[Tensor]] = {"train": [], "valid": []}
        self.threads: set[int] = set()
        self.deterministic: set[bool] = set()

    def forward(self, target: Tensor, output: Tensor, mask: Tensor | None = None) -> Tensor:
        self.seen["train" if output.requires_grad else "valid"].append(target.clone())
        self.threads.add(torch.get_num_threads())
        self.deterministic.add(torch.are_deterministic_algorithms_enabled())
        return self.loss(target, output, mask)


class Scripted(nn.Module):
    """The real loss in training; in validation the given value of each epoch."""

    def __init__(self, valid: list[float]) -> None:
        super().__init__()
        self.loss = ThirdAxisChamfer(backend="dense")
        self.valid = list(valid)

    def forward(self, target: Tensor, output: Tensor, mask: Tensor | None = None) -> Tensor:
        if output.requires_grad:
            return self.loss(target, output, mask)
        return torch.full((len(target),), self.valid.pop(0))


def scripted(eights: CloudDataset, values: list[float], **options: Any) -> Run:
    # one validation batch an epoch, and no KL, so that the validation loss is the scripted value
    options = {"epochs": len(values), "beta": 0.0, "batch_size": 100} | options
    return quick(eights, loss=Scripted(values), **options)


# what comes out


def test_the_callers_model_is_unchanged(eights: CloudDataset) -> None:
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    run = quick(from_points(eights.points), model)
    after = model.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before | after)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert model.scaling.high.tolist() == [27, 27, 1]
    assert run.model is not model


def test_a_trained_model_can_be_trained_on(eights: CloudDataset) -> None:
    first = quick(eights, epochs=4)
    assert not first.model.training  # as load gives it too
    second = quick(eights, first.model, epochs=4)
    assert second.history["train_rec"][0] < first.history["train_rec"][0]
    assert not first.model.training


def test_the_trained_copy_has_moved_in_every_part(eights: CloudDataset) -> None:
    model = small()
    run = quick(eights, model)
    unmoved = [
        name
        for (name, new), old in zip(run.model.named_parameters(), model.parameters(), strict=True)
        if torch.equal(new, old)
    ]
    assert unmoved == []


def test_the_trained_model_is_ready_to_use(eights: CloudDataset) -> None:
    run = quick(eights)
    assert not run.model.training
    assert run.model.device.type == "cpu"
    assert run.model.reconstruct(eights.points).shape == (120, 25, 3)


def test_history_has_rec_kl_and_total_of_both_sets_for_every_epoch(eights: CloudDataset) -> None:
    history = quick(eights, epochs=3).history
    wanted = {f"{part}_{term}" for part in ("train", "valid") for term in ("loss", "rec", "kl")}
    assert set(history) == {"stage", "epoch", *wanted}
    assert history["stage"] == ["network"] * 3
    assert history["epoch"] == [1, 2, 3]
    assert all(len(history[name]) == 3 for name in wanted)
    assert all(math.isfinite(value) for name in wanted for value in history[name])


@pytest.mark.parametrize("beta", [0.0, 0.3, 5.0])
def test_total_loss_is_rec_plus_beta_times_kl(eights: CloudDataset, beta: float) -> None:
    history = quick(eights, beta=beta).history
    for part in ("train", "valid"):
        for i in range(2):
            wanted = history[f"{part}_rec"][i] + beta * history[f"{part}_kl"][i]
            assert history[f"{part}_loss"][i] == pytest.approx(wanted, rel=1e-9)
            assert history[f"{part}_kl"][i] > 0


def test_training_lowers_both_losses(eights: CloudDataset) -> None:
    history = quick(eights, epochs=12).history
    assert history["train_loss"][-1] < 0.8 * history["train_loss"][0]
    assert history["valid_loss"][-1] < 0.8 * history["valid_loss"][0]


def test_a_larger_beta_gives_a_smaller_kl(eights: CloudDataset) -> None:
    free, bound = (quick(eights, beta=beta, epochs=12).history for beta in (0.0, 100.0))
    assert bound["valid_kl"][-1] < 0.2 * free["valid_kl"][-1]


def test_history_counts_every_cloud_once_in_uneven_batches(eights: CloudDataset) -> None:
    class FirstColumn(nn.Module):
        def forward(self, target: Tensor, output: Tensor, *_: Any) -> Tensor:
            return target[:, 0, 0] + 0.0 * output.sum((1, 2))

    valid = eights[100:]
    history = quick(eights[:100], valid=valid, loss=FirstColumn(), batch_size=99).history
    wanted = eights.points[:100, 0, 0].mean().item()
    assert history["train_rec"] == pytest.approx([wanted, wanted], rel=1e-6)
    wanted = valid.points[:, 0, 0].mean().item()
    assert history["valid_rec"] == pytest.approx([wanted, wanted], rel=1e-6)


# the work of an epoch


def test_the_last_partial_batch_is_used(eights: CloudDataset) -> None:
    loss = Recording()
    quick(eights, valid=eights[:45], loss=loss, batch_size=35, epochs=1)
    assert [len(target) for target in loss.seen["train"]] == [35, 35, 35, 15]
    assert [len(target) for target in loss.seen["valid"]] == [35, 10]


def test_every_training_cloud_is_seen_once_an_epoch_in_pixel_units(eights: CloudDataset) -> None:
    loss = Recording()
    quick(eights, valid=eights[:10], loss=loss, batch_size=35)
    wanted = sorted((eights.points * torch.tensor([1.0, 1.0, 27.0])).flatten(1).tolist())
    for epoch in (loss.seen["train"][:4], loss.seen["train"][4:]):
        seen = sorted(torch.cat(epoch).flatten(1).tolist())
        torch.testing.assert_close(torch.tensor(seen), torch.tensor(wanted))


def test_the_order_of_clouds_changes_from_epoch_to_epoch(eights: CloudDataset) -> None:
    loss = Recording()
    quick(eights, loss=loss, batch_size=20)
    half = len(loss.seen["train"]) // 2
    first, second = torch.cat(loss.seen["train"][:half]), torch.cat(loss.seen["train"][half:])
    assert not torch.equal(first, second)
    # not only the batches: their composition too
    assert not torch.equal(first[:20].sum(0), second[:20].sum(0))


def test_a_batch_larger_than_the_set_is_one_step(eights: CloudDataset) -> None:
    loss = Recording()
    quick(eights[:20], loss=loss, batch_size=1000, epochs=1)
    assert [len(target) for target in loss.seen["train"]] == [17]


def test_without_a_validation_set_a_seeded_17_percent_is_kept_aside(
    eights: CloudDataset,
) -> None:
    loss = Recording()
    quick(eights[:100], loss=loss, epochs=1)
    train, valid = gconvae.datasets.split(eights[:100], 0.17, seed=0)
    scale = torch.tensor([1.0, 1.0, 27.0])
    torch.testing.assert_close(torch.cat(loss.seen["valid"]), valid.points * scale)
    assert sum(len(target) for target in loss.seen["train"]) == len(train) == 83


def test_a_given_validation_set_leaves_all_data_for_training(eights: CloudDataset) -> None:
    loss = Recording()
    quick(eights[:100], valid=eights[100:].points, loss=loss, epochs=1)
    assert sum(len(target) for target in loss.seen["train"]) == 100
    assert sum(len(target) for target in loss.seen["valid"]) == 20


def test_validation_noise_is_fixed_and_training_noise_is_not(eights: CloudDataset) -> None:
    # steps too small to change a weight: what still differs between epochs is noise
    history = quick(eights, learning_rate=1e-30, epochs=3).history
    assert history["valid_loss"][0] == history["valid_loss"][1] == history["valid_loss"][2]
    assert len(set(history["train_rec"])) == 3


def test_validation_noise_follows_the_seed(eights: CloudDataset) -> None:
    losses = [
        quick(eights[:100], valid=eights[100:], learning_rate=1e-30, epochs=1, seed=seed)
        for seed in (0, 1)
    ]
    assert losses[0].history["valid_rec"] != losses[1].history["valid_rec"]


def test_latents_are_drawn_in_training(eights: CloudDataset) -> None:
    class Outputs(Recording):
        outputs: list[Tensor]

        def forward(self, target: Tensor, output: Tensor, mask: Any = None) -> Tensor:
            self.outputs.append(output.detach().clone())
            return self.loss(target, output, mask)

    loss = Outputs()
    loss.outputs = []
    same = from_points(eights.points[:1].expand(40, -1, -1), schema=SUPERPIXELS)
    quick(same, valid=same, loss=loss, epochs=1)
    assert torch.pdist(loss.outputs[0].flatten(1)).min() > 1e-3


# the best epoch


def test_the_best_epoch_is_kept_not_the_last(eights: CloudDataset) -> None:
    run = scripted(eights, [5.0, 4.0, 6.0, 7.0])
    assert run.history["valid_loss"] == [5.0, 4.0, 6.0, 7.0]
    assert run.manifest["best_epoch"] == 2
    stopped_there = scripted(eights, [5.0, 4.0])
    went_on = scripted(eights, [5.0, 4.0, 3.0, 2.0])
    assert torch.equal(weights(run.model), weights(stopped_there.model))
    assert not torch.equal(weights(run.model), weights(went_on.model))


def test_the_saved_weights_are_those_of_the_best_epoch(
    eights: CloudDataset, tmp_path: Path
) -> None:
    scripted(eights, [5.0, 4.0, 6.0], out=tmp_path / "run")
    wanted = scripted(eights, [5.0, 4.0]).model
    assert torch.equal(weights(gconvae.load(tmp_path / "run")), weights(wanted))


def test_the_best_epoch_counts_beta_times_kl(eights: CloudDataset) -> None:
    # rec alone would choose epoch 1; the KL falls from epoch to epoch under a large beta
    run = scripted(eights, [1.0, 1.001, 1.002, 1.003], beta=1000.0)
    history = run.history
    assert history["valid_kl"][0] > history["valid_kl"][-1]
    best = min(range(4), key=lambda i: history["valid_loss"][i])
    assert run.manifest["best_epoch"] == best + 1 != 1


def test_of_equal_epochs_the_first_is_kept(eights: CloudDataset) -> None:
    assert scripted(eights, [4.0, 4.0, 4.0]).manifest["best_epoch"] == 1


@pytest.mark.parametrize(
    ("values", "patience", "epochs"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3),
        ([5.0, 6.0, 4.0, 5.0, 6.0, 7.0], 2, 5),
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 1, 2),
        ([1.0, 2.0, 3.0, 4.0], None, 4),
        ([4.0, 3.0, 2.0, 1.0], 1, 4),
    ],
)
def test_training_stops_after_so_many_epochs_without_a_better_one(
    eights: CloudDataset, values: list[float], patience: int | None, epochs: int
) -> None:
    run = scripted(eights, values, patience=patience)
    assert len(run.history["epoch"]) == epochs
    assert run.manifest["epochs_run"] == epochs


# resume


def stopped(
    eights: CloudDataset, values: list[float], epochs: int, folder: Path, **options: Any
) -> None:
    """A training that breaks off when its scripted values run out, its last epoch saved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "SAVE_EVERY", 0.0)
        with pytest.raises(IndexError):
            scripted(eights, values, epochs=epochs, out=folder, **options)


def test_a_resumed_training_keeps_the_best_epoch_from_before_the_stop(
    eights: CloudDataset, tmp_path: Path
) -> None:
    stopped(eights, [5.0, 4.0, 6.0], 5, tmp_path / "run")
    rest = scripted(eights, [7.0, 8.0], epochs=5, out=tmp_path / "run", resume=True)
    whole = scripted(eights, [5.0, 4.0, 6.0, 7.0, 8.0])
    assert rest.manifest["best_epoch"] == 2
    assert same_training(rest, whole)
    assert torch.equal(gconvae.load(tmp_path / "run").sample(5), whole.model.sample(5))


def test_patience_counts_the_epochs_before_the_stop(eights: CloudDataset, tmp_path: Path) -> None:
    stopped(eights, [5.0, 4.0, 6.0], 9, tmp_path / "run", patience=3)
    options = {"epochs": 9, "patience": 3, "out": tmp_path / "run"}
    rest = scripted(eights, [7.0, 8.0, 9.0], resume=True, **options)
    assert rest.history["epoch"] == [1, 2, 3, 4, 5]


def test_short_epochs_are_not_all_saved_and_done_again(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "SAVE_EVERY", 1000.0)
    with pytest.raises(IndexError):
        scripted(eights, [5.0, 4.0, 6.0], epochs=5, out=tmp_path / "run")
    assert len((tmp_path / "run" / "history.csv").read_text().splitlines()) == 1 + 3
    # the first epoch is saved, and the last one
    values = [4.0, 6.0, 7.0, 8.0]
    rest = scripted(eights, values, epochs=5, out=tmp_path / "run", resume=True)
    assert same_training(rest, scripted(eights, [5.0, *values]))
    again = scripted(eights, [], epochs=5, out=tmp_path / "run", resume=True)
    assert same_training(rest, again)


def test_a_training_that_had_stopped_early_has_nothing_to_resume(
    eights: CloudDataset, tmp_path: Path
) -> None:
    options = {"epochs": 9, "patience": 2, "out": tmp_path / "run"}
    first = scripted(eights, [5.0, 4.0, 6.0, 7.0], **options)
    again = scripted(eights, [], resume=True, **options)
    assert len(again.history["epoch"]) == 4
    assert same_training(first, again)
    assert again.manifest["seconds"] == first.manifest["seconds"] > 0


def test_a_run_that_stopped_before_its_first_epoch_ended_starts_anew(
    eights: CloudDataset, tmp_path: Path
) -> None:
    stopped(eights, [], 2, tmp_path / "run")
    rest = scripted(eights, [5.0, 4.0], out=tmp_path / "run", resume=True)
    assert same_training(rest, scripted(eights, [5.0, 4.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.5}, "options beta = 0.5, was 1.0"),
        ({"loss": MatchedIntensityChamfer(2.0)}, "options loss = .*intensity_weight=2"),
        ({"model": small(seed=1)}, "model weights_sha256"),
        (
            {"data": from_points(torch.rand(30, 25, 3), schema=SUPERPIXELS)},
            "train clouds = 25, was",
        ),
    ],
)
def test_what_a_resumed_training_must_keep(
    eights: CloudDataset, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    loss = MatchedIntensityChamfer(1.0)
    quick(eights, epochs=1, loss=loss, out=tmp_path / "run")
    given = {"data": eights, "model": None, "loss": loss, "epochs": 1} | change
    with pytest.raises(ValueError, match=f"resume must keep .*{message}"):
        quick(out=tmp_path / "run", resume=True, **given)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_damaged_state_is_one_clear_error(
    eights: CloudDataset, tmp_path: Path, kept: float
) -> None:
    quick(eights, epochs=1, out=tmp_path / "run")
    state = tmp_path / "run" / "last.ckpt"
    content = state.read_bytes()
    state.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(ValueError, match=r"last\.ckpt must be a whole checkpoint"):
        quick(eights, epochs=1, out=tmp_path / "run", resume=True)


class Killing(ThirdAxisChamfer):
    """The real loss; its process is killed in the given call."""

    def __init__(self, call: int | None) -> None:
        super().__init__()
        self.calls_left = call

    def forward(self, *clouds: Any, **more: Any) -> Tensor:
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(*clouds, **more)


CALLS = 6
"""Calls of the loss in an epoch of :func:`killable`: 5 training steps and 1 validation step."""

EPOCHS = 4


def killable(folder: Path, call: int | None, *, resume: bool = False) -> Run:
    callbacks.SAVE_EVERY = 0.0  # in a process of its own
    data = SuperpixelMNIST(8, "test")[:120]
    options = {"batch_size": 20, "epochs": EPOCHS, "threads": 1, "resume": resume}
    return quick(data, loss=Killing(call), out=folder, **options)


def killed_and_resumed(folder: str, calls: list[int | None]) -> None:
    """A training killed in the given calls, each in a process of its own, until one may end."""
    for number, call in enumerate(calls):
        process = multiprocessing.get_context("fork").Process(
            target=killable, args=(Path(folder), call), kwargs={"resume": number > 0}
        )
        process.start()
        process.join()
        assert process.exitcode == (0 if call is None else -signal.SIGKILL)


def test_killed_at_random_steps_and_resumed_gives_the_bits_of_one_that_never_stopped(
    tmp_path: Path, start: Starter
) -> None:
    first = random.SystemRandom().randrange(1, EPOCHS * CALLS + 1)
    left = EPOCHS * CALLS - (first - 1) // CALLS * CALLS  # resume begins its epoch anew
    calls = [first, random.SystemRandom().randrange(1, left + 1), None]
    in_a_process_of_its_own(start, f"t.killed_and_resumed({str(tmp_path / 'killed')!r}, {calls})")
    whole = killable(tmp_path / "whole", None)
    names = ("history.csv", "model.safetensors", "report_valid.json")
    for name in names:
        files = [(tmp_path / run / name).read_bytes() for run in ("whole", "killed")]
        assert files[0] == files[1], f"{name}, killed in calls {calls}"
    resumed = gconvae.load(tmp_path / "killed")
    assert torch.equal(resumed.sample(9, seed=1), whole.model.sample(9, seed=1)), calls
    manifest = json.loads((tmp_path / "killed" / "manifest.json").read_text())
    assert manifest["samples_sha256"] == whole.manifest["samples_sha256"], calls


def test_the_state_to_resume_from_is_read_without_running_code(
    eights: CloudDataset, tmp_path: Path
) -> None:
    run = quick(eights, out=tmp_path / "run")
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert state["training"]["history"] == run.history
    assert state["training"]["best_weights"].keys() == run.model.state_dict().keys()


def test_resume_needs_a_folder(eights: CloudDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="resume needs the folder"):
        quick(eights, resume=True)
    with pytest.raises(FileNotFoundError, match="must hold a begun run"):
        quick(eights, out=tmp_path, resume=True)


def test_an_interrupt_stays_an_interrupt(eights: CloudDataset) -> None:
    class Interrupting(nn.Module):
        def forward(self, *clouds: Any) -> Tensor:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick(eights, loss=Interrupting())


@pytest.mark.parametrize("hook", ["setup", "on_fit_start", "on_train_start", "on_fit_end"])
def test_ctrl_c_works_after_an_interrupt(eights: CloudDataset, hook: str) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    callback = Callback()
    setattr(callback, hook, interrupt)
    # a process in the background begins by ignoring it
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            quick(eights, callbacks=callback)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_loss_with_parameters_is_refused(eights: CloudDataset) -> None:
    class Learned(nn.Linear):
        pass

    with pytest.raises(ValueError, match="loss must have no parameters"):
        quick(eights, loss=Learned(3, 1))


# the same bits


def test_the_same_seed_gives_the_same_bits_whatever_was_drawn_before(
    eights: CloudDataset,
) -> None:
    torch.manual_seed(1)
    first = quick(eights, small())
    draw_elsewhere()
    quick(eights, small(), seed=5, epochs=1)
    assert same_training(first, quick(eights, small()))


def test_a_fresh_process_gives_the_same_bits(eights: CloudDataset, start: Starter) -> None:
    training = "t.fingerprint(t.quick(t.SuperpixelMNIST(8, 'test')[:120], threads=1{}))"
    fresh, workers, after_other_draws = in_a_process_of_its_own(
        start,
        f"print({training.format('')}, {training.format(', workers=2')}); "
        f"t.draw_elsewhere(); print({training.format('')})",
    ).split()
    wanted = fingerprint(quick(eights, threads=1))
    assert fresh == workers == after_other_draws == wanted
    assert fingerprint(quick(eights, threads=1, seed=1)) != wanted


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_no_bit_and_leave_nothing_behind(
    eights: CloudDataset, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    ragged_clouds = from_points(*ragged())
    for data in (eights, ragged_clouds):
        run = quick(data, workers=workers)
        assert run.manifest["options"]["workers"] == workers
        assert same_training(run, quick(data))
    assert multiprocessing.active_children() == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("block", [1, 2])
def test_how_many_steps_lightning_asks_for_at_once_changes_no_bit(
    eights: CloudDataset, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    wanted = quick(eights, batch_size=20)
    monkeypatch.setattr(batches, "BLOCK", block)
    started = Engine.run

    def run(engine: Engine, stage: Any, **given: Any) -> None:
        # as on a GPU that records its steps
        stage.is_recorded, stage.automatic_optimization = True, False
        started(engine, stage, **given)

    monkeypatch.setattr(Engine, "run", run)
    assert same_training(quick(eights, batch_size=20), wanted)


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_clouds_of_a_pyg_loader_are_trained_on(eights: CloudDataset, shuffle: bool) -> None:
    wanted = quick(eights, valid=eights[:20])
    loader = DataLoader(eights, batch_size=7, shuffle=shuffle)
    assert same_training(quick(loader, valid=DataLoader(eights[:20], batch_size=3)), wanted)


def test_graphs_are_trained_on(eights: CloudDataset) -> None:
    graphs = [eights[n] for n in range(len(eights))]
    points = from_points(*eights.clouds)
    assert same_training(quick(graphs), quick(points))
    assert same_training(quick(DataLoader(graphs, batch_size=7)), quick(points))


def test_a_loader_of_some_clouds_is_one_clear_error(eights: CloudDataset) -> None:
    loader = DataLoader(eights, sampler=torch.utils.data.SubsetRandomSampler(range(10)))
    with pytest.raises(ValueError, match="data must be a loader of a whole data set.*Subset"):
        quick(loader)


def test_a_pyg_data_set_without_positions_is_one_clear_error() -> None:
    with pytest.raises(ValueError, match=r"data\[0\]\.pos must hold positions"):
        quick(FakeDataset(num_graphs=2))


def test_means_of_gradients_that_are_gone_end_and_change_no_weight() -> None:
    weights, means = [], []
    for ends in (False, True):
        weight = torch.linspace(-1, 1, 40).requires_grad_()
        adam = optimization.Adam([weight], lr=1e-3, fused=True)
        for step in range(1500):
            if ends and step % optimization.FADING == 0:
                adam.forget_traces()
            dies = torch.arange(40) < 20
            weight.grad = torch.where(dies & (step > 5), 0.0, torch.sin(torch.arange(40.0) + step))
            adam.step()
        weights.append(weight.detach())
        means.append(adam.state[weight]["exp_avg"])
    assert torch.equal(*weights)
    assert torch.equal(means[0][20:], means[1][20:])
    assert ((means[0][:20] != 0) & (means[0][:20].abs() < 1e-38)).any()  # without digits
    assert not means[1][:20].any()


def test_a_training_ends_such_means(eights: CloudDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gconvae.training.stages.network.FADING", 4)
    monkeypatch.setattr(optimization, "TRACE", 1e-5)  # some are, in a short training
    smallest: list[float] = []
    forget = optimization.Adam.forget_traces

    def watched(adam: Any) -> None:
        forget(adam)
        means = [state["exp_avg"].abs() for state in adam.state.values()]
        smallest.extend(mean[mean > 0].min().item() for mean in means)

    monkeypatch.setattr(optimization.Adam, "forget_traces", watched)
    run = quick(eights[:60], valid=eights[60:70], batch_size=10, epochs=3)
    parameters = len(list(run.model.parameters()))
    assert len(smallest) == 5 * parameters  # steps 0 and 4 of each epoch, but for the first
    assert min(smallest) > 1e-5


@pytest.mark.filterwarnings("ignore:precision='bfloat16' is emulated")
@pytest.mark.parametrize(
    "parts",
    [
        {"encoder": "conv", "ragged": True},
        {"encoder": "edge_conv"},
        {"encoder": "set_transformer"},
        {"decoder": "graph"},
    ],
    ids=lambda parts: "-".join(map(str, parts.values())),
)
def test_bfloat16_trains_all_parts_to_nearly_the_same_loss(
    eights: CloudDataset, parts: dict[str, Any]
) -> None:
    model = models.create("convae", seed=0, **parts)
    exact, rough = (
        quick(eights[:60], model, epochs=1, precision=precision)
        for precision in ("float32", "bfloat16")
    )
    assert rough.manifest["options"]["precision"] == "bfloat16"
    assert {weight.dtype for weight in rough.model.parameters()} == {torch.float32}
    assert rough.history["valid_loss"] != exact.history["valid_loss"]
    assert rough.history["valid_loss"] == pytest.approx(exact.history["valid_loss"], rel=0.03)
    assert rough.model.sample(3).dtype == torch.float32


@pytest.mark.parametrize("supported", [True, False])
def test_bfloat16_that_is_emulated_warns(
    eights: CloudDataset, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    told = {"avx2": True, "avx512_bf16": supported, "amx_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quick(eights, precision="bfloat16", epochs=1)
    said = [str(warning.message) for warning in caught]
    assert any("is emulated on this device" in message for message in said) is not supported


@pytest.mark.parametrize("step", [2, 3, 5, 6])
def test_an_error_leaves_no_worker_behind(eights: CloudDataset, step: int) -> None:
    # steps 3 and 6 are validation
    class Failing(ThirdAxisChamfer):
        steps_left = step

        def forward(self, *clouds: Any, **more: Any) -> Tensor:
            self.steps_left -= 1
            if self.steps_left == 0:
                raise RuntimeError("as asked")
            return super().forward(*clouds, **more)

    with pytest.raises(RuntimeError, match="as asked") as kept:
        quick(eights, workers=2, loss=Failing())
    assert multiprocessing.active_children() == []
    del kept


def test_a_resumed_training_may_have_other_workers(eights: CloudDataset, tmp_path: Path) -> None:
    stopped(eights, [5.0, 4.0], 3, tmp_path / "run")
    rest = scripted(eights, [3.0], epochs=3, out=tmp_path / "run", resume=True, workers=2)
    assert same_training(rest, scripted(eights, [5.0, 4.0, 3.0]))


def test_a_trained_model_can_be_trained_again_to_the_same_bits(eights: CloudDataset) -> None:
    model = small()
    assert same_training(quick(eights, model), quick(eights, model))


def test_another_seed_gives_another_training(eights: CloudDataset) -> None:
    first, second = quick(eights), quick(eights, seed=1)
    assert first.history["train_loss"] != second.history["train_loss"]


def test_the_progress_bar_changes_no_bit(eights: CloudDataset) -> None:
    assert same_training(quick(eights), quick(eights, progress=True))


def test_saving_changes_no_bit(eights: CloudDataset, tmp_path: Path) -> None:
    assert same_training(quick(eights), quick(eights, out=tmp_path / "run"))


@pytest.mark.parametrize("loss", ["third_axis", "matched_intensity"])
def test_either_neighbour_search_gives_the_same_loss_curve(
    eights: CloudDataset, loss: str
) -> None:
    first, second = (
        quick(eights, loss=loss, neighbors=search, epochs=4)
        for search in ("torch-cluster", "dense")
    )
    assert [run.manifest["neighbor_search"] for run in (first, second)] == [
        "torch-cluster",
        "dense",
    ]
    assert same_training(first, second)


def test_the_search_asked_for_is_the_search_used(
    eights: CloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    original = neighbors.resolve_backend

    def spy(backend: str, *arguments: Any, **options: Any) -> Any:
        asked.append(backend)
        return original(backend, *arguments, **options)

    monkeypatch.setattr(neighbors, "resolve_backend", spy)
    for backend in neighbors.BACKENDS:
        asked.clear()
        quick(eights, neighbors=backend, epochs=1)
        assert set(asked) == {backend}


def test_auto_saves_the_search_that_was_really_used(eights: CloudDataset) -> None:
    run = quick(eights, neighbors="auto", epochs=1)
    used = neighbors.resolve_backend("auto", "cpu", torch.float32, num_nodes=25)
    assert run.manifest["neighbor_search"] == used


def test_the_two_losses_train_differently(eights: CloudDataset) -> None:
    histories = [quick(eights, loss=name).history for name in ("third_axis", "matched_intensity")]
    assert histories[0]["train_rec"] != histories[1]["train_rec"]


def test_a_loss_of_ones_own_is_as_good_as_a_named_one(eights: CloudDataset) -> None:
    assert same_training(quick(eights), quick(eights, loss=ThirdAxisChamfer()))


# own clouds


def foreign(num_clouds: int = 120, seed: int = 0) -> Tensor:
    """Positions in [-1, 1], third feature in GeV up to 500; every limit is reached often."""
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(num_clouds, 25, 3, generator=random)
    points[:, :3] = points[:, :3].round()
    return points * torch.tensor([2.0, 2.0, 500.0]) + torch.tensor([-1.0, -1.0, 0.0])


@pytest.mark.parametrize(
    "form", [lambda p: p, lambda p: p.double().numpy(), lambda p: from_points(p)]
)
def test_a_foreign_set_trains_samples_and_plots(form: Callable[[Tensor], Any]) -> None:
    run = quick(form(foreign()), epochs=4)
    assert run.history["train_rec"][-1] < run.history["train_rec"][0]
    made = run.model.sample(200, seed=0)
    low, high = made.amin((0, 1)), made.amax((0, 1))
    slack = torch.tensor([2e-5, 2e-5, 5e-3])
    assert (low >= torch.tensor([-1.0, -1.0, 0.0]) - slack).all()
    assert (high <= torch.tensor([1.0, 1.0, 500.0]) + slack).all()
    assert made[..., 2].mean() > 20  # GeV, not [0, 1]
    figure = gconvae.plots.cloud_grid(made)
    figure.canvas.draw()
    assert figure.axes


@pytest.mark.parametrize("seed", range(4))
def test_own_clouds_of_any_distribution_train_though_valid_reaches_further(seed: int) -> None:
    # with a long tail the farthest node of all is often not one of the training split
    points = torch.randn(80, 25, 3, generator=torch.Generator().manual_seed(seed))
    points[..., 2] = (1.5 * points[..., 2]).exp()
    with pytest.warns(UserWarning, match="feature 3 has a heavy tail"):
        run = quick(points, epochs=1)
    assert run.model.schema.features[2].tail is not None
    assert torch.isfinite(run.model.sample(5)).all()


def test_a_validation_value_far_outside_the_range_is_clamped_and_counted() -> None:
    valid = foreign(10, seed=1)
    valid[3, 4, 2] = 5000.0
    with pytest.warns(UserWarning, match="1 of 250 nodes of valid lie far outside"):
        run = quick(foreign(), valid=valid, epochs=1)
    assert math.isfinite(run.history["valid_loss"][0])


def test_pixel_data_outside_their_image_are_an_error_that_says_so(eights: CloudDataset) -> None:
    points = eights.points.clone()
    points[3, 4, 0] = 40.0
    with pytest.raises(ValueError, match=r"data must lie in \[0, 27\].*40"):
        quick(from_points(points, schema=SUPERPIXELS), valid=eights)


def test_pixels_are_the_range_where_the_data_say_that_they_are_an_image(
    eights: CloudDataset,
) -> None:
    scaling = quick(eights, epochs=1).model.scaling
    assert (scaling.low.tolist(), scaling.high.tolist()) == ([0, 0, 0], [27, 27, 1])
    larger = from_points(eights.points, schema=superpixels(64))
    assert quick(larger, epochs=1).model.scaling.high.tolist() == [63, 63, 1]


def test_the_range_of_other_data_is_that_of_the_training_clouds() -> None:
    data, valid = foreign(), foreign(10, seed=1) * 0.5
    scaling = quick(data, valid=valid, epochs=1).model.scaling
    nodes = data.flatten(0, 1)
    for found, wanted in ((scaling.low, nodes.amin(0)), (scaling.high, nodes.amax(0))):
        torch.testing.assert_close(found, wanted, rtol=0.2, atol=0.2)


def test_range_can_be_asked_for_on_an_image(eights: CloudDataset) -> None:
    scaling = quick(eights, valid=eights, scaling="range", epochs=1).model.scaling
    torch.testing.assert_close(scaling.low, eights.points.amin((0, 1)))
    torch.testing.assert_close(scaling.high, eights.points.amax((0, 1)))


def test_keep_leaves_the_models_own_scaling(eights: CloudDataset) -> None:
    model = small()
    model.scaling = FeatureScaling(torch.full((3,), -5.0), torch.full((3,), 50.0))
    scaling = quick(eights, model, scaling="keep", epochs=1).model.scaling
    assert (scaling.low.tolist(), scaling.high.tolist()) == ([-5.0] * 3, [50.0] * 3)


def ragged(num_clouds: int = 60) -> tuple[Tensor, Tensor]:
    counts = 3 + torch.arange(num_clouds) % 23
    return foreign(num_clouds), torch.arange(25) < counts.unsqueeze(1)


def test_ragged_clouds_train() -> None:
    run = quick(from_points(*ragged()), epochs=6)
    assert run.history["train_rec"][-1] < run.history["train_rec"][0]
    made = run.model.sample(3)
    assert made.points.shape == (3, 25, 3)
    assert not made.points[~made.mask].any()


def test_masked_nodes_do_not_matter_to_a_training() -> None:
    points, mask = ragged()
    spoiled = points.masked_fill(~mask.unsqueeze(-1), float("nan"))
    assert same_training(quick(from_points(points, mask)), quick(from_points(spoiled, mask)))


def test_the_loss_gets_the_mask_of_ragged_clouds() -> None:
    counts = []

    class Counting(nn.Module):
        def forward(self, target: Tensor, output: Tensor, mask: Tensor, made: Tensor) -> Tensor:
            counts.append(int(mask.sum()))
            assert torch.equal(made, mask)
            return output.sum((1, 2))

    points, mask = ragged()
    quick(from_points(points, mask), valid=from_points(points, mask), loss=Counting(), epochs=1)
    assert sum(counts) == 2 * int(mask.sum())


def test_clouds_smaller_than_the_network_train(eights: CloudDataset) -> None:
    run = quick(from_points(eights.points[:, :10], schema=SUPERPIXELS), epochs=1)
    assert [graph.num_nodes for graph in run.model.sample(2, as_data=True)] == [10, 10]


# the run folder


def test_the_run_folder_holds_model_history_and_manifest(
    eights: CloudDataset, tmp_path: Path
) -> None:
    run = quick(eights, out=tmp_path / "deep" / "run")
    assert run.folder == tmp_path / "deep" / "run"
    assert run.folder is not None
    names = {path.name for path in run.folder.iterdir()}
    assert {"model.json", "model.safetensors", "history.csv", "manifest.json"} <= names
    assert not [name for name in names if name.startswith(".") or "partial" in name]


def test_without_a_folder_nothing_is_written(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert quick(eights).folder is None
    assert list(tmp_path.iterdir()) == []


def test_history_csv_equals_the_history_to_the_last_bit(
    eights: CloudDataset, tmp_path: Path
) -> None:
    run = quick(eights, out=str(tmp_path / "run"))
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "stage"}
    assert read | {"stage": [row["stage"] for row in rows]} == run.history


def test_the_manifest_on_disk_is_the_manifest_of_the_run(
    eights: CloudDataset, tmp_path: Path
) -> None:
    run = quick(eights, out=tmp_path / "run", seed=3)
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest == json.loads(json.dumps(run.manifest))
    assert manifest["options"]["seed"] == 3
    assert manifest["options"]["batch_size"] == 50
    assert manifest["machine"]["torch"] == torch.__version__.split("+")[0]
    assert manifest["machine"]["gconvae"] == gconvae.__version__
    assert manifest["machine"]["gpu"] is None
    assert manifest["model"]["initial_seed"] == 0
    assert manifest["neighbor_search"] == "torch-cluster"
    assert manifest["threads"] == torch.get_num_threads()
    assert (manifest["train"]["clouds"], manifest["valid"]["clouds"]) == (100, 20)
    train, valid = gconvae.datasets.split(eights, seed=3)
    assert manifest["train"]["sha256"] == train.checksum()
    assert manifest["valid"]["sha256"] == valid.checksum()
    schema = json.loads(eights.schema.to_json())
    assert manifest["train"]["schema"] | {"picture": schema["picture"]} == schema
    samples = run.model.sample(100, seed=3).numpy()
    assert manifest["samples_sha256"] == hashlib.sha256(samples.tobytes()).hexdigest()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_place_that_is_taken_is_refused_before_work_and_left_untouched(
    eights: CloudDataset, tmp_path: Path, kind: str
) -> None:
    out, note = tmp_path / "run", tmp_path / "run"
    if kind == "folder":
        out.mkdir()
        note = out / "note.txt"
    note.write_text("mine")
    loss = Recording()
    with pytest.raises(ValueError, match="out must be a new folder"):
        quick(eights, loss=loss, out=out)
    assert loss.seen == {"train": [], "valid": []}
    assert note.read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == sorted({out, note})


def test_a_refused_training_makes_no_folder(eights: CloudDataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="beta"):
        quick(eights, beta=-1.0, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_an_unregistered_part_is_refused_before_work(
    eights: CloudDataset, tmp_path: Path
) -> None:
    class MyDecoder(ConvDecoder):
        pass

    model, loss = small(), Recording()
    decoder = MyDecoder(channels=(4, 8, 8), hidden=32)
    own = VAE(model.encoder, decoder, model.prior, model.scaling)
    with pytest.raises(ValueError, match=r'@gconvae\.registry\.register\("decoder".*MyDecoder'):
        quick(eights, own, loss=loss, out=tmp_path / "run")
    assert loss.seen["train"] == []
    assert list(tmp_path.iterdir()) == []
    quick(eights, own, epochs=1)  # without a folder it trains


# what goes wrong


class Broken(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, target: Tensor, output: Tensor, *_: Any) -> Tensor:
        return self.value * output.sum((1, 2))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training_with_one_clear_error(
    eights: CloudDataset, tmp_path: Path, value: float
) -> None:
    message = r"network stage, train, epoch 1, step 1: rec is (nan|inf) for \d+ of \d+ clouds"
    with pytest.raises(FloatingPointError, match=message):
        quick(eights, loss=Broken(value), out=tmp_path / "run")
    with pytest.raises(FileNotFoundError, match="no finished training"):
        gconvae.load(tmp_path / "run")


def test_a_loss_that_stops_being_finite_keeps_the_last_good_epoch(
    eights: CloudDataset, tmp_path: Path
) -> None:
    class Breaks(nn.Module):
        """Not finite from the second epoch on, for one cloud."""

        steps = 0

        def forward(self, target: Tensor, output: Tensor, *_: Any) -> Tensor:
            self.steps += output.requires_grad
            found = (target - output).square().sum((1, 2))
            is_third = torch.arange(len(found)) == 3
            return torch.where(is_third & (self.steps > 4), torch.nan, found)

    message = (
        r"network stage, train, epoch 2, step 5: rec is nan for 1 of 16 clouds of the batch, the "
        r"first of which is number 3; a learning_rate below .*last.ckpt keeps the end of the "
        "epoch before"
    )
    with pytest.raises(FloatingPointError, match=message):
        quick(eights[:64], loss=Breaks(), out=tmp_path / "run", batch_size=16, epochs=3)
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert state["training"]["history"]["epoch"] == [1]
    assert all(bool(value.isfinite().all()) for value in state["state_dict"].values())


def test_a_training_that_explodes_is_one_clear_error(eights: CloudDataset) -> None:
    with pytest.raises(FloatingPointError, match="learning_rate"):
        quick(eights, learning_rate=1e20, epochs=5)


def test_a_loss_without_a_value_for_each_cloud_is_one_clear_error(eights: CloudDataset) -> None:
    class Mean(nn.Module):
        def forward(self, target: Tensor, output: Tensor, *_: Any) -> Tensor:
            return (target - output).square().mean()

    with pytest.raises(ValueError, match="loss must"):
        quick(eights, loss=Mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"epochs": None}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, got 0"),
        ({"batch_size": "100"}, "batch_size must be a whole number"),
        ({"patience": 0}, "patience must be a whole number of at least 1, got 0"),
        ({"workers": -1}, "workers must be a whole number of at least 0, got -1"),
        ({"workers": None}, "workers must be a whole number"),
        ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": -1e-3}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be"),
        ({"learning_rate": "fast"}, "learning_rate must be"),
        ({"beta": -0.1}, "beta must be at least 0"),
        ({"beta": float("nan")}, "beta must be at least 0"),
        ({"beta": float("inf")}, "beta must be"),
        ({"beta": None}, "beta must be"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"seed": None}, "seed must be a whole number"),
        ({"loss": "mse"}, "loss must be one of third_axis, matched.*, got 'mse'"),
        ({"neighbors": "kdtree"}, "neighbors must be one of torch-cluster, dense, native, auto"),
        ({"scaling": "unit"}, "scaling must be one of auto, range, keep"),
        ({"accelerator": "tpu"}, "accelerator must be one of auto, cpu, gpu, cuda"),
    ],
)
def test_an_option_out_of_range_is_one_clear_error_and_no_folder(
    eights: CloudDataset, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quick(eights, out=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_one_clear_error(eights: CloudDataset) -> None:
    with pytest.raises(ValueError, match="accelerator must be available, got 'gpu'"):
        quick(eights, accelerator="gpu")


def with_nan() -> Tensor:
    points = foreign(20)
    points[7, 3, 1] = float("nan")
    return points


@pytest.mark.parametrize("which", ["data", "valid"])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        (with_nan(), "finite.*cloud 7, node 3"),
        (torch.rand(20, 25), "shape"),
        (torch.rand(20, 25, 4), "features a node"),
        (torch.ones(20, 25, 3, dtype=torch.bool), "real numbers"),
        (torch.rand(0, 25, 3), "at least one cloud"),
        (foreign(20).repeat(1, 2, 1), "at most 25 nodes"),
    ],
)
def test_clouds_that_cannot_be_used_are_one_clear_error(
    which: str, points: Tensor, message: str
) -> None:
    sets = {"data": foreign(), "valid": foreign(20)} | {which: points}
    with pytest.raises(ValueError, match=message):
        quick(sets["data"], valid=sets["valid"])


@pytest.mark.parametrize("data", [None, 3, "runs/eights", []])
def test_data_that_are_no_clouds_are_one_clear_error(data: Any) -> None:
    with pytest.raises(ValueError, match="data must"):
        quick(data)


def test_one_cloud_is_too_few_to_train_on(eights: CloudDataset) -> None:
    with pytest.raises(ValueError, match="at least 2 clouds"):
        quick(eights[:1])


def test_the_features_of_the_clouds_must_be_those_of_the_model() -> None:
    with pytest.raises(ValueError, match=r"got 4; models.create\(num_features=4\)"):
        quick(torch.rand(20, 25, 4))


# what is left behind


def global_state() -> dict[str, Any]:
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "only warned": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark),
        "TF32": (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "dtype": torch.get_default_dtype(),
        "environment": dict(os.environ),
        "torch": torch.get_rng_state().tolist(),
        "numpy": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "python": random.getstate(),
        "level": logging.getLogger("lightning.pytorch").level,
        "root level": logging.getLogger().level,
        "warnings": (list(warnings.filters), warnings.showwarning),
        "folder": Path.cwd(),
    }


@pytest.fixture
def unusual_state(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Global settings that are not the defaults, so that a reset to defaults is seen."""
    threads, level = torch.get_num_threads(), logging.getLogger("lightning.pytorch").level
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_num_threads(threads + 1)
    logging.getLogger("lightning.pytorch").setLevel(logging.CRITICAL)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)
    logging.getLogger("lightning.pytorch").setLevel(level)


@pytest.mark.parametrize("fails", [False, True])
def test_global_state_is_as_before(eights: CloudDataset, fails: bool) -> None:
    quick(eights, epochs=1)  # what Lightning sets once at its first use is not ours
    before = global_state()
    if fails:
        with pytest.raises(FloatingPointError):
            quick(eights, loss=Broken(math.nan), threads=1)
    else:
        quick(eights, threads=1)
    after = global_state()
    assert [key for key in before if before[key] != after[key]] == []


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.usefixtures("unusual_state")
def test_unusual_global_state_is_as_before(eights: CloudDataset, fails: bool) -> None:
    before = global_state()
    if fails:
        with pytest.raises(FloatingPointError):
            quick(eights, loss=Broken(math.nan), threads=1)
    else:
        quick(eights, threads=1)
    after = global_state()
    assert [key for key in before if before[key] != after[key]] == []


def test_inside_a_training_torch_is_deterministic_on_the_wanted_threads(
    eights: CloudDataset,
) -> None:
    wanted = 2 if torch.get_num_threads() == 1 else 1
    loss = Recording()
    run = quick(eights, loss=loss, threads=wanted, epochs=1)
    assert loss.threads == {wanted} == {run.manifest["threads"]}
    assert loss.deterministic == {True}


def test_without_progress_nothing_is_printed(
    eights: CloudDataset, capfd: pytest.CaptureFixture[str]
) -> None:
    quick(eights)
    assert capfd.readouterr() == ("", "")


def test_the_progress_bar_goes_to_stderr_and_counts_every_step(
    eights: CloudDataset, capfd: pytest.CaptureFixture[str]
) -> None:
    quick(eights, progress=True, epochs=3)  # 100 training clouds in batches of 50
    out, err = capfd.readouterr()
    assert out == ""
    assert "6/6" in err


def test_clouds_of_four_features_train(tmp_path: Path) -> None:
    model = models.create("convae", num_features=4, hidden=8, seed=0)
    run = quick(torch.rand(30, 25, 4), model, epochs=1, out=tmp_path / "run")
    assert gconvae.load(tmp_path / "run").sample(2).shape == (2, 25, 4)
    with pytest.raises(ValueError, match="data must have 4 features a node like the model, got 3"):
        quick(torch.rand(30, 25, 3), run.model)


def test_a_float64_model_trains_in_float64(eights: CloudDataset) -> None:
    run = quick(eights, small().double(), epochs=1)
    assert run.model.sample(2).dtype == torch.float64


def test_a_standardized_training_compares_sides_standardized_by_the_training_clouds(
    eights: CloudDataset,
) -> None:
    train, valid = datasets.split(eights, seed=0)
    loss = losses.Standardized.fitted(
        ThirdAxisChamfer(), FeatureScaling.of(SUPERPIXELS).scale(train.points)
    )
    by_hand = quick(train, valid=valid, loss=loss)
    assert same_training(quick(train, valid=valid, standardize=True), by_hand)
    assert not same_training(quick(train, valid=valid), by_hand)


def test_a_loss_that_does_not_fit_is_refused_before_any_work(
    eights: CloudDataset, tmp_path: Path
) -> None:
    fewer = small(num_points=20)
    with pytest.raises(ValueError, match="loss must fit clouds and model, matching: .*25 and 20"):
        quick(eights, fewer, loss="matching", out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_smaller_clouds_in_validation_alone_are_compared_with_as_few_nodes(
    eights: CloudDataset,
) -> None:
    mask = torch.ones(4, 25, dtype=torch.bool)
    mask[0, 20:] = False
    valid = from_points(eights.points[:4], mask, schema=SUPERPIXELS)
    quick(eights, valid=valid, loss="matching", epochs=1)


def test_training_goes_on_while_the_factor_of_the_kl_grows(eights: CloudDataset) -> None:
    options = {"patience": 1, "learning_rate": 1e-12, "epochs": 6}  # no epoch is better
    assert quick(eights, **options).history["epoch"] == [1, 2]
    assert quick(eights, kl_warmup=4, **options).history["epoch"] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("schedule", [{"kl_warmup": 3}, {"kl_cycle": 2}, {"free_bits": 0.5}])
def test_a_stopped_training_with_a_schedule_goes_on_to_the_same_bits(
    eights: CloudDataset, tmp_path: Path, schedule: dict[str, Any]
) -> None:
    whole = quick(eights, epochs=4, **schedule)
    part = quick(eights, epochs=2, **schedule)
    assert {name: column[:2] for name, column in whole.history.items()} == part.history

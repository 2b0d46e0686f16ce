"""The row of stages: what watches them, what optimizes them, and how they go on after a stop."""

from __future__ import annotations

import csv
import inspect
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    Timer,
)
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

import gconvae
from gconvae import models, scaling
from gconvae.clouds import order, validation
from gconvae.datasets import CloudDataset, SuperpixelMNIST
from gconvae.priors import Prior
from gconvae.training import callbacks
from gconvae.training.run import Run

STAGES = ["network", "prior", "likelihood"]
PRIOR_STEPS, LIKELIHOOD_STEPS = 45, 5
EPOCHS = {"network": 2, "prior": 3, "likelihood": 1}
"""Of a prior with 45 steps of which 20 are an epoch, and a likelihood with 5."""
STEPS = {"network": 2 * 2, "prior": PRIOR_STEPS, "likelihood": LIKELIHOOD_STEPS}


@pytest.fixture(scope="module")
def eights() -> CloudDataset:
    return SuperpixelMNIST(8, "test")[:60]


def small(**parts: Any) -> Any:
    parts = {
        "prior": "realnvp(hidden=[8], transforms=2)",
        "likelihood": "autoregressive(width=16, heads=2, components=3, batch_size=8, "
        "temperature=1)",
    } | parts
    return models.create("convae", hidden=16, channels=(2, 3, 4), seed=0, **parts)


def fit(data: Any, model: Any = None, **options: Any) -> Run:
    given: dict[str, Any] = {"epochs": 2, "batch_size": 30, "progress": False, "seed": 0}
    if model is None:
        given |= {"prior_steps": PRIOR_STEPS, "likelihood_steps": LIKELIHOOD_STEPS}
    return gconvae.fit(model or small(), data, **given | options)


def same(first: Run, second: Run) -> bool:
    states = first.model.state_dict(), second.model.state_dict()
    return first.history == second.history and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


class Watcher(Callback):
    """Notes steps and epochs of every stage."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.epochs: Counter[str] = Counter()
        self.optimizers: dict[str, str] = {}
        self.rates: dict[str, list[float]] = {}
        self.logged: dict[str, set[str]] = {}

    def on_train_batch_end(self, trainer: Any, stage: Any, *given: Any) -> None:
        self.steps[stage.name] += 1
        if trainer.optimizers and trainer.optimizers[0].param_groups:
            self.optimizers[stage.name] = type(trainer.optimizers[0]).__name__
            rate = trainer.optimizers[0].param_groups[0]["lr"]
            self.rates.setdefault(stage.name, []).append(rate)

    def on_train_epoch_end(self, trainer: Any, stage: Any) -> None:
        self.epochs[stage.name] += 1
        self.logged[stage.name] = set(trainer.callback_metrics)


@pytest.fixture(scope="module")
def watched(eights: CloudDataset) -> tuple[Watcher, Run]:
    watcher = Watcher()
    return watcher, fit(eights, callbacks=[watcher])


# what a callback sees


def test_a_callback_sees_every_step_and_epoch_of_every_stage(
    watched: tuple[Watcher, Run],
) -> None:
    watcher, run = watched
    assert watcher.steps == STEPS
    assert watcher.epochs == EPOCHS
    rows = list(zip(run.history["stage"], run.history["epoch"], strict=True))
    assert rows == [(stage, n + 1) for stage in STAGES for n in range(EPOCHS[stage])]
    assert watcher.optimizers == {"network": "Adam", "prior": "Adam", "likelihood": "Joined"}


def test_losses_are_logged_by_their_name_and_that_of_the_stage(
    watched: tuple[Watcher, Run],
) -> None:
    for stage, names in watched[0].logged.items():
        assert {"train_loss", "valid_loss", f"{stage}/train_loss", f"{stage}/valid_loss"} <= names
        assert ("network/valid_kl" in names) == (stage == "network")


def test_watching_changes_no_bit(eights: CloudDataset, watched: tuple[Watcher, Run]) -> None:
    assert same(watched[1], fit(eights))


def test_callbacks_of_one_stage_see_no_other(eights: CloudDataset) -> None:
    watcher = Watcher()
    fit(eights, callbacks={"prior": [watcher]})
    assert set(watcher.steps) == {"prior"}


def test_what_is_fitted_at_once_is_a_stage_too(eights: CloudDataset) -> None:
    watcher = Watcher()
    stop = EarlyStopping("valid_loss", patience=1)
    run = fit(eights, small(prior="gmm", likelihood="gaussian"), callbacks=[watcher, stop])
    assert watcher.epochs == {"network": 2, "prior": 1, "likelihood": 1}
    assert run.history["valid_loss"][2:] == [None, None]
    assert set(run.manifest["stages"]) == set(STAGES)


# callbacks and loggers of Lightning


def test_early_stopping_begins_anew_in_every_stage(eights: CloudDataset) -> None:
    stop = EarlyStopping("valid_loss", patience=1, min_delta=1e9)
    run = fit(eights, epochs=9, callbacks=stop)
    assert Counter(run.history["stage"]) == {"network": 2, "prior": 2, "likelihood": 1}


class OwnMetric(Callback):
    """Logs W1 of x, which gets worse from epoch to epoch."""

    def __init__(self, real: CloudDataset) -> None:
        self.real, self.seen = real, 0

    def on_validation_epoch_end(self, trainer: Any, stage: Any) -> None:
        generated = stage.model.sample(len(self.real), seed=0)
        report = gconvae.metrics.compare(
            self.real, generated, metrics="features", num_splits=2, num_bootstrap=2
        )
        self.seen += 1
        stage.log("x_w1", report.row("x").value + self.seen)


def test_a_training_stops_early_on_a_metric_of_ours(eights: CloudDataset) -> None:
    watching = [OwnMetric(eights[:20]), EarlyStopping("x_w1", patience=2)]
    run = fit(eights, small(prior=None, likelihood=None), epochs=9, callbacks=watching)
    assert run.history["epoch"] == [1, 2, 3]


def test_checkpoints_are_kept_every_few_steps(eights: CloudDataset, tmp_path: Path) -> None:
    keep = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=2, save_top_k=-1)
    fit(eights, callbacks={"network": [keep]})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["step=2.ckpt", "step=4.ckpt"]
    saved = torch.load(tmp_path / "step=2.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert saved["training"]["stage"] == "network"


def test_the_csv_logger_gets_every_stage(eights: CloudDataset, tmp_path: Path) -> None:
    run = fit(eights, logger=CSVLogger(tmp_path, name="", version=""))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for stage in STAGES:
        logged = [float(row[f"{stage}/valid_loss"]) for row in rows if row[f"{stage}/valid_loss"]]
        wanted = [
            value
            for name, value in zip(run.history["stage"], run.history["valid_loss"], strict=True)
            if name == stage
        ]
        assert logged == pytest.approx(wanted)


@pytest.mark.parametrize("logger", ["csv", "tensorboard"])
def test_a_logger_by_name_writes_into_the_run_folder(
    eights: CloudDataset, tmp_path: Path, logger: str
) -> None:
    model = small(prior=None, likelihood=None)
    fit(eights, model, logger=logger, out=tmp_path / "run")
    (file,) = (
        file
        for file in (tmp_path / "run" / "logs").rglob("*")
        if file.name == "metrics.csv" or file.name.startswith("events.")
    )
    assert file.stat().st_size > 0


def test_several_loggers_may_listen(eights: CloudDataset, tmp_path: Path) -> None:
    model = small(prior=None, likelihood=None)
    loggers = [CSVLogger(tmp_path, name="a"), TensorBoardLogger(tmp_path, name="b")]
    fit(eights, model, logger=loggers)
    assert (tmp_path / "a").is_dir()
    assert (tmp_path / "b").is_dir()


def test_names_of_callbacks_stand_for_them(eights: CloudDataset) -> None:
    model = small(prior=None, likelihood=None)
    name = "EarlyStopping(monitor='valid_loss', patience=1, min_delta=1e9)"
    run = fit(eights, model, epochs=9, callbacks=[name])
    assert run.history["epoch"] == [1, 2]
    assert run.manifest["options"]["callbacks"] == [name]


def test_callbacks_of_ones_own_get_a_name(eights: CloudDataset) -> None:
    seen = []

    @gconvae.registry.register("callback", "notes_epochs")
    class Notes(Callback):
        def __init__(self, mark: str = "x") -> None:
            self.mark = mark

        def on_train_epoch_end(self, trainer: Any, stage: Any) -> None:
            seen.append(self.mark + stage.name)

    fit(eights, small(prior=None, likelihood=None), callbacks=["notes_epochs(mark='-')"])
    assert seen == ["-network"] * 2


# optimizer and schedule


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        ("sgd(lr=1e-9)", "SGD"),
        ("adamw(weight_decay=0.01)", "AdamW"),
        ("Adagrad", "Adagrad"),
        ("muon(weight_decay=0.0)", "Joined"),
        (lambda weights: torch.optim.RMSprop(weights, lr=1e-6), "RMSprop"),
        (lambda all_: torch.optim.SGD([w for w in all_ if w.dim() == 1], lr=1e-6), "SGD"),
    ],
)
def test_an_optimizer_is_that_of_all_stages(
    eights: CloudDataset, optimizer: Any, kind: str
) -> None:
    watcher = Watcher()
    few = {"epochs": 1, "prior_steps": 1, "likelihood_steps": 1}
    fit(eights, optimizer=optimizer, callbacks=[watcher], **few)
    assert watcher.optimizers == dict.fromkeys(STAGES, kind)


@pytest.mark.parametrize(
    "scheduler", ["linear", "cosine", "trapezoid", "exponential(end=0.1)", "warm"]
)
def test_a_schedule_is_that_of_all_stages(eights: CloudDataset, scheduler: str) -> None:
    watcher = Watcher()
    given: Any = scheduler
    if scheduler == "warm":
        given = partial(torch.optim.lr_scheduler.LinearLR, start_factor=0.1, end_factor=1.0)
    few = {"prior_steps": 4, "likelihood_steps": 4}
    fit(eights, optimizer="sgd(lr=1e-9)", scheduler=given, callbacks=[watcher], **few)
    assert watcher.rates.keys() == set(STAGES)
    for stage, rates in watcher.rates.items():
        assert len(set(rates)) > 1, stage
        assert (rates[0] < rates[-1]) == (scheduler == "warm")


def test_a_schedule_of_plateaus_watches_the_validation_loss(eights: CloudDataset) -> None:
    watcher = Watcher()

    def plateau(optimizer: Any) -> Any:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=0, threshold=1e9, threshold_mode="abs"
        )

    model = small(prior=None, likelihood=None)
    fit(eights, model, epochs=4, scheduler=plateau, callbacks=[watcher])
    assert watcher.rates["network"][-1] < watcher.rates["network"][0]


def test_a_limit_of_time_is_that_of_each_stage(eights: CloudDataset) -> None:
    class Limits(Callback):
        seen: list[str] = []  # one for all

        def on_train_start(self, trainer: pl.Trainer, stage: Any) -> None:
            timers = [each for each in trainer.callbacks if isinstance(each, Timer)]  # type: ignore[attr-defined]
            assert timers[0].time_remaining() == pytest.approx(90, abs=30)
            self.seen.append(stage.name)

    fit(eights, callbacks=[Limits()], max_time="00:00:01:30")
    assert Limits.seen == STAGES


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adem"}, "optimizer must be one of adam, adamw, sgd, muon, .*got 'adem'"),
        ({"optimizer": "adam(speed=3)"}, "options of optimizer adam must fit it"),
        ({"optimizer": "adam + sgd"}, "optimizer must be one, not a sum"),
        ({"optimizer": lambda weights: 3}, "optimizer must be a function that returns a torch"),
        ({"optimizer": lambda: 3}, "optimizer must be a name, or a function of the list of"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)])}, "optimizer must be a name, or a func"),
        ({"optimizer": "Muon"}, "options of optimizer Muon must fit it"),
        ({"scheduler": lambda: 3}, "scheduler must be a name, or a function of the optimizer"),
        ({"scheduler": "cosin"}, "scheduler must be one of constant, cosine, trapezoid, linear"),
        ({"scheduler": "cosine(end=3)"}, "options of scheduler cosine must fit it"),
        ({"scheduler": "trapezoid(fall=0)"}, "fall must be above 0 and at most 1, got 0"),
        ({"scheduler": "trapezoid(fall=1.5)"}, "fall must be above 0 and at most 1, got 1.5"),
        ({"scheduler": lambda optimizer: 3}, "scheduler must be a function that returns"),
        ({"callbacks": ["EarlyStop"]}, "callback must be one of .*EarlyStopping.*got 'EarlyStop'"),
        ({"callbacks": ["EarlyStopping()"]}, "options of callback EarlyStopping must fit it"),
        ({"callbacks": [3]}, "callbacks must be callbacks of Lightning or their names, got 3"),
        ({"callbacks": {"net": []}}, "callbacks must be for stages out of network, .*'net'"),
        ({"logger": "tensorbord"}, "logger must be one of .*TensorBoardLogger.*got 'tensorbord'"),
        ({"logger": 3}, "logger must be a logger of Lightning or its name, got 3"),
        ({"devices": 0}, "devices must be a whole number of at least 1, got 0"),
        ({"devices": []}, r"devices must be a number, or a list of GPUs, got \[\]"),
        ({"devices": [0], "accelerator": "cpu"}, "devices must be a number on the CPU"),
        ({"strategy": "ddpx"}, "strategy must be auto, ddp, .*got 'ddpx'"),
        ({"max_time": "1h"}, "max_time must be a time above 0 in the form DD:HH:MM:SS.*'1h'"),
        ({"max_time": 10}, "max_time must be a time above 0 .*got 10"),
        ({"max_time": "00:00:00:00"}, "max_time must be a time above 0"),
        ({"num_nodes": 0}, "num_nodes must be a whole number of at least 1, got 0"),
    ],
)
def test_what_no_stage_can_use_is_one_clear_error_before_any_work(
    eights: CloudDataset, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fit(eights, out=tmp_path / "run", **options)
    assert list(tmp_path.iterdir()) == []


# a stop in any stage


class Stop(Callback):
    """Interrupts a stage after so many of its steps."""

    def __init__(self, stage: str, steps: int) -> None:
        self.stage, self.steps = stage, steps

    def on_train_batch_end(self, trainer: Any, stage: Any, *given: Any) -> None:
        self.steps -= stage.name == self.stage
        if self.steps == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("stage", "steps"),
    [
        ("network", 1),
        ("network", 3),
        ("prior", 1),
        ("prior", 25),
        ("prior", 44),
        ("likelihood", 3),
    ],
)
def test_a_training_stopped_in_any_stage_goes_on_to_the_same_bits(
    eights: CloudDataset,
    watched: tuple[Watcher, Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    steps: int,
) -> None:
    monkeypatch.setattr(callbacks, "SAVE_EVERY", 0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(eights, callbacks=[Stop(stage, steps)], out=tmp_path / "run")
    rest = fit(eights, out=tmp_path / "run", resume=True)
    assert same(rest, watched[1])
    assert gconvae.load(tmp_path / "run").sample(3).equal(watched[1].model.sample(3))


@pytest.mark.parametrize("stage", ["prior", "likelihood"])
def test_a_training_stopped_in_what_is_fitted_at_once_goes_on_to_the_same_bits(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(callbacks, "SAVE_EVERY", 0.0)
    model = small(prior="gmm(components=2)", likelihood="gaussian")
    whole = fit(eights, model)
    with pytest.raises(KeyboardInterrupt):
        fit(eights, model, callbacks=[Stop(stage, 1)], out=tmp_path / "run")
    assert same(fit(eights, model, out=tmp_path / "run", resume=True), whole)


def test_a_stage_that_a_callback_ended_is_not_gone_on_with(
    eights: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "SAVE_EVERY", 0.0)

    def stop() -> EarlyStopping:
        return EarlyStopping("valid_loss", patience=1, min_delta=1e9)

    whole = fit(eights, epochs=9, callbacks=[stop()])
    with pytest.raises(KeyboardInterrupt):
        fit(eights, epochs=9, callbacks=[stop(), Stop("prior", 1)], out=tmp_path / "run")
    rest = fit(eights, epochs=9, callbacks=[stop()], out=tmp_path / "run", resume=True)
    assert same(rest, whole)


# the way of the data


def test_clouds_are_checked_ordered_and_scaled_once_before_the_first_step(
    eights: CloudDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        original = getattr(module, name)

        def call(*given: Any, **named: Any) -> Any:
            sizes = [len(each) for each in given if isinstance(each, Tensor) and each.dim() == 3]
            calls[name] += sum(sizes)
            return original(*given, **named)

        monkeypatch.setattr(module, name, call)
        for other in vars(gconvae.autoencoder), vars(gconvae.datasets.sources):
            if other.get(name) is original:
                monkeypatch.setitem(other, name, call)

    class FirstStep(Exception):
        pass

    class Stopped(Callback):
        def on_train_batch_start(self, *given: Any) -> None:
            raise FirstStep

    for module, name in ((validation, "as_clouds"), (order, "sort_nodes")):
        counted(module, name)
    counted(scaling.FeatureScaling, "scale")
    points = eights.points.flip(1)  # not in order
    with pytest.raises(FirstStep):
        fit(points, valid=points[:40], callbacks=[Stopped()])
    assert calls == {"as_clouds": 100, "sort_nodes": 100, "scale": 100}


def test_no_stage_reaches_into_anothers_private_names() -> None:
    from gconvae.training import stages

    folder = Path(inspect.getfile(stages)).parent
    for file in folder.glob("*.py"):
        text = file.read_text()
        for line in text.splitlines():
            for part in line.replace("(", " ").split():
                owner, dot, name = part.partition("._")
                if dot and owner.split(".")[-1].isidentifier() and not name.startswith("_"):
                    assert owner.split(".")[-1] in ("self", "super"), f"{file.name}: {line}"


# the same from a recipe


def test_train_takes_what_watches_a_training(eights: CloudDataset) -> None:
    watcher = Watcher()
    run = gconvae.train(
        "slides", eights, epochs=1, hidden=16, callbacks=[watcher], progress=False, batch_size=30
    )
    assert watcher.epochs == {"network": 1}
    assert run.manifest["options"]["callbacks"] == ["Watcher"]


# priors and likelihoods of one's own


class Shifted(Prior):
    """A standard normal around a place that is learned, or not."""

    def __init__(self, steps: Any, *, learned: bool = True) -> None:
        super().__init__()
        self.fit_steps = steps
        if learned:
            self.place = torch.nn.Parameter(torch.zeros(10))

    def from_noise(self, noise: Tensor, context: Tensor | None = None) -> Tensor:
        return noise

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return -0.5 * (z - getattr(self, "place", 0.0)).square().sum(-1)


@pytest.mark.parametrize("steps", [0, -3, 2.5, "5", True])
def test_a_prior_that_says_no_number_of_steps_is_refused_before_any_work(
    eights: CloudDataset, tmp_path: Path, steps: Any
) -> None:
    model = small(prior=Shifted(steps), likelihood=None)
    with pytest.raises(ValueError, match="fit_steps of a prior must be a whole number"):
        fit(eights, model, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("prior", [None, "gmm(components=2)"])
def test_steps_of_a_prior_that_takes_none_are_refused(
    eights: CloudDataset, prior: str | None
) -> None:
    model = small(prior=prior, likelihood=None)
    with pytest.raises(ValueError, match="prior_steps must be None for .*, which takes none"):
        fit(eights, model, prior_steps=30)


def test_a_stage_without_parameters_says_so(eights: CloudDataset) -> None:
    model = small(prior=Shifted(3, learned=False), likelihood=None)
    with pytest.raises(ValueError, match="prior must have parameters to train, it has none"):
        fit(eights, model)


@pytest.mark.parametrize("shape", ["one for all", "several a cloud"])
def test_a_likelihood_whose_loss_is_not_one_a_cloud_is_refused(
    eights: CloudDataset, monkeypatch: pytest.MonkeyPatch, shape: str
) -> None:
    def wrong(self: Any, unit: Tensor, mean: Tensor, *given: Any) -> Tensor:
        apart = (self.network.weight.mean() + unit - mean).square()
        return apart.mean() if shape == "one for all" else apart.sum(-1)

    model = small(prior=None)
    kind = type(model.likelihood)
    monkeypatch.setattr(model.likelihood, "network", torch.nn.Linear(3, 1))
    monkeypatch.setattr(kind, "negative_log_likelihood", wrong)
    monkeypatch.setattr(kind, "hidden_matrices", lambda self: [])
    with pytest.raises(ValueError, match=r"loss of a likelihood must return one value a cloud"):
        fit(eights, model, likelihood_steps=2)


# callbacks that need something of a stage


def test_a_callback_begins_anew_in_every_training(eights: CloudDataset) -> None:
    model = small(prior=None, likelihood=None)
    stop = EarlyStopping("valid_loss", patience=1, min_delta=1e9)
    for _ in range(2):
        assert fit(eights, model, epochs=9, callbacks=[stop]).history["epoch"] == [1, 2]
    assert stop.stopped_epoch == 1  # what it found can be read
    stop.patience = 2
    assert fit(eights, model, epochs=9, callbacks=[stop]).history["epoch"] == [1, 2, 3]


def test_a_callback_that_monitors_what_one_stage_has_is_left_out_of_others(
    eights: CloudDataset, tmp_path: Path
) -> None:
    stop = EarlyStopping("valid_rec", patience=1, min_delta=1e9)
    keep = ModelCheckpoint(tmp_path, "kept", monitor="network/valid_kl")
    run = fit(eights, epochs=9, callbacks=[stop, keep])
    assert Counter(run.history["stage"]) == EPOCHS
    assert [file.name for file in tmp_path.iterdir()] == ["kept.ckpt"]


def test_gradients_are_accumulated_where_there_are_any(eights: CloudDataset) -> None:
    steps = []

    class Steps(Callback):
        def on_train_end(self, trainer: Any, stage: Any) -> None:
            steps.append((stage.name, trainer.global_step))

    model = small(prior="gmm(components=2)", likelihood="gaussian")
    fit(eights, model, callbacks=[GradientAccumulationScheduler({0: 2}), Steps()])
    assert steps == [("network", 2), ("prior", 0), ("likelihood", 0)]


def test_the_weights_that_are_kept_are_the_averaged_ones_that_were_judged(
    eights: CloudDataset,
) -> None:
    judged = []

    class Judged(Callback):
        def on_validation_batch_start(self, trainer: Any, stage: Any, *given: Any) -> None:
            judged.append({k: v.clone() for k, v in stage.model.state_dict().items()})

    averaging = EMAWeightAveraging(decay=0.5)
    run = fit(eights, small(prior=None, likelihood=None), callbacks=[averaging, Judged()])
    kept = judged[run.manifest["best_epoch"] - 1]
    assert all(torch.equal(kept[name], value) for name, value in run.model.state_dict().items())


def test_what_lightning_refuses_is_one_clear_error(eights: CloudDataset) -> None:
    with pytest.raises(ValueError, match="stage network: .*LearningRateMonitor.* no logger"):
        fit(eights, callbacks=[LearningRateMonitor()])


def test_a_callback_may_end_the_program(eights: CloudDataset) -> None:
    class Exit(Callback):
        def on_train_batch_end(self, *given: Any) -> None:
            raise SystemExit(3)

    with pytest.raises(SystemExit, match="3"):
        fit(eights, callbacks=[Exit()])

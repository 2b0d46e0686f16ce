"""Variants: one budget, one yardstick, and nothing done twice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gconvae import datasets
from gconvae.options import DataOptions, ModelOptions, TrainingOptions
from gconvae.priors.flows import Flow
from gconvae.schema import SUPERPIXELS
from gconvae.studies import judging, ranking
from gconvae.studies.experiment import Experiment
from gconvae.studies.leaderboard import BOUND, Leaderboard
from gconvae.studies.ranking import folder_of, rank
from gconvae.training import run_folder
from gconvae.training.history import read_history

MODEL = ModelOptions(hidden=16, channels=(4, 4), padding=2, latent_dim=3)
TRAINING = TrainingOptions(epochs=2, learning_rate=0.01)


@pytest.fixture(autouse=True)
def _short_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flow, "fit_steps", 40)


@pytest.fixture
def data(tmp_path: Path) -> DataOptions:
    points = torch.rand(90, 8, 3, generator=torch.Generator().manual_seed(0))
    points[..., :2] = (points[..., :2] * 28).floor()  # on whole pixels
    return DataOptions(
        data=str(
            datasets.to_file(datasets.from_points(points, schema=SUPERPIXELS), tmp_path / "d.npz")
        )
    )


def small(variants: dict[str, Any], out: Path, data: DataOptions, **options: Any) -> Leaderboard:
    given: dict[str, Any] = {
        "seeds": 1,
        "data": data,
        "model": MODEL,
        "training": TRAINING,
        "groups": ["features", "kernel"],
        "progress": False,
    }
    return rank(variants, out, **(given | options))


# ---- training


def test_every_variant_is_trained_for_the_same_epochs_and_judged(
    tmp_path: Path, data: DataOptions
) -> None:
    table = small({"slides": {}, "wide": {"beta": 0.1}}, tmp_path / "out", data, seeds=2)
    assert [variant.name for variant in table.variants] == ["slides", "wide"]
    for variant in table.variants:
        assert len(variant.values["x W1"]) == 2
        assert all(value > 0 for value in variant.values["x W1"])
        for seed in (0, 1):
            place = folder_of(tmp_path / "out", variant.name, seed)
            assert read_history(place / "history.csv")["epoch"] == [1, 2]
            assert not (place / "last.ckpt").exists()
    assert table.variants[0].values != table.variants[1].values
    saved = json.loads((tmp_path / "out" / "leaderboard.json").read_text())
    assert saved == json.loads(json.dumps(table.to_dict()))


def test_a_run_is_that_of_the_experiment_with_these_options(
    tmp_path: Path, data: DataOptions
) -> None:
    small({"low": {"beta": 0.1, "latent_dim": 2}}, tmp_path / "out", data, seeds=[3])
    model = dataclasses.replace(MODEL, latent_dim=2)
    training = dataclasses.replace(TRAINING, beta=0.1, seed=3, patience=None)
    direct = Experiment(data, model, training).run(progress=False)
    made = run_folder.load(folder_of(tmp_path / "out", "low", 3))
    assert torch.equal(made.sample(5), direct.model.sample(5))


def test_the_bound_on_the_likelihood_is_a_column_where_there_is_one(
    tmp_path: Path,
) -> None:
    points = torch.rand(90, 8, 3, generator=torch.Generator().manual_seed(0))
    points = (points * torch.tensor([28, 28, 16])).floor() / torch.tensor([1, 1, 16])
    clouds = datasets.from_points(points, schema=SUPERPIXELS)
    data = DataOptions(data=str(datasets.to_file(clouds, tmp_path / "lattice.npz")))
    noise = {"likelihood": "gaussian"}
    table = small({"slides": {}, "noise": noise}, tmp_path, data, groups=["features"])
    slides, noisy = table.variants
    assert BOUND not in slides.values
    assert len(noisy.values[BOUND]) == len(noisy.errors[BOUND]) == 1
    assert table.best(BOUND) == ["noise"]
    head, _, first, second, floor = (
        [cell.strip() for cell in line.split("|")] for line in table.to_markdown().splitlines()
    )
    assert head[4] == "log p(x) bound (nats) ↑"
    assert (first[4], second[4]) == ("-", f"**{noisy.values[BOUND][0]:.3g}**")
    assert floor[4] == "-"
    assert BOUND not in table.to_dict()["metrics"]  # it has no floor


def test_a_second_call_trains_and_judges_nothing_again(
    tmp_path: Path, data: DataOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = small({"slides": {}, "mixture": {"prior": "gmm"}}, tmp_path / "out", data)
    monkeypatch.setattr("gconvae.studies.bounds.bound", None)
    monkeypatch.delattr(ranking, "_refit")
    monkeypatch.delattr(judging, "judge")
    monkeypatch.delattr(Experiment, "run")
    assert small({"slides": {}, "mixture": {"prior": "gmm"}}, tmp_path / "out", data) == first


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path: Path, data: DataOptions) -> None:
    small({"slides": {}}, tmp_path / "whole", data)

    class Stop(Exception):
        pass

    def stop(*given: Any) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gconvae.training.fit._finish", stop)
        with pytest.raises(Stop):
            small({"slides": {}}, tmp_path / "out", data)
    place = folder_of(tmp_path / "out", "slides", 0)
    assert (place / "last.ckpt").exists()
    small({"slides": {}}, tmp_path / "out", data)
    whole = run_folder.load(folder_of(tmp_path / "whole", "slides", 0))
    assert torch.equal(run_folder.load(place).sample(5), whole.sample(5))


@pytest.mark.parametrize("name", ["slides", "mixture"])
def test_a_run_that_was_killed_before_its_first_epoch_ended_begins_again(
    tmp_path: Path, data: DataOptions, name: str
) -> None:
    both: dict[str, Any] = {"slides": {}, "mixture": {"prior": "gmm"}}
    first = small(both, tmp_path / "out", data)
    place = folder_of(tmp_path / "out", name, 0)
    for file in place.iterdir():
        if file.name != "manifest.json":
            file.unlink()
    again = small(both, tmp_path / "out", data)
    for one, other in zip(first.variants, again.variants, strict=True):
        assert one.values == other.values


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "gmm(components=2)"},
        {"prior": "nsf(transforms=1, hidden=[8])", "likelihood": "gaussian"},
        {"likelihood": "gaussian"},
    ],
)
def test_a_shared_network_gives_the_bits_of_a_training_of_its_own(
    tmp_path: Path, data: DataOptions, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    small({"own": options}, tmp_path / "direct", data)
    small({"slides": {}}, tmp_path / "out", data)
    monkeypatch.delattr(Experiment, "run")  # nothing is trained from here on
    small({"slides": {}, "own": options}, tmp_path / "out", data)
    places = [folder_of(tmp_path / name, "own", 0) for name in ("direct", "out")]
    direct, shared = map(run_folder.load, places)
    for key, value in direct.state_dict().items():
        assert torch.equal(value, shared.state_dict()[key]), key
    assert torch.equal(direct.sample(5), shared.sample(5))
    manifests = [run_folder.read_manifest(place) for place in places]
    for key in ("config", "model", "samples_sha256", "best_epoch"):
        assert manifests[0][key] == manifests[1][key]


def test_what_follows_a_shared_network_is_trained_as_asked(
    tmp_path: Path, data: DataOptions
) -> None:
    flows = {kind: {"prior": f"{kind}(transforms=1, hidden=[8])"} for kind in ("maf", "nsf")}
    asked: dict[str, Any] = {"optimizer": "sgd(lr=1e-5)", "scheduler": "linear"}
    training = dataclasses.replace(TRAINING, prior_steps=3, **asked)
    small(flows, tmp_path / "out", data, training=training)
    small({"nsf": flows["nsf"]}, tmp_path / "direct", data, training=training)
    places = [folder_of(tmp_path / name, "nsf", 0) for name in ("direct", "out")]
    manifests = [run_folder.read_manifest(place) for place in places]
    assert "network_of" in manifests[1]
    assert manifests[0]["samples_sha256"] == manifests[1]["samples_sha256"]


@pytest.mark.parametrize(
    "options",
    [
        {"prior": "gmm(components=2)", "joint_prior": True},
        {"likelihood": "mean(lattice=None)"},
        {"likelihood": "autoregressive(width=8, heads=2, components=2, steps=2)"},
        {"likelihood": "flow_matching(width=8, layers=1, mean_layers=1, steps=2)"},
        {"beta": 0.5},
    ],
)
def test_a_network_is_not_shared_where_the_training_differs(
    tmp_path: Path, data: DataOptions, options: dict[str, Any]
) -> None:
    small({"slides": {}, "other": options}, tmp_path / "out", data, groups=["features"])
    manifest = run_folder.read_manifest(folder_of(tmp_path / "out", "other", 0))
    assert "network_of" not in manifest


def test_a_network_that_was_trained_with_its_prior_is_not_shared(
    tmp_path: Path, data: DataOptions
) -> None:
    likelihood = "autoregressive(width=8, heads=2, components=2, steps=2)"
    mixtures = {
        str(number): {"prior": f"gmm(components={number})", "likelihood": likelihood}
        for number in (1, 2)
    }
    training = dataclasses.replace(TRAINING, joint_steps=3)
    small(mixtures, tmp_path / "out", data, groups=["features"], training=training)
    for name in mixtures:
        manifest = run_folder.read_manifest(folder_of(tmp_path / "out", name, 0))
        assert "network_of" not in manifest
        assert "joint" in manifest["stages"]


def test_processes_can_share_a_folder_by_names_and_seeds(
    tmp_path: Path, data: DataOptions
) -> None:
    both: dict[str, Any] = {"slides": {}, "wide": {"beta": 0.1}}
    part = small(both, tmp_path / "out", data, only=["wide"], seeds=[1])
    assert [variant.name for variant in part.variants] == ["wide"]
    assert not (tmp_path / "out" / "leaderboard.json").exists()
    assert not folder_of(tmp_path / "out", "slides", 0).exists()
    table = small(both, tmp_path / "out", data, seeds=2)
    alone = small(both, tmp_path / "alone", data, seeds=2)
    for one, other in zip(table.variants, alone.variants, strict=True):
        assert one.values == other.values


def test_a_training_that_diverges_leaves_the_others(
    tmp_path: Path, data: DataOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Experiment.run

    def diverge(self: Experiment, *given: Any, **options: Any) -> Any:
        if self.training.beta == 9.0:
            raise FloatingPointError("the train loss is nan")
        return run(self, *given, **options)

    monkeypatch.setattr(Experiment, "run", diverge)
    table = small({"slides": {}, "wild": {"beta": 9.0}}, tmp_path / "out", data)
    assert table.best("x W1") == ["slides"]
    assert "wild: the train loss is nan" in str(table)
    assert table.to_dict()["variants"][1]["failure"] == "the train loss is nan"


# ---- what is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"variants": {}}, "variants and seeds must be at least one, got 0 and 1"),
        ({"seeds": []}, "variants and seeds must be at least one, got 1 and 0"),
        ({"only": ["b"]}, r"only must name some of a, got \['b'\]"),
        ({"variants": {"a": {"epochs": 3}}}, "options of 'a' must leave the budget alone.*epochs"),
        (
            {"variants": {"a": {"depth": 3}}},
            "options of 'a' must be among batch_size, .*got depth",
        ),
        ({"variants": {"a": {"beta": -1.0}}}, "beta must be at least 0"),
        ({"variants": {"a b": {}, "a/b": {}}}, "variants must have names that differ"),
    ],
)
def test_wrong_lists_are_refused(
    tmp_path: Path, data: DataOptions, given: dict[str, Any], message: str
) -> None:
    given = {"variants": {"a": {}}} | given
    with pytest.raises(ValueError, match=message):
        small(given.pop("variants"), tmp_path / "out", data, **given)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_another_training_is_refused(tmp_path: Path, data: DataOptions) -> None:
    small({"slides": {}}, tmp_path / "out", data)
    longer = dataclasses.replace(TRAINING, epochs=3)
    with pytest.raises(
        ValueError, match=r"must hold a training with the same options.*epochs = 3"
    ):
        small({"slides": {}}, tmp_path / "out", data, training=longer)

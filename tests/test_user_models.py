"""What users hand over: models of their own, odd numbers, settings of their process."""

from __future__ import annotations

import json
import logging
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import gconvae
from gconvae.cli import main as cli

SMALL = {"hidden": 16, "channels": (2, 3), "latent_dim": 3}
SMALL_WORDS = ["--hidden", "16", "--channels", "[2, 3]", "--latent-dim", "3", "--epochs", "1"]


def random_clouds(clouds: int = 60, nodes: int = 6, features: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(clouds, nodes, features, generator=torch.Generator().manual_seed(seed))


def tiny(num_points: int = 6, num_features: int = 3, **more: Any) -> gconvae.VAE:
    sizes = {"num_points": num_points, "num_features": num_features}
    return gconvae.models.create("convae", **(SMALL | sizes | more))


def fit(data: Any, model: gconvae.VAE | None = None, **more: Any) -> gconvae.Run:
    return gconvae.fit(model or tiny(), data, **({"epochs": 1, "progress": False} | more))


def same_model(first: nn.Module, second: nn.Module) -> bool:
    others = dict(second.state_dict())
    return all(torch.equal(values, others[name]) for name, values in first.state_dict().items())


# shapes that a model or a data set is told -------------------------------------------------------


def test_clouds_with_more_nodes_than_the_model_name_the_option() -> None:
    with pytest.raises(ValueError, match="num_points=40"):
        fit(random_clouds(nodes=40), gconvae.models.create("convae", **SMALL))


def test_train_takes_the_shape_from_the_data() -> None:
    schema = gconvae.schema.points("x y", "charge time")
    ragged = [cloud[: 6 + i % 3] for i, cloud in enumerate(random_clouds(60, 8, 4))]
    labels = ["gluon", "top"] * 30
    data = gconvae.datasets.from_points(ragged, labels=labels, schema=schema)
    steps = {"prior_steps": 2, "likelihood_steps": 2}
    run = gconvae.train("convae-flow-quick", data, epochs=1, progress=False, hidden=16, **steps)
    drawn = run.model.sample_clouds(40, label="top")
    assert drawn.points.shape == (40, 8, 4)
    assert set(drawn.mask.sum(1).tolist()) <= {6, 7, 8}
    assert drawn.labels is not None
    assert drawn.labels.tolist() == [1] * 40


@pytest.mark.usefixtures("few_panels")
def test_the_command_takes_the_shape_from_the_file(tmp_path: Path) -> None:
    data = gconvae.datasets.from_points(random_clouds(60, 40, 2), labels=[0, 1, 2] * 20)
    gconvae.datasets.to_file(data, tmp_path / "own.npz")
    words = ["train", "--data", str(tmp_path / "own.npz"), "--recipe", "slides", *SMALL_WORDS]
    assert cli.main([*words, "--out", str(tmp_path / "run"), "--labels", "true"]) == 0
    model = gconvae.load(tmp_path / "run")
    assert model.sample(4, label=2).shape == (4, 40, 2)


def test_a_transposed_array_is_named_with_its_shape() -> None:
    with pytest.warns(UserWarning, match=r"transpose\(0, 2, 1\), of shape \(60, 40, 3\)"):
        gconvae.datasets.from_points(random_clouds(60, 3, 40))


def test_zeros_that_fill_up_clouds_are_counted_and_named() -> None:
    points = random_clouds()
    points[::2, 4:] = 0.0
    with pytest.warns(UserWarning, match=r"60 nodes of zeros alone, in 30 of 60 clouds.*mask="):
        gconvae.datasets.from_points(points)


def test_a_masked_array_of_numpy_has_its_mask() -> None:
    hidden = np.zeros((60, 6, 3), dtype=bool)
    hidden[:, 4:] = True
    data = gconvae.datasets.from_points(np.ma.masked_array(random_clouds().numpy(), hidden))
    assert data.clouds.mask.sum(1).tolist() == [4] * 60


@pytest.mark.filterwarnings("ignore:The PyTorch API of")
def test_masked_and_nested_tensors_of_torch_have_their_nodes() -> None:
    points = random_clouds()
    there = torch.ones_like(points, dtype=torch.bool)
    there[:, 4:] = False
    masked = torch.masked.masked_tensor(points, there)
    nested = torch.nested.nested_tensor([cloud[:4] for cloud in points])
    for given in (masked, nested):
        data = gconvae.datasets.from_points(given)
        assert data.clouds.mask.sum(1).tolist() == [4] * 60
        made = data.points[data.clouds.mask].reshape(60, 4, 3)
        assert torch.equal(made.sort(1).values, points[:, :4].sort(1).values)


@pytest.mark.usefixtures("few_panels")
def test_whole_numbers_up_to_27_are_no_image(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points = random.integers(0, 28, (60, 6, 3)).astype(np.float32)
    points[0, 0], points[0, 1] = 0.0, 27.0
    points[..., 2] = random.random((60, 6))
    data = gconvae.datasets.from_points(points)
    assert data.schema.names == ("x", "y", "feature 3")
    assert not any(feature.unit for feature in data.schema.features)
    gconvae.datasets.to_file(data, tmp_path / "own.npz")
    words = ["train", "--data", str(tmp_path / "own.npz"), "--recipe", "slides", *SMALL_WORDS]
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 0
    samples = str(tmp_path / "run" / "samples.npz")
    words = ["evaluate", samples, "--against", str(tmp_path / "own.npz")]
    assert cli.main([*words, "--out", str(tmp_path / "report.json")]) == 0
    rows = json.loads((tmp_path / "report.json").read_text())
    assert "px" not in json.dumps(rows)


# values that a schema has to hold ----------------------------------------------------------------


@pytest.mark.parametrize("part", ["data", "valid"])
def test_an_outlier_in_any_part_is_held_and_counted(part: str) -> None:
    sets = {"data": random_clouds(), "valid": random_clouds(40, seed=1)}
    sets[part][3, 2, 2] = 1e4
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = fit(sets["data"], valid=sets["valid"])
    said = " ".join(str(warning.message) for warning in caught)
    assert ("1 of 240 nodes of valid lie far outside" in said) == (part == "valid")
    assert run.model.sample(10).isfinite().all()


@pytest.mark.filterwarnings("ignore:.* nodes of .* lie far outside", "ignore:.*has a heavy tail")
@pytest.mark.usefixtures("few_panels")
def test_a_command_with_a_heavy_tail_draws_and_judges(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points = random.random((120, 6, 3))
    points[..., 2] = random.pareto(1.2, (120, 6))
    np.save(tmp_path / "own.npy", points)
    words = ["train", "--data", str(tmp_path / "own.npy"), "--recipe", "slides", *SMALL_WORDS]
    assert cli.main([*words, "--out", str(tmp_path / "run")]) == 0
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"samples.npz", "report_generated.json"} <= written
    with np.load(tmp_path / "run" / "samples.npz") as samples:
        assert np.isfinite(samples["points"]).all()


@pytest.mark.parametrize("value", [0.0, 3.5, -2e4])
def test_a_constant_feature_comes_back_constant(value: float) -> None:
    points = random_clouds()
    points[..., 2] = value
    model = fit(points).model
    for made in (model.sample(20), model.reconstruct(points)):
        torch.testing.assert_close(made[..., 2], torch.full_like(made[..., 2], value))


@pytest.mark.filterwarnings("ignore:float32 cannot tell nodes apart")
def test_coordinates_far_from_zero_keep_their_differences() -> None:
    random = np.random.default_rng(0)
    near = random.random((60, 8, 3))
    far = near + np.array([1e8, 0.0, 0.0])
    with pytest.warns(UserWarning, match="float32 cannot tell nodes apart in x near 1e.08"):
        data = gconvae.datasets.from_points(far)
    assert len(data.points[..., 0].unique()) > 400  # of 480
    shifted = far + np.array([0.5, 0.0, 0.0])
    report = gconvae.metrics.compare(far, shifted, metrics="features")
    assert report.row("x").value == pytest.approx(0.5, abs=1e-3)
    drawn = fit(far, tiny(8)).model.sample(10)
    assert drawn.dtype == torch.float64
    assert ((drawn[..., 0] > 1e8 - 1) & (drawn[..., 0] < 1e8 + 2)).all()


# draws -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["mean", "gaussian", "autoregressive(steps=2)"])
def test_fewer_draws_are_the_first_ones(likelihood: str) -> None:
    model = fit(random_clouds(), tiny(likelihood=likelihood)).model
    many = model.sample(3000, seed=1)  # several pieces
    for count in (1, 50, 300):
        assert torch.equal(many[:count], model.sample(count, seed=1))
    parts = list(model.iter_samples(3000, seed=1))
    assert len(parts) > 1
    assert torch.equal(torch.cat([part.points for part in parts]), many)
    z = model.embed(random_clouds(20))
    assert torch.equal(model.sample(z=z, seed=1)[:7], model.sample(z=z[:7], seed=1))


def test_draws_do_not_depend_on_the_size_of_a_part(tmp_path: Path) -> None:
    model = fit(random_clouds()).model
    run = tmp_path / "run"
    gconvae.save(model, run)
    drawn = []
    for count in (300, 40):
        out = str(tmp_path / f"{count}.npz")
        assert cli.main(["sample", str(run), "--count", str(count), "--out", out]) == 0
        with np.load(out) as samples:
            drawn.append(samples["points"])
    assert np.array_equal(drawn[0][:40], drawn[1])


# folders -----------------------------------------------------------------------------------------


def test_the_home_folder_may_be_called_by_its_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run = fit(random_clouds(), out="~/run")
    assert run.folder == tmp_path / "run"
    assert same_model(gconvae.load("~/run"), run.model)
    gconvae.save(run.model, "~/saved")
    gconvae.datasets.to_file(gconvae.datasets.from_points(random_clouds()), "~/own.npz")
    assert len(gconvae.datasets.from_file("~/own.npz")) == 60
    assert (tmp_path / "saved" / "model.json").exists()


# parts of one's own ------------------------------------------------------------------------------


class Pair(nn.Module):
    """An encoder as a user writes it: the pair of mean and log-variance."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any] = lambda *both: both) -> None:
        super().__init__()
        self.form = form
        self.mean, self.log_var = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, points: Tensor, mask: Tensor) -> Any:
        nodes = points.sum(1) / mask.sum(1, keepdim=True)
        return self.form(self.mean(nodes), self.log_var(nodes))


def as_normal(mean: Tensor, log_var: Tensor) -> Independent[Any]:
    return Independent(Normal(mean, torch.exp(0.5 * log_var)), 1)


def test_an_encoder_that_returns_mean_and_log_var_is_one_that_returns_a_normal() -> None:
    runs = []
    for form in (lambda *both: both, as_normal):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            encoder = Pair(form)
        runs.append(fit(random_clouds(), tiny(encoder=encoder)))
    assert same_model(runs[0].model, runs[1].model)
    points = random_clouds(5, seed=2)
    first, second = (run.model for run in runs)
    assert torch.equal(first.encode(points).stddev, second.encode(points).stddev)
    assert torch.equal(first.embed(points), second.embed(points))
    assert torch.equal(first.reconstruct(points), second.reconstruct(points))
    bounds = [
        model.with_likelihood("gaussian", random_clouds()).log_likelihood(points, samples=5)
        for model in (first, second)
    ]
    assert torch.equal(bounds[0].value, bounds[1].value)


@pytest.mark.parametrize(
    "form",
    [lambda mean, log_var: mean, lambda *both: (*both, 0), lambda mean, log_var: (mean, None)],
    ids=["a tensor", "three", "no variance"],
)
def test_an_encoder_that_returns_something_else_is_told_what_to_return(form: Any) -> None:
    with pytest.raises(ValueError, match=r"encoder must return \(mean, log_var\).* from Pair"):
        fit(random_clouds(), tiny(encoder=Pair(form)))


def test_a_model_with_an_encoder_of_its_own_is_not_saved_in_silence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="registry.register"):
        fit(random_clouds(), tiny(encoder=Pair()), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Tied(nn.Module):
    """A decoder two of whose layers share their weights."""

    def __init__(self, num_points: int, latent_dim: int, num_features: int) -> None:
        super().__init__()
        self.num_points, self.num_features = num_points, num_features
        self.first = nn.Linear(latent_dim, latent_dim)
        self.second = nn.Linear(latent_dim, latent_dim)
        self.second.weight = self.first.weight
        self.last = nn.Linear(latent_dim, num_points * num_features)

    def forward(self, z: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = torch.relu(self.second(torch.relu(self.first(z))))
        return torch.sigmoid(self.last(hidden)).unflatten(1, (self.num_points, -1))


def test_tied_parameters_are_saved_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what is registered is forgotten after the test
    held = {kind: dict(known) for kind, known in gconvae.registry._PARTS.items()}
    monkeypatch.setattr(gconvae.registry, "_PARTS", held)
    gconvae.registry.register("decoder", "tied_layers")(Tied)
    run = fit(random_clouds(), tiny(decoder="tied_layers"), out=tmp_path / "run")
    loaded = gconvae.load(tmp_path / "run")
    assert same_model(loaded, run.model)
    assert torch.equal(loaded.sample(5), run.model.sample(5))


# budgets -----------------------------------------------------------------------------------------


def test_every_stage_is_announced_with_its_budget(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny(prior="nsf(transforms=1)", likelihood="autoregressive(steps=4)")
    with caplog.at_level(logging.INFO, logger="gconvae"):
        fit(random_clouds(), model, prior_steps=2, likelihood_steps=5)
    said = [record.getMessage() for record in caplog.records if "stage" in record.getMessage()]
    assert said == [
        "stage network: at most 1 epochs",
        "stage prior: at most 2 steps",
        "stage likelihood: at most 5 steps",
        "stage temperature: at most 1 step",
    ]


def test_a_stage_longer_than_the_epochs_is_announced_without_a_bar_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fit(random_clouds(), tiny(likelihood="autoregressive(steps=40)"))
    assert "stage likelihood: at most 40 steps (likelihood_steps= sets them)" in caplog.text
    caplog.clear()
    fit(random_clouds(), tiny(likelihood="autoregressive(steps=40)"), likelihood_steps=2)
    assert not caplog.text


# numbers and texts of other packages -------------------------------------------------------------

NUMBERS = {
    "numpy": (np.int64, np.float64, np.str_, np.bool_),
    "pandas": (
        lambda n: pd.Series([n])[0],
        lambda x: pd.Series([x])[0],
        lambda text: pd.Series([text])[0],
        lambda yes: pd.Series([yes])[0],
    ),
    "torch": (torch.tensor, torch.tensor, str, torch.tensor),
}


@pytest.mark.parametrize("package", list(NUMBERS))
def test_numbers_and_texts_of_other_packages_are_taken(package: str, tmp_path: Path) -> None:
    whole, number, text, yes = NUMBERS[package]
    options = {
        "loss": text("third_axis"),
        "beta": number(0.5),
        "epochs": whole(1),
        "batch_size": whole(20),
        "learning_rate": number(0.002),
        "patience": whole(3),
        "seed": whole(4),
        "standardize": yes(True),
        "kl_warmup": whole(2),
        "free_bits": number(0.125),
        "accelerator": text("cpu"),
        "threads": whole(1),
    }
    shape = {"num_points": whole(6), "num_features": whole(3), "latent_dim": whole(3)}
    model = gconvae.models.create(
        text("convae"), hidden=whole(16), channels=(2, whole(3)), seed=whole(1), **shape
    )
    run = gconvae.fit(model, random_clouds(), out=tmp_path / "run", progress=False, **options)
    plain = gconvae.fit(
        tiny(seed=1),
        random_clouds(),
        progress=False,
        **{name: getattr(value, "item", lambda v=value: v)() for name, value in options.items()},
    )
    assert same_model(run.model, plain.model)
    drawn = run.model.sample(whole(8), seed=whole(2))
    assert torch.equal(drawn, plain.model.sample(8, seed=2))
    report = gconvae.metrics.compare(
        random_clouds(), drawn, metrics=text("features"), seed=whole(3), num_splits=whole(20)
    )
    assert report.rows
    first, _ = gconvae.datasets.split(
        gconvae.datasets.from_points(random_clouds()), number(0.25), seed=whole(1)
    )
    assert len(first) == 45


# settings of the caller's process ----------------------------------------------------------------


class Settings:
    """What a caller may have set for torch."""

    def __init__(self) -> None:
        self.seen = (
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_rng_state().sum().item(),
            np.geterr()["divide"],
            float(np.random.get_state()[1].sum()),  # noqa: NPY002 - what a caller may have seeded
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.seen == other.seen

    def __repr__(self) -> str:
        return repr(self.seen)


POINTS = random_clouds()


def everything() -> tuple[Tensor, ...]:
    """A training and all that is asked of its model."""
    points = POINTS
    run = fit(points, tiny(likelihood="gaussian", prior="gmm(components=2)"), seed=3)
    model = run.model
    drawn = model.sample(20, seed=1)
    bound = model.log_likelihood(points[:5], samples=3).value
    report = gconvae.metrics.compare(points, drawn, metrics="features", num_bootstrap=20)
    rows = torch.tensor([row.value for row in report.rows], device="cpu", dtype=torch.float64)
    loss = gconvae.losses.ThirdAxisChamfer()(points, points.flip(0))
    found = (drawn, model.reconstruct(points), model.embed(points), bound, rows, loss)
    return tuple(part.detach().clone() for part in found)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[Tensor, ...]:
    return everything()


class DefaultDtype:
    def __enter__(self) -> None:
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *error: object) -> None:
        torch.set_default_dtype(torch.float32)


STATES = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": DefaultDtype,
    "default device": lambda: torch.device("meta"),
    "numpy errors": lambda: np.errstate(all="raise"),
}


@pytest.mark.parametrize("state", list(STATES))
def test_a_state_of_the_caller_changes_no_result(
    state: str, undisturbed: tuple[Tensor, ...]
) -> None:
    with STATES[state]():
        before = Settings()
        found = everything()
        assert Settings() == before
    for here, there in zip(found, undisturbed, strict=True):
        assert here.dtype == there.dtype
        assert torch.equal(here, there)


def test_warnings_as_errors_break_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything()


def test_several_threads_at_once_have_the_results_of_one(
    undisturbed: tuple[Tensor, ...],
) -> None:
    before = Settings()
    found: list[tuple[Tensor, ...]] = []
    workers = [threading.Thread(target=lambda: found.append(everything())) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 3
    for results in found:
        assert all(torch.equal(a, b) for a, b in zip(results, undisturbed, strict=True))
    assert Settings() == before

"""All parts of a model trained together on the bound on log p(x)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping
from torch import Tensor

import gconvae
from gconvae.clouds import Clouds
from gconvae.datasets import CloudDataset, from_points
from gconvae.training import callbacks
from gconvae.training.clouds import CloudsInMemory
from gconvae.training.history import of_stage
from gconvae.training.stages import joint
from gconvae.training.stages.joint import JointStage

LIKELIHOOD = "autoregressive(width=16, heads=2, components=3, batch_size=32, condition_on=%s)"

PARTS = ("encoder", "decoder", "prior", "likelihood")


def clouds(count: int = 200, seed: int = 0) -> CloudDataset:
    """Squares of four sizes on whole places, of label 0 on the left, of 1 on the right."""
    random = torch.Generator().manual_seed(seed)
    size = torch.randint(2, 6, (count, 1), generator=random).float()
    labels = torch.arange(count) % 2
    corners = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    positions = 4 + 12 * labels.view(-1, 1, 1) + size.unsqueeze(1) * corners
    intensity = (size / 8).unsqueeze(1).expand(-1, 4, 1)
    return from_points(torch.cat([positions, intensity], 2), labels=labels)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joint, "WARMUP", 5)
    monkeypatch.setattr(joint, "CHECK_EVERY", 20)


def model(condition_on: str = "('mean', 'latents')", **options: Any) -> gconvae.VAE:
    given = {"prior": "nsf(transforms=1, hidden=[8])", "num_classes": 2, "seed": 0} | options
    return gconvae.models.create(
        "deep_sets", likelihood=LIKELIHOOD % condition_on, num_points=4, latent_dim=3, **given
    )


def fit(made: gconvae.VAE, **options: Any) -> Any:
    given = {"epochs": 1, "prior_steps": 2, "likelihood_steps": 2, "out": None, "seed": 0}
    return gconvae.fit(made, clouds(), progress=False, threads=1, **given | options)


def bound(made: gconvae.VAE) -> Tensor:
    return made.log_likelihood(clouds(40, seed=1), samples=8).value.mean()


@pytest.mark.parametrize("condition_on", ["('mean', 'latents')", "('mean',)", "('latents',)"])
def test_every_part_learns_and_the_bound_rises(condition_on: str) -> None:
    before, after = fit(model(condition_on)).model, fit(model(condition_on), joint_steps=60).model
    assert bound(after) > bound(before) + 1
    for name in PARTS:
        first, second = (getattr(each, name).state_dict() for each in (before, after))
        same = all(torch.equal(first[key], second[key]) for key in first)
        # a decoder that nobody hears cannot be taught
        assert same == (name == "decoder" and "mean" not in condition_on), name


def test_its_loss_is_the_bound_of_clouds_as_they_are() -> None:
    trained = fit(model(), joint_steps=2).model
    stage = JointStage(trained, *(CloudsInMemory(trained, clouds(), "data"),) * 2, 2, 0)
    batch, added = stage.held_out.of(slice(0, 30)), []
    stage.add = lambda part, share, *terms: added.append(terms)  # type: ignore[method-assign]
    loss = stage.step_loss("valid", *batch)
    (nll, kl), model_now = added[0], trained
    posterior = model_now.posterior(model_now.scaling.from_unit(batch.unit), batch.mask)
    z = posterior.mean + posterior.base_dist.stddev * batch.noise
    context = model_now.conditioning.context(30, batch.labels, batch.mask)
    torch.testing.assert_close(
        kl, (posterior.log_prob(z) - model_now.prior.log_prob(z, context)).detach()
    )
    torch.testing.assert_close(loss.detach(), (nll + kl).mean())


def test_changed_clouds_teach_neither_encoder_nor_prior() -> None:
    trained = fit(model(), joint_steps=2).model
    stage = JointStage(trained, *(CloudsInMemory(trained, clouds(), "data"),) * 2, 2, 0)
    stage.add = lambda *given: None  # type: ignore[method-assign]
    batch = stage.batch(0)
    for changes, is_taught in ((torch.ones_like(batch.changes), False), (0 * batch.changes, True)):
        loss = stage.step_loss("train", *batch._replace(changes=changes))
        for part in (trained.encoder, trained.prior):
            weights = [weight for weight in part.parameters() if weight.requires_grad]
            slopes = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
            assert any(slope is not None and bool(slope.any()) for slope in slopes) == is_taught


class Stop(Callback):
    """Interrupts the joint stage after so many steps."""

    steps = 33

    def on_train_batch_end(self, trainer: Any, stage: Any, *given: Any) -> None:
        self.steps -= stage.name == "joint"
        if self.steps == 0:
            raise KeyboardInterrupt


def test_the_same_seed_gives_the_same_bits_also_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(model(), joint_steps=60, out=tmp_path / "whole").model
    monkeypatch.setattr(callbacks, "SAVE_EVERY", 0.0)
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        fit(model(), joint_steps=60, out=folder, callbacks=[Stop()])
    again = fit(model(), joint_steps=60, out=folder, resume=True).model
    first, second = whole.state_dict(), again.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_parts_that_are_as_good_as_those_to_come_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    terms, looks = JointStage._terms, []

    def worse(self: JointStage, batch: Any, *, is_train: bool) -> tuple[Tensor, Tensor]:
        nll, kl = terms(self, batch, is_train=is_train)
        looks.extend([] if is_train else [0])
        return nll + 50.0 * len(looks), kl

    before = fit(model()).model.state_dict()
    monkeypatch.setattr(JointStage, "_terms", worse)
    after = fit(model(), joint_steps=40).model.state_dict()
    assert len(looks) == 3
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_the_kl_of_the_history_is_that_of_all_clouds() -> None:
    rows = of_stage(fit(model(), joint_steps=60).history, "joint")
    for train, valid in zip(rows["train_kl"], rows["valid_kl"], strict=True):
        assert train > 0.45 * valid


def test_a_callback_of_the_joint_stage_is_left_out_elsewhere_and_hears_its_terms() -> None:
    stop = EarlyStopping("valid_nll", patience=100)
    fit(model(), joint_steps=40, callbacks=[stop, EarlyStopping("valid_rec", patience=100)])
    heard = EarlyStopping("valid_kl", patience=100)
    run = fit(model(), joint_steps=40, callbacks=[heard])
    kls = of_stage(run.history, "joint")["valid_kl"]
    assert float(heard.best_score) == pytest.approx(min(kls), rel=1e-4)


def test_the_history_has_both_terms(tmp_path: Path) -> None:
    run = fit(model(), joint_steps=40, out=tmp_path / "run")
    rows = of_stage(run.history, "joint")
    assert rows["epoch"] == [1, 2]
    for part in ("train", "valid"):
        parts = zip(rows[f"{part}_loss"], rows[f"{part}_nll"], rows[f"{part}_kl"], strict=True)
        for loss, nll, kl in parts:
            assert loss == pytest.approx(nll + kl)
    assert run.manifest["stages"]["joint"]["epochs_run"] == 2


@pytest.mark.parametrize("likelihood", ["mean", "gaussian", "flow_matching(width=8, heads=2)"])
def test_a_model_without_a_bound_is_refused_before_training(likelihood: str) -> None:
    made = gconvae.models.create("deep_sets", likelihood=likelihood, num_points=4, latent_dim=3)
    with pytest.raises(ValueError, match="joint_steps must be 0 unless the likelihood is auto"):
        gconvae.fit(made, clouds(), joint_steps=2, out=None)


@pytest.mark.parametrize("steps", [-1, 1.5, True])
def test_its_steps_are_a_whole_number(steps: Any) -> None:
    with pytest.raises(ValueError, match="joint_steps must be"):
        fit(model(), joint_steps=steps)


def test_clouds_of_several_sizes_and_no_labels() -> None:
    points = clouds().points
    mask = torch.arange(4) < torch.randint(2, 5, (200, 1))
    ragged = from_points(*Clouds(points.masked_fill(~mask.unsqueeze(-1), 0.0), mask, None)[:2])
    made = gconvae.models.create(
        "deep_sets",
        likelihood=LIKELIHOOD % "('latents',)",
        num_points=4,
        latent_dim=3,
        ragged=True,
    )
    given: Any = {"epochs": 1, "likelihood_steps": 2, "joint_steps": 20, "out": None}
    run = gconvae.fit(made, ragged, progress=False, threads=1, **given)
    assert run.model.sample_clouds(20).points.isfinite().all()

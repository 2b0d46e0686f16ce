from __future__ import annotations

import dataclasses
import hashlib
import importlib
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import generators
import numpy as np
import pytest
import torch
from torch import Tensor

import gconvae
from gconvae import datasets, metrics
from gconvae.metrics import vectors
from gconvae.metrics.jets import JetClassifier, classifier
from gconvae.randomness import generator
from gconvae.schema import JETS, SUPERPIXELS, points

DATA = Path(gconvae.__file__).parent / "data"
SCRIPTS = Path(__file__).parents[3] / "scripts"

sys.path.append(str(SCRIPTS))  # where the scripts find what they share
train_jet_reference: Any = importlib.import_module("train_jet_reference")

Jets = tuple[Tensor, Tensor]


@pytest.fixture(scope="module")
def model() -> JetClassifier:
    return classifier.load()


@pytest.fixture(scope="module")
def some() -> Jets:
    """Made-up jets of up to 30 particles."""
    nodes, mask = generators.jets(40, 0, num_particles=30)
    return nodes.float(), mask


def labelled(num_jets: int, seed: int) -> datasets.CloudDataset:
    """Three kinds that differ in their width."""
    nodes, mask = generators.jets(num_jets, seed)
    labels = torch.arange(num_jets) % 3
    width = torch.tensor([1.0, 0.3, 2.0])[labels]
    nodes[..., :2] *= width[:, None, None]
    schema = JETS.with_classes(("g", "q", "t"))
    return datasets.from_points(nodes.float(), mask, labels, schema=schema)


# what the network is


def test_the_order_of_particles_does_not_matter(model: JetClassifier, some: Jets) -> None:
    nodes, mask = some
    order = torch.rand(mask.shape, generator=generator(0, "order")).argsort(1)
    moved = model.features(
        nodes.gather(1, order.unsqueeze(-1).expand_as(nodes)), mask.gather(1, order)
    )
    torch.testing.assert_close(moved, model.features(nodes, mask), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("garbage", [0.0, 1e30, math.nan, math.inf])
def test_masked_particles_do_not_matter(model: JetClassifier, some: Jets, garbage: float) -> None:
    nodes, mask = some
    filled = nodes.masked_fill(~mask.unsqueeze(-1), garbage)
    assert torch.equal(model(filled, mask), model(nodes, mask))


def test_padding_does_not_matter(model: JetClassifier, some: Jets) -> None:
    nodes, mask = some[0][:, :12], some[1][:, :12]
    wide = torch.nn.functional.pad(nodes, (0, 0, 0, 9)), torch.nn.functional.pad(mask, (0, 9))
    torch.testing.assert_close(
        model.features(*wide), model.features(nodes, mask), rtol=1e-4, atol=1e-4
    )


def test_of_many_particles_the_hardest_thirty_are_looked_at(model: JetClassifier) -> None:
    nodes, mask = generators.jets(10, 1, num_particles=150)
    found = model.features(nodes.flip(1), mask.flip(1))
    hardest = model.features(nodes[:, :30], mask[:, :30])
    torch.testing.assert_close(found, hardest, rtol=1e-4, atol=1e-4)


def test_the_seam_of_the_azimuth_does_not_matter(model: JetClassifier, some: Jets) -> None:
    nodes, mask = some
    turned = nodes.double() + torch.tensor([0.0, 2 * math.pi, 0.0])
    torch.testing.assert_close(
        model.features(turned, mask), model.features(nodes, mask), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("value", [-1e30, -1.0, 0.0, 1e30])
def test_features_of_any_jet_are_finite(model: JetClassifier, value: float) -> None:
    nodes = torch.full((2, 5, 3), value)
    assert torch.isfinite(model.features(nodes)).all()
    nodes[:, 0] = torch.tensor([0.1, 0.1, 0.5])
    assert torch.isfinite(model.features(nodes)).all()


def test_every_weight_has_a_gradient(some: Jets) -> None:
    model = JetClassifier()
    model(*some).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


# weights, card, helpers


def test_the_card_fits_the_file(model: JetClassifier) -> None:
    card, content = classifier.card(), (DATA / "jet_reference.safetensors").read_bytes()
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["bytes"] == len(content) <= 600_000
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert card["recipe"] == dataclasses.asdict(train_jet_reference.Recipe())


def test_the_card_names_the_bundled_jets() -> None:
    data = classifier.card()["data"]
    assert data["jets"] == {"train": 36_000, "valid": 12_000, "test": 12_000}
    assert data["sha256"]["test"] == train_jet_reference.jets_of("test").checksum()


def test_it_recognizes_test_jets(model: JetClassifier) -> None:
    for kind, least in (("g", 0.7), ("q", 0.68), ("t", 0.83)):
        data = datasets.Jets(kind, split="test")
        logits = model.classify(classifier.features(data.points, data.mask))
        assert logits.argmax(1).eq(data.labels).double().mean() > least


def test_features_are_standardized() -> None:
    data = datasets.Jets(split="test")
    features = classifier.features(data.points[::4], data.mask[::4])
    # standardized on training jets; 3,000 others agree up to their sampling error
    assert features.mean(0).abs().max() < 0.1
    assert (features.std(0) - 1).abs().max() < 0.1


def test_no_two_features_are_the_same() -> None:
    data = datasets.Jets(split="test")
    features = classifier.features(data.points[::4], data.mask[::4]).double()
    assert torch.linalg.eigvalsh(features.T.corrcoef()).min() > 1e-4


def test_the_accuracy_of_the_card_is_high_enough_and_adds_up() -> None:
    accuracy = classifier.card()["accuracy"]
    by_kind = [accuracy["test_by_kind"][kind] for kind in classifier.KINDS]
    assert accuracy["test"] > 0.74
    assert np.mean(by_kind) == pytest.approx(accuracy["test"], abs=2e-4)  # as many of each


def test_features_come_in_pieces_in_float32_without_gradient(
    model: JetClassifier, some: Jets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "CHUNK", 7)
    found = classifier.features(some[0].requires_grad_(), some[1])
    assert (found.dtype, found.requires_grad) == (torch.float32, False)
    torch.testing.assert_close(found, model.features(*some).detach(), rtol=1e-4, atol=1e-4)


def test_loaded_weights_are_frozen(model: JetClassifier) -> None:
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[0], r"points must have shape \(clouds, nodes, features\)"),
        (
            lambda c: c[..., :2],
            r"points must have 3 features a node( \(eta_rel, phi_rel, pt_rel\))?, got 2",
        ),
        (lambda c: c / 0, "points must be finite"),
    ],
)
def test_wrong_jets_are_an_error(
    model: JetClassifier, some: Jets, change: Callable[[Tensor], Any], message: str
) -> None:
    for judge in (model, model.features, classifier.features):
        with pytest.raises(ValueError, match=message):
            judge(change(some[0]))


# in a comparison


def test_jets_are_compared_by_it_and_other_clouds_are_not() -> None:
    nodes = torch.rand(5, 3)
    for schema in (JETS, JETS.with_classes(("g", "t"))):
        found = vectors.user_embedding(None, schema, nodes)
        assert found is not None
        assert found.name == "embedding"
    own = points("eta phi", "pt")
    assert vectors.user_embedding(None, own, nodes) is None
    assert vectors.user_embedding(None, SUPERPIXELS, 50 * nodes) is None


def test_rows_of_the_embedding_are_of_its_features() -> None:
    real, generated, reference = (generators.jets(70, seed) for seed in range(3))
    report = metrics.compare(
        real, generated, reference, schema=JETS, metrics=["frechet", "kernel"], num_splits=2
    )
    pair = [classifier.features(*side).numpy() for side in (real, generated)]
    assert report.embedding == "embedding"
    wanted = metrics.frechet_distance(*pair)
    assert report.row("embedding", "Frechet").value == pytest.approx(wanted, rel=1e-4)


# the script


def test_changed_jets_keep_their_mass_and_lose_soft_particles_only(some: Jets) -> None:
    recipe = train_jet_reference.Recipe()
    nodes, mask = train_jet_reference.augmented(*some, recipe, generator(0, "augment"))
    assert torch.equal(nodes[..., 2], some[0][..., 2])
    radius = torch.hypot(nodes[..., 0], nodes[..., 1])
    torch.testing.assert_close(radius, torch.hypot(some[0][..., 0], some[0][..., 1]))
    untouched = torch.arange(len(mask)) % 4 > 0
    assert torch.equal(mask[untouched], some[1][untouched])
    lost = some[1] & ~mask
    assert lost.any()
    assert mask[:, : recipe.fewest_particles].sum() == some[1][:, :10].sum()


def test_training_again_gives_the_same_bits_and_other_seeds_others() -> None:
    data = labelled(60, 0)
    recipes = [train_jet_reference.Recipe(2, seed, batch_size=30) for seed in (0, 0, 1)]
    weights = []
    for recipe in recipes:
        torch.rand(3)  # what was drawn before must not matter
        weights.append(train_jet_reference.train(data, data, recipe).classify.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_script_writes_weights_that_load_and_know_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = labelled(1024, 1)
    monkeypatch.setattr(train_jet_reference.datasets, "Jets", lambda split: data, raising=False)
    monkeypatch.setattr(
        "sys.argv", ["train_jet_reference.py", "--epochs", "6", "--out", str(tmp_path)]
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode: None)
    train_jet_reference.main()
    monkeypatch.setattr(classifier, "_FOLDER", tmp_path)
    card = classifier.card()
    assert card["accuracy"]["test"] > 0.6  # a third by chance
    assert set(card["roc_auc"]) == {"g against q", "g against t", "q against t"}
    found = classifier.features(data.points, data.mask)
    torch.testing.assert_close(found.mean(0), torch.zeros(16), rtol=0, atol=1e-3)


def test_features_take_jets_in_any_form() -> None:
    jets = datasets.Jets("g", "test")[:20]
    wanted = classifier.features(jets.points, jets.mask)
    for given in (jets, jets.clouds, (jets.points, jets.mask), [jets[row] for row in range(20)]):
        torch.testing.assert_close(classifier.features(given), wanted, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="points must be jets, particles of eta_rel"):
        classifier.features(datasets.SuperpixelMNIST(8, "test")[:3])

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import math
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import gconvae
from gconvae.datasets import CloudDataset, SuperpixelMNIST
from gconvae.metrics import classifier
from gconvae.metrics.classifier import ReferenceClassifier
from gconvae.randomness import generator, initial_weights

DATA = Path(gconvae.__file__).parent / "data"
SCRIPTS = Path(__file__).parents[2] / "scripts"

sys.path.append(str(SCRIPTS))  # where the scripts find what they share
train_reference: Any = importlib.import_module("train_reference")


@pytest.fixture(scope="module")
def model() -> ReferenceClassifier:
    return classifier.load()


@pytest.fixture(scope="module")
def test_set() -> CloudDataset:
    return SuperpixelMNIST(split="test")


@pytest.fixture(scope="module")
def some(test_set: CloudDataset) -> Tensor:
    """64 clouds of all digits, shape (64, 25, 3)."""
    return test_set.points[:64]


def ragged_mask(num_clouds: int, num_nodes: int) -> Tensor:
    """1 to N real nodes a cloud, anywhere among the N."""
    counts = torch.arange(num_clouds) % num_nodes + 1
    order = torch.rand(num_clouds, num_nodes, generator=generator(0, "mask")).argsort(1)
    return order < counts.unsqueeze(1)


# what the network is


def test_the_order_of_nodes_does_not_matter(model: ReferenceClassifier, some: Tensor) -> None:
    order = torch.rand(some.shape[:2], generator=generator(0, "order")).argsort(1)
    mask = ragged_mask(*some.shape[:2])
    shuffled = some.gather(1, order.unsqueeze(-1).expand_as(some))
    moved = model.features(shuffled, mask.gather(1, order))
    torch.testing.assert_close(moved, model.features(some, mask), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("garbage", [0.0, 1e30, math.nan, math.inf])
def test_masked_nodes_do_not_matter(
    model: ReferenceClassifier, some: Tensor, garbage: float
) -> None:
    mask = ragged_mask(*some.shape[:2])
    filled = some.masked_fill(~mask.unsqueeze(-1), garbage)
    assert torch.equal(model(filled, mask), model(some, mask))


def test_padded_clouds_equal_bare_ones(model: ReferenceClassifier, some: Tensor) -> None:
    mask = ragged_mask(*some.shape[:2])
    padded = model.features(some, mask)
    for cloud, real, wanted in zip(some, mask, padded, strict=True):
        torch.testing.assert_close(
            model.features(cloud[real][None])[0], wanted, rtol=1e-4, atol=1e-4
        )


def test_every_node_and_every_feature_of_it_matters(
    model: ReferenceClassifier, some: Tensor
) -> None:
    points = some.clone().requires_grad_()
    model.features(points).square().sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()
    assert points.grad.ne(0).all()


def test_every_parameter_gets_a_gradient(some: Tensor) -> None:
    with initial_weights(0):
        fresh = ReferenceClassifier()
    loss = torch.nn.functional.cross_entropy(fresh(some), torch.arange(64) % 10)
    loss.backward()
    without = [
        name
        for name, parameter in fresh.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert without == []


def test_features_stay_finite_however_far_off_a_node_is(
    model: ReferenceClassifier, some: Tensor
) -> None:
    for size in (1e3, 1e30, 1e300):
        assert model(some.double() * size).isfinite().all()


# how good it is


def test_it_recognizes_test_clouds(model: ReferenceClassifier, test_set: CloudDataset) -> None:
    logits = model.classify(classifier.features(test_set.points[:2000], test_set.mask[:2000]))
    assert test_set.labels is not None
    assert (logits.argmax(1) == test_set.labels[:2000]).double().mean() >= 0.975


def test_it_recognizes_clouds_that_lost_nodes(
    model: ReferenceClassifier, test_set: CloudDataset
) -> None:
    mask = torch.rand(2000, 25, generator=generator(0, "drop")) >= 0.2  # 20 nodes of 25 stay
    logits = model.classify(classifier.features(test_set.points[:2000], mask))
    assert test_set.labels is not None
    assert (logits.argmax(1) == test_set.labels[:2000]).double().mean() >= 0.95


def test_features_are_standardized(test_set: CloudDataset) -> None:
    features = classifier.features(test_set.points[::4])
    # standardized on training clouds; 2,500 others agree up to their sampling error
    assert features.mean(0).abs().max() < 0.1
    assert (features.std(0) - 1).abs().max() < 0.1


def test_no_two_features_are_the_same(test_set: CloudDataset) -> None:
    features = classifier.features(test_set.points[:2000]).double()
    assert torch.linalg.eigvalsh(features.T.corrcoef()).min() > 1e-3


# weights and card


def test_the_card_fits_the_file(model: ReferenceClassifier) -> None:
    card, content = classifier.card(), (DATA / "reference.safetensors").read_bytes()
    assert card["file"] == "reference.safetensors"
    assert card["sha256"] == hashlib.sha256(content).hexdigest()
    assert card["bytes"] == len(content) <= 1_000_000
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters())


def test_the_card_names_the_bundled_clouds(test_set: CloudDataset) -> None:
    data = classifier.card()["data"]
    assert data["clouds"] == {"train": 55_000, "validation": 5_000, "test": 10_000}
    assert data["sha256"]["test"] == test_set.checksum()


def test_the_accuracy_of_the_card_is_high_enough_and_adds_up(test_set: CloudDataset) -> None:
    accuracy = classifier.card()["accuracy"]
    assert test_set.labels is not None
    counts = np.bincount(test_set.labels.numpy(), minlength=10)
    by_digit = accuracy["test_by_digit"]
    assert accuracy["test"] >= 0.98
    assert min(by_digit) > 0.95
    assert float(counts @ by_digit) / counts.sum() == pytest.approx(accuracy["test"], abs=1e-4)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of the weights and the card, from which they are loaded."""
    for name in ("reference.safetensors", "reference.json"):
        shutil.copy(DATA / name, tmp_path)
    monkeypatch.setattr(classifier, "_FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
    ids=["short", "empty", "one bit"],
)
def test_damaged_weights_are_refused(copied: Path, damage: Callable[[bytes], bytes]) -> None:
    weights = copied / "reference.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ValueError, match=r"must have the SHA-256 \w{64} of its card, got \w{64}"):
        classifier.load()


def test_the_undamaged_copy_is_taken(copied: Path, some: Tensor) -> None:
    assert classifier.load()(some).shape == (64, 10)


# the helpers


def test_pieces_equal_the_whole(
    model: ReferenceClassifier, some: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = ragged_mask(*some.shape[:2])
    monkeypatch.setattr(classifier, "CHUNK", 7)
    torch.testing.assert_close(
        classifier.features(some, mask), model.features(some, mask), rtol=1e-4, atol=1e-4
    )


def test_the_same_clouds_have_the_same_features_to_the_last_bit(some: Tensor) -> None:
    assert torch.equal(classifier.features(some), classifier.features(some))


def test_features_come_in_float32_without_gradient(some: Tensor) -> None:
    wanted = classifier.features(some)
    assert wanted.shape == (64, classifier.NUM_FEATURES)
    for points in (some.clone().requires_grad_(), some.double(), some.double().numpy()):
        features = classifier.features(points)
        assert features.dtype == torch.float32
        assert not features.requires_grad
        assert torch.equal(features, wanted)


def test_features_lie_on_the_device_of_the_clouds(some: Tensor, device: torch.device) -> None:
    assert classifier.features(some.to(device)).device.type == device.type
    torch.testing.assert_close(
        classifier.features(some.to(device)).cpu(), classifier.features(some), rtol=1e-3, atol=1e-3
    )


def test_loaded_weights_are_frozen(model: ReferenceClassifier) -> None:
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_the_callers_random_numbers_are_left_alone(some: Tensor) -> None:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()]  # noqa: NPY002

    before = states()
    classifier.features(some)
    assert states() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[0], r"points must have shape \(clouds, nodes, features\), got \(25, 3\)"),
        (lambda c: c[:0], "points must hold at least one cloud"),
        (lambda c: c[..., :2], "points must have 3 features a node, got 2"),
        (lambda c: torch.cat([c, c], -1), "points must have 3 features a node, got 6"),
        (lambda c: c / 0, "points must be finite"),
        (lambda c: "clouds", "points must be a tensor or an array of numbers"),
    ],
)
def test_wrong_clouds_are_an_error(
    model: ReferenceClassifier, some: Tensor, change: Callable[[Tensor], Any], message: str
) -> None:
    for judge in (model, model.features, classifier.features):
        with pytest.raises(ValueError, match=message):
            judge(change(some))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(64, 24, dtype=torch.bool), r"mask must have shape \(64, 25\)"),
        (torch.full((64, 25), 2.0), "mask must hold booleans"),
        (torch.zeros(64, 25, dtype=torch.bool), "must have a real node in every cloud"),
    ],
)
def test_a_wrong_mask_is_an_error(
    model: ReferenceClassifier, some: Tensor, mask: Tensor, message: str
) -> None:
    for judge in (model, classifier.features):
        with pytest.raises(ValueError, match=message):
            judge(some, mask)


# the script


def test_the_recipe_of_the_card_is_the_scripts() -> None:
    assert classifier.card()["recipe"] == dataclasses.asdict(train_reference.Recipe())


def test_changed_clouds_are_like_the_given_ones(some: Tensor) -> None:
    recipe = train_reference.Recipe()
    points, mask = train_reference.augmented(some, recipe, generator(0, "augment"))
    assert points.shape == some.shape
    assert mask[::2].all()
    assert 0.7 < mask[1::2].double().mean() < 1
    assert 0.2 < (points - some)[..., :2].abs().mean() < 3
    assert (points - some)[..., 2].abs().max() < 0.2


def test_training_again_gives_the_same_bits(test_set: CloudDataset) -> None:
    recipe = train_reference.Recipe(epochs=2, batch_size=50)
    states = []
    for _ in range(2):
        torch.rand(3)  # what was drawn before must not matter
        data = test_set[:100]
        states.append(train_reference.train(data, data, recipe).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_another_seed_gives_other_weights(test_set: CloudDataset) -> None:
    data = test_set[:50]
    weights = [
        train_reference.train(data, data, train_reference.Recipe(1, seed, batch_size=50))
        for seed in (0, 1)
    ]
    assert not torch.equal(*(model.classify.weight for model in weights))


def test_the_script_writes_weights_that_load(
    test_set: CloudDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_reference, "NUM_VALID", 10)
    monkeypatch.setattr(train_reference.datasets, "SuperpixelMNIST", lambda split: test_set[:400])
    monkeypatch.setattr(
        "sys.argv", ["train_reference.py", "--epochs", "1", "--out", str(tmp_path)]
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode: None)
    train_reference.main()
    monkeypatch.setattr(classifier, "_FOLDER", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "reference.json",
        "reference.safetensors",
    ]
    assert classifier.card()["recipe"]["epochs"] == 1
    features = classifier.features(test_set.points[:400])
    torch.testing.assert_close(features.mean(0), torch.zeros(32), rtol=0, atol=1e-3)

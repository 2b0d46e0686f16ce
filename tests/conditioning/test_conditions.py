from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import gconvae
from gconvae.conditioning import Conditioning, Conditions
from gconvae.conditioning.conditions import MOST_ROWS
from gconvae.datasets import CloudDataset
from gconvae.randomness import generator
from gconvae.schema import Feature, Tail, points
from gconvae.vae import VAE

SCHEMA = points("x y").replace(
    conditions=(
        Feature("shift", "mm"),
        Feature("charge"),
        Feature("mass", "GeV", tail=Tail("log", 1.0)),
    )
)


def moved_clouds(count: int = 300) -> CloudDataset:
    """Clouds that their first condition moves in x; label 1 has masses above 50 GeV."""
    random = generator(0, "test")
    rows = torch.rand(count, 3, generator=random) * torch.tensor([10.0, 1.0, 100.0])
    nodes = torch.rand(count, 6, 2, generator=random)
    nodes[..., 0] += rows[:, :1]
    mask = torch.arange(6) < torch.randint(3, 7, (count, 1), generator=random)
    labels = (rows[:, 2] > 50).long()
    return gconvae.datasets.from_points(nodes, mask, labels, schema=SCHEMA, conditions=rows)


def untrained() -> VAE:
    return gconvae.models.create(
        "deep_sets",
        prior="nsf(hidden=[16],transforms=1)",
        hidden=[32],
        num_points=6,
        num_features=2,
        num_classes=2,
        ragged=True,
        conditions=["mass", "shift"],
        seed=0,
    )


@pytest.fixture(scope="module")
def data() -> CloudDataset:
    return moved_clouds()


@pytest.fixture(scope="module")
def model(data: CloudDataset) -> VAE:
    run = gconvae.fit(
        untrained(), data, epochs=19, learning_rate=1e-2, prior_steps=40, progress=False
    )
    return run.model


def middle(clouds: gconvae.clouds.Clouds) -> Tensor:
    """Mean x of the real nodes of each cloud, shape (B,)."""
    return (clouds.points[..., 0] * clouds.mask).sum(1) / clouds.mask.sum(1)


# standardization


def test_numbers_are_standardized_by_mean_and_deviation_of_the_training_clouds() -> None:
    conditions = Conditions(["a", "b"])
    conditions.fit(torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([4, 4]))
    wanted = [[-1.0, 0.0], [0.0, 1.0]]
    assert conditions.standardized(torch.tensor([[1.0, 5.0], [2.0, 6.0]])).tolist() == wanted


def test_a_heavy_tail_is_standardized_in_its_logarithm() -> None:
    conditions = Conditions(["mass"])
    heavy = Feature("mass", tail=Tail("log", 1.0))
    values = torch.tensor([[0.0], [torch.e - 1], [torch.e**2 - 1]])  # logarithms 0, 1, 2
    conditions.fit(values, torch.tensor([4, 4, 4]), features=[heavy])
    found = conditions.standardized(values).flatten()
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.0, 1.0]) * 1.5**0.5)


def test_a_context_ends_in_the_conditions() -> None:
    conditioning = Conditioning(4, num_classes=2, ragged=True, conditions=["a"])
    half = torch.tensor([[True, True, False, False]])
    context = conditioning.context(1, torch.tensor([1]), half, torch.tensor([[7.0]]))
    assert conditioning.dim == 4
    assert context is not None
    assert context.tolist() == [[0.0, 1.0, 0.5, 7.0]]


@pytest.mark.parametrize("names", ["mass", ["a", "a"], [1], [None]])
def test_names_of_conditions_are_a_list_of_different_texts(names: list[str]) -> None:
    with pytest.raises(ValueError, match="conditions must be"):
        Conditions(names)


# rows of training clouds


def test_label_size_and_conditions_are_drawn_together() -> None:
    conditions = Conditions(["a"])
    values = torch.arange(60.0).unsqueeze(1)
    conditions.fit(values, torch.arange(60) % 7, torch.arange(60) % 3)
    drawn = conditions.draw(500, generator(0, "conditions"))
    assert len(drawn.conditions.unique()) > 50
    assert torch.equal(drawn.conditions[:, 0].long() % 7, drawn.sizes)
    assert torch.equal(drawn.conditions[:, 0].long() % 3, drawn.labels)


def test_a_wanted_label_is_drawn_from_its_own_rows() -> None:
    conditions = Conditions(["a"])
    conditions.fit(torch.arange(60.0).unsqueeze(1), torch.ones(60), torch.arange(60) % 3)
    wanted = torch.arange(90) % 3
    drawn = conditions.draw(90, generator(0, "conditions"), wanted)
    assert torch.equal(drawn.labels, wanted)
    assert torch.equal(drawn.conditions[:, 0].long() % 3, wanted)


def test_sizes_of_wanted_conditions_are_those_of_clouds_near_them() -> None:
    conditions = Conditions(["a"])
    values = torch.arange(1000.0).unsqueeze(1)
    conditions.fit(values, torch.arange(1000) // 100 + 1)
    drawn = conditions.draw(80, generator(0, "conditions"), None, torch.full((80, 1), 250.0))
    assert drawn.sizes.unique().tolist() == [3]
    assert drawn.conditions.unique().tolist() == [250.0]


def test_at_most_so_many_rows_are_kept_and_every_label_has_its_share() -> None:
    conditions = Conditions(["a"])
    labels = (torch.arange(3 * MOST_ROWS) % 10 == 0).long()
    conditions.fit(torch.rand(3 * MOST_ROWS, 1), torch.ones_like(labels), labels)
    assert len(conditions.rows) == MOST_ROWS
    assert conditions.rows[:, 0].mean().item() == pytest.approx(0.1, abs=1e-3)


# models


def test_drawn_clouds_follow_their_conditions(model: VAE, data: CloudDataset) -> None:
    drawn = model.sample_clouds(300, seed=1)
    assert [condition.name for condition in model.schema.conditions] == ["mass", "shift"]
    assert drawn.conditions is not None
    assert torch.corrcoef(torch.stack([middle(drawn), drawn.conditions[:, 1]]))[0, 1] > 0.95
    # and label and mass belong together as they did in the training clouds
    assert torch.equal(drawn.conditions[:, 0] > 50, drawn.labels == 1)


def test_clouds_can_be_asked_for_by_their_conditions(model: VAE) -> None:
    low, high = (
        middle(model.sample_clouds(200, conditions=[80.0, shift], seed=0)).mean()
        for shift in (2.0, 8.0)
    )
    assert high - low == pytest.approx(6, abs=1)
    drawn = model.sample_clouds(100, conditions=[90.0, 2.0], seed=0)
    assert drawn.labels is not None
    assert drawn.labels.all()  # no cloud near 90 GeV had label 0


def test_conditions_can_be_named(model: VAE) -> None:
    named = model.sample_clouds(5, conditions={"shift": 2.0, "mass": 80.0}, seed=0)
    assert torch.equal(named.points, model.sample_clouds(5, conditions=[80.0, 2.0], seed=0).points)
    each = {"mass": 80.0, "shift": [1.0, 2.0, 3.0]}
    rows = [[80.0, 1.0], [80.0, 2.0], [80.0, 3.0]]
    found = model.sample_clouds(3, conditions=each, seed=0).conditions
    assert found is not None
    assert found.tolist() == rows


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mass": 80.0}, "conditions must be given for mass, shift, got some for mass"),
        ({}, "got some for nothing"),
        ({"mass": 1.0, "shift": 1.0, "charge": 1.0}, "got some for mass, shift, charge"),
        ({"mass": [1.0, 2.0], "shift": 1.0}, r"conditions of mass must be one number or 5, got"),
        ({"mass": "heavy", "shift": 1.0}, "conditions of mass must"),
        ({"mass": float("nan"), "shift": 1.0}, "conditions must be finite"),
    ],
)
def test_named_conditions_are_those_of_the_model(
    model: VAE, given: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        model.sample_clouds(5, conditions=given)


def test_a_cloud_of_given_conditions_does_not_depend_on_how_many_are_drawn(model: VAE) -> None:
    rows = torch.rand(300, 2, generator=generator(0, "test")) * torch.tensor([100.0, 10.0])
    many = model.sample_clouds(300, conditions=rows, seed=5)
    few = model.sample_clouds(40, conditions=rows[:40], seed=5)
    assert many.conditions is not None
    assert torch.equal(many.conditions, rows)
    assert all(torch.equal(a, b[:40]) for a, b in zip(few, many, strict=True))
    assert not torch.equal(many.points[:40], model.sample_clouds(40, seed=5).points)


def test_conditions_of_training_clouds_are_drawn_the_same_for_any_number(model: VAE) -> None:
    few, many = (model.sample_clouds(count, seed=5) for count in (30, 280))
    assert few.conditions is not None
    assert many.conditions is not None
    assert torch.equal(few.conditions, many.conditions[:30])
    assert torch.equal(few.points, many.points[:30])


def test_decoding_and_reconstructing_take_conditions(model: VAE, data: CloudDataset) -> None:
    z = model.embed(data[:4])
    each = model.decode(z, labels=0, conditions=[[20.0, 3.0]] * 4)
    assert torch.equal(each, model.decode(z, labels=0, conditions=torch.tensor([20.0, 3.0])))
    own = model.reconstruct_clouds(data[:4])
    assert own.conditions is not None
    assert data.conditions is not None
    assert torch.equal(own.conditions, data.conditions[:4, [2, 0]])
    asked = model.reconstruct_clouds(data[:4], conditions=[20.0, 9.0])
    assert not torch.equal(own.points, asked.points)


def test_conditions_between_two_clouds_lie_on_a_straight_line(
    model: VAE, data: CloudDataset
) -> None:
    lines = model.interpolate(data[:1], data[1:2], 3, labels=[0])
    assert isinstance(lines, gconvae.clouds.Clouds)
    assert data.conditions is not None
    assert lines.conditions is not None
    ends = data.conditions[:2, [2, 0]]
    torch.testing.assert_close(lines.conditions[1], ends.mean(0))


def test_a_likelihood_knows_the_conditions(model: VAE, data: CloudDataset) -> None:
    with_noise = model.with_likelihood("gaussian", data)
    with_noise.likelihood.scale.fill_(0.05)
    right = with_noise.log_likelihood(data[:50], samples=4).value.mean()
    assert data.conditions is not None
    wrong = data.conditions[:50].flip(0)
    swapped = data[:50].clouds._replace(conditions=wrong)
    assert with_noise.log_likelihood(swapped, samples=4).value.mean() < right


def test_a_saved_model_draws_the_same_clouds(model: VAE, tmp_path: Path) -> None:
    gconvae.save(model, tmp_path / "model")
    loaded = gconvae.load(tmp_path / "model")
    assert loaded.schema == model.schema
    first, second = (each.sample_clouds(50, seed=3) for each in (model, loaded))
    assert torch.equal(first.points, second.points)
    assert first.conditions is not None
    assert second.conditions is not None
    assert torch.equal(first.conditions, second.conditions)


@pytest.mark.parametrize("workers", [0, 1])
def test_clouds_on_disk_train_the_same_model(
    data: CloudDataset, tmp_path: Path, workers: int
) -> None:
    file = gconvae.datasets.to_file(data, tmp_path / "clouds.npz")
    read = gconvae.datasets.from_file(file)
    runs = [
        gconvae.fit(untrained(), each, each, epochs=1, prior_steps=2, progress=False, workers=w)
        for each, w in ((data, 0), (read, workers))
    ]
    first, second = (run.model.sample_clouds(5) for run in runs)
    assert torch.equal(first.points, second.points)


def test_a_file_read_while_training_gives_the_same_conditions(
    data: CloudDataset, tmp_path: Path
) -> None:
    file = gconvae.datasets.to_file_in_parts([data.clouds], tmp_path / "clouds.npz")
    read = gconvae.datasets.from_file(file, in_memory=False)
    run = gconvae.fit(untrained(), read, read, epochs=1, prior_steps=2, progress=False)
    told = run.model.conditioning.conditions
    assert told is not None
    assert data.conditions is not None
    logs = torch.log1p(data.conditions[:, 2])
    expected = torch.stack([logs.mean(), data.conditions[:, 0].mean()])
    torch.testing.assert_close(told.mean, expected)


def test_a_model_without_conditions_passes_over_those_of_its_clouds(data: CloudDataset) -> None:
    plain = gconvae.models.create("deep_sets", hidden=[8], num_points=6, num_features=2, seed=0)
    bare = gconvae.datasets.from_points(data.points, data.mask, schema=points("x y"))
    runs = [gconvae.fit(plain, each, epochs=1, progress=False) for each in (data, bare)]
    first, second = (run.model for run in runs)
    assert first.schema.conditions == ()
    assert torch.equal(first.sample(3, seed=0).points, second.sample(3, seed=0).points)
    assert first.state_dict().keys() == plain.state_dict().keys()


# errors


def test_clouds_without_the_conditions_of_a_model_are_refused(model: VAE) -> None:
    bare = gconvae.datasets.from_points(torch.rand(30, 6, 2), labels=[0, 1] * 15)
    with pytest.raises(ValueError, match="data must have the conditions mass, shift .*got clouds"):
        gconvae.fit(untrained(), bare, epochs=1)
    with pytest.raises(ValueError, match="conditions must be given.*mass, shift"):
        model.reconstruct(bare)


def test_validation_clouds_need_them_too(data: CloudDataset) -> None:
    bare = gconvae.datasets.from_points(data.points, data.mask, data.labels, schema=points("x y"))
    with pytest.raises(ValueError, match="conditions of valid must be given"):
        gconvae.fit(untrained(), data, bare, epochs=1)


def test_a_condition_that_the_schema_does_not_name_is_refused() -> None:
    with pytest.raises(ValueError, match="schema must have the conditions width .*shift, charge"):
        gconvae.models.create(schema=SCHEMA, conditions=["width"])


@pytest.mark.parametrize("rows", [[1.0], [[1.0, 2.0]] * 2, 4.0])
def test_wanted_conditions_of_another_shape_are_refused(model: VAE, rows: object) -> None:
    with pytest.raises(ValueError, match=r"conditions must have shape \(2,\) or \(3, 2\)"):
        model.sample(3, conditions=rows)


def test_wanted_conditions_must_be_finite(model: VAE) -> None:
    with pytest.raises(ValueError, match="conditions must be finite"):
        model.sample(3, conditions=[1.0, float("nan")])


def test_a_model_without_conditions_cannot_be_asked_for_some() -> None:
    plain = gconvae.models.create("deep_sets", hidden=[8], num_points=6, num_features=2, seed=0)
    with pytest.raises(ValueError, match="conditions must be None for a model without"):
        plain.sample(3, conditions=[1.0])

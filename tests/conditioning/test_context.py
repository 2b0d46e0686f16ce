from __future__ import annotations

import collections
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor

from gconvae.conditioning import Conditioning
from gconvae.randomness import generator


def masks(*sizes: int, num_nodes: int = 5) -> Tensor:
    """Clouds of the given sizes, the first nodes being real."""
    return torch.arange(num_nodes) < torch.tensor(sizes).unsqueeze(1)


def fitted() -> Conditioning:
    """Label 0 has clouds of 2, 3, 3 and 5 nodes, label 2 some of 1 node; nothing has label 1."""
    conditions = Conditioning(num_points=5, num_classes=3, ragged=True)
    conditions.fit(masks(3, 1, 2, 5, 1, 3), torch.tensor([0, 2, 0, 0, 2, 0]))
    return conditions


def random(seed: int = 0) -> torch.Generator:
    return generator(seed, "conditions")


def p_value(drawn: list[Any], expected: dict[Any, float]) -> float:
    """Of Pearson's chi-square test; what cannot be must not be drawn at all."""
    counted = collections.Counter(drawn)
    assert set(counted) <= set(expected)
    observed = [counted[key] for key in expected]
    return stats.chisquare(observed, [len(drawn) * share for share in expected.values()]).pvalue


# counts


def test_clouds_are_counted_by_label_and_number_of_nodes() -> None:
    assert fitted().counts.tolist() == [[0, 1, 2, 0, 1], [0, 0, 0, 0, 0], [2, 0, 0, 0, 0]]


def test_clouds_without_labels_are_counted_by_number_of_nodes() -> None:
    conditions = Conditioning(num_points=5)
    conditions.fit(masks(3, 1, 3, 5))
    assert conditions.counts.tolist() == [[1, 0, 2, 0, 1]]


def test_labels_of_a_model_without_labels_do_not_matter() -> None:
    conditions = Conditioning(num_points=5)
    conditions.fit(masks(3, 1), torch.tensor([7, 400]))
    assert conditions.counts.tolist() == [[1, 0, 1, 0, 0]]


def test_real_nodes_count_wherever_they_stand() -> None:
    conditions = Conditioning(num_points=5)
    conditions.fit(masks(3, 1, 3, 5).flip(1))
    assert conditions.counts.tolist() == [[1, 0, 2, 0, 1]]


def test_masks_that_are_narrower_than_the_network_will_do() -> None:
    conditions = Conditioning(num_points=7)
    conditions.fit(masks(3, 1, 5))
    assert conditions.counts.tolist() == [[1, 0, 1, 0, 1, 0, 0]]


def test_a_second_fit_forgets_the_first() -> None:
    conditions = fitted()
    conditions.fit(masks(4), torch.tensor([1]))
    assert conditions.counts.tolist() == [[0] * 5, [0, 0, 0, 1, 0], [0] * 5]


def test_before_any_fit_every_cloud_is_full_and_every_label_alike() -> None:
    conditions = Conditioning(num_points=5, num_classes=4, ragged=True)
    assert conditions.always_full
    drawn = conditions.draw(4000, random())
    assert drawn.mask.all()
    assert drawn.labels is not None
    assert p_value(drawn.labels.tolist(), dict.fromkeys(range(4), 0.25)) > 1e-3


def test_full_clouds_are_always_full() -> None:
    conditions = Conditioning(num_points=5, num_classes=2)
    conditions.fit(masks(5, 5), torch.tensor([0, 1]))
    assert conditions.always_full
    assert conditions.draw(100, random()).mask.all()


def test_a_single_smaller_cloud_is_not_full() -> None:
    conditions = Conditioning(num_points=5)
    conditions.fit(masks(5, 5, 4))
    assert not conditions.always_full


# draws


def test_draws_follow_the_table_of_labels_and_sizes() -> None:
    labels, mask, _ = fitted().draw(6000, random())
    assert labels is not None
    pairs = list(zip(labels.tolist(), mask.sum(1).tolist(), strict=True))
    shares = {(0, 2): 1 / 6, (0, 3): 2 / 6, (0, 5): 1 / 6, (2, 1): 2 / 6}
    assert p_value(pairs, shares) > 1e-3


def test_sizes_of_a_given_label_follow_its_row() -> None:
    labels, mask, _ = fitted().draw(4000, random(), label=0)
    assert labels is not None
    assert labels.tolist() == [0] * 4000
    assert p_value(mask.sum(1).tolist(), {2: 0.25, 3: 0.5, 5: 0.25}) > 1e-3


def test_sizes_without_labels_follow_the_table() -> None:
    conditions = Conditioning(num_points=5)
    conditions.fit(masks(3, 1, 3, 5))
    labels, mask, _ = conditions.draw(4000, random())
    assert labels is None
    assert p_value(mask.sum(1).tolist(), {1: 0.25, 3: 0.5, 5: 0.25}) > 1e-3


def test_draws_are_independent_of_each_other() -> None:
    sizes = fitted().draw(8000, random(), label=0).mask.sum(1).tolist()
    pairs = list(zip(sizes[::2], sizes[1::2], strict=True))
    shares = {2: 0.25, 3: 0.5, 5: 0.25}
    assert p_value(pairs, {(a, b): shares[a] * shares[b] for a in shares for b in shares}) > 1e-3


def test_given_labels_are_kept_one_each() -> None:
    wanted = torch.tensor([2, 0, 2, 2, 0])
    labels, mask, _ = fitted().draw(5, random(), label=wanted)
    assert labels is not None
    assert torch.equal(labels, wanted)
    assert (mask.sum(1)[wanted == 2] == 1).all()
    assert (mask.sum(1)[wanted == 0] >= 2).all()


def test_real_nodes_come_first() -> None:
    mask = fitted().draw(200, random()).mask
    assert mask.shape == (200, 5)
    assert mask[:, 0].all()
    assert (mask.int().diff(dim=1) <= 0).all()


def test_the_same_generator_gives_the_same_draws() -> None:
    first, second, other = (fitted().draw(200, random(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.labels, second.labels)  # type: ignore[arg-type]
    assert torch.equal(first.mask, second.mask)
    assert not torch.equal(first.mask, other.mask)


def test_draws_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    fitted().draw(10, random())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_precision_of_the_model_does_not_change_the_draws(precision: torch.dtype) -> None:
    wanted = fitted().draw(500, random())
    got = fitted().to(precision).draw(500, random())
    assert torch.equal(got.labels, wanted.labels)  # type: ignore[arg-type]
    assert torch.equal(got.mask, wanted.mask)


@pytest.mark.parametrize("label", [1, torch.tensor([0, 1, 2])])
def test_a_label_that_no_training_cloud_had_is_refused(label: Any) -> None:
    with pytest.raises(ValueError, match="label must be one of the training clouds, got 1"):
        fitted().draw(3, random(), label=label)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (3, "label must be 0 to 2, got 3"),
        (-1, "label must be 0 to 2, got -1"),
        (torch.tensor([0, 2, 5]), "label must be 0 to 2, got 5"),
        (torch.tensor([0, 2]), r"label must be 3 whole numbers, got shape \(2,\)"),
        (1.0, "label must be 3 whole numbers, got .*float"),
        (torch.tensor([0.0, 1.0, 2.0]), "label must be 3 whole numbers, got .*float"),
        (True, "label must be 3 whole numbers, got .*bool"),
    ],
)
def test_a_label_that_cannot_be_is_one_clear_error(label: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fitted().draw(3, random(), label=label)


def test_a_label_of_a_model_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="label must be None for a model without labels, got 3"):
        Conditioning(num_points=5).draw(3, random(), label=3)


# contexts


def test_a_context_is_the_label_one_hot_and_then_the_share_of_nodes() -> None:
    context = fitted().context(3, torch.tensor([0, 2, 1]), masks(5, 1, 3))
    wanted = [[1, 0, 0, 1.0], [0, 0, 1, 0.2], [0, 1, 0, 0.6]]
    torch.testing.assert_close(context, torch.tensor(wanted))


@pytest.mark.parametrize(
    ("num_classes", "ragged", "wanted"),
    [(0, False, None), (3, False, [0, 1, 0]), (0, True, [0.4]), (3, True, [0, 1, 0, 0.4])],
)
def test_a_context_has_only_what_the_model_is_told(
    num_classes: int, ragged: bool, wanted: list[float] | None
) -> None:
    conditions = Conditioning(5, num_classes, ragged)
    context = conditions.context(1, torch.tensor([1]), masks(2))
    assert conditions.dim == len(wanted or [])
    assert (None if context is None else context.tolist()) == pytest.approx(
        None if wanted is None else [pytest.approx(wanted)]
    )


def test_without_a_mask_all_nodes_are_real() -> None:
    conditions = Conditioning(5, num_classes=0, ragged=True)
    context = conditions.context(2)
    assert context is not None
    assert context.tolist() == [[1.0], [1.0]]


def test_a_share_is_one_of_the_networks_nodes_not_of_the_masks() -> None:
    conditions = Conditioning(10, ragged=True)
    context = conditions.context(1, None, masks(3))
    torch.testing.assert_close(context, torch.tensor([[0.3]]))


def test_one_label_stands_for_all_clouds() -> None:
    conditions = Conditioning(5, num_classes=3)
    one = conditions.context(4, 2)  # type: ignore[arg-type]
    each = conditions.context(4, torch.tensor([2, 2, 2, 2]))
    assert one is not None
    assert torch.equal(one, each)  # type: ignore[arg-type]


def test_missing_labels_are_one_clear_error() -> None:
    conditions = fitted()
    for use in (
        lambda: conditions.context(2),
        lambda: conditions.fit(masks(1, 2)),
        lambda: conditions.check_labels(None, 2),
    ):
        with pytest.raises(ValueError, match="labels must be given, the model has 3 classes"):
            use()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 3]), "labels must be 0 to 2, got 3"),
        (torch.tensor([-1, 0]), "labels must be 0 to 2, got -1"),
        (torch.tensor([0.0, 1.0]), "labels must be 2 whole numbers, got .*float32"),
        (torch.tensor([0, 1, 2]), r"labels must be 2 whole numbers, got shape \(3,\)"),
        (torch.tensor([[0], [1]]), r"labels must be 2 whole numbers, got shape \(2, 1\)"),
    ],
)
def test_wrong_labels_are_one_clear_error(labels: Tensor, message: str) -> None:
    conditions = fitted()
    with pytest.raises(ValueError, match=message):
        conditions.context(2, labels, masks(1, 2))
    with pytest.raises(ValueError, match=message):
        conditions.fit(masks(1, 2), labels)


def test_a_refused_fit_leaves_the_counts_as_they_were() -> None:
    conditions = fitted()
    before = conditions.counts.clone()
    with pytest.raises(ValueError, match="labels must be"):
        conditions.fit(masks(1, 2), torch.tensor([0, 9]))
    assert torch.equal(conditions.counts, before)


# nodes of a decoder


def test_a_decoder_makes_as_many_nodes_as_the_cloud_has_the_first_ones() -> None:
    mask = masks(3, 1, 5).flip(1)
    assert torch.equal(fitted().nodes(mask), masks(3, 1, 5))


def test_masks_of_other_widths_become_the_decoders() -> None:
    assert torch.equal(fitted().nodes(masks(2, 3, num_nodes=3)), masks(2, 3))
    assert torch.equal(fitted().nodes(masks(2, 7, num_nodes=8)), masks(2, 5))


def test_the_nodes_of_a_cloud_do_not_depend_on_what_was_seen() -> None:
    conditions = Conditioning(5)
    conditions.fit(masks(5, 5))
    assert torch.equal(conditions.nodes(masks(2, 3)), masks(2, 3))


# the module


def test_counts_are_saved_and_loaded() -> None:
    conditions = fitted()
    fresh = Conditioning(5, 3, ragged=True)
    fresh.load_state_dict(conditions.state_dict())
    assert torch.equal(fresh.counts, conditions.counts)
    first, second = (each.draw(300, random()) for each in (conditions, fresh))
    assert torch.equal(first.mask, second.mask)


def test_there_is_nothing_to_train() -> None:
    assert list(fitted().parameters()) == []
    assert set(fitted().state_dict()) == {"counts"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 0}, "num_points must be a whole number of at least 1, got 0"),
        ({"num_points": 5, "num_classes": -1}, "num_classes must be a whole number .* got -1"),
        ({"num_points": 5, "num_classes": True}, "num_classes must be a whole .* got True"),
    ],
)
def test_sizes_out_of_range_are_one_clear_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Conditioning(**options)


def test_it_prints_what_it_is() -> None:
    assert repr(fitted()) == "Conditioning(num_points=5, num_classes=3, ragged=True)"


def test_clouds_that_are_counted_already_give_the_counts_of_the_clouds() -> None:
    random = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.randint(1, 7, (50, 1), generator=random)
    labels = torch.randint(0, 3, (50,), generator=random)
    table = torch.zeros(3, 7, dtype=torch.long)
    for size, label in zip(mask.sum(1).tolist(), labels.tolist(), strict=True):
        table[label, size] += 1
    # with fewer nodes than the clouds, too; a model without labels counts all together
    for num_points, num_classes in ((6, 3), (4, 3), (6, 0)):
        wanted, found = (Conditioning(num_points, num_classes, True) for _ in range(2))
        wanted.fit(mask, labels)
        found.fit_counts(table[[2, 0, 1]], torch.tensor([2, 0, 1]))
        assert torch.equal(found.counts, wanted.counts)

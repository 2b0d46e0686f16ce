"""Batches of clouds in memory."""

import pytest
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.training.batches import Order, Steps, loader, split


def numbered(count: int, labelled: bool = True) -> Clouds:
    """Clouds that say their number in every coordinate and label."""
    number = torch.arange(count)
    points = number.view(-1, 1, 1).expand(count, 4, 3).float()
    mask = number.view(-1, 1) % 4 >= torch.arange(4)
    return Clouds(points, mask, number if labelled else None)


class Numbered:
    """Clouds of a training that say their number."""

    chunk = None

    def __init__(self, count: int, labelled: bool = True) -> None:
        self.clouds = numbered(count, labelled)

    def __len__(self) -> int:
        return len(self.clouds.points)

    def scaled(self, rows: Tensor) -> Clouds:
        return self.clouds.subset(rows)


def taken(
    count: int,
    batch_size: int,
    epoch: int = 0,
    block: int = 1,
    shuffle: bool = True,
    labelled: bool = True,
    chunk: int | None = None,
    **options: int,
) -> list[Clouds]:
    """The batches of one epoch."""
    order = Order(count, batch_size, seed=0, shuffle=shuffle, chunk=chunk)
    order.block = block
    order.set_epoch(epoch)
    blocks = loader(Numbered(count, labelled), order, seed=0, **options)  # type: ignore[arg-type]  # as much as is asked
    assert len([*blocks]) == len(order)
    return [batch for block in blocks for batch in split(block, batch_size)]


def numbers(found: list[Clouds]) -> Tensor:
    return torch.cat([batch.points[:, 0, 0].long() for batch in found])


@pytest.mark.parametrize(("count", "batch_size"), [(1, 1), (70, 1), (70, 7), (70, 30), (70, 100)])
def test_an_epoch_has_every_cloud_once_in_batches_of_one_size(count: int, batch_size: int) -> None:
    found = taken(count, batch_size)
    assert sorted(numbers(found).tolist()) == list(range(count))
    assert {len(batch.points) for batch in found[:-1]} <= {batch_size}
    assert len(found) == Order(count, batch_size, seed=0, shuffle=True).num_batches


def test_points_mask_and_labels_stay_together() -> None:
    for points, mask, labels in taken(50, 8):
        assert labels is not None
        assert torch.equal(points[:, 0, 0].long(), labels)
        assert torch.equal(mask, numbered(50).mask[labels])


def test_each_epoch_has_an_order_of_its_own_that_returns() -> None:
    first, second, again = (numbers(taken(50, 8, epoch)) for epoch in (0, 1, 0))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("block", [1, 2, 1000])
@pytest.mark.parametrize("chunk", [None, 7])
def test_blocks_do_not_change_the_batches(block: int, chunk: int | None) -> None:
    wanted = [batch.points for batch in taken(50, 8, chunk=chunk)]
    found = taken(50, 8, block=block, chunk=chunk)
    for mine, its in zip((batch.points for batch in found), wanted, strict=True):
        assert torch.equal(mine, its)


def test_workers_do_not_change_the_batches() -> None:
    wanted = [batch.points for batch in taken(300, 8)]
    for mine, its in zip(
        (batch.points for batch in taken(300, 8, workers=2)), wanted, strict=True
    ):
        assert torch.equal(mine, its)


def test_without_shuffling_the_order_is_that_of_the_rows() -> None:
    assert torch.equal(numbers(taken(50, 8, shuffle=False)), torch.arange(50))


def test_clouds_without_labels() -> None:
    assert [batch.labels for batch in taken(9, 4, labelled=False)] == [None] * 3


def test_clouds_on_a_disk_come_once_each_in_an_order_of_their_own() -> None:
    found = [numbers(taken(70, 8, epoch, chunk=4)) for epoch in (0, 1)]
    for order in found:
        assert sorted(order.tolist()) == list(range(70))
    assert not torch.equal(*found)


def test_steps_of_an_epoch_go_on_where_the_last_one_ended() -> None:
    steps, seen = Steps(7, every=3), []
    for epoch in range(steps.num_epochs):
        steps.set_epoch(epoch)
        assert len(steps) == len(list(steps))
        seen += list(steps)
    assert seen == list(range(7))

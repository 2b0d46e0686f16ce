"""Batches of clouds in memory."""

import pytest
import torch
from torch import Tensor

from gconvae.clouds import Clouds
from gconvae.training import batches
from gconvae.training.batches import Order, loader, split


def numbered(count: int, labelled: bool = True) -> Clouds:
    """Clouds that say their number in every coordinate and label."""
    number = torch.arange(count)
    points = number.view(-1, 1, 1).expand(count, 4, 3).float()
    mask = number.view(-1, 1) % 4 >= torch.arange(4)
    return Clouds(points, mask, number if labelled else None)


def taken(count: int, batch_size: int, epoch: int = 0, **options: int) -> list[Clouds]:
    """The batches of one epoch."""
    blocks = loader(numbered(count), batch_size=batch_size, seed=0, shuffle=True, **options)
    assert isinstance(blocks.sampler, Order)
    blocks.sampler.set_epoch(epoch)
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
def test_blocks_do_not_change_the_batches(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    wanted = [batch.points for batch in taken(50, 8)]
    monkeypatch.setattr(batches, "BLOCK", block)
    for mine, its in zip((batch.points for batch in taken(50, 8)), wanted, strict=True):
        assert torch.equal(mine, its)


def test_workers_do_not_change_the_batches() -> None:
    wanted = [batch.points for batch in taken(300, 8)]
    for mine, its in zip(
        (batch.points for batch in taken(300, 8, workers=2)), wanted, strict=True
    ):
        assert torch.equal(mine, its)


def test_without_shuffling_the_order_is_that_of_the_rows() -> None:
    blocks = loader(numbered(50), batch_size=8, seed=0, shuffle=False)
    found = [batch for block in blocks for batch in split(block, 8)]
    assert torch.equal(numbers(found), torch.arange(50))


def test_clouds_without_labels() -> None:
    blocks = loader(numbered(9, labelled=False), batch_size=4, seed=0, shuffle=True)
    found = [batch for block in blocks for batch in split(block, 4)]
    assert [batch.labels for batch in found] == [None] * 3

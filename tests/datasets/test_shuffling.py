"""The random order of clouds on disk."""

from __future__ import annotations

import pytest
import torch

from gconvae.datasets import chunked_order


def windows(num_clouds: int, chunk: int, window: int, seed: int = 0) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return list(chunked_order(num_clouds, chunk, window, random))


@pytest.mark.parametrize(
    ("num_clouds", "chunk", "window"), [(1, 1, 1), (100, 7, 3), (100, 10, 100), (99, 1000, 2)]
)
def test_every_row_comes_once(num_clouds: int, chunk: int, window: int) -> None:
    rows = torch.cat(windows(num_clouds, chunk, window))
    assert rows.sort().values.tolist() == list(range(num_clouds))


def test_a_window_holds_whole_chunks_mixed() -> None:
    for rows in windows(1000, chunk=10, window=4):
        chunks, counts = (rows // 10).unique(return_counts=True)
        assert len(chunks) == 4
        assert (counts == 10).all()
        assert len((rows // 10).unique_consecutive()) > 20  # of 40 rows


def test_the_order_is_a_function_of_the_generator() -> None:
    first, again, other = (torch.cat(windows(500, 8, 5, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    state = torch.random.get_rng_state()
    windows(500, 8, 5)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_each_chunk_comes_as_often_in_each_window() -> None:
    """A chunk is in the first of four windows in a quarter of all epochs."""
    random = torch.Generator().manual_seed(0)
    first = torch.stack([next(iter(chunked_order(80, 10, 2, random))) for _ in range(2000)])
    share = torch.bincount((first // 10).flatten(), minlength=8) / (2000 * 10)
    assert torch.allclose(share, torch.tensor(0.25), atol=0.04)


@pytest.mark.parametrize("numbers", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_numbers_below_1_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        windows(*numbers)

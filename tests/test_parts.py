"""Batches in parts of equal size, and models whose clouds go apart in them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from gconvae.threads import SMALLEST, parts, separable

COUNTS = [*range(1, 2000), 4095, 4096, 4097, 100_000]


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_parts_cover_every_row_once_and_in_order() -> None:
    for count in COUNTS:
        covered = [row for part in parts(count) for row in range(count)[part]]
        assert covered == list(range(count))


def test_parts_are_of_equal_size() -> None:
    for count in COUNTS:
        sizes = [part.stop - part.start for part in parts(count)]
        assert max(sizes) - min(sizes) <= 1, count


def test_the_number_of_parts_is_the_largest_power_of_two_that_leaves_each_enough() -> None:
    for count in COUNTS:
        number = len(parts(count))
        smallest = min(part.stop - part.start for part in parts(count))
        assert number.bit_count() == 1, count
        assert number == 1 or smallest >= SMALLEST == 32, count
        assert count < 2 * number * 32, count


def test_parts_do_not_depend_on_the_number_of_threads() -> None:
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append([parts(count) for count in (1, 63, 64, 100, 130, 1000)])
    assert found[0] == found[1] == found[2]


# models


class Apart(torch.nn.Linear):
    separable = True


class Changed(Apart):
    """Which may do something else with clouds."""


class Together(Apart):
    separable = False


def test_clouds_go_apart_where_every_part_itself_says_so() -> None:
    assert separable(Apart(2, 2))
    assert separable(Apart(2, 2), Apart(2, 3))
    for other in (torch.nn.Linear(2, 2), Changed(2, 2), Together(2, 2)):
        assert not separable(other)
        assert not separable(Apart(2, 2), other)

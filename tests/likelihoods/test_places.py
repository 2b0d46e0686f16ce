"""Tables of places against the formulas, one place at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gconvae.likelihoods.places import Places

LATTICES = [(432, 255), (20,), (5, 432, 16), (1, 15, 17, 1024)]
ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-12}

every_lattice = pytest.mark.parametrize("steps", LATTICES)


def made(steps: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Places:
    return Places(steps, torch.zeros(1, dtype=dtype))


def each_place(steps: tuple[int, ...]) -> Tensor:
    """All places of each feature, one after another, shape (P, F); the shorter ones repeat."""
    rows = torch.arange(max(steps) + 1)
    return torch.stack([rows % (count + 1) for count in steps], dim=1)


def waves_loop(place: int, steps: int) -> list[float]:
    centred = 2 * place / steps - 1
    phases = [centred * math.pi * 2**octave for octave in range(6)]
    return [centred, *map(math.sin, phases), *map(math.cos, phases)]


def seen_loop(place: int, steps: int) -> list[float]:
    return waves_loop(place, steps) + [float(place % 16 == digit) for digit in range(16)]


def missing_loop(place: int, steps: int) -> list[float]:
    """0 for the digits of a place's cell that lie on the lattice."""
    first = place // 16 * 16
    return [0.0 if first + digit <= steps else -math.inf for digit in range(16)]


def assert_near(found: Tensor, wanted: list[list[float]], dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    expected = torch.tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=ROUNDING[dtype])


@every_lattice
def test_what_is_seen_of_a_place_is_its_waves_and_its_digit(
    steps: tuple[int, ...], dtype: torch.dtype
) -> None:
    places, place = made(steps, dtype), each_place(steps)
    seen = places.seen(place)
    assert seen.shape == (*place.shape, 29)
    for column, count in enumerate(steps):
        wanted = [seen_loop(p, count) for p in place[:, column].tolist()]
        assert_near(seen[:, column], wanted, dtype)
        every = [seen_loop(p, count) for p in range(count + 1)]
        assert_near(places.every(column), every, dtype)


@every_lattice
def test_of_a_cell_its_first_place_is_seen_and_what_is_missing(
    steps: tuple[int, ...], dtype: torch.dtype
) -> None:
    places, place = made(steps, dtype), each_place(steps)
    number, waves, missing = places.cell(place)
    for column, count in enumerate(steps):
        cells = max(1, count // 16)
        rows = place[:, column].tolist()
        assert_near(number[:, column : column + 1], [[p // 16 / cells] for p in rows], dtype)
        wanted = [waves_loop(p // 16 * 16, count) for p in rows]
        assert_near(waves[:, column], wanted, dtype)
        assert missing[:, column].tolist() == [missing_loop(p, count) for p in rows]


@every_lattice
def test_every_cell_is_the_cells_of_all_places(steps: tuple[int, ...], dtype: torch.dtype) -> None:
    places = made(steps, dtype)
    assert places.cells == tuple(count // 16 for count in steps)
    assert places.coarse_steps().tolist() == [max(1, count // 16) for count in steps]
    for column, count in enumerate(steps):
        waves, missing = places.every_cell(column)
        firsts = range(0, count + 1, 16)
        assert len(waves) == len(missing) == places.cells[column] + 1
        assert_near(waves, [waves_loop(first, count) for first in firsts], dtype)
        assert missing.tolist() == [missing_loop(first, count) for first in firsts]
        assert waves.shape[1] == places.waves == 13


@pytest.mark.parametrize(
    ("steps", "in_last"), [(432, 1), (255, 16), (20, 5), (5, 6), (1, 2), (15, 16), (16, 1)]
)
def test_the_last_cell_has_as_many_digits_as_are_left(steps: int, in_last: int) -> None:
    _, missing = made((steps,)).every_cell(0)
    counts = (missing == 0).sum(1).tolist()
    assert counts == [16] * (len(counts) - 1) + [in_last]
    assert sum(counts) == steps + 1
    assert (missing[-1, :in_last] == 0).all()
    assert (missing[-1, in_last:] == -math.inf).all()


@every_lattice
def test_a_place_is_that_of_its_number(steps: tuple[int, ...], dtype: torch.dtype) -> None:
    places, place = made(steps, dtype), each_place(steps)
    numbers = places.values(place)
    assert numbers.dtype == dtype
    assert torch.equal(places.of(numbers), place)
    wanted = [[p / s for p, s in zip(row, steps, strict=True)] for row in place.tolist()]
    assert_near(numbers, wanted, dtype)


@every_lattice
def test_numbers_go_to_the_nearest_place(steps: tuple[int, ...], dtype: torch.dtype) -> None:
    random = torch.Generator().manual_seed(0)
    numbers = torch.rand(7, 11, len(steps), generator=random, dtype=dtype)
    place = made(steps, dtype).of(numbers)
    ends = torch.tensor(steps)
    assert ((place >= 0) & (place <= ends)).all()
    gaps = (place - numbers.double() * ends).abs()
    assert gaps.max() <= 0.5 + 1e-4


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 5, 3), (2, 5, 4, 3)])
def test_places_come_in_any_shape(shape: tuple[int, ...]) -> None:
    places = made((5, 432, 16))
    place = places.of(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    flat = place.reshape(-1, 3)
    assert torch.equal(places.seen(place).reshape(-1, 3, 29), places.seen(flat))
    for part, other in zip(places.cell(place), places.cell(flat), strict=True):
        assert torch.equal(part.reshape(other.shape), other)


def test_they_fit_the_same_lattices_in_the_same_dtype_on_the_same_device() -> None:
    places, like = made((20, 5)), torch.zeros(2, dtype=torch.float64)
    assert places.fits((20, 5), like)
    assert places.fits([20, 5], like)
    for steps in ((5, 20), (20, 6), (20,), (20, 5, 5)):
        assert not places.fits(steps, like)
    assert not places.fits((20, 5), like.float())
    assert not places.fits((20, 5), like.to("meta"))


def test_tables_do_not_ask_for_the_callers_default_device() -> None:
    torch.set_default_device("meta")
    try:
        found = Places((20, 5), torch.zeros(1, device="cpu"))
    finally:
        torch.set_default_device(None)
    place = each_place((20, 5))
    assert torch.equal(found.seen(place), made((20, 5), torch.float32).seen(place))


def test_the_highest_place_that_is_not_above_a_number() -> None:
    amounts = [torch.tensor([0.0, 1.0, 4.0]), torch.tensor([-1.0, 1.0])]
    places = Places([2, 1], torch.zeros(1), amounts=amounts)
    most = torch.tensor([[-3.0, 0.0], [0.9, 1.0], [3.9, 9.0]])
    assert places.highest(0, most).tolist() == [[0, 0], [0, 1], [1, 2]]
    assert places.highest(1, torch.tensor([0.0, 2.0])).tolist() == [0, 1]
    assert places.lowest(0, most).tolist() == [[0, 0], [1, 1], [2, 2]]
    assert places.amount(0, torch.tensor([[2], [1]])).tolist() == [[4.0], [1.0]]
    assert places.first_adds_up
    assert not Places([1], torch.zeros(1), amounts=[amounts[1]]).first_adds_up
    assert not Places([1], torch.zeros(1)).first_adds_up

"""A loss found in parts against the same loss of all rows at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gconvae.training.stages.in_parts import in_parts

COUNTS = [1, 31, 64, 100, 130]
HALVES = (slice(0, 66), slice(66, 130))

every_count = pytest.mark.parametrize("count", COUNTS)


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class Problem(NamedTuple):
    """A network whose rows do not depend on each other, and a weight that it does not use."""

    x: Tensor
    weights: list[Tensor]

    def loss(self, rows: slice) -> tuple[Tensor, list[Tensor]]:
        first, bias, second, _ = self.weights
        inner = torch.tanh(self.x[rows] @ first + bias)
        each = ((inner @ second) ** 2).sum(1)  # (b,)
        return each.sum() / 7, [each.detach(), inner.detach()]

    def gradients(self) -> list[Tensor | None]:
        return [weight.grad for weight in self.weights]


def problem(rows: int, dtype: torch.dtype = torch.float64) -> Problem:
    shapes = [(5, 6), (6,), (6, 3), (4,)]
    weights = [random(*shape, seed=k + 1, dtype=dtype) for k, shape in enumerate(shapes)]
    return Problem(random(rows, 5, dtype=dtype), [w.requires_grad_() for w in weights])


def assert_same(found: Sequence[Tensor | None], wanted: Sequence[Tensor | None]) -> None:
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def in_bits(first: Sequence[Tensor | None], second: Sequence[Tensor | None]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(
        one is other if one is None or other is None else torch.equal(one, other)
        for one, other in pairs
    )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("start", [0, 37])
@every_count
def test_parts_are_the_whole(count: int, start: int, threads: int) -> None:
    torch.set_num_threads(threads)
    parted, whole = problem(start + count + 5), problem(start + count + 5)
    rows = slice(start, start + count)
    found, kept = in_parts(parted.loss, parted.weights, rows)
    wanted, each = whole.loss(rows)
    found.backward()
    wanted.backward()
    assert_same([found.detach(), *kept], [wanted.detach(), *each])
    assert_same(parted.gradients(), whole.gradients())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@every_count
def test_bits_do_not_depend_on_the_number_of_threads(count: int, dtype: torch.dtype) -> None:
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        made = problem(count, dtype)
        total, kept = in_parts(made.loss, made.weights, slice(0, count))
        total.backward()
        found.append([total.detach(), *kept, *made.gradients()])
    assert in_bits(found[0], found[1])
    assert in_bits(found[0], found[2])


def test_every_row_is_asked_for_once() -> None:
    made, asked = problem(200), []

    def loss(rows: slice) -> tuple[Tensor, list[Tensor]]:
        asked.extend(range(200)[rows])
        return made.loss(rows)

    in_parts(loss, made.weights, slice(11, 190))
    assert sorted(asked) == list(range(11, 190))


def test_weights_that_no_row_uses_get_no_gradient() -> None:
    made = problem(130)
    in_parts(made.loss, made.weights, slice(0, 130))[0].backward()
    assert made.weights[3].grad is None
    assert all(weight.grad is not None for weight in made.weights[:3])


@pytest.mark.parametrize("user", [0, 1])
def test_a_weight_that_one_part_alone_uses_gets_its_gradient(user: int) -> None:
    own, x = random(3).requires_grad_(), random(64)

    def loss(rows: slice) -> tuple[Tensor, list[Tensor]]:
        factor = own.sum() if rows.start == 32 * user else torch.ones(())
        unused = torch.zeros((), dtype=torch.float64, requires_grad=True)
        return factor * x[rows].sum() + unused, [x[rows]]

    in_parts(loss, [own], slice(0, 64))[0].backward()
    assert_same([own.grad], [x[32 * user : 32 * (user + 1)].sum().expand(3)])


@every_count
def test_a_factor_behind_the_loss_is_one_of_the_gradients(count: int) -> None:
    parted, whole, rows = problem(count), problem(count), slice(0, count)
    (3 * in_parts(parted.loss, parted.weights, rows)[0]).backward()
    (3 * whole.loss(rows)[0]).backward()
    assert_same(parted.gradients(), whole.gradients())


@pytest.mark.parametrize("factor", [1, 3])
def test_gradients_of_several_batches_add_up(factor: int) -> None:
    parted, whole = problem(200), problem(200)
    for rows in (slice(0, 64), slice(64, 200), slice(0, 64)):
        (factor * in_parts(parted.loss, parted.weights, rows)[0]).backward()
        (factor * whole.loss(rows)[0]).backward()
    assert_same(parted.gradients(), whole.gradients())


def test_a_loss_may_be_part_of_a_sum_with_others() -> None:
    parted, whole = problem(130), problem(130)

    def penalty(weights: Sequence[Tensor]) -> Tensor:
        return sum(((weight**2).sum() for weight in weights), torch.zeros(()))

    first, second = (in_parts(parted.loss, parted.weights, s)[0] for s in HALVES)
    (first + 2 * second + penalty(parted.weights)).backward()
    first, second = (whole.loss(s)[0] for s in HALVES)
    (first + 2 * second + penalty(whole.weights)).backward()
    assert_same(parted.gradients(), whole.gradients())


# losses whose gradients have no memory of their own

VIEWS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    # autograd hands the same tensor to both weights
    "a sum of two weights": lambda a, b, x: ((a + b) * x).sum(),
    "a sum of two shifts": lambda a, b, x: ((a + b) + x).tanh().sum(),
    # and one number for all entries of each
    "sums of entries": lambda a, b, x: a.sum() * x.sum() + b.mean() * (x**2).sum(),
    "turned": lambda a, b, x: (a.T @ b @ x).sum(),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [20, 128])
@pytest.mark.parametrize("kind", VIEWS)
def test_gradients_that_share_memory_are_added_once(kind: str, count: int, threads: int) -> None:
    torch.set_num_threads(threads)
    x = random(count, 3, 3)
    parted, whole = ([random(3, 3, seed=k).requires_grad_() for k in (1, 2)] for _ in range(2))

    def loss(rows: slice) -> tuple[Tensor, list[Tensor]]:
        return VIEWS[kind](*parted, x[rows]), [x[rows]]

    for _ in range(2):  # and a second time, in which nothing of the first is changed
        found, _ = in_parts(loss, parted, slice(0, count))
        found.backward()
        wanted = VIEWS[kind](*whole, x)
        wanted.backward()
        assert_same([found.detach()], [wanted.detach()])
        assert_same([weight.grad for weight in parted], [weight.grad for weight in whole])


# gradients off, errors


@every_count
def test_without_gradients_there_is_the_value(count: int) -> None:
    made, rows = problem(count), slice(0, count)
    wanted, each = made.loss(rows)
    with torch.no_grad():
        found, kept = in_parts(made.loss, made.weights, rows)
    assert not found.requires_grad
    assert_same([found, *kept], [wanted.detach(), *each])
    assert made.gradients() == [None] * 4


@pytest.mark.parametrize("threads", [1, 2])
def test_the_value_has_no_graph_but_that_of_the_weights(threads: int) -> None:
    torch.set_num_threads(threads)
    made = problem(100)
    total, kept = in_parts(made.loss, made.weights, slice(0, 100))
    assert total.requires_grad
    assert not any(each.requires_grad for each in kept)
    assert made.gradients() == [None] * 4  # before anybody asks


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_a_part_is_the_callers(threads: int) -> None:
    torch.set_num_threads(threads)
    made = problem(130)

    def loss(rows: slice) -> tuple[Tensor, list[Tensor]]:
        if rows.start:
            raise ValueError(f"rows from {rows.start} on")
        return made.loss(rows)

    with pytest.raises(ValueError, match="rows from 32 on"):
        in_parts(loss, made.weights, slice(0, 130))
    assert made.gradients() == [None] * 4
    in_parts(made.loss, made.weights, slice(0, 130))[0].backward()
    assert made.gradients()[0] is not None

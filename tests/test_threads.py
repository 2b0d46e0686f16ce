"""Calls side by side: in order, one thread each, the same bits however many run at once."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor

from gconvae.threads import alone, side_by_side

TIMEOUT = 20.0
"""Seconds after which a call that waits for another one gives up, so that no test hangs."""


@pytest.fixture(autouse=True)
def _threads_stay() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def random(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


every_number = pytest.mark.parametrize("threads", [1, 2, 3])
several = pytest.mark.parametrize("threads", [2, 3])


@every_number
@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_results_come_in_the_order_of_the_calls(threads: int, count: int) -> None:
    torch.set_num_threads(threads)
    assert side_by_side([lambda k=k: k for k in range(count)]) == list(range(count))


@several
def test_a_call_that_ends_last_keeps_its_place(threads: int) -> None:
    torch.set_num_threads(threads)
    second_ended = threading.Event()

    def first() -> str:
        assert second_ended.wait(TIMEOUT)  # which it could not await, were it alone
        return "first"

    def second() -> str:
        second_ended.set()
        return "second"

    assert side_by_side([first, second]) == ["first", "second"]


@several
def test_as_many_calls_run_at_once_as_there_are_threads(threads: int) -> None:
    torch.set_num_threads(threads)
    together = threading.Barrier(threads)
    calls = [lambda: together.wait(TIMEOUT) for _ in range(2 * threads)]
    assert sorted(side_by_side(calls)) == sorted(2 * list(range(threads)))


def product() -> Tensor:
    return random(1, 1031) @ random(1031, 257)


def large_product() -> Tensor:
    return random(300, 513) @ random(513, 200)


def long_sum() -> Tensor:
    return random(1_000_003).sum()


def long_mean() -> Tensor:
    return random(600_001, dtype=torch.float64).mean()


def convolution() -> Tensor:
    """Its output, and the gradient of its weights, which is a sum over places."""
    weight = random(8, 3, 5, 5).requires_grad_()
    with torch.enable_grad():
        made = torch.nn.functional.conv2d(random(4, 3, 48, 48), weight)
        (made**2).sum().backward()
    assert weight.grad is not None
    return torch.cat([made.detach().flatten(), weight.grad.flatten()])


@pytest.mark.parametrize(
    "call", [product, large_product, long_sum, long_mean, convolution], ids=lambda c: c.__name__
)
def test_bits_do_not_depend_on_the_number_of_threads(call: Callable[[], Tensor]) -> None:
    torch.set_num_threads(1)
    wanted = call()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for found in side_by_side([call] * 3):
            assert torch.equal(found, wanted), threads


@every_number
def test_each_call_has_one_thread_and_the_caller_the_same_as_before(threads: int) -> None:
    torch.set_num_threads(threads)
    # a second time too, and with fewer calls than threads before
    for count in (1, 7, 7):
        assert side_by_side([torch.get_num_threads] * count) == [1] * count
        assert torch.get_num_threads() == threads


@every_number
def test_threads_that_somebody_starts_later_have_the_callers_number(threads: int) -> None:
    torch.set_num_threads(threads)
    side_by_side([torch.get_num_threads] * 4)
    found = []
    later = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert found == [threads]


def test_the_number_of_threads_may_change_between_calls() -> None:
    for threads in (2, 3, 1, 3, 2):
        torch.set_num_threads(threads)
        assert side_by_side([torch.get_num_threads] * 5) == [1] * 5
        assert torch.get_num_threads() == threads


@every_number
@pytest.mark.parametrize("on", [True, False])
def test_gradients_are_on_where_they_are_in_the_caller(threads: int, on: bool) -> None:
    torch.set_num_threads(threads)
    weight = torch.ones(2, requires_grad=True)
    for setting in (on, not on, on):  # threads that are used again remember nothing
        with torch.set_grad_enabled(setting):
            made = side_by_side([lambda: 2 * weight] * 4)
            assert torch.is_grad_enabled() == setting
        assert [each.requires_grad for each in made] == [setting] * 4


@every_number
def test_results_are_differentiable_in_the_caller(threads: int) -> None:
    torch.set_num_threads(threads)
    weight = torch.ones(2, requires_grad=True)
    made = side_by_side([lambda k=k: k * weight for k in (1.0, 2.0, 4.0)])
    torch.stack(made).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [7.0, 7.0]


@several
def test_what_others_set_meanwhile_is_not_the_number_of_a_call(threads: int) -> None:
    torch.set_num_threads(5 - threads)
    side_by_side([torch.get_num_threads] * 4)
    torch.set_num_threads(threads)  # new threads, none of which has computed anything yet

    def call() -> int:
        other = threading.Thread(target=lambda: torch.set_num_threads(4))
        other.start()
        other.join()
        return torch.get_num_threads()

    assert side_by_side([call] * 4) == [1] * 4
    assert side_by_side([torch.get_num_threads] * 4) == [1] * 4
    assert torch.get_num_threads() == threads


# alone


@every_number
def test_alone_there_is_one_thread_but_as_many_calls_at_once_as_before(threads: int) -> None:
    torch.set_num_threads(threads)
    together = threading.Barrier(threads)
    for _ in range(2):
        with alone():
            assert torch.get_num_threads() == 1
            with alone():  # within itself too
                found = side_by_side([lambda: together.wait(TIMEOUT)] * threads)
                assert sorted(found) == list(range(threads))
            assert torch.get_num_threads() == 1
            assert side_by_side([torch.get_num_threads] * 4) == [1] * 4
        assert torch.get_num_threads() == threads


@every_number
def test_after_an_error_one_is_no_longer_alone(threads: int) -> None:
    torch.set_num_threads(threads)
    with pytest.raises(ValueError, match="no"), alone():
        raise ValueError("no")
    assert torch.get_num_threads() == threads
    torch.set_num_threads(1)
    caller = threading.get_ident()
    assert side_by_side([threading.get_ident] * 3) == [caller] * 3


def test_one_is_alone_in_ones_own_thread() -> None:
    torch.set_num_threads(2)
    found = []

    def user() -> None:
        torch.set_num_threads(3)
        together = threading.Barrier(3)
        found.extend(side_by_side([lambda: together.wait(TIMEOUT)] * 3))
        found.append(torch.get_num_threads())

    with alone():
        other = threading.Thread(target=user)
        other.start()
        other.join()
    assert sorted(found[:3]) == [0, 1, 2]
    assert found[3] == 3
    assert torch.get_num_threads() == 2


# errors


class Stopped(BaseException):
    """No ``Exception``, like that of Ctrl+C."""


@several
@pytest.mark.parametrize("kind", [ValueError, Stopped])
def test_an_error_is_raised_once_all_others_have_ended(
    threads: int, kind: type[BaseException]
) -> None:
    torch.set_num_threads(threads)
    failed, ended = threading.Event(), []

    def fails() -> None:
        failed.set()
        raise kind("of the first")

    def goes_on() -> None:
        assert failed.wait(TIMEOUT)
        time.sleep(0.05)
        ended.append(True)

    with pytest.raises(kind, match="of the first"):
        side_by_side([fails, goes_on, goes_on, goes_on])
    assert ended == [True] * 3


@several
def test_of_several_errors_the_first_in_order_is_raised(threads: int) -> None:
    torch.set_num_threads(threads)
    second_failed = threading.Event()

    def first() -> None:
        assert second_failed.wait(TIMEOUT)
        raise ValueError("first")

    def second() -> None:
        second_failed.set()
        raise KeyError("second")

    with pytest.raises(ValueError, match="first"):
        side_by_side([lambda: None, first, second])


@every_number
def test_after_an_error_everything_works_as_before(threads: int) -> None:
    torch.set_num_threads(threads)

    def fails() -> None:
        raise ValueError("no")

    for _ in range(3):
        with pytest.raises(ValueError, match="no"):
            side_by_side([fails] * 5)
        assert torch.get_num_threads() == threads
        assert torch.is_grad_enabled()
        assert side_by_side([lambda k=k: k for k in range(5)]) == list(range(5))


# callers


def in_time(work: Callable[[], None]) -> None:
    """Fails where it would hang, and hands on what it raises."""
    raised: list[BaseException] = []

    def watched() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=watched, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive(), "calls wait for each other"
    if raised:
        raise raised[0]


@every_number
@pytest.mark.parametrize("around", [nullcontext, alone])
def test_a_call_may_have_calls_side_by_side_itself(
    threads: int, around: Callable[[], AbstractContextManager[None]]
) -> None:
    def inner(k: int) -> list[tuple[int, int]]:
        return side_by_side([lambda m=m: (k, m) for m in range(3)])

    def work() -> None:
        torch.set_num_threads(threads)
        with around():
            found = side_by_side([lambda k=k: inner(k) for k in range(4)])
        assert found == [[(k, m) for m in range(3)] for k in range(4)]

    in_time(work)


@pytest.fixture
def _often_interrupted() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_often_interrupted")
@pytest.mark.parametrize("numbers", [(2, 2, 2), (2, 3), (1, 2, 3)])
def test_several_threads_of_a_user_may_call_at_once(numbers: tuple[int, ...]) -> None:
    def user(threads: int) -> None:
        torch.set_num_threads(threads)
        for turn in range(50):
            wanted = [(threads, turn, k) for k in range(6)]
            assert side_by_side([lambda one=one: one for one in wanted]) == wanted

    def work() -> None:
        with ThreadPoolExecutor(len(numbers)) as users:
            for each in [users.submit(user, number) for number in numbers]:
                each.result()

    in_time(work)


FORKS = """
import multiprocessing, sys, torch
from gconvae.threads import side_by_side

def check():
    assert side_by_side([torch.get_num_threads] * 5) == [1] * 5
    assert side_by_side([lambda k=k: k * k for k in range(9)]) == [k * k for k in range(9)]
    assert torch.get_num_threads() == 2

def child(depth):
    check()
    if depth:
        fork(depth - 1)
    check()

def fork(depth):
    process = multiprocessing.get_context("fork").Process(target=child, args=(depth,))
    process.start()
    process.join(30)
    if process.exitcode != 0:
        process.kill()
        sys.exit(f"the child ended with {process.exitcode}")

torch.set_num_threads(2)
fork(0)  # before there is anything to inherit
check()
fork(1)
check()
print("all ended")
"""


def test_forked_processes_have_threads_of_their_own() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, "all ended\n"), ended.stderr

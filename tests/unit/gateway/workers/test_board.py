"""Counts that processes share."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from gateway.errors import RateLimited
from gateway.workers.board import Board
from gateway.workers.shared import SharedCapacity, SharedRateLimits

# Whose buckets are in which set is by chance; with so many, none is crowded out.
CALLERS = 10_000


@pytest.fixture
def board() -> Iterator[Board]:
    with closing(Board.create(2, CALLERS)) as board:
        yield board


@pytest.fixture
def other(board: Board) -> Iterator[Board]:
    """The same memory, as another process has it."""
    with closing(Board(os.dup(board.descriptor))) as other:
        yield other


def test_clients_of_all_workers_count(board: Board, other: Board) -> None:
    first, second = SharedCapacity(3, board, 0), SharedCapacity(3, other, 1)
    assert [first.try_enter(), second.try_enter(), first.try_enter()] == [True] * 3
    assert [first.try_enter(), second.try_enter()] == [False] * 2
    assert (first.count, second.count) == (2, 1)
    first.leave()
    assert [second.try_enter(), second.try_enter()] == [True, False]


def test_clients_of_a_worker_that_died_do_not_count(board: Board, other: Board) -> None:
    first, second = SharedCapacity(1, board, 0), SharedCapacity(1, other, 1)
    assert first.try_enter()
    assert not second.try_enter()
    SharedCapacity(1, board, 0)
    assert second.try_enter()


def test_nobody_enters_where_the_server_stops(board: Board, other: Board) -> None:
    first, second = SharedCapacity(1, board, 0), SharedCapacity(1, other, 1)
    first.close()
    assert not first.try_enter()
    assert second.try_enter()


async def passed(*limits: SharedRateLimits, caller: str = "a", times: int) -> int:
    count = 0
    for number in range(times):
        with suppress(RateLimited):
            await limits[number % len(limits)].take(caller)
            count += 1
    return count


async def test_the_rate_is_of_all_workers_together(board: Board, other: Board) -> None:
    now = 1000.0
    limits = [
        SharedRateLimits(10, scope="global", board=each, clock=lambda: now)
        for each in (board, other)
    ]
    assert await passed(*limits, times=30) == 10
    assert await passed(*limits, caller="b", times=5) == 0
    now += 0.5
    assert await passed(*limits, times=30) == 5


async def test_each_client_has_its_own_rate(board: Board, other: Board) -> None:
    limits = [
        SharedRateLimits(10, scope="client", board=each, clock=lambda: 1000.0)
        for each in (board, other)
    ]
    for number in range(100):
        assert await passed(*limits, caller=f"10.0.0.{number}", times=12) == 10
    assert await passed(*limits, caller="10.0.0.0", times=4) == 0


async def test_without_a_rate_all_pass(board: Board) -> None:
    limits = SharedRateLimits(0, scope="global", board=board, clock=lambda: 0.0)
    assert await passed(limits, times=100) == 100


async def test_beyond_the_callers_that_fit_the_one_silent_longest_is_forgotten() -> None:
    with closing(Board.create(1, 8)) as small:
        for number in range(8):
            assert small.take(f"caller {number}", 1, now=100 + number / 100)
        assert small.take("one more", 1, now=100.5)
        assert not small.take("caller 1", 1, now=100.5)
        # Forgotten, so its bucket is empty.
        assert small.take("caller 0", 1, now=100.5)


TAKER = """
import sys
from gateway.workers.board import Board
board = Board(int(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(sum(board.take("", 1000, now=50.0) for _ in range(2000)))
"""


async def test_processes_that_take_at_once_get_no_more_than_there_is(board: Board) -> None:
    descriptor = board.descriptor
    takers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TAKER, str(descriptor)),
            pass_fds=[descriptor],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for taker in takers:
        assert taker.stdout is not None
        assert await taker.stdout.readline() == b"ready\n"
    said = await asyncio.gather(*(taker.communicate(b"go\n") for taker in takers))
    assert sum(int(output) for output, _ in said) == 1000


def test_a_lock_that_is_never_given_back_stops_nobody(board: Board) -> None:
    # Its owner may have been stopped.
    with holding(board.descriptor):
        assert [board.take("", 2, now=50.0) for _ in range(3)] == [True, True, False]


@contextmanager
def holding(descriptor: int) -> Iterator[None]:
    """Let another process hold the locks."""
    code = (
        "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); "
        "print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.communicate()

"""Ticks wait for a healthy store, and for no other."""

from __future__ import annotations

import asyncio

import pytest

from aggregator.store import room as module
from aggregator.store.room import StoreRoom


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_ticks_wait_while_more_than_half_of_the_bars_wait_that_may() -> None:
    room = StoreRoom(100)
    room.update(50, is_failing=False)
    assert room.is_free
    room.update(51, is_failing=False)
    assert not room.is_free
    waiting = asyncio.create_task(room.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    room.update(50, is_failing=False)
    await asyncio.wait_for(waiting, 5)


async def test_only_one_waits_no_longer_when_its_bars_take_the_room() -> None:
    room = StoreRoom(100)
    room.update(51, is_failing=False)
    applied: list[int] = []

    async def apply(number: int) -> None:
        await room.wait()
        applied.append(number)
        room.update(60, is_failing=False)

    tasks = [asyncio.create_task(apply(number)) for number in range(3)]
    await asyncio.sleep(0)
    room.update(50, is_failing=False)
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(applied) == 1
    room.update(0, is_failing=True)
    await asyncio.gather(*tasks)


async def test_a_store_that_fails_delays_no_tick() -> None:
    room = StoreRoom(100)
    room.update(90, is_failing=False)
    waiting = asyncio.create_task(room.wait())
    await asyncio.sleep(0)
    room.update(90, is_failing=True)
    await asyncio.wait_for(waiting, 5)
    assert room.is_free
    # It works again, and has time to write what waits.
    room.update(90, is_failing=False)
    assert not room.is_free


async def test_a_store_that_is_too_slow_delays_ticks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAIT_S", 0.05)
    clock = Clock()
    room = StoreRoom(100, clock)
    room.update(51, is_failing=False)
    waiting = asyncio.create_task(room.wait())
    await asyncio.sleep(0)
    clock.now = 0.06
    await asyncio.wait_for(waiting, 5)
    assert room.is_overdue
    room.update(99, is_failing=False)
    assert room.is_free
    room.update(50, is_failing=False)
    room.update(51, is_failing=False)
    assert not room.is_free

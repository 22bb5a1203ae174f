"""A child process makes checkpoints; whatever happens to it, the service goes on."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from aggregator.machine.checkpointer import (
    MADE,
    SAVED,
    Checkpointer,
    CheckpointFailed,
)
from aggregator.ticklog.log import Checkpoint
from tests.doubles.memory_log import MemoryLog

# A child that does what it should, and saves nothing.
WELL = f"print({MADE!r}, flush=True); input(); print({SAVED!r}, flush=True)"
FAILS = "import sys; sys.exit('no room')"
# Takes this long.
SLOW_S = 0.4
SLOW = f"import time; time.sleep({SLOW_S}); {WELL}"
STAYS = f"print({MADE!r}, flush=True); import time; time.sleep(600)"


class Store:
    """Writes the bars that it was handed when it is told to."""

    def __init__(self) -> None:
        self.handed = 7
        self.position = 41
        self.asked: list[int] = []
        self.was_asked = asyncio.Event()
        self.written = asyncio.Event()

    async def wait_written(self, count: int) -> None:
        self.asked.append(count)
        self.was_asked.set()
        await self.written.wait()


@contextlib.asynccontextmanager
async def checkpointer(
    code: str, store: Store, log: MemoryLog | None = None
) -> AsyncIterator[Checkpointer]:
    made = Checkpointer(
        log or MemoryLog(),
        position=lambda: store.position,
        handed=lambda: store.handed,
        written=store.wait_written,
        env={},
        every_s=600,
        command=(sys.executable, "-c", code),
    )
    try:
        yield made
    finally:
        await made.stop()


async def test_a_checkpoint_is_saved_when_the_store_has_the_bars_of_its_time() -> None:
    store = Store()
    async with checkpointer(WELL, store) as made:
        making = asyncio.create_task(made.make())
        await store.was_asked.wait()
        # More bars are no matter of this checkpoint.
        store.handed = 9
        assert store.asked == [7]
        assert made.saved.offset == 0
        store.written.set()
        await making
        assert made.saved.offset == 42


async def test_what_the_child_says_is_the_reason_why_there_is_no_checkpoint() -> None:
    async with checkpointer(FAILS, Store()) as made:
        with pytest.raises(CheckpointFailed, match="no room"):
            await made.make()
        assert made.saved.offset == 0


async def test_a_failure_is_logged_and_the_service_goes_on() -> None:
    with capture_logs() as logs:
        async with checkpointer(FAILS, Store()) as made:
            made.start()
            made.ask()
            for _ in range(1_000):
                if logs:
                    break
                # Another process has to fail.
                await asyncio.sleep(0.01)
    assert [line["event"] for line in logs] == ["checkpoint_failed"]


async def test_the_next_checkpoint_waits_as_long_as_the_last_one_took() -> None:
    class Busy(Store):
        async def wait_written(self, count: int) -> None:
            times.append(time.monotonic())
            # More is logged meanwhile, and enough for the next checkpoint.
            self.position += 1
            made.ask()
            if len(times) == 2:
                self.was_asked.set()

    times: list[float] = []
    store = Busy()
    async with checkpointer(SLOW, store) as made, asyncio.timeout(30):
        made.start()
        made.ask()
        await store.was_asked.wait()
    # A rest, and the work of the second child.
    assert times[1] - times[0] > 2 * SLOW_S


async def test_a_stop_ends_a_child_that_works() -> None:
    store = Store()
    async with checkpointer(STAYS, store) as made:
        made.start()
        made.ask()
        await store.was_asked.wait()
        async with asyncio.timeout(5):
            await made.stop()


async def test_records_are_dropped_up_to_the_older_of_two_checkpoints() -> None:
    class Log(MemoryLog):
        def truncate(self, before: int) -> None:
            dropped.append(before)

    dropped: list[Any] = []
    store = Store()
    store.written.set()
    log = Log()
    log.save_checkpoint(Checkpoint(10, 1), [])
    async with checkpointer(WELL, store, log) as made:
        await made.make()
        assert dropped == []
        log.save_checkpoint(Checkpoint(20, 1), [])
        await made.make()
        assert dropped == [10]

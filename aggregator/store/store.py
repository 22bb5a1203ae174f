"""Write closed bars behind the back of the ticks, and say how that goes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from random import Random
from typing import Any

import structlog

from aggregator.bars.bar import Bar
from aggregator.store.backlog import Backlog, Group
from aggregator.store.database import STORE_ERRORS, Database
from aggregator.store.queries import (
    Range,
    select_last_times,
    select_open,
    select_range,
    select_recent,
)
from aggregator.store.retention import remove_old
from aggregator.store.rows import to_bar, to_row
from marketdata.errors import MarketDataError
from marketdata.intervals import Interval, IntervalKind
from marketdata.summary import DropSummary
from marketdata.wire.market_data_pb2 import StoreStatus

log = structlog.get_logger()

# 4 ms to write, 1 ms of the loop; the ticks go on in between.
BATCH_BARS = 500
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
# How soon an idle store notices that its database is gone, or back.
PING_S = 5.0
# How long the first ticks may wait for what the last life left open.
START_TIMEOUT_S = 10.0
# And for the closed bars that late ticks could revise: 26,000 a second were read on a busy machine.
RESTORE_S = 4.0
_RESTORED_AT_ONCE = 2_000
RETENTION_INTERVAL_S = 600.0
# A trading day with its neighbours' hours, and the longest weekend before it.
_LONGEST_DAY_NS = 5 * 86_400 * 1_000_000_000


class StoreUnavailable(MarketDataError):
    """The database does not answer; what is in it cannot be read now."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"stored bars cannot be read: {problem}")
        self.problem = problem


class BarStore:
    """Bars in a database, and those on their way there.

    Nothing here waits for the database but :meth:`start`, :meth:`fetch` and :meth:`stop`, each
    within a time; and nothing raises what the database says but :meth:`fetch`.

    Args:
        database: where the bars go.
        max_waiting: how many may wait while it does not take them.
        retention: for how long bars are kept, in ns, by interval; those not named for ever.
        tell: called when the store begins to fail and when it works again.
        random: the jitter between attempts.
    """

    def __init__(
        self,
        database: Database,
        *,
        max_waiting: int,
        retention: Mapping[str, int],
        tell: Callable[[bool], None],
        random: Random,
    ) -> None:
        self._database = database
        self._backlog = Backlog(max_waiting)
        self._retention = retention
        self._tell = tell
        self._random = random
        self._losses = DropSummary(log, "bars lost, the store took none for too long")
        self._written = 0
        self._is_prepared = False
        self._problem: str | None = "not opened yet"
        self._told: bool | None = None
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_failing(self) -> bool:
        """Whether the last thing asked of the database failed."""
        return self._problem is not None

    def status(self) -> StoreStatus:
        """Return how the store is."""
        return StoreStatus(
            state="failing" if self.is_failing else "ok",
            problem=self._problem or "",
            waiting=len(self._backlog),
            max_waiting=self._backlog.max_waiting,
            written=self._written,
            lost=self._backlog.lost.total(),
        )

    async def start(self) -> None:
        """Open the database, and go on trying in the background if that fails."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._prepare()
        except STORE_ERRORS as exc:
            self._failed(exc)
        self._tasks = [
            asyncio.create_task(self._write_for_ever()),
            asyncio.create_task(self._remove_for_ever()),
        ]

    async def restore(
        self,
        intervals: Iterable[Interval],
        window_ns: int,
        max_bars: int,
    ) -> list[Bar]:
        """Return what the last life left open, and what is not too old to be revised.

        Of the latter at most ``max_bars`` are read, for some seconds at most. A late trade for a
        bar that is left out makes a fragment, which the store does not take in its place. The list
        is empty when the database does not answer.
        """
        found: list[Bar] = []
        if not self.is_failing:
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    await self._load(found, list(intervals), window_ns, max_bars)
            except STORE_ERRORS as exc:
                self._failed(exc)
        return found

    async def _load(
        self,
        found: list[Bar],
        intervals: list[Interval],
        window_ns: int,
        max_bars: int,
    ) -> None:
        names = [interval.name for interval in intervals]
        async with self._database.read() as connection:
            rows = (await connection.execute(select_open())).tuples()
            found += (to_bar(row) for row in rows if row[1] in names)
        now = asyncio.get_running_loop().time
        deadline = now() + RESTORE_S
        last_times = select_last_times(names, is_sqlite=self._database.is_sqlite)
        # Those by trades take no late ones. Of the longest there are few, and each says most.
        by_clock = [interval for interval in intervals if interval.by_clock]
        by_clock.sort(key=lambda interval: interval.nominal_ns, reverse=True)
        for interval in by_clock:
            is_day = interval.kind is IntervalKind.DAY
            size_ns = _LONGEST_DAY_NS if is_day else interval.size
            left = max(max_bars - len(found), 0)
            statement = select_recent(last_times, interval.name, size_ns, window_ns, left)
            async with self._database.read() as connection:
                await self._database.go_by_key(connection)
                async with connection.stream(statement) as rows_in_parts:
                    async for part in rows_in_parts.partitions(_RESTORED_AT_ONCE):
                        found += (to_bar(row) for row in part if row[0])
                        if now() > deadline:
                            log.warning("old bars left in the store", interval=interval.name)
                            return

    def put(self, bars: Iterable[Bar]) -> None:
        """Let bars be written; a bar that changes afterwards must be put again at once."""
        lost = self._backlog.put(bars)
        for bar in lost:
            self._losses.add({bar.interval: 1})
        self._drained.clear()
        self._wake.set()

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._drained.wait()

    async def stop(self, timeout_s: float, last: Sequence[Bar] = ()) -> None:
        """Write what waits and the ``last`` bars, within ``timeout_s``; say what is lost then."""
        left = len(last)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.flush()
                # Not all at once: there may be more than may wait.
                for first in range(0, len(last), self._backlog.max_waiting):
                    part = last[first : first + self._backlog.max_waiting]
                    self.put(part)
                    left -= len(part)
                    await self.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if left := left + len(self._backlog):
            log.error("bars lost, the store took none before the end", count=left)
        self._losses.flush()
        with contextlib.suppress(*STORE_ERRORS):
            await self._database.close()

    def reading(self, symbol: str, interval: str) -> AbstractContextManager[Group]:
        """Give what waits, and what comes while the context lasts, by start and number."""
        return self._backlog.reading(symbol, interval)

    async def fetch(self, asked: Range) -> Sequence[Sequence[Any]]:
        """Return the stored bars of a range as rows.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        if not self._is_prepared:
            raise StoreUnavailable(self._problem or "")
        try:
            async with self._database.read() as connection:
                return (await connection.execute(select_range(asked))).fetchall()
        except STORE_ERRORS as exc:
            # The writer will try again, and tell when that works.
            self._failed(exc)
            self._wake.set()
            raise StoreUnavailable(self._problem or "") from exc

    async def load_spans(self) -> list[tuple[int, int]]:
        """Return when feeds were up, as far as the database can tell."""
        if not self._is_prepared:
            return []
        try:
            return await self._database.load_spans()
        except STORE_ERRORS as exc:
            self._failed(exc)
            return []

    async def save_spans(self, spans: Iterable[tuple[int, int]]) -> bool:
        """Add to when feeds were up; return False if that must be tried again."""
        if not self._is_prepared:
            return False
        try:
            await self._database.save_spans(spans)
        except STORE_ERRORS as exc:
            self._failed(exc)
            return False
        return True

    async def _prepare(self) -> None:
        await self._database.migrate()
        self._is_prepared = True
        self._succeeded()

    async def _write_for_ever(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while True:
            try:
                await self._write_some()
                backoff_s = FIRST_BACKOFF_S
            except STORE_ERRORS as exc:
                self._failed(exc)
                await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)

    async def _write_some(self) -> None:
        if not self._is_prepared:
            await self._prepare()
        elif self._backlog.is_idle:
            await self._wait_for_bars()
        batch = self._backlog.take(BATCH_BARS)
        if not batch:
            return
        try:
            await self._database.save_bars(list(map(to_row, batch)))
        except BaseException:
            # Also when cancelled: it may not have been written.
            self._backlog.give_back()
            raise
        self._written += self._backlog.settle()
        self._succeeded()
        if not self._backlog:
            self._drained.set()

    async def _wait_for_bars(self) -> None:
        if not self.is_failing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PING_S):
                    self._wake.clear()
                    await self._wake.wait()
                    return
        await self._database.ping()
        self._succeeded()

    async def _remove_for_ever(self) -> None:
        while self._retention:
            if self._is_prepared:
                # What fails is tried again next time; the writer tells whether the store does.
                with contextlib.suppress(*STORE_ERRORS):
                    removed = await remove_old(self._database, self._retention, time.time_ns())
                    if removed:
                        log.info("old bars removed", count=removed)
            await asyncio.sleep(RETENTION_INTERVAL_S)

    def _failed(self, error: BaseException) -> None:
        problem = self._database.problem(error)
        is_news = self._told is not False
        self._problem = problem
        if is_news:
            log.error("store failing", store=self._database.name, problem=problem)
            self._told = False
            self._tell(False)
        self._database.refresh()

    def _succeeded(self) -> None:
        self._problem = None
        if self._told is not True:
            log.info("store ok", store=self._database.name, waiting=len(self._backlog))
            self._told = True
            self._tell(True)

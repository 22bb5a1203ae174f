"""Write closed bars while ticks go on, read them again, and report whether the store works."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import Any, Protocol

import structlog
from sqlalchemy import select

from aggregator.bars.bar import Bar
from aggregator.bars.refusals import Range
from aggregator.coverage.feeds import SenderMark
from aggregator.coverage.spans import Span
from aggregator.store.backlog import Backlog, Group
from aggregator.store.database import STORE_ERRORS, Database, StoreEmptied
from aggregator.store.feed_spans import load_spans, save_spans
from aggregator.store.health import FAILING, OK, OVERFLOWING, StoreHealth
from aggregator.store.last_stop import LastStop, save_last_stop, save_run, take_last_stop
from aggregator.store.queries import Range as BarRange
from aggregator.store.queries import select_range
from aggregator.store.refusals import load_import_refusals, load_refusals, save_refusals
from aggregator.store.removal import remove_old
from aggregator.store.restore import load_open, load_recent
from aggregator.store.room import MAX_WAIT_S, StoreRoom
from aggregator.store.rows import to_rows
from aggregator.store.schema import bars
from marketdata.errors import MarketDataError
from marketdata.intervals import Interval
from marketdata.summary import DropSummary
from marketdata.wire.market_data_pb2 import StoreStatus

log = structlog.get_logger()

# 4 ms to write, 1 ms of it in the event loop; ticks are applied in between.
BATCH_BARS = 500
# So many of a large backlog: half as much again in a second, for half the processor time of a bar.
BULK_BARS = 2_000
# Of the bars that closed together so many are told apart in one turn of the event loop: 0.5 ms.
TOLD_AT_ONCE = 500
FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
# The last bars are made and written in parts, between which the deadline is checked: 50 ms.
LAST_BARS = 1_000
# How soon an idle store notices that its database is gone, or back.
PING_S = 5.0
# How long the first ticks may wait for the bars of the last run.
START_TIMEOUT_S = 10.0
RETENTION_INTERVAL_S = 600.0


class StoreUnavailable(MarketDataError):
    """The database does not answer, so stored bars cannot be read now."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"stored bars cannot be read: {problem}")
        self.problem = problem


class SizedIterable(Protocol):
    """Bars whose number is known before they are made."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Bar]: ...


class BarStore:
    """Bars in a database, and those on their way there.

    :meth:`put` never waits; whoever makes bars waits for :attr:`room` first. Errors of the database
    are logged and reported to ``tell``; only :meth:`fetch` raises them.

    Args:
        database: where the bars go.
        max_waiting: how many bars may wait while the database does not accept them.
        retention: how long bars are kept, in ns by interval; other intervals are kept for ever.
        tell: called with False when the store begins to fail, with True when it works again.
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
        self._random = random
        self._losses = DropSummary(log, "bars_lost")
        self._written = 0
        self._is_prepared = False
        #: How the last run stopped; known when the database answered at the start.
        self.last_stop = LastStop()
        # The epoch of this run, which takes the store; 0: not yet.
        self._epoch = 0
        # Whether the tables must be made or found again before the next bar is written.
        self._must_prepare = True
        # Whether the file is not the one that was opened.
        self._lost_its_file = False
        # What readers of the history must know although the store works.
        self._notice = ""
        self._health = StoreHealth(database, tell)
        self.room = StoreRoom(max_waiting)
        # When the transaction began that goes on now.
        self._busy_since: float | None = None
        # Reports a transaction or a wait for room that takes too long, which no other event shows.
        self._overdue: asyncio.TimerHandle | None = None
        # Whether the event loop will tell some bars apart that are coming.
        self._is_telling = False
        self._wake = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()
        # Set after each write.
        self._progress = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_failing(self) -> bool:
        """Whether the last request to the database failed."""
        return self._health.is_failing

    def status(self) -> StoreStatus:
        """Return whether the store works, and how many bars wait, are written and are lost."""
        state, problem = self._state()
        return StoreStatus(
            state=state,
            problem=problem,
            waiting=len(self._backlog),
            max_waiting=self._backlog.max_waiting,
            written=self._written,
            lost=self._backlog.lost.total(),
        )

    def _state(self) -> tuple[str, str]:
        if self._health.problem is not None:
            return FAILING, self._health.problem
        busy_s = 0.0 if self._busy_since is None else time.monotonic() - self._busy_since
        if busy_s >= MAX_WAIT_S:
            return FAILING, f"no answer for {busy_s:.0f} s"
        if self.room.is_overdue or len(self._backlog) >= self._backlog.max_waiting:
            return OVERFLOWING, "bars close faster than they are written"
        return OK, self._notice

    def _report(self) -> None:
        self._health.report(*self._state(), len(self._backlog))
        left_s = [self.room.left_s] if not self.room.is_free else []
        if self._busy_since is not None:
            left_s.append(self._busy_since + MAX_WAIT_S - time.monotonic())
        left_s = [each for each in left_s if each > 0]
        if left_s and self._overdue is None:
            # A little later: timers may be early.
            loop = asyncio.get_running_loop()
            self._overdue = loop.call_later(min(left_s) + 0.01, self._report_overdue)

    def _report_overdue(self) -> None:
        self._overdue = None
        self._report()

    async def start(self) -> None:
        """Open the database; if that fails, keep trying in the background."""
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
        self, intervals: Sequence[Interval], window_ns: int, max_bars: int
    ) -> list[Bar]:
        """Return the bars that were open at the last stop, and those that can still be revised.

        Of the latter at most ``max_bars`` in all are read, for some seconds at most. A late trade
        for a bar that is left out makes a fragment, which never replaces the whole bar in the
        store. If the database does not answer, the list has only what was read before.
        """
        found: list[Bar] = []
        if not self.is_failing:
            try:
                async with asyncio.timeout(START_TIMEOUT_S):
                    found += await load_open(self._database, intervals)
                    left = max_bars - len(found)
                    async for part in load_recent(self._database, intervals, window_ns, left):
                        found += part
            except STORE_ERRORS as exc:
                self._failed(exc)
        return found

    async def is_empty(self) -> bool:
        """Return whether the database has no bars.

        Raises:
            StoreUnavailable: it does not answer.
        """
        try:
            async with self._database.read() as connection:
                return await connection.scalar(select(bars.c.start).limit(1)) is None
        except STORE_ERRORS as exc:
            raise StoreUnavailable(self._database.problem(exc)) from exc

    async def take(self, epoch: int) -> None:
        """Note, now or when the database answers, that the run with this epoch takes the store."""
        self._epoch = epoch
        if self._is_prepared:
            try:
                await save_run(self._database, epoch)
            except STORE_ERRORS as exc:
                self._failed(exc)
                self._must_prepare = True

    @property
    def handed(self) -> int:
        """How many bars were put so far."""
        return self._backlog.count

    async def wait_written(self, count: int) -> None:
        """Wait until the first ``count`` bars that were put are written or lost."""
        while self._backlog.settled < count:
            self._progress.clear()
            await self._progress.wait()

    def put(self, bars: Iterable[Bar]) -> None:
        """Queue bars for writing; a bar that changes afterwards must be put again at once."""
        self._lost(self._backlog.put(bars))
        self._drained.clear()
        self._wake.set()
        self._update_room()
        self._tell_apart_soon()

    def _lost(self, lost: Sequence[Bar]) -> None:
        if lost:
            self._progress.set()
        for bar in lost:
            self._losses.add({bar.interval: 1})

    def _tell_apart_soon(self) -> None:
        if self._backlog.coming and not self._is_telling:
            self._is_telling = True
            asyncio.get_running_loop().call_soon(self._tell_apart)

    def _tell_apart(self) -> None:
        self._is_telling = False
        self._lost(self._backlog.tell_apart(TOLD_AT_ONCE))
        self._tell_apart_soon()

    def _update_room(self) -> None:
        self.room.update(len(self._backlog), is_failing=self.is_failing)
        self._report()

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._drained.wait()

    async def stop(
        self,
        timeout_s: float,
        last: SizedIterable = (),
        spans: Iterable[Span] = (),
        senders: Mapping[str, SenderMark] | None = None,
    ) -> bool:
        """Write the waiting and the ``last`` bars within ``timeout_s``; log how many are lost.

        Returns whether all bars that waited are written.

        If no bar of this run was lost, what the next run may trust is stored as well.

        Args:
            timeout_s: how long it may take.
            last: the bars that are not closed.
            spans: when there was a feed.
            senders: where each producer stands; None: the next run is to trust nothing.
        """
        left, is_flushed = len(last), False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.flush()
                is_flushed = True
                if len(last) and self._is_prepared:
                    with contextlib.suppress(*STORE_ERRORS):
                        await self._database.remove_sessions()
                # Not all at once: they may be made one by one, and fewer may wait.
                bars = iter(last)
                while part := list(islice(bars, min(LAST_BARS, self._backlog.max_waiting))):
                    self.put(part)
                    left -= len(part)
                    await self.flush()
                if senders is not None and not self._backlog.lost and self._is_prepared:
                    with contextlib.suppress(*STORE_ERRORS):
                        await save_spans(self._database, spans)
                        await save_last_stop(self._database, senders)
        if self._overdue is not None:
            self._overdue.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if left := left + len(self._backlog):
            log.error("bars_lost", reason="stop", count=left)
        self._losses.flush()
        with contextlib.suppress(*STORE_ERRORS):
            await self._database.close()
        return is_flushed

    def reading(self, symbol: str, interval: str) -> AbstractContextManager[Group]:
        """Give the bars that wait, and those put while the context lasts, by start and number."""
        return self._backlog.reading(symbol, interval)

    async def fetch(self, asked: BarRange) -> Sequence[Sequence[Any]]:
        """Return the rows of the stored bars of a range.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        if not self._is_prepared:
            raise StoreUnavailable(self._health.problem or "")
        try:
            async with self._database.read() as connection:
                return (await connection.execute(select_range(asked))).fetchall()
        except STORE_ERRORS as exc:
            # The writer tries again, and reports when it works.
            self._failed(exc)
            self._wake.set()
            raise StoreUnavailable(self._health.problem or "") from exc

    async def fetch_refused(
        self, symbol: str, interval: str, from_ns: int, to_ns: int
    ) -> Mapping[int, int]:
        """Return how many rows of imports were refused, by the start of the bar that they lack.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        try:
            return await load_import_refusals(self._database, symbol, interval, from_ns, to_ns)
        except STORE_ERRORS as exc:
            self._failed(exc)
            raise StoreUnavailable(self._health.problem or "") from exc

    async def load_spans(self) -> list[Span]:
        """Return when at least one producer was connected; empty if the database does not say."""
        if not self._is_prepared:
            return []
        try:
            return await load_spans(self._database)
        except STORE_ERRORS as exc:
            self._failed(exc)
            return []

    async def save_spans(
        self, spans: Iterable[tuple[int, int]], open_ends: Iterable[int] = ()
    ) -> bool:
        """Store when at least one producer was connected; return False if that failed.

        ``open_ends`` are the ends of bars that are not closed.
        """
        if not self._is_prepared:
            return False
        try:
            await save_spans(self._database, spans, self._backlog.ends.union(open_ends))
        except STORE_ERRORS as exc:
            self._failed(exc)
            return False
        return True

    async def load_refusals(self) -> dict[str, list[Range]]:
        """Return which ticks were refused; empty if the database does not say."""
        if not self._is_prepared:
            return {}
        try:
            return await load_refusals(self._database)
        except STORE_ERRORS as exc:
            self._failed(exc)
            return {}

    async def save_refusals(self, changed: Mapping[str, Sequence[Range]]) -> bool:
        """Store which ticks of some symbols were refused; return False if that failed."""
        if not self._is_prepared:
            return False
        try:
            await save_refusals(self._database, changed)
        except STORE_ERRORS as exc:
            self._failed(exc)
            return False
        return True

    async def _prepare(self) -> None:
        has_new_tables = await self._database.migrate()
        if has_new_tables or self._lost_its_file:
            at = datetime.now(UTC)
            self._notice = f"emptied: bars from before {at:%Y-%m-%d %H:%M:%S} UTC may be missing"
            log.error("store_emptied", store=self._database.name)
            self._lost_its_file = False
        if not self._is_prepared:
            self.last_stop = await take_last_stop(self._database)
        if self._epoch:
            await save_run(self._database, self._epoch)
        self._is_prepared, self._must_prepare = True, False
        self._succeeded()

    def _failed(self, error: BaseException) -> None:
        self._must_prepare = self._must_prepare or self._database.lacks_tables(error)
        self._lost_its_file = self._lost_its_file or isinstance(error, StoreEmptied)
        self._health.failed(error)
        self._update_room()

    def _succeeded(self) -> None:
        self._health.succeeded()
        self._update_room()

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
        if self._must_prepare:
            await self._prepare()
        elif self._backlog.is_idle:
            await self._wait_for_bars()
        is_bulk = len(self._backlog) > BULK_BARS
        batch = self._backlog.take(BULK_BARS if is_bulk else BATCH_BARS)
        if not batch:
            return
        self._busy_since = time.monotonic()
        self._report()
        try:
            await self._database.save_bars([row for part in batch for row in to_rows(part)])
        except BaseException:
            # Also when cancelled: it may not have been written.
            self._backlog.give_back()
            raise
        finally:
            self._busy_since = None
        self._written += self._backlog.settle()
        self._progress.set()
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
                # After an error the next round tries again; the writer reports the store's health.
                with contextlib.suppress(*STORE_ERRORS):
                    removed = await remove_old(self._database, self._retention, time.time_ns())
                    if removed:
                        log.info("old_bars_removed", count=removed)
            await asyncio.sleep(RETENTION_INTERVAL_S)

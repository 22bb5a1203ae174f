"""Read the history that live subscriptions begin with, as fast as their readers take it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from gateway.errors import AggregatorUnavailable, HistoryTooLong, InvalidInput
from gateway.hub.backfill import Backfill
from gateway.hub.bar_subscription import BarSubscription
from gateway.hub.hub import Hub
from gateway.hub.subscription import Subscriber, Subscription
from marketdata.errors import MarketDataError
from marketdata.wire.market_data_pb2 import BarsRequest, BarsResponse

log = structlog.get_logger()

# More would be a question for REST, which has pages.
MAX_HISTORY = 10_000
# What waits for one reader at a time, about 125 KB.
BARS_PER_PAGE = 250
# Pages that are asked for at the same time, for all readers together.
MAX_QUESTIONS = 4
# Before a page is asked for again that could not be had: as with live states, a reader whose
# aggregator is away waits for it.
PAUSE_S = 0.5
# When to look whether something was published before the aggregator knew that it is followed.
CHECK_AFTER_S = 1.0


class BarsClient(Protocol):
    """Who is asked for bars."""

    async def get_bars(self, request: BarsRequest, *, caller: str | None) -> BarsResponse:
        """Return a page of bars."""


class Joins:
    """The readings of history of all live doors.

    Args:
        hub: where the live states come from.
        client: where history is read.
        max_history: bars of one subscription.
        pause_s: before a page is asked for again.
        check_after_s: how long after history a subscription is checked that got no live state.
    """

    def __init__(
        self,
        hub: Hub,
        client: BarsClient,
        *,
        max_history: int = MAX_HISTORY,
        pause_s: float = PAUSE_S,
        check_after_s: float = CHECK_AFTER_S,
    ) -> None:
        self.hub = hub
        self.max_history = max_history
        self.pause_s = pause_s
        self.check_after_s = check_after_s
        self._client = client
        self._questions = asyncio.Semaphore(MAX_QUESTIONS)
        # The event loop itself holds tasks weakly.
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(
        self,
        subscription: Subscription,
        subscriber: Subscriber,
        fail: Callable[[MarketDataError], None],
    ) -> None:
        """Read the history of ``subscription``, which the hub has, until the hub lets go of it.

        ``fail`` is called with InvalidInput or HistoryTooLong if it cannot be read. While the
        aggregator is away it is waited for.
        """
        join = subscription.backfill
        if join is None or not isinstance(subscription, BarSubscription):
            return
        reader = _Reader(self, subscription, join, subscriber)
        task = asyncio.create_task(self._run(reader, fail))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def end() -> None:
            # What ends a subscription may be the failure of its own reading.
            if task is not asyncio.current_task():
                task.cancel()

        join.on_end = end

    async def _run(self, reader: _Reader, fail: Callable[[MarketDataError], None]) -> None:
        try:
            await reader.run()
        except (InvalidInput, HistoryTooLong) as exc:
            fail(exc)
        except Exception as exc:
            # At the edge of a task: a bug ends this reader alone.
            log.exception("history failed")
            fail(AggregatorUnavailable(type(exc).__name__, self.pause_s))

    async def ask(self, request: BarsRequest) -> BarsResponse:
        """Return a page, as soon as it can be had; all readers share the places."""
        while True:
            try:
                async with self._questions:
                    return await self._client.get_bars(request, caller=None)
            except AggregatorUnavailable:
                await asyncio.sleep(self.pause_s)


class _Reader:
    """Read for one subscription, for as long as it lasts."""

    def __init__(
        self, joins: Joins, subscription: BarSubscription, join: Backfill, subscriber: Subscriber
    ) -> None:
        self._joins = joins
        self._subscription = subscription
        self._join = join
        self._subscriber = subscriber
        self._given = 0
        # What is read anew is little, and the reader was let in.
        self._is_first = True
        # Something happened: all that was read went out, or something is missing.
        self._changed = asyncio.Event()
        join.on_gap = join.on_drained = self._changed.set

    async def run(self) -> None:
        """Read history now, and again whenever something is missing."""
        while True:
            while (symbol := self._join.next_unread()) is not None:
                await self._read(symbol)
            self._is_first = False
            self._subscription.release()
            self._subscriber.flush([self._subscription])
            await self._check()
            while self._join.next_unread() is None:
                self._changed.clear()
                await self._changed.wait()

    async def _read(self, symbol: str) -> None:
        reading = self._join.begin_reading(symbol)
        cursor = ""
        while True:
            await self._drained()
            request = self._request(symbol, cursor=cursor)
            answer = await self._joins.ask(request)
            while (bars := reading.take_page(answer, hub_epoch=self._joins.hub.epoch)) is None:
                await asyncio.sleep(self._joins.pause_s)
                answer = await self._joins.ask(request)
            self._given += len(bars)
            if self._is_first and self._given > self._joins.max_history:
                raise HistoryTooLong(self._joins.max_history)
            if bars:
                self._subscription.add_history(bars)
                self._subscriber.flush([self._subscription])
            cursor = answer.next_cursor
            if not cursor:
                break
        reading.finish()

    async def _drained(self) -> None:
        # At most one page waits for a slow reader.
        while self._subscription.has_history:
            self._changed.clear()
            await self._changed.wait()

    # A state that was published after history was read and before the aggregator knew that it is
    # followed came no way, and where no other follows nothing tells.
    async def _check(self) -> None:
        if not self._join.unsure():
            return
        self._changed.clear()
        try:
            async with asyncio.timeout(self._joins.check_after_s):
                while self._join.next_unread() is None and self._join.unsure():
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            for symbol in self._join.unsure():
                answer = await self._joins.ask(self._request(symbol, limit=1))
                if self._join.is_behind(symbol, answer):
                    self._subscription.hold()

    def _request(self, symbol: str, *, cursor: str = "", limit: int = BARS_PER_PAGE) -> BarsRequest:
        request = BarsRequest(
            symbol=symbol,
            interval=self._subscription.interval,
            limit=limit,
            cursor=cursor,
            include_partial=True,
        )
        # The name is a keyword of Python.
        setattr(request, "from", self._join.since_ns)
        return request

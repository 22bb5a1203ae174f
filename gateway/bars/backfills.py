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

# For more there is REST, which has pages.
MAX_HISTORY = 10_000
# At most one page waits for a reader, about 125 KB.
BARS_PER_PAGE = 250
# Calls at the same time, for all readers together.
MAX_PAGES = 4
# The pause before a failed page is asked for again. As with live states, a reader waits while the
# aggregator is away.
PAUSE_S = 0.5
# When to check whether a state was published before the aggregator knew of the subscription.
CHECK_AFTER_S = 1.0


class BarsClient(Protocol):
    """The part of the aggregator's client that reads bars."""

    async def get_bars(self, request: BarsRequest, *, caller: str | None) -> BarsResponse:
        """Return a page of bars."""


class Backfills:
    """Read the history of all live subscriptions.

    Args:
        hub: where the live states come from.
        client: where history is read.
        max_history: bars of one subscription.
        pause_s: before a page is asked for again.
        check_after_s: how long after its history a subscription without live states is checked.
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
        self._pages = asyncio.Semaphore(MAX_PAGES)
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
        """Read the history of a ``subscription`` of the hub, until the hub ends it.

        ``fail`` is called with InvalidInput or HistoryTooLong if it cannot be read. While the
        aggregator is away, reading waits for it.
        """
        backfill = subscription.backfill
        if backfill is None or not isinstance(subscription, BarSubscription):
            return
        reader = _Reader(self, subscription, backfill, subscriber)
        task = asyncio.create_task(self._run(reader, fail))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def end() -> None:
            # A failure of its own reading may end a subscription.
            if task is not asyncio.current_task():
                task.cancel()

        backfill.on_end = end

    async def _run(self, reader: _Reader, fail: Callable[[MarketDataError], None]) -> None:
        try:
            await reader.run()
        except (InvalidInput, HistoryTooLong) as exc:
            fail(exc)
        except Exception as exc:
            # At the edge of a task: a bug ends this reader alone.
            log.exception("backfill_failed")
            fail(AggregatorUnavailable(type(exc).__name__, self.pause_s))

    async def ask(self, request: BarsRequest) -> BarsResponse:
        """Return a page, as soon as the aggregator gives it; all readers share the calls."""
        while True:
            try:
                async with self._pages:
                    return await self._client.get_bars(request, caller=None)
            except AggregatorUnavailable:
                await asyncio.sleep(self.pause_s)


class _Reader:
    """Read for one subscription as long as it lasts."""

    def __init__(
        self,
        backfills: Backfills,
        subscription: BarSubscription,
        backfill: Backfill,
        subscriber: Subscriber,
    ) -> None:
        self._backfills = backfills
        self._subscription = subscription
        self._backfill = backfill
        self._subscriber = subscriber
        self._given = 0
        # The limit holds for the first reading only: later ones are short.
        self._is_first = True
        # Set when all that was read went out, or when states are missing.
        self._changed = asyncio.Event()
        backfill.on_gap = backfill.on_drained = self._changed.set

    async def run(self) -> None:
        """Read history now, and again whenever states are missing."""
        while True:
            while (symbol := self._backfill.next_unread()) is not None:
                await self._read(symbol)
            self._is_first = False
            self._subscription.release()
            self._subscriber.flush([self._subscription])
            await self._check()
            while self._backfill.next_unread() is None:
                self._changed.clear()
                await self._changed.wait()

    async def _read(self, symbol: str) -> None:
        reading = self._backfill.begin_reading(symbol)
        cursor = ""
        while True:
            await self._drained()
            request = self._request(symbol, cursor=cursor)
            page = await self._backfills.ask(request)
            while (bars := reading.take_page(page, hub_epoch=self._backfills.hub.epoch)) is None:
                await asyncio.sleep(self._backfills.pause_s)
                page = await self._backfills.ask(request)
            self._given += len(bars)
            if self._is_first and self._given > self._backfills.max_history:
                raise HistoryTooLong(self._backfills.max_history)
            if bars:
                self._subscription.add_history(bars)
                self._subscriber.flush([self._subscription])
            cursor = page.next_cursor
            if not cursor:
                break
        reading.finish()

    async def _drained(self) -> None:
        # At most one page waits for a slow reader.
        while self._subscription.has_history:
            self._changed.clear()
            await self._changed.wait()

    # A state that was published after history was read, and before the aggregator knew of the
    # subscription, was never sent. No later state reveals it while the symbol is quiet.
    async def _check(self) -> None:
        if not self._backfill.unsure():
            return
        self._changed.clear()
        try:
            async with asyncio.timeout(self._backfills.check_after_s):
                while self._backfill.next_unread() is None and self._backfill.unsure():
                    await self._changed.wait()
                    self._changed.clear()
        except TimeoutError:
            for symbol in self._backfill.unsure():
                page = await self._backfills.ask(self._request(symbol, limit=1))
                if self._backfill.is_behind(symbol, page):
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
        setattr(request, "from", self._backfill.since_ns)
        return request

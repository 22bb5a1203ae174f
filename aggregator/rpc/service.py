"""The RPCs: messages in, messages out, one table from our errors to status codes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import grpc
import structlog
from google.protobuf.message import DecodeError

from aggregator.coverage.feeds import Feed, Feeds
from aggregator.history.query import InvalidBars
from aggregator.history.reader import BarReader
from aggregator.market import Market
from aggregator.producers.numbering import InvalidBatch
from aggregator.rpc.calls import Calls, ShuttingDown
from aggregator.rpc.malformed import refuse
from aggregator.store.store import BarStore, StoreUnavailable
from aggregator.watch.bar_watchers import (
    Completed,
    TooManyBarsWait,
    TooManyTopics,
    TooManyWatched,
    read_topics,
)
from aggregator.watch.watchers import Watcher
from aggregator.wire.pieces import message_of
from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.intervals import InvalidInterval
from marketdata.summary import DropSummary
from marketdata.symbols import normalize_symbol
from marketdata.validation import TickRules
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceServicer

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE_NAME = wire.DESCRIPTOR.services_by_name["MarketDataService"].full_name
# Methods of :class:`MarketDataService` that take, or write, what is on the wire: half of what a
# tick costs, and most of what an update does, would be to make a message of it.
TAKES_BYTES = frozenset({f"/{SERVICE_NAME}/PublishTicks"})
WRITES_BYTES = frozenset({f"/{SERVICE_NAME}/StreamAggregates", f"/{SERVICE_NAME}/Watch"})

# An Aggregate is at most 150 bytes, so a full batch is 1.5 MB of the 4 MiB a message may have.
MAX_UPDATES_PER_BATCH = 10_000
# 230 bytes each; and who decodes them has others to serve.
MAX_BARS_PER_BATCH = 2_000
# What may wait for one Watch stream that asked for a buffer: 300 bytes each, 20 MB.
MAX_BUFFERED_UPDATES = 65_536
DEFAULT_LIST_LIMIT = 1_000
MAX_LIST_LIMIT = 10_000
MAX_AGGREGATES_PER_REQUEST = 10_000


class TooManyAsked(MarketDataError):
    """One request asks for more than the limit."""


class SymbolHasNoData(MarketDataError):
    """No tick of the symbol has arrived yet."""

    def __init__(self, symbol: str) -> None:
        super().__init__(f"no data for symbol {symbol}")


STATUS_CODES: dict[type[MarketDataError], grpc.StatusCode] = {
    InvalidSymbol: grpc.StatusCode.INVALID_ARGUMENT,
    InvalidBatch: grpc.StatusCode.INVALID_ARGUMENT,
    TooManyAsked: grpc.StatusCode.INVALID_ARGUMENT,
    SymbolHasNoData: grpc.StatusCode.NOT_FOUND,
    InvalidInterval: grpc.StatusCode.INVALID_ARGUMENT,
    TooManyWatched: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyTopics: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyBarsWait: grpc.StatusCode.RESOURCE_EXHAUSTED,
    InvalidBars: grpc.StatusCode.INVALID_ARGUMENT,
    # Not UNAVAILABLE: all else is there, and asking again at once is of no use.
    StoreUnavailable: grpc.StatusCode.FAILED_PRECONDITION,
    ShuttingDown: grpc.StatusCode.UNAVAILABLE,
}


class MarketDataService(MarketDataServiceServicer):
    """Serve one :class:`Market` over gRPC.

    Streams are written with ``context.write``, not yielded: a generator suspended at ``yield`` when
    its call is cancelled would run its ``finally`` whenever it is collected. The stubs know only
    generators, hence the ignored overrides.

    Its server leaves the requests of :data:`TAKES_BYTES` undecoded, and what the methods of
    :data:`WRITES_BYTES` write unencoded.
    """

    def __init__(
        self,
        market: Market,
        rules: TickRules,
        bars: BarReader,
        feeds: Feeds,
        *,
        store: BarStore | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._market = market
        self._bars = bars
        self._feeds = feeds
        self._store = store
        self._clock = clock
        self._rules = rules
        self._drops = DropSummary(log, "ticks rejected")
        self.producers = Calls()

    def log_drops(self) -> None:
        """Log the drops that no line told of yet."""
        self._drops.flush()

    async def StreamTicks(
        self,
        request_iterator: AsyncIterator[wire.Tick],
        context: Context,
    ) -> wire.Ack:
        """Apply single ticks, as the original did: each is checked, the bad ones are dropped."""
        received = 0
        with self._feed() as feed:
            async for tick in request_iterator:
                received += 1
                now_ns = self._clock()
                reason = self._rules.normalize(tick, now_ns)
                if reason is not None:
                    self._drops.add({reason: 1})
                    continue
                applied = self._market.publish_ticks((tick,), now_ns, feed)
                self._drops.add(Counter(reason for _, reason in applied.rejections))
        return wire.Ack(success=True, message=f"Received {received} ticks")

    async def PublishTicks(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[bytes],
        context: Context,
    ) -> None:
        """Apply batches in order and ack each."""
        try:
            async with self.producers.open():
                # At once, so that the producer knows it is heard before its first batch.
                await context.send_initial_metadata(())
                with self._feed() as feed:
                    async for batch in request_iterator:
                        await self._publish(batch, feed, context)
        except ShuttingDown as exc:
            await abort(context, exc)

    @contextlib.contextmanager
    def _feed(self) -> Iterator[Feed]:
        feed = self._feeds.open(self._clock())
        try:
            yield feed
        finally:
            feed.close(self._clock())

    async def _publish(self, batch: bytes, feed: Feed, context: Context) -> None:
        try:
            ack = self._market.publish_batch(batch, self._clock(), feed)
        except DecodeError:
            await refuse(context)
        except InvalidBatch as exc:
            await abort(context, exc)
        if ack.rejections:
            self._drops.add(Counter(rejection.reason for rejection in ack.rejections))
        # Whoever watches goes first: a tick reached them 0.1 ms sooner at 10,000 ticks/s.
        await asyncio.sleep(0)
        await context.write(ack)

    async def GetAggregate(
        self,
        request: wire.AggregateRequest,
        context: Context,
    ) -> wire.Aggregate:
        """Return the state of one symbol."""
        try:
            symbol = normalize_symbol(request.symbol)
        except InvalidSymbol as exc:
            await abort(context, exc)
        states = self._states([symbol])
        if not states:
            await abort(context, SymbolHasNoData(symbol))
        return wire.Aggregate.FromString(message_of(states))

    async def GetAggregates(
        self,
        request: wire.AggregatesRequest,
        context: Context,
    ) -> wire.AggregatesResponse:
        """Return the states of many symbols, all of one moment."""
        try:
            symbols = normalize_all(request.symbols)
        except (InvalidSymbol, TooManyAsked) as exc:
            await abort(context, exc)
        # They have the same number there as in an UpdateBatch.
        return wire.AggregatesResponse.FromString(self._states(symbols))

    async def ListSymbols(
        self,
        request: wire.ListSymbolsRequest,
        context: Context,
    ) -> wire.ListSymbolsResponse:
        """Return the symbols with data that start with a prefix, a page at a time."""
        return list_page(self._market.book.symbols(), request)

    async def GetBars(self, request: wire.BarsRequest, context: Context) -> wire.BarsResponse:
        """Return the bars of one symbol and interval, a page at a time."""
        try:
            return await self._bars.read(request)
        except (InvalidSymbol, InvalidInterval, InvalidBars, StoreUnavailable) as exc:
            await abort(context, exc)

    async def GetStatus(
        self,
        request: wire.StatusRequest,
        context: Context,
    ) -> wire.StatusResponse:
        """Return what an operator wants to know at a glance."""
        market, counts = self._market, self._market.book.engine.counts
        return wire.StatusResponse(
            epoch=market.book.epoch,
            symbols=len(market.book),
            accepted=market.accepted,
            duplicates=market.duplicates,
            late=counts.late,
            out_of_session=counts.out_of_session,
            bars_late=counts.bars_late,
            rejected=market.rejected,
            feeds=self._feeds.statuses(),
            store=self._store.status() if self._store else wire.StoreStatus(state="off"),
            intervals=[interval.name for interval in market.book.engine.plan.intervals],
        )

    async def StreamAggregates(  # type: ignore[override]
        self,
        request: wire.AggregateRequest,
        context: Context,
    ) -> None:
        """Send the state of one symbol now, if it has one, and after every change."""
        watcher = self._market.watchers.open()
        try:
            symbol = normalize_symbol(request.symbol)
            self._watch(watcher, [symbol])
            await context.send_initial_metadata(())
            while True:
                (state,) = await watcher.next_states(1)
                await context.write(message_of(state))
        except MarketDataError as exc:
            await abort(context, exc)
        finally:
            self._market.watchers.close(watcher)

    async def Watch(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[wire.WatchRequest],
        context: Context,
    ) -> None:
        """Send the states of a changing set of symbols, as fast as the stream takes them."""
        watcher = self._market.watchers.open()
        changes = asyncio.create_task(self._follow(request_iterator, watcher))
        try:
            # The reader learns at once whether what it knows is of this life.
            epoch = self._market.book.epoch
            intervals = ",".join(i.name for i in self._market.book.engine.plan.intervals)
            await context.send_initial_metadata((("epoch", str(epoch)), ("intervals", intervals)))
            while True:
                updates = await watcher.next_updates(MAX_UPDATES_PER_BATCH, MAX_BARS_PER_BATCH)
                markers = _write_markers(updates.completed, epoch)
                await context.write(b"".join((*updates.states, *updates.bars, markers)))
        except MarketDataError as exc:
            await abort(context, exc)
        finally:
            changes.cancel()
            self._market.watchers.close(watcher)

    async def _follow(self, requests: AsyncIterator[wire.WatchRequest], watcher: Watcher) -> None:
        # Applies the requests of one Watch stream; when they end, the updates go on.
        try:
            async for request in requests:
                if request.HasField("buffer"):
                    watcher.buffer(min(request.buffer, MAX_BUFFERED_UPDATES))
                watcher.unwatch(map(normalize_symbol, request.remove))
                if request.HasField("all"):
                    watcher.watch_all(request.all)
                    if request.all:
                        self._mark(watcher, self._market.book.symbols())
                self._watch(watcher, list(map(normalize_symbol, request.add)))
                watchers = self._market.watchers
                watchers.bars.remove(watcher.bars, read_topics(request.remove_bars))
                watchers.bars.add(watcher.bars, read_topics(request.add_bars))
        except Exception as exc:
            # The handler raises it again and so ends the call with the right status.
            watcher.end(exc)

    def _watch(self, watcher: Watcher, symbols: list[str]) -> None:
        watcher.watch(symbols)
        # No await between the two: the state marked here and the changes after it have no hole.
        self._mark(watcher, symbols)

    def _mark(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        # A symbol that exists may have no state: all its ticks lay between two sessions.
        watcher.mark(list(filter(self._market.book.has_state, self._rows(symbols))))

    def _states(self, symbols: Iterable[str]) -> bytes:
        # Those of symbols that have one, as in an UpdateBatch.
        return b"".join(self._market.book.states(self._rows(symbols)))

    def _rows(self, symbols: Iterable[str]) -> list[int]:
        rows = map(self._market.book.row, symbols)
        return [row for row in rows if row is not None]


def _write_markers(completed: Sequence[Completed], epoch: int) -> bytes:
    # As in an UpdateBatch.
    if not completed:
        return b""
    markers = [wire.IntervalComplete(interval=i, end=end, epoch=epoch) for i, end in completed]
    return wire.UpdateBatch(completed=markers).SerializeToString()


def list_page(symbols: list[str], request: wire.ListSymbolsRequest) -> wire.ListSymbolsResponse:
    """Return a page of symbols, which are in byte order."""
    limit = min(request.limit or DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT)
    prefix = request.prefix.strip().upper()
    start = max(bisect_left(symbols, prefix), bisect_right(symbols, request.cursor))
    # The greatest character ends the range of the prefix.
    stop = bisect_left(symbols, prefix + chr(0x10FFFF))
    page = symbols[start : min(start + limit, stop)]
    more = start + limit < stop
    return wire.ListSymbolsResponse(symbols=page, next_cursor=page[-1] if more else "")


def normalize_all(symbols: Iterable[str]) -> list[str]:
    """Return each of some symbols once, in normal form.

    Raises:
        InvalidSymbol: one is none.
        TooManyAsked: there are more than the limit.
    """
    normal = list(dict.fromkeys(map(normalize_symbol, symbols)))
    if len(normal) > MAX_AGGREGATES_PER_REQUEST:
        raise TooManyAsked(f"{len(normal)} symbols asked, limit is {MAX_AGGREGATES_PER_REQUEST}")
    return normal


async def abort(context: Context, error: MarketDataError) -> NoReturn:
    """End a call with the status that stands for an error."""
    await context.abort(STATUS_CODES[type(error)], str(error))
    raise AssertionError("abort raises")

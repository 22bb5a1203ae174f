"""The RPCs: messages in, messages out."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import structlog
from google.protobuf.message import DecodeError

from aggregator.history.query import InvalidBars
from aggregator.history.reader import BarReader
from aggregator.machine.inputs import FeedClosed, FeedOpened
from aggregator.machine.journal import Journal
from aggregator.producers.numbering import InvalidBatch
from aggregator.rpc.calls import CANCELLATION_S, Calls, ShuttingDown
from aggregator.rpc.errors import Context, SymbolHasNoData, abort
from aggregator.rpc.malformed import refuse
from aggregator.rpc.publishing import DELAYED_ACKS, Batches
from aggregator.rpc.reading import ReadCalls
from aggregator.rpc.single_ticks import SingleTicks
from aggregator.rpc.symbols import TooManyAsked, list_page, normalize_all
from aggregator.rpc.watching import WatchCalls
from aggregator.store.store import BarStore, StoreUnavailable
from aggregator.views.views import UnknownView
from aggregator.wire.encoded import message_of
from marketdata.errors import InvalidSymbol
from marketdata.intervals import InvalidInterval
from marketdata.load import LoadMeter
from marketdata.summary import DropSummary
from marketdata.symbols import in_other_case, normalize_symbol
from marketdata.validation import TickRules
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceServicer

log = structlog.get_logger()

SERVICE_NAME = wire.DESCRIPTOR.services_by_name["MarketDataService"].full_name
# These methods take, or write, wire bytes. As messages they would cost half as much again per tick,
# and several times as much per update.
TAKES_BYTES = frozenset(
    f"/{SERVICE_NAME}/{method}" for method in ("PublishTicks", "ReadAggregates")
)
WRITES_BYTES = frozenset(
    f"/{SERVICE_NAME}/{method}"
    for method in ("GetAggregate", "GetAggregates", "ReadAggregates", "StreamAggregates", "Watch")
)


class MarketDataService(MarketDataServiceServicer):
    """Serve one :class:`Machine` over gRPC.

    Streams are written with ``context.write``, not yielded: a generator suspended at ``yield`` when
    its call is cancelled would run its ``finally`` whenever it is collected. The stubs know only
    generators, hence the ignored overrides.

    Its server must pass on the requests of :data:`TAKES_BYTES` and the responses of
    :data:`WRITES_BYTES` as bytes.

    Args:
        journal: applies ticks and requests to the state.
        rules: how single ticks are checked and normalized.
        bars: reads the bars of any time.
        watching: the streams of updates.
        store: reports its health; None: there is no store.
        clock: the wall clock in ns.
    """

    def __init__(
        self,
        journal: Journal,
        rules: TickRules,
        bars: BarReader,
        watching: WatchCalls,
        *,
        store: BarStore | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._market = journal.machine.market
        self._bars = bars
        self._feeds = journal.machine.feeds
        self._store = store
        # Returns how the tick log is.
        self.log_status: Callable[[], wire.LogStatus] = lambda: wire.LogStatus(state="off")
        self._clock = clock
        self._rules = rules
        self._drops = DropSummary(log, "ticks_rejected")
        self._journal = journal
        self._watching = watching
        self._load = LoadMeter()
        self.producers = Calls()
        self.readers = ReadCalls(self._states)

    def log_drops(self) -> None:
        """Log the rejected ticks that are not logged yet."""
        self._drops.flush()

    async def StreamTicks(
        self,
        request_iterator: AsyncIterator[wire.Tick],
        context: Context,
    ) -> wire.Ack:
        """Apply single ticks: each is checked, and invalid ones are dropped."""
        with self._feed() as stream:
            ticks = SingleTicks(self._journal, self._rules, self._clock, stream, self._drops.add)
            try:
                async with self.producers.open():
                    async for tick in request_iterator:
                        ticks.add(tick)
                        await self._wait_for_room()
                    await ticks.settle()
                    await asyncio.sleep(CANCELLATION_S)
            except ShuttingDown as exc:
                ticks.apply()
                await abort(context, exc)
            except BaseException:
                # The producer's connection is lost, or it cancelled the call.
                ticks.apply()
                self._log_lost(context, ticks.received, ticks.applied)
                raise
        return wire.Ack(success=True, message=ticks.summary())

    async def PublishTicks(  # type: ignore[override]
        self,
        request_iterator: AsyncIterator[bytes],
        context: Context,
    ) -> None:
        """Apply batches in order and ack each."""
        received = applied = 0
        try:
            async with self.producers.open():
                # At once: the producer then knows that its stream is accepted.
                await context.send_initial_metadata(())
                with self._feed() as stream:
                    batches = Batches(
                        request_iterator,
                        stream,
                        self._journal,
                        self._wait_for_room,
                        delayed=_delayed_producer(context),
                        load=self._load,
                    )
                    async with contextlib.aclosing(batches.acks()) as acks:
                        async for ack in acks:
                            applied += ack.accepted
                            received += ack.accepted + ack.duplicates + len(ack.rejections)
                            if ack.rejections:
                                self._drops.add(Counter(each.reason for each in ack.rejections))
                            # Watchers are written to before the ack: at 10,000 ticks/s an update
                            # arrives 0.1 ms sooner.
                            await asyncio.sleep(0)
                            await context.write(ack)
                await asyncio.sleep(CANCELLATION_S)
        except DecodeError:
            await refuse(context)
        except (InvalidBatch, ShuttingDown) as exc:
            await abort(context, exc)
        except BaseException:
            self._log_lost(context, received, applied)
            raise

    async def _wait_for_room(self) -> None:
        # The producer then waits for its acks, or for HTTP/2's flow control.
        if self._store is not None and not self._store.room.is_free:
            await self._store.room.wait()
        if not self._journal.has_room:
            await self._journal.wait_for_room()

    def _log_lost(self, context: Context, received: int, applied: int) -> None:
        log.warning("producer_lost", peer=context.peer(), received=received, applied=applied)

    @contextlib.contextmanager
    def _feed(self) -> Iterator[int]:
        # Gives the number of a stream of ticks.
        stream = self._journal.new_stream()
        self._journal.submit(FeedOpened(stream))
        try:
            yield stream
        finally:
            self._journal.submit(FeedClosed(stream))

    async def GetProducer(
        self,
        request: wire.ProducerStateRequest,
        context: Context,
    ) -> wire.ProducerState:
        """Return the last sequence of a producer, 0 for an unknown one."""
        return wire.ProducerState(last_sequence=self._market.last_sequence(request.producer_id))

    async def GetAggregate(  # type: ignore[override]
        self,
        request: wire.AggregateRequest,
        context: Context,
    ) -> bytes:
        """Return the state of one symbol."""
        try:
            symbol = normalize_symbol(request.symbol)
        except InvalidSymbol as exc:
            await abort(context, exc)
        states = self._states([symbol])
        if not states:
            similar = (each for each in in_other_case(symbol) if self._states([each]))
            await abort(context, SymbolHasNoData(symbol, next(similar, "")))
        return message_of(states)

    async def GetAggregates(  # type: ignore[override]
        self,
        request: wire.AggregatesRequest,
        context: Context,
    ) -> bytes:
        """Return the states of many symbols, all of the same moment."""
        try:
            symbols = normalize_all(request.symbols)
        except (InvalidSymbol, TooManyAsked) as exc:
            await abort(context, exc)
        # The states have the same field number there as in an UpdateBatch.
        return self._states(symbols)

    async def ReadAggregates(  # type: ignore[override]
        self, request_iterator: AsyncIterator[bytes], context: Context
    ) -> None:
        """Return the states of many symbols for each request."""
        await self.readers.serve(context)

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

    async def GetView(
        self,
        request: wire.ViewRequest,
        context: Context,
    ) -> wire.ViewResponse:
        """Return what a view knows of one symbol."""
        try:
            symbol = normalize_symbol(request.symbol)
            state = self._market.views.read(request.view, symbol)
        except (InvalidSymbol, UnknownView) as exc:
            await abort(context, exc)
        if state is None:
            await abort(context, SymbolHasNoData(symbol, ""))
        return wire.ViewResponse(json=state)

    async def GetStatus(
        self,
        request: wire.StatusRequest,
        context: Context,
    ) -> wire.StatusResponse:
        """Return the counts of ticks, the reports of feeds and the health of the store."""
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
            log=self.log_status(),
            intervals=[interval.name for interval in market.book.engine.series.plan.intervals],
        )

    async def StreamAggregates(  # type: ignore[override]
        self, request: wire.AggregateRequest, context: Context
    ) -> None:
        """Send the state of one symbol now, if it has one, and after every change."""
        await self._watching.stream_aggregates(request, context)

    async def Watch(  # type: ignore[override]
        self, request_iterator: AsyncIterator[wire.WatchRequest], context: Context
    ) -> None:
        """Send the states of a changing set of symbols, as fast as the stream takes them."""
        await self._watching.watch(request_iterator, context)

    def _states(self, symbols: Iterable[str]) -> bytes:
        # Those of the symbols that have one, as in an UpdateBatch.
        book = self._market.book
        rows = (book.row(symbol) for symbol in symbols)
        return b"".join(book.states([row for row in rows if row is not None]))


def _delayed_producer(context: Context) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == DELAYED_ACKS and isinstance(value, str):
            return value
    return ""

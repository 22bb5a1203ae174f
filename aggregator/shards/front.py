"""The RPCs of an aggregator that is several processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from aggregator.calls import Calls, ShuttingDown
from aggregator.core import MAX_TOPICS
from aggregator.malformed import refuse
from aggregator.numbering import InvalidBatch
from aggregator.service import SERVICE_NAME, TooManyAsked, abort, list_page, normalize_all
from aggregator.shards.crew import Member
from aggregator.shards.fleet import Fleet
from aggregator.shards.owners import owner_of
from aggregator.shards.status import merge_statuses
from aggregator.shards.watching import Watched
from marketdata.errors import InvalidSymbol, MarketDataError
from marketdata.summary import DropSummary
from marketdata.symbols import normalize_symbol
from marketdata.validation import TickRules
from marketdata.wire import market_data_pb2 as wire

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
M = TypeVar("M", bound=Message)

# Of one stream: enough that the workers always have something to do.
MAX_UNACKED_BATCHES = 8
MAX_UNACKED_TICKS = 256
# An UpdateBatch of a worker has either markers or anything else.
_COMPLETED_TAG = bytes([wire.UpdateBatch.COMPLETED_FIELD_NUMBER << 3 | 2])


class FrontService:
    """Serve what the workers have.

    Messages are bytes here, and are parsed only to know whose they are.
    """

    def __init__(
        self, fleet: Fleet, rules: TickRules, clock: Callable[[], int], *, max_symbols: int
    ) -> None:
        self._fleet = fleet
        self._rules = rules
        self._clock = clock
        self._max_symbols = max_symbols
        self._drops = DropSummary(log, "ticks rejected")
        self.producers = Calls()
        self.readers = Calls()

    def handlers(self) -> grpc.GenericRpcHandler:
        """Return what a server is to be given."""
        unary, stream = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME,
            {
                "StreamTicks": grpc.stream_unary_rpc_method_handler(self._stream_ticks),
                "PublishTicks": stream(self._publish_ticks),
                "GetAggregate": unary(self._get_aggregate),
                "GetAggregates": unary(self._get_aggregates),
                "ListSymbols": unary(self._list_symbols),
                "GetBars": unary(self._get_bars),
                "GetStatus": unary(self._get_status),
                "StreamAggregates": grpc.unary_stream_rpc_method_handler(self._stream_aggregates),
                "Watch": stream(self._watch),
            },
        )

    def log_drops(self) -> None:
        """Log the drops that no line told of yet."""
        self._drops.flush()

    # Ticks.

    async def _stream_ticks(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        received = 0
        answers: list[asyncio.Future[wire.BatchAck]] = []
        try:
            with self._feed() as feed:
                async for data in requests:
                    received += 1
                    tick = await _parse(wire.Tick, data, context)
                    now_ns = self._clock()
                    reason = self._rules.normalize(tick, now_ns)
                    if reason is not None:
                        self._drops.add({reason: 1})
                        continue
                    answers.append(self._fleet.publish_ticks((tick,), now_ns, feed))
                    if len(answers) == MAX_UNACKED_TICKS:
                        await self._settle(answers)
                await self._settle(answers)
        except ShuttingDown as exc:
            await abort(context, exc)
        ack = wire.Ack(success=True, message=f"Received {received} ticks")
        return ack.SerializeToString()

    async def _settle(self, answers: list[asyncio.Future[wire.BatchAck]]) -> None:
        for answer in answers:
            self._count(await answer)
        answers.clear()

    async def _publish_ticks(self, requests: AsyncIterator[bytes], context: Context) -> None:
        acks = asyncio.Queue[asyncio.Future[wire.BatchAck] | None](MAX_UNACKED_BATCHES)
        writing = asyncio.create_task(self._write_acks(acks, context))
        try:
            async with self.producers.open():
                # At once, so that the producer knows it is heard before its first batch.
                await context.send_initial_metadata(())
                failure = await self._publish(requests, acks)
                await acks.put(None)
                await writing
        except ShuttingDown as exc:
            await abort(context, exc)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
        if isinstance(failure, InvalidBatch):
            await abort(context, failure)
        if failure is not None:
            await refuse(context)

    async def _publish(
        self,
        requests: AsyncIterator[bytes],
        acks: asyncio.Queue[asyncio.Future[wire.BatchAck] | None],
    ) -> DecodeError | InvalidBatch | None:
        # Returns what is wrong with a batch; those before it are to be acked.
        with self._feed() as feed:
            async for data in requests:
                try:
                    answer = self._fleet.publish_batch(data, self._clock(), feed)
                except (DecodeError, InvalidBatch) as exc:
                    return exc
                await acks.put(answer)
                await self._fleet.drain()
        return None

    async def _write_acks(
        self, acks: asyncio.Queue[asyncio.Future[wire.BatchAck] | None], context: Context
    ) -> None:
        while (answer := await acks.get()) is not None:
            ack = await answer
            self._count(ack)
            await context.write(ack.SerializeToString())

    def _count(self, ack: wire.BatchAck) -> None:
        if ack.rejections:
            self._drops.add(Counter(rejection.reason for rejection in ack.rejections))

    @contextlib.contextmanager
    def _feed(self) -> Iterator[int]:
        feed = self._fleet.open_feed(self._clock())
        try:
            yield feed
        finally:
            self._fleet.close_feed(feed, self._clock())

    # Questions.

    async def _get_aggregate(self, data: bytes, context: Context) -> bytes:
        request = await _parse(wire.AggregateRequest, data, context)
        return await self._ask(self._owner(request.symbol), "GetAggregate", data, context)

    async def _get_bars(self, data: bytes, context: Context) -> bytes:
        request = await _parse(wire.BarsRequest, data, context)
        return await self._ask(self._owner(request.symbol), "GetBars", data, context)

    async def _get_aggregates(self, data: bytes, context: Context) -> bytes:
        request = await _parse(wire.AggregatesRequest, data, context)
        try:
            symbols = normalize_all(request.symbols)
        except (InvalidSymbol, TooManyAsked) as exc:
            await abort(context, exc)
        parts = [wire.AggregatesRequest() for _ in self._fleet.members]
        for symbol in symbols:
            parts[owner_of(symbol, len(parts))].symbols.append(symbol)
        asked = [
            self._ask(member, "GetAggregates", part.SerializeToString(), context)
            for member, part in zip(self._fleet.members, parts, strict=True)
            if part.symbols
        ]
        found = {
            aggregate.symbol: aggregate
            for answer in await asyncio.gather(*asked)
            for aggregate in wire.AggregatesResponse.FromString(answer).aggregates
        }
        response = wire.AggregatesResponse(
            aggregates=[found[symbol] for symbol in symbols if symbol in found]
        )
        return response.SerializeToString()

    async def _list_symbols(self, data: bytes, context: Context) -> bytes:
        request = await _parse(wire.ListSymbolsRequest, data, context)
        return list_page(self._fleet.splitter.symbols(), request).SerializeToString()

    async def _get_status(self, data: bytes, context: Context) -> bytes:
        await _parse(wire.StatusRequest, data, context)
        asked = [self._ask(each, "GetStatus", data, context) for each in self._fleet.members]
        answers = await asyncio.gather(*asked)
        status = merge_statuses(map(wire.StatusResponse.FromString, answers))
        splitter, merger = self._fleet.splitter, self._fleet.merger
        # What is counted before the ticks are divided.
        status.symbols, status.duplicates = len(splitter), splitter.duplicates
        status.accepted = merger.accepted
        status.rejected.clear()
        status.rejected.update(merger.rejected)
        return status.SerializeToString()

    def _owner(self, symbol: str) -> Member:
        # Of what is no symbol any worker can say so.
        with contextlib.suppress(InvalidSymbol):
            symbol = normalize_symbol(symbol)
        return self._fleet.owner(symbol)

    async def _ask(self, member: Member, method: str, data: bytes, context: Context) -> bytes:
        call: Any = member.channel.unary_unary(f"/{SERVICE_NAME}/{method}")
        try:
            answer: bytes = await call(data, timeout=context.time_remaining())
        except grpc.aio.AioRpcError as exc:
            await _pass_on(exc, context)
        return answer

    # Streams.

    async def _stream_aggregates(self, data: bytes, context: Context) -> None:
        request = await _parse(wire.AggregateRequest, data, context)
        member = self._owner(request.symbol)
        stream: Any = member.channel.unary_stream(f"/{SERVICE_NAME}/StreamAggregates")
        call = stream(data)
        try:
            async with self.readers.open():
                await call.initial_metadata()
                await context.send_initial_metadata(())
                while (state := await call.read()) is not grpc.aio.EOF:
                    await context.write(state)
        except ShuttingDown as exc:
            await abort(context, exc)
        except grpc.aio.AioRpcError as exc:
            await _pass_on(exc, context)
        finally:
            call.cancel()
        # It ends with an error, or the client ends it.
        await abort(context, ShuttingDown())

    async def _watch(self, requests: AsyncIterator[bytes], context: Context) -> None:
        fleet = self._fleet
        watched = Watched(
            len(fleet.members), fleet.plan, max_symbols=self._max_symbols, max_topics=MAX_TOPICS
        )
        streams: list[Any] = [
            each.channel.stream_stream(f"/{SERVICE_NAME}/Watch") for each in fleet.members
        ]
        calls = [stream() for stream in streams]
        try:
            async with self.readers.open():
                for call in calls:
                    await call.initial_metadata()
                # The reader learns at once whether what it knows is of this life.
                intervals = ",".join(interval.name for interval in fleet.plan.intervals)
                metadata = (("epoch", str(fleet.epoch)), ("intervals", intervals))
                await context.send_initial_metadata(metadata)
                writing = asyncio.Lock()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_follow(requests, watched, calls, context))
                    for number, call in enumerate(calls):
                        tasks.create_task(_relay(number, call, watched, writing, context))
        except ShuttingDown as exc:
            await abort(context, exc)
        except grpc.aio.AioRpcError as exc:
            await _pass_on(exc, context)
        except ExceptionGroup as group:
            await _abort_with(group.exceptions[0], context)
        finally:
            for call in calls:
                call.cancel()


async def _follow(
    requests: AsyncIterator[bytes], watched: Watched, calls: list[Any], context: Context
) -> None:
    # Applies the requests of one Watch stream; when they end, the updates go on.
    async for data in requests:
        request = wire.WatchRequest.FromString(data)
        for call, part in zip(calls, watched.split(request), strict=True):
            if part is not None:
                await call.write(part.SerializeToString())


async def _relay(
    number: int, call: Any, watched: Watched, writing: asyncio.Lock, context: Context
) -> None:
    # One batch waits here while the reader is slow, the others wait where they can be joined.
    while (data := await call.read()) is not grpc.aio.EOF:
        if data.startswith(_COMPLETED_TAG):
            markers = watched.passed(number, wire.UpdateBatch.FromString(data).completed)
            if not markers:
                continue
            data = wire.UpdateBatch(completed=markers).SerializeToString()
        async with writing:
            await context.write(data)
    raise ShuttingDown


async def _parse(kind: type[M], data: bytes, context: Context) -> M:
    try:
        return kind.FromString(data)
    except DecodeError:
        await refuse(context)


async def _pass_on(error: grpc.aio.AioRpcError, context: Context) -> NoReturn:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        # What the library says of sockets is nothing to a client.
        await abort(context, ShuttingDown())
    await context.abort(code, error.details() or "")
    raise AssertionError("abort raises")


async def _abort_with(error: BaseException, context: Context) -> NoReturn:
    match error:
        case DecodeError():
            await refuse(context)
        case MarketDataError():
            await abort(context, error)
        case grpc.aio.AioRpcError():
            await _pass_on(error, context)
        case asyncio.InvalidStateError():
            # The library's word for a request to a worker that is gone.
            await abort(context, ShuttingDown())
    raise error

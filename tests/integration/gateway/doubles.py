"""An aggregator that does what it is told, and a gateway in front of it."""

# ruff: noqa: N802  gRPC gives the names

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import httpx
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from gateway.app import running_gateway
from gateway.settings import GatewaySettings
from marketdata.channel import server_options
from marketdata.wire.market_data_pb2 import (
    Aggregate,
    AggregateRequest,
    AggregatesRequest,
    AggregatesResponse,
    Bar,
    BarsRequest,
    BarsResponse,
    IntervalComplete,
    ListSymbolsRequest,
    ListSymbolsResponse,
    ProducerState,
    ProducerStateRequest,
    ReadRequest,
    ReadResponse,
    StatusRequest,
    StatusResponse,
    UpdateBatch,
    ViewRequest,
    ViewResponse,
)
from marketdata.wire.market_data_pb2_grpc import (
    MarketDataServiceServicer,
    add_MarketDataServiceServicer_to_server,
)
from tests.doubles.bar_book import BarBook, Refused

AAPL = Aggregate(
    symbol="AAPL",
    open=150.25,
    high=152.1,
    low=149.8,
    close=151.5,
    volume=1_000_000,
    timestamp=1_735_201_234_567_890_123,
    trades=4711,
    vwap=150.98,
    sequence=42,
    epoch=7,
)

Context = grpc.aio.ServicerContext[Any, Any]


class _Unused(MarketDataServiceServicer):
    """The RPCs that REST does not use."""

    def StreamTicks(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError

    def StreamAggregates(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    def PublishTicks(self, request_iterator: Any, context: Any) -> Any:
        raise NotImplementedError


class _Watch:
    """One Watch stream."""

    def __init__(self) -> None:
        self.topics: set[tuple[str, str]] = set()
        self.batches: asyncio.Queue[UpdateBatch] = asyncio.Queue()

    async def send(self, context: Context) -> None:
        while True:
            await context.write(await self.batches.get())


class FakeAggregator(_Unused):
    """Serve aggregates on a real port.

    ::

        aggregator.set("AAPL", close=151.5)
        await aggregator.go_down()      # connections are refused
        await aggregator.come_back()    # on the same port
        aggregator.hang()               # calls are taken and not answered
        aggregator.go_on()
        aggregator.fail(StatusCode.INTERNAL)
        aggregator.publish_bar("AAPL", "1m", start, state=FINAL)    # to be read, and to Watch
        aggregator.complete("1m", end)

    """

    def __init__(self) -> None:
        self._aggregates: dict[str, Aggregate] = {}
        self._going = asyncio.Event()
        self._going.set()
        self._failure: grpc.StatusCode | None = None
        self._server: grpc.aio.Server | None = None
        self._health: health.HealthServicer | None = None
        self._port = 0
        self._arrival = asyncio.Condition()
        # Whether it is an old one, without ReadAggregates; and the open streams of it.
        self.is_old = False
        self.reading = 0
        # The requests that arrived; those of ReadAggregates as AggregatesRequest.
        self.calls: list[object] = []
        self.bars = BarBook()
        self.status = StatusResponse(epoch=7, intervals=self.bars.intervals)
        self._watching: list[_Watch] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def set(self, symbol: str, **fields: Any) -> None:
        self.hold(Aggregate(symbol=symbol, **fields))

    def hold(self, aggregate: Aggregate) -> None:
        self._aggregates[aggregate.symbol] = aggregate

    def hang(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    def fail(self, code: grpc.StatusCode) -> None:
        self._failure = code

    @contextlib.contextmanager
    def failing(self, code: grpc.StatusCode) -> Iterator[None]:
        self._failure = code
        yield
        self._failure = None

    async def attempts(self, count: int) -> None:
        """Wait until so many calls have arrived."""
        async with asyncio.timeout(10), self._arrival:
            await self._arrival.wait_for(lambda: len(self.calls) >= count)

    async def come_back(self) -> None:
        server = grpc.aio.server(options=server_options())
        self._health = health.HealthServicer()
        await self._health.set("", HealthCheckResponse.SERVING)
        add_MarketDataServiceServicer_to_server(self, server)
        add_HealthServicer_to_server(self._health, server)
        self._port = server.add_insecure_port(self.address)
        await server.start()
        self._server = server

    async def go_down(self) -> None:
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def say_not_serving(self) -> None:
        assert self._health is not None
        await self._health.set("", HealthCheckResponse.NOT_SERVING)

    async def GetAggregate(self, request: AggregateRequest, context: Context) -> Aggregate:
        await self._take(request, context)
        if request.symbol not in self._aggregates:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no data")
        return self._aggregates[request.symbol]

    async def GetAggregates(
        self, request: AggregatesRequest, context: Context
    ) -> AggregatesResponse:
        await self._take(request, context)
        known = [self._aggregates[each] for each in request.symbols if each in self._aggregates]
        return AggregatesResponse(aggregates=known)

    async def ReadAggregates(  # type: ignore[override]
        self, request_iterator: Any, context: Context
    ) -> None:
        """Answer reads, each when it can be; a failure ends the stream."""
        if self.is_old:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        answers: asyncio.Queue[ReadResponse] = asyncio.Queue()

        async def take() -> None:
            async with asyncio.TaskGroup() as tasks:
                async for request in request_iterator:
                    tasks.create_task(answer(request))

        async def answer(request: ReadRequest) -> None:
            asked = AggregatesRequest(symbols=request.symbols)
            states = (await self.GetAggregates(asked, context)).aggregates
            answers.put_nowait(ReadResponse(id=request.id, aggregates=states))

        async def write() -> None:
            while True:
                await context.write(await answers.get())

        self.reading += 1
        writing = asyncio.create_task(write())
        try:
            await take()
        finally:
            self.reading -= 1
            writing.cancel()
            await asyncio.wait([writing])

    async def ListSymbols(
        self, request: ListSymbolsRequest, context: Context
    ) -> ListSymbolsResponse:
        await self._take(request, context)
        symbols = [
            each
            for each in sorted(self._aggregates)
            if each.startswith(request.prefix) and each > request.cursor
        ]
        page = symbols[: request.limit]
        return ListSymbolsResponse(
            symbols=page, next_cursor=page[-1] if len(page) < len(symbols) else ""
        )

    def publish_bar(self, symbol: str, interval: str, start: int, **fields: Any) -> Bar:
        bar = self.bars.publish(symbol, interval, start, **fields)
        for watch in self._watching:
            if not watch.topics.isdisjoint({(symbol, interval), ("*", interval)}):
                watch.batches.put_nowait(UpdateBatch(bars=[bar]))
        return bar

    def complete(self, interval: str, end: int) -> None:
        done = IntervalComplete(interval=interval, end=end, epoch=self.bars.epoch)
        for watch in self._watching:
            if any(each == interval for _, each in watch.topics):
                watch.batches.put_nowait(UpdateBatch(completed=[done]))

    async def watched(self, symbol: str, interval: str) -> None:
        """Wait until a gateway follows these bars."""
        async with asyncio.timeout(10), self._arrival:
            await self._arrival.wait_for(
                lambda: any((symbol, interval) in watch.topics for watch in self._watching)
            )

    async def GetBars(self, request: BarsRequest, context: Context) -> BarsResponse:
        await self._take(request, context)
        try:
            return self.bars.read(request)
        except Refused as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(exc))
            raise

    async def GetView(self, request: ViewRequest, context: Context) -> ViewResponse:
        await self._take(request, context)
        return ViewResponse(json=b"{}")

    async def GetProducer(self, request: ProducerStateRequest, context: Context) -> ProducerState:
        return ProducerState()

    async def GetStatus(self, request: StatusRequest, context: Context) -> StatusResponse:
        await self._take(request, context)
        return self.status

    async def Watch(  # type: ignore[override]
        self, request_iterator: Any, context: Context
    ) -> None:
        """Take what the hub wants to follow, and send the bars of it; aggregates never change."""
        await context.send_initial_metadata(
            (("epoch", str(self.bars.epoch)), ("intervals", ",".join(self.bars.intervals)))
        )
        watch = _Watch()
        self._watching.append(watch)
        sending = asyncio.create_task(watch.send(context))
        try:
            async for request in request_iterator:
                async with self._arrival:
                    for topic in request.add_bars:
                        watch.topics.add((topic.symbol, topic.interval))
                        named = topic.symbol != "*"
                        for symbol in (
                            [topic.symbol] if named else self.bars.symbols(topic.interval)
                        ):
                            bars = self.bars.open_bars(symbol, topic.interval)
                            watch.batches.put_nowait(UpdateBatch(bars=bars))
                    for topic in request.remove_bars:
                        watch.topics.discard((topic.symbol, topic.interval))
                    self._arrival.notify_all()
        finally:
            self._watching.remove(watch)
            sending.cancel()
            await asyncio.wait([sending])

    async def _take(self, request: object, context: Context) -> None:
        async with self._arrival:
            self.calls.append(request)
            self._arrival.notify_all()
        await self._going.wait()
        if self._failure is not None:
            await context.abort(self._failure, "told to fail")


@contextlib.asynccontextmanager
async def running_aggregator() -> AsyncIterator[FakeAggregator]:
    aggregator = FakeAggregator()
    await aggregator.come_back()
    try:
        yield aggregator
    finally:
        await aggregator.go_down()


@contextlib.asynccontextmanager
async def http_to_gateway(
    aggregator: FakeAggregator, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """Run a gateway without a rate limit, unless told otherwise, and a client of it."""
    values = {"port": 0, "aggregator": aggregator.address, "rate_limit": 0, **settings}
    async with (
        running_gateway(GatewaySettings.model_validate(values)) as address,
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, verify=False) as http,
    ):
        yield http

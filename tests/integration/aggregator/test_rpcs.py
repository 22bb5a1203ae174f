"""The aggregator's RPCs over real gRPC connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from aggregator.app import GRACE_S, Aggregator
from aggregator.rpc.service import SERVICE_NAME
from marketdata.channel import client_options
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import TIMEOUT_S, make_tick, open_channel, open_stub, run_aggregator

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub as Stub


@pytest_asyncio.fixture
async def aggregator() -> AsyncIterator[Aggregator]:
    async with run_aggregator(max_symbols=20_000) as aggregator:
        yield aggregator


@pytest_asyncio.fixture
async def stub(aggregator: Aggregator) -> AsyncIterator[Stub]:
    async with open_stub(aggregator.port) as stub:
        yield stub


async def publish(stub: Stub, *batches: wire.TickBatch) -> list[wire.BatchAck]:
    return [ack async for ack in stub.PublishTicks(iter(batches))]


def batch(first: int, *symbols: str, producer: str = "p") -> wire.TickBatch:
    return wire.TickBatch(
        producer_id=producer, first_sequence=first, ticks=[make_tick(s) for s in symbols]
    )


async def publish_delayed(stub: Stub, *batches: wire.TickBatch) -> list[wire.BatchAck]:
    call = stub.PublishTicks(iter(batches), metadata=(("delayed-acks", "p"),))
    return [ack async for ack in call]


async def read(call: Any) -> Any:
    """Read a message that must come."""
    async with asyncio.timeout(TIMEOUT_S):
        return await call.read()


async def status_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def test_single_ticks_are_acked_as_the_original_did(stub: Stub) -> None:
    ticks = [make_tick(), make_tick(" AAPL "), make_tick(price=-1)]
    ack = await stub.StreamTicks(iter(ticks))
    text = "Received 3 ticks, rejected 1: 1 price_not_positive"
    assert ack == wire.Ack(success=True, message=text)
    aggregate = await stub.GetAggregate(wire.AggregateRequest(symbol="AAPL"))
    assert aggregate.trades == 2


async def test_single_ticks_that_are_all_valid_get_the_words_of_the_original(stub: Stub) -> None:
    ack = await stub.StreamTicks(iter([make_tick()] * 3))
    assert ack == wire.Ack(success=True, message="Received 3 ticks")


async def test_the_ack_says_how_many_single_ticks_were_rejected_and_why(stub: Stub) -> None:
    bad = [make_tick(price=-1), make_tick(volume=0), make_tick(price=-2)]
    ack = await stub.StreamTicks(iter(bad))
    assert ack.message == (
        "Received 3 ticks, rejected 3: 2 price_not_positive, 1 volume_not_positive"
    )


async def test_single_ticks_are_checked_as_ingest_checks_them(
    aggregator: Aggregator, stub: Stub
) -> None:
    ticks = [
        make_tick("AMpB"),
        make_tick("AMPB"),
        make_tick(volume=2**63 - 1),
        make_tick(price=2.0**63 / 1e9),
        make_tick(ts_ns=20250103),
    ]
    await stub.StreamTicks(iter(ticks))
    page = await stub.ListSymbols(wire.ListSymbolsRequest(prefix="AM"))
    assert list(page.symbols) == ["AMPB", "AMpB"]
    async with run_aggregator(symbol_case="upper") as other, open_stub(other.port) as upper:
        await upper.StreamTicks(iter(ticks))
        aggregate = await upper.GetAggregate(wire.AggregateRequest(symbol="AMPB"))
        assert aggregate.trades == 2
        assert len(other.market.book) == 1


async def test_a_batch_is_checked_again(stub: Stub) -> None:
    ticks = [make_tick(), make_tick(volume=2**63 - 1), make_tick(price=1e13), make_tick()]
    (ack,) = await publish(stub, wire.TickBatch(producer_id="p", first_sequence=1, ticks=ticks))
    assert [(each.sequence, each.reason) for each in ack.rejections] == [
        (2, "volume_too_large"),
        (3, "price_too_large"),
    ]
    aggregate = await stub.GetAggregate(wire.AggregateRequest(symbol="AAPL"))
    assert (aggregate.trades, aggregate.volume) == (2, 2)


async def test_a_symbol_without_data_is_told_with_the_one_in_another_case(stub: Stub) -> None:
    await publish(stub, batch(1, "AAPL"))
    for symbol, detail in (
        ("aapl", "no data for symbol aapl; did you mean AAPL?"),
        ("nix", "no data for symbol nix"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetAggregate(wire.AggregateRequest(symbol=symbol))
        assert caught.value.details() == detail


async def test_each_batch_gets_its_ack_in_order(stub: Stub) -> None:
    acks = await publish(stub, batch(1, "A", "B"), batch(3, "A"), batch(1, "A", "B"))
    assert [(a.last_sequence, a.accepted, a.duplicates) for a in acks] == [
        (2, 2, 0),
        (3, 1, 0),
        (2, 0, 2),
    ]


async def test_many_aggregates_come_in_the_order_asked_without_the_unknown(stub: Stub) -> None:
    await publish(stub, batch(1, "A", "B", "C"))
    answer = await stub.GetAggregates(wire.AggregatesRequest(symbols=[" C", "X", "A", "C"]))
    assert [a.symbol for a in answer.aggregates] == ["C", "A"]


async def test_symbols_are_listed_in_pages(stub: Stub) -> None:
    await publish(stub, batch(1, "MSFT", "MS", "AAPL", "M", "MSTR", "N"))
    first = await stub.ListSymbols(wire.ListSymbolsRequest(prefix="MS", limit=2))
    assert (list(first.symbols), first.next_cursor) == (["MS", "MSFT"], "MSFT")
    rest = await stub.ListSymbols(
        wire.ListSymbolsRequest(prefix="MS", limit=2, cursor=first.next_cursor)
    )
    assert (list(rest.symbols), rest.next_cursor) == (["MSTR"], "")


@pytest.mark.parametrize("limit", [3, 4])
async def test_an_exactly_full_page_has_no_next_cursor(stub: Stub, limit: int) -> None:
    await publish(stub, batch(1, "A", "B", "C"))
    page = await stub.ListSymbols(wire.ListSymbolsRequest(limit=limit))
    assert (list(page.symbols), page.next_cursor) == (["A", "B", "C"], "")


async def test_a_stream_gives_the_present_state_first_and_then_changes(stub: Stub) -> None:
    await publish(stub, batch(1, "A"))
    call = stub.StreamAggregates(wire.AggregateRequest(symbol="A"))
    assert (await read(call)).trades == 1
    await publish(stub, batch(2, "A", "A"))
    assert (await read(call)).trades == 3
    call.cancel()


async def test_a_symbol_without_data_can_be_streamed_before_it_exists(stub: Stub) -> None:
    call = stub.StreamAggregates(wire.AggregateRequest(symbol="NEW"))
    await call.initial_metadata()
    await publish(stub, batch(1, "OLD"), batch(2, "NEW"))
    assert (await read(call)).symbol == "NEW"
    call.cancel()


async def test_watch_carries_a_changing_set_of_symbols(stub: Stub) -> None:
    await publish(stub, batch(1, "A", "B", "C"))
    call = stub.Watch()
    await call.write(wire.WatchRequest(add=[" A", "NEW"]))
    assert [u.symbol for u in (await read(call)).updates] == ["A"]
    await publish(stub, batch(4, "NEW", "B"))
    assert [(u.symbol, u.sequence) for u in (await read(call)).updates] == [("NEW", 1)]
    await call.write(wire.WatchRequest(remove=["A"], add=["C"]))
    assert [u.symbol for u in (await read(call)).updates] == ["C"]
    await publish(stub, batch(6, "A", "C"))
    assert [(u.symbol, u.sequence) for u in (await read(call)).updates] == [("C", 2)]
    call.cancel()


async def test_watch_all_carries_every_symbol_present_and_future(stub: Stub) -> None:
    await publish(stub, batch(1, "B", "A"))
    call = stub.Watch()
    await call.write(wire.WatchRequest(all=True))
    assert {u.symbol for u in (await read(call)).updates} == {"A", "B"}
    await publish(stub, batch(3, "C"))
    assert [u.symbol for u in (await read(call)).updates] == ["C"]
    call.cancel()


async def test_watching_more_symbols_than_fit_a_message_is_split(stub: Stub) -> None:
    symbols = [f"S{i:05d}-{'X' * 20}" for i in range(15_000)]
    for start in range(0, len(symbols), 5_000):
        await publish(stub, batch(1 + start, *symbols[start : start + 5_000]))
    call = stub.Watch()
    await call.write(wire.WatchRequest(all=True))
    seen: set[str] = set()
    while len(seen) < len(symbols):
        seen |= {u.symbol for u in (await read(call)).updates}
    assert seen == set(symbols)
    call.cancel()


async def test_a_watch_goes_on_after_its_requests_end(stub: Stub) -> None:
    call = stub.Watch(iter([wire.WatchRequest(add=["A"])]))
    await call.initial_metadata()
    await publish(stub, batch(1, "A"))
    assert (await read(call)).updates[0].symbol == "A"
    call.cancel()


async def test_a_watcher_that_does_not_read_gets_the_newest_state_and_slows_nobody(
    aggregator: Aggregator, stub: Stub
) -> None:
    symbols = [f"S{i:04d}" for i in range(1_000)]
    stalled = stub.Watch()
    await stalled.write(wire.WatchRequest(all=True))
    await stalled.initial_metadata()
    rounds = 200  # 200 x 1,000 states of 80 bytes: four times what the connection buffers
    for number in range(rounds):
        acks = await publish(stub, batch(1 + number * 1_000, *symbols))
        assert acks[0].accepted == 1_000
    received: list[wire.Aggregate] = []
    latest: dict[str, wire.Aggregate] = {}
    async with asyncio.timeout(20):
        while len(latest) < 1_000 or any(u.sequence < rounds for u in latest.values()):
            updates = (await read(stalled)).updates
            received.extend(updates)
            latest.update({u.symbol: u for u in updates})
    assert len(received) < rounds * 1_000
    stalled.cancel()


async def test_cancelled_streams_leave_nothing_behind(aggregator: Aggregator, stub: Stub) -> None:
    await publish(stub, batch(1, "A"))
    for _ in range(100):
        single = stub.StreamAggregates(wire.AggregateRequest(symbol="A"))
        await single.read()
        watch = stub.Watch()
        await watch.write(wire.WatchRequest(add=["A"], all=True))
        await watch.read()
        single.cancel()
        watch.cancel()
    # A later call on the same connection is handled after the cancellations before it.
    async with asyncio.timeout(10):
        while len(aggregator.watchers):
            await stub.GetAggregate(wire.AggregateRequest(symbol="A"))
    assert aggregator.watchers.watched_symbols == 0


async def test_an_unknown_symbol_is_not_found(stub: Stub) -> None:
    code = await status_of(stub.GetAggregate(wire.AggregateRequest(symbol="NONE")))
    assert code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("symbol", ["", "  ", "A" * 65, "A,B"])
async def test_a_bad_symbol_is_an_invalid_argument_everywhere(stub: Stub, symbol: str) -> None:
    calls = [
        stub.GetAggregate(wire.AggregateRequest(symbol=symbol)),
        stub.GetAggregates(wire.AggregatesRequest(symbols=[symbol])),
        stub.StreamAggregates(wire.AggregateRequest(symbol=symbol)).read(),
        stub.Watch(iter([wire.WatchRequest(add=[symbol])])).read(),
    ]
    for call in calls:
        assert await status_of(call) is grpc.StatusCode.INVALID_ARGUMENT


class ReadStream:
    """A ReadAggregates stream."""

    def __init__(self, stub: Stub) -> None:
        self.call = stub.ReadAggregates()
        self._id = 0

    async def ask(self, *symbols: str) -> int:
        self._id += 1
        await self.call.write(wire.ReadRequest(id=self._id, symbols=symbols))
        return self._id

    async def next(self) -> wire.ReadResponse:
        response: wire.ReadResponse = await read(self.call)
        return response


async def test_reads_of_one_stream_give_the_states_of_single_calls(stub: Stub) -> None:
    await publish(stub, batch(1, "A", "B", "A", "C"))
    stream = ReadStream(stub)
    for asked in (["A"], [" C", "X", "A", "C"], ["X"], [], ["a"]):
        number = await stream.ask(*asked)
        states = (await stub.GetAggregates(wire.AggregatesRequest(symbols=asked))).aggregates
        assert await stream.next() == wire.ReadResponse(id=number, aggregates=states)
    await stream.call.done_writing()
    assert await read(stream.call) is grpc.aio.EOF


async def test_reads_of_one_stream_need_not_wait_for_each_other(stub: Stub) -> None:
    await publish(stub, batch(1, "A", "B"))
    stream = ReadStream(stub)
    asked = [await stream.ask(symbol) for symbol in "ABAB"]
    answers = [await stream.next() for _ in asked]
    assert [answer.id for answer in answers] == asked
    assert [answer.aggregates[0].symbol for answer in answers] == list("ABAB")


async def test_a_read_sees_every_tick_that_was_acked_before_it(stub: Stub) -> None:
    stream = ReadStream(stub)
    for sequence in range(1, 20):
        await publish(stub, batch(sequence, "A"))
        await stream.ask("A")
        assert (await stream.next()).aggregates[0].trades == sequence


@pytest.mark.parametrize("symbol", ["", "  ", "A" * 65, "A,B"])
async def test_a_read_of_a_bad_symbol_says_so_and_the_stream_goes_on(
    stub: Stub, symbol: str
) -> None:
    await publish(stub, batch(1, "A"))
    stream = ReadStream(stub)
    number = await stream.ask("A", symbol)
    refused = await stream.next()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.GetAggregates(wire.AggregatesRequest(symbols=["A", symbol]))
    assert refused == wire.ReadResponse(id=number, problem=caught.value.details() or "")
    await stream.ask("A")
    assert (await stream.next()).aggregates[0].symbol == "A"


async def test_a_read_of_too_many_symbols_says_so(stub: Stub) -> None:
    stream = ReadStream(stub)
    await stream.ask(*(f"S{n}" for n in range(10_001)))
    assert (await stream.next()).problem == "10001 symbols asked, limit is 10000"


async def test_a_shutdown_ends_streams_of_reads_at_once() -> None:
    async with run_aggregator() as aggregator, open_stub(aggregator.port) as stub:
        stream = ReadStream(stub)
        await stream.ask("A")
        await stream.next()
        idle = stub.ReadAggregates()
        await idle.write(wire.ReadRequest())
        await read(idle)
        async with asyncio.timeout(GRACE_S / 2):
            stopping = asyncio.create_task(aggregator.stop())
            for call in (stream.call, idle):
                assert await status_of(call.read()) is grpc.StatusCode.UNAVAILABLE
            await stopping


async def test_a_batch_without_a_usable_sequence_is_an_invalid_argument(stub: Stub) -> None:
    code = await status_of(publish(stub, batch(0, "A")))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


# The least and a large value of AGGREGATOR_KEEPALIVE_S, INGEST_KEEPALIVE_S and
# INGEST_KEEPALIVE_TIMEOUT_S, and their defaults.
KEEPALIVES = list(itertools.product([1, 60, 3600], [1, 10, 3600], [2, 5, 3600]))


async def test_no_combination_of_keepalives_ends_an_idle_connection() -> None:
    async def stays(server_s: float, client_s: float, timeout_s: float) -> bool:
        options = client_options(client_s, timeout_s)
        async with (
            run_aggregator(keepalive_s=server_s) as aggregator,
            open_stub(aggregator.port, options) as stub,
        ):
            call = stub.StreamAggregates(wire.AggregateRequest(symbol="A"))
            await call.initial_metadata()
            # The fourth ping would end the connection.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call.read(), 5.0)
            return True

    assert all(await asyncio.gather(*(stays(*each) for each in KEEPALIVES)))


@pytest.mark.parametrize(
    "method", ["GetAggregate", "GetAggregates", "ListSymbols", "StreamAggregates"]
)
async def test_a_request_that_does_not_parse_is_an_invalid_argument(
    aggregator: Aggregator, method: str
) -> None:
    async with open_channel(aggregator.port) as channel:
        path = f"/{SERVICE_NAME}/{method}"
        if method == "StreamAggregates":
            call: Any = channel.unary_stream(path)(b"\xff\xff").read()
        else:
            call = channel.unary_unary(path)(b"\xff\xff")
        assert await status_of(call) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("method", ["PublishTicks", "ReadAggregates", "Watch", "StreamTicks"])
async def test_a_message_of_a_stream_that_does_not_parse_ends_it_with_a_status(
    aggregator: Aggregator, stub: Stub, method: str
) -> None:
    async with open_channel(aggregator.port) as channel:
        path = f"/{SERVICE_NAME}/{method}"
        messages = iter([b"", b"\xff\xff"])
        if method == "StreamTicks":
            call: Any = channel.stream_unary(path)(messages)
        else:
            call = drain(channel.stream_stream(path)(messages))
        assert await status_of(call) is grpc.StatusCode.INVALID_ARGUMENT
    assert len(await publish(stub, batch(1, "A"))) == 1


async def drain(call: Any) -> None:
    async for _ in call:
        pass


async def test_a_message_over_4_mib_is_resource_exhausted_and_one_below_passes(stub: Stub) -> None:
    limit = 4 * 1024 * 1024
    big = wire.AggregateRequest(symbol="A" * limit)
    assert await status_of(stub.GetAggregate(big)) is grpc.StatusCode.RESOURCE_EXHAUSTED
    below = wire.AggregateRequest(symbol="A" * (limit - 10))
    assert await status_of(stub.GetAggregate(below)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_unknown_method_is_unimplemented(aggregator: Aggregator) -> None:
    async with open_channel(aggregator.port) as channel:
        call = channel.unary_unary(f"/{SERVICE_NAME}/Nothing")(b"")
        assert await status_of(call) is grpc.StatusCode.UNIMPLEMENTED


async def test_gzip_and_extra_metadata_are_accepted(stub: Stub) -> None:
    await publish(stub, batch(1, "A"))
    aggregate = await stub.GetAggregate(
        wire.AggregateRequest(symbol="A"),
        metadata=(("x-trace", "1"), ("x-data-bin", b"\x00\xff")),
        compression=grpc.Compression.Gzip,
    )
    assert aggregate.symbol == "A"


async def test_garbage_bytes_end_only_their_own_connection(
    aggregator: Aggregator, stub: Stub
) -> None:
    await publish(stub, batch(1, "A"))
    reader, writer = await asyncio.open_connection("127.0.0.1", aggregator.port)
    writer.write(b"\x00garbage" * 1000)
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)
    writer.close()
    assert (await stub.GetAggregate(wire.AggregateRequest(symbol="A"))).symbol == "A"


async def test_health_answers_for_each_service_and_tells_of_the_shutdown() -> None:
    async with run_aggregator() as aggregator, open_channel(aggregator.port) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        for name in ("", SERVICE_NAME):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        unknown = health.Check(health_pb2.HealthCheckRequest(service="none"))
        assert await status_of(unknown) is grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await read(watch)).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.create_task(aggregator.stop())
        assert (await read(watch)).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await stopping


async def test_watchers_are_told_of_the_shutdown() -> None:
    async with run_aggregator() as aggregator, open_stub(aggregator.port) as stub:
        call = stub.Watch(iter([wire.WatchRequest(all=True)]))
        await call.initial_metadata()
        stopping = asyncio.create_task(aggregator.stop())
        assert await status_of(call.read()) is grpc.StatusCode.UNAVAILABLE
        await stopping


async def test_a_reflection_request_that_does_not_parse_gets_a_status(
    aggregator: Aggregator,
) -> None:
    async with open_channel(aggregator.port) as channel:
        path = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        call = drain(channel.stream_stream(path)(iter([b"\xff\xff"])))
        assert await status_of(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_reflection_describes_the_service(aggregator: Aggregator) -> None:
    def describe() -> tuple[list[str], list[str]]:
        with grpc.insecure_channel(f"127.0.0.1:{aggregator.port}") as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            file = database.FindFileContainingSymbol(SERVICE_NAME)
            return list(database.get_services()), [m.name for m in file.service[0].method]

    services, methods = await asyncio.to_thread(describe)
    assert {SERVICE_NAME, "grpc.health.v1.Health"} <= set(services)
    assert {"StreamTicks", "GetAggregate", "StreamAggregates", "Watch"} <= set(methods)


@pytest.mark.parametrize(
    ("symbol", "found"),
    [
        (SERVICE_NAME, True),
        (f"{SERVICE_NAME}.GetAggregate", True),
        (f"{SERVICE_NAME}.StreamTicks", True),
        ("grpc.health.v1.Health.Check", True),
        ("marketdata.Tick", True),
        ("marketdata.Tick.symbol", True),
        (f"{SERVICE_NAME}.NoSuchMethod", False),
        ("marketdata.NoSuchService.GetAggregate", False),
        ("nothing", False),
        ("", False),
    ],
)
async def test_reflection_finds_services_methods_and_messages(
    aggregator: Aggregator, symbol: str, found: bool
) -> None:
    async with open_channel(aggregator.port) as channel:
        stub: Any = ServerReflectionStub(channel)
        request = ServerReflectionRequest(file_containing_symbol=symbol)
        (answer,) = [each async for each in stub.ServerReflectionInfo(iter([request]))]
        assert answer.HasField("file_descriptor_response") is found
        if not found:
            assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_each_batch_is_acked_unless_its_producer_lets_acks_wait(stub: Stub) -> None:
    batches = [batch(number, "AAPL") for number in range(1, 41)]
    assert [ack.last_sequence for ack in await publish(stub, *batches)] == list(range(1, 41))


async def test_acks_that_may_wait_answer_two_batches_each(stub: Stub) -> None:
    acks = await publish_delayed(stub, *(batch(number, "AAPL") for number in range(1, 41)))
    assert acks[-1].last_sequence == 40
    assert sum(ack.accepted for ack in acks) == 40
    # The first has no batch before it, and a slow machine may let an ack wait too long.
    assert len(acks) < 40


async def test_an_ack_waits_for_the_next_batch_but_not_for_ever(stub: Stub) -> None:
    call = stub.PublishTicks(metadata=(("delayed-acks", "p"),))
    last = 0
    for number in range(1, 6):
        await call.write(batch(number, "AAPL"))
    while last < 5:
        last = (await read(call)).last_sequence
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_the_batches_of_other_producers_on_the_stream_are_acked_one_by_one(
    stub: Stub,
) -> None:
    batches = [batch(number, "AAPL", producer="session") for number in range(1, 11)]
    acks = await publish_delayed(stub, *batches)
    assert [ack.last_sequence for ack in acks] == list(range(1, 11))


async def test_an_invalid_batch_ends_the_stream_after_the_acks_of_those_before(
    stub: Stub,
) -> None:
    call = stub.PublishTicks(
        iter([batch(1, "AAPL"), batch(2, "AAPL"), batch(2**63, "AAPL")]),
        metadata=(("delayed-acks", "p"),),
    )
    last = 0
    while last < 2:
        last = (await read(call)).last_sequence
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

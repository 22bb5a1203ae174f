"""Reads over one open stream: what each gets, whatever happens to the stream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

import grpc
import pytest
from structlog.testing import capture_logs

from gateway.backend.read_stream import MAX_WAITING, Answer, ReadStream
from gateway.backend.unary_reads import UnaryReads
from gateway.kernel.encoder import EncodedState, encode_in_python
from marketdata.wire.market_data_pb2 import Aggregate, ReadRequest, ReadResponse
from tests.doubles.channels import Kind, Side, serving, stream_stream
from tests.doubles.pipeline import make_tick, open_channel, open_stub, run_aggregator
from tests.integration.gateway.doubles import AAPL, FakeAggregator, http_to_gateway
from tests.integration.gateway.test_plain_reads import connect, get

Code = grpc.StatusCode
TIMEOUT_S = 4.0
AAPL_PATH = "/api/v1/marketdata/AAPL"


@pytest.fixture(params=["grpc", "inprocess"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


def state(symbol: str) -> EncodedState:
    return encode_in_python(Aggregate(symbol=symbol, close=1.5).SerializeToString())


def response(request: ReadRequest) -> bytes:
    states = [Aggregate(symbol=symbol, close=1.5) for symbol in request.symbols]
    return ReadResponse(id=request.id, aggregates=states).SerializeToString()


class Script:
    """Takes requests, and answers as the test says; ``code`` refuses streams."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[ReadRequest] = asyncio.Queue()
        self.responses: asyncio.Queue[bytes | Code] = asyncio.Queue()
        self.opened = 0
        self.code: Code | None = None

    async def serve(self, requests: AsyncIterator[bytes], context: Any) -> None:
        """Serve one stream."""
        if self.code is not None:
            await context.abort(self.code, "refused")
        self.opened += 1
        responses = self.responses = asyncio.Queue()
        taking = asyncio.create_task(self._take(requests))
        try:
            while not isinstance(answer := await responses.get(), Code):
                await context.write(answer)
            if answer is not Code.OK:
                await context.abort(answer, "told to fail")
        finally:
            taking.cancel()

    async def _take(self, requests: AsyncIterator[bytes]) -> None:
        async for data in requests:
            self.requests.put_nowait(ReadRequest.FromString(data))

    async def next(self) -> ReadRequest:
        async with asyncio.timeout(TIMEOUT_S):
            return await self.requests.get()

    def answer(self, request: ReadRequest) -> None:
        self.responses.put_nowait(response(request))


class Unary:
    """Stands in for unary reads."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.code: Code | None = None

    async def __call__(self, symbols: Sequence[str], /, *, timeout: float) -> list[EncodedState]:  # noqa: ASYNC109
        """Return a state of each."""
        self.asked.append(list(symbols))
        if self.code is not None:
            raise grpc.aio.AioRpcError(self.code, grpc.aio.Metadata(), grpc.aio.Metadata())
        return [state(symbol) for symbol in symbols]


@contextlib.asynccontextmanager
async def reading(
    kind: Kind, script: Script, unary: Unary | None = None
) -> AsyncIterator[ReadStream]:
    async with (
        serving(kind, {"Reads": stream_stream(script.serve)}) as side,
        running(side, unary or Unary()) as reads,
    ):
        yield reads


@contextlib.asynccontextmanager
async def running(side: Side, unary: Unary) -> AsyncIterator[ReadStream]:
    reads = ReadStream(side.call("stream_stream", "Reads"), cast("UnaryReads", unary))
    carrying = asyncio.create_task(reads.run())
    try:
        yield reads
    finally:
        carrying.cancel()
        await asyncio.wait([carrying])


def ask(reads: ReadStream, *symbols: str, timeout_s: float = TIMEOUT_S) -> asyncio.Future[Any]:
    """Begin a read, and return what will be its answer."""
    answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    reads.begin(symbols, timeout_s, answer.set_result)
    return answer


async def code_of(answer: asyncio.Future[Any]) -> Code:
    async with asyncio.timeout(TIMEOUT_S):
        error = await answer
    assert isinstance(error, grpc.aio.AioRpcError)
    return error.code()


async def test_reads_that_begin_together_are_one_message_and_each_gets_its_own(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        asked: list[list[str]] = [["A"], ["B", "C"], [], ["C", "A"]]
        answers = [ask(reads, *symbols) for symbols in asked]
        request = await script.next()
        assert list(request.symbols) == ["A", "B", "C"]
        script.answer(request)
        async with asyncio.timeout(TIMEOUT_S):
            found = [await each for each in answers]
    assert found == [[state(symbol) for symbol in symbols] for symbols in asked]


async def test_reads_that_begin_before_an_answer_are_the_next_message(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        first = ask(reads, "A")
        request = await script.next()
        later = [ask(reads, symbol) for symbol in ("A", "B", "A")]
        await asyncio.sleep(0.02)
        # An answer that was asked for before a read may be too old for it.
        assert script.requests.empty()
        script.answer(request)
        assert await first == [state("A")]
        assert not any(each.done() for each in later)
        request = await script.next()
        assert list(request.symbols) == ["A", "B"]
        script.answer(request)
        assert [await each for each in later] == [[state(symbol)] for symbol in ("A", "B", "A")]


async def test_a_symbol_without_data_is_missing_in_the_reads_that_asked_for_it(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        answers = [ask(reads, "NIX"), ask(reads, "A", "NIX")]
        request = await script.next()
        script.answer(ReadRequest(id=request.id, symbols=["A"]))
        assert [await each for each in answers] == [[], [state("A")]]


async def test_a_message_is_for_a_bounded_number_of_symbols(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        many = [[f"S{read}.{number}" for number in range(200)] for read in range(3)]
        answers = [ask(reads, *symbols) for symbols in many]
        for expected in ([*many[0], *many[1]], many[2]):
            request = await script.next()
            assert list(request.symbols) == expected
            script.answer(request)
        async with asyncio.timeout(TIMEOUT_S):
            found = [await each for each in answers]
    assert found == [[state(symbol) for symbol in symbols] for symbols in many]


async def test_the_first_read_opens_the_stream(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        await asyncio.sleep(0.02)
        assert script.opened == 0
        answer = ask(reads, "A")
        script.answer(await script.next())
        await answer
    assert script.opened == 1


async def test_a_read_that_takes_too_long_ends_and_others_go_on(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        patient = ask(reads, "A")
        hasty = ask(reads, "B", timeout_s=0.01)
        request = await script.next()
        assert await code_of(hasty) is Code.DEADLINE_EXCEEDED
        script.answer(request)
        assert await patient == [state("A")]
    assert script.opened == 1


async def test_a_message_that_is_given_up_keeps_no_other_back(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        hasty = ask(reads, "A", timeout_s=0.01)
        given_up = await script.next()
        patient = ask(reads, "B")
        assert await code_of(hasty) is Code.DEADLINE_EXCEEDED
        request = await script.next()
        # The answer that comes too late harms nobody.
        script.answer(given_up)
        script.answer(request)
        assert await patient == [state("B")]
    assert script.opened == 1


async def test_the_awaited_read_ends_in_time_too(kind: Kind) -> None:
    async with reading(kind, Script()) as reads:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reads(["A"], timeout=0.01)
        assert caught.value.code() is Code.DEADLINE_EXCEEDED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await reads(["A"], timeout=-1)
        assert caught.value.code() is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize("end", [Code.OK, Code.UNAVAILABLE, Code.CANCELLED])
async def test_reads_that_wait_are_unavailable_when_the_stream_is_lost(
    kind: Kind, end: Code
) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        waiting = [ask(reads, "A"), ask(reads, "B")]
        await script.next()
        waiting.append(ask(reads, "C"))
        script.responses.put_nowait(end)
        assert [await code_of(each) for each in waiting] == [Code.UNAVAILABLE] * 3
        # The next read opens a stream.
        again = ask(reads, "C")
        script.answer(await script.next())
        assert await again == [state("C")]
    assert script.opened == 2


async def test_nothing_is_opened_after_a_loss_until_a_read_comes(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        answer = ask(reads, "A")
        script.answer(await script.next())
        await answer
        with capture_logs() as lines:
            script.responses.put_nowait(Code.UNAVAILABLE)
            await asyncio.sleep(0.1)
    assert [(line["event"], line["code"], line["waiting"]) for line in lines] == [
        ("read_stream_lost", "UNAVAILABLE", 0)
    ]
    assert script.opened == 1


async def test_an_error_of_the_aggregator_keeps_its_code(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        waiting = ask(reads, "A")
        await script.next()
        script.responses.put_nowait(Code.INTERNAL)
        assert await code_of(waiting) is Code.INTERNAL


async def test_a_refused_read_is_an_invalid_argument_for_no_other(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        good, refused, other = ask(reads, "A"), ask(reads, "BAD"), ask(reads, "C")
        # The refusal of a message does not say which of its reads it is about.
        for expected in (["A", "BAD", "C"], ["A"], ["BAD"], ["C"]):
            request = await script.next()
            assert list(request.symbols) == expected
            if "BAD" in expected:
                problem = ReadResponse(id=request.id, problem="symbol is bad")
                script.responses.put_nowait(problem.SerializeToString())
            else:
                script.answer(request)
        error = await refused
        assert (error.code(), error.details()) == (Code.INVALID_ARGUMENT, "symbol is bad")
        assert (await good, await other) == ([state("A")], [state("C")])
    assert script.opened == 1


async def test_a_response_that_does_not_parse_ends_the_stream(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        waiting = ask(reads, "A")
        await script.next()
        script.responses.put_nowait(b"\xff\xff")
        assert await code_of(waiting) is Code.UNAVAILABLE
        again = ask(reads, "A")
        script.answer(await script.next())
        assert await again == [state("A")]


async def test_fields_may_come_in_any_order(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        answer = ask(reads, "A", "B")
        request = await script.next()
        states = response(ReadRequest(symbols=request.symbols))
        script.responses.put_nowait(ReadResponse(id=request.id).SerializeToString() + states)
        assert await answer == [state("A"), state("B")]


@pytest.mark.parametrize("count", [399, 400, 401, 800, 1001])
async def test_a_read_may_be_for_many_symbols(kind: Kind, count: int) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        symbols = [f"S{number}" for number in range(count)]
        answer = ask(reads, *symbols)
        script.answer(await script.next())
        assert await answer == [state(symbol) for symbol in symbols]


async def test_at_most_so_many_reads_wait(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:
        waiting = [ask(reads, "A", timeout_s=0.05) for _ in range(MAX_WAITING)]
        assert await code_of(ask(reads, "A")) is Code.RESOURCE_EXHAUSTED
        assert {await code_of(each) for each in waiting} == {Code.DEADLINE_EXCEEDED}
        again = ask(reads, "B")
        # What was given up is not sent any more, and keeps it back no longer.
        while list((request := await script.next()).symbols) != ["B"]:
            assert script.opened == 1
        script.answer(request)
        assert await again == [state("B")]
    assert len(reads._waiting) == len(reads._unsent) == 0


async def test_a_reader_that_fails_harms_no_other(kind: Kind) -> None:
    script = Script()
    async with reading(kind, script) as reads:

        def fail(_: Answer) -> None:
            raise RuntimeError("a bug")

        reads.begin(["A"], TIMEOUT_S, fail)
        good = ask(reads, "B")
        with capture_logs() as lines:
            script.answer(await script.next())
            assert await good == [state("B")]
    assert [line["event"] for line in lines] == ["read_failed"]


async def test_reads_fail_when_the_gateway_ends(kind: Kind) -> None:
    async with reading(kind, Script()) as reads:
        waiting = ask(reads, "A")
        await asyncio.sleep(0.01)
    # Not UNAVAILABLE, which would be tried again.
    assert await code_of(waiting) is Code.CANCELLED
    assert await code_of(ask(reads, "A")) is Code.CANCELLED


async def test_an_aggregator_without_the_stream_is_read_with_calls(kind: Kind) -> None:
    script, unary = Script(), Unary()
    script.code = Code.UNIMPLEMENTED
    async with reading(kind, script, unary) as reads:
        for symbol in ("A", "B"):
            assert await reads([symbol], timeout=TIMEOUT_S) == [state(symbol)]
        assert reads.is_missing
        # A restart may bring a newer one.
        script.code, unary.code = None, Code.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError):
            await reads(["C"], timeout=TIMEOUT_S)
        answer = asyncio.create_task(reads(["D"], timeout=TIMEOUT_S))
        script.answer(await script.next())
        assert await answer == [state("D")]
    assert unary.asked == [["A"], ["B"], ["C"]]


async def test_the_stream_and_calls_give_the_same(kind: Kind) -> None:
    del kind
    async with (
        run_aggregator() as aggregator,
        open_stub(aggregator.port) as stub,
        open_channel(aggregator.port) as channel,
    ):
        await stub.StreamTicks(iter([make_tick(symbol) for symbol in ("A", "B", "A")]))
        unary = UnaryReads(stub)
        open_stream: Callable[[], Any] = channel.stream_stream(
            "/marketdata.MarketDataService/ReadAggregates"
        )
        reads = ReadStream(open_stream, unary)
        carrying = asyncio.create_task(reads.run())
        for symbols in (["A"], ["B", "NIX", "A"], ["NIX"]):
            found = await reads(symbols, timeout=TIMEOUT_S)
            assert found == await unary(symbols, timeout=TIMEOUT_S)
        for read in (reads, unary):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await read(["A,B"], timeout=TIMEOUT_S)
            assert caught.value.code() is Code.INVALID_ARGUMENT
        assert not reads.is_missing
        carrying.cancel()
        await asyncio.wait([carrying])


# The whole gateway.


async def test_all_clients_share_one_stream(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator) as http:
        for path in (AAPL_PATH, "/api/v1/marketdata?symbols=AAPL", AAPL_PATH):
            assert (await http.get(path)).headers["x-data-status"] == "live"
        assert aggregator.reading == 1


async def test_a_gateway_reads_an_old_aggregator(aggregator: FakeAggregator) -> None:
    aggregator.is_old = True
    async with connect(aggregator) as client:
        old = [await client.ask(get(symbol)) for symbol in ("AAPL", "AAPL", "NOPE")]
        assert aggregator.reading == 0
    aggregator.is_old = False
    async with connect(aggregator) as client:
        new = [await client.ask(get(symbol)) for symbol in ("AAPL", "AAPL", "NOPE")]
        assert aggregator.reading == 1
    assert old == new


async def test_reads_go_on_after_the_aggregator_was_away(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with http_to_gateway(aggregator, retry_attempts=1, breaker_open_s=0.01) as http:
        for _ in range(2):
            assert (await http.get(AAPL_PATH)).headers["x-data-status"] == "live"
            await aggregator.go_down()
            assert (await http.get(AAPL_PATH)).headers["x-data-status"] == "fallback"
            await aggregator.come_back()
            async with asyncio.timeout(TIMEOUT_S):
                # gRPC waits before it connects again.
                while (await http.get(AAPL_PATH)).headers["x-data-status"] != "live":
                    pass

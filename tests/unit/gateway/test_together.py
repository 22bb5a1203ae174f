"""Reads of many clients in one call: what each gets, and what is never shared."""

# ruff: noqa: ASYNC109, N802  gRPC gives the names

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from structlog.testing import capture_logs

from gateway.backend.client import AggregatorClient, DataStatus
from gateway.backend.together import MAX_SYMBOLS, ReadsTogether
from gateway.errors import AggregatorUnavailable, InvalidInput, RateLimited, UnknownSymbol
from gateway.settings import GatewaySettings
from marketdata.wire.market_data_pb2 import (
    Aggregate,
    AggregateRequest,
    AggregatesRequest,
    AggregatesResponse,
)

Code = grpc.StatusCode


class Aggregator:
    """Stand in for the stub; every symbol but NONE and BAD has a state, with its own close."""

    def __init__(self) -> None:
        self.close = 1.0
        # What each call asked for.
        self.calls: list[list[str]] = []
        self.failure: Code | None = None
        self.cancelled = 0
        self.asked = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()

    def hang(self) -> None:
        self._going.clear()

    def go_on(self) -> None:
        self._going.set()

    async def GetAggregate(self, request: AggregateRequest, *, timeout: float) -> Aggregate:
        states = await self._answer([request.symbol])
        if not states:
            raise AioRpcError(Code.NOT_FOUND, Metadata(), Metadata(), "no data")
        return states[0]

    async def GetAggregates(
        self, request: AggregatesRequest, *, timeout: float
    ) -> AggregatesResponse:
        return AggregatesResponse(aggregates=await self._answer(list(request.symbols)))

    async def _answer(self, symbols: list[str]) -> list[Aggregate]:
        self.calls.append(symbols)
        self.asked.set()
        states = [Aggregate(symbol=s, close=self.close) for s in symbols if s != "NONE"]
        try:
            await self._going.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.failure is not None or "BAD" in symbols:
            code = self.failure or Code.INVALID_ARGUMENT
            raise AioRpcError(code, Metadata(), Metadata(), "symbol BAD is none")
        return states


@asynccontextmanager
async def reading(aggregator: Aggregator, **settings: Any) -> AsyncIterator[ReadsTogether]:
    client = AggregatorClient(
        cast("Any", aggregator),
        GatewaySettings.model_validate({"rate_limit": 0, "retry_attempts": 1, **settings}),
        clock=asyncio.get_running_loop().time,
    )
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        yield ReadsTogether(client, tasks)


async def ask(reads: ReadsTogether, *symbols: str) -> list[Any]:
    """Return what each read gives, an error too."""
    asked = (reads.get_aggregate(symbol, caller="me") for symbol in symbols)
    return await asyncio.gather(*asked, return_exceptions=True)


async def test_a_single_read_is_a_call_for_one_symbol() -> None:
    aggregator = Aggregator()
    async with reading(aggregator) as reads:
        (answer,) = await ask(reads, "A")
    assert (answer.symbol, answer.aggregate.symbol, answer.status) == ("A", "A", DataStatus.LIVE)
    assert aggregator.calls == [["A"]]


async def test_what_is_asked_in_one_turn_is_one_call_and_everyone_gets_his_own() -> None:
    aggregator = Aggregator()
    async with reading(aggregator) as reads:
        answers = await ask(reads, "B", "A", "B", "C")
    assert [answer.aggregate.symbol for answer in answers] == ["B", "A", "B", "C"]
    assert aggregator.calls == [["B", "A", "C"]]


async def test_a_later_read_never_gets_an_earlier_response() -> None:
    aggregator = Aggregator()
    aggregator.hang()
    async with reading(aggregator) as reads, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(reads.get_aggregate("A", caller="me"))
        await aggregator.asked.wait()
        aggregator.close = 2.0
        aggregator.asked.clear()
        second = tasks.create_task(reads.get_aggregate("A", caller="me"))
        await aggregator.asked.wait()
        aggregator.go_on()
        states = (await first).aggregate, (await second).aggregate
    assert [state.close for state in states if state] == [1.0, 2.0]
    assert aggregator.calls == [["A"], ["A"]]


async def test_an_unknown_symbol_is_so_for_who_asked_for_it() -> None:
    async with reading(Aggregator()) as reads:
        known, unknown = await ask(reads, "A", "NONE")
        (alone,) = await ask(reads, "NONE")
    assert known.aggregate.symbol == "A"
    assert isinstance(unknown, UnknownSymbol)
    assert isinstance(alone, UnknownSymbol)


async def test_a_symbol_that_is_refused_is_refused_to_who_asked_for_it() -> None:
    aggregator = Aggregator()
    async with reading(aggregator) as reads:
        known, refused = await ask(reads, "A", "BAD")
    assert known.aggregate.symbol == "A"
    assert isinstance(refused, InvalidInput)
    assert aggregator.calls == [["A", "BAD"], ["A"], ["BAD"]]


async def test_every_read_gets_the_fallback_when_the_aggregator_is_away() -> None:
    aggregator = Aggregator()
    aggregator.failure = Code.UNAVAILABLE
    async with reading(aggregator) as reads:
        answers = await ask(reads, "A", "B")
    assert [(each.symbol, each.aggregate) for each in answers] == [("A", None), ("B", None)]
    assert {each.status for each in answers} == {DataStatus.FALLBACK}


async def test_every_read_fails_when_the_aggregator_is_away() -> None:
    aggregator = Aggregator()
    aggregator.failure = Code.UNAVAILABLE
    async with reading(aggregator, fallback="error") as reads:
        answers = await ask(reads, "A", "B")
    assert [type(answer) for answer in answers] == [AggregatorUnavailable] * 2


async def test_a_request_that_fails_takes_no_answer_from_others() -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a bug")

    async with reading(Aggregator()) as reads:
        for symbol in ("A", "NONE"):
            reads.ask(symbol, fail)
        with capture_logs() as lines:
            (answer,) = await ask(reads, "B")
            await asyncio.sleep(0)
    assert answer.symbol == "B"
    assert [line["event"] for line in lines][:1] == ["read_failed"]


async def test_each_read_counts_against_the_limit() -> None:
    aggregator = Aggregator()
    async with reading(aggregator, rate_limit=2) as reads:
        answers = await ask(reads, "A", "B", "C")
    assert [type(answer) for answer in answers[2:]] == [RateLimited]
    assert aggregator.calls == [["A", "B"]]


async def test_a_client_that_disconnects_ends_no_other_read() -> None:
    aggregator = Aggregator()
    aggregator.hang()
    async with reading(aggregator) as reads, asyncio.TaskGroup() as tasks:
        leaves = tasks.create_task(reads.get_aggregate("A", caller="me"))
        stays = tasks.create_task(reads.get_aggregate("B", caller="me"))
        await aggregator.asked.wait()
        leaves.cancel()
        aggregator.go_on()
        assert (await stays).symbol == "B"
    assert leaves.cancelled()
    assert aggregator.cancelled == 0


async def test_no_call_asks_for_more_than_the_aggregator_takes() -> None:
    aggregator = Aggregator()
    async with reading(aggregator) as reads:
        answers = await ask(reads, *(f"S{n}" for n in range(MAX_SYMBOLS + 1)))
    assert [answer.aggregate.symbol for answer in answers] == [f"S{n}" for n in range(501)]
    assert [len(call) for call in aggregator.calls] == [MAX_SYMBOLS, 1]


async def test_no_read_waits_for_ever_when_the_gateway_stops() -> None:
    aggregator = Aggregator()
    aggregator.hang()
    waits: asyncio.Task[Any] | None = None
    with pytest.RaisesGroup(RuntimeError):
        async with reading(aggregator) as reads:
            waits = asyncio.get_running_loop().create_task(reads.get_aggregate("A", caller="me"))
            await aggregator.asked.wait()
            raise RuntimeError
    assert waits is not None
    await asyncio.wait([waits])
    assert waits.cancelled()
    assert aggregator.cancelled == 1

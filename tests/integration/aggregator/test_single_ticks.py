"""StreamTicks as the original's producers use it: idle, slow, and killed."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from structlog.testing import capture_logs
from structlog.typing import EventDict

from marketdata.channel import client_options
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.link import open_link
from tests.doubles.pipeline import TIMEOUT_S, make_tick, open_stub, run_aggregator, wait_for_trades
from tests.doubles.processes import bound

TICKS = 3_000
# It writes as fast as it can, and is killed when the last tick is written.
KILLED_PRODUCER = """
import os, signal, sys, time
import grpc
from marketdata.wire import market_data_pb2 as wire

def ticks():
    for number in range(int(sys.argv[2])):
        yield wire.Tick(symbol="AAPL", price=10, volume=1, exchange_timestamp=time.time_ns())
    os.kill(os.getpid(), signal.SIGKILL)

channel = grpc.insecure_channel("127.0.0.1:" + sys.argv[1])
method = channel.stream_unary(
    "/marketdata.MarketDataService/StreamTicks", request_serializer=wire.Tick.SerializeToString
)
method(ticks())
"""


async def wait_for_loss(logs: list[EventDict]) -> EventDict:
    """Wait until a lost producer is logged; nobody tells when."""
    while not (lost := [each for each in logs if each["event"] == "producer_lost"]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return lost[0]


async def test_a_producer_that_is_slow_to_answer_pings_is_not_cut_off() -> None:
    async def ticks() -> AsyncIterator[wire.Tick]:
        yield make_tick()
        await wait_for_trades(aggregator, "AAPL", 1)
        link.hold_answers()
        # A ping after a second; before, its answer had 5 s.
        await asyncio.sleep(8)
        link.hold_answers(False)
        yield make_tick()

    async with (
        run_aggregator(keepalive_s=1) as aggregator,
        open_link("127.0.0.1", aggregator.port) as link,
        open_stub(link.port, client_options(keepalive_s=3600)) as stub,
    ):
        ack = await stub.StreamTicks(ticks())
        assert ack.message == "Received 2 ticks"
        assert link.connections == 1


async def test_what_came_from_a_producer_that_was_killed_is_applied_and_logged() -> None:
    with capture_logs() as logs:
        async with run_aggregator() as aggregator:
            producer = await asyncio.create_subprocess_exec(
                *bound(sys.executable, "-c", KILLED_PRODUCER, str(aggregator.port), str(TICKS))
            )
            async with asyncio.timeout(TIMEOUT_S):
                await producer.wait()
                lost = await wait_for_loss(logs)
            aggregate = aggregator.market.book.aggregate("AAPL")
    assert aggregate is not None
    assert lost["received"] == lost["applied"] == aggregate.trades
    # gRPC drops what it has not passed on when the connection ends: less on an idle machine (0 to
    # 20 %), more on a busy one.
    assert aggregate.trades >= 0.1 * TICKS


async def test_ticks_that_come_one_by_one_are_applied_at_once() -> None:
    async def ticks() -> AsyncIterator[wire.Tick]:
        for number in range(1, 6):
            yield make_tick()
            await wait_for_trades(aggregator, "AAPL", number)

    async with run_aggregator() as aggregator, open_stub(aggregator.port) as stub:
        async with asyncio.timeout(TIMEOUT_S):
            ack = await stub.StreamTicks(ticks())
        assert ack.message == "Received 5 ticks"


async def test_a_rejected_tick_of_a_lost_producer_is_not_counted_as_applied() -> None:
    async def ticks() -> AsyncIterator[wire.Tick]:
        yield make_tick()
        yield make_tick(price=-1)
        yield make_tick()
        await wait_for_trades(aggregator, "AAPL", 2)
        call.cancel()

    with capture_logs() as logs:
        async with run_aggregator() as aggregator, open_stub(aggregator.port) as stub:
            call = stub.StreamTicks(ticks())
            async with asyncio.timeout(TIMEOUT_S):
                lost = await wait_for_loss(logs)
    assert (lost["received"], lost["applied"]) == (3, 2)
    assert lost["peer"].startswith("ipv4:127.0.0.1:")

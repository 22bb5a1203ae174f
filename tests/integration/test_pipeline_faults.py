"""Between ingest and aggregator the network fails in every way; no tick is lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter

from structlog.testing import capture_logs
from structlog.typing import EventDict

from aggregator.app import Aggregator
from ingest.app import Ingest
from tests.doubles.aggregators import run_recording_aggregator
from tests.doubles.link import Link, open_link
from tests.doubles.pipeline import (
    connect,
    frame,
    make_tick,
    run_aggregator,
    run_ingest,
    send,
    wait_for_trades,
)

TICKS = 60_000
BLOCK = 1_000


async def produce(ingest: Ingest, ticks: int = TICKS) -> None:
    async with connect(ingest.listener.port) as (reader, writer):
        for start in range(0, ticks, BLOCK):
            writer.write(b"".join(frame(make_tick(volume=start + i + 1)) for i in range(BLOCK)))
            await writer.drain()
        writer.write_eof()
        await reader.read()


async def assert_exact(aggregator: Aggregator, ticks: int = TICKS) -> None:
    aggregate = await wait_for_trades(aggregator, "AAPL", ticks)
    assert aggregate.trades == ticks
    assert aggregate.volume == ticks * (ticks + 1) // 2


def told(logs: list[EventDict]) -> Counter[str]:
    events = ("aggregator_connected", "aggregator_lost")
    return Counter(line["event"] for line in logs if line["event"] in events)


async def test_an_aggregator_that_starts_later_gets_everything() -> None:
    async with run_aggregator() as aggregator, open_link("127.0.0.1", aggregator.port) as link:
        link.refuse()
        with capture_logs() as logs:
            async with run_ingest(link.address) as ingest:
                await produce(ingest)
                assert aggregator.market.accepted == 0
                link.refuse(False)
                await assert_exact(aggregator)
        assert told(logs) == {"aggregator_connected": 1, "aggregator_lost": 1}


async def cut(link: Link, aggregator: Aggregator, times: int) -> None:
    """Reset the connection again and again, each time after some more ticks."""
    for number in range(1, times + 1):
        await wait_for_trades(aggregator, "AAPL", number * TICKS // (times + 2))
        link.drop()


async def test_a_connection_that_is_cut_three_times_loses_and_doubles_nothing() -> None:
    async with (
        run_aggregator() as aggregator,
        open_link("127.0.0.1", aggregator.port) as link,
        # Small batches keep many of them in flight, so that cuts hit unacked ones.
        run_ingest(link.address, batch_ticks=50) as ingest,
    ):
        with capture_logs() as logs:
            await asyncio.gather(produce(ingest), cut(link, aggregator, 3))
            await assert_exact(aggregator)
        assert link.connections == 4
        assert told(logs) == {"aggregator_connected": 4, "aggregator_lost": 3}


async def test_batches_whose_acks_were_lost_are_sent_again_and_count_once() -> None:
    async with (
        run_aggregator() as aggregator,
        open_link("127.0.0.1", aggregator.port) as link,
        run_ingest(link.address) as ingest,
    ):
        await send(ingest.listener.port, [make_tick()])
        await wait_for_trades(aggregator, "AAPL", 1)
        link.hold_answers()
        await send(ingest.listener.port, [make_tick(), make_tick()])
        await wait_for_trades(aggregator, "AAPL", 3)
        link.drop()
        link.hold_answers(False)
        await send(ingest.listener.port, [make_tick()])
        aggregate = await wait_for_trades(aggregator, "AAPL", 4)
        assert aggregate.trades == 4
        # The first ack may have been on its way as well.
        assert aggregator.market.duplicates in {2, 3}


async def test_a_half_closed_connection_is_opened_again() -> None:
    async with (
        run_aggregator() as aggregator,
        open_link("127.0.0.1", aggregator.port) as link,
        run_ingest(link.address) as ingest,
    ):
        producing = asyncio.create_task(produce(ingest))
        await wait_for_trades(aggregator, "AAPL", TICKS // 3)
        link.half_close()
        await producing
        await assert_exact(aggregator)


async def test_a_slow_network_only_delays() -> None:
    async with (
        run_aggregator() as aggregator,
        open_link("127.0.0.1", aggregator.port) as link,
        run_ingest(link.address) as ingest,
    ):
        link.delay(0.02)
        await produce(ingest)
        await assert_exact(aggregator)


async def test_a_partition_is_noticed_by_keepalive_and_healed() -> None:
    async with (
        run_aggregator() as aggregator,
        open_link("127.0.0.1", aggregator.port) as link,
        run_ingest(link.address, keepalive_s=1.0, keepalive_timeout_s=1.0) as ingest,
    ):
        await send(ingest.listener.port, [make_tick()])
        await wait_for_trades(aggregator, "AAPL", 1)
        with capture_logs() as logs:
            link.partition()
            await send(ingest.listener.port, [make_tick(), make_tick()])
            async with asyncio.timeout(20):
                while not told(logs):
                    await link.next_connection()
            link.heal()
            aggregate = await wait_for_trades(aggregator, "AAPL", 3)
        assert aggregate.trades == 3
        assert told(logs)["aggregator_lost"] == 1


async def test_a_new_aggregator_gets_what_the_old_one_did_not_ack() -> None:
    async with run_aggregator() as new, run_recording_aggregator() as old:
        old.withhold_acks()
        async with open_link("127.0.0.1", old.port) as link, run_ingest(link.address) as ingest:
            await send(ingest.listener.port, [make_tick()])
            await old.batches.get()
            await send(ingest.listener.port, [make_tick(), make_tick()])
            link.lead_to("127.0.0.1", new.port)
            link.drop()
            assert (await wait_for_trades(new, "AAPL", 3)).trades == 3

"""The producers against real services: cut links, killed processes, and the rules of ticks."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from random import Random

import numpy as np
import pytest

from marketdata.producer import (
    LostRange,
    Producer,
    ProducerReplaced,
    RejectedTick,
    ServerLostTicks,
    SyncProducer,
)
from tests.doubles.link import open_link
from tests.doubles.pipeline import run_aggregator, run_ingest
from tests.doubles.processes import bound
from tests.doubles.restarts import run_killed_ingest
from tests.doubles.trades import ROOT

TIMEOUT_S = 60
SYMBOLS = [f"S{number}" for number in range(7)]


def rows(first: int, count: int) -> list[tuple[str, float, int, int]]:
    """Return numbered ticks: the number is the volume."""
    now = time.time_ns() - 10**9
    return [
        (SYMBOLS[number % 7], 10.0 + number % 9, number, now + number)
        for number in range(first, first + count)
    ]


def expected(count: int) -> dict[str, tuple[int, int]]:
    """Return trades and volume of each symbol after the ticks 1 to ``count``."""
    numbers = [[n for n in range(1, count + 1) if n % 7 == place] for place in range(7)]
    return {SYMBOLS[place]: (len(own), sum(own)) for place, own in enumerate(numbers)}


async def test_cut_links_lose_and_double_nothing() -> None:
    chance = Random(7)
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator(session="none") as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
        open_link("127.0.0.1", ingest.listener.port) as link,
        Producer(link.address, producer_id="feed-1", max_unacked_ticks=3_000) as p,
    ):
        for first in range(1, 40_001, 500):
            await p.send_many(rows(first, 500))
            if chance.random() < 0.15:
                link.drop()
        await p.flush()
        assert link.connections > 3
        assert (p.sent, p.acked, p.rejected) == (40_000, 40_000, 0)
        book = aggregator.market.book
        found = {s: (book.state(s).trades, book.state(s).volume) for s in SYMBOLS}
        assert found == expected(40_000)
        assert aggregator.market.last_sequence("feed-1") == 40_000


async def test_a_killed_ingest_loses_and_doubles_nothing() -> None:
    async with asyncio.timeout(TIMEOUT_S), run_killed_ingest() as (ingest, totals):
        async with Producer(ingest.address, producer_id="feed-1", max_unacked_ticks=5_000) as p:
            killing = asyncio.create_task(kill_often(ingest.kill))
            first = 1
            while not killing.done():
                await p.send_many(rows(first, 100))
                first += 100
                await asyncio.sleep(0.001)
            await killing
        assert p.acked == p.sent == first - 1
        assert await totals.aggregates(*SYMBOLS) == expected(first - 1)
        assert (await totals.status()).accepted == first - 1


async def test_a_killed_ingest_loses_nothing_of_a_plain_program() -> None:
    async with asyncio.timeout(TIMEOUT_S), run_killed_ingest() as (ingest, totals):
        killing = asyncio.create_task(kill_often(ingest.kill))

        def work() -> int:
            with SyncProducer(ingest.address, "feed-1", max_unacked_ticks=5_000) as p:
                first = 1
                while not killing.done():
                    for row in rows(first, 100):
                        p.send(*row)
                    first += 100
                    time.sleep(0.001)
            assert p.acked == p.sent == first - 1
            return first - 1

        count = await asyncio.to_thread(work)
        await killing
        assert await totals.aggregates(*SYMBOLS) == expected(count)


async def kill_often(kill: object) -> None:
    assert callable(kill)
    for _ in range(3):
        await asyncio.sleep(0.3)
        await kill(0.1)
    await asyncio.sleep(0.3)


async def test_invalid_ticks_are_reported_with_the_reason_of_ingest() -> None:
    now = time.time_ns()
    invalid = {
        "price_not_finite": ("A", float("nan"), 1, now),
        "price_not_positive": ("A", -1.0, 1, now),
        "price_too_large": ("A", 1e13, 1, now),
        "volume_not_positive": ("A", 1.0, 0, now),
        "empty_symbol": ("", 1.0, 1, now),
        "symbol_too_long": ("A" * 65, 1.0, 1, now),
        "invalid_symbol": ("A*", 1.0, 1, now),
        "timestamp_implausible": ("A", 1.0, 1, 20250103),
        "timestamp_not_positive": ("A", 1.0, 1, -5),
        "timestamp_in_future": ("A", 1.0, 1, now + 10**15),
    }
    seen: list[tuple[int, str, RejectedTick]] = []
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator(session="none") as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        address = f"127.0.0.1:{ingest.listener.port}"
        async with Producer(address, "feed-1", on_reject=lambda *each: seen.append(each)) as p:
            for row in invalid.values():
                await p.send_many([row, ("A", 2.0, 1, now)])
        assert (p.sent, p.acked, p.rejected) == (20, 10, 10)
        assert aggregator.market.book.state("A").trades == 10
    assert [reason for _, reason, _ in seen] == list(invalid)
    assert [sequence for sequence, _, _ in seen] == list(range(1, 20, 2))
    assert [tuple(tick)[2:4] for _, _, tick in seen] == [row[2:] for row in invalid.values()]


async def test_ticks_beyond_the_symbols_of_the_aggregator_are_reported() -> None:
    seen: list[str] = []
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator(session="none", max_symbols=1) as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        address = f"127.0.0.1:{ingest.listener.port}"
        async with Producer(address, "feed-1", on_reject=lambda *each: seen.append(each[1])) as p:
            await p.send_columns(["A", "B", "A"], [1.0, 1.0, 1.0], [1, 1, 1], [time.time_ns()] * 3)
        assert (p.acked, p.rejected) == (2, 1)
    assert seen == ["too_many_symbols"]


async def test_columns_arrive_and_a_fresh_process_goes_on() -> None:
    now = time.time_ns()
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator(session="none") as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        address = f"127.0.0.1:{ingest.listener.port}"
        for run in (1, 2):
            async with Producer(address, producer_id="feed-1") as p:
                numbers = np.arange(1, 100_001)
                await p.send_columns("S0", numbers / 100, numbers, now + numbers)
            assert p.acked == 100_000
            assert p.last_sequence == run * 100_000
            state = aggregator.market.book.state("S0")
            assert (state.trades, state.volume) == (run * 100_000, run * 5_000_050_000)


async def test_a_second_program_with_the_id_replaces_the_first() -> None:
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator(session="none") as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
    ):
        address = f"127.0.0.1:{ingest.listener.port}"
        first = Producer(address, producer_id="feed-1")
        await first.open()
        async with Producer(address, producer_id="feed-1") as second:
            await second.send_many(rows(1, 10))
        assert second.acked == 10
        assert first._running is not None
        await asyncio.wait([first._running])
        with pytest.raises(ProducerReplaced, match="another session"):
            await first.send(*rows(1, 1)[0])
        await first.close()


PROGRAM = """
import sys
from itertools import islice
from marketdata.producer import SyncProducer

first_ns, count = int(sys.argv[2]), int(sys.argv[3])
rows = ((f"S{n % 7}", 10.0, n, first_ns + n) for n in range(1, count + 1))
with SyncProducer(sys.argv[1], producer_id="file", max_unacked_ticks=2_000) as producer:
    print("open", flush=True)
    for row in islice(rows, producer.last_sequence, None):
        producer.send(*row)
"""


async def test_a_killed_program_that_reads_a_file_goes_on_where_it_was() -> None:
    count, first_ns = 200_000, time.time_ns() - 10**9
    kills = 0
    async with asyncio.timeout(TIMEOUT_S), run_killed_ingest() as (ingest, totals):
        while True:
            program = await asyncio.create_subprocess_exec(
                *bound(sys.executable, "-c", PROGRAM, ingest.address, str(first_ns), str(count)),
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert program.stdout is not None
            assert await program.stdout.readline() == b"open\n"
            if kills == 3:
                break
            await asyncio.sleep(0.1)
            program.kill()
            await program.wait()
            kills += 1
        assert await program.wait() == 0
        assert await totals.aggregates(*SYMBOLS) == expected(count)
        assert (await totals.status()).accepted == count


async def test_a_server_that_lost_acked_ticks_is_an_error_or_an_event() -> None:
    lost: list[LostRange] = []
    async with (
        asyncio.timeout(TIMEOUT_S),
        run_aggregator(session="none") as aggregator,
        run_ingest(f"127.0.0.1:{aggregator.port}") as ingest,
        open_link("127.0.0.1", ingest.listener.port) as link,
    ):
        strict = Producer(link.address, producer_id="strict")
        await strict.open()
        async with Producer(link.address, "lenient", on_server_lost=lost.append) as lenient:
            for producer in (strict, lenient):
                await producer.send_many(rows(1, 12_000))
                await producer.flush()
            # As after a power failure that took the end of the log.
            for name, last in (("strict", 1_000), ("lenient", 1_000)):
                aggregator.market._numbering._producers.restore({name: last})
            link.drop()
            await lenient.send_many(rows(12_001, 7))
            await lenient.flush()
            assert lenient.acked == 12_007
            assert lost == [LostRange(1_001, 12_000)]
            assert aggregator.market.last_sequence("lenient") == 12_007
        assert strict._running is not None
        await asyncio.wait([strict._running])
        with pytest.raises(ServerLostTicks, match="lost 11000 acked ticks"):
            await strict.send(*rows(1, 1)[0])
        # Everything of its own was acked.
        await strict.close()

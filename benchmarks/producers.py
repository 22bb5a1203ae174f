"""Measure the library for producers: ticks per second from call to ack, over real processes.

``python -m benchmarks.producers`` prints one line for each way to send.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random

import numpy as np

from marketdata.producer import Producer, SyncProducer, TickRow
from tests.doubles.restarts import run_killed_ingest

SYMBOLS = [f"S{number:05}" for number in range(500)]
Send = Callable[[str, Sequence[TickRow]], Awaitable[None]]


async def _send(address: str, rows: Sequence[TickRow]) -> None:
    async with Producer(address, producer_id="send") as producer:
        for row in rows:
            await producer.send(*row)


async def _send_many(address: str, rows: Sequence[TickRow]) -> None:
    async with Producer(address, producer_id="send_many") as producer:
        await producer.send_many(rows)


async def _send_columns(address: str, rows: Sequence[TickRow]) -> None:
    symbols, prices, volumes, times = zip(*rows, strict=True)
    columns = np.array(symbols), np.array(prices), np.array(volumes), np.array(times)
    # The arrays are what a program with columns has.
    began = time.perf_counter()
    async with Producer(address, producer_id="send_columns") as producer:
        for _ in range(5):
            await producer.send_columns(*columns)
    seconds = time.perf_counter() - began
    print(f"send_columns                 {5 * len(rows) / seconds:12,.0f} ticks/s")


async def _send_from_a_thread(address: str, rows: Sequence[TickRow]) -> None:
    def work() -> None:
        with SyncProducer(address, producer_id="sync") as producer:
            for row in rows:
                producer.send(*row)

    await asyncio.to_thread(work)


async def _round_trip(address: str, rows: Sequence[TickRow]) -> None:
    times: list[float] = []
    async with Producer(address, producer_id="one") as producer:
        for row in rows[:2_000]:
            began = time.perf_counter()
            await producer.send(*row)
            await producer.flush()
            times.append(time.perf_counter() - began)
    times.sort()
    p50, p99 = times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3
    print(f"one tick from call to ack      p50 {p50:.2f} ms, p99 {p99:.2f} ms")


async def measure(count: int) -> None:
    """Send ``count`` ticks each way, and print how long it took."""
    chance, now = Random(1), time.time_ns() - 10**9
    rows: list[TickRow] = [
        (chance.choice(SYMBOLS), round(chance.uniform(20, 500), 2), 1 + n % 500, now + n)
        for n in range(count)
    ]
    ways: dict[str, Send] = {
        "send": _send,
        "send_many": _send_many,
        "SyncProducer.send": _send_from_a_thread,
    }
    async with run_killed_ingest() as (ingest, totals):
        await _send_many(ingest.address, rows)
        for name, way in ways.items():
            began = time.perf_counter()
            await way(ingest.address, rows)
            print(f"{name:28} {count / (time.perf_counter() - began):12,.0f} ticks/s")
        await _send_columns(ingest.address, rows)
        await _round_trip(ingest.address, rows)
        accepted = (await totals.status()).accepted
    if accepted != 9 * count + 2_000:
        sys.exit(f"{accepted} ticks were counted, {9 * count + 2_000} were sent")


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000))

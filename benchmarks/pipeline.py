"""How fast a tick goes from a TCP socket into the aggregator's state, and from there to a reader.

Every service is a process of its own; this one sends and looks. ``python -m benchmarks.pipeline``
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import grpc
import orjson

from benchmarks.harness import (
    Latencies,
    Service,
    Spread,
    WrongResult,
    format_table,
    machine_facts,
    repeat,
    run_service,
    write_results,
)
from fakeclient.packing import Packer
from fakeclient.walk import RandomWalk, choose_symbols
from marketdata.channel import client_options
from marketdata.framing import encode_frame
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.market_data_pb2_grpc import MarketDataServiceStub

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

SYMBOLS = choose_symbols("500")
SEED = 1
# The only symbol that is not in SYMBOLS: when it has a state, all ticks before it are in.
END = "THE.END"
CHUNK = 10_000
RATE = 1_000
# Answers before the clock starts: the first one connects the gateway and takes 40 ms.
WARM_UP = 20
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    ticks: int
    repeats: int
    # A message per tick is slow; fewer of them take as long.
    messages: int
    latency_s: float
    latency_repeats: int


FULL = Plan(ticks=2_000_000, repeats=5, messages=30_000, latency_s=10.0, latency_repeats=3)
QUICK = Plan(ticks=200_000, repeats=1, messages=3_000, latency_s=1.0, latency_repeats=1)


class Feed:
    """Ticks of a random walk, encoded before any clock starts, and what they come to."""

    def __init__(self, ticks: int) -> None:
        walk, packer = RandomWalk(SYMBOLS, Random(SEED)), Packer()
        self.ticks = ticks
        self.trades: Counter[str] = Counter()
        self.volumes: Counter[str] = Counter()
        pieces = []
        now_ns = time.time_ns()
        for start in range(0, ticks, CHUNK):
            rows = walk.take(min(CHUNK, ticks - start), now_ns + start)
            for symbol, _, volume, _ in rows:
                self.trades[symbol] += 1
                self.volumes[symbol] += volume
            pieces += [parcel.data for parcel in packer.pack(rows)[0]]
        pieces.append(encode_frame(_tick(END, now_ns + ticks)))
        # One frame per tick, as v1 producers send them.
        self.frames = b"".join(pieces)

    async def check(self, stub: MarketDataServiceAsyncStub) -> None:
        """Make sure that the aggregator has every tick once.

        Raises:
            WrongResult: a symbol has other totals than were sent.
        """
        answer = await stub.GetAggregates(wire.AggregatesRequest(symbols=SYMBOLS))
        trades = {each.symbol: each.trades for each in answer.aggregates}
        volumes = {each.symbol: each.volume for each in answer.aggregates}
        if trades != self.trades or volumes != self.volumes:
            raise WrongResult(
                f"sent {self.trades.total()} ticks with a volume of {self.volumes.total()}, found "
                f"{sum(trades.values())} with {sum(volumes.values())}"
            )


def _tick(symbol: str, ts_ns: int) -> bytes:
    return wire.Tick(
        symbol=symbol, price=1.0, volume=1, exchange_timestamp=ts_ns
    ).SerializeToString()


@asynccontextmanager
async def run_backend() -> AsyncIterator[tuple[Service, Service, MarketDataServiceAsyncStub]]:
    """Run an aggregator and an ingest; give both, and a stub of the aggregator."""
    async with (
        # Midnight must not end the session of a benchmark.
        run_service("aggregator", session="none") as aggregator,
        run_service("ingest", aggregator=aggregator.address) as ingest,
        grpc.aio.insecure_channel(aggregator.address, options=client_options()) as channel,
    ):
        yield aggregator, ingest, MarketDataServiceStub(channel)


async def measure_tcp(feed: Feed) -> float:
    """Return ticks per second from a TCP socket, one tick per frame, into the state."""
    async with run_backend() as (_, ingest, stub), asyncio.timeout(TIMEOUT_S):
        end = stub.StreamAggregates(wire.AggregateRequest(symbol=END))
        await end.initial_metadata()
        _, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        began = time.perf_counter()
        writer.write(feed.frames)
        await writer.drain()
        await end.read()
        seconds = time.perf_counter() - began
        end.cancel()
        writer.close()
        await writer.wait_closed()
        await feed.check(stub)
    return feed.ticks / seconds


async def measure_messages(feed: Feed) -> float:
    """Return ticks per second over StreamTicks: one gRPC message per tick, as the original."""
    ticks = []
    frames, position = feed.frames, 0
    for _ in range(feed.ticks):
        start = position + 4
        position = start + int.from_bytes(frames[position:start], "big")
        ticks.append(wire.Tick.FromString(frames[start:position]))
    async with run_backend() as (_, _, stub), asyncio.timeout(TIMEOUT_S):
        call = stub.StreamTicks()
        await call.wait_for_connection()
        began = time.perf_counter()
        for tick in ticks:
            await call.write(tick)
        await call.done_writing()
        # The answer comes when the last one is in the state.
        await call
        seconds = time.perf_counter() - began
        await feed.check(stub)
    return feed.ticks / seconds


class Stopwatch:
    """Know when each tick of one symbol was sent, and when it was first seen.

    Ticks are named by their exchange times, which grow.
    """

    def __init__(self) -> None:
        self._sent: list[tuple[int, float]] = []
        self._seen = 0
        self.seconds: list[float] = []

    def sent(self, ts_ns: int, now: float) -> None:
        """Note that a tick leaves."""
        self._sent.append((ts_ns, now))

    def seen(self, ts_ns: int, now: float) -> None:
        """Note a state that contains every tick up to ``ts_ns``."""
        sent = self._sent
        while self._seen < len(sent) and sent[self._seen][0] <= ts_ns:
            self.seconds.append(now - sent[self._seen][1])
            self._seen += 1


async def send_at_rate(port: int, stopwatch: Stopwatch, symbol: str, seconds: float) -> int:
    """Send single ticks, each when it is due, and return the time of the last one."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    began, ts_ns = time.perf_counter(), time.time_ns()
    for number in range(int(RATE * seconds)):
        wait_s = began + number / RATE - time.perf_counter()
        await asyncio.sleep(max(wait_s, 0))
        ts_ns = max(ts_ns + 1, time.time_ns())
        data = encode_frame(_tick(symbol, ts_ns))
        stopwatch.sent(ts_ns, time.perf_counter())
        writer.write(data)
    await writer.drain()
    writer.close()
    return ts_ns


async def measure_watch(seconds: float) -> Latencies:
    """Return how long ticks take from the socket to an update of a Watch stream."""
    stopwatch = Stopwatch()
    async with run_backend() as (_, ingest, stub), asyncio.timeout(TIMEOUT_S):
        call = stub.Watch()
        await call.write(wire.WatchRequest(add=["AAPL"]))
        await call.initial_metadata()
        sending = asyncio.create_task(send_at_rate(ingest.port, stopwatch, "AAPL", seconds))
        last_ns = 0
        while not sending.done() or last_ns < sending.result():
            batch = await call.read()
            now = time.perf_counter()
            assert isinstance(batch, wire.UpdateBatch)
            for state in batch.updates:
                last_ns = state.timestamp
                stopwatch.seen(last_ns, now)
        call.cancel()
    return Latencies(tuple(stopwatch.seconds))


async def measure_rest(seconds: float) -> tuple[Latencies, Latencies]:
    """Return how long ticks take from the socket to an answer of REST, and how long each GET took.

    One client asks again as soon as it has the answer, so a tick waits for up to two of them.
    """
    stopwatch = Stopwatch()
    polls = []
    async with (
        run_backend() as (aggregator, ingest, _),
        run_service("gateway", aggregator=aggregator.address, rate_limit=0) as gateway,
        asyncio.timeout(TIMEOUT_S),
    ):
        get = await open_http(gateway.port, "/api/v1/marketdata/AAPL")
        for _ in range(WARM_UP):
            await get()
        sending = asyncio.create_task(send_at_rate(ingest.port, stopwatch, "AAPL", seconds))
        last_ns = 0
        while not sending.done() or last_ns < sending.result():
            asked = time.perf_counter()
            body = await get()
            now = time.perf_counter()
            polls.append(now - asked)
            # Before the first tick the symbol is unknown.
            last_ns = int(orjson.loads(body).get("timestampNs", 0))
            stopwatch.seen(last_ns, now)
    return Latencies(tuple(stopwatch.seconds)), Latencies(tuple(polls))


async def open_http(port: int, path: str) -> Callable[[], Awaitable[bytes]]:
    """Return what gets the body of ``path`` over one connection that is kept.

    By hand, because a client library takes longer than the gateway and would be measured instead.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()

    async def get() -> bytes:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        return await reader.readexactly(int(length))

    return get


async def run(plan: Plan, output: Path | None) -> None:
    """Measure everything, print the table, write the JSON file."""
    feed, small = Feed(plan.ticks), Feed(plan.messages)
    tcp = await repeat(plan.repeats, lambda: measure_tcp(feed))
    messages = await repeat(plan.repeats, lambda: measure_messages(small))
    watch = [await measure_watch(plan.latency_s) for _ in range(plan.latency_repeats)]
    rest = [await measure_rest(plan.latency_s) for _ in range(plan.latency_repeats)]
    polls = Latencies.merge(part for _, part in rest)

    latencies = {
        "Watch update": Latencies.merge(watch),
        "REST answer": Latencies.merge(part for part, _ in rest),
    }
    path = write_results(
        "pipeline",
        {
            "symbols": len(SYMBOLS),
            "tcp_ticks_per_s": {"ticks": plan.ticks, **tcp.to_dict()},
            "grpc_message_per_tick_ticks_per_s": {"ticks": plan.messages, **messages.to_dict()},
            "latency_rate_ticks_per_s": RATE,
            "watch_latency": latencies["Watch update"].to_dict(),
            "rest_latency": latencies["REST answer"].to_dict(),
            "rest_poll": polls.to_dict(),
        },
        output,
    )

    print(", ".join(f"{name} {value}" for name, value in machine_facts().items()))
    rows = [["ticks/s into the state", "median", "min", "max"]]
    rows += [
        _rate_row(f"TCP, one tick per frame, {plan.ticks:,} ticks", tcp),
        _rate_row(f"gRPC, one message per tick, {plan.messages:,} ticks", messages),
    ]
    print(f"\n{format_table(rows)}\n")
    rows = [[f"tick sent, at {RATE:,} ticks/s, until", "p50 ms", "p99 ms", "max ms"]]
    rows += [_latency_row(name, each) for name, each in latencies.items()]
    rows.append(_latency_row("(one GET, asked again at once)", polls))
    print(f"{format_table(rows)}\n")
    for name, each in latencies.items():
        print(f"{name}, ticks by latency\n{_bars(each)}\n")
    print(f"written to {path.name}")


def _rate_row(name: str, spread: Spread) -> list[str]:
    values = (spread.median, min(spread.values), max(spread.values))
    return [name, *(f"{value:,.0f}" for value in values)]


def _latency_row(name: str, latencies: Latencies) -> list[str]:
    values = (latencies.percentile(50), latencies.percentile(99), max(latencies.seconds))
    return [name, *(f"{value * 1000:.2f}" for value in values)]


def _bars(latencies: Latencies) -> str:
    counts = latencies.histogram()
    width = 40 / max(counts.values())
    return "\n".join(
        f"  <= {bound:7g} ms {count:8,} {'#' * ceil(count * width)}"
        for bound, count in counts.items()
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, for a first look")
    parser.add_argument("--output", type=Path, help="the JSON file (benchmarks/results/COMMIT)")
    given = parser.parse_args()
    asyncio.run(run(QUICK if given.quick else FULL, given.output))


if __name__ == "__main__":
    main()

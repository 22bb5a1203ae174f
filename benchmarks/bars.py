"""Measure how soon after its end a bar reaches a reader, and what closing bars costs.

A live random walk goes through ingest into the aggregator, which stores closed bars, and one
``Watch`` stream follows all bars of 1s and 1m. Then the engine is measured alone, in seconds of
CPU: with one trade per symbol and second, every trade begins a bar.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import grpc

from aggregator.bars.bar import Bar
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.book import Book
from aggregator.sessions.sessions import UtcDay
from benchmarks.harness import WrongResult
from benchmarks.latencies import Latencies
from benchmarks.pipeline import ASKED_AT_ONCE, Backend, run_backend
from benchmarks.report import Line, Outcome
from benchmarks.results import ROOT
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

ALL_BARS = "1s,1m,5m,15m,1h,1d"
WATCHED = ("1s", "1m")
GRACE_S = 2
# The first seconds open the symbols.
WARM_UP_S = 3
# How long after the end of the feed the stream is read: the grace and the slowest reader.
AFTER_S = GRACE_S + 3.0
# A whole number of days since 1970, so that no bar of the first hour is open twice.
DAWN = 1_700_006_400 * NS_PER_S
BATCH = 10_000
# Symbols in a slice; the live service goes by time.
SYMBOLS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    symbols: int = 500
    rate: int = 20_000
    # Long enough for a minute to end in it.
    live_s: int = 75
    engine_symbols: tuple[int, ...] = (500, 50_000)
    engine_s: int = 10
    watched: tuple[str, ...] = WATCHED
    stores: bool = True


FULL = Plan()
QUICK = Plan(symbols=100, rate=2_000, live_s=7, engine_symbols=(500,), engine_s=5)


@dataclass
class Live:
    """The results of one live measurement."""

    # By interval and state: the time from the due moment to the arrival.
    latencies: dict[str, Latencies] = field(default_factory=dict)
    # Seconds of CPU of the aggregator in a second, and the states it published.
    cpu: float = 0.0
    states_per_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        found = {name: latencies.to_dict() for name, latencies in self.latencies.items()}
        return {"latencies": found, "cpu": self.cpu, "states_per_s": self.states_per_s}


class Reader:
    """Take every state of every bar, and check that each follows the one before."""

    def __init__(self) -> None:
        self.due_s: dict[str, list[float]] = {}
        self.states = 0
        # By symbol and interval.
        self._sequences: dict[tuple[str, str], int] = {}
        self._ranks: dict[tuple[str, str, int], tuple[int, int]] = {}
        self._ends: dict[str, int] = {}
        # The trades of the closed seconds.
        self.trades: Counter[str] = Counter()
        self.since_ns = 0

    def take(self, batch: wire.UpdateBatch, now_ns: int) -> None:
        """Take a batch that came at ``now_ns``.

        Raises:
            WrongResult: a state is older than one that came before, or came twice.
        """
        self.states += len(batch.bars)
        for bar in batch.bars:
            # A late trade changes an early bar, which then comes again.
            is_first = self._check(bar)
            if not is_first or bar.state not in {wire.BAR_STATE_EARLY, wire.BAR_STATE_FINAL}:
                continue
            is_final = bar.state == wire.BAR_STATE_FINAL
            if is_final and bar.interval == "1s":
                self.trades[bar.symbol] += bar.trades
            due = bar.end + GRACE_S * NS_PER_S * is_final
            if bar.end >= self.since_ns:
                name = f"{bar.interval} {'final' if is_final else 'early'}"
                self.due_s.setdefault(name, []).append((now_ns - due) / NS_PER_S)
        for done in batch.completed:
            if done.end <= self._ends.get(done.interval, 0):
                raise WrongResult(f"{done} after {self._ends[done.interval]}")
            self._ends[done.interval] = done.end

    def _check(self, bar: wire.Bar) -> bool:
        # Returns whether the bar was not in this state before.
        series, place = (bar.symbol, bar.interval), (bar.symbol, bar.interval, bar.start)
        rank = (bar.revision, bar.state)
        before = self._ranks.get(place, (0, 0))
        is_closed = bar.state >= wire.BAR_STATE_FINAL
        is_old = rank < before or (is_closed and rank == before)
        if bar.sequence <= self._sequences.get(series, 0) or is_old:
            raise WrongResult(f"{bar} after {before}")
        self._sequences[series], self._ranks[place] = bar.sequence, rank
        return rank != before


async def measure_live(plan: Plan) -> Live:
    """Send live trades for a while and time the bars that close."""
    with TemporaryDirectory() as folder:
        store = f"sqlite:///{folder}/bars.db" if plan.stores else "off"
        # Midnight must not end the session of a benchmark.
        async with run_backend(session="none", bars="1s,1m,5m,15m,1h", store=store) as backend:
            return await _time_bars(plan, backend)


async def _time_bars(plan: Plan, backend: Backend) -> Live:
    reader, aggregator = Reader(), backend.aggregator
    watch = backend.watch()
    topics = [wire.BarTopic(symbol="*", interval=interval) for interval in plan.watched]
    await watch.write(wire.WatchRequest(add_bars=topics))
    await watch.initial_metadata()
    seconds = WARM_UP_S + plan.live_s
    began_ns = time.time_ns()
    reader.since_ns = began_ns + WARM_UP_S * NS_PER_S
    used = aggregator.cpu_s()
    feed = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fakeclient", "--server", backend.ingest.address),
        *("--symbols", str(plan.symbols), "--rate", str(plan.rate)),
        *("--duration", str(seconds)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    talking = asyncio.create_task(feed.communicate())
    # They are parsed after the end, for that takes more time than to make them.
    arrived: list[tuple[int, bytes]] = []
    receiving = asyncio.create_task(_receive(watch, arrived))
    await talking
    used, elapsed_s = aggregator.cpu_s() - used, (time.time_ns() - began_ns) / NS_PER_S
    await asyncio.wait([receiving], timeout=AFTER_S)
    watch.cancel()
    await receiving
    for now_ns, data in arrived:
        reader.take(wire.UpdateBatch.FromString(data), now_ns)
    if reader.trades.total() != plan.rate * seconds:
        raise WrongResult(f"{reader.trades.total()} trades of {plan.rate * seconds} arrived")
    await _check_totals(backend, reader)
    latencies = {name: Latencies(tuple(found)) for name, found in sorted(reader.due_s.items())}
    return Live(latencies, used / elapsed_s, reader.states / elapsed_s)


async def _receive(
    watch: grpc.aio.StreamStreamCall[wire.WatchRequest, bytes], arrived: list[tuple[int, bytes]]
) -> None:
    with suppress(asyncio.CancelledError):
        while isinstance(data := await watch.read(), bytes):
            arrived.append((time.time_ns(), data))


async def _check_totals(backend: Backend, reader: Reader) -> None:
    symbols, totals = list(reader.trades), dict[str, int]()
    for start in range(0, len(symbols), ASKED_AT_ONCE):
        asked = wire.AggregatesRequest(symbols=symbols[start : start + ASKED_AT_ONCE])
        answer = await backend.stub.GetAggregates(asked)
        totals |= {each.symbol: each.trades for each in answer.aggregates}
    if totals != reader.trades:
        raise WrongResult(f"bars have {reader.trades.total()} trades of {sum(totals.values())}")


class _Counting:
    """Count bars and keep none."""

    def __init__(self) -> None:
        self.bars = 0

    def put(self, bars: Sequence[Bar]) -> None:
        """Count them."""
        self.bars += len(bars)


@dataclass
class Cost:
    """The cost of a symbol that trades once a second, in seconds of CPU."""

    symbols: int
    trade_s: float
    close_s: float

    @property
    def per_second(self) -> float:
        """The seconds of CPU that a second of all symbols takes."""
        return (self.trade_s + self.close_s) * self.symbols


def measure_engine(symbols: int, seconds: int) -> Cost:
    """Let each symbol trade once a second, and the wall clock close its bars; nobody watches."""
    rule, sink = UtcDay(), _Counting()
    engine = BarEngine(BarPlan(parse_intervals(ALL_BARS)), lambda _symbol: rule)
    engine.output.sink = sink
    book = Book(engine, max_symbols=symbols, epoch=1)
    ticks = [wire.Tick(symbol=f"S{n}", price=100 + n % 7, volume=10) for n in range(symbols)]
    trade_s = close_s = 0.0
    sequence = 1
    for second in range(seconds):
        now_ns = DAWN + second * NS_PER_S
        began = time.process_time()
        while not engine.close_due(now_ns, SYMBOLS_AT_ONCE):
            pass
        close_s += time.process_time() - began
        for first in range(0, symbols, BATCH):
            for number, tick in enumerate(ticks[first : first + BATCH]):
                tick.exchange_timestamp = now_ns + NS_PER_S // 2 + first + number
            batch = book.decoder.read(ticks[first : first + BATCH])
            began = time.process_time()
            book.apply_batch(batch, sequence, 2**62, now_ns + NS_PER_S // 2)
            # The first trades open the symbols.
            trade_s += (time.process_time() - began) if second else 0.0
            sequence += batch.count
    if sink.bars != symbols * (seconds - GRACE_S - 1):
        raise WrongResult(f"{sink.bars} bars closed")
    total = symbols * (seconds - 1)
    return Cost(symbols, trade_s / total, close_s / total)


def lines_of(plan: Plan, live: Live, costs: Sequence[Cost]) -> list[Line]:
    """Return the lines of both measurements."""
    note = f"aggregator {live.cpu:.0%} of a core, {live.states_per_s:,.0f} states/s of bars"
    lines = []
    for name, latencies in live.latencies.items():
        interval, state = name.split()
        moment = "the end" if state == "early" else "the grace"
        what = f"{state} {interval} bar to Watch after {moment}, {plan.rate:,} ticks/s live"
        for percent in (50, 99):
            value = latencies.percentile(percent) * 1000
            key = f"bars/{interval}/{state}/p{percent}"
            lines.append(Line(key, f"{what}: p{percent}", value, "ms", note=note))
    for cost in costs:
        what = f"one trade per symbol and second, {cost.symbols:,} symbols: engine"
        note = f"{cost.trade_s * 1e6:.1f} us per trade, {cost.close_s * 1e6:.1f} us per close"
        value = cost.per_second * 100
        lines.append(
            Line(f"bars/engine/{cost.symbols}", what, value, "%", note=f"of a core; {note}")
        )
    return lines


async def measure(*, full: bool) -> Outcome:
    """Measure the bars of live trades, and the engine alone."""
    plan = FULL if full else QUICK
    live = await measure_live(plan)
    costs = [measure_engine(symbols, plan.engine_s) for symbols in plan.engine_symbols]
    engine = [asdict(cost) | {"cpu": cost.per_second} for cost in costs]
    return Outcome(lines_of(plan, live, costs), {"live": live.to_dict(), "engine": engine})

"""Measure what late and lagging ticks cost the aggregator, beside punctual ones.

Each case has an aggregator of its own in this process. Their batches come in turns, and only the
CPU of the aggregator counts: the batches, and the looks at the clock that the timer would take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import sin
from typing import Any

import numpy as np
from numpy.random import Generator

from aggregator.app import Aggregator
from aggregator.settings import AggregatorSettings
from aggregator.watch.bar_queue import BarQueue
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.slices import FIRST_SYMBOLS
from aggregator.watch.topics import ALL, Topic
from benchmarks.frames import Market, Numbers, Ticks
from benchmarks.harness import WrongResult
from benchmarks.kernels import BATCH_TICKS, check, run_ingest
from benchmarks.latencies import Spread
from benchmarks.report import Line, Outcome
from marketdata.timestamps import NS_PER_S
from marketdata.warm import load_kernels

# A whole number of days since 1970 and an hour.
START = 1_700_010_000 * NS_PER_S
# Makes the bars that late ticks are of.
WARM_UP_S = 12
STALL_S = 5
# A lag drifts by at most this share of two seconds in each second, so that the clock goes on.
DRIFT_NS = 4 * NS_PER_S
MAX_TAKEN = 1_000_000
# From the times of ticks in order to their times as they are late.
Lateness = Callable[[Numbers, Generator], Numbers]


def _some(share: float, late_ns: int, times: Numbers, random: Generator) -> Numbers:
    """Let a share of the ticks be late."""
    return times - late_ns * (random.random(len(times)) < share)


def _within(late_ns: int, times: Numbers, random: Generator) -> Numbers:
    """Let each tick be late by a random time."""
    return times - random.integers(0, late_ns, len(times))


@dataclass(frozen=True, slots=True)
class Case:
    """How late the ticks of a feed are."""

    name: str
    late: Lateness | None = None
    # How far the wall clock is ahead of the ticks in order; None: a replay of an old day.
    lag_ns: int | None = None
    # How much it grows and shrinks.
    drift_ns: int = 0
    # Whether the feed stops and then sends what happened meanwhile.
    stalls: bool = False
    # The case that it should cost as much as.
    beside: str = "none late"


PUNCTUAL = "live, punctual"
CASES = (
    Case("none late"),
    Case("1% late by 1 s", partial(_some, 0.01, NS_PER_S)),
    Case("half late by 1 s", partial(_some, 0.5, NS_PER_S)),
    Case("half late by 5 s", partial(_some, 0.5, 5 * NS_PER_S)),
    Case("each late by 0 to 10 s", partial(_within, 10 * NS_PER_S)),
    Case(PUNCTUAL, lag_ns=0),
    Case("live, 5 s behind", lag_ns=5 * NS_PER_S, beside=PUNCTUAL),
    Case("live, 3 to 7 s behind", None, 5 * NS_PER_S, 2 * NS_PER_S, beside=PUNCTUAL),
    Case("live, with stalls of 5 s", lag_ns=0, stalls=True, beside=PUNCTUAL),
)


@dataclass(frozen=True, slots=True)
class Load:
    """How many ticks come."""

    symbols: int
    # In each second of their own time.
    per_s: int
    batch: int = BATCH_TICKS
    # Whether closed bars are kept, and whether a stream reads the bars of all symbols.
    store: bool = False
    reader: bool = False

    @property
    def name(self) -> str:
        """What the table calls it."""
        with_what = [name for name in ("store", "reader") if getattr(self, name)]
        extra = f", with {' and '.join(with_what)}" if with_what else ""
        return f"{self.symbols:,} symbols, batches of {self.batch:,}{extra}"


class _Sink:
    """Take closed bars, as the store does, and keep none."""

    def __init__(self) -> None:
        self.bars = 0

    def put(self, bars: Sequence[Any]) -> None:
        """Count them."""
        self.bars += len(bars)


class Feed:
    """One case: a market, and the aggregator that takes its ticks."""

    def __init__(self, case: Case, load: Load) -> None:
        self.case, self.load = case, load
        self._market = Market(load.symbols, 1)
        self._aggregator = Aggregator(AggregatorSettings(store="off", port=0))
        self._book = self._aggregator.market.book
        self._random = np.random.default_rng(2)
        self._passes = 0
        self._at_ns = START
        self.sink = _Sink()
        if load.store:
            self._book.engine.output.sink = self.sink
        self._queue: BarQueue | None = None
        if load.reader:
            watchers = self._book.engine.output.listener
            assert isinstance(watchers, BarWatchers)
            self._queue = BarQueue(watchers, lambda: None)
            watchers.add(self._queue, [Topic(ALL, "1s"), Topic(ALL, "1m")])

    def run(self, seconds: float, per_s: int) -> float:
        """Apply some seconds of ticks; return the CPU per tick."""
        case, count = self.case, int(seconds * per_s)
        (ticks,) = self._market.ticks(count, self._at_ns, per_s)
        clocks = ticks.times[:: self.load.batch]
        late = case.late if self._passes else None
        if late is not None:
            ticks = replace(ticks, times=late(ticks.times, self._random))
        used_s = 0.0
        for clock_ns, batch in zip(clocks.tolist(), self._batches(ticks), strict=True):
            now_ns = self._clock(clock_ns)
            began = time.process_time()
            if case.lag_ns is not None:
                self._close(now_ns)
            self._aggregator.market.publish_batch(batch, now_ns)
            if self._queue is not None:
                self._queue.take(MAX_TAKEN)
            used_s += time.process_time() - began
        self._passes += 1
        self._at_ns += int(seconds * NS_PER_S)
        return used_s / count

    def _batches(self, ticks: Ticks) -> list[bytes]:
        found = []
        for start in range(0, len(ticks), self.load.batch):
            part = slice(start, start + self.load.batch)
            cut = Ticks(
                ticks.chosen[part], ticks.prices[part], ticks.volumes[part], ticks.times[part]
            )
            frames = self._market.writer.write(cut)
            passed = run_ingest(frames, self._at_ns + 3600 * NS_PER_S)
            # Each numbers from 1, as a producer of its own would.
            name = b"%09d" % (self._passes * 1_000_000 + start // self.load.batch)
            (batch,) = passed.batches
            found.append(batch.replace(b"benchmark", name, 1))
        return found

    def _clock(self, ts: int) -> int:
        case = self.case
        if case.lag_ns is None:
            return ts + 3600 * NS_PER_S
        if case.stalls and self._passes:
            # Nothing came since the last stall ended, but the wall clock went on.
            # One of the stalls ends a while after a minute does.
            stall_ns = STALL_S * NS_PER_S
            return ts + stall_ns - (ts + 2 * NS_PER_S) % stall_ns
        return ts + case.lag_ns + int(case.drift_ns * sin((ts - START) / DRIFT_NS))

    def _close(self, now_ns: int) -> None:
        engine = self._book.engine
        while (due := engine.next_timer()) is not None and due <= now_ns:
            engine.close_due(due, FIRST_SYMBOLS)

    def check(self) -> None:
        """Make sure that every tick counted once.

        Raises:
            WrongResult: a total is not that of what was sent.
        """
        check(self._aggregator, self._market)
        if self._book.engine.counts.bars_late:
            raise WrongResult(f"{self.case.name}: ticks were too late for bars")


def measure_load(load: Load, seconds: float, passes: int) -> dict[str, Spread]:
    """Return the CPU per tick of each case, measured in turns."""
    feeds = [Feed(case, load) for case in CASES]
    found: dict[str, list[float]] = {case.name: [] for case in CASES}
    for feed in feeds:
        feed.run(WARM_UP_S, min(load.per_s, 4 * load.symbols))
    for _ in range(passes):
        for feed in feeds:
            found[feed.case.name].append(feed.run(seconds, load.per_s))
    for feed in feeds:
        feed.check()
    return {name: Spread(tuple(values)) for name, values in found.items()}


def _lines_of(load: Load, found: dict[str, Spread]) -> Iterator[Line]:
    for case in CASES:
        ns, beside = (found[name].median * 1e9 for name in (case.name, case.beside))
        key, what = f"late/{load.name}/{case.name}", f"{load.name}: {case.name}"
        yield Line(key, what, ns, "ns", note=f"per tick; {ns / beside:.2f} times {case.beside}")


SMALL = Load(500, 100_000)
LARGE = Load(50_000, 1_000_000)
# How long a pass is, in the time of the ticks.
SECONDS = {SMALL.symbols: 10.0, LARGE.symbols: 1.0}
LOADS = (
    *(
        replace(load, store=store, reader=reader)
        for load in (SMALL, replace(SMALL, batch=500))
        for store, reader in ((False, False), (True, False), (False, True))
    ),
    # Each case has some hundred MB.
    LARGE,
    replace(LARGE, store=True),
)


async def measure(*, full: bool) -> Outcome:
    """Measure all cases under each load."""
    load_kernels()
    lines: list[Line] = []
    details: dict[str, Any] = {}
    for load in LOADS if full else (SMALL,):
        found = measure_load(load, SECONDS[load.symbols], 3 if full else 1)
        lines += _lines_of(load, found)
        details[load.name] = {name: spread.to_dict() for name, spread in found.items()}
    return Outcome(lines, {"loads": details})

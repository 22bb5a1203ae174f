"""Measure what the end of a second costs, part by part.

Each symbol trades once a second, and the wall clock closes its bars in slices, as the live service
does it. The CPU of a closed bar is measured for the engine alone, and with readers and a store.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from aggregator.bars.bar import Bar
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.book import Book
from aggregator.sessions.sessions import UtcDay
from aggregator.store.backlog import Backlog
from aggregator.store.rows import to_rows
from aggregator.watch.bar_queue import BarQueue
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.recent import Recent
from aggregator.watch.slices import Slices
from aggregator.watch.topics import ALL, Topic
from benchmarks.bars import ALL_BARS, BATCH, DAWN, Plan, measure_live
from benchmarks.bars import lines_of as live_lines
from benchmarks.latencies import Latencies
from benchmarks.report import Line, Outcome
from marketdata.timestamps import NS_PER_S
from marketdata.wire import market_data_pb2 as wire

# Taken by a Watch stream at once, and written to the store at once.
READ_AT_ONCE = 2_000
WRITTEN_AT_ONCE = 2_000
# The first seconds open symbols and bars.
WARM_UP_S = 4
# Some 30,000 of the symbols trade in a second.
MANY = Plan(symbols=50_000, rate=50_000, live_s=15, watched=("1s",), stores=False)


@dataclass(frozen=True, slots=True)
class Case:
    """Who takes the bars."""

    name: str
    # The symbols of the readers of 1s bars.
    readers: tuple[str, ...] = ()
    # Whether readers may come back, so that recent bars are kept.
    keeps: bool = False
    stores: bool = False


CASES = (
    Case("nobody"),
    Case("one reader of one symbol", ("S1",)),
    Case("one reader of all", (ALL,)),
    Case("one reader of all, who may come back", (ALL,), keeps=True),
    Case("a store", stores=True),
    Case("a reader of all and a store", (ALL,), keeps=True, stores=True),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a closed bar takes, in us of CPU; and the slices, in ms of CPU."""

    case: str
    symbols: int
    # In the slices of the clock, when readers take the bars, and until the store has rows.
    close: float
    read: float
    store: float
    slice_p99: float
    slice_max: float


class _Store:
    """Puts bars where the store has them."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog

    def put(self, bars: Sequence[Bar]) -> None:
        """Queue them."""
        self._backlog.put(bars)


class _Side:
    """An engine with what takes its bars."""

    def __init__(self, case: Case, symbols: int) -> None:
        rule = UtcDay()
        self.engine = BarEngine(BarPlan(parse_intervals(ALL_BARS)), lambda _symbol: rule)
        output = self.engine.output
        self.book = Book(self.engine, max_symbols=symbols, epoch=1)
        recent = Recent(position=lambda: output.position)
        watchers = output.listener = BarWatchers(self.engine.series, 10, 2**31, recent)
        recent.readers = int(case.keeps)
        self.queues = [BarQueue(watchers, lambda: None) for _ in case.readers]
        for queue, symbol in zip(self.queues, case.readers, strict=True):
            watchers.add(queue, [Topic(symbol, "1s")])
        self.backlog = Backlog(2**31)
        if case.stores:
            output.sink = _Store(self.backlog)

    def close(self, now_ns: int, slices: Slices) -> tuple[list[float], float]:
        """Close bars and return what each slice took, and what the readers took between, in s."""
        took: list[float] = []
        read_s = 0.0
        is_all = False
        slices.begin()
        while not is_all:
            began = time.thread_time()
            is_all = self.engine.close_due(now_ns, slices.symbols)
            took.append(time.thread_time() - began)
            slices.took(took[-1], is_full=not is_all)
            read_s += self.read()
        return took, read_s

    def read(self) -> float:
        """Take what waits for readers and return how long that took, in s."""
        began = time.thread_time()
        for queue in self.queues:
            while len(queue):
                queue.take(READ_AT_ONCE)
        return time.thread_time() - began

    def store(self) -> float:
        """Make rows of what waits for the store and return how long that took, in s."""
        began = time.thread_time()
        while parts := self.backlog.take(WRITTEN_AT_ONCE):
            for part in parts:
                to_rows(part)
            self.backlog.settle()
        return time.thread_time() - began


def measure_case(case: Case, symbols: int, seconds: int) -> Cost:
    """Let each symbol trade once a second, and the wall clock close its bars."""
    side, slices = _Side(case, symbols), Slices()
    ticks = [wire.Tick(symbol=f"S{n}", price=100 + n % 7, volume=10) for n in range(symbols)]
    took: list[float] = []
    read_s = store_s = 0.0
    for second in range(WARM_UP_S + seconds):
        if second == WARM_UP_S:
            took, read_s, store_s = [], 0.0, 0.0
        now_ns = DAWN + second * NS_PER_S
        sliced, taken_s = side.close(now_ns, slices)
        took += sliced
        read_s += taken_s
        store_s += side.store()
        for first in range(0, symbols, BATCH):
            part = ticks[first : first + BATCH]
            for number, tick in enumerate(part):
                tick.exchange_timestamp = now_ns + NS_PER_S // 2 + first + number
            batch = side.book.decoder.read(part)
            sequence = 1 + second * symbols + first
            side.book.apply_batch(batch, sequence, 2**62, now_ns + NS_PER_S // 2)
        side.read()
    per_bar = 1e6 / (symbols * seconds)
    latencies = Latencies(took)
    return Cost(
        case.name,
        symbols,
        sum(took) * per_bar,
        read_s * per_bar,
        store_s * per_bar,
        latencies.percentile(99) * 1e3,
        max(took) * 1e3,
    )


def lines_of(costs: Sequence[Cost]) -> list[Line]:
    """Return a line for each cost."""
    lines = []
    for number, cost in enumerate(costs):
        note = (
            f"then {cost.read:.2f} us to read, {cost.store:.2f} us to rows; "
            f"slices p99 {cost.slice_p99:.2f} ms, longest {cost.slice_max:.2f} ms"
        )
        what = f"a closed bar, {cost.symbols:,} symbols, taken by {cost.case}"
        key = f"closes/{cost.symbols}/{number % len(CASES)}"
        lines.append(Line(key, what, cost.close, "us", note=note))
    return lines


async def measure(*, full: bool) -> Outcome:
    """Measure every case, and with many symbols how soon a reader has the bars of a live feed."""
    plans = ((500, 300), (50_000, 20)) if full else ((500, 60),)
    costs = [measure_case(case, symbols, s) for symbols, s in plans for case in CASES]
    lines, found = lines_of(costs), {"closes": [asdict(cost) for cost in costs]}
    if not full:
        return Outcome(lines, found)
    live = await measure_live(MANY)
    for line in live_lines(MANY, live, ()):
        lines.append(replace(line, key=f"closes/{line.key}"))
    return Outcome(lines, found | {"live": live.to_dict()})

"""Several shards and their front do what one market does, whatever comes in whatever batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf, nan

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

import aggregator.shards.kernel  # noqa: F401  what is loaded
from aggregator.bar_watchers import BarWatchers
from aggregator.bars.audience import Published
from aggregator.bars.bar import Bar
from aggregator.bars.completion import Completion, Completions
from aggregator.bars.engine import BarEngine
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.book import Book
from aggregator.feeds import Feeds
from aggregator.market import Market
from aggregator.numbering import InvalidBatch
from aggregator.producers import Producers
from aggregator.sessions import UtcDay
from aggregator.shards.frames import FrameDecoder
from aggregator.shards.merger import Merger
from aggregator.shards.owners import owner_of
from aggregator.shards.shard import Shard, Tally
from aggregator.shards.splitter import Splitter
from aggregator.watchers import Watchers
from marketdata.timestamps import NS_PER_S
from marketdata.warm import load_kernels
from marketdata.wire.market_data_pb2 import BatchAck, FeedReport, Tick, TickBatch, UpdateBatch
from marketdata.wire.shards_pb2 import Feed, Progress, ToWorker

load_kernels()

START = 1_700_006_399 * NS_PER_S  # the last second of a UTC day
NOW = START + 10_000 * NS_PER_S
EPOCH = 1_000
MAX_SYMBOLS = 5
SYMBOLS = ["A", "BB", "CCC", "D", "E.F", "LONGER.NAME", "S" * 32]
PLAN = BarPlan(intervals=parse_intervals("1s,1m,1h,1d"), revise_ns=900 * NS_PER_S)
NAMES = [interval.name for interval in PLAN.by_clock]


@dataclass
class Listener:
    """Keep all that is published, by symbol, as much of it as the number of shards leaves alone."""

    engine: BarEngine
    seen: dict[str, list[object]] = field(default_factory=dict)
    completed: list[tuple[str, int]] = field(default_factory=list)

    def opened(self, symbol: str, _row: int) -> Iterable[int]:
        return (0, 2) if symbol in {"A", "D"} else ()

    def partials_changed(self, series: Sequence[int]) -> None:
        self._keep(self.engine.partials(series))

    def bars_published(self, bars: Sequence[Published]) -> None:
        self._keep(bar.wire for bar in bars)

    def interval_completed(self, interval: str, end: int) -> None:
        self.completed.append((interval, end))

    def put(self, bars: Sequence[Bar]) -> None:
        self._keep(UpdateBatch(bars=[bar.to_message(0)]).SerializeToString() for bar in bars)

    def _keep(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            (bar,) = UpdateBatch.FromString(piece).bars
            self.seen.setdefault(bar.symbol, []).append(piece)


def make_market(completion: Completions, max_symbols: int) -> tuple[Market, Listener, Feeds]:
    rule, feeds = UtcDay(), Feeds(60)
    engine = BarEngine(PLAN, lambda _symbol: rule, feeds.coverage, completion=completion)
    listener = engine.audience = engine.sink = Listener(engine)
    book = Book(engine, max_symbols=max_symbols, epoch=EPOCH)
    watchers = Watchers(100, book, BarWatchers(engine, 100, 100))
    return Market(book, Producers(3), watchers, 60.0), listener, feeds


class One:
    """One market."""

    def __init__(self) -> None:
        self.market, self.listener, feeds = make_market(
            Completion(len(NAMES), PLAN.revise_ns), MAX_SYMBOLS
        )
        self.feeds = [feeds.open(NOW), feeds.open(NOW)]
        self.acks: list[BatchAck] = []

    def publish(self, data: bytes, feed: int = 0) -> type[Exception] | None:
        try:
            self.acks.append(self.market.publish_batch(data, NOW, self.feeds[feed]))
        except (DecodeError, InvalidBatch) as exc:
            return type(exc)
        return None


class Many:
    """A front and several shards, whose answers come when each is told to."""

    def __init__(self, workers: int) -> None:
        self.tallies = [Tally() for _ in range(workers)]
        made = [make_market(tally, 1) for tally in self.tallies]
        self.markets = [market for market, _, _ in made]
        self.listeners = [listener for _, listener, _ in made]
        self.shards = [Shard(market, feeds) for market, _, feeds in made]
        for shard in self.shards:
            for number in range(2):
                shard.feed(Feed(number=number, now_ns=NOW, open=True))
        self.splitter = Splitter(
            workers,
            max_symbols=MAX_SYMBOLS,
            producers=Producers(3),
            epoch=EPOCH,
            max_future_skew_s=60.0,
        )
        self.merger = Merger(workers, len(NAMES), PLAN.revise_ns)
        self.acks: list[BatchAck] = []
        self.completed: list[tuple[str, int]] = []
        self.waiting: list[list[tuple[bytes, bytes]]] = [[] for _ in range(workers)]

    def publish(self, data: bytes, feed: int = 0) -> type[Exception] | None:
        try:
            split = self.splitter.split(data, NOW, feed)
        except (DecodeError, InvalidBatch) as exc:
            return type(exc)
        self.merger.expect(split, self.acks.append)
        for worker, frame in enumerate(split.frames):
            self.waiting[worker] += FrameDecoder().feed(frame)
        return None

    def answer(self, worker: int) -> None:
        if not self.waiting[worker]:
            return
        head, columns = self.waiting[worker].pop(0)
        applied = self.shards[worker].apply(ToWorker.FromString(head).ticks, columns)
        clock = self.markets[worker].book.engine.clock
        progress = self.tallies[worker].take(clock) or Progress(clock=clock)
        ends = self.merger.applied(worker, applied, progress)
        self.completed += [(NAMES[end.interval], end.end) for end in ends]


usual = st.builds(
    Tick,
    symbol=st.sampled_from(SYMBOLS[:4]),
    price=st.integers(1, 9).map(float),
    volume=st.integers(1, 9),
    exchange_timestamp=st.integers(0, 40).map(lambda n: START + n * NS_PER_S // 4),
)
strange = st.builds(
    Tick,
    symbol=st.sampled_from([*SYMBOLS, "", "lower", "T" * 33, "Ä"]),
    price=st.sampled_from([1.0, 0.0, -1.0, nan, inf, 1e308, 5.5]),
    volume=st.sampled_from([1, 0, -5, 2**62, 2**63 - 1, 7]),
    exchange_timestamp=st.sampled_from(
        [0, -1, START, START - 2_000 * NS_PER_S, START + 100 * NS_PER_S, NOW + 61 * NS_PER_S]
    ),
    ingest_timestamp=st.sampled_from([0, 5]),
)
batches = st.builds(
    TickBatch,
    producer_id=st.sampled_from(["", "p", "q", "p" * 65]),
    first_sequence=st.integers(0, 30),
    ticks=st.lists(st.one_of(usual, usual, usual, strange), max_size=12),
    feed=st.sampled_from([None, None, FeedReport(), FeedReport(producers=2, accepted=5)]),
)


@given(
    st.lists(st.tuples(batches, st.integers(0, 1)), max_size=12),
    st.integers(1, 5),
    st.lists(st.integers(0, 4), max_size=60),
)
def test_any_batches_give_the_same_with_any_number_of_shards(
    given_batches: list[tuple[TickBatch, int]], workers: int, turns: list[int]
) -> None:
    one, many = One(), Many(workers)
    order = iter(turns)
    for batch, feed in given_batches:
        data = batch.SerializeToString()
        assert one.publish(data, feed) == many.publish(data, feed)
        for turn, _ in zip(order, range(workers), strict=False):
            many.answer(turn % workers)
    for worker in range(workers):
        while many.waiting[worker]:
            many.answer(worker)

    assert many.acks == one.acks
    assert many.splitter.symbols() == one.market.book.symbols()
    assert many.splitter.duplicates == one.market.duplicates
    assert many.merger.accepted == one.market.accepted
    assert many.merger.rejected == one.market.rejected
    for symbol in SYMBOLS:
        owner = owner_of(symbol, workers)
        assert many.markets[owner].book.aggregate(symbol) == one.market.book.aggregate(symbol)
        assert many.listeners[owner].seen.get(symbol) == one.listener.seen.get(symbol)
    assert many.completed == one.listener.completed
    counts = [market.book.engine.counts for market in many.markets]
    assert sum(count.late for count in counts) == one.market.book.engine.counts.late
    assert sum(count.bars_late for count in counts) == one.market.book.engine.counts.bars_late


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_split_as_one_market_takes_them(data: bytes) -> None:
    one, many = One(), Many(3)
    assert one.publish(data) == many.publish(data)
    for worker in range(3):
        many.answer(worker)
    assert many.acks == one.acks


def test_the_owner_of_a_symbol_is_the_same_on_every_machine() -> None:
    assert [owner_of(symbol, 4) for symbol in SYMBOLS] == [2, 2, 1, 0, 1, 1, 2]


def test_symbols_spread_evenly() -> None:
    counts = [0] * 4
    for number in range(10_000):
        counts[owner_of(f"S{number:05}", 4)] += 1
    assert min(counts) > 2_300

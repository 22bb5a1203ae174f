"""A bar engine whose events are kept, and the bars of some trades computed the obvious way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import Bar, BarKey, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.bars.engine import BarEngine
from aggregator.bars.event_series import EventBarsFactory
from aggregator.bars.plan import BarPlan, parse_intervals
from aggregator.bars.published import Published
from aggregator.book import Applied, Book
from aggregator.sessions.sessions import SessionRule, UtcDay
from marketdata.intervals import parse_interval
from marketdata.timestamps import NS_PER_S
from marketdata.warm import load_kernels
from marketdata.wire.market_data_pb2 import Tick, UpdateBatch
from tests.doubles.limits import NO_LIMITS

# Else the first trade compiles for its own types, which nothing keeps for the services.
load_kernels()

LATEST = 2**62


class Trade(NamedTuple):
    """One tick, in short."""

    ts: int
    price: float = 10.0
    volume: int = 1
    symbol: str = "A"


class EngineHarness:
    """A book and its bars, with all that they publish.

    ::

        harness = EngineHarness("1s,1m")
        harness.trade(Trade(ts), Trade(ts))  # one batch
        harness.closed[-1]  # the state that the store was given last

    """

    def __init__(
        self,
        bars: str = "1s,1m,5m,15m,1h,1d",
        *,
        rule: SessionRule | None = None,
        grace_s: float = 2,
        revise_s: float = 900,
        max_closed: int = 500_000,
        max_symbols: int = 1_000,
        watched: Collection[str] = (),
        event_bars: EventBarsFactory | None = None,
    ) -> None:
        plan = BarPlan(
            intervals=parse_intervals(bars),
            grace_ns=int(grace_s * NS_PER_S),
            revise_ns=int(revise_s * NS_PER_S),
            max_closed=max_closed,
        )
        session_rule = rule or UtcDay()
        self.engine = BarEngine(plan, lambda _symbol: session_rule, event_bars=event_bars)
        self.engine.output.listener = self
        self.engine.output.sink = self
        self.book = Book(self.engine, max_symbols=max_symbols, epoch=1, limits=NO_LIMITS)
        for interval in watched:
            self.engine.series.want_all(self.engine.series.intervals.index(interval), True)
        self._sequence = 1
        # Every published state that is watched, as it was then.
        self.published: list[Bar] = []
        self.closed: list[Bar] = []
        self.completed: list[tuple[str, int]] = []
        # Of the states that are not partial, and of the markers, in their order.
        self.story: list[tuple[str, int, BarState] | tuple[str, int]] = []

    def trade(self, *trades: Trade, now_ns: int = 0, sequences: Iterable[int] = ()) -> Applied:
        """Apply trades as one batch."""
        first = next(iter(sequences), self._sequence)
        ticks = [
            Tick(symbol=t.symbol, price=t.price, volume=t.volume, exchange_timestamp=t.ts)
            for t in trades
        ]
        self._sequence += len(ticks)
        return self.book.apply(ticks, first, LATEST, now_ns)

    def close_due(self, now_ns: int) -> None:
        """Let the wall clock be ``now_ns``."""
        assert self.engine.close_due(now_ns, 1_000_000)

    def bars(self, interval: str, symbol: str = "A") -> list[Bar]:
        """Return all bars in memory."""
        return self.engine.series.open_and_recent(symbol, interval, -(2**62), 2**62)

    def newest(self) -> dict[BarKey, Bar]:
        """Return every bar as it was closed last, or as it is now."""
        found = {bar.key: bar for bar in self.closed}
        found.update({bar.key: bar for bar in self.engine.open_bars()})
        return found

    # What the engine tells.

    def opened(self, _symbol: str, _row: int) -> Iterable[int]:
        """Want nothing by name."""
        return ()

    def partials_changed(self, series: NDArray[np.int64]) -> None:
        """Keep the open bars."""
        self.published += map(read_bar, self.engine.series.partials(series))

    def bars_published(self, bars: Sequence[Published]) -> None:
        """Keep the states."""
        for published in bars:
            bar = read_bar(published.wire)
            symbol, interval, start, number = bar.key
            assert published.series == self.engine.series.number(symbol, interval)
            assert published[1:3] == (start, number)
            assert published.revision == (bar.revision if bar.state.is_closed else -1)
            self.published.append(bar)
            self.story.append((bar.symbol, bar.start, bar.state))

    def interval_completed(self, interval: str, end: int) -> None:
        """Keep the marker."""
        self.completed.append((interval, end))
        self.story.append((interval, end))

    def put(self, bars: Sequence[Bar]) -> None:
        """Keep the closed bars."""
        self.closed.extend(bars)


def read_bars(pieces: Iterable[bytes]) -> list[Bar]:
    """Return the bars of encoded records, of which a piece may have several."""
    batch = UpdateBatch.FromString(b"".join(pieces))
    return [read_bar(UpdateBatch(bars=[bar]).SerializeToString()) for bar in batch.bars]


def read_bar(record: bytes) -> Bar:
    """Return the bar that is written there, with what a message has of it."""
    (message,) = UpdateBatch.FromString(record).bars
    candle = Candle()
    candle.open, candle.close = message.open, message.close
    candle.high, candle.low = message.high, message.low
    candle.volume, candle.trades = message.volume, message.trades
    candle.notional = message.vwap * message.volume
    candle.first_ts, candle.last_ts = message.first_timestamp, message.last_timestamp
    return Bar(
        message.symbol,
        message.interval,
        message.start,
        message.end,
        candle,
        message.number,
        BarState(message.state),
        message.revision,
        Coverage(message.coverage),
        message.refused,
        message.phase,
        message.sequence,
    )


class Expected(NamedTuple):
    """What a bar has to say of its trades."""

    open: float
    high: float
    low: float
    close: float
    volume: int
    trades: int
    first_ts: int
    last_ts: int
    vwap: Fraction


def expected_bars(
    trades: Iterable[tuple[int, Trade]], interval: str, rule: SessionRule | None = None
) -> dict[tuple[str, int], Expected]:
    """Compute the bars of numbered trades by symbol and start, the slow and obvious way."""
    rule = rule or UtcDay()
    size = parse_interval(interval).nominal_ns
    groups: dict[tuple[str, int], list[tuple[int, int, Trade]]] = {}
    for sequence, trade in trades:
        start = (trade.ts - rule.anchor(size)) // size * size + rule.anchor(size)
        if interval == "1d":
            day = rule.day(trade.ts)
            if day is None:
                continue
            start = day.start
        groups.setdefault((trade.symbol, start), []).append((trade.ts, sequence, trade))
    found = {}
    for key, group in groups.items():
        # Stable: ties in both fall to arrival.
        group.sort(key=lambda item: item[:2])
        mine = [trade for _, _, trade in group]
        volume = sum(t.volume for t in mine)
        money = sum((Fraction(t.price) * t.volume for t in mine), Fraction())
        found[key] = Expected(
            open=mine[0].price,
            high=max(t.price for t in mine),
            low=min(t.price for t in mine),
            close=mine[-1].price,
            volume=volume,
            trades=len(mine),
            first_ts=mine[0].ts,
            last_ts=mine[-1].ts,
            vwap=money / volume,
        )
    return found


def said(bar: Bar) -> Expected:
    """Return what a bar says of its trades."""
    c = bar.candle
    return Expected(
        c.open, c.high, c.low, c.close, c.volume, c.trades, c.first_ts, c.last_ts, Fraction(c.vwap)
    )


def assert_bars(found: dict[tuple[str, int], Bar], want: dict[tuple[str, int], Expected]) -> None:
    """Compare bars: all exactly, but vwap to 1e-12."""
    assert found.keys() == want.keys()
    for key, bar in found.items():
        got, expected = said(bar), want[key]
        assert got[:-1] == expected[:-1], key
        assert abs(got.vwap - expected.vwap) <= expected.vwap * Fraction(1, 10**12), key

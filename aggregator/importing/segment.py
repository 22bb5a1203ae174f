"""Make bars of a part of the trades of an import."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import gcd
from typing import NamedTuple

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.bars.kernel.candle import EXCLUDE_VOLUME
from aggregator.bars.schedule import BarSchedule
from aggregator.importing.ids import SEPARATOR, UNKNOWN, Ids
from aggregator.sessions.sessions import SessionRule
from marketdata.decimals import plain_decimal
from marketdata.errors import MarketDataError
from marketdata.intervals import Interval, IntervalKind
from marketdata.timestamps import NS_PER_S

HOUR_NS = 3600 * NS_PER_S


class TotalOverflow(MarketDataError):
    """A total of one bar is above the largest number a bar can hold."""

    def __init__(self, bar: Bar) -> None:
        what = "volume" if bar.candle.volume > MAX_INT64 else "price x volume"
        super().__init__(
            f"the {what} of {bar.symbol} {bar.interval} at {bar.start} is above the largest number"
        )


# More different trades of one moment are not told apart.
_MAX_TOLD_APART = 64


class Hour(NamedTuple):
    """What a file has of one symbol in one hour."""

    symbol: str
    hour: int
    first_ts: int
    last_ts: int
    trades: int
    volume: int
    # Price and volume of the trades at the first and at the last time.
    first_trades: str
    last_trades: str
    # The volume counts 10^-volume_decimals.
    volume_decimals: int
    # The ids of all trades, as text.
    ids: str


# A valid trade of a file: symbol, price, volume, exchange time, sequence, volume decimals, excludes
# and id, as ids.split_id has it. A plain tuple: one is made per trade.
Trade = tuple[str, float, int, int, int, int, int, tuple[str, int] | None]

_Sizes = set[tuple[float, int, int]]


class _OpenHour:
    __slots__ = ("decimals", "first", "first_ts", "ids", "last", "last_ts", "trades", "volume")

    def __init__(self, ts: int) -> None:
        self.first_ts = self.last_ts = ts
        self.first: _Sizes = set()
        self.last: _Sizes = set()
        self.trades = self.volume = self.decimals = 0
        self.ids = Ids()

    def add(self, trade: Trade) -> None:
        _, price, volume, ts, _, decimals, excludes, trade_id = trade
        self.trades += 1
        if trade_id is None:
            self.ids.unknown = True
        else:
            self.ids.add(trade_id)
        if decimals > self.decimals:
            self.volume *= 10 ** (decimals - self.decimals)
            self.decimals = decimals
        if not excludes & EXCLUDE_VOLUME:
            self.volume += volume * 10 ** (self.decimals - decimals)
        if ts >= self.last_ts:
            if ts > self.last_ts:
                self.last_ts, self.last = ts, set()
            self.last.add((price, volume, decimals))
        if ts <= self.first_ts:
            if ts < self.first_ts:
                self.first_ts, self.first = ts, set()
            self.first.add((price, volume, decimals))


def _told_apart(trades: _Sizes) -> str:
    if len(trades) > _MAX_TOLD_APART:
        return UNKNOWN + SEPARATOR
    return "".join(
        f"{price!r}x{plain_decimal(volume, decimals)}{SEPARATOR}"
        for price, volume, decimals in sorted(trades)
    )


class Segment:
    """The bars of consecutive trades, which may be in any order of time.

    Only intervals that end by the clock have bars here. Each trade goes into one candle of the base
    interval; at the end these candles are folded into bars.
    """

    def __init__(
        self, intervals: Sequence[Interval], rule_for: Callable[[str], SessionRule]
    ) -> None:
        self._intervals = [interval for interval in intervals if interval.by_clock]
        self._rule_for = rule_for
        sizes = [i.size for i in self._intervals if i.kind is IntervalKind.TIME]
        # Days begin at whole seconds.
        whole = len(sizes) == len(self._intervals) and sizes
        self._base_ns = gcd(*sizes) if whole else NS_PER_S
        self._candles: dict[str, dict[int, Candle]] = {}
        self._hours: dict[tuple[str, int], _OpenHour] = {}
        # How many trades were refused in the time of a bar: by symbol, interval and start.
        self.refused: Counter[tuple[str, str, int]] = Counter()
        self.candles = 0
        self.out_of_session = 0

    def add(self, trade: Trade) -> None:
        """Add one trade."""
        symbol, price, volume, ts, sequence, decimals, excludes, _ = trade
        candles = self._candles.get(symbol)
        if candles is None:
            candles = self._candles[symbol] = {}
        bucket = ts // self._base_ns
        candle = candles.get(bucket)
        if candle is None:
            candle = candles[bucket] = Candle()
            self.candles += 1
            candle.volume_decimals = decimals
        if decimals != candle.volume_decimals:
            if decimals > candle.volume_decimals:
                candle.refine(decimals)
            volume *= 10 ** (candle.volume_decimals - decimals)
        candle.take(price, volume, ts, sequence, excludes)
        place = symbol, ts // HOUR_NS
        hour = self._hours.get(place)
        if hour is None:
            hour = self._hours[place] = _OpenHour(ts)
        hour.add(trade)

    def refuse(self, symbol: str, ts: int) -> None:
        """Note that a trade is missing."""
        rule = self._rule_for(symbol)
        for interval in self._intervals:
            bounds = BarSchedule(interval, rule).bounds(ts)
            if bounds is not None:
                self.refused[symbol, interval.name, bounds[0]] += 1

    def hours(self) -> list[Hour]:
        """Return the hours of all trades so far."""
        return [
            Hour(
                symbol,
                hour * HOUR_NS,
                found.first_ts,
                found.last_ts,
                found.trades,
                found.volume,
                _told_apart(found.first),
                _told_apart(found.last),
                found.decimals,
                found.ids.to_text(),
            )
            for (symbol, hour), found in sorted(self._hours.items())
        ]

    def drain(self) -> Iterator[Bar]:
        """Return the bars of all trades so far, and forget those trades.

        Raises:
            TotalOverflow: a sum is too large.
        """
        # In a fixed order, so every run gives the same sums, to the last bit.
        for symbol in sorted(self._candles):
            buckets = self._candles[symbol]
            rule = self._rule_for(symbol)
            for interval in self._intervals:
                yield from self._fold(symbol, BarSchedule(interval, rule), buckets)
        self._candles = {}
        self._hours = {}
        self.candles = 0

    def _fold(
        self, symbol: str, schedule: BarSchedule, buckets: dict[int, Candle]
    ) -> Iterator[Bar]:
        bar: Bar | None = None
        for bucket in sorted(buckets):
            ts = bucket * self._base_ns
            if bar is None or ts >= bar.end:
                if bar is not None:
                    yield check(bar)
                bounds = schedule.bounds(ts)
                if bounds is None:
                    # Between two trading days; only intraday bars have these trades.
                    self.out_of_session += buckets[bucket].trades
                    bar = None
                    continue
                bar = schedule.make(symbol, *bounds, Candle())
                bar.state, bar.coverage = BarState.FINAL, Coverage.FULL
            bar.candle.merge(buckets[bucket])
        if bar is not None:
            yield check(bar)


def check(bar: Bar) -> Bar:
    """Return the bar.

    Raises:
        TotalOverflow: a sum is too large.
    """
    if bar.candle.volume > MAX_INT64 or bar.candle.notional == float("inf"):
        raise TotalOverflow(bar)
    return bar

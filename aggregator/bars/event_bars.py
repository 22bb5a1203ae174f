"""Build bars that end after a number of trades, a volume or an amount of money."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from math import ceil, inf
from typing import Any

from aggregator.bars.bar import Bar, BarState, CoverageRule
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.bars.kernel.candle import EXCLUDE_VOLUME, is_empty
from aggregator.bars.source import Amendment
from marketdata.intervals import Interval, IntervalKind
from marketdata.sums import add_neumaier

# One print of a billion shares must not make a million bars.
MAX_BARS_PER_TRADE = 1_000
# 8 MB. So many trades within the grace are a feed whose clock stands still.
MAX_PENDING = 100_000

# A sum of price x volume is off by at most 2^-51 of itself: half of it because no double is 34.23,
# half from rounding. 100 x 34.23 gives 3422.9999999999995 and fills a bar of 3423 all the same.
_NEARLY = 1 - 2**-51

# A trade that waits: exchange time, sequence, price, volume and excludes.
_Trade = tuple[int, int, float, int, int]
PhaseOf = Callable[[int], str]
# From a symbol and start <= time < end to how many ticks were refused.
RefusedOf = Callable[[str, int, int], int]


class EventBars:
    """The tick, volume or notional bars of one symbol.

    Trades count in the order of (exchange time, sequence): each waits until the clock is a grace
    past it. A trade that comes even later counts into the present bar, as if in the middle of it,
    so no volume is lost; :attr:`late` counts such trades.

    A trade that is larger than the rest of a bar is split; it counts as a trade in its first part.
    A full bar is final, and the next one begins with the next part, so no bar is empty.
    A trade that does not move the volume is left out. One that was cancelled or corrected while it
    waited counts as it is then; later it is what it was.

    :attr:`capped` counts bars that ended otherwise: the last of the MAX_BARS_PER_TRADE bars of one
    trade takes all that is left, and a bar ends before its totals pass an int64 or a double.
    """

    def __init__(
        self,
        symbol: str,
        interval: Interval,
        *,
        grace_ns: int,
        coverage: CoverageRule,
        phase: PhaseOf,
        refused: RefusedOf = lambda _symbol, _start, _end: 0,
    ) -> None:
        self._symbol = symbol
        self._interval = interval
        self._grace_ns = grace_ns
        self._coverage = coverage
        self._phase = phase
        self._refused = refused
        self._pending: list[_Trade] = []
        # Volumes count 10^-decimals.
        self._decimals = 0
        self._set_scale(interval.decimals)
        self._pending_sorted = True
        # Where the trades that counted have come to.
        self._reached = (0, -1)
        self._bar: Bar | None = None
        self._last_start, self._last_number = -1, 0
        self.late = 0
        self.capped = 0

    @property
    def open_bar(self) -> Bar | None:
        """The bar that is not full yet, None between two; it goes on changing."""
        bar = self._bar
        if bar is not None:
            bar.end = max(bar.candle.last_ts, bar.start)
            self._cover(bar)
        return bar

    @property
    def pending(self) -> int:
        """How many trades wait for their grace."""
        return len(self._pending)

    def next_release(self) -> int | None:
        """Return from which clock on :meth:`advance` has something to do, None for never."""
        self._sort()
        return self._pending[0][0] + self._grace_ns if self._pending else None

    # How much fills a bar at this scale, and the notional that nearly does.
    def _set_scale(self, decimals: int) -> None:
        factor = 10 ** (decimals - self._decimals)
        self._decimals = decimals
        self._size = self._interval.size
        if self._interval.kind is not IntervalKind.TICK:
            self._size *= 10 ** (decimals - self._interval.decimals)
        self._enough = self._size * _NEARLY
        if factor > 1:
            self._pending = [
                (ts, sequence, price, volume * factor, excludes)
                for ts, sequence, price, volume, excludes in self._pending
            ]

    # Returns a volume at the scale of the bars, which gets finer if it must.
    def _scaled(self, volume: int, decimals: int) -> int:
        while decimals > self._decimals and volume % 10 == 0:
            volume, decimals = volume // 10, decimals - 1
        if decimals > self._decimals:
            if self._bar is not None:
                self._bar.candle.refine(decimals)
            self._set_scale(decimals)
        scaled: int = volume * 10 ** (self._decimals - decimals)
        return scaled

    def add(
        self,
        price: float,
        volume: int,
        ts: int,
        sequence: int,
        *,
        decimals: int = 0,
        excludes: int = 0,
    ) -> None:
        """Take one trade in; it counts when :meth:`advance` comes to it."""
        if excludes & EXCLUDE_VOLUME:
            return
        if decimals != self._decimals:
            volume = self._scaled(volume, decimals)
        pending = self._pending
        trade = (ts, sequence, price, volume, excludes)
        if pending and trade < pending[-1]:
            self._pending_sorted = False
        pending.append(trade)

    def amend(self, amendment: Amendment) -> None:
        """Cancel or correct a trade, if it waits."""
        self._sort()
        key = amendment.ts, amendment.sequence
        at = bisect_left(self._pending, key, key=lambda trade: trade[:2])
        if at < len(self._pending) and self._pending[at][:2] == key:
            del self._pending[at]
            if not amendment.is_cancelled:
                self.add(
                    *(amendment.price, amendment.volume, *key),
                    decimals=amendment.decimals,
                    excludes=amendment.excludes,
                )

    def advance(self, clock_ns: int) -> list[Bar]:
        """Let the trades count that are a grace older than the clock; return the bars they fill.

        The clock is the symbol's latest exchange time, and that of the wall where it is live.
        """
        self._sort()
        count = bisect_right(self._pending, clock_ns - self._grace_ns, key=_time)
        # Too many wait: the earliest count now, although an earlier trade may still come.
        return self._release(max(count, len(self._pending) - MAX_PENDING))

    def flush(self) -> list[Bar]:
        """Let all trades count and return the bars they fill: the end has come."""
        self._sort()
        return self._release(len(self._pending))

    def restore(self, bars: Iterable[Bar]) -> None:
        """Go on after ``bars``, as they were when an earlier epoch ended; only before any trade."""
        newest = max(bars, key=lambda bar: bar.key, default=None)
        if newest is None:
            return
        self._last_start, self._last_number = newest.start, newest.number
        self._reached = newest.candle.last_ts, newest.candle.last_sequence
        if not newest.state.is_closed:
            self._restore_bar(newest)

    def _restore_bar(self, bar: Bar | None) -> None:
        self._bar = bar
        if bar is not None:
            decimals = max(bar.candle.volume_decimals, self._decimals)
            self._set_scale(decimals)
            bar.candle.refine(decimals)

    def dump_state(self) -> dict[str, Any]:
        """Return the trades that wait, the bar that is not full, and the rest."""
        self._sort()
        return {
            "pending": self._pending,
            "decimals": self._decimals,
            "bar": self.open_bar,
            "reached": self._reached,
            "last_start": self._last_start,
            "last_number": self._last_number,
            "late": self.late,
            "capped": self.capped,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where other bars were."""
        self._set_scale(state["decimals"])
        self._pending = [tuple(trade) for trade in state["pending"]]
        self._pending_sorted = True
        self._bar = state["bar"]
        self._reached = state["reached"]
        self._last_start = state["last_start"]
        self._last_number = state["last_number"]
        self.late = state["late"]
        self.capped = state["capped"]

    def _sort(self) -> None:
        if not self._pending_sorted:
            self._pending.sort()
            self._pending_sorted = True

    def _release(self, count: int) -> list[Bar]:
        filled: list[Bar] = []
        if count:
            released = self._pending[:count]
            del self._pending[:count]
            for trade in released:
                self._count(trade, filled)
        return filled

    def _count(self, trade: _Trade, filled: list[Bar]) -> None:
        ts, sequence, price, volume, excludes = trade
        late = (ts, sequence) < self._reached
        if late:
            self.late += 1
            # A bar that begins with it begins where the bars have come to.
            ts, sequence = self._reached
        else:
            self._reached = ts, sequence
        left, bars = volume, 0
        while left:
            bar = self._bar or self._begin(ts)
            bars += 1
            part = self._room(bar.candle, price, left)
            if part < left and bars == MAX_BARS_PER_TRADE:
                self.capped += 1
                part = left
            if _overflows(bar.candle, price, part):
                self.capped += 1
                filled.append(self._close(bar))
                continue
            _add(bar.candle, (ts, sequence, price, part, excludes), late=late)
            if left < volume:
                # Not its first part.
                bar.candle.trades -= 1
            left -= part
            if self._is_full(bar.candle):
                filled.append(self._close(bar))

    def _begin(self, ts: int) -> Bar:
        number = self._last_number + 1 if ts == self._last_start else 0
        self._last_start, self._last_number = ts, number
        self._bar = bar = Bar(
            self._symbol,
            self._interval.name,
            start=ts,
            end=ts,
            candle=self._new_candle(),
            number=number,
            phase=self._phase(ts),
        )
        return bar

    def _new_candle(self) -> Candle:
        candle = Candle()
        candle.volume_decimals = self._decimals
        return candle

    def _close(self, bar: Bar) -> Bar:
        bar.end = max(bar.candle.last_ts, bar.start)
        self._cover(bar)
        bar.state = BarState.FINAL
        self._bar = None
        return bar

    def _cover(self, bar: Bar) -> None:
        bar.coverage = self._coverage(bar.start, bar.end + 1)
        bar.refused = self._refused(self._symbol, bar.start, bar.end + 1)

    def _room(self, candle: Candle, price: float, left: int) -> int:
        # How many of the shares left, at this price, go into the bar; at least one.
        kind, size = self._interval.kind, self._size
        if kind is IntervalKind.TICK:
            return left
        if kind is IntervalKind.VOLUME:
            return min(left, size - candle.volume)
        return _shares(candle, self._enough, price, left)

    def _is_full(self, candle: Candle) -> bool:
        kind, size = self._interval.kind, self._size
        if kind is IntervalKind.TICK:
            return candle.trades >= size
        if kind is IntervalKind.VOLUME:
            return candle.volume >= size
        return candle.notional + candle.notional_error >= self._enough


def _time(trade: _Trade) -> int:
    return trade[0]


def _overflows(candle: Candle, price: float, volume: int) -> bool:
    return candle.volume + volume > MAX_INT64 or candle.notional + price * volume == inf


def _add(candle: Candle, trade: _Trade, *, late: bool) -> None:
    ts, sequence, price, volume, excludes = trade
    if not late or is_empty(candle):
        candle.take(price, volume, ts, sequence, excludes)
        return
    # Neither its first nor its last trade.
    first = candle.open, candle.first_ts, candle.first_sequence
    last = candle.close, candle.last_ts, candle.last_sequence
    candle.take(price, volume, ts, sequence, excludes)
    candle.open, candle.first_ts, candle.first_sequence = first
    candle.close, candle.last_ts, candle.last_sequence = last


def _shares(candle: Candle, enough: float, price: float, left: int) -> int:
    # The first number of shares with which the candle's own sum is enough, or all of them.
    # Dividing alone may be one off, and further where doubles are coarser than the price.
    def reaches(shares: int) -> bool:
        return _total(candle, price * shares) >= enough

    if not reaches(left):
        return left
    low, high = 0, left
    guess = (enough - candle.notional - candle.notional_error) / price
    if guess < left:
        guess = max(ceil(guess), 1)
        if not reaches(guess):
            low = guess
        elif guess == 1 or not reaches(guess - 1):
            return guess
        else:
            high = guess - 1
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle
    return high


def _total(candle: Candle, notional: float) -> float:
    # What Candle.add would make of its notional and error.
    return sum(add_neumaier(candle.notional, candle.notional_error, notional))

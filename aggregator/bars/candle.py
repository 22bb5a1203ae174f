"""Sum up trades, in any order."""

from __future__ import annotations

from math import inf

MAX_INT64 = 2**63 - 1


class Candle:
    """Open, high, low, close, volume, trades and vwap of some trades of one symbol.

    open and close go by (exchange time, sequence); the rest does not depend on the order. Two
    candles of different trades merge into that of all of them. Without trades only :meth:`add` and
    :meth:`merge` have a meaning.
    """

    __slots__ = (
        "close",
        "first_sequence",
        "first_ts",
        "high",
        "last_sequence",
        "last_ts",
        "low",
        "notional",
        "notional_error",
        "open",
        "trades",
        "volume",
    )

    def __init__(self) -> None:
        self.open = self.close = 0.0
        self.high, self.low = 0.0, inf
        self.volume = self.trades = 0
        # Sum of price x volume with the rounding error kept beside it (Neumaier): a plain sum of
        # a million terms is off by up to 1e-10 and differs with their order.
        self.notional = self.notional_error = 0.0
        self.first_ts = self.first_sequence = MAX_INT64 + 1
        self.last_ts = self.last_sequence = -1

    def add(self, price: float, volume: int, ts: int, sequence: int) -> None:
        """Take one trade in; the caller made sure that the totals do not overflow."""
        notional, before = price * volume, self.notional
        self.volume += volume
        self.notional = after = before + notional
        larger, smaller = (before, notional) if before >= notional else (notional, before)
        self.notional_error += (larger - after) + smaller
        self.trades += 1
        # Not max() and min(): a call costs more than the comparison.
        if price > self.high:  # noqa: PLR1730
            self.high = price
        if price < self.low:  # noqa: PLR1730
            self.low = price
        if ts > self.last_ts or (ts == self.last_ts and sequence >= self.last_sequence):
            self.close, self.last_ts, self.last_sequence = price, ts, sequence
        if ts < self.first_ts or (ts == self.first_ts and sequence < self.first_sequence):
            self.open, self.first_ts, self.first_sequence = price, ts, sequence

    def merge(self, other: Candle) -> None:
        """Take the trades of ``other`` in, none of which was taken in before."""
        # Twice as fast as with max(), min() and tuples; a base candle merges into every open bar.
        before, notional = self.notional, other.notional
        self.volume += other.volume
        self.notional = after = before + notional
        larger, smaller = (before, notional) if before >= notional else (notional, before)
        self.notional_error += other.notional_error + ((larger - after) + smaller)
        self.trades += other.trades
        if other.high > self.high:  # noqa: PLR1730
            self.high = other.high
        if other.low < self.low:  # noqa: PLR1730
            self.low = other.low
        ts = other.last_ts
        if ts > self.last_ts or (ts == self.last_ts and other.last_sequence >= self.last_sequence):
            self.close, self.last_ts, self.last_sequence = other.close, ts, other.last_sequence
        ts = other.first_ts
        if ts < self.first_ts or (
            ts == self.first_ts and other.first_sequence < self.first_sequence
        ):
            self.open, self.first_ts, self.first_sequence = other.open, ts, other.first_sequence

    def copy(self) -> Candle:
        """Return a candle of the same trades."""
        # Each by name: a loop over the names takes four times as long.
        twin: Candle = Candle.__new__(Candle)
        twin.open, twin.high, twin.low, twin.close = self.open, self.high, self.low, self.close
        twin.volume, twin.trades = self.volume, self.trades
        twin.notional, twin.notional_error = self.notional, self.notional_error
        twin.first_ts, twin.first_sequence = self.first_ts, self.first_sequence
        twin.last_ts, twin.last_sequence = self.last_ts, self.last_sequence
        return twin

    @property
    def vwap(self) -> float:
        """Sum of price x volume divided by volume."""
        vwap = (self.notional + self.notional_error) / self.volume
        # Rounding must not carry the mean out of its range.
        return min(max(vwap, self.low), self.high)

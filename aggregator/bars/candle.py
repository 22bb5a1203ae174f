"""Sum up trades, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from aggregator.bars.kernel.candle import (
    MAX_INT64,
    NUMBERS,
    CandleNumbers,
    add,
    empty,
    is_empty,
    merge,
    take,
    vwap,
)
from marketdata.fields import CANDLE_FIELDS, Kind

__all__ = ["MAX_INT64", "Candle"]

_values = attrgetter(*NUMBERS)
_ZEROS = [0.0 if field.kind is Kind.REAL else 0 for field in CANDLE_FIELDS]


class Candle(CandleNumbers):
    """Open, high, low, close, volume, trades and vwap of some trades of one symbol.

    open and close go by (exchange time, sequence); the rest does not depend on the order. Two
    candles of different trades merge into that of all of them. Without trades only :meth:`add` and
    :meth:`merge` have a meaning. The compiled loops do the same to their records.
    """

    __slots__ = ()

    def __init__(self, values: Iterable[Any] = _ZEROS) -> None:
        for name, value in zip(NUMBERS, values, strict=True):
            setattr(self, name, value)

    add = add
    take = take
    empty = empty
    vwap = property(vwap)

    def values(self) -> tuple[Any, ...]:
        """Return all numbers, in the order of ``CANDLE_FIELDS``."""
        found: tuple[Any, ...] = _values(self)
        return found

    def merge(self, other: CandleNumbers) -> None:
        """Take the trades of ``other`` in; none of them was taken in before.

        Raises:
            OverflowError: the volume passes an int64 at the finer scale of the two.
        """
        if is_empty(other):
            # Those of a bar may have been cancelled.
            return
        if other.volume_decimals < self.volume_decimals:
            other = Candle(_values(other))
            other.refine(self.volume_decimals)
        elif self.trades:
            self.refine(other.volume_decimals)
        merge(self, other)

    def refine(self, decimals: int) -> None:
        """Let the volume count 10^-decimals, which are at least those that it has.

        Raises:
            OverflowError: it passes an int64.
        """
        factor = 10 ** (decimals - self.volume_decimals)
        if self.volume * factor > MAX_INT64:
            raise OverflowError(f"a volume of {self.volume} x {factor} passes an int64")
        self.volume *= factor
        self.notional *= factor
        self.notional_error *= factor
        self.volume_decimals = decimals

    def copy(self) -> Candle:
        """Return a candle of the same trades."""
        return Candle(self.values())

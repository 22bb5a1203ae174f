"""Sum up trades, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter
from typing import Any

from aggregator.bars.kernel.candle import MAX_INT64, NUMBERS, CandleNumbers, add, merge, vwap
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
    merge = merge
    vwap = property(vwap)

    def values(self) -> tuple[Any, ...]:
        """Return all numbers, in the order of ``CANDLE_FIELDS``."""
        found: tuple[Any, ...] = _values(self)
        return found

    def copy(self) -> Candle:
        """Return a candle of the same trades."""
        return Candle(self.values())

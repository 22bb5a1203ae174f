"""The rows of the kernel: a candle per symbol, beside the base candle of its bars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator import kernel
from aggregator.bars.candle import MAX_INT64, Candle
from aggregator.bars.symbol import SymbolBars
from aggregator.columns import SymbolTable

_MIN_ROWS = 512
# The kernel adds at most MAX_INT64 x MAX_PRICE to a sum of money before it comes here again.
_MONEY_MARGIN = 1e40


class Rows:
    """Let the kernel add trades to symbols that Python is not busy with.

    A row holds the trades since :meth:`settle`; :meth:`limit` says which ones may come.
    """

    def __init__(self, live_within_ns: int) -> None:
        self._live_within_ns = live_within_ns
        self.table = SymbolTable()
        self.whole: NDArray[np.int64] = np.zeros((_MIN_ROWS, kernel.WHOLE_COLUMNS), np.int64)
        self.real: NDArray[np.float64] = np.zeros((_MIN_ROWS, kernel.REAL_COLUMNS), np.float64)
        # The rows that changed in one batch.
        self.changed: NDArray[np.int32] = np.zeros(_MIN_ROWS, np.int32)
        # When the trades that are being applied arrived; 0: none of them is of the present.
        self.now_ns = 0

    def open(self, symbol: str) -> int:
        """Return the row that stands for a new symbol from now on."""
        row = self.table.add(symbol)
        if row == len(self.whole):
            self.whole = np.concatenate((self.whole, np.zeros_like(self.whole)))
            self.real = np.concatenate((self.real, np.zeros_like(self.real)))
            self.changed = np.concatenate((self.changed, np.zeros_like(self.changed)))
        return row

    def settle(self, bars: SymbolBars) -> None:
        """Move the trades of a row into the base candle."""
        row = bars.row
        if not self.whole[row, kernel.TRADES]:
            return
        whole = self.whole[row]
        volume, trades, first_ts, first_sequence, last_ts, last_sequence = whole[:6].tolist()
        added = Candle()
        added.volume, added.trades = volume, trades
        added.first_ts, added.first_sequence = first_ts, first_sequence
        added.last_ts, added.last_sequence = last_ts, last_sequence
        (
            added.open,
            added.high,
            added.low,
            added.close,
            added.notional,
            added.notional_error,
        ) = self.real[row, :6].tolist()
        bars.base.merge(added)
        whole[kernel.TRADES] = 0
        whole[kernel.ROOM] -= volume

    def limit(self, bars: SymbolBars) -> None:
        """Heed which trades may be added to the base candle, and how much they may come to."""
        row, base = bars.row, bars.base
        lo, hi = bars.lo, min(bars.hi, MAX_INT64)
        if base.notional + _MONEY_MARGIN > bars.money_room:
            hi = lo
        elif not bars.live and self.now_ns:
            # The first trade of the present is Python's, which then lets the clock close bars.
            hi = min(hi, self.now_ns - self._live_within_ns)
        whole = self.whole[row]
        whole[kernel.LOW_TIME], whole[kernel.HIGH_TIME] = lo, hi
        whole[kernel.ROOM] = max(bars.room - base.volume, 0)

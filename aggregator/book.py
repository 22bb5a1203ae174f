"""Keep the OHLCV state of every symbol, decided by event time.

Any arrival order of the same ticks gives the same state: open and close go by (exchange time,
sequence), ties fall to arrival; high, low, volume and trades do not depend on order, vwap to 1e-12.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from aggregator import kernel
from aggregator.bars.engine import BarEngine
from aggregator.bars.symbol import SymbolBars
from aggregator.columns import Batch, Decoder
from aggregator.rows import Rows
from marketdata.errors import InvalidSymbol
from marketdata.symbols import normalize_symbol
from marketdata.validation import RejectReason, check_values
from marketdata.wire.market_data_pb2 import Aggregate, Tick, UpdateBatch

_NO_ROWS = np.zeros(0, np.int32)


@dataclass
class Applied:
    """What became of some ticks."""

    accepted: int = 0
    rejections: list[tuple[int, RejectReason]] = field(default_factory=list)
    # Rows of the symbols with a new state.
    rows: NDArray[np.int32] = field(default_factory=lambda: _NO_ROWS)


class Book:
    """Apply ticks to the trades of their symbols.

    :attr:`late` counts ticks of an earlier session than their symbol's present one: they are
    accepted and change nothing here.
    """

    def __init__(self, engine: BarEngine, *, max_symbols: int, epoch: int) -> None:
        self.engine = engine
        self._max_symbols = max_symbols
        self.epoch = engine.epoch = epoch
        # Hears of each symbol that is taken in, with its row.
        self.opened: Callable[[str, int], None] = lambda _symbol, _row: None
        self._rows = Rows(engine.plan.live_within_ns)
        engine.front = self._rows
        self.decoder = Decoder(self._rows.table)
        self._bars: dict[str, SymbolBars] = {}
        # The last state that somebody wanted, by row.
        self._messages: dict[int, Aggregate] = {}
        self._symbols: list[str] = []
        self._symbols_sorted = True
        # Numbers the batches, for the kernel.
        self._batch = 0

    def __len__(self) -> int:
        return len(self._bars)

    @property
    def late(self) -> int:
        """How many ticks were of an earlier session than their symbol's present one."""
        return self.engine.counts.late

    def aggregate(self, symbol: str) -> Aggregate | None:
        """Return the present state of ``symbol``, or None before its first session.

        It is built once for all who want it; do not change it.
        """
        bars = self._bars.get(symbol)
        if bars is None:
            return None
        sequence = int(self._rows.whole[bars.row, kernel.SEQUENCE])
        message = self._messages.get(bars.row)
        if message is None or message.sequence != sequence:
            candle = bars.aggregate()
            if candle is None:
                return None
            message = self._messages[bars.row] = Aggregate(
                symbol=symbol,
                open=candle.open,
                high=candle.high,
                low=candle.low,
                close=candle.close,
                volume=candle.volume,
                timestamp=candle.last_ts,
                trades=candle.trades,
                vwap=candle.vwap,
                session_start=bars.session_start,
                sequence=sequence,
                epoch=self.epoch,
            )
        return message

    def state(self, symbol: str) -> Aggregate:
        """Return the present state of a symbol that has one.

        Raises:
            KeyError: it has none.
        """
        message = self.aggregate(symbol)
        if message is None:
            raise KeyError(symbol)
        return message

    def row(self, symbol: str) -> int | None:
        """Return the row of a symbol; None: there is no such symbol yet."""
        bars = self._bars.get(symbol)
        return None if bars is None else bars.row

    def symbol(self, row: int) -> str:
        """Return the symbol of a row."""
        return self._rows.table.symbols[row]

    def has_state(self, row: int) -> bool:
        """Return whether a session of the symbol has had a trade."""
        return self.aggregate(self.symbol(row)) is not None

    def states(self, rows: Sequence[int]) -> list[bytes]:
        """Return the present states, each as one of the ``updates`` of an ``UpdateBatch``.

        Empty where a symbol has none.
        """
        found = []
        for row in rows:
            state = self.aggregate(self.symbol(row))
            piece = b"" if state is None else UpdateBatch(updates=[state]).SerializeToString()
            found.append(piece)
        return found

    def symbols(self) -> list[str]:
        """Return all symbols in byte order; do not change the list."""
        if not self._symbols_sorted:
            self._symbols.sort()
            self._symbols_sorted = True
        return self._symbols

    def apply(
        self, ticks: Sequence[Tick], first_sequence: int, latest_ns: int, now_ns: int = 0
    ) -> Applied:
        """Apply normalized ticks as :meth:`apply_batch` does."""
        return self.apply_batch(self.decoder.read(ticks), first_sequence, latest_ns, now_ns)

    def apply_batch(
        self, batch: Batch, first_sequence: int, latest_ns: int, now_ns: int = 0, *, skip: int = 0
    ) -> Applied:
        """Apply ticks in the order of their arrival and count one new state per changed symbol.

        Args:
            batch: normalized ticks.
            first_sequence: what the offsets of the ticks are added to.
            latest_ns: the latest exchange time that is not in the future.
            now_ns: when they arrived; 0: their bars close by their own time alone.
            skip: how many of the first ones to leave out.
        """
        rows, count = self._rows, batch.count
        applied = Applied()
        self._batch += 1
        rows.now_ns = now_ns
        self.engine.begin_batch(now_ns)
        index, n_changed = skip, 0
        while True:
            # A call costs 1 us, a tick in it 7 ns.
            code, index, n_changed = kernel.apply_ticks(
                index,
                count,
                first_sequence,
                latest_ns,
                self._batch,
                n_changed,
                batch.offsets,
                batch.rows,
                batch.prices,
                batch.volumes,
                batch.times,
                rows.whole,
                rows.real,
                rows.changed,
            )
            if code == kernel.DONE:
                break
            row = self._take(applied, batch, index, first_sequence, latest_ns)
            if row is not None and rows.whole[row, kernel.BATCH] != self._batch:
                rows.whole[row, kernel.BATCH] = self._batch
                rows.changed[n_changed] = row
                n_changed += 1
            index += 1
        applied.accepted = count - min(skip, count) - len(applied.rejections)
        applied.rows = rows.changed[:n_changed].copy()
        rows.whole[applied.rows, kernel.SEQUENCE] += 1
        if self.engine.wants_trades:
            self._hand_on(applied, batch, first_sequence, skip)
        symbols = rows.table.symbols
        self.engine.end_batch(symbols[row] for row in applied.rows.tolist())
        return applied

    # Takes a tick that is not just one more of its symbol's base candle; returns the row if the
    # state of the symbol changed.
    def _take(
        self, applied: Applied, batch: Batch, index: int, first_sequence: int, latest_ns: int
    ) -> int | None:
        price, volume = float(batch.prices[index]), int(batch.volumes[index])
        ts, sequence = int(batch.times[index]), first_sequence + int(batch.offsets[index])
        reason = check_values(price, volume, ts, latest_ns)
        if reason is None:
            symbol = batch.symbol(index, self._rows.table)
            bars = self._bars.get(symbol) or self._open(symbol, price * volume)
            if not isinstance(bars, RejectReason):
                changed = bars.take(price, volume, ts, sequence)
                if changed is not None:
                    return bars.row if changed else None
                reason = RejectReason.TOTAL_OVERFLOW
            else:
                reason = bars
        applied.rejections.append((sequence, reason))
        return None

    def _hand_on(self, applied: Applied, batch: Batch, first_sequence: int, skip: int) -> None:
        # Bars that no clock ends are made of single trades.
        rejected = {sequence for sequence, _ in applied.rejections}
        for index in range(skip, batch.count):
            sequence = first_sequence + int(batch.offsets[index])
            if sequence not in rejected:
                self.engine.traded(
                    batch.symbol(index, self._rows.table),
                    float(batch.prices[index]),
                    int(batch.volumes[index]),
                    int(batch.times[index]),
                    sequence,
                )

    def open(self, symbol: str) -> SymbolBars:
        """Take in a new symbol, which was checked."""
        bars = self._bars[symbol] = self.engine.open(symbol)
        self._symbols.append(symbol)
        self._symbols_sorted = False
        self.opened(symbol, bars.row)
        return bars

    def _open(self, symbol: str, notional: float) -> SymbolBars | RejectReason:
        # Known symbols were checked here once, so only new ones cost the pattern.
        reason = check_opening(symbol, notional)
        if reason is not None:
            return reason
        if len(self._bars) >= self._max_symbols:
            return RejectReason.TOO_MANY_SYMBOLS
        return self.open(symbol)


def check_opening(symbol: str, notional: float) -> RejectReason | None:
    """Return why a tick with good values cannot be the first of its symbol, or None.

    Args:
        symbol: which may be none.
        notional: price x volume.
    """
    if notional == inf:
        return RejectReason.TOTAL_OVERFLOW
    try:
        if normalize_symbol(symbol) != symbol:
            return RejectReason.INVALID_SYMBOL
    except InvalidSymbol as exc:
        return RejectReason(exc.reason)
    return None

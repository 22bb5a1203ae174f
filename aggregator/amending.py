"""Cancel and correct trades by their ids."""

from __future__ import annotations

import numpy as np

from aggregator.bars.bar_table import BarTable
from aggregator.bars.kernel import codes
from aggregator.bars.kernel.amend import amend_trade
from aggregator.bars.kernel.memory import CANCELLED
from aggregator.bars.kernel.records import CANDLE
from aggregator.bars.kernel.scale import to_scale
from aggregator.bars.source import Amendment
from aggregator.bars.trade_memory import TradeMemory
from aggregator.wire.batch import Batch
from aggregator.wire.ticks import (
    ACTION,
    ACTION_SHIFT,
    AMENDS,
    DUPLICATE,
    EXCLUDES,
    EXCLUDES_SHIFT,
    HAS_ID,
)
from marketdata.validation import RejectReason, ValueLimits, check_values
from marketdata.wire.market_data_pb2 import Exclude, TickAction


def excludes_of(mark: int) -> int:
    """Return the excludes of a tick by its mark."""
    return mark >> EXCLUDES_SHIFT & EXCLUDES


def check_trade(
    batch: Batch, index: int, latest_ns: int, limits: ValueLimits
) -> RejectReason | None:
    """Return why the values of a tick are not those of a trade, or None."""
    volume, decimals = batch.volume(index)
    return check_values(
        float(batch.prices[index]),
        volume,
        int(batch.times[index]),
        latest_ns,
        limits,
        decimals=decimals,
        excludes=excludes_of(int(batch.ticks.marks[index])),
        price_rule="any" if batch.any_price else "positive",
    )


class Amender:
    """Cancel and correct the remembered trades.

    Args:
        table: has their bars.
        memory: remembers them.
    """

    def __init__(self, table: BarTable, memory: TradeMemory) -> None:
        self._table = table
        self._memory = memory
        self._made = np.zeros(len(table.names) + 2, CANDLE)
        self._amendments: list[Amendment] = []

    def take(self) -> list[Amendment]:
        """Return what was amended since the last call."""
        taken, self._amendments = self._amendments, []
        return taken

    def amend(self, batch: Batch, index: int) -> RejectReason | None:
        """Do what a valid tick says that cancels or corrects; return why that cannot be, or None.

        The tick gets AMENDS for its row, or DUPLICATE if its trade was cancelled before.
        """
        row, memory = int(batch.rows[index]), self._memory.columns
        mark = int(batch.ticks.marks[index])
        is_cancel = mark >> ACTION_SHIFT & ACTION == TickAction.TICK_ACTION_CANCEL
        if not mark & HAS_ID:
            return RejectReason.MISSING_TRADE_ID
        place = -1 if row < 0 else self._memory.find(row, batch.ticks.ids[index])
        if place < 0:
            return RejectReason.UNKNOWN_TRADE_ID
        if memory.marks[place] & CANCELLED:
            if not is_cancel:
                return RejectReason.UNKNOWN_TRADE_ID
            batch.rows[index] = DUPLICATE
            self._table.tables.state["duplicates"] += 1
            return None
        ts = int(memory.times[place])
        if self._table.is_too_late(row, ts):
            return RejectReason.TOO_LATE_TO_AMEND
        reason = self._prepare(batch, index, row, is_cancel=is_cancel)
        if reason is None:
            reason = self._run(row, place, excludes_of(mark))
        if reason is None:
            batch.rows[index] = AMENDS
            self._note(row, place, is_cancel=is_cancel)
        return reason

    def _prepare(
        self, batch: Batch, index: int, row: int, *, is_cancel: bool
    ) -> RejectReason | None:
        # Writes the corrected trade.
        new = self._made[-1]
        new["trades"] = 0
        if not is_cancel:
            volume, decimals = batch.volume(index)
            if excludes_of(int(batch.ticks.marks[index])) & Exclude.EXCLUDE_VOLUME:
                volume = 0
            if not self._table.fit_scale(row, volume, decimals):
                return RejectReason.TOTAL_OVERFLOW
            new["trades"], new["open"] = 1, batch.prices[index]
            new["volume"] = to_scale(volume, decimals, self._table.decimals(row))
        return None

    def _run(self, row: int, place: int, excludes: int) -> RejectReason | None:
        memory = self._memory.columns
        while True:
            code = amend_trade(self._table.tables, memory, place, excludes, self._made)
            if code == codes.NEED_ROOM:
                self._table.make_room(row)
            elif code == codes.NEED_RULE:
                self._table.find_session(row, int(memory.times[place]))
            elif code == codes.DONE:
                return None
            else:
                is_overflow = code == codes.OVERFLOW
                return RejectReason.TOTAL_OVERFLOW if is_overflow else RejectReason.NOT_AMENDABLE

    def _note(self, row: int, place: int, *, is_cancel: bool) -> None:
        memory = self._memory.columns
        self._amendments.append(
            Amendment(
                row=row,
                ts=int(memory.times[place]),
                sequence=int(memory.sequences[place]),
                price=float(memory.prices[place]),
                volume=int(memory.volumes[place]),
                decimals=self._table.decimals(row),
                excludes=excludes_of(int(memory.marks[place])),
                is_cancelled=is_cancel,
            )
        )

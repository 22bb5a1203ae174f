"""Close bars: the end of a bar makes it early, the end of its grace makes it final."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.ahead import (
    NEAR,
    NEXT,
    addresses_of,
    prefetch_base,
    prefetch_early,
    prefetch_rest,
)
from aggregator.bars.kernel.candle import clear, copy, is_empty
from aggregator.bars.kernel.events import count_end, publish
from aggregator.bars.kernel.gather import add_gathered
from aggregator.bars.kernel.limits import has_space, set_limits
from aggregator.bars.kernel.pool import (
    link_closed,
    link_early,
    make_bar,
    unlink_closed,
    unlink_early,
)
from aggregator.bars.kernel.records import (
    FINAL,
    INT,
    INTS,
    NEVER,
    NONE,
    SYMBOLS,
    TABLES,
    Base,
    PooledBar,
    Slot,
    Symbol,
    Tables,
)
from aggregator.bars.kernel.session import fold_base, latest_time
from marketdata.kernels import KERNELS, fused_part, kernel_part


@fused_part
def find_due(t: Tables, row: int) -> None:
    """Find the time before which nothing of a symbol ends."""
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    due = NEVER if is_empty(base.candle) else symbol.base_end
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if slot.early_first >= 0:
            due = min(due, t.bars[slot.early_first].end + t.state[0].grace)
        if slot.start < slot.end:
            due = min(due, slot.end)
    symbol.due_at = due


@fused_part
def _make_early(t: Tables, row: int, index: int, clock: int) -> None:
    """End the open bar of a slot, whose end has passed."""
    symbol: Symbol = t.symbols[row]
    slot: Slot = t.slots[row, index]
    place = make_bar(t, row, index, slot.start, slot.end)
    bar: PooledBar = t.bars[place]
    copy(bar.candle, slot.candle)
    bar.phase = slot.phase
    clear(slot.candle)
    slot.start = slot.end
    # The wall clock may have closed more than the base piece: a trade for any of it is late.
    symbol.next_at = max(symbol.next_at, bar.end)
    link_early(t, place)
    if clock < bar.end + t.state[0].grace:
        publish(t, place)


@fused_part
def _make_final(t: Tables, place: int, latest: int) -> None:
    """End the grace of a bar; the symbol's latest trade is of ``latest``."""
    bar: PooledBar = t.bars[place]
    slot: Slot = t.slots[bar.row, bar.slot]
    unlink_early(t, place)
    bar.state = FINAL
    bar.touched = 0
    count_end(t, bar.slot, bar.end, 0, 1)
    # No trade can revise an older bar.
    horizon = latest - t.state[0].revise
    while slot.closed_first >= 0 and t.bars[slot.closed_first].end <= horizon:
        unlink_closed(t, slot.closed_first)
    link_closed(t, place)
    publish(t, place)


@fused_part
def _first_early(t: Tables, row: int) -> int:
    """Return the early bar that ends first, of those the one of the shortest interval; or NONE."""
    first = NONE
    for index in range(t.state[0].slots):
        place: int = t.slots[row, index].early_first
        if place >= 0 and (first < 0 or t.bars[place].end < t.bars[first].end):
            first = place
    return first


@kernel_part
def close_bars(t: Tables, row: int, clock: int, latest: int) -> None:
    """Close what ends at ``clock`` or before, and end the grace of what closed long enough ago."""
    symbol: Symbol = t.symbols[row]
    if clock < symbol.due_at:
        return
    if symbol.gathered_to:
        add_gathered(t, row)
    if not is_empty(t.bases[row].candle) and clock >= symbol.base_end:
        fold_base(t, row)
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if slot.start < slot.end and clock >= slot.end:
            if is_empty(slot.candle):
                # Its trades were cancelled.
                count_end(t, index, slot.end, -1, 0)
                slot.start = slot.end
            else:
                _make_early(t, row, index, clock)
    while symbol.early_count:
        place = _first_early(t, row)
        if t.bars[place].end + t.state[0].grace > clock:
            break
        _make_final(t, place, latest)
    find_due(t, row)


@KERNELS.add(INT(SYMBOLS, INTS, INT))
def keep_due(symbols: NDArray[Any], rows: NDArray[np.int64], due_at: int) -> int:
    """Move the rows to the front that wait for this time, in their order; return how many."""
    count = 0
    for index in range(rows.shape[0]):
        row: int = rows[index]
        if symbols[row].timer_at == due_at:
            rows[count] = row
            count += 1
    return count


@KERNELS.add(INT(TABLES, INTS, INT, INT, INT))
def close_rows(t: Tables, rows: NDArray[np.int64], index: int, clock: int, due_at: int) -> int:
    """Close what ends by the time of each symbol, up to a row for which there is no room.

    Args:
        t: the tables.
        rows: the symbols whose bars to close.
        index: the first row to take.
        clock: the wall clock, which a symbol's time follows by its lag.
        due_at: leave out rows that wait for another time than this.

    Returns:
        The index of the row that was not taken; the number of rows if all were.
    """
    ahead = addresses_of(t)
    while index < rows.shape[0]:
        row: int = rows[index]
        if index + NEAR < rows.shape[0]:
            prefetch_base(ahead, rows[index + NEAR])
            prefetch_rest(ahead, rows[index + NEAR])
            prefetch_early(ahead, rows[index + NEXT])
        symbol: Symbol = t.symbols[row]
        if symbol.timer_at == due_at:
            if not has_space(t, row):
                break
            symbol.timer_at = 0
            # The clock says what is over, and the symbol's own trades how late one may come.
            base: Base = t.bases[row]
            close_bars(t, row, clock - base.lag, latest_time(t, row))
            set_limits(t, row)
        index += 1
    return index

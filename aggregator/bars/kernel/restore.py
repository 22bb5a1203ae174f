"""Take over the bars of an earlier epoch."""

from __future__ import annotations

from aggregator.bars.kernel.candle import copy
from aggregator.bars.kernel.close import find_due
from aggregator.bars.kernel.events import count_end
from aggregator.bars.kernel.pool import (
    give_up,
    link_closed,
    link_early,
    make_bar,
    unlink_early,
)
from aggregator.bars.kernel.records import (
    FINAL,
    INT,
    TABLES,
    VOID,
    EngineState,
    PooledBar,
    Slot,
    Symbol,
    Tables,
)
from marketdata.kernels import KERNELS, kernel_part
from marketdata.timestamps import NS_PER_S


@KERNELS.add(INT(TABLES, INT, INT, INT, INT, INT))
def restore_bar(t: Tables, row: int, index: int, start: int, end: int, state: int) -> int:
    """Take over a bar; the caller writes its candle.

    Args:
        t: the tables, with room for one bar more.
        row: the symbol.
        index: the slot.
        start: of the bar.
        end: of the bar.
        state: FINAL or REVISED; with any other state the bar is open.

    Returns:
        Its place in the pool.
    """
    place = make_bar(t, row, index, start, end)
    if state >= FINAL:
        t.bars[place].state = state
        link_closed(t, place)
    else:
        count_end(t, index, end, 1, 0)
        link_early(t, place)
    return place


@KERNELS.add(VOID(TABLES, INT))
def finish_row(t: Tables, row: int) -> None:
    """Find where the restored bars of a row end and new ones begin, when they are all there."""
    state: EngineState = t.state[0]
    symbol: Symbol = t.symbols[row]
    latest = symbol.latest
    symbol.next_at = latest - latest % NS_PER_S
    for index in range(state.slots):
        slot: Slot = t.slots[row, index]
        place = slot.early_first
        while place >= 0:
            following: int = t.bars[place].next
            _reopen_or_skip(t, place)
            place = following
        place = slot.closed_last
        while place >= 0:
            symbol.next_at = max(symbol.next_at, t.bars[place].end)
            place = t.bars[place].previous
    # The first trade looks how much room there is.
    t.bases[row].room = -1
    find_due(t, row)
    state.clock = max(state.clock, latest)
    symbol.live = state.now != 0 and latest >= state.now - state.live_within


@kernel_part
def _reopen_or_skip(t: Tables, place: int) -> None:
    """Open a bar again that is not over by the trades of its symbol; else begin after its end."""
    bar: PooledBar = t.bars[place]
    symbol: Symbol = t.symbols[bar.row]
    slot: Slot = t.slots[bar.row, bar.slot]
    if bar.start <= symbol.latest < bar.end:
        unlink_early(t, place)
        slot.start = bar.start
        slot.end = bar.end
        copy(slot.candle, bar.candle)
        give_up(t, place)
    else:
        symbol.next_at = max(symbol.next_at, bar.end)

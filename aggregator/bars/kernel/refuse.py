"""A tick that was refused changes bars that claim to have all trades of its time."""

from __future__ import annotations

from aggregator.bars.kernel.apply import note_state
from aggregator.bars.kernel.events import note_trade, touch
from aggregator.bars.kernel.pool import find_bar
from aggregator.bars.kernel.records import INT, TABLES, VOID, Slot, Symbol, Tables
from aggregator.bars.kernel.session import bounds_of, is_in_session, latest_time
from marketdata.kernels import KERNELS


@KERNELS.add(VOID(TABLES, INT, INT))
def refuse(t: Tables, row: int, ts: int) -> None:
    """Let the bars of a time be published again.

    Args:
        t: the tables, with room for a trade, and the session of the time.
        row: the symbol.
        ts: the exchange time of the tick.
    """
    symbol: Symbol = t.symbols[row]
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        start, end = bounds_of(symbol, slot, ts)
        if start < end:
            place = find_bar(t, row, index, start)
            if place >= 0:
                touch(t, place)
    note_trade(t, row, latest_time(t, row))
    batch = t.state[0].batch
    if is_in_session(symbol, ts) and t.bases[row].batch != batch:
        note_state(t, row, batch)

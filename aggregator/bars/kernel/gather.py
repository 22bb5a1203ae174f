"""Add late trades to closed bars, and gather them for what is still open.

The first late trade of a symbol opens a *window*: all times whose trades go to the present session
and to the same open bars. The next late trades of the window are one addition to the gathered ones,
and one to each bar of their time that is closed or waits out the grace. The gathered trades are
added to the session and the open bars when a trade of the symbol does something else, or a bar
closes; until then whoever reads an open bar or the session adds them up.
"""

from __future__ import annotations

from aggregator.bars.kernel.candle import (
    add,
    clear,
    has_prices,
    has_room,
    is_empty,
    merge,
    take,
)
from aggregator.bars.kernel.events import is_live, note_trade, touch
from aggregator.bars.kernel.lag import measure_lag
from aggregator.bars.kernel.limits import MAX_PRICE, MAX_TICK_VOLUME, MONEY_MARGIN, has_space
from aggregator.bars.kernel.pool import find_bar
from aggregator.bars.kernel.records import (
    BY_PYTHON,
    OPEN,
    Base,
    EngineState,
    PooledBar,
    Slot,
    Symbol,
    Tables,
    Trade,
)
from aggregator.bars.kernel.session import bounds_of, latest_time
from marketdata.kernels import fused_part


@fused_part
def gather(t: Tables, row: int, trade: Trade) -> bool:
    """Take a late trade of the window in; return whether it is one, and has a bar everywhere."""
    symbol: Symbol = t.symbols[row]
    if trade.excludes or not symbol.gathered_from <= trade.ts < symbol.gathered_to:
        return False
    base: Base = t.bases[row]
    state: EngineState = t.state[0]
    latest = max(latest_time(t, row), trade.ts)
    if not (
        abs(trade.price) < MAX_PRICE
        and trade.volume <= MAX_TICK_VOLUME
        and trade.volume <= base.room - base.candle.volume
        and symbol.live == is_live(state, latest)
        and has_space(t, row)
        and _find_closed(t, row, trade)
    ):
        return False
    for index in range(state.slots):
        if not symbol.gathered_slots >> index & 1:
            add_to_closed(t, t.slots[row, index].target, trade)
    add(symbol.gathered, trade.price, trade.volume, trade.ts, trade.sequence)
    base.room -= trade.volume
    if is_empty(base.candle) and latest > symbol.latest:
        symbol.latest = latest
        measure_lag(t, row, latest)
    note_trade(t, row, latest)
    return True


@fused_part
def _find_closed(t: Tables, row: int, trade: Trade) -> bool:
    """Find the bar of a trade in each slot that has it not open; return whether all take it."""
    symbol: Symbol = t.symbols[row]
    if symbol.rule == BY_PYTHON and not symbol.known_from <= trade.ts < symbol.known_to:
        return False
    for index in range(t.state[0].slots):
        if symbol.gathered_slots >> index & 1:
            continue
        slot: Slot = t.slots[row, index]
        # That of the trade before is often the one.
        if slot.target < 0 or not (t.bars[slot.target].start <= trade.ts < t.bars[slot.target].end):
            start, end = bounds_of(symbol, slot, trade.ts)
            slot.target = find_bar(t, row, index, start) if start < end else OPEN
        if slot.target < 0:
            return False
        bar: PooledBar = t.bars[slot.target]
        if not has_room(bar.candle, trade.volume, trade.price * trade.volume):
            return False
    return True


@fused_part
def add_to_closed(t: Tables, place: int, trade: Trade) -> None:
    """Add a late trade to a bar that is closed or waits out the grace."""
    touch(t, place)
    bar: PooledBar = t.bars[place]
    if trade.excludes or not has_prices(bar.candle):
        take(bar.candle, trade.price, trade.volume, trade.ts, trade.sequence, trade.excludes)
    else:
        add(bar.candle, trade.price, trade.volume, trade.ts, trade.sequence)


@fused_part
def begin_gathering(t: Tables, row: int) -> None:
    """Open the window of a late trade of the session, whose targets are known."""
    state: EngineState = t.state[0]
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    if symbol.money_room < 2 * MONEY_MARGIN:
        return
    # Later trades do more than to join these.
    first, last, open_slots = symbol.session_start, symbol.session_end, 0
    before = symbol.base_start
    if is_empty(base.candle):
        # The wall clock ended the base piece: those of its time may still come in order.
        before = min(symbol.next_at, symbol.due_at)
    for index in range(state.slots):
        slot: Slot = t.slots[row, index]
        if slot.target == OPEN:
            first, last = max(first, slot.start), min(last, slot.end)
            open_slots |= 1 << index
    symbol.gathered_to = min(last, before)
    # Earlier trades may be too late for bars, before the symbol's time comes out of the window.
    horizon = symbol.base_end if not is_empty(base.candle) else symbol.gathered_to
    symbol.gathered_from = max(first, max(horizon, symbol.latest) - state.revise)
    symbol.gathered_slots = open_slots


@fused_part
def add_gathered(t: Tables, row: int) -> None:
    """Add the gathered trades to the session and the open bars, and gather no more."""
    symbol: Symbol = t.symbols[row]
    symbol.gathered_from = symbol.gathered_to = 0
    if is_empty(symbol.gathered):
        return
    merge(symbol.session, symbol.gathered)
    for index in range(t.state[0].slots):
        if symbol.gathered_slots >> index & 1:
            merge(t.slots[row, index].candle, symbol.gathered)
    symbol.money_room -= symbol.gathered.notional
    clear(symbol.gathered)

"""Trades from before the base piece, and for bars that the wall clock closed."""

from __future__ import annotations

from aggregator.bars.kernel.candle import MAX_INT64, has_room, is_empty, take
from aggregator.bars.kernel.close import close_bars
from aggregator.bars.kernel.codes import DONE, OVERFLOW, UNUSUAL
from aggregator.bars.kernel.events import count_end, note_trade
from aggregator.bars.kernel.gather import add_to_closed, begin_gathering
from aggregator.bars.kernel.lag import measure_lag
from aggregator.bars.kernel.limits import set_limits
from aggregator.bars.kernel.pool import find_bar, link_early, make_bar
from aggregator.bars.kernel.records import (
    EVICTED,
    FINAL,
    LEFT_OUT,
    MISSING,
    OPEN,
    Base,
    Slot,
    Symbol,
    Tables,
    Trade,
)
from aggregator.bars.kernel.session import (
    bounds_of,
    is_in_session,
    latest_time,
    session_of,
    start_session,
)
from marketdata.kernels import fused_part, kernel_part


@kernel_part
def take_late(t: Tables, row: int, trade: Trade) -> int:
    """Take a late trade in; return DONE if the session changed, UNUSUAL if not, or OVERFLOW."""
    state = t.state[0]
    symbol: Symbol = t.symbols[row]
    latest = latest_time(t, row)
    taken, evicted = _find_targets(t, row, trade, latest)
    if taken < 0:
        return OVERFLOW
    state.bars_evicted += evicted
    if trade.ts >= symbol.session_end:
        start_session(symbol, trade.ts)
    in_session = is_in_session(symbol, trade.ts)
    if not in_session:
        _count_outside(t, symbol, trade.ts)
    elif not _add_to_session(t, row, trade):
        return OVERFLOW
    if latest - trade.ts > state.revise and state.slots and not taken:
        state.bars_late += 1
    if trade.ts > latest:
        symbol.latest = trade.ts
        measure_lag(t, row, trade.ts)
        close_bars(t, row, trade.ts, trade.ts)
    for index in range(state.slots):
        _add_late(t, row, index, trade)
    base: Base = t.bases[row]
    base.room = max(base.room - trade.volume, -1)
    symbol.money_room -= trade.price * trade.volume
    note_trade(t, row, latest_time(t, row))
    set_limits(t, row)
    if not in_session:
        return UNUSUAL
    begin_gathering(t, row)
    return DONE


@fused_part
def _find_targets(t: Tables, row: int, trade: Trade, latest: int) -> tuple[int, int]:
    """Find the target of a trade in each slot; return how many there are, and were given up.

    The first number is negative if a bar would overflow. A trade that is older than the window of
    revisions is taken by bars that are not closed.
    """
    too_late = latest - trade.ts > t.state[0].revise
    taken, evicted = 0, 0
    volume, money = trade.volume, trade.price * trade.volume
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if slot.start <= trade.ts < slot.end:
            slot.target = OPEN
            taken += 1
            if not _open_bar_fits(t, row, slot, volume, money):
                return -1, 0
            continue
        slot.target = LEFT_OUT
        start, end = bounds_of(t.symbols[row], slot, trade.ts)
        if start == end:
            continue
        if too_late and latest >= end + t.state[0].grace:
            t.state[0].left_out += 1
            continue
        place = find_bar(t, row, index, start)
        if place < 0 and start <= slot.evicted_until:
            evicted += 1
        elif place < 0:
            slot.target = MISSING
            taken += 1
        elif too_late and t.bars[place].state >= FINAL:
            t.state[0].left_out += 1
        else:
            slot.target = place
            taken += 1
            if not has_room(t.bars[place].candle, volume, money):
                return -1, 0
    return taken, evicted


@fused_part
def _open_bar_fits(t: Tables, row: int, slot: Slot, volume: int, money: float) -> bool:
    """Return whether an open bar can take a late trade besides the base candle."""
    base: Base = t.bases[row]
    if not is_empty(base.candle) and slot.start <= t.symbols[row].base_start < slot.end:
        if volume > MAX_INT64 - base.candle.volume:
            return False
        volume += base.candle.volume
        money += base.candle.notional
    return has_room(slot.candle, volume, money)


@fused_part
def _add_to_session(t: Tables, row: int, trade: Trade) -> bool:
    """Add a trade to the present session; return whether it has room for it."""
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    volume, money = trade.volume, trade.price * trade.volume
    if symbol.in_session and not is_empty(base.candle):
        if volume > MAX_INT64 - base.candle.volume:
            return False
        volume += base.candle.volume
        money += base.candle.notional
    if not has_room(symbol.session, volume, money):
        return False
    take(symbol.session, trade.price, trade.volume, trade.ts, trade.sequence, trade.excludes)
    return True


@fused_part
def _count_outside(t: Tables, symbol: Symbol, ts: int) -> None:
    """Count a trade that is not of the present session."""
    start, end = session_of(symbol, ts)
    if start == end:
        t.state[0].out_of_session += 1
    else:
        t.state[0].late += 1


@fused_part
def _add_late(t: Tables, row: int, index: int, trade: Trade) -> None:
    """Add a late trade to its target in a slot, which is made if it has to be."""
    symbol: Symbol = t.symbols[row]
    slot: Slot = t.slots[row, index]
    if slot.target == OPEN:
        if is_empty(slot.candle):
            symbol.due_at = min(symbol.due_at, slot.end)
        take(slot.candle, trade.price, trade.volume, trade.ts, trade.sequence, trade.excludes)
        return
    if slot.target == MISSING:
        _make_late(t, row, index, trade.ts)
    if slot.target == EVICTED:
        # A bar that this trade began in another slot took its place.
        t.state[0].bars_evicted += 1
    if slot.target >= 0:
        add_to_closed(t, slot.target, trade)


@fused_part
def _make_late(t: Tables, row: int, index: int, ts: int) -> None:
    """Make the bar of a late trade, which no other one has begun."""
    slot: Slot = t.slots[row, index]
    start, end = bounds_of(t.symbols[row], slot, ts)
    slot.target = EVICTED
    if start > slot.evicted_until:
        place = make_bar(t, row, index, start, end)
        slot.target = place
        if latest_time(t, row) < end + t.state[0].grace:
            link_early(t, place)
            count_end(t, index, end, 1, 0)

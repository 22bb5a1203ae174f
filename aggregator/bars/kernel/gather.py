"""Gather the late trades of a batch that go to the same bars, and add them up at once.

The first late trade of a symbol finds its bars, the *targets* of the slots. The next ones of the
same piece of time are one addition each, until a trade of the symbol does something else or the
batch ends.
"""

from __future__ import annotations

from aggregator.bars.kernel.candle import MAX_INT64, add, clear, is_empty, merge
from aggregator.bars.kernel.records import (
    OPEN,
    Base,
    EngineState,
    PooledBar,
    Slot,
    Symbol,
    Tables,
    Trade,
)
from marketdata.kernels import fused_part, kernel_part

# Beyond, a trade is not a usual one, so that no sum of the fast loop overflows or becomes infinite.
MAX_TICK_VOLUME = 2**48
MAX_PRICE = 1e15
# Sums below this cannot become infinite where they are added up in another order.
MAX_MONEY = 1.7e308
# The fast loop adds at most MAX_INT64 x MAX_PRICE to a sum before it is looked at again.
MONEY_MARGIN = 1e40


@fused_part
def gather(t: Tables, row: int, trade: Trade) -> bool:
    """Add a late trade to the gathered ones; return whether it is one of them."""
    symbol: Symbol = t.symbols[row]
    base: Base = t.bases[row]
    state: EngineState = t.state[0]
    if not (
        symbol.gathered_from <= trade.ts < symbol.gathered_to
        and trade.price < MAX_PRICE
        and trade.volume <= MAX_TICK_VOLUME
        and trade.volume <= base.room - base.candle.volume
        and trade.volume <= symbol.gathered_room - symbol.gathered.volume
    ):
        return False
    add(symbol.gathered, trade.price, trade.volume, trade.ts, trade.sequence)
    base.room -= trade.volume
    if not is_empty(base.candle):
        state.clock = max(state.clock, base.candle.last_ts)
    return True


@kernel_part
def begin_gathering(t: Tables, row: int) -> None:
    """Gather what follows a late trade of the session that went to a target in every slot."""
    state: EngineState = t.state[0]
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    # Trades of the latest time are not gathered: they may say more of the symbol's time.
    before, horizon = min(symbol.latest, symbol.next_at), symbol.latest
    first, last, room = symbol.session_start, symbol.session_end, MAX_INT64
    if not is_empty(base.candle):
        # The trades of the base piece move the latest time on, up to the piece's end.
        before, horizon = symbol.base_start, symbol.base_end
    most_money = 0.0
    for index in range(state.slots):
        slot: Slot = t.slots[row, index]
        if slot.target >= 0:
            bar: PooledBar = t.bars[slot.target]
            first, last = max(first, bar.start), min(last, bar.end)
            room = min(room, MAX_INT64 - bar.candle.volume)
            most_money = max(most_money, bar.candle.notional)
        elif slot.target == OPEN:
            first, last = max(first, slot.start), min(last, slot.end)
        else:
            return
    if most_money + MONEY_MARGIN > MAX_MONEY or symbol.money_room < 2 * MONEY_MARGIN:
        return
    # Later trades do more than to join these; earlier ones may be too late for bars.
    symbol.gathered_from = max(first, horizon - state.revise)
    symbol.gathered_to = min(last, before)
    symbol.gathered_room = room
    if symbol.gathered_batch != state.batch:
        symbol.gathered_batch = state.batch
        t.noted[state.gathered].gathered = row
        state.gathered += 1


@kernel_part
def add_gathered(t: Tables, row: int) -> None:
    """Add the gathered trades to the session and to their bars, and gather no more."""
    symbol: Symbol = t.symbols[row]
    symbol.gathered_from = symbol.gathered_to = 0
    if is_empty(symbol.gathered):
        return
    merge(symbol.session, symbol.gathered)
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if slot.target >= 0:
            merge(t.bars[slot.target].candle, symbol.gathered)
        else:
            merge(slot.candle, symbol.gathered)
    symbol.money_room -= symbol.gathered.notional
    clear(symbol.gathered)


@kernel_part
def add_all_gathered(t: Tables) -> None:
    """Add what was gathered for every symbol in this batch."""
    state: EngineState = t.state[0]
    for index in range(state.gathered):
        add_gathered(t, t.noted[index].gathered)
    state.gathered = 0

"""Which trades need no second look: room in the lists and in the totals, and the usual times."""

from __future__ import annotations

from math import inf

from aggregator.bars.kernel.candle import MAX_INT64, has_prices, has_room, is_empty
from aggregator.bars.kernel.records import Base, Slot, Symbol, Tables, Trade
from aggregator.bars.kernel.session import is_in_session
from marketdata.kernels import fused_part, kernel_part

# Beyond, a trade is not a usual one, so that no sum of the fast loop overflows or becomes infinite.
MAX_TICK_VOLUME = 2**48
MAX_PRICE = 1e15
# Sums below this cannot become infinite where they are added up in another order.
MAX_MONEY = 1.7e308
# The fast loop adds at most MAX_INT64 x MAX_PRICE to a sum before it is looked at again.
MONEY_MARGIN = 1e40


@fused_part
def has_space(t: Tables, row: int) -> bool:
    """Return whether every list has room for all that one trade can do."""
    state = t.state[0]
    events = t.symbols[row].early_count + 3 * state.slots + 3
    enough: bool = (
        state.free >= 3 * state.slots + 3
        and state.events + state.touched + events <= t.events.shape[0]
        and state.touched + state.slots <= t.touched.shape[0]
        and state.ends + events <= t.ends.shape[0]
    )
    return enough


@fused_part
def set_limits(t: Tables, row: int) -> None:
    """Set which trades only add to the base candle."""
    state = t.state[0]
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    low, high = 0, 0
    # A trade outside a session has to be counted, so none of them is usual.
    # The fast loop compares with all prices.
    if not is_empty(base.candle) and symbol.in_session and has_prices(base.candle):
        low, high = symbol.base_start, symbol.base_end
        if symbol.early_count:
            for index in range(state.slots):
                early: int = t.slots[row, index].early_first
                if early >= 0:
                    high = min(high, t.bars[early].end + state.grace)
        if base.candle.notional + MONEY_MARGIN > symbol.money_room:
            high = low
        elif not symbol.live and state.now:
            # The first trade of the present lets the clock close bars from then on.
            high = min(high, state.now - state.live_within)
    base.low_time = low
    base.high_time = high


@fused_part
def fits(t: Tables, row: int, trade: Trade) -> bool:
    """Return whether no candle that a trade in or after the base piece adds to would overflow."""
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    volume, money = trade.volume, trade.price * trade.volume
    base_volume, base_money = 0, 0.0
    if not is_empty(base.candle):
        base_volume, base_money = base.candle.volume, base.candle.notional
    if volume <= base.room - base_volume and base_money + money <= symbol.money_room:
        return True
    if _joins(t, row, trade.ts):
        if volume > MAX_INT64 - base_volume:
            return False
        volume += base_volume
        money += base_money
    if not money < inf:
        return False
    if is_in_session(symbol, trade.ts) and not has_room(symbol.session, volume, money):
        return False
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if slot.start <= trade.ts < slot.end and not has_room(slot.candle, volume, money):
            return False
    measure_room(t, row)
    return True


@fused_part
def _joins(t: Tables, row: int, ts: int) -> bool:
    """Return whether a trade goes to a candle that the base candle goes to as well."""
    symbol: Symbol = t.symbols[row]
    joins = is_in_session(symbol, ts) or ts < symbol.next_at
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        joins = joins or slot.start <= ts < slot.end
    return joins


@kernel_part
def measure_room(t: Tables, row: int) -> None:
    """Find how much every total can take, so that the next trade need not look so closely."""
    symbol: Symbol = t.symbols[row]
    most_volume, most_money = 0, 0.0
    if not is_empty(symbol.session):
        most_volume, most_money = symbol.session.volume, symbol.session.notional
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if not is_empty(slot.candle):
            most_volume = max(most_volume, slot.candle.volume)
            most_money = max(most_money, slot.candle.notional)
    t.bases[row].room = MAX_INT64 - most_volume
    symbol.money_room = MAX_MONEY - most_money

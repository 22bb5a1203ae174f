"""Apply trades to their symbols.

A usual trade touches only the *base candle* of its symbol: the sum of the trades of the present
base piece, which no end of a bar, of a session or of a day divides. :func:`_take` does whatever is
more than an addition to it, in any order of trades.

Measured on one core at 2.1 GHz: see docs/performance.md.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

from numpy.typing import NDArray

from aggregator.bars.kernel.ahead import FAR, addresses_of, look_ahead
from aggregator.bars.kernel.candle import EXCLUDE_LAST, EXCLUDE_VOLUME, add, is_empty, take
from aggregator.bars.kernel.close import close_bars
from aggregator.bars.kernel.codes import (
    AMEND,
    DONE,
    MARKED,
    NEED_OPEN,
    NEED_ROOM,
    NEED_RULE,
    NEED_SCALE,
    OVERFLOW,
    UNUSUAL,
)
from aggregator.bars.kernel.events import note_trade
from aggregator.bars.kernel.gather import add_gathered, gather
from aggregator.bars.kernel.lag import measure_lag
from aggregator.bars.kernel.late import take_late
from aggregator.bars.kernel.limits import (
    MAX_PRICE,
    MAX_TICK_VOLUME,
    fits,
    has_space,
    set_limits,
)
from aggregator.bars.kernel.memory import LEFT_OUT_BY_BARS, MEMORY, Memory, find_trade, remember
from aggregator.bars.kernel.records import (
    BY_PYTHON,
    INT,
    STATES,
    TABLES,
    VOID,
    Base,
    EngineState,
    Symbol,
    Tables,
    Trade,
    UniTuple,
)
from aggregator.bars.kernel.scale import POWERS, to_scale
from aggregator.bars.kernel.session import begin_base, latest_time
from aggregator.wire.ticks import (
    ACTION,
    ACTION_SHIFT,
    DECIMALS,
    DUPLICATE,
    EXCLUDES,
    EXCLUDES_SHIFT,
    HAS_ID,
    TICKS,
    Ticks,
)
from marketdata.kernels import KERNELS, kernel_part
from marketdata.validation import LEAST_SENTINEL, PRICE_SENTINELS

# More rows than a cache holds.
_MANY = 4_096
_SENTINELS = tuple(sorted(PRICE_SENTINELS))


class _Limits(NamedTuple):
    """The largest values of a valid trade; from the usual price on, a price is looked at twice."""

    usual_price: float
    price: float
    volume: int
    ts: int
    any_price: int


@kernel_part
def _take(t: Tables, row: int, trade: Trade) -> int:
    """Take one valid trade in; return DONE if the session changed, UNUSUAL if it did not."""
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    if symbol.gathered_to:
        add_gathered(t, row)
    if symbol.unopened:
        return NEED_OPEN
    if not has_space(t, row):
        return NEED_ROOM
    if symbol.rule == BY_PYTHON and not symbol.known_from <= trade.ts < symbol.known_to:
        return NEED_RULE
    if not trade.price * trade.volume < inf:
        return OVERFLOW
    begins_base = trade.ts >= symbol.next_at
    if not begins_base and (is_empty(base.candle) or trade.ts < symbol.base_start):
        return take_late(t, row, trade)
    if not fits(t, row, trade):
        return OVERFLOW
    latest = max(trade.ts, latest_time(t, row))
    close_bars(t, row, latest, latest)
    if begins_base:
        begin_base(t, row, trade.ts)
    take(base.candle, trade.price, trade.volume, trade.ts, trade.sequence, trade.excludes)
    if trade.excludes & EXCLUDE_LAST:
        base.other_latest = latest
    measure_lag(t, row, trade.ts)
    note_trade(t, row, trade.ts)
    set_limits(t, row)
    if symbol.in_session:
        return DONE
    t.state[0].out_of_session += 1
    return UNUSUAL


# A usual trade meets all conditions of the next two: one branch for all, a nanosecond less.


@kernel_part
def _is_valid(trade: Trade, limits: _Limits) -> bool:
    is_usual: bool = (
        (trade.price > 0.0)
        & (trade.price < limits.usual_price)
        & (trade.volume > 0)
        & (trade.volume <= limits.volume)
        & (trade.ts > 0)
        & (trade.ts <= limits.ts)
    )
    return is_usual or _is_valid_at_all(trade, 0, limits)


@kernel_part
def _is_valid_at_all(trade: Trade, decimals: int, limits: _Limits) -> bool:
    """Return whether a trade is valid that is not a usual one; see ``check_values``."""
    if not -limits.price <= trade.price <= limits.price:
        return False
    if trade.price <= 0.0 and not limits.any_price:
        return False
    for each in _SENTINELS:
        if abs(trade.price) == each:
            return False
    whole = trade.volume // POWERS[decimals]
    rest = trade.volume % POWERS[decimals]
    if whole > limits.volume or (whole == limits.volume and rest):
        return False
    has_volume = trade.volume > 0 or (trade.volume == 0 and trade.excludes & EXCLUDE_VOLUME != 0)
    return has_volume and 0 < trade.ts <= limits.ts


@kernel_part
def _only_adds(base: Base, trade: Trade) -> bool:
    """Return whether a trade does no more than add to the base candle."""
    only_adds: bool = (
        (trade.ts >= base.low_time)
        & (trade.ts < base.high_time)
        & (trade.price < MAX_PRICE)
        & (trade.volume <= MAX_TICK_VOLUME)
        & (trade.volume <= base.room - base.candle.volume)
    )
    return only_adds


@kernel_part
def note_state(t: Tables, row: int, batch: int) -> None:
    """Count one more state of a symbol, once in each batch."""
    state: EngineState = t.state[0]
    base: Base = t.bases[row]
    base.batch = batch
    base.sequence += 1
    t.noted[state.changed].changed = row
    state.changed += 1


@KERNELS.add(VOID(STATES, INT, INT, INT))
def begin_batch(states: NDArray[Any], now: int, latest_allowed: int, any_price: int) -> None:
    """Begin a batch of ticks.

    Args:
        states: of the tables; each array of a call costs 0.2 us, so only this one.
        now: when the ticks arrived; 0: none of them is of the present.
        latest_allowed: the latest exchange time that is not in the future.
        any_price: 1: prices of 0 and below are valid.
    """
    state: EngineState = states[0]
    state.any_price = any_price
    state.now = now
    state.latest_allowed = latest_allowed
    state.batch += 1
    state.changed = state.moved = 0


@kernel_part
def _limits_of(state: EngineState) -> _Limits:
    usual_price = min(state.max_price, LEAST_SENTINEL)
    return _Limits(
        *(usual_price, state.max_price, state.max_volume, state.latest_allowed),
        state.any_price,
    )


@KERNELS.add(UniTuple(INT, 3)(TABLES, TICKS, INT, INT, INT))
def apply_ticks(
    t: Tables, ticks: Ticks, index: int, count: int, first_sequence: int
) -> tuple[int, int, int]:
    """Apply ticks in the order of their arrival, up to the first that is not for this loop.

    Args:
        t: the tables; their state has the batch that the ticks are of.
        ticks: the ticks of the batch.
        index: the first tick to take.
        count: how many ticks the columns have.
        first_sequence: the sequence of the first tick of the columns.

    Returns:
        Why it stopped, the first tick that was not taken, and how many rows changed so far.
    """
    state: EngineState = t.state[0]
    batch = state.batch
    limits = _limits_of(state)
    ahead = addresses_of(t)
    many = t.bases.shape[0] > _MANY
    while index < count:
        row: int = INT(ticks.rows[index])
        if row < 0:
            if row != -1:
                index += 1
                continue
            return UNUSUAL, index, t.state[0].changed
        if many and index + FAR < count:
            look_ahead(ahead, ticks, index)
        if ticks.marks[index] != t.bases[row].candle.volume_decimals:
            return MARKED, index, t.state[0].changed
        trade = Trade(
            ticks.prices[index], ticks.volumes[index], ticks.times[index], first_sequence + index, 0
        )
        if not _is_valid(trade, limits) and (
            ticks.marks[index] == 0 or not _is_valid_at_all(trade, ticks.marks[index], limits)
        ):
            return UNUSUAL, index, t.state[0].changed
        base: Base = t.bases[row]
        index += 1
        if _only_adds(base, trade):
            add(base.candle, trade.price, trade.volume, trade.ts, trade.sequence)
        elif not gather(t, row, trade):
            code = _take(t, row, trade)
            if code >= NEED_ROOM:
                return code, index - 1, t.state[0].changed
            if code == UNUSUAL:
                continue
        if base.batch != batch:
            note_state(t, row, batch)
            measure_lag(t, row, trade.ts)
    return DONE, index, t.state[0].changed


@kernel_part
def _is_repeated(memory: Memory, ticks: Ticks, index: int) -> bool:
    """Return whether a tick has the id of a remembered trade."""
    if not ticks.marks[index] & HAS_ID or not memory.rows.shape[0]:
        return False
    row: int = INT(ticks.rows[index])
    return find_trade(memory, row, ticks.ids[index, 0], ticks.ids[index, 1]) >= 0


@kernel_part
def _scale_volume(ticks: Ticks, index: int, scale: int) -> bool:
    """Write the volume of a tick at the scale of its symbol; return whether it can be."""
    mark: int = INT(ticks.marks[index])
    if mark & DECIMALS == scale:
        return True
    volume = to_scale(ticks.volumes[index], mark & DECIMALS, scale)
    if volume < 0:
        return False
    ticks.volumes[index] = volume
    ticks.marks[index] = (mark & ~DECIMALS) | scale
    return True


@kernel_part
def _trade_of(ticks: Ticks, index: int, sequence: int) -> Trade:
    excludes: int = INT(ticks.marks[index]) >> EXCLUDES_SHIFT & EXCLUDES
    if excludes & EXCLUDE_VOLUME:
        ticks.volumes[index] = 0
    return Trade(ticks.prices[index], ticks.volumes[index], ticks.times[index], sequence, excludes)


@KERNELS.add(UniTuple(INT, 3)(TABLES, TICKS, MEMORY, INT, INT, INT))
def apply_marked(
    t: Tables, ticks: Ticks, memory: Memory, index: int, count: int, first_sequence: int
) -> tuple[int, int, int]:
    """Apply ticks as :func:`apply_ticks` does, also those with decimals, ids or conditions.

    Volumes get the scale of their symbol, in the columns too; a trade whose id is remembered gets
    DUPLICATE for its row.

    Args:
        t: the tables; their state has the batch that the ticks are of.
        ticks: the ticks of the batch.
        memory: the remembered trades; without places none is remembered.
        index: the first tick to take.
        count: how many ticks the columns have.
        first_sequence: the sequence of the first tick of the columns.

    Returns:
        Why it stopped, the first tick that was not taken, and how many rows changed so far.
    """
    state: EngineState = t.state[0]
    batch = state.batch
    limits = _limits_of(state)
    while index < count:
        row: int = INT(ticks.rows[index])
        if row < 0:
            if row != -1:
                index += 1
                continue
            return UNUSUAL, index, t.state[0].changed
        mark: int = INT(ticks.marks[index])
        if mark >> ACTION_SHIFT & ACTION:
            return AMEND, index, t.state[0].changed
        base: Base = t.bases[row]
        scale: int = base.candle.volume_decimals
        if not _scale_volume(ticks, index, scale):
            return NEED_SCALE, index, t.state[0].changed
        trade = _trade_of(ticks, index, first_sequence + index)
        if not _is_valid_at_all(trade, scale, limits):
            return UNUSUAL, index, t.state[0].changed
        if _is_repeated(memory, ticks, index):
            ticks.rows[index] = DUPLICATE
            state.duplicates += 1
            index += 1
            continue
        index += 1
        code, not_counted = DONE, state.left_out + state.bars_evicted
        if not trade.excludes and _only_adds(base, trade):
            add(base.candle, trade.price, trade.volume, trade.ts, trade.sequence)
        elif not gather(t, row, trade):
            code = _take(t, row, trade)
            if code >= NEED_ROOM:
                return code, index - 1, t.state[0].changed
        if mark & HAS_ID and memory.rows.shape[0]:
            words = ticks.ids[index - 1, 0], ticks.ids[index - 1, 1]
            left_out = state.left_out + state.bars_evicted != not_counted
            mark = scale | trade.excludes << EXCLUDES_SHIFT
            mark |= LEFT_OUT_BY_BARS if left_out else 0
            remember(memory, t.symbols[row], row, words, trade, mark)
        if code == DONE and base.batch != batch:
            note_state(t, row, batch)
            measure_lag(t, row, trade.ts)
    return DONE, index, t.state[0].changed

"""Cancel or correct a remembered trade: its bars become as if it had not been, or otherwise.

A trade between the extremes of a bar is subtracted. Where it gave a price, the bar is made again of
its other trades, which have to be remembered, every one. Either all bars of the trade and its
session change, or none does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from aggregator.bars.kernel.apply import note_state
from aggregator.bars.kernel.candle import (
    EXCLUDE_HIGH_LOW,
    EXCLUDE_LAST,
    EXCLUDE_OPEN,
    EXCLUDE_VOLUME,
    CandleNumbers,
    copy,
    empty,
    has_room,
    is_empty,
    take,
)
from aggregator.bars.kernel.close import find_due
from aggregator.bars.kernel.codes import DONE, NEED_ROOM, NEED_RULE, OVERFLOW, UNUSUAL
from aggregator.bars.kernel.events import note_trade, touch
from aggregator.bars.kernel.gather import add_gathered
from aggregator.bars.kernel.limits import has_space, measure_room, set_limits
from aggregator.bars.kernel.memory import CANCELLED, LEFT_OUT_BY_BARS, MEMORY, Memory, excludes_of
from aggregator.bars.kernel.pool import find_bar
from aggregator.bars.kernel.records import (
    BY_PYTHON,
    CANDLE,
    INT,
    LEFT_OUT,
    MISSING,
    OPEN,
    TABLES,
    Base,
    EngineState,
    Slot,
    Symbol,
    Tables,
    Trade,
)
from aggregator.bars.kernel.scale import to_scale
from aggregator.bars.kernel.session import bounds_of, fold_base, is_in_session, latest_time
from aggregator.wire.ticks import DECIMALS, EXCLUDES_SHIFT
from marketdata.kernels import KERNELS, from_dtype, fused_part, kernel_part
from marketdata.sums import add_neumaier

_CANDLES: Any = from_dtype(CANDLE)[::1]


@kernel_part
def _gave_a_price(candle: CandleNumbers, trade: Trade) -> bool:
    """Return whether a price of a candle may be that of one of its trades."""
    excludes = trade.excludes
    at_high_or_low = not excludes & EXCLUDE_HIGH_LOW and not (
        candle.low < trade.price < candle.high
    )
    is_last = (
        not excludes & EXCLUDE_LAST
        and trade.ts == candle.last_ts
        and trade.sequence == candle.last_sequence
    )
    is_first = (
        not excludes & EXCLUDE_OPEN
        and trade.ts == candle.first_ts
        and trade.sequence == candle.first_sequence
    )
    return at_high_or_low or is_last or is_first


@kernel_part
def _subtract(candle: CandleNumbers, trade: Trade) -> None:
    """Take a trade out of a candle that has others, and of which it gave no price."""
    if not trade.excludes & EXCLUDE_VOLUME:
        candle.notional, candle.notional_error = add_neumaier(
            candle.notional, candle.notional_error, -(trade.price * trade.volume)
        )
        candle.volume -= trade.volume
    candle.trades -= 1


@kernel_part
def _remembered(memory: Memory, place: int, scale: int) -> Trade:
    return Trade(
        memory.prices[place],
        # No total of its symbol, of which it is a part, passed an int64 when it got the scale.
        to_scale(memory.volumes[place], memory.marks[place] & DECIMALS, scale),
        memory.times[place],
        memory.sequences[place],
        excludes_of(memory, place),
    )


class _Span(NamedTuple):
    """The time of a candle, and the number of the last remembered trade of its symbol."""

    start: int
    end: int
    last: int


@fused_part
def _make_again(candle: CandleNumbers, memory: Memory, left_out: int, span: _Span) -> bool:
    """Make a candle of its remembered trades, but for one; return whether all are remembered."""
    wanted = candle.trades - 1
    empty(candle)
    number = span.last
    # The newest are the first, so the trades of a bar are soon found.
    while number >= memory.taken[1] and candle.trades < wanted:
        place = number % memory.rows.shape[0]
        if (
            span.start <= memory.times[place] < span.end
            and place != left_out
            and not memory.marks[place] & CANCELLED
        ):
            if memory.marks[place] & LEFT_OUT_BY_BARS:
                return False
            trade = _remembered(memory, place, candle.volume_decimals)
            take(candle, trade.price, trade.volume, trade.ts, trade.sequence, trade.excludes)
        number = memory.previous[place]
    return bool(candle.trades == wanted)


@fused_part
def _amend(candle: CandleNumbers, memory: Memory, place: int, new: Trade, span: _Span) -> int:
    """Take a trade out of a candle, and the new one in if it has a time; return DONE if it can."""
    old = _remembered(memory, place, candle.volume_decimals)
    trades = candle.trades
    if trades < 1:
        return UNUSUAL
    if trades > 1 and not _gave_a_price(candle, old):
        _subtract(candle, old)
    elif not _make_again(candle, memory, place, span):
        return UNUSUAL
    if new.ts:
        if not has_room(candle, new.volume, new.price * new.volume):
            return OVERFLOW
        take(candle, new.price, new.volume, new.ts, new.sequence, new.excludes)
    return DONE


@fused_part
def _find_target(t: Tables, row: int, index: int, ts: int) -> tuple[int, int, int]:
    """Return where the bar of a time is: its place, OPEN, MISSING or LEFT_OUT, and its bounds."""
    slot: Slot = t.slots[row, index]
    if slot.start <= ts < slot.end:
        return OPEN, slot.start, slot.end
    start, end = bounds_of(t.symbols[row], slot, ts)
    if start == end:
        return LEFT_OUT, 0, 0
    place = find_bar(t, row, index, start)
    return (place, start, end) if place >= 0 else (MISSING, 0, 0)


@fused_part
def _prepare(
    t: Tables, row: int, memory: Memory, place: int, new: Trade, made: NDArray[Any]
) -> int:
    """Make the session, and the bars of each slot, as they will be; return DONE if all can be."""
    ts: int = memory.times[place]
    symbol: Symbol = t.symbols[row]
    slots = t.state[0].slots
    for index in range(slots):
        target, start, end = _find_target(t, row, index, ts)
        if target == MISSING:
            return UNUSUAL
        if target == LEFT_OUT:
            continue
        if target == OPEN:
            copy(made[index], t.slots[row, index].candle)
        else:
            copy(made[index], t.bars[target].candle)
        span = _Span(start, end, symbol.remembered)
        code = _amend(made[index], memory, place, new, span)
        if code != DONE:
            return code
    if is_in_session(symbol, ts):
        copy(made[slots], symbol.session)
        span = _Span(symbol.session_start, symbol.session_end, symbol.remembered)
        return _amend(made[slots], memory, place, new, span)
    return DONE


@KERNELS.add(INT(TABLES, MEMORY, INT, INT, _CANDLES))
def amend_trade(t: Tables, memory: Memory, place: int, excludes: int, made: NDArray[Any]) -> int:
    """Cancel a remembered trade, or correct it.

    Args:
        t: the tables.
        memory: the remembered trades.
        place: of the trade in the memory.
        excludes: of the corrected trade.
        made: has room for a candle of each slot and one of the session. Then follows a candle with
            the price, as its open, and the volume of the corrected trade, at the scale of the
            symbol; without trades the remembered one is cancelled.

    Returns:
        DONE; NEED_ROOM or NEED_RULE; OVERFLOW: a total would overflow; UNUSUAL: a bar would have to
        be made again of trades that are not all remembered. Nothing has changed but after DONE.
    """
    state: EngineState = t.state[0]
    row: int = INT(memory.rows[place])
    ts: int = memory.times[place]
    symbol: Symbol = t.symbols[row]
    if not has_space(t, row):
        return NEED_ROOM
    if symbol.rule == BY_PYTHON and not symbol.known_from <= ts < symbol.known_to:
        return NEED_RULE
    base: Base = t.bases[row]
    if symbol.gathered_to:
        add_gathered(t, row)
    if not is_empty(base.candle):
        # The open bars and the session have all trades then, and the piece begins again.
        fold_base(t, row)
        if symbol.next_at == symbol.base_end:
            symbol.next_at = symbol.base_start
            base.other_latest = symbol.latest
    new: CandleNumbers = made[state.slots + 1]
    corrected = Trade(
        new.open, new.volume, ts if new.trades else 0, memory.sequences[place], excludes
    )
    code = _prepare(t, row, memory, place, corrected, made)
    if code == DONE:
        _commit(t, row, ts, made)
        memory.marks[place] |= CANCELLED
        if new.trades:
            memory.prices[place] = new.open
            memory.volumes[place] = new.volume
            memory.marks[place] = symbol.session.volume_decimals | excludes << EXCLUDES_SHIFT
        note_trade(t, row, latest_time(t, row))
        if is_in_session(symbol, ts) and base.batch != state.batch:
            note_state(t, row, state.batch)
    measure_room(t, row)
    find_due(t, row)
    set_limits(t, row)
    return code


@fused_part
def _commit(t: Tables, row: int, ts: int, made: NDArray[Any]) -> None:
    """Let the bars of a time and its session be what was made."""
    symbol: Symbol = t.symbols[row]
    slots = t.state[0].slots
    for index in range(slots):
        target, _, _ = _find_target(t, row, index, ts)
        if target == OPEN:
            copy(t.slots[row, index].candle, made[index])
        elif target >= 0:
            touch(t, target)
            copy(t.bars[target].candle, made[index])
    if is_in_session(symbol, ts):
        copy(symbol.session, made[slots])

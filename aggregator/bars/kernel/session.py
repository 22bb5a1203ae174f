"""Which session, bar and base piece a time belongs to."""

from __future__ import annotations

from aggregator.bars.kernel.candle import clear, is_empty, merge
from aggregator.bars.kernel.events import count_end
from aggregator.bars.kernel.records import (
    BY_PYTHON,
    NEVER,
    NO_SESSION,
    UNKNOWN_PHASE,
    UTC_DAY,
    Base,
    OpenTables,
    Slot,
    Symbol,
    Tables,
)
from marketdata.kernels import fused_part, kernel_part
from marketdata.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S


@fused_part
def latest_time(t: Tables | OpenTables, row: int) -> int:
    """Return the latest exchange time of the symbol, -1 before the first."""
    base: Base = t.bases[row]
    # Most ask for a symbol whose base candle is at hand, and the rest is not.
    latest: int = t.symbols[row].latest if is_empty(base.candle) else base.candle.last_ts
    return max(latest, base.other_latest)


@kernel_part
def session_of(symbol: Symbol, ts: int) -> tuple[int, int]:
    """Return start and end of the session of a time, the same if there is none."""
    if symbol.rule == NO_SESSION:
        return 0, NEVER
    if symbol.rule == UTC_DAY:
        start = ts - ts % NS_PER_DAY
        return start, start + NS_PER_DAY
    return symbol.known_start, symbol.known_end


@fused_part
def bounds_of(symbol: Symbol, slot: Slot, ts: int) -> tuple[int, int]:
    """Return start and end of the bar that a time belongs to, the same between two days."""
    if slot.size:
        start = ts - (ts - slot.anchor) % slot.size
        return start, start + slot.size
    if symbol.rule == BY_PYTHON:
        return symbol.known_day_start, symbol.known_day_end
    start = ts - ts % NS_PER_DAY
    return start, start + NS_PER_DAY


@kernel_part
def is_in_session(symbol: Symbol, ts: int) -> bool:
    """Return whether a time is of the present session."""
    return symbol.session_start <= ts < symbol.session_end


@kernel_part
def start_session(symbol: Symbol, ts: int) -> None:
    """Begin the session of a time, if there is one."""
    start, end = session_of(symbol, ts)
    if start < end:
        symbol.session_start = start
        symbol.session_end = end
        clear(symbol.session)


@fused_part
def fold_base(t: Tables, row: int) -> None:
    """Move the base candle into the session and the open bars."""
    base: Base = t.bases[row]
    symbol: Symbol = t.symbols[row]
    if symbol.in_session:
        merge(symbol.session, base.candle)
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if slot.start <= symbol.base_start < slot.end:
            merge(slot.candle, base.candle)
    base.room = max(base.room - base.candle.volume, -1)
    symbol.money_room -= base.candle.notional
    symbol.latest = max(symbol.latest, base.candle.last_ts)
    clear(base.candle)


@fused_part
def begin_base(t: Tables, row: int, ts: int) -> None:
    """Begin the base piece of a time, and the bars it is in."""
    symbol: Symbol = t.symbols[row]
    if ts >= symbol.session_end:
        start_session(symbol, ts)
    symbol.in_session = is_in_session(symbol, ts)
    # Sessions begin and end with a second, and what lies between them has no end to cut at.
    size = t.state[0].base_ns if symbol.in_session else NS_PER_S
    start, end = symbol.session_start, symbol.session_end
    if size:
        start = ts - (ts - symbol.base_anchor) % size
        end = start + size
    if symbol.in_session:
        start, end = max(start, symbol.session_start), min(end, symbol.session_end)
    for index in range(t.state[0].slots):
        slot: Slot = t.slots[row, index]
        if not slot.start <= ts < slot.end:
            _open_bar(t, symbol, index, slot, ts)
        if slot.size == 0 and slot.end:
            start, end = max(start, slot.start), min(end, slot.end)
    symbol.base_start = start
    symbol.base_end = symbol.next_at = end
    symbol.due_at = min(symbol.due_at, end)


@fused_part
def _open_bar(t: Tables, symbol: Symbol, index: int, slot: Slot, ts: int) -> None:
    start, end = bounds_of(symbol, slot, ts)
    slot.open_sequence = 0
    slot.phase = UNKNOWN_PHASE if symbol.rule == BY_PYTHON else 0
    slot.start = slot.end = 0
    if start < end:
        slot.start = start
        slot.end = end
        count_end(t, index, end, 1, 0)

"""The pool of bars that are not open, and the lists that link them.

The bars of a slot that wait out the grace are one list, its closed ones another, both in the order
of their starts. An index finds a bar of these lists by its start. All closed bars are in a third
list, in the order in which they closed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.candle import clear, copy
from aggregator.bars.kernel.records import (
    BARS,
    BY_PYTHON,
    EARLY,
    EVICTED,
    INTS,
    NONE,
    PARTIAL,
    UNKNOWN_PHASE,
    VOID,
    PooledBar,
    Slot,
    Symbol,
    Tables,
)
from marketdata.kernels import KERNELS, fused_part, kernel_part


@fused_part
def make_bar(t: Tables, row: int, index: int, start: int, end: int) -> int:
    """Return the place of a new bar without trades."""
    state = t.state[0]
    state.free -= 1
    place: int = t.free[state.free]
    bar: PooledBar = t.bars[place]
    clear(bar.candle)
    bar.candle.volume_decimals = t.symbols[row].session.volume_decimals
    bar.row = row
    bar.slot = index
    bar.start = start
    bar.end = end
    bar.state = PARTIAL
    bar.phase = UNKNOWN_PHASE if t.symbols[row].rule == BY_PYTHON else 0
    bar.revision = bar.coverage = bar.refused = bar.sequence = bar.event = bar.touched = 0
    bar.next = bar.previous = bar.next_closed = bar.previous_closed = bar.next_alike = NONE
    return place


@kernel_part
def copy_bar(t: Tables, place: int, other: int) -> None:
    """Make a bar what another one is, but for its neighbours."""
    bar: PooledBar = t.bars[place]
    source: PooledBar = t.bars[other]
    copy(bar.candle, source.candle)
    bar.state = source.state
    bar.revision = source.revision
    bar.coverage = source.coverage
    bar.refused = source.refused
    bar.phase = source.phase
    bar.sequence = source.sequence
    bar.event = source.event


@fused_part
def give_up(t: Tables, place: int) -> None:
    """Let the place of a bar be used again once the events were published."""
    state = t.state[0]
    t.deferred[state.deferred] = place
    state.deferred += 1


@fused_part
def _link(t: Tables, place: int, before: int, after: int) -> None:
    bar: PooledBar = t.bars[place]
    bar.previous = before
    bar.next = after
    if before >= 0:
        t.bars[before].next = place
    if after >= 0:
        t.bars[after].previous = place


@fused_part
def _unlink(t: Tables, bar: PooledBar) -> None:
    if bar.previous >= 0:
        t.bars[bar.previous].next = bar.next
    if bar.next >= 0:
        t.bars[bar.next].previous = bar.previous


@fused_part
def head_of(count: int, row: int, index: int, start: int) -> int:
    """Return the head, of so many, at which the index has a bar."""
    # Any numbers do: they mix the bits, whose lowest are alike in most starts.
    mixed = start * 0x1E3779B97F4A7C15 + row * 0x3C6EF372FE94F82A + index * 0x5851F42D4C957F2D
    head: int = ((mixed >> 32) ^ (mixed >> 17)) & (count - 1)
    return head


@fused_part
def _put_in_index(heads: NDArray[np.int64], bars: NDArray[Any], place: int) -> None:
    bar: PooledBar = bars[place]
    head = head_of(heads.shape[0], bar.row, bar.slot, bar.start)
    bar.next_alike = heads[head]
    heads[head] = place


@fused_part
def _take_from_index(t: Tables, place: int) -> None:
    bar: PooledBar = t.bars[place]
    head = head_of(t.heads.shape[0], bar.row, bar.slot, bar.start)
    other: int = t.heads[head]
    if other == place:
        t.heads[head] = bar.next_alike
        return
    while t.bars[other].next_alike != place:
        other = t.bars[other].next_alike
    t.bars[other].next_alike = bar.next_alike


@KERNELS.add(VOID(BARS, INTS, INTS))
def copy_index(bars: NDArray[Any], heads: NDArray[np.int64], new: NDArray[np.int64]) -> None:
    """Put every bar of an index in a new one, which is empty."""
    for head in range(heads.shape[0]):
        place: int = heads[head]
        while place >= 0:
            following: int = bars[place].next_alike
            _put_in_index(new, bars, place)
            place = following


@KERNELS.add(VOID(BARS, INTS, INTS))
def index_bars(bars: NDArray[Any], places: NDArray[np.int64], heads: NDArray[np.int64]) -> None:
    """Put the bars at some places in an index, which is empty."""
    for number in range(places.shape[0]):
        _put_in_index(heads, bars, places[number])


@fused_part
def link_early(t: Tables, place: int) -> None:
    """Put a bar among those that wait out the grace."""
    bar: PooledBar = t.bars[place]
    symbol: Symbol = t.symbols[bar.row]
    slot: Slot = t.slots[bar.row, bar.slot]
    bar.state = EARLY
    symbol.early_count += 1
    before, after = NONE, slot.early_first
    while after >= 0 and t.bars[after].start < bar.start:
        before, after = after, t.bars[after].next
    _link(t, place, before, after)
    _put_in_index(t.heads, t.bars, place)
    if before < 0:
        slot.early_first = place
    symbol.due_at = min(symbol.due_at, bar.end + t.state[0].grace)


@fused_part
def unlink_early(t: Tables, place: int) -> None:
    """Take a bar from those that wait out the grace."""
    bar: PooledBar = t.bars[place]
    slot: Slot = t.slots[bar.row, bar.slot]
    t.symbols[bar.row].early_count -= 1
    _unlink(t, bar)
    _take_from_index(t, place)
    if bar.previous < 0:
        slot.early_first = bar.next


@kernel_part
def unlink_closed(t: Tables, place: int) -> None:
    """Take a closed bar out of both its lists, and give its place up."""
    state = t.state[0]
    bar: PooledBar = t.bars[place]
    slot: Slot = t.slots[bar.row, bar.slot]
    _unlink(t, bar)
    _take_from_index(t, place)
    if slot.target == place:
        slot.target = EVICTED
    if bar.previous < 0:
        slot.closed_first = bar.next
    if bar.next < 0:
        slot.closed_last = bar.previous
    if bar.previous_closed >= 0:
        t.bars[bar.previous_closed].next_closed = bar.next_closed
    else:
        state.oldest = bar.next_closed
    if bar.next_closed >= 0:
        t.bars[bar.next_closed].previous_closed = bar.previous_closed
    else:
        state.newest = bar.previous_closed
    state.closed -= 1
    give_up(t, place)


@fused_part
def link_closed(t: Tables, place: int) -> None:
    """Keep a closed bar; beyond the limit the bar that closed longest ago is given up."""
    state = t.state[0]
    bar: PooledBar = t.bars[place]
    slot: Slot = t.slots[bar.row, bar.slot]
    before, after = slot.closed_last, NONE
    while before >= 0 and t.bars[before].start > bar.start:
        before, after = t.bars[before].previous, before
    _link(t, place, before, after)
    _put_in_index(t.heads, t.bars, place)
    if before < 0:
        slot.closed_first = place
    if after < 0:
        slot.closed_last = place
    bar.previous_closed = state.newest
    bar.next_closed = NONE
    if state.newest >= 0:
        t.bars[state.newest].next_closed = place
    else:
        state.oldest = place
    state.newest = place
    state.closed += 1
    while state.closed > state.max_closed:
        _evict(t, state.oldest)


@kernel_part
def _evict(t: Tables, place: int) -> None:
    bar: PooledBar = t.bars[place]
    slot: Slot = t.slots[bar.row, bar.slot]
    slot.evicted_until = max(slot.evicted_until, bar.start)
    t.state[0].evicted += 1
    unlink_closed(t, place)


@fused_part
def find_bar(t: Tables, row: int, index: int, start: int) -> int:
    """Return the place of the bar of a slot with a start that is not open, or NONE."""
    place: int = t.heads[head_of(t.heads.shape[0], row, index, start)]
    while place >= 0:
        bar: PooledBar = t.bars[place]
        if bar.start == start and bar.row == row and bar.slot == index:
            return place
        place = bar.next_alike
    return NONE

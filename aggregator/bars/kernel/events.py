"""Note which states of bars are to be published; Python publishes them after the call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.pool import copy_bar, give_up, link_closed, make_bar
from aggregator.bars.kernel.records import (
    FINAL,
    INT,
    INTS,
    PARTIAL,
    REVISED,
    TABLES,
    EndCount,
    EngineState,
    PooledBar,
    Slot,
    Symbol,
    Tables,
    UniTuple,
)
from marketdata.kernels import KERNELS, fused_part, kernel_part

# How far back the list of ends is searched; bars begin and end together.
ENDS_SEARCHED = 16


@fused_part
def note_trade(t: Tables, row: int, clock: int) -> None:
    """Note that the symbol had a trade that was more than an addition."""
    state = t.state[0]
    symbol: Symbol = t.symbols[row]
    if symbol.moved != state.batch:
        symbol.moved = state.batch
        t.noted[state.moved].moved = row
        state.moved += 1
    state.clock = max(state.clock, clock)
    symbol.live = is_live(state, clock)
    if not symbol.live:
        symbol.timer_at = 0


@fused_part
def is_live(state: EngineState, clock: int) -> bool:
    """Return whether a symbol whose time is ``clock`` has trades of the present."""
    live: bool = state.now != 0 and clock >= state.now - state.live_within
    return live


@kernel_part
def is_wanted(all_wanted: NDArray[np.bool_], slot: Slot, index: int) -> bool:
    """Return whether somebody wants the bars of a slot."""
    wanted: bool = all_wanted[index] or slot.wanted
    return wanted


@fused_part
def publish(t: Tables, place: int) -> None:
    """Count one more state of a bar that is not open, and note it if it concerns anyone."""
    state = t.state[0]
    bar: PooledBar = t.bars[place]
    slot: Slot = t.slots[bar.row, bar.slot]
    slot.sequence += 1
    bar.sequence = slot.sequence
    # Half of all states are early ones, and whoever asks for them gets the newest then.
    if bar.state >= FINAL or is_wanted(t.all_wanted, slot, bar.slot):
        t.events[state.events] = place
        state.events += 1
        # An earlier event of a bar that was not closed says less than this one.
        bar.event = state.events


@fused_part
def count_end(t: Tables, index: int, end: int, began: int, closed: int) -> None:
    """Count bars of a slot with an end that began or closed."""
    count = t.state[0].ends
    for number in range(count - 1, max(count - ENDS_SEARCHED, 0) - 1, -1):
        known: EndCount = t.ends[number]
        if known.slot == index and known.end == end:
            known.began += began
            known.closed += closed
            return
    new: EndCount = t.ends[count]
    new.slot = index
    new.end = end
    new.began = began
    new.closed = closed
    t.state[0].ends += 1


@fused_part
def touch(t: Tables, place: int) -> None:
    """Let a bar take a late trade in; its new state is published when the batch ends."""
    state = t.state[0]
    bar: PooledBar = t.bars[place]
    if bar.touched:
        return
    if bar.state >= FINAL:
        if bar.event:
            _keep_event(t, place)
        bar.state = REVISED
        bar.revision += 1
    elif bar.state == PARTIAL:
        # The first trade of its time came when that was over.
        bar.state = FINAL
        link_closed(t, place)
    t.touched[state.touched] = place
    state.touched += 1
    bar.touched = state.touched


@fused_part
def _keep_event(t: Tables, place: int) -> None:
    # A state that is not published yet is published as it was, from a twin of the bar.
    bar: PooledBar = t.bars[place]
    twin = make_bar(t, bar.row, bar.slot, bar.start, bar.end)
    copy_bar(t, twin, place)
    t.events[bar.event - 1] = twin
    bar.event = 0
    # Nobody has asked yet how much of its time was covered when it closed.
    bar.coverage = 0
    give_up(t, twin)


@fused_part
def _publish_touched(t: Tables) -> None:
    """Publish the bars that late trades changed."""
    for index in range(t.state[0].touched):
        place: int = t.touched[index]
        # A bar that closed meanwhile was published with the late trades.
        if t.bars[place].touched == index + 1:
            t.bars[place].touched = 0
            publish(t, place)
    t.state[0].touched = 0


@KERNELS.add(UniTuple(INT, 4)(TABLES, INTS, INTS))
def take_events(
    t: Tables, wanted: NDArray[np.int64], closed: NDArray[np.int64]
) -> tuple[int, int, int, int]:
    """Begin new lists of events and ends; leave the bars to publish first in the old one, in order.

    Places that were given up are free from now on, and unchanged until the next trade.

    Args:
        t: the tables.
        wanted: takes the bars that somebody wants; as long as the list of events.
        closed: takes the bars that are closed; as long.

    Returns:
        How many bars there are, how many are wanted, how many closed, and how many ends there are.
    """
    state = t.state[0]
    _publish_touched(t)
    n = n_wanted = n_closed = 0
    for index in range(state.events):
        place: int = t.events[index]
        bar: PooledBar = t.bars[place]
        # Of several events of a bar the last one counts, unless it was closed: see touch.
        if bar.event == index + 1:
            bar.event = 0
            t.events[n] = place
            n += 1
            if is_wanted(t.all_wanted, t.slots[bar.row, bar.slot], bar.slot):
                wanted[n_wanted] = place
                n_wanted += 1
            if bar.state >= FINAL:
                closed[n_closed] = place
                n_closed += 1
    for index in range(state.deferred):
        t.free[state.free + index] = t.deferred[index]
    state.free += state.deferred
    ends = state.ends
    state.events = state.deferred = state.ends = 0
    return n, n_wanted, n_closed, ends

"""What Python asks about open bars and those of the pool.

Most take only the arrays that they need: each costs 0.2 us per call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.events import ENDS_SEARCHED, is_wanted
from aggregator.bars.kernel.records import (
    BARS,
    BASES,
    BY_PYTHON,
    INT,
    INTS,
    NEVER,
    NONE,
    NOTED_ROWS,
    OPEN_TABLES,
    REVISED,
    SLOTS,
    STATES,
    SYMBOLS,
    TABLES,
    UNSURE,
    WANTED,
    Base,
    EngineState,
    OpenTables,
    PooledBar,
    Slot,
    Symbol,
    Tables,
    UniTuple,
)
from aggregator.bars.kernel.session import latest_time
from marketdata.kernels import KERNELS, from_dtype, kernel_part


class OpenBar(NamedTuple):
    """An open bar, and how far it has come."""

    row: int
    slot: int
    start: int
    # A time after all trades that the bar may have had.
    reached: int
    # The index of its group, -1: a trading day is in none.
    group: int
    # The end of the bar, and how many ticks of its time were refused, as Python says.
    end: int
    refused: int


class OpenGroup(NamedTuple):
    """Open bars that begin together, with the least and the greatest time they have reached."""

    start: int
    least: int
    greatest: int


OPEN_BAR = np.dtype([(name, np.int64) for name in OpenBar._fields], align=True)
OPEN_GROUP = np.dtype([(name, np.int64) for name in OpenGroup._fields], align=True)
_OPEN_BARS, _OPEN_GROUPS = from_dtype(OPEN_BAR)[::1], from_dtype(OPEN_GROUP)[::1]


@KERNELS.add(INT(STATES, BASES, SYMBOLS, INTS, INTS))
def set_timers(
    states: NDArray[Any],
    bases: NDArray[Any],
    symbols: NDArray[Any],
    rows: NDArray[np.int64],
    times: NDArray[np.int64],
) -> int:
    """Let the wall clock look after rows when they have something to close next.

    An entry that is too early finds nothing to close and sets the next one.

    Args:
        states: of the tables.
        bases: of the tables.
        symbols: of the tables.
        rows: the symbols that may have something new. Begins with those to look at afterwards:
            others than live ones are left out.
        times: takes when.

    Returns:
        How many are to be looked at.
    """
    count = 0
    if states[0].slots == 0:
        return count
    for index in range(rows.shape[0]):
        row: int = rows[index]
        symbol: Symbol = symbols[row]
        base: Base = bases[row]
        due = symbol.due_at
        if not symbol.live or due == NEVER:
            continue
        due += base.lag
        if not 0 < symbol.timer_at <= due:
            symbol.timer_at = due
            rows[count] = row
            times[count] = due
            count += 1
    return count


@KERNELS.add(INT(STATES, BASES, SLOTS, WANTED, NOTED_ROWS, INT, INTS))
def publish_open(
    states: NDArray[Any],
    bases: NDArray[Any],
    slots: NDArray[Any],
    all_wanted: NDArray[np.bool_],
    noted: NDArray[Any],
    step: int,
    out: NDArray[np.int64],
) -> int:
    """Count one more state of the open bars, that somebody wants, of rows with trades.

    Args:
        states: of the tables.
        bases: of the tables.
        slots: of the tables.
        all_wanted: of the tables.
        noted: of the tables.
        step: how many series a row has.
        out: takes the series.

    Returns:
        How many there are.
    """
    state: EngineState = states[0]
    count = 0
    for index in range(state.changed + state.moved):
        if index < state.changed:
            row: int = noted[index].changed
        else:
            row = noted[index - state.changed].moved
            # A row that closed a bar and began another may have changed as well.
            if bases[row].batch == state.batch:
                continue
        for number in range(state.slots):
            slot: Slot = slots[row, number]
            if slot.start < slot.end and is_wanted(all_wanted, slot, number):
                slot.sequence += 1
                slot.open_sequence = slot.sequence
                out[count] = row * step + number
                count += 1
    return count


@KERNELS.add(UniTuple(INT, 2)(OPEN_TABLES, INTS, INT, _OPEN_BARS, _OPEN_GROUPS))
def find_open(
    t: OpenTables, series: NDArray[np.int64], step: int, found: NDArray[Any], groups: NDArray[Any]
) -> tuple[int, int]:
    """Find open bars, and how far they have come.

    Args:
        t: the tables.
        series: whose bars; each one of a slot.
        step: how many series a row has.
        found: takes an OpenBar for each.
        groups: takes an OpenGroup for bars that begin together.

    Returns:
        How many groups there are, and of how many bars Python has to find out the phase.
    """
    count = unknown = 0
    for index in range(series.shape[0]):
        bar: Any = found[index]
        bar.row = series[index] // step
        bar.slot = series[index] % step
        slot: Slot = t.slots[bar.row, bar.slot]
        bar.start = slot.start
        bar.end = slot.end
        bar.refused = 0
        bar.reached = min(max(latest_time(t, bar.row), slot.start) + 1, slot.end)
        bar.group = -1
        unknown += slot.phase < 0
        if slot.size:
            bar.group = _join_group(groups, count, bar.start, bar.reached)
            count = max(count, bar.group + 1)
    return count, unknown


@KERNELS.add(INT(OPEN_TABLES, INTS, _OPEN_BARS, _OPEN_GROUPS))
def find_sessions(
    t: OpenTables, rows: NDArray[np.int64], found: NDArray[Any], groups: NDArray[Any]
) -> int:
    """Find the present sessions of symbols, and how far they have come.

    Args:
        t: the tables.
        rows: the symbols.
        found: takes an OpenBar for each, without a slot.
        groups: takes an OpenGroup for sessions that begin together.

    Returns:
        How many groups there are.
    """
    count = 0
    for index in range(rows.shape[0]):
        bar: Any = found[index]
        bar.row = rows[index]
        symbol: Symbol = t.symbols[bar.row]
        bar.slot = -1
        bar.start = symbol.session_start
        bar.end = symbol.session_end
        bar.refused = 0
        bar.reached = min(max(latest_time(t, bar.row), bar.start) + 1, symbol.session_end)
        bar.group = -1
        if symbol.rule != BY_PYTHON:
            bar.group = _join_group(groups, count, bar.start, bar.reached)
            count = max(count, bar.group + 1)
    return count


@kernel_part
def _join_group(groups: NDArray[Any], count: int, start: int, reached: int) -> int:
    """Return the group of bars with this start, which may be a new one."""
    for number in range(count - 1, max(count - ENDS_SEARCHED, 0) - 1, -1):
        group: Any = groups[number]
        if group.start == start:
            group.least = min(group.least, reached)
            group.greatest = max(group.greatest, reached)
            return number
    groups[count].start = start
    groups[count].least = groups[count].greatest = reached
    return count


@KERNELS.add(UniTuple(INT, 2)(BARS, SLOTS, INTS, INTS, INTS))
def group_bars(
    bars: NDArray[Any],
    slots: NDArray[Any],
    places: NDArray[np.int64],
    firsts: NDArray[np.int64],
    group_of: NDArray[np.int64],
) -> tuple[int, int]:
    """Find bars of the same time; trading days stay alone, and what keeps its coverage is left out.

    Args:
        bars: of the tables.
        slots: of the tables.
        places: the bars.
        firsts: takes the place of one bar of each group.
        group_of: takes the group of each, or NONE.

    Returns:
        How many groups there are, and of how many bars Python has to find out the phase.
    """
    count = unknown = 0
    for index in range(places.shape[0]):
        bar: PooledBar = bars[places[index]]
        unknown += bar.phase < 0
        if _is_revised(bar) and bar.coverage < UNSURE:
            # The one with which it closed.
            group_of[index] = NONE
            continue
        group = count
        if slots[bar.row, bar.slot].size and not _is_revised(bar):
            group = _find_group(bars, firsts, count, bar)
        if group == count:
            firsts[count] = places[index]
            count += 1
        group_of[index] = group
    return count, unknown


@kernel_part
def _is_revised(bar: PooledBar) -> bool:
    """Return whether a bar has the coverage with which it closed."""
    return bar.state == REVISED and bar.coverage != 0


@kernel_part
def _find_group(bars: NDArray[Any], firsts: NDArray[np.int64], count: int, bar: PooledBar) -> int:
    """Return the group of bars of the same slot and time, ``count`` if there is none yet."""
    for number in range(count - 1, max(count - ENDS_SEARCHED, 0) - 1, -1):
        first: PooledBar = bars[firsts[number]]
        if first.start == bar.start and first.slot == bar.slot and not _is_revised(first):
            return number
    return count


@KERNELS.add(INT(TABLES, INT, INT, INT, INT, INTS))
def list_bars(
    t: Tables, row: int, index: int, from_ns: int, to_ns: int, out: NDArray[np.int64]
) -> int:
    """Find bars with from_ns <= start < to_ns that are closed or wait out the grace.

    Args:
        t: the tables.
        row: the symbol.
        index: the slot.
        from_ns: the earliest start.
        to_ns: the time after the latest start.
        out: takes their places, as far as they have room.

    Returns:
        How many there are, which may be more than there was room for.
    """
    count = 0
    slot: Slot = t.slots[row, index]
    for first in (slot.closed_first, slot.early_first):
        place = first
        while place >= 0:
            bar: PooledBar = t.bars[place]
            if from_ns <= bar.start < to_ns:
                if count < out.shape[0]:
                    out[count] = place
                count += 1
            place = bar.next
    return count

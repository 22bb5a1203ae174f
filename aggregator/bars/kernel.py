"""The compiled loops that apply trades to the bars of their symbols, and close bars.

Per trade only the *base candle* of its symbol is touched: it sums up the trades of the present base
piece, which no end of a bar, of a session or of a day divides. Whatever is more than an addition to
it is done by :func:`_take`, in any order of trades. What happens to bars is written down as
*events*, which Python tells after the call.

Measured on one core at 2.1 GHz: see docs/performance.md.
"""

from __future__ import annotations

from math import inf
from typing import Any, NamedTuple

import numpy as np
from numba import float64, int32, int64, njit, types
from numpy.typing import NDArray

from aggregator.bars.layout import (
    ANCHOR,
    BAR_END,
    BAR_INTS,
    BAR_LANE,
    BAR_REALS,
    BAR_ROW,
    BAR_SEQUENCE,
    BAR_START,
    BARS_EVICTED,
    BARS_LATE,
    BASE_ANCHOR,
    BASE_END,
    BASE_NS,
    BASE_START,
    BATCH,
    BATCH_NUMBER,
    BY_PYTHON,
    CANDLE,
    CLOCK,
    CLOSE,
    CLOSED_FIRST,
    CLOSED_LAST,
    COVERAGE,
    DUE_AT,
    EARLY_COUNT,
    EARLY_FIRST,
    END,
    EVENT,
    EVICTED,
    EVICTED_UNTIL,
    FIRST_SEQUENCE,
    FIRST_TS,
    GRACE,
    HIGH,
    HIGH_TIME,
    HOT_INTS,
    HOT_REALS,
    IN_SESSION,
    KNOWN_DAY_END,
    KNOWN_DAY_START,
    KNOWN_END,
    KNOWN_FROM,
    KNOWN_START,
    KNOWN_TO,
    LANE,
    LANE_CANDLE,
    LANE_PHASE,
    LANE_REALS,
    LANE_SEQUENCE,
    LANES,
    LAST_SEQUENCE,
    LAST_TS,
    LATE,
    LATEST,
    LIVE,
    LIVE_WITHIN,
    LOW,
    LOW_TIME,
    MAX_CLOSED,
    MAX_INT64,
    MONEY_ROOM,
    MOVED,
    N_CLOSED,
    N_ENDS,
    N_EVENTS,
    N_FREE,
    N_LANES,
    N_LIMBO,
    N_MOVED,
    N_TOUCHED,
    NEVER,
    NEWEST,
    NEXT,
    NEXT_AT,
    NEXT_CLOSED,
    NO_SESSION,
    NOTIONAL,
    NOTIONAL_ERROR,
    NOW,
    OLDEST,
    OPEN,
    OPEN_SEQUENCE,
    OUT_OF_SESSION,
    PHASE,
    PREVIOUS,
    PREVIOUS_CLOSED,
    REVISE,
    REVISION,
    ROOM,
    RULE,
    SEQUENCE,
    SESSION,
    SESSION_END,
    SESSION_REALS,
    SESSION_START,
    SIZE,
    START,
    STATE,
    TIMER_AT,
    TOUCHED,
    TRADES,
    UNOPENED,
    UTC_DAY,
    VOLUME,
    WANT_ALL,
    WANTED,
)
from marketdata.kernels import KERNELS
from marketdata.words import prefetch

# Why a loop stopped.
DONE = 0  # it took everything
UNUSUAL = 1  # the next tick is not for this loop
NEED_ROOM = 2  # a table is full
NEED_RULE = 3  # it does not know the session of the next tick
OVERFLOW = 4  # with the next tick a total would overflow; nothing has changed
NEED_OPEN = 5  # the symbol of the next tick was restored, and nobody opened it yet

# The contract's numbers for the states of a bar.
PARTIAL, EARLY, FINAL, REVISED = range(1, 5)

# Beyond, a trade is not a usual one, so that no sum of the fast loop overflows or becomes infinite.
MAX_TICK_VOLUME = 2**48
MAX_PRICE = 1e15
# Sums below this cannot become infinite where they are added up in another order.
MAX_MONEY = 1.7e308
# The fast loop adds at most MAX_INT64 x MAX_PRICE to a sum before it is looked at again.
MONEY_MARGIN = 1e40

NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S
# How many ticks ahead memory is asked for, where there are more rows than a cache holds.
_FAR, _NEAR, _NEXT = 12, 5, 2
_MANY = 4_096
# How far back a list of ends or of groups is searched; bars begin and end together.
_ENDS_SEARCHED = 16


class Tables(NamedTuple):
    """All arrays of an engine; layout.py names their columns."""

    hot_ints: NDArray[np.int64]
    hot_reals: NDArray[np.float64]
    ints: NDArray[np.int64]
    reals: NDArray[np.float64]
    # The pool of bars, the places in it that are free, and those that will be when the events
    # were told.
    bars_ints: NDArray[np.int64]
    bars_reals: NDArray[np.float64]
    free: NDArray[np.int32]
    limbo: NDArray[np.int32]
    # Bars of which a state is to be told, in order.
    events: NDArray[np.int32]
    # Bars that late trades of this batch changed.
    touched: NDArray[np.int32]
    # Rows with a trade in this batch that was more than an addition.
    moved: NDArray[np.int32]
    # Lane, end, how many bars with this end began, and how many closed.
    ends: NDArray[np.int64]
    desk: NDArray[np.int64]


_INTS, _REALS, _LIST = int64[:, ::1], float64[:, ::1], int32[::1]
# numba says nothing of its types.
_types: Any = types
_TABLES = _types.NamedTuple(
    (
        _INTS,
        _REALS,
        _INTS,
        _REALS,
        _INTS,
        _REALS,
        _LIST,
        _LIST,
        _LIST,
        _LIST,
        _LIST,
        _INTS,
        int64[::1],
    ),
    Tables,
)
_jit: Any = njit(nogil=True)


# Candles: somewhere in a row of whole numbers and a row of others.


@_jit
def _add(ints, reals, row, at, real_at, price, volume, ts, own):
    """Take one trade in."""
    notional = price * volume
    trades = ints[row, at + TRADES]
    if trades == 0:
        ints[row, at + VOLUME] = volume
        ints[row, at + FIRST_TS] = ts
        ints[row, at + FIRST_SEQUENCE] = own
        ints[row, at + LAST_TS] = ts
        ints[row, at + LAST_SEQUENCE] = own
        reals[row, real_at + OPEN] = price
        reals[row, real_at + HIGH] = price
        reals[row, real_at + LOW] = price
        reals[row, real_at + CLOSE] = price
        reals[row, real_at + NOTIONAL] = notional
        reals[row, real_at + NOTIONAL_ERROR] = 0.0
    else:
        ints[row, at + VOLUME] += volume
        reals[row, real_at + HIGH] = max(reals[row, real_at + HIGH], price)
        reals[row, real_at + LOW] = min(reals[row, real_at + LOW], price)
        last_ts = ints[row, at + LAST_TS]
        if ts > last_ts or (ts == last_ts and own >= ints[row, at + LAST_SEQUENCE]):
            ints[row, at + LAST_TS] = ts
            ints[row, at + LAST_SEQUENCE] = own
            reals[row, real_at + CLOSE] = price
        elif ts <= ints[row, at + FIRST_TS] and (
            ts < ints[row, at + FIRST_TS] or own < ints[row, at + FIRST_SEQUENCE]
        ):
            ints[row, at + FIRST_TS] = ts
            ints[row, at + FIRST_SEQUENCE] = own
            reals[row, real_at + OPEN] = price
        # Neumaier's sum, as in Candle.add.
        before = reals[row, real_at + NOTIONAL]
        after = before + notional
        if before >= notional:
            reals[row, real_at + NOTIONAL_ERROR] += (before - after) + notional
        else:
            reals[row, real_at + NOTIONAL_ERROR] += (notional - after) + before
        reals[row, real_at + NOTIONAL] = after
    ints[row, at + TRADES] = trades + 1


@_jit
def _merge(ints, reals, row, at, real_at, o_ints, o_reals, other, o_at, o_real_at):
    """Take the trades of another candle in, which has some."""
    if ints[row, at + TRADES] == 0:
        for column in range(CANDLE):
            ints[row, at + column] = o_ints[other, o_at + column]
            reals[row, real_at + column] = o_reals[other, o_real_at + column]
        return
    ints[row, at + VOLUME] += o_ints[other, o_at + VOLUME]
    ints[row, at + TRADES] += o_ints[other, o_at + TRADES]
    reals[row, real_at + HIGH] = max(reals[row, real_at + HIGH], o_reals[other, o_real_at + HIGH])
    reals[row, real_at + LOW] = min(reals[row, real_at + LOW], o_reals[other, o_real_at + LOW])
    ts = o_ints[other, o_at + LAST_TS]
    own = o_ints[other, o_at + LAST_SEQUENCE]
    last_ts = ints[row, at + LAST_TS]
    if ts > last_ts or (ts == last_ts and own >= ints[row, at + LAST_SEQUENCE]):
        ints[row, at + LAST_TS] = ts
        ints[row, at + LAST_SEQUENCE] = own
        reals[row, real_at + CLOSE] = o_reals[other, o_real_at + CLOSE]
    ts = o_ints[other, o_at + FIRST_TS]
    own = o_ints[other, o_at + FIRST_SEQUENCE]
    first_ts = ints[row, at + FIRST_TS]
    if ts < first_ts or (ts == first_ts and own < ints[row, at + FIRST_SEQUENCE]):
        ints[row, at + FIRST_TS] = ts
        ints[row, at + FIRST_SEQUENCE] = own
        reals[row, real_at + OPEN] = o_reals[other, o_real_at + OPEN]
    before = reals[row, real_at + NOTIONAL]
    notional = o_reals[other, o_real_at + NOTIONAL]
    after = before + notional
    error = o_reals[other, o_real_at + NOTIONAL_ERROR]
    if before >= notional:
        reals[row, real_at + NOTIONAL_ERROR] += error + ((before - after) + notional)
    else:
        reals[row, real_at + NOTIONAL_ERROR] += error + ((notional - after) + before)
    reals[row, real_at + NOTIONAL] = after


@_jit
def _has_room(ints, reals, row, at, real_at, volume, money):
    """Whether a candle can take so much more volume and money."""
    if ints[row, at + TRADES] == 0:
        return money < inf
    return volume <= MAX_INT64 - ints[row, at + VOLUME] and (
        reals[row, real_at + NOTIONAL] + money < inf
    )


# Bars in the pool.


@_jit
def _make_bar(t, row, lane, start, end):
    """Return the place of a new bar without trades."""
    desk, bars = t.desk, t.bars_ints
    desk[N_FREE] -= 1
    bar = int64(t.free[desk[N_FREE]])
    for column in range(BAR_INTS):
        bars[bar, column] = 0
    bars[bar, BAR_ROW] = row
    bars[bar, BAR_LANE] = lane
    bars[bar, BAR_START] = start
    bars[bar, BAR_END] = end
    bars[bar, STATE] = PARTIAL
    bars[bar, PHASE] = -1 if t.ints[row, RULE] == BY_PYTHON else 0
    bars[bar, NEXT] = -1
    bars[bar, PREVIOUS] = -1
    bars[bar, NEXT_CLOSED] = -1
    bars[bar, PREVIOUS_CLOSED] = -1
    return bar


@_jit
def _give_up(t, bar):
    """Let the place of a bar be used again once the events were told."""
    t.limbo[t.desk[N_LIMBO]] = bar
    t.desk[N_LIMBO] += 1


@_jit
def _link_early(t, row, lane_at, bar):
    """Put a bar among those that wait out the grace."""
    ints, bars = t.ints, t.bars_ints
    bars[bar, STATE] = EARLY
    ints[row, EARLY_COUNT] += 1
    start = bars[bar, BAR_START]
    before = int64(-1)
    behind = ints[row, lane_at + EARLY_FIRST]
    while behind >= 0 and bars[behind, BAR_START] < start:
        before = behind
        behind = bars[behind, NEXT]
    bars[bar, NEXT] = behind
    bars[bar, PREVIOUS] = before
    if behind >= 0:
        bars[behind, PREVIOUS] = bar
    if before >= 0:
        bars[before, NEXT] = bar
    else:
        ints[row, lane_at + EARLY_FIRST] = bar
    due = bars[bar, BAR_END] + t.desk[GRACE]
    ints[row, DUE_AT] = min(ints[row, DUE_AT], due)


@_jit
def _unlink_early(t, row, lane_at, bar):
    ints, bars = t.ints, t.bars_ints
    ints[row, EARLY_COUNT] -= 1
    before, behind = bars[bar, PREVIOUS], bars[bar, NEXT]
    if behind >= 0:
        bars[behind, PREVIOUS] = before
    if before >= 0:
        bars[before, NEXT] = behind
    else:
        ints[row, lane_at + EARLY_FIRST] = behind


@_jit
def _unlink_closed(t, bar):
    """Take a closed bar out of both its lists, and give its place up."""
    desk, ints, bars = t.desk, t.ints, t.bars_ints
    row = bars[bar, BAR_ROW]
    lane_at = LANES + LANE * bars[bar, BAR_LANE]
    before, behind = bars[bar, PREVIOUS], bars[bar, NEXT]
    if behind >= 0:
        bars[behind, PREVIOUS] = before
    else:
        ints[row, lane_at + CLOSED_LAST] = before
    if before >= 0:
        bars[before, NEXT] = behind
    else:
        ints[row, lane_at + CLOSED_FIRST] = behind
    before, behind = bars[bar, PREVIOUS_CLOSED], bars[bar, NEXT_CLOSED]
    if behind >= 0:
        bars[behind, PREVIOUS_CLOSED] = before
    else:
        desk[NEWEST] = before
    if before >= 0:
        bars[before, NEXT_CLOSED] = behind
    else:
        desk[OLDEST] = behind
    desk[N_CLOSED] -= 1
    _give_up(t, bar)


@_jit
def _link_closed(t, bar):
    """Keep a closed bar, which may cost the one that closed longest ago its place."""
    desk, ints, bars = t.desk, t.ints, t.bars_ints
    row = bars[bar, BAR_ROW]
    lane_at = LANES + LANE * bars[bar, BAR_LANE]
    start = bars[bar, BAR_START]
    behind = int64(-1)
    before = ints[row, lane_at + CLOSED_LAST]
    while before >= 0 and bars[before, BAR_START] > start:
        behind = before
        before = bars[before, PREVIOUS]
    bars[bar, NEXT] = behind
    bars[bar, PREVIOUS] = before
    if behind >= 0:
        bars[behind, PREVIOUS] = bar
    else:
        ints[row, lane_at + CLOSED_LAST] = bar
    if before >= 0:
        bars[before, NEXT] = bar
    else:
        ints[row, lane_at + CLOSED_FIRST] = bar
    bars[bar, PREVIOUS_CLOSED] = desk[NEWEST]
    bars[bar, NEXT_CLOSED] = -1
    if desk[NEWEST] >= 0:
        bars[desk[NEWEST], NEXT_CLOSED] = bar
    else:
        desk[OLDEST] = bar
    desk[NEWEST] = bar
    desk[N_CLOSED] += 1
    while desk[N_CLOSED] > desk[MAX_CLOSED]:
        oldest = desk[OLDEST]
        of_lane = LANES + LANE * bars[oldest, BAR_LANE]
        of_row = bars[oldest, BAR_ROW]
        ints[of_row, of_lane + EVICTED_UNTIL] = max(
            ints[of_row, of_lane + EVICTED_UNTIL], bars[oldest, BAR_START]
        )
        desk[EVICTED] += 1
        _unlink_closed(t, oldest)


@_jit
def _find(t, row, lane_at, start):
    """Return the bar with a start that is not open, or -1."""
    bars = t.bars_ints
    bar = t.ints[row, lane_at + EARLY_FIRST]
    while bar >= 0 and bars[bar, BAR_START] <= start:
        if bars[bar, BAR_START] == start:
            return bar
        bar = bars[bar, NEXT]
    # A late trade is most often of a bar that closed not long ago.
    bar = t.ints[row, lane_at + CLOSED_LAST]
    while bar >= 0 and bars[bar, BAR_START] >= start:
        if bars[bar, BAR_START] == start:
            return bar
        bar = bars[bar, PREVIOUS]
    return int64(-1)


# What is told.


@_jit
def _is_wanted(ints, desk, row, lane):
    return desk[WANT_ALL + lane] != 0 or ints[row, LANES + LANE * lane + WANTED] != 0


@_jit
def _publish(t, bar):
    """Count one more state of a bar that is not open, and let it be told to whom it concerns."""
    desk, bars = t.desk, t.bars_ints
    row, lane = bars[bar, BAR_ROW], bars[bar, BAR_LANE]
    lane_at = LANES + LANE * lane
    t.ints[row, lane_at + LANE_SEQUENCE] += 1
    bars[bar, BAR_SEQUENCE] = t.ints[row, lane_at + LANE_SEQUENCE]
    # Half of all states are early ones, and whoever asks for them gets the newest then.
    if bars[bar, STATE] >= FINAL or _is_wanted(t.ints, desk, row, lane):
        t.events[desk[N_EVENTS]] = bar
        desk[N_EVENTS] += 1
        # An event before of a bar that was not closed says less than this one.
        bars[bar, EVENT] = desk[N_EVENTS]


@_jit
def _count_end(t, lane, end, began, closed):
    """Count bars of a lane with an end that began or closed."""
    ends, count = t.ends, t.desk[N_ENDS]
    for index in range(count - 1, max(count - _ENDS_SEARCHED, 0) - 1, -1):
        if ends[index, 0] == lane and ends[index, 1] == end:
            ends[index, 2] += began
            ends[index, 3] += closed
            return
    ends[count, 0] = lane
    ends[count, 1] = end
    ends[count, 2] = began
    ends[count, 3] = closed
    t.desk[N_ENDS] += 1


# The trades of one symbol.


@_jit
def _latest(t, row):
    """The latest exchange time of the symbol, -1 before the first."""
    if t.hot_ints[row, TRADES]:
        return t.hot_ints[row, LAST_TS]
    return t.ints[row, LATEST]


@_jit
def _session(t, row, ts):
    """Return start and end of the session of a time, the same if there is none."""
    rule = t.ints[row, RULE]
    if rule == NO_SESSION:
        return int64(0), int64(MAX_INT64)
    if rule == UTC_DAY:
        start = ts - ts % NS_PER_DAY
        return start, start + NS_PER_DAY
    return t.ints[row, KNOWN_START], t.ints[row, KNOWN_END]


@_jit
def _bounds(t, row, lane_at, ts):
    """Return start and end of the bar that a time belongs to, the same between two days."""
    size = t.ints[row, lane_at + SIZE]
    if size:
        start = ts - (ts - t.ints[row, lane_at + ANCHOR]) % size
        return start, start + size
    if t.ints[row, RULE] == BY_PYTHON:
        return t.ints[row, KNOWN_DAY_START], t.ints[row, KNOWN_DAY_END]
    start = ts - ts % NS_PER_DAY
    return start, start + NS_PER_DAY


@_jit
def _start_session(t, row, ts):
    start, end = _session(t, row, ts)
    if start < end:
        t.ints[row, SESSION_START] = start
        t.ints[row, SESSION_END] = end
        t.ints[row, SESSION + TRADES] = 0


@_jit
def _fold_base(t, row):
    """Move the base candle into the session and the open bars."""
    hot_ints, hot_reals, ints, reals = t.hot_ints, t.hot_reals, t.ints, t.reals
    if ints[row, IN_SESSION]:
        _merge(ints, reals, row, SESSION, SESSION_REALS, hot_ints, hot_reals, row, 0, 0)
    start = ints[row, BASE_START]
    for lane in range(t.desk[N_LANES]):
        at = LANES + LANE * lane
        if ints[row, at + START] <= start < ints[row, at + END]:
            real_at = LANE_REALS + CANDLE * lane
            _merge(ints, reals, row, at + LANE_CANDLE, real_at, hot_ints, hot_reals, row, 0, 0)
    hot_ints[row, ROOM] = max(hot_ints[row, ROOM] - hot_ints[row, VOLUME], -1)
    reals[row, MONEY_ROOM] -= hot_reals[row, NOTIONAL]
    ints[row, LATEST] = hot_ints[row, LAST_TS]
    hot_ints[row, TRADES] = 0


@_jit
def _begin_base(t, row, ts):
    """Begin the base piece of a time, and the bars it is in."""
    ints = t.ints
    if ts >= ints[row, SESSION_END]:
        _start_session(t, row, ts)
    session_start, session_end = ints[row, SESSION_START], ints[row, SESSION_END]
    in_session = session_start <= ts < session_end
    # Sessions begin and end with a second, and what lies between them has no end to cut at.
    size = t.desk[BASE_NS] if in_session else NS_PER_S
    start, end = session_start, session_end
    if size:
        start = ts - (ts - ints[row, BASE_ANCHOR]) % size
        end = start + size
    if in_session:
        start, end = max(start, session_start), min(end, session_end)
    for lane in range(t.desk[N_LANES]):
        at = LANES + LANE * lane
        if not ints[row, at + START] <= ts < ints[row, at + END]:
            lane_start, lane_end = _bounds(t, row, at, ts)
            ints[row, at + OPEN_SEQUENCE] = 0
            ints[row, at + LANE_PHASE] = -1 if ints[row, RULE] == BY_PYTHON else 0
            if lane_start < lane_end:
                ints[row, at + START] = lane_start
                ints[row, at + END] = lane_end
                _count_end(t, lane, lane_end, 1, 0)
            else:
                ints[row, at + START] = 0
                ints[row, at + END] = 0
        if ints[row, at + SIZE] == 0 and ints[row, at + END]:
            start, end = max(start, ints[row, at + START]), min(end, ints[row, at + END])
    ints[row, IN_SESSION] = in_session
    ints[row, BASE_START] = start
    ints[row, BASE_END] = end
    ints[row, NEXT_AT] = end
    ints[row, DUE_AT] = min(ints[row, DUE_AT], end)


@_jit
def _find_due(t, row):
    ints = t.ints
    due = ints[row, BASE_END] if t.hot_ints[row, TRADES] else int64(NEVER)
    for lane in range(t.desk[N_LANES]):
        at = LANES + LANE * lane
        early = ints[row, at + EARLY_FIRST]
        if early >= 0:
            due = min(due, t.bars_ints[early, BAR_END] + t.desk[GRACE])
        if ints[row, at + LANE_CANDLE + TRADES]:
            due = min(due, ints[row, at + END])
    ints[row, DUE_AT] = due


@_jit
def _make_early(t, row, lane, clock):
    """End the open bar of a lane, whose end has passed."""
    ints, bars = t.ints, t.bars_ints
    at = LANES + LANE * lane
    end = ints[row, at + END]
    bar = _make_bar(t, row, lane, ints[row, at + START], end)
    for column in range(CANDLE):
        bars[bar, column] = ints[row, at + LANE_CANDLE + column]
        t.bars_reals[bar, column] = t.reals[row, LANE_REALS + CANDLE * lane + column]
    bars[bar, PHASE] = ints[row, at + LANE_PHASE]
    ints[row, at + LANE_CANDLE + TRADES] = 0
    ints[row, at + START] = end
    # The wall clock may have closed more than the base piece: a trade for any of it is late.
    ints[row, NEXT_AT] = max(ints[row, NEXT_AT], end)
    _link_early(t, row, at, bar)
    if clock < end + t.desk[GRACE]:
        _publish(t, bar)


@_jit
def _make_final(t, bar, latest):
    """End the grace of a bar; the symbol's latest trade is of ``latest``."""
    ints, bars = t.ints, t.bars_ints
    row, lane = bars[bar, BAR_ROW], bars[bar, BAR_LANE]
    at = LANES + LANE * lane
    _unlink_early(t, row, at, bar)
    bars[bar, STATE] = FINAL
    bars[bar, TOUCHED] = 0
    _count_end(t, lane, bars[bar, BAR_END], 0, 1)
    # Nothing can revise a bar of before.
    horizon = latest - t.desk[REVISE]
    oldest = ints[row, at + CLOSED_FIRST]
    while oldest >= 0 and bars[oldest, BAR_END] <= horizon:
        _unlink_closed(t, oldest)
        oldest = ints[row, at + CLOSED_FIRST]
    _link_closed(t, bar)
    _publish(t, bar)


@_jit
def _close(t, row, clock, latest):
    """Close what ends at ``clock`` or before, and end the grace of what closed long enough ago."""
    ints, bars = t.ints, t.bars_ints
    if clock < ints[row, DUE_AT]:
        return
    if t.hot_ints[row, TRADES] and clock >= ints[row, BASE_END]:
        _fold_base(t, row)
    for lane in range(t.desk[N_LANES]):
        at = LANES + LANE * lane
        if ints[row, at + LANE_CANDLE + TRADES] and clock >= ints[row, at + END]:
            _make_early(t, row, lane, clock)
    while ints[row, EARLY_COUNT]:
        # The one that ends first, of those the one of the shortest interval.
        first = int64(-1)
        first_end = int64(NEVER)
        for lane in range(t.desk[N_LANES]):
            bar = ints[row, LANES + LANE * lane + EARLY_FIRST]
            if bar >= 0 and bars[bar, BAR_END] < first_end:
                first = bar
                first_end = bars[bar, BAR_END]
        if first_end + t.desk[GRACE] > clock:
            break
        _make_final(t, first, latest)
    _find_due(t, row)


@_jit
def _set_limits(t, row):
    """Say which trades only add to the base candle."""
    hot_ints, ints, desk = t.hot_ints, t.ints, t.desk
    lo = int64(0)
    hi = int64(0)
    # A trade outside a session has to be counted, so none of them is usual.
    if hot_ints[row, TRADES] and ints[row, IN_SESSION]:
        lo, hi = ints[row, BASE_START], ints[row, BASE_END]
        if ints[row, EARLY_COUNT]:
            for lane in range(desk[N_LANES]):
                early = ints[row, LANES + LANE * lane + EARLY_FIRST]
                if early >= 0:
                    hi = min(hi, t.bars_ints[early, BAR_END] + desk[GRACE])
        if t.hot_reals[row, NOTIONAL] + MONEY_MARGIN > t.reals[row, MONEY_ROOM]:
            hi = lo
        elif not ints[row, LIVE] and desk[NOW]:
            # The first trade of the present lets the clock close bars from then on.
            hi = min(hi, desk[NOW] - desk[LIVE_WITHIN])
    hot_ints[row, LOW_TIME] = lo
    hot_ints[row, HIGH_TIME] = hi


@_jit
def _came(t, row, clock):
    """Note that the symbol had a trade that was more than an addition."""
    ints, desk = t.ints, t.desk
    if ints[row, MOVED] != desk[BATCH_NUMBER]:
        ints[row, MOVED] = desk[BATCH_NUMBER]
        t.moved[desk[N_MOVED]] = row
        desk[N_MOVED] += 1
    desk[CLOCK] = max(desk[CLOCK], clock)
    ints[row, LIVE] = desk[NOW] != 0 and clock >= desk[NOW] - desk[LIVE_WITHIN]
    if not ints[row, LIVE]:
        ints[row, TIMER_AT] = 0


@_jit
def _fits(t, row, volume, money, ts):
    """Whether no candle that a trade in or after the base piece adds to would overflow."""
    hot_ints, ints, reals = t.hot_ints, t.ints, t.reals
    has_base = hot_ints[row, TRADES] != 0
    base_volume = hot_ints[row, VOLUME] if has_base else int64(0)
    base_money = t.hot_reals[row, NOTIONAL] if has_base else 0.0
    if volume <= hot_ints[row, ROOM] - base_volume and base_money + money <= reals[row, MONEY_ROOM]:
        return True
    in_session = ints[row, SESSION_START] <= ts < ints[row, SESSION_END]
    joins = in_session or ts < ints[row, NEXT_AT]
    for lane in range(t.desk[N_LANES]):
        at = LANES + LANE * lane
        joins = joins or ints[row, at + START] <= ts < ints[row, at + END]
    if joins:
        if volume > MAX_INT64 - base_volume:
            return False
        volume += base_volume
        money += base_money
    if not money < inf:
        return False
    if in_session and not _has_room(ints, reals, row, SESSION, SESSION_REALS, volume, money):
        return False
    most_volume = int64(0)
    most_money = 0.0
    if ints[row, SESSION + TRADES]:
        most_volume = ints[row, SESSION + VOLUME]
        most_money = reals[row, SESSION_REALS + NOTIONAL]
    for lane in range(t.desk[N_LANES]):
        at = LANES + LANE * lane
        candle_at = at + LANE_CANDLE
        real_at = LANE_REALS + CANDLE * lane
        if ints[row, at + START] <= ts < ints[row, at + END] and not _has_room(
            ints, reals, row, candle_at, real_at, volume, money
        ):
            return False
        if ints[row, candle_at + TRADES]:
            most_volume = max(most_volume, ints[row, candle_at + VOLUME])
            most_money = max(most_money, reals[row, real_at + NOTIONAL])
    # The next one may not have to look so closely.
    hot_ints[row, ROOM] = MAX_INT64 - most_volume
    reals[row, MONEY_ROOM] = MAX_MONEY - most_money
    return True


@_jit
def _late_fits(t, row, lane, start, volume, money):
    """Whether the bar that a late trade belongs to would not overflow."""
    ints, reals = t.ints, t.reals
    at = LANES + LANE * lane
    if start == ints[row, at + START] < ints[row, at + END]:
        base_start = ints[row, BASE_START]
        if t.hot_ints[row, TRADES] and start <= base_start < ints[row, at + END]:
            if volume > MAX_INT64 - t.hot_ints[row, VOLUME]:
                return False
            volume += t.hot_ints[row, VOLUME]
            money += t.hot_reals[row, NOTIONAL]
        real_at = LANE_REALS + CANDLE * lane
        return _has_room(ints, reals, row, at + LANE_CANDLE, real_at, volume, money)
    bar = _find(t, row, at, start)
    if bar < 0:
        return money < inf
    return _has_room(t.bars_ints, t.bars_reals, bar, 0, 0, volume, money)


@_jit
def _touch(t, bar):
    """Let a bar take a late trade in; its new state is published when the batch ends."""
    desk, bars = t.desk, t.bars_ints
    if bars[bar, TOUCHED]:
        return
    if bars[bar, STATE] >= FINAL:
        if bars[bar, EVENT]:
            # What is not told yet is told as it was.
            twin = _make_bar(t, bars[bar, BAR_ROW], bars[bar, BAR_LANE], 0, 0)
            for column in range(BAR_INTS):
                bars[twin, column] = bars[bar, column]
            for column in range(BAR_REALS):
                t.bars_reals[twin, column] = t.bars_reals[bar, column]
            t.events[bars[bar, EVENT] - 1] = twin
            bars[bar, EVENT] = 0
            # What it was covered like when it closed, nobody has asked yet.
            bars[bar, COVERAGE] = 0
            _give_up(t, twin)
        bars[bar, STATE] = REVISED
        bars[bar, REVISION] += 1
    elif bars[bar, STATE] == PARTIAL:
        # The first trade of its time came when that was over.
        bars[bar, STATE] = FINAL
        _link_closed(t, bar)
    t.touched[desk[N_TOUCHED]] = bar
    desk[N_TOUCHED] += 1
    bars[bar, TOUCHED] = desk[N_TOUCHED]


@_jit
def _add_late(t, row, lane, price, volume, ts, own):
    """Add a late trade to its bar of one lane, which is made if it has to be."""
    ints, bars = t.ints, t.bars_ints
    at = LANES + LANE * lane
    start, end = _bounds(t, row, at, ts)
    if start == ints[row, at + START] < ints[row, at + END]:
        candle_at = at + LANE_CANDLE
        if ints[row, candle_at + TRADES] == 0:
            ints[row, DUE_AT] = min(ints[row, DUE_AT], ints[row, at + END])
        real_at = LANE_REALS + CANDLE * lane
        _add(ints, t.reals, row, candle_at, real_at, price, volume, ts, own)
        return
    bar = _find(t, row, at, start)
    if bar < 0:
        if start <= ints[row, at + EVICTED_UNTIL]:
            # A bar that this trade began in another lane took its place.
            t.desk[BARS_EVICTED] += 1
            return
        bar = _make_bar(t, row, lane, start, end)
        if _latest(t, row) < end + t.desk[GRACE]:
            _link_early(t, row, at, bar)
            _count_end(t, lane, end, 1, 0)
    _touch(t, bar)
    _add(bars, t.bars_reals, bar, 0, 0, price, volume, ts, own)


@_jit
def _take_late(t, row, price, volume, ts, own):
    """Take a trade from before the base piece, or for a bar that the wall clock closed."""
    ints, desk = t.ints, t.desk
    money = price * volume
    latest = _latest(t, row)
    too_late = latest - ts > desk[REVISE]
    # The lanes with a bar that it belongs to.
    targets = int64(0)
    evicted = int64(0)
    if not too_late:
        for lane in range(desk[N_LANES]):
            at = LANES + LANE * lane
            start, end = _bounds(t, row, at, ts)
            if start == end:
                continue
            is_open = start == ints[row, at + START] < ints[row, at + END]
            if start <= ints[row, at + EVICTED_UNTIL] and not (
                is_open or _find(t, row, at, start) >= 0
            ):
                evicted += 1
                continue
            targets |= int64(1) << lane
            if not _late_fits(t, row, lane, start, volume, money):
                return int64(OVERFLOW)
    desk[BARS_EVICTED] += evicted
    if ts >= ints[row, SESSION_END]:
        _start_session(t, row, ts)
    in_session = ints[row, SESSION_START] <= ts < ints[row, SESSION_END]
    if in_session:
        whole_volume, whole_money = volume, money
        if ints[row, IN_SESSION] and t.hot_ints[row, TRADES]:
            if volume > MAX_INT64 - t.hot_ints[row, VOLUME]:
                return int64(OVERFLOW)
            whole_volume += t.hot_ints[row, VOLUME]
            whole_money += t.hot_reals[row, NOTIONAL]
        if not _has_room(ints, t.reals, row, SESSION, SESSION_REALS, whole_volume, whole_money):
            return int64(OVERFLOW)
        _add(ints, t.reals, row, SESSION, SESSION_REALS, price, volume, ts, own)
    else:
        start, end = _session(t, row, ts)
        if start == end:
            desk[OUT_OF_SESSION] += 1
        else:
            desk[LATE] += 1
    if too_late and desk[N_LANES]:
        desk[BARS_LATE] += 1
    if ts > latest:
        ints[row, LATEST] = ts
        _close(t, row, ts, ts)
    for lane in range(desk[N_LANES]):
        if targets >> lane & 1:
            _add_late(t, row, lane, price, volume, ts, own)
    t.hot_ints[row, ROOM] = max(t.hot_ints[row, ROOM] - volume, -1)
    t.reals[row, MONEY_ROOM] -= money
    _came(t, row, _latest(t, row))
    _set_limits(t, row)
    return int64(DONE) if in_session else int64(UNUSUAL)


@_jit
def _has_space(t, row):
    """Whether every list has room for all that one trade can do."""
    desk = t.desk
    lanes = desk[N_LANES]
    told = t.ints[row, EARLY_COUNT] + 3 * lanes + 3
    return (
        desk[N_FREE] >= 3 * lanes + 3
        and desk[N_EVENTS] + desk[N_TOUCHED] + told <= t.events.shape[0]
        and desk[N_TOUCHED] + lanes <= t.touched.shape[0]
        and desk[N_ENDS] + told <= t.ends.shape[0]
    )


@_jit
def _take(t, row, price, volume, ts, own):
    """Take one valid trade in; DONE: the session changed, UNUSUAL: it did not."""
    hot_ints, ints = t.hot_ints, t.ints
    if ints[row, UNOPENED]:
        return int64(NEED_OPEN)
    if not _has_space(t, row):
        return int64(NEED_ROOM)
    if ints[row, RULE] == BY_PYTHON and not (ints[row, KNOWN_FROM] <= ts < ints[row, KNOWN_TO]):
        return int64(NEED_RULE)
    money = price * volume
    if not money < inf:
        return int64(OVERFLOW)
    if ts >= ints[row, NEXT_AT]:
        if not _fits(t, row, volume, money, ts):
            return int64(OVERFLOW)
        latest = max(ts, _latest(t, row))
        _close(t, row, latest, latest)
        _begin_base(t, row, ts)
    elif hot_ints[row, TRADES] and ts >= ints[row, BASE_START]:
        if not _fits(t, row, volume, money, ts):
            return int64(OVERFLOW)
        latest = max(ts, hot_ints[row, LAST_TS])
        _close(t, row, latest, latest)
    else:
        return _take_late(t, row, price, volume, ts, own)
    _add(hot_ints, t.hot_reals, row, 0, 0, price, volume, ts, own)
    _came(t, row, ts)
    _set_limits(t, row)
    if ints[row, IN_SESSION]:
        return int64(DONE)
    t.desk[OUT_OF_SESSION] += 1
    return int64(UNUSUAL)


# Memory is slower than what is done with it, so what comes next is asked for ahead.


@_jit
def _prefetch_hot(t, row):
    at = int64(t.hot_ints.ctypes.data) + row * (8 * HOT_INTS)
    prefetch(at)
    prefetch(at + 64)
    prefetch(int64(t.hot_reals.ctypes.data) + row * (8 * HOT_REALS))


@_jit
def _prefetch_cold(t, row):
    size = 8 * t.ints.shape[1]
    at = int64(t.ints.ctypes.data) + row * size
    for offset in range(0, size, 64):
        prefetch(at + offset)
    size = 8 * t.reals.shape[1]
    at = int64(t.reals.ctypes.data) + row * size
    for offset in range(0, size, 64):
        prefetch(at + offset)


@_jit
def _prefetch_bars(t, row):
    """Ask for the first early bar of the shortest interval, which may become final."""
    bar = t.ints[row, LANES + EARLY_FIRST]
    if t.desk[N_LANES] and bar >= 0:
        at = int64(t.bars_ints.ctypes.data) + bar * (8 * BAR_INTS)
        prefetch(at)
        prefetch(at + 64)
        prefetch(at + 128)


# What Python calls.


@KERNELS.add(
    _types.UniTuple(int64, 3)(
        _TABLES,
        int64,
        int64,
        int64,
        int64,
        int64,
        _LIST,
        _LIST,
        float64[::1],
        int64[::1],
        int64[::1],
        _LIST,
    )
)
def apply_ticks(
    t: Tables,
    index: int,
    count: int,
    sequence: int,
    latest_ns: int,
    n_changed: int,
    offsets: NDArray[np.int32],
    rows: NDArray[np.int32],
    prices: NDArray[np.float64],
    volumes: NDArray[np.int64],
    times: NDArray[np.int64],
    changed: NDArray[np.int32],
) -> tuple[int, int, int]:
    """Apply ticks in the order of their arrival, up to the first that is not for this loop.

    Each row whose state changed in the batch counts one more state.

    Args:
        t: the tables; desk[BATCH_NUMBER] tells this batch from others.
        index: the first tick of the columns to take.
        count: how many ticks the columns have.
        sequence: that of a tick with offset 0.
        latest_ns: the latest exchange time that is not in the future.
        n_changed: how many rows ``changed`` has already.
        offsets: what to add to ``sequence`` for each tick.
        rows: the row of each tick, -1 for one that is not for this loop.
        prices: the price of each tick.
        volumes: the volume of each tick.
        times: the exchange time of each tick.
        changed: takes the rows whose state changed, each once; as long as there are rows.

    Returns:
        Why it stopped, the first tick that was not taken, and how many rows changed.
    """
    code = DONE
    hot_ints, hot_reals = t.hot_ints, t.hot_reals
    batch = t.desk[BATCH_NUMBER]
    many = hot_ints.shape[0] > _MANY
    while index < count:
        code = UNUSUAL
        row = rows[index]
        if row < 0:
            break
        if many and index + _FAR < count:
            ahead = int64(rows[index + _FAR])
            if ahead >= 0:
                _prefetch_hot(t, ahead)
            ahead = int64(rows[index + _NEAR])
            if ahead >= 0 and times[index + _NEAR] >= hot_ints[ahead, HIGH_TIME]:
                _prefetch_cold(t, ahead)
            ahead = int64(rows[index + _NEXT])
            if ahead >= 0 and times[index + _NEXT] >= hot_ints[ahead, HIGH_TIME]:
                _prefetch_bars(t, ahead)
        price = prices[index]
        volume = volumes[index]
        ts = times[index]
        own = sequence + offsets[index]
        if not (0.0 < price < inf) or volume <= 0 or ts <= 0 or ts > latest_ns:
            break
        if (
            ts >= hot_ints[row, LOW_TIME]
            and ts < hot_ints[row, HIGH_TIME]
            and price < MAX_PRICE
            and volume <= MAX_TICK_VOLUME
            and volume <= hot_ints[row, ROOM] - hot_ints[row, VOLUME]
        ):
            _add(hot_ints, hot_reals, row, 0, 0, price, volume, ts, own)
        else:
            code = _take(t, row, price, volume, ts, own)
            if code >= NEED_ROOM:
                break
            if code == UNUSUAL:
                index += 1
                code = DONE
                continue
        if hot_ints[row, BATCH] != batch:
            hot_ints[row, BATCH] = batch
            hot_ints[row, SEQUENCE] += 1
            changed[n_changed] = row
            n_changed += 1
        index += 1
        code = DONE
    return code, index, n_changed


@KERNELS.add(_types.int64(_TABLES, _LIST, int64, int64, int64))
def close_rows(t: Tables, rows: NDArray[np.int32], index: int, clock: int, due_at: int) -> int:
    """Close what ends by the wall clock, up to a row for which there is no room.

    Args:
        t: the tables.
        rows: whose bars to close.
        index: the first row to take.
        clock: the time.
        due_at: leave out rows that wait for another time than this.

    Returns:
        The index of the row that was not taken; the number of rows if all were.
    """
    ints = t.ints
    count = rows.shape[0]
    while index < count:
        row = int64(rows[index])
        if index + _NEAR < count:
            _prefetch_hot(t, int64(rows[index + _NEAR]))
            _prefetch_cold(t, int64(rows[index + _NEAR]))
            _prefetch_bars(t, int64(rows[index + _NEXT]))
        if ints[row, TIMER_AT] == due_at:
            if not _has_space(t, row):
                break
            ints[row, TIMER_AT] = 0
            # The wall clock says what is over, and the symbol's own trades how late one may come.
            _close(t, row, clock, _latest(t, row))
            _set_limits(t, row)
        index += 1
    return index


# Those below take only the arrays that they need: each costs 0.1 us per call.


@KERNELS.add(_types.int64(_INTS, int64[::1], _LIST, _LIST, int64[::1]))
def set_timers(
    ints: NDArray[np.int64],
    desk: NDArray[np.int64],
    rows: NDArray[np.int32],
    out: NDArray[np.int32],
    times: NDArray[np.int64],
) -> int:
    """Let the wall clock look after rows when they have something to close next.

    An entry that is too early finds nothing to close and sets the next one.

    Args:
        ints: of the tables.
        desk: of the tables.
        rows: those that may have something new; others than live ones are left out.
        out: takes the rows that are to be looked at.
        times: takes when.

    Returns:
        How many were given out.
    """
    n = 0
    if desk[N_LANES] == 0:
        return n
    for index in range(rows.shape[0]):
        row = int64(rows[index])
        time = ints[row, DUE_AT]
        timer_at = ints[row, TIMER_AT]
        if ints[row, LIVE] and time < NEVER and not 0 < timer_at <= time:
            ints[row, TIMER_AT] = time
            out[n] = row
            times[n] = time
            n += 1
    return n


@KERNELS.add(_types.void(_TABLES))
def publish_touched(t: Tables) -> None:
    """Publish the bars that late trades changed."""
    for index in range(t.desk[N_TOUCHED]):
        bar = int64(t.touched[index])
        # Not one that closed and was changed again.
        if t.bars_ints[bar, TOUCHED] == index + 1:
            t.bars_ints[bar, TOUCHED] = 0
            _publish(t, bar)
    t.desk[N_TOUCHED] = 0


@KERNELS.add(_types.UniTuple(int64, 3)(_TABLES, _LIST, _LIST))
def take_events(
    t: Tables, wanted: NDArray[np.int32], closed: NDArray[np.int32]
) -> tuple[int, int, int]:
    """Begin a new list of events; leave the bars to tell of at the begin of the old one, in order.

    What was given up is free from now on, and as it was until the next trade.

    Args:
        t: the tables.
        wanted: takes those that somebody wants.
        closed: takes those that are closed.

    Returns:
        How many there are, how many are wanted, how many closed.
    """
    desk, bars = t.desk, t.bars_ints
    n = n_wanted = n_closed = 0
    for index in range(desk[N_EVENTS]):
        bar = int64(t.events[index])
        # Of a bar that was told twice the last time counts, unless it was closed: see _touch.
        if bars[bar, EVENT] == index + 1:
            bars[bar, EVENT] = 0
            t.events[n] = bar
            n += 1
            if _is_wanted(t.ints, desk, bars[bar, BAR_ROW], bars[bar, BAR_LANE]):
                wanted[n_wanted] = bar
                n_wanted += 1
            if bars[bar, STATE] >= FINAL:
                closed[n_closed] = bar
                n_closed += 1
    for index in range(desk[N_LIMBO]):
        t.free[desk[N_FREE] + index] = t.limbo[index]
    desk[N_FREE] += desk[N_LIMBO]
    desk[N_EVENTS] = desk[N_LIMBO] = 0
    return n, n_wanted, n_closed


@KERNELS.add(_types.int64(_INTS, _INTS, int64[::1], _LIST, _LIST, int64, int64[::1]))
def publish_open(
    hot_ints: NDArray[np.int64],
    ints: NDArray[np.int64],
    desk: NDArray[np.int64],
    changed: NDArray[np.int32],
    moved: NDArray[np.int32],
    step: int,
    out: NDArray[np.int64],
) -> int:
    """Count one more state of the open bars of rows that somebody wants.

    Args:
        hot_ints: of the tables.
        ints: of the tables.
        desk: of the tables.
        changed: the rows whose session changed in this batch.
        moved: rows that may have closed a bar and begun another; some are among the others.
        step: how many series a row has.
        out: takes the series.

    Returns:
        How many there are.
    """
    n = 0
    n_changed = changed.shape[0]
    for index in range(n_changed + moved.shape[0]):
        if index < n_changed:
            row = int64(changed[index])
        else:
            row = int64(moved[index - n_changed])
            if hot_ints[row, BATCH] == desk[BATCH_NUMBER]:
                continue
        for lane in range(desk[N_LANES]):
            at = LANES + LANE * lane
            if ints[row, at + START] < ints[row, at + END] and _is_wanted(ints, desk, row, lane):
                ints[row, at + LANE_SEQUENCE] += 1
                ints[row, at + OPEN_SEQUENCE] = ints[row, at + LANE_SEQUENCE]
                out[n] = row * step + lane
                n += 1
    return n


@KERNELS.add(
    _types.UniTuple(int64, 2)(
        _INTS, _INTS, int64[::1], int64, _LIST, _LIST, _INTS, _INTS, int64[::1]
    )
)
def find_open(
    hot_ints: NDArray[np.int64],
    ints: NDArray[np.int64],
    series: NDArray[np.int64],
    step: int,
    rows: NDArray[np.int32],
    lanes: NDArray[np.int32],
    times: NDArray[np.int64],
    groups: NDArray[np.int64],
    group_of: NDArray[np.int64],
) -> tuple[int, int]:
    """Find open bars, and how far they have come.

    Args:
        hot_ints: of the tables.
        ints: of the tables.
        series: whose bars; each one of a lane.
        step: how many series a row has.
        rows: takes the row of each.
        lanes: takes the lane of each.
        times: takes when each begins, and a time behind all that it may have had a trade at.
        groups: takes when the bars of a group begin, the least and the greatest of these times.
        group_of: takes the group of each; trading days have none, -1.

    Returns:
        How many groups there are, and of how many bars Python has to find out the phase.
    """
    n = unknown = 0
    for index in range(series.shape[0]):
        row, lane = series[index] // step, series[index] % step
        at = LANES + LANE * lane
        start = ints[row, at + START]
        latest = hot_ints[row, LAST_TS] if hot_ints[row, TRADES] else ints[row, LATEST]
        reached = min(max(latest, start) + 1, ints[row, at + END])
        rows[index] = row
        lanes[index] = lane
        times[index, 0] = start
        times[index, 1] = reached
        unknown += ints[row, at + LANE_PHASE] < 0
        group_of[index] = -1
        if ints[row, at + SIZE] == 0:
            continue
        group = n - 1
        oldest = max(n - _ENDS_SEARCHED, 0)
        while group >= oldest and groups[group, 0] != start:
            group -= 1
        if group < oldest:
            group = n
            groups[group, 0] = start
            groups[group, 1] = groups[group, 2] = reached
            n += 1
        else:
            groups[group, 1] = min(groups[group, 1], reached)
            groups[group, 2] = max(groups[group, 2], reached)
        group_of[index] = group
    return n, unknown


@KERNELS.add(_types.UniTuple(int64, 2)(_INTS, _INTS, _LIST, _LIST, int64[::1]))
def group_bars(
    ints: NDArray[np.int64],
    bars_ints: NDArray[np.int64],
    places: NDArray[np.int32],
    firsts: NDArray[np.int32],
    group_of: NDArray[np.int64],
) -> tuple[int, int]:
    """Find bars of the same time; trading days, and what keeps its coverage, stay alone.

    Args:
        ints: of the tables.
        bars_ints: of the tables.
        places: of the bars.
        firsts: takes the place of one bar of each group.
        group_of: takes the group of each.

    Returns:
        How many groups there are, and of how many bars Python has to find out the phase.
    """
    n = unknown = 0
    for index in range(places.shape[0]):
        bar = int64(places[index])
        unknown += bars_ints[bar, PHASE] < 0
        oldest = n
        lane = bars_ints[bar, BAR_LANE]
        size = ints[bars_ints[bar, BAR_ROW], LANES + LANE * lane + SIZE]
        is_kept = bars_ints[bar, STATE] == REVISED and bars_ints[bar, COVERAGE] != 0
        if size and not is_kept:
            oldest = max(n - _ENDS_SEARCHED, 0)
        group = n - 1
        while group >= oldest:
            first = int64(firsts[group])
            if (
                bars_ints[first, BAR_START] == bars_ints[bar, BAR_START]
                and bars_ints[first, BAR_LANE] == lane
                and (bars_ints[first, STATE] != REVISED or bars_ints[first, COVERAGE] == 0)
            ):
                break
            group -= 1
        if group < oldest:
            group = n
            firsts[group] = bar
            n += 1
        group_of[index] = group
    return n, unknown


@KERNELS.add(_types.int64(_TABLES, int64, int64, int64, int64, _LIST))
def list_bars(
    t: Tables, row: int, lane: int, from_ns: int, to_ns: int, out: NDArray[np.int32]
) -> int:
    """Find bars with from_ns <= start < to_ns that are closed or wait out the grace.

    Args:
        t: the tables.
        row: of the symbol.
        lane: of the interval.
        from_ns: the earliest start.
        to_ns: behind the latest start.
        out: takes their places, as far as they have room.

    Returns:
        How many there are, which may be more than there was room for.
    """
    bars = t.bars_ints
    n = 0
    at = LANES + LANE * lane
    for first in (CLOSED_FIRST, EARLY_FIRST):
        bar = t.ints[row, at + first]
        while bar >= 0:
            if from_ns <= bars[bar, BAR_START] < to_ns:
                if n < out.shape[0]:
                    out[n] = bar
                n += 1
            bar = bars[bar, NEXT]
    return n


@KERNELS.add(_types.int64(_TABLES, int64, int64, int64, int64, int64, int64))
def restore_bar(
    t: Tables, row: int, lane: int, start: int, end: int, state: int, last_ts: int
) -> int:
    """Take over a bar of an earlier life; the caller writes its candle.

    Args:
        t: the tables, with room for one bar more.
        row: of the symbol.
        lane: of the interval.
        start: of the bar.
        end: of the bar.
        state: FINAL or REVISED; any other: it is open.
        last_ts: exchange time of its last trade.

    Returns:
        Its place in the pool.
    """
    at = LANES + LANE * lane
    t.ints[row, LATEST] = max(t.ints[row, LATEST], last_ts)
    bar = _make_bar(t, row, lane, start, end)
    if state >= FINAL:
        t.bars_ints[bar, STATE] = state
        _link_closed(t, bar)
    else:
        _count_end(t, lane, end, 1, 0)
        _link_early(t, row, at, bar)
    return int(bar)


@KERNELS.add(_types.void(_TABLES, int64))
def restored(t: Tables, row: int) -> None:
    """Know where the restored bars of a row end and new ones begin, when they are all there."""
    ints, bars = t.ints, t.bars_ints
    latest = ints[row, LATEST]
    next_at = latest - latest % NS_PER_S
    for lane in range(t.desk[N_LANES]):
        at = LANES + LANE * lane
        bar = ints[row, at + EARLY_FIRST]
        while bar >= 0:
            following = bars[bar, NEXT]
            if bars[bar, BAR_START] <= latest < bars[bar, BAR_END]:
                # What is not over by its own trades is open again.
                _unlink_early(t, row, at, bar)
                ints[row, at + START] = bars[bar, BAR_START]
                ints[row, at + END] = bars[bar, BAR_END]
                for column in range(CANDLE):
                    ints[row, at + LANE_CANDLE + column] = bars[bar, column]
                    t.reals[row, LANE_REALS + CANDLE * lane + column] = t.bars_reals[bar, column]
                _give_up(t, bar)
            else:
                next_at = max(next_at, bars[bar, BAR_END])
            bar = following
        bar = ints[row, at + CLOSED_LAST]
        while bar >= 0:
            next_at = max(next_at, bars[bar, BAR_END])
            bar = bars[bar, PREVIOUS]
    ints[row, NEXT_AT] = next_at
    # The first trade looks how much room there is.
    t.hot_ints[row, ROOM] = -1
    _find_due(t, row)
    desk = t.desk
    desk[CLOCK] = max(desk[CLOCK], latest)
    ints[row, LIVE] = desk[NOW] != 0 and latest >= desk[NOW] - desk[LIVE_WITHIN]

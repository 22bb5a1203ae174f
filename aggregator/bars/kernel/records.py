"""The records of the compiled loops, and the tables made of them.

A symbol has a row, an interval that the clock ends has a slot. A closed bar, or one that waits out
the grace, has a place in the *pool*.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.candle import MAX_INT64, CandleNumbers
from marketdata.fields import CANDLE_FIELDS, Kind
from marketdata.kernels import from_dtype, types

NEVER = MAX_INT64
# How sessions are found: Python is asked, or the loops know.
BY_PYTHON, UTC_DAY, NO_SESSION = range(3)
# The contract's numbers for the states of a bar.
PARTIAL, EARLY, FINAL, REVISED = range(1, 5)
PHASES = ("", "pre", "regular", "post", "closed")
# The phase that Python is to find out.
UNKNOWN_PHASE = -1
# Added to the coverage of a restored bar that may have a trade that comes again.
UNSURE = 16
# No place in the pool.
NONE = -1
# Where a late trade goes in a slot, if not to a place in the pool: to the open bar, to a bar that
# is to be made, to none, or to one that was given up to make room.
OPEN, MISSING, LEFT_OUT, EVICTED = range(-2, -6, -1)


class Base:
    """The base candle of a symbol: the sum of its trades of the present base piece.

    It is all that a usual trade touches. It is apart from the rest, so that the rows of many
    symbols stay in the processor's cache.
    """

    candle: CandleNumbers
    # Trades from low_time to before high_time only add to the candle, while its volume stays within
    # ``room``: no total of an open bar or the session, without it, is nearer to the limit.
    low_time: int
    high_time: int
    room: int
    # The number of the batch that changed the state last, and how many states were published.
    batch: int
    sequence: int
    # How far the symbol's time was from the wall clock when it moved last; see measure_lag.
    lag: int
    # The latest exchange time of trades that are not the close of the candle.
    other_latest: int


class Symbol:
    """The rest of a symbol."""

    session: CandleNumbers
    session_start: int
    session_end: int
    # Whether the base candle is of the present session.
    in_session: bool
    # When the base piece begins and ends, and from when on a trade begins another.
    base_start: int
    base_end: int
    next_at: int
    base_anchor: int
    # The latest exchange time, as far as the base candle does not know it; -1 before the first.
    latest: int
    # Before it nothing ends: neither the base piece, nor a bar, nor a grace.
    due_at: int
    # Whether the wall clock closes bars, and when it looks next; 0: it does not.
    live: bool
    timer_at: int
    # How sessions are found. Python's last answer holds for known_from <= time < known_to: start
    # and end of the session and of the daily bar, the same if there is none.
    rule: int
    known_from: int
    known_to: int
    known_start: int
    known_end: int
    known_day_start: int
    known_day_end: int
    # How many bars wait out the grace.
    early_count: int
    # The number of the batch in which a trade was more than an addition to the base candle.
    moved: int
    # The number of its last trade that was remembered by its id; -1: there is none.
    remembered: int
    # Whether it was restored, and is not yet a symbol of the present epoch.
    unopened: bool
    # No sum of money of an open bar or the session, without the base candle, is nearer to the
    # limit.
    money_room: float
    # The late trades of gathered_from <= time < gathered_to that the session and some open bars
    # lack; gathered_slots has a bit for the slot of each of those bars.
    gathered: CandleNumbers
    gathered_from: int
    gathered_to: int
    gathered_slots: int


class Slot:
    """An interval of a symbol, with its open bar, without the trades of the base candle."""

    candle: CandleNumbers
    # No bar is open while they are the same.
    start: int
    end: int
    # The length of its bars, 0: days; and their offset.
    size: int
    anchor: int
    # How many states were published; that of the open bar's last one, 0 before.
    sequence: int
    open_sequence: int
    # The latest start of a bar that was closed and given up to make room.
    evicted_until: int
    # Places in the pool. Both lists are in the order of the starts.
    early_first: int
    closed_first: int
    closed_last: int
    # Where the last late trade went: a place in the pool, OPEN, MISSING, LEFT_OUT or EVICTED.
    target: int
    # Whether somebody wants the bars of this symbol and interval by name.
    wanted: bool
    # The index in PHASES of the open bar.
    phase: int


class PooledBar:
    """A bar that is closed or waits out the grace."""

    candle: CandleNumbers
    row: int
    slot: int
    start: int
    end: int
    state: int
    revision: int
    # 0 until Python was asked; a revised bar keeps the one with which it closed.
    coverage: int
    # Ticks of its time that were refused, as Python says.
    refused: int
    phase: int
    sequence: int
    # Its neighbours among the bars of its slot, which follow each other by start.
    next: int
    previous: int
    # Its neighbours among all closed bars, in the order in which they closed.
    next_closed: int
    previous_closed: int
    # The next bar at the same head of the index.
    next_alike: int
    # Its index among the events that were not published yet, plus 1; 0: it has none.
    event: int
    # Its index among the bars that late trades of this batch changed, plus 1; 0: it has none.
    touched: int


class NotedRow:
    """A place in two lists of the rows of this batch."""

    # A row with a new state.
    changed: int
    # A row with a trade that was more than an addition.
    moved: int


class EndCount:
    """How many bars of a slot with an end began, and how many became final."""

    slot: int
    end: int
    began: int
    closed: int


class EngineState:
    """What there is once for all symbols."""

    # The plan.
    slots: int
    base_ns: int
    grace: int
    revise: int
    live_within: int
    max_closed: int
    # The batch: its number, when its trades arrived (0: none of them is of the present), and the
    # latest exchange time that is not in the future.
    batch: int
    now: int
    latest_allowed: int
    # 1: prices of 0 and below are valid in this batch.
    any_price: int
    # The largest values of a trade that is valid.
    max_price: float
    max_volume: int
    # The latest exchange time of a trade that was more than an addition.
    clock: int
    # How much of each list is filled.
    free: int
    deferred: int
    events: int
    touched: int
    moved: int
    changed: int
    ends: int
    # How many closed bars there are, the one that closed first and the one that closed last.
    closed: int
    oldest: int
    newest: int
    # Trades whose id came before, so far.
    duplicates: int
    # Trades that were accepted and did not count everywhere; see TradeCounts.
    late: int
    out_of_session: int
    bars_late: int
    bars_evicted: int
    # How often a closed bar did not take a trade of its time, because it came too late.
    left_out: int
    # Closed bars that were given up to make room while they could be revised.
    evicted: int


CANDLE = np.dtype(
    [(f.name, np.float64 if f.kind is Kind.REAL else np.int64) for f in CANDLE_FIELDS], align=True
)
_COLUMNS = {CandleNumbers: CANDLE, int: np.int64, float: np.float64, bool: np.bool_}


def _record(kind: type) -> np.dtype[np.void]:
    fields = [(name, _COLUMNS[hint]) for name, hint in get_type_hints(kind).items()]
    return np.dtype(fields, align=True)


def offset_of(record: np.dtype[np.void], name: str) -> int:
    """Return where a field of a record begins."""
    fields: Any = record.fields
    return int(fields[name][1])


BASE = _record(Base)
SYMBOL = _record(Symbol)
SLOT = _record(Slot)
BAR = _record(PooledBar)
NOTED_ROW = _record(NotedRow)
END_COUNT = _record(EndCount)
ENGINE_STATE = _record(EngineState)


class Tables(NamedTuple):
    """All arrays of an engine."""

    # One record.
    state: NDArray[Any]
    # By row.
    bases: NDArray[Any]
    symbols: NDArray[Any]
    # By row and slot.
    slots: NDArray[Any]
    # The pool of bars; the places in it that are free, and those that will be free when the events
    # were published.
    bars: NDArray[Any]
    free: NDArray[np.int64]
    deferred: NDArray[np.int64]
    # The index of the bars in the lists of the pool: the first bar of each head, or NONE. There are
    # at least as many heads as bars, and their number is a power of two.
    heads: NDArray[np.int64]
    # Bars of which a state is to be published, in order.
    events: NDArray[np.int64]
    # Bars that late trades of this batch changed.
    touched: NDArray[np.int64]
    # As long as there are rows: those of this batch, see NotedRow.
    noted: NDArray[Any]
    ends: NDArray[Any]
    # By slot, whether somebody wants the bars of every symbol.
    all_wanted: NDArray[np.bool_]


class OpenTables(NamedTuple):
    """What the loops need of the tables; each array of a call costs 0.2 us."""

    bases: NDArray[Any]
    symbols: NDArray[Any]
    slots: NDArray[Any]


class Trade(NamedTuple):
    """One trade, for the loops."""

    price: float
    volume: int
    ts: int
    sequence: int
    # The numbers that it does not move; see Exclude.
    excludes: int


# numba says nothing of its types. In a loop, INT converts to int64.
_types: Any = types
INT: Any = _types.int64
INTS: Any = INT[::1]
UniTuple: Any = _types.UniTuple
VOID: Any = _types.void
STATES: Any = from_dtype(ENGINE_STATE)[::1]
BASES: Any = from_dtype(BASE)[::1]
SYMBOLS: Any = from_dtype(SYMBOL)[::1]
SLOTS: Any = from_dtype(SLOT)[:, ::1]
BARS: Any = from_dtype(BAR)[::1]
NOTED_ROWS: Any = from_dtype(NOTED_ROW)[::1]
WANTED: Any = _types.boolean[::1]
TABLES: Any = _types.NamedTuple(
    (
        *(STATES, BASES, SYMBOLS, SLOTS, BARS, *(INTS,) * 5),
        *(NOTED_ROWS, from_dtype(END_COUNT)[::1], WANTED),
    ),
    Tables,
)
OPEN_TABLES: Any = _types.NamedTuple((BASES, SYMBOLS, SLOTS), OpenTables)

"""The tables of an engine, which grow with its symbols and bars."""

from __future__ import annotations

import mmap
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.kernel.limits import MAX_MONEY
from aggregator.bars.kernel.pool import copy_index
from aggregator.bars.kernel.records import (
    BAR,
    BASE,
    BY_PYTHON,
    END_COUNT,
    ENGINE_STATE,
    LEFT_OUT,
    NEVER,
    NO_SESSION,
    NONE,
    NOTED_ROW,
    SLOT,
    SYMBOL,
    UNKNOWN_PHASE,
    UTC_DAY,
    Tables,
)
from aggregator.bars.plan import BarPlan, InvalidPlan
from aggregator.sessions.sessions import NoSession, SessionRule, UtcDay
from marketdata.intervals import IntervalKind
from marketdata.validation import DEFAULT_LIMITS, ValueLimits

# The loops have a bit for each slot.
MAX_SLOTS = 62
_MIN_ROWS = 512
_MIN_BARS = 1_024
_MIN_EVENTS = 1_024
# A pool of many bars is not doubled.
_MAX_STEP = 262_144
# A column of that many bytes gets addresses for all records that it will ever need, or as many as
# these. The memory comes when it is used. So a column grows without a copy: to copy 500,000 bars
# and to index them anew took 0.2 to 0.5 s, in which nothing else ran.
_SMALL_BYTES = 2**20
_RESERVED_BYTES = 2**28
RESERVED_RECORDS = 2**20
# That many heads are made anew at once: 0.5 ms; then there are enough for good.
_FEW_HEADS = 2**13
# The ends of longer bars would not be numbers of nanoseconds.
_MAX_SIZE_NS = 2**62
_BY_ROW = ("bases", "symbols", "slots", "noted")


def set_value_limits(state: NDArray[Any], limits: ValueLimits) -> None:
    """Set the largest values of a valid trade."""
    state["max_price"] = limits.max_price
    state["max_volume"] = limits.max_volume


def make_tables(plan: BarPlan) -> Tables:
    """Return tables without symbols.

    Raises:
        InvalidPlan: there are more intervals, or longer ones, than the loops take.
    """
    slots = len(plan.by_clock)
    if slots > MAX_SLOTS:
        raise InvalidPlan(f"{slots} intervals by the clock, the limit is {MAX_SLOTS}")
    for interval in plan.by_clock:
        if interval.kind is IntervalKind.TIME and interval.size > _MAX_SIZE_NS:
            raise InvalidPlan(f"{interval.name} is longer than {_MAX_SIZE_NS} ns")
    state = np.zeros(1, ENGINE_STATE)
    state["slots"] = slots
    state["base_ns"] = plan.base_ns
    state["grace"] = plan.grace_ns
    state["revise"] = plan.revise_ns
    state["live_within"] = plan.live_within_ns
    state["max_closed"] = plan.max_closed
    set_value_limits(state, DEFAULT_LIMITS)
    state["oldest"] = state["newest"] = NONE
    state["free"] = _MIN_BARS
    return Tables(
        state=state,
        bases=np.zeros(_MIN_ROWS, BASE),
        symbols=np.zeros(_MIN_ROWS, SYMBOL),
        slots=np.zeros((_MIN_ROWS, slots), SLOT),
        bars=np.zeros(_MIN_BARS, BAR),
        # The lowest places are taken first.
        free=np.arange(_MIN_BARS)[::-1].copy(),
        deferred=np.zeros(_MIN_BARS, np.int64),
        heads=np.full(_MIN_BARS, NONE, np.int64),
        events=np.zeros(_MIN_EVENTS, np.int64),
        touched=np.zeros(_MIN_EVENTS, np.int64),
        noted=np.zeros(_MIN_ROWS, NOTED_ROW),
        ends=np.zeros(_MIN_EVENTS, END_COUNT),
        all_wanted=np.zeros(slots, np.bool_),
    )


class NewRow:
    """The records of a new symbol, the same for all symbols of a session rule."""

    def __init__(self, plan: BarPlan, rule: SessionRule) -> None:
        self.base = np.zeros((), BASE)
        self.base["room"] = NEVER
        self.base["other_latest"] = -1
        self.symbol = np.zeros((), SYMBOL)
        self.symbol["latest"] = self.symbol["remembered"] = -1
        self.symbol["due_at"] = NEVER
        self.symbol["money_room"] = MAX_MONEY
        # Not their subclasses, which may divide time otherwise.
        kinds: dict[type[SessionRule], int] = {UtcDay: UTC_DAY, NoSession: NO_SESSION}
        self.symbol["rule"] = kinds.get(type(rule), BY_PYTHON)
        self.symbol["base_anchor"] = rule.anchor(plan.base_ns) if plan.base_ns else 0
        sizes = [i.size if i.kind is IntervalKind.TIME else 0 for i in plan.by_clock]
        self.slots = np.zeros(len(sizes), SLOT)
        self.slots["size"] = sizes
        self.slots["anchor"] = [rule.anchor(size) if size else 0 for size in sizes]
        self.slots["evicted_until"] = -(2**63)
        for name in ("early_first", "closed_first", "closed_last"):
            self.slots[name] = NONE
        self.slots["phase"] = UNKNOWN_PHASE
        self.slots["target"] = LEFT_OUT
        self._records = self.base.tobytes(), self.symbol.tobytes(), self.slots.tobytes()
        # The columns of the last row; they change together when they grow.
        self._columns: tuple[NDArray[Any], ...] = (self.base,)
        self._bytes: tuple[memoryview, ...] = ()

    def put(self, tables: Tables, row: int) -> Tables:
        """Return tables with one symbol more, which may be the same ones."""
        tables = grow_rows(tables, row + 1)
        # As bytes: numpy copies records field by field, ten times slower.
        if self._columns[0] is not tables.bases:
            self._columns = tables.bases, tables.symbols, tables.slots
            self._bytes = tuple(map(_bytes_of, self._columns))
        for column, record in zip(self._bytes, self._records, strict=True):
            size = len(record)
            column[row * size : (row + 1) * size] = record
        return tables


def _bytes_of(column: NDArray[Any]) -> memoryview:
    return column.reshape(-1).view(np.uint8).data


def grow_rows(tables: Tables, count: int) -> Tables:
    """Return tables with room for so many symbols, which may be the same ones."""
    size = len(tables.symbols)
    if count <= size:
        return tables
    while size < count:
        size *= 2
    return tables._replace(**{name: grow_column(getattr(tables, name), size) for name in _BY_ROW})


def with_room(tables: Tables, row: int) -> Tables:
    """Return tables in which one trade of ``row`` finds room for all that it does."""
    state = tables.state[0]
    slots = int(state["slots"])
    events = int(tables.symbols[row]["early_count"]) + 3 * slots + 3
    changes: dict[str, NDArray[Any]] = {}
    if state["free"] < 3 * slots + 3:
        size = len(tables.bars)
        more = size + min(size, _MAX_STEP)
        free = grow_column(tables.free, more)
        count = int(state["free"])
        # The lowest places are taken first. Made in place: another array takes twice as long.
        places = free[count : count + more - size]
        places[:] = -1
        places[0] = more - 1
        np.cumsum(places, out=places)
        state["free"] += more - size
        changes |= {
            "bars": grow_column(tables.bars, more),
            "free": free,
            "deferred": grow_column(tables.deferred, more),
        }
        if more > len(tables.heads):
            heads = make_heads(more)
            copy_index(changes["bars"], tables.heads, heads)
            changes["heads"] = heads
    needs = {
        "events": int(state["events"] + state["touched"]) + events,
        "touched": int(state["touched"]) + slots,
        "ends": int(state["ends"]) + events,
    }
    for name, need in needs.items():
        column = getattr(tables, name)
        if need > len(column):
            changes[name] = grow_column(column, 2 * need)
    return tables._replace(**changes)


def make_heads(bars: int) -> NDArray[np.int64]:
    """Return an index for a pool of so many bars."""
    count = bars if bars <= _FEW_HEADS else max(bars, RESERVED_RECORDS)
    return np.full(1 << (count - 1).bit_length(), NONE, np.int64)


def make_column(size: int, kind: Any, shape: tuple[int, ...] = ()) -> NDArray[Any]:
    """Return a column of zeros that can grow without a copy, if it is large."""
    record_bytes = np.dtype(kind).itemsize * max(prod(shape), 1)
    if size * record_bytes <= _SMALL_BYTES:
        return np.zeros((size, *shape), kind)
    reserved = max(size, min(RESERVED_RECORDS, _RESERVED_BYTES // record_bytes))
    whole: NDArray[Any] = np.ndarray(
        (reserved, *shape), kind, buffer=_map_zeros(reserved * record_bytes)
    )
    return whole[:size]


def _map_zeros(size: int) -> mmap.mmap:
    """Return memory that is not there until somebody writes.

    Not from numpy, which asks for huge pages: 5 ms each to make, with 9,000 bars in each.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        memory.madvise(mmap.MADV_NOHUGEPAGE)
    return memory


def grow_column(column: NDArray[Any], size: int) -> NDArray[Any]:
    """Return a longer column with the same records, and zeros after them."""
    whole = column.base
    if whole is not None and len(whole) >= size:
        # Beyond the column nobody wrote.
        longer: NDArray[Any] = whole[:size]
        return longer
    grown = make_column(size, column.dtype, column.shape[1:])
    grown[: len(column)] = column
    return grown

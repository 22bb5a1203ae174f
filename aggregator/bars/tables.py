"""The arrays of an engine, which grow with its symbols and bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars import layout
from aggregator.bars.candle import Candle
from aggregator.bars.kernel import MAX_MONEY, Tables
from aggregator.bars.plan import BarPlan, InvalidPlan
from aggregator.sessions.sessions import NoSession, SessionRule, UtcDay
from marketdata.intervals import IntervalKind

_MIN_ROWS = 512
_MIN_BARS = 1_024
_MIN_EVENTS = 1_024
# A pool of many bars is not doubled.
_MAX_STEP = 262_144
# The ends of longer bars would not be numbers of nanoseconds.
_MAX_SIZE_NS = 2**62


def make_tables(plan: BarPlan) -> Tables:
    """Return tables without symbols.

    Raises:
        InvalidPlan: there are more intervals, or longer ones, than the loops take.
    """
    lanes = len(plan.by_clock)
    if lanes > layout.MAX_LANES:
        raise InvalidPlan(f"{lanes} intervals by the clock, the limit is {layout.MAX_LANES}")
    for interval in plan.by_clock:
        if interval.kind is IntervalKind.TIME and interval.size > _MAX_SIZE_NS:
            raise InvalidPlan(f"{interval.name} is longer than {_MAX_SIZE_NS} ns")
    desk = np.zeros(layout.DESK_INTS, np.int64)
    desk[layout.N_LANES] = lanes
    desk[layout.GRACE] = plan.grace_ns
    desk[layout.REVISE] = plan.revise_ns
    desk[layout.LIVE_WITHIN] = plan.live_within_ns
    desk[layout.BASE_NS] = plan.base_ns
    desk[layout.MAX_CLOSED] = plan.max_closed
    desk[layout.OLDEST] = desk[layout.NEWEST] = -1
    desk[layout.N_FREE] = _MIN_BARS
    ints = layout.LANES + layout.LANE * lanes
    reals = layout.LANE_REALS + layout.CANDLE * lanes
    return Tables(
        hot_ints=np.zeros((_MIN_ROWS, layout.HOT_INTS), np.int64),
        hot_reals=np.zeros((_MIN_ROWS, layout.HOT_REALS), np.float64),
        ints=np.zeros((_MIN_ROWS, ints), np.int64),
        reals=np.zeros((_MIN_ROWS, reals), np.float64),
        bars_ints=np.zeros((_MIN_BARS, layout.BAR_INTS), np.int64),
        bars_reals=np.zeros((_MIN_BARS, layout.BAR_REALS), np.float64),
        # The lowest places are taken first.
        free=np.arange(_MIN_BARS, dtype=np.int32)[::-1].copy(),
        limbo=np.zeros(_MIN_BARS, np.int32),
        events=np.zeros(_MIN_EVENTS, np.int32),
        touched=np.zeros(_MIN_EVENTS, np.int32),
        moved=np.zeros(_MIN_ROWS, np.int32),
        ends=np.zeros((_MIN_EVENTS, 4), np.int64),
        desk=desk,
    )


def make_row(plan: BarPlan, rule: SessionRule) -> NDArray[np.int64]:
    """Return the whole numbers of a new symbol."""
    lanes = plan.by_clock
    row = np.zeros(layout.LANES + layout.LANE * len(lanes), np.int64)
    row[layout.LATEST] = -1
    row[layout.DUE_AT] = layout.NEVER
    # Not their subclasses, which may divide time otherwise.
    kinds: dict[type[SessionRule], int] = {UtcDay: layout.UTC_DAY, NoSession: layout.NO_SESSION}
    row[layout.RULE] = kinds.get(type(rule), layout.BY_PYTHON)
    row[layout.BASE_ANCHOR] = rule.anchor(plan.base_ns) if plan.base_ns else 0
    for number, interval in enumerate(lanes):
        at = layout.LANES + layout.LANE * number
        size = interval.size if interval.kind is IntervalKind.TIME else 0
        row[at + layout.SIZE] = size
        row[at + layout.ANCHOR] = rule.anchor(size) if size else 0
        row[at + layout.EVICTED_UNTIL] = -(2**63)
        row[at + layout.EARLY_FIRST] = -1
        row[at + layout.CLOSED_FIRST] = row[at + layout.CLOSED_LAST] = -1
        row[at + layout.LANE_PHASE] = -1
    return row


def open_row(tables: Tables, row: int, ints: NDArray[np.int64]) -> Tables:
    """Return tables with one symbol more, which may be the same ones."""
    if row == len(tables.ints):
        size = 2 * row
        grown = {
            name: _grown(getattr(tables, name), size)
            for name in ("hot_ints", "hot_reals", "ints", "reals", "moved")
        }
        tables = tables._replace(**grown)
    tables.ints[row] = ints
    tables.hot_ints[row, layout.ROOM] = layout.MAX_INT64
    tables.reals[row, layout.MONEY_ROOM] = MAX_MONEY
    return tables


def with_room(tables: Tables, row: int) -> Tables:
    """Return tables in which one trade of ``row`` finds room for all that it does."""
    desk = tables.desk
    lanes = int(desk[layout.N_LANES])
    told = int(tables.ints[row, layout.EARLY_COUNT]) + 3 * lanes + 3
    changes: dict[str, NDArray[Any]] = {}
    if desk[layout.N_FREE] < 3 * lanes + 3:
        size = len(tables.bars_ints)
        more = size + min(size, _MAX_STEP)
        free = _grown(tables.free, more)
        count = int(desk[layout.N_FREE])
        free[count : count + more - size] = np.arange(size, more)[::-1]
        desk[layout.N_FREE] += more - size
        changes |= {
            "bars_ints": _grown(tables.bars_ints, more),
            "bars_reals": _grown(tables.bars_reals, more),
            "free": free,
            "limbo": _grown(tables.limbo, more),
        }
    needs = {
        "events": int(desk[layout.N_EVENTS] + desk[layout.N_TOUCHED]) + told,
        "touched": int(desk[layout.N_TOUCHED]) + lanes,
        "ends": int(desk[layout.N_ENDS]) + told,
    }
    for name, need in needs.items():
        column = getattr(tables, name)
        if need > len(column):
            changes[name] = _grown(column, 2 * need)
    return tables._replace(**changes)


def read_candle(ints: Sequence[int], reals: Sequence[float]) -> Candle:
    """Return the candle of CANDLE columns each; not one if it has no trades."""
    candle: Candle = Candle.__new__(Candle)
    (
        candle.volume,
        candle.trades,
        candle.first_ts,
        candle.first_sequence,
        candle.last_ts,
        candle.last_sequence,
    ) = ints
    (
        candle.open,
        candle.high,
        candle.low,
        candle.close,
        candle.notional,
        candle.notional_error,
    ) = reals
    return candle


def write_candle(
    candle: Candle, ints: NDArray[np.int64], reals: NDArray[np.float64], row: int
) -> None:
    """Put a candle into the first columns of a row."""
    c = candle
    ints[row, : layout.CANDLE] = (
        c.volume,
        c.trades,
        c.first_ts,
        c.first_sequence,
        c.last_ts,
        c.last_sequence,
    )
    reals[row, : layout.CANDLE] = (c.open, c.high, c.low, c.close, c.notional, c.notional_error)


def _grown(column: NDArray[Any], size: int) -> NDArray[Any]:
    # Not concatenated with zeros: memory that nobody touched is not there yet.
    grown = np.zeros((size, *column.shape[1:]), column.dtype)
    grown[: len(column)] = column
    return grown

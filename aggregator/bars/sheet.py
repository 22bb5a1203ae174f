"""The columns of bars as Python sees them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aggregator.bars import kernel, layout
from aggregator.bars.bar import Bar, BarState, Coverage, CoverageRule
from aggregator.bars.candle import Candle
from aggregator.bars.lane import Lane
from aggregator.bars.layout import CANDLE, LANE, LANE_CANDLE, LANE_REALS, LANES
from aggregator.bars.plan import BarPlan
from aggregator.bars.tables import (
    make_row,
    make_tables,
    open_row,
    read_candle,
    with_room,
    write_candle,
)
from aggregator.sessions.sessions import RuleFor, SessionRule
from aggregator.wire.symbol_table import SymbolTable

# What a bar in the pool has behind its candle.
_TO_START = slice(layout.BAR_ROW, layout.BAR_START + 1)
_TO_PHASE = slice(layout.BAR_ROW, layout.PHASE + 1)
_TO_SEQUENCE = slice(layout.BAR_ROW, layout.BAR_SEQUENCE + 1)
_NO_PLACES = np.zeros(0, np.int32)
_STATES = {state.value: state for state in BarState}
_COVERAGES = {coverage.value: coverage for coverage in Coverage}


class Sheet:
    """The symbols, each in a row of :attr:`tables`, and the bars that the clock ends.

    A *lane* is an interval by its place in :attr:`names`. Closed bars, and those that wait out the
    grace, are at *places* in a pool. The tables are others when they have grown: keep none.
    """

    def __init__(self, plan: BarPlan, rule_for: RuleFor, coverage: CoverageRule) -> None:
        self.table = SymbolTable()
        self.tables = make_tables(plan)
        self.names = [interval.name for interval in plan.by_clock]
        self._plan = plan
        self._rule_for = rule_for
        self._coverage = coverage
        # The rule of each row; rows and lanes of a rule are alike.
        self._rules: list[SessionRule] = []
        self._new_rows: dict[SessionRule, NDArray[np.int64]] = {}
        self._lanes: dict[SessionRule, list[Lane]] = {}

    # What the loops need.

    def add(self, symbol: str) -> int:
        """Return the row of a new symbol."""
        row = self.table.add(symbol)
        rule = self._rule_for(symbol)
        if rule not in self._new_rows:
            self._new_rows[rule] = make_row(self._plan, rule)
            self._lanes[rule] = [Lane(interval, rule) for interval in self._plan.by_clock]
        self._rules.append(rule)
        self.tables = open_row(self.tables, row, self._new_rows[rule])
        return row

    def make_room(self, row: int) -> None:
        """Have room for one trade of ``row``, whatever it does."""
        self.tables = with_room(self.tables, row)

    def find_session(self, row: int, ts: int) -> None:
        """Write down the session of a time."""
        rule = self._rules[row]
        session, day = rule.session(ts), rule.day(ts)
        known = [bounds for bounds in (session, day) if bounds is not None]
        holds_from, holds_to = ts, ts + 1
        if len(known) == 2:
            holds_from = max(bounds.start for bounds in known)
            holds_to = min(bounds.end for bounds in known)
        ints = self.tables.ints[row]
        ints[layout.KNOWN_FROM], ints[layout.KNOWN_TO] = holds_from, _int64(holds_to)
        start, end = (session.start, session.end) if session else (0, 0)
        ints[layout.KNOWN_START], ints[layout.KNOWN_END] = start, _int64(end)
        start, end = (day.start, day.end) if day else (0, 0)
        ints[layout.KNOWN_DAY_START], ints[layout.KNOWN_DAY_END] = start, _int64(end)

    def restore(self, row: int, lane: int, bar: Bar) -> None:
        """Take over a bar of an earlier life; call :func:`kernel.restored` behind the last one."""
        self.make_room(row)
        tables, last_ts = self.tables, bar.candle.last_ts
        place = kernel.restore_bar(tables, row, lane, bar.start, bar.end, bar.state, last_ts)
        write_candle(bar.candle, tables.bars_ints, tables.bars_reals, place)
        ints = tables.bars_ints[place]
        ints[layout.REVISION], ints[layout.COVERAGE] = bar.revision, bar.coverage
        ints[layout.PHASE] = layout.PHASES.index(bar.phase)

    # The open bar of a lane.

    def latest(self, row: int) -> int:
        """Return the latest exchange time of a symbol, -1 before the first."""
        hot_ints = self.tables.hot_ints
        if hot_ints[row, layout.TRADES]:
            return int(hot_ints[row, layout.LAST_TS])
        return int(self.tables.ints[row, layout.LATEST])

    def open_bar(self, row: int, lane: int) -> Bar | None:
        """Return the present state of the bar that is open, or None."""
        tables = self.tables
        at = LANES + LANE * lane
        columns = tables.ints[row, at : at + LANE].tolist()
        start, end = columns[layout.START], columns[layout.END]
        base = self._base(row)
        candle: Candle | None = None
        if columns[LANE_CANDLE + layout.TRADES]:
            real_at = LANE_REALS + CANDLE * lane
            reals = tables.reals[row, real_at : real_at + CANDLE].tolist()
            candle = read_candle(columns[LANE_CANDLE:], reals)
        if base is not None and start <= tables.ints[row, layout.BASE_START] < end:
            if candle is None:
                candle = base
            else:
                candle.merge(base)
        if candle is None:
            return None
        known = self._lanes[self._rules[row]][lane]
        bar = known.make(self.table.symbols[row], start, end, candle)
        bar.sequence = columns[layout.OPEN_SEQUENCE]
        reached = min(max(self.latest(row), start) + 1, end)
        bar.coverage = self._coverage(*known.hours(start, reached))
        return bar

    def renew(self, row: int, lane: int) -> bool:
        """Count one more state of the bar that is open; return whether there is one."""
        ints = self.tables.ints[row, LANES + LANE * lane : LANES + LANE * (lane + 1)]
        is_open = bool(ints[layout.START] < ints[layout.END])
        if is_open:
            ints[layout.LANE_SEQUENCE] += 1
            ints[layout.OPEN_SEQUENCE] = ints[layout.LANE_SEQUENCE]
        return is_open

    def find_open(
        self, series: NDArray[np.int64], step: int
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
        """Return row and lane of each, and how much of the time of its open bar had a feed.

        Args:
            series: row x step + lane.
            step: how many series a row has.
        """
        tables, count = self.tables, len(series)
        rows, lanes = np.empty((2, count), np.int32)
        times, groups = np.empty((count, 2), np.int64), np.empty((count, 3), np.int64)
        group_of = np.empty(count, np.int64)
        n_groups, unknown = kernel.find_open(
            tables.hot_ints, tables.ints, series, step, rows, lanes, times, groups, group_of
        )
        # Those without a group have the last answer.
        alike = [*(self._alike(*group) for group in groups[:n_groups].tolist()), -1]
        coverages = np.array(alike, np.int64)[group_of]
        for index in np.flatnonzero(coverages < 0).tolist():
            bounds = self._hours(int(rows[index]), int(lanes[index]), *times[index].tolist())
            coverages[index] = self._coverage(*bounds)
        if unknown:
            # Only Python's rules have phases.
            at = LANES + LANE * lanes + layout.LANE_PHASE
            for index in np.flatnonzero(tables.ints[rows, at] < 0).tolist():
                row, lane, start = int(rows[index]), int(lanes[index]), int(times[index, 0])
                tables.ints[row, at[index]] = self._phase(row, lane, start)
        return rows, lanes, coverages

    def _alike(self, start: int, least: int, most: int) -> int:
        # Of bars that begin together and have come less or more far: where both ends of them are
        # covered alike, all between are.
        coverage = self._coverage(start, most)
        is_alike = least == most or coverage is self._coverage(start, least)
        return coverage if is_alike else -1

    def _hours(self, row: int, lane: int, start: int, end: int) -> tuple[int, int]:
        return self._lanes[self._rules[row]][lane].hours(start, end)

    def _phase(self, row: int, lane: int, start: int) -> int:
        return layout.PHASES.index(self._lanes[self._rules[row]][lane].phase(start))

    def _base(self, row: int) -> Candle | None:
        ints = self.tables.hot_ints[row, :CANDLE].tolist()
        if not ints[layout.TRADES]:
            return None
        return read_candle(ints, self.tables.hot_reals[row, :CANDLE].tolist())

    # Bars of the pool.

    def early(self, rows: NDArray[np.int64], lanes: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the places of the bars that wait out the grace; of each lane in their order."""
        places = self.tables.ints[rows, LANES + LANE * lanes + layout.EARLY_FIRST]
        found = [_NO_PLACES]
        while len(places := places[places >= 0]):
            found.append(places.astype(np.int32))
            places = self.tables.bars_ints[places, layout.NEXT]
        return np.concatenate(found)

    def held(self, row: int, lane: int, from_ns: int, to_ns: int) -> NDArray[np.int32]:
        """Return the places of the bars with from_ns <= start < to_ns."""
        room = np.zeros(1_024, np.int32)
        count = kernel.list_bars(self.tables, row, lane, from_ns, to_ns, room)
        if count > len(room):
            room = np.zeros(count, np.int32)
            kernel.list_bars(self.tables, row, lane, from_ns, to_ns, room)
        return room[:count]

    def fill_in(self, places: NDArray[np.int32]) -> None:
        """Write down what the loops do not know of bars: coverage and phase."""
        count, bars = len(places), self.tables.bars_ints
        firsts, group_of = np.empty(count, np.int32), np.empty(count, np.int64)
        n_groups, unknown = kernel.group_bars(self.tables.ints, bars, places, firsts, group_of)
        if not n_groups:
            return
        answers = []
        columns = bars[firsts[:n_groups], _TO_PHASE].tolist()
        for row, lane, start, end, state, _revision, coverage, _phase in columns:
            is_kept = state == BarState.REVISED and coverage
            bounds = self._hours(row, lane, start, end)
            answers.append(coverage if is_kept else self._coverage(*bounds))
        bars[places, layout.COVERAGE] = np.array(answers, np.int64)[group_of]
        if unknown:
            # Only Python's rules have phases.
            for place in places[bars[places, layout.PHASE] < 0].tolist():
                row, lane, start = bars[place, _TO_START].tolist()
                bars[place, layout.PHASE] = self._phase(row, lane, start)

    def bars(self, places: NDArray[np.int32]) -> list[Bar]:
        """Return copies of bars that are filled in."""
        ints = self.tables.bars_ints[places].tolist()
        reals = self.tables.bars_reals[places].tolist()
        symbols, names, phases = self.table.symbols, self.names, layout.PHASES
        states, coverages = _STATES, _COVERAGES
        found = []
        for whole, real in zip(ints, reals, strict=True):
            row, lane, start, end, state, revision, coverage, phase, sequence = whole[_TO_SEQUENCE]
            found.append(
                Bar(
                    symbols[row],
                    names[lane],
                    start,
                    end,
                    read_candle(whole[:CANDLE], real),
                    0,
                    states[state],
                    revision,
                    coverages[coverage],
                    phases[phase],
                    sequence,
                )
            )
        return found


def _int64(time: int) -> int:
    return min(time, layout.MAX_INT64)

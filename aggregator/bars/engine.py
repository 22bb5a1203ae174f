"""Keep the bars of every symbol, and say when each is published."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from aggregator import encoder
from aggregator.bars import kernel, layout
from aggregator.bars.audience import BarAudience, BarSink, NoAudience, NoStore, Published
from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.bars.candle import Candle
from aggregator.bars.completion import Completion, Completions
from aggregator.bars.event_lane import EventBarsFactory, EventLane
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
from aggregator.bars.wanted import Wanted
from aggregator.pieces import PieceRoom, pack_names
from aggregator.sessions import RuleFor, SessionRule
from aggregator.symbol_table import SymbolTable
from marketdata.intervals import IntervalKind
from marketdata.wire.market_data_pb2 import UpdateBatch

# From start <= time < end to how much of it had a feed.
CoverageRule = Callable[[int, int], Coverage]

# What a bar in the pool has of whole numbers behind its candle, up to its place among events.
_HEAD = slice(layout.BAR_ROW, layout.BAR_SEQUENCE + 1)
_BOUNDS = slice(layout.BAR_ROW, layout.BAR_END + 1)


def always_covered(_start: int, _end: int) -> Coverage:
    """Return that there was a feed at all times."""
    return Coverage.FULL


@dataclass(slots=True)
class TradeCounts:
    """Trades that were accepted and did not count everywhere."""

    # Of an earlier session than their symbol's present one.
    late: int = 0
    # Between two sessions.
    out_of_session: int = 0
    # Too late for any bar.
    bars_late: int = 0
    # For a bar that was given up to make room; once per interval.
    bars_evicted: int = 0


class BarEngine:
    """The trades and bars of all symbols, each in a row of :attr:`tables`.

    The compiled loops apply trades between :meth:`begin_batch` and :meth:`end_batch`; then the
    changes go to :attr:`audience` and the closed bars to :attr:`sink`. For symbols whose trades are
    of the present the wall clock closes bars too: call :meth:`close_due` when it reaches
    :meth:`next_timer`; :attr:`wake_at` hears of an earlier time.

    Intervals have numbers, their places in :attr:`intervals`: those by the clock come first and are
    the *lanes* of the tables. A *series* is ``row * intervals + number``.
    """

    def __init__(
        self,
        plan: BarPlan,
        rule_for: RuleFor,
        coverage: CoverageRule = always_covered,
        event_bars: EventBarsFactory | None = None,
        completion: Completions | None = None,
    ) -> None:
        self.plan = plan
        self._rule_for = rule_for
        self._coverage = coverage
        self._event_bars = event_bars
        # Those no clock ends are made of single trades: hand each one to :meth:`traded`.
        self.wants_trades = event_bars is not None and bool(plan.by_trades)
        self.audience: BarAudience = NoAudience()
        self.sink: BarSink = NoStore()
        self.wake_at: Callable[[int], None] = lambda _ns: None
        # Names this life of the state; goes out with each bar.
        self.epoch = 0
        self.table = SymbolTable()
        self.tables = make_tables(plan)
        lanes = [interval.name for interval in plan.by_clock]
        self._lane_count = len(lanes)
        self.intervals = [*lanes, *(interval.name for interval in plan.by_trades)]
        self._numbers = {name: number for number, name in enumerate(self.intervals)}
        # Those whose bars are trading days.
        self._daily = {n for n, i in enumerate(plan.by_clock) if i.kind is IntervalKind.DAY}
        self._completion = completion or Completion(len(lanes), plan.revise_ns)
        # The rule of each row; rows and lanes of a rule are alike.
        self._rules: list[SessionRule] = []
        self._new_rows: dict[SessionRule, NDArray[np.int64]] = {}
        self._lanes: dict[SessionRule, list[Lane]] = {}
        # When the wall clock closes something, and of which rows.
        self._times: list[int] = []
        self._due: dict[int, deque[NDArray[np.int32]]] = {}
        self._wanted = Wanted(len(self.intervals))
        self._room = PieceRoom(encoder.MAX_BAR_BYTES)
        self._names = pack_names(lanes, encoder.INTERVAL_WIDTH)
        # By row; and the rows of them with trades in this batch.
        self._event_lanes: list[list[EventLane]] = []
        self._traded: set[int] = set()

    # What applies trades.

    def open(self, symbol: str) -> int:
        """Return the row of a symbol, which need not be known yet."""
        row = self.table.rows.get(symbol)
        if row is not None:
            return row
        row = self.table.add(symbol)
        rule = self._rule_for(symbol)
        if rule not in self._new_rows:
            self._new_rows[rule] = make_row(self.plan, rule)
            self._lanes[rule] = [Lane(interval, rule) for interval in self.plan.by_clock]
        self._rules.append(rule)
        self.tables = open_row(self.tables, row, self._new_rows[rule])
        if self._event_bars is not None:
            self._event_lanes.append(
                [
                    EventLane(interval.name, self._event_bars(symbol, interval))
                    for interval in self.plan.by_trades
                ]
            )
        for number in self.audience.opened(symbol, row):
            self.want(row * len(self.intervals) + number, True)
        return row

    def make_room(self, row: int) -> None:
        """Let the loops go on with a trade of ``row`` for which there was no room."""
        self.tables = with_room(self.tables, row)

    def find_session(self, row: int, ts: int) -> None:
        """Let the loops know the session of a time."""
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

    def begin_batch(self, now_ns: int) -> None:
        """Trades arrive at ``now_ns``; 0: none of them is of the present."""
        desk = self.tables.desk
        desk[layout.NOW] = now_ns
        desk[layout.BATCH_NUMBER] += 1

    def traded(self, row: int, price: float, volume: int, ts: int, sequence: int) -> None:
        """Hand an accepted trade to the bars that no clock ends."""
        self._traded.add(row)
        for lane in self._event_lanes[row]:
            lane.bars.add(price, volume, ts, sequence)

    def end_batch(self, changed: NDArray[np.int32]) -> None:
        """Publish what became of the trades; ``changed`` are rows whose session changed."""
        tables = self.tables
        desk = tables.desk
        if desk[layout.N_TOUCHED]:
            kernel.publish_touched(tables)
        count = int(desk[layout.N_MOVED])
        moved = tables.moved[:count].copy()
        desk[layout.N_MOVED] = 0
        closed = self._tell_events()
        closed += self._release(self._traded)
        if self.wants_trades:
            for row in {*moved.tolist(), *self._traded}:
                self._set_timer(row)
        elif count:
            self._set_timers(moved)
        if self._wanted:
            # Others than those that changed may have closed a bar and begun another.
            only_moved = moved[tables.hot_ints[moved, layout.BATCH] != desk[layout.BATCH_NUMBER]]
            self._publish_open(np.concatenate((changed, only_moved)))
        self._traded.clear()
        if count or closed:
            self._flush(closed)

    # The wall clock.

    def next_timer(self) -> int | None:
        """Return when the wall clock closes something next."""
        return self._times[0] if self._times else None

    def close_due(self, now_ns: int, max_symbols: int) -> bool:
        """Close what ends by the wall clock, of so many symbols; return whether that was all."""
        self.tables.desk[layout.NOW] = now_ns
        done = True
        closed: list[Bar] = []
        while done and self._times and self._times[0] <= now_ns:
            time = self._times[0]
            waiting = self._due[time]
            while waiting and max_symbols:
                rows = waiting.popleft()
                if len(rows) > max_symbols:
                    waiting.appendleft(rows[max_symbols:])
                    rows = rows[:max_symbols]
                max_symbols -= len(rows)
                closed += self._close_rows(rows, now_ns, time)
            done = not waiting
            if done:
                heappop(self._times)
                del self._due[time]
        self._flush(closed)
        return done

    def _close_rows(self, rows: NDArray[np.int32], now_ns: int, time: int) -> list[Bar]:
        if self.wants_trades:
            rows = rows[self.tables.ints[rows, layout.TIMER_AT] == time]
        index = 0
        while (index := kernel.close_rows(self.tables, rows, index, now_ns, time)) < len(rows):
            self.make_room(int(rows[index]))
        closed = self._tell_events()
        if self.wants_trades:
            closed += self._release(rows.tolist(), now_ns)
            for row in rows.tolist():
                self._set_timer(row)
        else:
            self._set_timers(rows)
        return closed

    # What readers ask.

    @property
    def counts(self) -> TradeCounts:
        """Trades that did not count everywhere, so far."""
        first = layout.LATE
        return TradeCounts(*self.tables.desk[first : first + 4].tolist())

    @property
    def evicted(self) -> int:
        """How many closed bars were given up to make room while they could be revised."""
        return int(self.tables.desk[layout.EVICTED])

    @property
    def clock(self) -> int:
        """The latest exchange time of a trade that was more than an addition."""
        return int(self.tables.desk[layout.CLOCK])

    def series(self, symbol: str, interval: str) -> int | None:
        """Return the number of the bars of a symbol and interval; None: no such symbol yet."""
        row = self.table.rows.get(symbol)
        return None if row is None else row * len(self.intervals) + self._numbers[interval]

    def all_series(self, number: int) -> Sequence[int]:
        """Return the series of every symbol, of one interval."""
        step = len(self.intervals)
        return range(number, step * len(self.table), step)

    def sequence(self, symbol: str, interval: str) -> int:
        """Return how many states of the bars of ``symbol`` and ``interval`` were published."""
        found = self._find(symbol, interval)
        if found is None:
            return 0
        row, lane = found
        if isinstance(lane, EventLane):
            return lane.sequence
        return int(self.tables.ints[row, LANES + LANE * lane + layout.LANE_SEQUENCE])

    def open_bar(self, symbol: str, interval: str) -> Bar | None:
        """Return the present state of the bar that is open, or None."""
        found = self._find(symbol, interval)
        return None if found is None else self._open_state(*found)

    def open_and_recent(self, symbol: str, interval: str, from_ns: int, to_ns: int) -> list[Bar]:
        """Return copies of the bars in memory with from_ns <= start < to_ns, in their order."""
        place = self._find(symbol, interval)
        if place is None:
            return []
        row, lane = place
        if isinstance(lane, EventLane):
            found = [bar.copy() for bar in lane.recent if from_ns <= bar.start < to_ns]
        else:
            found = self._held(row, lane, from_ns, to_ns)
        open_bar = self._open_state(row, lane)
        if open_bar is not None and from_ns <= open_bar.start < to_ns:
            found.append(open_bar)
        found.sort(key=lambda bar: (bar.start, bar.number))
        return found

    def open_bars(self) -> list[Bar]:
        """Return copies of all bars that are not closed, for the next life to go on with.

        Trades that wait for their place among others count now, so this is for the end.
        """
        found: list[Bar] = []
        closed: list[Bar] = []
        for row in range(len(self.table)):
            for lane in range(self._lane_count):
                first = LANES + LANE * lane + layout.EARLY_FIRST
                places = self._early(self.tables.ints[row : row + 1, first])
                self._fill_in(places)
                found += self._bars(places)
                found.extend(filter(None, [self._open_state(row, lane)]))
        for row, event_lanes in enumerate(self._event_lanes):
            for event_lane in event_lanes:
                closed += self._publish_full(row, event_lane, event_lane.bars.flush())
                found.extend(filter(None, [event_lane.open_state()]))
        self._flush(closed)
        return found

    def restore(self, bars: Iterable[Bar], now_ns: int = 0) -> None:
        """Take over bars of an earlier life: open ones, and those that can still be revised.

        Call it once, before the first trade. Bars of intervals that are not made any more are left
        out. With ``now_ns`` the wall clock closes those of symbols whose trades are of the present.
        """
        restored: dict[int, None] = {}
        of_events: dict[tuple[str, str], list[Bar]] = {}
        self.tables.desk[layout.NOW] = now_ns
        for bar in sorted(bars, key=lambda bar: (bar.end, bar.start)):
            number = self._numbers.get(bar.interval)
            if number is not None and number < self._lane_count:
                row = self.open(bar.symbol)
                restored[row] = None
                self._restore_bar(row, number, bar)
            else:
                old = bar.copy()
                old.sequence = 0
                of_events.setdefault((bar.symbol, bar.interval), []).append(old)
        for (symbol, interval), found in of_events.items():
            row = self.open(symbol)
            number = self._numbers.get(interval)
            if number is not None and self._event_bars is not None:
                lane = self._event_lanes[row][number - self._lane_count]
                lane.bars.restore(found)
                lane.recent.extend(bar for bar in found if bar.state.is_closed)
        for row in restored:
            kernel.restored(self.tables, row)
        self._tell_events()
        if self.wants_trades:
            for row in restored:
                self._set_timer(row)
        else:
            self._set_timers(np.array(list(restored), np.int32))

    def _restore_bar(self, row: int, lane: int, bar: Bar) -> None:
        self.make_room(row)
        last_ts = bar.candle.last_ts
        place = kernel.restore_bar(self.tables, row, lane, bar.start, bar.end, bar.state, last_ts)
        tables = self.tables
        write_candle(bar.candle, tables.bars_ints, tables.bars_reals, place)
        ints = tables.bars_ints[place]
        ints[layout.REVISION], ints[layout.COVERAGE] = bar.revision, bar.coverage
        ints[layout.PHASE] = layout.PHASES.index(bar.phase)

    # Who wants what.

    def want(self, series: int, on: bool) -> None:
        """Say whether anyone wants a series by its symbol's name."""
        row, number = divmod(series, len(self.intervals))
        self._wanted.want(series, on)
        if number < self._lane_count:
            self.tables.ints[row, LANES + LANE * number + layout.WANTED] = on

    def want_all(self, number: int, on: bool) -> None:
        """Say whether anyone wants the bars of an interval of every symbol."""
        self._wanted.want_all(number, on)
        if number < self._lane_count:
            self.tables.desk[layout.WANT_ALL + number] = on

    def present(self, series: Sequence[int]) -> tuple[list[Published], list[int]]:
        """Return the bars that wait out the grace; publish the open ones, return their series.

        Each series is there once. For one of 20,000 this takes 2 to 9 us.
        """
        asked = np.array(series, np.int64)
        numbers = asked % len(self.intervals)
        is_lane = numbers < self._lane_count
        found = [each for each in asked[~is_lane].tolist() if self.renew(each)]
        asked, numbers = asked[is_lane], numbers[is_lane]
        tables, rows, at = self.tables, asked // len(self.intervals), LANES + LANE * numbers
        is_open = tables.ints[rows, at + layout.START] < tables.ints[rows, at + layout.END]
        early = self._early(tables.ints[rows, at + layout.EARLY_FIRST])
        # In the order in which they were published, which late trades may have made another one.
        early = early[np.argsort(tables.bars_ints[early, layout.BAR_SEQUENCE], kind="stable")]
        self._fill_in(early)
        rows, at = rows[is_open], at[is_open]
        tables.ints[rows, at + layout.LANE_SEQUENCE] += 1
        sequences = tables.ints[rows, at + layout.LANE_SEQUENCE]
        tables.ints[rows, at + layout.OPEN_SEQUENCE] = sequences
        return self._published(early), [*asked[is_open].tolist(), *found]

    def renew(self, series: int) -> bool:
        """Publish the open bar of a series once more; return whether there is one."""
        row, number = divmod(series, len(self.intervals))
        lane = self._lane(row, number)
        if isinstance(lane, EventLane):
            return self._publish_partial(lane)
        ints = self.tables.ints[row, LANES + LANE * lane : LANES + LANE * (lane + 1)]
        is_open = bool(ints[layout.START] < ints[layout.END])
        if is_open:
            ints[layout.LANE_SEQUENCE] += 1
            ints[layout.OPEN_SEQUENCE] = ints[layout.LANE_SEQUENCE]
        return is_open

    def partials(self, series: Sequence[int]) -> list[bytes]:
        """Return the newest state of each open bar, as one of the ``bars`` of an ``UpdateBatch``.

        Empty where none is open, or it was never published.
        """
        asked = np.array(series, np.int64)
        rows, numbers = np.divmod(asked, len(self.intervals))
        if self.wants_trades and (numbers >= self._lane_count).any():
            by_clock = numbers < self._lane_count
            found = iter(self._open_pieces(rows[by_clock], numbers[by_clock]))
            return [
                next(found) if is_lane else self._event_piece(each)
                for each, is_lane in zip(series, by_clock.tolist(), strict=True)
            ]
        return self._open_pieces(rows, numbers)

    def _open_pieces(self, rows: NDArray[np.int64], lanes: NDArray[np.int64]) -> list[bytes]:
        count, tables = len(rows), self.tables
        if not count:
            return []
        at = LANES + LANE * lanes
        starts, ends = tables.ints[rows, at + layout.START], tables.ints[rows, at + layout.END]
        hot = tables.hot_ints[rows]
        latest = np.where(
            hot[:, layout.TRADES] > 0,
            hot[:, layout.LAST_TS],
            tables.ints[rows, layout.LATEST],
        )
        reached = np.minimum(np.maximum(latest, starts) + 1, ends)
        coverages = self._open_coverages(rows, lanes, starts, reached)
        # Only Python's rules have phases.
        for index in np.flatnonzero(tables.ints[rows, at + layout.LANE_PHASE] < 0).tolist():
            row, lane = int(rows[index]), int(lanes[index])
            phase = self._lanes[self._rules[row]][lane].phase(int(starts[index]))
            tables.ints[row, at[index] + layout.LANE_PHASE] = layout.PHASES.index(phase)
        room = self._room
        room.reserve(count)
        encoder.encode_open_bars(
            rows.astype(np.int32),
            lanes.astype(np.int32),
            count,
            coverages,
            tables.hot_ints,
            tables.hot_reals,
            tables.ints,
            tables.reals,
            self.table.names,
            self.table.lengths,
            *self._names,
            *_PHASES,
            self.epoch,
            room.out,
            room.ends,
        )
        return room.cut(count)

    def _open_coverages(
        self,
        rows: NDArray[np.int64],
        lanes: NDArray[np.int64],
        starts: NDArray[np.int64],
        reached: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        # Of bars that begin together and have come less or more far: where both ends of them are
        # covered alike, all between are.
        first, group = np.unique(starts, return_inverse=True)
        least, most = np.full(len(first), layout.NEVER), np.zeros(len(first), np.int64)
        np.minimum.at(least, group, reached)
        np.maximum.at(most, group, reached)
        alike = []
        for start, low, high in np.stack((first, least, most), axis=1).tolist():
            coverage = self._coverage(start, high)
            alike.append(coverage if coverage is self._coverage(start, low) else -1)
        found = np.array(alike, np.int64)[group]
        found[np.isin(lanes, list(self._daily))] = -1
        others = np.flatnonzero(found < 0)
        columns = (others, *(column[others] for column in (rows, lanes, starts, reached)))
        for index, row, lane, start, end in np.stack(columns, axis=1).tolist():
            bounds = start, end
            if lane in self._daily:
                bounds = self._lanes[self._rules[row]][lane].hours(start, end)
            found[index] = self._coverage(*bounds)
        return found

    def _event_piece(self, series: int) -> bytes:
        row, number = divmod(series, len(self.intervals))
        bar = self._open_state(row, self._lane(row, number))
        return b"" if bar is None or not bar.sequence else self._piece(bar)

    def _piece(self, bar: Bar) -> bytes:
        return UpdateBatch(bars=[bar.to_message(self.epoch)]).SerializeToString()

    # Bars of the pool.

    def _early(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        # Those, and the ones behind each: of one lane in their order.
        found = [_NO_PLACES]
        while (places >= 0).any():
            places = places[places >= 0]
            found.append(places.astype(np.int32))
            places = self.tables.bars_ints[places, layout.NEXT]
        return np.concatenate(found)

    def _held(self, row: int, lane: int, from_ns: int, to_ns: int) -> list[Bar]:
        room = np.zeros(1_024, np.int32)
        count = kernel.list_bars(self.tables, row, lane, from_ns, to_ns, room)
        if count > len(room):
            room = np.zeros(count, np.int32)
            kernel.list_bars(self.tables, row, lane, from_ns, to_ns, room)
        places = room[:count]
        states = self.tables.bars_ints[places, layout.STATE]
        self._fill_in(places[states == BarState.EARLY])
        return self._bars(places)

    def _fill_in(self, places: NDArray[np.int32]) -> None:
        # What the loops do not know of bars: how much of their time had a feed, and the phase.
        if not len(places):
            return
        bars = self.tables.bars_ints
        columns = bars[places]
        changed = columns[:, layout.STATE] == BarState.REVISED
        if changed.any():
            # They keep their coverage.
            places, columns = places[~changed], columns[~changed]
        # Bars of few ends and intervals: one question for each. Starts are whole seconds.
        kinds, first, which = np.unique(
            columns[:, layout.BAR_START] + columns[:, layout.BAR_LANE],
            return_index=True,
            return_inverse=True,
        )
        answers = np.zeros(len(kinds), np.int64)
        for kind, index in enumerate(first.tolist()):
            _, lane, start, end = columns[index, _BOUNDS].tolist()
            if lane not in self._daily:
                answers[kind] = self._coverage(start, end)
        bars[places, layout.COVERAGE] = answers[which]
        for lane in self._daily:
            # Each by the hours of its symbol.
            for index in np.flatnonzero(columns[:, layout.BAR_LANE] == lane).tolist():
                row, _, start, end = columns[index, _BOUNDS].tolist()
                hours = self._lanes[self._rules[row]][lane].hours(start, end)
                bars[places[index], layout.COVERAGE] = self._coverage(*hours)
        # Only Python's rules have phases.
        for index in np.flatnonzero(columns[:, layout.PHASE] < 0).tolist():
            row, lane, start, _ = columns[index, _BOUNDS].tolist()
            phase = self._lanes[self._rules[row]][lane].phase(start)
            bars[places[index], layout.PHASE] = layout.PHASES.index(phase)

    def _bars(self, places: NDArray[np.int32]) -> list[Bar]:
        ints = self.tables.bars_ints[places].tolist()
        reals = self.tables.bars_reals[places].tolist()
        symbols, names, phases = self.table.symbols, self.intervals, layout.PHASES
        states, coverages = _STATES, _COVERAGES
        found = []
        for whole, real in zip(ints, reals, strict=True):
            row, lane, start, end, state, revision, coverage, phase, sequence = whole[_HEAD]
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

    def _published(self, places: NDArray[np.int32]) -> list[Published]:
        count, tables, room = len(places), self.tables, self._room
        room.reserve(count)
        encoder.encode_bars(
            places,
            count,
            tables.bars_ints,
            tables.bars_reals,
            self.table.names,
            self.table.lengths,
            *self._names,
            *_PHASES,
            self.epoch,
            room.out,
            room.ends,
        )
        columns = tables.bars_ints[places]
        series = columns[:, layout.BAR_ROW] * len(self.intervals) + columns[:, layout.BAR_LANE]
        is_closed = columns[:, layout.STATE] >= BarState.FINAL
        revisions = np.where(is_closed, columns[:, layout.REVISION], -1)
        starts = columns[:, layout.BAR_START]
        return [
            Published(each, start, 0, revision, piece)
            for each, start, revision, piece in zip(
                series.tolist(), starts.tolist(), revisions.tolist(), room.cut(count), strict=True
            )
        ]

    # The open bar, and bars that no clock ends.

    def _find(self, symbol: str, interval: str) -> tuple[int, int | EventLane] | None:
        row, number = self.table.rows.get(symbol), self._numbers.get(interval)
        if row is None or number is None:
            return None
        if number >= self._lane_count and self._event_bars is None:
            return None
        return row, self._lane(row, number)

    def _lane(self, row: int, number: int) -> int | EventLane:
        first = self._lane_count
        return number if number < first else self._event_lanes[row][number - first]

    def _open_state(self, row: int, lane: int | EventLane) -> Bar | None:
        if isinstance(lane, EventLane):
            return lane.open_state()
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
        latest = base.last_ts if base is not None else int(tables.ints[row, layout.LATEST])
        reached = min(max(latest, start) + 1, end)
        bar.coverage = self._coverage(*known.hours(start, reached))
        return bar

    def _base(self, row: int) -> Candle | None:
        ints = self.tables.hot_ints[row, :CANDLE].tolist()
        if not ints[layout.TRADES]:
            return None
        return read_candle(ints, self.tables.hot_reals[row, :CANDLE].tolist())

    def _publish_open(self, rows: NDArray[np.int32]) -> None:
        lanes, step = self._lane_count, len(self.intervals)
        out = np.zeros(len(rows) * lanes, np.int64)
        count = kernel.publish_open(self.tables, rows, len(rows), out)
        series = out[:count]
        if step != lanes and lanes:
            series = series // lanes * step + series % lanes
        found = series.tolist()
        for row in self._traded:
            for number, event_lane in enumerate(self._event_lanes[row], lanes):
                each = row * step + number
                if each in self._wanted and self._publish_partial(event_lane):
                    found.append(each)
        if found:
            self.audience.partials_changed(found)

    def _publish_partial(self, lane: EventLane) -> bool:
        if lane.bars.open_bar is None:
            return False
        lane.sequence += 1
        lane.open_sequence = lane.sequence
        return True

    def _release(self, rows: Collection[int], clock: int | None = None) -> list[Bar]:
        closed = []
        for row in rows:
            now = self._latest(row) if clock is None else clock
            for lane in self._event_lanes[row]:
                closed += self._publish_full(row, lane, lane.bars.advance(now))
        return closed

    def _latest(self, row: int) -> int:
        base = self._base(row)
        return base.last_ts if base is not None else int(self.tables.ints[row, layout.LATEST])

    def _publish_full(self, row: int, lane: EventLane, bars: Sequence[Bar]) -> list[Bar]:
        number = self._numbers[lane.name]
        series = row * len(self.intervals) + number
        for bar in bars:
            lane.sequence += 1
            bar.sequence = lane.sequence
            lane.recent.append(bar)
            if series in self._wanted:
                piece = self._piece(bar)
                state = Published(series, bar.start, bar.number, bar.revision, piece)
                self.audience.bars_published([state])
        return list(bars)

    # Events, timers and markers.

    def _tell_events(self) -> list[Bar]:
        # Tells of bars what the loops noted; returns the closed ones for the store.
        tables = self.tables
        desk = tables.desk
        count = int(desk[layout.N_EVENTS])
        closed: list[Bar] = []
        if count:
            events = tables.events[:count].copy()
            # Of a bar that was told twice the last time counts, unless it was closed: see _touch.
            is_last = tables.bars_ints[events, layout.EVENT] == np.arange(1, count + 1)
            places = events[is_last]
            self._fill_in(places)
            if self._wanted:
                self._tell_audience(places)
            if not isinstance(self.sink, NoStore):
                states = tables.bars_ints[places, layout.STATE]
                closed = self._bars(places[states >= BarState.FINAL])
            tables.bars_ints[events, layout.EVENT] = 0
            desk[layout.N_EVENTS] = 0
        ends = int(desk[layout.N_ENDS])
        if ends:
            for lane, end, began, ended in tables.ends[:ends].tolist():
                self._completion.opened(lane, end, began)
                self._completion.closed(lane, end, ended)
            desk[layout.N_ENDS] = 0
        given_up = int(desk[layout.N_LIMBO])
        if given_up:
            free = int(desk[layout.N_FREE])
            tables.free[free : free + given_up] = tables.limbo[:given_up]
            desk[layout.N_FREE] += given_up
            desk[layout.N_LIMBO] = 0
        return closed

    def _tell_audience(self, places: NDArray[np.int32]) -> None:
        tables = self.tables
        rows = tables.bars_ints[places, layout.BAR_ROW]
        lanes = tables.bars_ints[places, layout.BAR_LANE]
        of_all = tables.desk[layout.WANT_ALL + lanes] != 0
        by_name = tables.ints[rows, LANES + LANE * lanes + layout.WANTED] != 0
        wanted = places[of_all | by_name]
        if len(wanted):
            self.audience.bars_published(self._published(wanted))

    def _set_timers(self, rows: NDArray[np.int32]) -> None:
        out, times = np.zeros(len(rows), np.int32), np.zeros(len(rows), np.int64)
        count = kernel.set_timers(self.tables, rows, len(rows), out, times)
        if not count:
            return
        out, times = out[:count], times[:count]
        first = int(times[0])
        if (times == first).all():
            self._wait_for(first, out)
            return
        for time in np.unique(times).tolist():
            self._wait_for(time, out[times == time])

    def _set_timer(self, row: int) -> None:
        # Where bars that no clock ends may be released by it.
        ints = self.tables.ints[row]
        if not ints[layout.LIVE]:
            return
        due = int(ints[layout.DUE_AT])
        times = [due] if self._lane_count and due < layout.NEVER else []
        times += [t for lane in self._event_lanes[row] if (t := lane.bars.next_release())]
        timer_at = int(ints[layout.TIMER_AT])
        if times and not 0 < timer_at <= min(times):
            ints[layout.TIMER_AT] = min(times)
            self._wait_for(min(times), np.array([row], np.int32))

    def _wait_for(self, time: int, rows: NDArray[np.int32]) -> None:
        due = self._due.get(time)
        if due is not None:
            due.append(rows)
            return
        self._due[time] = deque([rows])
        heappush(self._times, time)
        if self._times[0] == time:
            self.wake_at(time)

    def _flush(self, closed: Sequence[Bar]) -> None:
        clock = self.clock
        for index, name in enumerate(self.intervals[: self._lane_count]):
            while (end := self._completion.next_complete(index, clock)) is not None:
                self.audience.interval_completed(name, end)
        if closed:
            self.sink.put(closed)


_PHASES = pack_names(layout.PHASES, encoder.PHASE_WIDTH)
_NO_PLACES = np.zeros(0, np.int32)
_STATES = {state.value: state for state in BarState}
_COVERAGES = {coverage.value: coverage for coverage in Coverage}


def _int64(time: int) -> int:
    return min(time, layout.MAX_INT64)

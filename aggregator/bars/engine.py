"""Keep the bars of every symbol, and say when each is published."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aggregator.bars import kernel, layout
from aggregator.bars.audience import BarAudience, BarSink, Published
from aggregator.bars.bar import Bar, BarState, CoverageRule, always_covered
from aggregator.bars.completion import Completion
from aggregator.bars.event_lane import EventBarsFactory, EventLane
from aggregator.bars.event_lanes import EventLanes
from aggregator.bars.kernel import Tables
from aggregator.bars.layout import LANE, LANES
from aggregator.bars.plan import BarPlan
from aggregator.bars.publisher import BarPublisher
from aggregator.bars.sheet import Sheet
from aggregator.bars.timers import Timers
from aggregator.sessions.sessions import RuleFor


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
    ) -> None:
        self.plan = plan
        self.wake_at: Callable[[int], None] = lambda _ns: None
        self._sheet = Sheet(plan, rule_for, coverage)
        self.table = self._sheet.table
        self._events = EventLanes(plan.by_trades, event_bars)
        # Those no clock ends are made of single trades: hand each one to :meth:`traded`.
        self.wants_trades = bool(self._events)
        self._lane_count = len(self._sheet.names)
        self.intervals = [*self._sheet.names, *self._events.names]
        self._numbers = {name: number for number, name in enumerate(self.intervals)}
        completion = Completion(self._lane_count, plan.revise_ns)
        self._publisher = BarPublisher(self._sheet, self._events, completion)
        self._timers = Timers(self._wake)

    @property
    def tables(self) -> Tables:
        """The columns, until a symbol is opened or room is made."""
        return self._sheet.tables

    @property
    def epoch(self) -> int:
        """Names this life of the state; goes out with each bar."""
        return self._publisher.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._publisher.epoch = epoch

    @property
    def audience(self) -> BarAudience:
        """Who hears of bars."""
        return self._publisher.audience

    @audience.setter
    def audience(self, audience: BarAudience) -> None:
        self._publisher.audience = audience

    @property
    def sink(self) -> BarSink:
        """Who keeps closed bars."""
        return self._publisher.sink

    @sink.setter
    def sink(self, sink: BarSink) -> None:
        self._publisher.sink = sink

    # What applies trades.

    def open(self, symbol: str) -> int:
        """Return the row of a symbol, which need not be known yet."""
        row = self._row(symbol)
        self.tables.ints[row, layout.UNOPENED] = False
        return row

    def _row(self, symbol: str) -> int:
        row = self.table.rows.get(symbol)
        if row is not None:
            return row
        row = self._sheet.add(symbol)
        self._events.open(symbol)
        self._publisher.opened(symbol, row)
        return row

    def make_room(self, row: int) -> None:
        """Let the loops go on with a trade of ``row`` for which there was no room."""
        self._sheet.make_room(row)

    def find_session(self, row: int, ts: int) -> None:
        """Let the loops know the session of a time."""
        self._sheet.find_session(row, ts)

    def begin_batch(self, now_ns: int) -> None:
        """Trades arrive at ``now_ns``; 0: none of them is of the present."""
        desk = self.tables.desk
        desk[layout.NOW] = now_ns
        desk[layout.BATCH_NUMBER] += 1

    def traded(self, row: int, price: float, volume: int, ts: int, sequence: int) -> None:
        """Hand an accepted trade to the bars that no clock ends."""
        self._events.add(row, price, volume, ts, sequence)

    def end_batch(self, changed: NDArray[np.int32]) -> None:
        """Publish what became of the trades; ``changed`` are rows whose session changed."""
        tables = self.tables
        moved = tables.moved[: tables.desk.item(layout.N_MOVED)]
        # Without such trades nothing began or ended: they only added to what is open.
        closed = self._close_moved(moved) if len(moved) else []
        if self.wants_trades:
            closed += self._close_traded(moved)
        self._publisher.tell_open(changed, moved)
        self._events.traded.clear()
        if len(moved) or closed:
            self._publisher.flush(closed)

    def _close_moved(self, moved: NDArray[np.int32]) -> list[Bar]:
        tables = self.tables
        if tables.desk[layout.N_TOUCHED]:
            kernel.publish_touched(tables)
        tables.desk[layout.N_MOVED] = 0
        closed = self._publisher.tell_notes()
        if not self.wants_trades:
            self._timers.set(tables, moved)
        return closed

    def _close_traded(self, moved: NDArray[np.int32]) -> list[Bar]:
        closed = []
        for row in self._events.traded:
            filled = self._events.release(row, self._sheet.latest(row))
            closed += self._publisher.tell_filled(filled)
        self._look_after({*moved.tolist(), *self._events.traded})
        return closed

    # The wall clock.

    def next_timer(self) -> int | None:
        """Return when the wall clock closes something next."""
        return self._timers.next()

    def close_due(self, now_ns: int, max_symbols: int) -> bool:
        """Close what ends by the wall clock, of so many symbols; return whether that was all."""
        self.tables.desk[layout.NOW] = now_ns
        closed: list[Bar] = []
        while max_symbols and self._timers.has_due(now_ns):
            time, rows = self._timers.take(max_symbols)
            max_symbols -= len(rows)
            closed += self._close_rows(rows, now_ns, time)
        self._publisher.flush(closed)
        return not self._timers.has_due(now_ns)

    def _close_rows(self, rows: NDArray[np.int32], now_ns: int, time: int) -> list[Bar]:
        if self.wants_trades:
            rows = rows[self.tables.ints[rows, layout.TIMER_AT] == time]
        index = 0
        while (index := kernel.close_rows(self.tables, rows, index, now_ns, time)) < len(rows):
            self.make_room(int(rows[index]))
        closed = self._publisher.tell_notes()
        if self.wants_trades:
            for row in rows.tolist():
                closed += self._publisher.tell_filled(self._events.release(row, now_ns))
            self._look_after(rows.tolist())
        else:
            self._timers.set(self.tables, rows)
        return closed

    def _wake(self, time: int) -> None:
        self.wake_at(time)

    def _look_after(self, rows: Iterable[int]) -> None:
        for row in rows:
            self._timers.set_one(self.tables, row, self._events.next_releases(row))

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
            places = self._sheet.held(row, lane, from_ns, to_ns)
            states = self.tables.bars_ints[places, layout.STATE]
            self._sheet.fill_in(places[states == BarState.EARLY])
            found = self._sheet.bars(places)
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
        rows = np.arange(len(self.table))
        for lane in range(self._lane_count):
            places = self._sheet.early(rows, np.full_like(rows, lane))
            self._sheet.fill_in(places)
            found += self._sheet.bars(places)
            found.extend(filter(None, (self._sheet.open_bar(row, lane) for row in rows.tolist())))
        if self.wants_trades:
            for row in range(len(self.table)):
                closed += self._publisher.tell_filled(self._events.flush(row))
                found.extend(filter(None, (lane.open_state() for lane in self._events.of(row))))
        self._publisher.flush(closed)
        return found

    def _find(self, symbol: str, interval: str) -> tuple[int, int | EventLane] | None:
        row, number = self.table.rows.get(symbol), self._numbers.get(interval)
        return None if row is None or number is None else (row, self._lane(row, number))

    def _lane(self, row: int, number: int) -> int | EventLane:
        first = self._lane_count
        return number if number < first else self._events.of(row)[number - first]

    def _open_state(self, row: int, lane: int | EventLane) -> Bar | None:
        if isinstance(lane, EventLane):
            return lane.open_state()
        return self._sheet.open_bar(row, lane)

    # An earlier life.

    def restore(self, bars: Iterable[Bar], now_ns: int = 0) -> None:
        """Take over bars of an earlier life: open ones, and those that can still be revised.

        Call it once, before the first trade; the first one of each symbol asks for :meth:`open`, as
        if the symbol were new. Bars of intervals that are not made any more are left
        out. With ``now_ns`` the wall clock closes those of symbols whose trades are of the present.
        """
        restored: dict[int, None] = {}
        of_events: dict[tuple[str, str], list[Bar]] = {}
        self.tables.desk[layout.NOW] = now_ns
        for bar in sorted(bars, key=lambda bar: (bar.end, bar.start)):
            number = self._numbers.get(bar.interval)
            if number is not None and number < self._lane_count:
                row = self._restore_row(bar.symbol)
                restored[row] = None
                self._sheet.restore(row, number, bar)
            else:
                old = bar.copy()
                old.sequence = 0
                of_events.setdefault((bar.symbol, bar.interval), []).append(old)
        for (symbol, interval), found in of_events.items():
            row = self._restore_row(symbol)
            number = self._numbers.get(interval)
            if number is not None:
                lane = self._events.of(row)[number - self._lane_count]
                lane.bars.restore(found)
                lane.recent.extend(bar for bar in found if bar.state.is_closed)
        for row in restored:
            kernel.restored(self.tables, row)
        self._publisher.tell_notes()
        if self.wants_trades:
            self._look_after(restored)
        else:
            self._timers.set(self.tables, np.array(list(restored), np.int32))

    def _restore_row(self, symbol: str) -> int:
        row = self._row(symbol)
        self.tables.ints[row, layout.UNOPENED] = True
        return row

    # Who wants what.

    def want(self, series: int, on: bool) -> None:
        """Say whether anyone wants a series by its symbol's name."""
        self._publisher.want(series, on)

    def want_all(self, number: int, on: bool) -> None:
        """Say whether anyone wants the bars of an interval of every symbol."""
        self._publisher.want_all(number, on)

    def present(self, series: Sequence[int]) -> tuple[list[Published], list[int]]:
        """Return the bars that wait out the grace; publish the open ones, return their series.

        Each series is there once. For one of 20,000 this takes 2 to 9 us.
        """
        return self._publisher.present(series)

    def renew(self, series: int) -> bool:
        """Publish the open bar of a series once more; return whether there is one."""
        return self._publisher.renew(series)

    def partials(self, series: Sequence[int]) -> list[bytes]:
        """Return the newest state of each open bar, as one of the ``bars`` of an ``UpdateBatch``.

        Empty where none is open, or it was never published.
        """
        return self._publisher.partials(series)

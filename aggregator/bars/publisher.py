"""Publish what became of bars: to who wants them, and to the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.bars import kernel, layout
from aggregator.bars.audience import BarAudience, BarSink, NoAudience, NoStore, Published
from aggregator.bars.bar import Bar, BarState
from aggregator.bars.completion import Completions
from aggregator.bars.event_lanes import EventLanes, Filled
from aggregator.bars.layout import LANE, LANES
from aggregator.bars.sheet import Sheet
from aggregator.bars.wanted import Wanted
from aggregator.bars.writer import BarWriter


class BarPublisher:
    """Count the states of bars and tell them to :attr:`audience`; closed bars go to :attr:`sink`.

    Args:
        sheet: the bars that the clock ends.
        events: those that no clock ends.
        completion: says when every bar that ends at some time is final.
    """

    def __init__(self, sheet: Sheet, events: EventLanes, completion: Completions) -> None:
        self.audience: BarAudience = NoAudience()
        self.sink: BarSink = NoStore()
        self._sheet = sheet
        self._events = events
        self._completion = completion
        self._lanes = len(sheet.names)
        self._intervals = self._lanes + len(events.names)
        self._wanted = Wanted(self._intervals)
        self._writer = BarWriter(sheet, self._intervals)

    @property
    def epoch(self) -> int:
        """Names this life of the state; goes out with each bar."""
        return self._writer.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._writer.epoch = epoch

    def opened(self, symbol: str, row: int) -> None:
        """Know what somebody wants of a new symbol."""
        for number in self.audience.opened(symbol, row):
            self.want(row * self._intervals + number, True)

    # Who wants what.

    def want(self, series: int, on: bool) -> None:
        """Say whether anyone wants a series by its symbol's name."""
        row, number = divmod(series, self._intervals)
        self._wanted.want(series, on)
        if number < self._lanes:
            self._sheet.tables.ints[row, LANES + LANE * number + layout.WANTED] = on

    def want_all(self, number: int, on: bool) -> None:
        """Say whether anyone wants the bars of an interval of every symbol."""
        self._wanted.want_all(number, on)
        if number < self._lanes:
            self._sheet.tables.desk[layout.WANT_ALL + number] = on

    def present(self, series: int) -> tuple[list[Published], bool]:
        """Return the bars that wait out the grace; publish the open one, say if there is one."""
        row, number = divmod(series, self._intervals)
        early: list[Published] = []
        if number < self._lanes:
            places = self._sheet.early(row, number)
            self._sheet.fill_in(places)
            early = self._writer.write_places(places)
        return early, self.renew(series)

    def renew(self, series: int) -> bool:
        """Publish the open bar of a series once more; return whether there is one."""
        row, number = divmod(series, self._intervals)
        if number < self._lanes:
            return self._sheet.renew(row, number)
        return self._events.of(row)[number - self._lanes].renew()

    def partials(self, series: Sequence[int]) -> list[bytes]:
        """Return the newest state of each open bar, as one of the ``bars`` of an ``UpdateBatch``.

        Empty where none is open, or it was never published.
        """
        asked = np.array(series, np.int64)
        rows, numbers = np.divmod(asked, self._intervals)
        if self._events and (numbers >= self._lanes).any():
            by_clock = numbers < self._lanes
            found = iter(self._writer.write_open(rows[by_clock], numbers[by_clock]))
            return [
                next(found) if is_lane else self._write_event_bar(row, number - self._lanes)
                for row, number, is_lane in zip(
                    rows.tolist(), numbers.tolist(), by_clock.tolist(), strict=True
                )
            ]
        return self._writer.write_open(rows, numbers)

    def _write_event_bar(self, row: int, lane: int) -> bytes:
        bar = self._events.of(row)[lane].open_state()
        return b"" if bar is None or not bar.sequence else self._writer.write(bar)

    # Who is told of what; closed bars are returned for the store.

    def tell_open(self, changed: NDArray[np.int32], moved: NDArray[np.int32]) -> None:
        """Publish the open bars of rows with trades in this batch."""
        if not self._wanted:
            return
        hot_ints, desk = self._sheet.tables.hot_ints, self._sheet.tables.desk
        # Others than those that changed may have closed a bar and begun another.
        only_moved = moved[hot_ints[moved, layout.BATCH] != desk[layout.BATCH_NUMBER]]
        rows = np.concatenate((changed, only_moved))
        lanes, step = self._lanes, self._intervals
        out = np.zeros(len(rows) * lanes, np.int64)
        count = kernel.publish_open(self._sheet.tables, rows, len(rows), out)
        series = out[:count]
        if step != lanes and lanes:
            series = series // lanes * step + series % lanes
        found = series.tolist()
        for row in self._events.traded:
            for number, lane in enumerate(self._events.of(row), lanes):
                if row * step + number in self._wanted and lane.renew():
                    found.append(row * step + number)
        if found:
            self.audience.partials_changed(found)

    def tell_filled(self, filled: Sequence[Filled]) -> list[Bar]:
        """Publish bars that are full."""
        for row, lane, bar in filled:
            series = row * self._intervals + self._lanes + lane
            if series in self._wanted:
                piece = self._writer.write(bar)
                state = Published(series, bar.start, bar.number, bar.revision, piece)
                self.audience.bars_published([state])
        return [each.bar for each in filled]

    def tell_notes(self) -> list[Bar]:
        """Publish what the loops noted of bars."""
        tables = self._sheet.tables
        desk = tables.desk
        count = int(desk[layout.N_EVENTS])
        closed: list[Bar] = []
        if count:
            events = tables.events[:count].copy()
            # Of a bar that was told twice the last time counts, unless it was closed: see _touch.
            is_last = tables.bars_ints[events, layout.EVENT] == np.arange(1, count + 1)
            places = events[is_last]
            self._sheet.fill_in(places)
            if self._wanted:
                self._tell_audience(places)
            if not isinstance(self.sink, NoStore):
                states = tables.bars_ints[places, layout.STATE]
                closed = self._sheet.bars(places[states >= BarState.FINAL])
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
        tables = self._sheet.tables
        rows = tables.bars_ints[places, layout.BAR_ROW]
        lanes = tables.bars_ints[places, layout.BAR_LANE]
        of_all = tables.desk[layout.WANT_ALL + lanes] != 0
        by_name = tables.ints[rows, LANES + LANE * lanes + layout.WANTED] != 0
        wanted = places[of_all | by_name]
        if len(wanted):
            self.audience.bars_published(self._writer.write_places(wanted))

    def flush(self, closed: Sequence[Bar]) -> None:
        """Give closed bars to the store, and say which ends are complete."""
        clock = int(self._sheet.tables.desk[layout.CLOCK])
        for index, name in enumerate(self._sheet.names):
            while (end := self._completion.next_complete(index, clock)) is not None:
                self.audience.interval_completed(name, end)
        if closed:
            self.sink.put(closed)

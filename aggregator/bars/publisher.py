"""Publish what became of bars: to who wants them, and to the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aggregator.bars import kernel, layout
from aggregator.bars.audience import BarAudience, BarSink, NoAudience, NoStore, Published
from aggregator.bars.bar import Bar
from aggregator.bars.completion import Completion
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

    def __init__(self, sheet: Sheet, events: EventLanes, completion: Completion) -> None:
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

    def present(self, series: Sequence[int]) -> tuple[list[Published], list[int]]:
        """Return the bars that wait out the grace; publish the open ones, return their series."""
        asked = np.array(series, np.int64)
        rows, numbers = np.divmod(asked, self._intervals)
        is_lane = numbers < self._lanes
        found = [each for each in asked[~is_lane].tolist() if self.renew(each)]
        asked, rows, numbers = asked[is_lane], rows[is_lane], numbers[is_lane]
        tables, at = self._sheet.tables, LANES + LANE * numbers
        early = self._sheet.early(rows, numbers)
        # In the order in which they were published, which late trades may have made another one.
        early = early[np.argsort(tables.bars_ints[early, layout.BAR_SEQUENCE], kind="stable")]
        self._sheet.fill_in(early)
        is_open = tables.ints[rows, at + layout.START] < tables.ints[rows, at + layout.END]
        rows, at = rows[is_open], at[is_open]
        sequences = tables.ints[rows, at + layout.LANE_SEQUENCE] + 1
        tables.ints[rows, at + layout.LANE_SEQUENCE] = sequences
        tables.ints[rows, at + layout.OPEN_SEQUENCE] = sequences
        return self._writer.write_places(early), [*asked[is_open].tolist(), *found]

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
        if self._events:
            by_clock = asked % self._intervals < self._lanes
            if not by_clock.all():
                found = iter(self._writer.write_open(asked[by_clock]))
                return [
                    next(found) if is_lane else self._write_event_bar(each)
                    for each, is_lane in zip(series, by_clock.tolist(), strict=True)
                ]
        return self._writer.write_open(asked)

    def _write_event_bar(self, series: int) -> bytes:
        row, number = divmod(series, self._intervals)
        bar = self._events.of(row)[number - self._lanes].open_state()
        return b"" if bar is None or not bar.sequence else self._writer.write(bar)

    # Who is told of what; closed bars are returned for the store.

    def tell_open(self, changed: NDArray[np.int32], moved: NDArray[np.int32]) -> None:
        """Publish the open bars of rows with trades in this batch."""
        if not self._wanted:
            return
        tables, lanes, step = self._sheet.tables, self._lanes, self._intervals
        out = np.empty((len(changed) + len(moved)) * lanes, np.int64)
        count = kernel.publish_open(
            tables.hot_ints, tables.ints, tables.desk, changed, moved, step, out
        )
        found = out[:count].tolist()
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
        count, _, _, ends = tables.desk[layout.N_EVENTS : layout.N_ENDS + 1].tolist()
        found: list[Bar] = []
        wanted, closed = np.empty((2, count), np.int32)
        told, n_wanted, n_closed = kernel.take_events(tables, wanted, closed)
        if told:
            self._sheet.fill_in(tables.events[:told])
            if n_wanted:
                self.audience.bars_published(self._writer.write_places(wanted[:n_wanted]))
            if n_closed and not isinstance(self.sink, NoStore):
                found = self._sheet.bars(closed[:n_closed])
        if ends:
            for lane, end, began, ended in tables.ends[:ends].tolist():
                self._completion.opened(lane, end, began)
                self._completion.closed(lane, end, ended)
            tables.desk[layout.N_ENDS] = 0
        return found

    def flush(self, closed: Sequence[Bar]) -> None:
        """Give closed bars to the store, and say which ends are complete."""
        clock = int(self._sheet.tables.desk[layout.CLOCK])
        for index, name in enumerate(self._sheet.names):
            while (end := self._completion.next_complete(index, clock)) is not None:
                self.audience.interval_completed(name, end)
        if closed:
            self.sink.put(closed)

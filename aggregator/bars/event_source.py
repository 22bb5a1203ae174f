"""The bars that end after a number of trades, a volume or an amount of money."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import Bar
from aggregator.bars.bar_table import BarTable
from aggregator.bars.event_series import EventBarsFactory, EventSeries
from aggregator.bars.listener import BarOutput
from aggregator.bars.published import Published, PublishedBars
from aggregator.bars.saved_series import dump_series, load_series
from aggregator.bars.source import Accepted
from aggregator.bars.timers import Timers
from aggregator.bars.wanted import Wanted
from aggregator.wire.ticks import DECIMALS, EXCLUDES, EXCLUDES_SHIFT
from marketdata.intervals import Interval
from marketdata.wire.market_data_pb2 import UpdateBatch


class EventBarSource:
    """A series for each interval of each symbol; see :class:`BarSource`.

    They are made of single trades, each of which waits for its place among the others.

    Args:
        table: knows the symbols and their time.
        intervals: the intervals.
        factory: makes the bars of a series.
        first: the number of the first interval; they are the last ones of a symbol's.
        output: where the states go.
        wake: hears of a time for :meth:`close_due` before all others.
    """

    def __init__(
        self,
        table: BarTable,
        intervals: Sequence[Interval],
        factory: EventBarsFactory,
        *,
        first: int,
        output: BarOutput,
        wake: Callable[[int], None],
    ) -> None:
        self.names = [interval.name for interval in intervals]
        self._table = table
        self._intervals = intervals
        self._factory = factory
        self._first = first
        self._step = first + len(intervals)
        self._output = output
        self._wanted = Wanted()
        # By row.
        self._series: list[list[EventSeries]] = []
        self._timers = Timers(wake)
        # When the clock looks after a row, if it does.
        self._timer_at: dict[int, int] = {}
        self._restored: dict[tuple[int, int], list[Bar]] = {}

    # Trades and time.

    def open(self, symbol: str, row: int) -> None:
        """Have series for the symbol of the next row."""
        self._series.append(
            [EventSeries(each.name, self._factory(symbol, each)) for each in self._intervals]
        )

    def end_batch(self, accepted: Accepted) -> list[Bar]:
        """Take the trades of a batch in; return the bars that are full."""
        traded = self._take(accepted)
        closed: list[Bar] = []
        for row in traded:
            closed += self._release(row, self._table.latest(row))
            self._set_timer(row)
        renewed = [
            row * self._step + self._first + index
            for row in traded
            for index, each in enumerate(self._series[row])
            if (row, index) in self._wanted and each.renew()
        ]
        if renewed:
            self._output.listener.partials_changed(np.array(renewed, np.int64))
        return closed

    # Returns the rows, each once.
    def _take(self, accepted: Accepted) -> Iterable[int]:
        ticks, start, stop = accepted.ticks, accepted.start, accepted.stop
        columns = ticks.rows, ticks.prices, ticks.volumes, ticks.times, ticks.marks
        parts = [column[start:stop].tolist() for column in columns]
        traded: dict[int, None] = {}
        for index, (row, price, volume, ts, mark) in enumerate(zip(*parts, strict=True), start):
            if index in accepted.rejected:
                continue
            traded[row] = None
            sequence = accepted.first_sequence + index
            decimals, excludes = mark & DECIMALS, mark >> EXCLUDES_SHIFT & EXCLUDES
            for series in self._series[row]:
                series.bars.add(
                    *(price, volume, ts, sequence), decimals=decimals, excludes=excludes
                )
        for each in accepted.amends:
            for series in self._series[each.row]:
                series.bars.amend(each)
        return traded

    def next_timer(self) -> int | None:
        """Return when the wall clock lets trades count next."""
        return self._timers.next()

    def close_due(self, now_ns: int, max_symbols: int) -> tuple[Sequence[Bar], bool]:
        """Let trades count by the wall clock; return the full bars, and whether that was all."""
        closed: list[Bar] = []
        while max_symbols and self._timers.has_due(now_ns):
            time, rows = self._timers.take(max_symbols)
            max_symbols -= len(rows)
            for row in rows.tolist():
                if self._timer_at.get(row) == time:
                    del self._timer_at[row]
                    closed += self._release(row, now_ns - self._table.lag(row))
                    self._set_timer(row)
        return closed, not self._timers.has_due(now_ns)

    def _set_timer(self, row: int) -> None:
        due = [time for each in self._series[row] if (time := each.bars.next_release())]
        # Trades of any age count when the symbol has been quiet for the grace.
        if due and self._table.tables.state["now"][0]:
            time = min(due) + self._table.lag(row)
            if time < self._timer_at.get(row, time + 1):
                self._timer_at[row] = time
                self._timers.add(np.array([row]), np.array([time]))

    def _release(self, row: int, clock_ns: int) -> list[Bar]:
        return self._publish(row, [each.bars.advance(clock_ns) for each in self._series[row]])

    # Publishes the bars of a row that are full, by series; returns all.
    def _publish(self, row: int, filled: Sequence[list[Bar]]) -> list[Bar]:
        published = []
        for index, (series, bars) in enumerate(zip(self._series[row], filled, strict=True)):
            series.keep(bars)
            if (row, index) in self._wanted:
                number = row * self._step + self._first + index
                published += [
                    Published(number, bar.start, bar.number, bar.revision, self._write(bar))
                    for bar in bars
                ]
        if published:
            self._output.listener.bars_published(PublishedBars.of(published))
        return [bar for bars in filled for bar in bars]

    def _write(self, bar: Bar) -> bytes:
        return UpdateBatch(bars=[bar.to_message(self._output.epoch)]).SerializeToString()

    # Bars in memory.

    def sequence(self, row: int, index: int) -> int:
        """Return how many states were published."""
        return self._series[row][index].sequence

    def open_bar(self, row: int, index: int) -> Bar | None:
        """Return a copy of the bar that is not full, or None."""
        return self._series[row][index].open_state()

    def recent(self, row: int, index: int, from_ns: int, to_ns: int) -> list[Bar]:
        """Return copies of the full bars with from_ns <= start < to_ns."""
        recent = self._series[row][index].recent
        return [bar.copy() for bar in recent if from_ns <= bar.start < to_ns]

    def flush(self) -> list[Bar]:
        """Let all trades count; return the bars that are full."""
        closed: list[Bar] = []
        for row, series in enumerate(self._series):
            closed += self._publish(row, [each.bars.flush() for each in series])
        return closed

    def open_bars(self) -> Iterator[Bar]:
        """Give copies of all bars that are not full."""
        states = (each.open_state() for series in self._series for each in series)
        return filter(None, states)

    def count_open(self) -> int:
        """Return how many bars are not full."""
        return sum(1 for _ in self.open_bars())

    def restore(self, row: int, index: int, bar: Bar) -> None:
        """Take over a bar of an earlier epoch, before the first trade."""
        old = bar.copy()
        old.sequence = 0
        self._restored.setdefault((row, index), []).append(old)

    def finish_restore(self) -> None:
        """Go on after the bars that were taken over."""
        for (row, index), bars in self._restored.items():
            series = self._series[row][index]
            series.bars.restore(bars)
            series.recent.extend(bar for bar in bars if bar.state.is_closed)
        self._restored.clear()

    def dump_state(self) -> dict[str, Any]:
        """Return all series, and when the clock looks after them."""
        timers = np.array(sorted(self._timer_at.items()), np.int64)
        return {
            "series": dump_series(each for series in self._series for each in series),
            "timers": self._timers.dump_state(),
            "timer_at": timers.reshape(-1, 2),
            "wanted": self._wanted.dump_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was, after the table."""
        symbols = self._table.symbols.symbols
        for row, symbol in enumerate(symbols):
            self.open(symbol, row)
        named = (
            (symbol, each)
            for symbol, series in zip(symbols, self._series, strict=True)
            for each in series
        )
        load_series(named, state["series"])
        self._timers.load_state(state["timers"])
        self._timer_at = dict(state["timer_at"].tolist())
        self._wanted.load_state(state["wanted"])

    # Listeners.

    def want(self, row: int, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of a symbol by its name."""
        self._wanted.want(row, index, on)

    def want_all(self, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of every symbol."""
        self._wanted.want_all(index, on)

    def present(self, series: Iterable[int]) -> tuple[list[Published], list[int]]:
        """Publish the bars that are not full, return their series; no bar waits out the grace."""
        return [], [each for each in series if self._of(each).renew()]

    def partials(self, series: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Return the newest state of each bar that is not full.

        Empty where there is none, or it was never published.
        """
        bars = (self._of(each).open_state() for each in series)
        return [b"" if bar is None or not bar.sequence else self._write(bar) for bar in bars]

    def _of(self, series: int) -> EventSeries:
        row, number = divmod(series, self._step)
        return self._series[row][number - self._first]

"""The bars that end with time: close and publish what the compiled loops noted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.bars.bar import Bar, BarState
from aggregator.bars.bar_table import BarTable
from aggregator.bars.closed_bars import ClosedBars, join
from aggregator.bars.completion import Completion
from aggregator.bars.kernel import close, events, query, restore
from aggregator.bars.listener import BarOutput, NoStore
from aggregator.bars.published import Published
from aggregator.bars.source import Accepted
from aggregator.bars.timers import Timers
from aggregator.bars.wanted import Wanted
from aggregator.bars.writer import BarWriter

# Symbols whose open bars are made together: some 25 ms.
ROWS_AT_ONCE = 1_000
# Of so many symbols whose timer was set anew meanwhile each costs what one costs that closes bars.
OTHERS_PER_SYMBOL = 8


class ClockBars:
    """Publish the bars of a table to a listener; see :class:`BarSource`.

    Args:
        table: the bars.
        step: how many series a symbol has, with those of other sources.
        output: where the states go.
        revise_ns: how long late trades may revise bars.
        wake: hears of a time for :meth:`close_due` before all others.
    """

    def __init__(
        self,
        table: BarTable,
        step: int,
        output: BarOutput,
        revise_ns: int,
        wake: Callable[[int], None],
    ) -> None:
        self.names = table.names
        self._table = table
        self._step = step
        self._output = output
        self._completion = Completion(len(self.names), revise_ns)
        self._timers = Timers(wake)
        self._wanted = Wanted()
        self._writer = BarWriter(table, step)
        self._restored: dict[int, None] = {}

    # Trades and time.

    def open(self, symbol: str, row: int) -> None:
        """Do nothing: the table knows the symbol."""

    def end_batch(self, _accepted: Accepted) -> Sequence[Bar]:
        """Publish what became of a batch; return the bars that closed."""
        tables = self._table.tables
        closed: Sequence[Bar] = ()
        # Without such trades nothing began or ended: they only added to what is open.
        n_moved = int(tables.state["moved"][0])
        if n_moved:
            closed = self._publish_noted() or ()
        if self._wanted:
            self._publish_open(n_moved)
        if n_moved:
            self._set_timers(tables.noted["moved"][:n_moved].copy())
            self._complete()
        return closed

    def next_timer(self) -> int | None:
        """Return when the wall clock closes something next."""
        return self._timers.next()

    def close_due(self, now_ns: int, max_symbols: int) -> tuple[Sequence[Bar], bool]:
        """Close what ends by the wall clock; return the bars, and whether that was all."""
        parts: list[ClosedBars] = []
        while max_symbols > 0 and self._timers.has_due(now_ns):
            time, taken = self._timers.take(max_symbols)
            rows = taken[: close.keep_due(self._table.tables.symbols, taken, time)]
            n_others = len(taken) - len(rows)
            max_symbols -= len(rows) + -(-n_others // OTHERS_PER_SYMBOL)
            if not len(rows):
                continue
            index = 0
            while True:
                index = close.close_rows(self._table.tables, rows, index, now_ns, time)
                if index == len(rows):
                    break
                self._table.make_room(int(rows[index]))
            parts += filter(None, [self._publish_noted()])
            self._set_timers(rows)
        self._complete()
        return join(parts), not self._timers.has_due(now_ns)

    def _publish_noted(self) -> ClosedBars | None:
        tables = self._table.tables
        found: ClosedBars | None = None
        wanted, closed = np.empty((2, len(tables.events)), np.int64)
        count, n_wanted, n_closed, n_ends = events.take_events(tables, wanted, closed)
        if count:
            self._table.fill_in(tables.events[:count])
        if n_wanted:
            self._publish(wanted[:n_wanted])
        if n_closed and not isinstance(self._output.sink, NoStore):
            found = self._table.bars(closed[:n_closed])
        for index, end, began, ended in tables.ends[:n_ends].tolist():
            self._completion.opened(index, end, began)
            self._completion.closed(index, end, ended)
        return found

    def _publish(self, places: NDArray[np.int64]) -> None:
        written = self._writer.write_places(places, self._output.epoch)
        self._output.listener.bars_published(written)

    def _publish_open(self, n_moved: int) -> None:
        state, bases, _, slots, *_ = tables = self._table.tables
        rows = int(state["changed"][0]) + n_moved
        out = np.empty(rows * len(self.names), np.int64)
        count = query.publish_open(
            state, bases, slots, tables.all_wanted, tables.noted, self._step, out
        )
        if count:
            self._output.listener.partials_changed(out[:count].copy())

    def _set_timers(self, rows: NDArray[np.int64]) -> None:
        tables, times = self._table.tables, np.empty(len(rows), np.int64)
        count = query.set_timers(tables.state, tables.bases, tables.symbols, rows, times)
        self._timers.add(rows[:count], times[:count])

    def _complete(self) -> None:
        clock = int(self._table.tables.state["clock"][0])
        for index, name in enumerate(self.names):
            while (end := self._completion.next_complete(index, clock)) is not None:
                self._output.listener.interval_completed(name, end)

    # Bars in memory.

    def sequence(self, row: int, index: int) -> int:
        """Return how many states were published."""
        return int(self._table.tables.slots[row, index]["sequence"])

    def open_bar(self, row: int, index: int) -> Bar | None:
        """Return the present state of the bar that is open, or None."""
        return self._table.open_bar(row, index)

    def recent(self, row: int, index: int, from_ns: int, to_ns: int) -> list[Bar]:
        """Return copies of the others with from_ns <= start < to_ns."""
        places = self._table.held(row, index, from_ns, to_ns)
        states = self._table.tables.bars["state"][places]
        self._table.fill_in(places[states == BarState.EARLY])
        return list(self._table.bars(places))

    def flush(self) -> list[Bar]:
        """Return nothing: no trade waits."""
        return []

    def open_bars(self) -> Iterator[Bar]:
        """Give copies of all bars that are not closed, those of the longest intervals first.

        Some are made at a time, because all bars of 100,000 symbols take many seconds.
        """
        for index in reversed(range(len(self.names))):
            for first in range(0, len(self._table.symbols), ROWS_AT_ONCE):
                rows = np.arange(first, min(first + ROWS_AT_ONCE, len(self._table.symbols)))
                places = self._table.early(rows, np.full_like(rows, index))
                self._table.fill_in(places)
                yield from self._table.bars(places)
                open_bars = (self._table.open_bar(row, index) for row in rows.tolist())
                yield from filter(None, open_bars)

    def count_open(self) -> int:
        """Return how many bars are not closed."""
        rows = np.arange(len(self._table.symbols))
        return sum(
            len(self._table.early(rows, np.full_like(rows, index)))
            + self._table.count_open(rows, index)
            for index in range(len(self.names))
        )

    def restore(self, row: int, index: int, bar: Bar) -> None:
        """Take over a bar of an earlier epoch, before the first trade."""
        self._restored[row] = None
        self._table.restore(row, index, bar)

    def restore_session(self, row: int, bar: Bar) -> None:
        """Take over the session of an earlier epoch, after all its bars."""
        self._restored[row] = None
        self._table.restore_session(row, bar)

    def finish_restore(self) -> None:
        """Go on after the bars that were taken over."""
        for row in self._restored:
            restore.finish_row(self._table.tables, row)
        self._publish_noted()
        self._set_timers(np.array(list(self._restored), np.int64))
        self._restored.clear()

    def dump_state(self) -> dict[str, Any]:
        """Return what the table does not have."""
        return {
            "completion": self._completion.dump_state(),
            "timers": self._timers.dump_state(),
            "wanted": self._wanted.dump_state(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another one was, after the table."""
        self._completion.load_state(state["completion"])
        self._timers.load_state(state["timers"])
        self._wanted.load_state(state["wanted"])

    # Listeners.

    def want(self, row: int, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of a symbol by its name."""
        self._wanted.want(row, index, on)
        self._table.tables.slots[row, index]["wanted"] = on

    def want_all(self, index: int, on: bool) -> None:
        """Know whether anyone wants the bars of every symbol."""
        self._wanted.want_all(index, on)
        self._table.tables.all_wanted[index] = on

    def present(self, series: Iterable[int]) -> tuple[list[Published], list[int]]:
        """Return the bars that wait out the grace; publish the open ones, return their series."""
        asked = np.fromiter(series, np.int64)
        rows, indexes = np.divmod(asked, self._step)
        tables = self._table.tables
        early = self._table.early(rows, indexes)
        # In the order in which they were published, which late trades may have changed.
        early = early[np.argsort(tables.bars["sequence"][early], kind="stable")]
        self._table.fill_in(early)
        slots = tables.slots
        is_open = slots["start"][rows, indexes] < slots["end"][rows, indexes]
        rows, indexes = rows[is_open], indexes[is_open]
        sequences = slots["sequence"][rows, indexes] + 1
        slots["sequence"][rows, indexes] = sequences
        slots["open_sequence"][rows, indexes] = sequences
        return list(self._writer.write_places(early, self._output.epoch)), asked[is_open].tolist()

    def partials(self, series: Sequence[int] | NDArray[np.int64]) -> list[bytes]:
        """Return the newest state of each open bar, as one of the ``bars`` of an ``UpdateBatch``.

        Empty where no bar is open, or it was never published.
        """
        return self._writer.write_open(np.array(series, np.int64), self._output.epoch)

"""Make the bars of every symbol from its trades and the wall clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from aggregator.bars.bar import SESSION, Bar, CoverageRule, always_covered
from aggregator.bars.bar_table import BarTable
from aggregator.bars.clock_bars import ClockBars
from aggregator.bars.event_series import EventBarsFactory
from aggregator.bars.event_source import EventBarSource
from aggregator.bars.kernel.apply import begin_batch
from aggregator.bars.listener import BarOutput
from aggregator.bars.plan import BarPlan
from aggregator.bars.refusals import Refusals
from aggregator.bars.series import BarSeries
from aggregator.bars.source import Accepted, BarSource
from aggregator.sessions.sessions import RuleFor
from marketdata.timestamps import NS_PER_S


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


class LastBars:
    """The present sessions and the bars that are not closed, each made when it is asked for."""

    def __init__(self, table: BarTable, sources: Sequence[BarSource]) -> None:
        self._table = table
        self._sources = sources

    def __len__(self) -> int:
        return self._table.count_sessions() + sum(each.count_open() for each in self._sources)

    def __iter__(self) -> Iterator[Bar]:
        rows = range(len(self._table.symbols))
        yield from filter(None, map(self._table.session_bar, rows))
        for source in self._sources:
            yield from source.open_bars()


class BarEngine:
    """The trades and bars of all symbols, each in a row of :attr:`table`.

    The compiled loops apply trades to the table between :meth:`begin_batch` and :meth:`end_batch`;
    then the changes go to the listener and the sink of :attr:`output`. For symbols whose trades are
    of the present the wall clock closes bars too: call :meth:`close_due` when it reaches
    :meth:`next_timer`; :attr:`wake_at` hears of an earlier time. Readers and listeners ask
    :attr:`series`.
    """

    def __init__(
        self,
        plan: BarPlan,
        rule_for: RuleFor,
        coverage: CoverageRule = always_covered,
        event_bars: EventBarsFactory | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self.wake_at: Callable[[int], None] = lambda _ns: None
        self.output = BarOutput()
        self.table = BarTable(plan, rule_for, coverage, refusals or Refusals())
        by_trades = plan.by_trades if event_bars is not None else []
        first = len(self.table.names)
        step = first + len(by_trades)
        self._clock_bars = ClockBars(self.table, step, self.output, plan.revise_ns, self._wake)
        self._sources: list[BarSource] = [self._clock_bars]
        if event_bars is not None and by_trades:
            self._sources.append(
                EventBarSource(
                    self.table,
                    by_trades,
                    event_bars,
                    first=first,
                    output=self.output,
                    wake=self._wake,
                )
            )
        self.series = BarSeries(plan, self.table.symbols, self._sources)

    # What applies trades.

    def open(self, symbol: str) -> int:
        """Return the row of a symbol, which need not be known yet."""
        row = self._row(symbol)
        self.table.tables.symbols[row]["unopened"] = False
        return row

    def _row(self, symbol: str) -> int:
        row = self.table.symbols.rows.get(symbol)
        if row is not None:
            return row
        row = self.table.add(symbol)
        for source in self._sources:
            source.open(symbol, row)
        for number in self.output.listener.opened(symbol, row):
            self.series.want(row * len(self.series.intervals) + number, True)
        return row

    def begin_batch(self, now_ns: int, latest_ns: int, *, any_price: bool = False) -> None:
        """Begin a batch of trades.

        Args:
            now_ns: when they arrive; 0: none of them is of the present.
            latest_ns: the latest exchange time that is not in the future.
            any_price: whether prices of 0 and below are valid.
        """
        begin_batch(self.table.tables.state, now_ns, latest_ns, any_price)

    def refuse(self, ticks: Iterable[tuple[str, int]]) -> None:
        """Note within a batch that ticks were refused; their symbols need not be known.

        Each is a symbol and an exchange time.
        """
        # Bars begin and end with a second.
        seconds: dict[tuple[str, int], int] = {}
        for symbol, ts in ticks:
            self.table.refusals.add(symbol, ts)
            seconds[symbol, ts // NS_PER_S] = ts
        for (symbol, _), ts in seconds.items():
            self.table.refused(symbol, ts)

    def end_batch(self, accepted: Accepted) -> None:
        """Publish what became of the trades, and give closed bars to the sink."""
        self._keep([source.end_batch(accepted) for source in self._sources])

    def time(self, symbol: str, now_ns: int) -> int | None:
        """Return the time of a symbol, which closes its bars; None: it had no trade yet."""
        row = self.table.symbols.rows.get(symbol)
        if row is None or self.table.tables.symbols[row]["unopened"]:
            return None
        return self.table.time(row, now_ns)

    def _keep(self, parts: Iterable[Sequence[Bar]]) -> None:
        for closed in parts:
            if closed:
                self.output.sink.put(closed)

    # The wall clock.

    def next_timer(self) -> int | None:
        """Return when the wall clock closes something next."""
        times = [time for source in self._sources if (time := source.next_timer()) is not None]
        return min(times, default=None)

    def close_due(self, now_ns: int, max_symbols: int) -> bool:
        """Close what ends by the wall clock, of so many symbols; return whether that was all."""
        self.table.tables.state["now"] = now_ns
        closed: list[Sequence[Bar]] = []
        is_all = True
        for source in self._sources:
            bars, is_done = source.close_due(now_ns, max_symbols)
            closed.append(bars)
            is_all = is_all and is_done
        self._keep(closed)
        return is_all

    def _wake(self, time: int) -> None:
        # The first time of one source may come after that of another one.
        if time == self.next_timer():
            self.wake_at(time)

    # What operators ask.

    @property
    def counts(self) -> TradeCounts:
        """Trades that did not count everywhere, so far."""
        state = self.table.tables.state[0]
        names = TradeCounts.__slots__
        return TradeCounts(*(int(state[name]) for name in names))

    @property
    def evicted(self) -> int:
        """How many closed bars were given up to make room while they could be revised."""
        return int(self.table.tables.state["evicted"][0])

    # Earlier and later epochs.

    def open_bars(self) -> Iterator[Bar]:
        """Give copies of all bars that are not closed, for the next epoch to go on with.

        Trades that wait for their place among others count now, so this is for the end.
        """
        self._keep([source.flush() for source in self._sources])
        return chain.from_iterable(source.open_bars() for source in self._sources)

    def last_bars(self) -> LastBars:
        """Return the present sessions, with the interval :data:`SESSION`, and the open bars.

        Trades that wait for their place among others count now, as in :meth:`open_bars`.
        """
        self._keep([source.flush() for source in self._sources])
        return LastBars(self.table, self._sources)

    def present_bars(self) -> LastBars:
        """Return what :meth:`last_bars` does, and let trades wait that wait."""
        return LastBars(self.table, self._sources)

    def open_ends(self) -> list[int]:
        """Return when the bars end that the clock ends and that are not closed."""
        return self.table.open_ends()

    def restore(self, bars: Iterable[Bar], now_ns: int = 0, *, is_whole: bool = True) -> None:
        """Take over bars of an earlier epoch: open ones, sessions, and those that can be revised.

        Call it once, before the first trade. The first trade of each symbol asks for :meth:`open`,
        as if the symbol were new. Bars of intervals that are not made any more are left out. With
        ``now_ns`` the wall clock closes those of symbols whose trades are of the present.

        If the bars are not a whole epoch's, because that ended in a crash, trades may come again
        that a closed bar has: if it is revised, its coverage is partial.
        """
        self.table.is_whole = is_whole
        self.table.tables.state["now"] = now_ns
        sessions: list[Bar] = []
        for bar in sorted(bars, key=lambda bar: (bar.end, bar.start)):
            place = self.series.place(bar.interval)
            if bar.interval == SESSION:
                sessions.append(bar)
            elif place is not None:
                source, index = place
                source.restore(self._restored_row(bar), index, bar)
        # A session that is older than a bar of its symbol is over.
        for bar in sessions:
            self._clock_bars.restore_session(self._restored_row(bar), bar)
        for source in self._sources:
            source.finish_restore()

    def dump_state(self) -> dict[str, Any]:
        """Return all of it, between two batches."""
        return {
            "epoch": self.output.epoch,
            "table": self.table.dump_state(),
            "sources": [source.dump_state() for source in self._sources],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where another engine was; this one has no symbols, and publishes nothing."""
        self.output.epoch = state["epoch"]
        self.table.load_state(state["table"])
        for source, saved in zip(self._sources, state["sources"], strict=True):
            source.load_state(saved)

    def _restored_row(self, bar: Bar) -> int:
        row = self._row(bar.symbol)
        self.table.tables.symbols[row]["unopened"] = True
        return row

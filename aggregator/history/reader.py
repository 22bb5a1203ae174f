"""Answer requests for bars from memory, from the bars on their way to the store, and from it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, Protocol

from aggregator.bars.bar import Bar, Coverage
from aggregator.history.fill import Filler
from aggregator.history.long_bars import Feed, LongBars, LongRules, read_periods
from aggregator.history.query import (
    DAY,
    END_OF_TIME,
    BarQuery,
    Place,
    find_interval,
    read_request,
    write_cursor,
)
from aggregator.sessions.periods import Periods
from aggregator.sessions.sessions import SessionRule
from aggregator.store.queries import Range
from aggregator.store.rows import place_of, rank_of, to_bar, to_message
from marketdata.intervals import Interval
from marketdata.wire import market_data_pb2 as wire

# 2 ms; then ticks may come in.
_BARS_AT_ONCE = 1_000

# A stored bar: the values of its columns.
Row = Sequence[Any]


class BarMemory(Protocol):
    """The bars that are open, or that a late trade can still revise."""

    def sequence(self, symbol: str, interval: str) -> int:
        """Return how many states of the bars of ``symbol`` and ``interval`` were published."""

    def open_and_recent(self, symbol: str, interval: str, from_ns: int, to_ns: int) -> list[Bar]:
        """Return all bars in memory with from_ns <= start < to_ns, by start and number."""


class StoredBars(Protocol):
    """The bars in a database, and those on their way there."""

    def reading(self, symbol: str, interval: str) -> AbstractContextManager[Mapping[Place, Bar]]:
        """Give the bars that wait, and those that come while the context lasts."""

    async def fetch(self, asked: Range) -> Sequence[Row]:
        """Return the stored bars of a range."""

    async def fetch_refused(
        self, symbol: str, interval: str, from_ns: int, to_ns: int
    ) -> Mapping[int, int]:
        """Return how many rows of imports were refused, by the start of the bar that they lack."""


class BarReader:
    """Read the bars of any time, each in its newest state.

    Args:
        memory: the bars of the present.
        store: all other bars; None: there is no store.
        intervals: the intervals that have bars, by name.
        hours: how time is divided for a symbol.
        coverage: how much of start <= time < end had a feed.
        refused: how many ticks of a symbol with start <= time < end were refused.
        epoch: returns the name of this run of the memory's sequences.
        long_rules: of the bars that are made of daily ones.
    """

    def __init__(
        self,
        memory: BarMemory,
        store: StoredBars | None,
        *,
        intervals: Mapping[str, Interval],
        hours: Callable[[str], SessionRule],
        coverage: Callable[[int, int], Coverage],
        refused: Callable[[str, int, int], int] = lambda _symbol, _start, _end: 0,
        epoch: Callable[[], int],
        long_rules: LongRules | None = None,
    ) -> None:
        self._memory = memory
        self._store = store
        self._intervals = intervals
        self._hours = hours
        self._coverage = coverage
        self._refused = refused
        self._epoch = epoch
        self._long_rules = long_rules or LongRules()

    async def read(self, request: wire.BarsRequest) -> wire.BarsResponse:
        """Return the bars that ``request`` asks for.

        Raises:
            InvalidSymbol: the symbol is invalid.
            InvalidInterval: there are no bars of that interval.
            InvalidBars: another field cannot be used.
            StoreUnavailable: the database does not answer.
        """
        query = read_request(request, self._intervals)
        before = None
        if query.fill and query.after is not None:
            # The last bar of the page before; the cursor may name a filler after it.
            last = replace(
                query, to_ns=query.after[0] + 1, limit=1, after=None, newest=True, fill=False
            )
            found, _ = await self._read(last)
            before = found[0] if found else None
        # One more shows whether there is another page.
        bars, sequence = await self._read(replace(query, limit=query.limit + 1))
        if query.fill:
            bars = await self._fill(query, bars, before)
        more = len(bars) > query.limit
        bars = bars[-query.limit :] if query.newest else bars[: query.limit]
        cursor = ""
        if more and not query.newest:
            cursor = write_cursor((bars[-1].start, bars[-1].number))
        return wire.BarsResponse(
            bars=bars, next_cursor=cursor, sequence=sequence, epoch=self._epoch()
        )

    # Returns the bars by start and number, and the sequence of the newest state published until
    # then.
    async def _read(self, query: BarQuery) -> tuple[list[wire.Bar], int]:
        interval = find_interval(query.interval, self._intervals)
        if interval.is_long:
            return await self._read_long(query, interval)
        bars, sequence = await self._select(query)
        return await self._to_messages(bars), sequence

    async def _read_long(self, query: BarQuery, interval: Interval) -> tuple[list[wire.Bar], int]:
        symbol = query.symbol
        periods = self._periods(symbol, interval)
        found, sequence = await read_periods(query, interval, periods, self._select_days)
        feed = None
        if self._store is not None and found:
            imported = await self._store.fetch_refused(symbol, DAY, found[0].start, found[-1].end)
            feed = Feed(self._coverage, partial(self._refused, symbol), imported)
        bars = await LongBars(interval, periods, self._long_rules, feed).make(found)
        bars = [bar for bar in bars if bar.state.is_closed or not query.closed_only]
        epoch = self._epoch()
        bars = bars[-query.limit :] if query.newest else bars[: query.limit]
        return [bar.to_message(epoch) for bar in bars], sequence

    def _periods(self, symbol: str, interval: Interval) -> Periods:
        return Periods(self._long_rules.plan, interval, self._hours(symbol))

    async def _select_days(self, query: BarQuery) -> tuple[list[Bar], int]:
        found, sequence = await self._select(query)
        days = [bar if isinstance(bar, Bar) else to_bar(bar) for bar in found]
        # A bar that was stored does not know of a tick that was refused afterwards.
        if days and self._refused(query.symbol, days[0].start, END_OF_TIME):
            for day in days:
                count = self._refused(query.symbol, day.start, day.end)
                day.refused = max(day.refused, count)
        return days, sequence

    async def _select(self, query: BarQuery) -> tuple[list[Bar | Row], int]:
        symbol, interval = query.symbol, query.interval
        if self._store is None:
            return self._merge(query, [], {}), self._memory.sequence(symbol, interval)
        # While the database answers, a bar may be closed, written and removed from memory: then
        # only the context still has it.
        with self._store.reading(symbol, interval) as waiting:
            rows = await self._store.fetch(query)
            # No await between these two: both describe the same moment.
            bars = self._merge(query, rows, waiting)
            sequence = self._memory.sequence(symbol, interval)
        return bars, sequence

    # The newest state of each bar: in memory, on its way to the store, or stored.
    def _merge(
        self, query: BarQuery, rows: Sequence[Row], waiting: Mapping[Place, Bar]
    ) -> list[Bar | Row]:
        live = dict(waiting)
        for bar in self._memory.open_and_recent(
            query.symbol, query.interval, query.from_ns, query.to_ns
        ):
            place = bar.start, bar.number
            other = live.get(place)
            if other is None or _rank(other) <= _rank(bar):
                live[place] = bar
        after = query.after or (-1, -1)
        stored: dict[Place, Row] = {place_of(row): row for row in rows}
        chosen: dict[Place, Bar | Row] = {**stored}
        for place, bar in live.items():
            row = stored.get(place)
            if row is not None and rank_of(row) > _rank(bar):
                continue
            within = query.from_ns <= bar.start < query.to_ns and place > after
            if within and (bar.state.is_closed or not query.closed_only):
                chosen[place] = bar
        places = sorted(chosen)
        places = places[-query.limit :] if query.newest else places[: query.limit]
        return [chosen[place] for place in places]

    async def _to_messages(self, bars: Sequence[Bar | Row]) -> list[wire.Bar]:
        epoch, found = self._epoch(), list[wire.Bar]()
        for first in range(0, len(bars), _BARS_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            found += (
                bar.to_message(epoch) if isinstance(bar, Bar) else to_message(bar)
                for bar in bars[first : first + _BARS_AT_ONCE]
            )
        self._count_refused(found)
        return found

    def _count_refused(self, bars: list[wire.Bar]) -> None:
        # A bar that was stored does not know of a tick that was refused afterwards.
        if bars and self._refused(bars[0].symbol, bars[0].start, END_OF_TIME):
            for bar in bars:
                by_trades = not self._intervals[bar.interval].by_clock
                count = self._refused(bar.symbol, bar.start, bar.end + by_trades)
                bar.refused = max(bar.refused, count)

    async def _fill(
        self, query: BarQuery, bars: list[wire.Bar], before: wire.Bar | None
    ) -> list[wire.Bar]:
        interval = find_interval(query.interval, self._intervals)
        imported: Mapping[int, int] = {}
        if self._store is not None and bars:
            first, last = (before or bars[0]).start, bars[-1].start
            name = DAY if interval.is_long else query.interval
            imported = await self._store.fetch_refused(query.symbol, name, first, last)

        def refused(start: int, end: int) -> int:
            count = imported.get(start, 0)
            if interval.is_long and imported:
                count = sum(n for day, n in imported.items() if start <= day < end)
            return self._refused(query.symbol, start, end) + count

        periods = self._periods(query.symbol, interval) if interval.is_long else None
        hours = self._hours(query.symbol)
        filler = Filler(interval, hours, self._coverage, refused, periods)
        after_ns = query.after[0] if query.after is not None else -1
        if query.newest:
            # From the end and only up to the limit: the gaps before may be of any length.
            return filler.fill_last(bars, query.limit)
        return list(islice(filler.fill(bars, before, after_ns), query.limit + 1))


def _rank(bar: Bar) -> tuple[int, int, int]:
    return bar.revision, bar.state, bar.candle.trades

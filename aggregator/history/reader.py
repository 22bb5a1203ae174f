"""Answer requests for bars from what is in memory, on its way to the store, and stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from aggregator.bars.bar import Bar, Coverage
from aggregator.history.asked import Asked, Place, read_request, write_cursor
from aggregator.history.fill import Filler, Hours
from aggregator.store.queries import Range
from aggregator.store.rows import to_message
from marketdata.intervals import Interval
from marketdata.wire import market_data_pb2 as wire

# 2 ms; then ticks may come in.
_BARS_AT_ONCE = 1_000


class BarMemory(Protocol):
    """The bars that live."""

    def sequence(self, symbol: str, interval: str) -> int:
        """Return how many states of the bars of ``symbol`` and ``interval`` were published."""

    def open_and_recent(self, symbol: str, interval: str, from_ns: int, to_ns: int) -> list[Bar]:
        """Return all bars in memory with from_ns <= start < to_ns, by start and number."""


class StoredBars(Protocol):
    """The bars in a database, and those on their way there."""

    def reading(self, symbol: str, interval: str) -> AbstractContextManager[Mapping[Place, Bar]]:
        """Give what waits, and what comes while the context lasts."""

    async def fetch(self, asked: Range) -> Sequence[Sequence[Any]]:
        """Return the stored bars of a range as rows."""


class BarReader:
    """Read the bars of any time, each in its newest state.

    Args:
        memory: the bars that live.
        store: the others; None: there are none.
        intervals: the intervals there are bars of, by name.
        hours: how time is divided for a symbol.
        coverage: for how much of start <= time < end there was a feed.
        epoch: the life of the memory's sequences.
    """

    def __init__(
        self,
        memory: BarMemory,
        store: StoredBars | None,
        *,
        intervals: Mapping[str, Interval],
        hours: Callable[[str], Hours],
        coverage: Callable[[int, int], Coverage],
        epoch: int,
    ) -> None:
        self._memory = memory
        self._store = store
        self._intervals = intervals
        self._hours = hours
        self._coverage = coverage
        self._epoch = epoch

    async def read(self, request: wire.BarsRequest) -> wire.BarsResponse:
        """Return the bars that ``request`` asks for.

        Raises:
            InvalidSymbol: the symbol is none.
            InvalidInterval: there are no bars of that interval.
            InvalidBars: another field cannot be used.
            StoreUnavailable: the database does not answer.
        """
        asked = read_request(request, self._intervals)
        before = None
        if asked.fill and asked.after is not None:
            # The last bar that went out, which may be one before the filler of the cursor.
            last = replace(
                asked, to_ns=asked.after[0] + 1, limit=1, after=None, newest=True, fill=False
            )
            found, _ = await self._read(last)
            before = found[0] if found else None
        # One more tells whether there are more.
        bars, sequence = await self._read(replace(asked, limit=asked.limit + 1))
        if asked.fill:
            bars = self._fill(asked, bars, before)
        more = len(bars) > asked.limit
        bars = bars[-asked.limit :] if asked.newest else bars[: asked.limit]
        cursor = ""
        if more and not asked.newest:
            cursor = write_cursor((bars[-1].start, bars[-1].number))
        return wire.BarsResponse(
            bars=bars, next_cursor=cursor, sequence=sequence, epoch=self._epoch
        )

    async def _read(self, asked: Asked) -> tuple[list[wire.Bar], int]:
        # The bars, by start and number, and the newest published state among those there can be.
        symbol, interval = asked.symbol, asked.interval.name
        if self._store is None:
            bars, sequence = self._join(asked, [], {}), self._memory.sequence(symbol, interval)
            return await self._to_messages(bars), sequence
        stored = Range(
            symbol,
            interval,
            asked.from_ns,
            asked.to_ns,
            asked.limit,
            asked.after,
            newest=asked.newest,
            closed_only=not asked.include_partial,
        )
        # A bar that is closed, written and forgotten while the database answers is in no one's
        # hands but those of the context.
        with self._store.reading(symbol, interval) as waiting:
            rows = await self._store.fetch(stored)
            # No await between the two: all of one moment.
            bars, sequence = (
                self._join(asked, rows, waiting),
                self._memory.sequence(symbol, interval),
            )
        return await self._to_messages(bars), sequence

    def _join(
        self, asked: Asked, rows: Sequence[Sequence[Any]], waiting: Mapping[Place, Bar]
    ) -> list[Bar | Sequence[Any]]:
        # Bars, which nobody changes, and rows.
        after = asked.after or (-1, -1)
        live = dict(waiting)
        for bar in self._memory.open_and_recent(
            asked.symbol, asked.interval.name, asked.from_ns, asked.to_ns
        ):
            place = bar.start, bar.number
            other = live.get(place)
            if other is None or _rank(other) <= _rank(bar):
                live[place] = bar
        chosen: dict[Place, Bar | Sequence[Any]] = {}
        for row in rows:
            place = row[2], row[3]
            chosen[place] = row
        for place, bar in live.items():
            row_or_bar = chosen.get(place)
            if row_or_bar is not None and _row_rank(row_or_bar) > _rank(bar):
                continue
            within = asked.from_ns <= bar.start < asked.to_ns and place > after
            if within and (asked.include_partial or bar.state.is_closed):
                chosen[place] = bar
        places = sorted(chosen)
        places = places[-asked.limit :] if asked.newest else places[: asked.limit]
        return [chosen[place] for place in places]

    async def _to_messages(self, bars: Sequence[Bar | Sequence[Any]]) -> list[wire.Bar]:
        epoch, found = self._epoch, list[wire.Bar]()
        for first in range(0, len(bars), _BARS_AT_ONCE):
            if first:
                await asyncio.sleep(0)
            found += (
                bar.to_message(epoch) if isinstance(bar, Bar) else to_message(bar)
                for bar in bars[first : first + _BARS_AT_ONCE]
            )
        return found

    def _fill(self, asked: Asked, bars: list[wire.Bar], before: wire.Bar | None) -> list[wire.Bar]:
        filler = Filler(asked.interval, self._hours(asked.symbol), self._coverage)
        after_ns = asked.after[0] if asked.after is not None else -1
        if asked.newest:
            # From the end, as far as the limit goes: what lies before may be any number.
            return filler.fill_last(bars, asked.limit)
        return list(islice(filler.fill(bars, before, after_ns), asked.limit + 1))


def _rank(bar: Bar) -> tuple[int, int, int]:
    return bar.revision, bar.state, bar.candle.trades


def _row_rank(row: Any) -> tuple[int, int, int]:
    return row[18], row[17], row[10]

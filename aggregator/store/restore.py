"""Read the bars that an aggregator goes on with when it starts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import structlog

from aggregator.bars.bar import SESSION, Bar
from aggregator.store.database import Database
from aggregator.store.queries import select_last_times, select_open, select_recent
from aggregator.store.rows import to_bar
from marketdata.intervals import Interval, IntervalKind

log = structlog.get_logger()

# How long closed bars are read: 26,000 a second were read on a busy machine.
RESTORE_S = 4.0
_RESTORED_AT_ONCE = 2_000
# A trading day lasts until the next one begins; the holidays of Shanghai take up to eleven days.
_LONGEST_DAY_NS = 16 * 86_400 * 1_000_000_000


async def load_open(database: Database, intervals: Iterable[Interval]) -> list[Bar]:
    """Return the bars that were open at the last stop, and the sessions."""
    names = {SESSION, *(interval.name for interval in intervals)}
    async with database.read() as connection:
        rows = (await connection.execute(select_open())).tuples()
        return [bar for bar in map(to_bar, rows) if bar.interval in names]


async def load_recent(
    database: Database, intervals: Iterable[Interval], window_ns: int, max_bars: int
) -> AsyncIterator[list[Bar]]:
    """Yield the closed bars that a late trade may revise, in parts, for :data:`RESTORE_S`.

    Args:
        database: where they are stored.
        intervals: their intervals; bars that end by trades accept no late ones.
        window_ns: how late a trade may be, measured from the last one of its symbol.
        max_bars: at most so many are read.
    """
    intervals, left = list(intervals), max(max_bars, 0)
    # The longest first: they are few, and each holds the most trades.
    by_clock = [interval for interval in intervals if interval.by_clock]
    by_clock.sort(key=lambda interval: interval.nominal_ns, reverse=True)
    names = [interval.name for interval in intervals]
    last_times = select_last_times(names, is_sqlite=database.is_sqlite)
    now = asyncio.get_running_loop().time
    deadline = now() + RESTORE_S
    for interval in by_clock:
        is_day = interval.kind is IntervalKind.DAY
        size_ns = _LONGEST_DAY_NS if is_day else interval.size
        statement = select_recent(last_times, interval.name, size_ns, window_ns, left)
        async with database.read() as connection:
            await database.go_by_key(connection)
            async with connection.stream(statement) as rows_in_parts:
                async for part in rows_in_parts.partitions(_RESTORED_AT_ONCE):
                    # A symbol without such a bar gives one row of nulls.
                    found = [to_bar(row) for row in part if row.symbol is not None]
                    left -= len(found)
                    yield found
                    if now() > deadline:
                        log.warning("restore_cut_short", interval=interval.name)
                        return

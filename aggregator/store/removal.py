"""Remove the stored bars whose time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from sqlalchemy import select

from aggregator.store.database import Database
from aggregator.store.queries import delete_old, delete_old_refused, select_nth_old
from aggregator.store.schema import symbols

# Bars per transaction: it takes a few ms, during which no bar is written.
BATCH_BARS = 1_000
_PAUSE_S = 0.01


async def remove_old(database: Database, retention: Mapping[str, int], now_ns: int) -> int:
    """Remove bars that are too old, in small transactions; return how many.

    Args:
        database: where the bars are.
        retention: how long bars are kept, in ns by interval.
        now_ns: the time.
    """
    async with database.read() as connection:
        names = (await connection.execute(select(symbols.c.symbol))).scalars().all()
    async with database.write() as connection:
        for interval, kept_ns in retention.items():
            await connection.execute(delete_old_refused(interval, now_ns - kept_ns))
    removed = 0
    for symbol in names:
        for interval, kept_ns in retention.items():
            removed += await _remove(database, symbol, interval, now_ns - kept_ns)
    return removed


async def _remove(database: Database, symbol: str, interval: str, before_ns: int) -> int:
    removed = 0
    while True:
        # Read first: if there is nothing to remove, the writer does not have to wait.
        async with database.read() as connection:
            first = select_nth_old(symbol, interval, before_ns, 0)
            if await connection.scalar(first) is None:
                return removed
            nth = select_nth_old(symbol, interval, before_ns, BATCH_BARS)
            bound = await connection.scalar(nth)
        async with database.write() as connection:
            end_ns = before_ns if bound is None else bound
            result = await connection.execute(delete_old(symbol, interval, end_ns))
            removed += result.rowcount
        await asyncio.sleep(_PAUSE_S)

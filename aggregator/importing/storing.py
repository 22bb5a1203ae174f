"""Move the bars of an import to the stored ones, also of an import that was interrupted."""

from __future__ import annotations

import json
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, delete, func, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.importing.progress import Progress
from aggregator.importing.statements import (
    Way,
    forget_noted,
    keep_refused,
    mark_imported,
    mark_incomplete,
    store_bars,
    store_symbols,
)
from aggregator.store.database import Database
from aggregator.store.feed_spans import add_spans
from aggregator.store.schema import KEY, import_bars, import_refused, imported_hours, imports

# Bars stored in one transaction: 100 ms, during which a running aggregator cannot write.
STORE_BARS = 10_000


class Stored(NamedTuple):
    """The result of one step."""

    bars: int
    # How far the import is now.
    progress: Progress


class Storing:
    """The last part of one import: its bars are in the store one after the other.

    Each step is one transaction, so any process may do the next one.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._mine = import_bars.c["import"] == name

    async def count(self) -> int:
        """Return how many bars wait to be stored."""
        async with self._database.read() as connection:
            statement = select(func.count()).where(self._mine)
            return await connection.scalar(statement) or 0

    async def store_some(self, now_ns: int) -> Stored | None:
        """Store some bars; return None at the end."""
        key = [import_bars.c[name] for name in KEY]
        async with self._database.write() as connection:
            row = (
                await connection.execute(select(imports).where(imports.c.id == self._name))
            ).first()
            if row is None:
                # Another process has stored the last ones.
                return None
            last = (
                await connection.execute(
                    select(*key)
                    .where(self._mine)
                    .order_by(*import_bars.primary_key.columns)
                    .offset(STORE_BARS - 1)
                    .limit(1)
                )
            ).first()
            part = self._mine if last is None else and_(self._mine, tuple_(*key) <= tuple_(*last))
            way = Way(row.storing)
            await connection.execute(store_symbols(self._database, part))
            result = await connection.execute(store_bars(self._database, part, way))
            if way is Way.REPLACE:
                await connection.execute(mark_imported(part))
            removed = await connection.execute(delete(import_bars).where(part))
            progress = Progress.from_json(row.counts)
            progress.written += result.rowcount
            if way is Way.ADD:
                # Bars of live trades, which came after the check.
                progress.left += removed.rowcount - result.rowcount
            await connection.execute(
                update(imports)
                .where(imports.c.id == self._name)
                .values(counts=progress.to_json(), updated=now_ns)
            )
        return Stored(removed.rowcount, progress) if removed.rowcount else None

    async def finish(self) -> int:
        """Note when the files have trades, and forget the import.

        Returns:
            How many of its bars are not complete, because rows of their time were refused.
        """
        async with self._database.write() as connection:
            row = (
                await connection.execute(select(imports).where(imports.c.id == self._name))
            ).first()
            if row is None:
                return 0
            # Each file has all trades between its first and its last one. Of the time between two
            # files it says nothing.
            hours = imported_hours.c
            times = await connection.execute(
                select(func.min(hours.first_ts), func.max(hours.last_ts) + 1)
                .where(hours["import"] == "", hours.content.in_(list(json.loads(row.files))))
                .group_by(hours.content)
            )
            await add_spans(self._database, connection, [tuple(span) for span in times])
            incomplete = await self._note_refused(connection, Way(row.storing))
            await connection.execute(delete(imports).where(imports.c.id == self._name))
        return incomplete

    async def _note_refused(self, connection: AsyncConnection, way: Way) -> int:
        # In the bars of their time. Where there is no bar, the count is kept until there is one.
        is_mine, is_kept = (import_refused.c["import"] == name for name in (self._name, ""))
        if way is not Way.REPLACE and await _has_refused(connection, is_kept):
            await connection.execute(mark_incomplete(is_kept, way))
        await connection.execute(forget_noted(is_kept))
        if not await _has_refused(connection, is_mine):
            return 0
        marked = await connection.execute(mark_incomplete(is_mine, way))
        await connection.execute(forget_noted(is_mine))
        await connection.execute(keep_refused(self._database, is_mine, way))
        await connection.execute(delete(import_refused).where(is_mine))
        return marked.rowcount


async def _has_refused(connection: AsyncConnection, part: ColumnElement[bool]) -> bool:
    statement = select(import_refused.c.start).where(part).limit(1)
    return await connection.scalar(statement) is not None


async def finish_interrupted(database: Database, but: str, now_ns: int) -> None:
    """Store the rest of all imports that had begun to store their bars, except for ``but``."""
    async with database.read() as connection:
        names = await connection.scalars(
            select(imports.c.id).where(imports.c.storing != "", imports.c.id != but)
        )
        found = list(names)
    for name in found:
        storing = Storing(database, name)
        while await storing.store_some(now_ns):
            pass
        await storing.finish()

"""Keep the bars of an import until all of its trades are read, then store them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, delete, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.bars.bar import Bar
from aggregator.importing.progress import Progress
from aggregator.importing.segment import check
from aggregator.importing.statements import (
    select_newest,
    select_staged,
    stage_bars,
    store_bars,
    store_symbols,
)
from aggregator.store.database import Database
from aggregator.store.rows import row_writer, to_bar
from aggregator.store.schema import KEY, STAGED, import_bars, imports
from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_S

# An import that made no progress for so long is forgotten.
_FORGOTTEN_AFTER_NS = 7 * 86_400 * NS_PER_S
# Bars stored in one transaction: 100 ms, during which a running aggregator cannot write.
PUBLISH_BARS = 10_000
_KEYS_PER_QUERY = 500

Series = tuple[str, str]

_to_staged_row = row_writer(STAGED)


class ImportRunsElsewhere(MarketDataError):
    """Another process is importing the same files now."""

    def __init__(self) -> None:
        super().__init__("another process imports the same files into the same store now")


class Staging:
    """The unfinished bars of one import, in the store itself.

    Only the newest bar of each symbol and interval is in memory: a file in the order of time
    changes no other. The bars of a part of the file are written in one transaction with the
    position up to which the file was read, so a restart neither misses a trade nor counts one
    twice.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._mine = import_bars.c["import"] == name
        self._stage_bars = database.render(stage_bars(database))
        self._newest: dict[Series, Bar] = {}

    @property
    def symbols(self) -> set[str]:
        """The symbols that have bars."""
        return {symbol for symbol, _ in self._newest}

    async def load(self, now_ns: int) -> Progress:
        """Return how far the last attempt came, and begin there."""
        async with self._database.write() as connection:
            await self._forget_old(connection, now_ns)
            row = (
                await connection.execute(select(imports.c.counts).where(imports.c.id == self._name))
            ).first()
            if row is None:
                progress = Progress()
                values = self._values(progress, now_ns)
                await connection.execute(insert(imports).values(id=self._name, **values))
                return progress
            await self._load_newest(connection)
            return Progress.from_json(row[0])

    async def add(
        self, found: Iterable[Bar], before: tuple[int, int], progress: Progress, now_ns: int
    ) -> None:
        """Add bars of further trades.

        Args:
            found: the bars.
            before: the file and row where their trades begin.
            progress: how far the files are read now.
            now_ns: the time.

        Raises:
            ImportRunsElsewhere: another process has read on from ``before``.
            TotalOverflow: a sum is too large.
        """
        changed: list[Bar] = []
        late: dict[Series, list[Bar]] = {}
        for bar in found:
            series = bar.symbol, bar.interval
            newest = self._newest.get(series)
            if newest is None or bar.start > newest.start:
                self._newest[series] = bar
                changed.append(bar)
            elif bar.start == newest.start:
                newest.candle.merge(bar.candle)
                changed.append(check(newest))
            else:
                late.setdefault(series, []).append(bar)
        async with self._database.write() as connection:
            await self._advance(connection, before, progress, now_ns)
            for series, some in late.items():
                changed += await self._merge_staged(connection, series, some)
            if changed:
                rows = [(self._name, *_to_staged_row(bar)) for bar in changed]
                await connection.exec_driver_sql(self._stage_bars, rows)

    async def drop_old(self, retention: Mapping[str, int], now_ns: int) -> int:
        """Drop the bars that are older than the store keeps them; return how many."""
        dropped = 0
        async with self._database.write() as connection:
            for interval, kept_ns in retention.items():
                result = await connection.execute(
                    delete(import_bars).where(
                        self._mine,
                        import_bars.c.interval == interval,
                        import_bars.c.start < now_ns - kept_ns,
                    )
                )
                dropped += result.rowcount
        return dropped

    async def count(self) -> int:
        """Return how many bars wait to be stored."""
        async with self._database.read() as connection:
            statement = select(func.count()).where(self._mine)
            return await connection.scalar(statement) or 0

    async def publish_some(self, progress: Progress, now_ns: int) -> int:
        """Move a part of the bars to the stored ones; return how many, 0 at the end."""
        key = [import_bars.c[name] for name in KEY]
        async with self._database.write() as connection:
            await self._advance(connection, (progress.file, progress.row), progress, now_ns)
            last = (
                await connection.execute(
                    select(*key)
                    .where(self._mine)
                    .order_by(*import_bars.primary_key.columns)
                    .offset(PUBLISH_BARS - 1)
                    .limit(1)
                )
            ).first()
            part = self._mine if last is None else and_(self._mine, tuple_(*key) <= tuple_(*last))
            await connection.execute(store_symbols(self._database, part))
            result = await connection.execute(store_bars(self._database, part))
            progress.written += result.rowcount
            removed = await connection.execute(delete(import_bars).where(part))
            await connection.execute(
                update(imports)
                .where(imports.c.id == self._name)
                .values(**self._values(progress, now_ns))
            )
        return removed.rowcount

    async def finish(self) -> None:
        """Forget the import, so that the same files can be imported again."""
        async with self._database.write() as connection:
            await connection.execute(delete(imports).where(imports.c.id == self._name))

    async def _forget_old(self, connection: AsyncConnection, now_ns: int) -> None:
        old = select(imports.c.id).where(imports.c.updated < now_ns - _FORGOTTEN_AFTER_NS)
        await connection.execute(delete(import_bars).where(import_bars.c["import"].in_(old)))
        await connection.execute(
            delete(imports).where(imports.c.updated < now_ns - _FORGOTTEN_AFTER_NS)
        )

    async def _load_newest(self, connection: AsyncConnection) -> None:
        rows = await connection.execute(select_newest(self._mine))
        for row in rows:
            bar = to_bar(row)
            self._newest[bar.symbol, bar.interval] = bar

    async def _merge_staged(
        self, connection: AsyncConnection, series: Series, some: Sequence[Bar]
    ) -> list[Bar]:
        symbol, interval = series
        for first in range(0, len(some), _KEYS_PER_QUERY):
            part = {bar.start: bar for bar in some[first : first + _KEYS_PER_QUERY]}
            rows = await connection.execute(
                select_staged(
                    and_(
                        self._mine,
                        import_bars.c.symbol == symbol,
                        import_bars.c.interval == interval,
                        import_bars.c.start.in_(list(part)),
                    )
                )
            )
            for row in rows:
                staged = to_bar(row)
                bar = part[staged.start]
                staged.candle.merge(bar.candle)
                bar.candle = staged.candle
                check(bar)
        return list(some)

    async def _advance(
        self,
        connection: AsyncConnection,
        before: tuple[int, int],
        progress: Progress,
        now_ns: int,
    ) -> None:
        moved = await connection.execute(
            update(imports)
            .where(
                imports.c.id == self._name, imports.c.file == before[0], imports.c.row == before[1]
            )
            .values(**self._values(progress, now_ns))
        )
        if moved.rowcount != 1:
            raise ImportRunsElsewhere

    def _values(self, progress: Progress, now_ns: int) -> dict[str, Any]:
        return {
            "file": progress.file,
            "row": progress.row,
            "counts": progress.to_json(),
            "updated": now_ns,
        }

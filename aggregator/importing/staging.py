"""Keep the bars of an import until all of its trades are read, then store them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.bars.bar import Bar
from aggregator.importing.ids import Ids
from aggregator.importing.ledger import ImportRunsElsewhere, Plan
from aggregator.importing.progress import Progress
from aggregator.importing.segment import Hour, check
from aggregator.importing.statements import (
    Way,
    add_refused,
    select_newest,
    select_staged,
    stage_bars,
    stage_hours,
)
from aggregator.store.database import Database
from aggregator.store.rows import row_writer, to_bar
from aggregator.store.schema import STAGED, import_bars, import_refused, imported_hours, imports
from marketdata.timestamps import NS_PER_S

# An import that made no progress for so long is forgotten.
_FORGOTTEN_AFTER_NS = 7 * 86_400 * NS_PER_S
_KEYS_PER_QUERY = 500

Series = tuple[str, str]

_to_staged_row = row_writer(STAGED)


class Staging:
    """The unfinished bars of one import, in the store itself, and the hours that its files have.

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
        self._stage_hours = database.render(stage_hours(database))
        self._stage_refused = database.render(add_refused(database.insert(import_refused)))
        self._newest: dict[Series, Bar] = {}
        # Of all trades that were added, by symbol: the volume counts 10^-decimals.
        self.volumes: dict[str, tuple[int, int]] = {}
        # Whether the last attempt had begun to store its bars.
        self.is_storing = False

    async def load(self, plan: Plan, now_ns: int) -> Progress:
        """Return how far the last attempt came, and begin there.

        Args:
            plan: which files are read. If the last attempt had another plan, it is forgotten.
            now_ns: the time.
        """
        files = json.dumps(plan)
        async with self._database.write() as connection:
            await self._forget_old(connection, now_ns)
            row = (
                await connection.execute(select(imports).where(imports.c.id == self._name))
            ).first()
            if row is not None and not row.storing and row.files != files:
                await _forget(connection, self._name)
                row = None
            if row is None:
                progress = Progress()
                values = self._values(progress, now_ns) | {"files": files}
                await connection.execute(insert(imports).values(id=self._name, **values))
                return progress
            await self._load_newest(connection)
            hours = imported_hours.c
            totals = await connection.execute(
                select(hours.symbol, hours.volume, hours.volume_decimals).where(
                    hours["import"] == self._name
                )
            )
            for symbol, volume, decimals in totals:
                known = self.volumes.get(symbol, (0, 0))
                self.volumes[symbol] = add_sizes(known, (volume, decimals))
            self.is_storing = bool(row.storing)
            return Progress.from_json(row.counts)

    async def add(
        self,
        found: Iterable[Bar],
        hours: Iterable[tuple[str, Hour]],
        refused: Mapping[tuple[str, str, int], int],
        before: tuple[int, int],
        progress: Progress,
        *,
        now_ns: int,
    ) -> None:
        """Add bars of further trades.

        Args:
            found: the bars.
            hours: the hours of the trades, each with the content of its file.
            refused: how many trades were refused in the time of each bar.
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
            times = [(self._name, h.symbol, h.hour, content, *h[2:]) for content, h in hours]
            if times:
                await connection.exec_driver_sql(self._stage_hours, times)
            gaps = [(self._name, *bar, count) for bar, count in sorted(refused.items())]
            if gaps:
                await connection.exec_driver_sql(self._stage_refused, gaps)

    async def load_ids(self, symbol: str, content: str, *, entered: bool) -> Ids:
        """Return the ids of the trades of a symbol that were counted.

        Args:
            symbol: the symbol.
            content: the file that is read now. An earlier import may have read it for other bars.
            entered: whether those of other imports are asked for too.
        """
        hours = imported_hours.c
        mine = hours["import"] == self._name
        others = and_(hours["import"] == "", hours.content != content)
        ids = Ids()
        async with self._database.read() as connection:
            found = await connection.scalars(
                select(hours.ids).where(
                    hours.symbol == symbol, or_(mine, others) if entered else mine
                )
            )
            for text in found:
                ids.add_text(text)
        return ids

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

    async def discard(self) -> None:
        """Forget the import: it cannot go on."""
        async with self._database.write() as connection:
            await _forget(connection, self._name)

    async def begin_to_store(
        self, connection: AsyncConnection, way: Way, progress: Progress, now_ns: int
    ) -> None:
        """Note, within a transaction, that bars are stored from now on.

        Raises:
            ImportRunsElsewhere: another process stores them.
        """
        await self._advance(connection, (progress.file, progress.row), progress, now_ns)
        await connection.execute(
            update(imports).where(imports.c.id == self._name).values(storing=way.value)
        )

    async def _forget_old(self, connection: AsyncConnection, now_ns: int) -> None:
        # Not those that have begun to store their bars: they must go on.
        old = await connection.execute(
            select(imports.c.id).where(
                imports.c.updated < now_ns - _FORGOTTEN_AFTER_NS, imports.c.storing == ""
            )
        )
        for (name,) in old:
            await _forget(connection, name)

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


def add_sizes(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    """Return the sum of two sizes, each a volume and its decimals."""
    decimals = max(one[1], other[1])
    volume = sum(volume * 10 ** (decimals - each) for volume, each in (one, other))
    return volume, decimals


async def _forget(connection: AsyncConnection, name: str) -> None:
    await connection.execute(delete(import_bars).where(import_bars.c["import"] == name))
    await connection.execute(delete(import_refused).where(import_refused.c["import"] == name))
    await connection.execute(delete(imported_hours).where(imported_hours.c["import"] == name))
    await connection.execute(delete(imports).where(imports.c.id == name))

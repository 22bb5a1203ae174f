"""Keep the bars of an import until all of its trades are read, then store them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, delete, func, insert, literal, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.bars.bar import Bar, BarState, Coverage
from aggregator.importing.progress import Progress
from aggregator.importing.segment import check
from aggregator.store.database import Database
from aggregator.store.rows import to_bar, to_row
from aggregator.store.schema import KEY, bars, import_bars, imports, symbols
from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_S

# What nobody went on with for so long is forgotten.
_FORGOTTEN_AFTER_NS = 7 * 86_400 * NS_PER_S
# Bars stored in one transaction: 100 ms, during which an aggregator that runs waits.
PUBLISH_BARS = 10_000
_KEYS_PER_QUERY = 500
# Sums of money may differ in the last bits, by the order in which they were added up.
_NOTIONAL_TOLERANCE = 1e-12

_CONTENT = ("end", "open", "high", "low", "close", "volume", "trades", "first_ts", "last_ts")
_CANDLE = (
    *("end", "open", "high", "low", "close", "volume", "trades", "notional", "notional_error"),
    *("first_ts", "first_sequence", "last_ts", "last_sequence", "phase"),
)

Series = tuple[str, str]


class ImportRunsElsewhere(MarketDataError):
    """Another process imports the same files at this moment."""

    def __init__(self) -> None:
        super().__init__("another process imports the same files into the same store now")


class Staging:
    """The unfinished bars of one import, in the store itself.

    In memory are only the newest bar of each symbol and interval: in a file that is in order no
    other is touched again. All of a part of the file goes in with the place up to which it was
    read, in one transaction, so that a restart neither misses a trade nor counts one twice.
    """

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name
        self._newest: dict[Series, Bar] = {}

    @property
    def symbols(self) -> set[str]:
        """The symbols that have bars."""
        return {symbol for symbol, _ in self._newest}

    async def load(self, now_ns: int) -> Progress:
        """Return how far the import came before, and go on there."""
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
        """Add bars of further trades; ``before`` is the place up to which those of before were.

        Raises:
            ImportRunsElsewhere: another process went on from that place.
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
                await connection.exec_driver_sql(
                    self._upsert_text(), [self._row(bar) for bar in changed]
                )

    async def drop_old(self, retention: Mapping[str, int], now_ns: int) -> int:
        """Forget bars that would be removed at once; return how many."""
        dropped = 0
        async with self._database.write() as connection:
            for interval, kept_ns in retention.items():
                result = await connection.execute(
                    delete(import_bars).where(
                        import_bars.c["import"] == self._name,
                        import_bars.c.interval == interval,
                        import_bars.c.start < now_ns - kept_ns,
                    )
                )
                dropped += result.rowcount
        return dropped

    async def count(self) -> int:
        """Return how many bars wait to be stored."""
        async with self._database.read() as connection:
            statement = select(func.count()).where(import_bars.c["import"] == self._name)
            return await connection.scalar(statement) or 0

    async def publish_some(self, progress: Progress, now_ns: int) -> int:
        """Store a part of the bars; return how many, 0 when there are no more."""
        mine = import_bars.c["import"] == self._name
        key = tuple_(*(import_bars.c[name] for name in KEY))
        async with self._database.write() as connection:
            await self._advance(connection, (progress.file, progress.row), progress, now_ns)
            last = (
                await connection.execute(
                    select(*(import_bars.c[name] for name in KEY))
                    .where(mine)
                    .order_by(*import_bars.primary_key.columns)
                    .offset(PUBLISH_BARS - 1)
                    .limit(1)
                )
            ).first()
            part = mine if last is None else and_(mine, key <= tuple_(*last))
            await connection.execute(self._store_symbols(part))
            result = await connection.execute(self._store_bars(part))
            progress.written += result.rowcount
            removed = await connection.execute(delete(import_bars).where(part))
            await connection.execute(
                update(imports)
                .where(imports.c.id == self._name)
                .values(**self._values(progress, now_ns))
            )
        return removed.rowcount

    async def finish(self) -> None:
        """Forget the import: the same files can be imported anew."""
        async with self._database.write() as connection:
            await connection.execute(delete(imports).where(imports.c.id == self._name))

    async def _forget_old(self, connection: AsyncConnection, now_ns: int) -> None:
        old = select(imports.c.id).where(imports.c.updated < now_ns - _FORGOTTEN_AFTER_NS)
        await connection.execute(delete(import_bars).where(import_bars.c["import"].in_(old)))
        await connection.execute(
            delete(imports).where(imports.c.updated < now_ns - _FORGOTTEN_AFTER_NS)
        )

    async def _load_newest(self, connection: AsyncConnection) -> None:
        newest = (
            select(
                import_bars.c.symbol,
                import_bars.c.interval,
                func.max(import_bars.c.start).label("at"),
            )
            .where(import_bars.c["import"] == self._name)
            .group_by(import_bars.c.symbol, import_bars.c.interval)
            .subquery()
        )
        rows = await connection.execute(
            self._select_bars().join(
                newest,
                and_(
                    newest.c.symbol == import_bars.c.symbol,
                    newest.c.interval == import_bars.c.interval,
                    newest.c.at == import_bars.c.start,
                ),
            )
        )
        for row in rows:
            bar = to_bar(row)
            self._newest[bar.symbol, bar.interval] = bar

    def _select_bars(self) -> Any:
        # In the order of the columns of a stored bar.
        columns: list[Any] = [
            literal(BarState.FINAL.value).label("state"),
            literal(0).label("revision"),
            literal(Coverage.FULL.value).label("coverage"),
        ]
        stored: list[Any] = [
            import_bars.c[column.name] for column in bars.columns if column.name in _STAGED
        ]
        return select(*stored[:-1], *columns, stored[-1]).where(
            import_bars.c["import"] == self._name
        )

    async def _merge_staged(
        self, connection: AsyncConnection, series: Series, some: Sequence[Bar]
    ) -> list[Bar]:
        symbol, interval = series
        for first in range(0, len(some), _KEYS_PER_QUERY):
            part = {bar.start: bar for bar in some[first : first + _KEYS_PER_QUERY]}
            rows = await connection.execute(
                self._select_bars().where(
                    import_bars.c.symbol == symbol,
                    import_bars.c.interval == interval,
                    import_bars.c.start.in_(list(part)),
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

    def _row(self, bar: Bar) -> tuple[Any, ...]:
        row = to_row(bar)
        return (self._name, *row[:17], row[-1])

    def _upsert_text(self) -> str:
        statement = self._insert(import_bars)
        new = statement.excluded
        return self._database.render(
            statement.on_conflict_do_update(
                index_elements=["import", *KEY], set_={name: new[name] for name in _CANDLE}
            )
        )

    def _store_symbols(self, part: Any) -> Any:
        names = select(import_bars.c.symbol).where(part).distinct()
        return self._insert(symbols).from_select(["symbol"], names).on_conflict_do_nothing()

    def _store_bars(self, part: Any) -> Any:
        names = [*KEY, *_CANDLE, "state", "revision", "coverage"]
        values = [
            literal(BarState.FINAL.value),
            literal(0),
            literal(Coverage.FULL.value),
        ]
        statement = self._insert(bars).from_select(
            names,
            select(*(import_bars.c[name] for name in (*KEY, *_CANDLE)), *values).where(part),
        )
        new = statement.excluded
        was_open = bars.c.state < BarState.FINAL.value
        difference = func.abs(
            (new.notional + new.notional_error) - (bars.c.notional + bars.c.notional_error)
        )
        return statement.on_conflict_do_update(
            index_elements=KEY,
            set_={
                **{name: new[name] for name in _CANDLE},
                "coverage": new.coverage,
                "state": case((was_open, BarState.FINAL.value), else_=BarState.REVISED.value),
                "revision": case((was_open, bars.c.revision), else_=bars.c.revision + 1),
            },
            where=or_(
                was_open,
                *(bars.c[name] != new[name] for name in _CONTENT),
                difference > bars.c.notional * _NOTIONAL_TOLERANCE,
            ),
        )

    def _insert(self, table: Any) -> Any:
        # The two have the same methods and no common type.
        return sqlite.insert(table) if self._database.is_sqlite else postgresql.insert(table)


_STAGED = frozenset(column.name for column in import_bars.columns)

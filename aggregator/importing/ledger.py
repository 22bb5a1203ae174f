"""Which files were imported, and whether further ones may be; no trade is counted twice."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, exists, func, or_, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.importing.files import SourceFile
from aggregator.importing.ids import SEPARATOR, UNKNOWN, are_other_trades
from aggregator.importing.segment import HOUR_NS
from aggregator.importing.statements import Way, is_too_much
from aggregator.store.database import Database
from aggregator.store.schema import KEY, bars, import_bars, imported_files, imported_hours
from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_S

# The number of our advisory lock: one process at a time enters its files.
_CLAIM_LOCK = 0x696D706F7274
# A trading day with the longest holidays after it.
_LONGEST_DAY_NS = 16 * 86_400 * NS_PER_S

_old, _new = imported_hours.alias("old"), imported_hours.alias("new")
# The hours of files that are imported have the name of no import.
_ENTERED = ""


class Undecided(MarketDataError):
    """The trades of a file may be in the store already; somebody who knows must decide."""


class ImportRunsElsewhere(MarketDataError):
    """Another process is importing the same files now."""

    def __init__(self) -> None:
        super().__init__("another process imports the same files into the same store now")


class Entry(NamedTuple):
    """A file that was imported."""

    name: str
    settings: str
    intervals: frozenset[str]
    imported: int
    # Whether no other file has replaced a part of it.
    whole: bool


# The intervals to make of each file, by its content.
Plan = Mapping[str, Sequence[str]]


class Ledger:
    """The files that were imported into one database, as one import sees them.

    Args:
        database: the store.
        name: of the import.
        way: what happens to bars that are stored already.
        distinct: whether the operator says that no trade is in two of the files.
    """

    def __init__(self, database: Database, name: str, way: Way, *, distinct: bool) -> None:
        self._database = database
        self._way = way
        self._distinct = distinct
        self._name = name
        self._staged = import_bars.c["import"] == name

    async def entries(self, contents: Collection[str]) -> dict[str, Entry]:
        """Return those of the files that were imported, by content."""
        async with self._database.read() as connection:
            return await _entries(connection, contents)

    async def check(self, sources: Mapping[str, SourceFile], days: Sequence[str]) -> None:
        """Make sure that the staged bars can be stored.

        Args:
            sources: the files, by content.
            days: the intervals that are trading days.

        Raises:
            Undecided: some trades may be in the store already, or would be lost.
        """
        async with self._database.read() as connection:
            await self._check_hours(connection, sources)
            await self._check_bars(connection)
            if self._way is Way.REPLACE:
                await self._check_losses(connection)
            else:
                await self._check_bounds(connection, days)

    async def enter(
        self,
        connection: AsyncConnection,
        sources: Mapping[str, SourceFile],
        plan: Plan,
        settings: str,
        *,
        known: Mapping[str, Entry],
        now_ns: int,
    ) -> None:
        """Note, within the transaction before the first bar is stored, that the files are in.

        Raises:
            Undecided: another import has entered some of the same trades since the check.
            ImportRunsElsewhere: another import has entered the same files.
        """
        if not self._database.is_sqlite:
            await connection.execute(text(f"SELECT pg_advisory_xact_lock({_CLAIM_LOCK})"))
        if await _entries(connection, plan) != {c: known[c] for c in plan if c in known}:
            raise ImportRunsElsewhere
        await self._check_hours(connection, sources)
        if self._way is Way.REPLACE:
            await self._forget_replaced(connection)
        mine = imported_hours.c["import"] == self._name
        await connection.execute(
            delete(imported_hours).where(
                imported_hours.c["import"] == _ENTERED, imported_hours.c.content.in_(list(plan))
            )
        )
        await connection.execute(update(imported_hours).where(mine).values({"import": _ENTERED}))
        for content, intervals in plan.items():
            before = known.get(content)
            kept = before.intervals if before and before.settings == settings else frozenset()
            values = {
                "name": sources[content].part.name,
                "settings": settings,
                "intervals": json.dumps(sorted({*kept, *intervals})),
                "imported": now_ns,
                "whole": True,
            }
            statement = self._database.insert(imported_files).values(content=content, **values)
            await connection.execute(
                statement.on_conflict_do_update(index_elements=["content"], set_=values)
            )

    async def _check_hours(
        self, connection: AsyncConnection, sources: Mapping[str, SourceFile]
    ) -> None:
        # Two files that both have trades of a symbol between the same two moments may have the
        # same trades.
        same_time = and_(
            _new.c["import"] == self._name,
            _old.c.symbol == _new.c.symbol,
            _old.c.hour == _new.c.hour,
            _old.c.first_ts <= _new.c.last_ts,
            _old.c.last_ts >= _new.c.first_ts,
        )
        both = []
        if not self._distinct:
            both.append(and_(_old.c["import"] == self._name, _old.c.content < _new.c.content))
        if self._way is Way.ADD:
            replaced = select(imported_files.c.content).where(~imported_files.c.whole)
            is_other = or_(_old.c.content != _new.c.content, _old.c.content.in_(replaced))
            both.append(and_(_old.c["import"] == _ENTERED, is_other))
        # Where one file ends in the moment in which the other begins, all trades of that moment
        # must differ.
        touch = or_(_old.c.first_ts == _new.c.last_ts, _old.c.last_ts == _new.c.first_ts)
        names = [column.name for column in imported_hours.columns]
        columns = [*(_new.c[n] for n in names), *(_old.c[n].label(f"old_{n}") for n in names)]
        # Trades whose ids are known were compared one by one when they were read.
        has_unknown = or_(_old.c.ids.contains(UNKNOWN), _new.c.ids.contains(UNKNOWN))
        for condition in both:
            asked = select(*columns).where(same_time, condition)
            overlap = await connection.execute(
                asked.where(~touch, has_unknown).order_by(_new.c.symbol, _new.c.hour).limit(1)
            )
            found = overlap.first()
            if found is None:
                others = await connection.execute(asked.where(or_(touch, ~has_unknown)))
                found = next(filter(_may_share_trades, others), None)
            if found is not None:
                other = await self._file_name(connection, found.old_content, sources)
                first = max(found.first_ts, found.old_first_ts)
                last = min(found.last_ts, found.old_last_ts)
                raise Undecided(
                    f"{sources[found.content].part.name} and {other} both have trades of "
                    f"{found.symbol} from {_utc_ns(first)} to {_utc_ns(last)} UTC, "
                    "which may be the same; --join counts all of them"
                    + ("" if found.old_content in sources else f", {_REPLACE}")
                )

    async def _file_name(
        self, connection: AsyncConnection, content: str, sources: Mapping[str, SourceFile]
    ) -> str:
        if content in sources:
            return sources[content].part.name
        entry = (await _entries(connection, [content])).get(content)
        # A path is no name, so no other text can be one.
        return (
            "an earlier file"
            if entry is None
            else f"{entry.name} (imported {_utc(entry.imported)})"
        )

    async def _check_bars(self, connection: AsyncConnection) -> None:
        new = import_bars.c
        is_same = and_(*(bars.c[name] == new[name] for name in KEY))
        both = select(bars).select_from(import_bars.join(bars, is_same)).where(self._staged)
        if self._way is Way.REPLACE:
            # It may have more trades than the files: those of hours that no file has.
            lost = or_(
                # 0 is the time of a price that no trade gave.
                and_(bars.c.first_ts != 0, bars.c.first_ts // HOUR_NS < new.first_ts // HOUR_NS),
                bars.c.last_ts // HOUR_NS > new.last_ts // HOUR_NS,
            )
            found = (await connection.execute(both.where(~bars.c.imported, lost).limit(1))).first()
            if found is not None:
                raise Undecided(
                    f"the stored bar {_named(found)} has trades from {_utc(found.first_ts)} to "
                    f"{_utc(found.last_ts)} UTC, more than the files; --replace would lose them"
                )
            return
        full = both.where(is_too_much(bars.c, new)).limit(1)
        found = (await connection.execute(full)).first()
        if found is not None:
            raise Undecided(
                f"the volume of {_named(found)} would be above the largest number; "
                "nothing was stored"
            )
        if self._way is Way.ADD:
            live = both.where(~bars.c.imported)
            found = (await connection.execute(live.limit(1))).first()
            if found is not None:
                count = await connection.scalar(select(func.count()).select_from(live.subquery()))
                raise Undecided(
                    f"{count:,} bars of these times are stored and were not made of files, such as "
                    f"{_named(found)}: their trades may be the same; "
                    f"--join adds those of the files, {_REPLACE}"
                )

    async def _check_bounds(self, connection: AsyncConnection, days: Sequence[str]) -> None:
        other = await connection.execute(self._other_days(days).limit(1))
        if (found := other.first()) is not None:
            raise Undecided(
                f"the stored bar {_named(found)} ends at {_utc(found.end)} UTC, so it is a day of "
                "other settings of sessions than those of this import; remove such bars first"
            )

    def _other_days(self, days: Sequence[str]) -> Any:
        new = import_bars.c
        return select(bars).where(
            exists().where(
                self._staged,
                new.interval.in_(list(days)),
                bars.c.symbol == new.symbol,
                bars.c.interval == new.interval,
                bars.c.start != new.start,
                bars.c.start > new.start - _LONGEST_DAY_NS,
                bars.c.start < new.end,
                bars.c.end > new.start,
            ),
            bars.c.interval.in_(list(days)),
        )

    async def _check_losses(self, connection: AsyncConnection) -> None:
        # Other files have trades in the same bars, at hours that these files do not have.
        new = import_bars.c
        reach = (
            select(new.symbol, func.min(new.start).label("start"), func.max(new.end).label("end"))
            .where(self._staged)
            .group_by(new.symbol)
            .subquery()
        )
        is_mine = (
            select(_new.c.hour)
            .where(
                _new.c["import"] == self._name,
                _new.c.symbol == _old.c.symbol,
                _new.c.hour == _old.c.hour,
            )
            .exists()
        )
        in_a_bar = (
            select(new.start)
            .where(
                self._staged,
                new.symbol == _old.c.symbol,
                new.start <= _old.c.last_ts,
                new.end > _old.c.first_ts,
            )
            .exists()
        )
        statement = (
            select(_old)
            .join(reach, reach.c.symbol == _old.c.symbol)
            .where(
                _old.c["import"] == _ENTERED,
                _old.c.hour >= reach.c.start - HOUR_NS,
                _old.c.hour < reach.c.end,
                ~is_mine,
                in_a_bar,
            )
            .limit(1)
        )
        found = (await connection.execute(statement)).first()
        if found is not None:
            other = await self._file_name(connection, found.content, {})
            raise Undecided(
                f"the bars also have trades of {found.symbol} from {_utc(found.first_ts)} to "
                f"{_utc(found.last_ts)} UTC of {other}, which --replace would lose; "
                "give that file too"
            )

    async def _forget_replaced(self, connection: AsyncConnection) -> None:
        mine = select(_new.c.symbol, _new.c.hour).where(_new.c["import"] == self._name)
        replaced = and_(
            imported_hours.c["import"] == _ENTERED,
            tuple_(imported_hours.c.symbol, imported_hours.c.hour).in_(mine),
        )
        contents = select(imported_hours.c.content).where(replaced)
        await connection.execute(
            update(imported_files).where(imported_files.c.content.in_(contents)).values(whole=False)
        )
        await connection.execute(delete(imported_hours).where(replaced))


_REPLACE = "--replace makes the bars of the given files alone"


async def _entries(connection: AsyncConnection, contents: Collection[str]) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    asked = sorted(contents)
    for first in range(0, len(asked), 500):
        rows = await connection.execute(
            select(imported_files).where(imported_files.c.content.in_(asked[first : first + 500]))
        )
        for row in rows:
            intervals = frozenset(json.loads(row.intervals))
            entry = Entry(row.name, row.settings, intervals, row.imported, bool(row.whole))
            found[row.content] = entry
    return found


def _utc(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _named(bar: Any) -> str:
    return f"{bar.symbol} {bar.interval} at {_utc(bar.start)} UTC"


def _utc_ns(ts_ns: int) -> str:
    return f"{_utc(ts_ns)}.{ts_ns % NS_PER_S:09}"


def _may_share_trades(found: Any) -> bool:
    if are_other_trades(found.old_ids, found.ids):
        return False
    pairs = []
    if found.old_first_ts == found.last_ts:
        pairs.append((found.old_first_trades, found.last_trades))
    if found.old_last_ts == found.first_ts:
        pairs.append((found.old_last_trades, found.first_trades))
    for old, new in pairs:
        olds, news = (set(text.split(SEPARATOR)) - {""} for text in (old, new))
        if olds & news or UNKNOWN in olds | news:
            return True
    return not pairs

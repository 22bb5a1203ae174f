"""Load and save when ticks were refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, insert, select

from aggregator.bars.refusals import Range
from aggregator.store.database import Database
from aggregator.store.schema import import_refused, refusals


async def load_refusals(database: Database) -> dict[str, list[Range]]:
    """Return the stored refusals by symbol."""
    found: dict[str, list[Range]] = {}
    async with database.read() as connection:
        for symbol, first, last, count in await connection.execute(select(refusals)):
            found.setdefault(symbol, []).append(Range(first, last, count))
    return found


async def load_import_refusals(
    database: Database, symbol: str, interval: str, from_ns: int, to_ns: int
) -> dict[int, int]:
    """Return how many rows of imports were refused, by the start of the bar that they lack."""
    table = import_refused.c
    statement = select(table.start, table.count).where(
        table["import"] == "",
        table.symbol == symbol,
        table.interval == interval,
        table.start >= from_ns,
        table.start < to_ns,
    )
    async with database.read() as connection:
        return {start: int(count) for start, count in await connection.execute(statement)}


async def save_refusals(database: Database, changed: Mapping[str, Sequence[Range]]) -> None:
    """Replace the refusals of some symbols."""
    rows = [(symbol, *each) for symbol, ranges in changed.items() for each in ranges]
    if not rows:
        return
    symbol_is = delete(refusals).where(refusals.c.symbol == bindparam("name"))
    async with database.write() as connection:
        await connection.execute(symbol_is, [{"name": symbol} for symbol in changed])
        await connection.exec_driver_sql(database.render(insert(refusals)), rows)

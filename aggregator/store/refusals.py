"""Load and save when ticks were refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, insert, select

from aggregator.bars.refusals import Range
from aggregator.store.database import Database
from aggregator.store.schema import refusals


async def load_refusals(database: Database) -> dict[str, list[Range]]:
    """Return the stored refusals by symbol."""
    found: dict[str, list[Range]] = {}
    async with database.read() as connection:
        for symbol, first, last, count in await connection.execute(select(refusals)):
            found.setdefault(symbol, []).append(Range(first, last, count))
    return found


async def save_refusals(database: Database, changed: Mapping[str, Sequence[Range]]) -> None:
    """Replace the refusals of some symbols."""
    rows = [(symbol, *each) for symbol, ranges in changed.items() for each in ranges]
    if not rows:
        return
    symbol_is = delete(refusals).where(refusals.c.symbol == bindparam("name"))
    async with database.write() as connection:
        await connection.execute(symbol_is, [{"name": symbol} for symbol in changed])
        await connection.exec_driver_sql(database.render(insert(refusals)), rows)

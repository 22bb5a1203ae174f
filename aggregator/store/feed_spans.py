"""Load and save when at least one producer was connected."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from aggregator.coverage.spans import Span, Spans
from aggregator.store.database import Database
from aggregator.store.schema import feed_spans

# A row each; a feed that breaks ten times a day makes 3,650 a year.
MAX_STORED_SPANS = 1_000_000


async def load_spans(database: Database) -> list[Span]:
    """Return the stored spans, in order."""
    async with database.read() as connection:
        found = await connection.execute(select(feed_spans).order_by(feed_spans.c.start))
        return [Span(start, end) for start, end in found]


async def save_spans(
    database: Database, spans: Iterable[tuple[int, int]], unwritten_ends: Iterable[int] = ()
) -> None:
    """Add spans to those that are stored; spans that touch become one.

    If the process is killed, the bars that are not written are lost, and must not seem covered: the
    last nanosecond before each of ``unwritten_ends`` is left out until a later call.
    """
    async with database.write() as connection:
        await add_spans(database, connection, spans, unwritten_ends)


async def add_spans(
    database: Database,
    connection: AsyncConnection,
    spans: Iterable[tuple[int, int]],
    unwritten_ends: Iterable[int] = (),
) -> None:
    """Add spans within a transaction, as :func:`save_spans` does."""
    stored = await connection.execute(select(feed_spans).order_by(feed_spans.c.start))
    merged = Spans(MAX_STORED_SPANS, (Span(start, end) for start, end in stored))
    for start, end in spans:
        merged.add(start, end)
    for end in unwritten_ends:
        merged.remove(end - 1, end)
    await connection.execute(delete(feed_spans))
    if merged:
        rows = [tuple(span) for span in merged.all()]
        await connection.exec_driver_sql(database.render(insert(feed_spans)), rows)

"""The statements that read and delete bars; each of them uses the key of the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Delete, Select, Table, and_, delete, func, select, tuple_
from sqlalchemy.sql.elements import ColumnElement

from aggregator.bars.bar import BarState
from aggregator.store.schema import bar_columns, bars, import_refused, symbols


@dataclass(frozen=True, slots=True)
class Range:
    """Bars of one symbol and interval with from_ns <= start < to_ns."""

    symbol: str
    interval: str
    from_ns: int
    to_ns: int
    limit: int
    # Only bars after this (start, number).
    after: tuple[int, int] | None = None
    # Whether the limit counts from the end; then the rows are in descending order.
    newest: bool = False
    closed_only: bool = True


def select_range(asked: Range) -> Select[tuple[object, ...]]:
    """Return the statement for the bars of a range."""
    statement = select(*bar_columns).where(
        bars.c.symbol == asked.symbol,
        bars.c.interval == asked.interval,
        bars.c.start >= asked.from_ns,
        bars.c.start < asked.to_ns,
    )
    if asked.after is not None:
        statement = statement.where(tuple_(bars.c.start, bars.c.number) > asked.after)
    if asked.closed_only:
        statement = statement.where(bars.c.state >= BarState.FINAL.value)
    # By all four columns of the key: some planners do not see that the first two are constants.
    order: list[ColumnElement[object]] = [*bars.primary_key.columns]
    if asked.newest:
        order = [column.desc() for column in order]
    return statement.order_by(*order).limit(asked.limit)


def select_open() -> Select[tuple[object, ...]]:
    """Return the statement for the bars that a graceful stop left open."""
    return select(*bar_columns).where(bars.c.state < BarState.FINAL.value)


def select_last_times(intervals: Sequence[str], *, is_sqlite: bool) -> Select[tuple[str, int]]:
    """Return the statement for each symbol's latest exchange time."""
    newest = [
        func.coalesce(
            select(bars.c.last_ts)
            .where(bars.c.symbol == symbols.c.symbol, bars.c.interval == interval)
            .order_by(bars.c.start.desc(), bars.c.number.desc())
            .limit(1)
            .scalar_subquery(),
            0,
        )
        for interval in intervals
    ]
    # SQLite's max() of one value would be an aggregate of all rows.
    greatest = func.max(0, 0, *newest) if is_sqlite else func.greatest(0, *newest)
    return select(symbols.c.symbol, greatest.label("last_ts"))


def select_recent(
    last_times: Select[tuple[str, int]], interval: str, size_ns: int, window_ns: int, limit: int
) -> Select[tuple[object, ...]]:
    """Return the statement for the closed bars that end within ``window_ns`` of the last time.

    A symbol without such a bar gives one row of nulls.
    """
    # Without MATERIALIZED, SQLite would compute a symbol's time once per bar.
    level = last_times.cte("level").prefix_with("MATERIALIZED")
    within = and_(
        bars.c.symbol == level.c.symbol,
        bars.c.interval == interval,
        # The condition on the start lets the database use the key; the one on the end decides.
        bars.c.start > level.c.last_ts - (window_ns + size_ns),
        bars.c.end > level.c.last_ts - window_ns,
        bars.c.state >= BarState.FINAL.value,
    )
    # With an inner join, SQLite would begin with a scan of all bars. Not ordered: to sort half a
    # million bars takes longer than everything else.
    return select(*bar_columns).select_from(level.outerjoin(bars, within)).limit(limit)


def select_nth_old(symbol: str, interval: str, before_ns: int, n: int) -> Select[tuple[int]]:
    """Return the statement for the start of the n-th bar of those before ``before_ns``."""
    return (
        select(bars.c.start)
        .where(*_before(bars, symbol, interval, before_ns))
        .order_by(bars.c.start)
        .offset(n)
        .limit(1)
    )


def delete_old_refused(interval: str, before_ns: int) -> Delete:
    """Return the statement that removes the refused rows of imports from before a time."""
    table = import_refused.c
    return delete(import_refused).where(
        table["import"] == "", table.interval == interval, table.start < before_ns
    )


def delete_old(symbol: str, interval: str, before_ns: int) -> Delete:
    """Return the statement that removes the bars before ``before_ns``."""
    return delete(bars).where(*_before(bars, symbol, interval, before_ns))


def _before(
    table: Table, symbol: str, interval: str, before_ns: int
) -> tuple[ColumnElement[bool], ...]:
    columns = table.c
    return (
        columns.symbol == symbol,
        columns.interval == interval,
        columns.start < before_ns,
    )

"""The tables, the same for SQLite and PostgreSQL; ``migrations`` makes them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    column,
)

from aggregator.bars.bar import BarState

metadata = MetaData()

KEY = ("symbol", "interval", "start", "number")


def _key_columns() -> list[Column[str] | Column[int]]:
    return [
        Column("symbol", Text, nullable=False),
        Column("interval", Text, nullable=False),
        Column("start", BigInteger, nullable=False),
        Column("number", Integer, nullable=False),
        Column("end", BigInteger, nullable=False),
    ]


def _candle_columns() -> list[Column[float] | Column[int]]:
    return [
        Column("open", Double, nullable=False),
        Column("high", Double, nullable=False),
        Column("low", Double, nullable=False),
        Column("close", Double, nullable=False),
        Column("volume", BigInteger, nullable=False),
        Column("trades", BigInteger, nullable=False),
        # vwap is (notional + notional_error) / volume.
        Column("notional", Double, nullable=False),
        Column("notional_error", Double, nullable=False),
        Column("first_ts", BigInteger, nullable=False),
        Column("first_sequence", BigInteger, nullable=False),
        Column("last_ts", BigInteger, nullable=False),
        Column("last_sequence", BigInteger, nullable=False),
    ]


# Without a rowid SQLite keeps the rows themselves in the order of the key: a read of consecutive
# bars is one range of pages.
bars = Table(
    "bars",
    metadata,
    *_key_columns(),
    *_candle_columns(),
    Column("state", SmallInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("coverage", SmallInteger, nullable=False),
    Column("phase", Text, nullable=False),
    PrimaryKeyConstraint(*KEY, name="bars_pkey"),
    sqlite_with_rowid=False,
)
_open = column("state", SmallInteger) < BarState.FINAL.value
# The few that a graceful stop left open.
Index("bars_open", bars.c.symbol, bars.c.interval, sqlite_where=_open, postgresql_where=_open)

# Every symbol that has, or had, bars.
symbols = Table(
    "symbols",
    metadata,
    Column("symbol", Text, nullable=False),
    PrimaryKeyConstraint("symbol", name="symbols_pkey"),
    sqlite_with_rowid=False,
)

# When at least one producer was connected.
feed_spans = Table(
    "feed_spans",
    metadata,
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger, nullable=False),
    PrimaryKeyConstraint("start", name="feed_spans_pkey"),
    sqlite_with_rowid=False,
)

# How far each unfinished import came, and what it has so far.
imports = Table(
    "imports",
    metadata,
    Column("id", Text, nullable=False),
    Column("file", Integer, nullable=False),
    Column("row", BigInteger, nullable=False),
    # JSON: what the report at the end tells of the rows so far.
    Column("counts", Text, nullable=False),
    # When it last went on.
    Column("updated", BigInteger, nullable=False),
    PrimaryKeyConstraint("id", name="imports_pkey"),
    sqlite_with_rowid=False,
)
import_bars = Table(
    "import_bars",
    metadata,
    Column("import", Text, nullable=False),
    *_key_columns(),
    *_candle_columns(),
    Column("phase", Text, nullable=False),
    PrimaryKeyConstraint("import", *KEY, name="import_bars_pkey"),
    sqlite_with_rowid=False,
)

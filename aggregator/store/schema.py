"""The tables, the same for SQLite and PostgreSQL; ``migrations`` makes them.

The columns of bars follow from :data:`marketdata.fields.BAR_FIELDS`. A new stored field also needs
a migration, which adds its column to databases that are there already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    false,
)

from aggregator.bars.bar import BarState
from marketdata.fields import BAR_FIELDS, Field, Kind

metadata = MetaData()

KEY = ("symbol", "interval", "start", "number")
_TYPES = {
    Kind.TEXT: Text,
    Kind.REAL: Double,
    Kind.COUNT: BigInteger,
    Kind.SIZE: BigInteger,
    Kind.POSITION: BigInteger,
    Kind.NUMBER: Integer,
    Kind.TIME: BigInteger,
    Kind.CHOICE: SmallInteger,
    Kind.FLAG: Boolean,
}


def stored_fields(fields: Iterable[Field]) -> tuple[Field, ...]:
    """Return the fields that have a column, those of the key first."""
    stored = {field.name: field for field in fields if field.stored}
    key = [stored.pop(name) for name in KEY]
    return (*key, *stored.values())


STORED = stored_fields(BAR_FIELDS)
# These say how far a bar is, not what was traded.
_PROGRESS = ("state", "revision", "coverage")
# The bars of an unfinished import are all final and covered, so these columns would say nothing.
STAGED = tuple(field for field in STORED if field.name not in _PROGRESS)


def _columns(fields: Sequence[Field]) -> list[Column[Any]]:
    return [Column(field.name, _TYPES[field.kind], nullable=False) for field in fields]


# Without a rowid SQLite keeps the rows themselves in the order of the key: a read of consecutive
# bars is one range of pages.
bars = Table(
    "bars",
    metadata,
    *_columns(STORED),
    # Whether all of its trades come from imported files, so that the trades of other files may be
    # added to it.
    Column("imported", Boolean, nullable=False, server_default=false()),
    PrimaryKeyConstraint(*KEY, name="bars_pkey"),
    sqlite_with_rowid=False,
)
# What a row of :mod:`aggregator.store.rows` has.
bar_columns = [bars.c[field.name] for field in STORED]
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

# The last orderly stop: one row, none before the first.
last_stop = Table(
    "last_stop",
    metadata,
    Column("number", Integer, nullable=False),
    # Whether no run came after it.
    Column("is_last", Boolean, nullable=False),
    # JSON: by producer id its last sequence, the time of its report and the times it covered.
    Column("senders", Text, nullable=False),
    PrimaryKeyConstraint("number", name="last_stop_pkey"),
    sqlite_with_rowid=False,
)

# The last run that took the store: one row, none before the first.
runs = Table(
    "runs",
    metadata,
    Column("number", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    PrimaryKeyConstraint("number", name="runs_pkey"),
    sqlite_with_rowid=False,
)

# Ticks that were refused, with first <= exchange time <= last.
refusals = Table(
    "refusals",
    metadata,
    Column("symbol", Text, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False),
    PrimaryKeyConstraint("symbol", "first", name="refusals_pkey"),
    sqlite_with_rowid=False,
)

# How far each unfinished import has come.
imports = Table(
    "imports",
    metadata,
    Column("id", Text, nullable=False),
    Column("file", Integer, nullable=False),
    Column("row", BigInteger, nullable=False),
    # JSON: the counts of the final report, for the rows so far.
    Column("counts", Text, nullable=False),
    # When it last made progress.
    Column("updated", BigInteger, nullable=False),
    # JSON: the contents of its files.
    Column("files", Text, nullable=False, server_default="[]"),
    # How its bars are being stored; empty while the files are read.
    Column("storing", Text, nullable=False, server_default=""),
    PrimaryKeyConstraint("id", name="imports_pkey"),
    sqlite_with_rowid=False,
)
# The bars of unfinished imports.
import_bars = Table(
    "import_bars",
    metadata,
    Column("import", Text, nullable=False),
    *_columns(STAGED),
    PrimaryKeyConstraint("import", *KEY, name="import_bars_pkey"),
    sqlite_with_rowid=False,
)
# The bars in whose time rows of an import were refused: those of unfinished imports, and those of
# finished ones that have no trade, with an empty id. Other bars have the count themselves.
import_refused = Table(
    "import_refused",
    metadata,
    Column("import", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("interval", Text, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("count", BigInteger, nullable=False, server_default="1"),
    PrimaryKeyConstraint("import", "symbol", "interval", "start", name="import_refused_pkey"),
    sqlite_with_rowid=False,
)
# The files whose trades are in the bars, since the moment when the first bar is stored.
imported_files = Table(
    "imported_files",
    metadata,
    # SHA-256 of what is in it.
    Column("content", Text, nullable=False),
    Column("name", Text, nullable=False),
    # JSON: the settings and the intervals with which it was imported.
    Column("settings", Text, nullable=False),
    Column("intervals", Text, nullable=False),
    Column("imported", BigInteger, nullable=False),
    # Whether no other file has replaced a part of it.
    Column("whole", Boolean, nullable=False),
    PrimaryKeyConstraint("content", name="imported_files_pkey"),
    sqlite_with_rowid=False,
)
# The hours of each symbol in each file, to notice that two files may have the same trades.
imported_hours = Table(
    "imported_hours",
    metadata,
    # The unfinished import, empty for a file of imported_files.
    Column("import", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("hour", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Column("first_ts", BigInteger, nullable=False),
    Column("last_ts", BigInteger, nullable=False),
    Column("trades", BigInteger, nullable=False),
    Column("volume", BigInteger, nullable=False),
    # Price and volume of the trades at the first and at the last time, each with a separator.
    Column("first_trades", Text, nullable=False),
    Column("last_trades", Text, nullable=False),
    # The volume counts 10^-volume_decimals.
    Column("volume_decimals", Integer, nullable=False, server_default="0"),
    # The ids of the trades as ranges, see aggregator.importing.ids.
    Column("ids", Text, nullable=False, server_default="?;"),
    PrimaryKeyConstraint("import", "symbol", "hour", "content", name="imported_hours_pkey"),
    sqlite_with_rowid=False,
)

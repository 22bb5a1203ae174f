"""Make the tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _bar_columns() -> list[sa.Column[str] | sa.Column[int] | sa.Column[float]]:
    integers = ("volume", "trades", "first_ts", "first_sequence", "last_ts", "last_sequence")
    doubles = ("open", "high", "low", "close", "notional", "notional_error")
    return [
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("interval", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in doubles),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in integers),
        sa.Column("phase", sa.Text, nullable=False),
    ]


def upgrade() -> None:
    """Make all tables."""
    key = ("symbol", "interval", "start", "number")
    op.create_table(
        "bars",
        *_bar_columns(),
        sa.Column("state", sa.SmallInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("coverage", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint(*key, name="bars_pkey"),
        sqlite_with_rowid=False,
    )
    is_open = sa.column("state", sa.SmallInteger) < 3
    op.create_index(
        "bars_open",
        "bars",
        ["symbol", "interval"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    op.create_table(
        "symbols",
        sa.Column("symbol", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("symbol", name="symbols_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "feed_spans",
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("start", name="feed_spans_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "imports",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("file", sa.Integer, nullable=False),
        sa.Column("row", sa.BigInteger, nullable=False),
        sa.Column("counts", sa.Text, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="imports_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "import_bars",
        sa.Column("import", sa.Text, nullable=False),
        *_bar_columns(),
        sa.PrimaryKeyConstraint("import", *key, name="import_bars_pkey"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Remove all tables, with all that is in them."""
    for name in ("import_bars", "imports", "feed_spans", "symbols", "bars"):
        op.drop_table(name)

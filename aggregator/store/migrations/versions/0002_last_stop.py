"""Remember how the last run stopped, and which ticks were refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables; a run of an earlier version counts as one that crashed."""
    for table in ("bars", "import_bars"):
        op.add_column(
            table, sa.Column("refused", sa.BigInteger, nullable=False, server_default="0")
        )
    op.create_table(
        "refusals",
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("symbol", "first", name="refusals_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "last_stop",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("is_last", sa.Boolean, nullable=False),
        sa.Column("senders", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("number", name="last_stop_pkey"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("last_stop")
    op.drop_table("refusals")
    for table in ("bars", "import_bars"):
        op.drop_column(table, "refused")

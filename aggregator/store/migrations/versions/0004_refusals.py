"""Remember which ticks were refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table and the columns; of bars that are there already nothing is known."""
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


def downgrade() -> None:
    """Forget them."""
    op.drop_table("refusals")
    for table in ("bars", "import_bars"):
        op.drop_column(table, "refused")

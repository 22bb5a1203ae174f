"""Remember how the last run stopped."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table; a run of an earlier version counts as one that crashed."""
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

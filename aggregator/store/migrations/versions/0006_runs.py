"""Remember which run of the aggregator wrote to the store last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table; of runs before nothing is known."""
    op.create_table(
        "runs",
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("number", name="runs_pkey"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Forget it."""
    op.drop_table("runs")

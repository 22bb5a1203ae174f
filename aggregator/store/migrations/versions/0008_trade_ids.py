"""Remember the ids of imported trades, and sizes of imported hours with decimals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the columns; of the trades so far no ids are known, and all sizes are whole numbers."""
    ids = sa.Column("ids", sa.Text, nullable=False, server_default="?;")
    decimals = sa.Column("volume_decimals", sa.Integer, nullable=False, server_default="0")
    op.add_column("imported_hours", decimals)
    op.add_column("imported_hours", ids)


def downgrade() -> None:
    """Forget the ids; the volume of an hour is only read while its import goes on."""
    op.drop_column("imported_hours", "ids")
    op.drop_column("imported_hours", "volume_decimals")

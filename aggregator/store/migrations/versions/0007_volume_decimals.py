"""Keep sizes with decimals: the volume of a bar counts 10^-volume_decimals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

TABLES = ("bars", "import_bars")
# For people: PostgreSQL has exact decimals, SQLite has none.
SIZE = """
ALTER TABLE bars ADD COLUMN size numeric
GENERATED ALWAYS AS (trim_scale(volume * power(10::numeric, -volume_decimals))) STORED
"""


def upgrade() -> None:
    """Add the decimals; all sizes so far are whole numbers."""
    for table in TABLES:
        decimals = sa.Column("volume_decimals", sa.Integer, nullable=False, server_default="0")
        op.add_column(table, decimals)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(SIZE)


def downgrade() -> None:
    """Forget the decimals.

    Bars with some are deleted: an older release would read other sizes.
    """
    if op.get_bind().dialect.name == "postgresql":
        op.drop_column("bars", "size")
    for table in TABLES:
        op.execute(f"DELETE FROM {table} WHERE volume_decimals > 0")  # noqa: S608  our own names
        op.drop_column(table, "volume_decimals")

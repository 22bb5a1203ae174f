"""Count the refused rows of imports, and keep those of times without a bar."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the count; an unfinished import has at least one row for each bar."""
    count = sa.Column("count", sa.BigInteger, nullable=False, server_default="1")
    op.add_column("import_refused", count)


def downgrade() -> None:
    """Forget the counts."""
    op.execute("DELETE FROM import_refused WHERE import = ''")
    op.drop_column("import_refused", "count")

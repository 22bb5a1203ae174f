"""Remember which files were imported, and which bars are made of them alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables and columns; bars that are there already count as made of live trades."""
    op.add_column(
        "bars", sa.Column("imported", sa.Boolean, nullable=False, server_default=sa.false())
    )
    # An unfinished import of the version before cannot be continued: nothing of it is stored yet,
    # or the same command makes the same bars again.
    op.execute("DELETE FROM import_bars")
    op.execute("DELETE FROM imports")
    op.add_column("imports", sa.Column("files", sa.Text, nullable=False, server_default="[]"))
    op.add_column("imports", sa.Column("storing", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "import_refused",
        sa.Column("import", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("interval", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "import", "symbol", "interval", "start", name="import_refused_pkey"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "imported_files",
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("settings", sa.Text, nullable=False),
        sa.Column("intervals", sa.Text, nullable=False),
        sa.Column("imported", sa.BigInteger, nullable=False),
        sa.Column("whole", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("content", name="imported_files_pkey"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "imported_hours",
        sa.Column("import", sa.Text, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in ("first_ts", "last_ts", "trades", "volume")
        ),
        sa.Column("first_trades", sa.Text, nullable=False),
        sa.Column("last_trades", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("import", "symbol", "hour", "content", name="imported_hours_pkey"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Forget the files."""
    op.drop_table("imported_hours")
    op.drop_table("imported_files")
    op.drop_table("import_refused")
    op.drop_column("imports", "storing")
    op.drop_column("imports", "files")
    op.drop_column("bars", "imported")

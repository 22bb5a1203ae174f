"""Run the migrations on the connection of :mod:`aggregator.store.database`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
# The connection has an open transaction, which all migrations belong to.
context.run_migrations()

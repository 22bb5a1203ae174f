"""Run the steps on the connection that :mod:`aggregator.store.database` offers."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
# The connection is within a transaction already, and all steps belong to it.
context.run_migrations()

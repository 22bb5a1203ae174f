"""A start looks at the version of the tables before it loads the migrations."""

from __future__ import annotations

from alembic.config import Config
from alembic.script import ScriptDirectory

from aggregator.store.database import newest_revision


def test_the_newest_migration_is_named() -> None:
    config = Config()
    config.set_main_option("script_location", "aggregator.store:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == newest_revision()

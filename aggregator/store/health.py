"""Say whether the database works: the newest error, a log line and a call at each change."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from aggregator.store.database import Database

log = structlog.get_logger()


class StoreHealth:
    """Whether the last request to the database succeeded.

    Args:
        database: the one that is watched.
        tell: called with False when it begins to fail, with True when it works again.
    """

    def __init__(self, database: Database, tell: Callable[[bool], None]) -> None:
        self._database = database
        self._tell = tell
        # None: it works.
        self.problem: str | None = "not opened yet"
        self._told: bool | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last request failed."""
        return self.problem is not None

    def failed(self, error: BaseException) -> None:
        """Note that a request failed."""
        self.problem = self._database.problem(error)
        if self._told is not False:
            log.error("store_failing", store=self._database.name, problem=self.problem)
            self._told = False
            self._tell(False)
        self._database.refresh()

    def succeeded(self, waiting: int) -> None:
        """Note that a request succeeded while ``waiting`` bars were not written yet."""
        self.problem = None
        if self._told is not True:
            log.info("store_ok", store=self._database.name, waiting=waiting)
            self._told = True
            self._tell(True)

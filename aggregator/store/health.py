"""Say whether the store works: the newest error, a log line and a call at each change."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from aggregator.store.database import Database

log = structlog.get_logger()

OK, FAILING, OVERFLOWING = "ok", "failing", "overflowing"
_EVENTS = {FAILING: "store_failing", OVERFLOWING: "store_overflowing"}


class StoreHealth:
    """Whether the last request to the database succeeded, and what was said about the store.

    Args:
        database: the one that is watched.
        tell: called with False when the store begins to fail, with True when it works again.
    """

    def __init__(self, database: Database, tell: Callable[[bool], None]) -> None:
        self._database = database
        self._tell = tell
        # None: it works.
        self.problem: str | None = "not opened yet"
        self._told: str | None = None

    @property
    def is_failing(self) -> bool:
        """Whether the last request failed."""
        return self.problem is not None

    def failed(self, error: BaseException) -> None:
        """Note that a request failed."""
        self.problem = self._database.problem(error)
        self._database.refresh()

    def succeeded(self) -> None:
        """Note that a request succeeded."""
        self.problem = None

    def report(self, state: str, problem: str, waiting: int) -> None:
        """Say which state the store has now, if it is another one.

        Args:
            state: :data:`OK`, :data:`FAILING` or :data:`OVERFLOWING`.
            problem: why it is not ok.
            waiting: how many bars are not written yet.
        """
        before, self._told = self._told, state
        if state == before:
            return
        name = self._database.name
        if state == OK:
            log.info("store_ok", store=name, waiting=waiting)
        else:
            log.error(_EVENTS[state], store=name, problem=problem)
        if before is None or OK in {state, before}:
            self._tell(state == OK)

"""Know which service writes a line of the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

import structlog

from standalone.settings import StandaloneSettings

PROGRAM = "standalone"
SERVICES = frozenset({"ingest", "aggregator", "gateway"})

# The service that began the present task or callback.
present: ContextVar[str] = ContextVar("present", default=PROGRAM)


class LogNames:
    """A processor of structlog: name the service of each line, and keep its level.

    The nearest caller that belongs to a service names it. Code that services share may be called by
    the event loop; then it is the service that began the task.
    """

    def __init__(self) -> None:
        self._levels: Mapping[str, int] = {}

    def configure(self, settings: StandaloneSettings) -> StandaloneSettings:
        """Use the levels of ``settings``, and return them."""
        numbers = logging.getLevelNamesMapping()
        self._levels = {
            name: numbers[each.log_level.upper()] for name, each in settings.services.items()
        }
        return settings

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Return the event with its service.

        Raises:
            structlog.DropEvent: it is below the level of its service.
        """
        service = event.setdefault("service", _caller() or present.get())
        number = logging.getLevelNamesMapping().get(method.upper(), logging.ERROR)
        if number < self._levels.get(service, 0):
            raise structlog.DropEvent
        return event


def _caller() -> str | None:
    frame = sys._getframe(1)
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package in SERVICES:
            return package
        frame = frame.f_back  # type: ignore[assignment]
    return None

"""Say why the log cannot be written, once per change."""

from __future__ import annotations

import errno
import os
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path

import structlog

from aggregator.ticklog.loop_calls import call_in

log = structlog.get_logger()

_USUAL = {errno.ENOSPC: "disk full", errno.EDQUOT: "disk quota exceeded"}


def describe(error: OSError) -> str:
    """Return the problem in a few words."""
    number = error.errno or errno.EIO
    return _USUAL.get(number) or f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"


class LogHealth:
    """The problem of a log; it changes in the event loop only.

    Args:
        directory: named in the log lines.
        loop: the event loop.
        tell: called with each new problem, and with "" when the log works again.
    """

    def __init__(
        self, directory: Path, loop: AbstractEventLoop, tell: Callable[[str], None]
    ) -> None:
        self._directory = directory
        self._loop = loop
        self._tell = tell
        # By source, as its thread reported it last.
        self._reported: dict[str, str] = {}
        self._problems: dict[str, str] = {}
        self.problem = ""

    def report(self, source: str, problem: str) -> None:
        """Note the problem of a source, such as ``write``; "" is none. Called by its thread."""
        if self._reported.get(source, "") != problem:
            self._reported[source] = problem
            call_in(self._loop, self._set, source, problem)

    def _set(self, source: str, problem: str) -> None:
        self._problems[source] = problem
        now = next(filter(None, self._problems.values()), "")
        if now == self.problem:
            return
        self.problem = now
        if now:
            log.error("log_failing", log=str(self._directory), problem=now)
        else:
            log.info("log_ok", log=str(self._directory))
        self._tell(now)

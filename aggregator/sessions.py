"""Say which session a tick belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from marketdata.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S
END_OF_TIME = 2**63

# From an exchange time in ns to the session's start and end, start <= time < end.
SessionRule = Callable[[int], tuple[int, int]]


def utc_day(ts_ns: int) -> tuple[int, int]:
    """Return the UTC day of ``ts_ns``."""
    start = ts_ns - ts_ns % NS_PER_DAY
    return start, start + NS_PER_DAY


def no_session(_ts_ns: int) -> tuple[int, int]:
    """Return all of time."""
    return 0, END_OF_TIME


SESSION_RULES: dict[Literal["utc-day", "none"], SessionRule] = {
    "utc-day": utc_day,
    "none": no_session,
}

"""Say which session a tick belongs to, and what part of the trading day a time is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from marketdata.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S
END_OF_TIME = 2**63

Phase = Literal["pre", "regular", "post", "closed", ""]


class Session(NamedTuple):
    """One session: start <= exchange time < end."""

    start: int
    end: int
    # When there is trading in it, which may be less: a trading day starts when the one before it
    # has ended. By these hours its coverage is judged.
    opens: int
    closes: int


class SessionRule(Protocol):
    """How time is divided for a symbol. Exchange times are within 1..2^63-1."""

    def session(self, ts_ns: int) -> Session | None:
        """Return the session of the Aggregate, None between two sessions."""

    def day(self, ts_ns: int) -> Session | None:
        """Return the bounds of the daily bar, None between two days."""

    def phase(self, ts_ns: int) -> Phase:
        """Return the part of the trading day, "" where there is no calendar."""

    def anchor(self, interval_ns: int) -> int:
        """Return the offset of intraday bars: each start is a multiple of the interval later."""


# From a normalized symbol to its rule; two calls with one symbol return the same object.
RuleFor = Callable[[str], SessionRule]


class UtcDay:
    """Sessions are days of UTC."""

    def session(self, ts_ns: int) -> Session:
        """Return the UTC day of ``ts_ns``."""
        start = ts_ns - ts_ns % NS_PER_DAY
        return Session(start, start + NS_PER_DAY, start, start + NS_PER_DAY)

    def day(self, ts_ns: int) -> Session:
        """Return the UTC day of ``ts_ns``."""
        return UtcDay.session(self, ts_ns)

    def phase(self, _ts_ns: int) -> Phase:
        """Return "": every time is alike."""
        return ""

    def anchor(self, _interval_ns: int) -> int:
        """Return 0."""
        return 0


class NoSession(UtcDay):
    """One session holds all of time; daily bars are days of UTC."""

    def session(self, _ts_ns: int) -> Session:
        """Return all of time."""
        return Session(0, END_OF_TIME, 0, END_OF_TIME)


SESSION_RULES: dict[Literal["utc-day", "none"], SessionRule] = {
    "utc-day": UtcDay(),
    "none": NoSession(),
}

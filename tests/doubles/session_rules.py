"""Rules of sessions that no calendar has."""

from __future__ import annotations

from aggregator.sessions.sessions import NS_PER_DAY, Session, UtcDay
from marketdata.timestamps import NS_PER_S

S = NS_PER_S


class HalfHourDays(UtcDay):
    """Days that begin at 00:30 UTC and pause for the first five minutes and ten seconds."""

    def session(self, ts_ns: int) -> Session | None:  # type: ignore[override]
        """Return the day, None in its pause."""
        start = (ts_ns - 1800 * S) // NS_PER_DAY * NS_PER_DAY + 1800 * S
        opens = start + 310 * S
        return (
            Session(opens, start + NS_PER_DAY, opens, start + NS_PER_DAY)
            if ts_ns >= opens
            else None
        )

    def day(self, ts_ns: int) -> Session | None:  # type: ignore[override]
        """Return the day, None in its pause."""
        return self.session(ts_ns)

    def anchor(self, interval_ns: int) -> int:
        """Return half an hour."""
        return 1800 * S % interval_ns

"""Count producers and their ticks, for the reports to the aggregator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from marketdata.wire.market_data_pb2 import FeedReport


class FeedState:
    """How many producers are connected, since when, and how many ticks came.

    Reports never claim more feed than there was: producers that came and went between two reports
    are left out.
    """

    def __init__(self, now_ns: int) -> None:
        self.producers = 0
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self._came_ns = 0
        # When the last producer left that a report had told of.
        self._left_ns: int | None = now_ns
        self._reported = (0, 0, 0)

    @property
    def has_news(self) -> bool:
        """Whether anything changed since the last report."""
        return self._news() != self._reported

    def join(self, now_ns: int) -> bool:
        """Count one more producer; return whether it is the only one."""
        self.producers += 1
        if self.producers == 1:
            self._came_ns = now_ns
        return self.producers == 1

    def leave(self, now_ns: int) -> bool:
        """Count one producer less; return whether it was the last."""
        self.producers -= 1
        if not self.producers and self._left_ns is None:
            self._left_ns = now_ns
        return not self.producers

    def count(self, accepted: int, rejected: Mapping[str, int]) -> None:
        """Count ticks."""
        self.accepted += accepted
        self.rejected.update(rejected)

    def report(self) -> FeedReport:
        """Return the report to send now."""
        self._reported = self._news()
        if self.producers:
            self._left_ns = None
        return FeedReport(
            producers=self.producers,
            accepted=self.accepted,
            rejected=self.rejected,
            since=self._came_ns if self._left_ns is None else self._left_ns,
        )

    def _news(self) -> tuple[int, int, int]:
        return self.producers, self.accepted, self.rejected.total()

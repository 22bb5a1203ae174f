"""Events that wait for a program that is slower than the market."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from itertools import count
from typing import Any, cast

from marketdata.client.live.events import Event, Gap, IntervalComplete, Policy, Update
from marketdata.client.rows import Aggregate, Bar

# More than that, and nothing more is read, so that the gateway does what its policy says. An event
# takes about 1 KB.
MAX_WAITING = 10_000


class Pending:
    """Events in their order.

    ``conflate``: only the newest state of each symbol, or of each bar, waits; a closed bar is never
    left out for a newer one. ``buffer``: every state waits.
    """

    def __init__(self, policy: Policy) -> None:
        self._conflates = policy == "conflate"
        self._waiting: OrderedDict[object, Event[Any]] = OrderedDict()
        self._unique = count()
        # States of symbols that conflate: there are only so many symbols.
        self._unlimited = 0

    @property
    def is_full(self) -> bool:
        """Whether so many wait that nothing more should be read."""
        return len(self._waiting) - self._unlimited >= MAX_WAITING

    @property
    def has_room(self) -> bool:
        """Whether reading should go on after it was full."""
        return len(self._waiting) - self._unlimited <= MAX_WAITING // 2

    def put(self, event: Event[Any]) -> None:
        """Add an event, in the place of one that it makes old."""
        key = self._key(event)
        before = self._waiting.pop(key, None)
        if isinstance(before, Update) and isinstance(event, Update):
            event = _join(before, event)
        elif self._is_unlimited(event):
            self._unlimited += 1
        # To the end, so that events stay in the order of their newest part.
        self._waiting[key] = event

    def pop(self) -> Event[Any] | None:
        """Return the next event, or None."""
        if not self._waiting:
            return None
        _, event = self._waiting.popitem(last=False)
        self._unlimited -= self._is_unlimited(event)
        return event

    def _is_unlimited(self, event: Event[Any]) -> bool:
        return self._conflates and isinstance(event, Update) and isinstance(event.data, Aggregate)

    def _key(self, event: Event[Any]) -> object:
        if isinstance(event, Update):
            if not self._conflates:
                return next(self._unique)
            data = cast("Aggregate | Bar", event.data)
            if isinstance(data, Aggregate):
                return data.symbol
            return data.symbol, data.start_ns, data.number
        if isinstance(event, IntervalComplete):
            return event
        # Only the last of stale and live counts.
        return Pending


def _join(before: Update[Any], after: Update[Any]) -> Update[Any]:
    # `after` says what both say: what was left out, and what was lost.
    gap = after.gap
    if before.gap is not None and gap is not None:
        unknown = before.gap.missed is None or gap.missed is None
        missed = None if unknown else before.gap.missed + gap.missed  # type: ignore[operator]
        gap = Gap(gap.symbol, missed)
    recovered = [each for each in (before.recovered, after.recovered) if each is not None]
    return replace(
        after,
        conflated=before.conflated + after.conflated + 1,
        recovered=all(recovered) if recovered else None,
        gap=gap or before.gap,
    )

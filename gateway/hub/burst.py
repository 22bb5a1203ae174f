"""States that came together, encoded once for all who keep up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from gateway.hub.updates import AggregateUpdate, Delivery, Policy

T = TypeVar("T")
# Says what one client is sent; the same object for all who are sent the same.
Encode = Callable[[Sequence[Delivery]], T]


class Burst:
    """Aggregates that a subscription is sent in one go while it keeps up, in order.

    Args:
        updates: all states, of one symbol or of several.
        newest: the newest of each symbol, and how many there are before it.
        now: when they came.
    """

    __slots__ = ("_every", "_forms", "continuous", "newest", "now", "skipped")

    def __init__(
        self,
        updates: Sequence[AggregateUpdate],
        newest: Sequence[tuple[AggregateUpdate, int]],
        now: float,
    ) -> None:
        self.now = now
        # Whether each follows the one before it that the hub saw; most bursts are of one.
        if len(updates) == 1:
            self.continuous = updates[0].continuous
        else:
            self.continuous = all(update.continuous for update in updates)
        # States that are left out for those who conflate.
        self.skipped = len(updates) - len(newest)
        self._every = updates
        self.newest = newest
        self._forms: dict[tuple[bool, Encode[Any]], Any] = {}

    def form(self, policy: Policy, encode: Encode[T]) -> T:
        """Return ``encode`` of what ``policy`` asks for, computed once for all."""
        # Where nothing is left out it is the same for both.
        everything = self.skipped != 0 and policy == "buffer"
        key = (everything, encode)
        form = self._forms.get(key)
        if form is None:
            if everything:
                deliveries = [Delivery(update, None, 0) for update in self._every]
            else:
                deliveries = [Delivery(update, None, before) for update, before in self.newest]
            form = self._forms[key] = encode(deliveries)
        result: T = form
        return result

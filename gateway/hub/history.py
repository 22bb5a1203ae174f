"""Remember the latest updates, so that a client that comes back misses none."""

from __future__ import annotations

from collections import deque

from gateway.hub.updates import Topic, Update


class History:
    """The last updates of all topics together, oldest out first.

    The bounds are ``max_updates`` and ``max_age_s``; one update is about 1 KiB.
    """

    def __init__(self, max_updates: int, max_age_s: float) -> None:
        self._max_updates = max_updates
        self._max_age_s = max_age_s
        self._by_topic: dict[Topic, deque[Update]] = {}
        # In the order of arrival. One whose topic was forgotten stays until it is the oldest.
        self._order: deque[tuple[float, Topic, Update]] = deque()

    def __len__(self) -> int:
        return len(self._order)

    def add(self, topic: Topic, update: Update, now: float) -> None:
        """Remember ``update``; an update that does not continue makes earlier ones useless."""
        order = self._order
        if order and order[0][0] < now - self._max_age_s:
            self.expire(now)
        updates = self._by_topic.get(topic)
        if updates is None:
            self._by_topic[topic] = deque((update,))
        else:
            # States of bars may skip some and be continuous; here it takes all of them.
            if not update.continuous or (updates and update.sequence != updates[-1].sequence + 1):
                updates.clear()
            updates.append(update)
        order.append((now, topic, update))
        if len(order) > self._max_updates:
            self._drop_oldest()

    def since(self, topic: Topic, epoch: int, sequence: int) -> list[Update] | None:
        """Return all updates after ``sequence``, or None if they are not all known."""
        updates = self._by_topic.get(topic)
        if not updates or updates[-1].epoch != epoch:
            return None
        missed = updates[-1].sequence - sequence
        if not 0 <= missed <= len(updates):
            return None
        return [updates[index] for index in range(len(updates) - missed, len(updates))]

    def forget(self, topic: Topic) -> None:
        """Forget a topic whose updates no longer come."""
        self._by_topic.pop(topic, None)

    def expire(self, now: float) -> None:
        """Forget updates that are too old, also the latest one of a topic."""
        while self._order and self._order[0][0] < now - self._max_age_s:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, topic, update = self._order.popleft()
        updates = self._by_topic.get(topic)
        if updates and updates[0] is update:
            updates.popleft()
            if not updates:
                del self._by_topic[topic]

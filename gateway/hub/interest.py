"""Know which topics the upstream has to carry."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Interest(Generic[T]):
    """The topics that subscriptions want, and those that one wanted until ``linger_s`` ago.

    Topics linger so that a client that comes back finds the updates that it missed.
    """

    def __init__(self, linger_s: float) -> None:
        self._linger_s = linger_s
        # How many subscriptions want each.
        self._counts: dict[T, int] = {}
        # Until when those are carried that no subscription wants; the first ends first.
        self._lingering: dict[T, float] = {}
        # Changes that the upstream has still to send.
        self._added: set[T] = set()
        self._removed: set[T] = set()

    def __len__(self) -> int:
        return len(self._counts) + len(self._lingering)

    def __iter__(self) -> Iterator[T]:
        yield from self._counts
        yield from self._lingering

    def __contains__(self, topic: T) -> bool:
        return topic in self._counts or topic in self._lingering

    def want(self, topics: Iterable[T]) -> None:
        """Count one more subscription that wants ``topics``."""
        counts = self._counts
        for topic in topics:
            count = counts.get(topic, 0)
            counts[topic] = count + 1
            if not count and self._lingering.pop(topic, None) is None:
                self._removed.discard(topic)
                self._added.add(topic)

    def leave(self, topics: Iterable[T], now: float) -> None:
        """Count one less."""
        for topic in topics:
            self._counts[topic] -= 1
            if not self._counts[topic]:
                del self._counts[topic]
                self._lingering[topic] = now + self._linger_s

    def expire(self, now: float) -> list[T]:
        """Stop to carry what no subscription wanted for so long; return it."""
        gone: list[T] = []
        while self._lingering:
            topic, until = next(iter(self._lingering.items()))
            if until > now:
                break
            del self._lingering[topic]
            self._added.discard(topic)
            self._removed.add(topic)
            gone.append(topic)
        return gone

    def next_timer(self) -> float | None:
        """Return when :meth:`expire` has something to do."""
        return next(iter(self._lingering.values())) if self._lingering else None

    def take_changes(self) -> tuple[set[T], set[T]]:
        """Return what to add to the upstream and what to remove from it since the last call."""
        changes = self._added, self._removed
        self._added, self._removed = set(), set()
        return changes

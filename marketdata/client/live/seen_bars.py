"""Which states of bars are new, and where history has to begin after a reconnect."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import NamedTuple

from marketdata.client.rows import Bar

# Of each symbol: an hour of seconds.
REMEMBERED_BARS = 3_600
# A bar is revised for 15 minutes; what changed while there was no connection is asked for again.
REVISED_FOR_NS = 20 * 60 * 10**9


class Key(NamedTuple):
    """Which bar of a symbol and interval."""

    start_ns: int
    number: int


class Rank(NamedTuple):
    """Which of two states of a bar is newer: the greater one."""

    # A filler stands where nothing is known to have happened.
    has_trades: bool
    revision: int
    is_closed: bool
    # Epochs are times, so a later run of the aggregator has the greater one.
    epoch: int
    sequence: int


def key_of(bar: Bar) -> Key:
    """Return which bar it is."""
    return Key(bar.start_ns, bar.number)


def rank_of(bar: Bar) -> Rank:
    """Return how new a state is."""
    closed = bar.state in {"final", "revised"}
    return Rank(bar.filler is None, bar.revision, closed, bar.epoch, bar.sequence)


class SeenBars:
    """The last bars of one symbol, each in its newest state.

    Bars beyond ``limit`` are forgotten, the oldest first.
    """

    def __init__(self, limit: int = REMEMBERED_BARS) -> None:
        self._limit = limit
        self._keys: list[Key] = []
        self._states: dict[Key, tuple[Rank, int]] = {}

    def take(self, bar: Bar) -> bool:
        """Count a state as seen; return whether it is new."""
        key, rank = key_of(bar), rank_of(bar)
        known = self._states.get(key)
        if known is not None:
            if rank <= known[0]:
                return False
        elif len(self._keys) == self._limit:
            # A bar from before all of these is not part of a history that was asked for again,
            # which begins with one of them: it was revised.
            if key < self._keys[0]:
                return True
            del self._states[self._keys.pop(0)]
            insort(self._keys, key)
        else:
            insort(self._keys, key)
        self._states[key] = rank, bar.end_ns
        return True

    def resume_ns(self) -> int | None:
        """Return where history has to begin, so that no state is missing; None: no bar was seen.

        It is the start of the oldest bar that may have been revised since.
        """
        if not self._keys:
            return None
        since = self._keys[-1].start_ns - REVISED_FOR_NS
        # Bars that follow each other end in their order.
        first = bisect_left(self._keys, since, key=lambda key: self._states[key][1] - 1)
        return self._keys[first].start_ns

"""Notice which trades of one market were missed, and which come again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

# Trades whose ids are remembered: an exchange sends at most some hundred again after a reconnect,
# and REST pages have 1,000.
REMEMBERED = 20_000
_NS_PER_S = 10**9


class Seen(NamedTuple):
    """A trade as far as order goes."""

    # Empty: the exchange has none.
    id: str
    ts_ns: int


class Gap(NamedTuple):
    """Trades that may be missing between two known ones; None: up to the present."""

    after: Seen
    before: Seen | None

    def describe(self) -> str:
        """Return the gap in words."""
        if self.before is None:
            return f"after trade {self.after.id}"
        return f"between trades {self.after.id} and {self.before.id}"


class Continuity:
    """Follow the trades of one market.

    :attr:`newest` is the latest trade so far.

    Args:
        consecutive: whether the exchange numbers the trades of a market 1, 2, 3, ..., so that a
            missing number is a missing trade.
        remembered: how many ids are kept.
    """

    def __init__(self, *, consecutive: bool, remembered: int = REMEMBERED) -> None:
        self._consecutive = consecutive
        self._ids: set[str] = set()
        self._order: deque[str] = deque()
        self._remembered = remembered
        self._was_cut = False
        self.newest: Seen | None = None

    def cut(self) -> Gap | None:
        """Note that the connection was lost; return what may be missed, up to the present."""
        if self.newest is None:
            return None
        self._was_cut = True
        return Gap(self.newest, None)

    def resume(self, newest: Seen) -> None:
        """Go on after the newest trade of an earlier run; call it before any trade."""
        self.newest = newest

    def knows(self, trade_id: str) -> bool:
        """Return whether a trade was seen, as far as it is remembered."""
        return trade_id in self._ids

    def gap_before(self, trade: Seen) -> Gap | None:
        """Return what may be missing before a live trade; ask before it is added."""
        newest, was_cut = self.newest, self._was_cut
        if newest is None or self.knows(trade.id) or not self._is_later(trade, newest):
            return None
        if self._consecutive:
            return Gap(newest, trade) if int(trade.id) > int(newest.id) + 1 else None
        return Gap(newest, trade) if was_cut else None

    def add(self, trade: Seen, *, live: bool) -> bool:
        """Note a trade; return whether it is new."""
        if self.knows(trade.id):
            return False
        if trade.id:
            self._ids.add(trade.id)
            self._order.append(trade.id)
        if len(self._order) > self._remembered:
            self._ids.discard(self._order.popleft())
        if self.newest is None or self._is_later(trade, self.newest):
            self.newest = trade
            self._was_cut = self._was_cut and not live
        return True

    def is_within(self, trade: Seen, gap: Gap) -> bool:
        """Return whether a trade belongs into a gap. Trades of the same time may."""
        if trade.id == gap.after.id or (gap.before is not None and trade.id == gap.before.id):
            return False
        if self._consecutive:
            number = int(trade.id)
            return int(gap.after.id) < number and (
                gap.before is None or number < int(gap.before.id)
            )
        # Bitstamp's REST trades have times in seconds.
        second = trade.ts_ns // _NS_PER_S
        return gap.after.ts_ns // _NS_PER_S <= second and (
            gap.before is None or second <= gap.before.ts_ns // _NS_PER_S
        )

    def _is_later(self, trade: Seen, other: Seen) -> bool:
        if self._consecutive:
            return int(trade.id) > int(other.id)
        return trade.ts_ns >= other.ts_ns


class Filling:
    """Judge whether pages of old trades close a gap.

    Args:
        gap: the gap.
        continuity: of its market.
        consecutive: as of the continuity.
    """

    def __init__(self, gap: Gap, continuity: Continuity, *, consecutive: bool) -> None:
        self.gap = gap
        self._continuity = continuity
        self._consecutive = consecutive
        # Numbers of trades within the gap, and whether a page reached back to its beginning.
        self._numbers = self._known_numbers() if consecutive else set()
        self.reached_back = False
        self.filled = 0

    def _known_numbers(self) -> set[int]:
        # Those that came meanwhile, by the page for another gap or late.
        if self.gap.before is None:
            return set()
        between = range(int(self.gap.after.id) + 1, int(self.gap.before.id))
        if len(between) > REMEMBERED:
            return set()
        return {number for number in between if self._continuity.knows(str(number))}

    def add(self, trade: Seen) -> bool:
        """Take one trade of a page; return whether it is new and belongs into the gap."""
        if trade.id == self.gap.after.id:
            self.reached_back = True
            return False
        if not self._continuity.is_within(trade, self.gap):
            return False
        if self._consecutive:
            self._numbers.add(int(trade.id))
        is_new = self._continuity.add(trade, live=False)
        self.filled += is_new
        return is_new

    @property
    def missing(self) -> int | None:
        """How many trades are still missing; None: some may be, and nobody knows how many."""
        if not self._consecutive:
            return 0 if self.reached_back else None
        first = int(self.gap.after.id) + 1
        if self.gap.before is not None:
            end = int(self.gap.before.id)
        elif self._numbers:
            end = max(self._numbers)
        else:
            return 0 if self.reached_back else None
        return max(0, end - first + (self.gap.before is None)) - len(self._numbers)

"""Know from which inputs the entries of a queue come."""

from __future__ import annotations

from collections import deque


class Marks:
    """From which inputs the entries of a queue come.

    Entries are added at the end, in the order of positions. When entries leave elsewhere than at
    the front, the positions that are returned may be too old, never too new.
    """

    def __init__(self) -> None:
        # The position of an input, and how many entries were added up to its end.
        self._marks: deque[tuple[int, int]] = deque()
        self._added = 0
        self._taken = 0

    def added(self, position: int, count: int) -> None:
        """Take note of new entries."""
        if count > 0:
            self._added += count
            self._marks.append((position, self._added))

    def took(self, count: int, left: int) -> None:
        """Take note that entries left at the front, and how many are left."""
        if not left:
            self._marks.clear()
            self._added = self._taken = 0
            return
        self._taken += count
        while self._marks and self._marks[0][1] <= self._taken:
            self._marks.popleft()

    def first(self) -> int | None:
        """Return the position of the first entry; None: there is none."""
        return self._marks[0][0] if self._marks else None

    def before(self, limit: int) -> tuple[int, int]:
        """Return how many of the first ``limit`` entries are of inputs that fit as a whole.

        Also the position of the first input that does not.
        """
        count = 0
        for position, added in self._marks:
            if added - self._taken > limit:
                return count, position
            count = added - self._taken
        return count, self._marks[-1][0] + 1 if self._marks else 0

    def up_to(self, position: int) -> int:
        """Return how many entries at the front are of inputs before ``position``."""
        count = 0
        for each, added in self._marks:
            if each >= position:
                break
            count = added - self._taken
        return count

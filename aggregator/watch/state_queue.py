"""Hold the states of symbols that one stream still has to send; their number is bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from aggregator.watch.marks import Marks

# Returns present states by row, each as one of the ``updates`` of an ``UpdateBatch``.
ReadStates = Callable[[Sequence[int]], list[bytes]]
_NO_STATES: Mapping[int, bytes] = {}


class StateQueue:
    """The states of symbols that wait for one stream.

    Of a symbol that is not buffered, its row waits: the stream gets the state of the moment when it
    reads. The states of a buffered symbol wait themselves, in order, up to :attr:`max_buffered`;
    beyond it all of them skip to the newest. A symbol waits in one way at a time, so its sequence
    only grows.

    Args:
        states: reads present states.
    """

    def __init__(self, states: ReadStates) -> None:
        self._states = states
        # A dict keeps the order of change, so no symbol starves.
        self._due: dict[int, None] = {}
        # Each state with its row.
        self._buffered: deque[tuple[int, bytes]] = deque()
        # From which inputs those that wait come.
        self.due_marks = Marks()
        self.buffered_marks = Marks()
        self.max_buffered = 0
        # How many states wait that came while the stream was lost, until all of them are sent.
        self.missed = 0
        # Which symbols are buffered.
        self.buffers_all = True
        self.buffered_rows: set[int] = set()

    def __len__(self) -> int:
        return len(self._due) + len(self._buffered)

    def __bool__(self) -> bool:
        return bool(self._due or self._buffered)

    @property
    def due(self) -> int:
        """How many symbols wait of which the newest state counts."""
        return len(self._due)

    @property
    def buffered(self) -> int:
        """How many states wait in order."""
        return len(self._buffered)

    def choose_buffered(self, rows: Sequence[int]) -> Sequence[int]:
        """Return those of ``rows`` that are buffered."""
        if not self.max_buffered:
            return ()
        if self.buffers_all:
            return rows
        own = self.buffered_rows
        return [row for row in rows if row in own] if own else ()

    def choose(self, rows: Sequence[int]) -> Sequence[int]:
        """Return those of ``rows`` whose next states can wait in order."""
        own = self._in_order(rows)
        return own if own and self._has_room(len(own)) else ()

    # Returns those whose next states come after states that wait in order, or after none.
    def _in_order(self, rows: Sequence[int]) -> Sequence[int]:
        own = self.choose_buffered(rows)
        due = self._due
        return [row for row in own if row not in due] if own and due else own

    def _has_room(self, count: int) -> bool:
        return len(self._buffered) + count <= self.max_buffered + self.missed

    def mark(
        self, rows: Sequence[int], position: int, states: Mapping[int, bytes] = _NO_STATES
    ) -> None:
        """Queue new states of symbols.

        Args:
            rows: the symbols.
            position: of the input that changed them.
            states: those that can wait in order, by row.
        """
        own = self._in_order(rows) if states or self._buffered else ()
        if own:
            if self._has_room(len(own)) and all(row in states for row in own):
                self._buffered.extend((row, states[row]) for row in own)
                self.buffered_marks.added(position, len(own))
                if len(own) == len(rows):
                    return
                chosen = set(own)
                rows = [row for row in rows if row not in chosen]
            else:
                self._make_due(row for row, _ in self._buffered)
        due = self._due
        before = len(due)
        for row in rows:
            due[row] = None
        self.due_marks.added(position, len(due) - before)

    def skip_unbuffered(self) -> None:
        """Let only the newest states wait of symbols that are not buffered any more."""
        if self._buffered and not self.buffers_all:
            kept = self.buffered_rows
            self._make_due(row for row, _ in self._buffered if row not in kept)

    # Lets only the newest states of symbols wait whose states wait in order.
    def _make_due(self, rows: Iterable[int]) -> None:
        gone = dict.fromkeys(rows)
        if not gone:
            return
        firsts = (self.due_marks.first(), self.buffered_marks.first())
        self._buffered = deque(each for each in self._buffered if each[0] not in gone)
        self.buffered_marks.took(0, len(self._buffered))
        self._due.update(gone)
        # Too old for some of them, which does no harm.
        self.due_marks.took(0, 0)
        self.due_marks.added(min(each for each in firsts if each is not None), len(self._due))
        if not self._buffered:
            self.missed = 0

    def unmark(self, rows: Iterable[int]) -> None:
        """Remove the states of symbols that wait."""
        gone = set(rows)
        if self._buffered and gone:
            self._buffered = deque(each for each in self._buffered if each[0] not in gone)
        for row in gone:
            self._due.pop(row, None)
        self._took_buffered(0)
        self.due_marks.took(0, len(self._due))

    def keep_only(self, rows: set[int]) -> None:
        """Remove the states that wait, but those of some symbols."""
        waiting = {*self._due, *(row for row, _ in self._buffered)}
        self.unmark(waiting - rows)

    def clear(self) -> None:
        """Let nothing wait."""
        self._due.clear()
        self._buffered.clear()
        self._took_buffered(0)
        self.due_marks.took(0, 0)

    def take(self, limit: int) -> list[bytes]:
        """Return up to ``limit`` states."""
        states = self.take_buffered(limit)
        return states + self.take_due(limit - len(states))

    def take_buffered(self, limit: int) -> list[bytes]:
        """Return up to ``limit`` states that wait in order."""
        buffered = self._buffered
        if not buffered:
            return []
        count = min(limit, len(buffered))
        states = [buffered.popleft()[1] for _ in range(count)]
        self._took_buffered(count)
        return states

    def take_due(self, limit: int) -> list[bytes]:
        """Return the newest states of up to ``limit`` symbols, the longest waiting first."""
        due = self._due
        if not due:
            return []
        if len(due) <= limit:
            rows = list(due)
            due.clear()
        else:
            rows = list(islice(due, limit))
            for row in rows:
                del due[row]
        self.due_marks.took(len(rows), len(due))
        return self._states(rows)

    def _took_buffered(self, count: int) -> None:
        left = len(self._buffered)
        self.buffered_marks.took(count, left)
        if not left:
            self.missed = 0

"""Keep recent updates, so that a reader whose stream was lost can go on without a hole."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from aggregator.bars.listener import Published
from aggregator.watch.bar_queue import Completed

DEFAULT_MAX_BYTES = 64 * 1024 * 1024
# What an object costs besides its content: an entry with its update, a bytes object or a bar in a
# list, a number in a list.
_ENTRY_BYTES = 250
_RECORD_BYTES = 41
_BAR_BYTES = 200
_NUMBER_BYTES = 40


class Changed(NamedTuple):
    """Rows with a new state."""

    rows: Sequence[int]
    # Each as one of the ``updates`` of an ``UpdateBatch``. None: nobody could take them, so that
    # the newest state counts.
    states: list[bytes] | None


class Partials(NamedTuple):
    """Series with a new state of their open bar; the newest one counts."""

    series: Sequence[int]


class Closed(NamedTuple):
    """Early, final and revised bars."""

    bars: Sequence[Published]


Update = Changed | Partials | Closed | Completed


class Entry(NamedTuple):
    """An update of one input."""

    position: int
    update: Update
    # The queue of the stream that alone was sent it; None: all that want it were.
    owner: object | None
    size: int


class Recent:
    """The updates of the last inputs, within a bound; beyond it the oldest are dropped.

    :attr:`dropped` counts them. Nothing is kept while no stream may come back for it, see
    :attr:`readers`.

    Args:
        max_bytes: about how many bytes they may take.
        position: the place of the present input in the order of all inputs; it grows.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_MAX_BYTES,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        self._max_bytes = max_bytes
        self.position = position
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self.dropped = 0
        # Every update after this position is there.
        self._begins_after = 0
        # How many streams may come back.
        self._readers = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """About how many bytes the updates take."""
        return self._bytes

    @property
    def readers(self) -> int:
        """How many streams, open or lost, may come back."""
        return self._readers

    @readers.setter
    def readers(self, count: int) -> None:
        self._readers = count
        if not count:
            self.begin(self.position())

    def begin(self, position: int) -> None:
        """Begin anew: the updates up to ``position`` are not known."""
        self._entries.clear()
        self._bytes = 0
        self._begins_after = position

    def add(self, update: Update, owner: object | None = None) -> None:
        """Keep an update of the present input.

        Args:
            update: it, whose parts nobody changes any more.
            owner: the queue of the stream that alone is sent it.
        """
        if not self._readers:
            return
        size = _size(update)
        self._entries.append(Entry(self.position(), update, owner, size))
        self._bytes += size
        while self._bytes > self._max_bytes:
            oldest = self._entries.popleft()
            self._bytes -= oldest.size
            self._begins_after = oldest.position
            self.dropped += 1

    def since(self, position: int, owner: object) -> list[Entry] | None:
        """Return what a stream was sent or would have been sent after ``position``.

        None: not all of it is there.
        """
        if not self._begins_after <= position <= self.position():
            return None
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.position <= position:
                break
            if entry.owner is None or entry.owner is owner:
                found.append(entry)
        found.reverse()
        return found


def _size(update: Update) -> int:
    match update:
        case Changed(rows, states):
            content = _NUMBER_BYTES * len(rows)
            if states is not None:
                content += _RECORD_BYTES * len(states) + sum(map(len, states))
        case Partials(series):
            content = _NUMBER_BYTES * len(series)
        case Closed(bars):
            content = sum(_BAR_BYTES + len(bar.wire) for bar in bars)
        case Completed():
            content = _BAR_BYTES
    return _ENTRY_BYTES + content

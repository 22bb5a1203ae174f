"""Hold the states that one stream still has to send; their number is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from aggregator.watch.bar_queue import BarQueue, Completed
from aggregator.watch.bar_watchers import BarWatchers


@dataclass(slots=True)
class Updates:
    """What one stream sends at once: encoded states and bars, then markers."""

    states: list[bytes] = field(default_factory=list)
    bars: list[bytes] = field(default_factory=list)
    completed: list[Completed] = field(default_factory=list)


class Watcher:
    """The states that one stream still has to send, and its :attr:`bars`.

    By default only the rows of changed symbols wait: when the stream reads again, it gets their
    states of that moment. With :meth:`buffer`, the states themselves wait in order, up to a limit;
    beyond it the stream skips to the newest states until it has caught up.

    Args:
        states: returns present states by row, each as one of the ``updates`` of an ``UpdateBatch``.
        bars: the streams that want bars.
    """

    def __init__(self, states: Callable[[Sequence[int]], list[bytes]], bars: BarWatchers) -> None:
        self._states = states
        self.symbols: set[str] = set()
        self.watches_all = False
        # Rows of symbols whose newest state is due. A dict keeps the order of change, so no symbol
        # starves.
        self._due: dict[int, None] = {}
        # Each state with its row.
        self._buffered: deque[tuple[int, bytes]] = deque()
        self._max_buffered = 0
        self._wake = asyncio.Event()
        self._end: BaseException | None = None
        # Ends it when nothing waits any more.
        self._last: BaseException | None = None
        self.bars = BarQueue(bars, self._wake.set)

    @property
    def waiting(self) -> int:
        """How many states wait."""
        return len(self._due) + len(self._buffered)

    def buffer(self, max_states: int) -> None:
        """Let up to ``max_states`` wait in order."""
        self._max_buffered = max_states

    def mark(self, rows: Sequence[int]) -> None:
        """Queue the present states of symbols; each must have one."""
        if not self._due and self._max_buffered:
            self._buffered.extend(zip(rows, self._states(rows), strict=True))
            if len(self._buffered) > self._max_buffered:
                self._due.update(dict.fromkeys(row for row, _ in self._buffered))
                self._buffered.clear()
        else:
            self._due.update(dict.fromkeys(rows))
        self._wake.set()

    def unmark(self, rows: Iterable[int]) -> None:
        """Remove the states of symbols that wait."""
        gone = set(rows)
        if self._buffered and gone:
            self._buffered = deque(each for each in self._buffered if each[0] not in gone)
        for row in gone:
            self._due.pop(row, None)

    def keep_only(self, rows: set[int]) -> None:
        """Remove the states that wait, but those of some symbols."""
        waiting = {*self._due, *(row for row, _ in self._buffered)}
        self.unmark(waiting - rows)

    async def next_updates(self, max_states: int, max_bars: int) -> Updates:
        """Wait for changes and return states, bars and markers, the longest waiting first.

        A cancellation loses nothing, as with :meth:`next_states`.

        Raises:
            TooManyBarsWait: the stream is too slow for its bars.
        """
        while not (self.waiting or len(self.bars) or self.bars.overflow or self._end):
            if self._last is not None:
                raise self._last
            self._wake.clear()
            await self._wake.wait()
        updates = Updates()
        if self.waiting or self._end is not None:
            updates.states = await self.next_states(max_states)
        updates.bars, updates.completed = self.bars.take(max_bars)
        return updates

    def finish(self, reason: BaseException) -> None:
        """Raise ``reason`` as soon as everything that waits was taken."""
        self._last = reason
        self._wake.set()

    def end(self, reason: BaseException) -> None:
        """Make the next or present :meth:`next_states` raise ``reason``."""
        self._end = reason
        self._wake.set()

    async def next_states(self, limit: int) -> list[bytes]:
        """Wait for changes and return up to ``limit`` states, the longest waiting first.

        A cancellation loses nothing: states leave the queue only when they are returned.
        """
        while not self._due and not self._buffered and self._end is None:
            if self._last is not None:
                raise self._last
            self._wake.clear()
            await self._wake.wait()
        if self._end is not None:
            raise self._end
        if self._buffered:
            count = min(limit, len(self._buffered))
            return [self._buffered.popleft()[1] for _ in range(count)]
        rows = list(islice(self._due, limit))
        for row in rows:
            del self._due[row]
        return self._states(rows)

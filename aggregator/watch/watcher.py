"""Hold the states that one stream still has to send; their number is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from aggregator.watch.bar_queue import BarQueue, Completed
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.marks import Marks
from marketdata.errors import MarketDataError


class TakenOver(MarketDataError):
    """Another stream goes on where this one is."""

    def __init__(self) -> None:
        super().__init__("another stream resumed this one")


@dataclass(slots=True)
class Updates:
    """What one stream sends at once: encoded states and bars, then markers.

    With them the reader has every update up to ``position``, but for states that newer ones
    replaced.
    """

    states: list[bytes] = field(default_factory=list)
    bars: list[bytes] = field(default_factory=list)
    completed: list[Completed] = field(default_factory=list)
    position: int = 0


class Watcher:
    """The states that one stream still has to send, and its :attr:`bars`.

    By default only the rows of changed symbols wait: when the stream reads again, it gets their
    states of that moment. With :meth:`buffer`, the states themselves wait in order, up to a limit;
    beyond it the stream skips to the newest states until it has caught up.

    While a watcher is held, its stream is lost: it wants the same as before and nothing waits.

    Args:
        states: returns present states by row, each as one of the ``updates`` of an ``UpdateBatch``.
        bars: the streams that want bars.
    """

    def __init__(self, states: Callable[[Sequence[int]], list[bytes]], bars: BarWatchers) -> None:
        self._states = states
        self._recent = bars.recent
        self.symbols: set[str] = set()
        self.watches_all = False
        # Rows of symbols whose newest state is due. A dict keeps the order of change, so no symbol
        # starves.
        self._due: dict[int, None] = {}
        # Each state with its row.
        self._buffered: deque[tuple[int, bytes]] = deque()
        # From which inputs those that wait come.
        self._marks = Marks()
        self._max_buffered = 0
        # How many states wait that came while the stream was lost, until all of them are sent.
        self._missed = 0
        self._wake = asyncio.Event()
        self._end: BaseException | None = None
        # Counts the streams of this watcher.
        self.turn = 0
        # Whether a stream has still to say how far its reader is.
        self._resumed = False
        # Ends it when nothing waits any more.
        self._last: BaseException | None = None
        self.bars = BarQueue(bars, self._wake.set)

    @property
    def waiting(self) -> int:
        """How many states wait."""
        return len(self._due) + len(self._buffered)

    @property
    def is_held(self) -> bool:
        """Whether its stream is lost."""
        return self.bars.is_held

    @property
    def keeps(self) -> bool:
        """Whether its states wait in order, so that a later stream can go on."""
        return self._max_buffered > 0

    def has_room(self, count: int) -> bool:
        """Return whether so many more states can wait in order."""
        if self.is_held:
            return True
        most = self._max_buffered + self._missed
        return not self._due and len(self._buffered) + count <= most

    @property
    def max_buffered(self) -> int:
        """How many states may wait in order."""
        return self._max_buffered

    def buffer(self, max_states: int) -> None:
        """Let up to ``max_states`` wait in order, and what was sent be kept for a later stream."""
        self._recent.readers += (max_states > 0) - self.keeps
        self._max_buffered = max_states

    def mark(
        self, rows: Sequence[int], position: int = 0, states: list[bytes] | None = None
    ) -> None:
        """Queue the present states of symbols; each must have one.

        Args:
            rows: the symbols.
            position: of the input that changed them.
            states: of the symbols; None: the newest ones count.
        """
        if self.is_held or not rows:
            return
        before = self.waiting
        if states is not None and self.has_room(len(states)):
            self._buffered.extend(zip(rows, states, strict=True))
        else:
            if self._buffered:
                self._due = dict.fromkeys(row for row, _ in self._buffered)
                self._buffered.clear()
                self._missed = 0
                before = len(self._due)
            self._due.update(dict.fromkeys(rows))
        self._marks.added(position, self.waiting - before)
        self._wake.set()

    def unmark(self, rows: Iterable[int]) -> None:
        """Remove the states of symbols that wait."""
        gone = set(rows)
        if self._buffered and gone:
            self._buffered = deque(each for each in self._buffered if each[0] not in gone)
        for row in gone:
            self._due.pop(row, None)
        self._took(0)

    def keep_only(self, rows: set[int]) -> None:
        """Remove the states that wait, but those of some symbols."""
        waiting = {*self._due, *(row for row, _ in self._buffered)}
        self.unmark(waiting - rows)

    # Streams that are lost and go on.

    def hold(self) -> None:
        """Want the same as before, without a stream: nothing waits."""
        self.turn += 1
        self.clear()
        self.bars.is_held = True
        self._wake.set()

    def clear(self) -> None:
        """Let nothing wait."""
        self._due.clear()
        self._buffered.clear()
        self._took(0)
        self.bars.clear()

    def begin_resume(self) -> None:
        """Let what was missed wait, however much it is, until :meth:`end_resume`."""
        self.turn += 1
        self.clear()
        self.bars.is_held = False
        # What the bound of recent updates allows.
        self._missed = 2**62

    def end_resume(self) -> None:
        """Go on as usual: what was missed has been queued."""
        self._missed = len(self._buffered)
        self._resumed = True
        self._wake.set()

    # What a stream reads.

    async def next_updates(
        self, max_states: int, max_bars: int, turn: int | None = None
    ) -> Updates:
        """Wait for changes and return states, bars and markers, the longest waiting first.

        A cancellation loses nothing, as with :meth:`next_states`.

        Args:
            max_states: how many states at most.
            max_bars: how many bars and markers at most.
            turn: the :attr:`turn` of the stream.

        Raises:
            TooManyBarsWait: the stream is too slow for its bars.
            TakenOver: the turn is over.
        """
        while not self._has_news(turn):
            if self._last is not None:
                raise self._last
            self._wake.clear()
            await self._wake.wait()
        if self._end is not None:
            raise self._end
        if turn is not None and turn != self.turn:
            raise TakenOver
        self._resumed = False
        updates = Updates()
        n_states, n_bars, updates.position = self._share(max_states, max_bars)
        updates.states = self._take(n_states)
        updates.bars, updates.completed = self.bars.take(n_bars)
        return updates

    def _has_news(self, turn: int | None) -> bool:
        if self._end is not None or self.bars.overflow is not None or self._resumed:
            return True
        return bool(self.waiting or len(self.bars)) or turn not in {None, self.turn}

    # Returns how many states and bars to send, and up to where the reader then has all. Both end
    # with the same input: what a reader has beyond its position it would be sent again.
    def _share(self, max_states: int, max_bars: int) -> tuple[int, int, int]:
        n_states, n_bars = self.waiting, len(self.bars)
        if n_states <= max_states and n_bars <= max_bars:
            return n_states, n_bars, self._recent.position()
        marks = (self._marks, self.bars.marks)
        stop = min(
            each.before(limit)[1]
            for each, limit, count in zip(
                marks, (max_states, max_bars), (n_states, n_bars), strict=True
            )
            if count > limit
        )
        shares = [each.up_to(stop) for each in marks]
        if not any(shares):
            # One input has more than that.
            shares = [each.up_to(stop + 1) for each in marks]
        return min(shares[0], max_states), min(shares[1], max_bars), max(stop - 1, 0)

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
        return self._take(limit)

    def _take(self, limit: int) -> list[bytes]:
        if self._buffered:
            count = min(limit, len(self._buffered))
            states = [self._buffered.popleft()[1] for _ in range(count)]
            self._took(count)
            return states
        if not self._due:
            return []
        rows = list(islice(self._due, limit))
        for row in rows:
            del self._due[row]
        self._took(len(rows))
        return self._states(rows)

    def _took(self, count: int) -> None:
        left = self.waiting
        self._marks.took(count, left)
        if not left:
            self._missed = 0

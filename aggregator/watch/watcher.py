"""Hold what one stream still has to send; it is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.watch.bar_queue import BarQueue, Completed
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.state_queue import ReadStates, StateQueue
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

    By default only the newest state of a symbol waits. With :meth:`buffer`, the states of buffered
    symbols wait in order, see :class:`StateQueue`.

    While a watcher is held, its stream is lost: it wants the same as before and nothing waits.

    Args:
        states: returns present states by row, each as one of the ``updates`` of an ``UpdateBatch``.
        bars: the streams that want bars.
    """

    def __init__(self, states: ReadStates, bars: BarWatchers) -> None:
        self._recent = bars.recent
        self.symbols: set[str] = set()
        self.watches_all = False
        # The symbols that are buffered by name.
        self.buffered: set[str] = set()
        self.states = StateQueue(states)
        # What waits for changes: not an asyncio.Event, which takes three times as long.
        self._waiter: asyncio.Future[None] | None = None
        self._end: BaseException | None = None
        # Counts the streams of this watcher.
        self.turn = 0
        # Whether a stream has still to say how far its reader is.
        self._resumed = False
        # Ends it when nothing waits any more.
        self._last: BaseException | None = None
        self.bars = BarQueue(bars, self._wake)

    @property
    def waiting(self) -> int:
        """How many states wait."""
        return len(self.states)

    @property
    def is_held(self) -> bool:
        """Whether its stream is lost."""
        return self.bars.is_held

    @property
    def keeps(self) -> bool:
        """Whether a later stream can go on where this one is lost."""
        return self.states.max_buffered > 0

    def buffer(self, max_states: int) -> None:
        """Let up to ``max_states`` wait in order, and what was sent be kept for a later stream."""
        self._recent.readers += (max_states > 0) - self.keeps
        self.states.max_buffered = max_states

    def choose(self, rows: Sequence[int]) -> Sequence[int]:
        """Return those of ``rows`` whose next states count, not only the newest ones."""
        states = self.states
        return states.choose_buffered(rows) if self.bars.is_held else states.choose(rows)

    def mark(self, rows: Sequence[int], position: int, states: Mapping[int, bytes]) -> None:
        """Queue the present states of symbols; each must have one.

        Args:
            rows: the symbols.
            position: of the input that changed them.
            states: by row; where there is none, the newest ones count.
        """
        if rows and not self.bars.is_held:
            self.states.mark(rows, position, states)
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # A stream that another one takes over from is woken before that one waits here.
    async def _changed(self) -> None:
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        await waiter

    # Streams that are lost and go on.

    def hold(self) -> None:
        """Want the same as before, without a stream: nothing waits."""
        self.turn += 1
        self.clear()
        self.bars.is_held = True
        self._wake()

    def clear(self) -> None:
        """Let nothing wait."""
        self.states.clear()
        self.bars.clear()

    def begin_resume(self) -> None:
        """Let what was missed wait, however much it is, until :meth:`end_resume`."""
        self.turn += 1
        self.clear()
        self.bars.is_held = False
        # What the bound of recent updates allows.
        self.states.missed = 2**62

    def end_resume(self) -> None:
        """Go on as usual: what was missed has been queued."""
        self.states.missed = self.states.buffered
        self._resumed = True
        self._wake()

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
            await self._changed()
        if self._end is not None:
            raise self._end
        if turn is not None and turn != self.turn:
            raise TakenOver
        self._resumed = False
        updates = Updates()
        (n_buffered, n_due, n_bars), updates.position = self._share(max_states, max_bars)
        # Most messages have one kind only.
        if n_buffered:
            updates.states = self.states.take_buffered(n_buffered)
        if n_due:
            updates.states += self.states.take_due(n_due)
        if n_bars or self.bars.overflow is not None:
            updates.bars, updates.completed = self.bars.take(n_bars)
        return updates

    def _has_news(self, turn: int | None) -> bool:
        if self.states or self.bars or self._end is not None or self._resumed:
            return True
        return self.bars.overflow is not None or (turn is not None and turn != self.turn)

    # Returns how many states and bars to send, and up to where the reader then has all. All end
    # with the same input: what a reader has beyond its position it would be sent again.
    def _share(self, max_states: int, max_bars: int) -> tuple[tuple[int, int, int], int]:
        states = self.states
        n_buffered, n_due, n_bars = states.buffered, states.due, len(self.bars)
        if n_buffered + n_due <= max_states and n_bars <= max_bars:
            return (n_buffered, n_due, n_bars), self._recent.position()
        if n_buffered and n_due:
            max_states = max(max_states // 2, 1)
        queues = (
            (states.buffered_marks, n_buffered, max_states),
            (states.due_marks, n_due, max_states),
            (self.bars.marks, n_bars, max_bars),
        )
        over = [(marks, limit) for marks, count, limit in queues if count > limit]
        if not over:
            # Only both kinds of states together are too many.
            over = [(marks, limit) for marks, _, limit in queues[:2]]
        stop = min(marks.before(limit)[1] for marks, limit in over)
        shares = [marks.up_to(stop) for marks, _, _ in queues]
        if not any(shares):
            # One input has more than that.
            shares = [marks.up_to(stop + 1) for marks, _, _ in queues]
        buffered, due, bars = (
            min(share, limit) for share, (_, _, limit) in zip(shares, queues, strict=True)
        )
        return (buffered, due, bars), max(stop - 1, 0)

    def finish(self, reason: BaseException) -> None:
        """Raise ``reason`` as soon as everything that waits was taken."""
        self._last = reason
        self._wake()

    def end(self, reason: BaseException) -> None:
        """Make the next or present :meth:`next_states` raise ``reason``."""
        self._end = reason
        self._wake()

    async def next_states(self, limit: int) -> list[bytes]:
        """Wait for changes and return up to ``limit`` states, the longest waiting first.

        A cancellation loses nothing: states leave the queue only when they are returned.
        """
        while not self.states and self._end is None:
            if self._last is not None:
                raise self._last
            await self._changed()
        if self._end is not None:
            raise self._end
        return self.states.take(limit)

"""Tell each stream what changed; what waits for a stream is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.watch.bar_watchers import BarQueue, BarWatchers, Completed, TooManyWatched

_MIN_ROWS = 1024


class States(Protocol):
    """What has the states of symbols; the book."""

    # Hears of each symbol that is taken in, with its row.
    opened: Callable[[str, int], None]

    def row(self, symbol: str) -> int | None:
        """Return the row of a symbol; None: there is no such symbol yet."""

    def states(self, rows: Sequence[int]) -> list[bytes]:
        """Return present states, each as one of the ``updates`` of an ``UpdateBatch``."""


@dataclass(slots=True)
class Updates:
    """What one stream sends at once: pieces of a serialized ``UpdateBatch``.

    The markers belong behind the bars.
    """

    states: list[bytes] = field(default_factory=list)
    bars: list[bytes] = field(default_factory=list)
    completed: list[Completed] = field(default_factory=list)


class Watcher:
    """The states that one stream still has to send, and its :attr:`bars`.

    By default a stream that does not read holds a set of rows and nothing else: what it sends
    when it reads again is the state of that moment. With :meth:`buffer`, states wait in order up to
    a limit, and beyond it the stream skips to the newest until it has caught up.
    """

    def __init__(self, registry: Watchers) -> None:
        self._registry = registry
        self.symbols: set[str] = set()
        self.watches_all = False
        # Rows of symbols of which the newest state is due. A dict keeps the order of change, so no
        # symbol starves.
        self._due: dict[int, None] = {}
        # With the row of each.
        self._buffered: deque[tuple[int, bytes]] = deque()
        self._max_buffered = 0
        self._wake = asyncio.Event()
        self._end: BaseException | None = None
        self.bars = BarQueue(registry.bars, self._wake.set)

    @property
    def waiting(self) -> int:
        """How many states wait."""
        return len(self._due) + len(self._buffered)

    def buffer(self, max_states: int) -> None:
        """Let up to ``max_states`` wait in order."""
        self._max_buffered = max_states

    def mark(self, rows: Sequence[int]) -> None:
        """Let the present states of symbols wait, which have one."""
        if not self._due and self._max_buffered:
            self._buffered.extend(zip(rows, self._registry.states(rows), strict=True))
            if len(self._buffered) > self._max_buffered:
                self._due.update(dict.fromkeys(row for row, _ in self._buffered))
                self._buffered.clear()
        else:
            self._due.update(dict.fromkeys(rows))
        self._wake.set()

    def unmark(self, rows: Iterable[int]) -> None:
        """Do not send what waits of symbols."""
        gone = set(rows)
        if self._buffered and gone:
            self._buffered = deque(each for each in self._buffered if each[0] not in gone)
        for row in gone:
            self._due.pop(row, None)

    def keep_only(self, rows: set[int]) -> None:
        """Send of what waits only that of some symbols."""
        waiting = {*self._due, *(row for row, _ in self._buffered)}
        self.unmark(waiting - rows)

    async def next_updates(self, max_states: int, max_bars: int) -> Updates:
        """Wait for changes and return some of each, the longest waiting first.

        A cancellation loses nothing, as with :meth:`next_states`.

        Raises:
            TooManyBarsWait: the stream is too slow for its bars.
        """
        while not (self.waiting or len(self.bars) or self.bars.overflow or self._end):
            self._wake.clear()
            await self._wake.wait()
        updates = Updates()
        if self.waiting or self._end is not None:
            updates.states = await self.next_states(max_states)
        updates.bars, updates.completed = self.bars.take(max_bars)
        return updates

    def end(self, reason: BaseException) -> None:
        """Make the next or present :meth:`next_states` raise ``reason``."""
        self._end = reason
        self._wake.set()

    async def next_states(self, limit: int) -> list[bytes]:
        """Wait for changes and return up to ``limit`` states, the longest waiting first.

        A cancellation loses nothing: states leave the queue only when they are returned.
        """
        while not self._due and not self._buffered and self._end is None:
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
        return self._registry.states(rows)

    def watch(self, symbols: Iterable[str]) -> None:
        """Add ``symbols``; they need not exist yet.

        Raises:
            TooManyWatched: the stream would watch more symbols than the limit.
        """
        self._registry.add(self, symbols)

    def unwatch(self, symbols: Iterable[str]) -> None:
        """Remove ``symbols``; what waits of them is not sent."""
        self._registry.remove(self, symbols)

    def watch_all(self, on: bool) -> None:
        """Watch every symbol, present and future, or only the named ones again."""
        self._registry.set_all(self, on)


class Watchers:
    """All streams, by symbol."""

    def __init__(self, max_symbols_per_watcher: int, states: States, bars: BarWatchers) -> None:
        self._limit = max_symbols_per_watcher
        self.bars = bars
        self.states = states.states
        self._row = states.row
        states.opened = self._opened
        self._by_row: dict[int, set[Watcher]] = {}
        # Which rows those are.
        self._flags: NDArray[np.bool_] = np.zeros(_MIN_ROWS, np.bool_)
        # By symbols that do not exist yet.
        self._awaited: dict[str, set[Watcher]] = {}
        # Those that watch something by name.
        self._namers: set[Watcher] = set()
        self._all: set[Watcher] = set()
        self._open: set[Watcher] = set()
        self._closed: BaseException | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def watched_symbols(self) -> int:
        """How many symbols have at least one watcher by name."""
        return len(self._by_row) + len(self._awaited)

    def open(self) -> Watcher:
        """Return a watcher that watches nothing yet; :meth:`close` it."""
        watcher = Watcher(self)
        self._open.add(watcher)
        if self._closed is not None:
            watcher.end(self._closed)
        return watcher

    def close(self, watcher: Watcher) -> None:
        """Leave nothing of ``watcher`` behind."""
        self.remove(watcher, list(watcher.symbols))
        self.bars.close(watcher.bars)
        self._all.discard(watcher)
        self._open.discard(watcher)

    def end_all(self, reason: BaseException) -> None:
        """End every present and future watcher with ``reason``."""
        self._closed = reason
        for watcher in self._open:
            watcher.end(reason)

    def add(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        """Let ``watcher`` hear of ``symbols``."""
        for symbol in symbols:
            if symbol in watcher.symbols:
                continue
            if len(watcher.symbols) >= self._limit:
                raise TooManyWatched(self._limit)
            watcher.symbols.add(symbol)
            self._namers.add(watcher)
            row = self._row(symbol)
            if row is None:
                self._awaited.setdefault(symbol, set()).add(watcher)
            else:
                self._by_row.setdefault(row, set()).add(watcher)
                self._flag(row)

    def remove(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        """Let ``watcher`` hear no more of ``symbols`` by name."""
        for symbol in symbols:
            if symbol not in watcher.symbols:
                continue
            watcher.symbols.discard(symbol)
            row = self._row(symbol)
            if row is None:
                self._awaited[symbol].discard(watcher)
                if not self._awaited[symbol]:
                    del self._awaited[symbol]
                continue
            if not watcher.watches_all:
                watcher.unmark([row])
            self._by_row[row].discard(watcher)
            if not self._by_row[row]:
                del self._by_row[row]
                self._flags[row] = False
        if not watcher.symbols:
            self._namers.discard(watcher)

    def set_all(self, watcher: Watcher, on: bool) -> None:
        """Let ``watcher`` hear of every symbol, or only of the named ones."""
        watcher.watches_all = on
        if on:
            self._all.add(watcher)
        else:
            self._all.discard(watcher)
            rows = map(self._row, watcher.symbols)
            watcher.keep_only({row for row in rows if row is not None})

    def notify(self, changed: NDArray[np.int32]) -> None:
        """Mark rows, each there once, for those who watch them; awaits nobody."""
        if self._all:
            rows = changed.tolist()
            for watcher in self._all:
                watcher.mark(rows)
        named = self._namers - self._all
        if not named:
            return
        self._reach(int(changed.max(initial=0)))
        rows = changed[self._flags[changed]].tolist()
        if len(self._namers) == 1:
            shares = {watcher: rows for watcher in named if rows}
        else:
            shares = {}
            for row in rows:
                for watcher in self._by_row[row]:
                    if not watcher.watches_all:
                        shares.setdefault(watcher, []).append(row)
        for watcher, own in shares.items():
            watcher.mark(own)

    def _opened(self, symbol: str, row: int) -> None:
        # Those who wait for a symbol watch its row from now on.
        watchers = self._awaited.pop(symbol, None)
        if watchers:
            self._by_row[row] = watchers
            self._flag(row)

    def _flag(self, row: int) -> None:
        self._reach(row)
        self._flags[row] = True

    def _reach(self, row: int) -> None:
        missing = row + 1 - len(self._flags)
        if missing > 0:
            more = np.zeros(max(missing, len(self._flags)), np.bool_)
            self._flags = np.concatenate((self._flags, more))

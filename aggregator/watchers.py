"""Tell each stream what changed; what waits for a stream is bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import islice

from aggregator.bar_watchers import BarQueue, BarWatchers, Completed, TooManyWatched
from aggregator.bars.bar import Bar
from marketdata.wire.market_data_pb2 import Aggregate


@dataclass(slots=True)
class Updates:
    """What one stream sends at once; the markers belong behind the bars."""

    states: list[Aggregate] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)
    completed: list[Completed] = field(default_factory=list)


class Watcher:
    """The states that one stream still has to send, and its :attr:`bars`.

    By default a stream that does not read holds a set of symbols and nothing else: what it sends
    when it reads again is the state of that moment. With :meth:`buffer`, states wait in order up to
    a limit, and beyond it the stream skips to the newest until it has caught up.
    """

    def __init__(self, registry: Watchers) -> None:
        self._registry = registry
        self.symbols: set[str] = set()
        self.watches_all = False
        # Symbols of which the newest state is due. A dict keeps the order of change, so no symbol
        # starves.
        self._due: dict[str, None] = {}
        self._buffered: deque[Aggregate] = deque()
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

    def mark(self, symbols: Iterable[str]) -> None:
        """Let the present states of ``symbols`` wait."""
        if not self._due and self._max_buffered:
            self._buffered.extend(map(self._registry.state, symbols))
            if len(self._buffered) > self._max_buffered:
                self._due.update(dict.fromkeys(state.symbol for state in self._buffered))
                self._buffered.clear()
        else:
            self._due.update(dict.fromkeys(symbols))
        self._wake.set()

    def unmark(self, symbols: Iterable[str]) -> None:
        """Do not send what waits of ``symbols``."""
        gone = set(symbols)
        if self._buffered and gone:
            self._buffered = deque(s for s in self._buffered if s.symbol not in gone)
        for symbol in gone:
            self._due.pop(symbol, None)

    def keep_only(self, symbols: set[str]) -> None:
        """Send of what waits only ``symbols``."""
        waiting = {*self._due, *(state.symbol for state in self._buffered)}
        self.unmark(waiting - symbols)

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

    async def next_states(self, limit: int) -> list[Aggregate]:
        """Wait for changes and return up to ``limit`` states, the longest waiting first.

        A cancellation loses nothing: states leave the queue only when they are returned.
        """
        while not self._due and not self._buffered and self._end is None:
            self._wake.clear()
            await self._wake.wait()
        if self._end is not None:
            raise self._end
        if self._buffered:
            return [self._buffered.popleft() for _ in range(min(limit, len(self._buffered)))]
        symbols = list(islice(self._due, limit))
        self.unmark(symbols)
        return list(map(self._registry.state, symbols))

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

    def __init__(
        self, max_symbols_per_watcher: int, state: Callable[[str], Aggregate], bars: BarWatchers
    ) -> None:
        self._limit = max_symbols_per_watcher
        self.bars = bars
        # The present state of a symbol that has one.
        self.state = state
        self._by_symbol: dict[str, set[Watcher]] = {}
        self._all: set[Watcher] = set()
        self._open: set[Watcher] = set()
        self._closed: BaseException | None = None

    def __len__(self) -> int:
        return len(self._open)

    @property
    def watched_symbols(self) -> int:
        """How many symbols have at least one watcher by name."""
        return len(self._by_symbol)

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
            self._by_symbol.setdefault(symbol, set()).add(watcher)

    def remove(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        """Let ``watcher`` hear no more of ``symbols`` by name."""
        for symbol in symbols:
            if symbol not in watcher.symbols:
                continue
            watcher.symbols.discard(symbol)
            if not watcher.watches_all:
                watcher.unmark([symbol])
            listeners = self._by_symbol[symbol]
            listeners.discard(watcher)
            if not listeners:
                del self._by_symbol[symbol]

    def set_all(self, watcher: Watcher, on: bool) -> None:
        """Let ``watcher`` hear of every symbol, or only of the named ones."""
        watcher.watches_all = on
        if on:
            self._all.add(watcher)
        else:
            self._all.discard(watcher)
            watcher.keep_only(watcher.symbols)

    def symbols_watched(self) -> Collection[str] | None:
        """Return the symbols that somebody watches; None: all."""
        return None if self._all else self._by_symbol.keys()

    def notify(self, changed: Collection[str]) -> None:
        """Mark ``changed`` for those who watch them; awaits nobody."""
        for watcher in self._all:
            watcher.mark(changed)
        if self._by_symbol:
            for symbol in self._by_symbol.keys() & set(changed):
                for watcher in self._by_symbol[symbol]:
                    if not watcher.watches_all:
                        watcher.mark((symbol,))

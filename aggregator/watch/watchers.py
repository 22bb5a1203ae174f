"""Mark for each stream the symbols that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.watcher import Watcher
from marketdata.errors import MarketDataError

_MIN_ROWS = 1024


class TooManyWatched(MarketDataError):
    """One stream asks for more symbols than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"one stream watches at most {limit} symbols")
        self.limit = limit


class States(Protocol):
    """The book, as far as watchers need it."""

    # Called with each new symbol and its row.
    opened: Callable[[str, int], None]

    def row(self, symbol: str) -> int | None:
        """Return the row of a symbol; None: there is no such symbol yet."""

    def states(self, rows: Sequence[int]) -> list[bytes]:
        """Return present states, each as one of the ``updates`` of an ``UpdateBatch``."""


class Watchers:
    """All streams, by symbol."""

    def __init__(self, max_symbols_per_watcher: int, states: States, bars: BarWatchers) -> None:
        self._limit = max_symbols_per_watcher
        self.bars = bars
        self._states = states.states
        self._row = states.row
        states.opened = self._opened
        self._by_row: dict[int, set[Watcher]] = {}
        # The rows in _by_row.
        self._flags: NDArray[np.bool_] = np.zeros(_MIN_ROWS, np.bool_)
        # Those that wait for a symbol without data.
        self._awaited: dict[str, set[Watcher]] = {}
        # Those that watch symbols by name.
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
        """Return a watcher that watches nothing yet; :meth:`close` it.

        After :meth:`finish_all` its reason is raised.
        """
        if self._closed is not None:
            raise self._closed
        watcher = Watcher(self._states, self.bars)
        self._open.add(watcher)
        return watcher

    def close(self, watcher: Watcher) -> None:
        """Remove ``watcher``."""
        self.unwatch(watcher, list(watcher.symbols))
        self.bars.close(watcher.bars)
        self._all.discard(watcher)
        self._open.discard(watcher)

    def finish_all(self, reason: BaseException) -> None:
        """End each watcher with ``reason`` when it has everything, and future ones at once."""
        self._closed = reason
        for watcher in self._open:
            watcher.finish(reason)

    def watch(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        """Let ``watcher`` watch ``symbols``; they need not have data yet.

        Raises:
            TooManyWatched: it would watch more symbols than the limit.
        """
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

    def unwatch(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        """Let ``watcher`` no longer watch ``symbols`` by name; remove their states that wait."""
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

    def watch_all(self, watcher: Watcher, on: bool) -> None:
        """Let ``watcher`` watch every symbol, present and future, or only the named ones."""
        watcher.watches_all = on
        if on:
            self._all.add(watcher)
        else:
            self._all.discard(watcher)
            rows = map(self._row, watcher.symbols)
            watcher.keep_only({row for row in rows if row is not None})

    def notify(self, changed: NDArray[np.int32]) -> None:
        """Mark changed rows, each there once, for the streams that watch them; never waits."""
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
        # Those that waited for the symbol watch its row from now on.
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

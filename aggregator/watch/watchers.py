"""Mark for each stream the symbols that changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from aggregator.watch.bar_queue import BarQueue
from aggregator.watch.bar_watchers import BarWatchers
from aggregator.watch.updates import Changed
from aggregator.watch.watcher import Watcher
from marketdata.errors import MarketDataError

_MIN_ROWS = 1024
_NO_STATES: dict[int, bytes] = {}
# Up to so many rows are looked up one by one: numpy takes 4 us whatever their number.
_FEW_ROWS = 32


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
        self.recent = bars.recent
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
        # Those that buffer symbols by name.
        self._bufferers: set[Watcher] = set()
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
        self._bufferers.discard(watcher)
        if watcher in self._open:
            self._open.discard(watcher)
            self.recent.readers -= watcher.keeps

    def finish_all(self, reason: BaseException) -> None:
        """End each watcher with ``reason`` when it has everything, and future ones at once."""
        self._closed = reason
        for watcher in self._open:
            watcher.finish(reason)

    def watch(self, watcher: Watcher, symbols: Iterable[str]) -> list[str]:
        """Let ``watcher`` watch ``symbols``; they need not have data yet.

        Returns:
            Those that it did not watch before.

        Raises:
            TooManyWatched: it would watch more symbols than the limit.
        """
        added: list[str] = []
        for symbol in symbols:
            if symbol in watcher.symbols:
                continue
            if len(watcher.symbols) >= self._limit:
                raise TooManyWatched(self._limit)
            added.append(symbol)
            watcher.symbols.add(symbol)
            self._namers.add(watcher)
            row = self._row(symbol)
            if row is None:
                self._awaited.setdefault(symbol, set()).add(watcher)
            else:
                self._by_row.setdefault(row, set()).add(watcher)
                self._flag(row)
        return added

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
                watcher.states.unmark([row])
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
            watcher.states.keep_only({row for row in rows if row is not None})

    def mark_present(self, watcher: Watcher, rows: Sequence[int]) -> None:
        """Queue the present states of symbols for ``watcher``; each must have one."""
        if rows:
            self._mark({watcher: rows}, owner=watcher.bars)

    def buffer(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        """Let the states of ``symbols`` wait in order for ``watcher``.

        Raises:
            TooManyWatched: it would buffer more symbols than the limit.
        """
        for symbol in symbols:
            if symbol not in watcher.buffered and len(watcher.buffered) >= self._limit:
                raise TooManyWatched(self._limit)
            watcher.buffered.add(symbol)
            self._bufferers.add(watcher)
            row = self._row(symbol)
            if row is not None:
                watcher.states.buffered_rows.add(row)

    def unbuffer(self, watcher: Watcher, symbols: Iterable[str]) -> None:
        """Let only the newest states of ``symbols`` wait, unless all symbols are buffered."""
        for symbol in symbols:
            watcher.buffered.discard(symbol)
            row = self._row(symbol)
            if row is not None:
                watcher.states.buffered_rows.discard(row)
        watcher.states.skip_unbuffered()
        if not watcher.buffered:
            self._bufferers.discard(watcher)

    def buffer_all(self, watcher: Watcher, on: bool) -> None:
        """Let the states of every symbol wait in order, or only of those that are buffered."""
        watcher.states.buffers_all = on
        watcher.states.skip_unbuffered()

    def notify(self, changed: NDArray[np.int32]) -> None:
        """Mark changed rows, each there once, for the streams that watch them; never waits."""
        if not self._all and not self._namers:
            return
        rows = changed.tolist()
        shares: dict[Watcher, Sequence[int]] = {}
        named = self._namers
        if self._all:
            shares = dict.fromkeys(self._all, rows)
            named = named - self._all
        if named:
            if len(rows) <= _FEW_ROWS:
                by_row = self._by_row
                rows = [row for row in rows if row in by_row]
            else:
                self._reach(int(changed.max(initial=0)))
                rows = changed[self._flags[changed]].tolist()
            if len(self._namers) > 1:
                self._add_shares(shares, rows)
            elif rows:
                (watcher,) = named
                shares[watcher] = rows
        if shares:
            self._mark(shares)

    def _add_shares(self, shares: dict[Watcher, Sequence[int]], rows: Sequence[int]) -> None:
        by_name: dict[Watcher, list[int]] = {}
        for row in rows:
            for watcher in self._by_row[row]:
                if not watcher.watches_all:
                    by_name.setdefault(watcher, []).append(row)
        shares.update(by_name)

    def _mark(self, shares: dict[Watcher, Sequence[int]], owner: BarQueue | None = None) -> None:
        position = self.recent.position()
        states = self._encode(shares)
        if self.recent.readers:
            self._keep(shares, states, owner)
        for watcher, rows in shares.items():
            watcher.mark(rows, position, states)

    # Returns the states that some stream is to be sent whatever comes after them, by row, encoded
    # once for all.
    def _encode(self, shares: dict[Watcher, Sequence[int]]) -> dict[int, bytes]:
        chosen = [own for watcher, rows in shares.items() if (own := watcher.choose(rows))]
        if not chosen:
            return _NO_STATES
        rows = chosen[0] if len(chosen) == 1 else list(dict.fromkeys(chain.from_iterable(chosen)))
        return dict(zip(rows, self._states(rows), strict=True))

    # Keeps what is sent to streams that may come back.
    def _keep(
        self,
        shares: dict[Watcher, Sequence[int]],
        states: dict[int, bytes],
        owner: BarQueue | None,
    ) -> None:
        keeping = [rows for watcher, rows in shares.items() if watcher.keeps]
        if not keeping:
            return
        rows = keeping[0]
        if len(keeping) > 1 and any(own is not rows for own in keeping):
            rows = list(dict.fromkeys(chain.from_iterable(keeping)))
        if states:
            self.recent.add(Changed(list(states), list(states.values())), owner)
            rows = [row for row in rows if row not in states]
        if rows:
            self.recent.add(Changed(rows, None), owner)

    def resume(self, watcher: Watcher, position: int) -> bool:
        """Let a held watcher go on after ``position``; return False if that is not possible."""
        missed = self.recent.since(position, owner=watcher.bars)
        if missed is None:
            return False
        rows = {row for symbol in watcher.symbols if (row := self._row(symbol)) is not None}
        watcher.begin_resume()
        for at, update, _, _ in missed:
            if isinstance(update, Changed):
                _put_again(watcher, update, at, None if watcher.watches_all else rows)
            else:
                self.bars.put_again(watcher.bars, update, at)
        watcher.end_resume()
        return True

    def _opened(self, symbol: str, row: int) -> None:
        for watcher in self._bufferers:
            if symbol in watcher.buffered:
                watcher.states.buffered_rows.add(row)
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


# Queues what a stream wants of states that were published while it was lost; rows None: all.
def _put_again(watcher: Watcher, update: Changed, at: int, rows: set[int] | None) -> None:
    own = update.rows if rows is None else [row for row in update.rows if row in rows]
    states = {} if update.states is None else dict(zip(update.rows, update.states, strict=True))
    watcher.mark(own, at, states)

"""Close bars by the wall clock, in slices of less than 1 ms: the engine's only timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aggregator.bars.engine import BarEngine
from aggregator.watch.slices import MAX_SYMBOLS, Slices
from marketdata.timestamps import NS_PER_S

# A change of the wall clock is noticed after so long.
MAX_DELAY_S = 1.0
# How soon to look again whether there is room for the bars.
NO_ROOM_DELAY_S = 0.01


class CloseTimer:
    """Let the engine close bars whenever something closes by the wall clock.

    Args:
        engine: makes the bars.
        clock: the wall clock in ns.
        has_room: whether there is room for the bars that close; they close later if not.
        submit: lets the engine close what is due, of at most so many symbols, and then calls the
            second argument with whether that was all, and how many seconds it took.
        most: how many symbols may close at once.
    """

    def __init__(
        self,
        engine: BarEngine,
        clock: Callable[[], int],
        has_room: Callable[[], bool],
        submit: Callable[[int, Callable[[object, float], None]], None],
        most: int = MAX_SYMBOLS,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._has_room = has_room
        self._submit = submit
        self._slices = Slices(most)
        self._handle: asyncio.Handle | None = None
        # Whether the engine has yet to say what it closed; one request waits at most.
        self._asked = False
        self._stopped = False

    def start(self) -> None:
        """Wake the engine from now on whenever its next bar closes."""
        self._engine.wake_at = self._wake_at
        self._arm()

    def stop(self) -> None:
        """Stop waking the engine; bars that would close later stay open."""
        self._stopped = True
        self._engine.wake_at = lambda _ns: None
        if self._handle is not None:
            self._handle.cancel()

    def _arm(self) -> None:
        time_ns = self._engine.next_timer()
        if time_ns is not None:
            self._wake_at(time_ns)

    def _wake_at(self, time_ns: int) -> None:
        if self._asked:
            # Armed when the engine has closed what is due.
            return
        if self._handle is not None:
            self._handle.cancel()
        delay_s = (time_ns - self._clock()) / NS_PER_S
        delay_s = min(max(delay_s, 0.0), MAX_DELAY_S)
        self._handle = asyncio.get_running_loop().call_later(delay_s, self._begin)

    def _begin(self) -> None:
        self._slices.begin()
        self._close()

    def _close(self) -> None:
        self._handle = None
        if self._has_room():
            self._asked = True
            self._submit(self._slices.symbols, self._closed)
        else:
            loop = asyncio.get_running_loop()
            self._handle = loop.call_later(NO_ROOM_DELAY_S, self._close)

    def _closed(self, is_all: object, seconds: float) -> None:
        self._asked = False
        self._slices.took(seconds, is_full=is_all is False)
        if self._stopped:
            return
        if is_all is False:
            # Ticks that arrived meanwhile have their turn first.
            self._handle = asyncio.get_running_loop().call_soon(self._close)
        else:
            self._arm()

"""Hold lost Watch streams for a while, so that their readers can come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aggregator.watch.streams import WatchStreams

DEFAULT_HOLD_S = 30.0
# Each of them may want many bars. Beyond that number the stream that was lost first is given up.
MAX_HELD = 100


class Holding:
    """The Watch streams that were lost.

    :attr:`given_up` counts those for which no reader came back.

    Args:
        streams: what each stream wants.
        end: makes the end of a stream an input.
        hold_s: how long a stream is held.
        max_held: how many streams are held.
    """

    def __init__(
        self,
        streams: WatchStreams,
        end: Callable[[int], None],
        hold_s: float = DEFAULT_HOLD_S,
        max_held: int = MAX_HELD,
    ) -> None:
        self._streams = streams
        self._end = end
        self._hold_s = hold_s
        self._max_held = max_held
        # The one that was lost first ends first.
        self._timers: dict[int, asyncio.TimerHandle] = {}
        # Streams whose reader came back over another one, and that are not over yet.
        self._taken: set[int] = set()
        self.given_up = 0

    def __len__(self) -> int:
        return len(self._timers)

    def hold_all(self) -> None:
        """Hold every stream: call it once after a restart, before readers come back."""
        for stream in self._streams:
            self.lose(stream)

    def lose(self, stream: int) -> None:
        """Hold a stream whose reader is lost, if a later one could go on there."""
        if stream in self._taken:
            self._taken.discard(stream)
        elif self._hold_s and self._streams.is_worth_holding(stream):
            self._streams.hold(stream)
            loop = asyncio.get_running_loop()
            self._timers[stream] = loop.call_later(self._hold_s, self._give_up, stream)
            if len(self._timers) > self._max_held:
                self._give_up(next(iter(self._timers)))
        else:
            self._end(stream)

    def end(self, stream: int) -> None:
        """Forget a stream that is over."""
        if stream in self._taken:
            self._taken.discard(stream)
        else:
            self._end(stream)

    def take(self, stream: int) -> None:
        """Let a reader that came back have the place of a stream, held or not."""
        timer = self._timers.pop(stream, None)
        if timer is not None:
            timer.cancel()
        elif stream in self._streams:
            self._taken.add(stream)

    def is_taken(self, stream: int) -> bool:
        """Return whether a stream is over because its reader came back over another one."""
        return stream in self._taken

    def stop(self) -> None:
        """Give up no stream any more: a restarted process goes on with them."""
        for timer in self._timers.values():
            timer.cancel()

    def _give_up(self, stream: int) -> None:
        self._timers.pop(stream).cancel()
        self.given_up += 1
        self._end(stream)

"""Close a stream whose client asks for nothing."""

from __future__ import annotations

import asyncio

from gateway.live.session import Sessions
from gateway.stream.errors import FirstMessageTimeout
from gateway.stream.session import Query, StreamSession


class TimedStreamSession(StreamSession):
    """One client, which must send a message in time if its address asks for no symbols.

    Args:
        query: as :class:`StreamSession` has it.
    """

    def __init__(self, sessions: Sessions, query: Query) -> None:
        super().__init__(sessions, query)
        self._must_speak = "symbols" not in query
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Begin, and wait for the first message."""
        if self._must_speak:
            delay_s = self._limits.first_message_timeout_s
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._time_out)
        super().begin()

    def receive(self, message: str | bytes) -> None:
        """Take a message."""
        self._stop_timer()
        super().receive(message)

    def leave(self) -> None:
        """End all subscriptions; nothing more is sent."""
        self._stop_timer()
        super().leave()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_out(self) -> None:
        self.fail(FirstMessageTimeout(self._limits.first_message_timeout_s))

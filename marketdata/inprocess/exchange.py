"""One call with a stream, as both of its ends see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import grpc

from marketdata.inprocess.pipe import Pipe

Metadata = tuple[tuple[str, str | bytes], ...]


class Status(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    details: str = ""
    trailing_metadata: Metadata = ()


class Exchange:
    """The messages and the status of one call.

    The client has the status of the server when it has taken every response before it. A call that
    the client ends, or its deadline, has its status at once, and what waits is forgotten.

    Args:
        method: its full name.
        metadata: of the client.
        peer: the name of the client.
        timeout_s: how long the call may take.
    """

    def __init__(
        self, method: str, metadata: Metadata, peer: str, timeout_s: float | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self.method = method
        self.metadata = metadata
        self.peer = peer
        self.requests = Pipe(loop)
        self.responses = Pipe(loop)
        # What the client knows.
        self.is_accepted = False
        self.initial_metadata: Metadata | None = None
        self.status: Status | None = None
        # Ends the handler; set by the server.
        self.end_handler: Callable[[], object] = lambda: None
        self.deadline = None if timeout_s is None else loop.time() + timeout_s
        self._loop = loop
        self._timer = None if self.deadline is None else loop.call_at(self.deadline, self._expire)
        # The status of the server, while the last response waits.
        self._sent: Status | None = None
        self._changes: list[asyncio.Future[None]] = []
        self._callbacks: list[Callable[[], object]] = []

    @property
    def has_ended(self) -> bool:
        """Whether the server has sent its status, or the client has one."""
        return self._sent is not None or self.status is not None

    def time_left(self) -> float | None:
        """Return the seconds until the deadline; None: there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - self._loop.time())

    async def next_change(self) -> None:
        """Wait until the client knows more: an acceptance, metadata or the status."""
        change = self._loop.create_future()
        self._changes.append(change)
        await change

    def on_status(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when the client has the status."""
        if self.status is not None:
            callback()
        else:
            self._callbacks.append(callback)

    async def read_response(self) -> bytes | None:
        """Return the next response; None: the call ends, and has its status."""
        response = await self.responses.get()
        if self._sent is not None and self.responses.is_empty:
            self._end(self._sent)
        return response

    def cancel(self, status: Status) -> bool:
        """End the call at once, on both sides; return False if it has ended before."""
        if self.status is not None:
            return False
        self.responses.break_off()
        self._end(status)
        self.end_handler()
        return True

    def accept(self) -> None:
        """Let the client know that the server has the call."""
        self.is_accepted = True
        self._wake()

    def send_initial_metadata(self, metadata: Metadata) -> None:
        """Send the first metadata of the server; later ones are ignored."""
        if self.initial_metadata is None:
            self.initial_metadata = metadata
            self._wake()

    def finish(self, status: Status) -> None:
        """Send the status of the server after its responses."""
        if self.has_ended:
            return
        self._sent = status
        self.send_initial_metadata(())
        self.requests.break_off()
        self.responses.end()
        if self.responses.is_empty:
            self._end(status)

    def _expire(self) -> None:
        self.cancel(Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _end(self, status: Status) -> None:
        if self.status is not None:
            return
        self.status = status
        if self._timer is not None:
            self._timer.cancel()
        if self.initial_metadata is None:
            self.initial_metadata = ()
        self.requests.break_off()
        self._wake()
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def _wake(self) -> None:
        changes, self._changes = self._changes, []
        for change in changes:
            if not change.done():
                change.set_result(None)

"""What a handler knows of its call, and how it answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NoReturn

import grpc
import structlog

from marketdata.inprocess.exchange import Exchange, Metadata, Status

log = structlog.get_logger()

OK = grpc.StatusCode.OK

Callback = Callable[["Context"], object]


class Context(grpc.aio.ServicerContext[Any, Any]):
    """The context of a call with one request and one response.

    Args:
        metadata: of the client.
        peer: the name of the client.
        deadline: of the call, in the time of the event loop.
    """

    def __init__(self, metadata: Metadata, peer: str, deadline: float | None) -> None:
        self.aborted: grpc.aio.AbortError | None = None
        self.initial: Metadata | None = None
        self._invocation_metadata = metadata
        self._peer = peer
        self._deadline = deadline
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing: Metadata = ()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def status(self) -> Status:
        """How the call ends if its handler does."""
        return Status(self._code or OK, self._details, self._trailing)

    def check(self) -> None:
        """Stop a handler that goes on after the end of its call.

        Raises:
            grpc.aio.AbortError: the handler has aborted the call.
        """
        if self.aborted is not None:
            raise self.aborted

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> NoReturn:
        """End the call with this status."""
        if self.aborted is not None:
            raise grpc.aio.UsageError("Abort already called!")
        self.aborted = grpc.aio.AbortError("Locally aborted.")
        self._code = code
        self._details = details or self._details
        self._trailing = tuple(trailing_metadata) or self._trailing
        self._send_abort()
        raise self.aborted

    def _send_abort(self) -> None:
        pass

    async def abort_with_status(self, status: Any) -> NoReturn:
        """End the call with this status."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    async def read(self) -> Any:
        """Return the next request; ``grpc.aio.EOF`` after the last."""
        raise grpc.aio.UsageError("the call has one request, which its handler has")

    async def write(self, message: Any) -> None:
        """Send a response; wait while one before it waits."""
        raise grpc.aio.UsageError("the call has one response, which its handler returns")

    async def send_initial_metadata(
        self, initial_metadata: Iterable[tuple[str, str | bytes]]
    ) -> None:
        """Send the first metadata."""
        self.check()
        if self.initial is not None:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self.initial = tuple(initial_metadata)

    def set_trailing_metadata(self, trailing_metadata: Iterable[tuple[str, str | bytes]]) -> None:
        """Set the metadata that come with the status."""
        self._trailing = tuple(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """Return the metadata that come with the status."""
        return self._trailing

    def invocation_metadata(self) -> Any:
        """Return the metadata of the client."""
        return self._invocation_metadata

    def set_code(self, code: grpc.StatusCode) -> None:
        """Set the code of the status."""
        self._code = code

    def code(self) -> Any:
        """Return the code of the status; None: it is not set."""
        return self._code

    def set_details(self, details: str) -> None:
        """Set the text of the status."""
        self._details = details

    def details(self) -> str:
        """Return the text of the status."""
        return self._details

    def set_compression(self, compression: grpc.Compression) -> None:
        """Compress nothing: no byte leaves the process."""

    def disable_next_message_compression(self) -> None:
        """Compress nothing: no byte leaves the process."""

    def peer(self) -> str:
        """Return the name of the client."""
        return self._peer

    def peer_identities(self) -> Iterable[bytes] | None:
        """Return None: the client has no certificate."""
        return None

    def peer_identity_key(self) -> str | None:
        """Return None: the client has no certificate."""
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return nothing: the client has no certificate."""
        return {}

    def time_remaining(self) -> Any:
        """Return the seconds until the deadline; None: there is none."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - asyncio.get_running_loop().time())

    def add_done_callback(self, callback: Any) -> None:
        """Call ``callback`` with this context when the handler has ended."""
        self._callbacks.append(partial(callback, self))

    def run_callbacks(self) -> None:
        """Call what :meth:`add_done_callback` was given."""
        try:
            for callback in self._callbacks:
                callback()
        except Exception:
            log.exception("callback_failed")

    def cancelled(self) -> bool:
        """Return whether the handler has set the code CANCELLED."""
        return self._code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Return whether the status was sent."""
        return self.aborted is not None


class StreamContext(Context):
    """The context of a call with a stream.

    Args:
        exchange: the call.
        parse: makes a request of bytes; None: requests stay bytes.
        serialize: makes bytes of a response; None: responses are bytes.
        check_size: called with the bytes of each response; raises if they are too many.
    """

    def __init__(
        self,
        exchange: Exchange,
        parse: Callable[[bytes], Any] | None,
        serialize: Callable[[Any], bytes] | None,
        check_size: Callable[[bytes], None],
    ) -> None:
        super().__init__(exchange.metadata, exchange.peer, exchange.deadline)
        self._exchange = exchange
        self._parse = parse
        self._serialize = serialize
        self._check_size = check_size

    def check(self) -> None:
        """Stop a handler that goes on after the end of its call.

        Raises:
            grpc.aio.AbortError: the handler has aborted the call.
            grpc.aio.UsageError: the call has ended.
        """
        super().check()
        if self._exchange.has_ended:
            raise grpc.aio.UsageError("RPC already finished.")

    def _send_abort(self) -> None:
        self._exchange.finish(self.status)

    async def read(self) -> Any:
        """Return the next request; ``grpc.aio.EOF`` after the last."""
        super().check()
        data = await self._exchange.requests.get()
        super().check()
        if data is None:
            return grpc.aio.EOF
        return data if self._parse is None else self._parse(data)

    async def write(self, message: Any) -> None:
        """Send a response; wait while one before it waits."""
        self.check()
        data = message if self._serialize is None else self._serialize(message)
        self._check_size(data)
        self._exchange.send_initial_metadata(())
        if not await self._exchange.responses.put(data):
            raise grpc.aio.InternalError("the client has ended the call")

    async def send_initial_metadata(
        self, initial_metadata: Iterable[tuple[str, str | bytes]]
    ) -> None:
        """Send the first metadata."""
        self.check()
        if self._exchange.initial_metadata is not None:
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")
        self._exchange.send_initial_metadata(tuple(initial_metadata))

    def done(self) -> bool:
        """Return whether the status was sent."""
        return self._exchange.has_ended


class Requests:
    """The requests of a client, for a handler that iterates.

    Not a generator: one that is suspended when its call is cancelled would end when it is
    collected.
    """

    __slots__ = ("_read",)

    def __init__(self, context: StreamContext) -> None:
        self._read = context.read

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Any:
        request = await self._read()
        if request is grpc.aio.EOF:
            raise StopAsyncIteration
        return request

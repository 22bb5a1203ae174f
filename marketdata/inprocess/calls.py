"""Calls, as a client sees them: those of grpc.aio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from functools import partial
from typing import Any

import grpc

from marketdata.inprocess.context import OK
from marketdata.inprocess.exchange import Exchange, Metadata, Status
from marketdata.inprocess.server import InProcessServer, TooLarge

log = logging.getLogger(__name__)

Serialize = Callable[[Any], bytes] | None
Parse = Callable[[bytes], Any] | None

_CANCELLED = Status(grpc.StatusCode.CANCELLED, "Locally cancelled by application!")
_COLLECTED = Status(grpc.StatusCode.CANCELLED, "Cancelled upon garbage collection!")
_FINISHED = "RPC already finished."
_HALF_CLOSED = 'RPC is half closed after calling "done_writing".'


def error_of(status: Status, initial_metadata: Metadata | None) -> grpc.aio.AioRpcError:
    """Return the error of a call that has not ended well."""
    return grpc.aio.AioRpcError(
        status.code,
        grpc.aio.Metadata(*(initial_metadata or ())),
        grpc.aio.Metadata(*status.trailing_metadata),
        details=status.details,
    )


def parsed(data: bytes, parse: Parse) -> Any:
    """Return the message of ``data``; None if it does not parse, as grpc.aio does."""
    if parse is None:
        return data
    try:
        return parse(data)
    except Exception:
        log.exception("a response does not parse")
        return None


class StreamCall:
    """What calls with a stream have in common; a call that nobody holds is cancelled.

    Args:
        exchange: the call.
        server: has it.
        serialize: makes bytes of a request; None: requests are bytes.
        parse: makes a response of bytes; None: responses stay bytes.
    """

    def __init__(
        self, exchange: Exchange, server: InProcessServer, serialize: Serialize, parse: Parse
    ) -> None:
        self._exchange = exchange
        self._server = server
        self._serialize = serialize
        self._parse = parse
        self._loop = asyncio.get_running_loop()
        self._is_cancelled = False
        self._is_done_writing = False
        # Sends requests that are iterated.
        self._sending: asyncio.Task[None] | None = None

    def __del__(self) -> None:
        if self._exchange.status is None and not self._loop.is_closed():
            self._exchange.cancel(_COLLECTED)

    def cancel(self) -> bool:
        """End the call; return False if it has ended before."""
        if not self._exchange.cancel(_CANCELLED):
            return False
        self._is_cancelled = True
        if self._sending is not None:
            self._sending.cancel()
        return True

    def cancelled(self) -> bool:
        """Return whether the call was cancelled."""
        status = self._exchange.status
        return status is not None and status.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Return whether the call has ended."""
        return self._exchange.status is not None

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None: there is none."""
        return self._exchange.time_left()

    def add_done_callback(self, callback: Callable[[Any], object]) -> None:
        """Call ``callback`` with this call when it has ended."""
        self._exchange.on_status(partial(callback, self))

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """Return the first metadata of the server, when they are there."""
        while self._exchange.initial_metadata is None:
            await self._exchange.next_change()
        return grpc.aio.Metadata(*self._exchange.initial_metadata)

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """Return the last metadata of the server, when the call has ended."""
        return grpc.aio.Metadata(*(await self._status()).trailing_metadata)

    async def code(self) -> grpc.StatusCode:
        """Return the code of the status, when the call has ended."""
        return (await self._status()).code

    async def details(self) -> str:
        """Return the text of the status, when the call has ended."""
        return (await self._status()).details

    async def wait_for_connection(self) -> None:
        """Wait until the server has the call.

        Raises:
            grpc.aio.AioRpcError: the call has ended with an error.
        """
        exchange = self._exchange
        while not exchange.is_accepted and exchange.status is None:
            await exchange.next_change()
        if exchange.status is not None:
            self._raise_for_status(exchange.status)

    async def _status(self) -> Status:
        while (status := self._exchange.status) is None:
            await self._exchange.next_change()
        return status

    def _raise_for_status(self, status: Status) -> None:
        if self._is_cancelled:
            raise asyncio.CancelledError
        if status.code is not OK:
            raise error_of(status, self._exchange.initial_metadata)

    async def _write(self, request: Any) -> None:
        exchange = self._exchange
        if exchange.status is not None:
            raise asyncio.InvalidStateError(_FINISHED)
        if self._is_done_writing:
            raise asyncio.InvalidStateError(_HALF_CLOSED)
        if not exchange.is_accepted:
            await self.wait_for_connection()
        data = request if self._serialize is None else self._serialize(request)
        self._check_size(data)
        try:
            is_sent = await exchange.requests.put(data)
        except asyncio.CancelledError:
            self.cancel()
            raise
        if not is_sent:
            if exchange.status is None:
                # The status waits for the reader of the responses.
                raise asyncio.InvalidStateError(_FINISHED)
            self._raise_for_status(exchange.status)

    def _check_size(self, data: bytes) -> None:
        try:
            self._server.check_size(data)
        except TooLarge as exc:
            status = Status(grpc.StatusCode.RESOURCE_EXHAUSTED, f"CLIENT: {exc}")
            self._exchange.cancel(status)

    async def _read(self) -> Any:
        try:
            data = await self._exchange.read_response()
        except asyncio.CancelledError:
            self.cancel()
            raise
        if data is not None:
            return parsed(data, self._parse)
        self._raise_for_status(await self._status())
        return grpc.aio.EOF

    async def _iterate(self) -> AsyncIterator[Any]:
        while (response := await self._read()) is not grpc.aio.EOF:
            yield response

    def _end_writing(self) -> None:
        self._is_done_writing = True
        self._exchange.requests.end()

    def send_all(self, requests: Iterable[Any] | AsyncIterable[Any]) -> None:
        """Begin to send requests, and then their end."""
        self._sending = self._loop.create_task(self._send_all(requests))

    async def _send_all(self, requests: Iterable[Any] | AsyncIterable[Any]) -> None:
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await self._write(request)
            else:
                for request in requests:
                    await self._write(request)
            self._end_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # Who reads the responses has the status.
            return
        except Exception:
            log.debug("the requests of a call have failed", exc_info=True)
            self.cancel()


class _ReadingCall(StreamCall):
    async def read(self) -> Any:
        """Return the next response, or ``grpc.aio.EOF``.

        Raises:
            grpc.aio.AioRpcError: the call has ended with an error.
        """
        if (status := self._exchange.status) is not None:
            self._raise_for_status(status)
            return grpc.aio.EOF
        return await self._read()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._iterate()


class _WritingCall(StreamCall):
    async def write(self, request: Any) -> None:
        """Send a request; wait while one before it waits.

        Raises:
            asyncio.InvalidStateError: the call has ended, or its requests have.
            grpc.aio.AioRpcError: the call has ended meanwhile.
        """
        self._check_style()
        await self._write(request)

    async def done_writing(self) -> None:
        """Send the end of the requests."""
        self._check_style()
        self._end_writing()

    def _check_style(self) -> None:
        if self._sending is not None:
            raise grpc.aio.UsageError("the requests of this call are iterated")


class UnaryStreamCall(_ReadingCall, grpc.aio.UnaryStreamCall[Any, Any]):
    """A call with one request and a stream of responses."""

    def send_only(self, request: Any) -> None:
        """Send the request."""
        data = request if self._serialize is None else self._serialize(request)
        self._check_size(data)
        if self._exchange.status is None:
            self._exchange.requests.put_nowait(data)
            self._exchange.requests.end()


class StreamStreamCall(_ReadingCall, _WritingCall, grpc.aio.StreamStreamCall[Any, Any]):
    """A call with a stream in each direction."""


class StreamUnaryCall(_WritingCall, grpc.aio.StreamUnaryCall[Any, Any]):
    """A call with a stream of requests and one response."""

    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        response = await self._read()
        self._raise_for_status(await self._status())
        return response

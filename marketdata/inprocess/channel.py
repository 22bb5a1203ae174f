"""A channel to a server in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import grpc

from marketdata.inprocess.calls import (
    Parse,
    Serialize,
    StreamCall,
    StreamStreamCall,
    StreamUnaryCall,
    UnaryStreamCall,
)
from marketdata.inprocess.exchange import Exchange
from marketdata.inprocess.server import InProcessServer
from marketdata.inprocess.unary import UnaryUnary


class InProcessChannel(grpc.aio.Channel):
    """Call a server in this process, as through a channel of grpc.aio.

    Both ends are on one event loop. Messages pass as bytes.

    Args:
        server: has the methods; calls wait for it, or fail, until it is started.
        name: handlers see it as the address of their peer.
    """

    def __init__(self, server: InProcessServer, name: str) -> None:
        self._server = server
        self._peer = f"inprocess:{name}"
        self._streams: WeakSet[StreamCall] = WeakSet()
        self._answers: set[Any] = set()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Return the channel."""
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        """Close the channel."""
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        """Take no more calls, let those in progress end for ``grace`` seconds, cancel the rest."""
        self._is_closed = True
        if grace:
            calls = [*self._streams, *self._answers]
            endings = [asyncio.ensure_future(call.code()) for call in calls]
            if endings:
                await asyncio.wait(endings, timeout=grace)
        for call in [*self._streams, *self._answers]:
            call.cancel()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return whether the server runs."""
        if self._is_closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        if self._server.is_running:
            return grpc.ChannelConnectivity.READY
        return grpc.ChannelConnectivity.IDLE

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another one; only the start of the server is waited for."""
        if self.get_state() is last_observed_state:
            await self._server.until_running()

    async def channel_ready(self) -> None:
        """Wait until the server runs."""
        await self._server.until_running()

    def unary_unary(
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Parse = None,
        _registered_method: bool | None = False,
    ) -> UnaryUnary:
        """Return a method with one message in each direction."""
        return UnaryUnary(
            method,
            self._server,
            request_serializer,
            response_deserializer,
            peer=self._peer,
            open_calls=self._answers,
            check_open=self._check_open,
        )

    def unary_stream(
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Parse = None,
        _registered_method: bool | None = False,
    ) -> UnaryStream:
        """Return a method with one request and a stream of responses."""
        return UnaryStream(self._open, method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Parse = None,
        _registered_method: bool | None = False,
    ) -> StreamUnary:
        """Return a method with a stream of requests and one response."""
        return StreamUnary(self._open, method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serialize = None,
        response_deserializer: Parse = None,
        _registered_method: bool | None = False,
    ) -> StreamStream:
        """Return a method with a stream in each direction."""
        return StreamStream(self._open, method, request_serializer, response_deserializer)

    def _check_open(self) -> None:
        if self._is_closed:
            raise grpc.aio.UsageError("Channel is closed.")

    def _open(
        self,
        kind: type[StreamCall],
        method: _Method,
        timeout_s: float | None,
        metadata: Any,
        wait_for_ready: bool,
    ) -> Any:
        self._check_open()
        exchange = Exchange(method.name, tuple(metadata or ()), self._peer, timeout_s)
        call = kind(exchange, self._server, method.serialize, method.parse)
        self._streams.add(call)
        self._server.open(exchange, wait_for_ready=wait_for_ready)
        return call


Open = Callable[[type[StreamCall], Any, float | None, Any, bool], Any]


class _Method:
    def __init__(self, open_call: Open, name: str, serialize: Serialize, parse: Parse) -> None:
        self._open = open_call
        self.name = name
        self.serialize = serialize
        self.parse = parse


class UnaryStream(_Method, grpc.aio.UnaryStreamMultiCallable[Any, Any]):
    """A method with one request and a stream of responses."""

    def __call__(
        self,
        request: Any,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> UnaryStreamCall:
        """Begin a call."""
        call: UnaryStreamCall = self._open(
            UnaryStreamCall, self, timeout, metadata, bool(wait_for_ready)
        )
        call.send_only(request)
        return call


class StreamUnary(_Method, grpc.aio.StreamUnaryMultiCallable[Any, Any]):
    """A method with a stream of requests and one response."""

    def __call__(  # noqa: PLR0917  as grpc.aio has it
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> StreamUnaryCall:
        """Begin a call."""
        call: StreamUnaryCall = self._open(
            StreamUnaryCall, self, timeout, metadata, bool(wait_for_ready)
        )
        if request_iterator is not None:
            call.send_all(request_iterator)
        return call


class StreamStream(_Method, grpc.aio.StreamStreamMultiCallable[Any, Any]):
    """A method with a stream in each direction."""

    def __call__(  # noqa: PLR0917  as grpc.aio has it
        self,
        request_iterator: Any = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: Any = None,
        wait_for_ready: bool | None = None,
        compression: Any = None,
    ) -> StreamStreamCall:
        """Begin a call."""
        call: StreamStreamCall = self._open(
            StreamStreamCall, self, timeout, metadata, bool(wait_for_ready)
        )
        if request_iterator is not None:
            call.send_all(request_iterator)
        return call

"""Run the handlers of calls that come from the same process."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc
import structlog

from marketdata.channel import MAX_MESSAGE_BYTES
from marketdata.inprocess.context import OK, Context, Requests, StreamContext
from marketdata.inprocess.exchange import Exchange, Status

log = structlog.get_logger()

_NOT_RUNNING = Status(grpc.StatusCode.UNAVAILABLE, "the server in this process does not run")
_STOPPED = Status(grpc.StatusCode.UNAVAILABLE, "the server in this process has stopped")
_NOT_FOUND = Status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")


class TooLarge(Exception):
    """A message is larger than the limit."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"Sent message larger than max ({size} vs. {limit})")


class _Details(NamedTuple):
    # As grpc.HandlerCallDetails.
    method: str
    invocation_metadata: Any = ()


class InProcessServer:
    """Serve the channels of this process; servicers are registered as on a server of grpc.aio.

    Handlers are coroutine functions or asynchronous generators. An interceptor is asked once for
    each method, when the server starts, so it must choose by the method alone.

    Args:
        interceptors: see grpc.aio.server.
        max_message_bytes: larger messages end their call, as they do between processes.
    """

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> None:
        self._interceptors = interceptors
        self._max_message_bytes = max_message_bytes
        self._registered: dict[str, Any] = {}
        self._handlers: dict[str, Any] = {}
        self._running: asyncio.Event = asyncio.Event()
        self._is_stopped = False
        self._context = contextvars.copy_context()
        # Streams that wait for the start.
        self._waiting: list[Exchange] = []
        # The streams with their handlers, and what ends each single answer.
        self._streams: dict[asyncio.Task[None], Exchange] = {}
        self._answers: set[asyncio.Timeout] = set()
        # Those that the stop has ended.
        self._cut: set[asyncio.Timeout] = set()
        self._idle = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Whether calls are taken."""
        return self._running.is_set() and not self._is_stopped

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Do nothing: generated code registers each method, too."""

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Any]
    ) -> None:
        """Register the methods of a service, as generated code does."""
        for name, handler in method_handlers.items():
            self._registered[f"/{service_name}/{name}"] = handler

    async def start(self) -> None:
        """Take calls; those that waited for it begin."""
        for method, handler in self._registered.items():
            self._handlers[method] = await self._intercept(method, handler)
        self._context = contextvars.copy_context()
        self._running.set()
        waiting, self._waiting = self._waiting, []
        for exchange in waiting:
            self._begin(exchange)

    async def _intercept(self, method: str, handler: Any) -> Any:
        async def find(_: object) -> Any:
            return handler

        continuation = find
        for interceptor in reversed(self._interceptors):
            continuation = partial(interceptor.intercept_service, continuation)
        return await continuation(_Details(method))

    async def until_running(self) -> None:
        """Wait until calls are taken, for ever once the server has stopped."""
        await self._running.wait()
        if self._is_stopped:
            await asyncio.get_running_loop().create_future()

    async def stop(self, grace: float | None) -> None:
        """Take no more calls, let those in progress end for ``grace`` seconds, cancel the rest."""
        self._is_stopped = True
        if grace and (self._streams or self._answers):
            self._idle.clear()
            try:
                async with asyncio.timeout(grace):
                    await self._idle.wait()
            except TimeoutError:
                pass
        handlers = list(self._streams)
        for exchange in list(self._streams.values()):
            exchange.cancel(_STOPPED)
        self._cut = set(self._answers)
        for end in self._answers:
            end.reschedule(0)
        if handlers:
            await asyncio.wait(handlers)

    def check_size(self, data: bytes) -> None:
        """Check a message.

        Raises:
            TooLarge: it is larger than the limit.
            TypeError: it is no bytes, so both sides would share it.
        """
        if type(data) is not bytes:
            raise TypeError(f"a message is {type(data).__name__}, not bytes")
        if len(data) > self._max_message_bytes:
            raise TooLarge(len(data), self._max_message_bytes)

    # Calls with a stream.

    def open(self, exchange: Exchange, *, wait_for_ready: bool = False) -> None:
        """Begin a call in which one side, or both, may send several messages.

        Args:
            exchange: the call.
            wait_for_ready: begin it when the server runs; else it fails if it does not.
        """
        if self.is_running:
            self._begin(exchange)
        elif not wait_for_ready:
            exchange.cancel(_NOT_RUNNING)
        elif not self._is_stopped:
            self._waiting.append(exchange)

    def _begin(self, exchange: Exchange) -> None:
        if exchange.status is not None:
            return
        exchange.accept()
        handler = self._handlers.get(exchange.method)
        if handler is None:
            exchange.finish(_NOT_FOUND)
            return
        context = StreamContext(
            exchange, handler.request_deserializer, handler.response_serializer, self.check_size
        )
        task = asyncio.get_running_loop().create_task(
            self._serve(handler, exchange, context), context=self._context.copy()
        )
        self._streams[task] = exchange
        exchange.end_handler = task.cancel
        task.add_done_callback(partial(self._served, context))

    def _served(self, context: StreamContext, task: asyncio.Task[None]) -> None:
        del self._streams[task]
        context.run_callbacks()
        self._note_end()

    def _note_end(self) -> None:
        if not self._streams and not self._answers:
            self._idle.set()

    async def _serve(self, handler: Any, exchange: Exchange, context: StreamContext) -> None:
        try:
            await _run_stream(handler, exchange, context)
            # The handler may have caught an abort.
            exchange.finish(context.status)
        except asyncio.CancelledError:
            exchange.finish(Status(grpc.StatusCode.CANCELLED, "the handler was cancelled"))
            raise
        except TooLarge as exc:
            exchange.finish(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, f"SERVER: {exc}"))
        except Exception as exc:
            has_ended = exchange.has_ended
            exchange.finish(_failed(exc, context))
            is_abort = exc is context.aborted
            is_gone = has_ended and isinstance(exc, grpc.aio.InternalError)
            if not is_abort and not is_gone:
                log.exception("rpc_failed", method=exchange.method)

    # Calls with one message in each direction. They run in the task of the client.

    async def answer(
        self, method: str, request: bytes, context: Context, end: asyncio.Timeout
    ) -> tuple[Status, bytes]:
        """Return the status of a call, and its response if that is OK.

        Args:
            method: its full name.
            request: its bytes.
            context: of the handler.
            end: ends the handler when it expires.
        """
        handler = self._handlers.get(method)
        if handler is None:
            return _NOT_FOUND, b""
        self._answers.add(end)
        try:
            parse, serialize = handler.request_deserializer, handler.response_serializer
            response = await handler.unary_unary(
                request if parse is None else parse(request), context
            )
            status, data = context.status, b""
            if status.code is OK:
                data = response if serialize is None else serialize(response)
                self.check_size(data)
        except TooLarge as exc:
            return Status(grpc.StatusCode.RESOURCE_EXHAUSTED, f"SERVER: {exc}"), b""
        except Exception as exc:
            if exc is not context.aborted:
                log.exception("rpc_failed", method=method)
            return _failed(exc, context), b""
        else:
            return status, data
        finally:
            self._answers.discard(end)
            context.run_callbacks()
            self._note_end()

    def ended(self, end: asyncio.Timeout) -> Status:
        """Return the status of a call whose handler ``end`` has ended."""
        if end in self._cut:
            return _STOPPED
        return Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    @property
    def refusal(self) -> Status:
        """The status of calls while no calls are taken."""
        return _NOT_RUNNING


async def _run_stream(handler: Any, exchange: Exchange, context: StreamContext) -> None:
    if handler.request_streaming:
        request: Any = Requests(context)
    else:
        request = await context.read()
    if not handler.response_streaming:
        response = await handler.stream_unary(request, context)
        if context.status.code is OK:
            await context.write(response)
        return
    method = handler.stream_stream if handler.request_streaming else handler.unary_stream
    if inspect.isasyncgenfunction(method):
        async for response in method(request, context):
            await context.write(response)
    else:
        await method(request, context)


def _failed(exc: Exception, context: Context) -> Status:
    if exc is context.aborted:
        return context.status
    code = context.code() or grpc.StatusCode.UNKNOWN
    details = f"Unexpected {type(exc)}: {exc}"
    return Status(code, details, context.status.trailing_metadata)

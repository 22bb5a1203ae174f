"""Answer a message that does not parse with INVALID_ARGUMENT.

The library alone would answer UNKNOWN, as to any exception of a handler.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

_MALFORMED = object()

Context = grpc.aio.ServicerContext[Any, Any]


class RefuseMalformed(grpc.aio.ServerInterceptor):
    """Abort a call whose request does not parse."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler with a parser that cannot raise."""
        handler = await continuation(handler_call_details)
        # None: no such method; the library answers UNIMPLEMENTED.
        return None if handler is None else _guarded(handler)


def _guarded(handler: Any) -> Any:
    parse = handler.request_deserializer

    def try_parse(data: bytes) -> object:
        try:
            return parse(data)
        except DecodeError:
            return _MALFORMED

    if handler.request_streaming:
        name = "stream_stream" if handler.response_streaming else "stream_unary"
        guard = _guard_stream
    else:
        name = "unary_stream" if handler.response_streaming else "unary_unary"
        guard = _guard_unary
    return handler._replace(request_deserializer=try_parse, **{name: guard(getattr(handler, name))})


def _guard_unary(method: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
    async def guarded(request: object, context: Context) -> Any:
        if request is _MALFORMED:
            await _refuse(context)
        return await method(request, context)

    return guarded


def _guard_stream(method: Callable[[Any, Context], Any]) -> Callable[[Any, Context], Any]:
    async def checked(requests: AsyncIterator[object], context: Context) -> AsyncIterator[object]:
        async for request in requests:
            if request is _MALFORMED:
                await _refuse(context)
            yield request

    async def guarded(requests: AsyncIterator[object], context: Context) -> Any:
        return await method(checked(requests, context), context)

    return guarded


async def _refuse(context: Context) -> None:
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request message does not parse")

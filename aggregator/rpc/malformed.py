"""Answer a message that does not parse with INVALID_ARGUMENT.

The library alone would answer UNKNOWN, as to any exception of a handler.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
from google.protobuf.message import DecodeError

from marketdata.errors import MarketDataError

_MALFORMED = object()

Context = grpc.aio.ServicerContext[Any, Any]


class MalformedMessage(MarketDataError):
    """A message does not parse."""

    def __init__(self) -> None:
        super().__init__("the request message does not parse")


class RefuseMalformed(grpc.aio.ServerInterceptor):
    """Abort a call whose request does not parse."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which ends a call whose request does not parse."""
        handler = await continuation(handler_call_details)
        # None: there is no such method, and the library answers UNIMPLEMENTED.
        if handler is None or handler.request_deserializer is None:
            return handler
        return _guarded(handler)


def _guarded(handler: Any) -> Any:
    parse = handler.request_deserializer

    def try_parse(data: bytes) -> object:
        try:
            return parse(data)
        except DecodeError:
            return _MALFORMED

    kinds = ("unary", "stream")
    name = f"{kinds[handler.request_streaming]}_{kinds[handler.response_streaming]}"
    method = getattr(handler, name)
    check = _check_stream if handler.request_streaming else _check_message

    async def call(request: Any, context: Context) -> Any:
        try:
            return await method(check(request), context)
        except MalformedMessage:
            await refuse(context)

    async def generate(request: Any, context: Context) -> AsyncIterator[Any]:
        try:
            async for response in method(check(request), context):
                yield response
        except MalformedMessage:
            await refuse(context)

    guarded = generate if inspect.isasyncgenfunction(method) else call
    return handler._replace(request_deserializer=try_parse, **{name: guarded})


def _check_message(request: object) -> object:
    if request is _MALFORMED:
        raise MalformedMessage
    return request


async def refuse(context: Context) -> NoReturn:
    """Abort a call whose request does not parse."""
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(MalformedMessage()))
    raise AssertionError("abort raises")


# The handler ends the call, not the reader of its requests: a response may be on its way.
async def _check_stream(requests: AsyncIterator[object]) -> AsyncIterator[object]:
    async for request in requests:
        yield _check_message(request)

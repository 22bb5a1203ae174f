"""Pass wire bytes to the handlers that read and write them faster than the library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc


class LeaveUndecoded(grpc.aio.ServerInterceptor):
    """Pass the requests of some methods, and the responses of others, as bytes.

    Args:
        requests: full names of methods, ``/package.Service/Method``.
        responses: likewise.
    """

    def __init__(self, *, requests: frozenset[str], responses: frozenset[str]) -> None:
        self._requests = requests
        self._responses = responses

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, without a deserializer or serializer if it is listed."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler_call_details.method in self._requests:
            handler = handler._replace(request_deserializer=None)
        if handler_call_details.method in self._responses:
            handler = handler._replace(response_serializer=None)
        return handler

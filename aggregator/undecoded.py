"""Give the bytes of a request to its handler, who reads them faster than the library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc


class LeaveUndecoded(grpc.aio.ServerInterceptor):
    """Leave the requests of some methods as bytes.

    Args:
        methods: their full names, ``/package.Service/Method``.
    """

    def __init__(self, methods: frozenset[str]) -> None:
        self._methods = methods

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, without a deserializer if it is one of those."""
        handler = await continuation(handler_call_details)
        if handler is not None and handler_call_details.method in self._methods:
            return handler._replace(request_deserializer=None)
        return handler

"""Call a connection's handler so that its mistakes end that one connection and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from gateway.clients.connection import INTERNAL_ERROR, Connection, ConnectionHandler

log = structlog.get_logger(__name__)


class GuardedHandler:
    """Forward to a handler, ``on_open`` and ``on_close`` exactly once each."""

    def __init__(self, handler: ConnectionHandler, connection: Connection) -> None:
        self._handler = handler
        self._connection = connection
        self._closed = False

    def open(self) -> None:
        """Say that the connection is there."""
        peer = self._connection.peer
        log.info("connection_opened", transport=peer.transport, address=peer.address)
        self._call(self._handler.on_open, self._connection)

    def message(self, message: str | bytes) -> None:
        """Hand one message over, unless the connection was closed meanwhile."""
        if not self._closed:
            self._call(self._handler.on_message, message)

    def overhead(self, frames: int) -> None:
        """Report frames that carry no message, unless the connection was closed meanwhile."""
        if not self._closed:
            self._call(self._handler.on_overhead, frames)

    def drained(self) -> None:
        """Say that the connection is writable again."""
        if not self._closed:
            self._call(self._handler.on_drained)

    def close_soon(self, code: int, reason: str) -> None:
        """Say soon that the connection is over; only the first call counts.

        Not at once: a handler that calls ``close`` should not meet ``on_close`` inside it.
        """
        if self._closed:
            return
        self._closed = True
        peer = self._connection.peer
        log.info(
            "connection_closed",
            transport=peer.transport,
            address=peer.address,
            code=code,
            reason=reason,
        )
        asyncio.get_running_loop().call_soon(self._call, self._handler.on_close, code, reason)

    def _call(self, method: Callable[..., None], *args: object) -> None:
        try:
            method(*args)
        except Exception:
            log.exception("connection_handler_failed", method=method.__name__)
            self._connection.close(INTERNAL_ERROR, "Internal error")

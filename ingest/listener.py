"""Listen for producers' TCP connections."""

from __future__ import annotations

import asyncio

from ingest.connection import ProducerConnection
from ingest.parser import FrameParser
from ingest.scheduler import BatchScheduler
from ingest.settings import IngestSettings
from marketdata.addresses import listen_error
from marketdata.summary import DropSummary

BACKLOG = 1024
# Turns of the loop from accept() to our callback, and one to spare: a producer that was accepted
# just before the stop is read like any other.
_ACCEPT_TURNS = 5


class Listener:
    """Accept producers, up to a limit, and know which are connected.

    Args:
        settings: the address and the limits.
        parser: takes the bytes of every connection.
        scheduler: sends the ticks, and says when not to read.
        rejected: counts ticks that are dropped.
        closed: counts connections that we ended, by reason.
    """

    def __init__(
        self,
        settings: IngestSettings,
        parser: FrameParser,
        scheduler: BatchScheduler,
        rejected: DropSummary,
        closed: DropSummary,
    ) -> None:
        self._settings = settings
        self._parser = parser
        self._scheduler = scheduler
        self._rejected = rejected
        self._closed = closed
        self._server: asyncio.Server | None = None
        self._connections: set[ProducerConnection] = set()
        self._none_left = asyncio.Event()
        self.port = 0

    @property
    def connections(self) -> int:
        """How many are connected, health checks included."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen where the settings say.

        Raises:
            AddressInUse: the address is taken.
            StartError: the address is not one of this machine.
        """
        host, port = self._settings.host, self._settings.port
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._make_connection, host, port, backlog=BACKLOG
            )
        except OSError as exc:
            raise listen_error(host, port, exc) from exc
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Accept no more producers, and read the bytes that have arrived.

        A cancellation leaves the connections to :meth:`close`.
        """
        if self._server is not None:
            self._server.close()
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for connection in self._connections:
            connection.end_reading()
        await self._wait_until_none_is_left()

    async def close(self) -> None:
        """End the connections that are left."""
        for connection in self._connections:
            connection.abort()
        await self._wait_until_none_is_left()

    async def _wait_until_none_is_left(self) -> None:
        while self._connections:
            self._none_left.clear()
            await self._none_left.wait()

    def _make_connection(self) -> ProducerConnection:
        return ProducerConnection(
            self._parser,
            self._scheduler,
            self._rejected,
            frame_timeout_s=self._settings.frame_timeout_s,
            opened=self._admit,
            ended=self._forget,
        )

    def _admit(self, connection: ProducerConnection) -> bool:
        if len(self._connections) >= self._settings.max_connections:
            self._closed.add({"too_many_connections": 1})
            return False
        self._connections.add(connection)
        return True

    def _forget(self, connection: ProducerConnection, reason: str) -> None:
        self._connections.discard(connection)
        if reason != "closed_by_producer":
            self._closed.add({reason: 1})
        if not self._connections:
            self._none_left.set()

"""Listen for producers' TCP connections."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from ingest.connection import ProducerConnection
from ingest.parser import FrameParser
from ingest.scheduler import BatchScheduler
from ingest.session.connection import SessionConnection
from ingest.session.services import SessionServices
from ingest.settings import IngestSettings
from marketdata.acceptor import Acceptor
from marketdata.addresses import open_listeners
from marketdata.summary import DropSummary

BACKLOG = 1024


class Connection(Protocol):
    """The connection of a producer: of v1 frames, or of a session."""

    @property
    def is_newcomer(self) -> bool:
        """Whether it is open and has not shown that it is a producer."""

    def make_room(self) -> None:
        """End a newcomer."""

    def end_reading(self) -> None:
        """Read the bytes that have arrived by now, then end."""

    def abort(self) -> None:
        """End now."""


class Listener:
    """Accept producers, up to a limit, and know which are connected.

    Args:
        settings: the address and the limits.
        parser: takes the bytes of every connection.
        scheduler: sends the ticks, and says when not to read.
        sessions: what producer sessions share.
        closed: counts connections that we ended, by reason.
    """

    def __init__(
        self,
        settings: IngestSettings,
        parser: FrameParser,
        scheduler: BatchScheduler,
        sessions: SessionServices,
        closed: DropSummary,
    ) -> None:
        self._settings = settings
        self._parser = parser
        self._scheduler = scheduler
        self._sessions = sessions
        self._closed = closed
        self._is_stopping = False
        self._acceptors: list[Acceptor] = []
        self._connections: set[Connection] = set()
        # Those that may not have sent a tick yet, the oldest first.
        self._newcomers: deque[Connection] = deque()
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
        settings = self._settings
        listeners = open_listeners(settings.host, settings.port, BACKLOG)
        self.port = listeners[0].getsockname()[1]
        self._acceptors = [Acceptor(each, self._make_connection) for each in listeners]
        for acceptor in self._acceptors:
            acceptor.start()

    async def stop(self) -> None:
        """Accept the producers that have connected and no more, and read the bytes that arrived.

        A cancellation leaves the connections to :meth:`close`.
        """
        for acceptor in self._acceptors:
            await acceptor.finish()
        self._is_stopping = True
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
            self._sessions.rejected,
            first_tick_timeout_s=self._settings.first_tick_timeout_s,
            frame_timeout_s=self._settings.frame_timeout_s,
            home=self,
        )

    def admit(self, connection: Connection) -> bool:
        """Take in a connection that begins; return whether there is room for it."""
        while self._newcomers and not self._newcomers[0].is_newcomer:
            self._newcomers.popleft()
        if len(self._connections) >= self._settings.max_connections:
            if not self._newcomers:
                self._closed.add({"too_many_connections": 1})
                return False
            # One that says nothing keeps no producer out.
            self._newcomers.popleft().make_room()
        self._connections.add(connection)
        self._newcomers.append(connection)
        return True

    def begin_session(
        self, connection: Connection, transport: asyncio.Transport, early: bytes
    ) -> None:
        """Let a producer session take over the transport of a connection."""
        session = SessionConnection(self._sessions, transport, self.forget)
        self._connections.discard(connection)
        self._connections.add(session)
        self._newcomers.append(session)
        session.begin(early)
        if self._is_stopping:
            session.end_reading()

    def forget(self, connection: Connection, reason: str) -> None:
        """Note that a connection is over, and why."""
        self._connections.discard(connection)
        if reason != "closed_by_producer":
            self._closed.add({reason: 1})
        if not self._connections:
            self._none_left.set()

"""Read producers' TCP connections."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import structlog
from structlog.typing import FilteringBoundLogger

from ingest.publisher import Publisher
from ingest.session import FeedSession
from ingest.settings import IngestSettings
from marketdata.addresses import listen_error
from marketdata.errors import FrameTimeout, WireError
from marketdata.summary import DropSummary
from marketdata.validation import TickRules

log = structlog.get_logger()

# One read holds up to 9,000 ticks; asyncio itself reads at most this much at once.
READ_SIZE = 256 * 1024
BACKLOG = 1024
# Turns of the loop from accept() to our callback, and one to spare: a producer that was accepted
# just before the stop is read like any other.
_ACCEPT_TURNS = 5


class Listener:
    """Accept producers and hand their ticks to the publisher."""

    def __init__(
        self,
        settings: IngestSettings,
        rules: TickRules,
        publisher: Publisher,
        drops: DropSummary,
        closed: DropSummary,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._publisher = publisher
        self._drops = drops
        # Connections that were ended by us, by reason.
        self._closed = closed
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._draining = False
        self.port = 0
        self.accepted = 0

    @property
    def connections(self) -> int:
        """How many producers are connected."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen and say so.

        Raises:
            AddressInUse: the address is taken.
            StartError: the address is not one of this machine.
        """
        host, port = self._settings.host, self._settings.port
        try:
            self._server = await asyncio.start_server(
                self._serve, host, port, limit=READ_SIZE, backlog=BACKLOG
            )
        except OSError as exc:
            raise listen_error(host, port, exc) from exc
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("ingest listening", address=f"{host}:{self.port}")

    async def stop(self) -> None:
        """Accept nobody any more and read what has already arrived.

        A cancellation leaves the connections to :meth:`close`.
        """
        self._draining = True
        if self._server is not None:
            self._server.close()
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        for writer in self._connections.values():
            _end_reading(writer)
        while self._connections:
            await asyncio.wait(self._connections)

    async def close(self) -> None:
        """End what is still connected."""
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        connection = log.bind(peer=f"{peer[0]}:{peer[1]}" if peer else "unknown")
        task = asyncio.current_task()
        if task is None or not self._has_room():
            writer.close()
            return
        self._connections[task] = writer
        _keep_alive(writer)
        session = FeedSession(self._rules, self._settings.max_frame_size)
        reason = "closed_by_producer"
        try:
            await self._read(reader, session, connection)
            if self._draining:
                reason = "shutting_down"
            elif session.has_partial_frame:
                reason = "ended_inside_a_frame"
        except WireError as exc:
            reason = exc.reason
            connection.warning("producer broke the framing", error=str(exc))
        except OSError as exc:
            reason = "connection_lost"
            connection.debug("connection lost", error=str(exc))
        except asyncio.CancelledError:
            # Only close() cancels, and the end of this task is what it wants.
            reason = "shutdown_deadline"
        except Exception:
            reason = "internal_error"
            connection.exception("connection failed")
        finally:
            del self._connections[task]
            writer.close()
            if session.received_bytes:
                self._publisher.producer_left()
            if reason != "closed_by_producer":
                self._closed.add({reason: 1})
            say = connection.info if session.received_bytes else connection.debug
            say(
                "producer disconnected",
                reason=reason,
                accepted=session.accepted,
                rejected=sum(session.rejected.values()),
            )

    def _has_room(self) -> bool:
        if len(self._connections) < self._settings.max_connections:
            return True
        self._closed.add({"too_many_connections": 1})
        return False

    async def _read(
        self,
        reader: asyncio.StreamReader,
        session: FeedSession,
        connection: FilteringBoundLogger,
    ) -> None:
        # Returns at the end of the stream, raises what the producer did wrong.
        loop = asyncio.get_running_loop()
        timeout_s = self._settings.frame_timeout_s
        deadline: float | None = None
        while data := await _read_until(reader, deadline, timeout_s):
            if not session.received_bytes:
                # Only now: health checks connect every few seconds, send nothing and are no
                # producers.
                connection.info("producer connected")
                self._publisher.producer_joined()
            pieces, rejected = session.receive_data(data, time.time_ns())
            self._drops.add(rejected)
            self._publisher.count(len(pieces), rejected)
            if pieces:
                self.accepted += len(pieces)
                # A full outbox stops our reads, so TCP slows the producer down.
                await self._publisher.put(pieces)
            if session.failure is not None:
                raise session.failure
            if not session.has_partial_frame:
                deadline = None
            elif pieces or rejected or deadline is None:
                # A frame began with this data; time we spent waiting ourselves does not count.
                deadline = loop.time() + timeout_s


async def _read_until(
    reader: asyncio.StreamReader, deadline: float | None, timeout_s: float
) -> bytes:
    try:
        async with asyncio.timeout_at(deadline):
            return await reader.read(READ_SIZE)
    except TimeoutError:
        raise FrameTimeout(timeout_s) from None


def _end_reading(writer: asyncio.StreamWriter) -> None:
    # What the kernel has received can still be read, then comes the end of the stream.
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").shutdown(socket.SHUT_RD)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    # A producer whose machine vanished is noticed by the kernel, after two hours by default.
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

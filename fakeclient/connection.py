"""Write parcels to the server over TCP, and reconnect when the connection is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from fakeclient.pacing import backoff_s
from fakeclient.packing import Parcel
from fakeclient.report import Counts
from marketdata.addresses import describe_failure

CONNECT_TIMEOUT_S = 5.0
# How long the server may take to close its side after we closed ours.
CLOSE_TIMEOUT_S = 3.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but not longer than until ``stop`` is set."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


class Server:
    """Connect until the server answers; report when it is lost and when it is back.

    Without retry the first failure sets :attr:`failure` and ``stop``.
    """

    def __init__(
        self,
        address: tuple[str, int],
        *,
        retry: bool,
        stop: asyncio.Event,
        say: Callable[[str], None],
        chance: Callable[[], float],
    ) -> None:
        self._host, self._port = address
        self.name = f"{self._host}:{self._port}"
        self._retry = retry
        self._stop = stop
        self._say = say
        self._chance = chance
        self._now = asyncio.get_running_loop().time
        self._gone_since: float | None = None
        self._was_gone_at = float("-inf")
        self._was_reached = False
        self.failure: str | None = None

    async def connect(self) -> Streams | None:
        """Return a new connection, or None after ``stop`` was set."""
        attempt = 0
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    streams = await asyncio.open_connection(self._host, self._port)
            except OSError as exc:  # TimeoutError is one
                self._gone(
                    f"cannot connect to {self.name}: {describe_failure(exc, CONNECT_TIMEOUT_S)}"
                )
                await pause(self._stop, backoff_s(attempt, self._chance()))
                attempt += 1
            else:
                self._reached()
                return streams
        return None

    def lost(self, reason: str, opened_at: float) -> None:
        """Note that a connection opened at ``opened_at`` has died."""
        # Many connections die together. One that is noticed later belongs to the same outage.
        if opened_at > self._was_gone_at:
            self._gone(f"lost {self.name}: {reason}")

    def _gone(self, what: str) -> None:
        if not self._retry:
            self.failure = self.failure or what
            self._stop.set()
        elif self._gone_since is None:
            self._gone_since = self._was_gone_at = self._now()
            self._say(f"{what}; trying again")

    def _reached(self) -> None:
        if self._gone_since is not None:
            away_s = self._now() - self._gone_since
            self._gone_since = None
            self._say(f"connected to {self.name} after {away_s:.1f} s")
        elif not self._was_reached:
            self._say(f"connected to {self.name}")
        self._was_reached = True


class Connection:
    """Send to the server in order; a TCP connection that dies is replaced by the next."""

    def __init__(self, server: Server, counts: Counts, stop: asyncio.Event) -> None:
        self._server = server
        self._counts = counts
        self._stop = stop
        self._writer: asyncio.StreamWriter | None = None
        # Ends with the reason when the server closes.
        self._closed: asyncio.Task[str] | None = None
        self._opened_at = 0.0

    @property
    def failure(self) -> str | None:
        """Why the run must end, if it must."""
        return self._server.failure

    async def flush(self) -> None:
        """Do nothing: :meth:`send` returns when the kernel has everything."""

    async def open(self) -> asyncio.StreamWriter | None:
        """Return a live connection, the present one if possible; None when stopped."""
        if self._writer is not None and self._closed is not None:
            if not self._closed.done():
                return self._writer
            self._server.lost(self._closed.result(), self._opened_at)
            await self._release()
        streams = await self._server.connect()
        if streams is None:
            return None
        reader, writer = streams
        # So drain() returns when the kernel has everything.
        writer.transport.set_write_buffer_limits(high=0)
        self._writer = writer
        self._closed = asyncio.create_task(_read_until_closed(reader))
        self._opened_at = asyncio.get_running_loop().time()
        return writer

    async def send(self, parcels: Iterable[Parcel]) -> None:
        """Write ``parcels`` in order; cancelling may cut a frame.

        Returns early, between two parcels, when the program is to stop.
        """
        for parcel in parcels:
            writer = None if self._stop.is_set() else await self.open()
            if writer is None:
                return
            if not await self._write(writer, parcel):
                self._counts.add_cut(parcel)
                continue
            self._counts.add_sent(parcel)
            if parcel.closes:
                # The server closes when it has read everything. Only then can ticks of the next
                # connection not overtake these.
                await self.close()

    async def close(self) -> None:
        """Close our side, wait until the server has closed its own, and forget the connection."""
        if self._writer is not None and self._closed is not None:
            with suppress(OSError):
                self._writer.write_eof()
            await asyncio.wait({self._closed}, timeout=CLOSE_TIMEOUT_S)
            await self._release()

    def abort(self) -> None:
        """End the connection now, whatever is still to be written."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def _write(self, writer: asyncio.StreamWriter, parcel: Parcel) -> bool:
        reason = "connection closed while sending"
        writer.write(parcel.data)
        try:
            # A full socket stops us here, so the server sets the pace.
            await writer.drain()
        except OSError as exc:
            reason = describe_failure(exc, CONNECT_TIMEOUT_S)
        else:
            if not writer.transport.is_closing():
                return True
        if not self._stop.is_set():
            self._server.lost(reason, self._opened_at)
        await self._release()
        return False

    async def _release(self) -> None:
        writer, closed = self._writer, self._closed
        self._writer = self._closed = None
        if closed is not None:
            closed.cancel()
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _read_until_closed(reader: asyncio.StreamReader) -> str:
    # v1 framing has no answers, so received bytes are dropped.
    try:
        while await reader.read(65536):
            pass
    except OSError as exc:
        return describe_failure(exc, CONNECT_TIMEOUT_S)
    return "closed by the server"

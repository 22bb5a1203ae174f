"""One producer's TCP connection: read its bytes into the parser as they come."""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import socket
import termios
import time
from typing import Protocol, cast

import structlog

from ingest.deadline import FrameDeadline
from ingest.parser import FrameParser, ProducerStream
from ingest.scheduler import BatchScheduler
from marketdata.errors import FrameTimeout, WireError
from marketdata.summary import DropSummary

log = structlog.get_logger()

# While the ring is full a read takes no more than this, however many producers there are. A
# producer that sends more between two batches sends much: some 100 ticks.
_SMALL_READ = 4096
# Reads between the end of a connection and its closing.
_LAST_READS = 16


class Home(Protocol):
    """Knows all connections."""

    def admit(self, connection: ProducerConnection) -> bool:
        """Take in a connection that begins; return whether there is room for it."""

    def forget(self, connection: ProducerConnection, reason: str) -> None:
        """Note that a connection is over, and why."""

    def begin_session(
        self, connection: ProducerConnection, transport: asyncio.Transport, early: bytes
    ) -> None:
        """Let a producer session take over the transport.

        Args:
            connection: the connection so far.
            transport: its transport.
            early: the bytes of the session that were read.
        """


class ProducerConnection(asyncio.BufferedProtocol):
    """Read one producer.

    Args:
        parser: takes the bytes.
        scheduler: sends the ticks, and says when not to read.
        rejected: counts the ticks that are dropped.
        first_tick_timeout_s: how long it may take to send a tick, valid or not.
        frame_timeout_s: how long a frame that was begun may take to arrive.
        home: knows all connections.
    """

    def __init__(
        self,
        parser: FrameParser,
        scheduler: BatchScheduler,
        rejected: DropSummary,
        *,
        first_tick_timeout_s: float,
        frame_timeout_s: float,
        home: Home,
    ) -> None:
        self._parser = parser
        self._scheduler = scheduler
        self._rejected = rejected
        self._first_tick_timeout_s = first_tick_timeout_s
        self._frame_timeout_s = frame_timeout_s
        self._home = home
        self._loop = asyncio.get_running_loop()
        self._stream = ProducerStream(parser)
        self._log = log
        # Why we end it, once we do.
        self._reason: str | None = None
        self._deadline = FrameDeadline(frame_timeout_s, self._end_late)
        # Ends a connection that sends no tick.
        self._first_tick_timer: asyncio.TimerHandle | None = None
        # The batch that could not leave at the last read; 0: there was none.
        self._held_batch = 0
        # How many bytes to read before the end, once ingest stops.
        self._last_byte: int | None = None
        self._is_deferred = False
        self._is_admitted = False

    @property
    def has_sent(self) -> bool:
        """Whether this is a producer; health checks connect every few seconds and send nothing."""
        return self._stream.received_bytes > 0

    @property
    def is_newcomer(self) -> bool:
        """Whether it is open and has sent no whole tick yet."""
        return self._first_tick_timer is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._log = log.bind(peer=f"{peer[0]}:{peer[1]}" if peer else "unknown")
        self._is_admitted = self._home.admit(self)
        if not self._is_admitted:
            transport.close()
            return
        # The kernel notices a producer whose machine vanished, after two hours by default.
        sock = transport.get_extra_info("socket")
        self._fd = sock.fileno()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._first_tick_timer = self._loop.call_later(
            self._first_tick_timeout_s, self._close, "no_first_tick"
        )

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next read goes."""
        window = self._parser.window
        return window[:_SMALL_READ] if self._scheduler.is_full else window

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        try:
            self._take(nbytes)
        except WireError as exc:
            self._end_for(exc)
        except Exception:
            self._log.exception("connection_failed")
            self._close("internal_error")

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection as ended, and log why."""
        self._read_rest()
        self._scheduler.stop_waiting(self._resume)
        self._stop_deferring()
        self._deadline.close()
        if not self._is_admitted:
            return
        self._stop_being_new()
        reason = self._reason
        if reason is None and exc is not None:
            reason = "connection_lost"
            self._log.debug("connection_lost", error=str(exc))
        if reason is None:
            reason = (
                "ended_inside_a_frame" if self._stream.has_partial_frame else "closed_by_producer"
            )
        if self.has_sent:
            self._scheduler.producer_left()
        self._home.forget(self, reason)
        write = self._log.info if self.has_sent else self._log.debug
        write(
            "producer_disconnected",
            reason=reason,
            accepted=self._stream.accepted,
            rejected=self._stream.rejected,
            unit_changes=self._stream.units.changes,
        )

    def end_reading(self) -> None:
        """Read the bytes that the kernel has received by now, then end."""
        if self._transport.is_closing():
            return
        size = array.array("i", (0,))
        fcntl.ioctl(self._fd, termios.FIONREAD, size)
        self._last_byte = self._stream.received_bytes + size[0]
        self._read_when_ready()
        self._end_if_read()

    def make_room(self) -> None:
        """End a connection that has sent no tick, since there are too many."""
        self._close("no_first_tick")

    def abort(self) -> None:
        """End now."""
        self._reason = "shutdown_deadline"
        self._transport.abort()

    def _close(self, reason: str) -> None:
        self._reason = reason
        self._stop_being_new()
        self._transport.close()

    def _stop_being_new(self) -> None:
        if self._first_tick_timer is not None:
            self._first_tick_timer.cancel()
            self._first_tick_timer = None

    def _end_if_read(self) -> None:
        if self._last_byte is not None and self._stream.received_bytes >= self._last_byte:
            self._close("shutting_down")

    def _read_rest(self) -> None:
        # Ticks that arrived while the connection was being closed. A producer that floods us does
        # not delay the end.
        for _ in range(_LAST_READS if self._reason == "shutting_down" else 0):
            try:
                nbytes = os.readv(self._fd, (self._parser.window,))
            except OSError:
                return
            if not nbytes or self._stream.failure is not None:
                return
            self.buffer_updated(nbytes)

    def _end_for(self, error: WireError) -> None:
        self._log.warning("framing_violated", error=str(error))
        self._close(error.reason)

    def _take(self, nbytes: int) -> None:
        stream = self._stream
        if not stream.received_bytes:
            self._log.info("producer_connected")
            self._scheduler.producer_joined()
        changes = stream.units.changes
        result = stream.receive_data(nbytes, time.time_ns())
        if stream.units.changes > changes == 0:
            self._log.warning("timestamp_unit_changed", unit_ns=stream.units.unit_ns)
        has_ticks = bool(result.accepted or result.rejected)
        if has_ticks:
            self._stop_being_new()
            self._rejected.add(result.rejected)
            self._scheduler.ticks_added()
        if stream.failure is not None:
            if stream.session_bytes is None:
                raise stream.failure
            self._begin_session(stream.session_bytes)
            return
        if stream.has_partial_frame:
            self._deadline.frame_begun(is_new=has_ticks)
        else:
            self._deadline.clear()
        if self._scheduler.is_full:
            self._stop_deferring()
            # TCP slows the producer down.
            self._deadline.pause()
            self._transport.pause_reading()
            self._scheduler.wait_for_room(self._resume)
        elif not self._is_deferred and self._last_byte is None:
            before, self._held_batch = self._held_batch, self._scheduler.held_batch
            if self._held_batch and self._held_batch == before and nbytes <= _SMALL_READ:
                self._defer_reads()
        self._end_if_read()

    def _defer_reads(self) -> None:
        # The open batch cannot leave yet, and to wake up for each tick costs more than all the work
        # on it. So a producer that sends often is read when the batch may leave.
        self._is_deferred = True
        self._transport.pause_reading()
        self._scheduler.defer_reads(self._read_now)

    def _read_now(self) -> None:
        if self._transport.is_closing():
            return
        try:
            nbytes = os.readv(self._fd, (self.get_buffer(-1),))
        except BlockingIOError:
            nbytes = 0
        except OSError as exc:
            self._log.debug("connection_lost", error=str(exc))
            self._reason = "connection_lost"
            self._transport.abort()
            return
        if nbytes:
            self.buffer_updated(nbytes)
        # The transport notices at once that a silent producer sends or leaves; a producer that
        # sends much is read while batches wait.
        if not 0 < nbytes <= _SMALL_READ or not self._scheduler.is_prompt:
            self._read_when_ready()

    def _read_when_ready(self) -> None:
        if self._is_deferred:
            self._stop_deferring()
            self._transport.resume_reading()

    def _stop_deferring(self) -> None:
        self._is_deferred = False
        self._scheduler.stop_deferring(self._read_now)

    def _resume(self) -> None:
        self._deadline.resume()
        self._transport.resume_reading()

    def _end_late(self) -> None:
        if not self._transport.is_closing():
            self._end_for(FrameTimeout(self._frame_timeout_s))

    def _begin_session(self, early: bytes) -> None:
        self._read_when_ready()
        self._stop_being_new()
        self._deadline.close()
        self._home.begin_session(self, self._transport, early)

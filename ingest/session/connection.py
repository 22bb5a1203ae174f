"""The TCP connection of one producer session."""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
import time
from collections.abc import Callable
from typing import Any

import structlog

from ingest.deadline import FrameDeadline
from ingest.ring import Batch
from ingest.session.acks import AckMerger
from ingest.session.batches import Hello, SessionBatch
from ingest.session.errors import SessionError, SessionReason
from ingest.session.frames import encode_answer
from ingest.session.producers import SessionProducer
from ingest.session.protocol import Phase, SessionProtocol
from ingest.session.services import SessionServices
from marketdata.errors import FrameTimeout
from marketdata.wire.market_data_pb2 import BatchAck

log = structlog.get_logger()

# What a session may send before its welcome; then it is not read until the welcome is sent.
MAX_EARLY_BYTES = 64 * 1024
# How long a producer may take to read the error before its connection is cut.
LINGER_S = 2.0


class SessionConnection(asyncio.BufferedProtocol):
    """Read one producer session, and write its answers.

    It takes over a connection that began with the magic, and that counts as a producer already.

    Args:
        services: what all sessions share.
        transport: the connection.
        ended: called when it is over, with the reason.
    """

    def __init__(
        self,
        services: SessionServices,
        transport: asyncio.Transport,
        ended: Callable[[SessionConnection, str], None],
    ) -> None:
        self._services = services
        self._scheduler = services.scheduler
        self._transport = transport
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        peer = transport.get_extra_info("peername")
        self._log: Any = log.bind(peer=f"{peer[0]}:{peer[1]}" if peer else "unknown")
        self._protocol = SessionProtocol(services.reader, services.max_frame_size)
        self._producer: SessionProducer | None = None
        self._acks = AckMerger()
        self._ack_handle: asyncio.Handle | None = None
        self._deadline = FrameDeadline(services.frame_timeout_s, self._end_late)
        self._hello_timer: asyncio.TimerHandle | None = self._loop.call_later(
            services.hello_timeout_s, self._end_without_hello
        )
        self._welcoming: asyncio.Task[None] | None = None
        self._linger: asyncio.TimerHandle | None = None
        # The producer does not read its acks.
        self._is_blocked = False
        self._is_reading = True
        self._is_at_end = False
        # How many more bytes to read before the end, once ingest stops.
        self._last_bytes: int | None = None
        self._reason: str | None = None

    @property
    def _has_unacked(self) -> bool:
        return self._producer is not None and self._producer.unacked_batches > 0

    # As the listener sees it.

    @property
    def is_newcomer(self) -> bool:
        """Whether it is open and has sent no hello yet."""
        return self._hello_timer is not None

    def make_room(self) -> None:
        """End, since there are too many connections that have not said a hello."""
        self._end_without_hello()

    def end_reading(self) -> None:
        """Read the bytes that the kernel has received by now, send their acks, then end."""
        if self._transport.is_closing() or self._protocol.phase is Phase.ENDED:
            return
        size = array.array("i", (0,))
        fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.FIONREAD, size)
        self._last_bytes = size[0]
        self._advance()

    def abort(self) -> None:
        """End now."""
        self._reason = "shutdown_deadline"
        self._transport.abort()

    # As the transport sees it.

    def begin(self, early: bytes) -> None:
        """Take the bytes of the session that were read already."""
        self._transport.set_protocol(self)
        self._take(early)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next read goes."""
        return self._services.window

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        if self._last_bytes is not None:
            self._last_bytes = max(self._last_bytes - nbytes, 0)
        self._take(self._services.window[:nbytes])

    def eof_received(self) -> bool:
        """Send the acks that are due, then close."""
        self._is_at_end = True
        self._is_reading = False
        if self._protocol.phase is not Phase.ENDED:
            self._advance()
        return self._linger is None

    def pause_writing(self) -> None:
        """Read no more batches while the producer does not read its acks."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """Go on."""
        self._is_blocked = False
        self._flush_acks()
        self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the connection as ended, and log why."""
        had_partial_frame = self._protocol.buffered_bytes > 0
        reason = self._reason
        if reason is None and exc is not None:
            reason = "connection_lost"
            self._log.debug("connection_lost", error=str(exc))
        if reason is None:
            reason = "ended_inside_a_frame" if had_partial_frame else "closed_by_producer"
        self._stop()
        if self._linger is not None:
            self._linger.cancel()
        self._scheduler.producer_left()
        self._ended(self, reason)
        protocol = self._protocol
        self._log.info(
            "producer_disconnected",
            reason=reason,
            accepted=protocol.accepted,
            rejected=protocol.rejected,
            unit_changes=protocol.units.changes,
        )

    # As its producer sees it.

    def replace(self) -> None:
        """End: the producer has a newer session."""
        self._end(SessionError(SessionReason.REPLACED, "the producer has opened another session"))

    def batch_acked(self, batch: Batch, ack: BatchAck) -> None:
        """Take the ack of a batch of the producer, which an earlier session may have sent."""
        if self._protocol.phase is Phase.OPEN:
            self._acks.add(batch, ack)
            if self._ack_handle is None:
                # Acks that come together leave together.
                self._ack_handle = self._loop.call_soon(self._flush_and_advance)
        elif self._protocol.phase is Phase.AWAITING_WELCOME:
            self._welcome_when_idle()

    # Messages.

    def _take(self, data: bytes | memoryview) -> None:
        if self._protocol.phase is Phase.ENDED:
            # The producer has not read yet that it is over.
            return
        self._protocol.receive_data(data)
        try:
            self._advance()
        except Exception:
            self._end_for_bug()

    def _advance(self) -> None:
        # Takes messages as far as there is room for them, and reads on or not.
        protocol, has_new = self._protocol, False
        while not self._must_wait():
            message = protocol.next_message(time.time_ns())
            if message is None:
                break
            has_new = True
            if isinstance(message, Hello):
                self._take_hello(message)
            elif self._producer is not None:
                self._take_batch(self._producer, message)
        if protocol.failure is not None:
            self._end(protocol.failure)
        if protocol.phase is Phase.ENDED:
            return
        self._read_or_wait()
        if protocol.phase is Phase.OPEN and protocol.buffered_bytes and self._is_reading:
            self._deadline.frame_begun(is_new=has_new)
        else:
            self._deadline.clear()
        self._end_if_read()

    def _must_wait(self) -> bool:
        # Whether batches that were read should not be taken yet.
        if self._producer is None:
            return False
        return self._is_blocked or self._producer.is_at_limit or self._scheduler.is_full

    def _take_hello(self, hello: Hello) -> None:
        self._stop_being_new()
        self._log = self._log.bind(producer_id=hello.producer_id)
        self._producer = self._services.producers.join(hello.producer_id, self)
        self._welcome_when_idle()

    def _take_batch(self, producer: SessionProducer, batch: SessionBatch) -> None:
        rejected = batch.rejected
        self._services.feed.count(batch.accepted, rejected)
        self._services.rejected.add(rejected)
        producer.add(batch)
        self._scheduler.session_batch_added()

    def _welcome_when_idle(self) -> None:
        # Batches of an earlier session would come after the sequence that the aggregator names.
        if self._welcoming is None and not self._has_unacked:
            self._welcoming = self._loop.create_task(self._welcome())

    async def _welcome(self) -> None:
        # A cancellation loses nothing.
        protocol = self._protocol
        try:
            last_sequence = await self._services.lookup.last_sequence(protocol.producer_id)
            self._log.info("session_opened", last_sequence=last_sequence)
            self._transport.write(protocol.welcome(last_sequence))
            self._advance()
        except Exception:
            self._end_for_bug()

    def _flush_and_advance(self) -> None:
        self._ack_handle = None
        self._flush_acks()
        if self._protocol.phase is not Phase.ENDED:
            self._advance()

    def _flush_acks(self) -> None:
        if not self._is_blocked and not self._transport.is_closing():
            self._transport.writelines(map(encode_answer, self._acks.take()))

    # Reading.

    def _read_or_wait(self) -> None:
        is_full = self._scheduler.is_full and self._producer is not None
        if is_full:
            self._scheduler.wait_for_room(self._advance)
        is_early = (
            self._protocol.phase is Phase.AWAITING_WELCOME
            and self._protocol.buffered_bytes > MAX_EARLY_BYTES
        )
        should_read = not (self._must_wait() or is_early or self._last_bytes == 0)
        if self._is_at_end or should_read is self._is_reading:
            return
        self._is_reading = should_read
        if should_read:
            self._transport.resume_reading()
        else:
            # TCP slows the producer down.
            self._transport.pause_reading()

    # End.

    def _end_if_read(self) -> None:
        is_stopping = self._last_bytes is not None
        if not is_stopping and not self._is_at_end:
            return
        if self._protocol.phase is Phase.OPEN:
            is_read = self._is_at_end or not self._last_bytes
            if not is_read or self._must_wait() or self._has_unacked:
                return
        self._flush_acks()
        if is_stopping:
            self._end(SessionError(SessionReason.SHUTTING_DOWN, "ingest stops; connect again"))
        else:
            self._linger = self._loop.call_later(LINGER_S, self._transport.abort)
            self._transport.close()

    def _end(self, error: SessionError) -> None:
        if self._linger is not None or self._transport.is_closing():
            return
        self._flush_acks()
        self._protocol.fail(error)
        self._reason = str(error.reason)
        if error.reason not in {SessionReason.REPLACED, SessionReason.SHUTTING_DOWN}:
            self._log.warning("session_failed", reason=self._reason, detail=error.detail)
        self._transport.write(self._protocol.farewell())
        self._stop()
        # If we closed with bytes unread, TCP would reset the connection, and the producer might not
        # get the error. So it is read until it closes too.
        self._linger = self._loop.call_later(LINGER_S, self._transport.abort)
        if self._is_at_end:
            self._transport.close()
            return
        try:
            self._transport.write_eof()
        except OSError:
            # The producer is gone.
            self._transport.abort()
            return
        if not self._is_reading:
            self._is_reading = True
            self._transport.resume_reading()

    def _end_for_bug(self) -> None:
        self._log.exception("connection_failed")
        self._end(SessionError(SessionReason.INTERNAL_ERROR, "ingest failed"))

    def _stop(self) -> None:
        # Ends everything but the connection.
        self._stop_being_new()
        self._deadline.close()
        self._scheduler.stop_waiting(self._advance)
        if self._welcoming is not None:
            self._welcoming.cancel()
        if self._ack_handle is not None:
            self._ack_handle.cancel()
        if self._producer is not None:
            self._producer.leave(self)

    def _stop_being_new(self) -> None:
        if self._hello_timer is not None:
            self._hello_timer.cancel()
            self._hello_timer = None

    def _end_without_hello(self) -> None:
        timeout_s = self._services.hello_timeout_s
        self._end(SessionError(SessionReason.HELLO_TIMEOUT, f"no hello within {timeout_s:g} s"))

    def _end_late(self) -> None:
        problem = str(FrameTimeout(self._services.frame_timeout_s))
        self._end(SessionError(SessionReason.FRAME_TIMEOUT, problem))

"""One producer's TCP connection: its bytes go into the feed as they come."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from typing import cast

import structlog

from ingest.feed import Feed, Intake, Taken
from ingest.publisher import Publisher
from marketdata.errors import FrameTimeout, WireError

log = structlog.get_logger()

# While the outbox is full no more is read at once, however many producers there are. Who sends more
# than that between two batches sends much: some 100 ticks.
_SMALL_READ = 4096


class Connection(asyncio.BufferedProtocol):
    """Read one producer.

    Args:
        intake: where the bytes go.
        publisher: who sends what came of them.
        frame_timeout_s: how long a frame that was begun may take to arrive.
        opened: called when it is connected; returns whether there is room for it.
        taken: called with what became of each read.
        ended: called when it is over, with the reason.
    """

    def __init__(
        self,
        intake: Intake,
        publisher: Publisher,
        *,
        frame_timeout_s: float,
        opened: Callable[[Connection], bool],
        taken: Callable[[Taken], None],
        ended: Callable[[Connection, str], None],
    ) -> None:
        self._intake = intake
        self._publisher = publisher
        self._frame_timeout_s = frame_timeout_s
        self._opened = opened
        self._taken = taken
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._feed = Feed(intake)
        self._log = log
        # Why we end it, once we do.
        self._reason: str | None = None
        self._deadline: float | None = None
        # Looks at the deadline; while one is set, at that time or earlier.
        self._timer: asyncio.TimerHandle | None = None
        self._paused_at: float | None = None
        # The batch that was on its way at the last read.
        self._batch = 0
        self._fetches = False
        self._counted = False

    @property
    def has_sent(self) -> bool:
        """Whether this is a producer; health checks connect every few seconds and send nothing."""
        return self._feed.received_bytes > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, if there is room."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._log = log.bind(peer=f"{peer[0]}:{peer[1]}" if peer else "unknown")
        self._counted = self._opened(self)
        if not self._counted:
            transport.close()
            return
        # A producer whose machine vanished is noticed by the kernel, after two hours by default.
        sock = transport.get_extra_info("socket")
        self._fd = sock.fileno()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next read goes."""
        window = self._intake.window
        return window[:_SMALL_READ] if self._publisher.is_full else window

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what was read."""
        try:
            self._take(nbytes)
        except WireError as exc:
            self._log.warning("producer broke the framing", error=str(exc))
            self._close(exc.reason)
        except Exception:
            self._log.exception("connection failed")
            self._close("internal_error")

    def connection_lost(self, exc: Exception | None) -> None:
        """Say how it was."""
        self._publisher.forget(self._go_on)
        self._fetch_no_more()
        if self._timer is not None:
            self._timer.cancel()
        if not self._counted:
            return
        reason = self._reason
        if reason is None and exc is not None:
            reason = "connection_lost"
            self._log.debug("connection lost", error=str(exc))
        if reason is None:
            reason = (
                "ended_inside_a_frame" if self._feed.has_partial_frame else "closed_by_producer"
            )
        if self.has_sent:
            self._publisher.producer_left()
        self._ended(self, reason)
        say = self._log.info if self.has_sent else self._log.debug
        say(
            "producer disconnected",
            reason=reason,
            accepted=self._feed.accepted,
            rejected=sum(self._feed.rejected.values()),
        )

    def end_reading(self) -> None:
        """Read what the kernel has received, then end."""
        self._reason = self._reason or "shutting_down"
        self._listen_again()
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """End now."""
        self._reason = "shutdown_deadline"
        self._transport.abort()

    def _close(self, reason: str) -> None:
        self._reason = reason
        self._transport.close()

    def _take(self, nbytes: int) -> None:
        feed = self._feed
        if not feed.received_bytes:
            self._log.info("producer connected")
            self._publisher.producer_joined()
        taken = feed.receive_data(nbytes, time.time_ns())
        self._taken(taken)
        if taken.accepted:
            self._publisher.notice()
        if feed.failure is not None:
            raise feed.failure
        if not feed.has_partial_frame:
            self._deadline = None
        elif taken.accepted or taken.rejected or self._deadline is None:
            self._deadline = self._loop.time() + self._frame_timeout_s
            if self._timer is None:
                self._timer = self._loop.call_at(self._deadline, self._look_at_deadline)
        if self._publisher.is_full:
            self._fetch_no_more()
            # TCP slows the producer down.
            self._paused_at = self._loop.time()
            self._transport.pause_reading()
            self._publisher.when_free(self._go_on)
        elif not self._fetches:
            before, self._batch = self._batch, self._publisher.batch_on_its_way
            if self._batch and self._batch == before and nbytes <= _SMALL_READ:
                self._begin_to_fetch()

    def _begin_to_fetch(self) -> None:
        # What comes now could not leave before the batch that is on its way has come back, and to
        # wake for each tick costs more than all that is done with it: who sends often is read when
        # it has.
        self._fetches = True
        self._transport.pause_reading()
        self._publisher.fetch_from(self._fetch)

    def _fetch(self) -> None:
        if self._transport.is_closing():
            return
        try:
            nbytes = os.readv(self._fd, (self.get_buffer(-1),))
        except BlockingIOError:
            nbytes = 0
        except OSError as exc:
            self._log.debug("connection lost", error=str(exc))
            self._reason = "connection_lost"
            self._transport.abort()
            return
        if nbytes:
            self.buffer_updated(nbytes)
        # Who is silent, or is gone, is noticed at once by the transport; who sends much is read
        # while batches are on their way.
        if not 0 < nbytes <= _SMALL_READ or not self._publisher.is_prompt:
            self._listen_again()

    def _listen_again(self) -> None:
        if self._fetches:
            self._fetch_no_more()
            self._transport.resume_reading()

    def _fetch_no_more(self) -> None:
        self._fetches = False
        self._publisher.fetch_no_more_from(self._fetch)

    def _go_on(self) -> None:
        if self._paused_at is not None and self._deadline is not None:
            # The time we spent waiting ourselves does not count.
            self._deadline += self._loop.time() - self._paused_at
        self._paused_at = None
        self._transport.resume_reading()

    def _look_at_deadline(self) -> None:
        # One timer for many deadlines: setting one at each read would cost more than the read.
        self._timer = None
        if self._deadline is None or self._transport.is_closing():
            return
        now = self._loop.time()
        if self._paused_at is None and now >= self._deadline:
            timeout = FrameTimeout(self._frame_timeout_s)
            self._log.warning("producer broke the framing", error=str(timeout))
            self._close(timeout.reason)
            return
        again = now + self._frame_timeout_s if self._paused_at is not None else self._deadline
        self._timer = self._loop.call_at(again, self._look_at_deadline)

"""Decide when the open batch leaves, and which connections are read while batches are unacked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice

from ingest.reports import FeedState
from ingest.ring import BatchRing

# How often the numbers of the feed are reported while they change.
REPORT_INTERVAL_S = 1.0

Callback = Callable[[], None]


class BatchScheduler:
    """Close the open batch when it is due, and wake connections that wait.

    The open batch leaves after the linger, and at once while the aggregator has all others: it
    waits only while it would stand in line anyway. So a lone tick is not late, and under load
    batches are large.

    Args:
        ring: holds the batches.
        feed: counts the producers.
        linger_s: how long the open batch waits for more ticks while another one is unacked.
    """

    def __init__(self, ring: BatchRing, feed: FeedState, linger_s: float) -> None:
        self._ring = ring
        self._feed = feed
        self._linger_s = linger_s
        #: Set when a batch was closed that can be sent.
        self.batch_closed = asyncio.Event()
        self._is_connected = False
        # A report leaves with the next batch, or as soon as it can.
        self._report_due = self._report_urgent = False
        # Runs while the last report is younger than the interval.
        self._report_timer: asyncio.TimerHandle | None = None
        # The open batch has waited long enough and leaves as soon as it can.
        self._overdue = False
        self._linger: asyncio.TimerHandle | None = None
        self._closed_batches = 0
        # Connections that wait for room, in the order in which they came; a dict, since some leave.
        self._waiting: dict[Callback, None] = {}
        # Connections that are read when a batch was acked.
        self._deferred: dict[Callback, None] = {}
        self._is_reading = False
        self._empty = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether connections should not be read until there is room."""
        return self._ring.is_full

    @property
    def is_prompt(self) -> bool:
        """Whether batches are acked before the open one has waited long enough."""
        return self._is_connected and not self._overdue

    @property
    def unacked_batch(self) -> int:
        """The number of the batch that new ticks have to wait for; 0: they leave at once."""
        return 0 if self._ring.is_idle or not self.is_prompt else self._ring.closed_batches

    def producer_joined(self) -> None:
        """Count a producer that has begun, before its ticks are added."""
        if self._feed.join(time.time_ns()):
            self._report(urgent=True)
        self._schedule_report()

    def producer_left(self) -> None:
        """Count a producer that is gone, after its ticks were added."""
        if self._feed.leave(time.time_ns()):
            self._report(urgent=True)
        self._schedule_report()

    def ticks_added(self) -> None:
        """Close the open batch now or later, after ticks were added or counted."""
        ring = self._ring
        if ring.closed_batches != self._closed_batches:
            # The open ticks came after the batch that closed.
            self._closed_batches = ring.closed_batches
            self._cancel_linger()
            self._overdue = False
            self.batch_closed.set()
        if ring.open_ticks:
            self._start_linger()
        self._close_due()
        self._schedule_report()

    def wait_for_room(self, resume: Callback) -> None:
        """Call ``resume`` once when the ring has room again; first come, first served."""
        self._waiting[resume] = None

    def stop_waiting(self, resume: Callback) -> None:
        """Undo :meth:`wait_for_room`, if it was called."""
        self._waiting.pop(resume, None)

    def defer_reads(self, read: Callback) -> None:
        """Call ``read`` whenever a batch was acked, or has been unacked for the linger."""
        self._deferred[read] = None
        self._start_linger()

    def stop_deferring(self, read: Callback) -> None:
        """Undo :meth:`defer_reads`, if it was called."""
        self._deferred.pop(read, None)

    def stream_opened(self) -> None:
        """Begin a stream: with a report, then all that is unacked."""
        self._report_due = self._report_urgent = False
        self._ring.rewind(self._feed.report())
        self._is_connected = True
        self._close_due()

    def stream_lost(self) -> None:
        """Read all connections: no ack comes that they could wait for."""
        self._is_connected = self._report_due = self._report_urgent = False
        self._cancel_report_timer()
        self._read_deferred()

    def batch_acked(self) -> None:
        """Send and read on, after the ring took the ack of a batch that was closed here."""
        if self._deferred:
            self._read_deferred()
        self._close_due()
        self.room_made()

    def session_batch_added(self) -> None:
        """Let the batch of a session leave; it is never joined to others."""
        self.batch_closed.set()

    def room_made(self) -> None:
        """Read on, after the ring took any ack."""
        if self._ring.is_empty:
            self._empty.set()
        # Each may fill a batch.
        for resume in list(islice(self._waiting, self._ring.free_batches)):
            if self._ring.is_full:
                break
            if self._waiting.pop(resume, resume) is None:
                resume()

    async def drain(self) -> None:
        """Wait until the aggregator has every tick."""
        self._end_linger()
        self._cancel_report_timer()
        # Refusals without ticks.
        self._ring.close_batch()
        self.batch_closed.set()
        while not self._ring.is_empty:
            self._empty.clear()
            await self._empty.wait()

    def _read_deferred(self) -> None:
        # The ticks of all of them leave together.
        self._is_reading = True
        try:
            for read in list(self._deferred):
                read()
        finally:
            self._is_reading = False

    def _start_linger(self) -> None:
        if self._linger is None and not self._overdue:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(self._linger_s, self._end_linger)

    def _end_linger(self) -> None:
        self._cancel_linger()
        self._overdue = True
        # Deferred connections are read a last time, see that acks take long, and end deferring.
        self._read_deferred()
        self._overdue = self._ring.open_ticks > 0
        self._close_due()

    def _cancel_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _report(self, *, urgent: bool) -> None:
        # Without a stream, the next one begins with a report.
        if self._is_connected:
            self._report_due = True
            self._report_urgent |= urgent
            self._close_due()

    def _schedule_report(self) -> None:
        if self._report_timer is None and self._is_connected and self._feed.has_news:
            loop = asyncio.get_running_loop()
            self._report_timer = loop.call_later(REPORT_INTERVAL_S, self._report_news)

    def _report_news(self) -> None:
        self._report_timer = None
        if self._feed.has_news:
            self._report(urgent=False)

    def _cancel_report_timer(self) -> None:
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None

    def _close_due(self) -> None:
        # Without a stream the open batch goes on filling: small ones would use up the ring in a
        # second. The same holds while acks are slow: once half of the ring is unacked, only full
        # batches are closed.
        ring = self._ring
        if not self._is_connected or ring.is_full or self._is_reading:
            return
        # Numbers leave with ticks, if there are any; the first and the last producer at once.
        report_alone = self._report_urgent or (self._report_due and not ring.open_ticks)
        is_due = (self._overdue and ring.open_ticks) or report_alone
        if (ring.is_idle and ring.open_ticks) or (is_due and not ring.is_half_full):
            self._cancel_linger()
            ring.close_batch(self._feed.report() if self._report_due else None)
            self._overdue = self._report_due = self._report_urgent = False
            self._closed_batches = ring.closed_batches
            self.batch_closed.set()
        if self._deferred and not ring.is_idle:
            self._start_linger()

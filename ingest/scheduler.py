"""Decide when the open batch leaves, and which connections are read while it waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from math import floor

from ingest.reports import FeedState
from ingest.ring import BatchRing
from marketdata.load import LoadMeter

# How often the numbers of the feed are reported while they change.
REPORT_INTERVAL_S = 1.0
# Batches that leave before an earlier one is acked; full ones are not held.
MAX_UNANSWERED = 2
# The resolution of the event loop's timers.
TIMER_S = 0.001
# Connections that wait for a batch to leave are read after this time, whatever happens.
MAX_DEFER_S = 0.02

Callback = Callable[[], None]


class BatchScheduler:
    """Close the open batch when it may leave, and wake connections that wait.

    A full batch leaves at once. Other batches leave while at most one is unacked: an ack lets the
    next one go, with all ticks that came meanwhile, so batches are as large as the load asks for.
    Between two of them is a pause of ``latency_target_s`` times the load of ingest or of the
    aggregator: an idle machine sends each tick at once, a busy one sends fewer messages.

    Args:
        ring: holds the batches.
        feed: counts the producers.
        latency_target_s: the longest pause.
        load: measures the load of this process.
    """

    def __init__(
        self, ring: BatchRing, feed: FeedState, latency_target_s: float, load: LoadMeter
    ) -> None:
        self._ring = ring
        self._feed = feed
        self._latency_target_s = latency_target_s
        self._load = load
        #: The load of the aggregator, as it said last.
        self.aggregator_load = 0.0
        #: Set when a batch was closed that can be sent.
        self.batch_closed = asyncio.Event()
        self._is_connected = False
        # A report leaves with the next batch, or as soon as it can.
        self._report_due = self._report_urgent = False
        # Runs while the last report is younger than the interval.
        self._report_timer: asyncio.TimerHandle | None = None
        # When the next batch may leave, on the clock of the loop, and the timer for it.
        self._next_at = 0.0
        self._pause: asyncio.TimerHandle | None = None
        self._closed_batches = 0
        # Connections that wait for room, in the order in which they came; a dict, since some leave.
        self._waiting: dict[Callback, None] = {}
        # Connections that are read when a batch may leave.
        self._deferred: dict[Callback, None] = {}
        self._defer_timer: asyncio.TimerHandle | None = None
        # No batch could leave for longer than connections may be deferred.
        self._is_stuck = False
        self._is_reading = False
        self._empty = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether connections should not be read until there is room."""
        return self._ring.is_full

    @property
    def is_prompt(self) -> bool:
        """Whether batches leave soon enough that connections can wait for it."""
        return self._is_connected and not self._is_stuck

    @property
    def held_batch(self) -> int:
        """The number of the open batch if it cannot leave yet; 0: new ticks leave at once."""
        if not self.is_prompt or self._may_leave():
            return 0
        return self._ring.closed_batches + 1

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
        if self._ring.closed_batches != self._closed_batches:
            self._left()
        self._close_due()
        self._schedule_report()

    def wait_for_room(self, resume: Callback) -> None:
        """Call ``resume`` once when the ring has room again; first come, first served."""
        self._waiting[resume] = None

    def stop_waiting(self, resume: Callback) -> None:
        """Undo :meth:`wait_for_room`, if it was called."""
        self._waiting.pop(resume, None)

    def defer_reads(self, read: Callback) -> None:
        """Call ``read`` whenever a batch may leave, or none could for some time."""
        self._deferred[read] = None
        self._wait()

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
        self._cancel_pause()
        self._read_deferred()

    def batch_acked(self) -> None:
        """Send and read on, after the ring took the ack of batches that were closed here."""
        self._is_stuck = False
        self._go_on()
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
        self._read_deferred()
        self._cancel_report_timer()
        self._cancel_pause()
        # The last ticks, or refusals without ticks.
        self._ring.close_batch()
        self.batch_closed.set()
        while not self._ring.is_empty:
            self._empty.clear()
            await self._empty.wait()

    def _may_leave(self) -> bool:
        if self._ring.unanswered >= MAX_UNANSWERED or self._ring.is_full:
            return False
        return asyncio.get_running_loop().time() >= self._next_at

    # Sends what waits, with the ticks of all deferred connections, if a batch may leave.
    def _go_on(self) -> None:
        if self._deferred and self._may_leave():
            self._read_deferred()
        self._close_due()

    def _read_deferred(self) -> None:
        # The ticks of all of them leave together.
        self._is_reading = True
        try:
            for read in list(self._deferred):
                read()
        finally:
            self._is_reading = False

    # Arms the timers that a waiting batch and deferred connections need.
    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        if self._deferred and self._defer_timer is None:
            self._defer_timer = loop.call_later(MAX_DEFER_S, self._end_deferring)
        if (
            self._pause is None
            and self._is_connected
            and (self._deferred or self._ring.open_ticks)
            and self._ring.unanswered < MAX_UNANSWERED
            and not self._ring.is_full
        ):
            self._pause = loop.call_at(self._next_at, self._end_pause)

    def _end_pause(self) -> None:
        self._pause = None
        self._go_on()

    def _cancel_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _end_deferring(self) -> None:
        self._defer_timer = None
        if self._deferred:
            # They are read a last time, see that acks take long, and end deferring.
            self._is_stuck = not self._may_leave()
            self._read_deferred()
            self._close_due()

    # A batch was closed: the pause begins.
    def _left(self) -> None:
        self._closed_batches = self._ring.closed_batches
        self._cancel_pause()
        load = max(self._load.read(), self.aggregator_load)
        # In whole milliseconds, as the loop's timers are: a shorter pause would last one.
        pause_s = floor(self._latency_target_s * min(1.0, load) / TIMER_S) * TIMER_S
        self._next_at = asyncio.get_running_loop().time() + pause_s
        if self._defer_timer is not None:
            self._defer_timer.cancel()
            self._defer_timer = None
        self.batch_closed.set()

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
        # second.
        ring = self._ring
        if not self._is_connected or ring.is_full or self._is_reading:
            return
        # Numbers leave with ticks, if there are any; the first and the last producer at once.
        report_alone = self._report_urgent or (self._report_due and not ring.open_ticks)
        if (ring.open_ticks and self._may_leave()) or (report_alone and not ring.is_half_full):
            ring.close_batch(self._feed.report() if self._report_due else None)
            self._report_due = self._report_urgent = False
            self._left()
        self._wait()

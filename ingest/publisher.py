"""Carry the outbox to the aggregator over one PublishTicks stream, again after every loss."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from random import Random

import grpc
import structlog

from ingest.outbox import Outbox
from ingest.reports import FeedState
from marketdata.channel import Options
from marketdata.streams import StreamOver, keep_stream
from marketdata.summary import DropSummary
from marketdata.wire import market_data_pb2 as wire

log = structlog.get_logger()

PUBLISH_TICKS = "/marketdata.MarketDataService/PublishTicks"
# How often the numbers of a feed are reported while they change.
REPORT_INTERVAL_S = 1.0

Publish = grpc.aio.StreamStreamMultiCallable[bytes, wire.BatchAck]
Call = grpc.aio.StreamStreamCall[bytes, wire.BatchAck]


class Publisher:
    """Send what producers gave, in order, until the aggregator has it."""

    def __init__(
        self,
        outbox: Outbox,
        *,
        aggregator: str,
        linger_s: float,
        drops: DropSummary,
        random: Random,
        options: Options,
    ) -> None:
        self._outbox = outbox
        self._aggregator = aggregator
        self._linger_s = linger_s
        self._drops = drops
        self._random = random
        self._options = options
        self._connected = False
        self._feed = FeedState(time.time_ns())
        # A report leaves with the next batch, or as soon as it can.
        self._report_due = self._report_urgent = False
        # Runs while the last report is younger than the interval.
        self._report_timer: asyncio.TimerHandle | None = None
        # The open batch has waited long enough and leaves as soon as it can.
        self._overdue = False
        self._linger: asyncio.TimerHandle | None = None
        self._work = asyncio.Event()
        # Who waits for room, in the order in which they came; a dict, since some leave.
        self._waiting: dict[Callable[[], None], None] = {}
        # Who reads when a batch has come back.
        self._fetching: dict[Callable[[], None], None] = {}
        self._is_fetching = False
        self._closed_batches = 0
        self._empty = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether no more ticks should be put into the outbox."""
        return self._outbox.is_full

    @property
    def is_prompt(self) -> bool:
        """Whether batches come back before the open one has waited long enough."""
        return self._connected and not self._overdue

    @property
    def batch_on_its_way(self) -> int:
        """The number of the batch that what comes now has to wait for; 0: there is none."""
        return 0 if self._outbox.is_idle or not self.is_prompt else self._outbox.closed_batches

    def producer_joined(self) -> None:
        """Take note that a producer has begun, before its ticks are put."""
        if self._feed.join(time.time_ns()):
            self._report(urgent=True)
        self._count_change()

    def producer_left(self) -> None:
        """Take note that a producer is gone, after its ticks were put."""
        if self._feed.leave(time.time_ns()):
            self._report(urgent=True)
        self._count_change()

    def count(self, accepted: int, rejected: Mapping[str, int]) -> None:
        """Take note of what became of ticks."""
        self._feed.count(accepted, rejected)
        self._count_change()

    def when_free(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once when the outbox takes ticks again; first come, first served."""
        self._waiting[go_on] = None

    def forget(self, go_on: Callable[[], None]) -> None:
        """Do not call ``go_on`` any more."""
        self._waiting.pop(go_on, None)

    def fetch_from(self, fetch: Callable[[], None]) -> None:
        """Call ``fetch`` each time that a batch has come back, or is on its way for long."""
        self._fetching[fetch] = None
        self._start_linger()

    def fetch_no_more_from(self, fetch: Callable[[], None]) -> None:
        """Undo :meth:`fetch_from`, if it was done."""
        self._fetching.pop(fetch, None)

    def notice(self) -> None:
        """Care for what was put into the outbox."""
        outbox = self._outbox
        if outbox.closed_batches != self._closed_batches:
            # What is open now came after the batch that closed.
            self._closed_batches = outbox.closed_batches
            self._cancel_linger()
            self._overdue = False
            self._work.set()
        if outbox.open_ticks:
            self._start_linger()
        self._close_due()

    async def drain(self) -> None:
        """Wait until the aggregator has every tick."""
        self._end_linger()
        self._cancel_report_timer()
        while not self._outbox.is_empty:
            self._empty.clear()
            await self._empty.wait()

    async def run(self) -> None:
        """Keep a stream to the aggregator until cancelled; say once when it goes and comes."""
        async with grpc.aio.insecure_channel(self._aggregator, options=self._options) as channel:
            publish: Publish = channel.stream_stream(
                PUBLISH_TICKS, response_deserializer=wire.BatchAck.FromString
            )
            await keep_stream(publish, self._carry, self._gone, self._random)

    async def _carry(self, call: Call) -> None:
        # Ends with the stream's error.
        log.info(
            "aggregator connected",
            aggregator=self._aggregator,
            waiting_ticks=self._outbox.unacked_ticks,
        )
        # What changed while there was no stream is in this report; those of the outbox follow it.
        self._report_due = self._report_urgent = False
        self._outbox.rewind(self._feed.report())
        self._connected = True
        self._close_due()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(call))
                tasks.create_task(self._receive(call))
        finally:
            self._connected = self._report_due = self._report_urgent = False
            self._cancel_report_timer()
            # No batch comes back.
            self._fetch()

    def _gone(self, code: grpc.StatusCode, details: str) -> None:
        log.warning(
            "aggregator gone, ticks wait",
            aggregator=self._aggregator,
            code=code.name,
            details=details,
            unacked_ticks=self._outbox.unacked_ticks,
        )

    async def _send(self, call: Call) -> None:
        while True:
            self._work.clear()
            while (batch := self._outbox.next_unsent()) is not None:
                await call.write(batch.data)
            await self._work.wait()

    async def _receive(self, call: Call) -> None:
        while isinstance(ack := await call.read(), wire.BatchAck):
            self._outbox.acknowledge(ack.last_sequence)
            if ack.rejections:
                self._drops.add(Counter(rejection.reason for rejection in ack.rejections))
            if self._fetching:
                self._fetch()
            self._close_due()
            if self._outbox.is_empty:
                self._empty.set()
            # Each may fill a batch.
            for go_on in list(islice(self._waiting, self._outbox.free_batches)):
                del self._waiting[go_on]
                go_on()
        raise StreamOver

    def _fetch(self) -> None:
        # What comes of all of them leaves together.
        self._is_fetching = True
        try:
            for fetch in list(self._fetching):
                fetch()
        finally:
            self._is_fetching = False

    def _start_linger(self) -> None:
        if self._linger is None and not self._overdue:
            loop = asyncio.get_running_loop()
            self._linger = loop.call_later(self._linger_s, self._end_linger)

    def _end_linger(self) -> None:
        self._cancel_linger()
        self._overdue = True
        # Those who fetch do so a last time, see that it takes long, and listen again.
        self._fetch()
        self._overdue = self._outbox.open_ticks > 0
        self._close_due()

    def _cancel_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    def _report(self, *, urgent: bool) -> None:
        if self._connected:
            self._report_due = True
            self._report_urgent |= urgent
            self._close_due()
        # Else the next stream begins with it.

    def _count_change(self) -> None:
        if self._report_timer is None and self._connected and self._feed.has_news:
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
        # The open batch leaves when it has waited long enough, and at once while the aggregator has
        # all the others: it waits only where it would stand in line anyway. So a lone tick is not
        # late, and under load batches are large. While nobody takes batches, it goes on filling:
        # small ones would use up the ring in a second.
        # Neither may small ones while acks are slow: behind half a ring only full ones are closed.
        outbox = self._outbox
        if not self._connected or outbox.is_full or self._is_fetching:
            return
        # Numbers go with the ticks if there are some. Whether there is a producer goes at once.
        reports = self._report_urgent or (self._report_due and not outbox.open_ticks)
        waited = (self._overdue and outbox.open_ticks) or reports
        if (outbox.is_idle and outbox.open_ticks) or (waited and not outbox.is_half_full):
            self._cancel_linger()
            self._outbox.close_batch(self._feed.report() if self._report_due else None)
            self._overdue = self._report_due = self._report_urgent = False
            self._closed_batches = self._outbox.closed_batches
            self._work.set()
        if self._fetching and not outbox.is_idle:
            self._start_linger()

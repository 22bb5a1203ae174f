"""Construct ingest; know what starts and stops in which order."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from random import Random

import grpc
import structlog

from ingest.listener import Listener
from ingest.parser import FrameParser
from ingest.publisher import Publisher
from ingest.reports import FeedState
from ingest.ring import BatchRing
from ingest.scheduler import BatchScheduler
from ingest.session.batches import BatchReader
from ingest.session.lookup import ProducerLookup
from ingest.session.producers import SessionProducers
from ingest.session.services import SessionServices
from ingest.settings import IngestSettings
from marketdata.acceptor import allow_open_files
from marketdata.channel import client_options
from marketdata.load import LoadMeter
from marketdata.streams import cancel_until_done
from marketdata.summary import DropSummary
from marketdata.warm import load_kernels

log = structlog.get_logger()

# Share of the shutdown deadline; the rest is for the end of the connections.
DRAIN_SHARE = 0.75
# Files besides the sockets of producers: the channel, the listening sockets, the log.
OTHER_FILES = 200


def open_files(settings: IngestSettings) -> int:
    """Return how many files and sockets an ingest may have open."""
    return settings.max_connections + OTHER_FILES


class Ingest:
    """One running ingest; it is made in a running event loop.

    Args:
        settings: the operator's settings.
        channel: to the aggregator; None: one to the address in the settings.
    """

    def __init__(self, settings: IngestSettings, channel: grpc.aio.Channel | None = None) -> None:
        self._settings = settings
        self.rejected = DropSummary(log, "ticks_rejected")
        self.closed = DropSummary(log, "connections_closed")
        self.rules = settings.tick_rules()
        self.feed = FeedState(time.time_ns())
        self.ring = BatchRing(
            # New at every start: ticks of an earlier process must not pass for ours.
            producer_id=f"ingest-{os.urandom(8).hex()}",
            # Sequences begin at the clock, so they grow across restarts: if a tick before and one
            # after have the same exchange time, arrival decides.
            first_sequence=time.time_ns(),
            batch_ticks=settings.batch_ticks,
            max_batches=settings.ring_batches,
            max_bytes=settings.ring_bytes,
            any_price=self.rules.prices.has_others,
        )
        scheduler = BatchScheduler(
            self.ring, self.feed, settings.latency_target / 1000, LoadMeter()
        )
        parser = FrameParser(self.rules, self.ring, self.feed, settings.max_frame_size)
        self._channel = channel or grpc.aio.insecure_channel(
            settings.aggregator,
            options=client_options(settings.keepalive_s, settings.keepalive_timeout_s),
        )
        random = Random()  # noqa: S311  jitter, not a secret
        self.producers = SessionProducers(self.ring)
        sessions = SessionServices(
            reader=BatchReader(self.rules, settings.max_session_frame_size),
            window=parser.window,
            scheduler=scheduler,
            producers=self.producers,
            lookup=ProducerLookup(self._channel, random),
            feed=self.feed,
            rejected=self.rejected,
            max_frame_size=settings.max_session_frame_size,
            hello_timeout_s=settings.first_tick_timeout_s,
            frame_timeout_s=settings.frame_timeout_s,
        )
        self.listener = Listener(settings, parser, scheduler, sessions, self.closed)
        self._scheduler = scheduler
        self._publisher = Publisher(
            self.ring,
            scheduler,
            channel=self._channel,
            aggregator=settings.aggregator,
            drops=self.rejected,
            random=random,
        )
        self._publishing: asyncio.Task[None] | None = None

    async def start(self, on_failure: Callable[[], None]) -> None:
        """Listen, with or without an aggregator; call ``on_failure`` once if publishing breaks.

        Raises:
            StartError: the address cannot be listened on.
        """
        load_kernels()
        await self.listener.start()
        self._publishing = asyncio.create_task(self._publisher.run())
        self._publishing.add_done_callback(lambda _: on_failure())

    async def stop(self) -> int:
        """Read what has arrived, hand it over, and return the exit code: 1 if ticks are lost."""
        drain_s = DRAIN_SHARE * self._settings.shutdown_deadline_s
        try:
            async with asyncio.timeout(drain_s):
                await self.listener.stop()
                await self._scheduler.drain()
        except TimeoutError:
            log.warning("drain_timed_out", drain_s=drain_s)
        await self.listener.close()
        await self._publisher.end()
        if self._publishing is not None:
            await cancel_until_done(self._publishing)
            (failure,) = await asyncio.gather(self._publishing, return_exceptions=True)
            if isinstance(failure, Exception):
                log.error("publishing_failed", exc_info=failure)
        self.rejected.flush()
        self.closed.flush()
        await self._channel.close()
        # The producers of sessions send theirs again.
        lost = self.ring.unowned_ticks
        write = log.error if lost else log.info
        write(
            "ingest_stopped",
            accepted=self.feed.accepted,
            rejected=dict(self.rejected.totals),
            closed=dict(self.closed.totals),
            converted_timestamps=self.rules.conversions,
            lost=lost,
        )
        return 1 if lost else 0


async def main(settings: IngestSettings, stop: asyncio.Event) -> int:
    """Run until ``stop`` is set; return the exit code."""
    allow_open_files(open_files(settings))
    ingest = Ingest(settings)
    await ingest.start(on_failure=stop.set)
    log.info("ingest_listening", address=f"{settings.host}:{ingest.listener.port}")
    await stop.wait()
    return await ingest.stop()

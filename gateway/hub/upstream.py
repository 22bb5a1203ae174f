"""Carry the topics of the hub over one Watch stream, and open it again after every loss."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from random import Random

import grpc
import structlog
from google.protobuf.message import DecodeError

from gateway.hub.hub import Hub
from gateway.hub.updates import ALL, BarTopic, FeedStatus, Topic
from marketdata.streams import OpenStream, StreamOver, keep_stream
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.encoded_updates_pb2 import EncodedUpdates

log = structlog.get_logger()

# A topic is at most 56 bytes on the wire, and a message 4 MiB.
MAX_TOPICS_PER_REQUEST = 10_000
# States that may wait at the aggregator while this process is busy; 5 MB there. It is also how old
# they may be when more come than are taken in: 0.4 s of 42,000 per second, where four times as many
# were 1.5 s. At 10,000 per second a pause of 1.6 s leaves no hole.
BUFFERED_STATES = 16_384
# Updates published in one turn of the event loop. A client is written to once per turn, and that is
# most of a delivery's cost: 2.6 µs with 100, 1.3 µs with 400 (1,000 clients, 20 symbols). A
# wildcard gets all of it, so the more wildcards there are, the less goes in one turn.
UPDATES_PER_TURN = 400
DELIVERIES_PER_TURN = 40_000
# A connection that is written to by a task takes about 64 KiB of JSON in one turn; more at once
# would look as if its client were slow.
UPDATES_PER_SLOW_TURN = 100

Call = grpc.aio.StreamStreamCall[wire.WatchRequest, EncodedUpdates]


def open_watch(channel: grpc.aio.Channel) -> OpenStream[Call]:
    """Return ``Watch`` of the aggregator, whose updates stay bytes."""
    open_stream: OpenStream[Call] = channel.stream_stream(
        "/marketdata.MarketDataService/Watch",
        request_serializer=wire.WatchRequest.SerializeToString,
        response_deserializer=EncodedUpdates.FromString,
    )
    return open_stream


class Upstream:
    """Keep the hub fed.

    Args:
        watch: opens a stream of the aggregator, see :func:`open_watch`.
        hub: receives the updates.
        random: the jitter between attempts.
        write: writes what the hub sent to the sockets, before anything else is done.
    """

    def __init__(
        self,
        watch: OpenStream[Call],
        hub: Hub,
        *,
        random: Random,
        write: Callable[[], None] = lambda: None,
    ) -> None:
        self._watch = watch
        self._write = write
        self._hub = hub
        self._random = random
        self._changed = asyncio.Event()
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        hub.on_interest_changed = self._interest_changed

    async def run(self) -> None:
        """Keep a stream until cancelled; say once when it goes and comes."""
        try:
            await keep_stream(self._watch, self._carry, self._gone, self._random)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def stop(self) -> None:
        """Take note that the gateway stops: the end of the stream is then no news for clients."""
        self._stopping = True

    async def _carry(self, call: Call) -> None:
        # Ends with the stream's error.
        intervals: list[str] | None = None
        for name, value in await call.initial_metadata() or ():
            if name == "epoch":
                self._hub.begin_epoch(int(value))
            elif name == "intervals":
                intervals = [each.strip() for each in str(value).split(",") if each.strip()]
        self._hub.begin_stream(intervals)
        self._hub.take_interest_changes()
        followed = self._hub.followed_topics()
        log.info("feed_connected", topics=len(followed))
        await call.write(wire.WatchRequest(buffer=BUFFERED_STATES))
        for request in self._requests(followed, ()):
            await call.write(request)
        self._hub.set_status(FeedStatus.LIVE)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(call))
                tasks.create_task(self._receive(call))
        finally:
            if not self._stopping:
                self._hub.set_status(FeedStatus.STALE)

    def _gone(self, code: grpc.StatusCode, details: str) -> None:
        log.warning("feed_gone", code=code.name, details=details)

    async def _send(self, call: Call) -> None:
        while True:
            self._changed.clear()
            for request in self._requests(*self._hub.take_interest_changes()):
                await call.write(request)
            await self._changed.wait()

    async def _receive(self, call: Call) -> None:
        while isinstance(batch := await call.read(), EncodedUpdates):
            try:
                await self._publish(batch)
            except DecodeError as exc:
                log.warning("feed_malformed", problem=str(exc))
                break
        raise StreamOver

    async def _publish(self, batch: EncodedUpdates) -> None:
        updates, bars = batch.updates, batch.bars
        start = 0
        while start < len(updates):
            count = min(
                UPDATES_PER_TURN, max(1, DELIVERIES_PER_TURN // max(1, self._hub.wildcards))
            )
            part = updates[start : start + count]
            self._hub.publish(part)
            self._write()
            start += count
            # As many turns as a connection needs that takes no more than that in each.
            for _ in range(max(len(part) // UPDATES_PER_SLOW_TURN, start < len(updates))):
                await asyncio.sleep(0)
        for start in range(0, len(bars), UPDATES_PER_SLOW_TURN):
            if start or updates:
                await asyncio.sleep(0)
            part = bars[start : start + UPDATES_PER_SLOW_TURN]
            self._hub.publish_bars(map(wire.Bar.FromString, part))
        if batch.completed:
            # After the bars that they are about.
            self._hub.publish_bars((), map(wire.IntervalComplete.FromString, batch.completed))

    def _requests(
        self, added: Iterable[Topic], removed: Iterable[Topic]
    ) -> Iterator[wire.WatchRequest]:
        for symbols, bars in self._chunks(removed):
            yield wire.WatchRequest(remove=symbols, remove_bars=bars)
        for symbols, bars in self._chunks(added):
            yield wire.WatchRequest(add=symbols, add_bars=bars)
        if ALL in removed:
            yield wire.WatchRequest(all=False)
        if ALL in added:
            yield wire.WatchRequest(all=True)

    def _chunks(self, topics: Iterable[Topic]) -> Iterator[tuple[list[str], list[wire.BarTopic]]]:
        # The aggregator would end the stream of everybody for one interval that it does not have.
        intervals = self._hub.intervals or ()
        listed = [
            topic
            for topic in topics
            if (topic.interval in intervals if isinstance(topic, BarTopic) else topic != ALL)
        ]
        for start in range(0, len(listed), MAX_TOPICS_PER_REQUEST):
            chunk = listed[start : start + MAX_TOPICS_PER_REQUEST]
            yield (
                [topic for topic in chunk if not isinstance(topic, BarTopic)],
                [
                    wire.BarTopic(symbol=topic.symbol, interval=topic.interval)
                    for topic in chunk
                    if isinstance(topic, BarTopic)
                ],
            )

    def _interest_changed(self) -> None:
        self._changed.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        when = self._hub.next_timer()
        if when is not None:
            self._timer = asyncio.get_running_loop().call_at(when, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._hub.expire(asyncio.get_running_loop().time())

"""Carry the topics of the hub over one Watch stream, and open it again after every loss."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Set
from random import Random
from typing import NamedTuple, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError

from gateway.hub.hub import Hub
from gateway.hub.updates import Carried, FeedStatus
from gateway.hub.watch_requests import requests_for
from marketdata.streams import OpenStream, StreamOver, keep_stream
from marketdata.wire import market_data_pb2 as wire
from marketdata.wire.encoded_updates_pb2 import EncodedUpdates

log = structlog.get_logger()

# States of buffered symbols that may wait at the aggregator while this process is busy; 5 MB there.
# At 10,000 per second a pause of 1.6 s leaves no hole. Of all other symbols only the newest state
# waits, so it is never older than the messages on their way.
BUFFERED_STATES = 16_384
# Updates published in one turn of the event loop. A client is written to once per turn, and that is
# most of a delivery's cost: 2.6 µs with 100, 1.3 µs with 400 (1,000 clients, 20 symbols). A
# wildcard gets all of it, so the more wildcards there are, the less goes in one turn.
UPDATES_PER_TURN = 400
DELIVERIES_PER_TURN = 40_000
# A connection that is written to by a task takes about 64 KiB of JSON in one turn; more at once
# would look as if its client were slow.
UPDATES_PER_SLOW_TURN = 100

# After so long a request that was sent has arrived, or its stream was lost.
ARRIVAL_S = 60.0

Call = grpc.aio.StreamStreamCall[wire.WatchRequest, EncodedUpdates]


def open_watch(channel: grpc.aio.Channel) -> OpenStream[Call]:
    """Return ``Watch`` of the aggregator, whose updates stay bytes."""
    open_stream: OpenStream[Call] = channel.stream_stream(
        "/marketdata.MarketDataService/Watch",
        request_serializer=wire.WatchRequest.SerializeToString,
        response_deserializer=EncodedUpdates.FromString,
    )
    return open_stream


class Opening(NamedTuple):
    """What the aggregator says at the begin of a stream."""

    epoch: int
    # None: unknown.
    intervals: list[str] | None
    watcher_id: str


class Place(NamedTuple):
    """Where the stream was when the last updates came."""

    epoch: int
    watcher_id: str
    position: int


class Turn(Protocol):
    """Writes what was sent to sockets, all of it at once."""

    def hold(self) -> None:
        """Let what is sent wait for :meth:`write`."""

    def write(self) -> None:
        """Write it."""


class NoTurn:
    """Nothing is sent to sockets."""

    def hold(self) -> None:
        """Do nothing."""

    def write(self) -> None:
        """Do nothing."""


class Upstream:
    """Keep the hub fed.

    After a loss the next stream goes on where the last one was, so that subscribers see no hole and
    no repeat. If the aggregator does not have all that was missed, it begins with a snapshot.

    Args:
        watch: opens a stream of the aggregator, see :func:`open_watch`.
        hub: receives the updates.
        random: the jitter between attempts.
        turn: writes what the hub sent to the sockets, before anything else is done.
    """

    def __init__(
        self,
        watch: OpenStream[Call],
        hub: Hub,
        *,
        random: Random,
        turn: Turn | None = None,
    ) -> None:
        self._watch = watch
        self._turn = turn or NoTurn()
        self._hub = hub
        self._random = random
        self._changed = asyncio.Event()
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        # None: the next stream begins with a snapshot.
        self._place: Place | None = None
        # What the stream carries, and when the rest was removed from it. What was sent last may not
        # have arrived when a stream is lost.
        self._carried: set[Carried] = set()
        self._removed: dict[Carried, float] = {}
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
        opening = _read_opening(await call.initial_metadata() or ())
        place = self._place
        if place is not None and place.epoch == opening.epoch:
            first = await self._resume(call, place)
            self._hub.set_status(FeedStatus.LIVE)
        else:
            first = None
            await self._begin(call, opening)
            self._hub.set_status(FeedStatus.LIVE)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send(call))
                tasks.create_task(self._receive(call, opening, first))
        finally:
            if not self._stopping:
                self._hub.set_status(FeedStatus.STALE)

    # Begins with the present states.
    async def _begin(self, call: Call, opening: Opening) -> None:
        self._place = None
        if opening.epoch:
            self._hub.begin_epoch(opening.epoch)
        self._hub.begin_stream(opening.intervals)
        self._hub.take_interest_changes()
        self._removed.clear()
        self._carried = set(self._hub.followed_topics())
        log.info("feed_connected", topics=self._hub.topics)
        await call.write(wire.WatchRequest(buffer=BUFFERED_STATES, buffer_all=False))
        for request in self._requests(self._carried, ()):
            await call.write(request)

    # Goes on where the last stream was, and returns the first of what was missed.
    async def _resume(self, call: Call, place: Place) -> EncodedUpdates:
        resume = wire.WatchResume(
            epoch=place.epoch, watcher_id=place.watcher_id, position=place.position
        )
        await call.write(wire.WatchRequest(resume=resume))
        try:
            first = await call.read()
        except grpc.aio.AioRpcError as exc:
            if exc.code() is grpc.StatusCode.OUT_OF_RANGE:
                self._place = None
            raise
        if not isinstance(first, EncodedUpdates):
            raise StreamOver
        added, _ = self._hub.take_interest_changes()
        followed = set(self._hub.followed_topics())
        known = self._carried | self._removed.keys()
        # The hub forgot these, so they begin with their present states.
        again = (added | self._removed.keys()) & followed & known
        log.info("feed_resumed", topics=self._hub.topics)
        self._note_changes(followed, known - followed)
        for request in self._requests(followed, (known - followed) | again):
            await call.write(request)
        return first

    def _gone(self, code: grpc.StatusCode, details: str) -> None:
        log.warning("feed_gone", code=code.name, details=details)

    async def _send(self, call: Call) -> None:
        while True:
            self._changed.clear()
            added, removed = self._hub.take_interest_changes()
            self._note_changes(added, removed)
            for request in self._requests(added, removed):
                await call.write(request)
            await self._changed.wait()

    def _note_changes(self, added: Set[Carried], removed: Set[Carried]) -> None:
        now = asyncio.get_running_loop().time()
        self._carried |= added
        self._carried -= removed
        for topic in removed:
            self._removed.pop(topic, None)
            self._removed[topic] = now
        while self._removed:
            oldest = next(iter(self._removed))
            if self._removed[oldest] > now - ARRIVAL_S:
                break
            del self._removed[oldest]

    async def _receive(self, call: Call, opening: Opening, batch: EncodedUpdates | None) -> None:
        if batch is None:
            batch = await self._read(call)
        while batch is not None:
            try:
                await self._publish(batch)
            except DecodeError as exc:
                log.warning("feed_malformed", problem=str(exc))
                self._place = None
                break
            # Not before: what of a batch was not published must come again.
            if batch.position:
                self._place = Place(opening.epoch, opening.watcher_id, batch.position)
            batch = await self._read(call)
        raise StreamOver

    async def _read(self, call: Call) -> EncodedUpdates | None:
        batch = await call.read()
        return batch if isinstance(batch, EncodedUpdates) else None

    async def _publish(self, batch: EncodedUpdates) -> None:
        updates, bars = batch.updates, batch.bars
        start = 0
        while start < len(updates):
            count = min(
                UPDATES_PER_TURN, max(1, DELIVERIES_PER_TURN // max(1, self._hub.wildcards))
            )
            part = updates[start : start + count]
            self._turn.hold()
            try:
                self._hub.publish(part)
            finally:
                self._turn.write()
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
        self, added: Iterable[Carried], removed: Iterable[Carried]
    ) -> Iterator[wire.WatchRequest]:
        # The aggregator would end the stream of everybody for one interval that it does not have.
        return requests_for(added, removed, self._hub.intervals or ())

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


def _read_opening(metadata: Iterable[tuple[str, str | bytes]]) -> Opening:
    epoch, watcher_id = 0, ""
    intervals: list[str] | None = None
    for name, value in metadata:
        if name == "epoch":
            epoch = int(value)
        elif name == "intervals":
            intervals = [each.strip() for each in str(value).split(",") if each.strip()]
        elif name == "watcher-id":
            watcher_id = str(value)
    return Opening(epoch, intervals, watcher_id)

"""Serve STOMP: join each session to the hub, to the signaling relay and to its connection."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import orjson
import structlog
from starlette.routing import BaseRoute

from gateway.clients.bucket import TokenBucket
from gateway.clients.capacity import Capacity
from gateway.clients.connection import INTERNAL_ERROR, Connection
from gateway.clients.handshake import OriginCheck
from gateway.clients.outbox import BufferFull
from gateway.clients.outlet import Outlet
from gateway.clients.websocket import serve_websocket
from gateway.encoding import INTERVAL_COMPLETE
from gateway.errors import AggregatorUnavailable
from gateway.hub.bar_subscription import BarSubscription
from gateway.hub.burst import Burst
from gateway.hub.hub import FeedStatus, Hub, TooManySymbols
from gateway.hub.join import Join
from gateway.hub.subscription import BufferLimits, Resume
from gateway.hub.subscription import Subscription as Feed
from gateway.hub.updates import Delivery, Policy, Update
from gateway.sockjs.app import SockJs, SockJsRoute
from gateway.stomp.destinations import (
    STATUS,
    BarsTopic,
    MarketDataTopic,
    SignalingTopic,
    SubscribeOptions,
    Topic,
)
from gateway.stomp.errors import (
    HistoryFailed,
    HistoryRefused,
    InvalidDestination,
    RateExceeded,
    ServerLimitExceeded,
    ServerShutdown,
    SlowConsumer,
    StompError,
)
from gateway.stomp.events import (
    AckMode,
    Connected,
    Event,
    SignalSent,
    Subscribed,
    Subscription,
    Unsubscribed,
)
from gateway.stomp.messages import Message
from gateway.stomp.session import SessionLimits, StompSession
from gateway.stomp.signaling import Signal
from gateway.stomp.versions import SUBPROTOCOLS
from gateway.stomp_fanout import StompEncoder, StompEncoders, encode_message
from gateway.stream.reader import JoinHistory
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval

log = structlog.get_logger(__name__)

# What every subscriber is told, encoded once.
STATUS_MESSAGES = {
    status: Message(STATUS, orjson.dumps({"status": status.value})) for status in FeedStatus
}
# Where the page of SockJS's iframe transports finds sockjs-client.
SOCKJS_URL = "/static/sockjs.min.js"


@dataclass(frozen=True, slots=True)
class StompLimits:
    """What one client may do to us; the defaults are those of the settings."""

    session: SessionLimits = field(default_factory=SessionLimits)
    buffer: BufferLimits = field(default_factory=BufferLimits)
    # Messages per second, and at once; signaling ones count in both.
    message_rate: float = 100
    message_burst: int = 2000
    signal_rate: float = 20
    signal_burst: int = 100
    max_message_bytes: int = 512 * 1024


class SignalListener(Protocol):
    """What takes the signaling messages that are to the gateway itself."""

    def on_signal(self, signal: Signal, sender: StompHandler) -> None:
        """Take a message that was relayed; it may be to somebody else."""

    def on_left(self, sender: StompHandler) -> None:
        """Know that a session is over."""


class StompDoor:
    """All STOMP sessions of one server.

    Args:
        hub: gives the updates.
        capacity: counts the live clients of all doors.
        joins: reads the history that subscriptions begin with.
        allow_origin: says which pages may connect; None: all.
        limits: what one client may do.
        listener: takes the signaling messages that are to the gateway.
    """

    def __init__(
        self,
        hub: Hub,
        capacity: Capacity,
        joins: JoinHistory,
        *,
        allow_origin: OriginCheck | None = None,
        limits: StompLimits | None = None,
        listener: SignalListener | None = None,
    ) -> None:
        self.hub = hub
        self.joins = joins
        self.listener = listener
        self.limits = limits or StompLimits()
        self.encoders = StompEncoders()
        self.sessions: set[StompHandler] = set()
        # Those with a subscription to /topic/signaling.
        self.signaling: dict[StompHandler, None] = {}
        # Sessions that ended by an error, by its reason.
        self.failed: Counter[str] = Counter()
        factory = partial(StompHandler, self)
        self._sockjs = SockJs(
            factory,
            sockjs_url=SOCKJS_URL,
            raw_websocket=partial(
                serve_websocket,
                handler_factory=factory,
                subprotocols=SUBPROTOCOLS,
                capacity=capacity,
                max_payload_bytes=self.limits.max_message_bytes,
            ),
            subprotocols=SUBPROTOCOLS,
            max_sessions=capacity.limit,
            capacity=capacity,
            max_payload_bytes=self.limits.max_message_bytes,
            allow_origin=allow_origin,
        )

    def route(self, prefix: str) -> BaseRoute:
        """Return the route of all that is under ``prefix``; more special ones come before it."""
        return SockJsRoute(prefix, self._sockjs)

    def relay(self, message: Message) -> None:
        """Send ``message`` to every subscriber of its topic, the sender included."""
        for handler in list(self.signaling):
            handler.send_signal(message)

    def stop(self) -> None:
        """Tell every session that the server stops, and take no more."""
        for handler in list(self.sessions):
            handler.fail(ServerShutdown())
        self._sockjs.stop()

    def abort(self) -> None:
        """End what is left."""
        self._sockjs.abort()


class StompHandler:
    """One STOMP session: the application's side of a connection, and a subscriber of the hub."""

    def __init__(self, door: StompDoor) -> None:
        self._door = door
        self._hub = door.hub
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        limits = door.limits
        self._limits = limits
        self._session = StompSession(secrets.token_hex(8), now, limits=limits.session)
        self._messages = TokenBucket(limits.message_rate, limits.message_burst, now)
        self._signals = TokenBucket(limits.signal_rate, limits.signal_burst, now)
        # Market data: what the hub fills, and whose it is.
        self._feeds: dict[Subscription, Feed] = {}
        self._subscriptions: dict[Feed, Subscription] = {}
        self._signaling: dict[Subscription, None] = {}
        # Subscriptions to /topic/status.
        self._watching: dict[Subscription, None] = {}
        # Those that have still to be told the status.
        self._untold: dict[Subscription, None] = {}
        # Subscribed by the frames at hand; what is known goes out behind their RECEIPTs.
        self._new: list[Feed] = []
        self._timer: asyncio.TimerHandle | None = None
        self._left = False

    # The connection's handler

    def on_open(self, connection: Connection) -> None:
        """Begin."""
        self._connection = connection
        self._outlet = Outlet(connection, self._send_delivery, self._end_slow)
        self._door.sessions.add(self)
        self._arm()

    def on_message(self, message: str | bytes) -> None:
        """Do what the frames of ``message`` ask for."""
        now = self._loop.time()
        events = self._session.receive_data(message, now)
        for event in events:
            self._handle(event, now)
        # One message may carry many frames.
        if not self._messages.take(now, max(1, len(events))):
            self._session.fail(RateExceeded("messages", self._limits.message_rate), now)
        self._write()
        new, self._new = self._new, []
        if new or self._untold:
            self.flush(new)

    def on_drained(self) -> None:
        """Go on where the client was too slow."""
        self.flush(())

    def on_close(self, code: int, reason: str) -> None:
        """End."""
        self._leave()

    # The hub's subscriber

    def flush(self, subscriptions: Iterable[Feed]) -> None:
        """Send what waits, as far as the client takes it."""
        try:
            if self._untold:
                self._tell_status()
            self._outlet.flush(subscriptions)
        except Exception:
            self._give_up()

    def on_status(self, status: FeedStatus) -> None:
        """Tell every subscription that has to know."""
        # Again to the end: one that waits is told the newest status only.
        self._untold = dict.fromkeys((*self._watching, *self._feeds))
        self.flush(())

    # The door

    @property
    def address(self) -> str | None:
        """Where the client is."""
        return self._connection.peer.address

    def send_signal(self, message: Message) -> None:
        """Send a signaling message to each subscription that wants them."""
        try:
            now = self._loop.time()
            for subscription in self._signaling:
                self._session.send_message(subscription, message, now)
            self._write()
        except Exception:
            self._give_up()

    def fail(self, error: StompError) -> None:
        """End the session, and tell the client why."""
        self._session.fail(error, self._loop.time())
        self._write()

    # What a client asks for

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Subscribed):
            self._subscribe(event.subscription, event.options, now)
        elif isinstance(event, Unsubscribed):
            self._unsubscribe(event.subscription)
        elif isinstance(event, SignalSent):
            if self._signals.take(now):
                self._door.relay(event.message)
                if self._door.listener is not None:
                    self._door.listener.on_signal(event.signal, self)
            else:
                error = RateExceeded("signaling messages", self._limits.signal_rate)
                self._session.fail(error, now)
        elif isinstance(event, Connected):
            if self._session.expects_heart_beats:
                self._connection.suppress_heartbeats()
            self._arm()

    def _subscribe(self, subscription: Subscription, options: SubscribeOptions, now: float) -> None:
        topic = subscription.topic
        if isinstance(topic, SignalingTopic):
            self._signaling[subscription] = None
            self._door.signaling[self] = None
        elif isinstance(topic, MarketDataTopic | BarsTopic):
            feed = self._build_feed(topic, options)
            try:
                self._hub.subscribe(feed, self)
            except TooManySymbols as exc:
                self._session.fail(ServerLimitExceeded(str(exc)), now)
                return
            except InvalidInterval as exc:
                error = InvalidDestination(_destination(topic), str(exc))
                self._session.fail(error, now)
                return
            self._door.joins.begin(feed, self, self._fail_history)
            self._feeds[subscription] = feed
            self._subscriptions[feed] = subscription
            if self._hub.status is FeedStatus.STALE:
                self._untold[subscription] = None
            self._new.append(feed)
        else:
            self._watching[subscription] = None
            self._untold[subscription] = None
            self._hub.watch_status(self)

    def _build_feed(self, topic: MarketDataTopic | BarsTopic, options: SubscribeOptions) -> Feed:
        left = options.resume
        resume = Resume(left.epoch, left.last_sequences) if left else None
        limits = self._limits.buffer
        if isinstance(topic, MarketDataTopic):
            return Feed(topic.symbols, options.policy.value, resume, limits)
        join = None
        if options.since_ns is not None and topic.symbols is not None:
            join = Join(topic.symbols, options.since_ns)
        return BarSubscription(
            topic.interval, topic.symbols, options.policy.value, resume, limits, join=join
        )

    def _fail_history(self, error: MarketDataError) -> None:
        if isinstance(error, AggregatorUnavailable):
            self.fail(HistoryFailed(str(error)))
        else:
            self.fail(HistoryRefused(str(error)))

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._untold.pop(subscription, None)
        if self._watching.pop(subscription, self) is None and not self._watching:
            self._hub.unwatch_status(self)
        if self._signaling.pop(subscription, self) is None and not self._signaling:
            self._door.signaling.pop(self, None)
        feed = self._feeds.pop(subscription, None)
        if feed is not None:
            del self._subscriptions[feed]
            self._outlet.forget(feed)
            self._hub.unsubscribe(feed)

    # What a client is sent

    def _send_delivery(self, feed: Feed, delivery: Delivery) -> None:
        subscription = self._subscriptions.get(feed)
        if subscription is None:
            return
        update, recovered, conflated = delivery
        # Where it was subscribed to, so that it is found there.
        message = (
            encode_marker(_destination(subscription.topic), update)
            if update.is_marker
            else update.form(encode_message)
        )
        self._session.send_message(
            subscription,
            message,
            self._loop.time(),
            recovered=recovered,
            conflated=conflated > 0,
        )
        self._write()
        # The first message may be for this subscriber alone; those that follow are for all, unless
        # they are acknowledged, by an id of this session.
        if feed.lane is None and subscription.ack is AckMode.AUTO:
            encoder = self._door.encoders.get(subscription.id, self._session.version)
            feed.lane = partial(self._send_burst, encoder, feed.policy)

    def _send_burst(self, encoder: StompEncoder, policy: Policy, burst: Burst) -> bool:
        connection = self._connection
        if not connection.writable:
            return False
        try:
            connection.send_texts(burst.form(policy, encoder))
            self._session.note_sent(burst.now)
        except BufferFull as exc:
            self.fail(SlowConsumer(str(exc)))
        except Exception:
            self._give_up()
        return True

    def _tell_status(self) -> None:
        message = STATUS_MESSAGES[self._hub.status]
        now = self._loop.time()
        # As with states: for a client that does not read, only the newest waits.
        while self._untold and self._connection.writable:
            subscription = next(iter(self._untold))
            del self._untold[subscription]
            self._session.send_message(subscription, message, now)
            self._write()

    def _end_slow(self, feed: Feed) -> None:
        limits = self._limits.buffer
        self.fail(
            SlowConsumer(f"over {limits.max_bytes} bytes, or {limits.max_age_s:g} s, were waiting")
        )

    def _write(self) -> None:
        session, connection = self._session, self._connection
        try:
            for message in session.data_to_send():
                connection.send_nowait(message)
        except BufferFull as exc:
            # Of no use to say so in a frame, which would not fit either.
            session.fail(SlowConsumer(str(exc)), self._loop.time())
        if session.close is not None and not self._left:
            close = session.close
            if close.error is not None:
                self._door.failed[close.error.reason] += 1
            self._leave()
            connection.close(int(close.code), close.reason)

    def _give_up(self) -> None:
        # At the edge of what was called for many sessions: a bug must end no other one.
        log.exception("stomp_session_failed", session=self._session.session_id)
        self._leave()
        self._connection.close(INTERNAL_ERROR, "Internal error")

    def _leave(self) -> None:
        self._left = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._door.sessions.discard(self)
        self._door.signaling.pop(self, None)
        if self._door.listener is not None:
            self._door.listener.on_left(self)
        self._hub.unwatch_status(self)
        for feed in self._subscriptions:
            self._hub.unsubscribe(feed)
        for holder in (self._feeds, self._subscriptions, self._signaling, self._watching):
            holder.clear()
        self._untold.clear()

    # The one timer

    def _arm(self) -> None:
        when = self._session.next_timer()
        if self._timer is not None:
            # One that fires too early is armed anew then; that is rarer than traffic.
            if when is not None and self._timer.when() <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None and not self._left:
            self._timer = self._loop.call_at(when, self._check_timers)

    def _check_timers(self) -> None:
        self._timer = None
        self._session.check_timers(self._loop.time())
        self._write()
        self._arm()


def encode_marker(destination: str, update: Update) -> Message:
    """Return the MESSAGE that says that an interval is complete."""
    return Message(
        destination,
        update.json,
        epoch=update.epoch,
        user_headers={"type": INTERVAL_COMPLETE},
    )


def _destination(topic: Topic) -> str:
    return topic.destination if isinstance(topic, BarsTopic) else STATUS

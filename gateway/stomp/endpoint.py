"""Serve STOMP: connect each session to the hub, to the signaling relay and to its client."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from starlette.routing import BaseRoute

from gateway.clients.capacity import Capacity
from gateway.clients.farewell import SERVER_SHUTDOWN, SERVICE_RESTART, Farewell
from gateway.clients.handshake import OriginCheck
from gateway.clients.outbox import BufferFull
from gateway.clients.websocket import serve_websocket
from gateway.errors import AggregatorUnavailable
from gateway.hub.backfill import Backfill
from gateway.hub.bar_subscription import BarSubscription
from gateway.hub.hub import TooManySymbols
from gateway.hub.subscription import Resume
from gateway.hub.subscription import Subscription as Feed
from gateway.hub.updates import FeedStatus
from gateway.limiter import RateLimiter
from gateway.live.session import LiveSession, Sessions, SubscriptionOverflow
from gateway.sockjs.app import SockJs, SockJsRoute
from gateway.sockjs.session import SessionLimits as SockJsLimits
from gateway.stomp.fanout import StompEncoders, StompFormat, marker_destination
from gateway.stomp.protocol.destinations import (
    BarsTopic,
    MarketDataTopic,
    SignalingTopic,
    SubscribeOptions,
)
from gateway.stomp.protocol.errors import (
    HistoryFailed,
    HistoryRefused,
    InvalidDestination,
    RateExceeded,
    ServerLimitExceeded,
    ServerShutdown,
    SlowConsumer,
    StompError,
)
from gateway.stomp.protocol.events import (
    Connected,
    Event,
    SignalSent,
    Subscribed,
    Subscription,
    Unsubscribed,
)
from gateway.stomp.protocol.messages import Message
from gateway.stomp.protocol.session import SessionLimits, StompSession
from gateway.stomp.protocol.signaling import Signal
from gateway.stomp.protocol.versions import SUBPROTOCOLS
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval

# Where the page of SockJS's iframe transports finds sockjs-client.
SOCKJS_URL = "/static/sockjs.min.js"


@dataclass(frozen=True, slots=True)
class StompLimits:
    """What one client may do besides :class:`~gateway.live.session.LiveLimits`."""

    session: SessionLimits = field(default_factory=SessionLimits)
    # Signaling messages per second, and at once; they count as messages too.
    signal_rate: float = 20
    signal_burst: int = 100
    # Bytes of them, per second and at once. A burst is a fraction of what may wait for a client,
    # so that no reader is disconnected because of what another client sends.
    signal_byte_rate: float = 128 * 1024
    signal_burst_bytes: int = 256 * 1024


class SignalListener(Protocol):
    """Takes the signaling messages that are to the gateway itself."""

    def on_signal(self, signal: Signal, sender: StompHandler) -> None:
        """Take a message that was relayed; it may be to another client."""

    def on_left(self, sender: StompHandler) -> None:
        """Take note that a session is over."""


class StompEndpoint:
    """All STOMP sessions.

    Args:
        sessions: what live sessions share.
        capacity: counts the live clients of all endpoints.
        allow_origin: says which pages may connect; None: all.
        limits: how much one client may do.
        listener: takes the signaling messages that are to the gateway.
    """

    def __init__(
        self,
        sessions: Sessions,
        capacity: Capacity,
        *,
        allow_origin: OriginCheck | None = None,
        limits: StompLimits | None = None,
        listener: SignalListener | None = None,
    ) -> None:
        self.sessions = sessions
        self.listener = listener
        self.limits = limits or StompLimits()
        self.encoders = StompEncoders()
        # Sessions with a subscription to /topic/signaling.
        self.signaling: dict[StompHandler, None] = {}
        # Sessions that ended by an error, by its reason.
        self.failed: Counter[str] = Counter()
        factory = partial(StompHandler, self)
        max_bytes = sessions.limits.max_message_bytes
        self._sockjs = SockJs(
            factory,
            sockjs_url=SOCKJS_URL,
            raw_websocket=partial(
                serve_websocket,
                handler_factory=factory,
                subprotocols=SUBPROTOCOLS,
                capacity=capacity,
                max_payload_bytes=max_bytes,
                max_buffered_bytes=sessions.limits.client_buffer_bytes,
            ),
            subprotocols=SUBPROTOCOLS,
            max_sessions=capacity.limit,
            capacity=capacity,
            max_payload_bytes=max_bytes,
            limits=SockJsLimits(max_buffered_bytes=sessions.limits.client_buffer_bytes),
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
        """Take no more sessions; those that do not speak STOMP yet end too."""
        self._sockjs.stop(SERVICE_RESTART, SERVER_SHUTDOWN)

    def abort(self) -> None:
        """End the sessions that are left."""
        self._sockjs.abort(SERVICE_RESTART, SERVER_SHUTDOWN)


class StompHandler(LiveSession):
    """One STOMP session."""

    def __init__(self, endpoint: StompEndpoint) -> None:
        super().__init__(endpoint.sessions)
        self._endpoint = endpoint
        self._loop = asyncio.get_running_loop()
        now = self._now()
        limits = endpoint.limits
        self._session = StompSession(
            secrets.token_hex(8),
            now,
            limits=limits.session,
            allow_frame=self._messages.take,
            frame_rate=self._limits.message_rate,
        )
        self._signals = RateLimiter(limits.signal_rate, limits.signal_burst, now)
        self._signal_bytes = RateLimiter(limits.signal_byte_rate, limits.signal_burst_bytes, now)
        # The hub's subscription of each of STOMP's, and its format.
        self._feeds: dict[Subscription, Feed] = {}
        self._stomp_formats: dict[Subscription, StompFormat] = {}
        self._signaling: dict[Subscription, None] = {}
        # Subscribed by the frames at hand; the known states go out after their RECEIPTs.
        self._new: list[Feed] = []
        self._timer: asyncio.TimerHandle | None = None
        self._left = False

    # The live session

    def begin(self) -> None:
        """Wait for CONNECT."""
        self._arm()

    def on_message(self, message: str | bytes) -> None:
        """Carry out the frames of ``message``."""
        now = self._now()
        frames = self._session.frames
        for event in self._session.receive_data(message, now):
            self._handle(event, now)
        if self._session.frames == frames:
            # Heart-beats, or a part of a frame.
            self.on_overhead(1)
        self._write()
        new, self._new = self._new, []
        self.flush(new)

    def exceed_rate(self) -> None:
        """End the session of a client that sends too often."""
        self.fail(RateExceeded("messages", self._limits.message_rate))

    def on_status(self, status: FeedStatus) -> None:
        """Tell every subscription, even if it missed a change and back."""
        for fmt in self._status_formats:
            fmt.told = None
        super().on_status(status)

    def say_farewell(self, farewell: Farewell) -> None:
        """Tell the client that the server stops and when to come back."""
        self.fail(ServerShutdown(farewell.reconnect_after_ms))

    def fail(self, error: MarketDataError, subscription: Feed | None = None) -> None:
        """End the session, and tell the client why."""
        self._session.fail(_stomp_error(error), self._now())
        self._write()

    def leave(self) -> None:
        """End all subscriptions; nothing more is sent."""
        self._left = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._endpoint.signaling.pop(self, None)
        if self._endpoint.listener is not None:
            self._endpoint.listener.on_left(self)
        for holder in (self._feeds, self._stomp_formats, self._signaling):
            holder.clear()
        super().leave()

    # The endpoint

    @property
    def address(self) -> str | None:
        """Where the client is."""
        return self.connection.peer.address

    def send_signal(self, message: Message) -> None:
        """Send a signaling message to each subscription that wants them."""
        try:
            now = self._now()
            for subscription in self._signaling:
                self._session.send_message(subscription, message, now)
            self._write()
        except Exception:
            self._give_up()

    # Requests of the client

    def _handle(self, event: Event, now: float) -> None:
        if isinstance(event, Subscribed):
            self._subscribe(event.subscription, event.options, now)
        elif isinstance(event, Unsubscribed):
            self._unsubscribe(event.subscription)
        elif isinstance(event, SignalSent):
            self._relay(event, now)
        elif isinstance(event, Connected):
            if self._session.expects_heart_beats:
                self.connection.suppress_heartbeats()
            self._arm()

    def _relay(self, event: SignalSent, now: float) -> None:
        limits = self._endpoint.limits
        if not self._signals.take(now):
            self._session.fail(RateExceeded("signaling messages", limits.signal_rate), now)
        elif not self._signal_bytes.take(now, len(event.signal.body)):
            self._session.fail(RateExceeded("signaling bytes", limits.signal_byte_rate), now)
        else:
            self._endpoint.relay(event.message)
            if self._endpoint.listener is not None:
                self._endpoint.listener.on_signal(event.signal, self)

    def _subscribe(self, subscription: Subscription, options: SubscribeOptions, now: float) -> None:
        topic = subscription.topic
        if isinstance(topic, SignalingTopic):
            self._signaling[subscription] = None
            self._endpoint.signaling[self] = None
        elif isinstance(topic, MarketDataTopic | BarsTopic):
            # It takes its data for live unless told otherwise.
            fmt = self._format(subscription, told=FeedStatus.LIVE)
            feed = self._build_feed(topic, options)
            try:
                self.subscribe(feed, fmt)
            except TooManySymbols as exc:
                self._session.fail(ServerLimitExceeded(str(exc)), now)
                return
            except InvalidInterval as exc:
                error = InvalidDestination(marker_destination(topic), str(exc))
                self._session.fail(error, now)
                return
            self._feeds[subscription] = feed
            self._new.append(feed)
            self.tell_status(fmt)
        else:
            self.tell_status(self._format(subscription, told=None))
            self._hub.watch_status(self)

    def _format(self, subscription: Subscription, *, told: FeedStatus | None) -> StompFormat:
        encoders = self._endpoint.encoders
        fmt = StompFormat(self._session, subscription, encoders=encoders, told=told)
        self._stomp_formats[subscription] = fmt
        return fmt

    def _build_feed(self, topic: MarketDataTopic | BarsTopic, options: SubscribeOptions) -> Feed:
        left = options.resume
        resume = Resume(left.epoch, left.last_sequences) if left else None
        limits = self._limits.buffer
        if isinstance(topic, MarketDataTopic):
            return Feed(topic.symbols, options.policy.value, resume, limits)
        backfill = None
        if options.since_ns is not None and topic.symbols is not None:
            backfill = Backfill(topic.symbols, options.since_ns)
        return BarSubscription(
            topic.interval, topic.symbols, options.policy.value, resume, limits, backfill=backfill
        )

    def _unsubscribe(self, subscription: Subscription) -> None:
        fmt = self._stomp_formats.pop(subscription, None)
        if fmt is not None:
            self.untell_status(fmt)
        if self._signaling.pop(subscription, self) is None and not self._signaling:
            self._endpoint.signaling.pop(self, None)
        feed = self._feeds.pop(subscription, None)
        if feed is not None:
            self.unsubscribe(feed)
        if len(self._stomp_formats) == len(self._feeds):
            # No subscription to /topic/status is left.
            self._hub.unwatch_status(self)

    # The connection and the one timer

    def _write(self) -> None:
        session, connection = self._session, self.connection
        try:
            for message in session.data_to_send():
                connection.send_nowait(message)
        except BufferFull as exc:
            # Of no use to say so in a frame, which would not fit either.
            session.fail(SlowConsumer(str(exc)), self._now())
        if session.close is not None and not self._left:
            close = session.close
            if close.error is not None:
                self._endpoint.failed[close.error.reason] += 1
            self.leave()
            connection.close(int(close.code), close.reason)

    def _arm(self) -> None:
        when = self._session.next_timer()
        if self._timer is not None:
            # A timer that fires too early is armed again then; that is rarer than traffic.
            if when is not None and self._timer.when() <= when:
                return
            self._timer.cancel()
            self._timer = None
        if when is not None and not self._left:
            self._timer = self._loop.call_at(when, self._check_timers)

    def _check_timers(self) -> None:
        self._timer = None
        self._session.note_sent(self._sent_at)
        self._session.check_timers(self._now())
        self._write()
        self._arm()


def _stomp_error(error: MarketDataError) -> StompError:
    match error:
        case StompError():
            return error
        case BufferFull() | SubscriptionOverflow():
            return SlowConsumer(str(error))
        case AggregatorUnavailable():
            return HistoryFailed(str(error))
        case _:
            return HistoryRefused(str(error))

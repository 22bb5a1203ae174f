"""What every kind of stream does: read from the hub, tell the status, end with an error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from gateway.clients.bucket import TokenBucket
from gateway.clients.connection import Connection
from gateway.clients.outbox import BufferFull
from gateway.clients.outlet import Outlet
from gateway.hub.hub import FeedStatus, Hub, Subscriber
from gateway.hub.subscription import BufferLimits, Subscription
from gateway.hub.updates import Delivery
from gateway.stream.errors import ENDINGS, CloseCode, SlowConsumer, TooManyMessages
from marketdata.errors import MarketDataError


class JoinHistory(Protocol):
    """Who reads the history that subscriptions begin with."""

    def begin(
        self,
        subscription: Subscription,
        subscriber: Subscriber,
        fail: Callable[[MarketDataError], None],
    ) -> None:
        """Read it, if it begins with any, until the hub lets go of it."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one client may ask for."""

    max_subscriptions: int
    # In one subscription.
    max_symbols: int
    # Messages per second, and at once.
    message_rate: float
    message_burst: int
    buffer: BufferLimits = field(default_factory=BufferLimits)


class Streams:
    """What all streams share, and those that are open.

    Args:
        hub: where their states come from.
        limits: what each client may ask for.
        clock: seconds on a clock that never goes back.
        joins: reads the history that subscriptions begin with.
    """

    def __init__(
        self, hub: Hub, limits: StreamLimits, clock: Callable[[], float], joins: JoinHistory
    ) -> None:
        self.hub = hub
        self.joins = joins
        self.limits = limits
        self.clock = clock
        self._open: set[Reader] = set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Reader]:
        return iter(self._open)

    def stop(self) -> None:
        """End every stream, and those that still come: the gateway stops."""
        self._stopped = True
        for reader in list(self._open):
            reader.stop()

    def add(self, reader: Reader) -> bool:
        """Count an open stream; return whether it may begin."""
        self._open.add(reader)
        return not self._stopped

    def discard(self, reader: Reader) -> None:
        """Forget a stream that ended."""
        self._open.discard(reader)


class Reader(ABC):
    """One client: a ConnectionHandler towards its socket, a Subscriber towards the hub."""

    connection: Connection

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._hub = streams.hub
        self._limits = streams.limits
        self._subscriptions: set[Subscription] = set()
        self._outlet: Outlet | None = None
        self._told_status: FeedStatus | None = None
        self._bucket = TokenBucket(
            self._limits.message_rate, self._limits.message_burst, streams.clock()
        )

    def stop(self) -> None:
        """End the stream: the gateway stops."""
        self.connection.close(int(CloseCode.GOING_AWAY), "the gateway stops")

    # The connection

    def on_open(self, connection: Connection) -> None:
        """Begin."""
        self.connection = connection
        self._outlet = Outlet(connection, self._send, self._overflow)
        if self._streams.add(self):
            self._begin()
        else:
            self.stop()

    def on_message(self, message: str | bytes) -> None:
        """Do what the client asks, unless it asks too often."""
        if self._bucket.take(self._streams.clock()):
            self._receive(message)
        else:
            self._fail(TooManyMessages(self._limits.message_rate))

    def on_drained(self) -> None:
        """Go on where the client was too slow."""
        self._tell_status()
        self.flush(())

    def on_close(self, code: int, reason: str) -> None:
        """Leave nothing behind."""
        for subscription in list(self._subscriptions):
            self._unsubscribe(subscription)
        self._streams.discard(self)

    # The hub

    def flush(self, subscriptions: Iterable[Subscription]) -> None:
        """Send what waits, as far as it goes."""
        if self._outlet is not None:
            self._outlet.flush(subscriptions)

    def on_status(self, status: FeedStatus) -> None:
        """Tell the client."""
        self._tell_status()

    # What differs

    @abstractmethod
    def _begin(self) -> None:
        """Say and subscribe to what comes first."""

    @abstractmethod
    def _receive(self, message: str | bytes) -> None:
        """Do what the client asks."""

    @abstractmethod
    def _send(self, subscription: Subscription, delivery: Delivery) -> None:
        """Send one state."""

    @abstractmethod
    def _encode_status(self, status: FeedStatus) -> str | bytes | None:
        """Return what the client is told; None: nothing."""

    @abstractmethod
    def _encode_error(self, error: MarketDataError, subscription_id: str | None) -> str | bytes:
        """Return the last message."""

    # What is shared

    def _subscribe(self, subscription: Subscription, subscription_id: str | None = None) -> None:
        # Raises TooManySymbols and InvalidInterval. The caller flushes.
        self._hub.subscribe(subscription, self)
        self._subscriptions.add(subscription)
        self._streams.joins.begin(
            subscription, self, lambda error: self._fail(error, subscription_id)
        )
        # The hub tells only those who have a subscription.
        self._tell_status()

    def _unsubscribe(self, subscription: Subscription) -> None:
        self._hub.unsubscribe(subscription)
        self._subscriptions.discard(subscription)
        if self._outlet is not None:
            self._outlet.forget(subscription)

    def _tell_status(self) -> None:
        # To a client that does not read, only the newest is told, once it does.
        status = self._hub.status
        if status is not self._told_status and self.connection.writable:
            self._told_status = status
            message = self._encode_status(status)
            if message is not None:
                self._say(message)

    def _say(self, message: str | bytes) -> None:
        try:
            self.connection.send_nowait(message)
        except BufferFull:
            self._close(SlowConsumer())

    def _fail(self, error: MarketDataError, subscription_id: str | None = None) -> None:
        self._say(self._encode_error(error, subscription_id))
        self._close(error)

    def _close(self, error: MarketDataError) -> None:
        self.connection.close(int(ENDINGS[type(error)].close_code), str(error))

    def _overflow(self, subscription: Subscription) -> None:
        self._fail(SlowConsumer())

"""The live session that every endpoint uses.

An update goes one way: the hub puts a batch into a subscription, which gives it to
:meth:`LiveSession.send` if the client keeps up. Otherwise it waits in the subscription, conflated
or buffered, and :meth:`LiveSession.flush` sends it when the client has drained. Both write the
bytes of the subscription's format to the connection, which hands it to the socket once per turn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from gateway.clients.connection import INTERNAL_ERROR, Connection
from gateway.clients.farewell import Farewell, Returns
from gateway.clients.outbox import DEFAULT_MAX_BUFFERED_BYTES, BufferFull
from gateway.hub.batch import Batch
from gateway.hub.hub import Hub
from gateway.hub.subscription import BufferLimits, Subscriber, Subscription
from gateway.hub.updates import FeedStatus
from gateway.limiter import RateLimiter
from gateway.live.format import Format, StatusFormat
from marketdata.errors import MarketDataError


class SubscriptionOverflow(MarketDataError):
    """A client reads too slowly for what it asked to have buffered."""

    def __init__(self, limits: BufferLimits) -> None:
        super().__init__(f"over {limits.max_bytes} bytes, or {limits.max_age_s:g} s, were waiting")


class HistoryReader(Protocol):
    """Reads the history that subscriptions begin with."""

    def begin(
        self,
        subscription: Subscription,
        subscriber: Subscriber,
        fail: Callable[[MarketDataError], None],
    ) -> None:
        """Read it, if the subscription has any, until the hub lets go of the subscription."""


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """What one live client may ask for; the defaults are those of the settings."""

    max_subscriptions: int = 1000
    # In one subscription.
    max_symbols: int = 500
    # Messages per second, and at once.
    message_rate: float = 100
    message_burst: int = 2000
    # For the first message, where a client must speak first.
    first_message_timeout_s: float = 10
    max_message_bytes: int = 512 * 1024
    # What may wait for one client of any endpoint.
    client_buffer_bytes: int = DEFAULT_MAX_BUFFERED_BYTES
    buffer: BufferLimits = field(default_factory=BufferLimits)


def _ignore() -> None:
    pass


class Sessions:
    """The live sessions of the gateway, and everything that they share.

    Args:
        hub: gives the updates.
        history: reads the history that subscriptions begin with.
        limits: what each client may ask for.
        clock: seconds on a clock that never goes back.
        report_bug: called with an exception at hand that ended one session.
        time_ns: the time that clients are told, in nanoseconds since 1970.
        returns: says when each client should come back after a stop.
    """

    def __init__(
        self,
        hub: Hub,
        history: HistoryReader,
        limits: LiveLimits,
        clock: Callable[[], float],
        report_bug: Callable[[], None] = _ignore,
        *,
        time_ns: Callable[[], int],
        returns: Returns | None = None,
    ) -> None:
        self.hub = hub
        self.history = history
        self.limits = limits
        self.clock = clock
        self.report_bug = report_bug
        self.time_ns = time_ns
        self.returns = returns or Returns()
        self._open: set[LiveSession] = set()
        self._stopped = False
        # Sessions that still have something to send before they end.
        self._leaving: set[LiveSession] = set()
        self._all_told = _ignore

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(self._open)

    def add(self, session: LiveSession) -> bool:
        """Count an open session; return whether it may begin."""
        self._open.add(session)
        return not self._stopped

    def discard(self, session: LiveSession) -> None:
        """Forget a session that ended."""
        self._open.discard(session)
        self.told(session)

    def told(self, session: LiveSession) -> None:
        """Take note that a session has said its farewell, or is gone."""
        if session not in self._leaving:
            return
        self._leaving.discard(session)
        if not self._leaving:
            self._all_told()

    def begin_stop(self, all_told: Callable[[], None]) -> list[LiveSession]:
        """Let no session begin any more, and return those that have to end.

        Args:
            all_told: called when each of them has said its farewell.
        """
        self._stopped = True
        self._leaving = set(self._open)
        self._all_told = all_told
        if not self._leaving:
            all_told()
        return list(self._leaving)

    def is_leaving(self, session: LiveSession) -> bool:
        """Return whether a session has not said its farewell yet."""
        return session in self._leaving


class LiveSession(ABC):
    """One client: the handler of its connection, and a subscriber of the hub.

    Methods that the hub calls for many sessions never raise: a bug ends this session alone.
    """

    connection: Connection
    # The last message, while updates that wait are sent before it.
    _farewell: Farewell | None = None

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._hub = sessions.hub
        self._limits = sessions.limits
        self._now = sessions.clock
        self._formats: dict[Subscription, Format] = {}
        # Subscriptions that have something to send, in turn.
        self._waiting: dict[Subscription, None] = {}
        # The formats that tell the status, and those whose client may not know the present one.
        self._status_formats: dict[StatusFormat, None] = {}
        self._untold: dict[StatusFormat, None] = {}
        # When an update was sent last.
        self._sent_at = now = self._now()
        limits = self._limits
        self._messages = RateLimiter(limits.message_rate, limits.message_burst, now)

    # The difference between endpoints

    @abstractmethod
    def begin(self) -> None:
        """Begin; the connection is open."""

    @abstractmethod
    def on_message(self, message: str | bytes) -> None:
        """Take a message of the client."""

    @abstractmethod
    def exceed_rate(self) -> None:
        """Tell the client that it sends too often, and end."""

    @abstractmethod
    def say_farewell(self, farewell: Farewell) -> None:
        """Tell the client that the gateway stops and when to come back, and end."""

    @abstractmethod
    def fail(self, error: MarketDataError, subscription: Subscription | None = None) -> None:
        """Tell the client why, and end the subscription or the connection.

        Args:
            error: SubscriptionOverflow, why history cannot be read, BufferFull if the connection
                cannot take another message, or an error of the endpoint itself.
            subscription: the subscription it is about.
        """

    # The end of the gateway

    def stop(self) -> None:
        """Send the updates that wait, then the farewell."""
        self._farewell = self._sessions.returns.farewell()
        self.flush()

    def tell_farewell(self) -> None:
        """Say the farewell now, whatever still waits."""
        farewell, self._farewell = self._farewell, None
        if farewell is None:
            return
        try:
            self.say_farewell(farewell)
        except Exception:
            self._give_up()
        self._sessions.told(self)

    # The connection

    def on_open(self, connection: Connection) -> None:
        """Begin, now that the connection is there."""
        self.connection = connection
        if self._sessions.add(self):
            self.begin()
        else:
            self.stop()

    def on_overhead(self, frames: int) -> None:
        """Count frames without a message as messages."""
        if not self._messages.take(self._now(), frames):
            self.exceed_rate()

    def on_drained(self) -> None:
        """Go on where the client was too slow."""
        self.flush()

    def on_close(self, code: int, reason: str) -> None:
        """Leave nothing that is of this session."""
        self.leave()

    # The hub

    def send(self, subscription: Subscription, batch: Batch) -> bool:
        """Send ``batch`` for ``subscription``; return False if the client does not keep up."""
        connection = self.connection
        if not connection.writable or batch.size > connection.max_batch:
            return False
        try:
            encode = self._formats[subscription].encode
            connection.send_shared(batch.encoded(subscription.policy, encode))
            self._sent_at = batch.now
        except BufferFull as exc:
            self.fail(exc, subscription)
        except Exception:
            self._give_up()
        return True

    def flush(self, subscriptions: Iterable[Subscription] = ()) -> None:
        """Send the updates that wait in ``subscriptions``, and in those that waited before.

        Conflation is by back-pressure: what the client does not take stays in its subscription
        until :meth:`on_drained`.
        """
        waiting = self._waiting
        subscription = None
        try:
            if self._untold:
                self._tell_status()
            for subscription in subscriptions:
                if subscription not in self._formats:
                    # It ended meanwhile.
                    continue
                if subscription.overflowed:
                    self.fail(SubscriptionOverflow(self._limits.buffer), subscription)
                else:
                    waiting[subscription] = None
            while waiting and self.connection.writable:
                subscription = next(iter(waiting))
                del waiting[subscription]
                delivery = subscription.take()
                if delivery is not None:
                    message = self._formats[subscription].encode_waiting(delivery)
                    self.connection.send_text(message)
                    self._sent_at = self._now()
                    # To the end, so that no subscription starves another.
                    waiting[subscription] = None
            if self._farewell is not None and not waiting:
                self.tell_farewell()
        except BufferFull as exc:
            self.fail(exc, subscription)
        except Exception:
            self._give_up()

    def on_status(self, status: FeedStatus) -> None:
        """Tell the client that the feed became stale, or live again."""
        # A client that does not read gets the newest status only.
        self._untold = dict.fromkeys(self._status_formats)
        self.flush()

    # For the endpoints

    def subscribe(self, subscription: Subscription, fmt: Format) -> None:
        """Begin to send ``subscription``, in ``fmt``; the caller flushes.

        Raises:
            TooManySymbols: the gateway follows as many symbols as it may.
            InvalidInterval: there are no bars of this interval.
        """
        self._hub.subscribe(subscription, self)
        self._formats[subscription] = fmt
        if len(self._formats) == 1:
            # The hub tells the status to sessions with a subscription only.
            self._untold.update(self._status_formats)
        fail = partial(self.fail, subscription=subscription)
        self._sessions.history.begin(subscription, self, fail)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Send no more of ``subscription``."""
        self._hub.unsubscribe(subscription)
        self._waiting.pop(subscription, None)
        self._formats.pop(subscription, None)

    def tell_status(self, fmt: StatusFormat) -> None:
        """Tell ``fmt`` the status if it does not know it, and each change; the caller flushes."""
        self._status_formats[fmt] = self._untold[fmt] = None

    def untell_status(self, fmt: StatusFormat) -> None:
        """Tell ``fmt`` no more."""
        self._status_formats.pop(fmt, None)
        self._untold.pop(fmt, None)

    def say(self, message: bytes) -> None:
        """Send a text message."""
        try:
            self.connection.send_text(message)
        except BufferFull as exc:
            self.fail(exc)

    def leave(self) -> None:
        """End all subscriptions; nothing more is sent."""
        for subscription in list(self._formats):
            self.unsubscribe(subscription)
        self._status_formats.clear()
        self._untold.clear()
        self._hub.unwatch_status(self)
        self._sessions.discard(self)

    def _tell_status(self) -> None:
        status = self._hub.status
        while self._untold and self.connection.writable:
            fmt = next(iter(self._untold))
            del self._untold[fmt]
            if fmt.told is not status:
                fmt.told = status
                message = fmt.encode_status(status)
                if message is not None:
                    self.connection.send_text(message)
                    self._sent_at = self._now()

    def _give_up(self) -> None:
        self._sessions.report_bug()
        self.leave()
        self.connection.close(INTERNAL_ERROR, "Internal error")

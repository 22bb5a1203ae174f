"""The rules of a stream over WebSocket: messages of :mod:`gateway.stream.messages` both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.bars.query import build_subscription
from gateway.clients.farewell import Farewell
from gateway.errors import FieldError, InvalidInput
from gateway.hub.hub import TooManySymbols
from gateway.hub.subscription import Subscription
from gateway.hub.updates import FeedStatus
from gateway.live.session import Sessions
from gateway.stream.client import StreamClient
from gateway.stream.errors import (
    BinaryMessage,
    StreamError,
    SubscriptionInUse,
    TooManySubscriptions,
    UnknownSubscription,
)
from gateway.stream.format import StreamFormats
from gateway.stream.messages import (
    Ping,
    Subscribe,
    Unsubscribe,
    encode_error,
    encode_farewell,
    encode_pong,
    encode_status,
    encode_subscribed,
    encode_unsubscribed,
    parse_message,
    parse_resume,
    parse_wanted,
)
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval

# The subscription that the address asks for.
QUERY_ID = "query"

Query = Mapping[str, Sequence[str]]

# The formats of all clients.
_FORMATS = StreamFormats()


class StreamSession(StreamClient):
    """One client of ``/api/v1/stream`` over WebSocket.

    Args:
        query: the parameters of the address; ``symbols``, ``policy``, ``interval`` and ``since``
            subscribe at once.
    """

    def __init__(self, sessions: Sessions, query: Query) -> None:
        super().__init__(sessions)
        self._query = query
        self._by_id: dict[str, Subscription] = {}
        self._ids: dict[Subscription, str] = {}

    def leave(self) -> None:
        """End all subscriptions; nothing more is sent."""
        super().leave()
        self._by_id.clear()
        self._ids.clear()

    def begin(self) -> None:
        """Tell the status, and subscribe if the address asks for it."""
        self.tell_status(self)
        self.flush()
        if "symbols" in self._query:
            try:
                self.do(_subscribe_of(self._query))
            except (InvalidInput, InvalidInterval, TooManySymbols) as exc:
                self._fail(exc, QUERY_ID)

    def receive(self, message: str | bytes) -> None:
        """Take a message."""
        received_ns = self._sessions.time_ns()
        subscription_id: str | None = None
        try:
            if isinstance(message, bytes):
                raise BinaryMessage
            parsed = parse_message(message)
            if isinstance(parsed, Ping):
                self.say(encode_pong(received_ns, self._sessions.time_ns()))
                return
            subscription_id = parsed.id
            self.do(parsed)
        except (StreamError, InvalidInput, InvalidInterval, TooManySymbols) as exc:
            self._fail(exc, subscription_id)

    def do(self, message: Subscribe | Unsubscribe) -> None:
        """Carry out one message.

        Raises:
            StreamError: its subscription is in use, or unknown, or one too many.
            InvalidInput: a field cannot be used.
            InvalidInterval: there are no bars of this interval.
            TooManySymbols: the gateway follows as many symbols as it may.
        """
        match message:
            case Subscribe():
                self._do_subscribe(message)
            case Unsubscribe():
                subscription = self._by_id.pop(message.id, None)
                if subscription is None:
                    raise UnknownSubscription(message.id)
                del self._ids[subscription]
                self.unsubscribe(subscription)
                self.say(encode_unsubscribed(message.id))

    def _do_subscribe(self, message: Subscribe) -> None:
        limits = self._limits
        if message.id in self._by_id:
            raise SubscriptionInUse(message.id)
        if len(self._by_id) >= limits.max_subscriptions:
            raise TooManySubscriptions(limits.max_subscriptions)
        symbols = parse_wanted("symbols", message.symbols, limits.max_symbols)
        resume = None
        if message.resume is not None:
            resume = parse_resume(message.resume, limits.max_symbols)
        subscription = build_subscription(
            symbols,
            message.policy,
            resume,
            limits.buffer,
            interval=message.interval,
            since=message.since,
        )
        self.subscribe(subscription, _FORMATS.get(message.id))
        self._by_id[message.id] = subscription
        self._ids[subscription] = message.id
        self.flush()
        self.say(encode_subscribed(message, symbols))
        self.flush([subscription])

    def encode_status(self, status: FeedStatus) -> bytes:
        """Return the message of the feed's status."""
        return encode_status(status)

    def encode_farewell(self, farewell: Farewell) -> bytes:
        """Return the last message before the gateway stops."""
        return encode_farewell(farewell)

    def encode_error(self, error: MarketDataError, subscription: Subscription | None) -> bytes:
        """Return the last message."""
        return encode_error(error, None if subscription is None else self._ids.get(subscription))

    def _fail(self, error: MarketDataError, subscription_id: str | None) -> None:
        # About a subscription that may not exist.
        self.say(encode_error(error, subscription_id))
        self._close(error)


def _subscribe_of(query: Query) -> Subscribe:
    # Raises InvalidInput.
    policy = query.get("policy", ["conflate"])[-1]
    symbols = list(query["symbols"])
    interval, since = (query.get(name, [""])[-1] for name in ("interval", "since"))
    match policy:
        case "conflate" | "buffer":
            return Subscribe(
                id=QUERY_ID, symbols=symbols, policy=policy, interval=interval, since=since
            )
        case _:
            raise InvalidInput([FieldError("policy", "must be conflate or buffer")])

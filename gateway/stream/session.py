"""The rules of a stream over WebSocket: messages of :mod:`gateway.stream.messages` both ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.bars.query import build_subscription
from gateway.errors import FieldError, InvalidInput
from gateway.hub.hub import FeedStatus, TooManySymbols
from gateway.hub.subscription import Subscription
from gateway.hub.updates import Delivery
from gateway.stream.errors import (
    BinaryMessage,
    SlowConsumer,
    StreamError,
    SubscriptionInUse,
    TooManySubscriptions,
    UnknownSubscription,
)
from gateway.stream.messages import (
    ClientMessage,
    Ping,
    Subscribe,
    Unsubscribe,
    encode_error,
    encode_marker,
    encode_pong,
    encode_status,
    encode_subscribed,
    encode_unsubscribed,
    encode_update,
    marker_head,
    parse_message,
    parse_resume,
    parse_wanted,
    update_head,
)
from gateway.stream.reader import Reader, Streams
from marketdata.errors import MarketDataError
from marketdata.intervals import InvalidInterval

# The subscription that the address asks for.
QUERY_ID = "query"

Query = Mapping[str, Sequence[str]]


class StreamSession(Reader):
    """One client of ``/api/v1/stream`` over WebSocket.

    Args:
        query: the parameters of the address; ``symbols``, ``policy``, ``interval`` and ``since``
            subscribe at once.
    """

    def __init__(self, streams: Streams, query: Query) -> None:
        super().__init__(streams)
        self._query = query
        self._by_id: dict[str, Subscription] = {}
        self._ids: dict[Subscription, str] = {}
        # How its updates begin, and its words on completed intervals.
        self._heads: dict[Subscription, tuple[str, str]] = {}

    def on_close(self, code: int, reason: str) -> None:
        """Leave nothing behind."""
        super().on_close(code, reason)
        self._by_id.clear()

    def _begin(self) -> None:
        self._tell_status()
        if "symbols" in self._query:
            try:
                self._do(_subscribe_of(self._query))
            except (InvalidInput, InvalidInterval, TooManySymbols) as exc:
                self._fail(exc, QUERY_ID)

    def _receive(self, message: str | bytes) -> None:
        subscription_id: str | None = None
        try:
            if isinstance(message, bytes):
                raise BinaryMessage
            parsed = parse_message(message)
            if not isinstance(parsed, Ping):
                subscription_id = parsed.id
            self._do(parsed)
        except (StreamError, InvalidInput, InvalidInterval, TooManySymbols) as exc:
            self._fail(exc, subscription_id)

    def _do(self, message: ClientMessage) -> None:
        match message:
            case Subscribe():
                self._do_subscribe(message)
            case Unsubscribe():
                subscription = self._by_id.pop(message.id, None)
                if subscription is None:
                    raise UnknownSubscription(message.id)
                del self._ids[subscription], self._heads[subscription]
                self._unsubscribe(subscription)
                self._say(encode_unsubscribed(message.id))
            case Ping():
                self._say(encode_pong())

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
        self._subscribe(subscription, message.id)
        self._by_id[message.id] = subscription
        self._ids[subscription] = message.id
        self._heads[subscription] = update_head(message.id), marker_head(message.id)
        self._say(encode_subscribed(message, symbols))
        self.flush([subscription])

    def _send(self, subscription: Subscription, delivery: Delivery) -> None:
        head, of_markers = self._heads[subscription]
        if delivery.update.is_marker:
            self._say(encode_marker(of_markers, delivery.update))
        else:
            self._say(encode_update(head, delivery, recovered=delivery.recovered))

    def _encode_status(self, status: FeedStatus) -> str:
        return encode_status(status)

    def _encode_error(self, error: MarketDataError, subscription_id: str | None) -> str:
        return encode_error(error, subscription_id)

    def _overflow(self, subscription: Subscription) -> None:
        self._fail(SlowConsumer(), self._ids[subscription])


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

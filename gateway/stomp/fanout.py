"""Encode updates as STOMP, once for all subscriptions that are sent the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import count
from weakref import WeakValueDictionary

from gateway.clients.shared import SharedMessages
from gateway.encoding import INTERVAL_COMPLETE, encode_json
from gateway.hub.batch import Encode
from gateway.hub.updates import Delivery, FeedStatus, Update
from gateway.stomp.protocol.destinations import (
    STATUS,
    BarsTopic,
    Topic,
    bars_destination,
    market_data_destination,
)
from gateway.stomp.protocol.events import AckMode, Subscription
from gateway.stomp.protocol.messages import (
    JSON,
    STATE_TAIL,
    SharedHead,
    UpdateMessage,
    encode_destination,
)
from gateway.stomp.protocol.session import StompSession
from gateway.stomp.protocol.versions import Version

# The same for every subscriber, encoded once.
STATUS_MESSAGES = {
    status: UpdateMessage(STATUS, encode_json({"status": status.value}), f"content-type:{JSON}\n")
    for status in FeedStatus
}


class StompEncoder:
    """Encode deliveries for every subscription with one id, topic of markers, and version."""

    __slots__ = ("__weakref__", "_encode_tail", "_head", "_marker_destination")

    def __init__(self, head: SharedHead, marker_destination: str) -> None:
        self._head = head
        self._encode_tail = _ENCODE_TAIL[head.version]
        self._marker_destination = marker_destination

    def __call__(self, deliveries: Sequence[Delivery]) -> SharedMessages:
        """Return the MESSAGEs."""
        encode, encode_tail = self._head.encode_tail, self._encode_tail
        messages = []
        for update, _, conflated in deliveries:
            if update.is_marker:
                marker = encode_marker(update, self._marker_destination)
                tail = marker.tail(self._head.version)
            else:
                tail = update.form(encode_tail)
            messages.append(encode(tail, update.number, conflated=conflated > 0))
        return SharedMessages(messages)


class StompEncoders:
    """The encoders in use."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._encoders: WeakValueDictionary[tuple[str | None, str, Version], StompEncoder] = (
            WeakValueDictionary()
        )

    def __len__(self) -> int:
        return len(self._encoders)

    def get(self, subscription: Subscription, version: Version) -> StompEncoder:
        """Return the encoder of such subscriptions; it lives as long as one of them holds it."""
        destination = marker_destination(subscription.topic)
        key = (subscription.id, destination, version)
        encoder = self._encoders.get(key)
        if encoder is None:
            head = SharedHead(subscription.id, version, next(self._numbers))
            encoder = self._encoders[key] = StompEncoder(head, destination)
        return encoder


class StompFormat:
    """The MESSAGEs of one subscription, to updates or to the status.

    A batch is the same bytes for all subscriptions like it, but for the first, and unless they are
    acknowledged: then each MESSAGE has an id of its session. So has an update that waited for one
    subscription alone.
    """

    __slots__ = ("_encoders", "_session", "_subscription", "encode", "told")

    def __init__(
        self,
        session: StompSession,
        subscription: Subscription,
        *,
        encoders: StompEncoders,
        told: FeedStatus | None,
    ) -> None:
        self._session = session
        self._subscription = subscription
        # None from the first MESSAGE on.
        self._encoders: StompEncoders | None = encoders
        self.encode: Encode[SharedMessages] = self._encode_for_session
        self.told = told

    def encode_waiting(self, delivery: Delivery) -> bytes:
        """Return the MESSAGE of an update that waited for this subscription alone."""
        update, recovered, conflated = delivery
        if self._encoders is not None:
            if self._subscription.ack is AckMode.AUTO:
                self.encode = self._encoders.get(self._subscription, self._session.version)
            self._encoders = None
        if update.is_marker:
            message = encode_marker(update, marker_destination(self._subscription.topic))
        else:
            message = update.form(encode_state)
        return self._session.encode_update(
            self._subscription, message, recovered=recovered, conflated=conflated > 0
        )

    def encode_status(self, status: FeedStatus) -> bytes:
        """Return the MESSAGE of the status."""
        return self._session.encode_update(self._subscription, STATUS_MESSAGES[status])

    def _encode_for_session(self, deliveries: Sequence[Delivery]) -> SharedMessages:
        return SharedMessages([self.encode_waiting(delivery) for delivery in deliveries])


# By symbol, interval and version; as many as there are destinations.
@lru_cache(maxsize=100_000)
def _destination_header(symbol: str, interval: str | None, version: Version) -> bytes:
    destination = (
        market_data_destination(symbol) if interval is None else bars_destination(interval, symbol)
    )
    return encode_destination(destination, version)


def _tail_encoder(version: Version) -> Callable[[Update], bytes]:
    def encode_tail(update: Update) -> bytes:
        destination = _destination_header(update.symbol, update.interval, version)
        json = update.json
        return STATE_TAIL % (destination, update.sequence, update.epoch, len(json), json)

    return encode_tail


# One function for each version, so that each is a form of an update.
_ENCODE_TAIL = {version: _tail_encoder(version) for version in Version}


def encode_state(update: Update) -> UpdateMessage:
    """Return the MESSAGE of a state, the same for every subscriber."""
    destination = (
        market_data_destination(update.symbol)
        if update.interval is None
        else bars_destination(update.interval, update.symbol)
    )
    return UpdateMessage(
        destination,
        update.json,
        f"content-type:{JSON}\nsequence:{update.sequence}\nepoch:{update.epoch}\n",
    )


def encode_marker(update: Update, destination: str) -> UpdateMessage:
    """Return the MESSAGE that an interval is complete, to where it was subscribed to."""
    return UpdateMessage(
        destination,
        update.json,
        f"content-type:{JSON}\nepoch:{update.epoch}\ntype:{INTERVAL_COMPLETE}\n",
    )


def marker_destination(topic: Topic) -> str:
    """Return where a subscription to ``topic`` receives its markers."""
    return topic.destination if isinstance(topic, BarsTopic) else STATUS

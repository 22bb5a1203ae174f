"""How updates look as JSON messages, for subscriptions with an id."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakValueDictionary

from gateway.clients.shared import SharedMessages
from gateway.hub.updates import Delivery
from gateway.stream.messages import encode_marker, encode_update, marker_head, update_head


class StreamFormat:
    """The messages of every subscription with one id."""

    __slots__ = ("__weakref__", "_marker_head", "_update_head")

    def __init__(self, subscription_id: str) -> None:
        self._update_head = update_head(subscription_id)
        self._marker_head = marker_head(subscription_id)

    def encode(self, deliveries: Sequence[Delivery]) -> SharedMessages:
        """Return the messages of a batch."""
        return SharedMessages([self.encode_waiting(delivery) for delivery in deliveries])

    def encode_waiting(self, delivery: Delivery) -> bytes:
        """Return the message of an update."""
        if delivery.update.is_marker:
            return encode_marker(self._marker_head, delivery.update)
        return encode_update(self._update_head, delivery, recovered=delivery.recovered)


class StreamFormats:
    """The formats in use, one for each id, so that clients with the same id share messages."""

    def __init__(self) -> None:
        self._formats: WeakValueDictionary[str, StreamFormat] = WeakValueDictionary()

    def get(self, subscription_id: str) -> StreamFormat:
        """Return the format of an id; it lives as long as a subscription holds it."""
        fmt = self._formats.get(subscription_id)
        if fmt is None:
            fmt = self._formats[subscription_id] = StreamFormat(subscription_id)
        return fmt

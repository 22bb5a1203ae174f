"""How the updates of one subscription operation look in graphql-transport-ws."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.clients.shared import SharedMessages
from gateway.graphql.execution import Projection
from gateway.graphql.session import next_head
from gateway.hub.hub import Hub
from gateway.hub.subscription import Subscription
from gateway.hub.updates import Delivery, FeedStatus, Update


class OperationFormat:
    """The ``next`` messages of one operation; each says whether its data is live.

    The selection of an update is encoded once for all operations that select the same.
    """

    __slots__ = ("_head", "_hub", "_last", "_projection", "_subscription", "id", "told")

    def __init__(
        self, operation: str, subscription: Subscription, projection: Projection, hub: Hub
    ) -> None:
        self.id = operation
        # A client takes its data for live unless told otherwise.
        self.told: FeedStatus | None = FeedStatus.LIVE
        self._head = next_head(operation)
        self._hub = hub
        self._last: Update | None = None
        self._projection = projection
        self._subscription = subscription

    def encode(self, deliveries: Sequence[Delivery]) -> SharedMessages:
        """Return the messages of a batch."""
        return SharedMessages([self.encode_waiting(delivery) for delivery in deliveries])

    def encode_waiting(self, delivery: Delivery) -> bytes:
        """Return the message of an update."""
        update, recovered, conflated = delivery
        self.told = self._hub.status
        if update.is_marker:
            return self._encode(None, {"intervalComplete": update.to_dict()})
        self._last = update
        extensions: dict[str, object] = {}
        if recovered is not None:
            extensions["recovered"] = recovered
        if conflated:
            extensions["conflated"] = conflated
        return self._encode(update, extensions)

    def encode_status(self, status: FeedStatus) -> bytes | None:
        """Return the last state again, with the status; None: the next update says it."""
        if self._subscription.has_next:
            return None
        last = self._last
        if last is not None and status is FeedStatus.LIVE:
            # A new epoch of the aggregator may know nothing of the symbol.
            last = self._hub.latest(last.topic)
        return self._encode(last, {})

    def _encode(self, update: Update | None, extensions: dict[str, object]) -> bytes:
        result = self._projection.encode(update)
        stated = orjson.dumps({"dataStatus": self.told, **extensions})
        return b'%b{%b,"extensions":%b}}' % (self._head, result, stated)

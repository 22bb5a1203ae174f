"""Send what waits for one connection, as far as its client takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gateway.clients.connection import Connection
from gateway.hub.subscription import Subscription
from gateway.hub.updates import Delivery


class Outlet:
    """The subscriptions of one connection that have something to send, in turn.

    Conflation is by back-pressure: a client that keeps up is sent everything at once; while it does
    not, deliveries wait in their subscriptions, and :meth:`flush` is called when it has drained.

    Args:
        connection: where deliveries go.
        send: sends one delivery of one subscription.
        overflow: ends a subscription, or the connection, whose reader was too slow to buffer for.
    """

    def __init__(
        self,
        connection: Connection,
        send: Callable[[Subscription, Delivery], None],
        overflow: Callable[[Subscription], None],
    ) -> None:
        self._connection = connection
        self._send = send
        self._overflow = overflow
        self._waiting: dict[Subscription, None] = {}

    def flush(self, subscriptions: Iterable[Subscription] = ()) -> None:
        """Send what waits in ``subscriptions`` and in those that waited before."""
        waiting = self._waiting
        for subscription in subscriptions:
            if subscription.overflowed:
                self._overflow(subscription)
            else:
                waiting[subscription] = None
        while waiting and self._connection.writable:
            subscription = next(iter(waiting))
            del waiting[subscription]
            delivery = subscription.take()
            if delivery is not None:
                self._send(subscription, delivery)
                # To the end of the line, so that no subscription starves another.
                waiting[subscription] = None

    def forget(self, subscription: Subscription) -> None:
        """Send nothing more of ``subscription``."""
        self._waiting.pop(subscription, None)

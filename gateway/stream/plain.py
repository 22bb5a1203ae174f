"""The rules of the original's WebSocket: the states of one symbol, each as bare JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.clients.farewell import Farewell
from gateway.clients.shared import SharedMessages
from gateway.errors import InvalidInput
from gateway.hub.hub import TooManySymbols
from gateway.hub.subscription import Subscription
from gateway.hub.updates import Delivery, FeedStatus, Update
from gateway.live.session import Sessions
from gateway.rest.inputs import parse_symbol
from gateway.stream.client import StreamClient
from gateway.stream.messages import encode_error
from marketdata.errors import MarketDataError

DEFAULT_SYMBOL = "AAPL"


class PlainFormat:
    """The states, the same bytes for every client."""

    def encode(self, deliveries: Sequence[Delivery]) -> SharedMessages:
        """Return the messages of a batch."""
        return SharedMessages([self.encode_waiting(delivery) for delivery in deliveries])

    def encode_waiting(self, delivery: Delivery) -> bytes:
        """Return the message of a state."""
        return delivery.update.form(_encode_plain)


_FORMAT = PlainFormat()
_INTEGERS = re.compile(rb',"(volume|timestamp)":"(-?[0-9.]+)"')


class PlainSession(StreamClient):
    """One client of ``/ws/marketdata``; what it sends is ignored.

    Args:
        symbol: as the client wrote it.
    """

    def __init__(self, sessions: Sessions, symbol: str) -> None:
        super().__init__(sessions)
        self._symbol = symbol

    def begin(self) -> None:
        """Subscribe."""
        try:
            subscription = Subscription([parse_symbol("symbol", self._symbol)])
            self.subscribe(subscription, _FORMAT)
        except (InvalidInput, TooManySymbols) as exc:
            self.fail(exc)
        else:
            self.flush([subscription])

    def receive(self, message: str | bytes) -> None:
        """Do nothing: a client has nothing to ask for."""

    def encode_status(self, status: FeedStatus) -> None:
        """Return None: the original sent states and nothing else."""

    def encode_farewell(self, farewell: Farewell) -> None:
        """Return None: the close frame says it."""

    def encode_error(self, error: MarketDataError, subscription: Subscription | None) -> bytes:
        """Return the last message."""
        return encode_error(error)


def _encode_plain(update: Update) -> bytes:
    # Here 64-bit integers are JSON numbers, as the original's serializer wrote them. A symbol comes
    # first and has its quotes escaped, so nothing in it looks like these.
    return _INTEGERS.sub(rb',"\1":\2', update.json)

"""The rules of the original's WebSocket: the states of one symbol, each as bare JSON."""

from __future__ import annotations

from gateway.encoding import aggregate_to_dict, encode_json
from gateway.errors import InvalidInput
from gateway.hub.hub import FeedStatus, TooManySymbols
from gateway.hub.subscription import Subscription
from gateway.hub.updates import AggregateUpdate, Delivery, Update
from gateway.rest.inputs import parse_symbol
from gateway.stream.messages import encode_error
from gateway.stream.reader import Reader, Streams
from marketdata.errors import MarketDataError
from marketdata.timestamps import NS_PER_MS

DEFAULT_SYMBOL = "AAPL"


class PlainSession(Reader):
    """One client of ``/ws/marketdata``; what it sends is ignored.

    Args:
        symbol: as the client wrote it.
    """

    def __init__(self, streams: Streams, symbol: str) -> None:
        super().__init__(streams)
        self._symbol = symbol

    def _begin(self) -> None:
        try:
            subscription = Subscription([parse_symbol("symbol", self._symbol)])
            self._subscribe(subscription)
        except (InvalidInput, TooManySymbols) as exc:
            self._fail(exc)
        else:
            self.flush([subscription])

    def _receive(self, message: str | bytes) -> None:
        # There is nothing that it can ask for.
        return

    def _send(self, subscription: Subscription, delivery: Delivery) -> None:
        self._say(delivery.update.form(_encode_plain))

    def _encode_status(self, status: FeedStatus) -> None:
        # The original sent states and nothing else.
        return

    def _encode_error(self, error: MarketDataError, subscription_id: str | None) -> str:
        return encode_error(error)


def _encode_plain(update: Update) -> str:
    assert isinstance(update, AggregateUpdate)  # noqa: S101  it subscribed to nothing else
    aggregate = update.aggregate
    fields = aggregate_to_dict(aggregate)
    # Here 64-bit integers are JSON numbers, as the original's serializer wrote them.
    fields["volume"] = aggregate.volume
    fields["timestamp"] = aggregate.timestamp // NS_PER_MS
    return encode_json(fields).decode()

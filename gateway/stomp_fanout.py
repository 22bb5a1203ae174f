"""Encode states as STOMP, once for all subscriptions that get the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from weakref import WeakValueDictionary

from gateway.clients.texts import Texts
from gateway.hub.updates import Delivery, Update
from gateway.stomp.destinations import bars_destination, market_data_destination
from gateway.stomp.messages import SharedHead, StateMessage
from gateway.stomp.versions import Version


class StompEncoder:
    """Turn deliveries into the MESSAGEs of every subscription with one id and version."""

    __slots__ = ("__weakref__", "_head")

    def __init__(self, head: SharedHead) -> None:
        self._head = head

    def __call__(self, deliveries: Sequence[Delivery]) -> Texts:
        """Return the MESSAGEs."""
        encode = self._head.encode
        texts = []
        for update, _, conflated in deliveries:
            message = update.form(encode_message)
            texts.append(encode(message, update.number, conflated=conflated > 0))
        return Texts(texts)


class StompEncoders:
    """The encoders in use, one for each subscription id and version."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._encoders: WeakValueDictionary[tuple[str | None, Version], StompEncoder] = (
            WeakValueDictionary()
        )

    def __len__(self) -> int:
        return len(self._encoders)

    def get(self, subscription_id: str | None, version: Version) -> StompEncoder:
        """Return the encoder of such subscriptions; it lives as long as one of them holds it."""
        key = (subscription_id, version)
        encoder = self._encoders.get(key)
        if encoder is None:
            encoder = StompEncoder(SharedHead(subscription_id, version, next(self._numbers)))
            self._encoders[key] = encoder
        return encoder


def encode_message(update: Update) -> StateMessage:
    """Return the MESSAGE of ``update``, the same for every subscriber."""
    destination = (
        market_data_destination(update.symbol)
        if update.interval is None
        else bars_destination(update.interval, update.symbol)
    )
    return StateMessage(destination, update.json, update.sequence, update.epoch)

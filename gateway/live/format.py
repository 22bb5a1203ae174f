"""How the messages of one subscription look; each endpoint has its own implementation."""

from __future__ import annotations

from typing import Protocol

from gateway.clients.shared import SharedMessages
from gateway.hub.batch import Encode
from gateway.hub.updates import Delivery, FeedStatus


class Format(Protocol):
    """Encodes updates: states, bars, and the markers between them."""

    @property
    def encode(self) -> Encode[SharedMessages]:
        """Encodes a batch; the same object for all subscriptions that are sent the same bytes."""

    def encode_waiting(self, delivery: Delivery) -> bytes:
        """Return an update that waited for this subscription alone."""


class StatusFormat(Protocol):
    """Encodes the status of the feed."""

    # The status that the client knows, if any.
    told: FeedStatus | None

    def encode_status(self, status: FeedStatus) -> bytes | None:
        """Return the message; None: there is none, or the next update says it."""

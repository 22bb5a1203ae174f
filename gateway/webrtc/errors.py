"""Why an offer of a WebRTC peer is not taken.

::

    MarketDataError
    └── OfferRefused
        ├── InvalidOffer
        ├── OfferTooLarge
        ├── TooManyOffers
        └── TooManyPeers
"""

from __future__ import annotations

from typing import ClassVar

from marketdata.errors import MarketDataError


class OfferRefused(MarketDataError):
    """An offer is not answered; its sender gets ``code``."""

    code: ClassVar[str]


class InvalidOffer(OfferRefused):
    """An SDP is not the offer of one data channel."""

    code = "invalid_offer"


class OfferTooLarge(OfferRefused):
    """An SDP is longer than it may be."""

    code = "offer_too_large"

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the SDP has {size} bytes, the limit is {limit} bytes")
        self.size = size
        self.limit = limit


class TooManyOffers(OfferRefused):
    """A client makes more offers than it may."""

    code = "rate_limited"

    def __init__(self, rate: float) -> None:
        super().__init__(f"more than {rate:g} offers per second")
        self.rate = rate


class TooManyPeers(OfferRefused):
    """There is no place for one more."""

    code = "too_many_peers"

    def __init__(self) -> None:
        super().__init__("there are as many peers as there may be")

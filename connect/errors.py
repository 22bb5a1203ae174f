"""The errors of connect."""

from __future__ import annotations

from marketdata.errors import MarketDataError


class BadTrade(MarketDataError):
    """A trade of a source cannot be read; the message names the field and its value."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field} {problem}")
        self.field = field


class SourceFailed(MarketDataError):
    """A source cannot be used at all, so waiting does not help."""


class OutletFull(MarketDataError):
    """Ingest has taken no ticks for so long that no more fit into memory."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit:,} trades wait for ingest, which takes none")


class SourceLost(MarketDataError):
    """The connection to a source has ended; a new one may work."""

"""Say which requests answer a question; check what can be checked before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

from marketdata.client.errors import InvalidArgument
from marketdata.client.times import Time, format_time

Fill = Literal["none", "prev", "null"]
Parameters = Mapping[str, str]

# The gateway's own limits.
MAX_BARS_PER_PAGE = 10_000
MAX_SYMBOLS_PER_PAGE = 1_000
MAX_SYMBOLS_PER_REQUEST = 500

BARS_PATH = "api/v1/bars"
LIST_PATH = "api/v1/marketdata"
SYMBOLS_PATH = "api/v1/symbols"
STATUS_PATH = "api/v1/status"


def aggregate_path(symbol: str) -> str | None:
    """Return the path of one symbol; None: only a list can name it.

    Some proxies decode a slash, and clients follow the symbols ``.`` and ``..``.
    """
    if not symbol.strip() or "/" in symbol or symbol.strip() in {".", ".."}:
        return None
    return f"{LIST_PATH}/{quote(symbol, safe='')}"


class BarsQuery:
    """The pages of bars.

    With a limit and no start they are the last bars before the end, otherwise the first from the
    start on; without a start, from the oldest bar on.

    Raises:
        InvalidArgument: an argument cannot be sent.
    """

    def __init__(
        self,
        symbol: str,
        interval: str,
        *,
        start: Time | None,
        end: Time | None,
        limit: int | None,
        fill: Fill,
        include_partial: bool,
    ) -> None:
        if limit is not None and (isinstance(limit, bool) or limit < 1):
            raise InvalidArgument("limit", f"must be 1 or more, is {limit!r:.40}")
        if limit is not None and start is None and limit > MAX_BARS_PER_PAGE:
            problem = f"is {limit}: more than the last {MAX_BARS_PER_PAGE} bars need a start"
            raise InvalidArgument("limit", problem)
        self._parameters = {"symbol": symbol, "interval": interval, "fill": fill}
        if start is not None:
            self._parameters["from"] = format_time("start", start)
        elif limit is None:
            self._parameters["from"] = "0"
        if end is not None:
            self._parameters["to"] = format_time("end", end)
        if include_partial:
            self._parameters["include_partial"] = "true"
        self._left = limit
        self._cursor: str | None = ""

    def next_page(self) -> Parameters | None:
        """Return the parameters of the next request, or None."""
        if self._cursor is None or self._left == 0:
            return None
        size = MAX_BARS_PER_PAGE if self._left is None else min(self._left, MAX_BARS_PER_PAGE)
        more = {"cursor": self._cursor} if self._cursor else {}
        return {**self._parameters, "limit": str(size), **more}

    def take(self, page: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """Return the bars of an answer."""
        rows: Sequence[Mapping[str, Any]] = page["bars"]
        if self._left is not None:
            self._left = max(0, self._left - len(rows))
        self._cursor = page["nextCursor"]
        return rows


class SymbolsQuery:
    """The pages of symbols."""

    def __init__(self, prefix: str) -> None:
        self._prefix = {"prefix": prefix} if prefix else {}
        self._cursor: str | None = ""

    def next_page(self) -> Parameters | None:
        """Return the parameters of the next request, or None."""
        if self._cursor is None:
            return None
        more = {"cursor": self._cursor} if self._cursor else {}
        return {**self._prefix, "limit": str(MAX_SYMBOLS_PER_PAGE), **more}

    def take(self, page: Mapping[str, Any]) -> Sequence[str]:
        """Return the symbols of an answer."""
        self._cursor = page["nextCursor"]
        symbols: Sequence[str] = page["symbols"]
        return symbols

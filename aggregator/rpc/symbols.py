"""The symbols that requests name, and pages of all symbols."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from marketdata.errors import MarketDataError
from marketdata.symbols import BLANKS, normalize_symbol
from marketdata.wire import market_data_pb2 as wire

DEFAULT_LIST_LIMIT = 1_000
MAX_LIST_LIMIT = 10_000
MAX_AGGREGATES_PER_REQUEST = 10_000


class TooManyAsked(MarketDataError):
    """One request names more symbols than the limit."""


def list_page(symbols: list[str], request: wire.ListSymbolsRequest) -> wire.ListSymbolsResponse:
    """Return a page of ``symbols``, which are in byte order."""
    limit = min(request.limit or DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT)
    prefix = request.prefix.lstrip(BLANKS)
    start = max(bisect_left(symbols, prefix), bisect_right(symbols, request.cursor))
    # The greatest character ends the range of the prefix.
    stop = bisect_left(symbols, prefix + chr(0x10FFFF))
    page = symbols[start : min(start + limit, stop)]
    more = start + limit < stop
    return wire.ListSymbolsResponse(symbols=page, next_cursor=page[-1] if more else "")


def normalize_all(symbols: Iterable[str]) -> list[str]:
    """Return the different ones of ``symbols``, in normal form.

    Raises:
        InvalidSymbol: one of them is invalid.
        TooManyAsked: there are more than the limit.
    """
    normal = list(dict.fromkeys(map(normalize_symbol, symbols)))
    if len(normal) > MAX_AGGREGATES_PER_REQUEST:
        raise TooManyAsked(f"{len(normal)} symbols asked, limit is {MAX_AGGREGATES_PER_REQUEST}")
    return normal

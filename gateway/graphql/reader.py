"""Read the market for one operation, with one call for all symbols it asks for."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Sequence
from typing import Any

from strawberry.dataloader import DataLoader

from gateway.backend.client import AggregatorClient, DataStatus, SymbolPage
from gateway.bars.query import BarsQuery, Fill
from gateway.encoding import JsonAggregate, bar_to_dict
from gateway.errors import FieldError, InvalidInput
from gateway.rest.inputs import parse_optional_symbol, parse_prefix, parse_symbol
from marketdata.wire.market_data_pb2 import Bar

# In one operation. graphql-core takes 8 us for a field, and live clients wait meanwhile.
MAX_BARS = 1000

JsonConnection = dict[str, Any]
_PLACE = re.compile(rb"([0-9]{1,19})\.([0-9]{1,10})")


class Reader:
    """Ask the aggregator for one operation of one caller.

    What fields ask for in the same turn of the event loop becomes one call, and counts once for
    the rate limit. :attr:`status` says where the values came from.

    """

    def __init__(self, client: AggregatorClient, caller: str, max_symbols: int) -> None:
        self._client = client
        self._caller = caller
        self._max_symbols = max_symbols
        self._symbols_asked = 0
        self._bars_asked = 0
        self._loader: DataLoader[str, JsonAggregate | None] = DataLoader(self._load)
        # None as long as nothing was read.
        self.status: DataStatus | None = None
        self.age_s = 0.0

    def read(self, symbol: str) -> Awaitable[JsonAggregate | None]:
        """Return what is known of ``symbol``; None if there is no data for it.

        Raises:
            InvalidInput: it is not a symbol, or one too many.
        """
        self._count(1)
        return self._loader.load(parse_symbol("symbol", symbol))

    def read_list(self, symbols: Sequence[str]) -> Awaitable[list[JsonAggregate | None]]:
        """Return what is known of each of ``symbols``, in their order.

        Raises:
            InvalidInput: one is not a symbol, or there are too many.
        """
        self._count(len(symbols))
        wanted = [parse_symbol("symbols", symbol) for symbol in symbols]
        return self._loader.load_many(wanted)

    async def list_symbols(self, prefix: str, limit: int, cursor: str) -> SymbolPage:
        """Return the symbols that begin with ``prefix`` and come after ``cursor``."""
        return await self._client.list_symbols(
            prefix=parse_prefix("prefix", prefix),
            limit=limit,
            cursor=parse_optional_symbol("cursor", cursor),
            caller=self._caller,
        )

    async def read_bars(self, query: BarsQuery, after: str) -> JsonConnection | None:
        """Return bars after the cursor ``after``; None if there is no data for the symbol.

        Raises:
            InvalidInput: the cursor is none, or the operation asks for too many bars.
        """
        self._bars_asked += query.limit
        if self._bars_asked > MAX_BARS:
            detail = f"{self._bars_asked} bars in one operation, limit is {MAX_BARS}; REST has more"
            raise InvalidInput([FieldError("first", detail)])
        place = parse_place(after) if after else None
        bars, has_more = await self._find_bars(query, place)
        if not bars and place is None and not await self._client.knows(query.symbol):
            return None
        prices = query.fill is not Fill.NULL
        edges: list[dict[str, Any]] = [
            {"cursor": encode_place(bar), "node": bar_to_dict(bar, prices=prices)} for bar in bars
        ]
        return {
            "edges": edges,
            "pageInfo": {
                "hasNextPage": has_more,
                "hasPreviousPage": place is not None,
                "startCursor": edges[0]["cursor"] if edges else None,
                "endCursor": edges[-1]["cursor"] if edges else None,
            },
        }

    # A cursor says where a bar is, so it stays good whatever happens to the bar.
    async def _find_bars(
        self, query: BarsQuery, place: tuple[int, int] | None
    ) -> tuple[list[Bar], bool]:
        request = query.to_request()
        if place is not None:
            setattr(request, "from", max(query.from_ns or 0, place[0]))
            # Bars of trades may begin at the same time, and those up to the cursor come again.
            request.limit += MAX_BARS
        bars: list[Bar] = []
        caller: str | None = self._caller
        while True:
            answer = await self._client.get_bars(request, caller=caller)
            bars += (bar for bar in answer.bars if not place or (bar.start, bar.number) > place)
            request.cursor = answer.next_cursor
            if len(bars) > query.limit or not request.cursor:
                return bars[: query.limit], len(bars) > query.limit
            if len(bars) == query.limit:
                return bars, True
            # All pages count as one request.
            caller = None

    # All fields together: each alias may ask for a list.
    def _count(self, symbols: int) -> None:
        self._symbols_asked += symbols
        if self._symbols_asked > self._max_symbols:
            detail = f"{self._symbols_asked} symbols in one operation, limit is {self._max_symbols}"
            raise InvalidInput([FieldError("symbols", detail)])

    async def _load(self, symbols: list[str]) -> list[JsonAggregate | None]:
        readings = await self._client.get_aggregates(symbols, caller=self._caller)
        self.age_s = max(self.age_s, readings.age_s)
        if self.status in {None, DataStatus.LIVE} or readings.status is DataStatus.LAST:
            self.status = readings.status
        found = {reading.symbol: reading.to_dict() for reading in readings.readings}
        return [found.get(symbol) for symbol in symbols]


def encode_place(bar: Bar) -> str:
    """Return the cursor of ``bar``."""
    return base64.urlsafe_b64encode(f"{bar.start}.{bar.number}".encode()).decode()


def parse_place(cursor: str) -> tuple[int, int]:
    """Return start and number of the bar that ``cursor`` stands for.

    Raises:
        InvalidInput: it is none of ours.
    """
    try:
        found = _PLACE.fullmatch(base64.urlsafe_b64decode(cursor[:80].encode()))
    except (binascii.Error, ValueError):
        found = None
    if found is None or int(found[1]) >= 2**63:
        raise InvalidInput([FieldError("after", f"{cursor[:40]!r} is no cursor of ours")])
    return int(found[1]), int(found[2])

"""Read the market for one operation, with one call for all symbols it asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence

from strawberry.dataloader import DataLoader

from gateway.backend.client import AggregatorClient, DataStatus, SymbolPage
from gateway.encoding import JsonAggregate
from gateway.errors import FieldError, InvalidInput
from gateway.rest.inputs import parse_optional_symbol, parse_symbol


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
            prefix=parse_optional_symbol("prefix", prefix),
            limit=limit,
            cursor=parse_optional_symbol("cursor", cursor),
            caller=self._caller,
        )

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

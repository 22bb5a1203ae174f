"""The client for programs with asyncio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack, overload
from weakref import WeakSet

from marketdata.client.bars import Bars
from marketdata.client.decode import decode_aggregate
from marketdata.client.errors import ClientClosed, UnknownSymbol
from marketdata.client.live.events import Policy
from marketdata.client.live.mailbox import Mailbox
from marketdata.client.live.streams import AsyncStream
from marketdata.client.live.wanted import build_wanted
from marketdata.client.options import DEFAULT_URL, Options, check_options
from marketdata.client.queries import (
    BARS_PATH,
    LIST_PATH,
    MAX_SYMBOLS_PER_REQUEST,
    STATUS_PATH,
    SYMBOLS_PATH,
    BarsQuery,
    Fill,
    SymbolsQuery,
    aggregate_path,
)
from marketdata.client.rest import Rest
from marketdata.client.rows import Aggregate, Bar
from marketdata.client.times import Time


class AsyncClient:
    """Ask a gateway, and follow what it sends.

    ::

        async with AsyncClient("http://localhost:8080") as client:
            bars = await client.bars("AAPL", "1m", limit=100)

    Args:
        url: the address of the gateway, with its path prefix if it has one.
        options: see :class:`~marketdata.client.options.Options`.

    Raises:
        InvalidArgument: an argument is not valid.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, url: str = DEFAULT_URL, **options: Unpack[Options]) -> None:
        self._options = check_options(url, options)
        self._rest = Rest(self._options)
        self._streams: WeakSet[AsyncStream[Any]] = WeakSet()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections, and end all streams."""
        self._is_closed = True
        for stream in list(self._streams):
            await stream.close()
        await self._rest.close()

    async def aggregate(self, symbol: str) -> Aggregate:
        """Return the state of one symbol; ``data_status`` says whether it is live.

        Raises:
            UnknownSymbol: there is no data for the symbol.
            ClientError: see :mod:`marketdata.client.errors`.
        """
        path = aggregate_path(symbol)
        if path is None:
            found = await self.aggregates([symbol])
            if not found:
                raise UnknownSymbol(f"there is no data for symbol {symbol.strip()}", status=404)
            (aggregate,) = found.values()
            return aggregate
        answer = await self._rest.get(path, "symbol")
        return decode_aggregate(answer.json, **_status(answer.headers))

    async def aggregates(self, symbols: Sequence[str]) -> dict[str, Aggregate]:
        """Return the states of several symbols; those without data are left out.

        Raises:
            ClientError: see :mod:`marketdata.client.errors`.
        """
        found: dict[str, Aggregate] = {}
        for first in range(0, len(symbols), MAX_SYMBOLS_PER_REQUEST):
            named = {"symbols": ",".join(symbols[first : first + MAX_SYMBOLS_PER_REQUEST])}
            answer = await self._rest.get(LIST_PATH, "aggregates", named)
            for row in answer.json["aggregates"]:
                found[row["symbol"]] = decode_aggregate(row, **_status(answer.headers))
        return found

    async def bars(
        self,
        symbol: str,
        interval: str,
        *,
        start: Time | None = None,
        end: Time | None = None,
        limit: int | None = None,
        fill: Fill = "none",
        include_partial: bool = False,
    ) -> Bars:
        """Return bars with ``start`` <= start of the bar < ``end``, of all pages.

        Args:
            symbol: case counts.
            interval: such as ``1m``.
            start: a datetime with a time zone, ISO 8601 or a number; none: the oldest bar.
            end: the same; none: up to the newest bar.
            limit: at most so many: the first from ``start`` on, without ``start`` the last.
            fill: ``prev``: each interval without a trade has a bar at the close before; ``null``:
                it has a bar without prices.
            include_partial: whether the bar that is still open is among them.

        Raises:
            InvalidArgument: an argument cannot be sent.
            UnknownSymbol: there is no data for the symbol.
            ClientError: see :mod:`marketdata.client.errors`.
        """
        query = BarsQuery(
            symbol,
            interval,
            start=start,
            end=end,
            limit=limit,
            fill=fill,
            include_partial=include_partial,
        )
        bars = Bars(symbol, interval)
        while (page := query.next_page()) is not None:
            answer = await self._rest.get(BARS_PATH, "bars", page)
            bars.extend(query.take(answer.json))
        return bars

    async def symbols(self, prefix: str = "") -> list[str]:
        """Return the symbols that have data and begin with ``prefix``, in byte order.

        Raises:
            ClientError: see :mod:`marketdata.client.errors`.
        """
        query = SymbolsQuery(prefix)
        symbols: list[str] = []
        while (page := query.next_page()) is not None:
            answer = await self._rest.get(SYMBOLS_PATH, "symbols", page)
            symbols.extend(query.take(answer.json))
        return symbols

    async def status(self) -> dict[str, Any]:
        """Return the state of the gateway, the aggregator, its feeds and its store, as JSON.

        Raises:
            ClientError: see :mod:`marketdata.client.errors`.
        """
        answer = await self._rest.get(STATUS_PATH, "status")
        status: dict[str, Any] = answer.json
        return status

    @overload
    def stream(
        self, symbols: Sequence[str] | str, *, policy: Policy = "conflate"
    ) -> AsyncStream[Aggregate]: ...

    @overload
    def stream(
        self,
        symbols: Sequence[str] | str,
        *,
        interval: str,
        since: Time | None = None,
        policy: Policy = "conflate",
    ) -> AsyncStream[Bar]: ...

    def stream(
        self,
        symbols: Sequence[str] | str,
        *,
        interval: str | None = None,
        since: Time | None = None,
        policy: Policy = "conflate",
    ) -> AsyncStream[Any]:
        """Follow the states of symbols, or with ``interval`` their bars.

        It reconnects and resumes by itself: no state comes twice, and a gap is told.

        Args:
            symbols: ``*`` is every symbol, present and future; symbols need not exist yet.
            interval: such as ``1m``.
            since: of bars: where history begins, of symbols by name.
            policy: for a program that is slower than the market; ``conflate``: it gets the newest
                states; ``buffer``: every state, up to a limit of the gateway.

        Raises:
            InvalidArgument: an argument cannot be sent.
            ClientClosed: the client is closed.
        """
        if self._is_closed:
            raise ClientClosed
        wanted = build_wanted(symbols, policy, interval, since)
        stream: AsyncStream[Any] = AsyncStream(self._options, wanted, Mailbox(policy))
        self._streams.add(stream)
        return stream


def _status(headers: Mapping[str, str]) -> dict[str, Any]:
    age = headers.get("age", "")
    return {
        "data_status": headers.get("x-data-status", "live"),
        "age_s": float(age) if age.isdecimal() else None,
    }

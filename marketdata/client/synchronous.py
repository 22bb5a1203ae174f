"""The client for programs without asyncio: an event loop runs in a thread of its own."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, Unpack, overload
from weakref import finalize

from marketdata.client.asynchronous import AsyncClient
from marketdata.client.bars import Bars
from marketdata.client.live.events import Policy
from marketdata.client.live.mailbox import Mailbox
from marketdata.client.live.streams import Stream
from marketdata.client.live.wanted import build_wanted
from marketdata.client.loop_thread import LoopThread
from marketdata.client.options import DEFAULT_URL, Options, check_options
from marketdata.client.queries import Fill
from marketdata.client.rows import Aggregate, Bar
from marketdata.client.times import Time


class Client:
    """Ask a gateway, and follow what it sends, without asyncio.

    ::

        client = Client("http://localhost:8080")
        frame = client.bars("AAPL", "1m", limit=100).to_pandas()

    It is :class:`~marketdata.client.AsyncClient` with plain calls. Several threads may use it. Its
    own thread is a daemon: a program that ends need not close the client.

    Args:
        url: the address of the gateway, with its path prefix if it has one.
        options: see :class:`~marketdata.client.options.Options`.

    Raises:
        InvalidArgument: an argument is not valid.
        MissingExtra: httpx is not installed.
    """

    def __init__(self, url: str = DEFAULT_URL, **options: Unpack[Options]) -> None:
        self._options = check_options(url, options)
        self._client = AsyncClient(url, **options)
        self._thread = LoopThread(self._client.close)
        # A client that nobody refers to any more leaves no thread.
        finalize(self, self._thread.abandon).atexit = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections, and end all streams."""
        self._thread.stop()

    def aggregate(self, symbol: str) -> Aggregate:
        """Return the state of one symbol; see :meth:`AsyncClient.aggregate`."""
        return self._thread.run(self._client.aggregate(symbol))

    def aggregates(self, symbols: Sequence[str]) -> dict[str, Aggregate]:
        """Return the states of several symbols; see :meth:`AsyncClient.aggregates`."""
        return self._thread.run(self._client.aggregates(symbols))

    def bars(
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
        """Return bars of all pages; see :meth:`AsyncClient.bars`."""
        return self._thread.run(
            self._client.bars(
                symbol,
                interval,
                start=start,
                end=end,
                limit=limit,
                fill=fill,
                include_partial=include_partial,
            )
        )

    def symbols(self, prefix: str = "") -> list[str]:
        """Return the symbols that have data and begin with ``prefix``, in byte order."""
        return self._thread.run(self._client.symbols(prefix))

    def status(self) -> dict[str, Any]:
        """Return the state of the gateway, the aggregator, its feeds and its store, as JSON."""
        return self._thread.run(self._client.status())

    @overload
    def stream(
        self, symbols: Sequence[str] | str, *, policy: Policy = "conflate"
    ) -> Stream[Aggregate]: ...

    @overload
    def stream(
        self,
        symbols: Sequence[str] | str,
        *,
        interval: str,
        since: Time | None = None,
        policy: Policy = "conflate",
    ) -> Stream[Bar]: ...

    def stream(
        self,
        symbols: Sequence[str] | str,
        *,
        interval: str | None = None,
        since: Time | None = None,
        policy: Policy = "conflate",
    ) -> Stream[Any]:
        """Follow the states or the bars of symbols; see :meth:`AsyncClient.stream`."""
        wanted = build_wanted(symbols, policy, interval, since)
        return Stream(self, self._thread, self._options, wanted, Mailbox(policy))

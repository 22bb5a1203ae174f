"""The client against real gateways: every answer, and every way in which one fails."""

from __future__ import annotations

import asyncio
import contextlib
import string
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from marketdata.client import (
    AccessRefused,
    AggregatorUnavailable,
    AsyncClient,
    CannotConnect,
    Client,
    ClientClosed,
    DeadlineExceeded,
    InvalidInput,
    MissingExtra,
    NotFound,
    RateLimited,
    UnexpectedAnswer,
    UnknownSymbol,
)
from tests.doubles.bar_book import FINAL, PARTIAL
from tests.doubles.pipeline import make_tick
from tests.doubles.ports import free_port
from tests.integration.gateway.doubles import AAPL, FakeAggregator, running_aggregator
from tests.integration.gateway.live import gateway_to, live

MINUTE = 60 * 10**9
START = 1_735_201_200 * 10**9
# For tests that are not about time.
QUICK: dict[str, Any] = {"retry_wait_s": 0.01, "attempt_timeout_s": 0.2, "breaker_open_s": 0.1}


@pytest.fixture
async def aggregator() -> AsyncIterator[FakeAggregator]:
    async with running_aggregator() as aggregator:
        yield aggregator


@contextlib.asynccontextmanager
async def client_of(
    aggregator: FakeAggregator, deadline_s: float = 10.0, **settings: Any
) -> AsyncIterator[AsyncClient]:
    port = int(aggregator.address.rpartition(":")[2])
    async with (
        gateway_to(port, **settings) as address,
        AsyncClient(f"http://{address}", deadline_s=deadline_s) as client,
    ):
        yield client


@contextlib.asynccontextmanager
async def serving(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Run a server that is no gateway; give its address. At the end its connections are closed."""
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.gather(*connections)


@contextlib.asynccontextmanager
async def answering(*answers: bytes) -> AsyncIterator[str]:
    """Serve bytes, one answer per connection and the last one again; a proxy does such things."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    async with serving(serve) as url:
        yield url


def fill_minutes(aggregator: FakeAggregator, count: int) -> None:
    for minute in range(count):
        values: dict[str, Any] = {"close": 151.5, "volume": 2**60 + minute, "state": FINAL}
        aggregator.publish_bar("AAPL", "1m", START + minute * MINUTE, **values)


async def test_an_aggregate_has_its_numbers_and_says_that_it_is_live(
    aggregator: FakeAggregator,
) -> None:
    aggregator.hold(AAPL)
    async with client_of(aggregator) as client:
        found = await client.aggregate("AAPL")
    assert (found.open, found.close, found.vwap) == (150.25, 151.5, 150.98)
    assert (found.volume, found.trades, found.sequence) == (Decimal(1_000_000), 4711, 42)
    assert found.timestamp_ns == 1_735_201_234_567_890_123
    assert str(found.timestamp) == "2024-12-26 08:20:34.567890+00:00"
    assert (found.data_status, found.age_s) == ("live", None)


async def test_while_the_aggregator_is_away_the_status_says_so(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    await aggregator.go_down()
    async with client_of(aggregator, deadline_s=0.5, **QUICK) as client:
        found = await client.aggregate("AAPL")
        assert (found.data_status, found.close, found.volume) == ("fallback", None, None)
        with pytest.raises(AggregatorUnavailable):
            await client.bars("AAPL", "1m")


async def test_the_last_known_value_has_its_age(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with client_of(aggregator, fallback="last", **QUICK) as client:
        await client.aggregate("AAPL")
        await aggregator.go_down()
        found = await client.aggregate("AAPL")
    assert (found.data_status, found.close) == ("last", 151.5)
    assert found.age_s is not None
    assert 0 <= found.age_s <= 60


async def test_bars_of_all_pages_come_together(aggregator: FakeAggregator) -> None:
    fill_minutes(aggregator, 7)
    aggregator.publish_bar("AAPL", "1m", START + 7 * MINUTE, state=PARTIAL)
    async with client_of(aggregator) as client:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("marketdata.client.queries.MAX_BARS_PER_PAGE", 3)
            bars = await client.bars("AAPL", "1m")
        assert [bar.volume for bar in bars] == [2**60 + minute for minute in range(7)]
        assert [bar.start_ns for bar in bars] == [START + n * MINUTE for n in range(7)]
        last = await client.bars("AAPL", "1m", limit=2)
        assert [bar.start_ns for bar in last] == [START + n * MINUTE for n in (5, 6)]
        first = await client.bars("AAPL", "1m", limit=2, start=bars[1].start)
        assert [bar.start_ns for bar in first] == [START + n * MINUTE for n in (1, 2)]
        between = await client.bars("AAPL", "1m", start=bars[1].start, end=bars[3].start)
        assert len(between) == 2
        partial = await client.bars("AAPL", "1m", limit=1, include_partial=True)
        assert partial[0].state == "partial"


async def test_intervals_without_trades_are_filled_as_asked(aggregator: FakeAggregator) -> None:
    for minute in (0, 2):
        aggregator.publish_bar("AAPL", "1m", START + minute * MINUTE, state=FINAL, close=5.0)
    async with client_of(aggregator) as client:
        filled = await client.bars("AAPL", "1m", fill="prev")
        assert [(bar.filler, bar.close) for bar in filled] == [
            (None, 5.0),
            ("no_trades", 5.0),
            (None, 5.0),
        ]
        empty = await client.bars("AAPL", "1m", fill="null")
        assert empty[1].close is None
        assert empty.to_pandas()["close"].isna().to_list() == [False, True, False]


async def test_every_symbol_can_be_asked_for() -> None:
    allowed = [each for each in string.printable[:95] if each not in ' ,*"\\']
    symbols = [f"A{each}B" for each in allowed] + [".", "..", "a b", "%2F", "~"]
    async with live() as (address, feed):
        await feed.push(*(make_tick(symbol, 2.5) for symbol in symbols))
        async with AsyncClient(f"http://{address}") as client:
            assert await client.symbols() == sorted(symbols)
            for symbol in symbols:
                found = await client.aggregate(symbol)
                assert (found.symbol, found.close) == (symbol, 2.5)
                assert (await client.bars(symbol, "1s", include_partial=True)).symbol == symbol
            assert list(await client.aggregates(["A0B", "NIX", "."])) == ["A0B", "."]
            assert await client.symbols("A%") == ["A%B"]


async def test_sizes_with_decimals_are_exact_from_the_trade_to_the_table() -> None:
    async with live() as (address, feed), AsyncClient(f"http://{address}") as client:
        trades = [make_tick("BTC-USD", 97_000.5, volume) for volume in (467, 2, 10**15)]
        for trade in trades:
            trade.volume_decimals = 3
        await feed.push(*trades)
        found = await client.aggregate("BTC-USD")
        assert found.volume == Decimal("1000000000000.469")
        bars = await client.bars("BTC-USD", "1d", include_partial=True)
        assert bars[0].volume == found.volume
        assert bars.to_arrow()["volume"].to_pylist() == [found.volume]
        async for update in client.stream("BTC-USD"):
            assert update.data.volume == found.volume
            break


async def test_symbols_of_all_pages_come_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketdata.client.queries.MAX_SYMBOLS_PER_PAGE", 2)
    async with live() as (address, feed), AsyncClient(f"http://{address}") as client:
        assert await client.symbols() == []
        await feed.push(*(make_tick(f"S{number}") for number in range(5)))
        assert await client.symbols() == [f"S{number}" for number in range(5)]


async def test_the_status_is_that_of_the_services() -> None:
    async with live() as (address, _), AsyncClient(f"http://{address}") as client:
        status = await client.status()
    assert status["status"] == "ok"
    assert "1m" in status["aggregator"]["intervals"]


async def test_a_symbol_without_data_is_an_error_of_its_own(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with client_of(aggregator) as client:
        with pytest.raises(UnknownSymbol, match="did you mean AAPL") as caught:
            await client.aggregate("aapl")
        assert (caught.value.status, caught.value.type) == (404, "urn:market-data:unknown-symbol")
        with pytest.raises(UnknownSymbol):
            await client.bars("NIX", "1m")
        with pytest.raises(UnknownSymbol, match="no data for symbol BRK/B"):
            await client.aggregate("BRK/B")


async def test_invalid_input_names_each_field(aggregator: FakeAggregator) -> None:
    async with client_of(aggregator) as client:
        for call, fields in [
            (client.aggregate("A*"), ["symbol"]),
            (client.aggregate(""), ["symbols"]),
            (client.bars("AAPL", "7m", start=5), ["interval", "from"]),
            (client.bars("AAPL", "1m", fill="zero"), ["fill"]),  # type: ignore[arg-type]
            (client.symbols("*"), ["prefix"]),
        ]:
            with pytest.raises(InvalidInput) as caught:
                await call
            assert [each.field for each in caught.value.errors] == fields


async def test_a_rate_limit_is_waited_for(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with client_of(aggregator, rate_limit=2) as client:
        for _ in range(4):
            assert (await client.aggregate("AAPL")).close == 151.5


async def test_a_wait_beyond_the_deadline_is_an_error_at_once(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    async with client_of(aggregator, deadline_s=0.5, rate_limit=1) as client:
        await client.aggregate("AAPL")
        with pytest.raises(RateLimited) as caught:
            await client.aggregate("AAPL")
    assert caught.value.retry_after_s == 1


async def test_an_answer_that_does_not_come_ends_at_the_deadline() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Half an answer, and then nothing until the client goes.
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        await reader.read()

    async with serving(serve) as url, AsyncClient(url, deadline_s=0.2) as client:
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            await client.status()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_gateway_that_cannot_be_reached_is_named(host: str) -> None:
    url = f"http://{host}:{free_port()}"
    async with AsyncClient(url, deadline_s=1) as client:
        with pytest.raises(CannotConnect, match=f"no answer from {url}/: Connection refused"):
            await client.status()


async def test_a_gateway_that_restarts_meanwhile_is_waited_for(aggregator: FakeAggregator) -> None:
    aggregator.hold(AAPL)
    port = int(aggregator.address.rpartition(":")[2])
    async with contextlib.AsyncExitStack() as stack:
        async with gateway_to(port) as address:
            client = await stack.enter_async_context(AsyncClient(f"http://{address}"))
            await client.aggregate("AAPL")
        asked = asyncio.create_task(client.aggregate("AAPL"))
        await asyncio.sleep(0)
        async with gateway_to(port, port=int(address.rpartition(":")[2])):
            assert (await asked).close == 151.5


BAD_GATEWAY = (
    b"HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\nretry-after: 0\r\n\r\n<h1>no</h1>"
)
STATUS = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{"status":"ok"}'


async def test_what_a_proxy_says_is_no_answer_and_asked_again() -> None:
    async with answering(BAD_GATEWAY, STATUS) as url, AsyncClient(url) as client:
        assert await client.status() == {"status": "ok"}
    other = b"HTTP/1.1 418 Teapot\r\n\r\nI am a\nteapot"
    for answer, says in [
        (other, "answered 418: I am a teapot"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>", "answered 200: the body is not JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "answered 200: the body has no 'status'"),
    ]:
        async with answering(answer) as url, AsyncClient(url) as client:
            with pytest.raises(UnexpectedAnswer, match=says):
                await client.status()


async def test_a_path_that_no_gateway_has_and_a_host_that_is_not_its_own() -> None:
    async with live(allowed_hosts="market.example.com") as (address, _):
        async with AsyncClient(f"http://{address}/wrong") as client:
            with pytest.raises(NotFound, match="there is nothing at /wrong/api/v1/status"):
                await client.status()
        headers = {"Host": "evil.example"}
        async with AsyncClient(f"http://{address}", headers=headers) as client:
            with pytest.raises(AccessRefused, match=r"the host 'evil\.example'"):
                await client.status()


async def test_after_close_nothing_is_asked(aggregator: FakeAggregator) -> None:
    async with client_of(aggregator) as client:
        await client.close()
        with pytest.raises(ClientClosed):
            await client.status()


async def test_without_httpx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    for kind in (AsyncClient, Client):
        with pytest.raises(MissingExtra, match=r"pip install 'market-data-server\[client\]'"):
            kind()


# The twin without asyncio

Work = Callable[[Client], Any]


async def in_thread(address: str, work: Work) -> Any:
    """Return what ``work`` returns; the services run in this event loop."""

    def call() -> Any:
        with Client(f"http://{address}", deadline_s=5) as client:
            return work(client)

    return await asyncio.to_thread(call)


async def test_the_synchronous_client_asks_the_same() -> None:
    async with live() as (address, feed):
        now = time.time_ns()
        await feed.push(make_tick("AAPL", 10.0, 3, now), make_tick("MSFT", 20.0, 4, now))
        found = await in_thread(address, lambda client: client.aggregate("AAPL"))
        assert (found.close, found.volume, found.data_status) == (10.0, Decimal(3), "live")
        both = await in_thread(address, lambda client: client.aggregates(["MSFT", "AAPL"]))
        assert list(both) == ["MSFT", "AAPL"]
        assert await in_thread(address, lambda client: client.symbols("M")) == ["MSFT"]
        assert (await in_thread(address, lambda client: client.status()))["status"] == "ok"
        bars = await in_thread(
            address, lambda client: client.bars("AAPL", "1s", include_partial=True)
        )
        assert [bar.close for bar in bars] == [10.0]
        with pytest.raises(UnknownSymbol):
            await in_thread(address, lambda client: client.bars("NIX", "1s"))


async def test_a_closed_synchronous_client_ends_its_calls() -> None:
    def after_close(client: Client) -> None:
        client.close()
        client.status()

    async with live() as (address, _):
        with pytest.raises(ClientClosed):
            await in_thread(address, after_close)


async def test_several_threads_may_use_one_client() -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 10.0)
        with Client(f"http://{address}") as client:
            asked: list[Awaitable[Any]] = [
                asyncio.to_thread(client.aggregate, "AAPL") for _ in range(8)
            ]
            assert [each.close for each in await asyncio.gather(*asked)] == [10.0] * 8

"""Streams of the client over real services: lost connections, restarts, gaps, slow programs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial
from threading import Thread
from threading import enumerate as enumerate_threads
from typing import Any
from unittest.mock import patch

import pytest

from gateway.bars.backfills import Backfills
from marketdata.client import (
    AccessRefused,
    Aggregate,
    AsyncClient,
    AsyncStream,
    Bar,
    CannotConnect,
    Client,
    ClientClosed,
    Event,
    Gap,
    GatewayError,
    HistoryTooLong,
    IntervalComplete,
    InvalidArgument,
    InvalidInput,
    Live,
    Stale,
    Stream,
    TooManySymbols,
    Update,
)
from tests.doubles.bar_book import EARLY, FINAL, PARTIAL, REVISED
from tests.doubles.link import open_link
from tests.doubles.pipeline import make_tick
from tests.doubles.ports import free_port
from tests.doubles.processes import run_backend
from tests.doubles.processes import run_gateway as run_gateway_process
from tests.integration.gateway.doubles import FakeAggregator, running_aggregator
from tests.integration.gateway.live import feeding, gateway_to, live
from tests.integration.gateway.streams import Gateway, eventually, run_gateway, run_market

TIMEOUT_S = 10
MINUTE = 60 * 10**9
START = 1_735_201_200 * 10**9
SINCE = "2024-12-26T08:20:00Z"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Come back at once: how long clients wait is a matter of the rules."""
    monkeypatch.setattr("marketdata.client.live.session.FIRST_BACKOFF_S", 0.02)
    monkeypatch.setattr("marketdata.client.live.session.MAX_BACKOFF_S", 0.2)


@pytest.fixture
async def aggregator() -> AsyncIterator[FakeAggregator]:
    async with running_aggregator() as aggregator:
        yield aggregator


@contextlib.asynccontextmanager
async def following(
    address: str, symbols: Any = ("AAPL",), **options: Any
) -> AsyncIterator[tuple[AsyncStream[Any], AsyncIterator[Event[Any]]]]:
    """Follow symbols for the time of the context; give the stream, and its events."""
    async with (
        AsyncClient(f"http://{address}") as client,
        client.stream(symbols, **options) as stream,
        contextlib.aclosing(in_time(stream.events())) as events,
    ):
        yield stream, events


@contextlib.asynccontextmanager
async def bars_gateway(aggregator: FakeAggregator, **settings: Any) -> AsyncIterator[Gateway]:
    """Run a gateway; give it when it knows the intervals of the aggregator."""
    async with run_gateway(aggregator.address, **settings) as gateway:
        await eventually(lambda: bool(gateway.hub.intervals))
        yield gateway


async def in_time(events: AsyncIterator[Event[Any]]) -> AsyncGenerator[Event[Any], None]:
    """Yield events; a test that waits for one that does not come fails."""
    with contextlib.suppress(StopAsyncIteration):
        while True:
            async with asyncio.timeout(TIMEOUT_S):
                event = await anext(events)
            yield event


async def until(events: AsyncIterator[Event[Any]], last: object) -> list[Event[Any]]:
    """Return the events up to the first one that is, or is of the kind, ``last``."""
    seen = []
    async for event in events:
        seen.append(event)
        if event == last or (isinstance(last, type) and isinstance(event, last)):
            return seen
    raise AssertionError(seen)


async def until_price(events: AsyncIterator[Event[Any]], price: float) -> list[Event[Any]]:
    """Return the events up to the update that has a price."""
    seen = []
    async for event in events:
        seen.append(event)
        if isinstance(event, Update) and event.data.close == price:
            return seen
    raise AssertionError(seen)


def closes(events: list[Event[Any]]) -> list[float | None]:
    return [event.data.close for event in events if isinstance(event, Update)]


def places(events: list[Event[Any]]) -> list[tuple[int, str]]:
    return [
        ((event.data.start_ns - START) // MINUTE, event.data.state)
        for event in events
        if isinstance(event, Update)
    ]


# States


async def test_the_present_state_comes_first_then_each_later_one() -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 1.0, 2.0)
        async with following(address, policy="buffer") as (stream, events):
            assert stream.stale == "connection"
            assert await anext(events) == Live()
            assert stream.stale is None
            update = await anext(events)
            assert isinstance(update, Update)
            assert isinstance(update.data, Aggregate)
            assert (update.data.close, update.data.trades, update.recovered) == (2.0, 2, None)
            await feed.price("AAPL", 3.0, 4.0)
            assert closes(await until_price(events, 4.0)) == [3.0, 4.0]


async def test_a_plain_loop_gets_the_updates_alone() -> None:
    async with live() as (address, feed), AsyncClient(f"http://{address}") as client:
        await feed.price("AAPL", 1.0)
        async for update in client.stream("AAPL"):
            assert update.data.close == 1.0
            break


async def test_every_symbol_present_and_future() -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 1.0)
        async with following(address, "*") as (_, events):
            await until_price(events, 1.0)
            await feed.price("MSFT", 2.0)
            await until_price(events, 2.0)


async def test_after_a_lost_connection_no_state_is_missing_or_repeated() -> None:
    async with live() as (address, feed):
        host, _, port = address.rpartition(":")
        await feed.price("AAPL", 1.0)
        async with (
            open_link(host, int(port)) as link,
            following(link.address, policy="buffer") as (stream, events),
        ):
            await until_price(events, 1.0)
            for price in (10.0, 20.0, 30.0):
                link.refuse()
                link.drop()
                lost = await until(events, Stale)
                assert isinstance(lost[-1], Stale)
                assert (lost[-1].reason, stream.stale) == ("connection", "connection")
                assert lost[-1].problem
                await feed.price("AAPL", price, price + 1, price + 2)
                link.refuse(on=False)
                seen = await until_price(events, price + 2)
                assert closes(seen) == [price, price + 1, price + 2]
                assert seen[0] == Live()
                assert not [each for each in seen if isinstance(each, Gap)]
                assert isinstance(seen[1], Update)
                assert seen[1].recovered is True


async def test_a_gateway_that_is_killed_and_started_again_is_a_gap_of_unknown_size() -> None:
    port = free_port()
    async with run_backend() as (_, aggregator_port, _, ingest_port):
        env = {"GATEWAY_PORT": str(port)}
        async with contextlib.AsyncExitStack() as stack:
            async with run_gateway_process(aggregator_port, **env) as (gateway, _):
                _, events = await stack.enter_async_context(following(f"127.0.0.1:{port}"))
                await until(events, Live())
                await send(ingest_port, 1.0)
                await until_price(events, 1.0)
                await gateway.kill()
            assert isinstance((await until(events, Stale))[-1], Stale)
            for price in (2.0, 3.0):
                await send(ingest_port, price)
            async with run_gateway_process(aggregator_port, **env):
                seen = await until_price(events, 3.0)
                assert seen[:-1] == [Live(), Gap("AAPL", None)]
                assert isinstance(seen[-1], Update)
                assert seen[-1].gap == Gap("AAPL", None)


async def send(port: int, price: float) -> None:
    from tests.doubles.pipeline import send as send_ticks

    await send_ticks(port, [make_tick("AAPL", price)])


async def test_a_gateway_that_stops_says_when_to_come_back() -> None:
    async with contextlib.AsyncExitStack() as stack, feeding() as (aggregator_port, feed):
        await feed.price("AAPL", 1.0)
        async with gateway_to(aggregator_port, reconnect_spread_s=0.1) as address:
            stream, events = await stack.enter_async_context(following(address))
            await until_price(events, 1.0)
        seen = await until(events, Stale)
        assert seen[-1] == Stale("connection", "the server restarts")
        # From 1 s on, spread over a tenth.
        assert 1.0 <= stream._link.session.delay_s <= 1.2
        async with gateway_to(aggregator_port, port=int(address.rpartition(":")[2])):
            await feed.price("AAPL", 2.0)
            await until_price(events, 2.0)


async def test_while_the_aggregator_is_away_the_stream_is_stale_and_goes_on_by_itself() -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with feeding() as (port, feed):
            address = await stack.enter_async_context(gateway_to(port))
            await feed.price("AAPL", 1.0)
            stream, events = await stack.enter_async_context(following(address))
            await until_price(events, 1.0)
        assert await anext(events) == Stale("feed", "the gateway has lost its source")
        assert stream.stale == "feed"
        async with feeding(port) as (_, feed):
            await until(events, Live())
            await feed.price("AAPL", 2.0)
            # It kept no log, so it cannot say what was missed.
            seen = await until_price(events, 2.0)
            assert seen[-2] == Gap("AAPL", None)


async def test_a_connection_that_lets_nothing_through_counts_as_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("marketdata.client.live.link.LOOK_EVERY_S", 0.1)
    monkeypatch.setattr("marketdata.client.live.link.CLOSE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("marketdata.client.live.link.OPEN_TIMEOUT_S", 0.2)
    async with live() as (address, feed):
        host, _, port = address.rpartition(":")
        await feed.price("AAPL", 1.0)
        async with open_link(host, int(port)) as link, following(link.address) as (_, events):
            await until_price(events, 1.0)
            link.partition()
            assert await anext(events) == Stale("connection", "the gateway is silent")
            link.drop()
            link.heal()
            assert await anext(events) == Live()


async def test_an_idle_connection_is_asked_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketdata.client.live.link.LOOK_EVERY_S", 0.05)
    async with live() as (address, feed):
        async with following(address) as (stream, events):
            assert await anext(events) == Live()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await anext(events)
            assert stream.stale is None
        await feed.price("AAPL", 1.0)


# Programs that are slower than the market


async def test_a_slow_program_gets_the_newest_state_of_each_symbol() -> None:
    async with run_market() as (gateway, _, producer):
        async with following(gateway.address, ["A", "B"]) as (stream, events):
            await until(events, Live())
            async with producer.stream() as push:
                for _ in range(20):
                    await push("A", "B")
            await eventually(lambda: waiting(stream) == 2)
            first, second = await anext(events), await anext(events)
            assert isinstance(first, Update)
            assert isinstance(second, Update)
            # All but the first state may have been left out.
            await eventually(lambda: waiting(stream) == 0)
            assert {first.data.symbol, second.data.symbol} == {"A", "B"}
        await gateway.wait_until_left()


def waiting(stream: AsyncStream[Any]) -> int:
    return len(stream._mailbox._pending._waiting)


async def test_what_was_left_out_is_counted_and_no_gap() -> None:
    async with (
        run_market() as (gateway, _, producer),
        following(gateway.address, ["A"]) as (_, events),
    ):
        await until(events, Live())
        await producer.publish("A")
        first = await anext(events)
        assert isinstance(first, Update)
        async with producer.stream() as push:
            for _ in range(50):
                await push("A")
        left_out, seen = 0, [first.data.sequence]
        while seen[-1] < 51:
            update = await anext(events)
            assert isinstance(update, Update)
            left_out += update.conflated
            seen.append(update.data.sequence)
        assert left_out + len(seen) == 51


async def test_buffer_gives_every_state_also_to_a_program_that_pauses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("marketdata.client.live.pending.MAX_WAITING", 20)
    async with (
        run_market() as (gateway, _, producer),
        following(gateway.address, ["A"], policy="buffer") as (stream, events),
    ):
        await until(events, Live())
        async with producer.stream() as push:
            for _ in range(300):
                await push("A")
        await eventually(lambda: waiting(stream) == 20)
        seen: list[int | None] = []
        while len(seen) < 300:
            update = await anext(events)
            assert isinstance(update, Update)
            seen.append(update.data.sequence)
        assert seen == list(range(1, 301))


async def test_a_program_that_leaves_the_loop_leaves_the_gateway() -> None:
    async with run_market() as (gateway, _, producer):
        await producer.publish("A")
        client = AsyncClient(f"http://{gateway.address}")
        async for _ in client.stream(["A"]):
            break
        await gateway.wait_until_left()
        await client.close()


async def test_a_closed_client_ends_its_streams() -> None:
    async with live() as (address, _):
        client = AsyncClient(f"http://{address}")
        stream = client.stream(["AAPL"])
        assert await anext(aiter(stream.events())) == Live()
        ended = asyncio.create_task(anext(stream, None))
        await asyncio.sleep(0)
        await client.close()
        assert await ended is None
        assert [each async for each in stream] == []
        with pytest.raises(ClientClosed):
            client.stream(["AAPL"])


# Bars


async def test_history_comes_first_then_each_later_state_of_a_bar(
    aggregator: FakeAggregator,
) -> None:
    aggregator.publish_bar("AAPL", "1m", START, state=FINAL)
    aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=PARTIAL)
    async with (
        bars_gateway(aggregator) as gateway,
        following(gateway.address, interval="1m", since=SINCE, policy="buffer") as (_, events),
    ):
        assert await anext(events) == Live()
        first = await anext(events)
        assert isinstance(first, Update)
        assert isinstance(first.data, Bar)
        assert places([first, await anext(events)]) == [(0, "final"), (1, "partial")]
        aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=EARLY)
        aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=FINAL)
        aggregator.complete("1m", START + 2 * MINUTE)
        seen = await until(events, IntervalComplete)
        assert places(seen) == [(1, "early"), (1, "final")]
        assert seen[-1] == IntervalComplete("1m", START + 2 * MINUTE)


async def test_after_a_restart_of_the_gateway_no_bar_is_missing_or_repeated(
    aggregator: FakeAggregator,
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for minute in range(3):
            aggregator.publish_bar("AAPL", "1m", START + minute * MINUTE, state=FINAL)
        async with bars_gateway(aggregator) as gateway:
            _, events = await stack.enter_async_context(
                following(gateway.address, interval="1m", since=SINCE)
            )
            seen = [await anext(events) for _ in range(4)]
            assert places(seen) == [(0, "final"), (1, "final"), (2, "final")]
        aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=REVISED, revision=1)
        for minute in (3, 4):
            aggregator.publish_bar("AAPL", "1m", START + minute * MINUTE, state=FINAL)
        aggregator.publish_bar("AAPL", "1m", START + 5 * MINUTE, state=PARTIAL)
        port = int(gateway.address.rpartition(":")[2])
        async with bars_gateway(aggregator, port=port):
            seen = []
            while len(places(seen)) < 4:
                seen.append(await anext(events))
            expected = [(1, "revised"), (3, "final"), (4, "final"), (5, "partial")]
            assert places(seen) == expected
            assert not [each for each in seen if isinstance(each, Gap)]


async def test_history_longer_than_a_stream_gives_comes_in_parts(
    aggregator: FakeAggregator, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Backfills.__init__

    def small(*args: Any, **options: Any) -> None:
        build(*args, **{**options, "max_history": 300})

    # Bars that may have been revised are asked for again: 20 of them.
    for minute in range(1_000):
        for symbol in ("AAPL", "MSFT"):
            aggregator.publish_bar(symbol, "1m", START + minute * MINUTE, state=FINAL)
    with patch.object(Backfills, "__init__", small):
        async with (
            bars_gateway(aggregator) as gateway,
            following(gateway.address, ["AAPL", "MSFT"], interval="1m", since=SINCE) as (_, events),
        ):
            seen: dict[str, list[int]] = {"AAPL": [], "MSFT": []}
            while min(map(len, seen.values())) < 1_000:
                event = await anext(events)
                assert isinstance(event, Update | Live), event
                if isinstance(event, Update):
                    minute = (event.data.start_ns - START) // MINUTE
                    seen[event.data.symbol].append(minute)
            assert seen == {"AAPL": list(range(1_000)), "MSFT": list(range(1_000))}


async def test_history_that_a_stream_cannot_give_even_in_parts_is_an_error(
    aggregator: FakeAggregator,
) -> None:
    build = Backfills.__init__

    def smaller(*args: Any, **options: Any) -> None:
        build(*args, **{**options, "max_history": 5})

    for minute in range(50):
        aggregator.publish_bar("AAPL", "1m", START + minute * MINUTE, state=FINAL)
    with patch.object(Backfills, "__init__", smaller):
        async with (
            bars_gateway(aggregator) as gateway,
            following(gateway.address, interval="1m", since=SINCE) as (_, events),
        ):
            with pytest.raises(HistoryTooLong):
                await until(events, Stale)


async def test_bars_of_all_symbols_resume_too(aggregator: FakeAggregator) -> None:
    async with bars_gateway(aggregator) as gateway:
        host, _, port = gateway.address.rpartition(":")
        async with (
            open_link(host, int(port)) as link,
            following(link.address, "*", interval="1m") as (_, events),
        ):
            await until(events, Live())
            aggregator.publish_bar("AAPL", "1m", START, state=PARTIAL)
            assert places(await until(events, Update)) == [(0, "partial")]
            link.refuse()
            link.drop()
            await until(events, Stale)
            aggregator.publish_bar("AAPL", "1m", START, state=FINAL)
            aggregator.publish_bar("AAPL", "1m", START + MINUTE, state=PARTIAL)
            link.refuse(on=False)
            seen = [await anext(events) for _ in range(3)]
            assert places(seen) == [(0, "final"), (1, "partial")]
            assert not [each for each in seen if isinstance(each, Gap)]


# Errors


async def test_what_the_gateway_refuses_is_an_error(aggregator: FakeAggregator) -> None:
    async with (
        bars_gateway(aggregator, max_followed_symbols=1) as gateway,
        AsyncClient(f"http://{gateway.address}") as client,
    ):
        refused: list[tuple[AsyncStream[Any], type[GatewayError], str]] = [
            (client.stream(["A*"]), InvalidInput, "must be printable ASCII"),
            (client.stream("A", interval="7m"), InvalidInput, "7m"),
            (client.stream("A", interval="15m"), InvalidInput, "not one of 1s 1m 5m 1d"),
            (client.stream("A", interval="1m", since="then"), InvalidInput, "no time"),
            (client.stream(["A", "B"]), TooManySymbols, "symbols"),
        ]
        for asked, kind, says in refused:
            with pytest.raises(kind, match=says) as caught:
                await anext(asked)
            # It stays so.
            with pytest.raises(kind) as again:
                await anext(asked)
            assert again.value is caught.value


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"symbols": []}, "symbols names no symbol"),
        ({"symbols": "A", "since": SINCE}, "since is for bars, which need an interval"),
        ({"symbols": "*", "since": SINCE, "interval": "1m"}, "since needs symbols by name"),
        ({"symbols": "A", "policy": "all"}, "policy must be conflate or buffer"),
    ],
)
async def test_what_cannot_be_asked_for_is_an_error_at_once(
    given: dict[str, Any], says: str
) -> None:
    for client in (AsyncClient(), Client()):
        with pytest.raises(InvalidArgument, match=says):
            client.stream(**given)


async def test_a_gateway_that_cannot_be_reached_is_an_error_after_the_time_for_it() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    async with AsyncClient(url, connect_timeout_s=0.3) as client:
        with pytest.raises(CannotConnect, match=r"no answer from .*: Connection refused"):
            await anext(client.stream(["AAPL"]))


async def test_a_wrong_address_is_an_error() -> None:
    async with live() as (address, _), AsyncClient(f"http://{address}/wrong") as client:
        with pytest.raises(AccessRefused, match=r"/wrong/api/v1/stream refuses access"):
            await anext(client.stream(["AAPL"]))


async def test_a_full_gateway_is_asked_again_when_it_says() -> None:
    async with live(max_connections=1, reconnect_spread_s=0.1) as (address, feed):
        await feed.price("AAPL", 1.0)
        async with following(address) as (first, events), following(address) as (second, more):
            await until_price(events, 1.0)
            waits = asyncio.create_task(until_price(more, 1.0))
            await eventually(lambda: second._link.session.delay_s > 0)
            # From 1 s on, spread over a tenth, in whole seconds.
            assert 1.0 <= second._link.session.delay_s <= 2.0
            await first.close()
            assert closes(await waits) == [1.0]


# The twin without asyncio


async def test_the_synchronous_stream_follows_the_same_rules() -> None:
    async with live() as (address, feed):
        host, _, port = address.rpartition(":")
        await feed.price("AAPL", 1.0)
        async with open_link(host, int(port)) as link:
            with Client(f"http://{link.address}") as client:
                stream = client.stream("AAPL", policy="buffer")
                events = stream.events()
                assert await asyncio.to_thread(next, events) == Live()
                assert closes([await asyncio.to_thread(next, events)]) == [1.0]
                link.refuse()
                link.drop()
                lost = await asyncio.to_thread(next, events)
                assert isinstance(lost, Stale)
                assert stream.stale == "connection"
                await feed.price("AAPL", 2.0, 3.0)
                link.refuse(on=False)
                seen = [await asyncio.to_thread(next, events) for _ in range(3)]
                assert seen[0] == Live()
                assert closes(seen) == [2.0, 3.0]


def is_live(stream: Stream[Any]) -> bool:
    return stream.stale is None


async def test_a_synchronous_stream_ends_when_it_is_closed_in_whatever_thread() -> None:
    def take(stream: Stream[Any]) -> list[Any]:
        return list(stream)

    async with live() as (address, _):
        client = Client(f"http://{address}")
        for close in ("stream", "client"):
            stream = client.stream("AAPL")
            taking = asyncio.create_task(asyncio.to_thread(take, stream))
            await eventually(partial(is_live, stream))
            await asyncio.to_thread((stream if close == "stream" else client).close)
            assert await taking == []
        with pytest.raises(ClientClosed):
            client.stream("AAPL")


async def test_a_synchronous_loop_that_is_left_leaves_the_gateway() -> None:
    def first(client: Client) -> float | None:
        for update in client.stream("A"):
            return update.data.close
        return None

    async with run_market() as (gateway, _, producer):
        await producer.publish("A")
        with Client(f"http://{gateway.address}") as client:
            assert await asyncio.to_thread(first, client) == 101.0
            await gateway.wait_until_left()


async def test_an_error_ends_a_synchronous_stream() -> None:
    async with live() as (address, _):
        with Client(f"http://{address}") as client, pytest.raises(InvalidInput):
            await asyncio.to_thread(next, client.stream("A*"))


async def test_a_stream_keeps_its_client_and_a_forgotten_client_leaves_no_thread() -> None:
    def threads() -> list[Thread]:
        return [each for each in enumerate_threads() if each.name == "marketdata client"]

    def follow(address: str) -> float | None:
        # Nothing but the loop refers to the client.
        for update in Client(f"http://{address}").stream("AAPL"):
            return update.data.close
        return None

    async with live() as (address, feed):
        await feed.price("AAPL", 1.0)
        assert await asyncio.to_thread(follow, address) == 1.0
        await eventually(lambda: not threads())

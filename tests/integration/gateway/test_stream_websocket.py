"""Streams over WebSocket, from a real aggregator to the ``websockets`` library."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from time import monotonic

import httpx
import pytest
import pytest_asyncio
from websockets.exceptions import InvalidStatus

from tests.doubles.pipeline import TIMEOUT_S, run_aggregator
from tests.integration.gateway.streams import (
    Gateway,
    Producer,
    closed_with,
    eventually,
    open_websocket,
    receive,
    receive_until,
    run_feed,
    run_gateway,
    run_market,
    send,
    states,
)

STREAM = "/api/v1/stream"
PLAIN = "/ws/marketdata"

Market = tuple[Gateway, Producer]


@pytest_asyncio.fixture
async def market() -> AsyncIterator[Market]:
    async with run_market() as (gateway, _, producer):
        yield gateway, producer


async def test_a_client_gets_the_json_of_rest(market: Market) -> None:
    gateway, producer = market
    await producer.publish("AAPL")
    async with (
        open_websocket(gateway, STREAM) as client,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        assert (await receive(client))["type"] == "status"
        await send(client, type="subscribe", id="x", symbols=["AAPL", "MSFT"])
        assert (await receive_until(client, "subscribed"))["symbols"] == ["AAPL", "MSFT"]
        update = await receive_until(client, "update")
        rest = await http.get(f"http://{gateway.address}/api/v1/marketdata/AAPL")
        assert update["data"] == rest.json()
        await producer.publish("MSFT")
        assert (await receive_until(client, "update"))["data"]["symbol"] == "MSFT"
    await gateway.wait_until_left()


async def test_the_originals_websocket_sends_bare_json_with_numbers(market: Market) -> None:
    gateway, producer = market
    async with open_websocket(gateway, PLAIN) as client:
        await producer.publish("AAPL")
        state = await receive(client)
        assert (state["symbol"], state["volume"], state["close"]) == ("AAPL", 1, 101.0)
        assert str(state["timestamp"]) == state["timestampNs"][:-6]
        await producer.publish("AAPL")
        assert (await receive(client))["volume"] == 2
    async with open_websocket(gateway, f"{PLAIN}?symbol=%20MSFT") as client:
        await producer.publish("MSFT")
        assert (await receive(client))["symbol"] == "MSFT"
    await gateway.wait_until_left()


@pytest.mark.parametrize("path", [f"{STREAM}?symbols=A%2A", f"{PLAIN}?symbol=A%2A"])
async def test_a_bad_symbol_is_told_and_closed(market: Market, path: str) -> None:
    gateway, _ = market
    async with open_websocket(gateway, path) as client:
        error = await receive_until(client, "error")
        assert error["code"] == "invalid_input"
        assert await closed_with(client) == 4400
    await gateway.wait_until_left()


async def test_a_message_over_the_limit_closes_with_1009() -> None:
    async with (
        run_gateway("127.0.0.1:1", max_message_bytes=1024) as gateway,
        open_websocket(gateway, STREAM) as client,
    ):
        await client.send(" " * 1025)
        assert await closed_with(client) == 1009


async def test_a_client_over_the_number_of_connections_is_told_503() -> None:
    async with run_gateway("127.0.0.1:1", max_connections=1) as gateway:
        async with open_websocket(gateway, STREAM):
            with pytest.raises(InvalidStatus, match="503"):
                async with open_websocket(gateway, PLAIN):
                    pass
        await gateway.wait_until_left()
        async with open_websocket(gateway, STREAM):
            pass


async def test_a_page_of_another_origin_is_refused() -> None:
    async with run_gateway("127.0.0.1:1") as gateway:
        with pytest.raises(InvalidStatus, match="403"):
            async with open_websocket(gateway, STREAM, origin="https://evil.example"):
                pass


async def test_when_the_aggregator_goes_its_clients_are_told_and_go_on_by_themselves() -> None:
    async with run_aggregator() as first:
        port = first.port
        async with (
            run_gateway(f"127.0.0.1:{port}") as gateway,
            open_websocket(gateway, f"{STREAM}?symbols=AAPL") as client,
        ):
            await Producer(port).publish("AAPL")
            before = await receive_until(client, "update")
            await first.stop()
            assert (await receive_until(client, "status"))["status"] == "stale"
            async with run_aggregator(port=port):
                assert (await receive_until(client, "status"))["status"] == "live"
                await Producer(port).publish("AAPL")
                after = await receive_until(client, "update")
                assert after["recovered"] is False
                assert (after["sequence"], before["sequence"]) == ("1", "1")
                assert after["epoch"] != before["epoch"]


async def test_a_client_cut_a_hundred_times_misses_nothing_and_gets_nothing_twice(
    market: Market,
) -> None:
    gateway, producer = market
    random = Random(59)
    seen: list[int] = []
    resume: dict[str, object] | None = None
    async with run_feed(producer, "AAPL") as due:
        for cut in range(101):
            async with open_websocket(gateway, STREAM) as client:
                await send(
                    client,
                    type="subscribe",
                    id="1",
                    symbols=["AAPL"],
                    policy="buffer",
                    resume=resume,
                )
                count = random.randint(1, 4)
                # Some of them come while it is away.
                for _ in range(count):
                    due.release()
                for number in range(count):
                    update = await receive_until(client, "update")
                    if cut and number == 0:
                        assert update["recovered"] is True
                    seen.append(int(update["sequence"]))
                    due.release()
                resume = {"epoch": update["epoch"], "sequences": {"AAPL": update["sequence"]}}
                client.transport.abort()
    # It begins with the state that is the present one when the aggregator hears of it.
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    await gateway.wait_until_left()


async def test_a_client_that_comes_back_to_another_epoch_gets_a_snapshot(market: Market) -> None:
    gateway, producer = market
    await producer.publish("AAPL")
    async with open_websocket(gateway, STREAM) as client:
        resume = {"epoch": "1", "sequences": {"AAPL": "1"}}
        await send(client, type="subscribe", id="1", symbols=["AAPL"], resume=resume)
        assert (await receive_until(client, "update"))["recovered"] is False


async def test_a_reader_that_stalls_slows_nobody_and_gets_the_newest_when_it_goes_on() -> None:
    async with run_gateway("127.0.0.1:1") as gateway:
        async with (
            open_websocket(gateway, f"{STREAM}?symbols=A", stalling=True) as stalled,
            open_websocket(gateway, f"{STREAM}?symbols=A") as other,
        ):
            await eventually(lambda: gateway.hub.subscriptions == 2)
            last = 0
            # Far more than the buffers of both sides hold.
            for _ in range(200):
                gateway.hub.publish(states("A", range(last + 1, last + 101)))
                last += 100
                # Were it to wait for the one that stalls, this would never come.
                while int((await receive_until(other, "update"))["sequence"]) != last:
                    pass
            sequences = [0]
            conflated = 0
            while sequences[-1] != last:
                update = await receive_until(stalled, "update")
                conflated += update["conflated"]
                sequences.append(int(update["sequence"]))
            # It got what was on its way, then the newest at once.
            assert len(sequences) < last
            assert conflated == last - (len(sequences) - 1)
        await gateway.wait_until_left()


async def test_a_reader_that_stalls_too_long_for_its_buffer_is_ended_with_4490() -> None:
    async with run_gateway("127.0.0.1:1", buffer_bytes=64 * 1024) as gateway:
        async with open_websocket(
            gateway, f"{STREAM}?symbols=A&policy=buffer", stalling=True
        ) as client:
            await eventually(lambda: gateway.hub.subscriptions == 1)
            last = 0
            while gateway.hub.subscriptions:
                gateway.hub.publish(states("A", range(last + 1, last + 31)))
                last += 30
                await asyncio.sleep(0)
            error = await receive_until(client, "error")
            assert (error["id"], error["code"]) == ("query", "slow_consumer")
            assert await closed_with(client) == 4490
        await gateway.wait_until_left()


async def test_when_the_gateway_stops_clients_are_told_1012() -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with run_gateway("127.0.0.1:1", shutdown_deadline_s=60) as gateway:
            opened = [
                await clients.enter_async_context(open_websocket(gateway, path))
                for path in (STREAM, PLAIN)
            ]
            begin = monotonic()
        # The gateway has stopped.
        assert monotonic() - begin < 30
        for client in opened:
            assert await closed_with(client) == 1012


async def test_a_client_that_vanishes_leaves_nothing_behind() -> None:
    async with run_gateway("127.0.0.1:1") as gateway:
        async with open_websocket(gateway, f"{STREAM}?symbols=*") as client:
            await eventually(lambda: gateway.hub.subscriptions == 1)
            client.transport.abort()
        await gateway.wait_until_left()


async def test_a_reader_that_keeps_up_is_not_ended_by_a_large_batch(market: Market) -> None:
    gateway, producer = market
    symbols = [f"S{number}" for number in range(5000)]
    async with open_websocket(gateway, f"{STREAM}?symbols=*&policy=buffer") as client:
        await eventually(lambda: gateway.hub.subscriptions == 1)
        await producer.publish(*symbols)
        got: set[str] = set()
        async with asyncio.timeout(TIMEOUT_S):
            while len(got) < len(symbols):
                got.add((await receive_until(client, "update"))["data"]["symbol"])
        assert got == set(symbols)

"""STOMP over a real WebSocket, from a real aggregator."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.doubles.stomp import open_stomp
from tests.integration.gateway.live import live

AAPL = "/topic/market-data/AAPL"


JOIN = '{"type":"JOIN","senderId":"a"}'


# Market data


@pytest.mark.parametrize("path", ["/ws", "/ws/websocket"])
async def test_a_subscriber_gets_the_present_state_and_then_every_change(path: str) -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 10.0)
        async with open_stomp(address, path) as client:
            await client.subscribe(AAPL)
            first = await client.next()
            assert (first.command, first["subscription"]) == ("MESSAGE", "0")
            assert first["destination"] == AAPL
            assert first["content-type"] == "application/json"
            assert (first.json["symbol"], first.json["close"]) == ("AAPL", 10.0)
            await feed.price("AAPL", 11.0, 12.0)
            second, third = await client.messages(2)
            assert [frame.json["close"] for frame in (second, third)] == [11.0, 12.0]
            sequences = [int(frame["sequence"]) for frame in (first, second, third)]
            assert sequences == list(range(sequences[0], sequences[0] + 3))
            assert len({frame["epoch"] for frame in (first, second, third)}) == 1
            async with httpx.AsyncClient(trust_env=False) as http:
                rest = await http.get(f"http://{address}/api/v1/marketdata/AAPL")
            assert rest.json() == third.json


async def test_lists_and_the_star_are_published_under_each_symbols_own_destination() -> None:
    async with live() as (address, feed):
        async with open_stomp(address) as client:
            await client.subscribe("/topic/market-data/AAPL,EUR/USD", "list")
            await client.subscribe("/topic/market-data/*", "all")
            await feed.price("EUR/USD", 1.1)
            await feed.price("TSLA", 5.0)
            seen = {
                (frame["subscription"], frame["destination"]) for frame in await client.messages(3)
            }
        assert seen == {
            ("list", "/topic/market-data/EUR/USD"),
            ("all", "/topic/market-data/EUR/USD"),
            ("all", "/topic/market-data/TSLA"),
        }


async def test_nothing_comes_after_the_receipt_of_unsubscribe() -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 10.0)
        async with open_stomp(address) as client:
            await client.subscribe(AAPL)
            await client.next()
            await client.send("UNSUBSCRIBE", id="0", receipt="u")
            assert (await client.next())["receipt-id"] == "u"
            await client.subscribe("/topic/market-data/MSFT", "1")
            await feed.price("AAPL", 11.0)
            await feed.price("MSFT", 20.0)
            assert (await client.next())["subscription"] == "1"


async def test_a_client_that_comes_back_misses_nothing() -> None:
    async with live() as (address, feed):
        await feed.price("AAPL", 10.0)
        async with open_stomp(address) as client:
            await client.subscribe(AAPL)
            last = await client.next()
        await feed.price("AAPL", 11.0, 12.0, 13.0)
        async with open_stomp(address) as client:
            await client.subscribe(
                AAPL, policy="buffer", last_sequence=last["sequence"], epoch=last["epoch"]
            )
            missed = await client.messages(3)
        assert [frame.json["close"] for frame in missed] == [11.0, 12.0, 13.0]
        assert {frame["recovered"] for frame in missed} == {"true"}
        async with open_stomp(address) as client:
            await client.subscribe(AAPL, last_sequence=1, epoch=4711)
            snapshot = await client.next()
        assert (snapshot["recovered"], snapshot.json["close"]) == ("false", 13.0)


async def test_a_symbol_that_came_up_meanwhile_is_complete_from_sequence_0() -> None:
    async with live() as (address, feed):
        both = "/topic/market-data/AAPL,MSFT"
        await feed.price("AAPL", 10.0)
        async with open_stomp(address) as client:
            await client.subscribe(both, policy="buffer")
            last = await client.next()
        await feed.price("MSFT", 20.0, 21.0, 22.0)
        async with open_stomp(address) as client:
            last_sequence = f"AAPL:{last['sequence']},MSFT:0"
            await client.subscribe(
                both, policy="buffer", last_sequence=last_sequence, epoch=last["epoch"]
            )
            missed = await client.messages(3)
        assert [frame.json["close"] for frame in missed] == [20.0, 21.0, 22.0]
        assert {frame["recovered"] for frame in missed} == {"true"}


# Signaling


async def test_a_signal_reaches_every_subscriber_once_the_sender_included() -> None:
    async with live() as (address, _), open_stomp(address) as ann, open_stomp(address) as bob:
        await ann.subscribe("/topic/signaling")
        await bob.subscribe("/topic/signaling", "s")
        body = '{"type":"OFFER","senderId":"ann","targetId":"bob","sdp":"v=0"}'
        await ann.send("SEND", body, destination="/app/signal")
        got = {"ann": await ann.next(), "bob": await bob.next()}
        await bob.send(
            "SEND", '{"type":"JOIN","senderId":"bob"}', destination="/app/signal", receipt="r"
        )
        assert [(await bob.next()).command for _ in range(2)] == ["RECEIPT", "MESSAGE"]
        assert (await ann.next()).json["senderId"] == "bob"
    for frame in got.values():
        assert frame["destination"] == "/topic/signaling"
        assert frame.json == {
            "type": "OFFER",
            "senderId": "ann",
            "targetId": "bob",
            "sdp": "v=0",
            "candidate": None,
        }
    assert got["bob"]["subscription"] == "s"


async def test_the_largest_sdp_is_relayed_whole() -> None:
    sdp = "v=0\r\n" * (64 * 1024 // 5)
    async with live() as (address, _), open_stomp(address) as client:
        await client.subscribe("/topic/signaling")
        body = orjson.dumps({"type": "OFFER", "senderId": "a", "sdp": sdp}).decode()
        await client.send("SEND", body, destination="/app/signal")
        assert (await client.next()).json["sdp"] == sdp


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "offer", "targetId": "b", "sdp": {"type": "offer", "sdp": "v=0"}},
        {"type": "mute", "targetId": "b", "audio": True},
    ],
)
async def test_signals_of_other_types_are_relayed_as_they_are(fields: dict[str, object]) -> None:
    async with live() as (address, _), open_stomp(address) as client:
        await client.subscribe("/topic/signaling")
        sent = {"senderId": "a"} | fields
        await client.send("SEND", orjson.dumps(sent).decode(), destination="/app/signal")
        assert (await client.next()).json.items() >= sent.items()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"type":5,"senderId":"a"}', 4400),
        ('{"type":"OFFER","senderId":"a","sdp":"' + "v" * 65537 + '"}', 4400),
        ("not json", 4400),
        ('{"type":"OFFER","senderId":"a","sdp":"' + "v" * 140000 + '"}', 4413),
    ],
)
async def test_what_is_no_signal_ends_the_session(body: str, code: int) -> None:
    async with live() as (address, _), open_stomp(address) as client:
        await client.send("SEND", body, destination="/app/signal")
        error = await client.next()
        assert error.command == "ERROR"
        assert error["message"]
        assert (await client.wait_closed())[0] == code


# Limits


async def test_more_connections_than_there_may_be_are_told_503() -> None:
    async with live(max_connections=2) as (address, _):  # noqa: SIM117
        async with open_stomp(address) as first, open_stomp(address):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(f"ws://{address}/ws", proxy=None):
                    pass
            assert refused.value.response.status_code == 503
            assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 6
            async with httpx.AsyncClient(trust_env=False) as http:
                sockjs = await http.post(f"http://{address}/ws/0/one/xhr")
                assert sockjs.status_code == 503
                assert 1 <= int(sockjs.headers["Retry-After"]) <= 6
            await first.websocket.close()
            # Its place is free as soon as the server saw it leave.
            await until_connected(address)


async def until_connected(address: str) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                async with open_stomp(address):
                    return
            except InvalidStatus:
                continue


async def test_more_subscriptions_than_there_may_be_end_the_session() -> None:
    async with live(max_subscriptions=2) as (address, _), open_stomp(address) as client:
        for each in ("1", "2"):
            await client.subscribe("/topic/signaling", each)
        await client.send("SUBSCRIBE", id="3", destination="/topic/signaling")
        assert (await client.next()).command == "ERROR"
        assert (await client.wait_closed())[0] == 4429


async def test_more_symbols_than_the_gateway_follows_end_the_session() -> None:
    async with live(max_followed_symbols=2) as (address, _), open_stomp(address) as client:
        await client.send("SUBSCRIBE", id="1", destination="/topic/market-data/A,B,C")
        error = await client.next()
        assert error["message"] == "the gateway follows at most 2 symbols"
        assert (await client.wait_closed())[0] == 4429


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"message_rate": 1, "message_burst": 5}, "more than 1 messages per second"),
        ({"signal_rate": 2, "signal_burst": 3}, "more than 2 signaling messages per second"),
    ],
)
async def test_a_client_that_sends_too_much_is_ended(settings: dict[str, Any], what: str) -> None:
    async with live(**settings) as (address, _), open_stomp(address) as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(10):
                await client.send("SEND", JOIN, destination="/app/signal")
        error = await client.next()
        assert error["message"] == what
        assert (await client.wait_closed())[0] == 4429


# Origins


@pytest.mark.parametrize(
    ("allowed", "origin", "status"),
    [
        ("", None, 101),
        ("", "http://{address}", 101),
        ("", "http://evil.example", 403),
        ("", "null", 403),
        ("https://app.example.com", "https://app.example.com", 101),
        ("https://app.example.com", "https://evil.example", 403),
        ("*", "https://evil.example", 101),
    ],
)
@pytest.mark.parametrize("path", ["/ws", "/ws/websocket", "/ws/0/session/websocket"])
async def test_only_pages_of_allowed_origins_connect(
    allowed: str, origin: str | None, status: int, path: str
) -> None:
    async with live(allowed_origins=allowed) as (address, _):
        headers = {} if origin is None else {"Origin": origin.format(address=address)}
        try:
            async with connect(
                f"ws://{address}{path}", additional_headers=headers, proxy=None
            ) as websocket:
                assert websocket.response is not None
                seen = websocket.response.status_code
        except InvalidStatus as exc:
            seen = exc.response.status_code
        assert seen == status
        async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
            info = await http.get(f"http://{address}/ws/info")
        assert info.status_code == (403 if status == 403 else 200)


async def test_the_iframe_page_loads_the_client_from_this_server() -> None:
    async with live() as (address, _), httpx.AsyncClient(trust_env=False) as http:
        page = await http.get(f"http://{address}/ws/iframe.html")
        assert '<script src="/static/sockjs.min.js">' in page.text
        script = await http.get(f"http://{address}/static/sockjs.min.js")
        assert script.status_code == 200
        assert "sockjs-client" in script.text[:100]


# The end


async def test_a_session_is_told_that_the_server_stops() -> None:
    async with live() as (address, _):
        # Outlives the gateway.
        context = open_stomp(address)
        client = await context.__aenter__()
    error = await client.next()
    assert (error.command, error["message"][:15]) == ("ERROR", "server-shutdown")
    assert await client.wait_closed() == (1012, error["message"])
    await context.__aexit__(None, None, None)

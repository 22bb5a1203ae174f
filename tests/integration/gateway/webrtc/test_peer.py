"""Market data over WebRTC: a real peer, a real gateway, a real aggregator."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import orjson
import pytest
import pytest_asyncio

from gateway.webrtc import endpoint
from tests.doubles.peer import PeerClient, open_peer, peer_over
from tests.doubles.stomp import open_stomp
from tests.integration.gateway.streams import (
    Gateway,
    Producer,
    eventually,
    run_market,
    tasks_of,
)

Market = tuple[Gateway, Producer]
LOSSY: dict[str, Any] = {"ordered": False, "maxRetransmits": 0}


@contextlib.asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Market]:
    """Run a market; at its end nothing of a peer is left."""
    async with run_market(webrtc_offer_rate=1000, **settings) as (gateway, _, producer):
        yield gateway, producer
    await eventually(lambda: not tasks_of("aiortc", "aioice"))


@pytest_asyncio.fixture
async def market() -> AsyncIterator[Market]:
    async with running() as market:
        yield market


async def updates(peer: PeerClient, count: int) -> list[Any]:
    return [await peer.next_of("update") for _ in range(count)]


async def until_closed(peer: PeerClient) -> Any:
    """Return the farewell; what comes before is thrown away."""
    farewell = await peer.next_of("close")
    await peer.wait_closed()
    return farewell


@pytest.mark.parametrize("channel", [{}, LOSSY], ids=["reliable", "lossy"])
async def test_a_channel_carries_the_json_of_rest(market: Market, channel: dict[str, Any]) -> None:
    gateway, producer = market
    await producer.publish("AAPL")
    async with (
        open_peer(gateway.address, **channel) as peer,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        await peer.connect()
        assert await peer.next() == {"type": "status", "status": "live"}
        peer.send(type="subscribe", id="x", symbols=["AAPL", "MSFT"])
        assert (await peer.next_of("subscribed"))["symbols"] == ["AAPL", "MSFT"]
        (update,) = await updates(peer, 1)
        rest = await http.get(f"http://{gateway.address}/api/v1/marketdata/AAPL")
        assert update["data"] == rest.json()
        await producer.publish("MSFT")
        (update,) = await updates(peer, 1)
        assert update["data"]["symbol"] == "MSFT"
        peer.send(type="unsubscribe", id="x")
        assert await peer.next_of("unsubscribed") == {"type": "unsubscribed", "id": "x"}
    await gateway.wait_until_left()


async def test_candidates_may_trickle_both_ways(market: Market) -> None:
    gateway, _ = market
    async with open_peer(gateway.address) as peer:
        await peer.trickle()
        host = peer.candidates[0]["candidate"].split()[4]
        assert host == gateway.address.rpartition(":")[0]
        assert await peer.next() == {"type": "status", "status": "live"}


async def test_an_offer_is_relayed_once_and_only_its_sender_gets_the_answer(
    market: Market,
) -> None:
    gateway, _ = market
    async with open_stomp(gateway.address) as other, open_peer(gateway.address) as peer:
        await other.subscribe("/topic/signaling")
        await peer.connect()
        assert (await other.next()).json["type"] == "OFFER"
        # What would have come first is not there.
        await peer.signal(type="JOIN", targetId=None)
        assert (await other.next()).json["type"] == "JOIN"


async def test_nobody_else_may_speak_as_the_gateway(market: Market) -> None:
    gateway, _ = market
    async with open_stomp(gateway.address) as forger:
        body = orjson.dumps({"type": "ANSWER", "senderId": "gateway", "sdp": "v=0"}).decode()
        await forger.send("SEND", body, destination="/app/signal")
        error = await forger.next()
        assert error.command == "ERROR"
        assert "senderId is the gateway's own" in error["message"]
        assert (await forger.wait_closed())[0] == 4400


async def test_a_client_that_comes_back_gets_what_it_missed(market: Market) -> None:
    gateway, producer = market
    async with open_peer(gateway.address) as peer:
        await peer.connect()
        peer.send(type="subscribe", id="1", symbols=["AAPL"], policy="buffer")
        await peer.next_of("subscribed")
        await producer.publish("AAPL")
        (seen,) = await updates(peer, 1)
    await gateway.wait_until_left()
    for _ in range(3):
        await producer.publish("AAPL")
    resume = {"epoch": seen["epoch"], "sequences": {"AAPL": seen["sequence"]}}
    async with open_peer(gateway.address) as peer:
        await peer.connect()
        peer.send(type="subscribe", id="1", symbols=["AAPL"], policy="buffer", resume=resume)
        missed = await updates(peer, 3)
        assert [int(each["sequence"]) for each in missed] == [
            int(seen["sequence"]) + step for step in (1, 2, 3)
        ]
        assert all(each["recovered"] for each in missed)


async def test_on_a_lossy_channel_a_repeated_message_is_no_error(market: Market) -> None:
    gateway, producer = market
    await producer.publish("AAPL")
    async with open_peer(gateway.address, **LOSSY) as peer:
        await peer.connect()
        for symbols in (["AAPL"], ["AAPL", "MSFT"]):
            peer.send(type="subscribe", id="1", symbols=symbols)
            assert (await peer.next_of("subscribed"))["symbols"] == symbols
            await updates(peer, 1)
        for _ in range(2):
            peer.send(type="unsubscribe", id="1")
            await peer.next_of("unsubscribed")
    await gateway.wait_until_left()


async def test_on_a_reliable_channel_it_is_one_and_ends_the_peer(market: Market) -> None:
    gateway, _ = market
    async with open_peer(gateway.address) as peer:
        await peer.connect()
        for _ in range(2):
            peer.send(type="subscribe", id="1", symbols=["AAPL"])
        error = await peer.next_of("error")
        assert (error["id"], error["code"]) == ("1", "subscription_in_use")
        farewell = await until_closed(peer)
        assert (farewell["code"], farewell["reason"]) == (4400, error["message"])
    await gateway.wait_until_left()


async def test_a_message_over_the_limit_ends_the_peer() -> None:
    async with running(max_message_bytes=4096) as (gateway, _), open_peer(gateway.address) as peer:
        await peer.connect()
        peer.channel.send("x" * 4097)
        assert (await until_closed(peer))["code"] == 1009


@pytest.mark.parametrize("label", ["market-data", "other"])
async def test_any_further_channel_is_closed(market: Market, label: str) -> None:
    gateway, _ = market
    async with open_peer(gateway.address) as peer:
        await peer.connect()
        closed = asyncio.Event()
        peer.pc.createDataChannel(label).on("close", closed.set)
        async with asyncio.timeout(10):
            await closed.wait()
        peer.send(type="ping")
        assert (await peer.next_of("pong")).keys() == {"type", "receivedNs", "sentNs"}


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda _: "nonsense", "invalid_offer"),
        (lambda sdp: sdp.replace("m=application", "m=audio"), "invalid_offer"),
        (lambda sdp: sdp.replace("a=setup:actpass", "a=setup:x"), "invalid_offer"),
        (lambda sdp: sdp + "a=x:" + "y" * 16_384, "offer_too_large"),
    ],
    ids=["garbage", "audio", "setup", "oversize"],
)
async def test_an_offer_that_cannot_be_answered_is_refused(
    market: Market, edit: Any, code: str
) -> None:
    gateway, _ = market
    async with open_peer(gateway.address) as peer:
        await peer.offer(edit)
        refusal = await peer.reply()
        assert (refusal["type"], refusal["code"]) == ("ERROR", code)
        assert refusal["message"]
        # The session lives on, and the next offer is answered.
        await peer.offer()
        assert (await peer.reply())["type"] == "ANSWER"


async def test_candidates_that_are_none_are_refused_and_change_nothing(market: Market) -> None:
    gateway, _ = market
    async with open_peer(gateway.address) as peer:
        # To whom there is no peer yet.
        await peer.signal(type="ICE", candidate="candidate:nonsense")
        await peer.connect()
        for candidate in ("nonsense", {"candidate": "candidate:1 1 udp x"}):
            await peer.signal(type="ICE", candidate=candidate)
            while (refusal := await peer.reply())["type"] == "ICE":
                pass
            assert refusal["code"] == "invalid_offer"
        peer.send(type="ping")
        assert (await peer.next_of("pong")).keys() == {"type", "receivedNs", "sentNs"}


async def test_offers_are_limited_per_client() -> None:
    async with (
        run_market(webrtc_offer_rate=0.001) as (gateway, *_),
        open_peer(gateway.address) as peer,
    ):
        await peer.offer()
        for _ in range(endpoint.OFFER_BURST):
            await peer.signal(type="OFFER", sdp=peer.pc.localDescription.sdp)
        while (reply := await peer.reply())["type"] != "ERROR":
            pass
        assert reply["code"] == "rate_limited"


async def test_peers_are_limited_and_a_place_is_free_again() -> None:
    async with running(webrtc_max_peers=1) as (gateway, _), open_stomp(gateway.address) as stomp:
        await stomp.subscribe("/topic/signaling")
        async with peer_over(stomp, "a") as first, peer_over(stomp, "b") as second:
            await first.connect()
            await second.offer()
            assert (await second.reply())["code"] == "too_many_peers"
        await gateway.wait_until_left()
        async with peer_over(stomp, "c") as third:
            await third.connect()


async def test_no_peers_are_taken_where_there_may_be_none() -> None:
    async with running(webrtc_max_peers=0) as (gateway, _), open_peer(gateway.address) as peer:
        await peer.offer()
        assert (await peer.reply())["code"] == "too_many_peers"


async def test_a_new_offer_takes_the_place_of_the_peer_before(market: Market) -> None:
    gateway, _ = market
    async with open_stomp(gateway.address) as stomp:
        await stomp.subscribe("/topic/signaling")
        async with peer_over(stomp, "page") as before, peer_over(stomp, "page") as after:
            await before.connect()
            await after.connect()
            await before.wait_closed()
            assert len(gateway.streams) == 1


async def test_a_peer_that_never_connects_is_given_up() -> None:
    seen: list[endpoint.WebRtcEndpoint] = []
    init = endpoint.WebRtcEndpoint.__init__

    def noted(self: endpoint.WebRtcEndpoint, *args: Any) -> None:
        init(self, *args)
        seen.append(self)

    with patch.object(endpoint.WebRtcEndpoint, "__init__", noted):
        async with (
            running(webrtc_setup_timeout_s=0.2) as (gateway, _),
            open_peer(gateway.address) as peer,
        ):
            await peer.offer()
            assert (await peer.reply())["type"] == "ANSWER"
            assert len(seen[0]) == 1
            await eventually(lambda: not len(seen[0]))


async def test_a_peer_that_is_too_old_has_to_come_anew() -> None:
    async with running(webrtc_peer_age_s=0.3) as (gateway, _), open_peer(gateway.address) as peer:
        await peer.connect()
        farewell = await until_closed(peer)
        assert (farewell["code"], farewell["reason"]) == (
            1001,
            "the peer connection has reached its age",
        )
        await gateway.wait_until_left()


async def test_a_client_that_went_silent_is_given_up() -> None:
    with patch("aioice.ice.CONSENT_INTERVAL", 0.01), patch("aioice.ice.CONSENT_FAILURES", 2):
        async with running() as (gateway, _), open_peer(gateway.address) as peer:
            await peer.connect()
            assert len(gateway.streams) == 1
            peer.vanish()
            await gateway.wait_until_left()


async def test_a_channel_outlives_its_signaling_session(market: Market) -> None:
    gateway, producer = market
    async with open_peer(gateway.address) as peer:
        await peer.connect()
        await peer.stomp.websocket.close()
        peer.send(type="subscribe", id="1", symbols=["AAPL"])
        await peer.next_of("subscribed")
        await producer.publish("AAPL")
        await updates(peer, 1)


async def test_a_stopping_gateway_says_so_and_closes_its_peers() -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running() as (gateway, _):
            peer = await stack.enter_async_context(open_peer(gateway.address))
            await peer.connect()
            waiting = await stack.enter_async_context(open_peer(gateway.address, "waiting"))
            await waiting.offer()
            await waiting.reply()
        # Closed before the gateway was over.
        told = await peer.next_of("status")
        while told["status"] != "server-shutdown":
            told = await peer.next_of("status")
        after_ms = told["reconnectAfterMs"]
        assert await peer.next_of("close") == {
            "type": "close",
            "code": 1012,
            "reason": f"server-shutdown; reconnectAfterMs={after_ms}",
        }
        await peer.wait_closed()


async def test_many_states_are_paced_and_conflated_to_the_newest() -> None:
    symbols = [f"S{i}" for i in range(200)]
    async with (
        running(webrtc_message_rate=500) as (gateway, producer),
        open_peer(gateway.address) as peer,
    ):
        await peer.connect()
        peer.send(type="subscribe", id="1", symbols=["*"])
        await peer.next_of("subscribed")
        async with producer.stream() as push:
            for _ in range(20):
                await push(*symbols)
        newest: dict[str, Any] = {}
        count = 0
        while len(newest) < 200 or {each["sequence"] for each in newest.values()} != {"20"}:
            (update,) = await updates(peer, 1)
            newest[update["data"]["symbol"]] = update
            count += 1
        assert count < 4000
        assert sum(each["conflated"] > 0 for each in newest.values()) > 100


async def test_the_gateway_asks_no_server_that_it_was_not_told_of(market: Market) -> None:
    gateway, _ = market
    async with httpx.AsyncClient(trust_env=False) as http, open_peer(gateway.address) as peer:
        info = await http.get(f"http://{gateway.address}/api/v1/webrtc")
        assert info.json() == {"peerId": "gateway", "iceServers": []}
        with patch("aioice.ice.server_reflexive_candidate", side_effect=AssertionError):
            await peer.connect()
        assert "srflx" not in peer.answer["sdp"]


async def test_browsers_are_told_the_servers_of_the_settings() -> None:
    settings = {
        "webrtc_ice_servers": "stun:127.0.0.1:9,turn:127.0.0.1:9?transport=udp",
        "webrtc_turn_username": "u",
        "webrtc_turn_password": "p",
    }
    async with running(**settings) as (gateway, _), httpx.AsyncClient(trust_env=False) as http:
        info = await http.get(f"http://{gateway.address}/api/v1/webrtc")
        assert info.json()["iceServers"] == [
            {"urls": "stun:127.0.0.1:9"},
            {"urls": "turn:127.0.0.1:9?transport=udp", "username": "u", "credential": "p"},
        ]


async def test_200_peers_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:

    def files() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    def threads() -> set[str]:
        # Those of the loop's own pool come when there is work, up to a limit, and stay.
        names = {each.name for each in threading.enumerate()}
        return {name for name in names if not name.startswith("asyncio_")}

    async with (
        running(webrtc_setup_timeout_s=1) as (gateway, _),
        open_stomp(gateway.address) as stomp,
    ):
        await stomp.subscribe("/topic/signaling")

        async def visit(number: int) -> None:
            async with peer_over(stomp, "page", **(LOSSY if number % 2 else {})) as peer:
                if number % 10 == 9:
                    # One that never takes the answer.
                    await peer.offer()
                    await peer.wait_answered()
                    return
                await peer.connect()
                peer.send(type="subscribe", id="1", symbols=["*"])
                await peer.next_of("subscribed")

        async def settle() -> None:
            await gateway.wait_until_left()
            await eventually(lambda: not tasks_of("aiortc", "aioice"))
            gc.collect()

        # The first loads aiortc.
        await visit(0)
        await visit(9)
        await settle()
        before = (files(), threads())
        for number in range(200):
            await visit(number)
        await settle()
    await eventually(lambda: files() <= before[0])
    assert threads() <= before[1]
    assert [each for each in caplog.records if each.name == "asyncio"] == []

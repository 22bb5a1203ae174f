"""What STOMP clients see when something fails: the aggregator, their network, themselves."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from random import Random
from typing import Any

import httpx
import pytest

import gateway.app
from gateway.hub.hub import Hub
from gateway.settings import GatewaySettings
from gateway.stomp.endpoint import StompEndpoint
from tests.doubles.link import open_link
from tests.doubles.pipeline import make_tick, open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import run_service
from tests.doubles.stomp import Frame, open_lazy_stomp, open_stomp
from tests.integration.gateway.live import Feed, feeding, gateway_to, live, until_status

AAPL = "/topic/market-data/AAPL"
STALE, LIVE = {"status": "stale"}, {"status": "live"}


# The aggregator


async def test_a_killed_aggregator_makes_subscribers_stale_and_its_return_live_again() -> None:
    port = free_port()
    environment = {"AGGREGATOR_PORT": str(port)}
    async with gateway_to(port) as address, open_stomp(address) as client:
        await client.subscribe("/topic/status", "status")
        assert (await client.next()).json == STALE
        async with run_service("aggregator", environment) as aggregator, open_stub(port) as stub:
            await aggregator.wait_for_port()
            assert (await client.next()).json == LIVE
            await client.subscribe(AAPL, "aapl")
            await Feed(stub).price("AAPL", 10.0)
            before = await client.next()
            aggregator.process.send_signal(signal.SIGKILL)
            told = {frame["subscription"]: frame for frame in await client.messages(2)}
        assert {name: frame.json for name, frame in told.items()} == {
            "status": STALE,
            "aapl": STALE,
        }
        assert told["aapl"]["destination"] == "/topic/status"
        async with run_service("aggregator", environment) as aggregator, open_stub(port) as stub:
            await aggregator.wait_for_port()
            assert [frame.json for frame in await client.messages(2)] == [LIVE, LIVE]
            # The new process begins with nothing, and says that it is another one.
            await Feed(stub).price("AAPL", 20.0)
            after = await client.next()
        assert (after["recovered"], after.json["close"]) == ("false", 20.0)
        assert after["epoch"] != before["epoch"]


async def test_who_subscribes_while_the_feed_is_stale_is_told() -> None:
    async with gateway_to(free_port()) as address, open_stomp(address) as client:
        await client.subscribe("/topic/market-data/AAPL,MSFT", "list")
        told = await client.next()
    assert (told["destination"], told["subscription"]) == ("/topic/status", "list")
    assert told.json == STALE


async def test_after_a_cut_between_gateway_and_aggregator_what_was_missed_comes() -> None:
    async with (
        feeding() as (port, feed),
        open_link("127.0.0.1", port) as link,
        gateway_to(link.port) as address,
    ):
        await until_status(address, "live")
        async with open_stomp(address) as client:
            await client.subscribe(AAPL)
            await feed.price("AAPL", 10.0)
            assert (await client.next()).json["close"] == 10.0
            link.refuse()
            link.drop()
            assert (await client.next()).json == STALE
            await feed.price("AAPL", 11.0, 12.0)
            link.refuse(False)
            assert (await client.next()).json == LIVE
            newest = await client.next()
            # This client conflates. Nothing says that a state is missing.
            assert (newest.headers.get("recovered"), newest.json["close"]) == (None, 12.0)
            await feed.price("AAPL", 13.0)
            assert (await client.next()).json["close"] == 13.0


# The client's network


async def test_a_hundred_cuts_lose_nothing_and_double_nothing() -> None:
    cuts, random = 100, Random(7)
    seen: dict[str, list[int]] = {"AAPL": [], "MSFT": []}
    async with live() as (address, feed):
        await feed.price("AAPL", 1.0)
        await feed.price("MSFT", 1.0)
        stop = asyncio.Event()

        async def replay() -> None:
            while not stop.is_set():
                await feed.price(random.choice(["AAPL", "MSFT"]), random.uniform(1, 2))

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(replay())
            resume: dict[str, str | int] = {}
            for _ in range(cuts):
                async with open_stomp(address) as client:
                    destination = "/topic/market-data/AAPL,MSFT"
                    await client.subscribe(destination, "0", policy="buffer", **resume)
                    frames = await client.messages(random.randint(1, 20))
                    for frame in frames:
                        seen[frame.json["symbol"]].append(int(frame["sequence"]))
                    client.websocket.transport.abort()
                pairs = [f"{symbol}:{each[-1]}" for symbol, each in seen.items() if each]
                resume = {"last_sequence": ",".join(pairs), "epoch": frames[-1]["epoch"]}
            stop.set()
    for sequences in seen.values():
        assert len(sequences) > cuts
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


# A client that does not read


SYMBOLS = [f"S{number}" for number in range(500)]


async def flood(feed: Feed, rounds: int) -> None:
    """Change every symbol so often; together much more than the network between holds."""
    for number in range(rounds):
        await feed.push(*(make_tick(symbol, 1.0 + number) for symbol in SYMBOLS))


async def test_who_reads_again_gets_the_present_at_once_and_slowed_nobody() -> None:
    async with live() as (address, feed), open_stomp(address) as other:
        await other.subscribe("/topic/market-data/S0")
        async with open_lazy_stomp(address) as lazy:
            await lazy.subscribe("/topic/market-data/*")
            for number in range(20):
                await flood(feed, 1)
                await feed.price("S0", 100.0 + number)
                while (await other.next()).json["close"] != 100.0 + number:
                    pass
            frames: list[Frame] = []
            while not frames or frames[-1].json["close"] != 119.0:
                frames.append(await lazy.next())
        newest = frames[-1]
    # 20 rounds of 500 symbols were published, and most of them were never sent.
    assert len(frames) < 2000
    assert (newest["destination"], newest["conflated"]) == ("/topic/market-data/S0", "true")
    assert newest.headers.get("recovered") is None


async def test_who_does_not_read_what_is_buffered_is_ended() -> None:
    async with live(buffer_bytes=100 * 1024) as (address, feed):  # noqa: SIM117
        async with open_lazy_stomp(address) as lazy:
            await lazy.subscribe("/topic/market-data/*", policy="buffer")
            await flood(feed, 3)
            frame = await lazy.next()
            while frame.command == "MESSAGE":
                frame = await lazy.next()
            assert frame.command == "ERROR"
            assert frame["message"].startswith("slow consumer: over 102400 bytes")
            assert (await lazy.wait_closed())[0] == 4490


async def test_who_never_reads_costs_some_seconds_when_the_gateway_stops() -> None:
    async with live() as (address, feed):
        context = open_lazy_stomp(address)
        lazy = await context.__aenter__()
        await lazy.subscribe("/topic/market-data/*")
        await flood(feed, 3)
        before = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - before < 10
    lazy.websocket.transport.abort()
    with contextlib.suppress(Exception):
        await context.__aexit__(None, None, None)


# What stays


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Hub | StompEndpoint]:
    """Keep what the gateway constructs, to look into it."""
    kept: list[Hub | StompEndpoint] = []
    build_hub, build_stomp = gateway.app.build_hub, gateway.app.build_stomp

    def keep_hub(settings: GatewaySettings) -> Hub:
        kept.append(build_hub(settings))
        assert isinstance(kept[-1], Hub)
        return kept[-1]

    def keep_stomp(*args: Any, **named: Any) -> StompEndpoint:
        kept.append(build_stomp(*args, **named))
        assert isinstance(kept[-1], StompEndpoint)
        return kept[-1]

    monkeypatch.setattr(gateway.app, "build_hub", keep_hub)
    monkeypatch.setattr(gateway.app, "build_stomp", keep_stomp)
    return kept


async def test_nothing_of_a_client_stays(built: list[Hub | StompEndpoint]) -> None:
    async with live(resume_window_s=0) as (address, feed):
        hub, endpoint = built
        assert isinstance(hub, Hub)
        assert isinstance(endpoint, StompEndpoint)
        before = asyncio.all_tasks()
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://{address}") as http:
            for number in range(200):
                async with open_stomp(address) as client:
                    await client.subscribe(f"/topic/market-data/S{number},*", "m")
                    await client.subscribe("/topic/signaling", "s")
                    await client.subscribe("/topic/status", "t")
                    if number % 3 == 0:
                        client.websocket.transport.abort()
                    elif number % 3 == 1:
                        await client.send("DISCONNECT", receipt="bye")
                        assert (await client.wait_closed())[0] == 1000
                if number % 10 == 0:
                    assert (await http.post(f"/ws/0/s{number}/xhr")).text == "o\n"
                    payload = ["CONNECT\naccept-version:1.2\n\n\0", "DISCONNECT\n\n\0"]
                    await http.post(f"/ws/0/s{number}/xhr_send", json=payload)
                    assert "CONNECTED" in (await http.post(f"/ws/0/s{number}/xhr")).text
                    assert (await http.post(f"/ws/0/s{number}/xhr")).text[:6] == "c[1000"
        async with asyncio.timeout(10):
            while asyncio.all_tasks() - before or hub.subscriptions:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not list(endpoint.sessions)
        assert not endpoint.signaling
        assert not hub.followed_topics()
        await feed.price("S0", 1.0)


async def test_a_stop_with_clients_of_every_kind_is_orderly_and_quick() -> None:
    async with feeding() as (port, feed):
        environment = {
            "GATEWAY_PORT": "0",
            "GATEWAY_AGGREGATOR": f"127.0.0.1:{port}",
            "GATEWAY_SHUTDOWN_DEADLINE_S": "60",
        }
        async with run_service("gateway", environment) as service:
            address = f"127.0.0.1:{await service.wait_for_port()}"
            async with contextlib.AsyncExitStack() as stack:
                client = await stack.enter_async_context(open_stomp(address))
                lazy = await stack.enter_async_context(open_lazy_stomp(address))
                http = await stack.enter_async_context(
                    httpx.AsyncClient(trust_env=False, base_url=f"http://{address}")
                )
                await client.subscribe(AAPL)
                await lazy.subscribe("/topic/market-data/*")
                assert (await http.post("/ws/0/a/xhr")).text == "o\n"
                await http.post("/ws/0/a/xhr_send", json=["CONNECT\naccept-version:1.2\n\n\0"])
                await http.post("/ws/0/a/xhr")
                poll = asyncio.create_task(http.post("/ws/0/a/xhr"))
                await flood(feed, 3)
                begin = asyncio.get_running_loop().time()
                code = await service.stop()
                took_s = asyncio.get_running_loop().time() - begin
                frame = await client.next()
                while frame.command == "MESSAGE":
                    frame = await client.next()
                assert frame["message"].startswith("server-shutdown")
                assert await client.wait_closed() == (1012, frame["message"])
                assert "server-shutdown" in (await poll).text
                lazy.websocket.transport.abort()
        assert code == 0
        # Nobody waited for those who do not leave by themselves.
        assert took_s < 20
        assert not [line for line in service.logs if line.get("level") in {"error", "critical"}]

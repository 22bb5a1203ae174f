"""A cut between gateway and aggregator: clients see no hole and no repeat."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.doubles.follower import Follower
from tests.doubles.link import Link, open_link
from tests.doubles.pipeline import make_tick
from tests.integration.gateway.live import Feed, feeding
from tests.integration.gateway.streams import (
    Gateway,
    eventually,
    open_websocket,
    receive,
    receive_until,
    run_gateway,
    send,
)

S = 10**9
# Old enough that the wall clock closes no bar.
START = 1_735_201_200 * S
SYMBOLS = ["A", "B", "C"]
TIMEOUT_S = 60


class Flow:
    """Ticks of some symbols, four in a second of their own time."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self.rounds = 0

    async def push(self, rounds: int = 1) -> None:
        for _ in range(rounds):
            ts_ns = START + self.rounds * S // 4
            self.rounds += 1
            await self._feed.push(
                *(make_tick(symbol, 10.0 + self.rounds, ts_ns=ts_ns) for symbol in SYMBOLS)
            )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        stopping = asyncio.Event()

        async def run() -> None:
            # Each round is sent as a whole, so that the number of rounds is right.
            while not stopping.is_set():
                await self.push()
                await asyncio.sleep(0.002)

        task = asyncio.create_task(run())
        yield
        stopping.set()
        await task


@contextlib.asynccontextmanager
async def linked(**settings: Any) -> AsyncIterator[tuple[Gateway, Link, Flow]]:
    """Run an aggregator and a gateway with a link between them; give ticks to begin with."""
    async with (
        feeding(**settings) as (port, feed),
        open_link("127.0.0.1", port) as link,
        run_gateway(link.address) as gateway,
    ):
        await eventually(lambda: gateway.hub.status == "live")
        flow = Flow(feed)
        await flow.push()
        yield gateway, link, flow


class Collector:
    """A WebSocket client that takes every state of symbols and of bars."""

    def __init__(self) -> None:
        self.states: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self.finals: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self.bar_sequences: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self.completed: list[int] = []
        self.recovered: set[object] = set()

    def take(self, message: Any) -> None:
        if message["type"] == "interval_complete":
            self.completed.append(int(message["endNs"]))
        if message["type"] != "update":
            return
        self.recovered.add(message.get("recovered"))
        data = message["data"]
        sequence = int(data["sequence"])
        if message["id"] == "states":
            self.states[data["symbol"]].append(sequence)
            return
        self.bar_sequences[data["symbol"]].append(sequence)
        if data["state"] == "final":
            self.finals[data["symbol"]].append(int(data["startNs"]))

    def check(self) -> None:
        for sequences in self.states.values():
            assert sequences == list(range(sequences[0], sequences[-1] + 1))
        for sequences in self.bar_sequences.values():
            assert sequences == sorted(set(sequences))
        for starts in [*self.finals.values(), self.completed]:
            assert len(starts) > 10
            assert starts == list(range(starts[0], starts[-1] + S, S))
        assert self.recovered <= {None}


async def test_buffering_clients_see_every_state_once_across_cuts_while_ticks_flow() -> None:
    follower, collector, random = Follower(SYMBOLS), Collector(), Random(7)
    async with (
        linked() as (gateway, link, flow),
        follower.connected(gateway.address) as stomp,
        open_websocket(gateway, "/api/v1/stream") as client,
    ):
        await stomp.send("SUBSCRIBE", id="status", destination="/topic/status")
        asked: dict[str, Any] = {"symbols": SYMBOLS, "policy": "buffer"}
        await send(client, type="subscribe", id="states", **asked)
        await send(client, type="subscribe", id="bars", interval="1s", **asked)
        reading = asyncio.create_task(follower.read_on(stomp))

        async def collect() -> None:
            while True:
                collector.take(await receive(client))

        collecting = asyncio.create_task(collect())
        await follower.wait_until(lambda: len(follower.states) == len(SYMBOLS))
        async with flow.running():
            await eventually(lambda: len(collector.bar_sequences["A"]) > 3)
            for _ in range(20):
                link.drop()
                await asyncio.sleep(random.choice([0.0, 0.01, 0.1, 0.3]))
            await eventually(lambda: gateway.hub.status == "live")
        last = flow.rounds

        def has_all() -> bool:
            newest = [each[-1:] == [last] for each in collector.states.values()]
            return all(newest) and all(follower.position(s)[1] == last for s in SYMBOLS)

        await eventually(has_all)
        await flow.push(20)
        await eventually(lambda: collector.completed[-1:] >= [START + flow.rounds // 4 * S - 3 * S])
        for task in (reading, collecting):
            assert not task.done(), task.exception()
            task.cancel()
    collector.check()
    assert follower.snapshots == []
    assert len({epoch for _, epoch, _ in follower.seen}) == 1
    assert len(follower.seen) >= len(SYMBOLS) * (last - 5)
    assert follower.statuses.count("stale") == follower.statuses.count("live") - 1 > 3


async def next_update(client: ClientConnection) -> tuple[str, int, object]:
    update = await receive_until(client, "update")
    data = update["data"]
    return data["symbol"], int(data["sequence"]), update.get("recovered")


async def test_what_is_subscribed_while_the_link_is_cut_comes_after_it() -> None:
    async with (
        linked() as (gateway, link, flow),
        open_websocket(gateway, "/api/v1/stream") as client,
    ):
        await send(client, type="subscribe", id="a", symbols=["A"], policy="buffer")
        assert await next_update(client) == ("A", 1, None)
        link.refuse()
        link.drop()
        await eventually(lambda: gateway.hub.status == "stale")
        await flow.push(3)
        await send(client, type="subscribe", id="b", symbols=["B"], policy="buffer")
        await receive_until(client, "subscribed")
        link.refuse(False)
        seen = [await next_update(client) for _ in range(4)]
        assert sorted(seen) == [("A", 2, None), ("A", 3, None), ("A", 4, None), ("B", 4, None)]
        await flow.push()
        seen = [await next_update(client) for _ in range(2)]
        assert sorted(seen) == [("A", 5, None), ("B", 5, None)]


async def test_after_a_cut_each_client_gets_what_its_policy_promises() -> None:
    async with (
        linked() as (gateway, link, flow),
        open_websocket(gateway, "/api/v1/stream") as client,
    ):
        await send(client, type="subscribe", id="every", symbols=["A"], policy="buffer")
        assert await next_update(client) == ("A", 1, None)
        await send(client, type="subscribe", id="newest", symbols=["B"], policy="conflate")
        assert await next_update(client) == ("B", 1, None)
        link.refuse()
        link.drop()
        await eventually(lambda: gateway.hub.status == "stale")
        await flow.push(5)
        link.refuse(False)
        seen: dict[str, list[tuple[int, object, int]]] = {"A": [], "B": []}
        for _ in range(6):
            update = await receive_until(client, "update")
            each = int(update["sequence"]), update["recovered"], update["conflated"]
            seen[update["data"]["symbol"]].append(each)
        assert seen == {
            "A": [(sequence, None, 0) for sequence in range(2, 7)],
            "B": [(6, None, 4)],
        }
        # A client that was away is told that not all of this is known.
        resume = {"epoch": update["epoch"], "sequences": {"B": "3"}}
        await send(client, type="subscribe", id="back", symbols=["B"], resume=resume)
        assert await next_update(client) == ("B", 6, False)
        resume["sequences"] = {"A": "3"}
        await send(
            client, type="subscribe", id="all", symbols=["A"], policy="buffer", resume=resume
        )
        assert [await next_update(client) for _ in range(3)] == [
            ("A", sequence, True) for sequence in (4, 5, 6)
        ]


async def cut_long(gateway: Gateway, link: Link, flow: Flow) -> None:
    link.refuse()
    link.drop()
    await eventually(lambda: gateway.hub.status == "stale")
    await flow.push(30)
    link.refuse(False)


async def test_a_gateway_that_missed_more_than_is_kept_begins_with_a_snapshot() -> None:
    async with (
        linked(watch_recent_bytes=5_000) as (gateway, link, flow),
        open_websocket(gateway, "/api/v1/stream") as client,
    ):
        await send(client, type="subscribe", id="a", symbols=["A"], policy="buffer")
        assert (await receive_until(client, "update"))["data"]["sequence"] == "1"
        await cut_long(gateway, link, flow)
        update = await receive_until(client, "update")
        assert (update["data"]["sequence"], update["recovered"]) == ("31", False)
        await flow.push()
        update = await receive_until(client, "update")
        assert (update["data"]["sequence"], update.get("recovered")) == ("32", None)


async def test_a_gateway_that_comes_back_too_late_begins_with_a_snapshot() -> None:
    async with (
        linked(watch_hold_s=0) as (gateway, link, flow),
        open_websocket(gateway, "/api/v1/stream") as client,
    ):
        await send(client, type="subscribe", id="a", symbols=["A"], policy="buffer")
        assert (await receive_until(client, "update"))["data"]["sequence"] == "1"
        await cut_long(gateway, link, flow)
        update = await receive_until(client, "update")
        assert (update["data"]["sequence"], update["recovered"]) == ("31", False)

"""History joined to live bars at every endpoint while a real day is replayed, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import httpx

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.bar_endpoints import ENDPOINTS, BarFollower
from tests.doubles.link import open_link
from tests.doubles.pipeline import open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import run_gateway, run_service
from tests.doubles.real_day import MINUTES, SYMBOLS, computed
from tests.doubles.trades import REAL_TRADES, needs_real_trades
from tests.integration.fakeclient.recorder import Fakeclient, started

pytestmark = needs_real_trades

MINUTE_NS = 60 * 10**9
# Hours of bars come in a second, faster than a busy machine reads history beside them.
PATIENT = {"GATEWAY_BUFFER_BYTES": str(16 * 2**20)}


async def read_minutes(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    asked = {"interval": "1m", "from": "0", "include_partial": "true"}
    bars: list[dict[str, Any]] = []
    for symbol in SYMBOLS:
        answer = await http.get(f"/api/v1/marketdata/{symbol}/bars", params=asked)
        bars += answer.raise_for_status().json()["bars"]
    return bars


def replaying(port: int) -> contextlib.AbstractAsyncContextManager[Fakeclient]:
    # Faster, the replay would end on a busy machine before a client has joined, or the aggregator
    # has started again.
    return started("replay", REAL_TRADES, "--speed", "2000", "--server", f"127.0.0.1:{port}")


class Market:
    """What SPY has traded, to do something in the middle of the day."""

    def __init__(self, aggregator: int) -> None:
        self._aggregator = aggregator
        self._ends: set[int] = set()

    async def wait_for_minutes(self, count: int) -> None:
        """Wait until so many bars have begun."""
        topic = wire.BarTopic(symbol="SPY", interval="1m")
        async with open_stub(self._aggregator) as stub:
            watch = stub.Watch(iter([wire.WatchRequest(add_bars=[topic])]))
            while len(self._ends) < count:
                update = await watch.read()
                assert isinstance(update, wire.UpdateBatch)
                self._ends |= {bar.end for bar in update.bars}
            watch.cancel()


async def join_all(tasks: asyncio.TaskGroup, http: httpx.AsyncClient) -> list[BarFollower]:
    followers = [BarFollower(endpoint, SYMBOLS, "1m") for endpoint in ENDPOINTS]
    for follower in followers:
        await follower.join(tasks, f"127.0.0.1:{http.base_url.port}")
    return followers


def stored_in(path: Path) -> dict[str, str]:
    # Without bars of a second the aggregator has time for clients that join.
    return {"AGGREGATOR_STORE": f"sqlite:///{path}/bars.db", "AGGREGATOR_BARS": "1m,5m,1d"}


async def test_history_and_live_are_one_at_every_endpoint(tmp_path: Path) -> None:
    async with (
        run_service("aggregator", {"AGGREGATOR_PORT": "0", **stored_in(tmp_path)}) as aggregator,
        run_gateway(port := await aggregator.wait_for_port(), **PATIENT) as (_, http),
        open_link("127.0.0.1", port) as link,
        run_service(
            "ingest",
            # Little is on its way at once, so the replay has to wait during each cut.
            {"INGEST_PORT": "0", "INGEST_AGGREGATOR": link.address, "INGEST_RING_BATCHES": "20"},
        ) as ingest,
        replaying(await ingest.wait_for_port()) as program,
        asyncio.TaskGroup() as tasks,
    ):
        market = Market(port)
        await market.wait_for_minutes(1)
        followers = await join_all(tasks, http)
        await market.wait_for_minutes(300)
        followers += await join_all(tasks, http)
        for _ in range(2):
            link.refuse()
            link.drop()
            await ingest.wait_for_log("aggregator_lost")
            link.refuse(False)
            await ingest.wait_for_log("aggregator_connected")
        assert (await program.end()).code == 0
        assert await ingest.stop() == 0
        bars = await read_minutes(http)
        assert len(bars) == sum(MINUTES.values())
        expected = computed("1m")
        for bar in bars:
            numbers = expected[bar["symbol"], int(bar["startNs"])]
            assert (bar["close"], int(bar["volume"]), int(bar["trades"])) == numbers[3:6]
        last = max(int(bar["endNs"]) for bar in bars if bar["state"] == "final")
        for follower in followers:
            await follower.wait_for(bars)
            assert len(follower.bars) == len(bars)
            assert follower.not_recovered == []
            await follower.wait_for_end(last - MINUTE_NS)
        # All see the same ends; clients that came earlier see more of them.
        ends = followers[0].ends
        for follower in followers:
            assert follower.ends == ends[ends.index(follower.ends[0]) :]
            follower.check_quiet(bars)
            follower.leave()


async def test_after_a_kill_history_goes_on_from_the_store_at_every_endpoint(
    tmp_path: Path,
) -> None:
    settings = {"AGGREGATOR_PORT": str(port := free_port()), **stored_in(tmp_path)}
    async with (
        contextlib.AsyncExitStack() as stack,
        run_gateway(port, **PATIENT) as (_, http),
        run_service(
            "ingest", {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
        ) as ingest,
        asyncio.TaskGroup() as tasks,
    ):
        first = await stack.enter_async_context(run_service("aggregator", settings))
        await first.wait_for_port()
        program = await stack.enter_async_context(replaying(await ingest.wait_for_port()))
        await Market(port).wait_for_minutes(100)
        followers = await join_all(tasks, http)
        await Market(port).wait_for_minutes(100)
        await first.kill()
        second = await stack.enter_async_context(run_service("aggregator", settings))
        await second.wait_for_port()
        await Market(port).wait_for_minutes(100)
        late = await join_all(tasks, http)
        assert (await program.end()).code == 0
        assert await ingest.stop() == 0
        bars = await read_minutes(http)
        # Bars that were open at the kill begin anew, and their coverage shows it.
        assert any(not bar["complete"] for bar in bars)
        for follower in (*followers, *late):
            await follower.wait_for(bars)
            follower.check_quiet(bars)
            follower.leave()
        for follower in followers:
            assert set(follower.not_recovered) == set(SYMBOLS)
        for follower in late:
            assert follower.not_recovered == []

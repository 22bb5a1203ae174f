"""History joined to live bars on every door while a real day is replayed, whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.bar_doors import DOORS, BarFollower
from tests.doubles.link import open_link
from tests.doubles.pipeline import open_stub
from tests.doubles.processes import run_gateway, run_service
from tests.doubles.real_day import MINUTES, SYMBOLS, computed
from tests.doubles.trades import REAL_TRADES, needs_real_trades
from tests.integration.fakeclient.recorder import Fakeclient, started

pytestmark = needs_real_trades

MINUTE_NS = 60 * 10**9


async def read_minutes(http: httpx.AsyncClient) -> list[dict[str, Any]]:
    asked = {"interval": "1m", "from": "0", "include_partial": "true"}
    bars: list[dict[str, Any]] = []
    for symbol in SYMBOLS:
        answer = await http.get(f"/api/v1/marketdata/{symbol}/bars", params=asked)
        bars += answer.raise_for_status().json()["bars"]
    return bars


def replaying(port: int) -> contextlib.AbstractAsyncContextManager[Fakeclient]:
    # Half a minute's trades at once would be over before anybody has joined.
    return started("replay", REAL_TRADES, "--speed", "8000", "--server", f"127.0.0.1:{port}")


@contextlib.asynccontextmanager
async def joining(address: str, aggregator: int) -> AsyncIterator[list[BarFollower]]:
    """Let followers come in on each door at three moments of the replay."""
    followers: list[BarFollower] = []
    watched = wire.WatchRequest(add_bars=[wire.BarTopic(symbol="SPY", interval="1m")])
    async with asyncio.TaskGroup() as tasks:
        async with open_stub(aggregator) as stub:
            watch = stub.Watch(iter([watched]))
            ends: set[int] = set()
            for bars in (1, 200, 500):
                while len(ends) < bars:
                    update = await watch.read()
                    assert isinstance(update, wire.UpdateBatch)
                    ends |= {bar.end for bar in update.bars}
                for door in DOORS:
                    followers.append(BarFollower(door, SYMBOLS, "1m"))
                    await followers[-1].join(tasks, address)
            watch.cancel()
        yield followers
        for follower in followers:
            follower.leave()


async def test_history_and_live_are_one_on_every_door(tmp_path: Path) -> None:
    store = {"AGGREGATOR_STORE": f"sqlite:///{tmp_path}/bars.db"}
    async with (
        run_service("aggregator", {"AGGREGATOR_PORT": "0", **store}) as aggregator,
        run_gateway(port := await aggregator.wait_for_port()) as (_, http),
        open_link("127.0.0.1", port) as link,
        run_service(
            "ingest",
            # Little is on its way at once, so the replay has to wait during each cut.
            {"INGEST_PORT": "0", "INGEST_AGGREGATOR": link.address, "INGEST_RING_BATCHES": "20"},
        ) as ingest,
        replaying(await ingest.wait_for_port()) as program,
        joining(f"127.0.0.1:{http.base_url.port}", port) as followers,
    ):
        for _ in range(2):
            link.refuse()
            link.drop()
            await ingest.wait_for_log("aggregator gone, ticks wait")
            link.refuse(False)
            await ingest.wait_for_log("aggregator connected")
        assert (await program.end()).code == 0
        assert await ingest.stop() == 0
        bars = await read_minutes(http)
        assert len(bars) == sum(MINUTES.values())
        expected = computed("1m")
        for bar in bars:
            numbers = expected[bar["symbol"], int(bar["startNs"])]
            assert (bar["close"], int(bar["volume"]), int(bar["trades"])) == numbers[3:6]
        for follower in followers:
            await follower.wait_until(lambda: follower.has(bars))
            assert len(follower.bars) == len(bars)
            assert follower.not_recovered == []
        # All know the same ends, those who came first the most.
        last = max(int(bar["endNs"]) for bar in bars if bar["state"] == "final")
        for first, follower in enumerate(followers):
            await follower.wait_until(
                lambda: bool(follower.ends) and follower.ends[-1] >= last - MINUTE_NS
            )
            first_ends = followers[0].ends
            assert follower.ends == first_ends[first_ends.index(follower.ends[0]) :], first
        await asyncio.sleep(0)

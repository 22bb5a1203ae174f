"""Peers of a gateway of several processes: whichever answers an offer serves its data channel."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.doubles.peer import PeerClient, peer_over
from tests.doubles.processes import TIMEOUT_S
from tests.doubles.workers import Workers, run_workers


async def follow(peer: PeerClient) -> Any:
    """Connect, follow AAPL, and return its present state."""
    await peer.connect()
    peer.send(type="subscribe", id="1", symbols=["AAPL"], policy="buffer")
    await peer.next_of("subscribed")
    return (await peer.next_of("update"))["data"]


async def next_prices(peer: PeerClient, count: int) -> list[float]:
    return [(await peer.next_of("update"))["data"]["close"] for _ in range(count)]


async def clients(workers: Workers) -> list[int]:
    return [each["clients"] for each in (await workers.status())["gateway"]["workers"]]


async def until_left(workers: Workers) -> None:
    """Wait until no worker has a client any more."""
    async with asyncio.timeout(TIMEOUT_S):
        while await clients(workers) != [0, 0]:
            pass


@pytest.mark.parametrize("worker", [0, 1])
async def test_a_peer_receives_data_from_whichever_worker_answers(worker: int) -> None:
    async with run_workers(2) as workers:
        await workers.feed.price("AAPL", 10.0, 11.0)
        async with workers.stomp(worker) as stomp:
            await stomp.subscribe("/topic/signaling")
            async with peer_over(stomp, "ann") as peer:
                state = await follow(peer)
                assert (state["close"], state["trades"]) == (11.0, "2")
                # One client more than the signaling session, where the answer came from.
                assert (await clients(workers))[worker] == 2
                await workers.feed.price("AAPL", 12.0, 13.0)
                assert await next_prices(peer, 2) == [12.0, 13.0]
        await until_left(workers)
        assert await workers.service.stop() == 0
        assert [line for line in workers.service.logs if line.get("level") != "info"] == []


async def test_two_peers_of_one_name_at_two_workers_have_nothing_of_each_other() -> None:
    async with run_workers(2) as workers, contextlib.AsyncExitStack() as stack:
        await workers.feed.price("AAPL", 10.0)
        here, there = [
            await stack.enter_async_context(workers.stomp(worker)) for worker in range(2)
        ]
        for stomp in (here, there):
            await stomp.subscribe("/topic/signaling")
        # The gateway knows a peer by its session and the name that it gives itself there.
        async with peer_over(here, "page") as first:
            async with peer_over(there, "page") as second:
                assert (await follow(first))["close"] == 10.0
                assert (await follow(second))["close"] == 10.0
                assert await clients(workers) == [2, 2]
                await workers.feed.price("AAPL", 11.0, 12.0)
                for peer in (first, second):
                    assert await next_prices(peer, 2) == [11.0, 12.0]
            # One goes, the other stays.
            async with asyncio.timeout(TIMEOUT_S):
                while await clients(workers) != [2, 1]:
                    pass
            await workers.feed.price("AAPL", 13.0)
            assert await next_prices(first, 1) == [13.0]

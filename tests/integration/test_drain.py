"""SIGTERM under load: each service exits 0 within its deadline, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import orjson
import pytest
import websockets

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import TIMEOUT_S, connect, frame, make_tick, open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import bound, run_gateway, run_service

DEADLINE_S = 20.0
CLIENTS = 40
# Runs `main` as a service named ingest.
SERVICE = """
import asyncio
from ingest.settings import IngestSettings
from marketdata.runtime import run_service

async def main(settings, stop):
    print("listening", flush=True)
    {body}

run_service("ingest", IngestSettings, main)
"""
STUCK = "await asyncio.Event().wait()"
# A second signal comes while it stops.
SLOW = 'await stop.wait(); print("stopping", flush=True); await asyncio.sleep(1); return 0'


@contextlib.asynccontextmanager
async def flooding(port: int, batches: int) -> AsyncIterator[asyncio.Task[int]]:
    """Send ticks to ingest beside the body; the task returns how many."""
    data = frame(make_tick()) * 100

    async def flood() -> int:
        async with connect(port) as (_, writer):
            for _ in range(batches):
                writer.write(data)
                await writer.drain()
                await asyncio.sleep(0.002)
        return 100 * batches

    task = asyncio.create_task(flood())
    yield task
    await task


async def trades(port: int) -> int:
    async with open_stub(port) as stub:
        return (await stub.GetAggregate(wire.AggregateRequest(symbol="AAPL"))).trades


async def test_an_aggregator_that_restarts_under_load_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    env = {
        "AGGREGATOR_PORT": str(port),
        "AGGREGATOR_STORE": f"sqlite:///{tmp_path}/bars.db",
        "AGGREGATOR_DRAIN_S": "0.5",
    }
    ingest_env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
    async with (
        run_service("ingest", ingest_env) as ingest,
        run_service("aggregator", env) as aggregator,
    ):
        ingest_port = await ingest.wait_for_port()
        await aggregator.wait_for_port()
        await ingest.wait_for_log("aggregator_connected")
        async with flooding(ingest_port, 1000) as sending:
            await ingest.wait_for_log("producer_connected")
            await asyncio.sleep(0.5)
            began = time.monotonic()
            assert await aggregator.stop() == 0
            assert time.monotonic() - began < DEADLINE_S
            async with run_service("aggregator", env) as again:
                await again.wait_for_port()
                sent = await sending
                assert await ingest.stop() == 0
                assert await trades(port) == sent


async def test_a_watcher_gets_all_that_was_published_before_the_aggregator_stops() -> None:
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        port = await aggregator.wait_for_port()
        async with open_stub(port) as stub, open_stub(port) as producer:
            watch = stub.Watch()
            await watch.write(wire.WatchRequest(buffer=10_000, add=["AAPL"]))
            await watch.initial_metadata()
            call = producer.PublishTicks()
            for _ in range(500):
                await call.write(wire.TickBatch(ticks=[make_tick()]))
                await call.read()
            await call.done_writing()
            stopping = asyncio.create_task(aggregator.stop())
            sequences: list[int] = []
            with contextlib.suppress(grpc.aio.AioRpcError):
                while isinstance(batch := await watch.read(), wire.UpdateBatch):
                    sequences.extend(update.sequence for update in batch.updates)
            # The first is the present state.
            assert sequences == list(range(sequences[0], 501))
            assert await watch.code() is grpc.StatusCode.UNAVAILABLE
            assert await stopping == 0


async def follow(port: int) -> tuple[list[int], int | None, str | None]:
    """Return the sequences that a client gets until the gateway ends it, and how it ends."""
    url = f"ws://127.0.0.1:{port}/api/v1/stream?symbols=AAPL&policy=buffer"
    seen = []
    async with websockets.connect(url, proxy=None) as client:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in client:
                update = orjson.loads(message)
                if update["type"] == "update":
                    seen.append(int(update["sequence"]))
        return seen, client.close_code, client.close_reason


async def test_a_gateway_that_stops_under_load_tells_each_client_without_a_hole() -> None:
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        port = await aggregator.wait_for_port()
        env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
        async with run_service("ingest", env) as ingest, run_gateway(port) as (gateway, http):
            async with flooding(await ingest.wait_for_port(), 500):
                await gateway.wait_for_log("feed_connected")
                gateway_port = http.base_url.port
                assert gateway_port is not None
                following = [asyncio.create_task(follow(gateway_port)) for _ in range(CLIENTS)]
                for _ in range(CLIENTS):
                    await gateway.wait_for_log("connection_opened")
                reading = asyncio.create_task(http.get("/api/v1/marketdata/AAPL"))
                await asyncio.sleep(0.3)
                began = time.monotonic()
                assert await gateway.stop() == 0
                assert time.monotonic() - began < DEADLINE_S
                assert (await reading).status_code == 200
                async with asyncio.timeout(TIMEOUT_S):
                    ends = await asyncio.gather(*following)
            assert not [line for line in gateway.logs if line["level"] in {"error", "critical"}]
    for seen, code, reason in ends:
        assert seen == list(range(seen[0], seen[0] + len(seen)))
        assert len(seen) > 1
        assert code == 1012
        assert str(reason).startswith("server-shutdown; reconnectAfterMs=")
    assert len({reason for _, _, reason in ends}) > CLIENTS / 2


@contextlib.asynccontextmanager
async def running(body: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a service that does as ``body`` says, until it has begun."""
    process = await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-c", SERVICE.format(body=body)),
        env={**os.environ, "INGEST_SHUTDOWN_DEADLINE_S": "2", "INGEST_LOG_FORMAT": "json"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"listening\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_service_that_hangs_ends_at_its_deadline_and_exits_1() -> None:
    async with running(STUCK) as process:
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, log = await process.communicate()
        assert 1.9 < time.monotonic() - began < 10
        assert process.returncode == 1
        line = orjson.loads(log.splitlines()[0])
        assert (line["event"], line["deadline_s"]) == ("shutdown_deadline_passed", 2.0)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_changes_nothing(second: signal.Signals) -> None:
    async with running(SLOW) as process:
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"stopping\n"
        process.send_signal(second)
        assert await process.wait() == 0

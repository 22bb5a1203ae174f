"""Ingest is killed again and again while a producer session sends: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import make_tick, open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import Service, run_service, run_standalone
from tests.doubles.session_client import SessionClient, open_session

SIZE = 20
BATCHES = 2_000
SYMBOLS = ("AAPL", "MSFT")
LOST = (OSError, asyncio.IncompleteReadError, EOFError)


class Producer:
    """A producer of numbered ticks that goes on after every loss of its connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        # How many batches may be sent so far.
        self._allowed = BATCHES
        self.acked = 0
        self.connections = 0
        self._progress = asyncio.Condition()

    async def run(self) -> None:
        """Send everything, and end when everything is acked."""
        while self.acked < BATCHES * SIZE:
            try:
                async with open_session(self._port) as client:
                    welcome = await client.welcome()
                    # What was acked is there.
                    assert welcome.last_sequence >= self.acked
                    self.acked = welcome.last_sequence
                    self.connections += 1
                    await self._carry(client)
            except LOST:
                await asyncio.sleep(0.02)
            except ExceptionGroup as exc:
                if exc.split(LOST)[1] is not None:
                    raise
                await asyncio.sleep(0.02)

    async def reached(self, connections: int, batches: int) -> None:
        """Wait for an ack over the connection with this number, after so many batches.

        More batches are on their way then, and the last ones are not sent.
        """
        async with asyncio.timeout(60), self._progress:
            self._allowed = batches + 300
            self._progress.notify_all()
            await self._progress.wait_for(
                lambda: self.connections == connections and self.acked >= batches * SIZE
            )

    async def finish(self) -> None:
        """Allow the rest to be sent."""
        async with self._progress:
            self._allowed = BATCHES
            self._progress.notify_all()

    async def _carry(self, client: SessionClient) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._send(client, self.acked))
            while self.acked < BATCHES * SIZE:
                ack = await client.ack()
                assert not ack.rejections
                assert ack.last_sequence % SIZE == 0
                async with self._progress:
                    self.acked = max(self.acked, ack.last_sequence)
                    self._progress.notify_all()

    async def _send(self, client: SessionClient, after: int) -> None:
        for first in range(after + 1, BATCHES * SIZE + 1, SIZE):
            async with self._progress:
                await self._progress.wait_for(lambda: first <= self._allowed * SIZE)  # noqa: B023
            ticks = [
                make_tick(SYMBOLS[sequence % 2], volume=sequence)
                for sequence in range(first, first + SIZE)
            ]
            client.send(first, ticks)
            await client.writer.drain()


@asynccontextmanager
async def run_ingest_at(port: int, aggregator_port: int) -> AsyncIterator[tuple[Service, int]]:
    env = {"INGEST_PORT": str(port), "INGEST_AGGREGATOR": f"127.0.0.1:{aggregator_port}"}
    async with run_service("ingest", env) as ingest:
        yield ingest, await ingest.wait_for_port()


async def assert_exact(aggregator_port: int) -> None:
    last = BATCHES * SIZE
    async with open_stub(aggregator_port) as stub:
        states = [await stub.GetAggregate(wire.AggregateRequest(symbol=s)) for s in SYMBOLS]
        status = await stub.GetStatus(wire.StatusRequest())
        producer = await stub.GetProducer(wire.ProducerStateRequest(producer_id="feed-1"))
    assert [state.trades for state in states] == [last // 2] * 2
    assert sum(state.volume for state in states) == last * (last + 1) // 2
    # One state for each batch, whichever way it came.
    assert [state.sequence for state in states] == [BATCHES] * 2
    assert status.accepted == last
    assert producer.last_sequence == last


async def test_a_producer_survives_any_number_of_killed_ingests() -> None:
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        aggregator_port = await aggregator.wait_for_port()
        async with run_ingest_at(0, aggregator_port) as (ingest, port):
            producer = Producer(port)
            reached = asyncio.create_task(producer.reached(1, 100))
            producing = asyncio.create_task(producer.run())
            await reached
            await ingest.stop(signal.SIGKILL)
        for number in (2, 3):
            async with run_ingest_at(port, aggregator_port) as (ingest, _):
                await producer.reached(number, number * 350)
                await ingest.stop(signal.SIGKILL)
        async with run_ingest_at(port, aggregator_port) as (ingest, _):
            await producer.reached(4, 1_400)
            assert await ingest.stop() == 0
        async with run_ingest_at(port, aggregator_port):
            await producer.finish()
            await producing
        assert producer.connections == 5
        await assert_exact(aggregator_port)


async def test_a_producer_survives_killed_processes_that_run_all_services(tmp_path: Path) -> None:
    ports = {"INGEST_PORT": str(free_port()), "AGGREGATOR_PORT": str(free_port())}
    env = {**ports, "AGGREGATOR_LOG": f"{tmp_path}/log"}
    port, aggregator_port = map(int, ports.values())
    producer, producing = Producer(port), None
    for number in (1, 2, 3):
        async with run_standalone(**env) as one:
            producing = producing or asyncio.create_task(producer.run())
            await producer.reached(number, number * 350)
            await one.aggregator.stop(signal.SIGKILL)
    async with run_standalone(**env) as one:
        await producer.reached(4, 1_400)
        assert await one.aggregator.stop() == 0
    async with run_standalone(**env):
        await producer.finish()
        assert producing is not None
        await producing
        await assert_exact(aggregator_port)
    assert producer.connections == 5


async def test_a_producer_survives_the_orderly_restart_of_an_aggregator(tmp_path: Path) -> None:
    env = {"AGGREGATOR_PORT": "0", "AGGREGATOR_STORE": f"sqlite:///{tmp_path}/bars.db"}
    async with run_service("aggregator", env) as aggregator:
        aggregator_port = await aggregator.wait_for_port()
        env["AGGREGATOR_PORT"] = str(aggregator_port)
        async with run_ingest_at(0, aggregator_port) as (_, port):
            producer = Producer(port)
            reached = asyncio.create_task(producer.reached(1, 300))
            producing = asyncio.create_task(producer.run())
            await reached
            assert await aggregator.stop() == 0
            async with run_service("aggregator", env) as again:
                await again.wait_for_port()
                await producer.finish()
                await producing
                async with open_stub(aggregator_port) as stub:
                    states = [
                        await stub.GetAggregate(wire.AggregateRequest(symbol=s)) for s in SYMBOLS
                    ]
    last = BATCHES * SIZE
    assert producer.connections == 1
    assert [state.trades for state in states] == [last // 2] * 2
    assert sum(state.volume for state in states) == last * (last + 1) // 2

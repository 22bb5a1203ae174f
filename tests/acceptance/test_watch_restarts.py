"""The aggregator is killed and comes back: clients of the gateway see a pause and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import grpc
from websockets.asyncio.client import ClientConnection

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import run_service
from tests.integration.gateway.streams import (
    eventually,
    open_websocket,
    receive,
    run_gateway,
    send,
)

S = 10**9
START = 1_735_201_200 * S
SYMBOLS = ["A", "B", "C"]


class Producer:
    """Sends numbered ticks in batches, one unacknowledged at a time, again after a loss."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.acked = 0

    def _batch(self, number: int) -> wire.TickBatch:
        # Four ticks of each symbol in a second.
        ticks = [
            wire.Tick(
                symbol=symbol,
                price=10 + number,
                volume=1,
                exchange_timestamp=START + number * S // 4,
            )
            for symbol in SYMBOLS
        ]
        first = number * len(SYMBOLS) + 1
        return wire.TickBatch(producer_id="p", first_sequence=first, ticks=ticks)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                async with open_stub(self._port) as stub:
                    call = stub.PublishTicks(wait_for_ready=True)
                    while True:
                        await call.write(self._batch(self.acked))
                        if await call.read() is grpc.aio.EOF:
                            break
                        self.acked += 1
                        await asyncio.sleep(0.003)
            await asyncio.sleep(0.05)


class Client:
    """Takes every state and every final bar."""

    def __init__(self) -> None:
        self.states: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self.finals: dict[str, list[int]] = {symbol: [] for symbol in SYMBOLS}
        self.completed: list[int] = []
        self.epochs: set[str] = set()
        self.recovered: set[object] = set()

    def has_all(self, last: int) -> bool:
        return all(sequences[-1] >= last for sequences in self.states.values())

    def take(self, message: Any) -> None:
        if message["type"] == "interval_complete":
            self.completed.append(int(message["endNs"]))
        if message["type"] != "update":
            return
        data = message["data"]
        self.recovered.add(message.get("recovered"))
        self.epochs.add(data["epoch"])
        if message["id"] == "states":
            self.states[data["symbol"]].append(int(data["sequence"]))
        elif data["state"] == "final":
            self.finals[data["symbol"]].append(int(data["startNs"]))


async def test_clients_see_every_state_once_while_the_aggregator_is_killed_and_restarted(
    tmp_path: Path,
) -> None:
    port, client = free_port(), Client()
    env = {
        "AGGREGATOR_PORT": str(port),
        "AGGREGATOR_STORE": "off",
        "AGGREGATOR_LOG": f"{tmp_path}/log",
        "AGGREGATOR_BARS": "1s",
        "AGGREGATOR_DRAIN_S": "0",
    }
    producer = Producer(port)
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(run_gateway(f"127.0.0.1:{port}"))
        asked: dict[str, Any] = {"symbols": SYMBOLS, "policy": "buffer"}

        async def collect(websocket: ClientConnection) -> None:
            while True:
                client.take(await receive(websocket))

        tasks = [asyncio.create_task(producer.run())]
        stack.callback(lambda: [task.cancel() for task in tasks])
        for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, None):
            async with run_service("aggregator", env) as aggregator:
                await aggregator.wait_for_port()
                if len(tasks) == 1:
                    await eventually(lambda: gateway.hub.status == "live")
                    opening = open_websocket(gateway, "/api/v1/stream")
                    websocket = await stack.enter_async_context(opening)
                    await send(websocket, type="subscribe", id="states", **asked)
                    await send(websocket, type="subscribe", id="bars", interval="1s", **asked)
                    tasks.append(asyncio.create_task(collect(websocket)))
                seen = len(client.completed)
                await eventually(lambda: len(client.completed) > seen + 10)  # noqa: B023
                if how is None:
                    tasks[0].cancel()
                    last = producer.acked
                    await eventually(lambda: client.has_all(last))  # noqa: B023
                elif how is signal.SIGKILL:
                    await aggregator.kill()
                else:
                    assert await aggregator.stop() == 0
        assert not tasks[1].done(), tasks[1].exception()
    for sequences in client.states.values():
        assert sequences == list(range(sequences[0], sequences[-1] + 1))
    for starts in [*client.finals.values(), client.completed]:
        assert starts == list(range(starts[0], starts[-1] + S, S))
    assert len(client.completed) > 40
    assert (client.recovered, len(client.epochs)) == ({None}, 1)

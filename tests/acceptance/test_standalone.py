"""The three services in one process keep what they promise as three."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect as connect_websocket

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import connect, frame, make_tick, open_stub, send
from tests.doubles.processes import TIMEOUT_S, Service, run_service, run_standalone

SERVICES = ("ingest", "aggregator", "gateway")
ANY_PORTS = {f"{name.upper()}_PORT": "0" for name in SERVICES}
# A machine may allow fewer open files than three services could use, and the first start after a
# change of the source compiles.
OF_THE_MACHINE = {"open_files_limited", "compiling_kernel", "kernel_compiled"}


def said(service: Service) -> list[tuple[str, str]]:
    """Return service and event of each line."""
    lines = [(line.get("service", ""), line["event"]) for line in service.logs]
    return [line for line in lines if line[1] not in OF_THE_MACHINE]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_services_start_and_stop_in_order_and_nothing_sent_is_lost(
    number: signal.Signals,
) -> None:
    async with run_standalone() as one:
        async with connect(one.ingest_port) as (_, writer):
            writer.write(frame(make_tick()) * 50_000)
            await writer.drain()
            # All of it is in the kernel now; most of it is not read yet.
            assert await one.ingest.stop(number) == 0
        lines = said(one.ingest)
        assert lines[:4] == [
            ("aggregator", "aggregator_listening"),
            ("gateway", "gateway_listening"),
            ("ingest", "ingest_listening"),
            ("standalone", "standalone_ready"),
        ]
        assert lines[-3:] == [
            ("ingest", "ingest_stopped"),
            ("gateway", "gateway_stopped"),
            ("aggregator", "aggregator_stopped"),
        ]
        assert ("gateway", "feed_connected") in lines
        assert ("ingest", "aggregator_connected") in lines
        stopped = {line["event"]: line for line in one.ingest.logs}
        assert stopped["ingest_stopped"]["lost"] == 0
        accepted = stopped["ingest_stopped"]["accepted"]
        assert stopped["aggregator_stopped"]["accepted"] == accepted
        assert [line for line in one.ingest.logs if line["level"] == "error"] == []


async def test_a_live_client_sees_every_state_once_and_in_order() -> None:
    sequences: list[int] = []
    async with run_standalone(AGGREGATOR_SESSION="none") as one, asyncio.timeout(TIMEOUT_S):
        address = f"ws://{one.http.base_url.netloc.decode()}/api/v1/stream"
        async with connect_websocket(address, proxy=None, max_queue=None) as websocket:
            request = {"type": "subscribe", "id": "1", "symbols": ["AAPL"], "policy": "buffer"}
            await websocket.send(orjson.dumps(request).decode())

            async def read_until(trades: int) -> None:
                while True:
                    message: dict[str, Any] = orjson.loads(await websocket.recv())
                    assert message.get("recovered") is not False
                    if message["type"] == "update":
                        sequences.append(int(message["sequence"]))
                        if int(message["data"]["trades"]) == trades:
                            return

            # Each tick while the one before is on its way, and many at once.
            async with connect(one.ingest_port) as (_, writer):
                for count in (*[1] * 200, 5_000):
                    writer.write(frame(make_tick()) * count)
                    await writer.drain()
                await read_until(5_200)
    assert sequences == list(range(sequences[0], sequences[-1] + 1))


async def test_others_use_the_aggregator_over_grpc_beside_the_gateway() -> None:
    async with run_standalone() as one, open_stub(one.aggregator_port) as stub:
        watch = stub.Watch()
        await watch.write(wire.WatchRequest(add=["AAPL", "MSFT"]))
        publish = stub.PublishTicks()
        await publish.write(
            wire.TickBatch(producer_id="other", first_sequence=1, ticks=[make_tick("MSFT")])
        )
        ack = await publish.read()
        assert isinstance(ack, wire.BatchAck)
        assert ack.accepted == 1
        await send(one.ingest_port, [make_tick("AAPL", price=12.5)])
        seen: dict[str, float] = {}
        async with asyncio.timeout(TIMEOUT_S):
            while len(seen) < 2:
                batch = await watch.read()
                assert isinstance(batch, wire.UpdateBatch)
                seen |= {each.symbol: each.close for each in batch.updates}
        assert seen == {"AAPL": 12.5, "MSFT": 10.0}
        for symbol, close in seen.items():
            answer = await one.http.get(f"/api/v1/marketdata/{symbol}")
            assert (answer.json()["close"], answer.headers["x-data-status"]) == (close, "live")
        assert (await one.http.get("/api/v1/marketdata/IBM")).status_code == 404
        assert (await one.http.get("/health/ready")).status_code == 200
        watch.cancel()
        publish.cancel()


async def test_live_clients_and_producers_do_not_delay_the_stop() -> None:
    async with run_standalone(AGGREGATOR_DRAIN_S="0.2") as one:
        address = f"ws://{one.http.base_url.netloc.decode()}/api/v1/stream"
        async with (
            connect_websocket(address, proxy=None) as websocket,
            connect(one.ingest_port) as (_, writer),
            open_stub(one.aggregator_port) as stub,
        ):
            request = {"type": "subscribe", "id": "1", "symbols": ["AAPL"]}
            await websocket.send(orjson.dumps(request).decode())
            writer.write(frame(make_tick()))
            stream = stub.StreamAggregates(wire.AggregateRequest(symbol="AAPL"))
            assert (await stream.read()) is not None
            assert await one.ingest.stop() == 0
        events = [event for _, event in said(one.ingest)]
        assert events[-1] == "aggregator_stopped"
        assert "shutdown_deadline_passed" not in events


@pytest.mark.parametrize("name", SERVICES)
async def test_a_port_in_use_is_one_line_and_exit_1_and_what_has_started_stops(name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = {**ANY_PORTS, f"{name.upper()}_PORT": str(port)}
        async with run_service("standalone", settings) as service:
            assert await service.end() == 1
            line = f"standalone: cannot listen on 127.0.0.1:{port}: address already in use"
            assert said(service)[-1] == ("", line)
            events = [event for _, event in said(service)]
            assert ("aggregator_listening" in events) == ("aggregator_stopped" in events)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_wrong_setting_of_any_service_is_one_line_and_exit_2(name: str) -> None:
    async with run_service("standalone", {f"{name.upper()}_PROT": "1"}) as service:
        assert await service.end() == 2
        known, unknown = f"{name.upper()}_PORT", f"{name.upper()}_PROT"
        text = f"standalone: unknown setting {unknown}, the nearest known name is {known}"
        assert said(service) == [("", text)]


async def test_different_formats_of_one_log_are_refused() -> None:
    async with run_service("standalone", {"GATEWAY_LOG_FORMAT": "brief"}) as service:
        assert await service.end() == 2
        ((_, line),) = said(service)
        assert "one process has one log format" in line
        assert "GATEWAY_LOG_FORMAT=brief" in line


async def test_each_service_has_its_own_log_level() -> None:
    async with run_standalone(INGEST_LOG_LEVEL="error", GATEWAY_LOG_LEVEL="warning") as one:
        assert await one.ingest.stop() == 0
        assert {service for service, _ in said(one.ingest)} == {"aggregator", "standalone"}

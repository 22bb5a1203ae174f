"""Services as processes: start, signals, exit codes, crashes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket

import pytest

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import connect, frame, make_tick, open_stub, send
from tests.doubles.processes import Service, run_backend, run_gateway, run_service


async def trades(port: int, symbol: str = "AAPL") -> int:
    async with open_stub(port) as stub:
        return (await stub.GetAggregate(wire.AggregateRequest(symbol=symbol))).trades


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_ingest_hands_over_all_it_has_read_and_exits_0(number: signal.Signals) -> None:
    async with run_backend() as (_, aggregator_port, ingest, ingest_port):
        async with connect(ingest_port) as (_, writer):
            writer.write(frame(make_tick()) * 50_000)
            await writer.drain()
            # All of it is in the kernel now; most of it is not read yet.
            assert await ingest.stop(number) == 0
            stopped = ingest.logs[-1]
        assert stopped["event"] == "ingest_stopped"
        assert stopped["lost"] == 0
        assert stopped["accepted"] == await trades(aggregator_port)


async def test_signals_while_a_process_ends_do_not_change_its_exit_code() -> None:
    async with run_service("ingest", {"INGEST_PORT": "0"}) as ingest:
        await ingest.wait_for_port()
        ending = asyncio.create_task(ingest.stop())
        await ingest.wait_for_log("ingest_stopped")
        while not ending.done():
            with contextlib.suppress(ProcessLookupError):
                # The method of the process would take its exit code.
                os.kill(ingest.process.pid, signal.SIGTERM)
            await asyncio.sleep(0.001)
        assert await ending == 0


async def test_what_was_sent_before_the_signal_is_not_lost() -> None:
    async with run_backend() as (_, aggregator_port, ingest, ingest_port):
        await send(ingest_port, [make_tick()] * 20_000)
        assert await ingest.stop() == 0
        assert await trades(aggregator_port) == 20_000


async def test_ingest_says_how_many_ticks_it_could_not_hand_over_and_exits_1() -> None:
    env = {
        "INGEST_PORT": "0",
        "INGEST_AGGREGATOR": "127.0.0.1:1",
        "INGEST_SHUTDOWN_DEADLINE_S": "2",
    }
    async with run_service("ingest", env) as ingest:
        await send(await ingest.wait_for_port(), [make_tick()] * 7)
        assert await ingest.stop() == 1
        assert ingest.logs[-1]["lost"] == 7


async def test_an_aggregator_that_is_killed_is_told_of_in_one_line_each_way() -> None:
    async with run_backend() as (aggregator, port, ingest, ingest_port):
        await ingest.wait_for_log("aggregator_connected")
        await aggregator.stop(signal.SIGKILL)
        gone = await ingest.wait_for_log("aggregator_lost")
        assert gone["code"] == "UNAVAILABLE"
        await send(ingest_port, [make_tick()] * 5)
        async with run_service("aggregator", {"AGGREGATOR_PORT": str(port)}) as again:
            await again.wait_for_port()
            back = await ingest.wait_for_log("aggregator_connected")
            assert back["waiting_ticks"] == 5
            assert await ingest.stop() == 0
            assert await trades(port) == 5
        events = [line["event"] for line in ingest.logs]
        assert events.count("aggregator_lost") == 1


async def test_the_aggregator_stops_at_once_when_nobody_is_connected() -> None:
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        await aggregator.wait_for_port()
        assert await aggregator.stop() == 0
        assert aggregator.logs[-1]["event"] == "aggregator_stopped"


async def test_an_aggregator_that_stops_alone_ends_its_producers_without_a_traceback() -> None:
    async with run_backend(AGGREGATOR_DRAIN_S="0.1") as (aggregator, port, ingest, ingest_port):
        await send(ingest_port, [make_tick()])
        async with open_stub(port) as stub:
            stream = stub.StreamAggregates(wire.AggregateRequest(symbol="AAPL"))
            assert (await anext(aiter(stream))).trades == 1
            stream.cancel()
        assert await aggregator.stop() == 0
        gone = await ingest.wait_for_log("aggregator_lost")
        assert gone["details"] == "the aggregator is shutting down"
        assert [line["event"] for line in aggregator.logs][1:] == ["aggregator_stopped"]


async def test_both_stop_in_order_when_both_are_told_at_once() -> None:
    async with run_backend(AGGREGATOR_DRAIN_S="12") as (aggregator, _, ingest, ingest_port):
        # An aggregator that stops takes no new stream.
        await ingest.wait_for_log("aggregator_connected")
        await send(ingest_port, [make_tick()] * 20_000)
        aggregator.process.terminate()
        assert await ingest.stop() == 0
        assert await aggregator.end() == 0
        assert aggregator.logs[-1]["accepted"] == 20_000


@pytest.mark.parametrize("module", ["ingest", "aggregator"])
async def test_a_port_in_use_is_one_line_and_exit_1(module: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with run_service(module, {f"{module.upper()}_PORT": str(port)}) as service:
            assert await service.end() == 1
            assert said(service) == [
                f"{module}: cannot listen on 127.0.0.1:{port}: address already in use"
            ]


@pytest.mark.parametrize("module", ["ingest", "aggregator"])
async def test_a_wrong_setting_is_one_line_and_exit_2(module: str) -> None:
    async with run_service(module, {f"{module.upper()}_PROT": "1"}) as service:
        assert await service.end() == 2
        name = module.upper()
        assert said(service) == [
            f"{module}: unknown setting {name}_PROT, the nearest known name is {name}_PORT"
        ]


def said(service: Service) -> list[str]:
    return [line["event"] for line in service.logs]


async def test_a_gateway_is_stale_once_while_its_aggregator_drains() -> None:
    async with (
        run_backend(AGGREGATOR_DRAIN_S="2") as (aggregator, port, ingest, ingest_port),
        run_gateway(port) as (gateway, _),
    ):
        await send(ingest_port, [make_tick()])
        await ingest.wait_for_log("aggregator_connected")
        await gateway.wait_for_log("feed_connected")
        assert await aggregator.stop() == 0
        await ingest.wait_for_log("aggregator_lost")
        assert len(gateway.said("feed_connected")) == 1
        assert len(gateway.said("feed_gone")) == 1


async def test_a_tick_that_was_sent_right_before_the_signal_is_taken() -> None:
    for _ in range(5):
        async with run_backend() as (_, aggregator_port, ingest, ingest_port):
            with socket.create_connection(("127.0.0.1", ingest_port)) as first:
                first.sendall(frame(make_tick()))
                await ingest.wait_for_log("producer_connected")
                first.sendall(frame(make_tick()))
                # It is in the queue of the listening socket.
                with socket.create_connection(("127.0.0.1", ingest_port)) as second:
                    second.sendall(frame(make_tick()))
                    assert await ingest.stop() == 0
            assert await trades(aggregator_port) == 3


async def test_a_producer_that_never_pauses_does_not_delay_the_stop_of_ingest() -> None:
    data = frame(make_tick()) * 1_000

    async def flood(port: int) -> None:
        async with connect(port) as (_, writer):
            with contextlib.suppress(ConnectionError):
                while True:
                    writer.write(data)
                    await writer.drain()

    async with run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator:
        aggregator_port = await aggregator.wait_for_port()
        env = {
            "INGEST_PORT": "0",
            "INGEST_AGGREGATOR": f"127.0.0.1:{aggregator_port}",
            # What it holds is soon handed over.
            "INGEST_RING_BATCHES": "4",
        }
        async with run_service("ingest", env) as ingest:
            flooding = asyncio.create_task(flood(await ingest.wait_for_port()))
            await ingest.wait_for_log("producer_connected")
            await asyncio.sleep(0.5)
            async with asyncio.timeout(5):
                assert await ingest.stop() == 0
            await flooding
            stopped = ingest.logs[-1]
        assert stopped["lost"] == 0
        assert stopped["accepted"] == await trades(aggregator_port)


async def test_an_ingest_that_stops_in_order_is_no_lost_producer() -> None:
    async with run_backend() as (aggregator, _, ingest, ingest_port):
        await send(ingest_port, [make_tick()])
        assert await ingest.stop() == 0
        assert await aggregator.stop() == 0
        assert not aggregator.said("producer_lost")
        assert not ingest.said("aggregator_lost")


async def test_an_ingest_that_is_killed_is_logged_with_what_was_applied() -> None:
    async with run_backend() as (aggregator, _, ingest, ingest_port):
        await send(ingest_port, [make_tick()] * 3)
        await ingest.wait_for_log("producer_disconnected")
        await asyncio.sleep(0.2)
        await ingest.stop(signal.SIGKILL)
        lost = await aggregator.wait_for_log("producer_lost")
        assert (lost["received"], lost["applied"]) == (3, 3)

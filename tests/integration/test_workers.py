"""Ingest as several processes on one port."""

from __future__ import annotations

import asyncio
import signal
import socket

import psutil
import pytest
from structlog.testing import capture_logs

from marketdata.healthcheck import main as check_health
from marketdata.workers import supervise
from tests.doubles.aggregators import RecordingAggregator, run_recording_aggregator
from tests.doubles.pipeline import TIMEOUT_S, make_tick, send
from tests.doubles.processes import Service, run_service


def settings(aggregator: RecordingAggregator, workers: int = 2) -> dict[str, str]:
    return {
        "INGEST_PORT": "0",
        "INGEST_AGGREGATOR": f"127.0.0.1:{aggregator.port}",
        "INGEST_WORKERS": str(workers),
    }


def workers_of(service: Service) -> list[psutil.Process]:
    return psutil.Process(service.process.pid).children()


async def receive(aggregator: RecordingAggregator, ticks: int) -> set[str]:
    """Return who sent so many ticks."""
    producers = set()
    async with asyncio.timeout(TIMEOUT_S):
        while ticks > 0:
            batch = await aggregator.batches.get()
            producers.add(batch.producer_id)
            ticks -= len(batch.ticks)
    assert ticks == 0
    return producers


async def test_connections_spread_over_the_workers_and_every_tick_arrives() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_service("ingest", settings(aggregator)) as ingest,
    ):
        port = await ingest.wait_for_port()
        assert len(workers_of(ingest)) == 2
        # That all of 64 go to one of two happens once in 10**19.
        await asyncio.gather(*(send(port, [make_tick()] * 10) for _ in range(64)))
        # Each worker is a producer of its own.
        assert len(await receive(aggregator, 640)) == 2
        assert await ingest.stop() == 0
        assert [line["workers"] for line in ingest.said("ingest listening")] == [2]


async def test_all_workers_hand_over_what_they_have_when_told_to_stop() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_service("ingest", settings(aggregator)) as ingest,
    ):
        port = await ingest.wait_for_port()
        aggregator.withhold_acks()
        await asyncio.gather(*(send(port, [make_tick()] * 2_000) for _ in range(8)))
        ingest.process.terminate()
        aggregator.release_acks()
        assert await ingest.end() == 0
        await receive(aggregator, 16_000)
        lost = [line["lost"] for line in ingest.said("ingest stopped") if "lost" in line]
        assert lost == [0, 0]


async def test_a_worker_that_dies_is_replaced_and_who_connects_meanwhile_is_served() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_service("ingest", settings(aggregator)) as ingest,
    ):
        port = await ingest.wait_for_port()
        workers_of(ingest)[0].kill()
        died = await ingest.wait_for_log("worker died, starting another")
        assert died["code"] == -signal.SIGKILL
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*(send(port, [make_tick()]) for _ in range(32)))
            await receive(aggregator, 32)
        assert len(workers_of(ingest)) == 2
        assert await ingest.stop() == 0


async def test_workers_do_not_outlive_their_parent() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_service("ingest", settings(aggregator)) as ingest,
    ):
        await ingest.wait_for_port()
        workers = workers_of(ingest)
        ingest.process.kill()
        # They end the log when they end.
        await ingest.end()
        assert not psutil.wait_procs(workers, timeout=TIMEOUT_S)[1]
        assert [line["lost"] for line in ingest.said("ingest stopped")] == [0, 0]


async def test_the_health_check_works_with_workers() -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_service("ingest", settings(aggregator, workers=3)) as ingest,
    ):
        port = await ingest.wait_for_port()
        for _ in range(5):
            assert await asyncio.to_thread(check_health, ["tcp", f"127.0.0.1:{port}"]) == 0
        assert await ingest.stop() == 0


async def test_a_port_in_use_is_one_line_and_exit_1_with_workers_too() -> None:
    with socket.socket() as taken:
        # Even one that would share its port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = {"INGEST_PORT": str(port), "INGEST_WORKERS": "2"}
        async with run_service("ingest", env) as ingest:
            assert await ingest.end() == 1
            assert [line["event"] for line in ingest.logs] == [
                f"ingest: cannot listen on 127.0.0.1:{port}: address already in use"
            ]


async def test_a_worker_that_cannot_start_ends_all_with_its_code() -> None:
    with capture_logs() as logs:
        async with asyncio.timeout(TIMEOUT_S):
            code = await supervise(
                "tests.doubles.failing_worker",
                "127.0.0.1",
                0,
                workers=3,
                stop=asyncio.Event(),
                stop_deadline_s=1,
            )
    assert code == 3
    # The others were not even begun.
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "worker cannot start, so all stop"
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_the_workers_start_ends_them(number: signal.Signals) -> None:
    async with (
        run_recording_aggregator() as aggregator,
        run_service("ingest", settings(aggregator, 4)) as ingest,
    ):
        # The first works, the others are on their way.
        await ingest.wait_for_log("aggregator connected")
        workers = workers_of(ingest)
        assert await ingest.stop(number) == 0
        assert not psutil.wait_procs(workers, timeout=TIMEOUT_S)[1]

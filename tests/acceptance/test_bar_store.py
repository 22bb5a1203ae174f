"""While the database is away, ticks flow and the status shows it; later it has every bar."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.doubles.pipeline import make_tick, open_channel, send
from tests.doubles.postgres import PostgresServer, run_postgres
from tests.doubles.processes import run_backend, run_gateway, run_service
from tests.integration.fakeclient.recorder import started

SYMBOLS = ("AAPL", "MSFT", "SPY")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(port: int, service: str) -> int:
    async with open_channel(port) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return int(answer.status)


async def store_status(http: httpx.AsyncClient) -> dict[str, Any]:
    answer = await http.get("/api/v1/status")
    status: dict[str, Any] = answer.raise_for_status().json()["aggregator"]["store"]
    return status


async def fail_meanwhile(
    store: str, fail: contextlib.AbstractContextManager[object], problem: str
) -> None:
    """Send live trades while the store fails and recovers; then each is in a stored bar."""
    settings = {"AGGREGATOR_STORE": store, "AGGREGATOR_BARS": "1s,1m,1d"}
    async with (
        run_backend(**settings) as (aggregator, port, ingest, ingest_port),
        run_gateway(port) as (_, http),
        started(
            *("--symbols", ",".join(SYMBOLS), "--rate", "2000"),
            *("--server", f"127.0.0.1:{ingest_port}"),
        ) as feed,
    ):
        await feed.line_with("ticks/s")
        with fail:
            await aggregator.wait_for_log("store_failing")
            # Ticks flow while bars wait.
            waiting = int((await store_status(http))["waiting"])
            while int((status := await store_status(http))["waiting"]) <= waiting:
                await feed.line_with("ticks/s")
            assert status["state"] == "failing"
            assert problem in status["problem"]
            assert (await http.get("/api/v1/status")).json()["aggregator"]["status"] == "ok"
            assert int(status["waiting"]) > waiting
            assert status["lost"] == "0"
            assert (await health(port, "store"), await health(port, "")) == (NOT_SERVING, SERVING)
        await aggregator.wait_for_log("store_ok")
        assert await health(port, "store") == SERVING
        assert (await store_status(http))["state"] == "ok"
        feed.process.terminate()
        sent = (await feed.end()).sent
        assert await ingest.stop() == 0
        assert await aggregator.stop() == 0
        assert aggregator.logs[-1]["accepted"] == sent
    assert await stored_trades(settings) == dict.fromkeys(("1s", "1m", "1d"), sent)


async def stored_trades(settings: dict[str, str]) -> dict[str, int]:
    """Return how many trades the stored bars of each interval have."""
    found = {}
    async with (
        run_service("aggregator", {"AGGREGATOR_PORT": "0", **settings}) as aggregator,
        run_gateway(await aggregator.wait_for_port()) as (_, http),
    ):
        for interval in ("1s", "1m", "1d"):
            asked = {"interval": interval, "include_partial": "true"}
            urls = [f"/api/v1/marketdata/{symbol}/bars" for symbol in SYMBOLS]
            answers = [(await http.get(url, params=asked)).raise_for_status() for url in urls]
            bars = [bar for answer in answers for bar in answer.json()["bars"]]
            found[interval] = sum(int(bar["trades"]) for bar in bars)
    return found


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=60)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("COMMIT")


async def test_an_sqlite_file_that_another_process_locks_loses_no_bar(tmp_path: Path) -> None:
    path = tmp_path / "bars.db"
    await fail_meanwhile(f"sqlite:///{path}", locked(path), "locked")


@contextlib.contextmanager
def killed(server: PostgresServer) -> Iterator[None]:
    server.stop("immediate")
    try:
        yield
    finally:
        server.start()


async def test_a_postgresql_server_that_is_killed_and_comes_back_loses_no_bar() -> None:
    with run_postgres() as server:
        await fail_meanwhile(await server.make_database(), killed(server), "")


async def test_a_trade_of_1970_and_one_of_today_make_two_bars_and_no_million_between() -> None:
    day_ns = 86_400 * 10**9
    async with (
        run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator,
        run_gateway(port := await aggregator.wait_for_port()) as (_, http),
        run_service(
            "ingest",
            {
                "INGEST_PORT": "0",
                "INGEST_AGGREGATOR": f"127.0.0.1:{port}",
                "INGEST_TIMESTAMP_UNIT": "ns",
            },
        ) as ingest,
    ):
        await send(await ingest.wait_for_port(), [make_tick("A", ts_ns=day_ns), make_tick("A")])
        assert await ingest.stop() == 0
        url, asked = "/api/v1/marketdata/A/bars", {"include_partial": "true", "from": "0"}
        for interval in ("1s", "1m", "1h", "1d"):
            answer = await http.get(url, params={"interval": interval, **asked})
            bars = answer.raise_for_status().json()["bars"]
            assert len(bars) == 2
            assert int(bars[0]["startNs"]) == day_ns
            assert [bar["trades"] for bar in bars] == ["1", "1"]
        # Without an end the page ends it, and the cursor goes on.
        filled = {"interval": "1h", "fill": "prev", **asked}
        page = (await http.get(url, params=filled)).raise_for_status().json()
        assert len(page["bars"]) == 1_000
        assert page["bars"][1]["filler"] in {"no_feed", "no_trades"}
        assert page["nextCursor"]
        refused = {"interval": "1m", "fill": "prev", "from": "0", "to": "2020-01-01T00:00:00Z"}
        answer = await http.get(url, params=refused)
        assert answer.status_code == 422
        assert "limit is 100000" in answer.json()["detail"]

"""A tick that was refused leaves its trace in every bar of its time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from tests.doubles.pipeline import TIMEOUT_S, make_tick, send
from tests.doubles.ports import free_port
from tests.doubles.processes import Service, run_gateway, run_service

# 20 April 2020, 18:00 UTC, the trades of the May contract of WTI crude oil around zero.
NOON = 1_587_405_600 * 10**9
WTI = [
    (0, 1.5, 10),
    (60, 0.01, 10),
    (61, 0.0, 5),
    (62, -1.43, 20),
    (1800, -37.63, 100),
    (1200, -40.32, 1),
    (14400, 10.01, 3),
]


@contextlib.asynccontextmanager
async def run_pipeline(
    path: Path, aggregator_port: int = 0
) -> AsyncIterator[tuple[Service, int, httpx.AsyncClient]]:
    """Run all three; give the aggregator, the port of ingest and a client."""
    given = {
        "AGGREGATOR_PORT": str(aggregator_port),
        "AGGREGATOR_STORE": f"sqlite:///{path}/bars.db",
        "AGGREGATOR_BARS": "1m,1d",
        # So that a minute of four hours ago can be revised.
        "AGGREGATOR_BAR_REVISE_S": "20000",
    }
    async with run_service("aggregator", given) as aggregator:
        port = await aggregator.wait_for_port()
        env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
        async with run_service("ingest", env) as ingest, run_gateway(port) as (_, http):
            yield aggregator, await ingest.wait_for_port(), http


async def read(http: httpx.AsyncClient, interval: str) -> list[dict[str, Any]]:
    asked = {"interval": interval, "include_partial": "true", "fill": "prev"}
    answer = await http.get("/api/v1/marketdata/CLK0/bars", params=asked)
    found: list[dict[str, Any]] = answer.raise_for_status().json()["bars"]
    return found


async def wait_for_refused(http: httpx.AsyncClient, count: int) -> dict[str, Any]:
    for _ in range(10 * TIMEOUT_S):
        answer = await http.get("/api/v1/marketdata/CLK0")
        if answer.status_code == 200 and answer.json().get("refused") == str(count):
            state: dict[str, Any] = answer.json()
            return state
        # Time has to pass here.
        await asyncio.sleep(0.1)
    raise AssertionError(f"not {count} refused: {answer.text}")


def shown(bars: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    names = ("low", "trades", "refused", "complete", "filler", "revision")
    return [tuple(bar[name] for name in names) for bar in bars]


async def test_no_bar_with_refused_trades_is_complete_also_after_a_restart(
    tmp_path: Path,
) -> None:
    ticks = [make_tick("CLK0", price, volume, NOON + s * 10**9) for s, price, volume in WTI]
    # By hand: of seven trades four are refused, two of them in minutes without another trade.
    minutes = {
        0: (1.5, "1", "0", True, None, 0),
        1: (0.01, "1", "2", False, None, 0),
        2: (0.01, "0", "0", True, "no_trades", 0),
        20: (0.01, "0", "1", False, "refused", 0),
        30: (0.01, "0", "1", False, "refused", 0),
        31: (0.01, "0", "0", True, "no_trades", 0),
    }
    async with run_pipeline(tmp_path) as (aggregator, port, http):
        await send(port, ticks)
        state = await wait_for_refused(http, 4)
        assert (state["low"], state["trades"], state["complete"]) == (0.01, "3", False)
        bars = shown(await read(http, "1m"))
        assert len(bars) == 241
        assert {number: bars[number] for number in minutes} == minutes
        (day,) = await read(http, "1d")
        assert (day["low"], day["refused"], day["complete"]) == (0.01, "4", False)
        # A trade that is refused for a minute that is closed revises it.
        await send(port, [make_tick("CLK0", 0.0, 1, NOON + 1)])
        await wait_for_refused(http, 5)
        minutes[0] = (1.5, "1", "1", False, None, 1)
        bars = shown(await read(http, "1m"))
        assert {number: bars[number] for number in minutes} == minutes
        assert await aggregator.stop(signal.SIGTERM) == 0
    async with run_pipeline(tmp_path) as (_, port, http):
        state = await wait_for_refused(http, 5)
        assert (state["low"], state["trades"], state["complete"]) == (0.01, "3", False)
        bars = shown(await read(http, "1m"))
        assert {number: bars[number] for number in minutes} == minutes
        (day,) = await read(http, "1d")
        assert (day["refused"], day["complete"]) == ("5", False)


async def test_what_was_refused_before_the_first_trade_counts_and_comes_once(
    tmp_path: Path,
) -> None:
    port = free_port()
    env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
    # Ingest has to keep the refusals until there is an aggregator.
    async with run_service("ingest", env) as ingest:
        ingest_port = await ingest.wait_for_port()
        await send(ingest_port, [make_tick("CLK0", -1.0, 1, NOON + n) for n in range(300)])
        given = {"AGGREGATOR_PORT": str(port), "AGGREGATOR_BARS": "1m,1d"}
        async with run_service("aggregator", given) as aggregator, run_gateway(port) as (_, http):
            await aggregator.wait_for_port()
            assert (await http.get("/api/v1/marketdata/CLK0")).status_code == 404
            await send(ingest_port, [make_tick("CLK0", 1.0, 1, NOON + 1_000)])
            await wait_for_refused(http, 300)
            (bar,) = await read(http, "1m")
            assert (bar["trades"], bar["refused"], bar["complete"]) == ("1", "300", False)

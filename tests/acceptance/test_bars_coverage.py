"""Coverage tells a time without trades from a time without a feed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from tests.doubles.processes import run_backend, run_gateway
from tests.doubles.real_day import SYMBOLS, day
from tests.doubles.trades import REAL_TRADES, needs_real_trades
from tests.integration.fakeclient.recorder import fakeclient

SECOND_NS = 10**9

Bars = list[dict[str, Any]]


async def read(http: httpx.AsyncClient, symbol: str, **asked: str) -> Bars:
    asked = {"include_partial": "true", "fill": "prev", **asked}
    answer = await http.get(f"/api/v1/marketdata/{symbol}/bars", params=asked)
    found: Bars = answer.raise_for_status().json()["bars"]
    return found


def within(bars: Bars, start_ns: int, end_ns: int) -> Bars:
    return [b for b in bars if start_ns <= int(b["startNs"]) and int(b["endNs"]) <= end_ns]


def traded(bars: Bars) -> tuple[int, int]:
    """Return when the first bar with trades begins, and when the last one ends."""
    found = [bar for bar in bars if bar["filler"] is None]
    return int(found[0]["startNs"]), int(found[-1]["endNs"])


async def test_a_second_without_a_producer_is_told_from_one_without_a_trade() -> None:
    async with (
        run_backend(AGGREGATOR_BARS="1s") as (_, port, _, ingest_port),
        run_gateway(port) as (_, http),
    ):
        server = ("--server", f"127.0.0.1:{ingest_port}", "--rate", "500", "--duration", "3")
        await fakeclient("--symbols", "AAPL", *server)
        left_ns = time.time_ns()
        # Time has to pass here.
        await asyncio.sleep(2.5)
        back_ns = time.time_ns()
        await fakeclient("--symbols", "MSFT", *server)
        await fakeclient("--symbols", "AAPL", *server)
        bars = await read(http, "AAPL", interval="1s")
        others = await read(http, "MSFT", interval="1s")
    alone = [bar for bar in bars if int(bar["startNs"]) < left_ns]
    began, ended = traded(alone)
    # The producer was connected all the time.
    inside = within(bars, began + SECOND_NS, ended - SECOND_NS)
    assert inside
    assert {(bar["filler"], bar["coverage"], bar["complete"]) for bar in inside} == {
        (None, "full", True)
    }
    if left_ns < ended:
        # The producer left before the second was over.
        (bar,) = within(bars, ended - SECOND_NS, ended)
        assert (bar["coverage"], bar["complete"]) == ("partial", False)
    gone = within(bars, left_ns, back_ns)
    assert gone
    assert {(bar["filler"], bar["coverage"], bar["complete"]) for bar in gone} == {
        ("no_feed", "no_feed", False)
    }
    # Another producer was connected, without a trade of this symbol.
    began, ended = traded(others)
    quiet = within(bars, began + SECOND_NS, ended - SECOND_NS)
    assert quiet
    assert {(bar["filler"], bar["coverage"]) for bar in quiet} == {("no_trades", "full")}


@needs_real_trades
async def test_a_replayed_day_had_a_feed_between_its_first_trade_and_its_last() -> None:
    async with (
        run_backend(AGGREGATOR_BARS="1m,1h,1d") as (_, port, ingest, ingest_port),
        run_gateway(port) as (_, http),
    ):
        server = f"127.0.0.1:{ingest_port}"
        await fakeclient("replay", REAL_TRADES, "--server", server, "--speed", "max")
        assert await ingest.stop() == 0
        first, last = (int(day()["exchange_timestamp"].sort()[at]) for at in (0, -1))
        for symbol in SYMBOLS:
            bars = await read(http, symbol, interval="1m", **{"from": str(last - 3600 * SECOND_NS)})
            for bar in within(bars, first, last):
                assert bar["complete"], bar
                assert bar["filler"] in {None, "no_trades"}

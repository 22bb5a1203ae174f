"""A real day, replayed through real processes, is in the bars to the last share everywhere."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from tests.doubles.processes import run_gateway, run_service
from tests.doubles.real_day import INTERVALS, MINUTES, SYMBOLS, computed, write_delayed
from tests.doubles.trades import needs_real_trades
from tests.integration.fakeclient.recorder import fakeclient

pytestmark = needs_real_trades

GRACE_S, REVISE_S = 2, 900
PAGE = 10_000
TIMEOUT_S = 90
ARROW = "application/vnd.apache.arrow.stream"

Bars = dict[tuple[str, str], list[dict[str, Any]]]


async def read_bars(http: httpx.AsyncClient, symbol: str, interval: str) -> list[dict[str, Any]]:
    """Return all bars, page by page."""
    bars: list[dict[str, Any]] = []
    asked = {"interval": interval, "from": "0", "limit": str(PAGE), "include_partial": "true"}
    while True:
        answer = await http.get(f"/api/v1/marketdata/{symbol}/bars", params=asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert (page["symbol"], page["interval"]) == (symbol, interval)
        bars += page["bars"]
        if page["nextCursor"] is None:
            return bars
        assert len(page["bars"]) == PAGE
        asked["cursor"] = page["nextCursor"]


async def read_day(http: httpx.AsyncClient) -> Bars:
    return {(s, i): await read_bars(http, s, i) for s in SYMBOLS for i in INTERVALS}


def assert_exact(bars: Bars) -> None:
    for interval in INTERVALS:
        expected = computed(interval)
        found = [bar for symbol in SYMBOLS for bar in bars[symbol, interval]]
        order = [
            (symbol, start)
            for wanted in SYMBOLS
            for symbol, start in sorted(expected)
            if symbol == wanted
        ]
        assert [(bar["symbol"], int(bar["startNs"])) for bar in found] == order
        for bar, place in zip(found, order, strict=True):
            numbers = [bar[name] for name in ("open", "high", "low", "close")]
            got = (*numbers, int(bar["volume"]), int(bar["trades"]))
            assert got == expected[place][:6], bar
            assert bar["vwap"] == pytest.approx(expected[place][6], rel=1e-12, abs=0), bar
            assert bar["start"] == str(int(bar["startNs"]) // 10**6)
            assert (bar["interval"], bar["filler"], bar["number"]) == (interval, None, 0)
    assert {symbol: len(bars[symbol, "1m"]) for symbol in SYMBOLS} == MINUTES


def without_life(bars: Bars) -> Bars:
    """Return the bars without the fields that differ after a restart."""
    own = {"sequence", "epoch"}
    return {
        place: [{name: bar[name] for name in bar if name not in own} for bar in found]
        for place, found in bars.items()
    }


def stored_in(path: Path) -> dict[str, str]:
    return {"AGGREGATOR_STORE": f"sqlite:///{path}/bars.db"}


async def replay(path: Path, max_delay_s: int) -> Bars:
    """Replay the day, each trade up to so late, and return what REST says of it."""
    csv_path = path / "trades.csv"
    write_delayed(csv_path, max_delay_s)
    # A trade that is late for six bars takes the aggregator 20 us, so it may still be busy.
    patient = {"INGEST_SHUTDOWN_DEADLINE_S": "60"}
    async with (
        run_service("aggregator", {"AGGREGATOR_PORT": "0", **stored_in(path)}) as aggregator,
        run_gateway(port := await aggregator.wait_for_port()) as (_, http),
        run_service(
            "ingest",
            {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}", **patient},
        ) as ingest,
    ):
        server = f"127.0.0.1:{await ingest.wait_for_port()}"
        result = await fakeclient("replay", csv_path, "--server", server, "--speed", "max")
        assert result.code == 0
        # Ingest ends when the aggregator has everything.
        async with asyncio.timeout(TIMEOUT_S):
            ingest.process.terminate()
            assert await ingest.process.wait() == 0
        bars = await read_day(http)
        if not max_delay_s:
            await assert_the_forms_agree(http, bars["IBM", "1m"])
        assert await aggregator.stop() == 0
        assert aggregator.logs[-1]["bars_late"] == 0
    states = {bar["state"] for found in bars.values() for bar in found}
    assert ("revised" in states) == (max_delay_s > GRACE_S)
    return bars


@pytest.mark.parametrize("max_delay_s", [0, GRACE_S])
async def test_every_bar_of_a_replayed_day_is_right(tmp_path: Path, max_delay_s: int) -> None:
    assert_exact(await replay(tmp_path, max_delay_s))


async def test_every_bar_is_right_after_revisions_and_after_a_restart(tmp_path: Path) -> None:
    before = await replay(tmp_path, REVISE_S)
    assert_exact(before)
    async with (
        run_service("aggregator", {"AGGREGATOR_PORT": "0", **stored_in(tmp_path)}) as aggregator,
        run_gateway(await aggregator.wait_for_port()) as (_, http),
    ):
        after = await read_day(http)
        assert without_life(after) == without_life(before)


async def assert_the_forms_agree(http: httpx.AsyncClient, bars: list[dict[str, Any]]) -> None:
    asked = {"interval": "1m", "from": "0", "include_partial": "true"}
    url = "/api/v1/marketdata/IBM/bars"
    csv = await http.get(url, params=asked, headers={"Accept": "text/csv"})
    arrow = await http.get(url, params=asked, headers={"Accept": ARROW})
    texts = dict.fromkeys(
        ("volume", "trades", "refused", "sequence", "epoch", "start", "end"), pl.String
    )
    as_csv = pl.read_csv(
        io.BytesIO(csv.content),
        schema_overrides={**texts, "startNs": pl.String, "endNs": pl.String},
    )
    assert as_csv.rows(named=True) == bars
    as_arrow = pl.read_ipc_stream(io.BytesIO(arrow.content))
    assert as_arrow["start"].dtype == pl.Datetime("ns", "UTC")
    for column in ("start", "end"):
        assert as_arrow[column].cast(pl.Int64).to_list() == [
            int(bar[f"{column}Ns"]) for bar in bars
        ]
    for column in as_arrow.columns:
        if column not in {"start", "end"}:
            kind = int if column in texts else (lambda value: value)
            assert as_arrow[column].to_list() == [kind(bar[column]) for bar in bars], column

"""A real day, sent by the fakeclient through real processes, is in REST to the last share."""

from __future__ import annotations

import asyncio
import csv
import gzip
import random
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.link import Link, open_link
from tests.doubles.pipeline import open_stub
from tests.doubles.processes import (
    MODES,
    TIMEOUT_S,
    Mode,
    Service,
    run_gateway,
    run_pipeline,
    run_service,
)
from tests.doubles.trades import REAL_TRADES, needs_real_trades
from tests.integration.fakeclient.recorder import Fakeclient, fakeclient, started

pytestmark = needs_real_trades

EXPECTED = {
    "SPY": {
        **{"open": 167.41, "high": 168.9, "low": 167.01, "close": 167.3},
        **{"volume": "97062721", "timestamp": "1381190399536"},
    },
    "BAC": {"open": 13.94, "high": 14.12, "low": 13.79, "close": 13.81, "volume": "64411712"},
    "AIG": {"open": 49.18, "high": 49.18, "low": 48.69, "close": 48.79, "volume": "5300449"},
    "IBM": {"open": 181.52, "high": 183.31, "low": 181.35, "close": 181.99, "volume": "3960352"},
}
CUTS = 3


class Trade(NamedTuple):
    """One row of the file, as it stands there."""

    symbol: str
    price: str
    volume: str
    exchange_timestamp: str


@cache
def real_trades() -> list[Trade]:
    with gzip.open(REAL_TRADES, "rt", newline="") as file:
        rows = csv.reader(file)
        assert next(rows) == list(Trade._fields)
        return [Trade(*row) for row in rows]


@cache
def summed_up() -> dict[str, tuple[int, float]]:
    """Return the number of trades and the vwap of each symbol, in decimal arithmetic."""
    trades: defaultdict[str, int] = defaultdict(int)
    volume: defaultdict[str, int] = defaultdict(int)
    notional: defaultdict[str, Decimal] = defaultdict(Decimal)
    for trade in real_trades():
        trades[trade.symbol] += 1
        volume[trade.symbol] += int(trade.volume)
        notional[trade.symbol] += Decimal(trade.price) * int(trade.volume)
    return {symbol: (trades[symbol], float(notional[symbol] / volume[symbol])) for symbol in trades}


async def assert_exact(http: httpx.AsyncClient) -> None:
    for symbol, (trades, vwap) in summed_up().items():
        answer = await http.get(f"/api/v1/marketdata/{symbol}")
        assert (answer.status_code, answer.headers["x-data-status"]) == (200, "live")
        body: dict[str, Any] = answer.json()
        expected = {"symbol": symbol, "trades": str(trades), **EXPECTED[symbol]}
        assert {name: body[name] for name in expected} == expected
        assert body["vwap"] == pytest.approx(vwap, rel=1e-12, abs=0)


def shuffle_within_seconds(trades: Iterable[Trade], chance: random.Random) -> list[Trade]:
    """Return the trades out of order within each second; equal timestamps keep their order."""
    seconds: defaultdict[int, list[Trade]] = defaultdict(list)
    for trade in trades:
        seconds[int(trade.exchange_timestamp) // 10**9].append(trade)
    shuffled: list[Trade] = []
    for second in seconds.values():
        in_order: defaultdict[str, list[Trade]] = defaultdict(list)
        for trade in reversed(second):
            in_order[trade.exchange_timestamp].append(trade)
        timestamps = [trade.exchange_timestamp for trade in second]
        chance.shuffle(timestamps)
        shuffled += [in_order[timestamp].pop() for timestamp in timestamps]
    return shuffled


async def replay(mode: Mode, path: Path, *options: object) -> None:
    """Replay ``path`` and look at REST once everything is there."""
    async with run_pipeline(mode) as pipeline:
        server = f"127.0.0.1:{pipeline.ingest_port}"
        result = await fakeclient("replay", path, "--server", server, "--speed", "max", *options)
        assert (result.code, result.sent) == (0, len(real_trades()))
        if mode == "three":
            # Ingest ends when the aggregator has everything.
            assert await pipeline.ingest.stop() == 0
        await until_accepted(pipeline.aggregator_port, len(real_trades()))
        await assert_exact(pipeline.http)


async def until_accepted(port: int, trades: int) -> None:
    async with open_stub(port) as stub, asyncio.timeout(TIMEOUT_S):
        # Nobody tells when the last connection is read to its end.
        while (await stub.GetStatus(wire.StatusRequest())).accepted < trades:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("mode", "connections"), [("three", 1), ("three", 2), ("standalone", 2)])
async def test_a_replayed_day_is_exact_in_rest(mode: Mode, connections: int) -> None:
    await replay(mode, REAL_TRADES, "--connections", connections)


@pytest.mark.parametrize("mode", MODES)
async def test_a_day_shuffled_within_each_second_gives_the_same_numbers(
    mode: Mode, tmp_path: Path
) -> None:
    shuffled = shuffle_within_seconds(real_trades(), random.Random(1))
    assert shuffled != real_trades()
    assert sorted(shuffled) == sorted(real_trades())
    path = tmp_path / "shuffled.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([Trade._fields, *shuffled])
    await replay(mode, path)


async def test_a_connection_cut_three_times_during_the_replay_changes_no_number() -> None:
    async with (
        run_service("aggregator", {"AGGREGATOR_PORT": "0"}) as aggregator,
        run_gateway(port := await aggregator.wait_for_port()) as (_, http),
        open_link("127.0.0.1", port) as link,
        run_service(
            "ingest",
            {
                "INGEST_PORT": "0",
                "INGEST_AGGREGATOR": link.address,
                # Little is on its way at once, so the replay has to wait during each cut.
                "INGEST_RING_BATCHES": "20",
            },
        ) as ingest,
        started(
            *("replay", REAL_TRADES, "--speed", "max"),
            *("--server", f"127.0.0.1:{await ingest.wait_for_port()}"),
        ) as program,
    ):
        await cut_three_times(link, port, ingest, program)
        result = await program.end()
        assert (result.code, result.sent) == (0, len(real_trades()))
        assert await ingest.stop() == 0
        await assert_exact(http)

        assert len(ingest.said("aggregator_lost")) == CUTS
        assert len(ingest.said("aggregator_connected")) == CUTS + 1
        assert link.connections == CUTS + 1
        assert ingest.logs[-1]["lost"] == 0
        assert await aggregator.stop() == 0
        stopped = aggregator.logs[-1]
        assert stopped["accepted"] == len(real_trades())
        # Batches whose acks were cut off came again, and were recognised.
        assert stopped["duplicates"] > 0
        assert stopped["rejected"] == {}


async def cut_three_times(link: Link, port: int, ingest: Service, program: Fakeclient) -> None:
    """Cut the connection while the replay goes on, and restore it when ingest has noticed."""
    states: dict[str, wire.Aggregate] = {}
    rows = len(real_trades())
    async with open_stub(port) as stub:
        updates = stub.Watch(iter([wire.WatchRequest(all=True)]))

        async def arrived(trades: int) -> None:
            while sum(state.trades for state in states.values()) < trades:
                update = await updates.read()
                assert isinstance(update, wire.UpdateBatch)
                states.update((state.symbol, state) for state in update.updates)

        for number in range(1, CUTS + 1):
            await arrived(number * rows // 10)
            link.hold_answers()
            await arrived(sum(state.trades for state in states.values()) + 2_500)
            assert program.process.returncode is None
            link.refuse()
            link.drop()
            await ingest.wait_for_log("aggregator_lost")
            link.hold_answers(False)
            link.refuse(False)
            await ingest.wait_for_log("aggregator_connected")
        assert sum(state.trades for state in states.values()) < rows
        updates.cancel()

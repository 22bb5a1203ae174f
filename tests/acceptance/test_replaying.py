"""A tick log once more: the same bars, into another aggregator, into an empty store."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType

import orjson

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import open_stub
from tests.doubles.processes import Service, run_service
from tests.doubles.real_day import COLUMNS, day
from tests.doubles.trades import needs_real_trades

pytestmark = needs_real_trades

BATCH = 2_000
NO_ENV: Mapping[str, str] = MappingProxyType({})
INTERVALS = "1s,1m,1h,1d,100t,5000v"
COLUMNS_OF_BARS = (
    "symbol, interval, start, number, state, revision, open, high, low, close, volume, trades, "
    "coverage"
)
TABLE = f"SELECT {COLUMNS_OF_BARS} FROM bars ORDER BY 1, 2, 3, 4"


def batches() -> list[wire.TickBatch]:
    """Return a tenth of a real day, in batches of a producer, one of them late and one twice."""
    rows = day().select(COLUMNS).rows()[::10]
    made = []
    for at in range(0, len(rows), BATCH):
        ticks = [
            wire.Tick(symbol=symbol, price=price, volume=volume, exchange_timestamp=ts)
            for symbol, price, volume, ts in rows[at : at + BATCH]
        ]
        made.append(wire.TickBatch(producer_id="p", first_sequence=at + 1, ticks=ticks))
    late = wire.Tick(symbol="SPY", price=1.0, volume=7, exchange_timestamp=rows[-1][3] - 10**11)
    made.append(wire.TickBatch(producer_id="q", first_sequence=1, ticks=[late]))
    return [*made, made[3]]


@contextlib.asynccontextmanager
async def aggregator(path: Path, name: str, **env: str) -> AsyncIterator[tuple[Service, int]]:
    given = {
        "AGGREGATOR_PORT": "0",
        "AGGREGATOR_STORE": f"sqlite:///{path}/{name}.db",
        "AGGREGATOR_BARS": INTERVALS,
        **env,
    }
    async with run_service("aggregator", given) as service:
        yield service, await service.wait_for_port()


async def run_day(path: Path) -> dict[str, str]:
    """Let an aggregator with a log have the day, and stop it; return the log's environment."""
    env = {"AGGREGATOR_LOG": str(path / "log")}
    async with aggregator(path, "live", **env) as (service, port), open_stub(port) as stub:
        call = stub.PublishTicks()
        for batch in batches():
            await call.write(batch)
            assert isinstance(await call.read(), wire.BatchAck)
        await call.done_writing()
        await call.code()
        assert await service.stop() == 0
    return env


async def run(*arguments: str, env: Mapping[str, str] = NO_ENV, code: int = 0) -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aggregator",
        *arguments,
        env={"PATH": "/usr/bin:/bin", "AGGREGATOR_BARS": INTERVALS, **env},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode == code, errors.decode()
    return out.decode(), errors.decode()


def table(path: Path, name: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path / f"{name}.db")) as database:
        return database.execute(TABLE).fetchall()


async def test_a_rebuilt_store_has_the_same_bars(tmp_path: Path) -> None:
    env = await run_day(tmp_path)
    store = f"sqlite:///{tmp_path}/anew.db"
    _, said = await run("rebuild", "bars", "--store", store, env=env)
    assert table(tmp_path, "anew") == table(tmp_path, "live")
    assert "38,843 ticks" in said
    # It does not mix with what is there.
    _, said = await run("rebuild", "bars", "--store", store, env=env, code=1)
    assert "the store has bars" in said


async def test_two_replays_print_the_same_bytes_and_every_closed_bar(tmp_path: Path) -> None:
    env = await run_day(tmp_path)
    first, _ = await run("replay", env=env)
    second, said = await run("replay", env=env)
    assert first == second
    bars = [orjson.loads(line) for line in first.splitlines()]
    assert f"{len(bars):,} bars" in said
    newest = {
        (bar["symbol"], bar["interval"], bar["start"], bar.get("number", 0)): bar for bar in bars
    }
    closed = [row for row in table(tmp_path, "live") if int(str(row[4])) >= wire.BAR_STATE_FINAL]
    assert len(newest) == len(closed)
    assert sum(bar.get("revision", 0) for bar in newest.values()) == sum(
        int(str(row[5])) for row in closed
    )


async def test_a_replay_into_another_aggregator_counts_each_tick_once(tmp_path: Path) -> None:
    env = await run_day(tmp_path)
    async with aggregator(tmp_path, "other") as (service, port):
        address = f"127.0.0.1:{port}"
        _, first = await run("replay", "--into", address, env=env)
        _, again = await run("replay", "--into", address, env=env)
        assert await service.stop() == 0
    assert service.said("producer_lost") == []
    assert first.startswith("38,843 ticks accepted, 2,000 duplicates, 0 rejected")
    assert again.startswith("0 ticks accepted, 40,843 duplicates")
    # Without a log, trades that wait for others count when the aggregator stops.
    other, live = (
        [row[:8] for row in table(tmp_path, name) if row[1] not in ("100t", "5000v")]
        for name in ("other", "live")
    )
    assert other == live


async def test_what_a_replay_cannot_use_is_named(tmp_path: Path) -> None:
    for arguments, text in (
        (["--from", "yesterday"], "--from: 'yesterday' is no time"),
        (["--speed", "0"], "--speed: '0' is neither a number over 0 nor max"),
        (["--log", str(tmp_path / "nowhere")], "nowhere"),
        ([], "there is no log to read"),
    ):
        _, said = await run("replay", *arguments, code=1)
        assert text in said

"""The same trades for aggregators with any number of workers, and all that comes of them."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marketdata.wire import market_data_pb2 as wire
from tests.doubles.link import open_link
from tests.doubles.pipeline import make_tick, open_stub
from tests.doubles.processes import run_service

TIMEOUT_S = 60
INTERVALS = ("1s", "1m", "5m", "15m", "1h", "1d")
NS_PER_DAY = 86_400 * 10**9
# What the table holds, with the money as one sum, which is only as exact as a vwap.
COLUMNS = (
    "symbol, interval, start, number, end, open, high, low, close, volume, trades, first_ts,"
    " first_sequence, last_ts, last_sequence, state, revision, phase, coverage,"
    " notional + notional_error"
)
# Before and after everything else.
WARM_UP = [f"WARM.{number}" for number in range(40)]
END = "THE.END"


@dataclass
class Outcome:
    """What an aggregator made of the trades, without what only names its life."""

    acks: list[wire.BatchAck] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    aggregates: list[wire.Aggregate] = field(default_factory=list)
    # The closed states of each symbol and interval, as they were published.
    bars: dict[tuple[str, str], list[wire.Bar]] = field(default_factory=dict)
    # The ends of each interval, in their order.
    completed: dict[str, list[int]] = field(default_factory=dict)
    history: dict[tuple[str, str], list[wire.Bar]] = field(default_factory=dict)
    status: wire.StatusResponse = field(default_factory=wire.StatusResponse)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    stopped: dict[str, Any] = field(default_factory=dict)


async def run_trades(
    workers: int, batches: Sequence[wire.TickBatch], directory: Path, *, cuts: int = 0, **env: str
) -> Outcome:
    """Publish batches of one producer, over a connection that is cut some times.

    What was not acked is sent again, so every ack is the last one that its batch got.
    """
    outcome = Outcome()
    store = directory / f"{workers}.db"
    given = {
        "AGGREGATOR_PORT": "0",
        "AGGREGATOR_WORKERS": str(workers),
        "AGGREGATOR_STORE": f"sqlite:///{store}",
        **env,
    }
    async with run_service("aggregator", given) as aggregator, asyncio.timeout(2 * TIMEOUT_S):
        port = await aggregator.wait_for_port()
        async with open_stub(port) as stub:
            watch = stub.Watch()
            topics = [wire.BarTopic(symbol="*", interval=interval) for interval in INTERVALS]
            await watch.write(wire.WatchRequest(all=True, add_bars=topics))
            first = min(tick.exchange_timestamp for batch in batches for tick in batch.ticks)
            latest = max(tick.exchange_timestamp for batch in batches for tick in batch.ticks)
            await _publish(port, [_one_each(WARM_UP, first - NS_PER_DAY)], 0, Outcome())
            await _wait_for_all(watch, set(WARM_UP))
            end_ns = latest - latest % NS_PER_DAY + NS_PER_DAY
            watching = asyncio.create_task(_watch(watch, outcome, end_ns))
            await _publish(port, batches, cuts, outcome)
            # It completes every end, whichever symbols are quiet.
            await _publish(port, [_one_each([END], latest + 3 * NS_PER_DAY)], 0, Outcome())
            await watching
            await _ask(stub, outcome)
            watch.cancel()
        assert await aggregator.stop() == 0, aggregator.logs
        outcome.stopped = aggregator.logs[-1]
        assert not [line for line in aggregator.logs if line.get("level") == "error"]
    with contextlib.closing(sqlite3.connect(store)) as database:
        rows = sorted(database.execute(f"SELECT {COLUMNS} FROM bars"))
    outcome.rows = [(*row[:-1], _round(row[-1])) for row in rows]
    return outcome


def _round(money: float) -> float:
    # Its last digits depend on when somebody looked.
    return float(f"{money:.12g}")


def _one_each(symbols: Sequence[str], ts_ns: int) -> wire.TickBatch:
    ticks = [make_tick(symbol, ts_ns=ts_ns) for symbol in symbols]
    return wire.TickBatch(producer_id=symbols[0], first_sequence=1, ticks=ticks)


async def _wait_for_all(call: Any, symbols: set[str]) -> None:
    # Until every worker knows what is watched.
    while symbols:
        batch = await call.read()
        assert isinstance(batch, wire.UpdateBatch)
        symbols -= {state.symbol for state in batch.updates}


async def _publish(
    port: int, batches: Sequence[wire.TickBatch], cuts: int, outcome: Outcome
) -> None:
    acked = 0
    async with open_link("127.0.0.1", port) as link:
        for cut in range(cuts + 1):
            stop = len(batches) * (cut + 1) // (cuts + 1)
            async with open_stub(int(link.address.rpartition(":")[2])) as stub:
                call = stub.PublishTicks()
                await call.initial_metadata()
                for number in range(acked, stop):
                    await call.write(batches[number])
                if cut == cuts:
                    await call.done_writing()
                # Half of those that are on their way are never heard of again.
                wanted = stop if cut == cuts else (acked + stop) // 2
                while acked < wanted:
                    ack = await call.read()
                    assert isinstance(ack, wire.BatchAck)
                    outcome.acks.append(ack)
                    acked += 1
                link.drop()
                call.cancel()


async def _watch(call: Any, outcome: Outcome, end_ns: int) -> None:
    # Until the longest bars that end there are complete, which is the last of all.
    completed = outcome.completed
    while end_ns not in completed.get(INTERVALS[-1], []):
        batch = await call.read()
        assert isinstance(batch, wire.UpdateBatch)
        for bar in batch.bars:
            # Those of the end come while we stop to look.
            if bar.state >= wire.BAR_STATE_FINAL and bar.symbol != END:
                bar.epoch, bar.vwap = 0, _round(bar.vwap)
                outcome.bars.setdefault((bar.symbol, bar.interval), []).append(bar)
        for marker in batch.completed:
            completed.setdefault(marker.interval, []).append(marker.end)


async def _ask(stub: Any, outcome: Outcome) -> None:
    outcome.symbols = list((await stub.ListSymbols(wire.ListSymbolsRequest(limit=10_000))).symbols)
    request = wire.AggregatesRequest(symbols=outcome.symbols)
    outcome.aggregates = list((await stub.GetAggregates(request)).aggregates)
    for aggregate in outcome.aggregates:
        aggregate.epoch, aggregate.vwap = 0, _round(aggregate.vwap)
    for symbol in outcome.symbols:
        for interval in INTERVALS:
            found, cursor = list[wire.Bar](), ""
            while True:
                asked = wire.BarsRequest(
                    symbol=symbol, interval=interval, limit=10_000, include_partial=True
                )
                asked.cursor = cursor
                # A word of the language.
                setattr(asked, "from", 0)
                page = await stub.GetBars(asked)
                found += page.bars
                cursor = page.next_cursor
                if not cursor:
                    break
            for bar in found:
                # One read from the store has no sequence, one in memory has.
                bar.epoch = bar.sequence = 0
                bar.vwap = _round(bar.vwap)
            outcome.history[symbol, interval] = found
    outcome.status = await stub.GetStatus(wire.StatusRequest())
    # What depends on the time.
    outcome.status.epoch = 0
    outcome.status.ClearField("store")

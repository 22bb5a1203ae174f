"""The aggregator stops within its deadlines, however much it holds."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from structlog.testing import capture_logs

from aggregator.app import Aggregator
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import make_tick, run_aggregator

SYMBOLS = 20_000


def fill(aggregator: Aggregator) -> None:
    now_ns = time.time_ns()
    ticks = [make_tick(f"S{number}", ts_ns=now_ns) for number in range(SYMBOLS)]
    batch = wire.TickBatch(producer_id="p", first_sequence=1, ticks=ticks)
    aggregator.market.publish_batch(batch.SerializeToString(), now_ns)


async def test_a_stop_with_many_symbols_stays_within_its_deadline(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'bars.db'}"
    with capture_logs() as logs:
        async with run_aggregator(store=store, store_drain_s=0.3) as aggregator:
            fill(aggregator)
            last = len(aggregator.market.book.engine.last_bars())
            loop = asyncio.get_running_loop()
            started = loop.time()
        # All bars alone took 3 s to make.
        assert loop.time() - started < 2
    (lost,) = [line for line in logs if line["event"] == "bars_lost"]
    assert lost["count"] + aggregator.store.status().written == last  # type: ignore[union-attr]


async def test_the_last_bars_are_as_many_as_they_say() -> None:
    async with run_aggregator() as aggregator:
        fill(aggregator)
        engine = aggregator.market.book.engine
        assert len(engine.last_bars()) == sum(1 for _ in engine.last_bars()) > 6 * SYMBOLS

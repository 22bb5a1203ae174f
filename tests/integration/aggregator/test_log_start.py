"""What an aggregator begins with: its log, its store, both, one that is gone, or other settings."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from aggregator.app import Aggregator
from aggregator.machine.recovery import BrokenHistory
from aggregator.ticklog.errors import LogUnusable
from marketdata.wire import market_data_pb2 as wire
from tests.doubles.pipeline import open_stub, run_aggregator

NS_PER_S = 10**9
# The first minute of an hour, old enough for the wall clock to close nothing.
BEGAN_NS = time.time_ns() // (3600 * NS_PER_S) * 3600 * NS_PER_S - 3600 * NS_PER_S


class Files:
    """The log and the store of one aggregator."""

    def __init__(self, path: Path) -> None:
        self.log = path / "log"
        self.store = path / "bars.db"

    @contextlib.asynccontextmanager
    async def run(self, **settings: Any) -> AsyncIterator[Aggregator]:
        given = {
            "log": str(self.log),
            "store": f"sqlite:///{self.store}",
            "bars": "1m,1h",
            **settings,
        }
        async with run_aggregator(**given) as aggregator:
            yield aggregator

    def forget_the_store(self) -> None:
        for path in self.store.parent.glob("bars.db*"):
            path.unlink()

    def forget_the_log(self) -> None:
        shutil.rmtree(self.log)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def publish(aggregator: Aggregator, first: int, count: int = 3) -> wire.BatchAck:
    """Send so many ticks, one a second."""
    ticks = [
        wire.Tick(symbol="A", price=10.0, volume=1, exchange_timestamp=BEGAN_NS + at * NS_PER_S)
        for at in range(first, first + count)
    ]
    batch = wire.TickBatch(producer_id="p", first_sequence=first, ticks=ticks)
    async with open_stub(aggregator.port) as stub:
        call = stub.PublishTicks()
        await call.write(batch)
        ack = await call.read()
        await call.done_writing()
        await call.code()
    assert isinstance(ack, wire.BatchAck)
    return ack


async def trades(aggregator: Aggregator) -> int:
    """Return the trades of the session, which the bar of the hour has as well."""
    async with open_stub(aggregator.port) as stub:
        asked = wire.BarsRequest(symbol="A", interval="1h", include_partial=True)
        bars = (await stub.GetBars(asked)).bars
        state = await stub.GetAggregate(wire.AggregateRequest(symbol="A"))
    assert [bar.trades for bar in bars] == [state.trades]
    return state.trades


def epoch_of(aggregator: Aggregator) -> int:
    return aggregator.market.book.epoch


def said(logs: list[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


async def test_a_run_goes_on_with_its_epoch_and_sequences(files: Files) -> None:
    async with files.run() as aggregator:
        await publish(aggregator, 1)
        await publish(aggregator, 4)
        before = aggregator.market.book.state("A")
    async with files.run() as aggregator:
        assert aggregator.market.book.state("A") == before
        assert (before.sequence, before.trades) == (2, 6)
        assert (await publish(aggregator, 4)).duplicates == 3
        assert (await publish(aggregator, 7)).accepted == 3
        assert await trades(aggregator) == 9


async def test_the_log_alone_is_enough(files: Files) -> None:
    async with files.run(store="off") as aggregator:
        await publish(aggregator, 1)
        epoch = epoch_of(aggregator)
    async with files.run(store="off") as aggregator:
        assert epoch_of(aggregator) == epoch
        assert await trades(aggregator) == 3


async def test_a_store_that_is_gone_is_made_anew_and_the_state_stays(files: Files) -> None:
    async with files.run() as aggregator:
        await publish(aggregator, 1)
        epoch = epoch_of(aggregator)
    files.forget_the_store()
    async with files.run() as aggregator:
        assert epoch_of(aggregator) == epoch
        assert await trades(aggregator) == 3


async def test_without_the_log_of_before_a_run_begins_with_the_store(files: Files) -> None:
    async with files.run() as aggregator:
        await publish(aggregator, 1)
        epoch = epoch_of(aggregator)
    files.forget_the_log()
    async with files.run() as aggregator:
        assert epoch_of(aggregator) > epoch
        assert await trades(aggregator) == 3
        assert (await publish(aggregator, 1)).duplicates == 3
        await publish(aggregator, 4)
        epoch = epoch_of(aggregator)
    # Its log begins with what the store had.
    files.forget_the_store()
    async with files.run() as aggregator:
        assert epoch_of(aggregator) == epoch
        assert await trades(aggregator) == 6


async def test_a_log_that_is_turned_on_begins_with_the_state_of_the_store(files: Files) -> None:
    async with files.run(log="off") as aggregator:
        await publish(aggregator, 1)
    async with files.run() as aggregator:
        assert await trades(aggregator) == 3
        await publish(aggregator, 4)
    async with files.run() as aggregator:
        assert await trades(aggregator) == 6
        assert (await publish(aggregator, 1)).duplicates == 3


async def test_a_log_that_missed_a_run_is_not_used(files: Files) -> None:
    async with files.run() as aggregator:
        await publish(aggregator, 1)
    async with files.run(log="off") as aggregator:
        assert await trades(aggregator) == 3
        await publish(aggregator, 4)
        epoch = epoch_of(aggregator)
    with capture_logs() as logs:
        async with files.run() as aggregator:
            assert await trades(aggregator) == 6
            assert epoch_of(aggregator) > epoch
            await publish(aggregator, 7)
            epoch = epoch_of(aggregator)
    (line,) = said(logs, "log_not_used")
    assert "later run without this log" in line["reason"]
    # From here on the log is whole again.
    async with files.run() as aggregator:
        assert epoch_of(aggregator) == epoch
        assert await trades(aggregator) == 9


async def test_with_other_bars_all_ticks_of_a_whole_log_are_applied_again(files: Files) -> None:
    async with files.run() as aggregator:
        await publish(aggregator, 1)
        epoch = epoch_of(aggregator)
    for _ in range(2):
        async with files.run(bars="1m,5m,1h") as aggregator:
            assert epoch_of(aggregator) > epoch
            assert await trades(aggregator) == 3
            series = aggregator.market.book.engine.series
            (bar,) = series.open_and_recent("A", "5m", 0, 2**62)
            assert bar.candle.trades == 3
    changed = epoch_of(aggregator)
    async with files.run(bars="1m,5m,1h") as aggregator:
        assert epoch_of(aggregator) == changed


async def test_with_other_bars_and_a_log_that_is_not_whole_a_run_begins_with_the_store(
    files: Files,
) -> None:
    async with files.run(log="off") as aggregator:
        await publish(aggregator, 1)
    async with files.run() as aggregator:
        await publish(aggregator, 4)
        epoch = epoch_of(aggregator)
    with capture_logs() as logs:
        async with files.run(bars="1m,5m,1h") as aggregator:
            assert epoch_of(aggregator) > epoch
            assert await trades(aggregator) == 6
            await publish(aggregator, 7)
    assert said(logs, "log_not_used")
    # Back again: what the log has of these settings lacks the last ticks.
    async with files.run() as aggregator:
        assert await trades(aggregator) == 9


async def test_other_limits_change_nothing_of_before(files: Files) -> None:
    async with files.run() as aggregator:
        await publish(aggregator, 1)
        epoch = epoch_of(aggregator)
    async with files.run(max_price=5.0) as aggregator:
        assert epoch_of(aggregator) == epoch
        assert await trades(aggregator) == 3
        assert (await publish(aggregator, 4)).accepted == 0


async def test_a_log_whose_only_base_is_gone_is_not_used(files: Files) -> None:
    async with files.run(log="off") as aggregator:
        await publish(aggregator, 1)
    async with files.run() as aggregator:
        await publish(aggregator, 4)
    for path in files.log.glob("*.ckpt"):
        path.unlink()
    with capture_logs() as logs:
        async with files.run() as aggregator:
            assert await trades(aggregator) == 6
    assert said(logs, "log_not_used")


async def test_a_directory_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnusable, match=str(tmp_path / "file")):
        async with Files(tmp_path).run(log=str(tmp_path / "file")):
            pass


def test_a_broken_history_is_a_start_error() -> None:
    assert "StartError" in {base.__name__ for base in BrokenHistory.__mro__}

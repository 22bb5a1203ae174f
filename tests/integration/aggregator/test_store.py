"""A store keeps its promises in SQLite and in PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import OperationalError

from aggregator.bars.bar import BarState
from aggregator.store.queries import Range, select_last_times, select_range, select_recent
from aggregator.store.removal import remove_old
from aggregator.store.rows import row_writer, to_bar, to_row
from aggregator.store.schema import STORED, bar_columns, bars, metadata
from marketdata.decimals import to_decimal
from marketdata.intervals import parse_interval
from marketdata.timestamps import NS_PER_S
from tests.doubles.made_bars import make_bar
from tests.doubles.stores import open_database, run_store, stored

MINUTE = 60 * NS_PER_S


async def test_a_bar_comes_back_as_it_was(store_address: str) -> None:
    bar = make_bar(5, prices=(10.1, 9.7, 11.3), state=BarState.REVISED, revision=3)
    bar.phase = "pre"
    async with run_store(store_address) as store:
        store.put([bar])
        await store.flush()
        (found,) = await stored(store)
    assert to_row(found) == to_row(bar)


async def test_the_largest_numbers_fit(store_address: str) -> None:
    bar = make_bar(5)
    bar.end = bar.candle.volume = bar.candle.trades = bar.candle.last_sequence = 2**63 - 1
    bar.number = bar.revision = 2**31 - 1
    bar.candle.notional = 1.7976931348623157e308
    async with run_store(store_address) as store:
        store.put([bar])
        await store.flush()
        assert to_row((await stored(store))[0]) == to_row(bar)


async def test_ranges_are_half_open_and_limited_from_either_end(store_address: str) -> None:
    async with run_store(store_address) as store:
        store.put([make_bar(n) for n in range(10)])
        store.put([make_bar(3, "MSFT"), make_bar(3, interval="1m")])
        await store.flush()

        async def starts(**asked: Any) -> list[int]:
            return [bar.start // NS_PER_S for bar in await stored(store, **asked)]

        assert await starts(from_ns=2 * NS_PER_S, to_ns=5 * NS_PER_S) == [2, 3, 4]
        assert await starts(limit=3) == [0, 1, 2]
        assert await starts(limit=3, newest=True) == [9, 8, 7]
        assert await starts(after=(7 * NS_PER_S, 0)) == [8, 9]


async def test_bars_of_the_same_start_are_told_apart_by_number(store_address: str) -> None:
    async with run_store(store_address) as store:
        store.put([make_bar(1, interval="2t", number=n) for n in range(3)])
        await store.flush()
        found = await stored(store, interval="2t", after=(NS_PER_S, 0))
    assert [bar.number for bar in found] == [1, 2]


async def test_open_bars_are_left_out_where_only_closed_ones_are_asked(store_address: str) -> None:
    async with run_store(store_address) as store:
        store.put([make_bar(1), make_bar(2, state=BarState.PARTIAL)])
        await store.flush()
        assert [bar.start for bar in await stored(store, closed_only=True)] == [NS_PER_S]


async def test_an_address_may_be_opened_by_two_at_the_same_time(store_address: str) -> None:
    first, second = open_database(store_address), open_database(store_address)
    try:
        await asyncio.gather(first.migrate(), second.migrate(), first.migrate())
        await second.save_bars([to_row(make_bar())])
    finally:
        await first.close()
        await second.close()


async def test_a_migration_waits_for_that_of_another_process(tmp_path: Path) -> None:
    path = tmp_path / "bars.db"
    database = open_database(f"sqlite:///{path}", busy_s=1.0)
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("PRAGMA journal_mode = WAL")
            other.execute("BEGIN IMMEDIATE")
            migrating = asyncio.create_task(database.migrate())
            # Longer than any other transaction waits.
            await asyncio.wait([migrating], timeout=1.5)
            assert not migrating.done()
            other.execute("COMMIT")
            await migrating
            # Other transactions wait as long as usual.
            other.execute("BEGIN IMMEDIATE")
            began = asyncio.get_running_loop().time()
            with pytest.raises(OperationalError, match="locked"):
                await database.save_bars([to_row(make_bar())])
            assert asyncio.get_running_loop().time() - began < 3.0
    finally:
        await database.close()


async def test_migrations_make_the_tables_that_the_code_expects(store_address: str) -> None:
    def differences(connection: Connection) -> list[object]:
        # What PostgreSQL computes for people's own queries.
        opts = {"include_object": lambda _, name, *rest: name != "size"}
        context = MigrationContext.configure(connection, opts=opts)
        found: list[object] = compare_metadata(context, metadata)
        return found

    database = open_database(store_address)
    try:
        await database.migrate()
        async with database.read() as connection:
            assert await connection.run_sync(differences) == []
    finally:
        await database.close()


RANKS = list(itertools.product(range(3), [BarState.PARTIAL, BarState.FINAL, BarState.REVISED]))


def _keep_first_version(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", "aggregator.store:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")
    # Without the columns of later versions.
    later = {"refused", "volume_decimals"}
    columns = [column.name for column in bar_columns if column.name not in later]
    row = row_writer([field for field in STORED if field.name in columns])(make_bar(7))
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join(f":v{n}" for n in range(len(row)))
    values = {f"v{n}": value for n, value in enumerate(row)}
    connection.execute(text(f"INSERT INTO bars ({names}) VALUES ({marks})"), values)


async def test_a_store_of_the_version_before_keeps_its_bars(store_address: str) -> None:
    database = open_database(store_address)
    if database._file is not None:
        await asyncio.to_thread(database._file.parent.mkdir, parents=True)
    async with database.write() as connection:
        await connection.run_sync(_keep_first_version)
    assert await database.migrate() is False
    async with database.read() as connection:
        found = (await connection.execute(select(bars))).mappings().all()
    assert [(row["start"], bool(row["imported"])) for row in found] == [(make_bar(7).start, False)]
    bar = make_bar(8)
    bar.candle.volume_decimals = 3
    await database.save_bars([to_row(bar)])
    if store_address.startswith("postgresql"):
        # People's own queries have the size as a decimal.
        async with database.read() as connection:
            sizes = await connection.execute(
                text("SELECT size FROM bars WHERE volume_decimals = 3")
            )
            assert sizes.scalars().all() == [to_decimal(bar.candle.volume, 3)]
    await database.close()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ranks=st.lists(st.sampled_from(RANKS), min_size=1, max_size=6))
def test_a_lower_revision_never_wins(
    ranks: list[tuple[int, BarState]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def highest() -> tuple[int, BarState]:
        address = f"sqlite:///{tmp_path_factory.mktemp('rank')}/bars.db"
        database = open_database(address)
        await database.migrate()
        for revision, state in ranks:
            await database.save_bars([to_row(make_bar(state=state, revision=revision))])
        async with database.read() as connection:
            rows = (await connection.execute(select_range(_all()))).fetchall()
        await database.close()
        (bar,) = map(to_bar, rows)
        return bar.rank  # type: ignore[return-value]

    assert asyncio.run(highest()) == max(ranks)


def _all() -> Range:
    return Range("AAPL", "1s", 0, 2**63 - 1, 10, closed_only=False)


async def test_an_older_state_does_not_overwrite_a_newer_one(store_address: str) -> None:
    newest = make_bar(prices=(1.0, 2.0), state=BarState.REVISED, revision=2)
    async with run_store(store_address) as store:
        for bar in (
            newest,
            make_bar(state=BarState.REVISED, revision=1),
            make_bar(state=BarState.FINAL, revision=2),
            # A fragment of the same rank.
            make_bar(state=BarState.REVISED, revision=2),
        ):
            store.put([bar])
            await store.flush()
        (found,) = await stored(store)
    assert to_row(found) == to_row(newest)


async def test_a_newer_state_takes_the_place_of_an_older_one(store_address: str) -> None:
    states = [
        make_bar(state=BarState.PARTIAL),
        make_bar(state=BarState.FINAL, prices=(1.0, 2.0)),
        make_bar(state=BarState.REVISED, revision=1, prices=(3.0,)),
    ]
    async with run_store(store_address) as store:
        for bar in states:
            store.put([bar])
            await store.flush()
            (found,) = await stored(store)
            assert to_row(found) == to_row(bar)


async def test_spans_are_added_to_those_that_are_there(store_address: str) -> None:
    async with run_store(store_address) as store:
        assert await store.load_spans() == []
        assert await store.save_spans([(1, 5), (10, 20)])
        assert await store.save_spans([(5, 7), (30, 40)])
        assert await store.load_spans() == [(1, 7), (10, 20), (30, 40)]


async def test_open_and_revisable_bars_are_restored(store_address: str) -> None:
    recent = [make_bar(n) for n in range(100, 161)]
    still_open = [make_bar(120, interval="1m", state=BarState.PARTIAL)]
    other = [make_bar(n, "MSFT") for n in range(10, 80)]
    day = make_bar(0, interval="1d")
    async with run_store(store_address) as store:
        store.put([*recent, *still_open, *other, day, make_bar(5, interval="3t")])
        await store.flush()
    intervals = [parse_interval(name) for name in ("1s", "1m", "1d", "3t")]
    async with run_store(store_address) as store:
        found = await store.restore(intervals, 30 * NS_PER_S, 1_000)
        few = await store.restore(intervals, 30 * NS_PER_S, 3)
    restored = {bar.key for bar in found}
    # The latest trade of AAPL is at 160 s, that of MSFT at 79 s; an end after 30 s before counts.
    assert restored == {
        bar.key
        for bar in [*recent[30:], *still_open, *other[-31:], day]
        if bar.end > (160 - 30) * NS_PER_S or bar.symbol == "MSFT"
    }
    assert len(few) == 3


async def test_retention_removes_the_old_of_its_interval_only(store_address: str) -> None:
    async with run_store(store_address, max_waiting=10_000) as store:
        store.put([make_bar(n) for n in range(2_500)])
        store.put([make_bar(0, interval="1m"), make_bar(1, "MSFT"), make_bar(2_600, "MSFT")])
        await store.flush()
    database = open_database(store_address)
    try:
        removed = await remove_old(database, {"1s": 100 * NS_PER_S}, 2_500 * NS_PER_S)
        assert removed == 2_401
        async with database.read() as connection:
            count = await connection.scalar(text("SELECT count(*) FROM bars"))
            left = await connection.scalar(text("SELECT min(start) FROM bars WHERE interval='1s'"))
        assert (count, left) == (102, 2_400 * NS_PER_S)
    finally:
        await database.close()


async def test_reads_go_by_the_key(store_address: str) -> None:
    database = open_database(store_address)
    try:
        await database.migrate()
        rows = [to_row(make_bar(n, f"S{n % 50}")) for n in range(20_000)]
        await database.save_bars(rows)
        async with database.write() as connection:
            await connection.execute(text("ANALYZE"))
        for asked in (
            Range("S3", "1s", 0, 2**62, 1_000),
            Range("S3", "1s", 0, 2**62, 1_000, newest=True),
            Range("S3", "1s", 5_000 * NS_PER_S, 2**62, 1_000, after=(6_000 * NS_PER_S, 0)),
        ):
            plan = await database.explain(select_range(asked))
            if database.is_sqlite:
                assert "SEARCH bars USING PRIMARY KEY (symbol=? AND interval=? AND start>?" in plan
                assert "TEMP B-TREE" not in plan
            else:
                assert "bars_pkey" in plan, plan
                assert "Seq Scan" not in plan, plan
        last_times = select_last_times(["1s", "1m"], is_sqlite=database.is_sqlite)
        plan = await database.explain(
            select_recent(last_times, "1s", NS_PER_S, 60, 1_000), by_key=True
        )
        if database.is_sqlite:
            assert "SEARCH bars USING PRIMARY KEY (symbol=? AND interval=? AND start>?)" in plan
            assert "SCAN bars" not in plan
        else:
            assert "Seq Scan on bars" not in plan, plan
    finally:
        await database.close()


async def test_a_read_that_is_given_up_leaves_nothing_behind(store_address: str) -> None:
    async with run_store(store_address, max_waiting=5_000) as store:
        store.put([make_bar(n) for n in range(3_000)])
        await store.flush()
        for turns in range(30):
            reading = asyncio.create_task(stored(store))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        assert len(await stored(store)) == 3_000
        assert store.status().state == "ok"

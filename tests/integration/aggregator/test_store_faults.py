"""A store whose database fails: bars wait, are counted and are written later."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from aggregator.bars.bar import BarState
from aggregator.store.rows import to_row
from aggregator.store.schema import metadata
from aggregator.store.store import StoreUnavailable
from tests.doubles.made_bars import make_bar
from tests.doubles.postgres import PASSWORD, PostgresServer
from tests.doubles.stores import open_database, run_store, stored

TIMEOUT_S = 30


@pytest.fixture
def told() -> asyncio.Queue[bool]:
    return asyncio.Queue()


async def expect(told: asyncio.Queue[bool], health: bool) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        assert await told.get() is health


async def test_bars_wait_while_a_sqlite_file_is_locked(
    tmp_path: Path, told: asyncio.Queue[bool]
) -> None:
    path = tmp_path / "bars.db"
    async with run_store(f"sqlite:///{path}", told=told, busy_s=0.01) as store:
        await expect(told, True)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store.put([make_bar(n) for n in range(600)])
            await expect(told, False)
            status = store.status()
            assert (status.state, status.waiting) == ("failing", 600)
            assert status.problem == "database is locked"
            # Reads still work.
            assert await stored(store) == []
            other.execute("COMMIT")
        await expect(told, True)
        await store.flush()
        assert len(await stored(store)) == 600
        assert (store.status().state, store.status().written, store.status().lost) == ("ok", 600, 0)


async def test_what_waits_is_bounded_and_the_oldest_is_lost_and_counted(
    tmp_path: Path, told: asyncio.Queue[bool]
) -> None:
    path = tmp_path / "bars.db"
    address = f"sqlite:///{path}"
    async with run_store(address, told=told, busy_s=0.01, max_waiting=700) as store:
        await expect(told, True)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store.put([make_bar(n) for n in range(600)])
            await expect(told, False)
            with capture_logs() as logs:
                store.put([make_bar(n) for n in range(600, 1_000)])
                status = store.status()
                assert (status.waiting, status.lost) == (700, 300)
                other.execute("COMMIT")
                await store.flush()
                await store.stop(1.0)
        lost = [line for line in logs if line["event"] == "bars_lost"]
        assert [(line["reason"], line["total"]) for line in lost] == [("1s", 300)]
    database = open_database(address)
    with closing(sqlite3.connect(path)) as other:
        starts = [start // 10**9 for (start,) in other.execute("SELECT start FROM bars")]
    assert starts == list(range(300, 1_000))
    await database.close()


async def test_bars_wait_while_the_disk_is_full(
    tmp_path: Path, told: asyncio.Queue[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"sqlite:///{tmp_path}/bars.db"
    async with run_store(address, told=told, pragmas=["max_page_count = 20"]) as store:
        await expect(told, True)
        store.put([make_bar(n) for n in range(900)])
        await expect(told, False)
        assert store.status().problem == "database or disk is full"
        assert store.status().waiting > 0
        # Connections from now on have room.
        store._database._pragmas = ()
        await expect(told, True)
        await store.flush()
        assert len(await stored(store)) == 900
        assert store.status().lost == 0


async def test_a_file_that_is_no_database_heals_when_it_is_moved_away(
    tmp_path: Path, told: asyncio.Queue[bool]
) -> None:
    path = tmp_path / "bars.db"
    path.write_bytes(b"this is not a database, whatever its name says\n" * 100)
    async with run_store(f"sqlite:///{path}", told=told) as store:
        await expect(told, False)
        assert store.status().problem == "file is not a database"
        store.put([make_bar()])
        with pytest.raises(StoreUnavailable, match="file is not a database"):
            await stored(store)
        assert await store.restore([], 1, 1) == []
        assert await store.load_spans() == []
        assert not await store.save_spans([(1, 2)])
        path.rename(tmp_path / "broken.db")
        await expect(told, True)
        await store.flush()
        assert len(await stored(store)) == 1


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("truncate", "the file was emptied"),
        ("remove", "the file was removed"),
        ("replace", "the file was replaced by another one"),
    ],
)
async def test_a_file_that_is_emptied_while_it_is_open_is_noticed(
    tmp_path: Path, told: asyncio.Queue[bool], what: str, said: str
) -> None:
    path = tmp_path / "bars.db"
    with capture_logs() as lines:
        async with run_store(f"sqlite:///{path}", told=told) as store:
            await expect(told, True)
            assert store.status().problem == ""
            store.put([make_bar(1)])
            await store.flush()
            if what == "truncate":
                path.write_bytes(b"")
            else:
                path.unlink()
            if what == "replace":
                path.write_bytes(b"")
            with pytest.raises(StoreUnavailable, match=said):
                await stored(store)
            await expect(told, False)
            await expect(told, True)
            store.put([make_bar(2)])
            await store.flush()
            # SQLite may have the first one in its log.
            assert make_bar(2).start in [bar.start for bar in await stored(store)]
            assert (store.status().state, store.status().problem[:8]) == ("ok", "emptied:")
    events = [line["event"] for line in lines]
    assert events == ["store_ok", "store_failing", "store_emptied", "store_ok"]
    assert lines[1]["problem"] == said


async def test_a_file_that_was_emptied_before_the_start_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "bars.db"
    async with run_store(f"sqlite:///{path}") as store:
        assert store.status().problem == ""
        store.put([make_bar(1)])
        await store.flush()
    async with run_store(f"sqlite:///{path}") as store:
        assert store.status().problem == ""
    path.write_bytes(b"")
    with capture_logs() as lines:
        async with run_store(f"sqlite:///{path}") as store:
            assert store.status().problem.startswith("emptied: ")
    assert [line["event"] for line in lines] == ["store_emptied", "store_ok"]


async def test_tables_that_are_lost_are_noticed(
    store_address: str, told: asyncio.Queue[bool]
) -> None:
    async with run_store(store_address, told=told) as store:
        await expect(told, True)
        async with store._database.write() as connection:
            await connection.execute(text("DROP TABLE bars"))
        store.put([make_bar()])
        await expect(told, False)
        assert "bars" in store.status().problem
        # What waits is not lost when all tables are gone and made again.
        async with store._database.write() as connection:
            for table in {"alembic_version", *metadata.tables} - {"bars"}:
                await connection.execute(text(f"DROP TABLE {table}"))
        await expect(told, True)
        await store.flush()
        assert len(await stored(store)) == 1
        assert store.status().problem.startswith("emptied: ")


async def test_a_server_may_be_killed_and_come_back(
    postgres: PostgresServer, told: asyncio.Queue[bool]
) -> None:
    address = await postgres.make_database()
    async with run_store(address, told=told) as store:
        await expect(told, True)
        store.put([make_bar(n) for n in range(10)])
        await store.flush()
        postgres.stop("immediate")
        try:
            store.put([make_bar(n) for n in range(10, 700)])
            await expect(told, False)
            with pytest.raises(StoreUnavailable):
                await stored(store)
            assert store.status().waiting == 690
        finally:
            postgres.start()
        await expect(told, True)
        await store.flush()
        assert len(await stored(store)) == 700
        assert store.status().lost == 0


async def test_an_idle_store_notices_that_its_server_is_gone_when_it_is_asked(
    postgres: PostgresServer, told: asyncio.Queue[bool]
) -> None:
    address = await postgres.make_database()
    async with run_store(address, told=told) as store:
        await expect(told, True)
        postgres.stop("immediate")
        try:
            with pytest.raises(StoreUnavailable):
                await stored(store)
            await expect(told, False)
        finally:
            postgres.start()
        await expect(told, True)


async def test_a_store_starts_without_its_server_and_never_tells_the_password(
    postgres: PostgresServer, told: asyncio.Queue[bool]
) -> None:
    address = await postgres.make_database()
    name = address.partition("@/")[2].partition("?")[0]
    wrong = address.replace("se%40cret", "wr%40ng")
    with capture_logs() as logs:
        async with run_store(wrong, told=told) as store:
            await expect(told, False)
            status = store.status()
            assert "password authentication failed" in status.problem
        postgres.stop("fast")
        try:
            async with run_store(address, told=told) as store:
                await expect(told, False)
                store.put([make_bar()])
                postgres.start()
                await expect(told, True)
                await store.flush()
        except BaseException:
            postgres.start()
            raise
    said = repr(logs) + status.problem
    assert name in said
    assert not any(word in said for word in ("wr@ng", "wr%40ng", PASSWORD, "se%40cret"))


async def test_what_is_being_written_when_the_end_comes_is_not_lost_silently(
    tmp_path: Path, told: asyncio.Queue[bool]
) -> None:
    path = tmp_path / "bars.db"
    async with run_store(f"sqlite:///{path}", told=told, busy_s=0.01) as store:
        await expect(told, True)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store.put([make_bar(n) for n in range(5)])
            with capture_logs() as logs:
                await store.stop(0.0)
        assert [line["count"] for line in logs if line["event"] == "bars_lost"] == [5]


async def test_more_bars_than_may_wait_are_written_at_the_stop(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/bars.db"
    async with run_store(address, max_waiting=300) as store:
        await store.stop(30.0, [make_bar(n, state=BarState.PARTIAL) for n in range(800)])
        assert store.status().lost == 0
    async with run_store(address) as store:
        assert len(await stored(store)) == 800


async def test_a_stop_writes_what_waits(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/bars.db"
    async with run_store(address) as store:
        store.put([make_bar(n, state=BarState.PARTIAL) for n in range(800)])
    async with run_store(address) as store:
        assert len(await stored(store)) == 800


WRITER = """
import asyncio, sys
from tests.doubles.made_bars import make_bar
from tests.doubles.stores import run_store

async def main():
    async with run_store(sys.argv[1], max_waiting=1_000_000) as store:
        for turn in range(1_000_000):
            prices = tuple(float(turn + n + 1) for n in range(3))
            store.put([make_bar(n, prices=prices, revision=turn) for n in range(700)])
            await store.flush()
            print(turn, flush=True)

asyncio.run(main())
"""


async def test_a_kill_in_the_middle_of_writing_leaves_no_torn_bar(store_address: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITER, store_address),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT_S):
        for _ in range(3):
            last = await process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = await process.stdout.read()
        await process.wait()
    turn = int((last + rest).split()[-1])
    async with run_store(store_address) as store:
        found = await stored(store)
        # And it can be written again.
        store.put([make_bar()])
        await store.flush()
    assert len(found) == 700
    for bar in found:
        assert bar.revision >= turn
        prices = tuple(float(bar.revision + n + 1) for n in range(3))
        again = make_bar(bar.start // 10**9, prices=prices, revision=bar.revision)
        assert to_row(bar) == to_row(again)

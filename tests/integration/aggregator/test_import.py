"""Files of trades become stored bars, also after crashes and interruptions."""

from __future__ import annotations

import asyncio
import gzip
import random
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from aggregator.bars.candle import Candle
from aggregator.importing import job
from aggregator.importing.job import Import, Rules
from aggregator.importing.segment import TotalOverflow
from aggregator.importing.staging import ImportRunsElsewhere, Staging
from aggregator.sessions.sessions import UtcDay
from aggregator.store.feed_spans import load_spans
from aggregator.store.rows import to_bar, to_row
from aggregator.store.schema import bars as bars_table
from marketdata.intervals import NS_PER_DAY, parse_interval
from marketdata.timestamps import NS_PER_S
from marketdata.tradefiles import BadFile
from marketdata.validation import TickRules
from tests.doubles.made_bars import make_bar
from tests.doubles.stores import open_database
from tests.doubles.trades import REAL_TRADES, ROOT, needs_real_trades

HEADER = "symbol,price,volume,exchange_timestamp"
START_NS = 1_700_000_000 * NS_PER_S
INTERVALS = [parse_interval(name) for name in ("1s", "1m", "1h", "1d")]
Trade = tuple[str, float, int, int]


class Blind:
    """Shows nothing."""

    def reading(self, path: Path, size: int) -> None:
        pass

    def read(self, position: int) -> None:
        pass

    def storing(self, bars: int) -> None:
        pass

    def stored(self, bars: int) -> None:
        pass


def make_import(database: Any, *paths: Path, **more: Any) -> Import:
    rules = Rules(
        INTERVALS,
        lambda _symbol: UtcDay(),
        TickRules(timestamp_unit="auto", max_future_skew_s=60, one_unit=True),
        1_000,
        ["utc-day"],
    )
    given = {"retention": {}, "screen": Blind(), "clock": lambda: START_NS * 2, **more}
    return Import(database, paths, rules, **given)


def trades(count: int, seed: int = 1) -> list[Trade]:
    chance = random.Random(seed)
    return [
        (
            chance.choice(["AAPL", "MSFT", "BRK.B"]),
            round(chance.uniform(10, 20), 4),
            chance.randrange(1, 10_000),
            START_NS + n * 300_000_000,
        )
        for n in range(count)
    ]


def write(path: Path, rows: Iterable[Sequence[object]]) -> Path:
    lines = "\n".join([HEADER, *(",".join(map(str, row)) for row in rows)]) + "\n"
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    else:
        path.write_text(lines)
    return path


async def content(database: Any) -> list[Any]:
    async with database.read() as connection:
        rows = await connection.execute(select(bars_table).order_by(*bars_table.primary_key))
        return [tuple(row) for row in rows]


def expected(rows: Iterable[Trade]) -> dict[tuple[str, str, int], Candle]:
    """Return each bar as the sum of its trades, one by one."""
    found: dict[tuple[str, str, int], Candle] = defaultdict(Candle)
    for sequence, (symbol, price, volume, ts) in enumerate(rows, 1):
        for interval in INTERVALS:
            size = interval.nominal_ns if interval.by_clock else NS_PER_DAY
            found[symbol, interval.name, ts - ts % size].add(price, volume, ts, sequence)
    return found


@pytest.fixture
async def database(store_address: str) -> Any:
    database = open_database(store_address)
    await database.migrate()
    yield database
    await database.close()


@pytest.mark.parametrize("order", ["sorted", "shuffled", "by symbol"])
async def test_any_order_of_trades_gives_the_bars_of_all_of_them(
    database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    rows = trades(3_000)
    if order == "shuffled":
        random.Random(2).shuffle(rows)
    elif order == "by symbol":
        rows.sort(key=lambda row: row[0])
    monkeypatch.setattr(job, "MAX_SEGMENT_TRADES", 250)
    task = make_import(database, write(tmp_path / "a.csv.gz", rows))
    await task.run()
    assert task.progress.trades == 3_000
    wanted = expected(rows)
    stored = [to_bar(row) for row in await content(database)]
    assert {(bar.symbol, bar.interval, bar.start) for bar in stored} == wanted.keys()
    for bar in stored:
        candle = wanted[bar.symbol, bar.interval, bar.start]
        for name in ("open", "high", "low", "close", "volume", "trades", "first_ts", "last_ts"):
            assert getattr(bar.candle, name) == getattr(candle, name)
        assert bar.candle.vwap == pytest.approx(candle.vwap, rel=1e-12)
        assert (bar.state.name, bar.revision, bar.coverage.name) == ("FINAL", 0, "FULL")
    async with database.read() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM import_bars")) == 0
        assert await connection.scalar(text("SELECT count(*) FROM imports")) == 0
    assert await load_spans(database) == [(START_NS, rows and max(r[3] for r in rows) + 1)]


async def test_done_twice_it_changes_nothing(database: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", trades(500))
    await make_import(database, path).run()
    before = await content(database)
    again = make_import(database, path)
    await again.run()
    assert again.progress.written == 0
    assert await content(database) == before


async def test_a_stored_bar_that_differs_gets_the_next_revision(
    database: Any, tmp_path: Path
) -> None:
    rows = trades(500)
    await make_import(database, write(tmp_path / "a.csv", rows)).run()
    before = {row[:4]: row for row in await content(database)}
    rows[250] = (*rows[250][:2], rows[250][2] + 1, rows[250][3])
    again = make_import(database, write(tmp_path / "b.csv", rows))
    await again.run()
    changed = [row for row in await content(database) if before[row[:4]] != row]
    assert again.progress.written == len(changed) == len(INTERVALS)
    for bar in map(to_bar, changed):
        assert (bar.revision, bar.state.name) == (1, "REVISED")


async def test_a_bar_left_open_becomes_final(database: Any, tmp_path: Path) -> None:
    symbol, price, volume, ts = trades(1)[0]
    start_s = ts // NS_PER_S
    left = make_bar(start_s, symbol, prices=(price,))
    left.state = left.state.__class__.PARTIAL
    await database.save_bars([to_row(left)])
    await make_import(database, write(tmp_path / "a.csv", [(symbol, price, volume, ts)])).run()
    (bar,) = [to_bar(row) for row in await content(database) if row[1] == "1s"]
    assert (bar.state.name, bar.revision, bar.candle.volume) == ("FINAL", 0, volume)


@pytest.mark.parametrize("step", ["add", "publish_some"])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_after_a_crash_it_goes_on_and_the_result_is_that_of_one_run(
    store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, after: int
) -> None:
    monkeypatch.setattr(job, "MAX_SEGMENT_TRADES", 250)
    monkeypatch.setattr("aggregator.importing.staging.PUBLISH_BARS", 300)
    rows: list[Any] = [*trades(1_500)]
    random.Random(3).shuffle(rows)
    rows[100:100] = [("AAPL", "x", 1, 1)]
    rows[900:900] = [("AAPL", 1, -5, 1)]
    paths = [write(tmp_path / "a.csv", rows[:800]), write(tmp_path / "b.csv.gz", rows[800:])]

    class Crashed(Exception):
        pass

    original = getattr(Staging, step)
    calls = 0

    async def crash(self: Staging, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Crashed
        return await original(self, *arguments)

    whole = open_database(f"sqlite:///{tmp_path}/whole.db")
    await whole.migrate()
    uninterrupted = make_import(whole, *paths)
    await uninterrupted.run()
    database = open_database(store_address)
    await database.migrate()
    with monkeypatch.context() as patch:
        patch.setattr(Staging, step, crash)
        with pytest.raises(Crashed):
            await make_import(database, *paths).run()
    second = make_import(database, *paths)
    await second.run()
    assert await content(database) == await content(whole)
    assert second.progress == uninterrupted.progress
    assert second.progress.bad == {"malformed": 1, "volume_not_positive": 1}
    await database.close()
    await whole.close()


KILLED = """
import asyncio, sys, time
from pathlib import Path
from aggregator.importing import job
from tests.doubles.stores import open_database
from tests.integration.aggregator import test_import as test

job.MAX_SEGMENT_TRADES = 250

def clock():
    print("checkpoint", flush=True)
    return test.START_NS * 2

async def main():
    database = open_database(sys.argv[1])
    await database.migrate()
    await test.make_import(database, Path(sys.argv[2]), clock=clock).run()

asyncio.run(main())
"""


async def test_after_a_kill_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "MAX_SEGMENT_TRADES", 250)
    path = write(tmp_path / "a.csv", trades(5_000))
    address = f"sqlite:///{tmp_path}/killed.db"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, address, str(path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        for _ in range(8):
            assert await process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        await process.stdout.read()
        assert await process.wait() == -signal.SIGKILL
    killed = open_database(address)
    whole = open_database(f"sqlite:///{tmp_path}/whole.db")
    await whole.migrate()
    rest = make_import(killed, path)
    await rest.run()
    assert rest.resumed
    await make_import(whole, path).run()
    assert await content(killed) == await content(whole)
    await killed.close()
    await whole.close()


async def test_two_at_once_do_not_count_a_trade_twice(database: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", trades(500))
    results = await asyncio.gather(
        make_import(database, path).run(),
        make_import(database, path).run(),
        return_exceptions=True,
    )
    assert any(isinstance(result, ImportRunsElsewhere) for result in results)
    await make_import(database, path).run()
    days = [to_bar(row) for row in await content(database) if row[1] == "1d"]
    assert sum(bar.candle.trades for bar in days) == 500


async def test_bad_rows_are_counted_by_reason_and_the_first_are_named(
    database: Any, tmp_path: Path
) -> None:
    good = trades(1)[0]
    rows: list[Sequence[object]] = [
        good,
        ("", 1, 1, 1),
        ("A" * 70, 1, 1, 1),
        ("A", "nan", 1, 1),
        ("A", -1, 1, 1),
        ("A", 1, 0, 1),
        ("A", 1, 1, 0),
        ("A", 1, 1, 9_000_000_000_000_000_000),
        ("A", 1e308, 1, 1_700_000_000),
        ("A", 9223372036.854775807, 1, 1_700_000_000),
        ("A", 1, 10**15 + 1, 1_700_000_000),
        ("A", 1, 1, 20250103),
        ("A", 1, 1, 1_700_000_000),
        ("A", 1, 1),
        (" MSFT ", 5, 1, START_NS),
    ]
    task = make_import(database, write(tmp_path / "a.csv", rows))
    await task.run()
    assert task.progress.bad == {
        "empty_symbol": 1,
        "symbol_too_long": 1,
        "price_not_finite": 1,
        "price_not_positive": 1,
        "volume_not_positive": 1,
        "timestamp_not_positive": 1,
        "timestamp_in_future": 1,
        "price_too_large": 1,
        "price_sentinel": 1,
        "volume_too_large": 1,
        "timestamp_implausible": 1,
        # The first row was in nanoseconds, this one was in seconds.
        "timestamp_unit_changed": 1,
        "malformed": 1,
    }
    assert task.progress.examples[0] == "a.csv: row 3: symbol '' is empty"
    assert len(task.progress.examples) == 5
    seconds = [row for row in await content(database) if row[1] == "1s"]
    # Symbols are read as in a replay.
    assert ("MSFT", START_NS) in [(row[0], row[2]) for row in seconds]


DAY_NS = 1_735_862_400 * NS_PER_S  # 2025-01-03


async def days(database: Any) -> dict[str, tuple[float, float, float, float, int, int]]:
    """Return open, high, low, close, volume and trades of each symbol's day."""
    found = {}
    for row in map(to_bar, await content(database)):
        if row.interval == "1d":
            assert row.start == DAY_NS
            candle = row.candle
            prices = candle.open, candle.high, candle.low, candle.close
            found[row.symbol] = (*prices, candle.volume, candle.trades)
    return found


async def test_one_absurd_volume_refuses_its_own_row_alone(database: Any, tmp_path: Path) -> None:
    rows = [
        ("MSFT", 1.0, 5, 1735914600000),
        ("AAPL", 10.0, 9000000000000000000, 1735914600000),
        ("AAPL", 10.1, 9000000000000000000, 1735914601000),
        ("MSFT", 2.0, 5, 1735914601000),
    ]
    task = make_import(database, write(tmp_path / "a.csv", rows), clock=lambda: DAY_NS * 2)
    await task.run()
    assert task.progress.bad == {"volume_too_large": 2}
    assert await days(database) == {"MSFT": (1.0, 2.0, 1.0, 2.0, 10, 2)}


async def test_symbols_that_differ_in_case_are_two(database: Any, tmp_path: Path) -> None:
    rows = [("AMpB", "25.10", 100, 1735914600000), ("AMPB", "3.20", 500, 1735914601000)]
    task = make_import(database, write(tmp_path / "a.csv", rows), clock=lambda: DAY_NS * 2)
    await task.run()
    assert await days(database) == {
        "AMpB": (25.1, 25.1, 25.1, 25.1, 100, 1),
        "AMPB": (3.2, 3.2, 3.2, 3.2, 500, 1),
    }


async def test_option_symbols_keep_their_blanks(database: Any, tmp_path: Path) -> None:
    rows = [
        ("AAPL  251219C00150000", 12.5, 3, 1735914600000),
        ("BRK.B 260206C00495000", 3.1, 1, 1735914600000),
    ]
    task = make_import(database, write(tmp_path / "a.csv", rows), clock=lambda: DAY_NS * 2)
    await task.run()
    assert await days(database) == {
        "AAPL  251219C00150000": (12.5, 12.5, 12.5, 12.5, 3, 1),
        "BRK.B 260206C00495000": (3.1, 3.1, 3.1, 3.1, 1, 1),
    }


@pytest.mark.parametrize("times", [(20250103, 20250106), (45660, 45663)])
async def test_a_date_as_a_number_is_not_a_time_of_1970(
    database: Any, tmp_path: Path, times: tuple[int, int]
) -> None:
    rows = [("AAPL", 150.25, 100, times[0]), ("AAPL", 150.50, 100, times[1])]
    task = make_import(database, write(tmp_path / "a.csv", rows), clock=lambda: DAY_NS * 2)
    await task.run()
    assert task.progress.bad == {"timestamp_implausible": 2}
    assert await content(database) == []


async def test_the_rows_of_a_file_have_one_unit_of_time(database: Any, tmp_path: Path) -> None:
    rows = [
        ("A", 1, 1, 1735914600000),
        ("A", 2, 1, 1735914601),
        ("A", 3, 1, 1735914602000),
        ("A", 4, 1, 1735914603000000),
    ]
    other = [("A", 5, 1, 1735914604)]
    paths = write(tmp_path / "a.csv", rows), write(tmp_path / "b.csv", other)
    task = make_import(database, *paths, clock=lambda: DAY_NS * 2)
    await task.run()
    assert task.progress.bad == {"timestamp_unit_changed": 2}
    assert await days(database) == {"A": (1, 5, 1, 5, 3, 3)}


async def test_what_a_bar_cannot_say_is_refused(database: Any, tmp_path: Path) -> None:
    # 9,224 trades of the largest volume are more than an int64.
    rows = [("A", 1, 10**15, START_NS + n) for n in range(9_224)]
    with pytest.raises(TotalOverflow, match=r"the volume of A 1s at 17\d+ is above the largest"):
        await make_import(database, write(tmp_path / "a.csv", rows)).run()
    assert await content(database) == []


async def test_a_file_that_ends_too_early_says_so(database: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv.gz", trades(500))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadFile, match=r"a\.csv\.gz: row \d+: "):
        await make_import(database, path).run()
    with pytest.raises(BadFile, match="No such file"):
        await make_import(database, tmp_path / "none.csv").run()
    assert await content(database) == []


async def test_bars_that_retention_would_remove_are_not_stored(
    database: Any, tmp_path: Path
) -> None:
    task = make_import(
        database, write(tmp_path / "a.csv", trades(100)), retention={"1s": NS_PER_DAY}
    )
    await task.run()
    assert task.dropped > 0
    assert {row[1] for row in await content(database)} == {"1m", "1h", "1d"}


def run_command(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "aggregator", "import", *arguments),
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@needs_real_trades
def test_the_command_imports_a_real_day(tmp_path: Path) -> None:
    done = run_command(str(REAL_TRADES), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "388,417 trades from 2013-10-07 08:00:00 to 2013-10-07 23:59:59 UTC" in done.stdout
    with closing(sqlite3.connect(tmp_path / "data" / "bars.db")) as database:
        minutes = database.execute(
            "SELECT symbol, count(*) FROM bars WHERE interval = '1m' GROUP BY symbol"
        ).fetchall()
    assert minutes == [("AIG", 434), ("BAC", 595), ("IBM", 453), ("SPY", 828)]


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    done = run_command("none.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "aggregator import: none.csv: No such file or directory\n"
    done = run_command("none.csv", cwd=tmp_path, AGGREGATOR_STORE="off")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = run_command("none.csv", "--store", "mysql://u:secret@h/db", cwd=tmp_path)
    assert done.returncode == 2
    assert "secret" not in done.stderr
    (tmp_path / "bad.db").write_bytes(b"no database" * 1_000)
    done = run_command("none.csv", "--store", "sqlite:///bad.db", cwd=tmp_path)
    assert done.stderr == "aggregator import: sqlite:///bad.db: file is not a database\n"

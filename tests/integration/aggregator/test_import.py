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
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text

from aggregator.bars.candle import Candle
from aggregator.importing import job
from aggregator.importing.job import Choices, Import, Rules
from aggregator.importing.ledger import ImportRunsElsewhere, Undecided
from aggregator.importing.staging import Staging
from aggregator.importing.statements import Way
from aggregator.importing.storing import Storing
from aggregator.sessions.calendars import load_rules
from aggregator.sessions.sessions import SessionRule, UtcDay
from aggregator.store.feed_spans import load_spans
from aggregator.store.refusals import load_import_refusals
from aggregator.store.removal import remove_old
from aggregator.store.rows import to_bar, to_row
from aggregator.store.schema import bar_columns
from aggregator.store.schema import bars as bars_table
from marketdata.files.source import BadFile, Part, find_parts
from marketdata.intervals import NS_PER_DAY, Interval, parse_interval
from marketdata.timestamps import NS_PER_S
from marketdata.validation import DEFAULT_LIMITS, MAX_MAX_VOLUME, TickRules, ValueLimits
from tests.doubles.made_bars import make_bar
from tests.doubles.stores import open_database
from tests.doubles.trades import REAL_TRADES, ROOT, needs_real_trades

HEADER = "symbol,price,volume,exchange_timestamp"
START_NS = 1_700_000_000 * NS_PER_S
INTERVALS = [parse_interval(name) for name in ("1s", "1m", "1h", "1d")]
Trade = tuple[str, float, int, int]


class Blind:
    """Shows nothing."""

    def reading(self, name: str, size: int) -> None:
        pass

    def understood(self, name: str, title: str) -> None:
        pass

    def read(self, position: int) -> None:
        pass

    def storing(self, bars: int) -> None:
        pass

    def stored(self, bars: int) -> None:
        pass


def make_import(
    database: Any,
    *paths: Path,
    intervals: Sequence[Interval] = INTERVALS,
    limits: ValueLimits = DEFAULT_LIMITS,
    rule: SessionRule | None = None,
    settings: Sequence[str] = ("AGGREGATOR_SESSION=utc-day",),
    **more: Any,
) -> Import:
    session = rule or UtcDay()
    rules = Rules(
        intervals,
        lambda _symbol: session,
        TickRules(timestamp_unit="auto", max_future_skew_s=60, limits=limits, one_unit=True),
        1_000,
        TickRules(timestamp_unit="ns", max_future_skew_s=60, limits=limits, one_unit=True),
        settings,
    )
    given = {"retention": {}, "screen": Blind(), "clock": lambda: START_NS * 2, **more}
    chosen = {
        name: given.pop(name) for name in ("way", "distinct", "strict", "files") if name in given
    }
    return Import(database, find_parts(paths), rules, Choices(**chosen), **given)


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
        rows = await connection.execute(select(*bar_columns).order_by(*bars_table.primary_key))
        return [tuple(row) for row in rows]


async def day_bars(database: Any) -> list[Any]:
    return [to_bar(row) for row in await content(database) if row[1] == "1d"]


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
    again = make_import(database, write(tmp_path / "b.csv", rows), way=Way.REPLACE)
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
    path = write(tmp_path / "a.csv", [(symbol, price, volume, ts)])
    await make_import(database, path, way=Way.REPLACE).run()
    (bar,) = [to_bar(row) for row in await content(database) if row[1] == "1s"]
    assert (bar.state.name, bar.revision, bar.candle.volume) == ("FINAL", 0, volume)


@pytest.mark.parametrize("step", [(Staging, "add"), (Storing, "store_some")])
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_after_a_crash_it_goes_on_and_the_result_is_that_of_one_run(
    store_address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[type, str],
    after: int,
) -> None:
    monkeypatch.setattr(job, "MAX_SEGMENT_TRADES", 250)
    monkeypatch.setattr("aggregator.importing.storing.STORE_BARS", 300)
    rows: list[Any] = [*trades(1_500)]
    random.Random(3).shuffle(rows)
    rows[100:100] = [("AAPL", "x", 1, 1)]
    rows[900:900] = [("AAPL", 1, -5, 1)]
    paths = [write(tmp_path / "a.csv", rows[:800]), write(tmp_path / "b.csv.gz", rows[800:])]

    class Crashed(Exception):
        pass

    original = getattr(*step)
    calls = 0

    async def crash(self: Any, *arguments: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise Crashed
        return await original(self, *arguments, **more)

    whole = open_database(f"sqlite:///{tmp_path}/whole.db")
    await whole.migrate()
    uninterrupted = make_import(whole, *paths, distinct=True)
    await uninterrupted.run()
    database = open_database(store_address)
    await database.migrate()
    with monkeypatch.context() as patch:
        patch.setattr(*step, crash)
        with pytest.raises(Crashed):
            await make_import(database, *paths, distinct=True).run()
    second = make_import(database, *paths, distinct=True)
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
    # Unless one was done before the other began.
    assert {type(result) for result in results} <= {type(None), ImportRunsElsewhere}
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


async def test_a_trade_that_no_sum_has_room_for_is_refused_alone(
    database: Any, tmp_path: Path
) -> None:
    # 92 x 10^17 is below 2^63 = 9.22 x 10^18, 93 x 10^17 is above it.
    rows = [("A", 1, MAX_MAX_VOLUME, START_NS + n) for n in range(93)]
    rows += [("A", 2, 5, START_NS + 93), ("B", 3, 7, START_NS)]
    limits = ValueLimits(max_volume=MAX_MAX_VOLUME)
    task = make_import(database, write(tmp_path / "a.csv", rows), limits=limits)
    await task.run()
    assert task.progress.bad == {"total_overflow": 1}
    # The header is row 1.
    assert task.progress.examples[0].startswith("a.csv: row 94: total_overflow (A,1.0,1000")
    days = {bar.symbol: bar.candle for bar in await day_bars(database)}
    assert (days["A"].volume, days["A"].close) == (92 * MAX_MAX_VOLUME + 5, 2.0)
    assert days["B"].volume == 7


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


# At 0 s a trade, at 1 s a trade and a refused row, at 2 s two refused rows, at 3 s a trade.
PARTLY_REFUSED = [
    ("A", 1.0, 5, START_NS),
    ("A", 2.0, 5, START_NS + NS_PER_S),
    ("A", -2.0, 5, START_NS + NS_PER_S + 1),
    ("A", -3.0, 5, START_NS + 2 * NS_PER_S),
    ("A", -4.0, 5, START_NS + 2 * NS_PER_S + 1),
    ("A", 5.0, 5, START_NS + 3 * NS_PER_S),
]


async def refused(database: Any) -> tuple[list[tuple[int, int]], dict[int, int]]:
    """Return the refused rows of each second: of those with a bar, and of those without one."""
    seconds = [to_bar(row) for row in await content(database) if row[1] == "1s"]
    kept = await load_import_refusals(database, "A", "1s", 0, START_NS * 2)
    return [((bar.start - START_NS) // NS_PER_S, bar.refused) for bar in seconds], {
        (start - START_NS) // NS_PER_S: count for start, count in kept.items()
    }


async def test_refused_rows_are_counted_where_there_is_no_bar_too(
    database: Any, tmp_path: Path
) -> None:
    task = make_import(database, write(tmp_path / "a.csv", PARTLY_REFUSED))
    await task.run()
    assert await refused(database) == ([(0, 0), (1, 1), (3, 0)], {2: 2})
    # The second itself, its minute, hour and day.
    assert task.incomplete == 4
    assert [bar.refused for bar in await day_bars(database)] == [3]
    # The same again, and other rows of the same seconds.
    await make_import(database, tmp_path / "a.csv", way=Way.REPLACE).run()
    assert await refused(database) == ([(0, 0), (1, 1), (3, 0)], {2: 2})
    more = [("A", 9.0, 5, START_NS + 2 * NS_PER_S + 7), ("A", -9.0, 5, START_NS + NS_PER_S + 7)]
    await make_import(database, write(tmp_path / "b.csv", more), way=Way.JOIN).run()
    assert await refused(database) == ([(0, 0), (1, 2), (2, 2), (3, 0)], {})


async def test_the_corrected_rows_replace_the_refused_ones(database: Any, tmp_path: Path) -> None:
    await make_import(database, write(tmp_path / "a.csv", PARTLY_REFUSED)).run()
    right = [(name, abs(price), volume, at) for name, price, volume, at in PARTLY_REFUSED]
    await make_import(database, write(tmp_path / "b.csv", right), way=Way.REPLACE).run()
    assert await refused(database) == ([(0, 0), (1, 0), (2, 0), (3, 0)], {})


async def test_counts_of_refused_rows_are_removed_with_the_bars_of_their_time(
    database: Any, tmp_path: Path
) -> None:
    await make_import(database, write(tmp_path / "a.csv", PARTLY_REFUSED)).run()
    await remove_old(database, {"1s": NS_PER_S}, START_NS + 100 * NS_PER_S)
    assert await refused(database) == ([], {})


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
    with pytest.raises(BadFile, match=r"none of its 2 rows .*\(timestamp_implausible 2\)"):
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


async def test_a_file_that_ends_too_early_says_so(database: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv.gz", trades(500))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadFile, match=r"a\.csv\.gz: Compressed file ended before"):
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


# What several imports give together.

DAY = START_NS - START_NS % NS_PER_DAY


def four() -> list[Trade]:
    """Return four trades of one day, an hour apart."""
    return [
        ("ES", price, volume, DAY + hour * 3600 * NS_PER_S)
        for hour, (price, volume) in enumerate([(10.0, 1), (14.0, 2), (9.0, 4), (12.0, 8)])
    ]


async def day_of(database: Any) -> tuple[Any, ...]:
    (bar,) = await day_bars(database)
    c = bar.candle
    return c.open, c.high, c.low, c.close, c.volume, c.trades, c.vwap


# 10 x 1 + 14 x 2 + 9 x 4 + 12 x 8 = 170 for 15 units.
WHOLE_DAY = (10.0, 14.0, 9.0, 12.0, 15, 4, 170 / 15)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("calls", [1, 2])
async def test_halves_of_a_day_are_one_bar(
    database: Any, tmp_path: Path, order: tuple[int, ...], calls: int
) -> None:
    halves = [write(tmp_path / "a.csv", four()[:2]), write(tmp_path / "b.csv.gz", four()[2:])]
    paths = [halves[index] for index in order]
    for given in [paths] if calls == 1 else [[path] for path in paths]:
        await make_import(database, *given).run()
    assert await day_of(database) == WHOLE_DAY
    (bar,) = await day_bars(database)
    assert (bar.state.name, bar.revision) == (("FINAL", 0) if calls == 1 else ("REVISED", 1))


async def test_a_second_may_be_cut_in_two(database: Any, tmp_path: Path) -> None:
    rows = [("A", 5.0, 1, START_NS), ("A", 6.0, 2, START_NS + 1)]
    for name, row in zip(("a.csv", "b.csv"), rows, strict=True):
        await make_import(database, write(tmp_path / name, [row])).run()
    bars = [to_bar(row) for row in await content(database)]
    assert {bar.candle.volume for bar in bars} == {3}
    assert {(bar.candle.open, bar.candle.close) for bar in bars} == {(5.0, 6.0)}


@pytest.mark.parametrize(("calls", "order"), [(1, (0, 1)), (1, (1, 0)), (2, (0, 1)), (2, (1, 0))])
@pytest.mark.parametrize("is_same", [True, False])
async def test_a_moment_may_be_cut_in_two_if_its_trades_differ(
    database: Any, tmp_path: Path, calls: int, order: tuple[int, ...], is_same: bool
) -> None:
    second = START_NS + NS_PER_S
    first = [("A", 4.0, 1, START_NS), ("A", 5.0, 1, second), ("A", 5.0, 2, second)]
    last = [("A", 6.0, 1, second), ("A", 5.5, 4, second), ("A", 7.0, 3, second + NS_PER_S)]
    if is_same:
        # The trade of 5.0 x 1 may be the one that is in the other file.
        last[0] = first[1]
    paths = [write(tmp_path / "a.csv", first), write(tmp_path / "b.csv", last)]
    given = [[paths[n] for n in order]] if calls == 1 else [[paths[n]] for n in order]
    with pytest.raises(Undecided) if is_same else nullcontext():
        for part in given:
            await make_import(database, *part).run()
    if not is_same:
        # 1 + 1 + 2 + 1 + 4 + 3 = 12.
        assert (await day_of(database))[:6] == (4.0, 7.0, 4.0, 7.0, 12, 6)
        bars = {(row[1], row[2]): to_bar(row).candle for row in await content(database)}
        candle = bars["1s", second]
        # The file that begins earlier has the earlier trades.
        assert (candle.open, candle.high, candle.low, candle.close) == (5.0, 6.0, 5.0, 5.5)


@pytest.mark.parametrize("name", ["a.csv", "renamed.csv", "a.csv.gz"])
async def test_a_file_counts_once_whatever_its_name_is(
    database: Any, tmp_path: Path, name: str
) -> None:
    path = write(tmp_path / "a.csv", four())
    first = make_import(database, path, path)
    await first.run()
    assert first.repeated == [(Part(path), f"has the same content as {path}")]
    before = await content(database)
    again = make_import(database, write(tmp_path / name, four()))
    await again.run()
    assert (again.progress.trades, again.progress.written) == (0, 0)
    (repeated,) = again.repeated
    assert repeated[1].endswith(" UTC (a.csv)")
    assert await content(database) == before
    assert await day_of(database) == WHOLE_DAY


@pytest.mark.parametrize("calls", [1, 2])
async def test_files_that_may_have_the_same_trades_are_refused(
    database: Any, tmp_path: Path, calls: int
) -> None:
    one, other = write(tmp_path / "a.csv", four()[:3]), write(tmp_path / "b.csv", four()[2:])
    if calls == 2:
        await make_import(database, one).run()
        before = await content(database)
    with pytest.raises(Undecided, match=r"\.csv .*both have trades of ES from .*--join counts all"):
        await make_import(database, *([one, other] if calls == 1 else [other])).run()
    assert await content(database) == (before if calls == 2 else [])
    # Whoever knows that they are other trades can say so: 15 + the 4 that are in both.
    given = [one, other] if calls == 1 else [other]
    await make_import(database, *given, way=Way.JOIN, distinct=True).run()
    assert (await day_of(database))[:6] == (10.0, 14.0, 9.0, 12.0, 19, 5)
    with pytest.raises(Undecided):
        await make_import(database, write(tmp_path / "c.csv", four())).run()


async def test_replaced_bars_are_made_of_the_new_files_alone(database: Any, tmp_path: Path) -> None:
    wrong = [*four()[:2], ("ES", 99.0, 4, four()[2][3]), four()[3]]
    first = write(tmp_path / "a.csv", wrong)
    await make_import(database, first).run()
    right = write(tmp_path / "b.csv", four())
    with pytest.raises(Undecided, match=r"a\.csv \(imported .*--replace makes the bars"):
        await make_import(database, right).run()
    await make_import(database, right, way=Way.REPLACE).run()
    assert await day_of(database) == WHOLE_DAY
    # The first file is not in the store any more.
    with pytest.raises(Undecided, match=r"a\.csv and b\.csv \(imported"):
        await make_import(database, first).run()
    again = make_import(database, right)
    await again.run()
    assert again.repeated


async def test_replacing_never_loses_trades_of_other_files(database: Any, tmp_path: Path) -> None:
    halves = [write(tmp_path / "a.csv", four()[:2]), write(tmp_path / "b.csv", four()[2:])]
    await make_import(database, *halves).run()
    corrected = [four()[0], ("ES", 15.0, *four()[1][2:])]
    better = write(tmp_path / "c.csv", corrected)
    with pytest.raises(Undecided, match=r"of b\.csv \(imported .*--replace would lose; give that"):
        await make_import(database, better, way=Way.REPLACE).run()
    assert await day_of(database) == WHOLE_DAY
    await make_import(database, better, halves[1], way=Way.REPLACE).run()
    assert (await day_of(database))[:6] == (10.0, 15.0, 9.0, 12.0, 15, 4)


async def test_bars_of_live_trades_are_not_touched_without_a_word(
    database: Any, tmp_path: Path
) -> None:
    symbol, price, volume, ts = four()[1]
    live = make_bar(ts // NS_PER_S, symbol, prices=(price,))
    await database.save_bars([to_row(live)])
    path = write(tmp_path / "a.csv", four())
    with pytest.raises(Undecided, match=r"1 bars of these times .* not made of files, such as ES"):
        await make_import(database, path).run()
    assert len(await content(database)) == 1
    await make_import(database, path, way=Way.JOIN, distinct=True).run()
    (second,) = [b for b in map(to_bar, await content(database)) if b.key == live.key]
    assert second.candle.volume == live.candle.volume + volume
    assert await day_of(database) == WHOLE_DAY


async def test_a_bar_that_live_trades_have_changed_counts_as_live(
    database: Any, tmp_path: Path
) -> None:
    await make_import(database, write(tmp_path / "a.csv", four()[:2])).run()
    (bar,) = await day_bars(database)
    bar.revision, bar.state = 1, bar.state.__class__.REVISED
    await database.save_bars([to_row(bar)])
    with pytest.raises(Undecided, match="not made of files, such as ES 1d"):
        await make_import(database, write(tmp_path / "b.csv", four()[2:])).run()


async def test_an_interval_that_is_new_gets_the_bars_of_old_files(
    database: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.csv", four())
    await make_import(database, path, intervals=INTERVALS[1:]).run()
    before = await content(database)
    again = make_import(database, path)
    await again.run()
    after = await content(database)
    assert [row for row in after if row[1] != "1s"] == before
    assert sum(row[1] == "1s" for row in after) == again.progress.written == 4


async def test_other_settings_need_a_word(database: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", four())
    await make_import(database, path).run()
    other = ["AGGREGATOR_SESSION=none"]
    with pytest.raises(Undecided, match=r"other settings \(AGGREGATOR_SESSION=utc-day\)"):
        await make_import(database, path, settings=other).run()


async def test_days_of_other_sessions_are_not_mixed(database: Any, tmp_path: Path) -> None:
    await make_import(database, write(tmp_path / "a.csv", four()[:2])).run()
    rule = load_rules("day:Asia/Tokyo", "", anchored=False).rule_for("ES")
    with pytest.raises(Undecided, match=r"ES 1d at .* other settings of sessions"):
        await make_import(database, write(tmp_path / "b.csv", four()[2:]), rule=rule).run()


async def test_between_two_files_nothing_is_covered(database: Any, tmp_path: Path) -> None:
    rows = four()
    paths = [write(tmp_path / "a.csv", rows[:2]), write(tmp_path / "b.csv", rows[2:])]
    await make_import(database, *paths).run()
    times = [row[3] for row in rows]
    assert await load_spans(database) == [(times[0], times[1] + 1), (times[2], times[3] + 1)]


async def test_another_import_finishes_one_that_was_killed_while_it_stored(
    store_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(store_address)
    await database.migrate()
    monkeypatch.setattr("aggregator.importing.storing.STORE_BARS", 3)
    halves = [write(tmp_path / "a.csv", four()[:2]), write(tmp_path / "b.csv", four()[2:])]
    with monkeypatch.context() as patch:
        patch.setattr(Storing, "finish", None)
        store, calls = Storing.store_some, 0

        async def crash(self: Storing, now_ns: int) -> Any:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise OSError("killed")
            return await store(self, now_ns)

        patch.setattr(Storing, "store_some", crash)
        with pytest.raises(OSError, match="killed"):
            await make_import(database, *halves).run()
    assert len(await content(database)) == 3
    again = make_import(database, halves[1])
    await again.run()
    assert again.repeated
    assert await day_of(database) == WHOLE_DAY
    await database.close()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("b.csv", b"", "is empty"),
        ("b.csv", HEADER.encode() + b"\n", "has no trades"),
        ("b.csv", b"a,b\n1,2\n", "has no column of the price that is known"),
        ("b.csv.gz", gzip.compress(b"no trades", mtime=0)[:-9], "Compressed file ended before"),
        ("b.csv", None, "Is a directory"),
        (
            "b.csv",
            HEADER.encode() + b"\nA,1,1,20250103\nA,1,1,20250106\nA,x,1,1\n",
            r"none of its 3 rows is a valid trade \(timestamp_implausible 2, malformed 1\)",
        ),
    ],
)
async def test_a_file_that_cannot_be_used_is_named_and_nothing_is_stored(
    database: Any, tmp_path: Path, name: str, data: bytes | None, message: str
) -> None:
    bad = tmp_path / name
    if data is None:
        bad.mkdir()
    else:
        bad.write_bytes(data)
    paths = [write(tmp_path / "a.csv", four()[:2]), bad, write(tmp_path / "c.csv", four()[2:])]
    with pytest.raises(BadFile, match=f"{name}: .*{message}"):
        await make_import(database, *paths).run()
    async with database.read() as connection:
        for table in ("bars", "import_bars", "imports", "imported_files", "imported_hours"):
            assert await connection.scalar(text(f"SELECT count(*) FROM {table}")) == 0
    # Without it, the others are imported.
    await make_import(database, paths[0], paths[2]).run()
    assert await day_of(database) == WHOLE_DAY


async def test_a_strict_import_stores_all_rows_or_nothing(database: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [*four(), ("ES", "x", 1, 1)])
    with pytest.raises(job.RowsRefused, match="1 rows are not valid trades"):
        await make_import(database, path, strict=True).run()
    assert await content(database) == []
    await make_import(database, path).run()
    assert await day_of(database) == WHOLE_DAY


def test_the_command_fails_when_no_row_is_a_trade(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [("AAPL", 150.25, 100, 20250103), ("AAPL", 150.5, 100, 20250106)])
    done = run_command("a.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert "2 rows are not valid trades: timestamp_implausible" in done.stdout
    assert "new or different" not in done.stdout
    assert done.stderr == (
        "aggregator import: a.csv: none of its 2 rows is a valid trade (timestamp_implausible 2)\n"
    )

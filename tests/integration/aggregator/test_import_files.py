"""Downloads become bars: sizes to the last digit, each trade once, every format."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregator.importing import job
from aggregator.importing.ledger import Undecided
from aggregator.importing.statements import Way
from aggregator.store.rows import to_bar
from marketdata.decimals import to_decimal
from marketdata.files.options import parse_options
from tests.doubles.stores import open_database
from tests.doubles.trades import ROOT
from tests.integration.aggregator.test_import import (
    INTERVALS,
    content,
    make_import,
    run_command,
)
from tests.unit.files.samples import SAMPLES, Sample, to_ns

CASES = ROOT.parent / "shared" / "cases"
LATER_NS = to_ns("2026-01-01T00:00:00")
START_MS = 1_735_689_600_000


@pytest.fixture
async def database(store_address: str) -> Any:
    database = open_database(store_address)
    await database.migrate()
    yield database
    await database.close()


def importer(database: Any, *paths: Path, **more: Any) -> Any:
    options = {
        name: more.pop(name) for name in list(more) if name not in ("way", "distinct", "strict")
    }
    return make_import(
        database, *paths, files=parse_options(**options), clock=lambda: LATER_NS, **more
    )


async def totals(database: Any, interval: str = "1d") -> dict[str, tuple[Decimal, int]]:
    """Return the volume and the trades of each symbol, summed over its bars."""
    found: dict[str, tuple[Decimal, int]] = {}
    for bar in map(to_bar, await content(database)):
        if bar.interval == interval:
            volume, trades = found.get(bar.symbol, (Decimal(0), 0))
            candle = bar.candle
            size = to_decimal(candle.volume, candle.volume_decimals)
            found[bar.symbol] = volume + size, trades + candle.trades
    return found


def expected(sample: Sample) -> dict[str, tuple[Decimal, int]]:
    found: dict[str, tuple[Decimal, int]] = {}
    for symbol, _, size, _, _, excludes in sample.trades:
        volume, trades = found.get(symbol, (Decimal(0), 0))
        found[symbol] = volume + (0 if excludes & 8 else Decimal(size)), trades + 1
    return found


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
async def test_the_totals_of_each_format_are_those_of_decimals(
    database: Any, tmp_path: Path, sample: Sample
) -> None:
    path = tmp_path / sample.name.removesuffix(".gz")
    path.write_text(sample.text)
    await importer(database, path, **sample.options).run()
    before = await content(database)
    for interval in ("1s", "1d"):
        assert await totals(database, interval) == expected(sample)
    # The same file again.
    await importer(database, path, **sample.options).run()
    assert await content(database) == before


def binance(first: int, last: int, path: Path, tail: str = "True,True") -> Path:
    """Write the trades from one id to another one; one id has the same trade in each file."""
    lines = []
    for number in range(first, last + 1):
        chance = random.Random(number)
        size = Decimal(chance.randrange(1, 10**9)).scaleb(-chance.randrange(9))
        lines.append(f"{number},{60_000 + number % 97},{size:f},1,{START_MS + number * 700},{tail}")
    path.write_text("\n".join(lines) + "\n")
    return path


async def whole_of(tmp_path: Path, first: int, last: int) -> list[Any]:
    database = open_database(f"sqlite:///{tmp_path}/whole.db")
    await database.migrate()
    await importer(database, binance(first, last, tmp_path / "BTCUSDT-trades-2025-01.csv")).run()
    rows = await content(database)
    await database.close()
    return rows


def numbers(rows: list[Any]) -> list[Any]:
    """Return what was traded: all but sequences, revisions, states and the last bits of money."""
    bars = map(to_bar, rows)
    return [
        (
            *bar.key,
            bar.candle.open,
            bar.candle.high,
            bar.candle.low,
            bar.candle.close,
            to_decimal(bar.candle.volume, bar.candle.volume_decimals),
            bar.candle.trades,
            pytest.approx(bar.candle.vwap, rel=1e-12),
        )
        for bar in bars
    ]


@pytest.mark.parametrize("calls", [1, 2, 3])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
async def test_files_that_overlap_count_each_trade_once(
    database: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
    order: tuple[int, ...],
) -> None:
    monkeypatch.setattr(job, "MAX_SEGMENT_TRADES", 100)
    parts = [
        binance(1_000, 1_600, tmp_path / "BTCUSDT-trades-2025-01-01.csv"),
        binance(1_500, 2_000, tmp_path / "BTCUSDT-trades-2025-01-02.csv"),
        binance(1_900, 2_100, tmp_path / "BTCUSDT-trades-2025-01-03.csv"),
    ]
    paths = [parts[n] for n in order]
    given_paths = {1: [paths], 2: [paths[:2], paths[2:]], 3: [[path] for path in paths]}[calls]
    duplicates = 0
    for some in given_paths:
        task = importer(database, *some)
        await task.run()
        duplicates += task.progress.duplicates
    assert duplicates == 101 + 101
    assert numbers(await content(database)) == numbers(await whole_of(tmp_path, 1_000, 2_100))
    # All in one file, of which nothing is new.
    again = importer(database, binance(1_000, 2_100, tmp_path / "BTCUSDT-trades-2025-02-01.csv"))
    await again.run()
    assert (again.progress.trades, again.progress.duplicates) == (0, 1_101)
    assert numbers(await content(database)) == numbers(await whole_of(tmp_path, 1_000, 2_100))


async def test_a_trade_that_is_twice_in_a_file_counts_once(database: Any, tmp_path: Path) -> None:
    path = binance(1, 5, tmp_path / "BTCUSDT-trades-2025-01-01.csv")
    path.write_text(path.read_text() * 2)
    task = importer(database, path)
    await task.run()
    assert (task.progress.trades, task.progress.duplicates) == (5, 5)


async def test_ids_of_another_kind_prove_nothing(database: Any, tmp_path: Path) -> None:
    await importer(database, binance(1, 5, tmp_path / "BTCUSDT-trades-2025-01-01.csv")).run()
    path = tmp_path / "BTCUSDT-aggTrades-2025-01-01.csv"
    path.write_text(f"1,60001,1.5,1,3,{START_MS + 1_000},True,True\n")
    with pytest.raises(Undecided, match="both have trades of BTCUSDT"):
        await importer(database, path).run()


async def test_a_new_interval_has_the_trades_that_the_others_have(
    database: Any, tmp_path: Path
) -> None:
    paths = [
        binance(1_000, 1_600, tmp_path / "BTCUSDT-trades-2025-01-01.csv"),
        binance(1_500, 2_000, tmp_path / "BTCUSDT-trades-2025-01-02.csv"),
    ]
    await importer_of(database, paths, INTERVALS[1:]).run()
    await importer_of(database, paths, INTERVALS).run()
    assert numbers(await content(database)) == numbers(await whole_of(tmp_path, 1_000, 2_000))


def importer_of(database: Any, paths: list[Path], intervals: Any) -> Any:
    return make_import(database, *paths, intervals=intervals, clock=lambda: LATER_NS)


async def test_after_a_crash_no_trade_is_counted_twice(
    database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "MAX_SEGMENT_TRADES", 100)
    paths = [
        binance(1_000, 1_600, tmp_path / "BTCUSDT-trades-2025-01-01.csv"),
        binance(1_500, 2_000, tmp_path / "BTCUSDT-trades-2025-01-02.csv"),
    ]
    calls = 0

    def clock() -> int:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise RuntimeError("crash")
        return LATER_NS

    with pytest.raises(RuntimeError, match="crash"):
        await make_import(database, *paths, clock=clock).run()
    task = importer(database, *paths)
    await task.run()
    assert task.resumed
    assert (task.progress.trades, task.progress.duplicates) == (1_001, 101)
    assert numbers(await content(database)) == numbers(await whole_of(tmp_path, 1_000, 2_000))


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.decimals(Decimal("1e-9"), Decimal(10**6), places=9),
            st.integers(0, 7_200),
            st.sampled_from(["A", "B"]),
        ),
        min_size=1,
        max_size=60,
    ),
    st.integers(0, 60),
    st.randoms(use_true_random=False),
)
async def test_any_order_and_any_split_give_the_same_decimals(
    tmp_path: Path, trades: list[tuple[Decimal, int, str]], cut: int, chance: random.Random
) -> None:
    lines = [
        f"{symbol},10,{size.normalize():f},{START_MS + second * 1000},{number}"
        for number, (size, second, symbol) in enumerate(trades)
    ]
    chance.shuffle(lines)
    folder = Path(mkdtemp(dir=tmp_path))
    database = open_database(f"sqlite:///{folder}/bars.db")
    await database.migrate()
    for name, part in (("a.csv", lines[:cut]), ("b.csv", lines[cut:])):
        if part:
            header = "symbol,price,volume,exchange_timestamp,trade_id"
            (folder / name).write_text("\n".join([header, *part, ""]))
            await importer(database, folder / name, way=Way.JOIN, distinct=True).run()
    wanted: dict[str, tuple[Decimal, int]] = {}
    for size, _, symbol in trades:
        volume, count = wanted.get(symbol, (Decimal(0), 0))
        wanted[symbol] = volume + size, count + 1
    for interval in ("1s", "1m", "1h", "1d"):
        assert await totals(database, interval) == wanted
    await database.close()


async def test_what_the_tape_excludes_moves_nothing(database: Any, tmp_path: Path) -> None:
    path = tmp_path / "EQY_US_ALL_TRADE_20180102"
    (taq,) = (sample for sample in SAMPLES if sample.format == "taq")
    path.write_text(taq.text)
    await importer(database, path).run()
    days = {bar.symbol: bar for bar in map(to_bar, await content(database)) if bar.interval == "1d"}
    assert days["IBM"].candle.close == 154.5
    odd_lots = days["AAPL"].candle
    assert (odd_lots.volume, odd_lots.trades) == (312, 2)
    assert odd_lots.open != odd_lots.open
    assert odd_lots.high != odd_lots.high
    # With the rule "none", the same prints move the prices.
    other = open_database(f"sqlite:///{tmp_path}/other.db")
    await other.migrate()
    await importer(other, path, conditions="none").run()
    days = {bar.symbol: bar for bar in map(to_bar, await content(other)) if bar.interval == "1d"}
    assert (days["AAPL"].candle.open, days["AAPL"].candle.close) == (170.16, 170.001)
    await other.close()


async def test_prices_that_no_trade_gave_come_from_another_file(
    database: Any, tmp_path: Path
) -> None:
    header = SAMPLES[[s.format for s in SAMPLES].index("taq")].text.splitlines()[0]
    for number, (condition, price) in enumerate(
        [("@  I", "9.0"), ("@   ", "5.0"), ("@  I", "1.0")]
    ):
        path = tmp_path / f"{number}_20180102"
        path.write_text(
            f"{header}\n1000{number}0000000000|N|IBM|{condition}|10|{price}||00|1|{number}|C||||0\n"
        )
        await importer(database, path).run()
    (day,) = [bar for bar in map(to_bar, await content(database)) if bar.interval == "1d"]
    candle = day.candle
    assert (candle.open, candle.high, candle.low, candle.close) == (5.0, 5.0, 5.0, 5.0)
    assert (candle.volume, candle.trades) == (30, 3)


async def test_the_symbol_that_is_given_belongs_to_the_import(
    database: Any, tmp_path: Path
) -> None:
    path = binance(1, 5, tmp_path / "trades.csv")
    await importer(database, path, symbol="BTC-USDT").run()
    with pytest.raises(Undecided, match="was imported with other settings"):
        await importer(database, path, symbol="BTCUSDT").run()


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")
@pytest.mark.parametrize(
    ("name", "options", "wanted"),
    [
        ("fractional-size.csv", {}, {"BTC-USDT": (Decimal("0.469"), 2)}),
        ("binance-spot-trades.csv", {"symbol": "BTCUSDT"}, {"BTCUSDT": (Decimal("1.895"), 2)}),
        ("iso-times.csv", {}, {"AAPL": (Decimal(300), 3)}),
        ("case-matters.csv", {}, {"AMpB": (Decimal(100), 1), "AMPB": (Decimal(500), 1)}),
        ("absurd-volume.csv", {}, {"MSFT": (Decimal(10), 2)}),
    ],
)
async def test_the_cases(
    database: Any, name: str, options: dict[str, str], wanted: dict[str, tuple[Decimal, int]]
) -> None:
    await importer(database, CASES / name, **options).run()
    assert await totals(database) == wanted


@pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")
def test_the_command_imports_negative_prices_where_the_rule_allows_them(tmp_path: Path) -> None:
    path = str(CASES / "wti-negative.csv")
    done = run_command(path, cwd=tmp_path)
    assert "4 rows are not valid trades: price_not_positive" in done.stdout
    done = run_command(path, "--replace", cwd=tmp_path, AGGREGATOR_PRICE_RULE="*=positive,CL*=any")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(tmp_path / "data" / "bars.db")) as database:
        day = database.execute(
            "SELECT open, high, low, close, volume, trades FROM bars WHERE interval = '1d'"
        ).fetchall()
    assert day == [(1.5, 10.01, -40.32, 10.01, 149, 7)]


def test_the_command_reads_the_standard_input(tmp_path: Path) -> None:
    lines = binance(1, 5, tmp_path / "trades.csv").read_text()
    done = subprocess.run(
        [sys.executable, "-m", "aggregator", "import", "--symbol", "BTCUSDT", "-"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        input=lines,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "reading standard input (0.0 MB)" in done.stdout
    assert "5 trades from 2025-01-01 00:00:00" in done.stdout


def test_the_command_names_the_option_to_add(tmp_path: Path) -> None:
    done = run_command("a.csv", "--columns", "cost=1", cwd=tmp_path)
    assert (done.returncode, "--columns" in done.stderr) == (2, True)
    binance(1, 5, tmp_path / "trades.csv")
    done = run_command("trades.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith("does not say which symbol was traded: add --symbol NAME\n")
    done = run_command("trades.csv", "--symbol", "BTC-USDT", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "trades.csv: binance trades, no header: id=1 price=2 size=3 time=5" in done.stdout
    assert "5 trades from 2025-01-01 00:00:00 to 2025-01-01 00:00:03 UTC" in done.stdout

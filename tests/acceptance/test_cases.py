"""Small files of known traps, imported by the command; the values are computed by hand."""

from __future__ import annotations

import gzip
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tests.doubles.trades import DATA, ROOT

CASES = DATA.parent / "cases"

pytestmark = pytest.mark.skipif(not CASES.exists(), reason=f"the cases are not in {CASES}")

NS_PER_S = 1_000_000_000


def run_import(cwd: Path, *files: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "aggregator", "import", *map(str, files)),
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def day_bars(cwd: Path) -> dict[tuple[str, int], tuple[float, float, float, float, int, int]]:
    """Return the daily bars by symbol and start in seconds."""
    with closing(sqlite3.connect(cwd / "data" / "bars.db")) as database:
        rows = database.execute(
            "SELECT symbol, start, open, high, low, close, volume, trades FROM bars"
            " WHERE interval = '1d'"
        ).fetchall()
    return {(row[0], row[1] // NS_PER_S): row[2:] for row in rows}


# 2025-03-10 17:00 in Chicago (UTC-5 since the day before), where the trading day of the 11th
# begins: 22:00 UTC.
CHICAGO_11TH = 1_741_644_000
# open: the first of 22:00, 23:00, 00:00 and 20:00 UTC; close: the last. 10 + 20 + 30 + 40 = 100.
ES = {("ESH5", CHICAGO_11TH): (5600.25, 5650.0, 5590.0, 5590.0, 100, 4)}
ES_FILES = (CASES / "es-2025-03-10.csv", CASES / "es-2025-03-11.csv")


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("calls", [1, 2])
def test_a_trading_day_may_be_in_two_files(
    tmp_path: Path, order: tuple[int, ...], calls: int
) -> None:
    files = [ES_FILES[index] for index in order]
    for given in [files] if calls == 1 else [[file] for file in files]:
        done = run_import(tmp_path, *given, AGGREGATOR_CALENDARS="ES*=CMES")
        assert done.returncode == 0, done.stderr
    assert day_bars(tmp_path) == ES


def test_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    calendars = {"AGGREGATOR_CALENDARS": "ES*=CMES"}
    assert run_import(tmp_path, *ES_FILES, **calendars).returncode == 0
    renamed, packed = tmp_path / "other.csv", tmp_path / "packed.csv.gz"
    shutil.copy(ES_FILES[0], renamed)
    packed.write_bytes(gzip.compress(ES_FILES[1].read_bytes()))
    for file in (*ES_FILES, renamed, packed):
        done = run_import(tmp_path, file, **calendars)
        assert (done.returncode, done.stderr) == (0, "")
        assert "so it is left out" in done.stdout
        assert "0 bars are new or different" in done.stdout
    assert day_bars(tmp_path) == ES


# 2025-01-03 00:00 UTC; the trades of most cases are of 14:30.
JANUARY_3RD = 1_735_862_400


def test_an_absurd_volume_refuses_its_own_row_only(tmp_path: Path) -> None:
    done = run_import(tmp_path, CASES / "absurd-volume.csv")
    assert done.returncode == 0
    # 5 + 5; both rows of AAPL have 9 x 10^18 shares.
    assert day_bars(tmp_path) == {("MSFT", JANUARY_3RD): (1.0, 2.0, 1.0, 2.0, 10, 2)}
    assert "2 rows are not valid trades: volume_too_large" in done.stdout
    assert "absurd-volume.csv: row 3: volume_too_large" in done.stdout
    assert "absurd-volume.csv: row 4: volume_too_large" in done.stdout


def test_a_date_is_not_a_time(tmp_path: Path) -> None:
    done = run_import(tmp_path, CASES / "date-as-number.csv")
    assert done.returncode == 1
    assert "none of its 2 rows is a valid trade (timestamp_implausible 2)" in done.stderr
    assert day_bars(tmp_path) == {}


def test_symbols_that_differ_in_case_are_two(tmp_path: Path) -> None:
    assert run_import(tmp_path, CASES / "case-matters.csv").returncode == 0
    assert day_bars(tmp_path) == {
        ("AMpB", JANUARY_3RD): (25.1, 25.1, 25.1, 25.1, 100, 1),
        ("AMPB", JANUARY_3RD): (3.2, 3.2, 3.2, 3.2, 500, 1),
    }


def test_symbols_of_options_have_spaces(tmp_path: Path) -> None:
    assert run_import(tmp_path, CASES / "occ-symbols.csv").returncode == 0
    assert day_bars(tmp_path) == {
        ("AAPL  251219C00150000", JANUARY_3RD): (12.5, 12.5, 12.5, 12.5, 3, 1),
        ("BRK.B 260206C00495000", JANUARY_3RD): (3.1, 3.1, 3.1, 3.1, 1, 1),
    }


def test_prices_that_are_refused_are_counted(tmp_path: Path) -> None:
    done = run_import(tmp_path, CASES / "wti-negative.csv")
    assert done.returncode == 0
    # Without a setting that allows them, the rows of 0.0, -1.43, -37.63 and -40.32 are refused.
    # 10 + 10 + 3 = 23; 2020-04-20 00:00 UTC.
    assert day_bars(tmp_path) == {("CLK0", 1_587_340_800): (1.5, 10.01, 0.01, 10.01, 23, 3)}
    assert "4 rows are not valid trades: price_not_positive" in done.stdout
    assert "wti-negative.csv: row 4: " in done.stdout
    # The minutes of the trades that are stored, and whether they have all trades: the one of
    # 18:01 UTC lacks two. 1 is no feed, 2 partial, 3 full.
    with closing(sqlite3.connect(tmp_path / "data" / "bars.db")) as database:
        coverages = database.execute(
            "SELECT interval, (start / 1000000000 - 1587340800) / 60, coverage, refused FROM bars"
            " WHERE interval IN ('1m', '1d') ORDER BY interval, start"
        ).fetchall()
    assert coverages == [
        ("1d", 0, 2, 4),
        ("1m", 1080, 3, 0),
        ("1m", 1081, 2, 2),
        ("1m", 1320, 3, 0),
    ]
    assert "bars are not complete" in done.stdout

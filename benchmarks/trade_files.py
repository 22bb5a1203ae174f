"""The cost to read a file of trades: ``python -m benchmarks.trade_files [ROWS]``.

The engines read all cells as text, each in a process of its own, in turns. The last line is the
whole way to trades.
"""

from __future__ import annotations

import csv
import importlib.util
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from marketdata.files.options import FileOptions
from marketdata.files.source import find_parts
from marketdata.files.trades import TradeFile

_RUNS = 3
_COLUMNS = 7


def _pyarrow(path: str) -> int:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.csv as pa_csv  # noqa: PLC0415

    names = [str(n) for n in range(_COLUMNS)]
    reader = pa_csv.open_csv(
        path,
        read_options=pa_csv.ReadOptions(use_threads=False, column_names=names),
        convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )
    return sum(batch.num_rows for batch in reader)


def _polars(path: str) -> int:
    import polars as pl  # noqa: PLC0415

    frame = pl.scan_csv(path, has_header=False, infer_schema=False)
    return sum(batch.height for batch in frame.collect_batches(maintain_order=True))


def _duckdb(path: str) -> int:
    duckdb: Any = importlib.import_module("duckdb")
    columns = ",".join(f"'c{n}':'VARCHAR'" for n in range(_COLUMNS))
    found = duckdb.sql(
        f"SELECT * FROM read_csv('{path}',header=false,auto_detect=false,columns={{{columns}}})"
    )
    return sum(batch.num_rows for batch in found.to_arrow_reader(100_000))


def _python(path: str) -> int:
    with Path(path).open(newline="") as file:
        return sum(1 for _ in csv.reader(file))


def _trades(path: str) -> int:
    options = FileOptions(symbol="BTCUSDT")
    file = TradeFile(find_parts([Path(path)])[0], options, print)
    return sum(1 for _ in file.read())


WAYS: dict[str, Callable[[str], int]] = {
    "pyarrow": _pyarrow,
    "polars": _polars,
    "duckdb": _duckdb,
    "csv": _python,
    "trades": _trades,
}


def _write(path: Path, rows: int) -> None:
    chance = random.Random(1)
    price, time_us = 6_500_000, 1_735_689_600_519_000
    with path.open("w") as file:
        for number in range(rows):
            price += chance.randrange(-50, 51)
            time_us += chance.randrange(1, 9_000)
            size = chance.randrange(1, 10 ** chance.randrange(3, 9)) / 1e8
            money = price / 100 * size
            file.write(f"{number},{price / 100:.8f},{size:.8f},{money:.8f},{time_us},True,True\n")


def main(rows: int) -> None:
    """Print the medians."""
    ways = [way for way in WAYS if way in ("csv", "trades") or importlib.util.find_spec(way)]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trades.csv"
        _write(path, rows)
        found: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(_RUNS):
            for way in ways:
                command = [sys.executable, "-m", "benchmarks.trade_files", way, str(path)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                cpu_s, megabytes = map(float, done.stdout.split())
                found[way].append((cpu_s, megabytes))
    print(f"{rows:,} rows, medians of {_RUNS}")
    for way, runs in found.items():
        cpu_s, megabytes = (median(values) for values in zip(*runs, strict=True))
        print(f"{way:8} {cpu_s:6.2f} s CPU {cpu_s / rows * 1e6:5.2f} us/row {megabytes:5.0f} MB")


def _measure(way: str, path: str) -> None:
    began = time.process_time()
    WAYS[way](path)
    print(time.process_time() - began, getrusage(RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _measure(*sys.argv[1:])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)

"""Trade files, plain and compressed."""

from __future__ import annotations

import gzip
from itertools import islice
from pathlib import Path

import pytest

from fakeclient.files import read_passes, write_trades
from marketdata.tradefiles import BadFile, read_trades
from marketdata.trades import Row

TEXT = "symbol,price,volume,exchange_timestamp\n" + "".join(
    f"SPY,{100 + i},1,{i + 1}\n" for i in range(50_000)
)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("t.csv", TEXT.encode()),
        ("t.csv.gz", gzip.compress(TEXT.encode())),
        ("bom.csv", TEXT.encode("utf-8-sig")),
        ("crlf.csv", TEXT.replace("\n", "\r\n").encode()),
    ],
)
def test_every_way_to_write_the_file_gives_the_same_trades(
    tmp_path: Path, name: str, data: bytes
) -> None:
    rows = list(read_trades(write(tmp_path / name, data)))
    assert len(rows) == 50_000
    assert rows[-1] == ("SPY", 50_099.0, 1, 50_000)


def test_a_file_cut_short_gives_what_it_has_and_then_names_the_row(tmp_path: Path) -> None:
    whole = gzip.compress(TEXT.encode())
    rows = read_trades(write(tmp_path / "t.csv.gz", whole[: len(whole) // 2]))
    seen: list[Row] = []
    with pytest.raises(BadFile, match="Compressed file ended before") as caught:
        seen.extend(rows)
    assert len(seen) > 1_000
    # The header and the rows seen come before it.
    assert f"row {len(seen) + 2}:" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("t.csv.gz", TEXT.encode(), r"Not a gzipped file"),
        ("t.csv", b"\0" * 1_000_000, r"row 1: column symbol is missing"),
        ("t.csv", TEXT.encode()[:-2] + b"\xff\n", r"row 50001: exchange_timestamp"),
    ],
)
def test_what_is_no_trade_file_is_named(
    tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    with pytest.raises(BadFile, match=problem):
        list(read_trades(write(tmp_path / name, data)))


def test_a_loop_begins_again_with_the_same_trades(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"symbol,price,volume,exchange_timestamp\nA,1,1,1\nB,1,1,2\n")
    passes = read_passes(path, loop=True)
    assert [list(rows) for rows in islice(passes, 3)] == [[("A", 1.0, 1, 1), ("B", 1.0, 1, 2)]] * 3


def test_a_loop_over_a_file_without_trades_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", b"symbol,price,volume,exchange_timestamp\n")
    assert list(read_passes(path, loop=True)) == []


def test_a_bad_row_among_the_first_is_told_before_any_trade_is_returned(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", TEXT.encode()[:1_000] + b"\nSPY,x,1,1\n")
    with pytest.raises(BadFile, match="row"):
        next(read_passes(path, loop=False))
    (rows,) = read_passes(path, loop=False, limit=10)
    assert len(list(islice(rows, 10))) == 10


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_what_is_written_is_read_back_and_the_same_bytes_each_time(
    tmp_path: Path, name: str
) -> None:
    rows: list[Row] = [("AAPL", 150.25, 100, 1_381_132_800_000_000_000), ("BRK.B", 0.01, 1, 5)]
    write_trades(tmp_path / name, rows)
    assert list(read_trades(tmp_path / name)) == rows
    first = (tmp_path / name).read_bytes()
    write_trades(tmp_path / name, rows)
    assert (tmp_path / name).read_bytes() == first


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"nowhere/t\.csv: No such file or directory"):
        write_trades(tmp_path / "nowhere" / "t.csv", [])

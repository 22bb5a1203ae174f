"""Trade files that are written, and read for a replay."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from fakeclient.files import MAX_NAMED, Replayed, write_trades
from fakeclient.ticks import Row
from marketdata.files.options import FileOptions
from marketdata.files.source import BadFile, find_parts

HEADER = "symbol,price,volume,exchange_timestamp\n"


def replayed(*paths: Path) -> tuple[Replayed, list[str], list[str]]:
    said: list[str] = []
    complaints: list[str] = []
    files = Replayed(find_parts(paths), FileOptions(), said.append, complaints.append)
    return files, said, complaints


def write(path: Path, text: str) -> Path:
    path.write_text(HEADER + text)
    return path


def test_a_loop_begins_again_with_the_same_trades(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "A,1,1,1700000001\nB,1,1,1700000002\n")
    files, said, _ = replayed(path)
    names = [[row[0] for row in rows] for rows in islice(files.passes(loop=True), 3)]
    assert names == [["A", "B"]] * 3
    assert len(said) == 1


def test_a_loop_over_a_file_without_trades_ends(tmp_path: Path) -> None:
    files, _, _ = replayed(write(tmp_path / "t.csv", ""))
    assert list(files.passes(loop=True)) == []


def test_bad_rows_are_left_out_and_the_first_are_named(tmp_path: Path) -> None:
    text = "A,1,1,1700000001\n" + "A,x,1,1700000002\n" * 7 + "B,1,1,1700000003\n"
    path = write(tmp_path / "t.csv", text)
    files, _, complaints = replayed(path)
    (rows,) = files.passes(loop=False)
    assert [row[0] for row in rows] == ["A", "B"]
    assert files.left_out == 7
    assert len(complaints) == MAX_NAMED
    assert complaints[0] == f"{path}: row 3: price 'x' is not a number"


def test_files_are_read_in_the_order_of_time(tmp_path: Path) -> None:
    late = write(tmp_path / "a.csv", "A,1,1,1700000005\nA,2,1,1700000009\n")
    early = write(tmp_path / "b.csv", "B,1,1,1700000001\nx\nB,2,1,1700000006\nB,3,1,1700000002\n")
    nothing = write(tmp_path / "c.csv", "")
    files, said, complaints = replayed(late, early, nothing)
    (rows,) = files.passes(loop=False)
    assert [row[:2] for row in rows] == [("B", 1), ("A", 1), ("B", 2), ("B", 3), ("A", 2)]
    assert [line.partition(":")[0] for line in said] == ["b.csv", "a.csv"]
    assert (files.left_out, len(complaints)) == (1, 1)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_what_is_written_is_read_back_and_the_same_bytes_each_time(
    tmp_path: Path, name: str
) -> None:
    rows: list[Row] = [
        ("AAPL", 150.25, 100, 1_381_132_800_000_000_000),
        ("BRK.B", 0.01, 1, 1_381_132_800_000_000_005),
    ]
    write_trades(tmp_path / name, rows)
    files, _, _ = replayed(tmp_path / name)
    (read,) = files.passes(loop=False)
    assert [row[:4] for row in read] == rows
    first = (tmp_path / name).read_bytes()
    write_trades(tmp_path / name, rows)
    assert (tmp_path / name).read_bytes() == first


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"nowhere/t\.csv: No such file or directory"):
        write_trades(tmp_path / "nowhere" / "t.csv", [])

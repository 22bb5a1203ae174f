"""``python -m aggregator log`` shows, checks and prints a log."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aggregator.__main__ import app
from aggregator.ticklog.codec import HEADER_SIZE, RECORD_HEADER_SIZE
from aggregator.ticklog.file_log import FileLog
from aggregator.ticklog.log import Checkpoint, Kind, Record
from aggregator.ticklog.segment import NO_END, SegmentReader, list_segments
from marketdata.wire.market_data_pb2 import Tick, TickBatch
from tests.doubles.logs import Acks, opened, options

NS = 10**9
BEGIN = 1_764_532_800 * NS
BATCH = TickBatch(
    producer_id="feed-1",
    first_sequence=7,
    ticks=[
        Tick(symbol="AAPL", price=150.25, volume=100, exchange_timestamp=BEGIN + 1),
        Tick(),
        Tick(symbol="MSFT", price=4.0, volume=1, exchange_timestamp=BEGIN + 2),
    ],
)


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """Give a log of two segments, with a checkpoint."""
    acks = Acks()
    async with opened(lambda: FileLog(tmp_path, options("never", segment_bytes=600))) as log:
        log.append(Kind.START, BEGIN, b"\0start", acks)
        log.append(Kind.BATCH, BEGIN + NS + 5, BATCH.SerializeToString(), acks)
        log.append(Kind.CLOCK, BEGIN + 2 * NS, b"x" * 500, acks)
        await acks.wait_for(3)
        log.save_checkpoint(Checkpoint(2, 9), [b"state"])
    return tmp_path


def run(*arguments: str | Path, code: int = 0) -> str:
    """Run the command; return what it printed."""
    result = CliRunner().invoke(app, ["log", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def run_json(*arguments: str | Path, code: int = 0) -> list[dict[str, Any]]:
    """Run the command with --json."""
    return [json.loads(line) for line in run(*arguments, "--json", code=code).splitlines()]


def test_ls_shows_segments_and_checkpoints(directory: Path) -> None:
    first, second = list_segments(directory)
    assert run_json("ls", directory) == [
        {
            "file": first.name,
            "first_offset": 0,
            "last_offset": 1,
            "records": 2,
            "bytes": first.stat().st_size,
            "from_ns": BEGIN,
            "to_ns": BEGIN + 2 * NS,
        },
        {
            "file": second.name,
            "first_offset": 2,
            "last_offset": 2,
            "records": 1,
            "bytes": HEADER_SIZE + RECORD_HEADER_SIZE + 500,
            "from_ns": BEGIN + 2 * NS,
            "to_ns": BEGIN + 2 * NS,
        },
        {
            "file": f"checkpoint-{2:020}.ckpt",
            "offset": 2,
            "state_version": 9,
            "bytes": HEADER_SIZE + 5,
        },
    ]
    lines = run("ls", directory).splitlines()
    assert [line.split()[0] for line in lines] == [
        first.name,
        second.name,
        f"checkpoint-{2:020}.ckpt",
    ]
    assert "2025-11-30 20:00:00.000000000 to 2025-11-30 20:00:02.000000000" in lines[0]


def test_verify_is_content_with_a_sound_log(directory: Path) -> None:
    assert [line.split("  ")[1] for line in run("verify", directory).splitlines()] == [
        "2 records",
        "1 records",
        "whole",
    ]
    with list_segments(directory)[-1].open("ab") as file:
        file.write(b"begun")
    rows = run_json("verify", directory)
    assert [row["torn_bytes"] for row in rows[:2]] == [0, 5]


def test_verify_takes_records_that_are_written_meanwhile_for_no_damage(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A log of one segment, of which only the first record is written when verify reads it.
    for path in list_segments(directory)[1:]:
        path.unlink()
    for path in directory.glob("*.ckpt"):
        path.unlink()
    (path,) = list_segments(directory)
    whole = path.read_bytes()
    with SegmentReader(path) as reader:
        next(reader.records())
        path.write_bytes(whole[: reader.position])
    read = SegmentReader.records

    def read_beside_a_writer(reader: SegmentReader, until: int = NO_END) -> Iterator[Record]:
        yield from read(reader, until)
        path.write_bytes(whole)

    monkeypatch.setattr(SegmentReader, "records", read_beside_a_writer)
    (row,) = run_json("verify", directory)
    assert (row["result"], row["torn_bytes"], row["damages"]) == ("2 records", 0, [])


@pytest.mark.parametrize("segment", [0, 1])
def test_verify_names_each_damaged_place(directory: Path, segment: int) -> None:
    path = list_segments(directory)[segment]
    data = bytearray(path.read_bytes())
    data[HEADER_SIZE + 30 if segment == 0 else 3] ^= 1
    path.write_bytes(data)
    checkpoint = directory / f"checkpoint-{2:020}.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
    output = run("verify", directory, code=1).splitlines()
    rows = run_json("verify", directory, code=1)
    assert [bool(row["damages"]) for row in rows] == [segment == 0, segment == 1, True]
    assert f"{path.name}  {1 - segment} records, DAMAGED" in output
    if segment == 0:
        assert output[1].startswith("  at byte 64: 34 bytes are not valid, 1 records from 0 on")
    assert output[-1] == "  the content is damaged"


def test_cat_prints_what_the_records_hold(directory: Path) -> None:
    lines = run("cat", directory).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "0 2025-11-30 20:00:00.000000000 START 6 bytes",
        "1 2025-11-30 20:00:01.000000005 BATCH producer feed-1, first sequence 7, 3 ticks",
        "2 2025-11-30 20:00:02.000000000 CLOCK 500 bytes",
    ]
    assert run("cat", directory, "--from", "1", "--limit", "1").splitlines() == lines[1:2]
    ticks = run("cat", directory, "--ticks", "--from", "1", "--limit", "1").splitlines()
    assert [line.strip() for line in ticks[1:]] == [
        "7  AAPL  price 150.25  volume 100  traded 2025-11-30 20:00:00.000000001",
        "8  refused by ingest",
        "9  MSFT  price 4.0  volume 1  traded 2025-11-30 20:00:00.000000002",
    ]


def test_cat_prints_json(directory: Path) -> None:
    start, batch, _ = run_json("cat", directory, "--ticks")
    assert start == {
        "offset": 0,
        "time_ns": BEGIN,
        "kind": "start",
        "bytes": 6,
        "payload": "AHN0YXJ0",
    }
    assert (batch["producer_id"], batch["first_sequence"]) == ("feed-1", 7)
    assert [tick["symbol"] for tick in batch["ticks"]] == ["AAPL", "", "MSFT"]


def test_cat_stops_at_a_damaged_record_or_leaves_it_out(directory: Path) -> None:
    path = list_segments(directory)[0]
    data = bytearray(path.read_bytes())
    data[HEADER_SIZE] ^= 1
    path.write_bytes(data)
    assert "record 0 at byte 64 is corrupt" in run("cat", directory, code=1)
    lines = run("cat", directory, "--skip-corrupt").splitlines()
    assert "1 records from 0 on are left out" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2"]


def test_the_program_of_the_page_reads_a_segment(directory: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "ticklog.md").read_text()
    program = page.partition("```python\n")[2].partition("```")[0]
    path = list_segments(directory)[0]
    found = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout == f"2 {6 + BATCH.ByteSize()}\n"


def test_the_directory_is_that_of_the_setting(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "AGGREGATOR_LOG is off" in run("ls", code=2)
    monkeypatch.setenv("AGGREGATOR_LOG", str(directory))
    assert run("ls") == run("ls", directory)
    assert "/nowhere: No such file or directory" in run("cat", "/nowhere", code=1)


def test_a_log_in_use_is_shown_and_a_pipe_may_end_early(directory: Path) -> None:
    # As people run it, with the lock of the log held.
    with (directory / "lock").open() as lock:
        command = f"flock {lock.fileno()}; {sys.executable} -m aggregator log cat {directory}"
        found = subprocess.run(
            ["sh", "-c", f"{command} | head -1"],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            pass_fds=[lock.fileno()],
        )
    assert found.stdout.split()[:1] == ["0"]
    assert found.stderr == ""

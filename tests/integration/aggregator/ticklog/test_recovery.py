"""What a log is after its files were cut, damaged or left behind by a killed process."""

# ruff: noqa: ASYNC220, ASYNC240  the files are small, and nothing else runs meanwhile

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aggregator.ticklog.codec import (
    CHECKPOINT_MAGIC,
    HEADER_SIZE,
    RECORD_HEADER_SIZE,
    SegmentHeader,
    encode_record_header,
    encode_segment_header,
)
from aggregator.ticklog.errors import CorruptRecord, LogUnusable, UnknownFormat, UnknownKind
from aggregator.ticklog.file_log import FileLog
from aggregator.ticklog.log import Checkpoint, Kind
from aggregator.ticklog.readonly import open_readonly
from aggregator.ticklog.segment import SegmentReader, Skipped, list_segments
from tests.doubles.log_appender import payload_of
from tests.doubles.logs import append_all, opened, options, payloads, write_log
from tests.doubles.processes import bound

NEVER = options("never")
GIVEN = [b"one", b"", b"three" * 5, b"four"]
ENDS = [HEADER_SIZE]
for each in GIVEN:
    ENDS.append(ENDS[-1] + RECORD_HEADER_SIZE + len(each))


async def read_again(directory: Path, *, skip: bool = False) -> tuple[list[int], list[bytes]]:
    """Open a log and return the offsets and payloads of its records."""
    async with opened(lambda: FileLog(directory, NEVER, skip_corrupt=skip)) as log:
        records = list(log.read_from(log.first_offset))
        assert log.next_offset >= (records[-1].offset + 1 if records else 0)
    return [record.offset for record in records], payloads(records)


def flip(path: Path, position: int) -> None:
    """Change one byte."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0x55
    path.write_bytes(data)


@pytest.fixture
async def made(tmp_path: Path) -> Path:
    """Give the only segment of a log with GIVEN in it."""
    await write_log(tmp_path / "log", GIVEN, NEVER)
    (path,) = list_segments(tmp_path / "log")
    assert path.stat().st_size == ENDS[-1]
    return path


async def test_a_log_that_is_cut_anywhere_has_exactly_its_whole_records(made: Path) -> None:
    whole = made.read_bytes()
    for size in range(len(whole)):
        made.write_bytes(whole[:size])
        kept = sum(end <= size for end in ENDS[1:])
        with capture_logs() as logs:
            assert await read_again(made.parent) == (list(range(kept)), GIVEN[:kept])
        torn = size - max((end for end in ENDS if end <= size), default=0)
        cuts = [(line["bytes"], line["offset"]) for line in logs if line["event"] == "log_tail_cut"]
        assert cuts == ([(torn, kept)] if torn else [])
        # It is cut for good, and goes on there.
        await write_log(made.parent, [b"next"], NEVER)
        assert await read_again(made.parent) == (list(range(kept + 1)), [*GIVEN[:kept], b"next"])


@pytest.mark.parametrize("rest", [bytes(5), bytes(5000), b"\xff" * 300, b"garbage" * 20])
async def test_bytes_after_the_last_record_are_cut(made: Path, rest: bytes) -> None:
    whole = made.read_bytes()
    made.write_bytes(whole + rest)
    with capture_logs() as logs:
        assert await read_again(made.parent) == ([0, 1, 2, 3], GIVEN)
    assert logs[0] == {
        "event": "log_tail_cut",
        "log_level": "warning",
        "file": str(made),
        "bytes": len(rest),
        "position": ENDS[-1],
        "offset": 4,
    }
    assert made.read_bytes() == whole


async def test_a_flipped_byte_is_found_wherever_it_is(made: Path) -> None:
    whole = made.read_bytes()
    for position in range(len(whole)):
        made.write_bytes(whole)
        flip(made, position)
        damaged = sum(end <= position for end in ENDS) - 1
        if damaged == len(GIVEN) - 1:
            # As a write that was interrupted: the record is the last one.
            assert await read_again(made.parent) == ([0, 1, 2], GIVEN[:3])
            continue
        place = ENDS[damaged] if damaged >= 0 else 0
        with pytest.raises(CorruptRecord, match=f"record {max(damaged, 0)} at byte {place} ") as e:
            await read_again(made.parent)
        assert (e.value.position, e.value.offset) == (place, max(damaged, 0))
        assert "--skip-corrupt" in str(e.value)
        # Neither does a failed start change anything, nor does reading.
        with pytest.raises(CorruptRecord):
            list(open_readonly(made.parent).read_from(0))
        assert made.read_bytes()[:position] == whole[:position]
        assert made.stat().st_size == len(whole)


async def test_with_skip_corrupt_only_the_damaged_record_is_left_out(made: Path) -> None:
    flip(made, ENDS[1] + 3)
    async with opened(lambda: FileLog(made.parent, NEVER, skip_corrupt=True)) as log:
        assert [record.offset for record in log.read_from(0)] == [0, 2, 3]
        skipped = Skipped(made, ENDS[1], ENDS[2] - ENDS[1], 1, 1)
        assert set(log.skipped) == {skipped}
        assert (await append_all(log, [b"next"])).offsets == [4]
    # The damage is in a segment that is not written any more, so a checkpoint makes it harmless.
    async with opened(lambda: FileLog(made.parent, NEVER)) as log:
        assert [record.offset for record in log.read_from(2)] == [2, 3, 4]
        with pytest.raises(CorruptRecord, match="record 1 at byte"):
            list(log.read_from(0))
    assert [
        record.offset for record in open_readonly(made.parent, skip_corrupt=True).read_from(0)
    ] == [
        0,
        2,
        3,
        4,
    ]


async def test_a_segment_whose_header_is_damaged_is_put_aside_with_skip_corrupt(
    made: Path,
) -> None:
    flip(made, 20)
    assert await read_again(made.parent, skip=True) == ([], [])
    assert made.with_name(f"{made.name}.corrupt").stat().st_size == ENDS[-1]
    assert not made.exists()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32), damage=st.integers(1, 60))
async def test_any_damage_in_a_full_segment_is_found(
    tmp_path: Path, seed: int, damage: int
) -> None:
    random = Random(seed)
    directory = Path(tempfile.mkdtemp(dir=tmp_path))
    given_payloads = [random.randbytes(random.choice((0, 10, 100))) for _ in range(60)]
    await write_log(directory, given_payloads, options("never", segment_bytes=2000))
    *full, _ = list_segments(directory)
    path = random.choice(full)
    data = bytearray(path.read_bytes())
    begin = random.randrange(len(data))
    data[begin : begin + damage] = random.randbytes(len(data[begin : begin + damage]))
    data[begin] = path.read_bytes()[begin] ^ random.randrange(1, 256)
    path.write_bytes(data)
    async with opened(lambda: FileLog(directory, NEVER)) as log:
        # Only the last segment is read at the start.
        assert log.next_offset == 60
        with pytest.raises(CorruptRecord) as caught:
            list(log.read_from(0))
    assert caught.value.path == path
    async with opened(lambda: FileLog(directory, NEVER, skip_corrupt=True)) as log:
        found = list(log.read_from(0))
        assert all(record.payload == given_payloads[record.offset] for record in found)
        missing = set(range(60)) - {record.offset for record in found}
        reported = {
            offset
            for part in log.skipped
            for offset in range(part.offset, part.offset + part.records)
        }
        assert missing == reported != set()
    shutil.rmtree(directory)


async def test_a_missing_segment_is_no_end(tmp_path: Path) -> None:
    await write_log(tmp_path, [b"x" * 100] * 60, options("never", segment_bytes=2000))
    first, second, *_, last = list_segments(tmp_path)
    second.unlink()
    async with opened(lambda: FileLog(tmp_path, NEVER)) as log:
        with pytest.raises(CorruptRecord, match="records 15 to 29 are missing"):
            list(log.read_from(0))
        assert next(log.read_from(int(last.stem))).offset == int(last.stem)
    assert first.exists()


async def test_a_segment_that_lost_its_end_before_another_one_is_corrupt(tmp_path: Path) -> None:
    await write_log(tmp_path, [b"x" * 100] * 20, options("never", segment_bytes=2000))
    first, second = list_segments(tmp_path)
    first.write_bytes(first.read_bytes()[:-1])
    # Also when the file after it has no record yet.
    for size in (None, HEADER_SIZE, 10):
        if size is not None:
            second.write_bytes(second.read_bytes()[:size])
        async with opened(lambda: FileLog(tmp_path, NEVER)) as log:
            with pytest.raises(CorruptRecord, match="record 14 at byte"):
                list(log.read_from(0))


async def test_records_inside_a_payload_are_never_taken_for_records(tmp_path: Path) -> None:
    # A producer sends the bytes of a log as a tick.
    await write_log(tmp_path / "other", [b"forged"] * 20, NEVER)
    (other,) = list_segments(tmp_path / "other")
    await write_log(tmp_path / "log", [b"first", other.read_bytes()], NEVER)
    (path,) = list_segments(tmp_path / "log")
    path.write_bytes(path.read_bytes()[:-1])
    assert await read_again(tmp_path / "log") == ([0], [b"first"])


async def test_a_log_that_ends_before_a_checkpoint_does_not_start(made: Path) -> None:
    async with opened(lambda: FileLog(made.parent, NEVER)) as log:
        log.save_checkpoint(Checkpoint(4, 1), [b"state"])
    # Damage of the last record alone looks like a write that was interrupted.
    flip(made, ENDS[-1] - 1)
    with pytest.raises(CorruptRecord, match="there is a checkpoint after record 3"):
        await read_again(made.parent)
    async with opened(lambda: FileLog(made.parent, NEVER, skip_corrupt=True)) as log:
        assert log.next_offset == 4
        assert (await append_all(log, [b"next"])).offsets == [4]
        assert payloads(log.read_from(4)) == [b"next"]


async def test_an_unknown_format_names_the_release_that_reads_it(made: Path) -> None:
    header = SegmentHeader(1, 0, 0, "7.8.9", version=2)
    made.write_bytes(encode_segment_header(header) + made.read_bytes()[HEADER_SIZE:])
    before = made.read_bytes()
    with pytest.raises(UnknownFormat, match=r"format version 2.*release 7\.8\.9") as caught:
        await read_again(made.parent, skip=True)
    assert str(made) in str(caught.value)
    assert made.read_bytes() == before


async def test_a_record_of_a_later_release_is_never_cut(made: Path) -> None:
    with SegmentReader(made) as reader:
        assert reader.header is not None
        head, _ = encode_record_header(reader.header.seed, 99, 4, 0, b"new")
    whole = made.read_bytes() + head + b"new"
    made.write_bytes(whole)
    with pytest.raises(UnknownKind, match=r"record 4 is of kind 99.*start release"):
        await read_again(made.parent, skip=True)
    # Also when it is what follows a damaged record.
    flip(made, ENDS[4] - 1)
    with pytest.raises(CorruptRecord, match="record 3 at byte"):
        await read_again(made.parent)


async def test_files_of_others_are_left_alone(made: Path) -> None:
    names = ["notes.txt", "1.log", "checkpoint-x.ckpt", f"{'x' * 20}.log"]
    for name in names:
        (made.parent / name).write_text("mine")
    assert await read_again(made.parent) == ([0, 1, 2, 3], GIVEN)
    assert all((made.parent / name).read_text() == "mine" for name in names)


async def test_damaged_checkpoints_are_ignored_and_logged_once(made: Path) -> None:
    async with opened(lambda: FileLog(made.parent, NEVER)) as log:
        log.save_checkpoint(Checkpoint(2, 1), [b"two"])
        log.save_checkpoint(Checkpoint(4, 1), [b"four"])
        path = made.parent / f"checkpoint-{4:020}.ckpt"
        whole = path.read_bytes()
        assert whole.startswith(CHECKPOINT_MAGIC)
        for position in range(len(whole)):
            path.write_bytes(whole)
            flip(path, position)
            assert [found.offset for found in open_readonly(made.parent).checkpoints()] == [2]
        for size in range(len(whole)):
            path.write_bytes(whole[:size])
            assert [found.offset for found in open_readonly(made.parent).checkpoints()] == [2]
        with capture_logs() as logs:
            for _ in range(3):
                assert log.checkpoints() == [Checkpoint(2, 1)]
        assert [line["event"] for line in logs] == ["log_checkpoint_ignored"]
        # The damaged one does not count as one of the two.
        log.save_checkpoint(Checkpoint(3, 1), [b"three"])
        assert [found.offset for found in log.checkpoints()] == [3, 2]


async def test_a_checkpoint_that_fails_leaves_nothing(made: Path) -> None:
    def content() -> list[bytes]:
        raise ZeroDivisionError

    def failing() -> object:
        yield b"begun"
        content()

    async with opened(lambda: FileLog(made.parent, NEVER)) as log:
        before = sorted(made.parent.iterdir())
        with pytest.raises(ZeroDivisionError):
            log.save_checkpoint(Checkpoint(4, 1), failing())  # type: ignore[arg-type]
        assert sorted(made.parent.iterdir()) == before
    (made.parent / "checkpoint-00000000000000000004-77.ckpt-unfinished").write_bytes(b"begun")
    await read_again(made.parent)
    assert not list(made.parent.glob("*unfinished*"))


def test_a_missing_directory_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LogUnusable, match="No such file or directory"):
        open_readonly(tmp_path / "nowhere")


def test_another_process_reads_what_is_done_while_more_is_written(tmp_path: Path) -> None:
    with subprocess.Popen(
        bound(sys.executable, "-m", "tests.doubles.log_appender", str(tmp_path), "never"),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        log = None
        found: list[bytes] = []
        for line in iter(process.stdout.readline, b""):
            done = int(line)
            if done % 100:
                continue
            log = log or open_readonly(tmp_path)
            # From the middle, too.
            begin = Random(done).randrange(len(found) + 1)
            found[begin:] = payloads(log.read_from(begin))
            assert len(found) > done
            assert log.next_offset >= len(found)
            if done == 2000:
                break
        process.kill()
        process.stdout.read()
    assert found == [payload_of(offset) for offset in range(len(found))]


@pytest.mark.parametrize("mode", ["batch", "interval:10ms", "never"])
async def test_every_record_that_was_done_survives_a_kill(tmp_path: Path, mode: str) -> None:
    random = Random(mode)
    done = -1
    for _ in range(4):
        # Ends at the kill only.
        process = subprocess.Popen(
            bound(sys.executable, "-m", "tests.doubles.log_appender", str(tmp_path), mode),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(random.randrange(1, 400)):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split(b"\n")
        process.wait()
        process.stdout.close()
        done = max([done, *(int(line) for line in rest[:-1])])
        records = list(open_readonly(tmp_path).read_from(0))
        assert [record.offset for record in records] == list(range(len(records)))
        assert len(records) > done
        async with opened(lambda: FileLog(tmp_path, NEVER)) as log:
            assert log.next_offset == len(records)
            assert list(log.read_from(0)) == records
    assert all(record.payload == payload_of(record.offset) for record in records)
    assert all(record.kind is Kind.BATCH for record in records)

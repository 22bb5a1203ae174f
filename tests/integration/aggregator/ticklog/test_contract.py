"""A tick log keeps its promises in files, with any durability, and in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from aggregator.ticklog.errors import NoCheckpoint, OffsetGone
from aggregator.ticklog.log import Buffer, Checkpoint, Kind, Record
from tests.doubles.logs import (
    Acks,
    InFiles,
    InMemory,
    Reopenable,
    append_all,
    opened,
    payloads,
)


@pytest.fixture(params=["memory", "batch", "interval:10ms", "never"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Reopenable:
    if request.param == "memory":
        return InMemory()
    return InFiles(tmp_path / "deep" / "log", request.param)


async def test_records_come_back_as_they_were(place: Reopenable) -> None:
    given: list[tuple[Kind, int, Buffer]] = [
        (Kind.START, 5, b""),
        (Kind.BATCH, -1, b"a batch"),
        (Kind.CLOCK, 2**63 - 1, bytearray(b"\0\1\2")),
        (Kind.WATCH, 0, memoryview(b"no copy")[3:]),
    ]
    acks = Acks()
    async with opened(place.open) as log:
        for kind, time_ns, payload in given:
            log.append(kind, time_ns, payload, acks)
        await acks.wait_for(4)
        there = list(log.read_from(0))
    async with opened(place.open) as log:
        again = list(log.read_from(0))
    assert (
        there
        == again
        == [
            Record(offset, kind, time_ns, bytes(payload))
            for offset, (kind, time_ns, payload) in enumerate(given)
        ]
    )
    assert all(type(record) is Record and type(record.payload) is bytes for record in again)


async def test_done_is_called_later_and_in_order(place: Reopenable) -> None:
    acks = Acks()
    async with opened(place.open) as log:
        offsets = [log.append(Kind.BATCH, 0, bytes(n % 50), acks) for n in range(2000)]
        assert acks.offsets == []
        await acks.wait_for(2000)
    assert acks.offsets == offsets == list(range(2000))


async def test_offsets_go_on_after_the_log_was_closed(place: Reopenable) -> None:
    for first in range(0, 60, 20):
        async with opened(place.open) as log:
            assert (log.first_offset, log.next_offset) == (0, first)
            assert (await append_all(log, [b"x" * 500] * 20)).offsets == [*range(first, first + 20)]
    async with opened(place.open) as log:
        assert [record.offset for record in log.read_from(0)] == list(range(60))


async def test_a_record_counts_at_once_and_is_read_when_it_is_done(place: Reopenable) -> None:
    async with opened(place.open) as log:
        acks = Acks()
        log.append(Kind.BATCH, 0, b"", acks)
        assert log.next_offset == 1
        await acks.wait_for(1)
        assert len(list(log.read_from(0))) == 1


async def test_a_reader_goes_on_while_records_are_appended(place: Reopenable) -> None:
    async with opened(place.open) as log:
        await append_all(log, [b"first" * 300] * 10)
        reading = log.read_from(0)
        found = [next(reading).offset for _ in range(5)]
        await append_all(log, [b"later" * 300] * 30)
        found += [record.offset for record in reading]
        # The end is that of the time when the reading began.
        assert found == list(range(10))
        assert [record.offset for record in log.read_from(9)] == list(range(9, 40))


async def test_reading_begins_at_any_offset(place: Reopenable) -> None:
    async with opened(place.open) as log:
        await append_all(log, [f"{n}".encode() * 100 for n in range(100)])
        for offset in range(101):
            assert [record.offset for record in log.read_from(offset)] == [*range(offset, 100)]


async def test_a_record_may_be_larger_than_a_segment(place: Reopenable) -> None:
    given = [b"s", b"large" * 400_000, b"", b"large" * 2_000, b"s"]
    async with opened(place.open) as log:
        await append_all(log, given)
    async with opened(place.open) as log:
        assert payloads(log.read_from(0)) == given


async def test_truncating_forgets_only_what_it_may(place: Reopenable) -> None:
    async with opened(place.open) as log:
        await append_all(log, [b"x" * 300] * 100)
        log.truncate(50)
        first = log.first_offset
        assert 0 < first <= 50
        assert [record.offset for record in log.read_from(first)] == list(range(first, 100))
        with pytest.raises(OffsetGone, match=f"record {first - 1} was truncated"):
            log.read_from(first - 1)
    async with opened(place.open) as log:
        assert (log.first_offset, log.next_offset) == (first, 100)
        log.truncate(100)
        log.truncate(0)
        assert log.first_offset <= log.next_offset == 100
        assert (await append_all(log, [b"next"])).offsets == [100]


async def test_the_two_newest_checkpoints_are_kept(place: Reopenable) -> None:
    async with opened(place.open) as log:
        await append_all(log, [b""] * 10)
        assert log.checkpoints() == []
        log.save_checkpoint(Checkpoint(3, 1), [b"three"])
        log.save_checkpoint(Checkpoint(7, 2), [b"se", memoryview(b"ven"), bytearray()])
        assert log.checkpoints() == [Checkpoint(7, 2), Checkpoint(3, 1)]
        log.save_checkpoint(Checkpoint(9, 2), [])
    async with opened(place.open) as log:
        assert log.checkpoints() == [Checkpoint(9, 2), Checkpoint(7, 2)]
        assert (log.load_checkpoint(7), log.load_checkpoint(9)) == (b"seven", b"")
        with pytest.raises(NoCheckpoint):
            log.load_checkpoint(3)


async def test_a_checkpoint_is_replaced_by_one_of_the_same_offset(place: Reopenable) -> None:
    async with opened(place.open) as log:
        log.save_checkpoint(Checkpoint(0, 1), [b"old"])
        log.save_checkpoint(Checkpoint(0, 2), [b"new"])
        assert log.checkpoints() == [Checkpoint(0, 2)]
        assert log.load_checkpoint(0) == b"new"


async def test_too_much_that_waits_leaves_no_room(place: Reopenable) -> None:
    async with opened(place.open) as log:
        acks = Acks()
        assert log.has_room
        await log.wait_for_room()
        for _ in range(15):
            log.append(Kind.BATCH, 0, bytes(100_000), acks)
        assert not log.has_room
        await log.wait_for_room()
        assert log.has_room
        assert log.problem == ""
        await acks.wait_for(15)


async def test_a_closed_log_takes_nothing(place: Reopenable) -> None:
    acks = Acks()
    async with opened(place.open) as log:
        log.append(Kind.BATCH, 0, b"last", acks)
    assert acks.offsets == [0]
    with pytest.raises(RuntimeError, match="closed"):
        log.append(Kind.BATCH, 0, b"", acks)
    await log.close()

# ruff: noqa: ASYNC221  the files are small, and nothing else runs meanwhile
"""A log whose disk is full, slow, broken, read-only or used by another process."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from aggregator.ticklog import segment_file
from aggregator.ticklog.codec import HEADER_SIZE
from aggregator.ticklog.errors import LogUnusable
from aggregator.ticklog.file_log import FileLog
from aggregator.ticklog.log import Kind
from aggregator.ticklog.readonly import open_readonly
from aggregator.ticklog.segment import list_segments
from tests.doubles.logs import (
    TIMEOUT_S,
    Acks,
    Problems,
    append_all,
    opened,
    options,
    payloads,
)
from tests.doubles.mounts import SmallDisk, small_disk

MODES = ["batch", "interval:10ms", "never"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


class SlowDisk:
    """Syncs that take as long as a test wants."""

    def __init__(self) -> None:
        self._gate = threading.Event()
        self._gate.set()
        self.errors: list[OSError] = []
        #: The size of the file at each sync that worked.
        self.synced: list[int] = []
        self._began = threading.Semaphore(0)
        self._ended = threading.Semaphore(0)

    def hold(self) -> None:
        self._gate.clear()

    def release(self) -> None:
        self._gate.set()

    async def wait_until_held(self) -> None:
        assert await asyncio.to_thread(self._began.acquire, timeout=TIMEOUT_S)

    def wait_for_sync(self) -> None:
        assert self._ended.acquire(timeout=TIMEOUT_S)

    def __call__(self, file: int) -> None:
        if not self._gate.is_set():
            self._began.release()
        if not self._gate.wait(TIMEOUT_S):
            raise AssertionError("the sync was held for too long")
        if self.errors:
            raise self.errors.pop(0)
        os.fdatasync(file)
        self.synced.append(os.fstat(file).st_size)
        self._ended.release()


@pytest.mark.parametrize("mode", MODES)
async def test_a_full_disk_stops_acks_and_loses_nothing(disk: SmallDisk, mode: str) -> None:
    problems, acks = Problems(), Acks()
    given = [bytes([n]) * 5000 for n in range(100)]
    disk.fill(leave=100_000)
    small = options(mode, segment_bytes=60_000, max_waiting_bytes=200_000)
    with capture_logs() as logs:
        log = FileLog(disk.path / "log", small, tell=problems)
        for payload in given:
            log.append(Kind.BATCH, 0, payload, acks)
        assert await problems.next() == "disk full"
        assert log.problem == "disk full"
        done = len(acks.offsets)
        # What is whole is done; the rest waits.
        assert 0 < done < 25
        assert not log.has_room
        assert [record.offset for record in log.read_from(0)] == list(range(done))
        # It is full for longer than the first attempts take.
        await asyncio.sleep(0.3)
        assert len(acks.offsets) == done
        assert problems.is_empty()
        disk.make_room()
        assert await problems.next() == ""
        await acks.wait_for(100)
        assert log.has_room
        assert log.problem == ""
        await log.close()
    assert acks.offsets == list(range(100))
    events = [line["event"] for line in logs]
    assert events == ["log_failing", "log_ok"]
    assert logs[0]["problem"] == "disk full"
    assert payloads(open_readonly(disk.path / "log").read_from(0)) == given


async def test_a_log_on_a_full_disk_starts_and_waits_for_room(disk: SmallDisk) -> None:
    directory = disk.path / "log"
    async with opened(lambda: FileLog(directory, options())) as log:
        await append_all(log, [b"x" * 3000] * 3)
    disk.fill()
    problems, acks = Problems(), Acks()
    async with opened(lambda: FileLog(directory, options(), tell=problems)) as log:
        assert len(list(log.read_from(0))) == 3
        log.append(Kind.BATCH, 0, b"y" * 6000, acks)
        assert await problems.next() == "disk full"
        disk.make_room()
        await acks.wait_for(1)
    assert acks.offsets == [3]


async def test_a_log_that_is_closed_while_the_disk_is_full_keeps_what_was_done(
    disk: SmallDisk,
) -> None:
    directory = disk.path / "log"
    disk.fill(leave=50_000)
    problems, acks = Problems(), Acks()
    log = FileLog(directory, options(close_s=0.2), tell=problems)
    for _ in range(30):
        log.append(Kind.BATCH, 0, b"x" * 5000, acks)
    assert await problems.next() == "disk full"
    waiting = asyncio.create_task(log.wait_for_room())
    with capture_logs() as logs:
        await log.close()
    # Nobody waits for ever.
    await waiting
    assert [line["event"] for line in logs] == ["log_not_written"]
    assert logs[0]["bytes"] == (30 - len(acks.offsets)) * 5028
    # Cut back to whole records, so that the next start finds no torn tail.
    with capture_logs() as logs:
        async with opened(lambda: FileLog(directory, options(close_s=0.2))) as log:
            assert log.next_offset == len(acks.offsets)
    assert logs == []


async def test_a_slow_sync_is_back_pressure(tmp_path: Path) -> None:
    slow, acks = SlowDisk(), Acks()
    bounds = {"max_unsynced_bytes": 10_000, "max_sync_s": 60.0}
    log = FileLog(tmp_path, options("interval:1ms", **bounds), sync=slow)
    await append_all(log, [b"first"])
    slow.hold()
    log.append(Kind.BATCH, 0, b"x" * 6000, acks)
    await slow.wait_until_held()
    # A sync that goes on holds up neither writes nor acks.
    log.append(Kind.BATCH, 0, b"x" * 3000, acks)
    await acks.wait_for(2)
    assert log.has_room
    log.append(Kind.BATCH, 0, b"x" * 3000, acks)
    await acks.wait_for(3)
    assert not log.has_room
    waiting = asyncio.create_task(log.wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    slow.release()
    async with asyncio.timeout(TIMEOUT_S):
        await waiting
    await log.close()
    assert slow.synced[-1] == list_segments(tmp_path)[-1].stat().st_size


async def test_a_sync_that_takes_too_long_leaves_no_room(tmp_path: Path) -> None:
    slow = SlowDisk()
    log = FileLog(tmp_path, options("interval:1ms", max_sync_s=0.05), sync=slow)
    slow.hold()
    acks = Acks()
    log.append(Kind.BATCH, 0, b"x", acks)
    # The new segment is synced first.
    await slow.wait_until_held()
    slow.release()
    await acks.wait_for(1)
    slow.hold()
    await append_all(log, [b"x"])
    await slow.wait_until_held()
    await asyncio.sleep(0.06)
    assert not log.has_room
    slow.release()
    async with asyncio.timeout(TIMEOUT_S):
        await log.wait_for_room()
    await log.close()


async def test_batch_is_done_only_after_its_sync(tmp_path: Path) -> None:
    slow, acks = SlowDisk(), Acks()
    log = FileLog(tmp_path, options("batch"), sync=slow)
    await append_all(log, [b"first"])
    slow.hold()
    log.append(Kind.BATCH, 0, b"second", acks)
    await slow.wait_until_held()
    # It is written meanwhile.
    assert list_segments(tmp_path)[0].stat().st_size == HEADER_SIZE + 2 * 28 + 11
    assert acks.offsets == []
    # What comes meanwhile is synced together.
    count = len(slow.synced)
    for _ in range(50):
        log.append(Kind.BATCH, 0, b"more", acks)
    slow.release()
    await acks.wait_for(51)
    assert len(slow.synced) == count + 2
    await log.close()


async def test_never_does_not_sync(tmp_path: Path) -> None:
    slow = SlowDisk()
    async with opened(
        lambda: FileLog(tmp_path, options("never", segment_bytes=2000), sync=slow)
    ) as log:
        await append_all(log, [b"x" * 500] * 20)
    assert slow.synced == []


async def test_an_idle_log_does_not_sync(tmp_path: Path) -> None:
    slow = SlowDisk()
    log = FileLog(tmp_path, options("interval:1ms"), sync=slow)
    await append_all(log, [b"x"])
    # The header, then the record.
    for _ in range(2):
        await asyncio.to_thread(slow.wait_for_sync)
    # Many intervals.
    await asyncio.sleep(0.05)
    assert len(slow.synced) == 2
    await log.close()
    assert len(slow.synced) == 2


@pytest.mark.parametrize("mode", ["batch", "interval:1ms"])
async def test_what_a_failed_sync_left_out_is_written_again(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, problems, acks = SlowDisk(), Problems(), Acks()
    log = FileLog(tmp_path, options(mode), tell=problems, sync=slow)
    await append_all(log, [b"first" * 100])
    await log.wait_for_room()
    writes: list[tuple[int, int]] = []

    def pwritev(file: int, buffers: list[bytes], position: int) -> int:
        written = os.pwritev(file, buffers, position)
        writes.append((position, written))
        return written

    monkeypatch.setattr(segment_file, "pwritev", pwritev)
    slow.errors.append(OSError(errno.EIO, "broken"))
    log.append(Kind.BATCH, 0, b"second" * 100, acks)
    assert await problems.next() == "Input/output error (EIO)"
    assert await problems.next() == ""
    await acks.wait_for(1)
    await log.close()
    # The kernel takes the pages for clean after a failed sync.
    first, again, *_ = [write for write in writes if write[1] > 600]
    assert again[0] <= first[0]
    assert sum(again) == sum(first)
    assert payloads(open_readonly(tmp_path).read_from(0)) == [b"first" * 100, b"second" * 100]


async def test_a_write_that_fails_is_cut_back_and_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems, acks = Problems(), Acks()
    log = FileLog(tmp_path, options(), tell=problems)
    await append_all(log, [b"first"])
    sizes: list[int] = []
    limits = [3, 40, 1]

    def pwritev(file: int, buffers: list[bytes], position: int) -> int:
        # A short write, then an error.
        if limits and limits[0]:
            data = b"".join(buffers)[: limits[0]]
            limits[0] = 0
            return os.pwrite(file, data, position)
        if limits:
            limits.pop(0)
            raise OSError(errno.EDQUOT, "quota")
        sizes.append(os.fstat(file).st_size)
        return os.pwritev(file, buffers, position)

    monkeypatch.setattr(segment_file, "pwritev", pwritev)
    for payload in (b"second", b"third"):
        log.append(Kind.BATCH, 0, payload, acks)
    assert await problems.next() == "disk quota exceeded"
    assert await problems.next() == ""
    await acks.wait_for(2)
    await log.close()
    # 40 bytes have all of the second record; nothing of the third stayed.
    assert sizes[0] == HEADER_SIZE + 28 + 5 + 28 + 6
    assert payloads(open_readonly(tmp_path).read_from(0)) == [b"first", b"second", b"third"]


def test_a_directory_of_another_process_is_refused(tmp_path: Path) -> None:
    async def use() -> None:
        async with opened(lambda: FileLog(tmp_path, options())) as log:
            code = (
                "import asyncio, pathlib, sys\n"
                "from aggregator.ticklog.file_log import FileLog\n"
                "async def main(): FileLog(pathlib.Path(sys.argv[1]))\n"
                "asyncio.run(main())\n"
            )
            other = subprocess.run(
                [sys.executable, "-c", code, str(tmp_path)],
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert (
                f"LogUnusable: tick log {tmp_path}: another process uses it (pid {os.getpid()})"
                in other.stderr
            )
            await append_all(log, [b"x"])
        # Closed, it is free again.
        async with opened(lambda: FileLog(tmp_path, options())):
            pass

    asyncio.run(use())


async def test_a_readonly_directory_is_refused(disk: SmallDisk) -> None:
    async with opened(lambda: FileLog(disk.path / "old", options())) as log:
        await append_all(log, [b"x"])
    disk.make_readonly()
    for directory in (disk.path / "old", disk.path / "new"):
        with pytest.raises(
            LogUnusable, match=f"{directory}: cannot be written: Read-only file sys"
        ):
            FileLog(directory)
    assert payloads(open_readonly(disk.path / "old").read_from(0)) == [b"x"]


@pytest.mark.parametrize("has_lock", [False, True])
def test_a_directory_that_may_not_be_written_is_refused(tmp_path: Path, *, has_lock: bool) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    if has_lock:
        (directory / "lock").touch()
        (directory / "lock").chmod(0o666)
    directory.chmod(0o555)
    with as_nobody(directory):

        async def make() -> None:
            with pytest.raises(LogUnusable, match="log: cannot be written: Permission denied"):
                FileLog(directory)

        asyncio.run(make())


@contextlib.contextmanager
def as_nobody(directory: Path) -> Iterator[None]:
    """Let this process have no rights but those of everybody; its directories can be entered."""
    if os.geteuid() != 0:
        yield
        return
    for parent in directory.parents:
        if parent.stat().st_uid == 0 and str(parent).startswith(tempfile.gettempdir() + "/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(LogUnusable, match=f"{tmp_path}/log: cannot be written: File exists"):
        FileLog(tmp_path / "log")


async def test_a_failing_ack_does_not_stop_the_others(tmp_path: Path) -> None:
    loop, caught, acks = asyncio.get_running_loop(), [], Acks()
    loop.set_exception_handler(lambda _, context: caught.append(context["exception"]))

    def fail(_: int) -> None:
        raise ZeroDivisionError

    async with opened(lambda: FileLog(tmp_path, options())) as log:
        log.append(Kind.BATCH, 0, b"", fail)
        log.append(Kind.BATCH, 0, b"", acks)
        await acks.wait_for(1)
    assert [type(error) for error in caught] == [ZeroDivisionError]


def test_a_log_that_nobody_closed_ends_with_its_loop(tmp_path: Path) -> None:
    slow = SlowDisk()

    async def append() -> None:
        log = FileLog(tmp_path, options(), sync=slow)
        await append_all(log, [b"first"])
        slow.hold()
        log.append(Kind.BATCH, 0, b"second", Acks())
        await slow.wait_until_held()

    # An error in a thread would fail this test.
    asyncio.run(append())
    slow.release()
    # The header, and each record.
    for _ in range(3):
        slow.wait_for_sync()
    assert payloads(open_readonly(tmp_path).read_from(0)) == [b"first", b"second"]


async def test_segments_are_dropped_by_bytes_and_by_age(tmp_path: Path) -> None:
    small = options("never", segment_bytes=2000, max_bytes=5000)
    async with opened(lambda: FileLog(tmp_path, small)) as log:
        await append_all(log, [b"x" * 500] * 30)
        first = log.first_offset
        log.truncate(0)
        assert log.first_offset == first == 0
        log.truncate(30)
        # Three of 1648 bytes each.
        assert log.first_offset == 21
        assert next(log.read_from(21)).offset == 21
    assert len(list_segments(tmp_path)) == 3
    # The times of the records are their offsets, so they are of 1970.
    old = options("never", segment_bytes=2000, max_age_s=3600.0)
    async with opened(lambda: FileLog(tmp_path, old)) as log:
        log.truncate(30)
        assert log.first_offset == 27
    unlimited = options("never", segment_bytes=2000)
    async with opened(lambda: FileLog(tmp_path, unlimited)) as log:
        await append_all(log, [b"x" * 500] * 30)
        log.truncate(60)
        assert log.first_offset == 27

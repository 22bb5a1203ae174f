"""After a loss of power the log has all that was synced, and is never corrupt."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from aggregator.ticklog.file_log import FileLog
from aggregator.ticklog.log import Kind
from aggregator.ticklog.segment import offset_of
from tests.doubles.logs import Acks, opened, options, payloads

RECORDS = 150


class LosingDisk:
    """Remember at each sync what the disk would have if the power went now.

    It has what was synced, and any part of what was written since.
    """

    def __init__(self, directory: Path, acks: Acks) -> None:
        self._directory = directory
        self._acks = acks
        self._random = Random(1)
        self._synced: dict[str, int] = {}
        #: The files, and the number of records that were done.
        self.moments: list[tuple[dict[str, bytes], int]] = []

    def __call__(self, file: int) -> None:
        self._remember()
        path = Path(f"/proc/self/fd/{file}").readlink()
        size = path.stat().st_size
        os.fdatasync(file)
        self._synced[path.name] = size
        self._remember()

    def _remember(self) -> None:
        done = len(self._acks.offsets)
        files = {}
        for path in sorted(self._directory.glob("*.log")):
            data = path.read_bytes()
            size = self._random.randint(min(self._synced.get(path.name, 0), len(data)), len(data))
            files[path.name] = data[:size]
        self.moments.append((files, done))


@pytest.mark.parametrize("mode", ["batch", "interval:1ms"])
async def test_no_loss_of_power_loses_what_was_synced(tmp_path: Path, mode: str) -> None:
    random = Random(2)
    given = [random.randbytes(random.choice((0, 20, 200))) for _ in range(RECORDS)]
    acks = Acks()
    disk = LosingDisk(tmp_path / "log", acks)
    small = options(mode, segment_bytes=2500)
    async with opened(lambda: FileLog(tmp_path / "log", small, sync=disk)) as log:
        for count, payload in enumerate(given, 1):
            log.append(Kind.BATCH, 0, payload, acks)
            if random.random() < 0.3:
                await acks.wait_for(count)
    assert len(disk.moments) > 20
    for number, (files, done) in enumerate(disk.moments):
        directory = tmp_path / f"after{number}"
        directory.mkdir()
        for name, data in files.items():
            (directory / name).write_bytes(data)
        async with opened(lambda: FileLog(directory, options("never"))) as log:  # noqa: B023
            found = payloads(log.read_from(0))
            assert log.next_offset == len(found)
            assert found == given[: len(found)]
            if mode == "batch":
                assert len(found) >= done
            else:
                # All but the last segment was synced before the last one began.
                last = max(offset_of(Path(n)) for n in files) if files else 0
                assert len(found) >= last

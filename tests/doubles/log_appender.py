"""Append records to a tick log and print the offset of each that is done, until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import Random

from aggregator.ticklog.file_log import FileLog
from aggregator.ticklog.log import Kind
from tests.doubles.logs import options


def payload_of(offset: int) -> bytes:
    """Return what the record with this offset holds: some are small, some large."""
    random = Random(offset)
    return random.randbytes(random.choice((0, 30, 300, 20_000)))


def tell_done(offset: int) -> None:
    """Print an offset at once."""
    os.write(1, f"{offset}\n".encode())


async def append_for_ever(directory: Path, mode: str) -> None:
    """Append as fast as the log takes them."""
    log = FileLog(directory, options(mode, segment_bytes=200_000, max_waiting_bytes=500_000))
    while True:
        for _ in range(20):
            log.append(Kind.BATCH, 0, payload_of(log.next_offset), tell_done)
        await log.wait_for_room()
        await asyncio.sleep(0)


if __name__ == "__main__":
    asyncio.run(append_for_ever(Path(sys.argv[1]), sys.argv[2]))

"""Measure the tick log: appends in each mode, and reading them again."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aggregator.ticklog.durability import parse_durability
from aggregator.ticklog.file_log import FileLog, LogOptions
from aggregator.ticklog.log import Kind
from benchmarks.harness import WrongResult
from benchmarks.report import Line, Outcome, rows_of, text_table

MODES = ("batch", "interval:100ms", "never")
# A full batch of ingest, and a small one of a quiet market.
SIZES = (500_000, 300)
# Appends between two looks at the clock; the event loop calls what is done meanwhile.
BURST = 64


@dataclass(frozen=True, slots=True)
class Measured:
    """Records per second."""

    appended: float
    # Appended and done one after the other, as of one producer that waits for each ack.
    alone_ms: float
    read: float


async def measure_mode(directory: Path, mode: str, size: int, seconds: float) -> Measured:
    """Append for some seconds, then read everything."""
    log = FileLog(directory, LogOptions(durability=parse_durability(mode)))
    payload = os.urandom(size)
    count, done = 0, 0

    def note(offset: int) -> None:
        nonlocal done
        done = offset + 1

    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for _ in range(BURST):
            log.append(Kind.BATCH, count, payload, note)
            count += 1
        await asyncio.sleep(0)
        await log.wait_for_room()
    await wait_for_last(log, payload)
    appended = count / (time.perf_counter() - began)
    if done != count:
        raise WrongResult(f"{done} of {count} records are done")
    alone = 50
    began = time.perf_counter()
    for _ in range(alone):
        await wait_for_last(log, payload)
    alone_ms = (time.perf_counter() - began) / alone * 1000
    began = time.perf_counter()
    found = sum(len(record.payload) == size for record in log.read_from(0))
    read = found / (time.perf_counter() - began)
    if found != log.next_offset:
        raise WrongResult(f"{found} records are read, {log.next_offset} were written")
    await log.close()
    return Measured(appended, alone_ms, read)


async def wait_for_last(log: FileLog, payload: bytes) -> None:
    """Append a record and wait until it is done."""
    last = asyncio.Event()
    ready: Callable[[int], None] = lambda _offset: last.set()  # noqa: E731
    log.append(Kind.BATCH, 0, payload, ready)
    await last.wait()


async def measure(seconds: float = 1.0, place: Path | None = None) -> Outcome:
    """Measure each mode with large and small records."""
    lines = []
    for mode in MODES:
        for size in SIZES:
            with tempfile.TemporaryDirectory(dir=place) as folder:
                found = await measure_mode(Path(folder), mode, size, seconds)
            name = f"log/{mode.partition(':')[0]}/{size}"
            what = f"tick log, {mode}, records of {size:,} bytes"
            note = (
                f"{found.appended:,.0f} records/s; one by one {found.alone_ms:.2f} ms each; "
                f"read {found.read:,.0f} records/s, {found.read * size / 1e6:,.0f} MB/s"
            )
            lines.append(
                Line(name, f"{what}: appended", found.appended * size / 1e6, "MB/s", note=note)
            )
    return Outcome(lines, {})


def main() -> None:
    """Run the benchmark alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each of six measurements")
    parser.add_argument("--folder", type=Path, help="where the files are made")
    options = parser.parse_args()
    print(text_table(rows_of(asyncio.run(measure(options.seconds, options.folder)).lines)))


if __name__ == "__main__":
    main()

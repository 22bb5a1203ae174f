"""What every benchmark stands on: real services, repeats, one table, one JSON file."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from math import ceil, log2
from pathlib import Path
from statistics import median
from typing import Any

from google.protobuf.internal import api_implementation

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
START_TIMEOUT_S = 30.0


class WrongResult(Exception):
    """What was measured gave a wrong answer, so its speed means nothing."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The values that repeats of one measurement gave."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value; the one to quote."""
        return median(self.values)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        values = self.values
        return {"median": self.median, "min": min(values), "max": max(values), "values": values}


async def repeat(times: int, measure: Callable[[], Awaitable[float]]) -> Spread:
    """Measure several times, one after the other."""
    return Spread(tuple([await measure() for _ in range(times)]))


@dataclass(frozen=True, slots=True)
class Latencies:
    """How long each of many ticks took, in seconds."""

    seconds: tuple[float, ...]

    @classmethod
    def merge(cls, parts: Iterable[Latencies]) -> Latencies:
        """Return all of them as one."""
        return cls(tuple(seconds for part in parts for seconds in part.seconds))

    def percentile(self, percent: float) -> float:
        """Return the value that ``percent`` of all are not above."""
        ordered = sorted(self.seconds)
        return ordered[max(ceil(len(ordered) * percent / 100), 1) - 1]

    def histogram(self) -> dict[float, int]:
        """Return how many are up to each bound, in ms, and above the one before, half of it."""
        powers = [ceil(log2(max(seconds * 1000, 1e-3))) for seconds in self.seconds]
        return {2.0**p: powers.count(p) for p in range(min(powers), max(powers) + 1)}

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file, in ms."""
        return {
            "ticks": len(self.seconds),
            **{f"p{p}_ms": self.percentile(p) * 1000 for p in (50, 90, 99, 99.9)},
            "max_ms": max(self.seconds) * 1000,
            "histogram_ms": {f"{bound:g}": count for bound, count in self.histogram().items()},
        }


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    pid: int
    port: int

    @property
    def address(self) -> str:
        """Where clients connect to."""
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def run_service(module: str, **settings: object) -> AsyncIterator[Service]:
    """Run ``python -m module`` on a free port for the time of the context.

    Settings are given without their prefix; those of the shell do not reach the service.
    """
    prefix = f"{module.upper()}_"
    env = {name: value for name, value in os.environ.items() if not name.startswith(prefix)}
    given = {"port": 0, "log_format": "json", **settings}
    if module == "aggregator":
        # What is measured must not depend on what an earlier run stored.
        given = {"store": "off", **given}
    env |= {f"{prefix}{name.upper()}": str(value) for name, value in given.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module), cwd=ROOT, env=env, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(_read_log(process.stderr, address))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            port = int((await address).rpartition(":")[2])
        yield Service(process.pid, port)
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await reading
        await process.wait()


async def _read_log(log: asyncio.StreamReader, address: asyncio.Future[str]) -> None:
    # To the end, so that the service never waits for us.
    last = b""
    async for last in log:
        if not address.done() and b" listening" in last:
            address.set_result(json.loads(last)["address"])
    if not address.done():
        address.set_exception(RuntimeError(f"the service did not start: {last.decode()}"))


def machine_facts() -> dict[str, Any]:
    """Return what a number depends on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_name(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "grpcio": version("grpcio"),
        "protobuf": f"{version('protobuf')} ({api_implementation.Type()})",
    }


def _cpu_name() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def commit() -> str:
    """Return the short name of the commit, with ``-dirty`` where files differ from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def write_results(name: str, results: dict[str, Any], path: Path | None = None) -> Path:
    """Write what was measured, under ``name``, into the JSON file of this commit."""
    path = path or RESULTS / f"{commit()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    known |= {"commit": commit(), "machine": machine_facts(), name: results}
    path.write_text(json.dumps(known, indent=2) + "\n")
    return path


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows``, the header first, as text; all columns but the first go to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )

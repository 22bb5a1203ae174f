"""Services as operators run them: processes of their own, with signals and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

TIMEOUT_S = 30


class Service:
    """One running service and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.logs: list[dict[str, Any]] = []

    async def wait_for_log(self, event: str) -> dict[str, Any]:
        """Read the log until ``event`` is said, and return that line."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                line = await self._next_line()
                if line is None:
                    raise AssertionError(f"the service ended without saying {event!r}: {self.logs}")
                if line.get("event") == event:
                    return line

    async def wait_for_port(self) -> int:
        """Wait until the service listens and return its port."""
        async with asyncio.timeout(TIMEOUT_S):
            while (line := await self._next_line()) is not None:
                if str(line.get("event")).endswith(" listening"):
                    return int(line["address"].rpartition(":")[2])
        raise AssertionError(f"the service ended without listening: {self.logs}")

    async def end(self) -> int:
        """Read the rest of the log and return the exit code."""
        async with asyncio.timeout(TIMEOUT_S):
            while await self._next_line() is not None:
                pass
            return await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, read the rest of the log, return the exit code."""
        self.process.send_signal(number)
        return await self.end()

    async def _next_line(self) -> dict[str, Any] | None:
        assert self.process.stderr is not None
        raw = await self.process.stderr.readline()
        if not raw:
            return None
        line = {"event": raw.decode().strip()}
        with contextlib.suppress(orjson.JSONDecodeError):
            line = orjson.loads(raw)
        self.logs.append(line)
        return line


@contextlib.asynccontextmanager
async def run_service(module: str, env: Mapping[str, str]) -> AsyncIterator[Service]:
    """Run ``python -m module``; kill it at the end of the context if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        env={**os.environ, f"{module.upper()}_LOG_FORMAT": "json", **env},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Service(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def run_backend(**env: str) -> AsyncIterator[tuple[Service, int, Service, int]]:
    """Run an aggregator and an ingest; give each with its port."""
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0", **env}) as aggregator:
        port = await aggregator.wait_for_port()
        env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
        async with run_service("ingest", env) as ingest:
            yield aggregator, port, ingest, await ingest.wait_for_port()

"""Services as operators run them: processes of their own, with signals and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
import orjson

TIMEOUT_S = 60

Mode = Literal["three", "standalone"]
MODES: tuple[Mode, ...] = ("three", "standalone")
# The services that run in one process.
INSIDE = {"standalone": ("ingest", "aggregator", "gateway")}


def bound(*command: str, end: signal.Signals = signal.SIGKILL) -> tuple[str, ...]:
    """Return ``command`` so that its process gets ``end`` when the tests' process is gone.

    A test that is interrupted ends its servers itself; one whose process is killed cannot.
    """
    # Part of util-linux. It becomes the command, so pid and signals are the command's.
    program = shutil.which("setpriv")
    if program is None:
        return command
    return (program, "--pdeathsig", end.name.removeprefix("SIG"), "--", *command)


class Service:
    """One running service and what it logs.

    The log is read all the time, so that a service that says much never waits for a test.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.logs: list[dict[str, Any]] = []
        # Lines that a wait has gone past.
        self._seen = 0
        self._ended = False
        self._changed = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    def said(self, event: str) -> list[dict[str, Any]]:
        """Return the lines that said ``event`` so far."""
        return [line for line in self.logs if line["event"] == event]

    async def wait_for_log(self, event: str) -> dict[str, Any]:
        """Wait until ``event`` is said after what was waited for before, and return that line."""
        async with asyncio.timeout(TIMEOUT_S):
            while (line := await self._next_line()) is not None:
                if line["event"] == event:
                    return line
        raise AssertionError(f"the service ended without saying {event!r}: {self.logs}")

    async def wait_for_port(self) -> int:
        """Wait until the service listens and return its port."""
        async with asyncio.timeout(TIMEOUT_S):
            while (line := await self._next_line()) is not None:
                if str(line["event"]).endswith("_listening"):
                    return int(line["address"].rpartition(":")[2])
        raise AssertionError(f"the service ended without listening: {self.logs}")

    async def end(self) -> int:
        """Wait for the end of the log and return the exit code."""
        async with asyncio.timeout(TIMEOUT_S):
            await self._reading
            return await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, read the rest of the log, return the exit code."""
        self.process.send_signal(number)
        return await self.end()

    async def kill(self) -> None:
        """End the service, whatever it does."""
        if self.process.returncode is None:
            self.process.kill()
        await self._reading
        await self.process.wait()

    async def _next_line(self) -> dict[str, Any] | None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._seen < len(self.logs) or self._ended)
        if self._seen == len(self.logs):
            return None
        self._seen += 1
        return self.logs[self._seen - 1]

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            line = {"event": raw.decode(errors="backslashreplace").strip()}
            with contextlib.suppress(orjson.JSONDecodeError):
                line = orjson.loads(raw)
            async with self._changed:
                self.logs.append(line)
                self._changed.notify_all()
        async with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextlib.asynccontextmanager
async def run_service(
    module: str,
    env: Mapping[str, str],
    *,
    cwd: Path | None = None,
    open_files: int | None = None,
) -> AsyncIterator[Service]:
    """Run ``python -m module`` in ``cwd``; kill it at the end of the context if it still runs.

    It may have ``open_files`` files and sockets open.
    Settings of the shell that runs the tests do not reach it.
    """
    prefixes = tuple(f"{name.upper()}_" for name in (module, *INSIDE.get(module, ())))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    if "AGGREGATOR_" in prefixes:
        # Else every test would share the default file.
        inherited["AGGREGATOR_STORE"] = "off"
    # Part of util-linux.
    limit = [] if open_files is None else ["prlimit", f"--nofile={open_files}:{open_files}"]
    process = await asyncio.create_subprocess_exec(
        *bound(*limit, sys.executable, "-m", module),
        env={**inherited, **{f"{prefix}LOG_FORMAT": "json" for prefix in prefixes}, **env},
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
    )
    service = Service(process)
    try:
        yield service
    finally:
        await service.kill()


@dataclass(frozen=True)
class Pipeline:
    """All three services; in one process, each of them is that one."""

    ingest: Service
    aggregator: Service
    gateway: Service
    ingest_port: int
    aggregator_port: int
    http: httpx.AsyncClient


@contextlib.asynccontextmanager
async def run_standalone(**env: str) -> AsyncIterator[Pipeline]:
    """Run the services in one process, on free ports and without a rate limit."""
    given = {
        "INGEST_PORT": "0",
        "AGGREGATOR_PORT": "0",
        "GATEWAY_PORT": "0",
        "GATEWAY_RATE_LIMIT": "0",
        **env,
    }
    async with run_service("standalone", given) as service:
        ready = await service.wait_for_log("standalone_ready")
        ports = {name: int(ready[name].rpartition(":")[2]) for name in INSIDE["standalone"]}
        async with open_http(ports["gateway"]) as http:
            yield Pipeline(*(service, service, service), ports["ingest"], ports["aggregator"], http)


@contextlib.asynccontextmanager
async def run_pipeline(mode: Mode, **env: str) -> AsyncIterator[Pipeline]:
    """Run the services as three processes, or in one."""
    if mode == "standalone":
        async with run_standalone(**env) as pipeline:
            yield pipeline
        return
    async with (
        run_backend(**env) as (aggregator, port, ingest, ingest_port),
        run_gateway(port, **env) as (gateway, http),
    ):
        yield Pipeline(ingest, aggregator, gateway, ingest_port, port, http)


@contextlib.asynccontextmanager
async def run_backend(**env: str) -> AsyncIterator[tuple[Service, int, Service, int]]:
    """Run an aggregator and an ingest; give each with its port."""
    async with run_service("aggregator", {"AGGREGATOR_PORT": "0", **env}) as aggregator:
        port = await aggregator.wait_for_port()
        env = {"INGEST_PORT": "0", "INGEST_AGGREGATOR": f"127.0.0.1:{port}"}
        async with run_service("ingest", env) as ingest:
            yield aggregator, port, ingest, await ingest.wait_for_port()


@contextlib.asynccontextmanager
async def run_gateway(
    aggregator_port: int, **env: str
) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """Run a gateway without a rate limit; give it with a client of its REST API."""
    given = {
        "GATEWAY_PORT": "0",
        "GATEWAY_AGGREGATOR": f"127.0.0.1:{aggregator_port}",
        "GATEWAY_RATE_LIMIT": "0",
        **env,
    }
    async with run_service("gateway", given) as gateway:
        port = await gateway.wait_for_port()
        async with open_http(port) as http:
            yield gateway, http


@contextlib.asynccontextmanager
async def open_http(port: int) -> AsyncIterator[httpx.AsyncClient]:
    """Connect to a gateway for the time of the context."""
    # Making a client with verify takes 20 ms, for certificates nobody shows here.
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", trust_env=False, verify=False, timeout=TIMEOUT_S
    ) as http:
        yield http

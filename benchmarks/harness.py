"""Run real services, each as a process of its own, and measure their CPU."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from signal import SIGKILL
from typing import Any

import psutil

from benchmarks.results import ROOT

START_TIMEOUT_S = 60.0
SERVICES = ("ingest", "aggregator", "gateway")


class WrongResult(Exception):
    """The measured program gave a wrong answer, so its speed means nothing."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service."""

    pid: int
    port: int
    # What it logged, a dict per line; all of it when the context has ended.
    events: list[dict[str, Any]] = field(default_factory=list)

    def kill(self) -> None:
        """End it as a crash does."""
        os.kill(self.pid, SIGKILL)

    @property
    def address(self) -> str:
        """Where clients connect to."""
        return f"127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """Return the CPU time that it took so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def memory(self) -> int:
        """Return its resident memory in bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)


class CpuMeter:
    """Measure the CPU of each service, and of this process, which makes the load."""

    def __init__(self, **services: Service) -> None:
        self._services = services
        self._began = time.perf_counter()
        self._before = self._take()

    def _take(self) -> dict[str, float]:
        used = {name: service.cpu_s() for name, service in self._services.items()}
        return used | {"load": time.process_time()}

    def stop(self) -> tuple[float, dict[str, float]]:
        """Return the seconds since the start, and the CPU seconds by name."""
        seconds = time.perf_counter() - self._began
        now = self._take()
        return seconds, {name: now[name] - before for name, before in self._before.items()}


def cpu_note(cpu_s: Mapping[str, float], seconds: float = 1.0) -> str:
    """Return in words the share of a core that each process took in so many seconds."""
    shares = (f"{name} {used / seconds:.0%}" for name, used in cpu_s.items())
    return f"CPU: {', '.join(shares)}"


@contextmanager
def no_collections() -> Iterator[None]:
    """Let this process collect no garbage for the time of the context.

    It keeps every state that arrives. To collect a million of them takes a tenth of a second, which
    would count as the services' time.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def run_service(module: str, program: str = "", **settings: object) -> AsyncIterator[Service]:
    """Run ``python -m module`` on a free port for the time of the context.

    Settings are given without their prefix; those of the shell do not reach the service.

    Args:
        module: the service.
        program: the module that runs it, if it is another one.
        settings: of the service.
    """
    async with _run(program or module, {module: settings}) as services:
        yield services[module]


@asynccontextmanager
async def run_standalone(**settings: object) -> AsyncIterator[dict[str, Service]]:
    """Run the three services in one process, each on a free port, for the time of the context.

    Args:
        settings: with the name of their service in front, such as ``gateway_rate_limit``.
    """
    by_service: dict[str, dict[str, object]] = {name: {} for name in SERVICES}
    for name, value in settings.items():
        service, _, setting = name.partition("_")
        by_service[service][setting] = value
    async with _run("standalone", by_service) as services:
        yield services


@asynccontextmanager
async def _run(
    program: str, settings: Mapping[str, Mapping[str, object]]
) -> AsyncIterator[dict[str, Service]]:
    prefixes = tuple(f"{name.upper()}_" for name in settings)
    env = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    for service, own in settings.items():
        given = {"port": 0, "log_format": "json", **own}
        if service == "aggregator":
            # A run must not depend on bars that an earlier one stored.
            given = {"store": "off", **given}
        env |= {f"{service.upper()}_{name.upper()}": str(value) for name, value in given.items()}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", program),
        cwd=ROOT,
        env=env,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    loop = asyncio.get_running_loop()
    addresses: dict[str, asyncio.Future[str]] = {name: loop.create_future() for name in settings}
    events: list[dict[str, Any]] = []
    reading = asyncio.create_task(_read_log(process.stderr, addresses, events))
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            found = {name: await address for name, address in addresses.items()}
        yield {
            name: Service(process.pid, int(address.rpartition(":")[2]), events)
            for name, address in found.items()
        }
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await reading
        await process.wait()


async def _read_log(
    log: asyncio.StreamReader,
    addresses: dict[str, asyncio.Future[str]],
    events: list[dict[str, Any]],
) -> None:
    # Reads to the end, so that the service never waits for us.
    last = b""
    async for last in log:
        # Warnings of libraries are no JSON.
        with suppress(ValueError):
            events.append(json.loads(last))
            name, _, verb = events[-1]["event"].rpartition("_")
            if verb == "listening" and name in addresses and not addresses[name].done():
                addresses[name].set_result(events[-1]["address"])
    for address in addresses.values():
        if not address.done():
            address.set_exception(RuntimeError(f"the service did not start: {last.decode()}"))

"""The services under faults: real processes, with links between them that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tests.doubles.link import Link, open_link
from tests.doubles.pipeline import open_stub
from tests.doubles.ports import free_port
from tests.doubles.processes import INSIDE, Service
from tests.faults.disk import mount_disk
from tests.faults.forks import Template
from tests.faults.schedule import Fault, Step
from tests.faults.shim import Shim

if TYPE_CHECKING:  # only the stubs know it
    from marketdata.wire.market_data_pb2_grpc import MarketDataServiceAsyncStub

# A day's log takes 1 MB.
_DISK_BYTES = 48 * 1024 * 1024

# The header and the beginning of a record, as a power failure leaves them.
_HALF_A_RECORD = 21

# The settings of the shell do not reach a service.
SETTINGS = ("AGGREGATOR_", "INGEST_", "GATEWAY_")

_ENDED = {
    Fault.KILL_AGGREGATOR: ("aggregator", signal.SIGKILL),
    Fault.TERM_AGGREGATOR: ("aggregator", signal.SIGTERM),
    Fault.TORN_TAIL: ("aggregator", signal.SIGKILL),
    Fault.KILL_INGEST: ("ingest", signal.SIGKILL),
    Fault.TERM_INGEST: ("ingest", signal.SIGTERM),
}
_FROZEN = {Fault.STOP_AGGREGATOR: "aggregator", Fault.STOP_INGEST: "ingest"}
_CUT = {
    Fault.CUT_PRODUCER: "producers",
    Fault.CUT_BATCHES: "batches",
    Fault.CUT_WATCH: "watch",
}


class Cluster:
    """Ingest, aggregator and gateway, and the links between them.

    producers → ``producers`` → ingest → ``batches`` → aggregator ← ``watch`` ← gateway

    With the template "standalone", one process is ingest and aggregator, and has a gateway of its
    own. The live client follows another gateway, because its connection must live on.

    Args:
        folder: for the log and the store.
        templates: the services by name.
        shim: makes syncs slow and clocks wrong.
        fsync: when the log is synced; None: there is no log.
        small_disk: whether the log is on a disk that can be filled.
        checkpoints: whether the state is saved each second or so.
    """

    def __init__(
        self,
        folder: Path,
        templates: Mapping[str, Template],
        shim: Shim,
        *,
        fsync: str | None,
        small_disk: bool,
        checkpoints: bool,
    ) -> None:
        self._folder = folder
        self._log = folder / "log"
        self._templates = templates
        self._shim = shim
        self._fsync = fsync
        self._small_disk = small_disk
        self._checkpoint_s = "1" if checkpoints else "300"
        self._aggregator_port, self._ingest_port = free_port(), free_port()
        self._is_standalone = "standalone" in templates
        # The process that is the aggregator.
        self._aggregator = "standalone" if self._is_standalone else "aggregator"
        self._running: dict[str, contextlib.AsyncExitStack] = {}
        self._services: dict[str, Service] = {}
        # Faults may overlap, restarts of one service not.
        self._restarting: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.producers: Link
        self.batches: Link
        self.watch: Link
        self.gateway_port = 0

    @contextlib.asynccontextmanager
    async def run(self) -> AsyncIterator[Cluster]:
        """Run everything for the time of the context."""
        async with contextlib.AsyncExitStack() as stack:
            self._log.mkdir()
            if self._small_disk:
                stack.enter_context(mount_disk(self._log, _DISK_BYTES))
            host = "127.0.0.1"
            self.producers = await stack.enter_async_context(open_link(host, self._ingest_port))
            self.batches = await stack.enter_async_context(open_link(host, self._aggregator_port))
            self.watch = await stack.enter_async_context(open_link(host, self._aggregator_port))
            stack.push_async_callback(self._stop_all)
            async with asyncio.TaskGroup() as tasks:
                if not self._is_standalone:
                    tasks.create_task(self._start("ingest"))
                tasks.create_task(self._start(self._aggregator))
                gateway = tasks.create_task(self._start("gateway"))
            self.gateway_port = gateway.result()
            yield self

    @contextlib.asynccontextmanager
    async def stub(self) -> AsyncIterator[MarketDataServiceAsyncStub]:
        """Ask the aggregator, past the links."""
        async with open_stub(self._aggregator_port) as stub:
            yield stub

    async def inject(self, step: Step) -> None:
        """Let one fault happen, and end it."""
        await asyncio.sleep(step.delay_s)
        fault, lasts_s = step.fault, step.lasts_s
        if fault in _ENDED:
            name, number = _ENDED[fault]
            if name == "aggregator":
                name = self._aggregator
            await self._restart(name, number, lasts_s, tear=fault is Fault.TORN_TAIL)
        elif fault in _FROZEN:
            name = _FROZEN[fault]
            await self._freeze(self._aggregator if name == "aggregator" else name, lasts_s)
        elif fault in _CUT:
            link: Link = getattr(self, _CUT[fault])
            link.drop()
        elif fault is Fault.CUT_ACKS:
            self.batches.hold_answers()
            await asyncio.sleep(lasts_s)
            self.batches.drop()
            self.batches.hold_answers(False)
        elif fault is Fault.FULL_DISK:
            await self._fill_disk(lasts_s)
        elif fault is Fault.SLOW_SYNC:
            self._shim.slow_syncs(0.5)
            await asyncio.sleep(lasts_s)
            self._shim.slow_syncs(0.0)
        else:
            # Up to an hour forward or back.
            self._shim.step_clock((lasts_s - 0.5) * 7200)
            await asyncio.sleep(lasts_s)
            self._shim.step_clock(0.0)

    async def _start(self, name: str) -> int:
        settings = {
            "aggregator": {
                "AGGREGATOR_PORT": str(self._aggregator_port),
                "AGGREGATOR_STORE": f"sqlite:///{self._folder}/bars.db",
                "AGGREGATOR_LOG": str(self._log / "ticks") if self._fsync else "off",
                "AGGREGATOR_LOG_FSYNC": self._fsync or "never",
                "AGGREGATOR_CHECKPOINT_S": self._checkpoint_s,
                "AGGREGATOR_BARS": "1s,1m,5m,15m,1h,1d,100t,5000v",
                # The last trades count after so long.
                "AGGREGATOR_BAR_GRACE_S": "0.5",
                **self._shim.env,
            },
            "ingest": {
                "INGEST_PORT": str(self._ingest_port),
                "INGEST_AGGREGATOR": self.batches.address,
            },
            "gateway": {
                "GATEWAY_PORT": "0",
                "GATEWAY_AGGREGATOR": self.watch.address,
                "GATEWAY_RATE_LIMIT": "0",
            },
        }
        services = INSIDE.get(name, (name,))
        env = {key: value for each in services for key, value in settings[each].items()}
        stack = self._running[name] = contextlib.AsyncExitStack()
        shell = {key: value for key, value in os.environ.items() if not key.startswith(SETTINGS)}
        env = {**shell, **{f"{each.upper()}_LOG_FORMAT": "json" for each in services}, **env}
        service = await stack.enter_async_context(self._templates[name].run(env))
        self._services[name] = service
        port = await service.wait_for_port()
        if name == "standalone":
            await service.wait_for_log("standalone_ready")
        return port

    async def _restart(
        self, name: str, number: signal.Signals, pause_s: float, *, tear: bool = False
    ) -> None:
        async with self._restarting[name]:
            code = await self._services[name].stop(number)
            if number == signal.SIGTERM and code != 0:
                raise AssertionError(f"{name} exited {code}: {self._services[name].logs[-5:]}")
            await self._running.pop(name).aclose()
            if tear and self._fsync:
                newest = max((self._log / "ticks").glob("*.log"))
                with newest.open("ab") as file:
                    file.write(os.urandom(_HALF_A_RECORD))
            await asyncio.sleep(pause_s)
            await self._start(name)

    async def _freeze(self, name: str, seconds: float) -> None:
        process = self._services[name].process
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    async def _fill_disk(self, seconds: float) -> None:
        # A file of its own: two such faults may overlap.
        with tempfile.NamedTemporaryFile(dir=self._log, buffering=0) as filler:
            with contextlib.suppress(OSError):
                while True:
                    filler.write(bytes(64 * 1024))
            await asyncio.sleep(seconds)

    async def _stop_all(self) -> None:
        for stack in self._running.values():
            await stack.aclose()

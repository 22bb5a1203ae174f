"""Run one service as several processes.

:func:`start_worker` and :func:`this_worker` are the two ends; a :class:`Supervisor` has workers
that need nothing of each other, on one port.

It binds a socket per worker to the same address (``SO_REUSEPORT``: the kernel spreads the
connections) and keeps them, so that what connects while a worker is replaced waits in its queue.
One queue for all would let an idle worker take what a busy one cannot, but asyncio takes all that
wait whenever it wakes: of 400 connections that came while two workers were busy, four times over,
one worker got 400, 400, 381 and 224. With a queue each they got 190 to 210 each time, and clients
that stay for hours matter more here than those that wait for a moment.
A worker that dies is replaced; one that cannot even start ends the whole, since the next could not
either. When the parent is gone, its workers stop as if they had been told to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain

import structlog

from marketdata.addresses import check_address, listen_error

log = structlog.get_logger()

# What a worker is told: its number, the socket to its parent, how many descriptors of the service's
# own follow, those, and the sockets to listen on.
VARIABLE = "MARKETDATA_WORKER"
# A worker that dies again and again is not restarted faster than this.
RESTART_DELAY_S = 0.5
# Over the service's own deadline; what runs longer is killed.
STOP_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Worker:
    """What a process knows that is one of several."""

    number: int
    #: Where to listen.
    sockets: tuple[socket.socket, ...]
    parent: socket.socket
    #: Descriptors that the service gave to this one.
    extra: tuple[int, ...] = ()
    _all_ready: asyncio.Event = field(default_factory=asyncio.Event)

    def tell_ready(self) -> None:
        """Tell the parent that this worker serves, or would if it was let to."""
        with suppress(OSError):
            self.parent.send(b"\n")

    def stop_with_parent(self, stop: asyncio.Event) -> None:
        """Set ``stop`` when the parent is gone."""
        loop = asyncio.get_running_loop()

        def notice() -> None:
            told = b""
            with suppress(OSError):
                told = self.parent.recv(1)
            if told:
                self._all_ready.set()
                return
            loop.remove_reader(self.parent)
            stop.set()

        loop.add_reader(self.parent, notice)

    async def wait_for_all(self, stop: asyncio.Event) -> None:
        """Return when all workers said that they are ready, or ``stop`` is set.

        Needs :meth:`stop_with_parent`. One that replaces another does not wait.
        """
        waits = [asyncio.create_task(event.wait()) for event in (self._all_ready, stop)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def close(self) -> None:
        """Close the socket to the parent."""
        asyncio.get_running_loop().remove_reader(self.parent)
        self.parent.close()


def this_worker() -> Worker | None:
    """Return what this process was told as a worker, or None if it is none."""
    told = os.environ.get(VARIABLE)
    if told is None:
        return None
    number, parent, extras, *rest = map(int, told.split(","))
    return Worker(
        number,
        tuple(socket.socket(fileno=each) for each in rest[extras:]),
        socket.socket(fileno=parent),
        tuple(rest[:extras]),
    )


def is_worker() -> bool:
    """Whether this process is one of several."""
    return VARIABLE in os.environ


def share_address(host: str, port: int, count: int) -> list[list[socket.socket]]:
    """Return ``count`` lists of sockets, each bound to the same addresses.

    Raises:
        AddressInUse: the address is taken.
        StartError: the address is not one of this machine.
    """
    # Sockets that share would share with those of another server, too.
    check_address(host, port)
    groups: list[list[socket.socket]] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for _ in range(count):
            group: list[socket.socket] = []
            groups.append(group)
            for family, kind, protocol, _, (name, _, *rest) in found:
                sock = socket.socket(family, kind, protocol)
                group.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind((name, port, *rest))
                # The first that is bound to "any free" chooses for all.
                port = sock.getsockname()[1]
    except OSError as exc:
        for sock in chain.from_iterable(groups):
            sock.close()
        raise listen_error(host, port, exc) from exc
    return groups


async def start_worker(
    module: str,
    number: int,
    sockets: Iterable[socket.socket] = (),
    extra: Sequence[int] = (),
) -> tuple[asyncio.subprocess.Process, socket.socket]:
    """Start ``python -m module`` as a worker; return it with our end of the socket to it.

    Args:
        module: the service.
        number: the worker's.
        sockets: where it is to listen.
        extra: descriptors of the service's own.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    descriptors = [theirs.fileno(), *extra, *(sock.fileno() for sock in sockets)]
    told = (number, theirs.fileno(), len(extra), *descriptors[1:])
    with theirs:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module),
            env={**os.environ, VARIABLE: ",".join(map(str, told))},
            pass_fds=descriptors,
        )
    return process, ours


class Supervisor:
    """Keep the workers of one service running until told to stop.

    Args:
        module: what runs as ``python -m module``.
        stop: set from outside to stop all, in order.
        stop_timeout_s: how long a worker may take to stop before it is killed.
        extra: descriptors for each worker, by its number.
        on_end: called with the number of a worker whose process ended.
    """

    def __init__(
        self,
        module: str,
        stop: asyncio.Event,
        stop_timeout_s: float,
        extra: Sequence[Sequence[int]] = (),
        on_end: Callable[[int], None] | None = None,
    ) -> None:
        self._module = module
        self._stop = stop
        self._stop_timeout_s = stop_timeout_s
        self._extra = extra
        self._on_end = on_end
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        # Our ends of the sockets to those that are ready.
        self._ready: dict[int, socket.socket] = {}
        self._all_ready = False
        self._code = 0

    async def run(self, host: str, port: int, count: int) -> int:
        """Run ``count`` workers; return the exit code, the worst of theirs.

        Raises:
            AddressInUse: the address is taken.
            StartError: the address is not one of this machine.
        """
        groups = share_address(host, port, count)
        port = groups[0][0].getsockname()[1]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._start(tasks, groups, address))
                await self._stop.wait()
                await self._stop_all()
        finally:
            for sock in chain.from_iterable(groups):
                sock.close()
        log.info(f"{self._module} stopped", workers=count, code=self._code)
        return self._code

    async def _start(
        self, tasks: asyncio.TaskGroup, groups: list[list[socket.socket]], address: str
    ) -> None:
        # The first alone: what can only be wrong for all is said once, and what must be compiled
        # is compiled once.
        settled = [asyncio.Event() for _ in groups]
        for number, group in enumerate(groups):
            tasks.create_task(self._keep(number, group, settled[number]))
            await settled[0].wait()
            if self._stop.is_set():
                return
        for event in settled:
            await event.wait()
        if not self._stop.is_set():
            for sock in chain.from_iterable(groups):
                # A worker that waited for the others finds in its queue who connects from now on.
                sock.listen(socket.SOMAXCONN)
            self._all_ready = True
            for ours in self._ready.values():
                _tell(ours)
            log.info(f"{self._module} listening", address=address, workers=len(groups))

    async def _keep(
        self, number: int, sockets: Sequence[socket.socket], settled: asyncio.Event
    ) -> None:
        # ``settled``: it serves, or never will.
        while not self._stop.is_set():
            code, served = await self._run_once(number, sockets, settled)
            if self._stop.is_set():
                # One that had only begun to start did not yet take the signal as a request.
                if served or code != -signal.SIGTERM:
                    self._code = max(self._code, abs(code))
            elif not served:
                log.error("worker cannot start, so all stop", number=number, code=code)
                self._code = max(self._code, abs(code), 1)
                self._stop.set()
            else:
                log.error("worker died, starting another", number=number, code=code)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), RESTART_DELAY_S)
        settled.set()

    async def _run_once(
        self, number: int, sockets: Sequence[socket.socket], settled: asyncio.Event
    ) -> tuple[int, bool]:
        # Returns when the process has ended: its exit code, and whether it ever served.
        extra = self._extra[number] if self._extra else ()
        process, ours = await start_worker(self._module, number, sockets, extra)
        with ours:
            self._processes[number] = process
            if self._stop.is_set():
                # It was on its way when all the others were told.
                _terminate(process)
            # The end of the stream comes if it ends before it serves.
            served = bool(await asyncio.get_running_loop().sock_recv(ours, 1))
            if served:
                self._ready[number] = ours
                if self._all_ready:
                    _tell(ours)
                settled.set()
            code = await process.wait()
            self._ready.pop(number, None)
        del self._processes[number]
        if self._on_end is not None:
            self._on_end(number)
        return code, served

    async def _stop_all(self) -> None:
        running = dict(self._processes)
        for process in running.values():
            _terminate(process)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._stop_timeout_s):
                await asyncio.gather(*(process.wait() for process in running.values()))
        for number, process in running.items():
            if process.returncode is None:
                log.error("worker does not stop, killing it", number=number)
                process.kill()


def _tell(ours: socket.socket) -> None:
    with suppress(OSError):
        ours.send(b"\n")


def _terminate(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()


async def supervise(
    module: str,
    host: str,
    port: int,
    *,
    workers: int,
    stop: asyncio.Event,
    stop_deadline_s: float,
    extra: Sequence[Sequence[int]] = (),
    on_end: Callable[[int], None] | None = None,
) -> int:
    """Run several processes of ``python -m module`` until ``stop``; return the exit code.

    Args:
        module: the service; each of its processes looks at :func:`this_worker`.
        host: where to listen.
        port: where to listen, 0: any free.
        workers: how many processes.
        stop: set from outside.
        stop_deadline_s: how long the service gives itself to stop.
        extra: descriptors for each worker, by its number.
        on_end: called with the number of a worker whose process ended.

    Raises:
        AddressInUse: the address is taken.
        StartError: the address is not one of this machine.
    """
    supervisor = Supervisor(module, stop, stop_deadline_s + STOP_MARGIN_S, extra, on_end)
    return await supervisor.run(host, port, workers)

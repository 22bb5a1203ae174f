"""Start services as forks of a process that has loaded them; each is a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from typing import cast

from tests.doubles.processes import Service, bound

_MAX_MESSAGE = 65_536


class Fork:
    """One running service, with what :class:`Service` needs of a process."""

    def __init__(self, pid: int, stderr: asyncio.StreamReader) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    def note_end(self, code: int) -> None:
        """Note that it ended."""
        self.returncode = code
        self._ended.set()

    async def wait(self) -> int:
        """Wait for its end and return the exit code."""
        await self._ended.wait()
        return cast(int, self.returncode)

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Template:
    """A process that has loaded one service."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._forks: dict[int, Fork] = {}
        self._started: asyncio.Queue[int] = asyncio.Queue(1)
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def run(self, env: Mapping[str, str]) -> AsyncIterator[Service]:
        """Run the service with this environment; kill it at the end of the context."""
        theirs, ours = _pipe()
        try:
            async with self._turn:
                data = json.dumps(dict(env)).encode()
                socket.send_fds(self._connection, [data], [theirs])
                pid = await self._started.get()
        finally:
            os.close(theirs)
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb")
        )
        fork = self._forks[pid] = Fork(pid, reader)
        service = Service(cast(asyncio.subprocess.Process, fork))
        try:
            yield service
        finally:
            await service.kill()
            del self._forks[pid]

    async def listen(self) -> None:
        """Hear of forks that started and ended, until the process is gone."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._connection, _MAX_MESSAGE):
            message = json.loads(data)
            if "code" not in message:
                self._started.put_nowait(message["pid"])
            elif message["pid"] in self._forks:
                self._forks[message["pid"]].note_end(message["code"])


@contextlib.asynccontextmanager
async def load_template(name: str, env: Mapping[str, str]) -> AsyncIterator[Template]:
    """Load a service in a process with this environment, for the time of the context."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    number = theirs.fileno()
    process = await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-m", "tests.faults.template", name, str(number)),
        env={**os.environ, **env},
        pass_fds=[number],
    )
    theirs.close()
    template = Template(ours)
    listening = asyncio.create_task(template.listen())
    try:
        yield template
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        ours.close()
        # Its forks are gone with it.
        process.kill()
        await process.wait()


def _pipe() -> tuple[int, int]:
    # Returns the end for the fork, and ours.
    ours, theirs = os.pipe()
    return theirs, ours

"""A real server that keeps what it is sent, and the program under test as a real process."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from marketdata.errors import WireError
from marketdata.wire.market_data_pb2 import Tick
from tests.doubles.frame_decoder import FrameDecoder
from tests.doubles.processes import bound

ROOT = Path(__file__).parents[3]
# Generous: the test machine is shared.
TIMEOUT_S = 90.0


@dataclass(eq=False)
class Received:
    """What came over one connection."""

    payloads: list[bytes] = field(default_factory=list)
    failure: WireError | None = None
    ended_inside_a_frame: bool = False


class Recorder:
    """Speak v1 framing as ingest does: close after a violation, keep what came before it."""

    def __init__(self) -> None:
        self.connections: list[Received] = []
        self.port = 0
        self._reading = asyncio.Event()
        self._reading.set()
        self._changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def payloads(self) -> list[bytes]:
        return [payload for received in self.connections for payload in received.payloads]

    @property
    def ticks(self) -> list[Tick]:
        return [Tick.FromString(payload) for payload in self.payloads]

    async def listen(self) -> None:
        self._server = await asyncio.start_server(self._receive, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def drop(self) -> None:
        """Be gone: stop listening and cut every connection."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self.wait_until(lambda: not self._writers)

    def stop_reading(self) -> None:
        self._reading.clear()

    async def wait_until(self, predicate: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_S), self._changed:
            await self._changed.wait_for(predicate)

    async def _receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received, decoder = Received(), FrameDecoder()
        self.connections.append(received)
        self._writers.add(writer)
        try:
            while decoder.failure is None:
                await self._reading.wait()
                if not (data := await reader.read(65536)):
                    break
                received.payloads += decoder.receive_data(data)
                await self._notify()
        except OSError:
            pass
        finally:
            received.failure = decoder.failure
            received.ended_inside_a_frame = decoder.has_partial_frame
            self._writers.discard(writer)
            writer.close()
            await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    server = Recorder()
    await server.listen()
    try:
        yield server
    finally:
        server._reading.set()
        await server.drop()


@dataclass
class Result:
    """How the program ended."""

    code: int
    lines: list[str]
    errors: str

    @property
    def summary(self) -> str:
        (line,) = [line for line in self.lines if " ticks in " in line and line.startswith("sent")]
        return line

    @property
    def sent(self) -> int:
        return int(self.summary.split()[1].replace(",", ""))

    @property
    def seconds(self) -> float:
        return float(self.summary.split()[4].replace(",", ""))


class Fakeclient:
    """``python -m fakeclient`` while it runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._lines: list[str] = []

    async def line_with(self, text: str) -> str:
        """Read standard output up to the next line that contains ``text``."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT_S):
            async for raw in self.process.stdout:
                self._lines.append(raw.decode().rstrip("\n"))
                if text in self._lines[-1]:
                    return self._lines[-1]
        raise AssertionError(f"no line with {text!r} in {self._lines}")

    async def end(self, timeout_s: float = TIMEOUT_S) -> Result:
        """Wait for its end."""
        async with asyncio.timeout(timeout_s):
            out, errors = await self.process.communicate()
        assert self.process.returncode is not None
        return Result(
            self.process.returncode, self._lines + out.decode().splitlines(), errors.decode()
        )


@asynccontextmanager
async def started(*options: object, **variables: str) -> AsyncIterator[Fakeclient]:
    """Start the program; FAKECLIENT_ variables are given without their prefix."""
    env = {name: value for name, value in os.environ.items() if "FAKECLIENT_" not in name}
    env |= {f"FAKECLIENT_{name}": value for name, value in variables.items()}
    process = await asyncio.create_subprocess_exec(
        *bound(sys.executable, "-W", "error", "-m", "fakeclient", *map(str, options)),
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Fakeclient(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def fakeclient(*options: object, **variables: str) -> Result:
    """Run the program to its end."""
    async with started(*options, **variables) as program:
        return await program.end()

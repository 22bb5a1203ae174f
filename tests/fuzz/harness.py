"""Run the services, send them cases, and see that nothing breaks and nothing stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import grpc
import psutil

from marketdata.channel import client_options
from tests.doubles.processes import Service, run_service
from tests.fuzz.answers import RPC_CODES, undocumented
from tests.fuzz.cases import Case, handshake, make_case
from tests.fuzz.control import Control

BATCH = 360
PARALLEL = 60
# A connection that says nothing for so long has said what it had to say; one that never stops is
# left after the second.
QUIET_S = 0.25
CASE_S = 1.0
# What may stay after the end: a descriptor of a library, and a connection just being made.
SPARE_FDS = 3
# Caches, fragmentation and what the bounded settings below may hold.
MAX_GROWTH_BYTES = 96 * 1024 * 1024
# A SockJS session that nobody asks for lives 5 s, one that was never told CONNECT 10 s.
SETTLE_S = 20.0
STREAMS, PRODUCERS, CLIENTS = 300, 300, 800


class Broken(AssertionError):
    """What was seen that no page of the documentation allows."""


class Fuzz:
    """The running services with their control clients."""

    def __init__(self, services: dict[str, Service], ports: dict[str, int]) -> None:
        self.services, self.ports = services, ports
        self.sent: Counter[str] = Counter()
        self.control = Control(ports["ingest"], ports["aggregator"], ports["gateway"])
        self._read = dict.fromkeys(services, 0)
        self._slots = asyncio.Semaphore(PARALLEL)
        self._fds: dict[str, int] = {}
        self._memory: dict[str, int] = {}

    async def run(self, seed: int, first: int, count: int) -> None:
        """Send cases, a batch at a time, and check after each.

        Raises:
            Broken: with the seed and the cases that did it.
        """
        for start in range(first, first + count, BATCH):
            end = min(start + BATCH, first + count)
            try:
                sending = (self._send(seed, index) for index in range(start, end))
                ended = await asyncio.gather(*sending, return_exceptions=True)
                self.check_logs()
                if failures := [exc for exc in ended if exc is not None]:
                    raise failures[0]  # noqa: TRY301  one place says how to do it again
                await self.control.check()
            except Exception as exc:
                again = f"python -m tests.fuzz --seed {seed} --first {start} --count {end - start}"
                raise Broken(f"{exc}\nagain: {again}") from exc

    def check_logs(self) -> None:
        """Look at what the services logged since the last time.

        Raises:
            Broken: a line is an error, has a traceback, or is not JSON.
        """
        for name, service in self.services.items():
            lines, self._read[name] = service.logs[self._read[name] :], len(service.logs)
            for line in lines:
                if is_failure(line):
                    raise Broken(f"{name} logged {line}")
            if service.process.returncode is not None:
                raise Broken(f"{name} ended with {service.process.returncode}")

    def mark(self) -> None:
        """Take sockets and memory as they are now for the baseline."""
        for name, process in self._processes():
            self._fds[name] = process.num_fds()
            self._memory[name] = process.memory_info().rss

    async def check_leaks(self) -> None:
        """Wait until everything that clients took is given back.

        Raises:
            Broken: sockets, memory or places for clients are not back.
        """
        for _ in range(int(SETTLE_S * 10)):
            over = {
                name: (process.num_fds(), self._fds[name])
                for name, process in self._processes()
                if process.num_fds() > self._fds[name] + SPARE_FDS
            }
            if not over:
                break
            await asyncio.sleep(0.1)
        else:
            raise Broken(f"open files now and before: {over}")
        for name, process in self._processes():
            grown = process.memory_info().rss - self._memory[name]
            if grown > MAX_GROWTH_BYTES:
                raise Broken(f"{name} grew by {grown:,} bytes")
        await self._fill_places()

    async def stop(self) -> None:
        """Stop the services as an operator does.

        Raises:
            Broken: one does not end well.
        """
        for name in ("gateway", "ingest", "aggregator"):
            code = await self.services[name].stop()
            if code != 0:
                raise Broken(f"{name} ended with {code}: {self.services[name].logs[-3:]}")
        for name, service in self.services.items():
            for line in service.logs[self._read[name] :]:
                if is_failure(line):
                    raise Broken(f"{name} logged {line}")

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        return [(name, psutil.Process(each.process.pid)) for name, each in self.services.items()]

    async def _send(self, seed: int, index: int) -> None:
        async with self._slots:
            case = make_case(seed, index)
            self.sent[case.endpoint] += 1
            if case.rpc:
                wrong = await self._call(case)
            else:
                received = await exchange(self.ports[case.service], case.chunks)
                wrong = None
                if case.service == "gateway":
                    wrong = undocumented(b"".join(case.chunks), received)
                elif case.service == "ingest" and received:
                    wrong = f"ingest answered {received[:100]!r}"
            if wrong:
                raise Broken(f"{wrong}\nseed {seed}, index {index}, {case.endpoint}: {shown(case)}")

    async def _call(self, case: Case) -> str | None:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{self.ports['aggregator']}", options=client_options()
        ) as channel:
            method: Any = channel.stream_stream(case.rpc)
            call = method(iter(case.chunks))
            try:
                async with asyncio.timeout(QUIET_S):
                    async for _ in call:
                        pass
            except TimeoutError:
                call.cancel()
            except grpc.aio.AioRpcError as exc:
                # The library's own word when the server ends a call while we write to it.
                unknown = exc.details() == "Internal error from Core"
                if exc.code() not in RPC_CODES and not unknown:
                    return f"{exc.code()} {exc.details()}"
        return None

    async def _fill_places(self) -> None:
        """Take nearly all places there are: those of clients that are gone must be free again."""
        hello = handshake_of(0)
        async with asyncio.timeout(SETTLE_S), contextlib.AsyncExitStack() as stack:
            for _ in range(CLIENTS - 50):
                answer = await self._place(stack, hello)
                while b" 503 " in answer:
                    # Sessions of SockJS are given up after 5 s.
                    await asyncio.sleep(0.1)
                    answer = await self._place(stack, hello)
                if b" 101 " not in answer:
                    raise Broken(f"a place for a client is gone: {answer!r}")

    async def _place(self, stack: contextlib.AsyncExitStack, hello: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports["gateway"])
        stack.callback(writer.close)
        writer.write(hello)
        return await reader.readuntil(b"\r\n")


def is_failure(line: dict[str, Any]) -> bool:
    """Say whether a line of a log is one that no input may cause."""
    return (
        line.get("level") not in {"debug", "info", "warning"}
        or "exc_info" in line
        or "exception" in line
        or "Traceback" in str(line)
    )


def handshake_of(number: int) -> bytes:
    """Return a handshake of a client that takes a place and sends nothing."""
    for attempt in itertools.count(number):
        data = handshake(Random(attempt), b"/ws/marketdata?symbol=NIX")
        if data.startswith(b"GET /ws/marketdata?symbol=NIX HTTP/1.1\r\n") and data.endswith(
            b"13\r\n\r\n"
        ):
            return data
    raise AssertionError("unreachable")


def shown(case: Case) -> str:
    """Return a case for people."""
    return (
        f"{case.rpc} {[each if len(each) < 3000 else each[:3000] + b'...' for each in case.chunks]}"
    )


async def exchange(port: int, chunks: Sequence[bytes]) -> bytes:
    """Send the bytes of one connection; return what came back until it was quiet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()
    answered = asyncio.Event()

    async def read() -> None:
        with contextlib.suppress(TimeoutError, ConnectionError):
            while data := await asyncio.wait_for(reader.read(65536), QUIET_S):
                received.extend(data)
                answered.set()
            answered.set()

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            for number, chunk in enumerate(chunks):
                if number == 1 and b"Upgrade: websocket" in chunks[0]:
                    # What comes with a handshake is not read.
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(answered.wait(), QUIET_S)
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(0)

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CASE_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(read())
                tasks.create_task(write())
    finally:
        writer.transport.abort()
    return bytes(received)


@contextlib.asynccontextmanager
async def fuzzing() -> AsyncIterator[Fuzz]:
    """Run the services with small bounds, so that what should be bounded is seen to be."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(module: str, **env: str) -> tuple[Service, int]:
            given = {f"{module.upper()}_{name}": value for name, value in env.items()}
            service = await stack.enter_async_context(run_service(module, {**given}))
            return service, await service.wait_for_port()

        aggregator, aggregator_port = await start(
            "aggregator",
            PORT="0",
            MAX_SYMBOLS="2000",
            MAX_PRODUCERS="500",
            MAX_STREAMS=str(STREAMS),
        )
        address = f"127.0.0.1:{aggregator_port}"
        ingest, ingest_port = await start(
            "ingest", PORT="0", AGGREGATOR=address, MAX_CONNECTIONS=str(PRODUCERS)
        )
        gateway, gateway_port = await start(
            "gateway",
            PORT="0",
            AGGREGATOR=address,
            RATE_LIMIT="0",
            MAX_CONNECTIONS=str(CLIENTS),
            RESUME_WINDOW_S="2",
            RESUME_UPDATES="4096",
        )
        fuzz = Fuzz(
            {"aggregator": aggregator, "ingest": ingest, "gateway": gateway},
            {"aggregator": aggregator_port, "ingest": ingest_port, "gateway": gateway_port},
        )
        async with fuzz.control.watching():
            await fuzz.control.check()
            yield fuzz
        await fuzz.stop()

"""Measure NATS, where it is installed: the same ticks, published one by one, one subscriber.

NATS neither parses the ticks nor adds them up; it only routes each to its subscribers.
"""

from __future__ import annotations

import asyncio
import re
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np

from benchmarks.frames import Market, Ticks
from benchmarks.harness import CpuMeter, Service, WrongResult, cpu_note
from benchmarks.limits import READ_SIZE, MachineLimits
from benchmarks.report import Line, Outcome
from marketdata.timestamps import NS_PER_S

START_S = 10.0
TIMEOUT_S = 120.0
CONFIG = """
listen: "127.0.0.1:-1"
ports_file_dir: "{folder}"
max_pending: 2GB
write_deadline: "60s"
"""
SUBJECT = "md"
CONNECT = b'CONNECT {"verbose":false,"pedantic":false}\r\n'


@asynccontextmanager
async def run_nats(program: str, config: str = "") -> AsyncIterator[Service]:
    """Run a server on a free port, with more lines of configuration."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nats.conf"
        file.write_text(CONFIG.format(folder=folder) + config)
        process = await asyncio.create_subprocess_exec(
            *(program, "-c", str(file)), stderr=asyncio.subprocess.PIPE
        )
        assert process.stderr is not None
        try:
            async with asyncio.timeout(START_S):
                port = 0
                async for line in process.stderr:
                    if found := re.search(rb"client connections on 127\.0\.0\.1:(\d+)", line):
                        port = int(found[1])
                    if b"Server is ready" in line:
                        break
            if not port:
                raise RuntimeError("NATS did not start")
            yield Service(process.pid, port)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


def connect(port: int) -> socket.socket:
    """Return a connection that has said hello."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.recv(READ_SIZE)
    sock.sendall(CONNECT + b"PING\r\n")
    while b"PONG" not in sock.recv(READ_SIZE):
        pass
    return sock


def to_commands(market: Market, ticks: Ticks) -> tuple[bytes, int]:
    """Return a PUB for each tick, and how many bytes they are for a subscriber, as MSG."""
    frames = market.writer.write(ticks)
    pieces, position, received = [], 0, 0
    heads = [f"PUB {SUBJECT}.{s} ".encode() for s in market.symbols]
    for number in ticks.chosen.tolist():
        size = frames[position + 3]
        payload = frames[position + 4 : position + 4 + size]
        position += 4 + size
        pieces += [heads[number], b"%d\r\n" % size, payload, b"\r\n"]
        # "MSG subject sid size" is two longer than "PUB subject size".
        received += len(heads[number]) + 2 + len(str(size)) + 2 + size + 2
    return b"".join(pieces), received


class Subscriber(threading.Thread):
    """Read as many bytes as are expected."""

    def __init__(self, port: int, expected: int) -> None:
        super().__init__()
        self.sock = connect(port)
        self.sock.sendall(f"SUB {SUBJECT}.> 1\r\nPING\r\n".encode())
        while b"PONG" not in self.sock.recv(READ_SIZE):
            pass
        self.sock.settimeout(TIMEOUT_S)
        self.taken = 0
        self.finished = 0.0
        self._expected = expected

    def run(self) -> None:
        """Read all of it."""
        buffer = bytearray(READ_SIZE)
        with suppress(TimeoutError):
            while self.taken < self._expected and (size := self.sock.recv_into(buffer)):
                self.taken += size
        self.finished = time.perf_counter()


def measure_connections(service: Service, connections: int, ticks: int) -> dict[str, Any]:
    """Publish over so many connections; return the cost until the subscriber has all.

    Raises:
        WrongResult: the subscriber got fewer or more bytes.
    """
    market = Market(500, connections)
    parts = market.ticks(ticks, time.time_ns() - NS_PER_S, 10_000_000)
    prepared = [to_commands(market, part) for part in parts]
    subscriber = Subscriber(service.port, sum(received for _, received in prepared))
    socks = [connect(service.port) for _ in parts]
    meter = CpuMeter(nats=service)
    began = time.perf_counter()
    subscriber.start()
    with ThreadPoolExecutor(connections) as pool:
        for sock, (commands, _) in zip(socks, prepared, strict=True):
            pool.submit(sock.sendall, commands)
        subscriber.join()
    _, cpu_s = meter.stop()
    seconds = subscriber.finished - began
    # NATS pings clients that are silent for minutes; nothing else may have come.
    if subscriber.taken != sum(received for _, received in prepared):
        raise WrongResult(f"{subscriber.taken} bytes came through NATS")
    for sock in (*socks, subscriber.sock):
        sock.close()
    count = int(np.sum([len(part) for part in parts]))
    return {
        "connections": connections,
        "ticks": count,
        "ticks_per_s": count / seconds,
        "cpu": {name: used / seconds for name, used in cpu_s.items()},
        "bytes_per_tick": sum(len(commands) for commands, _ in prepared) / count,
    }


def find_program() -> str | None:
    """Return the server's path; Debian installs it where an ordinary user does not look."""
    return which("nats-server") or which("nats-server", path="/usr/sbin")


def is_installed() -> bool:
    """Whether it can be run here."""
    return find_program() is not None


async def measure(limits: MachineLimits, *, full: bool) -> Outcome:
    """Measure it where it is installed."""
    program = find_program()
    if program is None:
        return Outcome([], {}, skipped="NATS is not installed (Debian: nats-server)")
    found = []
    async with run_nats(program) as service:
        for connections in (1, 10):
            ticks = 2_000_000 if full else 50_000
            found.append(await asyncio.to_thread(measure_connections, service, connections, ticks))
    lines = []
    for each in found:
        connections = each["connections"]
        limit = limits.loopback_bytes_per_s / each["bytes_per_tick"]
        what = f"ticks to one subscriber, 500 symbols, {connections} connections"
        lines.append(
            Line(
                f"nats/{connections}",
                what if connections > 1 else what.removesuffix("s"),
                each["ticks_per_s"],
                "ticks/s",
                limit,
                "loopback",
                note=cpu_note(each["cpu"]),
                peer="NATS",
            )
        )
    return Outcome(lines, {"connections": found})

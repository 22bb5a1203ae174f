"""Measure the physical limits of this machine, which the results are compared with."""

from __future__ import annotations

import multiprocessing
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.harness import WrongResult
from benchmarks.report import Line, Outcome

READ_SIZE = 1024 * 1024
# As large as a delivery on the wire: the head and the state of one symbol.
MESSAGE = bytes(400)
GET = bytes(120)
# Connections that get them in turn, as clients do.
SENT_TO = 100


@dataclass(frozen=True, slots=True)
class MachineLimits:
    """Bytes, calls and round trips per second, on one core each."""

    memcpy_bytes_per_s: float
    loopback_bytes_per_s: float
    # The same, per second of the sender's CPU.
    loopback_bytes_per_cpu_s: float
    # Calls with MESSAGE each, to many connections in turn, per second of CPU.
    sends_per_cpu_s: float
    round_trips_per_s: float

    @property
    def one_way_ms(self) -> float:
        """How long a few bytes take from one process to another."""
        return 500 / self.round_trips_per_s


def _drain(socks: list[socket.socket], said: Connection) -> None:
    buffer = bytearray(READ_SIZE)
    taken = 0
    with selectors.DefaultSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ, sock)
        while selector.get_map():
            for key, _ in selector.select():
                size = key.data.recv_into(buffer)
                taken += size
                if not size:
                    selector.unregister(key.fileobj)
    said.send(taken)


def _echo(socks: list[socket.socket], said: Connection) -> None:
    (sock,) = socks
    while data := sock.recv(READ_SIZE):
        sock.sendall(data)
    said.send(0)


@contextmanager
def other_end(
    run: Callable[[list[socket.socket], Connection], None], count: int = 1
) -> Iterator[tuple[list[socket.socket], Connection]]:
    """Run ``run`` on loopback connections in a process; give our ends and a pipe from it."""
    context = multiprocessing.get_context("spawn")
    hears, says = context.Pipe(duplex=False)
    ours, theirs = [], []
    with socket.create_server(("127.0.0.1", 0)) as server:
        for _ in range(count):
            ours.append(socket.create_connection(server.getsockname()))
            ours[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            theirs.append(server.accept()[0])
    process = context.Process(target=run, args=(theirs, says), daemon=True)
    process.start()
    for sock in theirs:
        sock.close()
    says.close()
    try:
        yield ours, hears
    finally:
        for sock in ours:
            sock.close()
        process.join()
        process.close()
        hears.close()


def measure_memcpy(repeats: int) -> float:
    """Return how many bytes per second are copied, out of and into main memory."""
    # Larger than any cache.
    source = np.ones(256 * 1024 * 1024, np.uint8)
    target = np.empty_like(source)
    np.copyto(target, source)
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        np.copyto(target, source)
        taken.append(time.perf_counter() - began)
    return source.size / min(taken)


def measure_loopback(size: int) -> tuple[float, float]:
    """Return how many bytes per second go through one connection, and per second of CPU."""
    data = memoryview(bytes(READ_SIZE))
    with other_end(_drain) as ([sock], hears):
        # Until it has started.
        sock.sendall(data)
        sock.sendall(data)
        began, used = time.perf_counter(), time.thread_time()
        for _ in range(size // READ_SIZE):
            sock.sendall(data)
        used = time.thread_time() - used
        sock.shutdown(socket.SHUT_WR)
        # The other end reports when it has read everything.
        taken = hears.recv()
        seconds = time.perf_counter() - began
    if taken != size // READ_SIZE * READ_SIZE + 2 * READ_SIZE:
        raise WrongResult(f"{taken} bytes came through the loopback")
    return size / seconds, size / used


def measure_sends(count: int) -> float:
    """Return how many messages a process can send in a second of its CPU."""
    with other_end(_drain, SENT_TO) as (socks, hears):
        began = time.thread_time()
        for _ in range(count // SENT_TO):
            for sock in socks:
                sock.send(MESSAGE)
        used = time.thread_time() - began
        for sock in socks:
            sock.shutdown(socket.SHUT_WR)
        if (taken := hears.recv()) != count // SENT_TO * SENT_TO * len(MESSAGE):
            raise WrongResult(f"{taken} bytes came through the loopback")
    return count / used


def measure_round_trips(count: int) -> float:
    """Return how many times per second a few bytes go to another process and back."""
    with other_end(_echo) as ([sock], _):
        for index in range(count + 100):
            if index == 100:
                began = time.perf_counter()
            sock.sendall(GET)
            sock.recv(READ_SIZE)
        seconds = time.perf_counter() - began
        sock.shutdown(socket.SHUT_WR)
    return count / seconds


def measure(*, full: bool) -> tuple[MachineLimits, Outcome]:
    """Measure all of them."""
    per_s, per_cpu_s = measure_loopback(4_000_000_000 if full else 200_000_000)
    limits = MachineLimits(
        memcpy_bytes_per_s=measure_memcpy(5 if full else 2),
        loopback_bytes_per_s=per_s,
        loopback_bytes_per_cpu_s=per_cpu_s,
        sends_per_cpu_s=measure_sends(500_000 if full else 20_000),
        round_trips_per_s=measure_round_trips(50_000 if full else 2_000),
    )
    lines = [
        Line("limit/memcpy", "memcpy", limits.memcpy_bytes_per_s / 1e9, "GB/s"),
        Line(
            "limit/loopback",
            "TCP loopback, one connection",
            limits.loopback_bytes_per_s / 1e9,
            "GB/s",
            note=f"{limits.loopback_bytes_per_cpu_s / 1e9:.2f} GB per s of the sender's CPU",
        ),
        Line(
            "limit/sends",
            f"send() of {len(MESSAGE)} bytes, to {SENT_TO} connections in turn",
            limits.sends_per_cpu_s,
            "per s of CPU",
        ),
        Line(
            "limit/round-trips",
            "there and back between two processes",
            limits.round_trips_per_s,
            "per s",
        ),
    ]
    return limits, Outcome(lines, asdict(limits))

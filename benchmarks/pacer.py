"""Run a producer that sends each tick when it is due, in a process of its own."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from benchmarks.latencies import Latencies
from marketdata.framing import encode_frame
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick


class Sent:
    """When each tick of a run was sent; the symbols take turns."""

    def __init__(self, symbols: Sequence[str], times: NDArray[np.int64], behind: Latencies) -> None:
        self.symbols = symbols
        self.times = times
        # How much later than due each was sent.
        self.behind = behind

    def rate(self) -> float:
        """Return how many ticks per second were sent: fewer where the services take no more."""
        return len(self.times) * NS_PER_S / max(1, int(self.times[-1] - self.times[0]))

    def of(self, number: int) -> NDArray[np.int64]:
        """Return the times of the ticks of one symbol."""
        return self.times[number :: len(self.symbols)]


def _run(port: int, symbols: Sequence[str], orders: Connection) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        orders.send(None)
        # The parent may have failed.
        with suppress(EOFError):
            while (order := orders.recv()) is not None:
                orders.send(_send(sock, symbols, *order))


def _send(
    sock: socket.socket, symbols: Sequence[str], rate: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    # A frame is ready except for its time, which always has nine bytes.
    now_ns = time.time_ns()
    ready = [
        encode_frame(
            Tick(
                symbol=symbol, price=100.25, volume=1, exchange_timestamp=now_ns
            ).SerializeToString()
        )[:-9]
        for symbol in symbols
    ]
    times = np.empty(count, np.int64)
    behind = np.empty(count, np.float64)
    sent = 0
    began = time.perf_counter()
    while sent < count:
        elapsed = time.perf_counter() - began
        due = min(int(elapsed * rate) + 1, count)
        if due == sent:
            time.sleep(max(sent / rate - elapsed, 0))
            continue
        now_ns = time.time_ns()
        tail = Tick(exchange_timestamp=now_ns).SerializeToString()[1:]
        # All ticks that are due leave at once.
        sock.sendall(b"".join([ready[n % len(ready)] + tail for n in range(sent, due)]))
        times[sent:due] = now_ns
        behind[sent:due] = elapsed - np.arange(sent, due) / rate
        sent = due
    return times, behind


class Pacer:
    """Tell the process what to send."""

    def __init__(self, symbols: Sequence[str], orders: Connection) -> None:
        self.symbols = symbols
        # The volume of each symbol so far.
        self.volumes: dict[str, int] = dict.fromkeys(symbols, 0)
        self._orders = orders

    def start(self, rate: int, seconds: float) -> None:
        """Begin to send; every symbol gets as many ticks as the others."""
        each = max(1, round(rate * seconds / len(self.symbols)))
        for symbol in self.symbols:
            self.volumes[symbol] += each
        self._orders.send((rate, each * len(self.symbols)))

    @property
    def is_done(self) -> bool:
        """Whether all was sent."""
        return self._orders.poll()

    def finish(self) -> Sent:
        """Wait until all was sent."""
        times, behind = self._orders.recv()
        return Sent(self.symbols, times, Latencies(behind))


@contextmanager
def run_pacer(port: int, symbols: Sequence[str]) -> Iterator[Pacer]:
    """Run the process for the time of the context, connected to ingest."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(port, list(symbols), theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        # It is connected.
        ours.recv()
        yield Pacer(symbols, ours)
        ours.send(None)
    finally:
        ours.close()
        process.join()
        process.close()

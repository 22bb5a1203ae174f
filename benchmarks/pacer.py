"""Run a producer that sends each tick when it is due, in a process of its own."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.latencies import Latencies
from marketdata.framing import encode_frame
from marketdata.timestamps import NS_PER_S
from marketdata.wire.market_data_pb2 import Tick

# Of every tick.
PRICE = 100.25


class Sent:
    """When each tick of a run was sent; the symbols take turns."""

    def __init__(
        self,
        symbols: Sequence[str],
        times: NDArray[np.int64],
        behind: Latencies,
        cpu_s: float = 0.0,
    ) -> None:
        self.symbols = symbols
        self.times = times
        # How much later than due each was sent.
        self.behind = behind
        # Of the process that sent them.
        self.cpu_s = cpu_s

    def rate(self) -> float:
        """Return how many ticks per second were sent: fewer where the services take no more."""
        return len(self.times) * NS_PER_S / max(1, int(self.times[-1] - self.times[0]))

    def of(self, number: int) -> NDArray[np.int64]:
        """Return the times of the ticks of one symbol."""
        return self.times[number :: len(self.symbols)]


class Sender(Protocol):
    """A connection that sends ticks; it is made in the process of the pacer."""

    def encode(self, numbers: Iterable[int], now_ns: int) -> bytes:
        """Return the bytes of ticks with one time, by their numbers; the symbols take turns."""

    def send(self, data: bytes) -> None:
        """Send them."""

    def close(self) -> None:
        """Disconnect."""


class TickSender:
    """Send v1 frames to ingest."""

    def __init__(self, port: int, symbols: Sequence[str]) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self._socket.sendall
        self.close = self._socket.close
        # A frame is ready except for its time, which always has nine bytes.
        now_ns = time.time_ns()
        self._ready = [
            encode_frame(
                Tick(
                    symbol=symbol, price=PRICE, volume=1, exchange_timestamp=now_ns
                ).SerializeToString()
            )[:-9]
            for symbol in symbols
        ]

    def encode(self, numbers: Iterable[int], now_ns: int) -> bytes:
        """Return the frames of ticks."""
        ready = self._ready
        tail = Tick(exchange_timestamp=now_ns).SerializeToString()[1:]
        return b"".join([ready[n % len(ready)] + tail for n in numbers])


MakeSender = Callable[[int, Sequence[str]], Sender]


def _run(make: MakeSender, port: int, symbols: Sequence[str], orders: Connection) -> None:
    sender = make(port, symbols)
    try:
        orders.send(None)
        # The parent may have failed.
        with suppress(EOFError):
            while (order := orders.recv()) is not None:
                before = time.process_time()
                times, behind = _send(sender, *order)
                orders.send((times, behind, time.process_time() - before))
    finally:
        sender.close()


def _send(sender: Sender, rate: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
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
        # All ticks that are due leave at once.
        sender.send(sender.encode(range(sent, due), now_ns))
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
        times, behind, cpu_s = self._orders.recv()
        return Sent(self.symbols, times, Latencies(behind), cpu_s)


@contextmanager
def run_pacer(port: int, symbols: Sequence[str], make: MakeSender = TickSender) -> Iterator[Pacer]:
    """Run the process for the time of the context, connected to ingest or to a peer."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(make, port, list(symbols), theirs), daemon=True)
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

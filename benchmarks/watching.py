"""Note when each state reached a client, and compute the latency of every tick."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.clients import RABBITMQ, Client, Crowd
from benchmarks.harness import WrongResult
from benchmarks.latencies import Latencies
from benchmarks.pacer import Pacer, Sent
from marketdata.timestamps import NS_PER_S

CATCH_UP_S = 60.0
# Symbol, volume, time of a state; JSON has no line ends.
STATE = re.compile(rb'"symbol":"([^"]+)".*?"volume":"(\d+)".*?"timestampNs":"(\d+)"')
Seen = tuple[int, list[tuple[bytes, bytes, bytes]]]


class Arrivals:
    """When one client got which states."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self.symbols = symbols
        # States that came together, and when.
        self.seen: list[Seen] = []
        self.volumes: dict[bytes, bytes] = {}

    def add(self, states: list[tuple[bytes, bytes, bytes]], now_ns: int) -> None:
        """Note states that came together."""
        if states:
            self.seen.append((now_ns, states))
            for symbol, volume, _ in states:
                self.volumes[symbol] = volume

    def clear(self) -> None:
        """Forget when they came."""
        self.seen.clear()

    def has(self, volumes: dict[str, int]) -> bool:
        """Whether the newest state of each symbol has the volume that was sent."""
        found = self.volumes
        return all(found.get(s.encode()) == b"%d" % volumes[s] for s in self.symbols)

    def count(self) -> int:
        """Return how many states there were."""
        return sum(len(states) for _, states in self.seen)

    def latencies(self, sent: Sent) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return how long each tick took until the first state that has it, in seconds.

        Raises:
            WrongResult: no state has it.
        """
        by_symbol: dict[bytes, list[tuple[int, int]]] = {s.encode(): [] for s in self.symbols}
        for now_ns, states in self.seen:
            for symbol, _, ts_ns in states:
                by_symbol[symbol].append((int(ts_ns), now_ns))
        found = []
        numbers = {name: number for number, name in enumerate(sent.symbols)}
        for name in self.symbols:
            times = sent.of(numbers[name])
            states_ns = np.array(by_symbol[name.encode()], np.int64).reshape(-1, 2)
            first = np.searchsorted(states_ns[:, 0], times)
            if len(times) and int(first[-1]) >= len(states_ns):
                raise WrongResult(f"the last tick of {name} was not seen")
            found.append((states_ns[first, 1] - times) / NS_PER_S)
        return np.concatenate(found)


class WatchingClient(Client):
    """Follow symbols through one of the gateway's endpoints."""

    # The end of every state.
    END = b"\0"

    def __init__(self, port: int, symbols: Sequence[str], receive_buffer: int = 0) -> None:
        super().__init__(port, receive_buffer)
        self.arrivals = Arrivals(symbols)
        self._rest = b""

    def take(self) -> None:
        """Note the states that came."""
        data = self._rest + self.read()
        now_ns = time.time_ns()
        end = data.rfind(self.END) + len(self.END)
        if end < len(self.END):
            self._rest = data
            return
        self.arrivals.add(STATE.findall(data, 0, end), now_ns)
        self._rest = data[end:]


class StompWatcher(WatchingClient):
    """Over STOMP, with ``policy: conflate``."""

    def begin(self) -> bytes:
        """Subscribe."""
        self._rest = self.subscribe_stomp(self.arrivals.symbols, "conflate")
        return b""


class RabbitWatcher(WatchingClient):
    """Over web-STOMP of RabbitMQ."""

    def begin(self) -> bytes:
        """Subscribe."""
        self._rest = self.subscribe_stomp(self.arrivals.symbols, "conflate", RABBITMQ)
        return b""


class SseWatcher(WatchingClient):
    """Over server-sent events."""

    END = b"\n\n"

    def begin(self) -> bytes:
        """Subscribe."""
        symbols = ",".join(self.arrivals.symbols)
        self.socket.sendall(
            f"GET /api/v1/stream?symbols={symbols} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        self._rest = self.read_until(b"\r\n\r\n")
        return b""


def choose(symbols: Sequence[str], client: int, each: int) -> list[str]:
    """Return the symbols of one client; each symbol is followed by as many clients."""
    return [symbols[(client * each + number) % len(symbols)] for number in range(each)]


def run_phase(
    crowd: Crowd[WatchingClient], pacer: Pacer, rate: int, seconds: float
) -> tuple[Sent, int]:
    """Send at a rate while the clients read; return what was sent and how many states came.

    Raises:
        WrongResult: a client does not end with the volume that was sent of each of its symbols.
    """
    for client in crowd.clients:
        client.arrivals.clear()
    pacer.start(rate, seconds)
    while not pacer.is_done:
        crowd.poll(0.005)
    sent = pacer.finish()
    crowd.poll_until_all(
        lambda client: client.arrivals.has(pacer.volumes),
        CATCH_UP_S,
        "clients do not have the volume that was sent",
    )
    return sent, sum(client.arrivals.count() for client in crowd.clients)


def merge(arrivals: Iterable[Arrivals], sent: Sent) -> Latencies:
    """Return the latencies of every tick at every client that follows it."""
    return Latencies(np.concatenate([each.latencies(sent) for each in arrivals]))

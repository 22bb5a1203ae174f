"""Measure what a delivery costs the gateway: as many as it can, to many STOMP clients.

``python -m benchmarks.deliveries``: every client subscribes to one of the symbols with
``policy:buffer``, so that it gets every state. The states come from a source of ours in place of
the aggregator, which keeps a few rounds on their way, no more: nobody is disconnected, and the
gateway always has something to do. The load shares the machine; so beside the deliveries per second
there are those per second of the gateway's CPU, which is what one core of it can do.

Then the memory of clients that are connected and subscribed, while nothing happens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import select
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.fanout import CONNECT, HANDSHAKE
from benchmarks.harness import (
    Service,
    WrongResult,
    format_table,
    machine_facts,
    run_service,
    write_results,
)
from benchmarks.states import StateSource, run_source

# One MESSAGE is below 1 KiB, so this much ends with a whole one or more.
TAIL = 2048
READ_SIZE = 256 * 1024
TIMEOUT_S = 60.0
# The gateway's pings carry four bytes; no text of ours has the first one.
PING, PONG_HEAD = b"\x89\x04", b"\x8a\x84" + bytes(4)
# Leaves the bytes as they are.
NO_MASK = bytes(4)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    clients: int = 1000
    symbols: int = 20
    # Rounds of one state per symbol, and how many of them may be on their way.
    rounds: int = 4000
    window: int = 40
    repeats: int = 3
    idle_clients: int = 2000


class CountingClient:
    """Counts MESSAGE frames where they end; keeps the end of what came."""

    def __init__(self, port: int, symbol: str) -> None:
        self.symbol = symbol
        self.count = 0
        self.tail = b""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(HANDSHAKE)
        self._read_until(b"\r\n\r\n")
        self._send(CONNECT)
        self._read_until(b"\0")
        self._send(
            f"SUBSCRIBE\nid:sub-0\ndestination:/topic/market-data/{symbol}\n"
            "policy:buffer\nreceipt:0\n\n\0".encode()
        )
        # The RECEIPT, and behind it the present state, if there is one.
        self._read_until(b"receipt-id:0\n\n\0")
        self.socket.setblocking(False)

    def take(self) -> None:
        """Take what there is."""
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise WrongResult(f"a client of {self.symbol} was lost: {self.tail[-300:]!r}")
        if (ping := data.find(PING)) >= 0:
            # Its four bytes are random, and must not be counted for what they look like.
            self.socket.sendall(PONG_HEAD + data[ping + 2 : ping + 6])
            data = data[:ping] + data[ping + 6 :]
            if not data:
                return
        # A MESSAGE has one empty line, and JSON none.
        self.count += data.count(b"\n\n")
        if data[0] == 10 and self.tail.endswith(b"\n"):
            self.count += 1
        self.tail = data[-TAIL:] if len(data) >= TAIL else (self.tail + data)[-TAIL:]

    def sequence(self) -> int:
        """Return the sequence of the newest whole state; 0: there is none."""
        tail = self.tail
        start = tail.rfind(b'"sequence":"', 0, tail.rfind(b'"}\0')) + 12
        return int(tail[start : tail.index(b'"', start)]) if start >= 12 else 0

    def body(self) -> Any:
        """Return the JSON of the newest state."""
        end = self.tail.rfind(b'"}\0') + 2
        return json.loads(self.tail[self.tail.rfind(b"\n\n", 0, end) + 2 : end])

    def _send(self, message: bytes) -> None:
        if len(message) < 126:
            head = bytes((0x81, 0x80 | len(message)))
        else:
            head = bytes((0x81, 0x80 | 126)) + len(message).to_bytes(2)
        self.socket.sendall(head + NO_MASK + message)

    def _read_until(self, end: bytes) -> None:
        seen = b""
        while end not in seen:
            data = self.socket.recv(4096)
            if not data:
                raise WrongResult(f"no {end!r} in {seen!r}")
            seen += data
        rest = seen[seen.index(end) + len(end) :]
        self.count += rest.count(b"\n\n")
        self.tail = rest


class Load:
    """All clients and the source of their states, in one thread."""

    def __init__(self, clients: int, window: int, source: StateSource, gateway: Service) -> None:
        self._window = window
        self._source = source
        self._epoll = select.epoll()
        self._by_fd: dict[int, CountingClient] = {}
        self.clients: list[CountingClient] = []
        if not source.sent:
            source.watched.wait(TIMEOUT_S)
            source.publish()
        for number in range(clients):
            client = CountingClient(gateway.port, source.symbols[number % len(source.symbols)])
            self.clients.append(client)
            self._by_fd[client.socket.fileno()] = client
            self._epoll.register(client.socket, select.EPOLLIN)
        # What those are told who subscribe before the feed is there comes before the first state.
        self.settle()

    def run(self, rounds: int) -> int:
        """Send ``rounds`` states of each symbol; return the deliveries when everyone has all.

        Raises:
            WrongResult: a client was lost, or got more or fewer states than there were.
        """
        source = self._source
        before = [client.count for client in self.clients]
        probes = self.clients[:: max(1, len(self.clients) // 8)]
        goal = source.sent + rounds
        deadline = time.monotonic() + TIMEOUT_S
        while source.sent < goal:
            room = min(c.sequence() for c in probes) + self._window - source.sent
            for _ in range(min(room, goal - source.sent)):
                source.publish()
            self._poll(0.001)
            if time.monotonic() > deadline:
                raise WrongResult(f"{source.sent} of {goal} rounds after {TIMEOUT_S} s")
        self.settle()
        for client, count in zip(self.clients, before, strict=True):
            if client.count - count != rounds:
                raise WrongResult(f"{client.count - count} of {rounds} states of {client.symbol}")
        return rounds * len(self.clients)

    def settle(self) -> None:
        """Read until everyone has the newest state.

        Raises:
            WrongResult: somebody does not get it, or got another.
        """
        deadline = time.monotonic() + TIMEOUT_S
        behind = self.clients
        while behind := [c for c in behind if c.sequence() != self._source.sent]:
            self._poll(0.01)
            if time.monotonic() > deadline:
                raise WrongResult(f"{len(behind)} clients did not get everything")
        for client in self.clients:
            body = client.body()
            if body["symbol"] != client.symbol or body["volume"] != str(self._source.sent):
                raise WrongResult(f"{body} instead of round {self._source.sent}")

    def close(self) -> None:
        """Leave."""
        for client in self.clients:
            client.socket.close()
        self._epoll.close()

    def _poll(self, timeout_s: float) -> None:
        by_fd = self._by_fd
        for fd, _ in self._epoll.poll(timeout_s, 4096):
            by_fd[fd].take()


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time that a process took."""
    times = process.cpu_times()
    return float(times.user + times.system)


def measure_throughput(plan: Plan, source: StateSource, gateway: Service) -> dict[str, Any]:
    """Run the load; return deliveries per second, and per second of the gateway's CPU."""
    process = psutil.Process(gateway.pid)
    load = Load(plan.clients, plan.window, source, gateway)
    per_s, per_cpu_s = [], []
    try:
        load.run(max(1, plan.rounds // 10))
        for _ in range(plan.repeats):
            cpu, started = cpu_s(process), time.perf_counter()
            deliveries = load.run(plan.rounds)
            elapsed, used = time.perf_counter() - started, cpu_s(process) - cpu
            per_s.append(deliveries / elapsed)
            per_cpu_s.append(deliveries / used)
    finally:
        load.close()
    return {"deliveries_per_s": per_s, "deliveries_per_cpu_s": per_cpu_s}


def measure_idle(plan: Plan, source: StateSource, gateway: Service) -> dict[str, Any]:
    """Return the bytes that one connected and subscribed client holds in the gateway."""
    process = psutil.Process(gateway.pid)
    # What is only made once is there after the first few.
    first = Load(100, plan.window, source, gateway)
    before = process.memory_info().rss
    load = Load(plan.idle_clients, plan.window, source, gateway)
    per_client = (process.memory_info().rss - before) / plan.idle_clients
    for each in (first, load):
        each.close()
    return {"clients": plan.idle_clients, "bytes_per_idle_client": per_client}


async def measure(plan: Plan) -> dict[str, Any]:
    """Run both parts, each with a fresh gateway."""
    results: dict[str, Any] = asdict(plan)
    for name, part in (("throughput", measure_throughput), ("idle", measure_idle)):
        with run_source([f"D{number:03}" for number in range(plan.symbols)]) as source:
            address = f"127.0.0.1:{source.port}"
            async with run_service("gateway", aggregator=address, port=0) as gateway:
                results[name] = await asyncio.to_thread(part, plan, source, gateway)
    return results


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--clients", type=int, default=Plan().clients)
    parser.add_argument("--rounds", type=int, default=Plan().rounds)
    parser.add_argument("--window", type=int, default=Plan().window)
    parser.add_argument("--output", type=Path, help="the JSON file (benchmarks/results/COMMIT)")
    options = parser.parse_args()
    plan = Plan(clients=options.clients, rounds=options.rounds, window=options.window)
    if options.quick:
        plan = replace(plan, clients=100, rounds=400, repeats=1, idle_clients=200)
    results = asyncio.run(measure(plan))
    path = write_results("deliveries", results, options.output)
    throughput, idle = results["throughput"], results["idle"]
    print(json.dumps(machine_facts()))
    rows: list[tuple[str, ...]] = [(f"{plan.clients} STOMP clients", "median", "min", "max")]
    for name, key in (
        ("deliveries/s", "deliveries_per_s"),
        ("deliveries per CPU second of the gateway", "deliveries_per_cpu_s"),
    ):
        values = throughput[key]
        rows.append((name, *(f"{v:,.0f}" for v in (median(values), min(values), max(values)))))
    print(format_table(rows))
    print(f"idle client: {idle['bytes_per_idle_client'] / 1000:.1f} KB")
    print(f"written to {path}")


if __name__ == "__main__":
    main()

"""Measure deliveries to many STOMP clients with ``policy: buffer``, as fast as the server can.

Every client subscribes to one of the symbols and gets every state. A source of ours stands in for
the aggregator. It keeps only a few rounds on their way, so the server always has work and no client
is disconnected. The load shares the machine; so the table also has the deliveries per second of the
server's CPU, which is the most that one core can do. Peers get the same load.
"""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.clients import GATEWAY, Client, Crowd, StompDialect
from benchmarks.harness import Service, WrongResult, cpu_note, run_service
from benchmarks.latencies import Spread
from benchmarks.limits import MachineLimits
from benchmarks.report import Line, Outcome
from benchmarks.states import Rounds, run_source

# One MESSAGE is below 1 KiB, so this much ends with a whole one or more.
TAIL = 2048
TIMEOUT_S = 60.0
# After so many clients all that the server makes only once has been made.
FIRST_CLIENTS = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    clients: tuple[int, ...] = (100, 1_000, 5_000)
    symbols: int = 20
    # How many rounds, of one state per symbol, may be on their way; how many deliveries at most.
    window: int = 40
    window_deliveries: int = 100_000
    seconds: float = 5.0
    repeats: int = 3
    idle_clients: int = 2_000


FULL = Plan()
QUICK = Plan(clients=(100,), seconds=0.5, repeats=1, idle_clients=200)


@dataclass(frozen=True, slots=True)
class Server:
    """The server under load, its STOMP dialect, and the source of its states."""

    service: Service
    source: Rounds
    dialect: StompDialect = GATEWAY


OpenServer = Callable[[Plan], AbstractAsyncContextManager[Server]]


class CountingClient(Client):
    """Counts MESSAGE frames where they end; keeps the end of what came."""

    def __init__(self, server: Server, symbol: str) -> None:
        super().__init__(server.service.port)
        self.symbol = symbol
        self.count = 0
        self.bytes = 0
        self.tail = b""
        self._dialect = server.dialect

    def begin(self) -> bytes:
        """Subscribe."""
        rest = self.subscribe_stomp([self.symbol], "buffer", self._dialect)
        self.count += rest.count(b"\n\n")
        self.tail = rest
        return rest

    def take(self) -> None:
        """Count what came."""
        data = self.read()
        if not data:
            return
        self.bytes += len(data)
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

    def check_count(self, count: int, rounds: int) -> None:
        """Make sure that there was one state per round.

        Raises:
            WrongResult: there were more or fewer.
        """
        if count != rounds:
            raise WrongResult(f"{count} states of {self.symbol} instead of {rounds}")

    def check_state(self, sent: int) -> None:
        """Make sure that the newest state is that of the last round.

        Raises:
            WrongResult: it is not, or it is of another symbol.
        """
        body = self.body()
        if body["symbol"] != self.symbol or body["volume"] != str(sent):
            raise WrongResult(f"{body} instead of round {sent} of {self.symbol}")


class Load:
    """All clients and the source of their states, in one thread."""

    def __init__(self, server: Server, clients: int, plan: Plan) -> None:
        self._source = source = server.source
        self._window = max(2, min(plan.window, plan.window_deliveries // clients))
        self.crowd: Crowd[CountingClient] = Crowd()
        symbols = source.symbols
        for number in range(clients):
            self.crowd.add(CountingClient(server, symbols[number % len(symbols)]))
        # Clients that subscribed before the feed was there get a status before the first state, and
        # a server that keeps no state sends them none.
        source.publish()
        self.settle()

    def run(self, seconds: float) -> int:
        """Publish for so long; return the deliveries when everyone has all.

        Raises:
            WrongResult: a client was lost, or got more or fewer states than there were.
        """
        source, clients = self._source, self.crowd.clients
        before = [client.count for client in clients]
        first = source.sent
        probes = clients[:: max(1, len(clients) // 8)]
        stop = time.monotonic() + seconds
        while time.monotonic() < stop:
            for _ in range(min(c.sequence() for c in probes) + self._window - source.sent):
                source.publish()
            self.crowd.poll(0.001)
        self.settle()
        rounds = source.sent - first
        for client, count in zip(clients, before, strict=True):
            client.check_count(client.count - count, rounds)
        return rounds * len(clients)

    def settle(self) -> None:
        """Read until everyone has the newest state.

        Raises:
            WrongResult: somebody does not get it, or got another.
        """
        sent = self._source.sent
        self.crowd.poll_until_all(
            lambda client: client.sequence() == sent, TIMEOUT_S, "clients did not get everything"
        )
        for client in self.crowd.clients:
            client.check_state(sent)


def measure_throughput(server: Server, clients: int, plan: Plan) -> dict[str, Any]:
    """Run the load; return deliveries per second, and per second of the server's CPU."""
    load = Load(server, clients, plan)
    per_s, per_cpu_s, shares = [], [], []
    try:
        load.run(plan.seconds / 5)
        for _ in range(plan.repeats):
            cpu_s, own_s, began = server.service.cpu_s(), time.process_time(), time.perf_counter()
            deliveries = load.run(plan.seconds)
            elapsed, used = time.perf_counter() - began, server.service.cpu_s() - cpu_s
            per_s.append(deliveries / elapsed)
            per_cpu_s.append(deliveries / used)
            shares.append(((used / elapsed), (time.process_time() - own_s) / elapsed))
        taken = sum(client.bytes for client in load.crowd.clients)
        size = taken / sum(client.count for client in load.crowd.clients)
    finally:
        load.crowd.stop()
    return {
        "clients": clients,
        "bytes_per_delivery": size,
        "deliveries_per_s": Spread(tuple(per_s)).to_dict(),
        "deliveries_per_cpu_s": Spread(tuple(per_cpu_s)).to_dict(),
        "cpu": {"server": shares[-1][0], "load": shares[-1][1]},
    }


def measure_idle(server: Server, plan: Plan) -> float:
    """Return the bytes that one connected and subscribed client holds in the server."""
    first = Load(server, FIRST_CLIENTS, plan)
    before = server.service.memory()
    load = Load(server, plan.idle_clients, plan)
    per_client = (server.service.memory() - before) / plan.idle_clients
    for each in (first, load):
        each.crowd.stop()
    return per_client


@asynccontextmanager
async def open_gateway(plan: Plan) -> AsyncIterator[Server]:
    """Run a gateway and a source that stands in for its aggregator."""
    with run_source([f"D{number:03}" for number in range(plan.symbols)]) as source:
        address = f"127.0.0.1:{source.port}"
        async with run_service("gateway", aggregator=address) as service:
            yield Server(service, source)


def raise_file_limit() -> None:
    """Let this process, and those it starts, have as many sockets as they may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def measure_clients(opened: OpenServer, clients: int, plan: Plan) -> dict[str, Any]:
    """Measure the throughput of a fresh server."""
    raise_file_limit()
    async with opened(plan) as server:
        return await asyncio.to_thread(measure_throughput, server, clients, plan)


async def measure_idle_clients(opened: OpenServer, plan: Plan) -> float:
    """Measure the memory of idle clients of a fresh server."""
    raise_file_limit()
    async with opened(plan) as server:
        return await asyncio.to_thread(measure_idle, server, plan)


def lines_of(
    found: dict[str, Any], limits: MachineLimits, message_per_s: float | None, peer: str = ""
) -> list[Line]:
    """Return the lines of one server."""
    key = peer.lower() or "fanout"
    lines = []
    for each in found["throughput"]:
        what = f"deliveries to {each['clients']:,} STOMP clients"
        note = cpu_note(each["cpu"])
        lines.append(
            Line(
                f"{key}/{each['clients']}/per-core",
                f"{what}, per core of the server",
                each["deliveries_per_cpu_s"]["median"],
                "per s of CPU",
                limits.loopback_bytes_per_cpu_s / each["bytes_per_delivery"],
                "loopback",
                message_per_s,
                f"{1e6 / each['deliveries_per_cpu_s']['median']:.1f} us each",
                peer,
            )
        )
        per_s = each["deliveries_per_s"]["median"]
        lines.append(Line(f"{key}/{each['clients']}", what, per_s, "per s", note=note, peer=peer))
    idle = found["idle"] / 1000
    count = found["idle_clients"]
    what = f"memory per idle STOMP client, of {count:,}"
    lines.append(Line(f"{key}/idle", what, idle, "KB", peer=peer))
    return lines


async def measure(limits: MachineLimits, message_per_s: float, *, full: bool) -> Outcome:
    """Measure the gateway."""
    plan = FULL if full else QUICK
    found = [await measure_clients(open_gateway, clients, plan) for clients in plan.clients]
    idle = await measure_idle_clients(open_gateway, plan)
    details = {"throughput": found, "idle_clients": plan.idle_clients, "idle": idle}
    return Outcome(lines_of(details, limits, message_per_s), details)


async def measure_peer(
    name: str, opened: OpenServer, limits: MachineLimits, *, full: bool
) -> Outcome:
    """Measure another server with the same load."""
    # A peer is only there to be compared with, so less will do.
    shorter = replace(FULL, repeats=1, seconds=4.0, window_deliveries=25_000, idle_clients=500)
    plan = shorter if full else QUICK
    found: list[dict[str, Any]] = []
    failures: list[str] = []
    for clients in plan.clients:
        try:
            found.append(await measure_clients(opened, clients, plan))
        except WrongResult as exc:
            # Its failure is a result about it, not about us.
            failures.append(f"{name} with {clients:,} clients failed: {exc}")
    idle = await measure_idle_clients(opened, plan)
    details = {"throughput": found, "idle_clients": plan.idle_clients, "idle": idle}
    return Outcome(lines_of(details, limits, None, name), details, ". ".join(failures))

"""Measure the fan-out: one feed to many STOMP clients, some of which stop reading.

``python -m benchmarks.fanout``: every client subscribes to some of the symbols. The latency is from
the exchange time of a tick, the moment it was sent, to the arrival of its state at the client.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen

import psutil

from benchmarks.harness import (
    Latencies,
    Service,
    WrongResult,
    format_table,
    machine_facts,
    run_service,
    write_results,
)
from marketdata.framing import encode_frame
from marketdata.wire.market_data_pb2 import Tick

HANDSHAKE = (
    b"GET /ws/websocket HTTP/1.1\r\nHost: localhost\r\n"
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONNECT = b"CONNECT\naccept-version:1.2\nhost:localhost\nheart-beat:0,0\n\n\0"
CATCH_UP_TIMEOUT_S = 10.0
# More than a 64 KiB segment of loopback: with less, the sender waits seconds for its probe timer.
RECEIVE_BUFFER = 96 * 1024
TIMESTAMP = b'"timestampNs":"'
SYMBOL = b'"symbol":"'


class StompClient(asyncio.Protocol):
    """The least that a client must do: the handshake, subscriptions, and reading."""

    def __init__(self, symbols: Sequence[str], policy: str) -> None:
        self.symbols = symbols
        self.subscribed = asyncio.get_running_loop().create_future()
        self.latencies: list[float] = []
        self.deliveries = 0
        # By symbol.
        self.last: dict[bytes, bytes] = {}
        self.lost = False
        self._policy = policy
        self._buffer = bytearray()
        self._open = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(HANDSHAKE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note it: no client should be lost."""
        self.lost = True

    def data_received(self, data: bytes) -> None:
        """Take the messages in."""
        now_ns = time.time_ns()
        buffer = self._buffer
        buffer += data
        if not self._open:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not buffer.startswith(b"HTTP/1.1 101"):
                raise WrongResult(bytes(buffer[:200]))
            del buffer[: end + 4]
            self._open = True
            self._send(CONNECT)
            for number, symbol in enumerate(self.symbols, 1 - len(self.symbols)):
                subscribe = (
                    f"SUBSCRIBE\nid:{number}\ndestination:/topic/market-data/{symbol}\n"
                    f"policy:{self._policy}\nreceipt:{number}\n\n\0"
                )
                self._send(subscribe.encode())
        position = 0
        while len(buffer) - position >= 2:
            size, start = buffer[position + 1], position + 2
            if size == 126:
                if len(buffer) - start < 2:
                    break
                (size,) = struct.unpack_from(">H", buffer, start)
                start += 2
            elif size == 127:
                raise WrongResult("a frame over 64 KiB")
            if len(buffer) - start < size:
                break
            position = start + size
            self._take(bytes(buffer[start:position]), now_ns)
        del buffer[:position]

    def pause(self) -> None:
        """Stop reading."""
        assert self.transport is not None
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        assert self.transport is not None
        self.transport.resume_reading()

    def abort(self) -> None:
        """End without a goodbye."""
        assert self.transport is not None
        self.transport.abort()

    def _take(self, message: bytes, now_ns: int) -> None:
        if message.startswith(b"MESSAGE"):
            self.deliveries += 1
            symbol = message.index(SYMBOL) + len(SYMBOL)
            self.last[message[symbol : message.index(b'"', symbol)]] = message
            at = message.index(TIMESTAMP) + len(TIMESTAMP)
            self.latencies.append((now_ns - int(message[at : message.index(b'"', at)])) / 1e9)
        elif message.startswith(b"RECEIPT\nreceipt-id:0\n"):
            # The last of them.
            self.subscribed.set_result(None)
        elif message.startswith(b"ERROR"):
            raise WrongResult(message)

    def _send(self, message: bytes) -> None:
        assert self.transport is not None
        # A mask of zeros leaves the bytes as they are.
        head = bytes((0x81, 0x80 | 126)) + struct.pack(">H", len(message))
        self.transport.write(head + bytes(4) + message)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    clients: int = 500
    symbols: int = 20
    per_client: int = 1
    rate: int = 1_000
    phase_s: float = 10.0
    # Each round has two phases: all clients read, and some do not.
    rounds: int = 3
    stalled: int = 50
    policy: str = "conflate"


@dataclass
class Outcome:
    """What one run gave, a value per round."""

    plan: Plan
    everyone_reads: list[Latencies] = field(default_factory=list)
    others_while_stalled: list[Latencies] = field(default_factory=list)
    deliveries_per_s: list[float] = field(default_factory=list)
    catch_up_ms: list[float] = field(default_factory=list)
    gateway_rss_mb: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return what goes into the JSON file."""
        return {
            **asdict(self.plan),
            "everyone_reads": [each.to_dict() for each in self.everyone_reads],
            "others_while_stalled": [each.to_dict() for each in self.others_while_stalled],
            "deliveries_per_s": self.deliveries_per_s,
            "catch_up_ms": self.catch_up_ms,
            "gateway_rss_mb": self.gateway_rss_mb,
        }


class Feed:
    """One producer that sends each tick at its time."""

    def __init__(self, symbols: Sequence[str], rate: int, writer: asyncio.StreamWriter) -> None:
        self._symbols = symbols
        self._interval_s = 1 / rate
        self._writer = writer
        self.sent = 0

    async def run(self, seconds: float) -> None:
        """Send ``rate`` x ``seconds`` ticks."""
        loop = asyncio.get_running_loop()
        start, first = loop.time(), self.sent
        while (elapsed := loop.time() - start) < seconds:
            due = first + int(elapsed / self._interval_s) + 1
            while self.sent < due:
                self._writer.write(encode_frame(self._tick().SerializeToString()))
            await asyncio.sleep(start + (due - first) * self._interval_s - loop.time())
        await self._writer.drain()

    def _tick(self) -> Tick:
        number = self.sent
        self.sent += 1
        return Tick(
            symbol=self._symbols[number % len(self._symbols)],
            price=100 + number % 50,
            volume=1,
            exchange_timestamp=time.time_ns(),
        )


@asynccontextmanager
async def run_pipeline() -> AsyncIterator[tuple[Service, Service]]:
    """Run the three services; give ingest and gateway."""
    async with (
        run_service("aggregator") as aggregator,
        run_service("ingest", aggregator=aggregator.address) as ingest,
        run_service("gateway", aggregator=aggregator.address, rate_limit=0, port=0) as gateway,
    ):
        yield ingest, gateway


async def connect(gateway: Service, plan: Plan, symbols: Sequence[str]) -> list[StompClient]:
    """Connect all clients and wait until each has subscribed."""
    loop = asyncio.get_running_loop()
    clients = [
        StompClient(
            [
                symbols[(number * plan.per_client + each) % len(symbols)]
                for each in range(plan.per_client)
            ],
            plan.policy,
        )
        for number in range(plan.clients)
    ]
    for start in range(0, len(clients), 50):
        group = clients[start : start + 50]
        for client in group:
            # A small receive buffer, so that a client that stops reading is felt at once.
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", gateway.port))
            await loop.create_connection(lambda c=client: c, sock=sock)  # type: ignore[misc]
        await asyncio.gather(*(client.subscribed for client in group))
    return clients


def take_latencies(clients: Sequence[StompClient]) -> Latencies:
    """Return what was measured since the last call."""
    merged = Latencies(tuple(second for client in clients for second in client.latencies))
    for client in clients:
        client.latencies.clear()
    return merged


async def measure(plan: Plan) -> Outcome:
    """Run one plan and check what everybody saw last in each round.

    Raises:
        WrongResult: a client was lost, or does not end with the state that REST gives.
    """
    symbols = [f"F{number:03}" for number in range(plan.symbols)]
    outcome = Outcome(plan)
    async with run_pipeline() as (ingest, gateway):
        process = psutil.Process(gateway.pid)
        _, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        feed = Feed(symbols, plan.rate, writer)
        await feed.run(1.0)
        clients = await connect(gateway, plan, symbols)
        # One in ten, whatever its symbol.
        stalled = clients[:: max(plan.clients // plan.stalled, 1)][: plan.stalled]
        await feed.run(1.0)
        outcome.gateway_rss_mb.append(process.memory_info().rss / 1e6)
        for _ in range(plan.rounds):
            await run_round(outcome, feed, clients, stalled)
            outcome.catch_up_ms.append(
                await catch_up(gateway, clients, stalled, symbols, feed.sent)
            )
            outcome.gateway_rss_mb.append(process.memory_info().rss / 1e6)
        writer.close()
        for client in clients:
            client.abort()
    return outcome


async def run_round(
    outcome: Outcome, feed: Feed, clients: list[StompClient], stalled: list[StompClient]
) -> None:
    """Let everyone read for a phase; then let some stop reading for another."""
    phase_s = outcome.plan.phase_s
    take_latencies(clients)
    before = sum(client.deliveries for client in clients)
    await feed.run(phase_s)
    outcome.deliveries_per_s.append((sum(c.deliveries for c in clients) - before) / phase_s)
    outcome.everyone_reads.append(take_latencies(clients))
    for client in stalled:
        client.pause()
    await feed.run(phase_s)
    take_latencies(stalled)
    outcome.others_while_stalled.append(take_latencies(clients))


async def catch_up(
    gateway: Service,
    clients: list[StompClient],
    stalled: list[StompClient],
    symbols: Sequence[str],
    sent: int,
) -> float:
    """Let all read again; return the ms until everyone has the state of all that was ``sent``."""
    deadline = time.perf_counter() + CATCH_UP_TIMEOUT_S
    while True:
        expected = await asyncio.to_thread(read_rest, gateway, symbols)
        if (seen := sum(int(state["volume"]) for state in expected.values())) == sent:
            break
        if time.perf_counter() > deadline:
            raise WrongResult(f"{seen} of {sent} ticks")
    resumed = time.perf_counter()
    for client in stalled:
        client.resume()
    waiting = [(client, symbol) for client in clients for symbol in client.symbols]
    while waiting := [(c, symbol) for c, symbol in waiting if body(c, symbol) != expected[symbol]]:
        if time.perf_counter() - resumed > CATCH_UP_TIMEOUT_S or any(c.lost for c in clients):
            client, symbol = waiting[0]
            raise WrongResult(f"{body(client, symbol)} instead of {expected[symbol]}")
        await asyncio.sleep(0.001)
    return (time.perf_counter() - resumed) * 1000


def body(client: StompClient, symbol: str) -> Any:
    """Return the JSON of the client's last message of ``symbol``."""
    last = client.last.get(symbol.encode())
    return json.loads(last.partition(b"\n\n")[2].rstrip(b"\0")) if last else None


def read_rest(gateway: Service, symbols: Sequence[str]) -> dict[str, Any]:
    """Return what REST says of each symbol."""
    url = f"http://{gateway.address}/api/v1/marketdata?symbols={','.join(symbols)}"
    with urlopen(url, timeout=10) as answer:
        return {state["symbol"]: state for state in json.load(answer)["aggregates"]}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    for name in ("clients", "symbols", "per_client", "rate", "stalled"):
        option = "--" + name.replace("_", "-")
        parser.add_argument(option, type=int, default=getattr(Plan(), name))
    parser.add_argument("--policy", choices=("conflate", "buffer"), default="conflate")
    parser.add_argument("--output", type=Path, help="the JSON file (benchmarks/results/COMMIT)")
    options = parser.parse_args()
    plan = Plan(
        clients=options.clients,
        symbols=options.symbols,
        per_client=options.per_client,
        rate=options.rate,
        stalled=options.stalled,
        policy=options.policy,
    )
    if options.quick:
        plan = replace(plan, clients=50, stalled=5, phase_s=2.0, rounds=1)
    outcome = asyncio.run(measure(plan))
    path = write_results("fanout", outcome.to_dict(), options.output)
    print(json.dumps(machine_facts()))
    deliveries = median(outcome.deliveries_per_s)
    print(
        f"{plan.clients} STOMP clients on {plan.per_client} of {plan.symbols} symbols,"
        f" {plan.rate} ticks/s:"
        f" {deliveries:,.0f} deliveries/s; median, min and max of {plan.rounds} rounds"
    )
    rows: list[tuple[str, ...]] = [("", "p50 ms", "", "", "p99 ms", "", "")]
    for name, rounds in (
        ("all read", outcome.everyone_reads),
        (f"{plan.stalled} do not; the others", outcome.others_while_stalled),
    ):
        cells = []
        for percent in (50, 99):
            values = [latencies.percentile(percent) * 1000 for latencies in rounds]
            cells += [f"{value:.2f}" for value in (median(values), min(values), max(values))]
        rows.append((name, *cells))
    print(format_table(rows))
    print(f"those that stalled have the newest state after {max(outcome.catch_up_ms):.0f} ms")
    print(f"gateway memory, MB: {', '.join(f'{rss:.0f}' for rss in outcome.gateway_rss_mb)}")
    print(f"written to {path}")


if __name__ == "__main__":
    main()

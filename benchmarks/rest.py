"""Measure how many requests for the state of one symbol the gateway answers.

``python -m benchmarks.rest``: kept connections, each with one request on its way, the limiter off.
The load, the gateway and the aggregator share the machine, so beside the requests per second there
are those per second of the gateway's CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import selectors
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.deliveries import cpu_s
from benchmarks.fanout import run_pipeline
from benchmarks.harness import Service, WrongResult, format_table, machine_facts, write_results
from marketdata.framing import encode_frame
from marketdata.wire.market_data_pb2 import Tick

REQUEST = b"GET /api/v1/marketdata/AAPL HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    requests: int = 10_000
    connections: tuple[int, ...] = (1, 8, 32)


class Requester:
    """One connection that asks again as soon as it has the answer."""

    def __init__(self, port: int, requests: int) -> None:
        self.left = requests
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""
        self.socket.sendall(REQUEST)

    def take(self) -> None:
        """Take what there is, and check and count a whole answer.

        Raises:
            WrongResult: it is not the state of the one tick that was sent.
        """
        self._answer += self.socket.recv(65536)
        head, end, body = self._answer.partition(b"\r\n\r\n")
        if not end or not body.endswith(b"}"):
            return
        if not head.startswith(b"HTTP/1.1 200") or b'"volume":"7"' not in body:
            raise WrongResult(self._answer.decode())
        self._answer = b""
        self.left -= 1
        if self.left:
            self.socket.sendall(REQUEST)


def ask(port: int, requests: int, connections: int) -> None:
    """Have ``requests`` answered over ``connections``."""
    with selectors.DefaultSelector() as selector:
        busy = set()
        for _ in range(connections):
            requester = Requester(port, requests // connections)
            busy.add(requester)
            selector.register(requester.socket, selectors.EVENT_READ, requester)
        while busy:
            for key, _ in selector.select():
                key.data.take()
                if not key.data.left:
                    busy.discard(key.data)
                    selector.unregister(key.data.socket)
                    key.data.socket.close()


def wait_for_the_tick(port: int) -> None:
    """Return when the gateway answers with it; before, it says 404."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            ask(port, 20, 1)
        except WrongResult:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def measure_one(gateway: Service, requests: int, connections: int) -> dict[str, float]:
    """Return requests per second, and per second of the gateway's CPU."""
    process = psutil.Process(gateway.pid)
    cpu, started = cpu_s(process), time.perf_counter()
    ask(gateway.port, requests, connections)
    elapsed, used = time.perf_counter() - started, cpu_s(process) - cpu
    asked = requests // connections * connections
    return {
        "connections": connections,
        "requests_per_s": asked / elapsed,
        "requests_per_cpu_s": asked / used,
    }


async def measure(plan: Plan) -> dict[str, Any]:
    """Run one plan against a fresh pipeline."""
    async with run_pipeline() as (ingest, gateway):
        _, writer = await asyncio.open_connection("127.0.0.1", ingest.port)
        tick = Tick(symbol="AAPL", price=150.25, volume=7, exchange_timestamp=time.time_ns())
        writer.write(encode_frame(tick.SerializeToString()))
        await writer.drain()
        await asyncio.to_thread(wait_for_the_tick, gateway.port)
        measured = [
            await asyncio.to_thread(measure_one, gateway, plan.requests, connections)
            for connections in plan.connections
        ]
        writer.close()
        await writer.wait_closed()
    return {**asdict(plan), "measured": measured}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--output", type=Path, help="the JSON file (benchmarks/results/COMMIT)")
    options = parser.parse_args()
    plan = Plan(requests=1_000, connections=(1, 8)) if options.quick else Plan()
    results = asyncio.run(measure(plan))
    path = write_results("rest", results, options.output)
    print(json.dumps(machine_facts()))
    rows: list[tuple[str, ...]] = [("GET, connections", "requests/s", "per second of CPU")]
    rows += [
        (
            f"{each['connections']}",
            f"{each['requests_per_s']:,.0f}",
            f"{each['requests_per_cpu_s']:,.0f}",
        )
        for each in results["measured"]
    ]
    print(format_table(rows))
    print(f"written to {path}")


if __name__ == "__main__":
    main()

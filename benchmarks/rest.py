"""Measure how many states per second REST serves, with the rate limit off."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson

from benchmarks.clients import Client, Crowd
from benchmarks.harness import CpuMeter, Service, WrongResult, cpu_note, run_service, run_standalone
from benchmarks.latencies import Latencies
from benchmarks.limits import MachineLimits
from benchmarks.messages import Messages
from benchmarks.pacer import run_pacer
from benchmarks.pipeline import run_backend
from benchmarks.report import Line, Outcome
from fakeclient.walk import choose_symbols

WAIT_S = 10.0
VOLUME = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    clients: tuple[int, ...] = (1, 8, 32)
    seconds: float = 8.0


FULL = Plan()
QUICK = Plan(clients=(1, 32), seconds=0.5)


class Getter(Client):
    """Request one symbol over one connection, again as soon as the answer is there."""

    def __init__(self, port: int, symbol: str) -> None:
        super().__init__(port)
        self._request = (
            f"GET /api/v1/marketdata/{symbol} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        self._symbol = symbol
        self._rest = b""
        self._asked = 0.0
        self.answers: list[float] = []
        self.asks = True

    def begin(self) -> bytes:
        """Send the request."""
        self._asked = time.perf_counter()
        self.socket.sendall(self._request)
        return b""

    def take(self) -> None:
        """Check an answer, and send the next request.

        Raises:
            WrongResult: the answer is not the state of that symbol.
        """
        self._rest += self.read()
        head, _, body = self._rest.partition(b"\r\n\r\n")
        if not body.endswith(b"}"):
            return
        self.answers.append(time.perf_counter() - self._asked)
        state = orjson.loads(body)
        if not head.startswith(b"HTTP/1.1 200 ") or (state["symbol"], state["volume"]) != (
            self._symbol,
            str(VOLUME),
        ):
            raise WrongResult(f"{self._rest!r} instead of {self._symbol} with {VOLUME}")
        self._rest = b""
        if self.asks:
            self.begin()


def measure_clients(
    plan: Plan, clients: int, gateway: Service, aggregator: Service
) -> dict[str, Any]:
    """Measure so many clients."""
    crowd: Crowd[Getter] = Crowd()
    symbols = choose_symbols(str(clients))
    try:
        for symbol in symbols:
            crowd.add(Getter(gateway.port, symbol))
        # The first one connects the gateway and takes 40 ms.
        crowd.poll_until(lambda: all(c.answers for c in crowd.clients), WAIT_S, "no answer")
        for client in crowd.clients:
            client.answers.clear()
        meter = CpuMeter(gateway=gateway, aggregator=aggregator)
        stop = time.monotonic() + plan.seconds
        while time.monotonic() < stop:
            crowd.poll(0.01)
        latencies = Latencies(taken for client in crowd.clients for taken in client.answers)
        seconds, cpu_s = meter.stop()
    finally:
        crowd.stop()
    return {
        "clients": clients,
        "requests_per_s": len(latencies) / seconds,
        "requests_per_cpu_s": len(latencies) / cpu_s["gateway"],
        "cpu": {name: used / seconds for name, used in cpu_s.items()},
        "latency": latencies.to_dict(),
    }


def fill(ingest: Service, clients: int) -> None:
    """Give each symbol its volume."""
    with run_pacer(ingest.port, choose_symbols(str(clients))) as pacer:
        pacer.start(1_000, VOLUME * clients / 1_000)
        pacer.finish()


async def measure(limits: MachineLimits, messages: Messages, *, full: bool) -> Outcome:
    """Measure each number of clients."""
    plan = FULL if full else QUICK
    async with run_backend(session="none") as backend:
        await asyncio.to_thread(fill, backend.ingest, max(plan.clients))
        address = backend.aggregator.address
        async with run_service("gateway", aggregator=address, rate_limit=0) as gateway:
            found = [
                await asyncio.to_thread(measure_clients, plan, clients, gateway, backend.aggregator)
                for clients in plan.clients
            ]
    async with run_standalone(aggregator_session="none", gateway_rate_limit=0) as one:
        await asyncio.to_thread(fill, one["ingest"], max(plan.clients))
        gateway = one["gateway"]
        alone = [
            await asyncio.to_thread(measure_clients, plan, clients, gateway, gateway)
            for clients in plan.clients
        ]
    lines = _lines_of(found, limits, messages)
    for each in alone:
        clients, per_core = each["clients"], each["requests_per_cpu_s"]
        lines.append(
            Line(
                f"rest/standalone/{clients}/per-core",
                f"GET /api/v1/marketdata/SYMBOL, standalone, {clients} client"
                f"{'s' * (clients > 1)}, per core of all services",
                per_core,
                "per s of CPU",
                note=f"{each['requests_per_s']:,.0f} per s; p50 {each['latency']['p50_ms']:.2f} ms",
            )
        )
    return Outcome(lines, {"clients": found, "standalone": alone})


def _lines_of(found: list[dict[str, Any]], limits: MachineLimits, messages: Messages) -> list[Line]:
    lines = []
    for each in found:
        clients = each["clients"]
        what = f"GET /api/v1/marketdata/SYMBOL, {clients} client{'s' * (clients > 1)}"
        compared = (limits.round_trips_per_s, "round trips", messages.gets_per_s)
        note = f"p50 {each['latency']['p50_ms']:.2f} ms; {cpu_note(each['cpu'])}"
        lines.append(
            Line(f"rest/{clients}", what, each["requests_per_s"], "per s", *compared, note)
        )
        per_core = each["requests_per_cpu_s"]
        what += ", per core of the gateway"
        lines.append(Line(f"rest/{clients}/per-core", what, per_core, "per s of CPU"))
    return lines

"""How fast ingest alone is: the loop that reads frames, and a socket to acked batches.

The aggregator is a sink in this process that acks what it gets and reads it only after the clock
has stopped. ``python -m benchmarks.ingest``
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
import psutil
from numba import njit
from numpy.typing import NDArray

from benchmarks.harness import (
    Service,
    Spread,
    WrongResult,
    format_table,
    machine_facts,
    run_service,
    write_results,
)
from fakeclient.packing import Packer
from fakeclient.walk import RandomWalk, choose_symbols
from ingest.feed import READ_SIZE, Feed, Intake
from ingest.outbox import Outbox
from marketdata.channel import server_options
from marketdata.validation import TickRules
from marketdata.warm import load_kernels
from marketdata.wire import market_data_pb2 as wire

SEED = 1
CHUNK = 10_000
TIMEOUT_S = 120.0
BATCH_TICKS = 10_000
_FIRST_SEQUENCE_TAG = wire.TickBatch.FIRST_SEQUENCE_FIELD_NUMBER << 3
_TICKS_TAG = wire.TickBatch.TICKS_FIELD_NUMBER << 3 | 2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    ticks: int
    repeats: int
    connections: tuple[int, ...]
    symbols: tuple[int, ...]


FULL = Plan(ticks=4_000_000, repeats=3, connections=(1, 10, 100), symbols=(10, 500, 50_000))
QUICK = Plan(ticks=200_000, repeats=1, connections=(1, 10), symbols=(500,))


class Frames:
    """Single-tick frames of a random walk, made before any clock starts, and what they come to."""

    def __init__(self, ticks: int, symbols: int) -> None:
        self.ticks = ticks
        self.symbols = symbols
        self.volume = 0
        # Whole frames, CHUNK ticks each.
        self.chunks: list[bytes] = []
        walk, packer = RandomWalk(choose_symbols(str(symbols)), Random(SEED)), Packer()
        now_ns = time.time_ns()
        for start in range(0, ticks, CHUNK):
            rows = walk.take(min(CHUNK, ticks - start), now_ns + start)
            self.volume += sum(row[2] for row in rows)
            self.chunks.append(b"".join(parcel.data for parcel in packer.pack(rows)[0]))
        self.size = sum(map(len, self.chunks))

    def parts(self, count: int) -> list[bytes]:
        """Return the frames as what each of ``count`` connections sends."""
        return [b"".join(self.chunks[number::count]) for number in range(count)]


@njit(cache=True)
def read_batch(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Return the first sequence of a serialized ``TickBatch`` and how many ticks it has."""
    first = ticks = position = 0
    while position < data.size:
        tag = data[position]
        position += 1
        if tag == _FIRST_SEQUENCE_TAG:
            shift = 0
            while True:
                first |= int(data[position] & 0x7F) << shift
                shift += 7
                position += 1
                if data[position - 1] < 0x80:
                    break
        else:
            # The producer's id and the ticks are all shorter than 128 bytes.
            position += 1 + data[position]
            ticks += tag == _TICKS_TAG
    return first, ticks


class Sink:
    """Stands in for the aggregator: acks every batch and keeps its bytes."""

    def __init__(self, ticks: int) -> None:
        self._missing = ticks
        self.batches: list[bytes] = []
        self.complete = asyncio.Event()

    async def publish(self, _batches: object, context: Any) -> None:
        """Serve PublishTicks, in bytes."""
        await context.send_initial_metadata(())
        while isinstance(data := await context.read(), bytes):
            self.batches.append(data)
            first, ticks = read_batch(np.frombuffer(data, np.uint8))
            ack = wire.BatchAck(last_sequence=first + ticks - 1, accepted=ticks)
            await context.write(ack.SerializeToString())
            self._missing -= ticks
            if not self._missing:
                self.complete.set()

    def check(self, frames: Frames) -> None:
        """Make sure that every tick came once.

        Raises:
            WrongResult: sequences, number or volume of the ticks are others than were sent.
        """
        ticks, volume, following = 0, 0, None
        for data in self.batches:
            batch = wire.TickBatch.FromString(data)
            if following not in (None, batch.first_sequence):
                raise WrongResult(f"sequence {batch.first_sequence} came after {following}")
            following = batch.first_sequence + len(batch.ticks)
            ticks += len(batch.ticks)
            volume += sum(tick.volume for tick in batch.ticks)
        if (ticks, volume) != (frames.ticks, frames.volume):
            raise WrongResult(
                f"sent {frames.ticks} ticks with a volume of {frames.volume}, "
                f"found {ticks} with {volume}"
            )


@asynccontextmanager
async def run_sink(sink: Sink) -> AsyncIterator[str]:
    """Serve the sink for the time of the context; give its address."""
    methods: dict[str, Any] = {"PublishTicks": grpc.stream_stream_rpc_method_handler(sink.publish)}
    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("marketdata.MarketDataService", methods)]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


@dataclass(frozen=True, slots=True)
class Rate:
    """One measurement."""

    ticks_per_s: float
    # What ingest itself needed, on all its cores.
    ticks_per_cpu_s: float


async def measure_service(frames: Frames, connections: int, workers: int = 1) -> Rate:
    """Return how fast ticks go from sockets through ingest into acked batches."""
    sink = Sink(frames.ticks)
    read_batch(np.zeros(0, np.uint8))
    parts = frames.parts(connections)
    more = {} if workers == 1 else {"workers": workers}
    async with (
        run_sink(sink) as address,
        run_service("ingest", aggregator=address, **more) as ingest,
        asyncio.timeout(TIMEOUT_S),
    ):
        socks = [socket.create_connection(("127.0.0.1", ingest.port)) for _ in parts]
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(connections) as pool:
            cpu_s = _cpu_seconds(ingest)
            began = time.perf_counter()
            sending = [
                loop.run_in_executor(pool, sock.sendall, part)
                for sock, part in zip(socks, parts, strict=True)
            ]
            await sink.complete.wait()
            seconds = time.perf_counter() - began
            cpu_s = _cpu_seconds(ingest) - cpu_s
            await asyncio.gather(*sending)
        for sock in socks:
            sock.close()
    sink.check(frames)
    return Rate(frames.ticks / seconds, frames.ticks / cpu_s)


def _cpu_seconds(service: Service) -> float:
    process = psutil.Process(service.pid)
    return sum(
        times.user + times.system
        for times in (each.cpu_times() for each in (process, *process.children()))
    )


def measure_kernel(frames: Frames) -> tuple[float, float]:
    """Return how fast the loop alone is, and a copy of the same bytes, in ticks per second.

    Seconds of CPU: it is one thread that waits for nothing, and others use the machine.
    """
    outbox = Outbox(
        producer_id="benchmark", first_sequence=1, batch_ticks=BATCH_TICKS, max_batches=1
    )
    intake = Intake(
        TickRules(timestamp_unit="auto", max_future_skew_s=60), outbox, max_frame_size=1_000_000
    )
    feed = Feed(intake)
    data = memoryview(b"".join(frames.chunks))
    reads = [data[start : start + READ_SIZE] for start in range(0, len(data), READ_SIZE)]
    now_ns = time.time_ns()
    seconds = copying_s = 0.0
    for read in reads:
        began = time.thread_time()
        intake.window[: len(read)] = read
        copied = time.thread_time()
        feed.receive_data(len(read), now_ns)
        seconds += time.thread_time() - copied
        copying_s += copied - began
        while (batch := outbox.next_unsent()) is not None:
            outbox.acknowledge(batch.last_sequence)
    if feed.accepted != frames.ticks:
        raise WrongResult(f"sent {frames.ticks} ticks, {feed.accepted} were accepted")
    return frames.ticks / seconds, frames.ticks / copying_s


async def run(plan: Plan, output: Path | None) -> None:
    """Measure everything, print the table, write the JSON file."""
    load_kernels()
    kernel_rows = [["kernel alone", "ticks/s", "memcpy, ticks/s", "bytes per tick"]]
    rows = [["socket to acked batch", "ticks/s", "min", "max", "per second of CPU"]]
    kernels: list[dict[str, Any]] = []
    services: list[dict[str, Any]] = []
    for symbols in plan.symbols:
        frames = Frames(plan.ticks, symbols)
        measured = [measure_kernel(frames) for _ in range(plan.repeats)]
        loop, copy = (Spread(values) for values in zip(*measured, strict=True))
        kernels.append(
            {"symbols": symbols, "ticks_per_s": loop.to_dict(), "memcpy": copy.to_dict()}
        )
        kernel_rows.append(
            [
                f"{symbols:,} symbols",
                f"{loop.median:,.0f}",
                f"{copy.median:,.0f}",
                f"{frames.size / frames.ticks:.1f}",
            ]
        )
        for connections in plan.connections:
            rates = [await measure_service(frames, connections) for _ in range(plan.repeats)]
            speed = Spread(tuple(rate.ticks_per_s for rate in rates))
            per_cpu = Spread(tuple(rate.ticks_per_cpu_s for rate in rates))
            services.append(
                {
                    "symbols": symbols,
                    "connections": connections,
                    "ticks_per_s": speed.to_dict(),
                    "ticks_per_cpu_s": per_cpu.to_dict(),
                }
            )
            values = (speed.median, min(speed.values), max(speed.values), per_cpu.median)
            name = f"{symbols:,} symbols, {connections} connections"
            rows.append([name, *(f"{value:,.0f}" for value in values)])
    path = write_results(
        "ingest", {"ticks": plan.ticks, "kernel": kernels, "service": services}, output
    )
    print(", ".join(f"{name} {value}" for name, value in machine_facts().items()))
    print(f"\n{format_table(kernel_rows)}\n\n{format_table(rows)}\n\nwritten to {path.name}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, for a first look")
    parser.add_argument("--output", type=Path, help="the JSON file (benchmarks/results/COMMIT)")
    given = parser.parse_args()
    asyncio.run(run(QUICK if given.quick else FULL, given.output))


if __name__ == "__main__":
    main()

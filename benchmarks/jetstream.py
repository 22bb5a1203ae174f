"""Measure acked ticks per second: our producer session beside NATS JetStream with file storage.

Both get the same ticks over one connection, prepared before the clock starts, with a bounded number
of unacknowledged ones. JetStream gets one message per tick, as its clients send, and once more a
message per batch. It acks when a message is written to its file, and syncs the file every two
minutes; our log is synced every 100 ms. JetStream stores; it neither parses the ticks nor adds
them up.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.acked import TIMEOUT_S, Piece, cut, send_all, to_records
from benchmarks.frames import Market
from benchmarks.harness import CpuMeter, Service, WrongResult, cpu_note
from benchmarks.latencies import Spread
from benchmarks.limits import READ_SIZE
from benchmarks.nats import connect, find_program, run_nats
from benchmarks.pipeline import check_states, run_backend
from benchmarks.report import Line, Outcome
from marketdata.producer.frames import AnswerReader, batch_frame, hello_frame
from marketdata.timestamps import NS_PER_S

# The default of JetStream's clients for asynchronous publishing is 4,000.
MESSAGES_UNACKED = 4_000
BATCHES_UNACKED = 64
BATCH_TICKS = 1_000
# Messages that are written with one send.
SEND_TOGETHER = 100
STREAM, INBOX = "TICKS", "_INBOX.bench"
CONFIG = """
jetstream {{ store_dir: "{folder}/js", max_file: 20GB }}
"""


def in_batches(ticks: list[bytes]) -> Iterator[list[bytes]]:
    """Give the ticks in batches."""
    for start in range(0, len(ticks), BATCH_TICKS):
        yield ticks[start : start + BATCH_TICKS]


def to_session(ticks: list[bytes], first_sequence: int) -> list[Piece]:
    """Return the batches of a producer session."""
    pieces = []
    for batch in in_batches(ticks):
        pieces.append(Piece(batch_frame(first_sequence, to_records(batch)), len(batch)))
        first_sequence += len(batch)
    return pieces


def to_publishes(symbols: list[str], ticks: list[bytes]) -> list[Piece]:
    """Return one publish per tick, to the subject of its symbol, with an inbox for the ack."""
    heads = [f"PUB {STREAM}.{symbol} {INBOX} ".encode() for symbol in symbols]
    commands = [
        b"%b%d\r\n%b\r\n" % (head, len(tick), tick) for head, tick in zip(heads, ticks, strict=True)
    ]
    return [
        Piece(b"".join(together), len(together))
        for start in range(0, len(commands), SEND_TOGETHER)
        if (together := commands[start : start + SEND_TOGETHER])
    ]


def to_large_publishes(ticks: list[bytes]) -> list[Piece]:
    """Return one publish per batch of ticks."""
    return [
        Piece(b"PUB %b.all %b %d\r\n%b\r\n" % (STREAM.encode(), INBOX.encode(), len(data), data), 1)
        for data in map(to_records, in_batches(ticks))
    ]


class AckCounter:
    """Count JetStream's acks, however they are cut into reads."""

    PART = b'"seq":'

    def __init__(self) -> None:
        self._rest = b""

    def __call__(self, data: bytes) -> int:
        """Return how many acks ``data`` completes.

        Raises:
            WrongResult: a message was refused.
        """
        whole = self._rest + data
        if b'"error"' in whole:
            raise WrongResult(f"JetStream refused a message: {whole[:300]!r}")
        end = whole.rfind(b"\r\n") + 2
        self._rest = whole[end:]
        return whole.count(self.PART, 0, end)


class JetStream:
    """One stream of a server, over its own connection."""

    def __init__(self, port: int) -> None:
        self.sock = connect(port)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.sendall(f"SUB {INBOX} 1\r\nSUB _INBOX.api 2\r\n".encode())
        stream = {"name": STREAM, "subjects": [f"{STREAM}.>"], "storage": "file"}
        self._ask(f"STREAM.CREATE.{STREAM}", json.dumps(stream))

    def _ask(self, call: str, body: str = "") -> dict[str, Any]:
        data = body.encode()
        self.sock.sendall(
            b"PUB $JS.API.%b _INBOX.api %d\r\n%b\r\n" % (call.encode(), len(data), data)
        )
        answer = b""
        while not (found := re.search(rb"MSG _INBOX.api 2 (\d+)\r\n", answer)) or len(
            answer
        ) < found.end() + int(found[1]):
            answer += self.sock.recv(READ_SIZE)
        read: dict[str, Any] = json.loads(answer[found.end() : found.end() + int(found[1])])
        if "error" in read:
            raise WrongResult(f"JetStream: {read['error']}")
        return read

    def empty(self) -> None:
        """Remove all messages."""
        self._ask(f"STREAM.PURGE.{STREAM}")

    def count(self) -> int:
        """Return how many messages it has."""
        return int(self._ask(f"STREAM.INFO.{STREAM}")["state"]["messages"])


@asynccontextmanager
async def run_jetstream(program: str) -> AsyncIterator[tuple[Service, JetStream]]:
    """Run a server with file storage."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        config = CONFIG.format(folder=folder)
        async with run_nats(program, config) as service:
            stream = await asyncio.to_thread(JetStream, service.port)
            try:
                yield service, stream
            finally:
                stream.sock.close()


class Session:
    """A producer session with prepared batches."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.settimeout(TIMEOUT_S)
        self._answers = AnswerReader()
        self.acked = self.rejected = 0
        self.sock.sendall(hello_frame("bench"))
        while not any(
            answer.HasField("welcome") for answer in self._answers.read(self.sock.recv(READ_SIZE))
        ):
            pass

    def read_acks(self, data: bytes) -> int:
        """Return how many ticks ``data`` acks.

        Raises:
            WrongResult: the session was ended, or a tick was rejected.
        """
        before = self.acked
        for answer in self._answers.read(data):
            if answer.HasField("error") or answer.ack.rejections:
                raise WrongResult(f"ingest answered {answer}")
            self.acked = answer.ack.last_sequence
        return self.acked - before


@dataclass(slots=True)
class _Turns:
    """What each of the sides took."""

    found: list[dict[str, Any]]

    def add(self, side: str, ticks: int, seconds: float, cpu_s: dict[str, float]) -> None:
        self.found.append(
            {
                "side": side,
                "ticks_per_s": ticks / seconds,
                "cpu": {name: used / seconds for name, used in cpu_s.items()},
            }
        )


OURS, SINGLE, LARGE = "ours", "nats", "nats-batches"


async def measure_turns(program: str, ticks: int, turns: int) -> list[dict[str, Any]]:
    """Send the same ticks to both, in turns.

    Raises:
        WrongResult: a tick was not stored, or was counted twice.
    """
    market = Market(500, 1)
    start_ns = (time.time_ns() // NS_PER_S // 3600 - 1) * 3600 * NS_PER_S
    # The first turn opens the symbols and warms up.
    parts = [market.opening(start_ns)[0]]
    for turn in range(turns):
        at_ns = start_ns + (turn + 1) * NS_PER_S
        parts.append(market.ticks(ticks, at_ns, max(ticks, 1_000))[0])
    done = _Turns([])
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with (
            run_backend(log=folder) as backend,
            run_jetstream(program) as (service, stream),
        ):
            session = await asyncio.to_thread(Session, backend.ingest.port)
            ours = {"ingest": backend.ingest, "aggregator": backend.aggregator}
            for number, part in enumerate(parts):
                sent = cut(market.writer.write(part))
                symbols = [market.symbols[each] for each in part.chosen.tolist()]
                jobs = (
                    (OURS, ours, to_session(sent, session.acked + 1)),
                    (SINGLE, {"nats": service}, to_publishes(symbols, sent)),
                    (LARGE, {"nats": service}, to_large_publishes(sent)),
                )
                for side, services, pieces in jobs if number % 2 else jobs[::-1]:
                    meter = CpuMeter(**services)
                    if side == OURS:
                        limit, sock = BATCHES_UNACKED * BATCH_TICKS, session.sock
                        read = session.read_acks
                    else:
                        limit, sock, read = MESSAGES_UNACKED, stream.sock, AckCounter()
                    if side == LARGE:
                        limit = BATCHES_UNACKED
                    seconds = await asyncio.to_thread(send_all, sock, pieces, limit, read)
                    _, cpu_s = meter.stop()
                    if side != OURS:
                        await asyncio.to_thread(_check_stream, stream, pieces)
                    if number:
                        done.add(side, len(sent), seconds, cpu_s)
            await check_states(backend.stub, market.totals)
            session.sock.close()
    return done.found


def _check_stream(stream: JetStream, pieces: list[Piece]) -> None:
    expected = sum(piece.acks for piece in pieces)
    if (stored := stream.count()) != expected:
        raise WrongResult(f"JetStream has {stored} messages, {expected} were acked")
    stream.empty()


def lines_of(found: list[dict[str, Any]]) -> list[Line]:
    """Return a line for each side."""
    lines = []
    for side, what, peer in (
        (OURS, f"acked ticks, {BATCH_TICKS:,} per batch, log interval:100ms, with bars", ""),
        (SINGLE, "acked ticks, one message each, file storage", "NATS JetStream"),
        (LARGE, f"acked ticks, {BATCH_TICKS:,} per message, file storage", "NATS JetStream"),
    ):
        own = [each for each in found if each["side"] == side]
        rate = Spread(tuple(each["ticks_per_s"] for each in own))
        note = cpu_note(own[-1]["cpu"])
        lines.append(Line(f"jetstream/{side}", what, rate.median, "ticks/s", note=note, peer=peer))
    return lines


async def measure(*, full: bool) -> Outcome:
    """Measure both where the peer is installed."""
    program = find_program()
    if program is None:
        return Outcome([], {}, skipped="NATS is not installed (Debian: nats-server)")
    found = await measure_turns(program, *((1_000_000, 4) if full else (20_000, 1)))
    return Outcome(lines_of(found), {"turns": found})

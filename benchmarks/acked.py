"""Send prepared messages with a bounded number of unacknowledged ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.harness import WrongResult
from benchmarks.limits import READ_SIZE

TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Piece:
    """What is written with one send, and how many acks answer it."""

    data: bytes
    acks: int


class AckWindow:
    """Bound the unacknowledged messages between the thread that sends and that which reads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()
        self.sent = self.acked = 0
        self.failure: Exception | None = None

    def take(self, count: int) -> None:
        """Wait until so many more may be sent.

        Raises:
            WrongResult: the acks ended.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: self.failure or self.sent - self.acked + count <= self._limit, TIMEOUT_S
            ):
                raise WrongResult("no ack came")
            if self.failure is not None:
                raise self.failure
            self.sent += count

    def ack(self, count: int) -> None:
        """Note that so many more are acked."""
        with self._changed:
            self.acked += count
            self._changed.notify()

    def fail(self, failure: Exception) -> None:
        """Let the sender end."""
        with self._changed:
            self.failure = failure
            self._changed.notify()


def send_all(
    sock: socket.socket, pieces: list[Piece], limit: int, read_acks: Callable[[bytes], int]
) -> float:
    """Send everything and wait for all acks; return the seconds.

    Raises:
        WrongResult: not everything was acked.
    """
    window = AckWindow(limit)
    expected = sum(piece.acks for piece in pieces)

    def read() -> None:
        try:
            while window.acked < expected and (data := sock.recv(READ_SIZE)):
                window.ack(read_acks(data))
        except Exception as exc:
            window.fail(exc)
        else:
            if window.acked < expected:
                window.fail(WrongResult(f"{window.acked} of {expected} messages were acked"))

    sock.settimeout(TIMEOUT_S)
    reading = threading.Thread(target=read)
    began = time.perf_counter()
    reading.start()
    try:
        for piece in pieces:
            window.take(piece.acks)
            sock.sendall(piece.data)
    finally:
        reading.join()
    seconds = time.perf_counter() - began
    if window.failure is not None:
        raise window.failure
    return seconds


def cut(frames: memoryview) -> list[bytes]:
    """Return the serialized ticks of frames."""
    ticks, position = [], 0
    while position < len(frames):
        size = frames[position + 3]
        ticks.append(bytes(frames[position + 4 : position + 4 + size]))
        position += 4 + size
    return ticks


def to_records(ticks: list[bytes]) -> bytes:
    """Return ticks as the encoded records of a ``TickBatch``."""
    return b"".join([b"\x1a" + bytes((len(tick),)) + tick for tick in ticks])

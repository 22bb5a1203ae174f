"""Publish ticks to peers, each as the state that our gateway would send.

A peer only routes: the running volume, which says that no tick is missing, is counted here.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterable, Sequence

from benchmarks.clients import NO_MASK, READ_SIZE
from benchmarks.pacer import PRICE
from gateway.encoding import aggregate_to_dict, encode_json
from marketdata.wire.market_data_pb2 import Aggregate

CENTRIFUGO_PATH = "/connection/websocket"
# Larger messages are refused.
CENTRIFUGO_MESSAGE_BYTES = 60_000


class StateWriter:
    """Write the states of symbols as JSON, with a running volume."""

    def __init__(self, symbols: Sequence[str]) -> None:
        self._volumes = [0] * len(symbols)
        self._heads: list[bytes] = []
        for symbol in symbols:
            state = Aggregate(
                symbol=symbol, open=PRICE, high=PRICE, low=PRICE, close=PRICE, volume=0
            )
            body = encode_json(aggregate_to_dict(state))
            head, _, _ = body.partition(b'"volume":"')
            self._heads.append(head)

    def write(self, number: int, now_ns: int) -> tuple[int, bytes]:
        """Return the row of the symbol, and its state after one more tick."""
        row = number % len(self._heads)
        self._volumes[row] += 1
        return row, b'%b"volume":"%d","timestamp":"%d","timestampNs":"%d","trades":"%d"}' % (
            self._heads[row],
            self._volumes[row],
            now_ns // 1_000_000,
            now_ns,
            self._volumes[row],
        )


def _drain(sock: socket.socket) -> None:
    # Answers are read, so that the peer never waits for us.
    while True:
        try:
            if not sock.recv(READ_SIZE):
                return
        except OSError:
            return


class _Peer:
    """A connection whose answers are thrown away."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self._socket.sendall

    def _start_reading(self) -> None:
        threading.Thread(target=_drain, args=(self._socket,), daemon=True).start()

    def close(self) -> None:
        """Disconnect."""
        self._socket.close()


class CentrifugoSender(_Peer):
    """Publish over one WebSocket: a ``publish`` command per tick, many in one message."""

    def __init__(self, port: int, symbols: Sequence[str]) -> None:
        super().__init__(port)
        self._symbols = [symbol.encode() for symbol in symbols]
        self._writer = StateWriter(symbols)
        self._last_id = 1
        open_centrifugo(self._socket)
        self._start_reading()

    def encode(self, numbers: Iterable[int], now_ns: int) -> bytes:
        """Return the messages with the commands."""
        messages: list[bytes] = []
        commands: list[bytes] = []
        size = 0
        for number in numbers:
            row, state = self._writer.write(number, now_ns)
            self._last_id += 1
            command = b'{"id":%d,"publish":{"channel":"%b","data":%b}}' % (
                self._last_id,
                self._symbols[row],
                state,
            )
            if commands and size + len(command) > CENTRIFUGO_MESSAGE_BYTES:
                messages.append(text_message(b"\n".join(commands)))
                commands, size = [], 0
            commands.append(command)
            size += len(command) + 1
        messages.append(text_message(b"\n".join(commands)))
        return b"".join(messages)


class RabbitSender(_Peer):
    """Publish over one STOMP connection: a SEND per tick."""

    def __init__(self, port: int, symbols: Sequence[str]) -> None:
        super().__init__(port)
        self._symbols = [symbol.encode() for symbol in symbols]
        self._writer = StateWriter(symbols)
        self.send(
            b"CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n"
            b"heart-beat:0,0\n\n\0"
        )
        if not self._socket.recv(4096).startswith(b"CONNECTED"):
            raise RuntimeError("RabbitMQ refused the publisher")
        self._start_reading()

    def encode(self, numbers: Iterable[int], now_ns: int) -> bytes:
        """Return the frames."""
        frames = []
        for number in numbers:
            row, state = self._writer.write(number, now_ns)
            frames.append(
                b"SEND\ndestination:/topic/market-data.%b\ncontent-type:application/json\n"
                b"content-length:%d\n\n%b\0" % (self._symbols[row], len(state), state)
            )
        return b"".join(frames)


def text_message(data: bytes) -> bytes:
    """Return a WebSocket message of a client."""
    if len(data) < 126:
        head = bytes((0x81, 0x80 | len(data)))
    elif len(data) < 65_536:
        head = bytes((0x81, 0x80 | 126)) + len(data).to_bytes(2)
    else:
        head = bytes((0x81, 0x80 | 127)) + len(data).to_bytes(8)
    return head + NO_MASK + data


def open_centrifugo(sock: socket.socket) -> None:
    """Open a WebSocket and connect, in Centrifugo's JSON protocol."""
    key = os.urandom(16).hex()[:22] + "=="
    sock.sendall(
        f"GET {CENTRIFUGO_PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    _read_until(sock, b"\r\n\r\n")
    sock.sendall(text_message(b'{"id":1,"connect":{}}'))
    _read_until(sock, b'"client"')


def _read_until(sock: socket.socket, end: bytes) -> None:
    seen = b""
    while end not in seen:
        data = sock.recv(4096)
        if not data:
            raise RuntimeError(f"the server left after {seen!r}")
        seen += data

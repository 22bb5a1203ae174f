"""Run many live clients in one thread, with as little of STOMP over WebSocket as is needed."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from benchmarks.harness import WrongResult

READ_SIZE = 256 * 1024
# More than a 64 KiB segment of loopback: with less, the sender waits seconds for its probe timer.
SMALL_RECEIVE_BUFFER = 96 * 1024
# Pings carry four bytes; no text of ours has the first one.
PING, PONG_HEAD = b"\x89\x04", b"\x8a\x84" + bytes(4)
# Leaves the bytes as they are.
NO_MASK = bytes(4)


@dataclass(frozen=True, slots=True)
class StompDialect:
    """What differs between STOMP servers."""

    path: str = "/ws/websocket"
    # Further headers of the handshake.
    protocol: str = ""
    # Of CONNECT.
    login: str = ""
    # Before the symbol; in an exchange of RabbitMQ it is a routing key.
    destination: str = "/topic/market-data/"


GATEWAY = StompDialect()
# A topic of its own per symbol.
RABBITMQ = StompDialect(
    path="/ws",
    protocol="Sec-WebSocket-Protocol: v12.stomp\r\n",
    login="login:guest\npasscode:guest\n",
    destination="/topic/market-data.",
)


class Client:
    """One connection."""

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def begin(self) -> bytes:
        """Subscribe; return the bytes that came after the answer."""
        raise NotImplementedError

    def take(self) -> None:
        """Take the bytes that have come."""
        raise NotImplementedError

    def read(self) -> bytes:
        """Return the bytes that have come, without pings, which are answered.

        Raises:
            WrongResult: the server ended the connection.
        """
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise WrongResult("a client was lost")
        if (ping := data.find(PING)) >= 0:
            # Its four bytes are random, and may look like a part of a frame.
            self.socket.sendall(PONG_HEAD + data[ping + 2 : ping + 6])
            data = data[:ping] + data[ping + 6 :]
        return data

    def read_until(self, end: bytes) -> bytes:
        """Return the bytes that come after ``end``."""
        seen = b""
        while end not in seen:
            data = self.socket.recv(4096)
            if not data:
                raise WrongResult(f"no {end!r} in {seen!r}")
            seen += data
        return seen[seen.index(end) + len(end) :]

    def subscribe_stomp(
        self, symbols: Sequence[str], policy: str, dialect: StompDialect = GATEWAY
    ) -> bytes:
        """Connect and subscribe; return the bytes that came after the last answer."""
        self.socket.sendall(
            f"GET {dialect.path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"Sec-WebSocket-Version: 13\r\n{dialect.protocol}\r\n".encode()
        )
        self.read_until(b"\r\n\r\n")
        self.send(f"CONNECT\naccept-version:1.2\nhost:/\nheart-beat:0,0\n{dialect.login}\n\0")
        self.read_until(b"\0")
        for number, symbol in enumerate(symbols):
            self.send(
                f"SUBSCRIBE\nid:sub-{number}\ndestination:{dialect.destination}{symbol}\n"
                f"policy:{policy}\nreceipt:{number}\n\n\0"
            )
        # The last RECEIPT, then the present state, if there is one.
        return self.read_until(f"receipt-id:{len(symbols) - 1}\n\n\0".encode())

    def send(self, message: str) -> None:
        """Send one WebSocket message."""
        data = message.encode()
        if len(data) < 126:
            head = bytes((0x81, 0x80 | len(data)))
        else:
            head = bytes((0x81, 0x80 | 126)) + len(data).to_bytes(2)
        self.socket.sendall(head + NO_MASK + data)


C = TypeVar("C", bound=Client)


class Crowd(Generic[C]):
    """Many clients that are read whenever something has come."""

    def __init__(self) -> None:
        self.clients: list[C] = []
        self._epoll = select.epoll()
        self._by_fd: dict[int, C] = {}

    def add(self, client: C) -> None:
        """Let one more subscribe; from then on it reads."""
        self.clients.append(client)
        client.begin()
        client.socket.setblocking(False)
        self._by_fd[client.socket.fileno()] = client
        self._epoll.register(client.socket, select.EPOLLIN)

    def poll(self, timeout_s: float) -> None:
        """Let clients take what has come, or wait for something."""
        by_fd = self._by_fd
        for fd, _ in self._epoll.poll(timeout_s, 4096):
            by_fd[fd].take()

    def poll_until(self, done: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Read until ``done`` is true.

        Raises:
            WrongResult: it is not true in time; ``what`` says what is missing.
        """
        deadline = time.monotonic() + timeout_s
        while not done():
            self.poll(0.005)
            if time.monotonic() > deadline:
                raise WrongResult(f"after {timeout_s:g} s: {what}")

    def poll_until_all(self, done: Callable[[C], bool], timeout_s: float, what: str) -> None:
        """Read until ``done`` is true of every client.

        Raises:
            WrongResult: it is not true in time.
        """
        waiting = list(self.clients)

        def are_done() -> bool:
            waiting[:] = [client for client in waiting if not done(client)]
            return not waiting

        self.poll_until(are_done, timeout_s, what)

    def stop(self) -> None:
        """Disconnect."""
        for client in self.clients:
            client.socket.close()
        self._epoll.close()

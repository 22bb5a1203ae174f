"""The clients of benchmarks count right, whatever way the bytes are cut."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

from benchmarks.clients import Client, Crowd
from benchmarks.deliveries import CountingClient, Server
from benchmarks.harness import Service, WrongResult
from benchmarks.rest import Getter
from benchmarks.states import Rounds
from benchmarks.watching import StompWatcher
from gateway.encoding import aggregate_to_dict, encode_json


def messages(rounds: int) -> list[bytes]:
    """The states of D000 as a gateway sends them."""
    source = Rounds(["D000"])
    found = []
    for number in range(rounds):
        (state,) = source.make_round()
        text = b"MESSAGE\nsubscription:sub-0\nmessage-id:m1-%d\n\n%s\0" % (
            number,
            encode_json(aggregate_to_dict(state)),
        )
        found.append(b"\x81\x7e" + len(text).to_bytes(2) + text)
    return found


@contextmanager
def server_side(client: Client, listener: socket.socket) -> Iterator[socket.socket]:
    with listener.accept()[0] as theirs, client.socket:
        yield theirs


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


def counting(listener: socket.socket) -> CountingClient:
    service = Service(0, listener.getsockname()[1])
    return CountingClient(Server(service, Rounds(["D000"])), "D000")


@pytest.mark.parametrize("seed", range(5))
def test_states_are_counted_once_however_they_are_cut(listener: socket.socket, seed: int) -> None:
    client = counting(listener)
    data, chance = b"".join(messages(30)), Random(seed)
    with server_side(client, listener) as theirs:
        while data:
            size = min(chance.choice((1, 2, 7, 300, 3000)), len(data))
            theirs.sendall(data[:size])
            data = data[size:]
            client.take()
        while client.sequence() != 30:
            client.take()
    assert client.count == 30
    client.check_count(30, 30)
    client.check_state(30)
    with pytest.raises(WrongResult, match="30 states of D000 instead of 31"):
        client.check_count(client.count, 31)
    with pytest.raises(WrongResult, match="instead of round 31"):
        client.check_state(31)


@pytest.mark.parametrize("seed", range(5))
def test_a_watcher_notes_every_state_once(listener: socket.socket, seed: int) -> None:
    client = StompWatcher(listener.getsockname()[1], ["D000"])
    data, chance = b"".join(messages(30)), Random(seed)
    with server_side(client, listener) as theirs:
        while data:
            size = min(chance.choice((1, 2, 7, 300, 3000)), len(data))
            theirs.sendall(data[:size])
            data = data[size:]
            client.take()
        while not client.arrivals.has({"D000": 30}):
            client.take()
    assert [int(v) for _, states in client.arrivals.seen for _, v, _ in states] == [*range(1, 31)]


def test_a_ping_is_answered_and_not_counted(listener: socket.socket) -> None:
    client = counting(listener)
    with server_side(client, listener) as theirs:
        first, second = messages(2)
        theirs.sendall(first + b"\x89\x04\n\n\n\n" + second)
        while client.sequence() != 2:
            client.take()
        assert theirs.recv(100) == b"\x8a\x84" + bytes(4) + b"\n\n\n\n"
    assert client.count == 2


def test_a_client_that_is_lost_is_an_error(listener: socket.socket) -> None:
    client = counting(listener)
    with server_side(client, listener) as theirs:
        theirs.close()
        with pytest.raises(WrongResult, match="lost"):
            client.take()


def test_an_answer_of_rest_must_be_the_state_that_was_sent(listener: socket.socket) -> None:
    client = Getter(listener.getsockname()[1], "AAPL")
    with server_side(client, listener) as theirs:
        client.begin()
        theirs.sendall(b'HTTP/1.1 200 OK\r\n\r\n{"symbol":"AAPL","volume":"4"}')
        with pytest.raises(WrongResult, match="instead of AAPL"):
            client.take()


def test_what_does_not_come_in_time_is_an_error() -> None:
    crowd: Crowd[Client] = Crowd()
    with pytest.raises(WrongResult, match="nobody has it"):
        crowd.poll_until(lambda: False, 0, "nobody has it")
    crowd.stop()

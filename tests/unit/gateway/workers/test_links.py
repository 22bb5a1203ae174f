"""The way of signaling messages to a worker that does not read."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

from gateway.stomp.destinations import SIGNALING
from gateway.stomp.messages import Message
from gateway.workers.control import SIGNALS
from gateway.workers.links import MAX_WAITING_BYTES, Link
from gateway.workers.signals import Farewell, Missed, SignalDecoder, encode_signal

LARGE = encode_signal(Message(SIGNALING, b'"' + b"x" * 60_000 + b'"'))


async def read_all(sock: socket.socket, messages: int) -> list[Message | Missed | Farewell]:
    """Return what came until so many messages came or are known to be missed."""
    loop, decoder = asyncio.get_running_loop(), SignalDecoder()
    assert await loop.sock_recv(sock, 1) == SIGNALS
    events: list[Message | Missed | Farewell] = []
    count = 0
    while count < messages:
        for event in decoder.feed(await loop.sock_recv(sock, 1 << 20)):
            events.append(event)
            count += event.count if isinstance(event, Missed) else 1
    return events


async def test_what_does_not_fit_is_left_out_and_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        loop = asyncio.get_running_loop()
        transport, link = await loop.create_unix_connection(partial(Link, 1), sock=ours)
        count = 2 * MAX_WAITING_BYTES // len(LARGE)
        for _ in range(count):
            link.send(LARGE)
        # It never waits for more.
        assert transport.get_write_buffer_size() <= MAX_WAITING_BYTES + len(LARGE) + 100
        events = await read_all(theirs, count)
        # They come without holes up to the one that did not fit.
        missed = [event for event in events if isinstance(event, Missed)]
        assert events.index(missed[0]) == len(events) - 1
        assert missed[0].count == count - (len(events) - 1) > 0
        # And it goes on.
        link.send(LARGE)
        (event,) = await _next(theirs, missed[0].count + len(events) - 1)
        assert isinstance(event, Message)
        link.close()
        await link.lost


async def _next(sock: socket.socket, before: int) -> list[Message | Missed | Farewell]:
    loop, decoder = asyncio.get_running_loop(), SignalDecoder()
    events: list[Message | Missed | Farewell] = []
    while not any(isinstance(event, Message) for event in events):
        events += decoder.feed(await loop.sock_recv(sock, 1 << 20))
    # This decoder did not see those before.
    assert events.pop(0) == Missed(before)
    return events


async def test_a_farewell_is_told() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        loop = asyncio.get_running_loop()
        _, link = await loop.create_unix_connection(partial(Link, 1), sock=ours)
        link.say_farewell()
        (event,) = await read_all(theirs, 1)
        assert isinstance(event, Farewell)
    await link.lost

"""Messages come through a lane whole and in order, however the socket cuts them."""

from __future__ import annotations

import asyncio
import itertools
import socket

from hypothesis import given
from hypothesis import strategies as st

from aggregator.shards.lane import Lane


class Ear:
    """A lane's receiving side without a socket."""

    def __init__(self) -> None:
        self.lane = Lane()
        self.heard: list[bytes] = []
        self.lane.received = self.heard.append


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 200)))
def test_messages_are_whole_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(len(each).to_bytes(4, "big") + each for each in messages)
    ear = Ear()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(edges):
        ear.lane.data_received(data[start:end])
    assert ear.heard == messages


async def test_a_sender_waits_while_the_other_side_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        lane = Lane()
        lane.received = lambda _data: None
        lane.ended = lambda: None
        await lane.open(ours)
        await lane.drain()
        lane.send(bytes(8 * 1024 * 1024))
        draining = asyncio.create_task(lane.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        loop = asyncio.get_running_loop()
        got = 0
        while not draining.done():
            got += len(await loop.sock_recv(theirs, 1024 * 1024))
        assert got < 8 * 1024 * 1024
        lane.close()
        while data := await loop.sock_recv(theirs, 1024 * 1024):
            got += len(data)
        await lane.wait_closed()
    assert got == 4 + 8 * 1024 * 1024


async def test_the_end_of_the_other_side_is_told_and_nobody_waits_any_more() -> None:
    ours, theirs = socket.socketpair()
    lane, ended = Lane(), asyncio.Event()
    lane.received, lane.ended = (lambda _data: None), ended.set
    await lane.open(ours)
    lane.send(bytes(8 * 1024 * 1024))
    theirs.close()
    async with asyncio.timeout(10):
        await ended.wait()
        await lane.drain()
        await lane.wait_closed()
    lane.send(b"to nobody")

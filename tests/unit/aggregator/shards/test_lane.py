"""Frames come through a lane whole and in order, however the socket cuts them."""

from __future__ import annotations

import asyncio
import itertools
import socket

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregator.shards.frames import FrameDecoder, make_frame
from aggregator.shards.lane import Lane


@given(
    st.lists(st.tuples(st.binary(max_size=40), st.lists(st.integers(-(2**63), 2**63 - 1)))),
    st.lists(st.integers(0, 400)),
)
def test_frames_are_whole_however_they_are_cut(
    sent: list[tuple[bytes, list[int]]], cuts: list[int]
) -> None:
    columns = [np.array(numbers, np.int64) for _, numbers in sent]
    data = b"".join(
        make_frame(head, column, column) for (head, _), column in zip(sent, columns, strict=True)
    )
    decoder, heard = FrameDecoder(), list[tuple[bytes, bytes]]()
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in itertools.pairwise(edges):
        heard += decoder.feed(data[start:end])
    assert heard == [
        (head, 2 * column.tobytes()) for (head, _), column in zip(sent, columns, strict=True)
    ]


async def test_a_sender_waits_while_the_other_side_does_not_read() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.setblocking(False)
        lane = Lane()
        lane.received = lambda _head, _columns: None
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
    assert got == 8 * 1024 * 1024


async def test_the_end_of_the_other_side_is_told_and_nobody_waits_any_more() -> None:
    ours, theirs = socket.socketpair()
    lane, ended = Lane(), asyncio.Event()
    lane.received, lane.ended = (lambda _head, _columns: None), ended.set
    await lane.open(ours)
    lane.send(bytes(8 * 1024 * 1024))
    theirs.close()
    async with asyncio.timeout(10):
        await ended.wait()
        await lane.drain()
        await lane.wait_closed()
    lane.send(b"to nobody")

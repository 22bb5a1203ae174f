"""When connections write what they were sent in one turn of the event loop."""

from __future__ import annotations

import asyncio
from typing import cast

from gateway.clients.direct import DirectWebSocket, Turn, this_turn


class Client:
    """Stand in for a connection; what it is sent in its write is due in the next one."""

    def __init__(self, turn: Turn, written: list[Client], more: int = 0) -> None:
        self._turn = turn
        self._written = written
        self._more = more

    def send(self) -> None:
        self._turn.add(cast(DirectWebSocket, self))

    def write_due(self) -> None:
        self._written.append(self)
        if self._more:
            self._more -= 1
            self.send()


async def test_all_write_at_the_end_of_the_turn_in_order() -> None:
    written: list[Client] = []
    first, second = (Client(this_turn(), written) for _ in range(2))
    first.send()
    second.send()
    assert written == []
    await asyncio.sleep(0)
    assert written == [first, second]


async def test_whoever_cannot_wait_lets_all_write_at_once_and_only_once() -> None:
    written: list[Client] = []
    client = Client(this_turn(), written)
    client.send()
    this_turn().write()
    assert written == [client]
    await asyncio.sleep(0)
    assert written == [client]


async def test_what_a_write_brings_is_written_in_the_next_turn() -> None:
    written: list[Client] = []
    client = Client(this_turn(), written, more=1)
    client.send()
    this_turn().write()
    assert written == [client]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert written == [client, client]


async def test_what_is_held_is_written_by_its_writer_and_needs_no_callback() -> None:
    written: list[Client] = []
    turn = Turn()
    client = Client(turn, written)
    turn.hold()
    client.send()
    await asyncio.sleep(0)
    assert written == []
    turn.write()
    assert written == [client]
    client.send()
    await asyncio.sleep(0)
    assert written == [client, client]


async def test_what_was_due_before_a_hold_is_written_at_the_end_of_the_turn() -> None:
    written: list[Client] = []
    turn = Turn()
    first, second = (Client(turn, written) for _ in range(2))
    first.send()
    turn.hold()
    second.send()
    await asyncio.sleep(0)
    assert written == [first, second]


def test_each_event_loop_has_its_own_turn() -> None:
    async def turn() -> Turn:
        assert this_turn() is this_turn()
        return this_turn()

    assert asyncio.run(turn()) is not asyncio.run(turn())

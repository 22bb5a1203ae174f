"""All data channels together: so many messages per second, and each its share."""

from __future__ import annotations

import asyncio

from gateway.webrtc.pacer import MIN_BURST, Pacer


class Sender:
    """A channel that has always something to send."""

    def __init__(self, pacer: Pacer, goal: int) -> None:
        self.pacer = pacer
        self.goal = goal
        self.sent = 0
        self.done = asyncio.Event()
        pacer.add(self.go_on)

    def go_on(self) -> None:
        while self.pacer.open and self.sent < self.goal:
            self.sent += 1
            self.pacer.spend()
        if self.sent == self.goal:
            self.done.set()


async def test_a_burst_is_free_and_the_rest_waits_for_its_time() -> None:
    pacer = Pacer(500)
    sender = Sender(pacer, 10 * MIN_BURST)
    begun = asyncio.get_running_loop().time()
    sender.go_on()
    assert sender.sent == MIN_BURST
    assert not pacer.open
    await sender.done.wait()
    # A timer may be a hair early, never more.
    assert asyncio.get_running_loop().time() - begun > 8 * MIN_BURST / 500
    pacer.discard(sender.go_on)


async def test_channels_take_turns() -> None:
    pacer = Pacer(100_000)
    senders = [Sender(pacer, 20_000) for _ in range(4)]
    senders[0].go_on()
    await asyncio.wait([asyncio.create_task(each.done.wait()) for each in senders])
    for each in senders:
        pacer.discard(each.go_on)


async def test_none_starves_while_another_always_wants() -> None:
    pacer = Pacer(10_000)
    greedy, modest = Sender(pacer, 10**9), Sender(pacer, 100)
    greedy.go_on()
    await modest.done.wait()
    pacer.discard(modest.go_on)
    pacer.discard(greedy.go_on)


async def test_what_must_be_said_is_said_and_owed() -> None:
    pacer = Pacer(1000)
    for _ in range(3 * MIN_BURST):
        pacer.spend()
    assert not pacer.open
    sender = Sender(pacer, 1)
    await sender.done.wait()
    pacer.discard(sender.go_on)


async def test_no_timer_is_left_when_the_last_channel_has_gone() -> None:
    pacer = Pacer(0.001)
    sender = Sender(pacer, 10**9)
    sender.go_on()
    pacer.discard(sender.go_on)
    assert pacer.open
    pacer.discard(sender.go_on)

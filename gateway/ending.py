"""End all live clients, each when it has everything that waits for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Protocol

from gateway.clients.capacity import Capacity
from gateway.live.session import Sessions

# Sessions that are ended in one turn of the event loop, 50 to 100 µs each.
STOPS_PER_TURN = 100
# How long live clients may take for the farewell. It is one write for a client that reads, and one
# request for one that polls; any other cannot be told.
FAREWELL_S = 1.0


class Endpoint(Protocol):
    """An endpoint that has more to end than its sessions."""

    def stop(self) -> None:
        """Take no more clients, and end those that have no session yet."""

    def abort(self) -> None:
        """End the clients that are left at once."""


async def say_farewell(
    capacity: Capacity, sessions: Sessions, endpoints: Sequence[Endpoint], flush_s: float
) -> None:
    """Send every live client what waits for it and its farewell, and end it."""
    await end_sessions(sessions, flush_s)
    for endpoint in endpoints:
        endpoint.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_S):
            await capacity.wait_empty()
    for endpoint in endpoints:
        endpoint.abort()


async def end_sessions(sessions: Sessions, flush_s: float) -> None:
    """End every session, and those that still come: the gateway stops.

    Args:
        sessions: all of the gateway.
        flush_s: how long slow clients may take for the updates that wait for them.
    """
    all_told = asyncio.Event()
    leaving = sessions.begin_stop(all_told.set)
    for number, session in enumerate(leaving, 1):
        if sessions.is_leaving(session):
            session.stop()
        if number % STOPS_PER_TURN == 0:
            # Requests go on meanwhile.
            await asyncio.sleep(0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(flush_s):
            await all_told.wait()
    for session in leaving:
        session.tell_farewell()

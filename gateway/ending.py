"""End all live sessions, each when its client has everything that waits for it."""

from __future__ import annotations

import asyncio
import contextlib

from gateway.live.session import Sessions

# Sessions that are ended in one turn of the event loop, 50 to 100 µs each.
STOPS_PER_TURN = 100


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

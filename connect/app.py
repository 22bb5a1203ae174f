"""Construct what a run needs, start it and stop it in order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from math import inf
from typing import Any, Protocol

from connect.errors import SourceFailed
from connect.outlet import Outlet, Rejections
from connect.settings import ConnectSettings
from connect.states import States
from marketdata.printing import print_line
from marketdata.producer import LostRange, Producer, ProducerError, ProducerReplaced

# What is acked so long after a signal still counts; the rest is fetched again another time.
STOP_TIMEOUT_S = 5.0


class Source(Protocol):
    """Where trades come from; :attr:`dropped` counts those that were no valid trades."""

    @property
    def dropped(self) -> int:
        """How many were dropped."""

    async def run(self) -> None:
        """Put trades into the outlet until cancelled, or until there are no more."""


MakeSource = Callable[[ConnectSettings, Outlet, States], Source]


async def run(settings: ConnectSettings, name: str, make_source: MakeSource) -> int:
    """Connect a source to ingest until it ends, SIGINT or SIGTERM; return the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    states = States(
        name,
        with_time=settings.log_format != "brief",
        is_quiet=settings.log_level in ("warning", "error"),
    )
    rejections = Rejections(states.warn)
    producer_id = settings.producer_id or f"connect-{name}"
    producer = Producer(
        settings.server,
        producer_id,
        on_reject=rejections.add,
        on_server_lost=lambda lost: states.warn(_describe_lost(lost)),
        connect_timeout_s=inf,
        close_timeout_s=STOP_TIMEOUT_S,
    )
    outlet = Outlet(producer)
    failure: Exception | None = None
    source: Source | None = None
    try:
        source = make_source(settings, outlet, states)
        states.enter("connecting", f"ingest at {settings.server}")
        if await _until(stop, producer.open()):
            states.say(f"sending to {settings.server} as {producer_id}")
            await _until(stop, pump(source, outlet))
    except (SourceFailed, ProducerError) as exc:
        failure = exc
    failure = await _close(producer, outlet) or failure
    rejected = "".join(f", {count} {why}" for why, count in sorted(rejections.counts.items()))
    if source is not None and source.dropped:
        rejected += f", dropped {source.dropped}"
    counts = f"sent {producer.sent} trades, acked {producer.acked}, rejected {producer.rejected}"
    states.enter("ended", counts + rejected)
    if failure is None:
        return 0
    hint = "; another run has its name, --producer-id sets another one"
    extra = hint if isinstance(failure, ProducerReplaced) else ""
    print_line(f"connect: {failure}{extra}", "stderr")
    return 1


async def pump(source: Source, outlet: Outlet) -> None:
    """Run a source and its outlet until one of them ends; the outlet ends only by failing.

    Raises:
        SourceFailed: the source cannot be used.
        ProducerError: the session has ended for ever.
    """
    reading = asyncio.ensure_future(source.run())
    sending = asyncio.ensure_future(outlet.run())
    try:
        await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
        (sending if sending.done() else reading).result()
    except ExceptionGroup as exc:
        raise exc.exceptions[0] from exc
    finally:
        for task in (reading, sending):
            task.cancel()
        await asyncio.wait({reading, sending})


async def _close(producer: Producer, outlet: Outlet) -> Exception | None:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await outlet.send_rest()
        await producer.close()
    except (ProducerError, TimeoutError) as exc:
        return exc if isinstance(exc, ProducerError) else None
    return None


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    # Returns whether it was done before the stop.
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return False
    working.result()
    return True


def _describe_lost(lost: LostRange) -> str:
    return f"ingest has lost ticks that it had acked: {lost.first_sequence} to {lost.last_sequence}"

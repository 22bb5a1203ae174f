"""Construct what a run needs, start it and stop it in order."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain
from math import inf
from typing import NamedTuple

from fakeclient.acked import AckedConnection
from fakeclient.bad import BadMix
from fakeclient.connection import Connection, Server, pause
from fakeclient.console import Screen, watch_progress
from fakeclient.files import Replayed
from fakeclient.pacing import Load, group_sizes, repeat, replay_loads, walk_loads
from fakeclient.packing import Packer, Parcels
from fakeclient.report import Counts, ack_line, summary_lines
from fakeclient.settings import FakeclientSettings
from fakeclient.walk import USUAL_RATE, RandomWalk
from marketdata.addresses import split_address
from marketdata.errors import MarketDataError
from marketdata.files.source import BadFile
from marketdata.printing import print_line

# The last ticks of a paced run are due at its end. A run that keeps up gets this long to send them.
_DEADLINE_SLACK_S = 0.25
# After an outage, at most so much of it is caught up: a burst of minutes looks like no market.
_MAX_CATCH_UP_S = 1.0
# A server that does not read may delay the end by so much; then its connection is aborted.
_STOP_TIMEOUT_S = 3.0


Connections = Sequence[Connection | AckedConnection]


class Job(NamedTuple):
    """The ticks of one run, and how to send them."""

    title: str
    # Encoded before the clock starts.
    ahead: Iterable[Load]
    # Returns all loads, given those that were encoded ahead.
    loads: Callable[[Sequence[Load]], Iterator[Load]]
    duration_s: float = inf
    # The walk whose prices may go on from stored ones.
    walk: RandomWalk | None = None
    # The files of a replay.
    replayed: Replayed | None = None


def walk_job(settings: FakeclientSettings) -> Job:
    """Return the random walk that ``settings`` ask for."""
    rate, limit, ahead = settings.rate, settings.limit, settings.encode_ahead
    duration_s = inf
    if settings.duration is not None:
        duration_s = settings.duration
        if rate != inf:
            # Whole ticks that are due in time; 0.1/s x 30 s is a hair below 3 in floating point.
            total = max(1, int(rate * duration_s + 1e-6))
            limit = total if limit is None else min(limit, total)
            duration_s += _DEADLINE_SLACK_S
    walk = RandomWalk(
        settings.symbols,
        random.Random(settings.seed),
        messy=settings.messy,
        rate=USUAL_RATE if rate == inf else rate,
    )
    bad_mix = BadMix(settings.bad_fraction) if settings.bad_fraction else None
    packer = Packer(
        settings.connections,
        bad_mix,
        acks=settings.acks,
        decimals=settings.decimals,
        has_ids=settings.trade_ids,
    )
    speed = "as fast as possible" if rate == inf else f"{rate:,g} ticks/s"
    title = (
        f"sending a random walk of {len(settings.symbols):,} symbols (seed {settings.seed}) to "
        f"{settings.server}, {speed}"
    )
    if not ahead:
        sizes = group_sizes(rate, limit)
        return Job(title, (), lambda _: walk_loads(walk, packer, rate, sizes), duration_s, walk)
    if limit is None and duration_s == inf:
        limit = ahead
    ahead = min(ahead, limit or ahead)
    # The last turn may be cut short by the limit; a group ends at that place.
    part = 0 if limit is None else limit % ahead
    turn = chain(group_sizes(rate, part), group_sizes(rate, ahead - part))
    return Job(
        title,
        walk_loads(walk, packer, rate, turn),
        lambda ready: repeat(ready, limit),
        duration_s,
        walk,
    )


def replay_job(settings: FakeclientSettings, replayed: Replayed) -> Job:
    """Return the replay that ``settings`` ask for.

    Raises:
        BadFile: a file cannot be read, or it is not sure how it is written.
    """
    passes = replayed.passes(loop=settings.loop)
    packer = Packer(settings.connections, acks=settings.acks)
    loads = replay_loads(passes, packer, settings.speed, settings.limit)
    # Read before anything is sent, so that a wrong file is reported at once.
    first = next(loads, None)
    loads = chain(() if first is None else (first,), loads)
    speed = "as fast as possible" if settings.speed == inf else f"at {settings.speed:g} x speed"
    parts = replayed.parts
    what = parts[0].name if len(parts) == 1 else f"{len(parts):,} files"
    return Job(
        f"replaying {what} to {settings.server}, {speed}",
        _first_loads(loads, settings.encode_ahead),
        lambda ready: chain(ready, loads),
        replayed=replayed,
    )


def _first_loads(loads: Iterator[Load], ticks: int) -> Iterator[Load]:
    while ticks > 0 and (load := next(loads, None)) is not None:
        ticks -= load.ticks
        yield load


async def run(settings: FakeclientSettings, job: Job, screen: Screen) -> int:
    """Send ``job`` until its end, SIGINT or SIGTERM, and return the exit code."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    counts = Counts()
    connections = _make_connections(settings, counts, stop, screen)
    failure: MarketDataError | None = None
    seconds = 0.0

    screen.say(job.title)
    async with asyncio.TaskGroup() as tasks:
        aborter = tasks.create_task(_abort_when_late(stop, connections))
        try:
            if job.walk is not None and settings.continue_from:
                await _continue(job.walk, settings, screen)
            ready = await _encode_ahead(job.ahead, stop, screen)
            await _for_each(connection.open() for connection in connections)
            started = loop.time()
            if job.duration_s != inf:
                loop.call_later(job.duration_s, stop.set)
            progress = tasks.create_task(watch_progress(screen, counts))
            try:
                await _send(job.loads(ready), connections, stop)
                await _for_each(connection.flush() for connection in connections)
            finally:
                seconds = loop.time() - started
                progress.cancel()
        except BadFile as exc:
            failure = exc
        await _for_each(connection.close() for connection in connections)
        aborter.cancel()
    screen.end_progress()

    for line in summary_lines(counts, seconds):
        screen.say(line)
    if settings.acks:
        screen.say(ack_line(counts))
    failures = [connection.failure for connection in connections if connection.failure]
    if reason := failure or next(iter(failures), None):
        print_line(f"fakeclient: {reason}", "stderr")
        return 1
    if job.replayed is not None and job.replayed.left_out:
        rows = job.replayed.left_out
        print_line(f"fakeclient: {rows:,} rows are not trades and were not sent", "stderr")
        return 1
    return 1 if settings.acks and counts.unacked else 0


def _make_connections(
    settings: FakeclientSettings, counts: Counts, stop: asyncio.Event, screen: Screen
) -> Connections:
    if not settings.acks:
        server = Server(
            split_address(settings.server),
            retry=settings.retry,
            stop=stop,
            say=screen.say,
            chance=random.random,
        )
        return [Connection(server, counts, stop) for _ in range(settings.connections)]
    name, count = settings.producer_id, settings.connections
    names = [name] if count == 1 else [f"{name}-{number + 1}" for number in range(count)]
    # All connect together, so one of them says it.
    says: list[Callable[[str], None]] = [screen.say] + [lambda _: None] * (count - 1)
    return [
        AckedConnection(settings.server, each, counts, stop, say, retry=settings.retry)
        for each, say in zip(names, says, strict=True)
    ]


async def _continue(walk: RandomWalk, settings: FakeclientSettings, screen: Screen) -> None:
    # gRPC takes 0.2 s to import, and most runs need none.
    from fakeclient.closes import last_prices  # noqa: PLC0415

    prices = await last_prices(settings.continue_from, settings.symbols)
    walk.go_on_from(prices)
    if prices:
        screen.say(f"going on from the last prices of {len(prices):,} symbols")


async def _encode_ahead(
    loads: Iterable[Load], stop: asyncio.Event, screen: Screen
) -> Sequence[Load]:
    ready: list[Load] = []
    began = time.perf_counter()
    for load in loads:
        ready.append(_packed(load, load.pack(time.time_ns())))
        # Lets signal handlers run.
        await asyncio.sleep(0)
        if stop.is_set():
            break
    if ready:
        ticks = sum(load.ticks for load in ready)
        screen.say(f"encoded {ticks:,} ticks ahead in {time.perf_counter() - began:.2f} s")
    return ready


def _packed(load: Load, parcels: Parcels) -> Load:
    return load._replace(pack=lambda _now_ns: parcels)


async def _send(loads: Iterator[Load], connections: Connections, stop: asyncio.Event) -> None:
    now = asyncio.get_running_loop().time
    started = now()
    for load in loads:
        wait_s = started + load.due_s - now()
        if wait_s > 0:
            await pause(stop, wait_s)
        else:
            # Lets signal handlers, the progress and the connections run.
            await asyncio.sleep(0)
            started = max(started, now() - load.due_s - _MAX_CATCH_UP_S)
        if stop.is_set():
            return
        parts = zip(connections, load.pack(time.time_ns()), strict=True)
        await _for_each(connection.send(parcels) for connection, parcels in parts if parcels)


async def _for_each(actions: Iterable[Awaitable[object]]) -> None:
    waiting = list(actions)
    if len(waiting) == 1:
        await waiting[0]
    elif waiting:
        await asyncio.gather(*waiting)


async def _abort_when_late(stop: asyncio.Event, connections: Connections) -> None:
    await stop.wait()
    await asyncio.sleep(_STOP_TIMEOUT_S)
    for connection in connections:
        connection.abort()
